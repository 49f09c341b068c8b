// Sends the cluster's addresses through the SSH proxy on this computer, and nothing else.
function FindProxyForURL(url, host) {
    if (dnsDomainIs(host, ".{{ hosts.domain }}") || host === "{{ hosts.hub }}") {
        return "SOCKS5 localhost:{{ proxy.port }}";
    }
    return "DIRECT";
}

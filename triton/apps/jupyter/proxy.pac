// Which proxy for which address? The browser asks this function for each one.
// Compute nodes have names inside the cluster only. The hub, and the servers whose names
// end in its own, answer inside the university only. So all these go through the ssh -D on
// this computer, and their names are looked up at its other end. Everything else goes as
// it always did.
function FindProxyForURL(url, host) {
    if (dnsDomainIs(host, ".{{ hosts.domain }}") || host === "{{ hosts.hub }}" ||
            dnsDomainIs(host, ".{{ hosts.hub }}")) {
        return "SOCKS5 localhost:{{ proxy.port }}";
    }
    return "DIRECT";
}

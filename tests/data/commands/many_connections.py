"""Open many connections and hold them until the input ends.

Arguments: host, port, the path of the server's pages, the number of connections of each kind. One
kind sends nothing; the other sends half of a request. Each connection comes from another loopback
address.
"""

import resource
import socket
import sys

resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
host, port, path, many = sys.argv[1:]
cookies = "; ".join(f"{number}={'x' * 230}" for number in range(170))
head = (
    f"POST {path}login HTTP/1.1\r\nHost: {host}\r\nCookie: {cookies}\r\nContent-Length: 16000\r\n"
)
half_sent = f"{head}\r\n".encode() + b"x" * 15_000
lines = []
for text in (b"", half_sent):
    for number in range(int(many)):
        source = f"127.0.{number // 250}.{number % 250 + 1}"
        lines.append(
            socket.create_connection((host, int(port)), timeout=20, source_address=(source, 0))
        )
        try:
            lines[-1].sendall(text)
        except OSError:  # the server has closed the connection
            continue
print("open", flush=True)
sys.stdin.read()

"""Send much data to a server of sjupyter without a login, and print each sender that succeeds.

Arguments: the origin of the server, and the path of its pages.
"""

import socket
import sys

origin, path = sys.argv[1:]
host = origin.removeprefix("http://")
name, port = host.split(":")
megabyte = b"x" * 1_000_000
large = "Content-Length: 480000000"
kinds = (
    large,
    "Transfer-Encoding: chunked",
    f"{large}\r\nAuthorization: token wrong",
    f"{large}\r\nCookie: username=wrong; _xsrf=wrong",
)


def takes(page, kind):
    """Whether the server takes a hundred megabytes."""
    with socket.create_connection((name, int(port)), timeout=20) as line:
        line.sendall(f"POST {page} HTTP/1.1\r\nHost: {host}\r\n{kind}\r\n\r\n".encode())
        try:
            for _ in range(100):
                line.sendall(b"f4240\r\n" + megabyte + b"\r\n" if "chunked" in kind else megabyte)
        except OSError:  # the server has closed the connection
            return False
    return True


for target in ("login", "login?next=x", "api/contents/x", "login?token=wrong"):
    for kind in kinds:
        for folder in ("/", path):
            if takes(folder + target, kind):
                print(folder == path, target, kind)

"""Connections that send data in very many tiny pieces.

Arguments: host, port, path, number of connections, seconds, and what the pieces are: `chunks` of a
body, or `records` of TLS, one for each byte of the headers. A last argument may name the folder
with the key and the certificates of a user's server.
"""

import os
import socket
import ssl
import sys
import threading
import time

host, path, kind = sys.argv[1], sys.argv[3], sys.argv[6]
port, many, seconds = int(sys.argv[2]), int(sys.argv[4]), float(sys.argv[5])
context = ssl.create_default_context()
if sys.argv[7:]:
    context.load_verify_locations(f"{sys.argv[7]}/ca.pem")
    context.load_cert_chain(f"{sys.argv[7]}/cert.pem", f"{sys.argv[7]}/key.pem")
    context.check_hostname = False
FILLER = "\r\n".join("filler: " + "x" * 990 for _ in range(50))


class Line:
    def __init__(self):
        self.socket = socket.create_connection((host, port), timeout=60)
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.into, self.out, server_hostname=host)
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                self.into.write(self.socket.recv(65536))
            else:
                break

    def flush(self):
        self.socket.sendall(self.out.read())

    def send(self, *pieces):
        for piece in pieces:
            self.tls.write(piece)
        self.flush()

    def bytes(self, text):
        """Send each byte as a record."""
        for start in range(0, len(text), 2500):
            self.send(*(bytes([each]) for each in text[start : start + 2500]))


def send():
    line = Line()
    first = f"POST {path} HTTP/1.1\r\nHost: {host}\r\n"
    if kind == "records":
        line.bytes(f"{first}{FILLER}\r\n\r\n".encode())
        line.socket.recv(1)
        return
    line.send(f"{first}Transfer-Encoding: chunked\r\n\r\n".encode())
    while True:
        line.send(b"1\r\na\r\n" * 2500)


def again():
    while True:
        try:
            send()
        except OSError:  # the other side has ended it
            time.sleep(0.2)


os.nice(19)  # all hosts are one machine: the sender shall not take the time of the others
for _ in range(many):
    threading.Thread(target=again, daemon=True).start()
time.sleep(seconds)
os._exit(0)

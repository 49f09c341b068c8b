"""Open connections that send much data, and measure how long another user waits meanwhile.

Arguments: the hub's address, the address to send to, the number of connections, the announced bytes
of each, the bytes that it sends, as JSON, and the seconds for which all stay open. Prints the
longest time, in seconds, that another user waited for the login page.
"""

import contextlib
import socket
import ssl
import sys
import threading
import time
import urllib.parse
import urllib.request

base = sys.argv[1]
address = urllib.parse.urlsplit(sys.argv[2])
many, says, sends, seconds = map(int, sys.argv[3:7])
begin = b'{"a": ['
piece = b"[[],[]]," * 10_000
end = b"0]}"
whole, rest = divmod(max(sends - len(begin + end), 0), len(piece))
headers = [
    f"POST {address.path} HTTP/1.1",
    f"Host: {address.hostname}",
    "Content-Type: application/json",
    f"Content-Length: {says}",
]
context = ssl.create_default_context()
waits = []
lines = []  # the open connections; the list keeps them open
done = threading.Event()
sent = threading.Semaphore(0)


def look():
    while not done.is_set():
        began = time.monotonic()
        try:
            urllib.request.urlopen(base + "/hub/login", timeout=60, context=context).close()
            waits.append(time.monotonic() - began)
        except OSError:
            waits.append(1000)
        time.sleep(0.1)


def send():
    with contextlib.suppress(OSError):
        line = context.wrap_socket(
            socket.create_connection((address.hostname, 443), timeout=60),
            server_hostname=address.hostname,
        )
        lines.append(line)
        line.sendall("\r\n".join([*headers, "", ""]).encode())
        line.sendall(begin)
        for _ in range(whole):
            line.sendall(piece)
        line.sendall(b" " * rest + end)
        if sends == says:
            line.recv(1)
    sent.release()


def several(number):
    for _ in range(number):
        send()


looking = threading.Thread(target=look)
looking.start()
for _ in range(min(many, 50)):
    threading.Thread(target=several, args=[many // min(many, 50)], daemon=True).start()
for _ in range(many):
    sent.acquire(timeout=90)
time.sleep(seconds)
done.set()
looking.join()
print(max(waits))

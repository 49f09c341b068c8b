"""Print "read" if a kernel at one of these ports prints "a secret": reads_kernels.py PORT ..."""

import sys
import time

import zmq

poller = zmq.Poller()
for port in sys.argv[1:]:
    listener = zmq.Context.instance().socket(zmq.SUB)
    listener.subscribe(b"")
    listener.connect(f"tcp://127.0.0.1:{port}")
    poller.register(listener)
until = time.monotonic() + 20
while time.monotonic() < until:
    for listener, _ in poller.poll(1000):
        if b"a secret" in b"".join(listener.recv_multipart()):
            print("read")
            sys.exit()

"""What kernels.py starts: imports what every Python kernel does, and for each request goes on as a
kernel in a fork.

A request comes on the socket whose descriptor is the argument: a kernel's arguments, folder,
environment and namespaces, and the descriptors of its sandbox's first process, of a socket for its
process number, of its stdout and of its stderr.
"""

import ctypes
import json
import os
import runpy
import socket
import sys
import time
from typing import Any

before = dict(os.environ)
del sys.path[0]  # this file's folder, which a kernel does not have
from ipykernel import debugger, kernelapp  # noqa: E402, F401  what each kernel imports

SET_BY_IMPORTS = {name: value for name, value in os.environ.items() if before.get(name) != value}
_libc = ctypes.CDLL(None, use_errno=True)


def serve(requests: socket.socket) -> bool:
    """Fork for each request.

    In the kernel it returns True, and here False once nobody asks any more.
    """
    while True:
        message, files, _, _ = socket.recv_fds(requests, 1 << 20, 4)
        if not message:
            return False
        request = json.loads(message)
        if fork_into(files[0], request["namespaces"]):
            requests.close()
            become(request, *files)
            return True
        for file in files:
            os.close(file)


def fork_into(sandbox: int, namespaces: int) -> bool:
    """Fork a child of the process `sandbox`, which is the first one of its `namespaces`, in these;
    True in the child, False here.
    """
    # Who enters a namespace of processes stays outside, its children are inside, and theirs go to
    # the first process when left alone.
    entering = os.fork()
    if entering:
        os.waitpid(entering, 0)
        return False
    try:
        if _libc.setns(sandbox, namespaces):
            os._exit(1)
        inside = os.fork()
        if inside:
            os.waitpid(inside, 0)
            os._exit(0)
        if os.fork():
            os._exit(0)
    except OSError:
        os._exit(1)
    return True


def become(request: dict[str, Any], sandbox: int, answer: int, stdout: int, stderr: int) -> None:
    """Give this process what jupyter_client gives a kernel that it starts."""
    if os.getuid():  # what a program that an ordinary user starts has not
        _libc.capset(
            ctypes.byref((ctypes.c_uint32 * 2)(0x20080522, 0)),
            ctypes.byref((ctypes.c_uint32 * 6)()),
        )
    os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"] | SET_BY_IMPORTS)
    time.tzset()
    sys.argv[1:] = request["arguments"]
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    while os.getppid() != 1:
        time.sleep(0.001)
    os.write(answer, str(os.getpid()).encode())
    for file in (sandbox, answer, stdout, stderr):
        os.close(file)


if serve(socket.socket(fileno=int(sys.argv[1]))):
    runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)

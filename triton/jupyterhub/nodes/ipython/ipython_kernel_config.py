"""Settings of Python's kernels on all nodes.

A kernel takes what its forked children print at a port of its node, and from everybody there: who
sends much has it killed for its memory. Here it is a Unix socket beside the kernel's others, in a
folder of its user.

Its debugger listens at a port, too, and obeys everybody on the node. JupyterLab shows none; VS Code
would start it.

joblib puts large arrays into /dev/shm. If it chooses that place by itself, all users of the node
can read them.
"""

import atexit
import os
from contextlib import suppress
from typing import Any

import zmq
from ipykernel.iostream import IOPubThread
from ipykernel.ipkernel import IPythonKernel
from zmq.eventloop.zmqstream import ZMQStream

os.environ.setdefault("JOBLIB_TEMP_FOLDER", "/dev/shm")

of_ipykernel: Any = IOPubThread
_receive, _send = of_ipykernel._setup_pipe_in, of_ipykernel._setup_pipe_out


def receive(thread: Any) -> None:
    """Open the socket, or the port of a kernel that has only ports."""
    published = thread.socket.last_endpoint.decode()
    thread.place = f"{published[:-1]}0" if published.startswith("ipc://") else ""
    if not thread.place:
        _receive(thread)
        return
    thread._pipe_uuid = os.urandom(16)
    socket = thread.socket.context.socket(zmq.PULL)
    socket.linger = 0
    socket.bind(thread.place)
    thread._pipe_in = ZMQStream(socket, thread.io_loop)
    thread._pipe_in.on_recv(thread._handle_pipe_msg)
    atexit.register(remove, thread)


def remove(thread: Any) -> None:
    """Remove the socket when the kernel ends, not when a child does."""
    if thread._is_master_process():
        with suppress(OSError):
            os.unlink(thread.place.removeprefix("ipc://"))


def send(thread: Any) -> Any:
    """Connect a child to it; return its context and its end."""
    if not thread.place:
        return _send(thread)
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.linger = 3000  # milliseconds
    socket.connect(thread.place)
    return context, socket


of_ipykernel._setup_pipe_in, of_ipykernel._setup_pipe_out = receive, send


async def refuse(kernel: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request of a debugger, in the form of the Debug Adapter Protocol."""
    return {
        "type": "response",
        "request_seq": request.get("seq"),
        "command": request.get("command"),
        "success": False,
        "message": "The debugger is off: its port on this node asks nobody for a password.",
    }


of_python: Any = IPythonKernel
of_python.do_debug_request = refuse

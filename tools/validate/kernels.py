"""Start the Python kernels of many notebooks from one process that has imported, once, what every
kernel imports.

Half a second of a processor is what a kernel takes for its imports. The template
(kernel_template.py) imports them and runs no cell; each kernel is a fork of it, in the sandbox that
asks for one. So nothing passes from one notebook to the next.
"""

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from tools.validate import sandbox

TEMPLATE = Path(__file__).with_name("kernel_template.py")


@contextlib.contextmanager
def template(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """While this lasts, each kernel of this Python that a sandbox starts is a fork of one template,
    which begins in `environment`.
    """
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, TEMPLATE, str(its.fileno())],
        pass_fds=[its.fileno()],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    its.close()
    # It takes long to import; who finds that nothing has changed starts no kernel.
    from jupyter_client.provisioning import local_provisioner

    provisioner: Any = local_provisioner  # which imports launch_kernel, and does not export it
    plain = provisioner.launch_kernel
    provisioner.launch_kernel = functools.partial(_launch, ours, plain)
    try:
        yield process
    finally:
        provisioner.launch_kernel = plain
        ours.close()
        process.kill()
        process.wait()


def _launch(
    requests: socket.socket,
    plain: Callable[..., Any],
    command: list[str],
    *,
    env: dict[str, str],
    cwd: str,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    **options: Any,
) -> Any:
    """What stands in the place of jupyter_client's launch_kernel.

    That one, `plain`, starts the kernel outside a sandbox, starts any other kernel, and does it if
    the template cannot.
    """
    number = b""
    if sandbox.namespaces and command[:3] == [sys.executable, "-m", "ipykernel_launcher"]:
        answer, its = socket.socketpair()
        request = {
            "arguments": command[3:],
            "cwd": cwd,
            "env": env | {"JPY_PARENT_PID": "1"},
            "namespaces": sandbox.namespaces,
        }
        with answer, contextlib.suppress(OSError):
            with its, open(os.pidfd_open(1), "rb", buffering=0) as first:
                socket.send_fds(
                    requests,
                    [json.dumps(request).encode()],
                    [first.fileno(), its.fileno(), *map(_descriptor, (stdout or 1, stderr or 2))],
                )
            number = answer.recv(16)
    return (
        _Process(int(number))
        if number
        else plain(command, env=env, cwd=cwd, stdout=stdout, stderr=stderr, **options)
    )


def _descriptor(file: int | IO[Any]) -> int:
    return file if isinstance(file, int) else file.fileno()


class _Process:
    """A child of this process, with what jupyter_client uses of subprocess.Popen."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        return self._wait(0)

    def _wait(self, options: int) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

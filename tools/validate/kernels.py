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
from pathlib import Path

from tools.validate import sandbox

TEMPLATE = Path(__file__).with_name("kernel_template.py")


@contextlib.contextmanager
def template(environment):
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
    from jupyter_client.provisioning import local_provisioner

    plain = local_provisioner.launch_kernel
    local_provisioner.launch_kernel = functools.partial(_launch, ours, plain)
    try:
        yield process
    finally:
        local_provisioner.launch_kernel = plain
        ours.close()
        process.kill()
        process.wait()


def _launch(requests, plain, command, *, env, cwd, stdout=None, stderr=None, **options):
    """As jupyter_client's launch_kernel, which does it itself outside a sandbox, for another
    kernel, and if the template cannot.
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


def _descriptor(file):
    return file if isinstance(file, int) else file.fileno()


class _Process:
    """A child of this process, with what jupyter_client uses of subprocess.Popen."""

    stdin = stdout = stderr = None

    def __init__(self, pid):
        self.pid, self.returncode = pid, None

    def poll(self):
        return self._wait(os.WNOHANG)

    def wait(self):
        return self._wait(0)

    def _wait(self, options):
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

"""The configuration that the hub's job gives each server.

job.sh writes it to the folder where the server reads its configuration.
"""

import contextlib
import errno
import functools
import logging
import os
import signal
import ssl
import stat
import threading
import time
import urllib.error
import urllib.request

# These messages contain the session, which is as good as a password, so they are not logged.
TELL = (
    "Setting new xsrf cookie",
    "xsrf id mismatch",
    "HubAuth cache miss",
    "Received request from Hub user",
    "User model",
)
logging.getLogger("tornado.application").addFilter(
    lambda record: not str(record.msg).startswith(TELL)
)


def refused() -> bool:
    """Whether the hub answers that it does not know this server's token.

    It is no refusal if the hub is away or starts, or if another program answers.
    """
    request = urllib.request.Request(
        os.environ["JUPYTERHUB_API_URL"] + "/user",
        headers={"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"]},
    )
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if certificate := os.environ.get("JUPYTERHUB_SSL_CERTFILE"):
        context = ssl.create_default_context(
            cafile=os.environ.get("JUPYTERHUB_SSL_CLIENT_CA") or None
        )
        context.load_cert_chain(certificate, os.environ.get("JUPYTERHUB_SSL_KEYFILE"))
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        urllib.request.build_opener(*handlers).open(request, timeout=30).close()
    except urllib.error.HTTPError as error:
        return error.code == 403 and "X-JupyterHub-Version" in error.headers
    except (OSError, ValueError):
        pass
    return False


def end_when_refused(seconds: float) -> None:
    """End this server after the hub has refused it for `seconds` without a break: nobody can reach
    it then.
    """
    since = None
    while since is None or time.monotonic() - since < seconds:
        time.sleep(min(60, seconds / 5))
        since = (since or time.monotonic()) if refused() else None
    logging.getLogger("tornado.application").warning(
        "The hub does not know this server any more, so it ends."
    )
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
    os.kill(os.getpid(), signal.SIGKILL)


if "JUPYTERHUB_API_TOKEN" in os.environ:
    threading.Thread(
        target=end_when_refused,
        args=(float(os.environ.get("JUPYTERHUB_REFUSED_SECONDS", 600)),),
        daemon=True,
    ).start()


def keep_short(number: int) -> None:
    """Keep the log that is open as file descriptor `number` short: when it has more than LOG_BYTES,
    keep the newer half.

    The file is changed in place, since Slurm and all kernels write to it too. If the disk is full,
    it stays as it is.
    """
    while stat.S_ISREG(os.fstat(number).st_mode):
        time.sleep(0.25)
        with contextlib.suppress(OSError):
            if os.fstat(number).st_size > LOG_BYTES:
                with open(f"/proc/self/fd/{number}", "r+b") as file:
                    file.seek(-LOG_BYTES // 2, os.SEEK_END)
                    newest = file.read(LOG_BYTES // 2)
                    file.seek(0)
                    file.write(b"... what came before was too much to keep\n" + newest)
                    file.truncate()


LOG_BYTES = 4_000_000
threading.Thread(target=keep_short, args=(2,), daemon=True).start()


# ---------------------------------------------------------------- what is used

# Some profiles stop what is not used. These classes count what a page shows and what is running as
# used, and then start the idle time anew.

from typing import Any  # noqa: E402

from jupyter_client.session import Session  # noqa: E402
from jupyter_server._tz import utcnow  # noqa: E402
from jupyter_server.base.handlers import AuthenticatedFileHandler, JupyterHandler  # noqa: E402
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager  # noqa: E402
from jupyter_server_terminals.terminalmanager import TerminalManager  # noqa: E402
from jupyterhub.services import auth  # noqa: E402
from jupyterhub.services.auth import _ExpiringDict  # noqa: E402
from tornado.web import HTTPError  # noqa: E402


class NoRoom(HTTPError):
    """Tells why no kernel starts while others have filled the disk of the node."""

    def __init__(self) -> None:
        disk = os.environ["JUPYTER_RUNTIME_DIR"].split("/jupyter-")[0]
        node = os.uname().nodename.split(".")[0]
        super().__init__(
            507,
            f"{disk} of the node {node} is full, so no new kernel starts here; those that run go "
            "on. Save your work, stop this server, and start it again: it takes another disk then.",
        )

    def __str__(self) -> str:
        return str(self.log_message)


class Kernels(AsyncMappingKernelManager):
    """Counts a kernel as used while one of its cells runs.

    Jupyter stores the state of the last message. But that message may come from another thread of
    the kernel (a subshell), which reports "idle" while the cell goes on.
    """

    async def start_kernel(self, **words: Any) -> str:
        try:
            return str(await super().start_kernel(**words))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise NoRoom from error

    def start_watching_activity(self, kernel_id: str) -> None:
        super().start_watching_activity(kernel_id)
        kernel = self.get_kernel(kernel_id)
        kernel.cells = set()  # the requests that have begun and not ended
        session = Session(config=kernel.session.config, key=kernel.session.key)

        def look(parts: list[bytes]) -> None:
            message = session.deserialize(session.feed_identities(parts)[1])
            state, asked = message["content"].get("execution_state"), message["parent_header"]
            if message["msg_type"] != "status":
                return
            if state == "starting":
                kernel.cells.clear()
            elif asked.get("msg_type") == "execute_request":
                (kernel.cells.add if state == "busy" else kernel.cells.discard)(asked["msg_id"])

        kernel.cells_stream = kernel.connect_iopub()
        kernel.cells_stream.on_recv(look)

    def stop_watching_activity(self, kernel_id: str) -> None:
        super().stop_watching_activity(kernel_id)
        kernel = self.get_kernel(kernel_id)
        if not kernel.cells_stream.closed():
            kernel.cells_stream.close()

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        kernel = self.get_kernel(kernel_id)
        if getattr(kernel, "cells", None):
            kernel.last_activity = utcnow()
        await super().cull_kernel_if_idle(kernel_id)

    def notify_disconnect(self, kernel_id: str) -> None:
        super().notify_disconnect(kernel_id)
        if kernel_id in self:
            self.get_kernel(kernel_id).last_activity = utcnow()


class Terminals(TerminalManager):
    async def _cull_inactive_terminal(self, name: str) -> None:
        terminal = self.terminals.get(name)
        if terminal and (terminal.clients or runs_a_program(terminal.ptyproc)):
            terminal.last_activity = utcnow()
        await super()._cull_inactive_terminal(name)


def runs_a_program(shell: Any) -> bool:
    """Whether a program runs in the foreground of this terminal, so that its shell waits."""
    try:
        return os.tcgetpgrp(shell.fd) != os.getpgid(shell.pid)
    except OSError:
        return False


# The classic Notebook draws Vega plots whatever the settings are. A plot from somebody else could
# read files of the server, and send them out in the address of a picture.
_of_jupyter = JupyterHandler.content_security_policy.fget


def own_pictures(handler: Any) -> str:
    """The Content-Security-Policy for the pages of `handler`."""
    pictures = "; img-src 'self' data: blob:" * type(handler).__module__.startswith("notebook.")
    return f"{_of_jupyter(handler)}{pictures}"


JupyterHandler.content_security_policy = property(own_pictures)

# A server begins in a folder of links. From 6.5.9 on, Tornado sends no file behind a link, so
# downloads and pictures in texts would fail.
AuthenticatedFileHandler._resolve_symlink_target = staticmethod(lambda path, *_: path)

# JupyterHub remembers each address at which a login began for ten minutes, and each token that
# anybody sends for five. Strangers could fill the memory of the server, which is that of its job.
MOST_REMEMBERED = 5_000  # of each
LONGEST_REMEMBERED = 2_000  # characters of the token and the address; no real ones are longer
_remember = _ExpiringDict.__setitem__


def remember_few(known: Any, key: str, value: Any) -> None:
    """Remember `value`, and forget the oldest ones if there are too many."""
    if len(key) + len((value or {}).get("next_url") or "") > LONGEST_REMEMBERED:
        return
    _remember(known, key, value)
    while len(known) > MOST_REMEMBERED:
        del known[next(iter(known.timestamps))]


_ExpiringDict.__setitem__ = remember_few

# For each token that it asks the hub about, JupyterHub would make new settings of TLS, and a new
# connection that stays open for some time: 200 kB for each request of a stranger.
auth.make_ssl_context = functools.cache(auth.make_ssl_context)

c = get_config()  # type: ignore[name-defined]  # noqa: F821  Jupyter gives it to this file
c.ServerApp.kernel_manager_class = Kernels
c.TerminalsExtensionApp.terminal_manager_class = Terminals

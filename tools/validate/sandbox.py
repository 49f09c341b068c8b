"""Run a function in a child process that can change one folder only and reaches no network.

Linux namespaces do it: mounts (all read-only but the folder), network (loopback only), processes
(whatever the function started dies with it). An unprivileged user gets them through a user
namespace where the machine allows that; where it does not, `obstacle` says why and `start` can run
the function without.
"""

import ctypes
import fcntl
import functools
import gc
import json
import os
import signal
import socket
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NEWNS, _NEWUSER, _NEWPID, _NEWNET = 0x00020000, 0x10000000, 0x20000000, 0x40000000  # linux/sched.h
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000  # linux/mount.h
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _ATTR_RDONLY = 442, -100, 0x8000, 1
_PR_SET_PDEATHSIG = 1
_LATE = 124  # the exit status of a supervisor that ended its function, as that of timeout(1)
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Child:
    """A started function: `pid` of its supervisor, `result` the file descriptor that its JSON
    result arrives on.

    seconds: how long it may take.
    """

    pid: int
    result: int
    seconds: float = 60

    def kill(self) -> None:
        """End it and, in a sandbox, every process that it started."""
        os.kill(self.pid, signal.SIGKILL)

    def collect(self) -> Any:
        """Wait for its end and return what the function returned; RuntimeError says how it ended
        otherwise.
        """
        with open(self.result, encoding="utf-8") as pipe:
            text = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if status == _LATE:
            raise RuntimeError(f"did not end within {self.seconds} s and was stopped")
        if not text:
            raise RuntimeError(f"ended without a result, exit status {status}")
        answer = json.loads(text)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]


def start(
    function: Callable[[], Any],
    folder: str | Path,
    isolated: bool = True,
    hidden: Iterable[Path] = (),
    online: bool = False,
    seconds: float = 60,
) -> Child:
    """Call `function()` in a child that may write below `folder` alone; return a Child at once.

    The files and folders `hidden` are empty for it. The function's return value must be JSON. With
    `isolated` false it runs without namespaces; if it is `online`, in the network that is here.
    After so many `seconds` it is ended, whatever it does.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Child(pid, reading, seconds)
    status = 1
    try:
        gc.freeze()  # what the parent left unclosed is not this child's to warn of
        os.close(reading)
        status = _supervise(function, Path(folder), writing, isolated, hidden, online, seconds)
    except SystemExit as end:
        _answer(writing, {"error": str(end)})
    except BaseException:  # a forked child must never run on into its parent's code
        _answer(writing, {"error": traceback.format_exc()})
    finally:
        os._exit(status)


@functools.cache
def obstacle() -> str | None:
    """Why no sandbox can be had here, in one clause, or None."""
    if sys.platform != "linux":
        return "namespaces exist on Linux only"
    with tempfile.TemporaryDirectory() as folder:
        try:
            start(lambda: None, folder).collect()
        except RuntimeError as error:
            return f"this machine gives no namespaces ({str(error).strip().splitlines()[-1]})"
    return None


def refused_connections() -> int:
    """How many connections this network namespace refused so far since they led out of it."""
    count = 0
    for name, key in (("snmp", "OutNoRoutes"), ("snmp6", "Ip6OutNoRoutes")):
        try:
            text = Path("/proc/net", name).read_text()
        except OSError:
            continue
        if name == "snmp":
            names, values = (line.split() for line in text.splitlines() if line.startswith("Ip:"))
            count += int(values[names.index(key)])
        else:
            count += sum(
                int(line.split()[1]) for line in text.splitlines() if line.split()[0] == key
            )
    return count


def _supervise(
    function: Callable[[], Any],
    folder: Path,
    result: int,
    isolated: bool,
    hidden: Iterable[Path],
    online: bool,
    seconds: float,
) -> int:
    if isolated:
        _unshare(online)
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    pid = os.fork()  # the first process after unshare is init of the new process namespace
    if pid:
        os.close(result)
        return _wait(pid, seconds)
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if isolated:
        if not online:
            _loopback_up()
        _close_filesystem(folder, hidden, online)
    _answer(result, {"value": function()})
    return 0


def _wait(pid: int, seconds: float) -> int:
    """Return the exit status of the child `pid`; after `seconds` end it, and return _LATE."""
    late: list[bool] = []

    def end(*_: object) -> None:
        late.append(True)
        os.kill(pid, signal.SIGKILL)

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return _LATE if late else status


def _answer(descriptor: int, answer: dict[str, Any]) -> None:
    with open(descriptor, "w", encoding="utf-8") as pipe:
        json.dump(answer, pipe)


def _unshare(online: bool) -> None:
    uid = os.getuid()
    gid = os.getgid()
    _call("unshare", _NEWNS | _NEWPID | (0 if online else _NEWNET) | (_NEWUSER if uid else 0))
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as interface:
        fcntl.ioctl(interface, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


def _close_filesystem(folder: Path, hidden: Iterable[Path], online: bool) -> None:
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    for path in hidden:
        if path.is_dir():
            _mount("tmpfs", path, "tmpfs", 0)
        else:
            _mount("/dev/null", path, None, _MS_BIND)
    _mount(folder, folder, None, _MS_BIND)
    if not online and Path("/etc/resolv.conf").exists():
        # A resolver that is on no loopback address: a name that is looked up counts as an attempt
        # to leave.
        resolver = folder / ".resolv.conf"
        resolver.write_text("nameserver 192.0.2.1\noptions timeout:1 attempts:1\n")
        _mount(resolver, Path("/etc/resolv.conf").resolve(), None, _MS_BIND)
    _set_mount("/", _AT_RECURSIVE, set_=_ATTR_RDONLY)
    _set_mount(folder, 0, clear=_ATTR_RDONLY)
    _mount("proc", "/proc", "proc", 0)
    if Path("/dev/shm").is_dir():
        _mount("tmpfs", "/dev/shm", "tmpfs", 0)


def _mount(source: str | Path | None, target: str | Path, kind: str | None, flags: int) -> None:
    names = [None if name is None else os.fsencode(name) for name in (source, target, kind)]
    _call("mount", *names, ctypes.c_ulong(flags), None)


def _set_mount(target: str | Path, flags: int, set_: int = 0, clear: int = 0) -> None:
    attributes = struct.pack("4Q", set_, clear, 0, 0)
    _call(
        "syscall",
        _MOUNT_SETATTR,
        _AT_FDCWD,
        os.fsencode(target),
        flags,
        attributes,
        ctypes.c_size_t(len(attributes)),
    )


def _call(name: str, *arguments: Any) -> None:
    """Call a function of the C library; raises OSError."""
    if getattr(_libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")

"""A cell that prints, as JSON, what a kernel sees of the process that it is."""

there = sorted(globals())  # before this cell binds a name of its own

import builtins  # noqa: E402  first of all it looks at what is there
import gc  # noqa: E402
import json  # noqa: E402
import locale  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import uuid  # noqa: E402
import warnings  # noqa: E402
from pathlib import Path  # noqa: E402

process = Path("/proc/self")
status = dict(
    line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line
)
of_status = (
    "Cap SigBlk SigIgn SigCgt Uid Gid Groups Umask Seccomp NoNewPrivs Threads Cpus_allowed_list"
)


def asks(number):
    """Whether this descriptor is a socket that the template is asked on, or a sandbox's first
    process.
    """
    try:
        with socket.socket(fileno=os.dup(number)) as one:
            return one.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_SEQPACKET
    except OSError:
        link = process / f"fd/{number}"
        return link.exists() and "pidfd" in os.readlink(link)


def to_compile(name, module):
    """Whether a module of the environment was imported and is not compiled."""
    spec = getattr(module, "__spec__", None)
    return (
        name != "__main__"
        and spec
        and spec.cached
        and spec.origin.startswith(sys.prefix)
        and not Path(spec.cached).exists()
    )


same = {
    "modules": sorted(sys.modules),
    "path": sys.path,
    "program": sys.argv[0],
    "options": sys.argv[3:],
    "flags": str(sys.flags),
    "main": there,
    "variables": dict(os.environ),
    "folder": os.getcwd(),
    "locale": locale.setlocale(locale.LC_ALL),
    "filters": [str(one) for one in warnings.filters],
    "json": sorted(vars(json)),
    "builtins": sorted(vars(builtins)),
    "hooks": [str(type(one)) for one in sys.meta_path],
    "status": {
        name: value for name, value in status.items() if name.startswith(tuple(of_status.split()))
    },
    "from outside": [number for number in range(100) if asks(number)],
    "session": os.getpid() == os.getsid(0) == os.getpgid(0),
    "parent": os.getppid(),
    "nice": os.nice(0),
    "limits": (process / "limits").read_text(),
    "mounts": sorted(
        line.split(" - ")[1] for line in (process / "mountinfo").read_text().splitlines()
    ),
    "streams": [os.read(0, 1).decode(), sys.stdout.encoding, sys.stderr.encoding],
    "switch": sys.getswitchinterval(),
    "collector": [gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()],
    "threads": sorted(type(thread).__name__ for thread in threading.enumerate()),
    "profile": sorted(os.listdir(os.environ["IPYTHONDIR"])),
}
print(
    json.dumps(
        {
            "command": (process / "cmdline").read_text().split("\0")[1],
            "to compile": sorted(
                name for name, module in sys.modules.items() if to_compile(name, module)
            ),
            "drawn": [random.random(), str(uuid.uuid4())],
            "same": same,
        }
    )
)

#!/usr/bin/env python3
"""A small Triton on this machine: a Slurm cluster with a login node, a gateway and readers'
computers around it.

    cluster.py up [--nodes N] [--memory cgroup|polling]
                             start it, which takes a few seconds
    cluster.py status        what runs, and how much memory it takes
    cluster.py obstacle      why this machine can run none, if so
    cluster.py down          end it, and remove all its files
    cluster.py image         make the root folder that its hosts share
    cluster.py apps FOLDER   make the programs that it has in /share/apps and /opt/jupyterhub
    on HOST[:USER] [COMMAND ...]
                             run a command there; without one, a login shell

It needs root, or a user who may be root of a namespace (privileges.py). $SMALL_TRITON is the folder
of a cluster; _build/cluster if it is not set. $TRITON_DIR takes the place of .triton and _build.
$RELEASE is the Debian release of its hosts.

Each host is a set of Linux namespaces: network, names, processes, mounts. They are inside one more
set, the machine room, which holds the network switches. So this machine sees one process tree and
one folder, and when the first process of the machine room ends, all hosts, mounts and networks end
too. A host's root folder is an overlay over an image of Debian: what a host writes stays in the
folder of the cluster.
"""

import argparse
import contextlib
import ctypes
import functools
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # Python has put the folder of this file there
from tools.cluster import privileges  # noqa: E402  (the line above makes it importable)
from triton.lib import clusterfacts  # noqa: E402

STATE = Path(
    os.environ.get("SMALL_TRITON")
    or Path(os.environ.get("TRITON_DIR") or ROOT / "_build", "cluster")
)
RELEASE = os.environ.get("RELEASE") or "bookworm"
# Made by `make .triton`: image/, apps/, wheels/, hub/
APPS = Path(os.environ.get("TRITON_DIR") or ROOT / ".triton").resolve() / RELEASE
IMAGE = APPS / "image"
FULL_HOME_MB = 16  # the size of the home that is nearly full
USERS = ["alice", "bob", *(f"student{number:02}" for number in range(1, 300)), "username"]
FULL_USER = "bob"
GPU_NODE = "gpu1"  # is there beside the other nodes if triton/facts.toml has GPUs
CGROUPS = ("memory", "freezer", "cpuset", "devices", "cpuacct")
CGROUP_ROOT = Path("/sys/fs/cgroup")
IN_NAMESPACES = ("unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork")
IN_MOUNTS = ("unshare", "--mount", "--propagation", "private")
INTO_HOST = ("--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd")
START_SECONDS = 120  # a cluster that is not ready then has failed


class ClusterError(Exception):
    """An error whose text says what is wrong and what to do."""


Network = Literal["cluster", "campus", "world"]
Role = Literal["controller", "node", "login", "hub", "gateway", "reader"]
Memory = Literal["cgroup", "polling"]


@functools.cache
def facts() -> clusterfacts.Facts:
    """The facts of triton/facts.toml. Raises ClusterError."""
    try:
        return clusterfacts.load(ROOT / "triton/facts.toml")
    except clusterfacts.FactsError as error:
        raise ClusterError(str(error)) from None


def gpu_types() -> list[str]:
    """The types of GPUs in triton/facts.toml, each once."""
    return list(dict.fromkeys(gpu.type for gpu in facts().gpus))


def password(user: str) -> str:
    """The password of `user` on all hosts."""
    return f"{user}-secret"


# The hosts and the three networks.

NETWORKS: dict[Network, str] = {"cluster": "10.44.0", "campus": "10.45.0", "world": "10.46.0"}


class Host:
    """One host: its names, its role, and its address in each of its networks.

    `numbers` gives the last number of the address in each network.
    """

    def __init__(self, name: str, role: Role, fqdn: str, numbers: dict[Network, int]) -> None:
        self.name = name
        self.role = role
        self.fqdn = fqdn
        self.addresses = {
            network: f"{NETWORKS[network]}.{number}" for network, number in numbers.items()
        }

    @property
    def names(self) -> list[str]:
        """All names of this host: triton.aalto.fi, triton, login."""
        return list(dict.fromkeys([self.fqdn, self.fqdn.split(".")[0], self.name]))

    def lines(self, network: Network, world: bool = False) -> list[str]:
        """Its lines in the /etc/hosts of another host in `network`.

        world: only with the names that a public DNS has. /etc/hosts has no wildcards, so there is a
        name of the hub for each user.
        """
        names = [self.fqdn if world else " ".join(self.names)]
        if self.role == "hub":
            known = facts().hosts
            names += [known.inside] * (network == "cluster")
            names += [known.servers.replace("*", user) for user in USERS]
        return [f"{self.addresses[network]} {name}" for name in dict.fromkeys(names)]


def python() -> str:
    """The name of the hosts' Python: python3.11."""
    return next(IMAGE.glob("usr/lib/python3.*")).name


def plan(nodes: int) -> list[Host]:
    """The hosts of a cluster with `nodes` compute nodes, in the order in which they start."""
    names = facts().hosts
    domain = names.domain
    node = names.node.rstrip("0123456789")
    return [
        Host("ctl", "controller", f"ctl.{domain}", {"cluster": 1}),
        *(
            Host(f"{node}{number}", "node", f"{node}{number}.{domain}", {"cluster": 10 + number})
            for number in range(1, nodes + 1)
        ),
        *(
            Host(GPU_NODE, "node", f"{GPU_NODE}.{domain}", {"cluster": 250})
            for _ in gpu_types()[:1]
        ),
        Host("login", "login", names.login, {"cluster": 2, "campus": 2}),
        Host("hub", "hub", names.hub, {"cluster": 3, "campus": 3}),
        Host("gateway", "gateway", names.gateway or f"gateway.{domain}", {"campus": 4, "world": 4}),
        Host("laptop", "reader", "laptop", {"campus": 9}),
        Host("outside", "reader", "outside", {"world": 9}),
    ]


def etc_hosts(host: Host, hosts: Sequence[Host]) -> str:
    """The /etc/hosts of `host`: the hosts that share a network with it, by the address there.

    A reader's computer also knows the names of login node and hub, which a public DNS has, even
    where it cannot reach them.
    """
    lines = ["127.0.0.1 localhost"]
    for other in hosts:
        shared = [network for network in other.addresses if network in host.addresses]
        if host is other:
            lines += other.lines(next(iter(host.addresses)))
        elif shared:
            lines += other.lines(shared[0])
        elif other.role in ("login", "hub") and host.role == "reader":
            lines += other.lines("campus", world=True)
    return "\n".join(lines) + "\n"


# Start the cluster, look at it, end it.


def obstacle() -> str | None:
    """Why this machine can run no cluster, and what to do about it; None if it can run one."""
    why = privileges.obstacle()
    return why and f"the small Triton cannot run here: {why}"


def up(
    nodes: int = 4,
    memory: Memory | None = None,
    state: Path = STATE,
    tied: bool = False,
    say: Callable[[str], object] = print,
) -> None:
    """Start a cluster in the folder `state`; return when Slurm has all nodes idle.

    memory: how Slurm enforces memory limits; None takes cgroup if this machine has it.
    tied: end the cluster when the calling process ends, even if it is killed.
    say: called with one line about the cluster that has started.
    Raises ClusterError.
    """
    memory = _checked_memory(memory, state)
    down(state)
    _sweep_cgroups()
    close(APPS)
    close(state)
    (state / "hosts").mkdir()
    began = time.monotonic()
    process = _start_machine_room(nodes, memory, state, tied)
    try:
        while not (state / "ready").exists():
            if process.poll() is not None or time.monotonic() - began > START_SECONDS:
                tail = "\n".join((state / "log").read_text(errors="replace").splitlines()[-15:])
                raise ClusterError(f"The cluster did not start. The end of its log:\n{tail}")
            time.sleep(0.05)
    except BaseException:
        down(state)
        raise
    say(f"{nodes} nodes idle after {time.monotonic() - began:.1f} s; memory limits by {memory}")


def _checked_memory(memory: Memory | None, state: Path) -> Memory:
    """How Slurm will enforce memory limits. Raises ClusterError if no cluster can start here."""
    if why := obstacle():
        raise ClusterError(why[0].upper() + why[1:])
    facts()  # report a wrong fact before anything is made
    if not (APPS / "apps").is_dir():
        raise ClusterError(f"There is no {APPS} yet: make .triton makes it")
    if IMAGE.stat().st_uid != os.geteuid():
        raise ClusterError(f"{IMAGE} was made by another user: make clean .triton makes it anew")
    if machine_room(state):
        raise ClusterError(f"A cluster is running already in {state}: make cluster-down ends it")
    memory = memory or ("cgroup" if cgroups_usable() else "polling")
    if memory == "cgroup" and not cgroups_usable():
        raise ClusterError(
            "This machine has no writable cgroup v1 memory controller: use --memory polling"
        )
    return memory


def close(folder: Path) -> None:
    """Make `folder`, if it is not there, and close it to other users of this machine.

    There are programs in it that run with the rights of their owner, and folders in which everybody
    may write. Raises ClusterError if it, or $TRITON_DIR, belongs to somebody else: in /var/tmp a
    neighbour may have made that first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for each in (folder, Path(os.environ.get("TRITON_DIR") or folder)):
        if each.lstat().st_uid != os.geteuid():
            raise ClusterError(
                f"{each} belongs to another user: give another, TRITON_DIR=/somewhere"
            )
    folder.chmod(0o700)


def _start_machine_room(
    nodes: int, memory: Memory, state: Path, tied: bool
) -> subprocess.Popen[bytes]:
    """Start the process that holds the cluster, and write its pid into `state`."""
    namespaces = [*IN_NAMESPACES, "--kill-child", "--mount-proc", "--propagation", "private"]
    room: list[str | Path] = [sys.executable, HERE / "machine_room.py"]
    with open(state / "log", "wb") as log:
        process = subprocess.Popen(
            [*namespaces, *room, state, str(nodes), memory],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            preexec_fn=_die_with_parent if tied else None,
        )
    _started.append(process)
    (state / "pid").write_text(f"{process.pid} {_start_time(process.pid)}\n")
    return process


def start_hub() -> None:
    """Start JupyterHub and its proxy; return when the login page answers.

    Raises ClusterError.
    """
    page = f"https://{facts().hosts.hub}/hub/login"
    look = (
        f"for i in $(seq 300); do curl --silent --fail --output /dev/null --max-time 5 {page} "
        "&& exit; sleep 0.2; done; exit 1"
    )
    subprocess.run(command_on("hub", ["hub-services", "start"]), check=True)
    if subprocess.run(command_on("hub", look)).returncode:
        raise ClusterError(
            f"{page} does not answer; its log: tools/cluster/on hub tail "
            "/var/log/jupyterhub-hub.log"
        )


_started: list[subprocess.Popen[bytes]] = []  # the machine rooms that this process has started


def down(state: Path = STATE) -> None:
    """End the cluster in `state`, or what is left of it, and remove all its files.

    It is no error if there is none. Raises ClusterError if a part of it does not end.
    """
    room = machine_room(state)
    if room:
        family = _family(room)
        # unshare --kill-child then kills the first process in the room, and so all others.
        os.kill(room, signal.SIGKILL)
        for _ in range(200):
            if not any(map(_start_time, family)):
                break
            time.sleep(0.02)
    for process in [process for process in _started if process.poll() is not None]:
        _started.remove(process)
    own = [CGROUP_ROOT / name / cgroup_name(state) for name in CGROUPS]
    for _ in range(200):
        if not any([_remove_cgroup(group) for group in own]):
            break
        time.sleep(0.02)
    else:
        raise ClusterError(f"Processes of the cluster are still there: see {own[0]}/*/tasks")
    if os.path.ismount(state / "disk"):
        raise ClusterError(
            f"{state}/disk is mounted, which no cluster does outside its own namespaces: "
            "unmount it first"
        )
    shutil.rmtree(state, ignore_errors=True)


def machine_room(state: Path = STATE) -> int | None:
    """The pid of the process that holds the cluster in `state`; None if it has ended.

    Its start time tells it from a later process with the same pid.
    """
    try:
        pid, started = (state / "pid").read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if _start_time(int(pid)) == started else None


def _start_time(pid: int) -> str | None:
    """When the process began, in the kernel's clock ticks; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def children(pid: int) -> list[int]:
    """The pids of the children of a process; none if it has ended."""
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def _die_with_parent() -> None:
    """Have the kernel end this process when its parent ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def cgroups_usable() -> bool:
    """Whether this machine has a writable cgroup v1 memory controller."""
    return os.access(CGROUP_ROOT / "memory/cgroup.procs", os.W_OK)


def cgroup_name(state: Path) -> str:
    """The name of the cgroup of the cluster in `state`."""
    return "small-triton-" + hashlib.sha256(os.fsencode(Path(state).resolve())).hexdigest()[:8]


def _remove_cgroup(group: Path) -> bool:
    """Remove a cgroup and those below it; return whether one is left."""
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            return True
    return group.exists()


def _sweep_cgroups() -> None:
    """Remove the cgroups that killed clusters have left.

    These have no process and are older than a minute: a younger one may belong to a cluster that is
    just starting.
    """
    for group in CGROUP_ROOT.glob("*/small-triton-*"):
        with contextlib.suppress(OSError):  # another cluster is ending now
            if time.time() - group.stat().st_mtime > 60 and not any(
                tasks.read_text() for tasks in group.rglob("tasks")
            ):
                _remove_cgroup(group)


# Run a command on a host.

Command = str | Sequence[str | Path]  # one string for the shell, or words


def command_on(
    host: str,
    command: Command = (),
    user: str | None = None,
    state: Path = STATE,
    terminal: str | None = None,
) -> list[str]:
    """The command line that runs `command` on `host`, as root or in a login shell of `user`.

    command: words, or one string for the shell; without any, an interactive shell.
    terminal: its $TERM; None takes that of this terminal.
    Raises ClusterError if no cluster runs in `state`, or it has no such host.
    """
    room = machine_room(state)
    if not room:
        raise ClusterError("No cluster is running: make cluster starts one")
    first = children(room)
    try:
        pid = (state / "hosts" / host).read_text().strip()
    except OSError:
        known = sorted(path.name for path in (state / "hosts").iterdir())
        raise ClusterError(f"There is no host {host!r}; there are: {', '.join(known)}") from None
    return [
        *("nsenter", f"--target={first[0]}", "--mount", "--pid", "--"),
        *("nsenter", f"--target={pid}", *INTO_HOST, "--"),
        *("env", "-i"),
        f"TERM={terminal or os.environ.get('TERM', 'dumb')}",
        "LANG=C.UTF-8",
        "HOME=/root",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        *(_as_user(user, command) if user else _as_root(command)),
    ]


def _as_user(user: str, command: Command) -> list[str]:
    """The command line that runs `command` in a login shell of `user`."""
    text = command if isinstance(command, str) else shlex.join(map(str, command))
    return ["runuser", "-l", user, *(["-c", text] if text else [])]


def _as_root(command: Command) -> list[str]:
    """The command line that runs `command`, in bash if it is a string."""
    if isinstance(command, str):
        return ["bash", "-c", command]
    return list(map(str, command)) or ["bash"]


def _rights(state: Path = STATE) -> list[str]:
    """What stands before a command of an ordinary user about the cluster in `state`."""
    room = machine_room(state)
    return ["nsenter", f"--target={room}", "--user"] if room else privileges.as_root()


def status(state: Path = STATE) -> list[str]:
    """Lines about the nodes and the memory of the cluster."""
    room = machine_room(state)
    if not room:
        return ["No cluster is running: make cluster starts one"]
    nodes = subprocess.run(
        command_on("ctl", ["sinfo", "--Format=NodeList,StateLong,Partition"], state=state),
        capture_output=True,
        text=True,
    )
    return [
        *nodes.stdout.splitlines(),
        f"{memory_used(room) / 1e6:.0f} MB of memory, in {len(_family(room))} processes",
    ]


def _family(pid: int) -> list[int]:
    """The pids of a process and of all its descendants."""
    family = [pid]
    for parent in family:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # the process has ended meanwhile
                family += map(int, task.read_text().split())
    return family


def memory_used(room: int) -> int:
    """Bytes of memory of the process `room` and its descendants, shared ones counted once (Pss)."""
    total = 0
    for pid in _family(room):
        with contextlib.suppress(OSError):  # the process has ended meanwhile
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            if match := re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE):
                total += 1024 * int(match[1])
    return total


def image() -> None:
    """Make the root folder that the hosts share. Raises ClusterError."""
    close(APPS)
    _run_to_the_end([HERE / "make-image", APPS, RELEASE], "the hosts' Debian")


def apps(folder: Path) -> None:
    """Install the programs of the cluster and of the hub below `folder`.

    folder/wheels are the packages of requirements.txt, each checked against its hash. folder/apps
    is made from them, and becomes /share/apps on the cluster. folder/hub becomes /opt/jupyterhub on
    the hub, as triton/jupyterhub/README.md says. Programs remember where they were installed, so
    they are installed below these paths, in a root folder like a host's.
    Raises ClusterError.
    """
    program: list[str | Path] = [sys.executable, HERE / "machine_room.py", "--apps", folder]
    _run_to_the_end(program, "the cluster's programs")


def _run_to_the_end(program: Sequence[str | Path], what: str) -> None:
    """Run `program`, which makes `what`, where its mounts are its own and nothing outlives it.

    Raises ClusterError if it fails.
    """
    namespaces = [*IN_MOUNTS, "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*namespaces, *program], preexec_fn=_die_with_parent).returncode:
        raise ClusterError(f"So {what} could not be made: make .triton tries again")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up")
    start.add_argument("--nodes", type=int, default=4, choices=range(1, 65), metavar="N")
    start.add_argument("--memory", choices=("cgroup", "polling"))
    commands.add_parser("down")
    commands.add_parser("status")
    commands.add_parser("obstacle")
    commands.add_parser("image")
    make = commands.add_parser("apps")
    make.add_argument("folder", type=Path)
    run = commands.add_parser("on")
    run.add_argument("host")
    run.add_argument("words", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    if arguments is None and os.geteuid() != 0 and not obstacle():
        command = [*_rights(), sys.executable, *sys.argv]
        os.execvp(command[0], command)
    try:
        match options.command:
            case "up":
                up(options.nodes, options.memory)
                start_hub()  # tests that need the hub start it themselves
            case "down":
                down()
            case "status":
                print(*status(), sep="\n")
            case "obstacle":
                if why := obstacle():
                    raise ClusterError(why[0].upper() + why[1:])
            case "image":
                image()
            case "apps":
                apps(options.folder.resolve())
            case "on":
                host, _, user = options.host.partition(":")
                words = options.words[0] if len(options.words) == 1 else options.words
                command = command_on(host, words, user or None)
                os.execvp(command[0], command)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

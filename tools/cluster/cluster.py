#!/usr/bin/env python3
"""A small Triton on this machine: a Slurm cluster with a login node, a gateway and readers'
computers around it.

    cluster.py up [--nodes N] [--memory cgroup|polling]    start it; a few seconds cluster.py status
    what runs, and how much memory it takes cluster.py obstacle
    why none can run here, if so cluster.py down                                        end it, and
    leave nothing cluster.py apps FOLDER                                 make what it has as
    /share/apps, and on the hub as /opt/jupyterhub on HOST[:USER] [COMMAND ...]
    run a command there; without one, a login shell

Root, and the packages of tools/apt.txt. $SMALL_TRITON is the folder of a cluster, _build/cluster if
it is not set.

How it is made. Each host is a set of Linux namespaces: network, names, processes, mounts. They all
live inside one more set, the machine room, which holds the disk (one image file of bounded size)
and the network switches. So this machine sees one process tree and one file; when the machine
room's first process ends, all hosts, mounts and networks end with it. A host's root folder is this
machine's own, read through an overlay: what a host writes stays on the image.
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
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # called by its path, it is found beside what it imports
from triton.lib import clusterfacts  # noqa: E402

STATE = Path(os.environ.get("SMALL_TRITON", ROOT / "_build/cluster"))
APPS = ROOT / ".triton"  # made by `make .triton`: apps/, wheels/, hub/
IMAGE_SIZE = "6G"  # the file is sparse: it takes what is written
FULL_HOME_MB = 16  # the home that is nearly full has this size
USERS = ["alice", "bob", *(f"student{number:02}" for number in range(1, 200))]
FULL_USER = "bob"
CGROUPS = ("memory", "freezer", "cpuset", "devices", "cpuacct")
CGROUP_ROOT = Path("/sys/fs/cgroup")
PROGRAMS = (
    "slurmctld",
    "slurmdbd",
    "slurmd",
    "munged",
    "mariadbd",
    "sshd",
    "ip",
    "openssl",
    "mkfs.ext4",
    "nsenter",
)


class ClusterError(Exception):
    """What is wrong and what to do, in one sentence."""


@functools.cache
def facts():
    try:
        return clusterfacts.load(ROOT / "triton/facts.toml")
    except clusterfacts.FactsError as error:
        raise ClusterError(str(error)) from None


def password(user):
    return f"{user}-secret"


# The hosts and the three networks.

NETWORKS = {"cluster": "10.44.0", "campus": "10.45.0", "world": "10.46.0"}


class Host:
    """One host: what it is called, what it does, its addresses by network."""

    def __init__(self, name, role, fqdn, **addresses):
        self.name, self.role, self.fqdn = name, role, fqdn
        self.addresses = {
            network: f"{NETWORKS[network]}.{number}" for network, number in addresses.items()
        }

    @property
    def names(self):
        """All names by which others look it up: triton.aalto.fi, triton, login."""
        return list(dict.fromkeys([self.fqdn, self.fqdn.split(".")[0], self.name]))

    def lines(self, network, world=False):
        """Its lines in the /etc/hosts of a host that knows its address in `network`.

        world: the lines have the names that the world's DNS knows, and no others. In the place
        of the hub's wildcard name there is a name for each user.
        """
        names = [self.fqdn if world else " ".join(self.names)]
        if self.role == "hub":
            known = facts()["hosts"]
            names += [known["inside"]] * (network == "cluster")
            names += [known["servers"].replace("*", user) for user in USERS]
        return [f"{self.addresses[network]} {name}" for name in dict.fromkeys(names)]


def plan(nodes):
    """The hosts of a cluster with so many compute nodes, in the order in which they start."""
    names = facts()["hosts"]
    domain, node = names["domain"], names["node"].rstrip("0123456789")
    return [
        Host("ctl", "controller", f"ctl.{domain}", cluster=1),
        *(
            Host(f"{node}{number}", "node", f"{node}{number}.{domain}", cluster=10 + number)
            for number in range(1, nodes + 1)
        ),
        Host("login", "login", names["login"], cluster=2, campus=2),
        Host("hub", "hub", names["hub"], cluster=3, campus=3),
        Host("gateway", "gateway", names["gateway"], campus=4, world=4),
        Host("laptop", "reader", "laptop", campus=9),
        Host("outside", "reader", "outside", world=9),
    ]


def etc_hosts(host, hosts):
    """The /etc/hosts of `host`: whom it shares a network with, by the address there.

    The gateway and the outside also know the names of what they cannot reach, as the world's DNS
    tells them.
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


# Outside: start, look, end.


def obstacle():
    """Why this machine can run no cluster, and what to do about it, in one sentence; None if it
    can.
    """
    if os.geteuid() != 0:
        return "the small Triton needs root: sudo make test, or CI"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    absent = [program for program in PROGRAMS if not shutil.which(program, path=path)]
    if absent:
        return f"the small Triton needs {', '.join(absent)}: make system installs them"
    if subprocess.run(
        ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "true"],
        capture_output=True,
    ).returncode:
        return (
            "the small Triton needs Linux namespaces, which this machine or container does "
            "not allow: try a virtual machine"
        )
    if not Path("/dev/loop-control").exists():
        return (
            "the small Triton needs loop devices (/dev/loop-control), which this machine or "
            "container does not have"
        )
    return None


def up(nodes=4, memory=None, state=STATE, tied=False, say=print):
    """Start a cluster in the folder `state`; return when Slurm has all nodes idle.

    memory: cgroup or polling, the way in which Slurm enforces memory limits; None takes cgroup
    where it can be had. tied: end the cluster when the calling process ends, however it does.
    Raises ClusterError.
    """
    if why := obstacle():
        raise ClusterError(why[0].upper() + why[1:])
    facts()  # a wrong one is told before anything is made
    if not (APPS / "apps").is_dir():
        raise ClusterError(
            "There is no .triton/ yet: make .triton builds what the cluster has as /share/apps"
        )
    if machine_room(state):
        raise ClusterError(f"A cluster is running already in {state}: make cluster-down ends it")
    memory = memory or ("cgroup" if cgroups_usable() else "polling")
    if memory == "cgroup" and not cgroups_usable():
        raise ClusterError(
            "This machine has no writable cgroup v1 memory controller: use --memory polling"
        )
    down(state)
    _sweep_cgroups()
    (state / "hosts").mkdir(parents=True)
    began = time.monotonic()
    command = [
        "unshare",
        "--mount",
        "--net",
        "--ipc",
        "--uts",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation",
        "private",
        sys.executable,
        HERE / "machine_room.py",
        state,
        str(nodes),
        memory,
    ]
    with open(state / "log", "wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            preexec_fn=_die_with_parent if tied else None,
        )
    _started.append(process)
    (state / "pid").write_text(f"{process.pid} {_start_time(process.pid)}\n")
    try:
        while not (state / "ready").exists():
            if process.poll() is not None or time.monotonic() - began > 120:
                tail = "\n".join((state / "log").read_text(errors="replace").splitlines()[-15:])
                raise ClusterError(f"The cluster did not start. The end of its log:\n{tail}")
            time.sleep(0.05)
    except BaseException:
        down(state)
        raise
    say(f"{nodes} nodes idle after {time.monotonic() - began:.1f} s; memory limits by {memory}")


def start_hub():
    """Start JupyterHub and its proxy; return when the page of the login answers.

    Raises ClusterError.
    """
    page = f"https://{facts()['hosts']['hub']}/hub/login"
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


_started = []  # of machine rooms, the Popen of those that are children of this process


def down(state=STATE):
    """End the cluster in `state`, whatever is left of it, and remove all its files.

    Not an error if there is none.
    """
    found = machine_room(state)
    if found:
        family = _family(found)
        os.kill(
            found, signal.SIGKILL
        )  # unshare --kill-child takes the room's first process with it, and that all others
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


def machine_room(state=STATE):
    """The pid of the process that holds the cluster in `state`, or None.

    A recycled pid is not taken for it.
    """
    try:
        pid, started = (state / "pid").read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if _start_time(int(pid)) == started else None


def _start_time(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _children(pid):
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def cgroups_usable():
    return os.access(CGROUP_ROOT / "memory/cgroup.procs", os.W_OK)


def cgroup_name(state):
    return "small-triton-" + hashlib.sha256(os.fsencode(Path(state).resolve())).hexdigest()[:8]


def _remove_cgroup(group):
    """Remove a cgroup and those below it; return whether something is left."""
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            return True
    return group.exists()


def _sweep_cgroups():
    """Remove the cgroups of clusters whose owner was killed: no process is left in them, and none
    is about to come.
    """
    for group in CGROUP_ROOT.glob("*/small-triton-*"):
        with contextlib.suppress(OSError):  # another cluster ends just now
            if time.time() - group.stat().st_mtime > 60 and not any(
                tasks.read_text() for tasks in group.rglob("tasks")
            ):
                _remove_cgroup(group)


# Running something on a host.


def command_on(host, command=(), user=None, state=STATE, terminal=None):
    """The command, as a list, that runs `command` on `host`: as root, or in a login shell of
    `user`.

    `command` is a list of words, or one string for the shell; `terminal` is its $TERM, this
    terminal's if None. Raises ClusterError.
    """
    room = machine_room(state)
    if not room:
        raise ClusterError("No cluster is running: make cluster starts one")
    first = _children(room)
    try:
        pid = (Path(state) / "hosts" / host).read_text().strip()
    except OSError:
        known = sorted(path.name for path in (Path(state) / "hosts").iterdir())
        raise ClusterError(f"There is no host {host!r}; there are: {', '.join(known)}") from None
    if isinstance(command, str):
        command = ["bash", "-c", command] if not user else command
    elif user and command:
        command = shlex.join(map(str, command))
    inside = (
        ["runuser", "-l", user, *(["-c", command] if command else [])]
        if user
        else list(command) or ["bash"]
    )
    return [
        "nsenter",
        f"--target={first[0]}",
        "--mount",
        "--pid",
        "--",
        "nsenter",
        f"--target={pid}",
        "--mount",
        "--uts",
        "--ipc",
        "--net",
        "--pid",
        "--cgroup",
        "--root",
        "--wd",
        "--",
        "env",
        "-i",
        f"TERM={terminal or os.environ.get('TERM', 'dumb')}",
        "LANG=C.UTF-8",
        "HOME=/root",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        *map(str, inside),
    ]


def status(state=STATE):
    """Lines that say what runs."""
    room = machine_room(state)
    if not room:
        return ["No cluster is running: make cluster starts one"]
    done = subprocess.run(
        command_on("ctl", ["sinfo", "--Format=NodeList,StateLong,Partition"], state=state),
        capture_output=True,
        text=True,
    )
    return [
        *done.stdout.splitlines(),
        f"{memory_used(room) / 1e6:.0f} MB of memory, in {len(_family(room))} processes",
    ]


def _family(pid):
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def memory_used(room):
    """Bytes of memory that the process `room` and all below it hold; what several share counts once
    (Pss).
    """
    total = 0
    for pid in _family(room):
        try:
            total += 1024 * int(
                re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1]
            )
        except (OSError, TypeError):
            continue
    return total


def apps(folder):
    """Make folder/apps, /share/apps of the cluster, from folder/wheels, and folder/hub,
    /opt/jupyterhub of the hub, from folder/hub-wheels.

    Programs remember where they were installed, so this happens where / looks as on a host.
    """
    command = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        sys.executable,
        HERE / "machine_room.py",
        "--apps",
        folder,
    ]
    if subprocess.run(command).returncode:
        raise ClusterError(
            "The folders of the cluster's programs could not be made; the reason stands above"
        )


def main(arguments=None):
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
    make = commands.add_parser("apps")
    make.add_argument("folder", type=Path)
    run = commands.add_parser("on")
    run.add_argument("host")
    run.add_argument("words", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    try:
        match options.command:
            case "up":
                up(options.nodes, options.memory)
                start_hub()  # tests that want it start it themselves
            case "down":
                down()
            case "status":
                print(*status(), sep="\n")
            case "obstacle":
                if why := obstacle():
                    raise ClusterError(why[0].upper() + why[1:])
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

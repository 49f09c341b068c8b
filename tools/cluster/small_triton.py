"""The small Triton as tests use it: `triton.run("login", "squeue --me", user=user)`."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tools.cluster import cluster

# {name of a host in its prompt: host}
PROMPTS: dict[str, str] = {
    "laptop": "laptop",
    "outside": "outside",
    cluster.facts().hosts.short: "login",
}

# The seconds that a wait may take if the guide promises no time: a machine may be slow.
PATIENCE = 120


class Triton:
    """A running cluster, with accounts that no other test has used."""

    def __init__(self, state: Path) -> None:
        self.state = Path(state)
        self._accounts = (user for user in cluster.USERS if user.startswith("student"))

    def account(self, name: str = "") -> "Account":
        """The account `name`, or one that has never logged in; its password is `password(user)`.

        Raises RuntimeError if no such user is left.
        """
        try:
            return Account(self, name or next(self._accounts))
        except StopIteration:
            raise RuntimeError(
                f"all {len(cluster.USERS)} accounts are taken: add more to USERS in "
                "tools/cluster/cluster.py"
            ) from None

    password = staticmethod(cluster.password)

    @property
    def nodes(self) -> list[str]:
        """The names of the compute nodes."""
        prefix = cluster.facts().hosts.node.rstrip("0123456789")
        return [
            path.name
            for path in (self.state / "hosts").iterdir()
            if path.name.startswith(prefix) and path.name.removeprefix(prefix).isdigit()
        ]

    @property
    def memory(self) -> cluster.Memory:
        """How Slurm enforces memory limits here."""
        settings = self.run("login", "scontrol show config").stdout
        return "cgroup" if "proctrack/cgroup" in settings else "polling"

    def command(
        self,
        host: str,
        command: cluster.Command,
        user: str | None = None,
        terminal: str | None = None,
    ) -> list[str]:
        """The command line that runs `command` on `host`; see cluster.command_on."""
        return cluster.command_on(host, command, user, self.state, terminal)

    def run(
        self,
        host: str,
        command: cluster.Command,
        user: str | None = None,
        check: bool = True,
        timeout: float = 120,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """The completed process of `command` on `host`, in a login shell of `user` or as root.

        timeout: in seconds. options: of subprocess.run. If the command fails and `check` is set,
        raises AssertionError with its output.
        """
        if "input" not in options:
            options["stdin"] = subprocess.DEVNULL
        completed = subprocess.run(
            self.command(host, command, user),
            capture_output=True,
            text=True,
            timeout=timeout,
            **options,
        )
        if check and completed.returncode:
            raise AssertionError(
                f"on {host}, {user or 'root'} ran {command!r}: exit status "
                f"{completed.returncode}\n{completed.stdout}{completed.stderr}"
            )
        return completed

    def listening(self, host: str, user: str) -> dict[str, int]:
        """{command line: number of TCP ports} of the processes of `user` that listen on `host`."""
        pids = re.findall(
            r"pid=(\d+)",
            self.run(host, "ss --no-header --listening --tcp --numeric --processes").stdout,
        )
        lines = self.run(
            host, f"ps --no-headers -o pid=,args= --user {user} || true"
        ).stdout.splitlines()
        return {
            args: pids.count(pid)
            for pid, args in (line.split(None, 1) for line in lines)
            if pid in pids
        }

    def settle(self) -> None:
        """Wait until no job is left, so that the next one begins on the first node."""
        self.run(
            "login",
            'for i in $(seq 300); do [ -z "$(squeue --noheader)" ] && break; sleep 0.1; done',
        )

    def busy(self) -> str:
        """Start a job that takes all nodes, for two minutes at most; return its number."""
        take_all = (
            f"sbatch --parsable --nodes={len(self.nodes)} --exclusive --time=2 "
            "--output=/dev/null --wrap='sleep 120'"
        )
        return self.run(
            "login",
            f"job=$({take_all}); for i in $(seq 300); do "
            '[ "$(squeue --noheader --jobs=$job --format=%T)" = RUNNING ] && break; '
            "sleep 0.2; done; echo $job",
        ).stdout.strip()

    def start(
        self, host: str, command: cluster.Command, user: str | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start `command` on `host` and return its process, which the caller must end.

        options: of subprocess.Popen.
        """
        return subprocess.Popen(self.command(host, command, user), text=True, **options)

    def write(
        self, host: str, path: str, text: str, user: str | None = None, mode: str = "644"
    ) -> None:
        """Write `text` to `path` on `host`; `path` may begin with ~/."""
        self.run(host, f"cat > {path} && chmod {mode} {path}", user, input=text)


class Account(str):
    """The name of somebody on the small Triton, who types commands there."""

    triton: Triton

    def __new__(cls, triton: Triton, name: str) -> Self:
        account = super().__new__(cls, name)
        account.triton = triton
        return account

    def tries(
        self, command: cluster.Command, host: str = "login", **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """The completed process of a command that may fail; see Triton.run."""
        return self.triton.run(host, command, self, check=False, **options)

    def run(self, command: cluster.Command, host: str = "login", **options: Any) -> str:
        """What the command prints. Raises AssertionError if it fails."""
        return self.triton.run(host, command, self, **options).stdout

    def write(self, path: str, text: str, mode: str = "644", host: str = "login") -> None:
        """Write `text` to `path`, which may begin with ~/."""
        self.triton.write(host, path, text, self, mode)

    def wait_until(self, condition: str, seconds: int = PATIENCE) -> None:
        """Wait until `condition`, a shell command for the login node, succeeds.

        Raises AssertionError if it does not.
        """
        loop = f"for i in $(seq {seconds * 5}); do {condition} && exit; sleep 0.2; done; exit 1"
        self.run(loop, timeout=seconds * 2)

    def submit(self, script: str, options: str = "", name: str = "job.sh") -> str:
        """Submit `script`, a bash script without its first line; return the number of the job."""
        self.write(f"~/{name}", f"#!/bin/bash\n{script}\n")
        return self.run(f"sbatch --parsable {options} {name}").strip()

    def ended(self, *jobs: str, seconds: int = PATIENCE) -> None:
        """Wait until none of these jobs is in the queue. Raises AssertionError if one stays."""
        listed = f"squeue --noheader --jobs={','.join(jobs)} 2>/dev/null | grep -q ."
        self.wait_until(f"! {listed}", seconds)

    def state(self, job: str, wanted: str = "[!PR]") -> list[str]:
        """[State, ExitCode] of `job` in Slurm's accounting, once the state begins as `wanted`. It
        begins with neither P nor R when the job has ended.
        """
        look = f"sacct --noheader --parsable2 --allocations --jobs={job} --format=State,ExitCode"
        self.wait_until(f"case $({look} | tail -n 1) in {wanted}*) true;; *) false;; esac", 150)
        return self.run(look).splitlines()[-1].split("|")


def bring_up(folder: Path) -> tuple[Triton, Callable[[], None]]:
    """(a new Triton in `folder`, a function that ends it). It ends with this process at the latest.

    If a cluster runs in $SMALL_TRITON, it is that one, and the function does not end it.
    """
    if os.environ.get("SMALL_TRITON") and cluster.machine_room():
        return Triton(cluster.STATE), lambda: None
    cluster.up(state=folder, tied=True, say=lambda line: None)
    return Triton(folder), lambda: cluster.down(folder)

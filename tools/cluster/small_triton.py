"""The small Triton as tests use it: `triton.run("login", "squeue --me", user=user)`."""

import os
import re
import subprocess
from pathlib import Path

from tools.cluster import cluster

PROMPTS = {
    "laptop": "laptop",
    "outside": "outside",
    cluster.facts()["hosts"]["short"]: "login",
}  # the hosts, by what their prompts say


class Triton:
    """A running cluster, and accounts on it that no other test has used."""

    def __init__(self, state):
        self.state = Path(state)
        self._accounts = (user for user in cluster.USERS if user.startswith("student"))

    def account(self):
        """The name of a user who has logged in nowhere yet; the password is `password(user)`."""
        try:
            return next(self._accounts)
        except StopIteration:
            raise RuntimeError(
                f"all {len(cluster.USERS)} accounts are taken: add more to USERS in "
                "tools/cluster/cluster.py"
            ) from None

    password = staticmethod(cluster.password)

    @property
    def nodes(self):
        prefix = cluster.facts()["hosts"]["node"].rstrip("0123456789")
        return [
            path.name
            for path in (self.state / "hosts").iterdir()
            if path.name.startswith(prefix) and path.name.removeprefix(prefix).isdigit()
        ]

    @property
    def memory(self):
        """How Slurm enforces memory limits here: cgroup or polling."""
        return (
            "cgroup"
            if "proctrack/cgroup" in self.run("login", "scontrol show config").stdout
            else "polling"
        )

    def command(self, host, command, user=None, terminal=None):
        """The argument list that runs `command`, a string for the shell or a list of words, on
        `host`; see cluster.command_on.
        """
        return cluster.command_on(host, command, user, self.state, terminal)

    def run(self, host, command, user=None, check=True, timeout=120, **options):
        """Run `command` on `host`, in a login shell of `user` or as root; return the finished
        process, with its text.

        Raises AssertionError, with what the command printed, if it fails and `check` is set.
        """
        if "input" not in options:
            options["stdin"] = subprocess.DEVNULL
        done = subprocess.run(
            self.command(host, command, user),
            capture_output=True,
            text=True,
            timeout=timeout,
            **options,
        )
        if check and done.returncode:
            raise AssertionError(
                f"on {host}, {user or 'root'} ran {command!r}: exit status "
                f"{done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def listening(self, host, user):
        """{command line: number of TCP ports} of the processes of `user` on `host` that listen for
        connections.
        """
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

    def settle(self):
        """Wait until no job is left: the next one begins on the first node."""
        self.run(
            "login",
            'for i in $(seq 300); do [ -z "$(squeue --noheader)" ] && break; sleep 0.1; done',
        )

    def busy(self):
        """Have all nodes taken, as they often are, for two minutes at most; return the number of
        the job that does it.
        """
        taken = (
            f"sbatch --parsable --nodes={len(self.nodes)} --exclusive --time=2 "
            "--output=/dev/null --wrap='sleep 120'"
        )
        return self.run(
            "login",
            f'job=$({taken}); for i in $(seq 300); do [ "$(squeue --noheader --jobs=$job '
            '--format=%T)" = RUNNING ] && break; '
            "sleep 0.2; done; echo $job",
        ).stdout.strip()

    def start(self, host, command, user=None, **options):
        """Start `command` on `host` and return the Popen; whoever starts it ends it."""
        return subprocess.Popen(self.command(host, command, user), text=True, **options)

    def write(self, host, path, text, user=None, mode="644"):
        """Write `text` to `path` on `host`; `path` may begin with ~/."""
        self.run(host, f"cat > {path} && chmod {mode} {path}", user, input=text)


def bring_up(folder):
    """A Triton in `folder` that ends with this process; or the one that runs already in
    $SMALL_TRITON.
    """
    if os.environ.get("SMALL_TRITON") and cluster.machine_room():
        return Triton(cluster.STATE), lambda: None
    cluster.up(state=Path(folder), tied=True, say=lambda line: None)
    return Triton(folder), lambda: cluster.down(Path(folder))

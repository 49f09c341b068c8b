"""People on the small Triton, who use our commands."""

import json
import re
import shlex
import subprocess

import pytest

from tools.cluster import cluster
from tools.cluster.small_triton import Account
from tools.files import ROOT

FACTS = cluster.facts()
DATA = ROOT / "tests/data/commands"


class Person(Account):
    """Somebody on the small Triton, who uses our commands."""

    def sees(self, command, host="login", **options):
        """What the command prints, also if it fails."""
        return self.tries(command, host, **options).stdout

    def start(self, command, host="login", **options):
        """Start a command; return its process."""
        pipes = {name: subprocess.PIPE for name in ("stdout", "stderr")}
        pipes |= {"stdin": subprocess.DEVNULL}
        return self.triton.start(host, command, self, **pipes | options)

    def jobs(self):
        """The numbers of the jobs in the queue."""
        return self.run("squeue --me --noheader --format=%i").split()

    def servers(self):
        """What `sjupyter --list` says, by the number of the job."""
        lines = self.run("sjupyter --list --json").splitlines()
        return {server["job"]: server for server in map(json.loads, lines)}

    def queued(self, options=""):
        """The number of the job of a server that is left in the queue."""
        return json.loads(self.run(f"sjupyter --json --detach {options}"))["job"]

    def server(self, options="", before=""):
        """A server that is followed; see Started."""
        return Started(self, options, before)

    def answers(self, url, *options):
        """The HTTP status that `url` has on the login node; 000 if there is no answer."""
        words = shlex.join([*options, url])
        return self.sees(
            f"curl --silent --output /dev/null --max-time 5 --write-out '%{{http_code}}' {words}"
        )

    def instead_of(self, **scripts):
        """Begins a command line in which these scripts are called in place of programs."""
        self.run("mkdir -p instead")
        for name, script in scripts.items():
            self.write(f"~/instead/{name}", f"#!/bin/sh\n{script}\n", "755")
        return "PATH=$HOME/instead:$PATH"

    def jupyter(self, name, script):
        """Make a virtual environment where `jupyter` is a script around the real one, $JUPYTER."""
        central = f"{FACTS.paths.jupyter_env}/bin"
        self.run(f"mkdir -p {name}/bin")
        self.write(f"~/{name}/bin/activate", f"PATH=$HOME/{name}/bin:{central}:$PATH\n")
        text = f"#!/bin/bash\nJUPYTER={central}/jupyter\n{script}\n"
        self.write(f"~/{name}/bin/jupyter", text, "755")

    def impatient(self, **seconds):
        """Begins a command line with a copy of sjupyter in which these constants are others."""
        text = (ROOT / "triton/bin/sjupyter").read_text(encoding="utf-8")
        for name, value in seconds.items():
            text, found = re.subn(rf"^{name} = \d+", f"{name} = {value}", text, flags=re.MULTILINE)
            assert found == 1
        installed = f"{FACTS.paths.apps}/triton"
        self.run(f"mkdir -p impatient/bin; ln -sfn {installed}/lib impatient/lib")
        self.write("~/impatient/bin/sjupyter", text, "755")
        return f"SJUPYTER_FACTS={installed}/facts.toml ~/impatient/bin/sjupyter"


class Started:
    """`sjupyter` with `options`, attached; `said` is what it printed as JSON when the server
    answered.
    """

    def __init__(self, person, options, before):
        self.person = person
        self.process = person.start(f"{before} echo $$; exec sjupyter --json {options}")
        self.pid = self.process.stdout.readline().strip()
        line = self.process.stdout.readline()
        self.said = json.loads(line or "{}")
        if self.said.get("state") != "ready":
            raise AssertionError(
                f"sjupyter {options} ended with {self.process.wait()}: "
                f"{line}{self.process.stderr.read()}"
            )
        self.job, self.node = self.said["job"], self.said["node"]
        there = re.search(r"-L \d+:(localhost:\d+) ", self.said["forward"])
        forwarded = self.said["forward_url"]
        here = re.sub(r"localhost:\d+", there[1], forwarded) if there else forwarded
        self.url = self.said.get("url", here)
        self.origin, self.path, self.token = re.match(
            r"(http://[^/]+)(/\w+/)\w+\?token=(\w+)", self.url
        ).groups()
        self.base = f"{self.origin}{self.path}"

    def answers(self):
        return self.person.answers(self.url) in ("200", "302")

    def get(self, path, *options):
        """What the server's API answers to its owner."""
        key = f"Authorization: token {self.token}"
        return self.person.run(
            shlex.join(["curl", "--silent", "--header", key, *options, f"{self.base}api/{path}"])
        )

    def environ(self):
        """The environment variables of the processes of its job, as lines."""
        files = f"$(grep -l --null-data SLURM_JOB_ID={self.job} /proc/[0-9]*/environ)"
        return self.person.sees(f"cat {files} | tr '\\0' '\\n'", self.node).splitlines()

    def execute(self, code):
        """Run `code` in a new kernel, until it is done or the kernel or the server has ended."""
        python = f"{FACTS.paths.jupyter_env}/bin/python"
        words = [python, "-", self.base.rstrip("/"), self.token, code]
        script = (DATA / "run_in_kernel.py").read_text(encoding="utf-8")
        self.person.run(shlex.join(words), input=script)

    def end(self, seconds=60):
        """Wait for its end; return (exit status, what it printed last, errors)."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, json.loads(out.splitlines()[-1]) if out.strip() else {}, err

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.person.sees(f"kill {self.pid}; scancel {self.job}")
            self.process.communicate(timeout=60)
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture(scope="module")
def person(triton):
    """person() is somebody new, and person(name) somebody who is known. Their jobs end with the
    tests of the module.
    """
    people = []

    def new(name=""):
        people.append(Person(triton, triton.account(name)))
        return people[-1]

    yield new
    for one in people:
        one.sees("scancel --me")


@pytest.fixture
def me(person):
    """Somebody new, who has no job when the test has ended."""
    one = person()
    yield one
    one.sees("scancel --me")

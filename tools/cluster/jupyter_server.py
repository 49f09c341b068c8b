"""A Jupyter server in a job on the small Triton, its kernels, and a reader's browser for it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tools import pages
from tools.browser import FLAGS
from tools.cluster import cluster
from tools.cluster.small_triton import PATIENCE, Triton

if TYPE_CHECKING:  # playwright takes half a second to import, and most tests open no browser
    from playwright.sync_api import Browser, Playwright

FACTS = cluster.facts()
CENTRAL = f"{FACTS.paths.jupyter_env}/bin"

# A client of kernels, a program for the login node.
CLIENT = (cluster.HERE / "scripts/kernel_client.py").read_text(encoding="utf-8")


class Kernel:
    """A kernel of a server; `number` is its id."""

    def __init__(self, server: Server, number: str) -> None:
        self.server = server
        self.number = number

    def execute(self, code: str, seconds: float = PATIENCE) -> dict[str, str]:
        """Run `code`; return its stdout, stderr, result, error ("Name: text") and status."""
        answer: dict[str, str] = self.server.talk("execute", self.number, code, seconds)
        return answer

    def prints(self, code: str, seconds: float = PATIENCE) -> str:
        """The stripped output of `code`. Raises AssertionError if it fails."""
        answer = self.execute(code, seconds)
        assert answer["status"] == "ok", answer
        return answer["stdout"].strip()


class Server:
    """`jupyter lab` in a batch job of `user`; a context manager.

    Its log has a name like those of the hub's servers. The property `url` waits until it runs.
    """

    def __init__(
        self,
        triton: Triton,
        user: str,
        options: str = "--mem=2G --time=20",
        folder: str = "~",
        before: str = "",
        submit: Callable[[str], str] | None = None,
    ) -> None:
        """Submit the job.

        options: of sbatch. folder: the server's working folder. before: shell lines that the job
        runs first. submit: runs the sbatch and returns its output; the default is a shell on the
        login node.
        """
        self.triton = triton
        self.user = triton.account(user)
        self.token = os.urandom(12).hex()
        name = FACTS.logs.pattern.replace("~/", "").replace("*", "%j")
        script = f"""#!/bin/bash
#SBATCH --output={name} --job-name=server
module load {FACTS.modules.jupyter}
{before}
cd {folder}
export JUPYTER_TOKEN={self.token}
exec jupyter lab --no-browser --ip=$(hostname) --port=0
"""
        self.user.write("~/server.sh", script, "600")
        self.job = (submit or self.user.run)(f"sbatch --parsable {options} server.sh").strip()
        self.log = name.replace("%j", self.job)
        self._url = ""
        self._client: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """http://NODE.DOMAIN:PORT, as soon as the server answers there.

        Jupyter writes the address into the log before it listens. Raises AssertionError if it does
        not answer.
        """
        if not self._url:
            address = rf"http://[^/ ]*{re.escape(FACTS.hosts.domain)}:[0-9][0-9]*"
            ask = "curl --silent --output /dev/null --max-time 5 $url/api"
            answers = f"url=$(grep -m1 -so '{address}' {self.log}) && {ask} && echo $url"
            look = f"for i in $(seq {PATIENCE * 5}); do {answers} && break; sleep 0.2; done"
            self._url = self.user.run(look, timeout=PATIENCE + 60).strip()
            assert self._url, f"job {self.job} has no server: {self.said()}"
        return self._url

    @property
    def address(self) -> str:
        """The address that a reader opens."""
        return f"{self.url}/lab?token={self.token}"

    def said(self) -> str:
        """Its log."""
        return self.user.tries(f"cat {self.log}").stdout

    def talk(self, *words: Any) -> Any:
        """The answer of scripts/kernel_client.py to `words`. Raises AssertionError if it fails."""
        if not self._client:
            self._client = self.triton.start(
                "login",
                shlex.join([f"{CENTRAL}/python", "-c", CLIENT, self.url, self.token]),
                self.user,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        assert self._client.stdin and self._client.stdout
        self._client.stdin.write(json.dumps(words) + "\n")
        self._client.stdin.flush()
        answer = json.loads(self._client.stdout.readline())
        if isinstance(answer, dict) and "failed" in answer:
            raise AssertionError(f"{words}: {answer['failed']}")
        return answer

    def kernel(self, name: str = "python3") -> Kernel:
        """A new kernel."""
        return Kernel(self, self.talk("ask", "/api/kernels", {"name": name})["id"])

    def kernelspecs(self) -> dict[str, Any]:
        """The server's kernelspecs, by their names."""
        specs: dict[str, Any] = self.talk("ask", "/api/kernelspecs")["kernelspecs"]
        return specs

    def _hang_up(self) -> None:
        """End the client of the kernels."""
        if self._client:
            self._client.communicate(timeout=30)
            self._client = None

    def end(self) -> None:
        """Cancel the job, and wait until it has left the queue."""
        self._hang_up()
        self.user.run(f"scancel --full --signal=KILL {self.job}; scancel {self.job}")
        self.user.ended(self.job)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


# Read a page.


def rows(page: str, heading: str) -> list[tuple[str, ...]]:
    """The texts of the cells, row by row without the head, of the first list-table below `heading`
    on `page`. `heading` is a label or a title.
    """
    text = pages.read(page)
    start = re.search(rf"^(\.\. _{re.escape(heading)}:|{re.escape(heading)})$", text, re.MULTILINE)
    assert start, f"{page} has no {heading!r}"
    table = re.search(
        r"^\.\. list-table::.*\n((?:[ \t]+.*\n|\n)*)", text[start.end() :], re.MULTILINE
    )
    assert table, f"{page} has no table below {heading!r}"
    _, *below_head = [
        tuple(" ".join(cell.split()) for cell in re.split(r"^ +- ", row, flags=re.MULTILINE))
        for row in re.split(r"^ +\* - ", table[1], flags=re.MULTILINE)[1:]
    ]
    return below_head


def literals(text: str) -> list[str]:
    """The literals in `text`: what stands between double backticks."""
    return [" ".join(match.split()) for match in re.findall(r"``(.+?)``(?!`)", text, re.DOTALL)]


# A reader's computers.


def let_in(triton: Triton, user: str, hosts: Sequence[str] = ("laptop", "outside")) -> None:
    """Let `user` log in from these hosts, with a key, to the login node and the gateway.

    The hosts also get the host keys of these two.
    """
    known = ""
    for door in ("login", "gateway"):
        key = triton.run(door, "cat /etc/ssh/ssh_host_ed25519_key.pub").stdout
        known += f"{getattr(FACTS.hosts, door)} {key}"
    for host in hosts:
        make = "[ -e id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f id_ed25519"
        keep = f"mkdir -p -m 700 .ssh; cd .ssh; {make}; cat > known_hosts; cat id_ed25519.pub"
        key = triton.run(host, keep, user, input=known).stdout
        for door in ("login", "gateway"):
            give = (
                "mkdir -p -m 700 .ssh; cat >> .ssh/authorized_keys; chmod 600 .ssh/authorized_keys"
            )
            triton.run(door, give, user, input=key)


class Ssh:
    """An `ssh` that runs on in a window of a reader's computer; a context manager."""

    def __init__(self, triton: Triton, host: str, user: str, arguments: str) -> None:
        self.triton = triton
        self.host = host
        self.user = user
        self.out = f"/tmp/ssh-{os.urandom(4).hex()}"
        command = f"echo $$ > {self.out}.pid; exec ssh {arguments} > {self.out} 2>&1"
        self.process = triton.start(
            host, command, user, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def said(self) -> str:
        """What it has printed until now."""
        return self.triton.run(self.host, f"cat {self.out}", check=False).stdout

    def waits_for(self, pattern: str, seconds: float = PATIENCE) -> str:
        """Its output, as soon as `pattern` is in it. Raises AssertionError if it does not come."""
        until = time.monotonic() + seconds
        while not re.search(pattern, output := self.said()):
            assert time.monotonic() < until, f"ssh has not said {pattern!r}: {output[-2000:]}"
            time.sleep(0.1)
        return output

    def end(self) -> None:
        """End it, as closing the window would."""
        self.triton.run(self.host, f"kill $(cat {self.out}.pid)", check=False)
        self.process.communicate(timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self.triton.run(self.host, f"rm -f {self.out} {self.out}.pid")


def proxy(triton: Triton, user: str, host: str = "laptop", options: str = "") -> Ssh:
    """The guide's `ssh -D`, which works when this returns; a context manager."""
    ssh = Ssh(triton, host, user, f"-N -D {FACTS.proxy.port} {options} {user}@{FACTS.hosts.login}")
    proxy_answers(triton, host)
    return ssh


def proxy_answers(triton: Triton, host: str = "laptop", seconds: int = PATIENCE) -> None:
    """Wait until the guide's `ssh -D` on `host` answers as a SOCKS proxy.

    That is later than its port is open.
    """
    door = f"/dev/tcp/localhost/{FACTS.proxy.port}"
    hello = (
        f"exec 3<> {door} && printf '\\5\\1\\0' >&3 && "
        "timeout 5 head -c 2 <&3 | od -A n -t x1 | grep -q '05 00'"
    )
    triton.run(
        host,
        f"for i in $(seq {seconds}); do ({hello}) && exit; sleep 0.1; done 2>/dev/null; exit 1",
        timeout=seconds * 6,
    )


def listens(triton: Triton, host: str, port: int | str, seconds: int = PATIENCE) -> None:
    """Wait until something on `host` listens at `port` of the loopback interface."""
    triton.run(
        host,
        f"for i in $(seq {seconds * 10}); do : < /dev/tcp/localhost/{port} && exit; "
        "sleep 0.1; done 2>/dev/null; exit 1",
        timeout=seconds + 30,
    )


@contextlib.contextmanager
def browser(
    playwright: Playwright,
    triton: Triton,
    folder: Path,
    host: str = "laptop",
    pac: str | None = None,
    whole: bool = False,
) -> Iterator[Browser]:
    """Chromium on `host`, driven from here through pipes.

    folder: for the script that starts it. pac: the address of a proxy configuration file. whole:
    take the browser that people have, which shows PDFs and pages about errors, too; the one with a
    proxy file always is.
    """
    binary = "chromium" if pac or whole else "chromium-headless-shell"
    program = folder / f"chromium-{host}"
    command = shlex.join(triton.command(host, [binary], terminal="dumb"))
    program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    program.chmod(0o755)
    chromium = playwright.chromium.launch(
        executable_path=program, args=FLAGS + ([f"--proxy-pac-url={pac}"] if pac else [])
    )
    try:
        yield chromium
    finally:
        chromium.close()


@contextlib.contextmanager
def proxy_file(triton: Triton, user: str, host: str = "laptop") -> Iterator[str]:
    """A context in which `host` serves the guide's proxy configuration file; gives its address."""
    text = pages.read("triton/apps/jupyter/proxy.pac")
    triton.run(host, "mkdir -p published; cat > published/proxy.pac", user, input=text)
    serve = "cd published; echo $$ > pid; exec python3 -m http.server 8000 --bind 127.0.0.1"
    web = triton.start(host, serve, user, stderr=subprocess.DEVNULL)
    try:
        listens(triton, host, 8000)
        yield "http://127.0.0.1:8000/proxy.pac"
    finally:
        triton.run(host, "kill $(cat published/pid)", user)
        web.wait(timeout=30)

"""A Jupyter server in a Slurm job of the small Triton, its kernels, and a browser on a reader's
computer that opens it.
"""

import contextlib
import json
import os
import re
import shlex
import subprocess
import time

from tools import pages
from tools.browser import CHROMIUM, FLAGS
from tools.cluster import cluster

FACTS = cluster.facts()
CENTRAL = f"{FACTS['paths']['jupyter_env']}/bin"

# Seconds after which a wait ends that is no promise of the guide: a machine may be slow.
PATIENCE = 120

# Runs on the login node, in the central environment: JSON lines in, JSON lines out.
CLIENT = r'''
import json, sys, time, urllib.request, uuid, websocket

url, token = sys.argv[1:]
rest = {"Authorization": "token " + token, "Content-Type": "application/json"}

def ask(path, data=None, method=None):
    request = urllib.request.Request(url + path, headers=rest, method=method, data=None if data is None else json.dumps(data).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None

def send(channels, channel, kind, content):
    number = uuid.uuid4().hex
    channels.send(json.dumps({"channel": channel, "parent_header": {}, "metadata": {}, "buffers": [], "content": content,
                              "header": {"msg_id": number, "msg_type": kind, "username": "", "session": number, "version": "5.3", "date": ""}}))
    return number

def channels_of(kernel, seconds):
    """A connection to the kernel over which it has answered: while one is restarted the server connects to the ports of the one that has died."""
    until = time.monotonic() + seconds
    while True:     # until the kernel is there, the server hangs up
        channels = None
        try:
            channels = websocket.create_connection(url.replace("http", "ws", 1) + f"/api/kernels/{kernel}/channels", timeout=until - time.monotonic(),
                                                   header=["Authorization: token " + token])
            channels.settimeout(5)
            asked = {send(channels, channel, "kernel_info_request", {}) for channel in ("shell", "control")}     # R answers on shell only, Python while it is busy on control only
            while json.loads(channels.recv())["parent_header"].get("msg_id") not in asked:
                if time.monotonic() > until:
                    raise websocket.WebSocketTimeoutException("the kernel does not answer")
            channels.settimeout(seconds)
            return channels
        except (websocket.WebSocketException, OSError):
            if channels:
                channels.close()
            if time.monotonic() > until - 2:
                raise
            time.sleep(1)

def execute(kernel, code, seconds):
    said = {"stdout": "", "stderr": "", "result": "", "error": "", "status": "no answer"}
    channels = channels_of(kernel, seconds)
    number = send(channels, "shell", "execute_request", {"code": code, "silent": False, "store_history": True, "user_expressions": {},
                                                         "allow_stdin": False, "stop_on_error": True})
    left = {"reply", "idle"}
    try:
        while left:
            message = json.loads(channels.recv())
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] in ("restarting", "dead"):
                said["status"] = content["execution_state"]
                break
            if message["parent_header"].get("msg_id") != number:
                continue
            if kind == "stream":
                said[content["name"]] += content["text"]
            elif kind in ("execute_result", "display_data"):
                said["result"] += content["data"].get("text/plain", "")
            elif kind == "error":
                said["error"] = content["ename"] + ": " + content["evalue"]
            elif kind == "execute_reply":
                said["status"] = content["status"]
                left.discard("reply")
            elif kind == "status" and content["execution_state"] == "idle":
                left.discard("idle")
    except websocket.WebSocketException as error:
        said["status"] = type(error).__name__
    finally:
        channels.close()
    return said

for line in sys.stdin:
    what, *more = json.loads(line)
    try:
        print(json.dumps({"ask": ask, "execute": execute}[what](*more)), flush=True)
    except Exception as error:
        print(json.dumps({"failed": type(error).__name__ + ": " + str(error)}), flush=True)
'''


class Kernel:
    """A kernel of a server, by its id."""

    def __init__(self, server, number):
        self.server, self.number = server, number

    def execute(self, code, seconds=PATIENCE):
        """Run `code`; return what it said: a dict of stdout, stderr, result, error ("Name: text")
        and status.
        """
        return self.server.talk("execute", self.number, code, seconds)

    def prints(self, code, seconds=PATIENCE):
        """What `code` prints, without blanks around it; AssertionError if it raises."""
        said = self.execute(code, seconds)
        assert said["status"] == "ok", said
        return said["stdout"].strip()


class Server:
    """`jupyter lab` in a batch job of `user`, with a log where the hub's servers have theirs; a
    context manager.

    options: of sbatch. folder: where it begins. before: shell lines that the job runs first.
    submit: what runs the sbatch and returns its output; without it, a shell on the login node. It
    is there when `url` is, which waits for it.
    """

    def __init__(
        self, triton, user, options="--mem=2G --time=20", folder="~", before="", submit=None
    ):
        self.triton, self.user, self.token = triton, user, os.urandom(12).hex()
        name = FACTS["logs"]["pattern"].replace("~/", "").replace("*", "%j")
        script = f"""#!/bin/bash
#SBATCH --output={name} --job-name=server
module load {FACTS["modules"]["jupyter"]}
{before}
cd {folder}
export JUPYTER_TOKEN={self.token}
exec jupyter lab --no-browser --ip=$(hostname) --port=0
"""
        triton.write("login", "~/server.sh", script, user, "600")
        submit = submit or (lambda command: triton.run("login", command, user).stdout)
        self.job = submit(f"sbatch --parsable {options} server.sh").strip()
        self.log = name.replace("%j", self.job)
        self._url = self._client = None

    @property
    def url(self):
        """http://NODE.DOMAIN:PORT, as soon as it answers there: Jupyter writes its address into the
        log before it listens.
        """
        if not self._url:
            address = rf"http://[^/ ]*{re.escape(FACTS['hosts']['domain'])}:[0-9][0-9]*"
            answers = (
                f"url=$(grep -m1 -so '{address}' {self.log}) && curl --silent --output "
                "/dev/null --max-time 5 $url/api"
            )
            look = (
                f"for i in $(seq {PATIENCE * 5}); do {answers} && echo $url && break; sleep "
                "0.2; done"
            )
            self._url = self.triton.run(
                "login", look, self.user, timeout=PATIENCE + 60
            ).stdout.strip()
            assert self._url, f"job {self.job} has no server: {self.said()}"
        return self._url

    @property
    def address(self):
        """What a reader opens."""
        return f"{self.url}/lab?token={self.token}"

    def said(self):
        """Its log."""
        return self.triton.run("login", f"cat {self.log}", self.user, check=False).stdout

    def talk(self, *words):
        if not self._client:
            self._client = self.triton.start(
                "login",
                shlex.join([f"{CENTRAL}/python", "-c", CLIENT, self.url, self.token]),
                self.user,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        self._client.stdin.write(json.dumps(words) + "\n")
        self._client.stdin.flush()
        answer = json.loads(self._client.stdout.readline())
        if isinstance(answer, dict) and "failed" in answer:
            raise AssertionError(f"{words}: {answer['failed']}")
        return answer

    def kernel(self, name="python3"):
        """A new kernel."""
        return Kernel(self, self.talk("ask", "/api/kernels", {"name": name})["id"])

    def kernelspecs(self):
        return self.talk("ask", "/api/kernelspecs")["kernelspecs"]

    def end(self):
        """Cancel the job, and wait until it has gone."""
        if self._client:
            self._client.stdin.close()
            self._client.wait(timeout=30)
            self._client.stdout.close()
            self._client = None
        self.triton.run(
            "login", f"scancel --full --signal=KILL {self.job}; scancel {self.job}", self.user
        )
        ended(self.triton, self.user, self.job)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def ended(triton, user, *jobs, seconds=PATIENCE):
    """Wait until Slurm has none of these jobs in its queue."""
    look = (
        f"for i in $(seq {seconds * 10}); do squeue --noheader --jobs={','.join(jobs)} "
        "2>/dev/null | grep -q . || exit 0; sleep 0.1; done; exit 1"
    )
    triton.run("login", look, user, timeout=seconds + 30)


# What a page says.


def rows(page, heading):
    """The rows of the first list-table below `heading` (a label or a title) on `page`: tuples of
    the texts of their cells.
    """
    text = pages.read(page)
    start = re.search(rf"^(\.\. _{re.escape(heading)}:|{re.escape(heading)})$", text, re.MULTILINE)
    assert start, f"{page} has no {heading!r}"
    table = re.search(
        r"^\.\. list-table::.*\n((?:[ \t]+.*\n|\n)*)", text[start.end() :], re.MULTILINE
    )
    assert table, f"{page} has no table below {heading!r}"
    found = []
    for row in re.split(r"^ +\* - ", table[1], flags=re.MULTILINE)[1:]:
        found.append(
            tuple(" ".join(cell.split()) for cell in re.split(r"^ +- ", row, flags=re.MULTILINE))
        )
    return found[1:]


def literals(text):
    """What stands between double backticks in `text`."""
    return [" ".join(found.split()) for found in re.findall(r"``(.+?)``(?!`)", text, re.DOTALL)]


# A reader's computers.


def let_in(triton, user, hosts=("laptop", "outside")):
    """Give `user` a key on each of these hosts that the login node and the gateway take, and their
    host keys.
    """
    known = ""
    for fact, door in (("login", "login"), ("gateway", "gateway")):
        known += (
            f"{FACTS['hosts'][fact]} "
            f"{triton.run(door, 'cat /etc/ssh/ssh_host_ed25519_key.pub').stdout}"
        )
    for host in hosts:
        triton.run(
            host,
            "mkdir -p -m 700 .ssh; [ -e .ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N "
            "'' -f .ssh/id_ed25519; "
            "cat > .ssh/known_hosts",
            user,
            input=known,
        )
        key = triton.run(host, "cat .ssh/id_ed25519.pub", user).stdout
        for door in ("login", "gateway"):
            triton.run(
                door,
                "mkdir -p -m 700 .ssh; cat >> .ssh/authorized_keys; chmod 600 .ssh/authorized_keys",
                user,
                input=key,
            )


class Ssh:
    """An `ssh` in a window of a reader's computer that goes on; a context manager.

    `said()` is what it has printed.
    """

    def __init__(self, triton, host, user, arguments):
        self.triton, self.host, self.user = triton, host, user
        self.out = f"/tmp/ssh-{os.urandom(4).hex()}"
        command = f"echo $$ > {self.out}.pid; exec ssh {arguments} > {self.out} 2>&1"
        self.process = triton.start(
            host, command, user, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def said(self):
        return self.triton.run(self.host, f"cat {self.out}", check=False).stdout

    def waits_for(self, pattern, seconds=PATIENCE):
        """Return what it has printed as soon as `pattern` is in there; AssertionError if that does
        not come.
        """
        until = time.monotonic() + seconds
        while not re.search(pattern, said := self.said()):
            assert time.monotonic() < until, f"ssh has not said {pattern!r}: {said[-2000:]}"
            time.sleep(0.1)
        return said

    def end(self):
        """End it as a closed window, or a dropped connection, does."""
        self.triton.run(self.host, f"kill $(cat {self.out}.pid)", check=False)
        self.process.wait(timeout=30)
        self.process.stdin.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        self.triton.run(self.host, f"rm -f {self.out} {self.out}.pid")


def proxy(triton, user, host="laptop", options=""):
    """The guide's `ssh -D`, up when this returns; a context manager."""
    ssh = Ssh(
        triton,
        host,
        user,
        f"-N -D {FACTS['proxy']['port']} {options} {user}@{FACTS['hosts']['login']}",
    )
    proxy_answers(triton, host)
    return ssh


def proxy_answers(triton, host="laptop", seconds=PATIENCE):
    """Wait until the guide's `ssh -D` on `host` answers as a SOCKS proxy does: its port is open
    before.
    """
    door = f"/dev/tcp/localhost/{FACTS['proxy']['port']}"
    hello = (
        f"exec 3<> {door} && printf '\\5\\1\\0' >&3 && timeout 5 head -c 2 <&3 | od -A n -t "
        "x1 | grep -q '05 00'"
    )
    triton.run(
        host,
        f"for i in $(seq {seconds}); do ({hello}) && exit; sleep 0.1; done 2>/dev/null; exit 1",
        timeout=seconds * 6,
    )


def listens(triton, host, port, seconds=PATIENCE):
    """Wait until something on `host` listens at `port` of the loopback interface."""
    triton.run(
        host,
        f"for i in $(seq {seconds * 10}); do : < /dev/tcp/localhost/{port} && exit; sleep "
        "0.1; done 2>/dev/null; exit 1",
        timeout=seconds + 30,
    )


@contextlib.contextmanager
def browser(playwright, triton, folder, host="laptop", pac=None):
    """Chromium on `host`, driven from here through pipes; pac: the address of a proxy configuration
    file. Yields playwright's browser.
    """
    door = folder / f"chromium-{host}"
    door.write_text(
        f'#!/bin/sh\nexec {shlex.join(triton.command(host, [CHROMIUM], terminal="dumb"))} "$@"\n'
    )
    door.chmod(0o755)
    chromium = playwright.chromium.launch(
        executable_path=door, args=FLAGS + ([f"--proxy-pac-url={pac}"] if pac else [])
    )
    try:
        yield chromium
    finally:
        chromium.close()


@contextlib.contextmanager
def proxy_file(triton, user, host="laptop"):
    """The guide's proxy configuration file, served on `host` as the guide's site serves it; yields
    its address.
    """
    triton.run(
        host,
        "mkdir -p published; cat > published/proxy.pac",
        user,
        input=pages.read("triton/apps/jupyter/proxy.pac"),
    )
    web = triton.start(
        host,
        "cd published; echo $$ > pid; exec python3 -m http.server 8000 --bind 127.0.0.1",
        user,
        stderr=subprocess.DEVNULL,
    )
    try:
        listens(triton, host, 8000)
        yield "http://127.0.0.1:8000/proxy.pac"
    finally:
        triton.run(host, "kill $(cat published/pid)", user)
        web.wait(timeout=30)

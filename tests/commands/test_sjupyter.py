"""sjupyter on the small cluster: a server starts, is reached in each way that is printed, outlives
its terminal, and says why it ended.
"""

import concurrent.futures
import itertools
import json
import os
import random
import re
import shlex
import signal
import subprocess
import time

import pytest

from tools.browser import needs_chromium
from tools.cluster import cluster
from tools.cluster.jupyter_server import PATIENCE, Ssh, browser, let_in, listens, literals, rows
from tools.cluster.small_triton import PROMPTS, Triton
from tools.cluster.terminal import Terminal
from tools.files import ROOT

FACTS = cluster.facts()
SEED = int(os.environ.get("SEED") or time.time())  # of what is tried at random: a new one each time
DATA = ROOT / "tests/data/commands"
RUN_IN_KERNEL = (DATA / "run_in_kernel.py").read_text(encoding="utf-8")
KERNEL_MESSAGES = (DATA / "kernel_messages.py").read_text(encoding="utf-8")
INTERRUPTED = (DATA / "interrupted.py").read_text(encoding="utf-8")
AT_EACH_STEP = (DATA / "at_each_step.py").read_text(encoding="utf-8")
ANSWERS_OF_ALL = (DATA / "answers_of_all.sh").read_text(encoding="utf-8")
OWN_ENVIRONMENT = (DATA / "own_environment.sh").read_text(encoding="utf-8")
UPLOAD_BOTH = (DATA / "upload_both.sh").read_text(encoding="utf-8")

CENTRAL = FACTS.paths.jupyter_env


@pytest.fixture(scope="module", autouse=True)
def limited(triton):
    """A server whose time is up in two minutes, for which the tests do not wait; and who prints
    what it has put down in its folder to say so.
    """
    user = triton.account()
    triton.run("login", "mkdir -p limited; echo kept > limited/saved", user)
    # It runs longer than it may wait in the queue.
    server = triton.start(
        "login",
        "exec sjupyter -t 2 --dir limited --wait 60",
        user,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    notice = triton.start(
        "login",
        "for i in $(seq 1000); do cat limited/sjupyter-*-ends-soon.txt 2>/dev/null && "
        "break; sleep 0.1; done",
        user,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    yield server, notice, user
    triton.run("login", f"scancel --user={user}")
    server.communicate(timeout=60)
    notice.communicate(timeout=120)


@pytest.fixture(scope="module", autouse=True)
def warned(triton):
    """A server of eleven minutes, which has to be announced as soon as ten are left: not by what it
    knows when it starts, but by Slurm's signal.
    """
    user = triton.account()
    triton.run("login", "mkdir -p eleven", user)
    server = triton.start(
        "login",
        "exec timeout 600 sjupyter -t 11 --mem=300M --dir eleven",
        user,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    yield server, user
    triton.run("login", f"scancel --user={user}")
    server.communicate(timeout=60)


@pytest.fixture
def user(triton):
    """Somebody who has no server yet, and none when the test has ended."""
    name = triton.account()
    yield name
    triton.run("login", f"scancel --user={name}")


class Started:
    """`sjupyter` with `options`, attached, and what it printed as JSON when the server answered."""

    def __init__(self, triton, user, options="", before=""):
        self.triton = triton
        self.process = triton.start(
            "login",
            f"{before} echo $$; exec sjupyter --json {options}",
            user,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        self.pid = self.process.stdout.readline().strip()
        line = self.process.stdout.readline()
        self.said = json.loads(line or "{}")
        if self.said.get("state") != "ready":
            raise AssertionError(
                f"sjupyter {options} ended with {self.process.wait()}: "
                f"{line}{self.process.stderr.read()}"
            )
        self.job, self.url = self.said["job"], self.said.get("url", self.said["forward_url"])

    def end(self, seconds=60):
        """Wait for its end; return (exit status, last line of its output, errors)."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, json.loads(out.splitlines()[-1]) if out.strip() else {}, err

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.triton.run("login", f"kill {self.pid}; scancel {self.job}", check=False)
            self.process.communicate(timeout=60)
        self.process.stdout.close()
        self.process.stderr.close()


def submitted(triton, user, options=""):
    """The number of the job of a server that is started with `options` and left in the queue."""
    return json.loads(triton.run("login", f"sjupyter --json --detach {options}", user).stdout)[
        "job"
    ]


def answers(triton, url, user=None):
    """The HTTP status that `url` has, asked for on the login node; 000 if there is no answer."""
    return triton.run(
        "login",
        f"curl --silent --output /dev/null --max-time 5 --write-out '%{{http_code}}' "
        f"{shlex.quote(url)}",
        user,
        check=False,
    ).stdout


def without_token(url):
    return url.partition("?")[0].replace("/lab", "/api/contents")


# ---------------------------------------------------------------- reaching it

WAYS = {
    "the proxy, inside": (
        "laptop",
        "proxy",
        "curl --silent --socks5-hostname localhost:{port} {url}",
    ),
    "the proxy, outside": (
        "outside",
        "proxy_outside",
        "curl --silent --socks5-hostname localhost:{port} {url}",
    ),
    "one port, inside": ("laptop", "forward", "curl --silent {forward_url}"),
    "one port, outside": ("outside", "forward_outside", "curl --silent {forward_url}"),
}


@pytest.fixture(scope="module")
def server(triton):
    """A server of one who lets a neighbour read all that is new in the home directory, and whose
    settings would open the server to the world.
    """
    user, neighbour = triton.account(), triton.account()
    triton.run(
        "login",
        "setfacl --recursive --modify "
        f"user:{neighbour}:rwX,default:user:{neighbour}:rwX,default:group::rwx,default:other::rwx "
        f"/home/{user}",
    )
    triton.run("login", "mkdir -p .jupyter", user)
    triton.write(
        "login",
        "~/.jupyter/jupyter_server_config.py",
        "c.ServerApp.ip = '0.0.0.0'; c.ServerApp.port = 8888; c.ServerApp.certfile = "
        "'/nowhere.pem'\n"
        "c.NotebookApp.ip = '0.0.0.0'; c.NotebookApp.port = 8888; c.NotebookApp.base_url "
        "= '/x/'; c.NotebookApp.notebook_dir = '/tmp'\n"
        "c.LabApp.ip = '0.0.0.0'; c.LabApp.port_retries = 9; c.ServerApp.sock = "
        "'/tmp/sock'; c.ServerApp.open_browser = True\n"
        "c.ServerApp.ssl_options = {'certfile': '/nowhere.pem'}; "
        "c.ServerApp.websocket_url = 'ws://elsewhere'; c.ServerApp.file_to_run = "
        "'x.ipynb'\n"
        "c.ServerApp.password = 'argon2:x'; c.FileContentsManager.root_dir = '/tmp'; "
        "c.ServerApp.terminals_enabled = False\n",
        user,
    )
    with Started(
        triton,
        user,
        "-t 10 --mem=1G -c 2 --browser-file=open.html",
        before="umask 0000; export JUPYTER_TOKEN=mine JUPYTER_PORT=9999 JUPYTER_PORT_RETRIES=x;",
    ) as started:
        started.user, started.neighbour = user, neighbour
        yield started


@pytest.mark.claims(
    "so your browser needs :ref:`the proxy <proxy>`, or you :ref:`forward one port "
    "<ssh-forward>`. ``sjupyter`` prints both "
    "lines, filled in: paste one into a terminal of your own computer, and open its address,",
    "start :ref:`the proxy <proxy>`, then open the address that it prints",
    "start the proxy{{ if cluster.vpn }}, also on the VPN{{ end }}, then open the "
    "address that it prints",
    "{{ if hosts.gateway }}From outside add ``-J username@{{ hosts.gateway }}``. {{ end }}",
    "Your browser reaches compute nodes through an SSH proxy: ``ssh -D {{ proxy.port "
    "}}`` on your computer,",
    "You are - For :doc:`JupyterHub <hub>` - For :doc:`sjupyter <sjupyter>`",
)
@pytest.mark.parametrize("way", WAYS)
def test_each_printed_way_leads_to_the_server_when_pasted(triton, server, way):
    host, line, ask = WAYS[way]
    terminal = Terminal(triton, host, server.user, PROMPTS)
    try:
        terminal.type(server.said[line])
        assert terminal.host == "login", "the line opens a shell on the login node"
        command = ask.format(
            port=FACTS.proxy.port,
            url=shlex.quote(server.url),
            forward_url=shlex.quote(server.said["forward_url"]),
        )
        page = triton.run(
            host,
            f"{command} --location --cookie-jar /dev/null | grep -io '<title>[^<]*'",
            server.user,
        ).stdout
        assert "<title>JupyterLab" in page
    finally:
        terminal.close()


@pytest.mark.claims(
    "The address is on a compute node,",
    "open its address, above the line of the proxy or below that of the port.",
)
def test_the_lines_are_printed_as_they_are(triton, server):
    printed = triton.run(
        "login",
        f"sjupyter --attach {server.job} --detach --browser-file=again.html && cmp "
        "again.html open.html",
        server.user,
    ).stdout.splitlines()
    lines = [
        server.said[name]
        for name in ("url", "proxy", "proxy_outside", "forward", "forward_outside", "forward_url")
    ]
    assert [line.strip() for line in printed if line.startswith("  ")] == lines, (
        "an address, the lines of the proxy; those of the port, an address"
    )
    assert server.said["node"] in triton.nodes and f"//{server.said['node']}." in server.url


@pytest.mark.claims(
    "``--browser-file`` - write a small page that opens the server, for you alone to read"
)
def test_the_browser_file_leads_there_and_is_for_its_owner_alone(triton, server):
    listed = triton.run("login", "stat --format=%a open.html; cat open.html", server.user).stdout
    assert listed.startswith("600\n") and f'href="{server.url}"' in listed
    assert (
        triton.run("login", f"cat ~{server.user}/open.html", server.neighbour, check=False).stdout
        == ""
    )


# ---------------------------------------------------------------- safety


def test_the_token_and_the_path_are_nowhere_where_others_look(triton, server):
    path, token = re.search(r":\d+/(\w{16})/lab\?token=(\w{48})$", server.url).groups()
    node, user, other = server.said["node"], server.user, server.neighbour
    triton.run(
        "login", f"echo mine > /home/{user}/new; grep mine /home/{user}/new", other
    )  # this neighbour gets into the home directory
    seen = triton.run(
        node,
        "ps auxeww; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'",
        other,
        check=False,
    ).stdout
    seen += triton.run(
        "login",
        f"scontrol show job {server.job}; squeue --format=%all; sacct --allusers "
        f"--format=ALL; scontrol write batch_script {server.job} -; "
        f"cat ~{user}/.local/share/sjupyter/*/* "
        f"~{user}/.local/share/sjupyter/*/runtime/*; ls -R ~{user}",
        other,
        check=False,
    ).stdout
    assert "jupyter" in seen and token not in seen and path not in seen
    # nor in what its owner might show around
    mine = triton.run(
        node, "ps auxeww; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'", user, check=False
    ).stdout
    answers(triton, without_token(server.url), user)  # a line in the log
    mine += triton.run(
        "login",
        f"scontrol show job {server.job}; sjupyter --logs; cat .local/share/sjupyter/*/job.sh",
        user,
    ).stdout
    assert (
        "JUPYTER_TOKEN_FILE" in mine
        and "GET /.../api/contents" in mine
        and token not in mine
        and path not in mine
    )


def test_files_are_for_their_owner_alone(triton, server):
    """Whatever the umask and the access lists of the home say."""
    listed = triton.run(
        "login", "find .local/share/sjupyter -printf '%y %m %p\\n'", server.user
    ).stdout.splitlines()
    assert {"asked.json", "job.sh", "said.json", "token"} <= {
        line.rpartition("/")[2] for line in listed
    }
    # The list of who else may read is there, and the mode, as its mask, leaves nothing of it.
    assert not [
        line for line in listed if line.split()[1] not in ("700" if line[0] == "d" else "600",)
    ]
    assert (
        f"user:{server.neighbour}:rwx"
        in triton.run("login", "getfacl .local/share/sjupyter", server.user).stdout
    )


def test_nobody_else_on_the_node_reaches_its_kernels(triton, server):
    """Over TCP they could read all that a kernel prints: only Jupyter listens, and its connections
    are in a folder of its owner.
    """
    kernels = f"{without_token(server.url).replace('contents', 'kernels')}"
    token = server.url.partition("token=")[2]
    ask = f"curl --silent --fail -H 'Authorization: token {token}' {kernels}"
    triton.run(
        "login",
        f"{ask} -d '{{}}' && for i in $(seq 300); do {ask} | grep -q starting || break; "
        "sleep 0.1; done",
        server.user,
    )
    listening = triton.listening(server.said["node"], server.user)
    assert (
        sorted(ports for args, ports in listening.items() if "ipykernel" in args) == [1]
        and len(listening) == 2
    ), listening
    mine = f"find /tmp -maxdepth 2 -user {server.user}"
    assert (
        len(
            triton.run(server.said["node"], f"{mine} -name 'kernel-*-ipc-*' -type s").stdout.split()
        )
        == 5
    )
    assert (
        triton.run(
            server.said["node"], f"{mine} -name 'sjupyter-*' -printf '%m\\n'"
        ).stdout.strip()[-3:]
        == "700"
    )


@pytest.mark.claims(
    "In a folder where others may write, ``sjupyter`` writes through no link of theirs."
)
def test_links_that_others_have_planted_are_not_written_through(triton, user):
    """In a folder where they may write: neither the page that opens the server nor what announces
    its end.
    """
    other = triton.account()
    triton.run(
        "login",
        "echo mine > precious; chmod 711 .; mkdir -m 777 shared; sjupyter --detach "
        "--hold -t 5 --mem=300M --dir shared",
        user,
    )
    job = triton.run("login", "squeue --me --noheader --format=%i", user).stdout.strip()
    triton.run(
        "login",
        f"cd ~{user}/shared; for name in open.html .open.html "
        f"sjupyter-{job}-ends-soon.txt; do ln -s ../precious $name; done",
        other,
    )
    triton.run(
        "login",
        f"scontrol release {job}; cd shared; sjupyter --attach {job} --detach "
        "--browser-file=open.html",
        user,
        timeout=60,
    )
    look = "find shared -type f -name 'sjupyter-*-ends-soon.txt' -size +0 -printf '%m %f\\n'"
    assert triton.run(
        "login", f"until {look} | grep .; do sleep 0.1; done", user, timeout=60
    ).stdout.startswith(f"600 sjupyter-{job}-")
    assert (
        triton.run("login", "stat --format='%F %a' shared/open.html; cat precious", user).stdout
        == "regular file 600\nmine\n"
    )


@pytest.mark.claims(
    "A folder begins with a slash, a tilde, or dots and a slash; all else is a module.",
    "It takes no folder of theirs for the environment that you mean.",
)
def test_a_folder_of_others_is_no_environment_unless_a_path(triton, user):
    """It is one only if it is written as a path.

    Where they write, they may make one that is called like the module that everybody has, or like
    the one that is asked for.
    """
    central, demo = FACTS.modules.jupyter, FACTS.modules.demo
    triton.run(
        "login",
        f"for name in {central} {demo} own; do mkdir -p shared/$name/bin; echo 'touch "
        "~/ran' > shared/$name/bin/activate; done",
        user,
    )
    for option, loaded in (
        ("", f"module load {central}"),
        (f"--env {central}", f"module load {central}"),
        (f"--env={central},{demo}", f"module load {central} {demo}"),
        (f"--env {demo}", f"module load {demo}"),
        ("--env ./own", f". /home/{user}/shared/own/bin/activate"),
        ("--env=~/shared/own/", f". /home/{user}/shared/own/bin/activate"),
        ("--env=../shared/own", f". /home/{user}/shared/own/bin/activate"),
    ):
        lines = triton.run(
            "login", f"cd shared; sjupyter --dry-run {option}", user
        ).stdout.splitlines()
        assert [
            line.partition(" || ")[0]
            for line in lines
            if "activate" in line or line.startswith("module")
        ] == [loaded], option
    with Started(triton, user, "-t 5 --mem=400M", "cd shared;") as started:
        assert answers(triton, started.url) in ("200", "302")
    assert triton.run("login", "ls ran", user, check=False).stdout == ""


@pytest.mark.claims(
    "On a node whose own name is a loopback address the server is reached all the same, "
    "or refused with the reason."
)
def test_a_node_whose_own_name_is_a_loopback_address(triton, user):
    """As Debian's installer makes it.

    The server is reached at the node's address in the cluster; if that cannot be found out, it is
    refused.
    """
    node = triton.nodes[0]
    name = f"{node}.{FACTS.hosts.domain} {node}"
    try:
        triton.run(
            node,
            f"cp /etc/hosts /etc/hosts.before; printf '127.0.1.1 {name}\\n' > /etc/hosts; "
            f"grep -v -w {node} /etc/hosts.before >> /etc/hosts",
        )
        assert triton.run(node, "hostname --ip-address").stdout.strip() == "127.0.1.1"
        with Started(triton, user, f"-t 5 -w {node}") as started:
            assert answers(triton, started.url) in ("200", "302")
        triton.run(node, f"sed -i 's/^[0-9.]*\\(.*{FACTS.hosts.short}\\)/127.0.0.1\\1/' /etc/hosts")
        done = triton.run("login", f"sjupyter -t 5 -w {node}", user, check=False)
        assert done.returncode == 1 and re.search(
            f"The node {node} knows no address of its own but a loopback one, .*: ask the "
            f"administrators .*--exclude={node}\n$",
            done.stderr,
        ), done
    finally:
        triton.run(node, "cat /etc/hosts.before > /etc/hosts")


@pytest.mark.claims("The token in the address is the password to your server:")
def test_without_the_token_nobody_gets_in(triton, server):
    for user in (server.neighbour, server.user):
        assert answers(triton, without_token(server.url), user) == "403"
        assert answers(triton, without_token(server.url) + "?token=" + "0" * 48, user) == "403"
    assert answers(triton, server.url) in ("200", "302")


@pytest.mark.claims(
    "The cookies of one server go to no other port of its node, where somebody else may listen.",
    "The path before it is another for each server, so that your browser gives its "
    "cookies to no other.",
)
def test_cookies_are_for_the_secret_path_of_the_server(triton, server, user):
    """The server tells that path to nobody.

    A browser sends them to all ports of the node, as it does for a picture in a notebook, but with
    this path only.
    """
    origin, path = re.match(r"(http://[^/]+)(/\w{16}/)", server.url).groups()
    kept = triton.run(
        "login",
        f"curl --silent --location --output /dev/null --cookie-jar - {shlex.quote(server.url)}",
        server.user,
    ).stdout
    cookies = [line.split("\t") for line in kept.splitlines() if line.count("\t") == 6]
    assert len(cookies) == 2 and {fields[2] for fields in cookies} == {path}, kept
    for other in (
        "/",
        "/lab",
        "/login",
        "/api",
        "/api/contents",
        "/static/favicon.ico",
        f"/x{path}",
        path[:-2],
        "//",
        "/%2e/",
    ):
        said = triton.run(
            "login", f"curl --silent --include --path-as-is {shlex.quote(origin + other)}", user
        ).stdout
        assert said.startswith("HTTP/1.1 404 ") and path.strip("/") not in said, said


# What somebody puts into a folder that others open: each tells port 9 of the reader's computer.
OF_SOMEBODY = sorted((DATA / "of_somebody").iterdir())


def write_files_of_somebody(triton, user):
    """Files that somebody else has made, a template, and pictures without a script."""
    picture = (
        "import numpy, matplotlib.image as image; image.imsave('dot.png', "
        "numpy.zeros((30, 40))); image.imsave('dot.pdf', numpy.zeros((30, 40)))"
    )
    for path in OF_SOMEBODY:
        triton.write("login", f"~/{path.name}", path.read_text(encoding="utf-8"), user)
    triton.write("login", "~/index.html.j2", "<title>of a template</title>", user)
    triton.run("login", "mkdir lab; mv index.html.j2 lab", user)
    triton.run("login", shlex.join([f"{CENTRAL}/bin/python", "-c", picture]), user)


def assert_no_script_has_run(tab, base, xsrf):
    """A script of these files would give the tab another title."""
    titles = {
        "files/page.html": "a page",
        "view/page.html": "page.html",
        "files/picture.svg": "a page",
        "nbconvert/html/page.ipynb": "page",
    }
    for name, title in titles.items():
        assert tab.goto(f"{base}{name}?_xsrf={xsrf}").status == 200
        tab.wait_for_timeout(1000)
        assert tab.title() == title, name


def assert_shown_as_text(tab, base):
    """What has a viewer in JupyterLab that tells. The classic Notebook draws the plot, but asks
    nobody for its picture.
    """
    tab.goto(f"{base}lab/tree/page.html?reset")
    tab.locator(".jp-FileEditor").get_by_text("words").wait_for()
    assert tab.locator("iframe").count() == 0
    tab.goto(f"{base}lab/tree/plot.vg?reset")
    tab.locator(".jp-FileEditor").get_by_text("marks").wait_for()
    tab.goto(f"{base}lab/tree/page.ipynb?reset")
    tab.locator(".jp-RenderedMarkdown code").get_by_text("graph LR").wait_for()
    tab.locator(".jp-OutputArea").get_by_text("text of a plot").wait_for()
    tab.goto(f"{base}notebooks/page.ipynb")
    tab.locator(".jp-OutputArea canvas").wait_for()
    tab.wait_for_timeout(500)


@needs_chromium
@pytest.mark.claims(
    "A file that is opened in a tab of such a server runs no script.",
    "A file that you open in a tab of the server runs no script, and so does not read that path.",
    "JupyterLab shows the text of an HTML file, and of plots and drawings in Vega and Mermaid,",
)
def test_a_file_in_a_tab_runs_no_script_and_tells_no_path(triton, server, tmp_path):
    """Nor does it send that path along with a picture or a link; and what has no script is shown as
    ever.
    """
    from playwright.sync_api import sync_playwright

    there = "http://localhost:9"
    write_files_of_somebody(triton, server.user)
    let_in(triton, server.user, ["laptop"])
    base, _, token = server.said["forward_url"].partition("lab?")
    with (
        Ssh(triton, "laptop", server.user, f"-N {server.said['forward'].removeprefix('ssh ')}"),
        sync_playwright() as playwright,
    ):
        listens(triton, "laptop", FACTS.proxy.example)
        with browser(playwright, triton, tmp_path) as chromium:
            context = chromium.new_context()
            tab, asked = context.new_page(), []
            # Nobody listens there; what the page's policy refuses is not asked for at all.
            context.on(
                "requestfailed",
                lambda request: (
                    asked.append((request.url, request.headers.get("referer", "")))
                    if request.url.startswith(there) and request.failure != "csp"
                    else None
                ),
            )
            tab.goto(f"{base}lab?{token}")
            tab.wait_for_selector(".jp-Launcher-body")
            [xsrf] = [cookie["value"] for cookie in context.cookies() if cookie["name"] == "_xsrf"]
            assert_no_script_has_run(tab, base, xsrf)
            tab.goto(f"{base}files/page.html?_xsrf={xsrf}")
            tab.get_by_text("a link").click()
            tab.wait_for_timeout(500)
            assert set(asked) == {(f"{there}/", "")}
            tab.goto(f"{base}files/dot.png?_xsrf={xsrf}")
            assert tab.evaluate("document.querySelector('img').naturalWidth") == 40
            assert tab.goto(f"{base}files/dot.pdf?_xsrf={xsrf}").status == 200
            tab.goto(f"{base}lab/tree/dot.png?reset")
            tab.wait_for_function(
                "document.querySelector('.jp-ImageViewer img')?.naturalWidth == 40"
            )
            asked.clear()
            assert_shown_as_text(tab, base)
            assert not asked
            with tab.expect_download() as download:
                tab.evaluate(
                    "address => Object.assign(document.createElement('a'), {href: "
                    "address, download: ''}).click()",
                    f"{base}files/page.html?download=1&_xsrf={xsrf}",
                )
            assert (
                download.value.suggested_filename == "page.html"
                and download.value.failure() is None
            )


SENDS_MUCH = (DATA / "sends_much.py").read_text(encoding="utf-8")


@pytest.mark.claims("What a stranger sends to a server of ``sjupyter`` takes no memory.")
def test_who_is_unknown_sends_little_and_who_is_known_much(triton, user):
    """Jupyter would read half a gigabyte before it asks who it is."""
    with Started(triton, user, "-t 10 --mem=1G") as started:
        origin, path, token = re.match(
            r"(http://[^/]+)(/\w+/)lab\?token=(\w+)", started.url
        ).groups()
        sends = f"python3 - {origin} {path}"
        stranger = triton.account()
        taken = triton.run("login", sends, stranger, input=SENDS_MUCH).stdout
        assert taken == ""
        # a thousand fields of an address are objects, each much larger than it is
        asks = f"curl --silent --output /dev/null --write-out '%{{http_code}} ' {origin}{path}login"
        fields = f"{asks}?$(printf 'a&%.0s' {{1..1000}}); {asks}"
        assert triton.run("login", fields, stranger, check=False).stdout == "000 200 "
        highest = (
            "sort -n $(grep -l --null-data JUPYTER_TOKEN_FILE= $(find /proc -maxdepth 2 "
            f"-name environ -user {user}) | sed s/environ/status/) | sed -n 's/VmHWM: *//p'"
        )
        assert (
            max(
                int(line.split()[0])
                for line in triton.run(
                    started.said["node"], highest, check=False
                ).stdout.splitlines()
            )
            < 250_000
        ), "kB of memory"
        # as a page of JupyterLab sends it, with the cookies, and as a program does
        contents = f"{origin}{path}api/contents"
        uploads = shlex.join(["set", "--", started.url, contents, token])
        script = f"{uploads}\n{UPLOAD_BOTH}"
        assert triton.run("login", script, user).stdout == "60000000\n" * 2
        refused = triton.run(
            "login",
            f"curl --silent --output /dev/null --write-out '%{{http_code}}' --upload-file "
            f"body {contents}/by-nobody; ls by-nobody",
            user,
            check=False,
        )
        assert refused.stdout in ("400", "000"), refused


# Opens so many connections, says nothing on half of them, and the rest of a request on none. Holds
# them until its input ends.
MANY_CONNECTIONS = (DATA / "many_connections.py").read_text(encoding="utf-8")


def descriptors_and_memory(triton, node, user):
    """The most open files and the most kB of memory of one of the user's processes on the node."""
    find = (
        "grep -l --null-data JUPYTER_TOKEN_FILE= $(find /proc -maxdepth 2 -name "
        f"environ -user {user}) | xargs dirname"
    )
    look = (
        f"for one in $({find}); do echo $(ls $one/fd | wc -l) $(sed -n 's/VmHWM: "
        "*//p' $one/status); done"
    )
    return map(
        max,
        zip(
            *(
                map(int, line.split()[:2])
                for line in triton.run(node, look, check=False).stdout.splitlines()
            ),
            strict=True,
        ),
    )


@pytest.mark.claims(
    "Thousands of connections of a stranger neither fill its memory nor shut out its owner."
)
def test_connections_of_strangers_shut_nobody_out(triton, user):
    """They take little memory.

    Neither those that say nothing nor half-sent requests; and at the same time their owner comes
    in, and works.

    A connection that the owner has opened before the stranger's stays open: it is from elsewhere.
    """
    with Started(triton, user, "-t 10 --mem=1G") as started:
        host, port, path, token = re.match(
            r"http://([^/:]+):(\d+)(/\w+/)lab\?token=(\w+)", started.url
        ).groups()
        opens = f"exec 3<>/dev/tcp/{host}/{port}; echo open; read; "
        asks = f"GET {path}api/status HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n"
        says = f"printf '{asks}Authorization: token {token}\\r\\n\\r\\n' >&3; head -1 <&3"
        owner = triton.start(
            "login",
            ["bash", "-c", opens + says],
            user,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert owner.stdout.readline() == "open\n"
        stranger = triton.start(
            started.said["node"],
            ["/usr/bin/python3", "-c", MANY_CONNECTIONS, host, port, path, "2500"],
            triton.account(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert stranger.stdout.readline() == "open\n"
            assert owner.communicate("\n", timeout=30)[0].startswith("HTTP/1.1 200")
            open_, memory = descriptors_and_memory(triton, started.said["node"], user)
            assert open_ < 500 and memory < 250_000, (open_, memory)
            body = '{"type": "file", "format": "text", "content": "' + "x" * 1_000_000 + '"}'
            put = (
                "curl --silent --fail --output /dev/null --header 'Authorization: token "
                f"{token}' --upload-file - http://{host}:{port}{path}api/contents/mine"
            )
            triton.run("login", put, user, input=body)
            assert (
                answers(triton, started.url) in ("200", "302")
                and triton.run("login", "stat --format=%s mine", user).stdout == "1000000\n"
            )
        finally:
            stranger.communicate("")
            owner.kill()


@pytest.mark.claims(
    "Your settings in ``~/.jupyter`` hold, but for where and how the server listens and "
    "for the folder that it shows."
)
def test_the_server_listens_on_the_clusters_network_only(triton, server):
    """At the address that its node has there, whatever the user's settings say."""
    port = re.search(r":(\d+)/", server.url)[1]
    address = triton.run(server.said["node"], "hostname --ip-address").stdout.strip()
    listening = triton.run(
        server.said["node"],
        f"ss --listening --tcp --numeric --no-header '( sport = :{port} or sport = :8888 )'",
    ).stdout.split()
    assert listening.count("LISTEN") == 1 and f"{address}:{port}" in listening and port != "8888"
    shown = json.loads(
        triton.run(
            "login",
            "curl --silent "
            f"{shlex.quote(without_token(server.url) + '?' + server.url.partition('?')[2])}",
            server.user,
        ).stdout
    )
    assert "open.html" in [entry["name"] for entry in shown["content"]], (
        "it shows the folder in which sjupyter was started"
    )
    assert answers(triton, server.url.replace("/lab?", "/api/terminals?"), server.user) == "404", (
        "the settings' other lines hold"
    )


STRANGE = [
    "a b",
    "a;touch pwned",
    "$(touch pwned)",
    "`touch pwned`",
    'a"b',
    "a'b",
    "a\\b",
    "%j",
    "*",
    "-x",
    "a\ntouch pwned",
    "a\n#SBATCH --hold",
    "#SBATCH",
    "é",
]


def test_a_strange_word_arrives_as_one_argument(triton, user):
    lines = ['started() { sjupyter --json --detach --hold -t 5 "$@" | tr -dc 0-9; }']
    for word in STRANGE:
        quoted = shlex.quote(word)
        lines.append(
            f"job=$(started --comment={quoted}); squeue --jobs=$job --noheader "
            "--Format='comment:|'; echo //"
        )
    *shown, left = triton.run(
        "login", "\n".join([*lines, "ls pwned"]), user, check=False
    ).stdout.split("//\n")
    assert [one.rpartition("|")[0].strip() for one in shown] == [
        word.strip() for word in STRANGE
    ] and left == ""


@pytest.mark.claims(
    "``--dir`` - begin in this folder; without it, in the one where you typed the command",
    "What stands behind ``--`` goes to Jupyter itself. Language servers, which "
    "JupyterLab leaves off, are not looked for:",
)
def test_a_folder_and_jupyter_options_with_strange_words_arrive(triton, user):
    folder = "a 'b' $(touch pwned); \"c\"\n#SBATCH --hold"
    triton.run("login", f"mkdir -p {shlex.quote(folder)}", user)
    with Started(
        triton,
        user,
        f"-t 5 --dir {shlex.quote(folder)} -- "
        f"{shlex.quote('--ServerApp.custom_display_url=x $(touch pwned)')}",
    ) as started:
        assert triton.run("login", "ls pwned */pwned", user, check=False).stdout == ""
        row = json.loads(triton.run("login", "sjupyter --list --json", user).stdout)
        assert row["dir"].endswith("/" + folder) and row["job"] == started.job
        triton.run("login", f"touch {shlex.quote(folder)}/here", user)
        assert (
            '"name": "here"'
            in triton.run(
                "login", f"curl --silent '{started.url.replace('/lab?', '/api/contents?')}'", user
            ).stdout
        )
        assert (
            "--ServerApp.custom_display_url=x $(touch pwned)"
            in triton.run(started.said["node"], f"ps -u {user} -o args").stdout
        )
        known = json.loads(
            triton.run(
                "login", f"curl --silent '{started.url.replace('/lab?', '/lsp/status?')}'", user
            ).stdout
        )
        assert known["specs"] == {} == known["sessions"], "no language server is looked for"
        job = json.loads(
            triton.run(
                "login", "mkdir other; cd other; sjupyter --json --detach --hold -t 5", user
            ).stdout
        )["job"]
        rows = {
            row["job"]: row["dir"]
            for row in map(
                json.loads, triton.run("login", "sjupyter --list --json", user).stdout.splitlines()
            )
        }
        assert rows[job] == f"/home/{user}/other", "without --dir, where the command was typed"


def test_strange_words_in_names_are_no_commands(triton, user):
    """Names of modules, and what stands in the environment."""
    triton.run("login", f"mkdir \"a '%j' \\$(touch pwned)\"; ln -s {CENTRAL} 'a;touch pwned'", user)
    before = (
        "export XDG_DATA_HOME=\"$HOME/a '%j' \\$(touch pwned)\" BASH_ENV='/nowhere; touch pwned';"
    )
    with Started(triton, user, "-t 5 --env './a;touch pwned'", before) as started:
        assert answers(triton, started.url) in ("200", "302")
        assert "BASH_ENV=/nowhere; touch pwned" in environ(triton, started)
    module = "x\ntouch pwned\n$(touch pwned)'`touch pwned`"
    done = triton.run("login", f"sjupyter --env {shlex.quote(module)}", user, check=False)
    assert (done.returncode, f"sjupyter: The module {module} cannot be loaded" in done.stderr) == (
        1,
        True,
    ), done.stderr
    assert triton.run("login", "find . -name pwned", user).stdout == ""


@pytest.mark.claims(
    "Slurm's options go straight through. ``-t`` is the longest time, ``--mem`` the "
    "memory, ``-c`` the number of processor "
    "cores; ``--gres=gpu:1`` asks for a GPU. Without options you get the partition ``{{ "
    "partitions.interactive }}`` and its "
    "defaults.",
    "Only what says who pays, or how large a job is, counts for ``sbatch``.",
    "Stay in ``{{ partitions.interactive }}``, the default.",
)
def test_slurms_options_arrive_and_win_over_the_defaults(triton, user):
    """In each spelling."""
    own, other = FACTS.partitions.interactive, FACTS.partitions.batch
    for options, asked in (
        ("", f"{own} sjupyter"),
        ("-t 5 --mem=700M", f"{own} sjupyter 5:00 700M"),
        ("-t5 --mem 700M -Hp batch", f"{other} sjupyter 5:00 700M"),
        ("--time 5 --partition batch --job-name=mine", f"{other} mine 5:00"),
    ):
        job = submitted(triton, user, f"--hold {options}")
        assert triton.run(
            "login", f"squeue --jobs={job} --noheader --format='%P %j %l %m'", user
        ).stdout.startswith(asked), options
    look = "squeue --noheader --format='%P %l %m %C' --jobs="
    usual = triton.run(
        "login",
        f"{look}$(sbatch --parsable --hold --output=/dev/null --partition={own} --wrap true)",
        user,
    ).stdout
    assert triton.run("login", look + submitted(triton, user, "--hold"), user).stdout == usual, (
        "the partition's defaults"
    )
    assert (
        triton.run("login", look + submitted(triton, user, "--hold -c 3"), user).stdout.split()[3]
        == "3"
    )
    refused = triton.run(
        "login", "sjupyter --gres=gpu:1; echo; sbatch --gres=gpu:1 --wrap true", user, check=False
    ).stderr.splitlines()
    said = triton.run(
        "login",
        "SBATCH_TIMELIMIT=7 SBATCH_ACCOUNT=payer SBATCH_PARTITION=nowhere sjupyter "
        "--json --detach --hold",
        user,
    ).stdout
    assert triton.run(
        "login", f"squeue --noheader --format='%P %l %a' --jobs={json.loads(said)['job']}", user
    ).stdout.split() == [own, "7:00", "payer"]
    assert "generic resource" in refused[0] and refused[0] == "sjupyter: Slurm says: " + "; ".join(
        refused[1:]
    ), "no node here has one, says Slurm"


# Variables of Slurm's commands, with values that would change what these do.
OF_SLURM = {
    "SBATCH_ARRAY_INX": ["0-2"],
    "SBATCH_CLUSTERS": ["nowhere"],
    "SBATCH_DEBUG": ["3"],
    "SBATCH_EXPORT": ["NONE", "PATH"],
    "SBATCH_JOB_NAME": ["mine"],
    "SBATCH_NO_REQUEUE": ["1"],
    "SBATCH_OPEN_MODE": ["truncate"],
    "SBATCH_OUTPUT": ["/nowhere/log"],
    "SBATCH_PARTITION": [FACTS.partitions.batch, "nowhere"],
    "SBATCH_REQUEUE": ["1"],
    "SBATCH_SIGNAL": ["KILL@60"],
    "SBATCH_WAIT": ["1"],
    "SCANCEL_INTERACTIVE": ["true"],
    "SCANCEL_NAME": ["none"],
    "SCANCEL_PARTITION": ["nowhere"],
    "SCANCEL_STATE": ["RUNNING"],
    "SCANCEL_USER": ["root"],
    "SLURM_BITSTR_LEN": ["1"],
    "SLURM_CLUSTERS": ["nowhere"],
    "SLURM_EXIT_ERROR": ["0"],
    "SLURM_JOB_ID": ["1"],
    "SLURM_MEM_PER_CPU": ["1"],
    "SLURM_NTASKS": ["99"],
    "SLURM_TIME_FORMAT": ["relative", "%H"],
    "SQUEUE_ACCOUNT": ["nobody"],
    "SQUEUE_ALL": ["1"],
    "SQUEUE_ARRAY": ["1"],
    "SQUEUE_FORMAT": ["%j"],
    "SQUEUE_FORMAT2": ["JobID"],
    "SQUEUE_LICENSES": ["none"],
    "SQUEUE_NAMES": ["none"],
    "SQUEUE_PARTITION": ["batch", "nowhere"],
    "SQUEUE_QOS": ["none"],
    "SQUEUE_SORT": ["-i"],
    "SQUEUE_STATES": ["COMPLETED"],
    "SQUEUE_USERS": ["root"],
}


@pytest.mark.claims(
    "What you have set for Slurm's own commands changes nothing here, such as another "
    "format for ``squeue``."
)
def test_random_variables_of_slurm_change_nothing(triton, user):
    """Thirty times: a server is put into the queue, listed, and stopped, with half of these
    variables set.
    """
    dice, script = random.Random(SEED), ""
    for _ in range(30):
        chosen = {
            name: dice.choice(values) for name, values in OF_SLURM.items() if dice.random() < 0.5
        }
        sets = " ".join(f"{name}={shlex.quote(value)}" for name, value in chosen.items())
        script += (
            f"job=$(env {sets} sjupyter --json --detach --hold -t 5 --mem=300M | tr -dc "
            f"0-9); echo {shlex.quote(sets)}; "
            "squeue --me --noheader --states=all --jobs=$job --format='%i %P %j %T %m %l'; "
            f"env {sets} sjupyter --json --list; env {sets} sjupyter --stop; squeue --me "
            "--noheader --jobs=$job --states=PENDING,RUNNING; echo //\n"
        )
    printed = triton.run("login", script, user, timeout=120).stdout.split("//\n")[:-1]
    assert len(printed) == 30
    for one in printed:
        sets, slurms, listed, stopped = one.splitlines()
        job = slurms.split()[0]
        assert (
            slurms == f"{job} {FACTS.partitions.interactive} sjupyter PENDING 300M 5:00"
            and job.isdigit()
        ), (SEED, one)
        assert (json.loads(listed)["job"], stopped) == (job, f"Job {job} is ended."), (SEED, one)


def test_a_server_is_followed_whatever_is_set_for_slurm(triton, user):
    """And what its owner has set is there in the server, for the owner's own use of Slurm's
    commands.
    """
    with Started(
        triton,
        user,
        "-t 5",
        "export SQUEUE_PARTITION=batch SQUEUE_STATES=COMPLETED SBATCH_WAIT=1 "
        "SLURM_TIME_FORMAT=relative SLURM_NTASKS=9;",
    ) as started:
        assert answers(triton, started.url) in ("200", "302")
        own = environ(triton, started).splitlines()
        assert {
            "SQUEUE_PARTITION=batch",
            "SQUEUE_STATES=COMPLETED",
            "SLURM_TIME_FORMAT=relative",
        } <= set(own) and "SLURM_NTASKS=9" not in own
        time.sleep(3)  # it looks at the queue, each second
        assert started.process.poll() is None
        triton.run("login", f"scancel {started.job}", user)
        assert started.end()[1]["reason"] == f"It was cancelled by {user}."


# ---------------------------------------------------------------- living on, and ending


@pytest.mark.claims(
    "Ten minutes before its time is up, you are told in the terminal, and by a file in "
    "the folder where JupyterLab began."
)
def test_the_end_is_announced_ten_minutes_before(triton, warned):
    """The server runs meanwhile."""
    server, user = warned
    while (line := server.stdout.readline()) and not line.startswith(
        "The time of this server is up"
    ):
        pass
    row = json.loads(triton.run("login", "sjupyter --list --json", user).stdout)
    assert line and row["state"] == "ready", (line, row)
    end = triton.run("login", "squeue --me --noheader --format=%e", user).stdout[11:16]
    assert line == f"The time of this server is up at about {end}. Save your notebooks.\n"
    assert (
        f"is up at about {end}. "
        in triton.run("login", "cat eleven/sjupyter-*-ends-soon.txt", user).stdout
    )


@pytest.mark.claims(
    "Close the window, and the server goes on.",
    "To come back:",
    "``Control-C`` in the window where it was started asks first, and ends it the second time;",
)
def test_it_outlives_its_terminal_and_attach_is_back(triton, user):
    terminal = Terminal(triton, "login", user, PROMPTS)
    terminal.screen.sendline("sjupyter -t 5")
    terminal.screen.expect(r"Open, in a browser that uses the proxy:\s+(http\S+)", timeout=PATIENCE)
    url = terminal.screen.match[1]
    terminal.close()
    time.sleep(1)
    assert answers(triton, url) in ("200", "302")
    again = Terminal(triton, "login", user, PROMPTS)
    again.screen.sendline("sjupyter --attach")
    again.screen.expect_exact(url, timeout=PATIENCE)
    again.screen.expect(r"and open:\s+\S+\s", timeout=PATIENCE)
    again.screen.send("\x03")
    again.screen.expect("Ctrl-C again ends job", timeout=PATIENCE)
    assert answers(triton, url) in ("200", "302"), "the first Ctrl-C ends nothing"
    again.screen.send("\x03")
    again.screen.expect(r"Job \d+ is ended", timeout=PATIENCE)
    again.close()
    for _ in range(PATIENCE * 2):
        if answers(triton, url) == "000":
            return
        time.sleep(0.2)
    pytest.fail("the job did not end")


def assert_lists(triton, user, first, second):
    """`sjupyter --list` knows the server `first`, and the job `second`, which waits."""
    lines = triton.run("login", "sjupyter --list --json", user).stdout.splitlines()
    servers = {server["job"]: server for server in map(json.loads, lines)}
    assert set(servers) == {first.job, second} and servers[second]["state"] == "PENDING"
    partition = triton.run("login", f"squeue --noheader --jobs={second} --format=%P", user).stdout
    assert partition.strip() == FACTS.partitions.interactive
    partitions = triton.run("login", "sinfo --noheader --format=%P").stdout
    assert re.findall(r"^(\S+)\*$", partitions, re.MULTILINE) == [FACTS.partitions.batch]
    server = servers[first.job]
    assert (server["state"], server["asked"]) == ("ready", "700M")
    assert 20 < server["memory_mb"] < 700 and re.fullmatch(r"[0-4]:\d\d", server["left"])
    assert first.url.startswith(server["address"] + "lab?")
    table = triton.run("login", "sjupyter --list", user).stdout
    cells = (
        first.job,
        first.said["node"],
        "ready",
        re.escape(server["address"]),
        f"/home/{user}",
        r"[0-4]:\d\d",
        r"\d+M of 700M\n",
    )
    assert re.match(
        r"JOB +NODE +STATE +ADDRESS +DIRECTORY +TIME LEFT +MEMORY\n" + " +".join(cells), table
    ), table
    triton.run("ctl", f"scontrol suspend {first.job}")
    suspended = triton.run("login", "sjupyter --list", user).stdout.splitlines()[1]
    assert suspended.split()[:3] == [first.job, first.said["node"], "SUSPENDED"], (
        "Slurm knows better than the server"
    )
    triton.run("ctl", f"scontrol resume {first.job}")


def assert_stops_what_is_meant(triton, user, first, second):
    """`sjupyter --stop` ends the job `first`, when it is named; before, it ends nothing."""
    which = triton.run("login", "sjupyter --stop", user, check=False)
    assert (which.returncode, which.stderr) == (1, f"sjupyter: Which one? {first}, {second}\n")
    other = triton.run("login", f"sjupyter --stop {second}", triton.account(), check=False)
    assert other.returncode == 1 and "No server of yours" in other.stderr
    refused = triton.run(
        "login",
        f"install -D /bin/false no/scancel; PATH=$HOME/no:$PATH sjupyter --stop {second}",
        user,
        check=False,
    )
    assert (refused.returncode, refused.stderr) == (
        1,
        "sjupyter: Slurm says: scancel ended with status 1\n",
    )
    stopped = triton.run("login", f"sjupyter --stop {first}", user).stdout
    assert stopped == f"Job {first} is ended.\n"


@pytest.mark.claims(
    "``interactive`` is where ``sjupyter``, ``class-check`` and the hub start their jobs.",
    "``batch`` is Slurm's default.",
)
@pytest.mark.claims(
    "starts Jupyter in the Slurm queue, with resources of your own choosing, and prints "
    "the address to open.",
    "What runs, where, how long still, and how much of its memory it takes:",
    "Done for today:",
    "With more than one server, add the number of the job.",
    "``sjupyter --logs`` prints what Jupyter had to say,",
    "``--json`` - print results for programs, one object a line",
    "One command, ``sjupyter``, starts Jupyter in the Slurm queue with what you ask for.",
    ":ref:`In the queue <sjupyter-start>` with ``sjupyter``,",
    "Stop the server when you stop working: ``sjupyter --stop``,",
)
@pytest.mark.claims("``sjupyter`` is a job of yours and writes its own.")
def test_list_stop_and_logs_know_what_runs(triton, user):
    """They forget what has ended."""
    with Started(triton, user, "-t 5 --mem=700M") as first:
        second = submitted(triton, user, "-t 5 --hold")
        triton.run(
            "login",
            f"for i in $(seq {PATIENCE * 5}); do grep -qs memory_mb "
            ".local/share/sjupyter/*/said.json && break; sleep 0.1; done",
            user,
        )
        assert_lists(triton, user, first, second)
        assert_stops_what_is_meant(triton, user, first.job, second)
        status, said, _ = first.end()
        assert (status, said["reason"]) == (1, f"It was cancelled by {user}.")
        assert [
            row.split()[0]
            for row in triton.run("login", "sjupyter --list", user).stdout.splitlines()[1:]
        ] == [second]
        assert "ServerApp" in triton.run("login", f"sjupyter --logs {first.job}", user).stdout
        assert triton.run("login", "sjupyter --logs", user).stdout == "", "the newest has not begun"
        again = triton.run("login", f"sjupyter --stop {first.job}", user, check=False)
        assert (again.returncode, again.stderr) == (
            1,
            f"sjupyter: No server of yours is job {first.job}: sjupyter --list\n",
        )
        assert triton.run(
            "login",
            f"{counted(triton, user, 'squeue', 'scontrol', 'sacct')} sjupyter --list && "
            "wc -l < asked",
            user,
        ).stdout.endswith("\n1\n")
        assert triton.run("login", "sjupyter --stop", user).stdout == f"Job {second} is ended.\n"
        assert (
            triton.run("login", "sjupyter --list; sjupyter --list --json", user).stdout
            == "You have no server in the queue.\n"
        )


@pytest.mark.claims("somebody cancelled it, and who.")
def test_a_job_that_somebody_cancels_in_the_queue_is_told(triton, user):
    job = submitted(triton, user, "--hold")
    process = triton.start(
        "login",
        "exec sjupyter --attach",
        user,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == f"Job {job} is in the queue (JobHeldUser).\n"
    triton.run("login", f"scancel {job}")
    assert (process.communicate(timeout=60)[1], process.returncode) == (
        "sjupyter: It was cancelled by root.\n",
        1,
    )


@pytest.mark.claims("also for a week after its end;")
def test_what_servers_left_long_ago_is_removed_unless_they_run(triton, user):
    """A folder's name begins with the time when it was made, in milliseconds."""
    running = submitted(triton, user, "-t 5 --hold")
    week, hour = 8 * 86400, 2 * 3600
    names = []
    for age, asked in (
        (6 * 86400, '{"job": "1"}'),
        (60, "{"),
        (hour + 60, "{"),
        (week, '{"job": "1"}'),
    ):  # half of it may be written
        names.append(f"{int((time.time() - age) * 1000)}-abcdef")
        triton.run(
            "login",
            f"mkdir -p .local/share/sjupyter/{names[-1]}; cat > "
            f".local/share/sjupyter/{names[-1]}/asked.json",
            user,
            input=asked,
        )
    triton.run("login", f"mkdir .local/share/sjupyter/{names[-1]}.mine", user)
    assert running in triton.run("login", "sjupyter --list", user).stdout
    left = triton.run("login", "ls .local/share/sjupyter", user).stdout.split()
    assert len(left) == 4 and f"{names[-1]}.mine" in left and set(names[:2]) < set(left)
    triton.run("login", f"echo said > .local/share/sjupyter/{names[0]}/log", user)
    assert triton.run("login", "sjupyter --logs 1", user).stdout == "said\n", (
        "that of six days ago is there"
    )
    # and with everything that is kept so long ago
    triton.run("login", f"{impatient(triton, user, KEEP_SECONDS=0, UNBORN_SECONDS=0)} --list", user)
    assert set(triton.run("login", "ls .local/share/sjupyter", user).stdout.split()) == set(
        left
    ) - set(names)


def counted(triton, user, *names):
    """What goes before a command so that these programs write into ~/asked when they are called."""
    triton.run("login", "mkdir -p bin", user)
    for name in names:
        triton.write(
            "login",
            f"~/bin/{name}",
            f'#!/bin/sh\ndate +%s.%N >> ~/asked\nexec /usr/bin/{name} "$@"\n',
            user,
            mode="755",
        )
    return "PATH=$HOME/bin:$PATH"


def execute(triton, user, url, code):
    """Run `code` in a new kernel of the server at `url`, until it is done or the kernel or the
    server has ended.
    """
    base, _, token = url.replace("/lab?", "?").partition("?token=")
    command = shlex.join([f"{CENTRAL}/bin/python", "-", base, token, code])
    triton.run("login", command, user, input=RUN_IN_KERNEL)


@pytest.mark.claims(
    "What others put there runs as you: a module of theirs may have the name of one that your "
    "notebook imports, and Python takes theirs."
)
def test_a_module_in_the_folder_comes_before_others(triton, user):
    """Jupyter and its kernels are made so: who can write into the folder needs no other way."""
    triton.run("login", "chmod 711 .; mkdir -m 777 shared", user)
    module = "import os; open(os.path.expanduser('~/ran'), 'w').write('pandas of another')"
    triton.run("login", f"echo {shlex.quote(module)} > ~{user}/shared/pandas.py", triton.account())
    with Started(triton, user, "-t 5 --mem=500M --dir shared") as started:
        execute(triton, user, started.url, "import pandas")
    assert triton.run("login", "cat ran", user).stdout == "pandas of another"


@pytest.mark.claims(
    "At the end ``sjupyter`` says why, as Slurm knows it: out of memory, and how much to "
    "ask for next time;",
    "The limits are those of any job, :ref:`memory <hub-memory>` included.",
)
def test_the_end_by_memory_says_what_to_ask_for(triton, user):
    """It says what was asked for, too."""
    with Started(triton, user, "-t 5 --mem=400M") as started:
        execute(
            triton,
            user,
            started.url,
            "import time; x = bytearray(150_000_000); time.sleep(4); y = "
            "bytearray(900_000_000); time.sleep(60)",
        )
        if (
            triton.memory == "cgroup"
        ):  # only the kernel was killed: the server goes on, and says it at its end
            triton.run("login", f"sjupyter --stop {started.job}", user)
        status, said, _ = started.end()
    assert status == 1
    told = re.match(
        r"It took more memory than it had: asked for 400 MB, peak seen (\d+) MB\. Ask for "
        r"more, --mem=(\d+)M",
        said["reason"],
    )
    assert told and int(told[1]) > 200 and int(told[2]) >= 800, said


@pytest.mark.claims(
    "When the time is up the server is gone, with everything in its kernels' memory; "
    "start a new one. Files that you saved stay.",
    "out of time;",
)
def test_the_time_limit_is_announced_and_told(triton, limited):
    server, notice, user = limited
    assert re.fullmatch(
        r"The time of this Jupyter server is up at about \d\d:\d\d\. Save your notebooks now, "
        r"and close its tab when it has ended\.\n",
        notice.communicate(timeout=120)[0],
    )
    out, err = server.communicate(timeout=240)
    assert re.search(
        r"\nThe time of this server is up at about \d\d:\d\d\. Save your notebooks\.\n", out
    )
    assert (server.returncode, err) == (
        1,
        "sjupyter: Its time was up (00:02:00). Ask for more with -t, or put the long "
        "part into a batch job.\n",
    )
    assert triton.run("login", "cat limited/saved", user).stdout == "kept\n"
    for node in triton.nodes:
        assert "jupyter" not in triton.run(node, f"ps -u {user} -o args", check=False).stdout, (
            "the server is gone, and with it its kernels"
        )


@pytest.mark.claims("the node failed;")
def test_a_node_that_fails_is_told(triton, user):
    with Started(triton, user, "-t 5 -w c4") as started:
        triton.run("ctl", "scontrol update nodename=c4 state=down reason=test")
        try:
            status, said, _ = started.end()
        finally:
            triton.run(
                "ctl", "scontrol update nodename=c4 state=resume", check=False
            )  # it may be back already
    assert (status, said["reason"]) == (
        1,
        "The node c4 failed. That is not your fault: start it again.",
    )


def test_shutting_it_down_from_the_browser_is_a_good_end(triton, user):
    with Started(triton, user, "-t 5") as started:
        token = started.url.partition("token=")[2]
        triton.run(
            "login",
            f"curl --silent --fail -X POST -H 'Authorization: token {token}' "
            f"{started.url.partition('/lab')[0]}/api/shutdown",
            user,
        )
        assert started.end()[:2] == (
            0,
            {"job": started.job, "state": "ended", "reason": "It was shut down."},
        )
        assert "ends-soon" not in triton.run("login", "ls", user).stdout, (
            "what announced its end goes with it"
        )


@pytest.mark.claims(
    "they keep what each job has its own of, such as ``SLURM_JOB_ID`` and ``SLURM_CPUS_ON_NODE``."
)
def test_a_job_is_submitted_from_a_server(triton, server):
    """With the environment that its kernels and terminals have; and srun takes the job of the
    server.
    """
    node = server.said["node"]
    pid = triton.run(
        node, f"pgrep -u {server.user} -f 'jupyter-lab .*ServerApp' | head -n 1"
    ).stdout.strip()
    inside = f"cd; xargs -0 -a /proc/{pid}/environ sh -c 'exec env -i \"$@\" bash -s' sh"
    script = (
        "sbatch --wait --mem-per-cpu=100M --output=inner.txt --wrap='srun printenv "
        "SLURMD_NODENAME SLURM_CPUS_PER_TASK' > /dev/null; cat inner.txt; "
        "srun printenv SLURM_JOB_ID; echo $SLURM_CPUS_ON_NODE"
    )
    asked, one, job, cpus = triton.run(
        node, inside, server.user, input=script, timeout=120
    ).stdout.split()
    assert asked in triton.nodes and (one, job) == ("1", server.job) and int(cpus) >= 2
    assert (
        "SLURM_MEM_PER_NODE" not in triton.run(node, f"cat /proc/{pid}/environ", server.user).stdout
    )


# ---------------------------------------------------------------- engines


@pytest.mark.claims(
    "``--cluster`` - start so many ipyparallel engines beside it, in the folder where it "
    "begins, and say where their connection file is",
    "What goes to the engines of ``sjupyter --cluster`` is encrypted.",
)
def test_engines_of_ipyparallel_run_beside_it_and_end_with_it(triton, user):
    """What goes to them over TCP is encrypted."""
    ask = (
        "import ipyparallel, json, socket; assert json.load(open({0!r}))['curve_serverkey']; "
        "client = ipyparallel.Client({0!r}); client.wait_for_engines(2, timeout=60); "
        "print(*client[:].apply_sync(socket.gethostname))"
    )
    with Started(triton, user, "--mem=2G -c 2 --cluster 2") as started:
        said = triton.run(
            "login",
            f'cat $(grep -l \'"job": "{started.job}"\' .local/share/sjupyter/*/said.json)',
            user,
        ).stdout
        connection = json.loads(said)["connection_file"]
        assert (
            f"ipyparallel.Client('{connection}')"
            in triton.run("login", "sjupyter --attach --detach", user).stdout
        )
        printed = triton.run(
            started.said["node"],
            shlex.join([f"{CENTRAL}/bin/python", "-c", ask.format(connection)]),
            user,
        ).stdout
        assert [host.split(".")[0] for host in printed.split()] == [started.said["node"]] * 2
        triton.run("login", f"sjupyter --stop {started.job}", user)
        started.end()
    assert (
        "ipyparallel"
        not in triton.run(
            started.said["node"],
            f"for i in $(seq 50); do pgrep -u {user} > /dev/null || break; sleep 0.2; "
            f"done; ps -u {user} -o args",
            check=False,
        ).stdout
    )


@pytest.mark.claims(
    "``--cluster`` - start so many ipyparallel engines beside it, in the folder where it "
    "begins, and say where their connection file is"
)
def test_a_users_files_hide_no_module_from_the_engines(triton, user):
    """They start from the folder of the server, and then go where Jupyter begins, whatever that is
    called.
    """
    folder, names = (
        "it's $HOME \"\\",
        "ipyparallel zmq tornado traitlets types runpy logging json random socket signal "
        "queue site ipykernel IPython",
    )
    triton.run(
        "login",
        f"mkdir {shlex.quote(folder)}; cd {shlex.quote(folder)}; for name in {names}; do "
        "echo 'raise SystemExit(\"the wrong \" + __name__)' > $name.py; done",
        user,
    )
    ask = (
        "import ipyparallel, os, sys; client = ipyparallel.Client(sys.argv[1]); "
        "client.wait_for_engines(1, timeout=60); print(*client[:].apply_sync(os.getcwd))"
    )
    with Started(
        triton, user, "-t 5 --mem=1G --cluster 1", f"cd {shlex.quote(folder)};"
    ) as started:
        connection = triton.run(
            "login",
            "ls -d ~/.local/share/sjupyter/*/ipyparallel/security/ipcontroller-client.json",
            user,
        ).stdout.strip()
        printed = triton.run(
            started.said["node"], shlex.join([f"{CENTRAL}/bin/python", "-c", ask, connection]), user
        ).stdout
        assert printed == f"/home/{user}/{folder}\n"


# ---------------------------------------------------------------- what goes wrong

WRONG = {
    "unknown partition": (
        "sjupyter -p nowhere",
        1,
        "Slurm says: sbatch: error: invalid partition specified: nowhere",
    ),
    "unknown option": (
        "sjupyter --mme=4G",
        1,
        "Slurm says: sbatch: unrecognized option '--mme=4G'",
    ),
    "a word that is none": (
        "sjupyter analysis.ipynb",
        2,
        "What is 'analysis.ipynb'? Slurm's options begin with a dash",
    ),
    "a script behind an option": (
        "printf '#!/bin/sh\\n' > evil.sh; sjupyter --exclusive evil.sh",
        1,
        "Slurm says: ",
    ),
    "a script behind a flag": (
        "printf '#!/bin/sh\\n' > evil.sh; sjupyter --hold evil.sh",
        1,
        "Slurm says: sbatch: option '--hold' doesn't allow an argument",
    ),
    "a script behind a short flag": (
        "printf '#!/bin/sh\\n' > evil.sh; sjupyter -H evil.sh",
        2,
        "What is 'evil.sh'?",
    ),
    "a value that is missing": ("sjupyter --dir", 2, "--dir needs a value"),
    "no number": ("sjupyter --wait soon", 2, "'soon' is no number"),
    "no folder": ("sjupyter --dir nowhere", 2, "nowhere is no folder"),
    "an array": ("sjupyter --array=1-3", 2, "--array cannot be given: a server is one job"),
    "an array, cut short": (
        "sjupyter --arra=0-2",
        2,
        "--arra, for sbatch --array, cannot be given: a server is one job",
    ),
    "an array behind a flag": (
        "sjupyter -va0-2",
        2,
        "-va0-2, for sbatch --array, cannot be given: a server is one job",
    ),
    "waiting for the end of the job": (
        "sjupyter -Wv",
        2,
        "-Wv, for sbatch --wait, cannot be given: sjupyter follows the job by itself",
    ),
    "a test only": (
        "sjupyter --test-on",
        2,
        "for sbatch --test-only, cannot be given: sbatch would print something and start nothing",
    ),
    "the version of Slurm": ("sjupyter -V", 2, "-V, for sbatch --version, cannot be given"),
    "the usage of sbatch": (
        "sjupyter --usage",
        2,
        "--usage cannot be given: sbatch would print something and start nothing; "
        "sjupyter --help has",
    ),
    "another cluster": (
        "sjupyter -M nowhere",
        2,
        "-M, for sbatch --clusters, cannot be given: sjupyter looks after jobs of this cluster",
    ),
    "a value that sbatch misses": (
        "sjupyter --mem",
        1,
        "Slurm says: sbatch: error: Invalid --mem specification",
    ),
    "Slurm's option with --local": (
        "sjupyter --local --mem=4G",
        2,
        "--mem=4G is for Slurm, which --local does not ask",
    ),
    "more than a node has": ("sjupyter --mem=9000G", 1, "Slurm says: sbatch: error:"),
    "no such module": ("sjupyter --env nothing/1.0", 1, "The module nothing/1.0 cannot be loaded"),
    "an environment without jupyter": (
        f"sjupyter --env {FACTS.modules.demo}",
        1,
        "There is no jupyter in this environment",
    ),
    "a folder that is called like a module": (
        "mkdir -p mine/bin; echo exit > mine/bin/activate; sjupyter --env mine",
        1,
        "The module mine cannot be loaded: the folder of that name is ./mine; sjupyter --logs",
    ),
    "a folder that is no environment": (
        "mkdir -p empty; sjupyter --env ./empty",
        2,
        "/empty is no virtual environment: there is no bin/activate in it",
    ),
    "no ipyparallel": (
        "mkdir -p none; echo 'raise ImportError' > none/ipyparallel.py; "
        "PYTHONPATH=$HOME/none sjupyter --cluster 2",
        1,
        "There is no ipyparallel in this environment",
    ),
    "waiting too long": (
        "sjupyter --begin=now+1hour --wait 2",
        3,
        "was still in the queue (BeginTime) after 2 seconds, and is cancelled",
    ),
    "a Jupyter that does not start": (
        "sjupyter -- --ServerApp.root_dir=/nowhere",
        1,
        "before it answered, and printed last: ",
    ),
    "nothing to attach to": ("sjupyter --attach", 1, "You have no server: sjupyter starts one"),
    "a folder that is gone": (
        "mkdir gone; cd gone; rmdir ../gone; sjupyter",
        2,
        "The folder that you are in is no longer there",
    ),
    "too long a name for a socket": (
        f"XDG_DATA_HOME=$HOME/{'a' * 90} sjupyter --local 2>&1 >/dev/null | tail -n 1 >&2; false",
        1,
        "too long a name for a Unix socket: give --no-socket",
    ),
    "a browser file that cannot be written": (
        "sjupyter --browser-file=nowhere/open.html",
        2,
        "nowhere/open.html cannot be written: give --browser-file a name in a folder",
    ),
    "a browser file without an address": (
        "sjupyter --detach --browser-file=open.html",
        2,
        "--browser-file needs the address",
    ),
    "a socket on a compute node": (
        "sjupyter --socket",
        2,
        "--socket goes with --local: a socket is reached by ssh to its own node, and the "
        "compute nodes let nobody in",
    ),
    "a job that is cancelled before Jupyter answers": (
        "(until scancel --me --state=running --verbose 2>&1 | grep -q Terminating; do "
        "sleep 0.1; done) & sjupyter --env ~/slow",
        1,
        "It was cancelled by ",
    ),
    "a job that is cancelled while Jupyter starts": (
        "rm -f began; (until [ -e began ]; do sleep 0.1; done; sleep 1; scancel --me) & "
        "sjupyter --env ~/slow",
        1,
        "It was cancelled by ",
    ),
    "a token of one's own": (
        "mkdir -p own; echo \"c.IdentityProvider.token = 'mine'\" > "
        "own/jupyter_server_config.py; JUPYTER_CONFIG_DIR=$HOME/own sjupyter",
        1,
        "set a token of their own",
    ),
    "no token at all": (
        "mkdir -p open; echo \"c.IdentityProvider.token = ''\" > "
        "open/jupyter_server_config.py; JUPYTER_CONFIG_DIR=$HOME/open sjupyter",
        1,
        "switch the token off",
    ),
    "a path of one's own": (
        "sjupyter -- --ServerApp.base_url=/mine/",
        2,
        "base_url cannot be given: each server has a path of its own",
    ),
    "no settings at all": (
        "JUPYTER_NO_CONFIG=1 sjupyter",
        1,
        "so that everybody would know the path of your server: unset JUPYTER_NO_CONFIG",
    ),
    "settings that Jupyter refuses": (
        "mkdir -p bad; echo 'c.ServerApp.allow_origin = 5' > "
        "bad/jupyter_server_config.py; JUPYTER_CONFIG_DIR=$HOME/bad sjupyter",
        1,
        "Bad config encountered",
    ),
}


@pytest.fixture(scope="module")
def wrong(triton):
    """What comes of each of WRONG, and the jobs that are left; they wait more than they work, so
    three people try them at the same time.
    """

    def attempt(user, names):
        environment(triton, user, "slow", "touch ~/began; exec sleep 300")
        return {
            name: (
                triton.run(
                    "login",
                    f"timeout 200 bash -c {shlex.quote(WRONG[name][0])}",
                    user,
                    check=False,
                    timeout=230,
                ),
                triton.run(
                    "login", "squeue --me --noheader --states=pending,running; scancel --me", user
                ).stdout,
            )
            for name in names
        }

    people = [triton.account() for _ in range(3)]
    with concurrent.futures.ThreadPoolExecutor(len(people)) as pool:
        parts = pool.map(
            attempt, people, [list(WRONG)[number :: len(people)] for number in range(len(people))]
        )
        return {name: came for part in parts for name, came in part.items()}


@pytest.mark.claims(
    "Options with which it would be no server are refused, however they are written: an "
    "array, a test only, a wait for the end.",
    "In the queue there is no such choice,",
)
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_in_one_sentence_and_leaves_no_job(wrong, name):
    _, status, message = WRONG[name]
    done, left = wrong[name]
    assert (done.returncode, message in done.stderr) == (status, True), done.stdout + done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1
    assert left == ""


@pytest.mark.claims(
    "While the job waits, you see why, and when Slurm expects it to start.",
    "``--wait`` - give up if it has not started after so many seconds",
)
def test_why_it_waits_and_when_it_is_expected_to_start_is_told(wrong):
    waiting, _ = wrong["waiting too long"]
    assert re.fullmatch(
        r"Job \d+ is in the queue \(BeginTime\); Slurm expects it to start at "
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\n",
        waiting.stdout,
    )


def environment(triton, user, name, script):
    """Make a virtual environment of this name in the home directory, where `jupyter` is a shell
    script around the real one, $JUPYTER.
    """
    triton.run(
        "login",
        f"mkdir -p {name}/bin; echo 'PATH=$HOME/{name}/bin:{CENTRAL}/bin:$PATH' > "
        f"{name}/bin/activate; cat > {name}/bin/jupyter; chmod +x {name}/bin/jupyter",
        user,
        input=f"#!/bin/bash\nJUPYTER={CENTRAL}/bin/jupyter\n{script}\n",
    )


def impatient(triton, user, **seconds):
    """The path of a copy of sjupyter in which these constants are others."""
    text = (ROOT / "triton/bin/sjupyter").read_text(encoding="utf-8")
    for name, value in seconds.items():
        text, found = re.subn(rf"^{name} = \d+", f"{name} = {value}", text, flags=re.MULTILINE)
        assert found == 1
    installed = f"{FACTS.paths.apps}/triton"
    triton.run("login", f"mkdir -p impatient/bin; ln -sfn {installed}/lib impatient/lib", user)
    triton.write("login", "~/impatient/bin/sjupyter", text, user, mode="755")
    return f"SJUPYTER_FACTS={installed}/facts.toml ~/impatient/bin/sjupyter"


@pytest.mark.claims("of a server that prints for ever, the last 4 MB.")
def test_a_jupyter_that_prints_for_ever_gets_a_short_log(triton, user):
    """The log has the newest of it."""
    environment(triton, user, "noisy", r'''yes $'noise \xff' >&2 & exec $JUPYTER "$@"''')
    with Started(triton, user, "-t 5 --env ~/noisy") as started:
        assert answers(triton, started.url) in ("200", "302")
        sizes = triton.run(
            "login",
            "for i in $(seq 20); do stat --format=%s .local/share/sjupyter/*/log; sleep 0.1; done",
            user,
        ).stdout.split()
        log = triton.run("login", "sjupyter --logs", user).stdout
        assert 1_000_000 < max(map(int, sizes)) < 5_000_000 and len(log) < 5_000_000
        assert (
            log.startswith("... what came before was too much to keep")
            and "noise \N{REPLACEMENT CHARACTER}\n" in log
        )


def test_a_port_that_is_taken_at_the_last_moment_costs_no_server(triton, user):
    """The second try is with another; the port of slurmd is taken on each node."""
    environment(
        triton,
        user,
        "late",
        '[ -e late/tried ] || { touch late/tried; exec $JUPYTER "${@/port=0/port=6818}" '
        '--ServerApp.port_retries=0; }; exec $JUPYTER "$@"',
    )
    with Started(triton, user, "-t 5 --env ~/late") as started:
        assert answers(triton, started.url) in ("200", "302")
        assert "port 6818 is already in use" in triton.run("login", "sjupyter --logs", user).stdout


@pytest.mark.claims(
    "A server that does not come up is ended after two minutes, and you see the last "
    "that Jupyter printed."
)
def test_a_jupyter_that_never_answers_is_given_up(triton, user):
    environment(triton, user, "mute", "echo I will not; sleep 300")
    done = triton.run(
        "login", f"{impatient(triton, user, START_SECONDS=3)} --env ~/mute", user, check=False
    )
    assert (
        done.stderr
        == "sjupyter: Jupyter did not answer in 3 seconds, and printed last: I will not; "
        "sjupyter --logs shows all of it\n"
    )
    # and so is a job that never comes to Jupyter
    triton.run("login", "echo sleep 300 > mute/bin/activate", user)
    done = triton.run(
        "login", f"{impatient(triton, user, START_SECONDS=2)} --env ~/mute", user, check=False
    )
    assert re.match(
        r"sjupyter: Job \d+ has run for 4 seconds without a word of Jupyter, and is "
        r"ended; sjupyter --logs \d+ shows",
        done.stderr,
    ), done.stderr
    assert triton.run("login", "squeue --me --noheader --states=pending,running", user).stdout == ""


@pytest.mark.claims(
    "``--detach`` - come back as soon as the job is in the queue; with ``--attach``, as "
    "soon as the address stands there",
    "Settings in ``~/.jupyter`` that Jupyter cannot read are named below the address: it "
    "goes on without them.",
)
def test_settings_that_cannot_be_read_are_named(triton, user):
    """The server runs without them."""
    triton.run(
        "login",
        "mkdir -p .jupyter; echo 'c.ServerApp.port = (' > "
        ".jupyter/jupyter_server_config.py; echo '{' > .jupyter/jupyter_lab_config.json",
        user,
    )
    job = submitted(triton, user, "-t 5")
    printed = triton.run("login", f"sjupyter --attach {job} --detach", user).stdout
    assert set(
        re.findall(
            r"Jupyter could not read (\S+) and does without it; sjupyter --logs shows "
            r"what is wrong there\.\n",
            printed,
        )
    ) == {
        f"/home/{user}/.jupyter/jupyter_server_config.py",
        f"/home/{user}/.jupyter/jupyter_lab_config.json",
    }
    assert printed.index("Jupyter could not read") > printed.index("http://localhost"), (
        "below the address"
    )
    assert (
        "SyntaxError: '(' was never closed" in triton.run("login", "sjupyter --logs", user).stdout
    )
    assert json.loads(triton.run("login", "sjupyter --stop --json", user).stdout) == {
        "job": job,
        "state": "ended",
    }


def test_the_clock_of_the_node_may_be_wrong(triton, user):
    """An hour ahead, which by the node's own clock is after the end of the job."""
    environment(triton, user, "ahead", 'exec $JUPYTER "$@"')
    library = triton.run("login", "ls /usr/lib/*/faketime/libfaketime.so.1").stdout.strip()
    triton.run(
        "login",
        f"echo 'export LD_PRELOAD={library} FAKETIME=+1h' >> ahead/bin/activate; mkdir quiet",
        user,
    )
    with Started(triton, user, "-t 30 --env ~/ahead --dir quiet") as started:
        script = "import pathlib, sys, time; print(time.time())"
        assert (
            float(
                triton.run(
                    "login", f". ahead/bin/activate; python3 -c {shlex.quote(script)}", user
                ).stdout
            )
            - time.time()
            > 3000
        )
        assert answers(triton, started.url) in ("200", "302")
        said = json.loads(triton.run("login", "cat .local/share/sjupyter/*/said.json", user).stdout)
        assert "ends" not in said and triton.run("login", "ls quiet", user).stdout == ""


def test_a_time_shorter_than_the_warning_ends_no_server(triton):
    """Slurm warns at once then, before the server has started."""
    user = triton.account()
    jobs = [
        json.loads(triton.run("login", "sjupyter --json --detach -t 10 --mem=300M", user).stdout)[
            "job"
        ]
        for _ in range(3)
    ]
    for _ in range(PATIENCE):
        states = {
            row["job"]: row["state"]
            for row in map(
                json.loads, triton.run("login", "sjupyter --list --json", user).stdout.splitlines()
            )
        }
        if set(states) != set(jobs) or set(states.values()) == {"ready"}:
            break
        time.sleep(0.5)
    triton.run("login", "scancel --me", user)
    assert states == dict.fromkeys(jobs, "ready")


@pytest.mark.parametrize("does", ["echo hello; exec sleep 100", "exec zsh"])
def test_what_a_users_bashrc_does_is_no_matter(triton, user, does):
    """Not even when bash is told to read it before each script."""
    triton.write("login", "~/.bashrc", f'[ -z "$SLURM_JOB_ID" ] || {{ {does}; }}\n', user)
    with Started(triton, user, "-t 5", before="export BASH_ENV=~/.bashrc;") as started:
        assert answers(triton, started.url) in ("200", "302")
        assert f"BASH_ENV=/home/{user}/.bashrc" in environ(triton, started), (
            "cells in bash have it as the user wants it"
        )


@pytest.mark.claims(
    "``--env`` - the module, or the folder of a virtual environment, that has Jupyter; "
    "several modules with commas between; "
    "without it, the one that everybody has",
    "``--notebook`` - the classic Notebook in place of JupyterLab",
)
def test_an_environment_is_a_virtual_one_or_several_modules(triton, user):
    """The virtual one has Jupyter by way of a path file, since to install it takes a minute."""
    triton.run(
        "login",
        f"set -- {CENTRAL}\n{OWN_ENVIRONMENT}",
        user,
    )
    modules = f"{FACTS.modules.jupyter},{FACTS.modules.demo}"
    triton.run("login", "mkdir elsewhere", user)
    with (
        Started(triton, user, "-t 5 --env ./mine --dir elsewhere") as virtual,
        Started(triton, user, f"-t 5 --notebook --env {modules}") as several,
    ):
        assert (
            f"/home/{user}/mine/bin/python"
            in triton.run(virtual.said["node"], f"ps -u {user} -o args", check=False).stdout
        )
        assert answers(triton, virtual.url) in ("200", "302")
        assert "/tree?" in several.url and answers(triton, several.url) in ("200", "302")
        assert "DEMO_GREETING=" in environ(triton, several)


def environ(triton, started):
    """The environment variables of the processes of the server's job."""
    files = f"$(grep -l --null-data SLURM_JOB_ID={started.job} /proc/[0-9]*/environ)"
    return triton.run(started.said["node"], f"cat {files} | tr '\\0' '\\n'", check=False).stdout


@pytest.mark.claims("When your home directory is full, it says that.")
def test_a_full_home_is_told_before_a_job_and_at_its_end(triton):
    """Before a job is made, or as the reason why one ended."""
    full = cluster.FULL_USER
    fill = "head -c 3M /dev/zero > fill; for i in $(seq 100); do echo x > fill-$i; done"
    try:
        job = submitted(triton, full, "-t 5 --hold")
        triton.run("login", fill, full, check=False)
        stops = 0
        while (
            done := triton.run("login", "sjupyter --detach --hold", full, check=False)
        ).returncode:  # with a block more each time, it comes a step further
            assert (
                done.returncode == 1
                and "No space left on device" in done.stderr
                and len(done.stderr.splitlines()) == 1
            )
            assert triton.run(
                "login",
                "squeue --me --noheader --format=%i; ls .local/share/sjupyter | wc -l",
                full,
            ).stdout.split() == [job, "1"]
            triton.run("login", "truncate --size=-1K fill && sync fill", full)
            stops += 1
        assert 3 < stops < 50
        triton.run("login", f"sjupyter --stop {done.stdout.split()[1]}; {fill}", full, check=False)
        done = triton.run("login", f"scontrol release {job}; sjupyter --attach", full, check=False)
        assert (done.returncode, done.stderr) == (
            1,
            "sjupyter: Your home directory is full: du -sh ~/* ~/.[!.]* shows what takes "
            "the space\n",
        )
    finally:
        triton.run("login", "rm -f fill fill-*; scancel --me", full)


def test_a_home_that_fills_up_ends_no_server_that_runs(triton):
    """One that starts says that the home is full."""
    full = cluster.FULL_USER
    try:
        # its own log fills the home, and more than a pipe holds comes after that
        environment(
            triton, full, "noisy", '(until [ -e go ]; do sleep 0.1; done; yes) & exec $JUPYTER "$@"'
        )
        with Started(triton, full, "-t 5 --env ~/noisy") as started:
            triton.run(
                "login",
                "touch go; until [ $(df --output=avail . | tail -n 1) -lt 50 ]; do sleep "
                "0.1; done; sleep 2",
                full,
            )
            for _ in range(3):
                assert answers(triton, without_token(started.url) + "/none") == "403" and answers(
                    triton, started.url
                ) in ("200", "302")
        triton.run(
            "login",
            'until [ -z "$(squeue --me --noheader)" ]; do sleep 0.1; done; rm -rf go '
            ".local/share/sjupyter",
            full,
        )
        environment(
            triton, full, "greedy", "head -c 3M /dev/zero > fill; status=$?; rm fill; exit $status"
        )
        done = triton.run("login", "sjupyter -t 5 --env ~/greedy", full, check=False)
        assert (done.returncode, done.stderr) == (
            1,
            "sjupyter: Your home directory is full: du -sh ~/* ~/.[!.]* shows what takes "
            "the space\n",
        )
    finally:
        triton.run("login", "rm -rf go fill noisy greedy .local/share/sjupyter; scancel --me", full)


def test_where_there_is_no_slurm_it_says_so(triton, user):
    for name in (
        "bin/sjupyter",
        "lib/slurm.py",
        "lib/clusterfacts.py",
        "lib/terminal.py",
        "facts.toml",
    ):
        triton.run(
            "laptop",
            f"mkdir -p copy/bin copy/lib; cat > copy/{name}",
            user,
            input=(ROOT / "triton" / name).read_text(encoding="utf-8"),
        )
    done = triton.run("laptop", "python3 copy/bin/sjupyter", user, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "sjupyter: There is no Slurm here (sbatch is not found): run sjupyter on the "
        "login node, or with --local\n",
    )
    assert triton.run("laptop", "ls .local/share/sjupyter", user).stdout == ""


# ---------------------------------------------------------------- a cluster that fails


@pytest.fixture(scope="module")
def fragile(tmp_path_factory):
    """A small Triton of its own, whose controller gives up a silent node soon, and where jobs of
    the partition urgent take the place of others.
    """
    if why := cluster.obstacle():
        pytest.skip(why)
    state = tmp_path_factory.mktemp("fragile") / "cluster"
    cluster.up(nodes=2, state=state, tied=True, say=print)
    try:
        own = Triton(state)
        own.run(
            "ctl",
            """cat >> /etc/slurm/slurm.conf""",
            input="""
SlurmdTimeout=10
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
PartitionName=urgent Nodes=ALL PriorityTier=10
""",
        )
        restart(own)
        own.run(
            "ctl",
            "until scontrol ping | grep -q UP; do sleep 0.1; done > /dev/null 2>&1",
            timeout=60,
        )
        yield own
    finally:
        cluster.down(state)


def restart(triton, pause=0):
    """End Slurm's controller and start it again, after so many seconds and in the background."""
    triton.run(
        "ctl",
        "pid=$(cat /run/slurmctld.pid); kill $pid; while kill -0 $pid; do sleep 0.05; "
        f"done 2>/dev/null; (sleep {pause}; slurmctld) > /dev/null 2>&1 &",
        timeout=60,
    )


def test_a_controller_that_restarts_is_waited_for(fragile):
    """Also when it is away for longer than sbatch itself waits, which then says so."""
    user = fragile.account()
    fragile.run("login", "mkdir -p bin", user)
    fragile.write(
        "login",
        "~/bin/sbatch",
        '#!/bin/sh\n[ ! -e tried ] || exec /usr/bin/sbatch "$@"\n: > tried\n'
        "echo 'sbatch: error: Batch job submission failed: Unable to contact slurm "
        "controller (connect failure)' >&2; exit 1\n",
        user,
        mode="755",
    )
    restart(fragile, pause=6)
    with Started(fragile, user, "-t 5", before="PATH=$HOME/bin:$PATH;") as started:
        assert answers(fragile, started.url) in ("200", "302")


def test_a_controller_that_stays_away_is_not_waited_for_for_ever(fragile):
    user = fragile.account()
    fragile.run(
        "ctl",
        "pid=$(cat /run/slurmctld.pid); kill $pid; while kill -0 $pid; do sleep 0.05; "
        "done 2>/dev/null",
        timeout=60,
    )
    try:
        done = fragile.run("login", impatient(fragile, user, SLURM_TRIES=2), user, check=False)
    finally:
        fragile.run(
            "ctl",
            "slurmctld; until scontrol ping | grep -q UP; do sleep 0.1; done > /dev/null 2>&1",
            timeout=60,
        )
    assert done.returncode == 1
    assert re.fullmatch(
        r"Slurm's controller does not answer; trying for a minute \.\.\.\nsjupyter: Slurm "
        r"says: .*Unable to contact slurm controller.*\n",
        done.stderr,
    ), done.stderr
    assert (
        fragile.run("login", "ls .local/share/sjupyter; squeue --me --noheader", user).stdout == ""
    )


@pytest.mark.claims("a job that goes first took its place;")
def test_a_job_that_another_takes_the_place_of_is_told(fragile):
    user = fragile.account()
    with Started(fragile, user, "-t 5 -w c1") as started:
        fragile.run(
            "login",
            "sbatch --partition=urgent --nodelist=c1 --exclusive --time=1 "
            "--output=/dev/null --wrap='sleep 1'",
            fragile.account(),
        )
        assert started.end()[:2] == (
            1,
            {
                "job": started.job,
                "state": "ended",
                "reason": "Slurm gave its place to a job that goes first. Start it again.",
            },
        )


def test_a_node_that_dies_while_the_server_starts_is_told(fragile):
    """Nobody is there to answer Slurm from one moment to the next."""
    user = fragile.account()
    environment(fragile, user, "slow", "sleep 300")
    process = fragile.start(
        "login",
        "sjupyter -w c2 --env ~/slow",
        user,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    fragile.run(
        "login",
        "until grep -q starting .local/share/sjupyter/*/said.json; do sleep 0.1; done 2>/dev/null",
        user,
        timeout=60,
    )
    fragile.run("c2", "ip link set eth0 down; kill -KILL -1", check=False)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (
        1,
        "sjupyter: The node c2 failed. That is not your fault: start it again.\n",
    )
    assert fragile.run("login", "squeue --me --noheader", user).stdout == ""


# ---------------------------------------------------------------- many, and interrupted


def test_twenty_servers_of_two_users_do_not_collide(triton):
    users = [triton.account(), triton.account()]
    for name in users:
        triton.run(
            "login",
            "for i in $(seq 10); do sjupyter --json --detach -t 10 --mem=300M & done; wait",
            name,
        )
    rows = {}
    for _ in range(150):
        rows = {
            name: [
                json.loads(line)
                for line in triton.run("login", "sjupyter --list --json", name).stdout.splitlines()
            ]
            for name in users
        }
        if all(len([row for row in rows[name] if row["state"] == "ready"]) == 10 for name in users):
            break
        time.sleep(2)
    try:
        addresses = [row["address"] for name in users for row in rows[name]]
        assert len(set(addresses)) == 20 and all(addresses), rows
        for name in users:
            assert triton.run("login", ANSWERS_OF_ALL, name).stdout.split() == ["200"] * 10
    finally:
        for name in users:
            triton.run("login", "scancel --me", name)


@pytest.fixture
def killed(triton, user):
    """Run sjupyter as `user`, and kill it at each of its steps; returns for each step what it was,
    the exit status, what was said, and the jobs in the queue.
    """

    def at_each_step(number):
        triton.write("login", "~/interrupted.py", INTERRUPTED, user)
        printed = triton.run("login", f"python3 - {int(number)}", user, input=AT_EACH_STEP).stdout
        return [json.loads(line) for line in printed.splitlines()]

    return at_each_step


@pytest.mark.claims("before the job is in the queue, once is enough.")
def test_a_ctrl_c_at_any_step_of_the_start_leaves_no_job_or_asks(triton, user, killed):
    for step, status, said, jobs in killed(signal.SIGINT):
        asked = re.fullmatch(
            r"\nCtrl-C again ends job (\d+)\. .*\nsjupyter: Job \1 is ended\.\n", said
        )
        assert status == (1 if asked else 130) and (
            asked
            or said in ("sjupyter: Interrupted.\n", "sjupyter: Interrupted; no job is left.\n")
        ), (step, status, said)
        assert jobs == [], step
        assert bool(asked) == step.startswith("squeue"), "with a job in the queue, it asks"
    assert step == "squeue 2"


def test_a_ctrl_c_while_slurm_is_asked_only_asks(triton, user):
    """A terminal sends it to squeue as well.

    To start a program would let dash forget that the signal has to wait.
    """
    triton.run("login", "mkdir -p bin", user)
    triton.write(
        "login",
        "~/bin/squeue",
        '#!/bin/sh\n[ -e sent ] || { : > sent; kill -INT $PPID $$; }\nexec /usr/bin/squeue "$@"\n',
        user,
        mode="755",
    )
    done = triton.run("login", "PATH=$HOME/bin:$PATH sjupyter --hold --wait 2", user, check=False)
    assert done.returncode == 3 and re.match(
        r"\nCtrl-C again ends job (\d+)\. .*\nsjupyter: Job \1 was still in the queue ", done.stderr
    ), done.stderr


def test_a_second_ctrl_c_while_slurm_is_asked_ends_the_job(triton, user):
    triton.run("login", "mkdir -p bin", user)
    triton.write(
        "login",
        "~/bin/squeue",
        '#!/bin/sh\nkill -INT $PPID\nexec /usr/bin/squeue "$@"\n',
        user,
        mode="755",
    )
    done = triton.run("login", "PATH=$HOME/bin:$PATH sjupyter --hold --wait 20", user, check=False)
    assert done.returncode == 1 and re.fullmatch(
        r"\nCtrl-C again ends job (\d+)\. .*\nsjupyter: Job \1 is ended\.\n", done.stderr
    ), done.stderr
    assert triton.run("login", "squeue --me --noheader", user).stdout == ""


def test_a_start_killed_at_any_step_leaves_no_hidden_job(triton, user, killed):
    """There is no job that --list does not show."""
    steps = killed(signal.SIGKILL)
    assert (
        all(status == -signal.SIGKILL for _, status, _, _ in steps) and steps[-1][0] == "squeue 2"
    )
    # and when it is killed while sbatch works
    triton.run("login", "mkdir -p bin", user)
    triton.write(
        "login",
        "~/bin/sbatch",
        '#!/bin/sh\nkill -KILL $PPID\nexec /usr/bin/sbatch "$@" > done\n',
        user,
        mode="755",
    )
    triton.run(
        "login",
        "PATH=$HOME/bin:$PATH sjupyter --hold; until [ -s done ]; do sleep 0.1; done",
        user,
        check=False,
    )
    jobs = set(triton.run("login", "squeue --me --noheader --format=%i", user).stdout.split())
    shown = {
        json.loads(line)["job"]
        for line in triton.run("login", "sjupyter --list --json", user).stdout.splitlines()
    }
    assert jobs == shown and len(jobs) > len(
        [step for step, *_ in steps if step.startswith("squeue")]
    )


def test_a_job_that_slurm_did_not_confirm_is_not_made_twice(triton, user):
    """Slurm has taken the job, and did not say so."""
    triton.run("login", "mkdir -p bin", user)
    triton.write(
        "login",
        "~/bin/sbatch",
        '#!/bin/sh\n/usr/bin/sbatch "$@" > /dev/null\n'
        "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv "
        "operation' >&2; exit 1\n",
        user,
        mode="755",
    )
    done = triton.run("login", "PATH=$HOME/bin:$PATH sjupyter --json --detach --hold", user)
    assert triton.run("login", "squeue --me --noheader --format=%i", user).stdout.split() == [
        json.loads(done.stdout)["job"]
    ]
    assert "Slurm's controller does not answer; trying for a minute" in done.stderr


def around(triton, user, command, script):
    """Put a shell script first on the path of `user` that is called like a command of Slurm's;
    return how to begin a line with it.
    """
    triton.run("login", "mkdir -p bin", user)
    triton.write("login", f"~/bin/{command}", f"#!/bin/sh\n{script}\n", user, mode="755")
    return "PATH=$HOME/bin:$PATH"


SILENT = "echo 'error: Unable to contact slurm controller (connect failure)' >&2; exit 1"


@pytest.mark.claims(
    "No job of ``sjupyter`` is left behind or ended by mistake, whatever ``sbatch`` says "
    "of it, or if it says nothing."
)
@pytest.mark.parametrize(
    "says", ["sleep 100", "echo Welcome", "exit 1", "echo 'Submitted batch job'; exit 0"]
)
def test_a_job_is_found_whatever_sbatch_says_of_it(triton, user, says):
    """Also if it says nothing until it is given up."""
    path = around(triton, user, "sbatch", f'/usr/bin/sbatch "$@" > /dev/null; {says}')
    done = triton.run(
        "login", f"{path} {impatient(triton, user, SLURM_SECONDS=2)} --json --detach --hold", user
    )
    assert triton.run("login", "squeue --me --noheader --format=%i", user).stdout.split() == [
        json.loads(done.stdout)["job"]
    ]


def test_a_job_that_comes_later_than_anybody_waits_ends_itself(triton, user):
    """sbatch was given up, and no job was there: what Slurm takes afterwards runs nothing."""
    late = (
        "for script; do :; done; cp $script ~/late; (sleep 4; cd; head -c -0 late | "
        '/usr/bin/sbatch --output="$(dirname $script)/log" > number) > /dev/null 2>&1 & '
        "sleep 100"
    )
    path = around(triton, user, "sbatch", late)
    done = triton.run(
        "login", f"{path} {impatient(triton, user, SLURM_SECONDS=1)} --detach", user, check=False
    )
    assert (done.returncode, done.stderr) == (
        1,
        "sjupyter: Slurm did not answer sbatch in 1 seconds. If it has taken the job all the same, "
        "that ends by itself when it starts\n",
    )
    ended = (
        "until [ -s number ]; do sleep 0.1; done; until squeue --me --noheader --states=all "
        "--format=%T | grep -q FAILED; do sleep 0.2; done; squeue --me --noheader"
    )
    assert triton.run("login", ended, user, timeout=60).stdout == ""


def test_a_job_that_cannot_be_ended_is_named(triton, user):
    path = around(triton, user, "scancel", SILENT)
    done = triton.run(
        "login",
        f"{path} {impatient(triton, user, SLURM_TRIES=1)} --hold --wait 1",
        user,
        check=False,
    )
    job = triton.run("login", "squeue --me --noheader --format=%i", user).stdout.strip()
    assert done.returncode == 3 and done.stderr.endswith(
        "could not be ended (Slurm says: error: Unable to contact slurm controller "
        f"(connect failure)): scancel {job} does it later.\n"
    )


@pytest.mark.claims("or when Slurm does not answer for a while.")
def test_a_server_is_followed_while_slurm_is_silent(triton, user):
    path = around(
        triton, user, "squeue", f'[ ! -e silent ] || {{ {SILENT}; }}; exec /usr/bin/squeue "$@"'
    )
    with Started(
        triton, user, "-t 5", f"touch silent; (sleep 6; rm silent) & export {path};"
    ) as started:
        assert answers(triton, started.url) in ("200", "302")
        triton.run("login", "touch silent; sleep 5", user)
        assert started.process.poll() is None
        triton.run("login", f"rm silent; scancel {started.job}", user)
        status, said, err = started.end()
        assert (status, said["reason"]) == (
            1,
            f"It was cancelled by {user}.",
        ) and f"Job {started.job} goes on, and so does this command." in err, err


# ---------------------------------------------------------------- on the login node


def nothing_runs(triton, user):
    """Whether nothing of Jupyter is left of `user` on the login node: a kernel whose server was
    killed sees that within a second.
    """
    look = (
        f"for i in $(seq 100); do pgrep -u {user} -f '[j]upyter|[i]pykernel' > /dev/null || "
        "exit 0; sleep 0.1; done; exit 1"
    )
    return not triton.run("login", look, check=False).returncode


def assert_socket_is_of(triton, user, path):
    """Nobody but `user` can open the socket at `path`."""
    refused = triton.run(
        "login",
        f"curl --silent --show-error --unix-socket {path} http://localhost/",
        triton.account(),
        check=False,
    )
    assert "Permission denied" in refused.stderr or "Couldn't connect" in refused.stderr, refused
    assert triton.run("login", f"stat --format=%a {path}", user).stdout == "600\n"


@pytest.mark.claims(
    "runs without Slurm, on ``{{ hosts.login }}`` itself, for small tests.",
    "The line to paste leads to a Unix socket, a file that only you can open. A port "
    "could be knocked at by everyone on the "
    "node.",
    "If your ssh cannot forward to a socket, ``--no-socket`` takes a port after all.",
    "or for a small test :ref:`on the login node <sjupyter-local>` with ``sjupyter --local``.",
)
def test_local_is_reached_by_the_printed_line(triton, user):
    """It ends with Ctrl-C.

    At a socket, by which a kernel answers as well; or at a port.
    """
    let_in(triton, user, ["laptop"])
    # Of one who starts Jupyter elsewhere too.
    settings = {
        "ServerApp": {"port": 9999, "ip": "0.0.0.0", "sock_mode": "0666"},
        "LabApp": {"port": 9998},
    }
    triton.run("login", "mkdir -p .jupyter", user)
    triton.write(
        "login",
        "~/.jupyter/jupyter_server_config.json",
        json.dumps(settings),
        user,
    )
    triton.write(
        "login", "~/.jupyter/jupyter_notebook_config.py", "c.NotebookApp.port = 9997\n", user
    )
    triton.write("login", "~/.bashrc", "export JUPYTER_PORT=9996\n", user)
    for option, forwarded in (
        ("", rf"{FACTS.proxy.example}:/home/{user}/\S+/socket"),
        ("--no-socket", rf"{FACTS.proxy.example}:localhost:\d+"),
    ):
        terminal = Terminal(triton, "login", user, PROMPTS)
        terminal.screen.sendline(f"sjupyter --local {option}")
        terminal.screen.expect(
            rf"(ssh -L {forwarded} \S+)\r?\n[^$]*and open:\s+(http\S+)", timeout=PATIENCE
        )
        line, url = terminal.screen.match[1], terminal.screen.match[2]
        laptop = Terminal(triton, "laptop", user, PROMPTS)
        laptop.type(line)
        try:
            fetch = f"curl --silent --location --cookie-jar /dev/null {shlex.quote(url)}"
            title = triton.run("laptop", f"{fetch} | grep -io '<title>[^<]*'", user).stdout
            assert "<title>JupyterLab" in title, option
            if not option:
                assert_socket_is_of(triton, user, re.search(r":(/\S+)", line)[1])
                reads = f"python3 - {shlex.quote(url)} {FACTS.proxy.example}"
                messages = triton.run("laptop", reads, user, input=KERNEL_MESSAGES).stdout
                assert "execution_state" in messages
            else:
                port = re.search(r"localhost:(\d+)", line)[1]
                address = re.sub(r":\d+/", f":{port}/", without_token(url))
                assert answers(triton, address, triton.account()) == "403", (
                    "everybody on the node may knock"
                )
            assert triton.run("login", "squeue --me --noheader", user).stdout == "", "without Slurm"
            terminal.screen.send("\x03")
            assert terminal._wait(20).endswith("It is ended."), (
                "and the prompt is on a line of its own"
            )
        finally:
            terminal.close()
            laptop.close()
        assert nothing_runs(triton, user)
    assert triton.run("login", "ls .local/share/sjupyter", user).stdout == ""


def test_a_users_files_hide_no_module_from_jupyter(triton, user):
    """Neither in the queue nor on the login node; all that Python imports at its start, and more,
    by names that people give their files. An empty part of PYTHONPATH, which many have without
    knowing, is the folder where they are.
    """
    names = (
        "types runpy typing logging json random socket http html select signal queue struct "
        "token site sitecustomize numbers copy string calendar email jupyter_core "
        "rfc3987_syntax"
    )
    triton.run(
        "login",
        f'mkdir work; for name in {names}; do echo \'raise SystemExit("the wrong " + '
        "__name__)' > work/$name.py; done",
        user,
    )
    with Started(triton, user, "-t 5", "cd work; export PYTHONPATH=:;") as started:
        assert answers(triton, started.url) in ("200", "302")
    local = (
        "cd work; export PYTHONPATH=:; timeout --signal=INT 60 sjupyter --local --json | head -n 1"
    )
    assert (
        json.loads(triton.run("login", local, user, check=False, timeout=90).stdout)["state"]
        == "ready"
    )


@pytest.mark.claims("Compute nodes let nobody in by ssh.")
@pytest.mark.claims("since the compute nodes let nobody in by ssh.")
def test_compute_nodes_let_nobody_in_by_ssh(triton, server):
    """That is why a server in a job has no socket: a socket is reached on its own node only."""
    done = triton.run(
        "login", f"ssh -o BatchMode=yes {server.said['node']}", server.user, check=False
    )
    assert done.returncode == 255 and "Connection refused" in done.stderr


@pytest.mark.claims("or when it takes more than 2 GB.")
def test_local_protects_others_from_a_server_of_much_memory(triton, user):
    """Such a server is ended."""
    with Started(triton, user, "--local --no-socket") as started:
        port = re.search(r":(\d+) ", started.said["forward"])[1]
        execute(
            triton,
            user,
            started.url.replace(f":{FACTS.proxy.example}/", f":{port}/"),
            "x = b'x' * 2_500_000_000; import time; time.sleep(60)",
        )
        _, err = started.process.communicate(timeout=30)
        assert started.process.returncode == 1 and "GB of memory, and was ended" in err
        assert nothing_runs(triton, user)


@pytest.mark.claims(
    "Everyone shares that node, so take little processor time and little memory: it is "
    "ended after an hour,"
)
def test_local_tells_its_limits_and_ends_when_time_is_up(triton, user):
    done = triton.run(
        "login", f"{impatient(triton, user, LOCAL_SECONDS=2)} --local", user, check=False
    )
    says, *_, last = done.stderr.splitlines()
    assert (
        says.startswith("This runs on ") and "which everyone shares: at most 2 GB of memory" in says
    )
    assert done.returncode == 1 and re.fullmatch(
        r"sjupyter: The server ran for .*, and was ended\. Take the queue: sjupyter "
        r"without --local",
        last,
    )
    assert (
        nothing_runs(triton, user)
        and triton.run("login", "ls .local/share/sjupyter", user).stdout == ""
    )


@pytest.mark.claims("``--dry-run`` - print the batch script, and start nothing")
def test_dry_run_prints_the_script_and_submits_nothing(triton, user):
    """The script is whole: Slurm would take it as it is."""
    script = triton.run("login", "sjupyter --dry-run --mem=4G", user).stdout
    assert script.startswith("#!/bin/bash\n") and f"module load {FACTS.modules.jupyter}" in script
    asked = re.findall("^#SBATCH (.*)$", script, re.MULTILINE)
    assert f"--partition={FACTS.partitions.interactive}" in asked and "--mem=4G" in asked
    triton.run("login", "sbatch --test-only", user, input=script)
    local = triton.run("login", "sjupyter --dry-run --local", user).stdout
    assert local.startswith("#!/bin/bash\n") and "#SBATCH" not in local
    assert nothing_runs(triton, user)
    assert triton.run("login", "squeue --me --noheader", user).stdout == ""


@pytest.mark.claims("``sjupyter --help`` has the whole list.")
def test_help_has_each_option(triton, user):
    """But --socket, which --local does by itself."""
    source = (ROOT / "triton/bin/sjupyter").read_text(encoding="utf-8")
    known = {
        name
        for table in re.findall(
            r"^(?:FLAGS|VALUES|ACTIONS) = \{.*?\}", source, re.MULTILINE | re.DOTALL
        )
        for name in re.findall(r'"(--[\w-]+)"', table)
    }
    said = triton.run("login", "sjupyter --help", user).stdout
    assert len(known) > 12 and {
        name for name in known if not re.search(rf"(?<![\w-]){name}(?![\w-])", said)
    } == {"--socket"}
    assert {
        name
        for option, _ in rows("triton/apps/jupyter/sjupyter.rst", "What you can choose")
        for name in literals(option)
    } <= known


def test_help_has_the_defaults_of_this_cluster(triton, user):
    """Where no facts can be read it says the same in general, and no error."""
    here = triton.run("login", "sjupyter --help", user).stdout
    general = triton.run("login", "SJUPYTER_FACTS=/nowhere sjupyter --help", user).stdout
    for words, fact in (
        ("the central environment", FACTS.modules.jupyter),
        ("the partition for interactive work", FACTS.partitions.interactive),
    ):
        assert f"({fact})" in here and f"({words})" not in here
        assert f"({words})" in general and f"({fact})" not in general


@pytest.mark.parametrize("ready", [False, True], ids=["waiting", "attached"])
def test_slurm_is_asked_at_most_once_a_second_and_then_less(triton, user, ready):
    """The longer it takes, the less often Slurm is asked."""
    if ready:
        triton.run("login", f"sjupyter --attach {submitted(triton, user, '-t 20')} --detach", user)
    counting = counted(triton, user, "squeue", "sacct", "scontrol")
    triton.run(
        "login",
        f"{counting} sjupyter {'--attach' if ready else '--hold'} & for i in $(seq "
        f"{PATIENCE * 5}); do [ $(cat asked 2>/dev/null | wc -l) -ge 6 ] && break; "
        "sleep 0.1; done; kill -KILL $!",
        user,
        check=False,
    )
    asked = [float(line) for line in triton.run("login", "cat asked", user).stdout.split()]
    gaps = [after - before for before, after in itertools.pairwise(asked)]
    assert 6 <= len(asked) <= 7 and min(gaps) > 0.9 and gaps[-1] > gaps[0], gaps

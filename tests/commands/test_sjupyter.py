"""sjupyter on the small cluster: a server starts, is reached in each way that is printed, outlives
its terminal, and says why it ended.
"""

import concurrent.futures
import itertools
import json
import re
import shlex
import signal
import subprocess
import time
from contextlib import closing

import pytest

from tools.browser import needs_chromium
from tools.cluster import cluster
from tools.cluster.hub import Lab, notebook
from tools.cluster.jupyter_server import PATIENCE, Ssh, browser, let_in, listens, literals, rows
from tools.cluster.small_triton import PROMPTS, Triton
from tools.cluster.terminal import Terminal
from tools.files import ROOT

FACTS = cluster.facts()
DATA = ROOT / "tests/data/commands"
CENTRAL = FACTS.paths.jupyter_env
SILENT = "echo 'error: Unable to contact slurm controller (connect failure)' >&2; exit 1"
FULL = "sjupyter: Your home directory is full: du -sh ~/* ~/.[!.]* shows what takes the space\n"


def script(name):
    return (DATA / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def limited(person):
    """A server whose time is up in two minutes, for which the tests do not wait; and who prints
    what it has put down in its folder to say so.
    """
    me = person()
    me.run("mkdir -p limited; echo kept > limited/saved")
    # It runs longer than it may wait in the queue.
    server = me.start("exec sjupyter -t 2 --dir limited --wait 60")
    look = "cat limited/sjupyter-*-ends-soon.txt 2>/dev/null"
    notice = me.start(f"for i in $(seq 1000); do {look} && break; sleep 0.1; done")
    yield server, notice, me
    me.run("scancel --me")
    server.communicate(timeout=60)
    notice.communicate(timeout=120)


@pytest.fixture(scope="module", autouse=True)
def warned(person):
    """A server of eleven minutes, which has to be announced as soon as ten are left: not by what it
    knows when it starts, but by Slurm's signal.
    """
    me = person()
    me.run("mkdir -p eleven")
    server = me.start("exec timeout 600 sjupyter -t 11 --mem=300M --dir eleven")
    yield server, me
    me.run("scancel --me")
    server.communicate(timeout=60)


# ---------------------------------------------------------------- reaching it

# Lines of the settings of somebody who would open the server to the world.
SETTINGS = """
c.ServerApp.ip = '0.0.0.0'; c.ServerApp.port = 8888; c.ServerApp.certfile = '/nowhere.pem'
c.NotebookApp.ip = '0.0.0.0'; c.NotebookApp.port = 8888; c.NotebookApp.base_url = '/x/'
c.NotebookApp.notebook_dir = '/tmp'; c.LabApp.ip = '0.0.0.0'; c.LabApp.port_retries = 9
c.ServerApp.sock = '/tmp/sock'; c.ServerApp.open_browser = True
c.ServerApp.ssl_options = {'certfile': '/nowhere.pem'}
c.ServerApp.websocket_url = 'ws://elsewhere'; c.ServerApp.file_to_run = 'x.ipynb'
c.ServerApp.password = 'argon2:x'; c.FileContentsManager.root_dir = '/tmp'
c.ServerApp.terminals_enabled = False
"""


@pytest.fixture(scope="module")
def server(person):
    """A server of one who lets a neighbour read all that is new in the home directory, and whose
    settings would open the server to the world.
    """
    me, neighbour = person(), person()
    acl = f"user:{neighbour}:rwX,default:user:{neighbour}:rwX,default:group::rwx"
    me.run(f"setfacl --recursive --modify {acl},default:other::rwx ~; mkdir -p .jupyter")
    me.write("~/.jupyter/jupyter_server_config.py", SETTINGS)
    before = "umask 0000; export JUPYTER_TOKEN=mine JUPYTER_PORT=9999 JUPYTER_PORT_RETRIES=x;"
    with me.server("-t 10 --mem=1G -c 2 --browser-file=open.html", before) as started:
        started.neighbour = neighbour
        yield started


def test_to_save_a_notebook_of_others_writes_no_other_file(server):
    """It names with Jupytext what else is written; IPython would run that at each start."""
    startup = ".ipython/profile_default/startup"
    server.person.run(f"mkdir -p {startup}")
    content = json.loads(notebook(["1"]))
    content["metadata"]["jupytext"] = {"formats": f"ipynb,{startup}//py"}
    model = json.dumps({"type": "notebook", "format": "json", "content": content})
    answer = server.get("contents/of-others.ipynb", "--request", "PUT", "--data", model)
    assert "Jupytext would also write" in answer
    assert "of-others" not in server.person.run(f"ls {startup} ~")


def test_to_open_a_file_copies_it_through_no_link(server):
    """As JupyterLab does, and a repository may have a link in the place of the copies."""
    startup = ".ipython/profile_default/startup"
    server.person.run(f"mkdir -p {startup} clone; cd clone; echo 1 > linked.py")
    server.person.run(f"cd clone; ln -s ../{startup} .ipynb_checkpoints")
    answer = server.get("contents/clone/linked.py/checkpoints", "--request", "POST")
    assert json.loads(answer)["id"] == "checkpoint"
    assert "linked" not in server.person.run(f"ls {startup}")


@pytest.mark.claims(
    "so your browser needs :ref:`the proxy <proxy>`, or you :ref:`forward one port "
    "<ssh-forward>`. ``sjupyter`` prints both lines, filled in: paste one into a terminal of your "
    "own computer, and open its address,",
    "start :ref:`the proxy <proxy>`, then open the address that it prints",
    "start the proxy{{ if cluster.vpn }}, also on the VPN{{ end }}, then open the address that it "
    "prints",
    "{{ if hosts.gateway }}From outside add ``-J username@{{ hosts.gateway }}``. {{ end }}",
    "Your browser reaches compute nodes through an SSH proxy: ``ssh -D {{ proxy.port }}`` on your "
    "computer,",
    "You are - For :doc:`JupyterHub <hub>` - For :doc:`sjupyter <sjupyter>`",
)
@pytest.mark.parametrize("way", ["proxy", "proxy_outside", "forward", "forward_outside"])
def test_each_printed_way_leads_to_the_server_when_pasted(triton, server, way):
    host = "outside" if "outside" in way else "laptop"
    with closing(Terminal(triton, host, server.person, PROMPTS)) as terminal:
        terminal.type(server.said[way])
        assert terminal.host == "login", "the line opens a shell on the login node"
        words = f"--socks5-hostname localhost:{FACTS.proxy.port} {shlex.quote(server.url)}"
        if "forward" in way:
            words = shlex.quote(server.said["forward_url"])
        page = f"curl --silent --location --cookie-jar /dev/null {words}"
        assert "<title>JupyterLab" in server.person.run(page, host)


@pytest.mark.claims(
    "The address is on a compute node,",
    "open its address, above the line of the proxy or below that of the port.",
    "``--browser-file`` - write a small page that opens the server, for you alone to read",
)
def test_the_lines_are_printed_as_they_are(triton, server):
    again = f"sjupyter --attach {server.job} --detach --browser-file=again.html"
    printed = server.person.run(f"{again} && cmp again.html open.html").splitlines()
    names = ("url", "proxy", "proxy_outside", "forward", "forward_outside", "forward_url")
    assert [line.strip() for line in printed if line.startswith("  ")] == [
        server.said[name] for name in names
    ], "an address, the lines of the proxy; those of the port, an address"
    assert server.node in triton.nodes and f"//{server.node}." in server.url
    # A service worker that a stranger has left at a port of localhost meets no later server, though
    # strangers on the node may choose the port there by taking all others.
    local, there = re.search(r"-L (\d+):\S+:(\d+) ", server.said["forward"]).groups()
    assert local != there and f"localhost:{local}/" in server.said["forward_url"]
    assert int(local) == 10_000 + int(server.token, 16) % 20_000
    page = server.person.run("stat --format=%a open.html; cat open.html")
    assert page.startswith("600\n") and f'href="{server.url}"' in page
    assert server.neighbour.sees(f"cat ~{server.person}/open.html") == ""


# ---------------------------------------------------------------- safety


def test_the_token_and_the_path_are_nowhere_where_others_look(server):
    me, other, path = server.person, server.neighbour, server.path.strip("/")
    assert len(path) == 16 and len(server.token) == 48
    # This neighbour gets into the home directory.
    other.run(f"echo mine > ~{me}/new; grep mine ~{me}/new")
    processes = "ps auxeww; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'"
    folder = f"~{me}/.local/share/sjupyter"
    seen = other.sees(processes, server.node) + other.sees(
        f"scontrol show job {server.job}; squeue --format=%all; sacct --allusers --format=ALL; "
        f"scontrol write batch_script {server.job} -; cat {folder}/*/* {folder}/*/runtime/*; "
        f"ls -R ~{me}"
    )
    assert "jupyter" in seen and server.token not in seen and path not in seen
    # Nor is it in what its owner might show around.
    me.answers(f"{server.base}api/contents")  # a line in the log
    mine = me.sees(processes, server.node) + me.run(
        f"scontrol show job {server.job}; sjupyter --logs; cat {folder}/*/job.sh"
    )
    assert "JUPYTER_TOKEN_FILE" in mine and "GET /.../api/contents" in mine
    assert server.token not in mine and path not in mine
    # The list of who else may read is there, and the mode, as its mask, leaves nothing of it.
    modes = dict(
        line.split() for line in me.run(f"find {folder} -printf '%p %y%m\\n'").splitlines()
    )
    assert {"asked.json", "job.sh", "said.json", "token"} <= {
        name.rpartition("/")[2] for name in modes
    }
    assert set(modes.values()) <= {"d700", "f600"}
    assert f"user:{other}:rwx" in me.run(f"getfacl {folder}")


@pytest.mark.claims("JupyterHub and ``sjupyter`` give it another one.")
def test_nobody_else_on_the_node_reaches_its_kernels(triton, server):
    """Over TCP they could read all that a kernel prints: only Jupyter listens, and its connections
    are in a folder of its owner. So are the folders from which Dask and PyTorch would run programs.
    """
    server.execute("pass")
    listening = triton.listening(server.node, server.person)
    assert len(listening) == 1, listening
    mine = f"find /tmp -maxdepth 2 -user {server.person}"
    sockets = triton.run(server.node, f"{mine} -name 'kernel-*-ipc-*' -type s").stdout
    assert len(sockets.split()) == 6
    variables = {line.partition("=")[::2] for line in server.environ()}
    for name in ("DASK_TEMPORARY_DIRECTORY", "TORCHINDUCTOR_CACHE_DIR"):
        [place] = {value for key, value in variables if key == name}
        assert place.startswith("/tmp/sjupyter-")
    assert triton.run(server.node, f"{mine} -name 'sjupyter-*' -printf '%m'").stdout.endswith("700")
    # A page that opens the server, with the token in it, which Jupyter writes there.
    assert triton.run(server.node, f"{mine} -name '*.html'").stdout == ""


@pytest.mark.claims(
    "In a folder where others may write, ``sjupyter`` writes through no link of theirs."
)
def test_links_that_others_have_planted_are_not_written_through(me, person):
    """In a folder where they may write: neither the page that opens the server nor what announces
    its end.
    """
    me.run("echo mine > precious; chmod 711 .; mkdir -m 777 shared")
    job = me.queued("--hold -t 5 --mem=300M --dir shared")
    person().run(
        f"cd ~{me}/shared; for name in open.html .open.html sjupyter-{job}-ends-soon.txt; "
        "do ln -s ../precious $name; done"
    )
    attach = f"sjupyter --attach {job} --detach --browser-file=open.html"
    me.run(f"scontrol release {job}; cd shared; {attach}")
    look = "find shared -type f -name 'sjupyter-*-ends-soon.txt' -size +0 -printf '%m %f\\n'"
    notice = me.run(f"until {look} | grep .; do sleep 0.1; done", timeout=60)
    assert notice.startswith(f"600 sjupyter-{job}-")
    page = me.run("stat --format='%F %a' shared/open.html; cat precious")
    assert page == "regular file 600\nmine\n"


@pytest.mark.claims(
    "A folder begins with a slash, a tilde, or dots and a slash; all else is a module.",
    "It takes no folder of theirs for the environment that you mean.",
    "What others put there runs as you: a module of theirs may have the name of one that your "
    "notebook imports, and Python takes theirs.",
)
def test_a_folder_of_others_is_no_environment_unless_a_path(me, person):
    """Where others write, they may make a folder that is called like the module that everybody has,
    or like the one that is asked for.

    They need no such way where a notebook runs: a module in that folder comes before others.
    """
    central, demo = FACTS.modules.jupyter, FACTS.modules.demo
    me.run("chmod 711 .; mkdir -m 777 shared")
    module = "import os; open(os.path.expanduser('~/imported'), 'w').write('pandas of another')"
    person().run(
        f"cd ~{me}/shared; for name in {central} {demo} own; do mkdir -p $name/bin; "
        "echo 'touch ~/ran' > $name/bin/activate; done; "
        f"echo {shlex.quote(module)} > pandas.py"
    )
    own = f". /home/{me}/shared/own/bin/activate"
    for option, loaded in (
        ("", f"module load {central}"),
        (f"--env={central},{demo}", f"module load {central} {demo}"),
        (f"--env {demo}", f"module load {demo}"),
        ("--env ./own", own),
        ("--env=~/shared/own/", own),
        ("--env=../shared/own", own),
    ):
        lines = me.run(f"cd shared; sjupyter --dry-run {option}").splitlines()
        assert [
            line.partition(" || ")[0]
            for line in lines
            if "activate" in line or line.startswith("module")
        ] == [loaded], option
    with me.server("-t 5 --mem=500M", "cd shared;") as started:
        started.execute("import pandas")
    assert me.run("cat imported; ls ~").startswith("pandas of another")
    assert me.sees("ls ran") == ""


@pytest.mark.claims("An empty part in a list of folders lets them run nothing.")
def test_an_empty_part_of_a_list_leads_into_no_folder(me, person):
    """It means the folder where a program starts. Others may have put settings there, a kernel, a
    library, and a program.
    """
    ran = f"/home/{me}/ran"
    kernel = {"argv": ["touch", ran], "display_name": "Python 3", "language": "python"}
    me.run("chmod 711 .; mkdir -m 777 shared")
    person().run(
        f"cd ~{me}/shared; mkdir -p kernels/python3; cat > kernels/python3/kernel.json; "
        f'echo \'open("{ran}", "w")\' > jupyter_server_config.py; echo > libz.so.1; '
        f"printf '#!/bin/sh\\ntouch {ran}' > jupyter; chmod +x jupyter",
        input=json.dumps(kernel),
    )
    names = "JUPYTER_CONFIG_PATH JUPYTER_PATH LD_LIBRARY_PATH PATH PYTHONPATH"
    lists = f"for name in {names}; do export $name=:${{!name}}; done;"
    with me.server("-t 5 --mem=500M --dir shared", lists) as started:
        started.execute("pass")
    with me.server("--local --dir shared", lists) as local:
        assert local.said["state"] == "ready"
    assert me.sees("ls ran") == ""


@pytest.mark.claims(
    "On a node whose own name is a loopback address the server is reached all the same, or "
    "refused with the reason."
)
def test_a_node_whose_own_name_is_a_loopback_address(triton, me):
    """As Debian's installer makes it.

    The server is reached at the node's address in the cluster; if that cannot be found out, it is
    refused.
    """
    node = triton.nodes[0]
    try:
        triton.run(
            node,
            "cp /etc/hosts /etc/hosts.before; "
            f"printf '127.0.1.1 {node}.{FACTS.hosts.domain} {node}\\n' > /etc/hosts; "
            f"grep -v -w {node} /etc/hosts.before >> /etc/hosts",
        )
        assert triton.run(node, "hostname --ip-address").stdout.strip() == "127.0.1.1"
        with me.server(f"-t 5 -w {node}") as started:
            assert started.answers()
        triton.run(node, f"sed -i 's/^[0-9.]*\\(.*{FACTS.hosts.short}\\)/127.0.0.1\\1/' /etc/hosts")
        done = me.tries(f"sjupyter -t 5 -w {node}")
        assert done.returncode == 1 and re.search(
            f"The node {node} knows no address of its own but a loopback one, .*: ask the "
            f"administrators .*--exclude={node}\n$",
            done.stderr,
        ), done
    finally:
        triton.run(node, "cat /etc/hosts.before > /etc/hosts")


@pytest.mark.claims(
    "The token in the address is the password to your server:",
    "The cookies of one server go to no other port of its node, where somebody else may listen.",
    "The path before it is another for each server, so that your browser gives its cookies to no "
    "other.",
)
def test_without_the_token_nobody_gets_in_or_learns_the_path(server):
    """A browser sends cookies to all ports of the node, as it does for a picture in a notebook, but
    with the server's path only.
    """
    for one in (server.neighbour, server.person):
        assert one.answers(f"{server.base}api/contents") == "403"
        assert one.answers(f"{server.base}api/contents?token={'0' * 48}") == "403"
    assert server.answers()
    opened = f"--location --output /dev/null --cookie-jar - {shlex.quote(server.url)}"
    kept = server.person.run(f"curl --silent {opened}")
    cookies = [line.split("\t") for line in kept.splitlines() if line.count("\t") == 6]
    assert len(cookies) == 2 and {fields[2] for fields in cookies} == {server.path}, kept
    paths = ["/", "/lab", "/login", "/api", "/api/contents", "/static/favicon.ico", "//", "/%2e/"]
    for other in (*paths, f"/x{server.path}", server.path[:-2]):
        words = shlex.quote(server.origin + other)
        said = server.neighbour.run(f"curl --silent --include --path-as-is {words}")
        assert said.startswith("HTTP/1.1 404 ") and server.path.strip("/") not in said, said


def write_files_of_somebody(me):
    """What somebody puts into a folder that others open: each file tells port 9 of the reader's
    computer. Also a template, and pictures without a script.
    """
    picture = (
        "import numpy, matplotlib.image as image; "
        "[image.imsave(f'dot.{kind}', numpy.zeros((30, 40))) for kind in ('png', 'pdf')]"
    )
    for path in (DATA / "of_somebody").iterdir():
        me.write(f"~/{path.name}", path.read_text(encoding="utf-8"))
    me.run("mkdir lab; echo '<title>of a template</title>' > lab/index.html.j2")
    me.run(shlex.join([f"{CENTRAL}/bin/python", "-c", picture]))


def assert_shown_as_text(lab, tab, base):
    """What has a viewer in JupyterLab that tells. The classic Notebook draws the plot, but asks
    nobody for its picture.
    """
    for name, text in (("page.html", "words"), ("plot.vg", "marks")):
        lab.open(name)
        lab.page.locator(".jp-FileEditor:visible").get_by_text(text).wait_for()
        assert lab.page.locator("iframe").count() == 0
    lab.open("page.ipynb")
    lab.page.locator(".jp-RenderedMarkdown code").get_by_text("graph LR").wait_for()
    lab.page.locator(".jp-OutputArea").get_by_text("text of a plot").wait_for()
    tab.goto(f"{base}notebooks/page.ipynb")
    tab.locator(".jp-OutputArea canvas").wait_for()
    tab.wait_for_timeout(500)


@needs_chromium
@pytest.mark.claims(
    "A file that is opened in a tab of such a server runs no script.",
    "A file that you open in a tab of the server runs no script, and so does not read that path.",
    "JupyterLab shows the text of an HTML file, and of plots and drawings in Vega and Mermaid,",
)
def test_a_file_in_a_tab_runs_no_script_and_tells_no_path(triton, server, playwright, tmp_path):
    """Nor does it send that path along with a picture or a link; and what has no script is shown as
    ever.
    """
    there, me = "http://localhost:9", server.person
    write_files_of_somebody(me)
    let_in(triton, me, ["laptop"])
    base, _, token = server.said["forward_url"].partition("lab?")
    with Ssh(triton, "laptop", me, f"-N {server.said['forward'].removeprefix('ssh ')}"):
        listens(triton, "laptop", int(re.search(r"localhost:(\d+)", base)[1]))
        with browser(playwright, triton, tmp_path, whole=True) as chromium:
            context = chromium.new_context()
            lab, tab, asked = Lab(context.new_page()), context.new_page(), []

            # Nobody listens there; what the page's policy refuses is not asked for at all.
            def note(request):
                if request.url.startswith(there) and request.failure != "csp":
                    asked.append((request.url, request.headers.get("referer", "")))

            context.on("requestfailed", note)
            lab.page.goto(f"{base}lab?{token}")
            lab.page.wait_for_selector(".jp-Launcher-body")
            [xsrf] = [cookie["value"] for cookie in context.cookies() if cookie["name"] == "_xsrf"]
            for name, title in (  # a script of these files would give the tab another title
                ("view/page.html", "page.html"),
                ("files/picture.svg", "a page"),
                ("nbconvert/html/page.ipynb", "page"),
                ("files/page.html", "a page"),
            ):
                assert tab.goto(f"{base}{name}?_xsrf={xsrf}").status == 200
                tab.wait_for_timeout(1000)
                assert tab.title() == title, name
            tab.get_by_text("a link").click()
            tab.wait_for_timeout(500)
            assert set(asked) == {(f"{there}/", "")}
            tab.goto(f"{base}files/dot.png?_xsrf={xsrf}")
            assert tab.evaluate("document.querySelector('img').naturalWidth") == 40
            assert tab.goto(f"{base}files/dot.pdf?_xsrf={xsrf}").status == 200
            lab.open("dot.png")
            shown = "document.querySelector('.jp-ImageViewer img')?.naturalWidth == 40"
            lab.page.wait_for_function(shown)
            asked.clear()
            assert_shown_as_text(lab, tab, base)
            assert not asked
            with tab.expect_download() as download:
                tab.evaluate(
                    "address => Object.assign(document.createElement('a'), {href: "
                    "address, download: ''}).click()",
                    f"{base}files/page.html?download=1&_xsrf={xsrf}",
                )
            assert download.value.suggested_filename == "page.html"
            assert download.value.failure() is None


def descriptors_and_memory(started):
    """The most open files and the most kB of memory of one of the processes of the server."""
    find = f"$(find /proc -maxdepth 2 -name environ -user {started.person})"
    look = (
        f"for one in $(grep -l --null-data JUPYTER_TOKEN_FILE= {find} | xargs dirname); do "
        "echo $(ls $one/fd | wc -l) $(sed -n 's/VmHWM: *//p' $one/status); done"
    )
    lines = started.person.triton.run(started.node, look, check=False).stdout.splitlines()
    return map(max, zip(*(map(int, line.split()[:2]) for line in lines), strict=True))


@pytest.mark.claims(
    "What a stranger sends to a server of ``sjupyter`` takes no memory.",
    "Thousands of connections of a stranger neither fill its memory nor shut out its owner.",
)
def test_strangers_take_no_memory_and_shut_nobody_out(me, person):
    """Jupyter would read half a gigabyte before it asks who it is.

    A connection that the owner has opened before the stranger's stays open: it is from elsewhere.
    """
    stranger = person()
    with me.server("-t 10 --mem=1G") as started:
        base, key = started.base, f"Authorization: token {started.token}"
        # A stranger sends much, and a thousand fields of an address, which are objects.
        sends = f"python3 - {started.origin} {started.path}"
        assert stranger.run(sends, input=script("sends_much.py")) == ""
        asks = f"curl --silent --output /dev/null --write-out '%{{http_code}} ' {base}login"
        fields = f"{asks}?$(printf 'a&%.0s' {{1..1000}}); {asks}"
        assert stranger.sees(fields) == "000 200 "
        # Then opens 2500 connections, and says nothing or a half of a request in each.
        host, port = started.origin.removeprefix("http://").split(":")
        request = f"GET {started.path}api/status HTTP/1.1\\r\\nHost: {host}\\r\\n{key}\\r\\n"
        owner = me.start(
            f"exec 3<>/dev/tcp/{host}/{port}; echo open; read; "
            f"printf '{request}Connection: close\\r\\n\\r\\n' >&3; head -1 <&3",
            stdin=subprocess.PIPE,
        )
        assert owner.stdout.readline() == "open\n"
        words = [script("many_connections.py"), host, port, started.path, "2500"]
        many = stranger.start(
            ["/usr/bin/python3", "-c", *words], started.node, stdin=subprocess.PIPE
        )
        try:
            assert many.stdout.readline() == "open\n"
            assert owner.communicate("\n", timeout=30)[0].startswith("HTTP/1.1 200")
            open_, memory = descriptors_and_memory(started)
            assert open_ < 500 and memory < 250_000, (open_, memory)
            # The owner comes in and works, as a page of JupyterLab does and as a program does.
            assert started.answers()
            uploads = shlex.join(["set", "--", started.url, f"{base}api/contents", started.token])
            assert me.run(f"{uploads}\n{script('upload_both.sh')}") == "60000000\n" * 2
        finally:
            many.communicate("")
            owner.kill()
        refused = me.answers(f"{base}api/contents/by-nobody", "--upload-file", "body")
        assert refused in ("400", "000") and "by-nobody" not in me.run("ls")


@pytest.mark.claims(
    "Your settings in ``~/.jupyter`` hold, but for where and how the server listens and for the "
    "folder that it shows.",
    "Compute nodes let nobody in by ssh.",
    "a socket is reached on its own node only. The compute nodes let in {{ hosts.node_ssh }} "
    "by ``ssh`` alone, and your browser reaches the port without.",
)
def test_the_server_listens_on_the_clusters_network_only(triton, server):
    """At the address that its node has there, whatever the user's settings say."""
    port = server.origin.rpartition(":")[2]
    address = triton.run(server.node, "hostname --ip-address").stdout.strip()
    look = "ss --listening --tcp --numeric --no-header"
    listening = triton.run(server.node, f"{look} '( sport = :{port} or sport = :8888 )'").stdout
    assert listening.count("LISTEN") == 1 and f"{address}:{port}" in listening and port != "8888"
    shown = json.loads(server.get("contents"))["content"]
    assert "open.html" in [entry["name"] for entry in shown], "it does not show the folder here"
    # Files behind a link out of that folder are sent, as those of ~/work are.
    me, file = server.person, "$WRKDIR/behind/sent.txt"
    me.run(f"mkdir -p $WRKDIR/behind; echo words > {file}; ln -sfn $WRKDIR/behind ~/behind")
    assert server.get("../files/behind/sent.txt") == "words\n"
    terminals = f"{server.base}api/terminals?token={server.token}"
    assert me.answers(terminals) == "404", "the settings' other lines do not hold"
    # A server in a job has no socket, which is reached on its own node only.
    refused = me.tries(f"ssh -o BatchMode=yes {server.node}")
    assert refused.returncode == 255 and "Connection refused" in refused.stderr


@pytest.mark.claims(
    "they keep what each job has its own of, such as ``SLURM_JOB_ID`` and ``SLURM_CPUS_ON_NODE``."
)
def test_a_job_is_submitted_from_a_server(triton, server):
    """With the environment that its kernels and terminals have; and srun takes the job of the
    server.
    """
    me, node = server.person, server.node
    pid = triton.run(node, f"pgrep -u {me} -f 'jupyter-lab .*ServerApp' | head -n 1").stdout
    environ = f"/proc/{pid.strip()}/environ"
    inside = f"cd; xargs -0 -a {environ} sh -c 'exec env -i \"$@\" bash -s' sh"
    commands = (
        "sbatch --wait --mem-per-cpu=100M --output=inner.txt --wrap='srun printenv "
        "SLURMD_NODENAME SLURM_CPUS_PER_TASK' > /dev/null; cat inner.txt; "
        "srun printenv SLURM_JOB_ID; echo $SLURM_CPUS_ON_NODE"
    )
    asked, one, job, cpus = me.run(inside, node, input=commands, timeout=120).split()
    assert asked in triton.nodes and (one, job) == ("1", server.job) and int(cpus) >= 2
    assert "SLURM_MEM_PER_NODE" not in me.run(f"cat {environ}", node)


# ---------------------------------------------------------------- what is typed arrives

STRANGE = ["a b", "$(touch pwned)", "`touch pwned`", "a\"b'c\\", "%j", "*", "-x", "é"]
STRANGE += ["a\ntouch pwned", "a\n#SBATCH --hold", "a;touch pwned"]


def test_a_strange_word_arrives_as_one_argument(me):
    lines = ['started() { sjupyter --json --detach --hold -t 5 "$@" | tr -dc 0-9; }']
    for word in STRANGE:
        look = "squeue --jobs=$job --noheader --Format='comment:|'; echo //"
        lines.append(f"job=$(started --comment={shlex.quote(word)}); {look}")
    *shown, left = me.sees("\n".join([*lines, "ls pwned"])).split("//\n")
    arrived = [one.rpartition("|")[0].strip() for one in shown]
    assert arrived == [word.strip() for word in STRANGE] and left == ""


@pytest.mark.claims(
    "``--dir`` - begin in this folder; without it, in the one where you typed the command",
    "Everything after ``--`` goes to Jupyter itself. Jupyter does not look for language servers,",
)
def test_strange_names_and_bashrcs_are_no_commands(me):
    """Of folders, environments, options of Jupyter, modules; and a file that bash reads before each
    script, and that never ends.
    """
    folder, option = "a 'b' $(touch pwned); \"c\"\n#SBATCH --hold", "x $(touch pwned)"
    me.run(f"mkdir -p {shlex.quote(folder)}; ln -s {CENTRAL} 'a;touch pwned'")
    me.write("~/.bashrc", '[ -z "$SLURM_JOB_ID" ] || { echo hello; exec sleep 100; }\n')
    before = "ln -s .bashrc 'rc;touch pwned'; export BASH_ENV=\"$HOME/rc;touch pwned\"; "
    before += "export XDG_DATA_HOME=\"$HOME/a '%j' \\$(touch pwned)\";"
    jupyter = shlex.quote(f"--ServerApp.custom_display_url={option}")
    words = f"-t 5 --env './a;touch pwned' --dir {shlex.quote(folder)} -- {jupyter}"
    with me.server(words, before) as started:
        assert started.answers()
        [row] = me.servers().values()
        assert row["dir"] == f"/home/{me}/{folder}" and row["job"] == started.job
        me.run(f"touch {shlex.quote(folder)}/here")
        assert '"name": "here"' in started.get("contents")
        assert f"--ServerApp.custom_display_url={option}" in me.run(
            f"ps -u {me} -o args", started.node
        )
        # Cells in bash have that variable as the user wants it.
        assert f"BASH_ENV=/home/{me}/rc;touch pwned" in started.environ()
        known = json.loads(started.get("../lsp/status"))
        assert known["specs"] == {} == known["sessions"], "no language server is looked for"
    job = json.loads(me.run("mkdir other; cd other; sjupyter --json --detach --hold"))["job"]
    assert me.servers()[job]["dir"] == f"/home/{me}/other", "where the command was typed"
    module = "x\ntouch pwned\n$(touch pwned)'`touch pwned`"
    done = me.tries(f"sjupyter --env {shlex.quote(module)}")
    assert done.returncode == 1
    assert f"sjupyter: The module {module} cannot be loaded" in done.stderr
    assert me.run("find . -name pwned") == ""


@pytest.mark.claims(
    "Slurm's options go straight through. ``-t`` is the longest time, ``--mem`` the memory, "
    "``-c`` the number of processor cores, :doc:`of which a program has to be told "
    "</triton/tut/parallel>`. {{ if partitions.gpu }}``--gres=gpu:1`` asks for a GPU, "
    ":doc:`in a partition that has some </triton/tut/gpu>`.{{ end }} Without options you "
    "get the partition ``{{ partitions.interactive }}`` and its defaults.",
    "Only those count that tell ``sbatch`` who pays, or how large a job is.",
    "Stay in ``{{ partitions.interactive }}``, the default.",
)
def test_slurms_options_arrive_and_win_over_the_defaults(me):
    """In each spelling."""
    own, other = FACTS.partitions.interactive, FACTS.partitions.batch
    look = "squeue --noheader --format='%P %j %l %m %C %a' --jobs="
    usual = f"sbatch --parsable --hold --output=/dev/null --partition={own} --wrap true"
    _, _, time_, memory, cores, account = me.run(f"{look}$({usual})").split()
    for options, asked in (
        ("", f"{own} sjupyter {time_} {memory} {cores} {account}"),
        ("-t 5 --mem=700M", f"{own} sjupyter 5:00 700M"),
        ("-t5 --mem 700M -Hp batch", f"{other} sjupyter 5:00 700M"),
        ("--time 5 --partition batch --job-name=mine", f"{other} mine 5:00"),
        (f"-c 3 --time {time_}", f"{own} sjupyter {time_} {memory} 3"),
    ):
        assert me.run(look + me.queued(f"--hold {options}")).startswith(asked), options
    payer = "SBATCH_TIMELIMIT=7 SBATCH_ACCOUNT=payer SBATCH_PARTITION=nowhere"
    job = json.loads(me.run(f"{payer} sjupyter --json --detach --hold"))["job"]
    assert me.run(look + job) == f"{own} sjupyter 7:00 {memory} {cores} payer\n"
    both = me.tries("sjupyter --gres=gpu:1; echo; sbatch --gres=gpu:1 --wrap true").stderr
    refused, *slurms = both.splitlines()
    assert re.search("generic resource|node configuration", refused), "no node here has one"
    assert refused == "sjupyter: Slurm says: " + "; ".join(slurms)


# Variables of Slurm's commands, with values that would change what these do.
OF_SLURM = {
    "SBATCH_ARRAY_INX": "0-2",
    "SBATCH_CLUSTERS": "nowhere",
    "SBATCH_EXPORT": "NONE",
    "SBATCH_JOB_NAME": "mine",
    "SBATCH_OUTPUT": "/nowhere/log",
    "SBATCH_PARTITION": FACTS.partitions.batch,
    "SBATCH_SIGNAL": "KILL@60",
    "SBATCH_WAIT": "1",
    "SCANCEL_INTERACTIVE": "true",
    "SCANCEL_STATE": "RUNNING",
    "SCANCEL_USER": "root",
    "SLURM_CLUSTERS": "nowhere",
    "SLURM_JOB_ID": "1",
    "SLURM_MEM_PER_CPU": "1",
    "SLURM_NTASKS": "9",
    "SLURM_TIME_FORMAT": "relative",
    "SQUEUE_ACCOUNT": "nobody",
    "SQUEUE_ARRAY": "1",
    "SQUEUE_FORMAT": "%j",
    "SQUEUE_FORMAT2": "JobID",
    "SQUEUE_PARTITION": FACTS.partitions.batch,
    "SQUEUE_SORT": "-i",
    "SQUEUE_STATES": "COMPLETED",
    "SQUEUE_USERS": "root",
}


@pytest.mark.claims(
    "Variables that you have set for Slurm's own commands change nothing here, such as "
    "another format for ``squeue``."
)
def test_variables_of_slurm_change_nothing(me):
    """A server is put into the queue, listed, stopped and followed.

    What its owner has set is there in the server, for the owner's own use of Slurm's commands.
    """
    sets = "export " + shlex.join(f"{name}={value}" for name, value in OF_SLURM.items())
    job = json.loads(me.run(f"{sets}; sjupyter --json --detach --hold -t 5 --mem=300M"))["job"]
    assert me.run("squeue --me --noheader --states=all --format='%i %P %j %T %m %l'") == (
        f"{job} {FACTS.partitions.interactive} sjupyter PENDING 300M 5:00\n"
    )
    listed, stopped = me.run(f"{sets}; sjupyter --list --json; sjupyter --stop").splitlines()
    assert (json.loads(listed)["job"], stopped) == (job, f"Job {job} is ended.")
    assert me.jobs() == []
    with me.server("-t 5", f"{sets};") as started:
        assert started.answers()
        own = set(started.environ())
        assert {"SQUEUE_STATES=COMPLETED", "SLURM_TIME_FORMAT=relative"} <= own
        assert "SLURM_NTASKS=9" not in own
        time.sleep(3)  # it looks at the queue, each second
        assert started.process.poll() is None
        me.run(f"scancel {started.job}")
        assert started.end()[1]["reason"] == f"It was cancelled by {me}."


# ---------------------------------------------------------------- living on, and ending


@pytest.mark.claims(
    "Close the window, and the server goes on.",
    "To come back:",
    "``Control-C`` in the window where it was started asks the first time, and ends the "
    "server the second time.",
    "Take the address that ``sjupyter`` prints now; ``sjupyter --attach`` prints it again.",
    "``sjupyter --attach`` prints the address again.",
)
def test_it_outlives_its_terminal_and_attach_is_back(triton, me):
    with closing(Terminal(triton, "login", me, PROMPTS)) as terminal:
        terminal.screen.sendline("sjupyter -t 5")
        shown = r"Open, in a browser that uses the proxy:\s+(http\S+)"
        terminal.screen.expect(shown, timeout=PATIENCE)
        url = terminal.screen.match[1]
    with closing(Terminal(triton, "login", me, PROMPTS)) as again:
        assert me.answers(url) in ("200", "302")
        again.screen.sendline("sjupyter --attach")
        again.screen.expect_exact(url, timeout=PATIENCE)
        again.screen.expect(r"and open:\s+\S+\s", timeout=PATIENCE)
        again.screen.send("\x03")
        again.screen.expect("Ctrl-C again ends job", timeout=PATIENCE)
        assert me.answers(url) in ("200", "302"), "the first Ctrl-C ends nothing"
        again.screen.send("\x03")
        again.screen.expect(r"Job \d+ is ended", timeout=PATIENCE)
    me.run('until [ -z "$(squeue --me --noheader)" ]; do sleep 0.2; done')
    assert me.answers(url) == "000"


@pytest.mark.claims(
    "``interactive`` is where ``sjupyter``, ``class-check`` and the hub start their jobs.",
    "``batch`` is Slurm's default.",
    "starts Jupyter in the Slurm queue, with resources of your own choosing, and prints the "
    "address to open.",
    "What runs, where, how long still, and how much of its memory it takes:",
    "Done for today:",
    "With more than one server, add the number of the job.",
    "``sjupyter --logs`` prints what Jupyter had to say,",
    "``--json`` - print results for programs, one object a line",
    "One command, ``sjupyter``, starts Jupyter in the Slurm queue with what you ask for.",
    ":ref:`In the queue <sjupyter-start>` with ``sjupyter``,",
    "Stop the server when you stop working: ``sjupyter --stop``,",
    "``sjupyter`` is a job of yours and writes its own.",
)
def test_list_stop_and_logs_know_what_runs(triton, me, person):
    """They forget what has ended."""
    with me.server("-t 5 --mem=700M") as first:
        second = me.queued("-t 5 --hold")
        partitions = me.run(f"squeue --noheader --jobs={second} --format=%P; sinfo --format=%P")
        assert partitions.startswith(f"{FACTS.partitions.interactive}\n")
        assert f"\n{FACTS.partitions.batch}*\n" in partitions
        me.run("until grep -qs memory_mb .local/share/sjupyter/*/said.json; do sleep 0.1; done")
        # Both are listed: for programs, and for people.
        servers = me.servers()
        assert set(servers) == {first.job, second} and servers[second]["state"] == "PENDING"
        server = servers[first.job]
        assert (server["state"], server["asked"]) == ("ready", "700M")
        assert 20 < server["memory_mb"] < 700 and re.fullmatch(r"[0-4]:\d\d", server["left"])
        assert first.base == server["address"]
        table = me.run("sjupyter --list").splitlines()
        columns = "JOB NODE STATE ADDRESS DIRECTORY TIME LEFT MEMORY"
        assert " ".join(table[0].split()) == columns
        cells = table[1].split()
        assert cells[:5] == [first.job, first.node, "ready", first.base, f"/home/{me}"]
        assert re.fullmatch(r"[0-4]:\d\d \d+M of 700M", " ".join(cells[5:]))
        triton.run("ctl", f"scontrol suspend {first.job}")
        suspended = me.run("sjupyter --list").splitlines()[1].split()
        assert suspended[2] == "SUSPENDED", "Slurm knows better than the server"
        triton.run("ctl", f"scontrol resume {first.job}")
        # What is meant is stopped, and nothing else.
        stop, path = f"sjupyter --stop {second}", me.instead_of(scancel="exit 1")
        for refused, said in (
            (me.tries("sjupyter --stop"), f"Which one? {first.job}, {second}"),
            (person().tries(stop), f"No server of yours is job {second}: sjupyter --list"),
            (me.tries(f"{path} {stop}"), "Slurm says: scancel ended with status 1"),
        ):
            assert (refused.returncode, refused.stderr) == (1, f"sjupyter: {said}\n")
        assert me.run(f"sjupyter --stop={first.job}") == f"Job {first.job} is ended.\n"
        status, said, _ = first.end()
        assert (status, said["reason"]) == (1, f"It was cancelled by {me}.")
        # What has ended has a log, and is no server.
        assert set(me.servers()) == {second}
        assert "ServerApp" in me.run(f"sjupyter --logs {first.job}")
        assert me.run("sjupyter --logs") == "", "the newest has not begun"
        again = me.tries(f"sjupyter --stop {first.job}")
        assert "No server of yours" in again.stderr
        assert me.run("sjupyter --stop") == f"Job {second} is ended.\n"
        nothing = me.run("sjupyter --list; sjupyter --list --json")
        assert nothing == "You have no server in the queue.\n"


@pytest.mark.claims("also for a week after its end;")
def test_what_servers_left_long_ago_is_removed_unless_they_run(me):
    """A folder's name begins with the time when it was made, in milliseconds."""
    me.queued("-t 5 --hold")
    folder = ".local/share/sjupyter"
    days = {"six": (6, '{"job": "1"}'), "now": (0.001, "{"), "hours": (0.1, "{")}
    days |= {"eight": (8, '{"job": "1"}')}  # and half of it may be written
    names = {
        key: f"{int((time.time() - age * 86400) * 1000)}-abcdef" for key, (age, _) in days.items()
    }
    for key, (_, asked) in days.items():
        me.run(f"mkdir {folder}/{names[key]}; cat > {folder}/{names[key]}/asked.json", input=asked)
    me.run(f"mkdir {folder}/{names['eight']}.mine; echo said > {folder}/{names['six']}/log")
    assert len(me.servers()) == 1
    left = set(me.run(f"ls {folder}").split())
    assert len(left) == 4 and left > {names["six"], names["now"], f"{names['eight']}.mine"}
    assert me.run("sjupyter --logs 1") == "said\n", "that of six days ago is there"
    # And with everything that is kept so long ago:
    me.run(f"{me.impatient(KEEP_SECONDS=0, UNBORN_SECONDS=0)} --list")
    assert set(me.run(f"ls {folder}").split()) == left - set(names.values())


@pytest.mark.claims("somebody cancelled it, and who.", "the node failed;")
def test_each_end_is_told(triton, me):
    """It was cancelled in the queue, its node failed, it was shut down in the browser."""
    job = me.queued("--hold")
    process = me.start("exec sjupyter --attach")
    assert process.stdout.readline() == f"Job {job} is in the queue (JobHeldUser).\n"
    triton.run("login", f"scancel {job}")
    assert process.communicate(timeout=60)[1] == "sjupyter: It was cancelled by root.\n"
    assert process.returncode == 1
    with me.server("-t 5 -w c4") as fails, me.server("-t 5 -w c3") as ends:
        triton.run("ctl", "scontrol update nodename=c4 state=down reason=test")
        try:
            ends.get("shutdown", "-X", "POST")
            reason = {"job": ends.job, "state": "ended", "reason": "It was shut down."}
            assert ends.end()[:2] == (0, reason)
            status, said, _ = fails.end()
        finally:  # it may be back already
            triton.run("ctl", "scontrol update nodename=c4 state=resume", check=False)
    why = "The node c4 failed. That is not your fault: start it again."
    assert (status, said["reason"]) == (1, why)
    notices = [name for name in me.run("ls").split() if "ends-soon" in name]
    assert not [name for name in notices if ends.job in name], "it goes with what it announced"


@pytest.mark.claims(
    "At the end ``sjupyter`` says why, as Slurm knows it: out of memory, and how much to ask for "
    "next time;",
    "The limits are those of any job, :ref:`memory <hub-memory>` included.",
)
def test_the_end_by_memory_says_what_to_ask_for(triton, me):
    """It says what was asked for, too."""
    with me.server("-t 5 --mem=400M") as started:
        started.execute(
            "import time; x = bytearray(150_000_000); time.sleep(4); y = "
            "bytearray(900_000_000); time.sleep(60)"
        )
        # Where only the kernel was killed, the server goes on, and says it at its end.
        if triton.memory == "cgroup":
            me.run(f"sjupyter --stop {started.job}")
        status, said, _ = started.end()
    assert status == 1
    told = re.match(
        r"It took more memory than it had: asked for 400 MB, peak seen (\d+) MB\. Ask for "
        r"more, --mem=(\d+)M",
        said["reason"],
    )
    assert told and int(told[1]) > 200 and int(told[2]) >= 800, said


BURNS = """import resource, time
x = bytearray(300 * 2**20)
while time.process_time() < 12: pass
time.sleep(5)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=open("kernel", "w"))"""


@pytest.mark.claims("If Slurm's accounts do not answer within 15 seconds, nothing is said.")
def test_the_end_says_no_more_when_the_accounts_are_silent(me):
    path = me.instead_of(sacct="exec sleep 60")
    job = me.queued("-t 5 --hold")
    began = time.monotonic()
    assert me.run(f"{path} sjupyter --stop {job}") == f"Job {job} is ended.\n"
    assert 14 < time.monotonic() - began < 25


@pytest.mark.claims(
    "Asked for: memory 1024 MB, cores 2, time 02:00:00 Used: memory 452 MB at most, cores 0.5 on "
    "average, time 00:42:29 Next time: --mem=600M",
    "The memory for next time is the most that was seen, and a quarter more.",
    "A server that ran for a minute or longer leaves three lines, in the window where it was "
    "started and after ``--stop``:",
    "That is what Slurm has measured.",
    "No number of cores is proposed. A notebook waits for you most of the time, so its "
    "average is low even if your cells keep two cores busy: look at :ref:`the bar at the "
    "bottom of JupyterLab <hub-load>` while they run.",
    "The same stands in JupyterLab when :doc:`sjupyter <sjupyter>` has started it, with "
    "what you asked for behind the slash.",
)
def test_the_end_says_what_was_asked_for_used_and_needed(me):
    """Its kernel takes twelve seconds of a processor, and knows its own memory."""
    run = me.impatient(SHORT_SECONDS=10)
    with me.server("-t 10 --mem=1G -c 2") as started:
        follower = me.start(f"{run} --attach {started.job}")
        started.execute(BURNS)
        idle = started.get("metrics/v1")
        assert json.loads(idle)["limits"]["memory"]["rss"] == 2**30, "behind the slash"
        told = me.run(f"{run} --stop {started.job}").partition("\n")[2]
        assert told in follower.communicate(timeout=60)[0]
    print(told, idle, me.run("cat kernel"), me.run(f"sacct -j {started.job} -P --format=ALL"))
    found = re.fullmatch(
        r"Asked for: memory 1024 MB, cores 2, time 00:10:00\n"
        r"Used:      memory (\d+) MB at most, cores (\d\.\d) on average, time 00:(\d\d):(\d\d)\n"
        r"Next time: --mem=(\d+)M\n",
        told,
    )
    peak, cores, minutes, seconds, advice = map(float, found.groups())
    kernel = int(me.run("cat kernel"))
    assert 300 < kernel < peak < kernel + 200, "beside it, the server"
    assert 12 < cores * (60 * minutes + seconds) < 30, "the server took some, too"
    assert peak * 1.25 <= advice < peak * 1.25 + 100


@pytest.mark.claims(
    "When the time is up the server is gone, with everything in its kernels' memory; start a new "
    "one. Files that you saved stay.",
    "out of time;",
    "Ten minutes before its time is up, you are told in the terminal, and by a file in the folder "
    "where JupyterLab began.",
)
def test_the_time_limit_is_announced_and_told(triton, limited, warned):
    server, me = warned
    for line in server.stdout:
        if line.startswith("The time of this server is up"):
            break
    [row] = me.servers().values()
    end = me.run("squeue --me --noheader --format=%e")[11:16]
    assert line == f"The time of this server is up at about {end}. Save your notebooks.\n"
    assert row["state"] == "ready", "it runs meanwhile"
    assert f"is up at about {end}. " in me.run("cat eleven/sjupyter-*-ends-soon.txt")
    server, notice, me = limited
    assert re.fullmatch(
        r"The time of this Jupyter server is up at about \d\d:\d\d\. Save your notebooks now, "
        r"and close its tab when it has ended\.\n",
        notice.communicate(timeout=120)[0],
    )
    out, err = server.communicate(timeout=240)
    assert re.search(r"\nThe time of this server is up at about \d\d:\d\d\. Save your note", out)
    why = "Its time was up (00:02:00). Ask for more with -t, or put the long part into a batch job."
    assert (server.returncode, err) == (1, f"sjupyter: {why}\n")
    assert me.run("cat limited/saved") == "kept\n"
    for node in triton.nodes:
        assert "jupyter" not in me.sees(f"ps -u {me} -o args", node), (
            "the server is gone, and with it its kernels"
        )


# ---------------------------------------------------------------- engines, and Python's modules


@pytest.mark.claims(
    "``--cluster`` - start so many ipyparallel engines beside it, in the folder where it begins, "
    "and say where their connection file is",
    "What goes to the engines of ``sjupyter --cluster`` is encrypted.",
    "What goes to the engines is encrypted, and nobody else reaches them.",
    "- variables that stay in many processes while I try things out - ipyparallel",
)
def test_engines_run_beside_it_whatever_its_folder_has(me):
    """In a folder whose files are called like modules, none hides a module from Jupyter, on the
    login node neither, or from the engines. An empty part of PYTHONPATH, which many have without
    knowing, is the folder where they are.
    """
    folder = "it's $HOME \"\\"
    names = (
        "types runpy typing logging json random socket http html select signal queue struct "
        "token site sitecustomize numbers copy string calendar email jupyter_core "
        "rfc3987_syntax ipyparallel zmq tornado traitlets ipykernel IPython"
    )
    me.run(
        f"mkdir {shlex.quote(folder)}; cd {shlex.quote(folder)}; for name in {names}; do "
        "echo 'raise SystemExit(\"the wrong \" + __name__)' > $name.py; done"
    )
    before = f"cd {shlex.quote(folder)}; export PYTHONPATH=:;"
    ask = (
        "import ipyparallel, json, os, socket; assert json.load(open({0!r}))['curve_serverkey']; "
        "client = ipyparallel.Client({0!r}); client.wait_for_engines(2, timeout=60); "
        "print(*client[:].apply_sync(socket.gethostname)); print(client[0].apply_sync(os.getcwd))"
    )
    with me.server("-t 5 --mem=2G -c 2 --cluster 2", before) as started:
        assert started.answers()
        [said] = map(json.loads, me.run("cat .local/share/sjupyter/*/said.json").splitlines())
        connection = said["connection_file"]
        shown = me.run("sjupyter --attach --detach")
        assert f"ipyparallel.Client('{connection}')" in shown
        python = shlex.join([f"{CENTRAL}/bin/python", "-c", ask.format(connection)])
        hosts, began_in = me.run(python, started.node).splitlines()
        assert [host.split(".")[0] for host in hosts.split()] == [started.node] * 2
        assert began_in == f"/home/{me}/{folder}"
        me.run(f"sjupyter --stop {started.job}")
        started.end()
    gone = f"until ! pgrep -u {me} > /dev/null; do sleep 0.2; done"
    me.triton.run(started.node, gone, timeout=60)
    with me.server("--local", before) as local:
        assert local.said["state"] == "ready"


# ---------------------------------------------------------------- what goes wrong


def configured(settings):
    """Begins a command with these settings of Jupyter."""
    folder = f"settings-{len(settings)}"
    write = f"mkdir -p {folder}; echo '{settings}' > {folder}/jupyter_server_config.py"
    return f"{write}; JUPYTER_CONFIG_DIR=$HOME/{folder} sjupyter"


EVIL = "printf '#!/bin/sh\\n' > evil.sh; sjupyter"
NO_ENVIRONMENT = "mkdir -p empty; sjupyter --env ./empty"
CALLED_SO = "mkdir -p mine/bin; echo exit > mine/bin/activate; sjupyter --env mine"
NO_MODULE = "echo 'raise ImportError' > ipyparallel.py; PYTHONPATH=$HOME sjupyter --cluster 2"
GONE = "mkdir gone; cd gone; rmdir ../gone; sjupyter"
LONG = f"XDG_DATA_HOME=$HOME/{'a' * 90} sjupyter --local 2>&1 >/dev/null | tail -n 1 >&2; false"
NO_SLURM = "mkdir -p none; PATH=$HOME/none /usr/bin/python3 $(command -v sjupyter)"
CANCELLED = (
    "(until [ -e began ]; do sleep 0.1; done; sleep 1; scancel --me) & sjupyter --env ~/slow"
)
WRONG = {  # what is typed, the exit status, and what is said
    "partition": ("sjupyter -p nowhere", 1, "Slurm says: sbatch: error: invalid partition"),
    "option": ("sjupyter --mme=4G", 1, "Slurm says: sbatch: unrecognized option '--mme=4G'"),
    "word": ("sjupyter a.ipynb", 2, "What is 'a.ipynb'? Slurm's options begin with a dash"),
    "script behind an option": (f"{EVIL} --exclusive evil.sh", 1, "Slurm says: "),
    "script behind a flag": (f"{EVIL} -H evil.sh", 2, "What is 'evil.sh'?"),
    "no job": ("sjupyter --stop=a", 2, "argument --stop: invalid job value: 'a'"),
    "no folder": ("sjupyter --dir nowhere", 2, "nowhere is no folder"),
    "an array": ("sjupyter --arra=0-2", 2, "--arra, for sbatch --array, cannot be given: a server"),
    "flags": ("sjupyter -va0-2", 2, "-va0-2, for sbatch --array, cannot be given: a server is one"),
    "a wait": ("sjupyter -Wv", 2, "-Wv, for sbatch --wait, cannot be given: sjupyter follows"),
    "a test": ("sjupyter --test-only", 2, "--test-only cannot be given: sbatch would print"),
    "no memory": ("sjupyter --mem", 1, "Slurm says: sbatch: error: Invalid --mem specification"),
    "--local": ("sjupyter --local -c 2", 2, "-c2 is for Slurm, which --local does not ask"),
    "no module": ("sjupyter --env nothing/1.0", 1, "The module nothing/1.0 cannot be loaded"),
    "no jupyter": (f"sjupyter --env {FACTS.modules.demo}", 1, "There is no jupyter in this"),
    "folder for a module": (CALLED_SO, 1, "mine cannot be loaded: the folder of that name is"),
    "no environment": (NO_ENVIRONMENT, 2, "/empty is no virtual environment"),
    "no ipyparallel": (NO_MODULE, 1, "There is no ipyparallel in this environment"),
    "waiting": ("sjupyter --begin=now+1hour --wait 2", 3, "(BeginTime) after 2 seconds"),
    "no start": ("sjupyter -- --ServerApp.root_dir=/nowhere", 1, "before it answered, and printed"),
    "no server": ("sjupyter --attach", 1, "You have no server: sjupyter starts one"),
    "folder gone": (GONE, 2, "The folder that you are in is no longer there"),
    "long name": (LONG, 1, "too long a name for a Unix socket: give --no-socket"),
    "no place": ("sjupyter --browser-file=nowhere/a", 2, "nowhere/a cannot be written"),
    "too early": ("sjupyter --detach --browser-file=a", 2, "--browser-file needs the address"),
    "no socket": ("sjupyter --no-socket", 2, "--no-socket goes with --local: the compute nodes"),
    "cancelled": (CANCELLED, 1, "It was cancelled by "),
    "token": (configured('c.IdentityProvider.token = "a"'), 1, "set a token of their own"),
    "no token": (configured('c.IdentityProvider.token = ""'), 1, "switch the token off"),
    "bad settings": (configured("c.ServerApp.allow_origin = 5"), 1, "Bad config encountered"),
    "no settings": ("JUPYTER_NO_CONFIG=1 sjupyter", 1, "unset JUPYTER_NO_CONFIG"),
    "path": (
        "sjupyter -- --ServerApp.base_url=/a/",
        2,
        "base_url cannot be given: each server has",
    ),
    "no Slurm": (NO_SLURM, 1, "There is no Slurm here (sbatch is not found): run sjupyter on the"),
}


@pytest.fixture(scope="module")
def wrong(person):
    """What comes of each of WRONG, and the jobs that are left; they wait more than they work, so
    three people try them at the same time.
    """

    def attempt(one, names):
        one.jupyter("slow", "touch ~/began; exec sleep 300")
        look = "squeue --me --noheader --states=pending,running; scancel --me"
        return {
            name: (
                one.tries(f"timeout 200 bash -c {shlex.quote(WRONG[name][0])}", timeout=230),
                one.run(look),
            )
            for name in names
        }

    people = [person() for _ in range(3)]
    shares = [list(WRONG)[number :: len(people)] for number in range(len(people))]
    with concurrent.futures.ThreadPoolExecutor(len(people)) as pool:
        parts = pool.map(attempt, people, shares)
        return {name: came for part in parts for name, came in part.items()}


@pytest.mark.claims(
    "Options with which it would be no server are refused, however they are written: an array, a "
    "test only, a wait for the end.",
    "In the queue there is no such choice:",
    "While the job waits, you see why, and when Slurm expects it to start.",
    "``--wait`` - give up if it has not started after so many seconds",
)
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_in_one_sentence_and_leaves_no_job(wrong, name):
    _, status, message = WRONG[name]
    done, left = wrong[name]
    assert done.returncode == status and message in done.stderr, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1
    assert left == ""
    if name == "waiting":
        assert re.fullmatch(
            r"Job \d+ is in the queue \(BeginTime\); Slurm expects it to start at "
            r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\n",
            done.stdout,
        )


@pytest.mark.claims(
    "of a server that prints for ever, the last 4 MB.",
    "``--detach`` - come back as soon as the job is in the queue; with ``--attach``, as soon as "
    "the address stands there",
    "Settings in ``~/.jupyter`` that Jupyter cannot read are named below the address: it goes on "
    "without them.",
)
def test_a_jupyter_in_trouble_runs_all_the_same(me):
    """Its settings cannot be read, its port is taken at the last moment, the clock of its node is
    an hour ahead, which is after the end of the job, and then it prints for ever.
    """
    # The port of slurmd is taken on each node; the second try is with another.
    me.jupyter(
        "odd",
        "(until [ -e ~/go ]; do sleep 0.1; done; yes $'noise \\xff' >&2) & "
        '[ -e ~/odd/tried ] || { touch ~/odd/tried; exec $JUPYTER "${@/port=0/port=6818}" '
        '--ServerApp.port_retries=0; }; exec $JUPYTER "$@"',
    )
    library = me.run("ls /usr/lib/*/faketime/libfaketime.so.1").strip()
    clock = f"export LD_PRELOAD={library} FAKETIME=+1h"
    me.run(f"echo {clock} >> odd/bin/activate; mkdir -p .jupyter odd quiet")
    me.write("~/.jupyter/jupyter_server_config.py", "c.ServerApp.port = (\n")
    me.write("~/.jupyter/jupyter_lab_config.json", "{\n")
    script = "import sys, time; print(time.time())"
    ahead = me.run(f". odd/bin/activate; python3 -c {shlex.quote(script)}")
    assert float(ahead) - time.time() > 3000
    job = me.queued("-t 30 --env ~/odd --dir quiet")
    printed = me.run(f"sjupyter --attach {job} --detach")
    told = r"Jupyter could not read (\S+) and does without it; sjupyter --logs shows what is"
    folder = f"/home/{me}/.jupyter"
    assert set(re.findall(told, printed)) == {
        f"{folder}/jupyter_server_config.py",
        f"{folder}/jupyter_lab_config.json",
    }
    assert printed.index("Jupyter could not read") > printed.index("http://localhost"), (
        "below the address"
    )
    log = me.run("sjupyter --logs")
    assert "SyntaxError: '(' was never closed" in log and "port 6818 is already in use" in log
    said = json.loads(me.run("cat .local/share/sjupyter/*/said.json"))
    assert "ends" not in said and me.run("ls quiet") == ""
    me.run("touch go")
    look = "stat --format=%s .local/share/sjupyter/*/log"
    me.run(f"until [ $({look}) -gt 3000000 ]; do sleep 0.1; done")
    sizes = me.run(f"for i in $(seq 20); do {look}; sleep 0.1; done").split()
    log = me.run("sjupyter --logs")
    assert 1_000_000 < max(map(int, sizes)) < 5_000_000 and len(log) < 5_000_000
    assert log.startswith("... what came before was too much to keep")
    assert "noise \N{REPLACEMENT CHARACTER}\n" in log
    stopped = json.loads(me.run("sjupyter --stop --json"))
    assert stopped == {"job": job, "state": "ended"}


@pytest.mark.claims(
    "A server that does not come up is ended after two minutes, and you see the last that Jupyter "
    "printed."
)
def test_a_jupyter_that_never_answers_is_given_up(me):
    me.jupyter("mute", "echo I will not; sleep 300")
    done = me.tries(f"{me.impatient(START_SECONDS=3)} --env ~/mute")
    assert (
        done.stderr
        == "sjupyter: Jupyter did not answer in 3 seconds, and printed last: I will not; "
        "sjupyter --logs shows all of it\n"
    )
    # And so is a job that never comes to Jupyter.
    me.write("~/mute/bin/activate", "sleep 300\n")
    done = me.tries(f"{me.impatient(START_SECONDS=2)} --env ~/mute")
    assert re.match(
        r"sjupyter: Job \d+ has run for 4 seconds without a word of Jupyter, and is "
        r"ended; sjupyter --logs \d+ shows",
        done.stderr,
    ), done.stderr
    assert me.run("squeue --me --noheader --states=pending,running") == ""


@pytest.mark.claims(
    "``--env`` - the module, or the folder of a virtual environment, that has Jupyter; several "
    "modules with commas between; without it, the one that everybody has",
    "``--notebook`` - the classic Notebook in place of JupyterLab",
)
def test_an_environment_is_a_virtual_one_or_several_modules(me):
    """The virtual one has Jupyter by way of a path file, since to install it takes a minute."""
    me.run(f"set -- {CENTRAL}\n{script('own_environment.sh')}")
    modules = f"{FACTS.modules.jupyter},{FACTS.modules.demo}"
    with (
        me.server("-t 5 --env ./mine --dir mine") as virtual,
        me.server(f"-t 5 --notebook --env {modules}") as several,
    ):
        python = f"/home/{me}/mine/bin/python"
        assert python in me.sees(f"ps -u {me} -o args", virtual.node)
        assert virtual.answers() and several.answers() and "/tree?" in several.url
        assert [line for line in several.environ() if line.startswith("DEMO_GREETING=")]


@pytest.mark.claims("When your home directory is full, it says that.")
def test_a_full_home_is_told_and_ends_no_server_that_runs(person):
    """Before a job is made, as the reason why one ended, or why one does not start."""
    me = person(cluster.FULL_USER)
    fill = "head -c 3M /dev/zero > fill; for i in $(seq 100); do echo x > fill-$i; done"
    queue = 'until [ -z "$(squeue --me --noheader)" ]; do sleep 0.1; done'
    try:
        job, stops = me.queued("-t 5 --hold"), 0
        me.sees(fill)
        # With a block more each time, it comes a step further.
        while (done := me.tries("sjupyter --detach --hold")).returncode:
            assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
            assert "No space left on device" in done.stderr
            assert me.jobs() == [job] and len(me.run("ls .local/share/sjupyter").split()) == 1
            me.run("truncate --size=-1K fill && sync fill")
            stops += 1
        assert 3 < stops < 50
        me.sees(f"sjupyter --stop {done.stdout.split()[1]}; {fill}")
        done = me.tries(f"scontrol release {job}; sjupyter --attach")
        assert (done.returncode, done.stderr) == (1, FULL)
        # The log of a server fills the home, and more than a pipe holds comes after that.
        me.run(f"{queue}; rm -rf fill fill-* .local/share/sjupyter")
        me.jupyter("noisy", '(until [ -e go ]; do sleep 0.1; done; yes) & exec $JUPYTER "$@"')
        with me.server("-t 5 --env ~/noisy") as started:
            left = "$(df --output=avail . | tail -n 1)"
            me.run(f"touch go; until [ {left} -lt 50 ]; do sleep 0.1; done; sleep 2")
            for _ in range(3):
                assert me.answers(f"{started.base}api/contents/none") == "403"
                assert started.answers()
        me.run(f"{queue}; rm -rf go .local/share/sjupyter")
        me.jupyter("greedy", "head -c 3M /dev/zero > fill; status=$?; rm fill; exit $status")
        done = me.tries("sjupyter -t 5 --env ~/greedy")
        assert (done.returncode, done.stderr) == (1, FULL)
    finally:
        me.run("rm -rf go fill fill-* noisy greedy .local/share/sjupyter; scancel --me")


@pytest.mark.claims("and by ``sjupyter``.")
def test_a_full_disk_of_the_node_is_told_and_is_no_full_home(small_tmp, triton, me):
    small_tmp("size=4k", "/tmp")
    node = triton.nodes[0]
    done = me.tries(f"sjupyter -t 5 -w {node}")
    assert done.returncode == 1 and "home" not in done.stderr, done
    assert f"/tmp of {node} cannot be used: No space left on device. Take another" in done.stderr


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
    settings = (
        "SlurmdTimeout=10\nPreemptType=preempt/partition_prio\nPreemptMode=CANCEL\n"
        "PartitionName=urgent Nodes=ALL PriorityTier=10\n"
    )
    try:
        own = Triton(state)
        own.run(
            "ctl",
            "cat >> /etc/slurm/slurm.conf; pid=$(cat /run/slurmctld.pid); kill $pid; "
            "while kill -0 $pid; do sleep 0.05; done 2>/dev/null; slurmctld; "
            "until scontrol ping | grep -q UP; do sleep 0.1; done > /dev/null 2>&1",
            input=settings,
            timeout=60,
        )
        yield own
    finally:
        cluster.down(state)


@pytest.mark.claims("a job that goes first took its place;")
def test_a_lost_place_and_a_node_that_dies_are_told(fragile, me):
    """The node dies while the server starts: nobody is there to answer Slurm from one moment to the
    next.
    """
    me, other, urgent = (type(me)(fragile, fragile.account()) for _ in range(3))
    other.jupyter("slow", "sleep 300")
    process = other.start("sjupyter -w c2 --env ~/slow")
    look = "grep -q starting .local/share/sjupyter/*/said.json 2>/dev/null"
    other.run(f"until {look}; do sleep 0.1; done", timeout=60)
    fragile.run("c2", "ip link set eth0 down; kill -KILL -1", check=False)
    with me.server("-t 5 -w c1") as started:
        words = "--partition=urgent --nodelist=c1 --exclusive --time=1 --output=/dev/null"
        urgent.run(f"sbatch {words} --wrap='sleep 1'")
        why = "Slurm gave its place to a job that goes first. Start it again."
        assert started.end()[:2] == (1, {"job": started.job, "state": "ended", "reason": why})
    _, err = process.communicate(timeout=120)
    why = "The node c2 failed. That is not your fault: start it again."
    assert (process.returncode, err) == (1, f"sjupyter: {why}\n")
    assert other.jobs() == []


@pytest.mark.claims("or when Slurm does not answer for a while.")
def test_a_server_is_followed_while_slurm_is_silent(me):
    """It is waited for, but not for ever: sbatch says so when the controller has been away for
    longer than sbatch itself waits.
    """
    path = me.instead_of(
        sbatch=f'[ ! -e tried ] || exec /usr/bin/sbatch "$@"; : > tried; {SILENT}',
        squeue=f'[ ! -e silent ] || {{ {SILENT}; }}; exec /usr/bin/squeue "$@"',
    )
    with me.server("-t 5", f"touch silent; (sleep 4; rm silent) & export {path};") as started:
        assert started.answers()
        me.run("touch silent; sleep 3")
        assert started.process.poll() is None
        me.run(f"rm silent; scancel {started.job}")
        status, said, err = started.end()
    assert (status, said["reason"]) == (1, f"It was cancelled by {me}.")
    assert f"Job {started.job} goes on, and so does this command." in err, err
    path = me.instead_of(sbatch=SILENT, squeue=SILENT)
    done = me.tries(f"{path} {me.impatient(SLURM_TRIES=2)}")
    assert done.returncode == 1
    assert re.fullmatch(
        r"Slurm's controller does not answer; trying for a minute \.\.\.\nsjupyter: Slurm "
        r"says: .*Unable to contact slurm controller.*\n",
        done.stderr,
    ), done.stderr
    assert len(me.run("ls .local/share/sjupyter").split()) == 1, "that of the one that ran"


# ---------------------------------------------------------------- interrupted


def killed(me, number):
    """Run sjupyter, and kill it at each of its steps; for each step what it was, the exit status,
    what was said, and the jobs in the queue.
    """
    me.write("~/interrupted.py", script("interrupted.py"))
    printed = me.run(f"python3 - {int(number)}", input=script("at_each_step.py"))
    return [json.loads(line) for line in printed.splitlines()]


@pytest.mark.claims("Before the job is in the queue, once is enough.")
def test_a_ctrl_c_at_any_step_of_the_start_leaves_no_job_or_asks(me):
    for step, status, said, jobs in killed(me, signal.SIGINT):
        asks = r"\nCtrl-C again ends job (\d+)\. .*\nsjupyter: Job \1 is ended\.\n"
        asked = re.fullmatch(asks, said)
        assert asked or re.fullmatch(r"sjupyter: Interrupted(\.|; no job is left\.)\n", said)
        assert status == (1 if asked else 130) and jobs == [], step
        assert bool(asked) == step.startswith("squeue"), "with a job in the queue, it asks"
    assert step == "squeue 2"


def test_a_ctrl_c_while_slurm_is_asked_asks_then_ends_it(me):
    """A terminal sends it to squeue as well.

    To start a program would let dash forget that the signal has to wait.
    """
    real, asks = (
        'exec /usr/bin/squeue "$@"',
        r"\nCtrl-C again ends job (\d+)\. .*\nsjupyter: Job \1 ",
    )
    once = me.instead_of(squeue=f"[ -e sent ] || {{ : > sent; kill -INT $PPID $$; }}\n{real}")
    done = me.tries(f"{once} sjupyter --hold --wait 2")
    assert done.returncode == 3 and re.match(f"{asks}was still in the queue ", done.stderr), done
    always = me.instead_of(squeue=f"kill -INT $PPID\n{real}")
    done = me.tries(f"{always} sjupyter --hold --wait 20")
    assert done.returncode == 1 and re.fullmatch(rf"{asks}is ended\.\n", done.stderr), done
    assert me.jobs() == []


def test_a_start_killed_at_any_step_leaves_no_hidden_job(me):
    """There is no job that --list does not show."""
    steps = killed(me, signal.SIGKILL)
    assert {status for _, status, _, _ in steps} == {-signal.SIGKILL}
    assert steps[-1][0] == "squeue 2"
    # And when it is killed while sbatch works:
    path = me.instead_of(sbatch='kill -KILL $PPID\nexec /usr/bin/sbatch "$@" > done')
    me.sees(f"{path} sjupyter --hold; until [ -s done ]; do sleep 0.1; done")
    jobs = set(me.jobs())
    assert jobs == set(me.servers())
    assert len(jobs) > len([step for step, *_ in steps if step.startswith("squeue")])


@pytest.mark.claims(
    "No job of ``sjupyter`` is left behind or ended by mistake, whatever ``sbatch`` says of it, "
    "or if it says nothing."
)
@pytest.mark.parametrize(
    "says", ["sleep 100", "echo Welcome", "exit 1", "echo 'Submitted batch job'; exit 0", SILENT]
)
def test_a_job_is_found_whatever_sbatch_says_of_it(me, says):
    """Also if it says nothing until it is given up. No job is made twice."""
    path = me.instead_of(sbatch=f'/usr/bin/sbatch "$@" > /dev/null; {says}')
    done = me.run(f"{path} {me.impatient(SLURM_SECONDS=2)} --json --detach --hold")
    assert me.jobs() == [json.loads(done)["job"]]


def test_a_job_that_comes_later_than_anybody_waits_ends_itself(me):
    """sbatch was given up, and no job was there: what Slurm takes afterwards runs nothing."""
    path = me.instead_of(
        sbatch="for script; do :; done; cp $script ~/late; (sleep 4; cd; head -c -0 late | "
        '/usr/bin/sbatch --output="$(dirname $script)/log" > number) > /dev/null 2>&1 & '
        "sleep 100"
    )
    done = me.tries(f"{path} {me.impatient(SLURM_SECONDS=1)} --detach")
    assert (done.returncode, done.stderr) == (
        1,
        "sjupyter: Slurm did not answer sbatch in 1 seconds. If it has taken the job all the same, "
        "that ends by itself when it starts\n",
    )
    failed = "squeue --me --noheader --states=all --format=%T | grep -q FAILED"
    me.run(f"until [ -s number ] && {failed}; do sleep 0.2; done", timeout=60)
    assert me.jobs() == []


def test_a_job_that_cannot_be_ended_is_named(me):
    path = me.instead_of(scancel=SILENT)
    done = me.tries(f"{path} {me.impatient(SLURM_TRIES=1)} --hold --wait 1")
    [job] = me.jobs()
    assert done.returncode == 3 and done.stderr.endswith(
        "could not be ended (Slurm says: error: Unable to contact slurm controller "
        f"(connect failure)): scancel {job} does it later.\n"
    )


def test_slurm_is_asked_at_most_once_a_second_and_then_less(me):
    """The longer it takes, the less often Slurm is asked: of a job that waits, of a server that
    runs; and once for a list.
    """
    job = me.queued("-t 20")
    me.run(f"sjupyter --attach {job} --detach")
    count = 'date +%s.%N >> $ASKED; exec /usr/bin/$(basename $0) "$@"'
    path = me.instead_of(squeue=count, sacct=count, scontrol=count)
    me.run(f"export {path} ASKED=list; sjupyter --list")
    assert len(me.run("cat list").splitlines()) == 1
    me.sees(
        f"export {path}; ASKED=waits sjupyter --hold & ASKED=runs sjupyter --attach {job} & "
        f"for i in $(seq {PATIENCE * 5}); do [ $(cat waits | wc -l) -ge 4 ] && "
        "[ $(cat runs | wc -l) -ge 4 ] && break; sleep 0.1; done; kill -KILL $(jobs -p)"
    )
    for name in ("waits", "runs"):
        asked = [float(line) for line in me.run(f"cat {name}").split()]
        gaps = [after - before for before, after in itertools.pairwise(asked)]
        assert len(asked) >= 4 and min(gaps) > 0.9 and gaps[2] > gaps[0], (name, gaps)


# ---------------------------------------------------------------- on the login node


def nothing_runs(me):
    """Whether nothing of Jupyter is left on the login node: a kernel whose server was killed sees
    that within a second.
    """
    look = f"pgrep -u {me} -f '[j]upyter|[i]pykernel' > /dev/null || exit 0"
    wait = f"for i in $(seq 100); do {look}; sleep 0.1; done; exit 1"
    return not me.triton.run("login", wait, check=False).returncode


@pytest.mark.claims(
    "runs without Slurm, on ``{{ hosts.login }}`` itself, for small tests.",
    "The line to paste leads to a Unix socket, a file that only you can open. Everyone on the "
    "node could try a port.",
    "If your ssh cannot forward to a socket, ``--no-socket`` takes a port after all.",
    "or for a small test :ref:`on the login node <sjupyter-local>` with ``sjupyter --local``.",
)
@pytest.mark.parametrize("option", ["", "--no-socket"])
def test_local_is_reached_by_the_printed_line(triton, me, person, option):
    """It ends with Ctrl-C.

    At a socket, by which a kernel answers as well; or at a port.
    """
    let_in(triton, me, ["laptop"])
    # Of one who starts Jupyter elsewhere too.
    settings = {"ServerApp": {"port": 9999, "ip": "0.0.0.0", "sock_mode": "0666"}}
    me.run("mkdir -p .jupyter")
    me.write("~/.jupyter/jupyter_server_config.json", json.dumps(settings))
    me.write("~/.jupyter/jupyter_lab_config.py", "c.LabApp.port = 9998\n")
    me.write("~/.bashrc", "export JUPYTER_PORT=9996\n")
    place = r"localhost:\d+" if option else rf"/home/{me}/\S+/socket"
    with (
        closing(Terminal(triton, "login", me, PROMPTS)) as terminal,
        closing(Terminal(triton, "laptop", me, PROMPTS)) as laptop,
    ):
        terminal.screen.sendline(f"sjupyter --local {option}")
        forward = rf"(ssh -L \d+:({place}) \S+)\r?\n"
        terminal.screen.expect(rf"{forward}[^$]*and open:\s+(http\S+)", timeout=PATIENCE)
        line, place, url = terminal.screen.match.groups()
        laptop.type(line)
        fetch = f"curl --silent --location --cookie-jar /dev/null {shlex.quote(url)}"
        assert "<title>JupyterLab" in me.run(fetch, "laptop")
        if option:  # everybody on the node may knock
            path = re.search(r"\d(/\w+/)", url)[1]
            assert person().answers(f"http://{place}{path}api/contents") == "403"
        else:
            knock = f"curl --silent --show-error --unix-socket {place} http://localhost/"
            assert re.search("Permission denied|Could.* connect", person().tries(knock).stderr)
            assert me.run(f"stat --format=%a {place}") == "600\n"
            port = re.search(r"localhost:(\d+)", url)[1]
            reads = f"python3 - {shlex.quote(url)} {port}"
            messages = me.run(reads, "laptop", input=script("kernel_messages.py"))
            assert "execution_state" in messages
        assert me.jobs() == [], "without Slurm"
        terminal.screen.send("\x03")
        # And the prompt is on a line of its own.
        assert terminal._wait(20).endswith("It is ended.")
    assert nothing_runs(me) and me.run("ls .local/share/sjupyter") == ""


@pytest.mark.claims(
    "or when it takes more than 2 GB.",
    "Everyone shares that node, so take little processor time and little memory: it is ended "
    "after an hour,",
)
def test_local_protects_others_from_a_server_of_much_memory(me):
    """Such a server is ended, and so is one when its time is up."""
    with me.server("--local --no-socket") as started:
        started.execute("x = b'x' * 2_500_000_000; import time; time.sleep(60)")
        _, err = started.process.communicate(timeout=30)
        assert started.process.returncode == 1 and "GB of memory, and was ended" in err
    assert nothing_runs(me)
    done = me.tries(f"{me.impatient(LOCAL_SECONDS=2)} --local")
    says, *_, last = done.stderr.splitlines()
    assert says.startswith("This runs on ")
    assert "which everyone shares: at most 2 GB of memory" in says
    ended = r"sjupyter: The server ran for .*, and was ended\. Take the queue: sjupyter without"
    assert done.returncode == 1 and re.match(ended, last)
    assert nothing_runs(me) and me.run("ls .local/share/sjupyter") == ""


@pytest.mark.claims("A server does not outlive what keeps its limits.")
@pytest.mark.parametrize("option", ["--local", "-t 5 --mem=500M"])
def test_a_server_ends_with_what_limits_it(me, option):
    """sjupyter itself, or Slurm's process for the job; these may be killed when they have no time
    to end it.
    """
    with me.server(option) as started:
        host = "login" if option == "--local" else started.node
        look = f"pgrep -u {me} -f '[-]-in-'"
        parent = me.run(f"ps -o ppid= -p $({look} | head -n 1)", host).strip()
        me.triton.run(host, f"kill -KILL {parent}")
        me.triton.run(host, f"while {look}; do sleep 0.2; done", timeout=60)


@pytest.mark.claims(
    "``--dry-run`` - print the batch script, and start nothing",
    "``sjupyter --help`` has the whole list.",
)
def test_help_and_dry_run_start_nothing(me):
    """The help has each option. The script is whole: Slurm would take it as it is, and Slurm's
    warning, which may come at once, does not end it.
    """
    source = (ROOT / "triton/bin/sjupyter").read_text(encoding="utf-8")
    known = set(re.findall(r'add_argument\("(--[\w-]+)"', source))
    known |= {"--attach", "--stop", "--logs"}
    said = me.run("sjupyter --help")
    assert f"runs ({FACTS.partitions.interactive})" in said and FACTS.modules.jupyter in said
    assert len(known) > 12 and known <= set(re.findall(r"--[\w-]+", said))
    table = rows("triton/apps/jupyter/sjupyter.rst", "What you can choose")
    assert {name for option, _ in table for name in literals(option)} <= known
    script = me.run("sjupyter --dry-run --mem=4G")
    assert script.startswith("#!/bin/bash\n") and f"module load {FACTS.modules.jupyter}" in script
    first, *_ = [line for line in script.splitlines() if not line.startswith("#")]
    assert first == "trap '' USR1"
    asked = re.findall("^#SBATCH (.*)$", script, re.MULTILINE)
    assert f"--partition={FACTS.partitions.interactive}" in asked and "--mem=4G" in asked
    me.run("sbatch --test-only", input=script)
    local = me.run("sjupyter --dry-run --local")
    assert local.startswith("#!/bin/bash\n") and "#SBATCH" not in local
    assert nothing_runs(me) and me.jobs() == []

"""Each answer of the FAQ is true: the fault shows the page's message, and the page's remedy ends
it.
"""

import functools
import io
import json
import re
import shlex
import subprocess
import zipfile
from contextlib import closing

import pytest

from tools import pages
from tools.browser import needs_chromium
from tools.cluster import cluster, jupyter_server
from tools.cluster.hub import FRONT, Lab, Reader, notebook
from tools.cluster.jupyter_server import (
    Server,
    Ssh,
    let_in,
    listens,
    literals,
    proxy,
    proxy_answers,
    rows,
)
from tools.cluster.small_triton import PROMPTS
from tools.cluster.terminal import Terminal
from tools.proof import faq
from tools.proof.faq import FAQ, LABELS, UNSEEN, Entry, visible

FACTS = cluster.facts()
HOSTS, PATHS, MODULES = FACTS.hosts, FACTS.paths, FACTS.modules
PORT, NODE = FACTS.proxy.port, f"{HOSTS.node}.{HOSTS.domain}"
CONNECTING, KERNELS = "triton/apps/jupyter/connecting.rst", "triton/apps/jupyter/kernels.rst"

pytestmark = needs_chromium


def section(page, label):
    """The commands in the console blocks of `page` from `label` to the next label."""
    lines = pages.read(page).splitlines()
    first = lines.index(f".. _{label}:") + 1
    last = next(
        (
            number
            for number, line in enumerate(lines[first:], start=first)
            if line.startswith(".. _")
        ),
        len(lines),
    )
    return [
        command
        for block in pages.blocks(page)
        if first < block.line <= last
        for command in block.commands
    ]


# ---------------------------------------------------------------- fixtures


@pytest.fixture(scope="module")
def user(triton):
    name = triton.account()
    let_in(triton, name)
    yield name
    triton.run("login", "scancel --me", name, check=False)


@pytest.fixture(scope="module", autouse=True)
def short(triton, user):
    """A server that reaches its time limit after a minute, while the other tests run."""
    server = Server(triton, user, "--mem=500M --time=1")
    yield server
    server.end()


@pytest.fixture(scope="module")
def chromium(playwright, triton, user, short, tmp_path_factory):
    """The browser on the laptop, with the guide's proxy file."""
    with (
        jupyter_server.proxy_file(triton, user) as address,
        jupyter_server.browser(
            playwright, triton, tmp_path_factory.mktemp("browser"), pac=address
        ) as context,
    ):
        yield context


@pytest.fixture
def reader(triton, user, chromium):
    person = Reader(triton, user, chromium)
    yield person
    person.close()


@pytest.fixture(scope="module")
def tunnel(triton, user):
    """The proxy, for tests that use it and do not end it."""
    with proxy(triton, user):
        yield


@pytest.fixture(scope="module")
def server(triton, user):
    """A server with memory for the kernels of all tests here, which live until it ends."""
    with Server(triton, user, "--mem=6G --time=90") as running:
        yield running


@pytest.fixture(scope="module")
def staying(triton, user, chromium, tunnel, server):
    """JupyterLab of `server`, in a page that stays: to load it takes longer than most tests."""
    person = Reader(triton, user, chromium)
    lab = person.lab(server)
    lab.page.locator(".jp-LauncherCard").first.wait_for()
    yield lab
    person.close()


@pytest.fixture
def window(staying):
    """That page, without an open menu, a dialog or a file that another test has left.

    A file that stays open is saved in the middle of a later test, and asks there if it has changed.
    """
    yield staying
    for _ in range(2):  # a menu and its submenu
        staying.page.keyboard.press("Escape")
    if not staying.shown():
        staying.page.reload()
    staying.close_all()


@pytest.fixture
def opens(reader, window):
    """opens(name, sources) writes a notebook, and opens it in that page."""

    def new(name, sources):
        reader.write(name, sources)
        window.open(name)
        return window

    return new


# ---------------------------------------------------------------- connections
# These tests run before the proxy of the others.


def forwards(reader, options=""):
    return Ssh(
        reader.triton, "laptop", reader.user, f"{options} -D {PORT} {reader.user}@{HOSTS.login}"
    )


def other_number_on_the_left(reader, entry, server):
    """A program on the laptop has the port that the reader's `ssh -L` names."""
    here, taken = re.search(r"(\d+) in place of (\d+)", entry.do).groups()
    rest = f"{server.url.partition('//')[2]} {reader.user}@{HOSTS.login}"
    serve = f"echo $$ > pid; exec python3 -m http.server {taken} --bind 127.0.0.1"
    program = reader.triton.start("laptop", serve, reader.user, stderr=subprocess.DEVNULL)
    try:
        listens(reader.triton, "laptop", taken)
        with Ssh(reader.triton, "laptop", reader.user, f"-tt -L {taken}:{rest}") as refused:
            refused.waits_for("Address already in use")
            entry.shows(refused.said(), 4)
        with Ssh(reader.triton, "laptop", reader.user, f"-N -L {here}:{rest}"):
            listens(reader.triton, "laptop", here)
            ask = f"curl --silent http://localhost:{here}/api"
            assert "version" in reader.triton.run("laptop", ask, reader.user).stdout
    finally:
        reader.triton.run("laptop", "kill $(cat pid); rm pid", reader.user)
        program.wait(timeout=30)


@pytest.mark.claims(
    "- An earlier ``ssh -D`` still has the port. You are logged in all the same, without "
    "a proxy of this window. If the "
    "earlier one works, use it; if it hangs, close its window, or find it with ``lsof -i "
    ":{{ proxy.port }}``,",
    "``ERR_PROXY_CONNECTION_FAILED`` in Chrome, ``The proxy server is refusing "
    "connections`` in Firefox, ``curl: (7)`` - No "
    "proxy runs on your computer: start it.",
    "``open failed: connect failed: Connection refused`` in the window of ``ssh``, "
    "``ERR_SOCKS_CONNECTION_FAILED`` in "
    "Chrome - The proxy works. Nothing listens at that address: the server has ended, or "
    "the port is mistyped.",
    "``open failed: connect failed: Temporary failure in name resolution`` - The proxy "
    "works. There is no node of that name.",
    "``Could not resolve host``, ``ERR_NAME_NOT_RESOLVED`` - The address did not go "
    "through the proxy: look at the pattern, "
    "and at DNS through the proxy.",
)
@pytest.mark.claims(
    "In the browser: the ``ssh -D {{ proxy.port }}`` has ended. In the window of "
    "``ssh``: the proxy works and your server has "
    "ended; or, with ``Address already in use``, an earlier ``ssh`` still has the port."
)
@pytest.mark.claims(
    "A program on your own computer has it, such as another Jupyter or an earlier ``ssh``. Write "
    "a 1 in front of the number on the left, and of the number in the address behind "
    "``localhost``: 1{{ proxy.example }} in place of {{ proxy.example }}."
)
@pytest.mark.proves("faq-tunnel")
def test_each_message_of_the_tunnel_means_what_the_page_says(
    reader, entry, server, playwright, tmp_path
):
    table = rows(CONNECTING, "proxy-in-use")
    messages_of_rows = [literals(messages) for messages, _ in table]
    dead = server.url.rpartition(":")[0] + ":34"  # no program listens there

    def curl(url):
        completed = reader.triton.run(
            "laptop",
            f"curl --silent --show-error --max-time 10 --socks5-hostname localhost:{PORT} "
            f"{url}/api",
            reader.user,
            check=False,
        )
        return completed.stdout + completed.stderr

    # Without a proxy, the page says to start one.
    refused_in_chrome, _, refused_by_curl = messages_of_rows[1]
    error = reader.fails(server.url)
    assert refused_in_chrome in error
    entry.shows(error, entry.messages.index(refused_in_chrome))
    assert refused_by_curl in curl(server.url)
    with forwards(reader, "-tt") as first:
        proxy_answers(reader.triton)
        # The proxy works, and no program listens at that address.
        channel, *_, in_chrome = messages_of_rows[2]
        curl(dead)
        entry.shows(first.waits_for(re.escape(channel)))
        assert in_chrome in reader.fails(dead)
        # No node has that name.
        curl(f"http://no-such-node.{HOSTS.domain}:8888")
        first.waits_for(re.escape(messages_of_rows[3][0]))
        # The server answers.
        assert reader.fails(server.url) == "" and "version" in curl(server.url)
        other_number_on_the_left(reader, entry, server)
        # A second ssh logs in, but has no proxy.
        with forwards(reader, "-tt") as second:
            bind, could_not = messages_of_rows[0]
            second.waits_for(re.escape(could_not))
            second.waits_for(r"\$ ")
            entry.shows(second.said(), entry.messages.index(bind))
            find = literals(table[0][1])[1]
            processes = reader.triton.run(
                "laptop", f"{find} -t -sTCP:LISTEN", reader.user
            ).stdout.split()
            assert "version" in curl(server.url), "the earlier proxy does not work"
        reader.triton.run("laptop", f"kill {' '.join(set(processes))}", reader.user)
        first.process.wait(timeout=30)
    with forwards(reader, "-N"):
        proxy_answers(reader.triton)
        assert reader.fails(server.url) == ""
    # The address did not go through the proxy.
    by_curl, in_chrome = messages_of_rows[4]
    direct = reader.triton.run(
        "laptop", f"curl --silent --show-error {server.url}", reader.user, check=False
    )
    assert by_curl in direct.stderr
    with jupyter_server.browser(playwright, reader.triton, tmp_path, whole=True) as without:
        assert in_chrome in Reader(reader.triton, reader.user, without).fails(server.url)


@pytest.mark.claims(
    "in {{ cluster.network }} - open https://{{ hosts.hub }}",
    "or {{ end }}start the proxy, and open the same address",
    "{{ if cluster.vpn }}The VPN is easier: it needs no settings in the browser. {{ end }}",
    "and for JupyterHub when you are outside{{ if cluster.vpn }} and without the VPN{{ end }}.",
    "The hub then needs the proxy, also where you could reach it without: switch the file off",
    "and JupyterHub too if you sent it that way,",
    "Open https://{{ hosts.hub }}, inside {{ cluster.network }} or :doc:`connected to them "
    "<connecting>`.",
    "From outside {{ cluster.network }}, :doc:`connect first <jupyter/connecting>`.",
    "The address opens in {{ cluster.network }}; from elsewhere :doc:`connect first "
    "<jupyter/connecting>`.",
)
@pytest.mark.claims(
    "You are in another network{{ if cluster.guests }}, ``{{ cluster.guests }}`` for "
    "example{{ end }}, or the browser still "
    "sends the hub through a proxy that does not run.",
    "Start the proxy, or switch it off in the browser.",
)
@pytest.mark.proves("faq-hub-unreachable")
def test_the_hubs_address_opens_from_where_you_are(reader, entry, playwright, tmp_path):
    """The way depends on the network of the reader."""
    port = FACTS.proxy.example
    url = f"http://{HOSTS.hub}:{port}/"
    answers = reader.triton.start(
        "hub",
        f"echo $$ > /run/answers; cd /run/lock; exec python3 -m http.server {port} >/dev/null 2>&1",
    )
    try:
        listens(reader.triton, "hub", port)
        # From another network, the address does not open.
        with jupyter_server.browser(playwright, reader.triton, tmp_path, "outside") as outside:
            assert Reader(reader.triton, reader.user, outside).fails(url)
        with proxy(reader.triton, reader.user, "outside", f"-J {reader.user}@{HOSTS.gateway}"):
            reader.triton.run(
                "outside",
                f"curl --silent --fail --socks5-hostname localhost:{PORT} {url}",
                reader.user,
            )
        # A proxy is set and does not run.
        assert "PROXY" in reader.fails(url)
        # The first remedy starts the proxy.
        with forwards(reader, "-N"):
            proxy_answers(reader.triton)
            assert reader.fails(url) == ""
        # The second remedy switches it off in the browser.
        with jupyter_server.browser(playwright, reader.triton, tmp_path) as without:
            assert Reader(reader.triton, reader.user, without).fails(url) == ""
    finally:
        reader.triton.run("hub", "kill $(cat /run/answers)")
        answers.wait(timeout=30)


@pytest.mark.claims(
    "Give it the address with ``localhost`` and the token,",
    "But its remote server runs where ``ssh`` leads, on the login node, which everyone "
    "shares, and so would your cells. No compute node lets you in without a job.",
)
@pytest.mark.proves("faq-vscode")
def test_an_editor_on_the_laptop_reaches_a_server_over_one_port(
    reader, entry, server, playwright, tmp_path
):
    [command] = section(CONNECTING, "ssh-forward")
    node, port = re.match(r"http://(.*):(\d+)", server.url).groups()
    words = reader.own(command.text).split()
    here = FACTS.proxy.example
    assert words[:3] == ["ssh", "-L", f"{here}:{NODE}:{here}"]
    with Ssh(
        reader.triton,
        "laptop",
        reader.user,
        shlex.join(["-N", "-L", f"{here}:{node}:{port}", *words[3:]]),
    ):
        listens(reader.triton, "laptop", here)
        assert (
            reader.triton.run(
                "laptop", f"ssh {reader.user}@{HOSTS.login} hostname", reader.user
            ).stdout.strip()
            == HOSTS.login
        )
        stranger = reader.triton.account()
        assert (
            reader.triton.run(
                "login", f"ssh -o BatchMode=yes {NODE} hostname", stranger, check=False
            ).returncode
            == 255
        ), "ssh to a node works without a job"
        reader.write("here.ipynb", ["import socket; print(socket.gethostname())"])
        with jupyter_server.browser(playwright, reader.triton, tmp_path) as without:
            editor = Reader(reader.triton, reader.user, without)
            lab = editor.lab(server, "here.ipynb", base=f"http://localhost:{here}")
            lab.run_cell()
            assert lab.output().strip() == node, "the code does not run on the node"
            editor.close()


# ---------------------------------------------------------------- the server


@pytest.mark.claims("JupyterLab shows ``Kernel Restarting`` when it was a kernel,")
@pytest.mark.claims("If it was, start again with a bigger profile,")
@pytest.mark.proves("faq-died", [0, 1])
def test_a_kernel_of_too_much_memory_dies_and_lives_with_more(reader, entry, tunnel):
    reader.write("analysis.ipynb", ["held = bytearray(900_000_000); print(len(held))"])
    with Server(reader.triton, reader.user, "--mem=400M --time=10") as small:
        lab = reader.lab(small, "analysis.ipynb")
        lab.run_cell()
        text = lab.dialog()
        if (
            reader.triton.memory == "cgroup"
            # The kernel has died. If Slurm itself measures the memory, the whole server has.
        ):
            entry.shows(text, 0)
            lab.press("Ok")
            small.end()
            text += lab.dialog()
        else:
            entry.seen |= {0, 1}
        for index in entry.wanted:
            if index not in entry.seen:
                entry.shows(text, index)
    [look] = entry.commands()
    assert "kill" in reader.run(look).lower() and small.job in reader.run(look)
    with Server(reader.triton, reader.user, "--mem=2G --time=10") as bigger:
        lab = reader.lab(bigger, "analysis.ipynb")
        lab.run_cell()
        assert lab.output().strip() == "900000000"


@pytest.mark.claims(
    "The cell runs, or it waits for an earlier cell that runs: a kernel computes one cell at a "
    "time.",
    "stops the cell, and your variables stay.",
    "always works, but your variables are gone.",
)
@pytest.mark.proves("faq-star")
def test_a_star_ends_when_the_kernel_is_interrupted(entry, opens):
    deaf = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(600)"
    lab = opens("star.ipynb", ["import time\nx = 42\ntime.sleep(600)", "x", deaf])

    def runs(number):
        lab.cell(number).locator(".cm-content").click()
        lab.page.keyboard.press("Shift+Enter")
        star = lab.cell(number).locator(".jp-InputPrompt", has_text="[*]")
        star.wait_for()
        entry.shows(star.inner_text())
        lab.page.locator(f"{FRONT} .jp-Notebook-ExecutionIndicator[data-status=busy]").wait_for()

    lab.idle()
    runs(0)
    runs(1)
    for _ in range(10):  # an interrupt in the moment before the code begins is lost
        lab.menu("Kernel", "Interrupt Kernel")
        lab.page.wait_for_timeout(2000)
        if lab.cell(0).locator(".jp-OutputArea-output").count():
            break
    assert "KeyboardInterrupt" in lab.output(0)
    lab.run_cell(1)
    assert lab.output(1).strip() == "42"
    runs(2)
    lab.menu("Kernel", "Interrupt Kernel")
    lab.page.wait_for_timeout(2000)
    assert "[*]" in lab.cell(2).locator(".jp-InputPrompt").inner_text()
    lab.menu("Kernel", "Restart Kernel…")
    lab.press("Restart")
    lab.run_cell(1)
    lab.cell(1).locator(".jp-OutputArea-output", has_text="NameError").wait_for()


@pytest.mark.claims(
    "``del`` takes away a name, not the values. Another name may still have them, or a part of "
    "them: a row of a table, a list that they are in. A notebook also keeps what its cells have "
    "shown, in a list with the name ``Out``.",
    "Delete the other names too. What a cell has shown is kept until the kernel is restarted, so "
    "do not end a cell with the name of a large table: show its first rows.",
)
@pytest.mark.proves("faq-del")
def test_memory_is_given_back_when_no_name_and_no_output_has_it(server):
    kernel, size = server.kernel(), 200  # megabytes
    make = f"import numpy; large = numpy.ones({size} * 2**17); row = large[:1]"
    used = "import os, psutil; print(psutil.Process(os.getpid()).memory_info().rss // 2**20)"
    kernel.prints("import numpy")
    full = int(kernel.prints(used)) + size / 2
    kernel.prints(f"{make}\ndel large")
    assert int(kernel.prints(used)) > full
    kernel.prints("del row")
    assert int(kernel.prints(used)) < full
    kernel.prints(make)
    kernel.execute("large[:5]")
    kernel.execute("large")
    kernel.prints("del large, row")
    assert int(kernel.prints(used)) > full


@pytest.mark.claims(
    "You can make a job that runs shorter, but no user can make one longer:",
    "a job of ``sjupyter`` may take what its partition allows, with ``-t``.",
    "Write into a file what took long, now, while the kernel lives.",
    "In the next server this brings them back:",
    "Open such a file only if you wrote it yourself: it can run programs.",
)
@pytest.mark.proves("faq-extend")
def test_a_job_gets_no_more_time_and_its_results_are_saved(entry, triton, user, server):
    job = user.run("sbatch --parsable --mem=100M --time=5 --wrap='sleep 300'").strip()
    user.wait_until(f"squeue --noheader --jobs={job} --format=%t | grep -x R")
    more = f"scontrol update jobid={job} TimeLimit=6"
    entry.shows(triton.run("login", more, user, check=False).stderr)
    limit = f"squeue --noheader --jobs={job} --format=%l"
    assert user.run(limit).strip() == "5:00"
    user.run(more.replace("=6", "=4"))
    assert user.run(limit).strip() == "4:00"
    user.run(f"scancel {job}")
    [look] = entry.commands()
    partition = FACTS.partitions.interactive
    longest = re.search(rf"^{partition} +(\S+)", user.run(look), re.MULTILINE)[1]
    ask = f"sbatch --test-only --partition={partition} --wrap=true --time="
    triton.run("login", f"{ask}{longest}", user)
    keep, bring_back = (
        pages.read(f"triton/apps/jupyter/{name}.py") for name in ("keep", "bring_back")
    )
    server.kernel().prints(keep)
    later = server.kernel()
    assert later.prints(f"{bring_back}\nprint(model, scores)") == "{'slope': 0.5} [0.8, 0.9]"
    planted = "class Planted:\n    def __reduce__(self): return print, ('it ran',)"
    later.prints(f"{planted}\n{keep.replace('[0.8, 0.9]', 'Planted()')}")
    assert later.prints("pickle.load(open('results.pkl', 'rb'))") == "it ran"


@pytest.mark.claims(
    "You typed it on your own computer. The command is on {{ cluster.name }}, and needs no module.",
    "Then your ``~/.bashrc`` sets ``PATH`` without what stood in it:",
)
@pytest.mark.proves("faq-sjupyter")
def test_the_login_node_has_sjupyter_and_the_laptop_has_not(entry, triton, user):
    entry.shows(triton.run("laptop", "sjupyter", user, check=False).stderr)
    [look] = entry.commands()
    assert user.run(f"module purge; {look}").startswith(f"sjupyter is {PATHS.apps}/")
    [variable] = re.findall(r"``(\$PATH)``", entry.do)
    lost = triton.run("login", "PATH=~/programs; sjupyter", user, check=False)
    entry.shows(lost.stderr)
    assert user.run(f"PATH=~/programs:{variable}; {look}").startswith("sjupyter is ")


@pytest.mark.claims(
    "Notebooks run on compute nodes.",
    "A first line with the word HTTP means that it does.",
)
@pytest.mark.proves("faq-internet")
def test_a_node_says_whether_it_reaches_an_address(entry, triton, user, server):
    """It reaches a server on another node, and no other network."""
    [ask] = entry.commands()
    entry.shows(triton.run("login", ask, user, check=False).stderr)
    reached = user.run(ask.replace("www.python.org", server.url))
    assert reached.startswith("HTTP/")


@pytest.mark.claims(
    "In a cell, ``import socket; socket.gethostname()`` says on which node it runs, and "
    "``%env SLURM_JOB_ID`` which job that is.",
)
def test_a_cell_names_its_node_and_its_job(user, server):
    kernel = server.kernel()
    node = kernel.execute("import socket; socket.gethostname()")["result"].strip("'")
    assert kernel.execute("%env SLURM_JOB_ID")["result"].strip("'") == server.job
    where = user.run(f"squeue --noheader --jobs={server.job} --format=%N").strip()
    assert node.split(".")[0] == where


@pytest.mark.claims("If not, see how long the disk takes:")
@pytest.mark.proves("faq-slow")
def test_the_disk_is_timed(reader, entry):
    """A folder of twenty thousand files takes longer than an empty one."""

    def seconds(folder):
        measure = entry.commands()[0].replace("$WRKDIR", folder)
        printed = reader.run(f"{{ {measure}; }} 2>&1")
        return float(re.search(r"^real\s+0m([\d.]+)s$", printed, re.MULTILINE)[1])

    reader.run("mkdir $WRKDIR/none $WRKDIR/many; cd $WRKDIR/many; seq 20000 | xargs touch")
    assert min(seconds("$WRKDIR/none") for _ in range(3)) < min(
        seconds("$WRKDIR/many") for _ in range(3)
    )
    reader.run("rm -r $WRKDIR/none $WRKDIR/many")


@pytest.mark.claims(
    "Yes, it goes on: what computes runs until its time is up.",
    "But the page in your browser puts the outputs into the notebook. What is printed while "
    "no page is open may be lost.",
    "A cell with ``[*]`` that never ends, or one without its output, when you come back.",
    "The variables are there: look at them.",
)
@pytest.mark.proves("faq-close")
def test_a_cell_goes_on_without_the_page(reader, entry, tunnel, server):
    """The variables are there afterwards."""
    reader.write(
        "long.ipynb",
        [
            "import pathlib, time\npathlib.Path('began').touch()\nwhile not "
            "pathlib.Path('go-on').exists():\n    time.sleep(0.1)\nprint('printed')\nx = "
            "42",
            "x",
        ],
    )
    reader.run("rm -f began go-on")
    lab = reader.lab(server, "long.ipynb")
    lab.run_cell()
    lab.page.locator(".jp-InputPrompt", has_text="[*]").first.wait_for()
    reader.user.wait_until("ls began")
    entry.shows(lab.cell(0).locator(".jp-InputPrompt").inner_text())
    lab.page.context.close()
    reader.contexts.clear()
    reader.run("touch go-on")
    lab = reader.lab(server, "long.ipynb")
    lab.run_cell(1)
    assert lab.output(1).strip() == "42"
    assert not lab.cell(0).locator(".jp-OutputArea-output").count(), "the cell has its output"


@pytest.mark.claims(
    "``sbatch`` hands its environment on. What Slurm has set for the job that you are "
    "in, ``srun`` in the new one takes for options.",
    "In a batch script, or in a shell in a job, begin with this command:",
)
@pytest.mark.proves("faq-nested")
def test_a_job_is_submitted_from_a_job(triton, user, entry):
    """It fails without the page's remedy and works with it.

    Other tests show that the guide's own servers need no remedy.
    """
    inner = (
        "sbatch --wait --mem-per-cpu=100M --output=inner.txt --wrap='echo $HANDED_ON; srun "
        "printenv SLURMD_NODENAME'"
    )
    [cure] = entry.commands()

    def outer(first):
        triton.write(
            "login",
            "~/outer.sh",
            f'#!/bin/bash\n{first}\nexport HANDED_ON="handed on $SLURM_MEM_PER_NODE"\n{inner}\n',
            user,
        )
        triton.run(
            "login",
            "rm -f inner.txt; sbatch --wait --mem=200M --output=/dev/null outer.sh",
            user,
            check=False,
            timeout=120,
        )
        return triton.run("login", "cat inner.txt", user).stdout

    output = outer("")
    entry.shows(output)
    assert output.startswith("handed on 200\n"), (
        "the job has not the outer job's environment and Slurm's variables"
    )
    assert outer(cure).split()[2:] in [[node] for node in triton.nodes]
    triton.run("login", "rm inner.txt; srun --mem=200M bash", user, input=f"{cure}\n{inner}\n")
    assert triton.run("login", "cat inner.txt", user).stdout.strip() in triton.nodes


@pytest.mark.claims(
    "``nohup`` and ``tmux`` help against a connection that ends, not against a job that ends. On a "
    "compute node all that a job has started ends with the job, and the shell was the job.",
    "Jupyter that you started in a shell on a compute node is gone as soon as you have left that "
    "shell. On the login node it goes on, and Slurm does not list it.",
)
@pytest.mark.proves("faq-nohup")
def test_nohup_and_tmux_do_not_outlive_their_job(triton, cgroups, user, entry):
    """They do on the login node, where they are no job."""
    triton.write("login", "jupyter.sh", f"module load {MODULES.jupyter}\njupyter lab\n", user)
    mine = f"ps --no-headers -o args= --user {user} | grep -c [j]upyter-lab || true"
    start = (
        "nohup bash -l jupyter.sh > nohup.out 2>&1 & tmux new-session -d 'bash -l jupyter.sh'; "
        f"for i in $(seq 300); do [ $({mine}) = 2 ] && break; sleep 0.2; done; {mine}"
    )
    node = sorted(triton.nodes)[-1]
    srun = f"srun --nodelist={node} --mem=800M --time=5 bash -lc {shlex.quote(start)}"
    try:
        assert triton.run("login", srun, user).stdout.split()[-1] == "2"
        assert triton.run(node, mine).stdout.strip() == "0"
        before = triton.run("login", "squeue --me --noheader | wc -l", user).stdout
        assert triton.run("login", f"bash -lc {shlex.quote(start)}", user).stdout.strip() == "2"
        assert triton.run("login", mine).stdout.strip() == "2"
        assert triton.run("login", "squeue --me --noheader | wc -l", user).stdout == before
    finally:
        triton.run("login", "tmux kill-server; pkill -u $UID -f jupyter-lab", user, check=False)


@pytest.mark.claims(
    "Yes. Ask with two options, here or as lines with ``#SBATCH`` in the script. The subject "
    "says how the job ended:"
)
@pytest.mark.proves("faq-mail")
def test_slurm_writes_a_mail_to_who_asks(triton, user, entry):
    [command] = entry.commands()
    address = re.search("--mail-user=(\\S+)", command)[1]
    for submit, mails in ((command, 1), (re.sub(r"--mail-\S+", "", command), 0)):
        job = triton.run("login", f"{submit} --wait", user).stdout.split()[-1]
        kept = f"grep -B1 'Job_id={job} ' /var/spool/slurmctld/mail"
        waits = f"for i in $(seq 30); do {kept} && break; sleep 0.1; done"
        mail = triton.run("ctl", waits, check=False).stdout
        assert mail.count(f"To: {address}\n") == mail.count("COMPLETED, ExitCode 0") == mails


@pytest.mark.claims(
    "In JupyterLab, click the gears on the right, then *Common Tools*: there you add the tag."
)
def test_a_tag_is_written_below_the_gears(reader, opens):
    lab = opens("tagged.ipynb", ["town = 1"])
    lab.idle()
    gears = lab.page.locator(".jp-SideBar.jp-mod-right .lm-TabBar-tab[title='Property Inspector']")
    lab.click(gears)
    lab.cell(0).locator(".cm-content").click()
    lab.click(lab.page.get_by_text("Common Tools", exact=True))
    lab.click(lab.page.locator(".jp-CellTags-Add"))
    lab.page.keyboard.type("parameters")
    lab.page.keyboard.press("Enter")
    lab.save()
    lab.click(lab.page.get_by_text("Common Tools", exact=True))
    lab.click(gears)  # closed, as it was: the page stays for other tests
    reader.user.wait_until("grep -q parameters tagged.ipynb")
    kept = json.loads(reader.run("cat tagged.ipynb"))
    assert kept["cells"][0]["metadata"]["tags"] == ["parameters"]


@pytest.mark.claims(
    "The new notebook grows as well: open it in JupyterLab, and "
    ":menuselection:`File --> Reload Notebook from Disk` shows what has come since.",
    "the outputs are there, plots too. The variables are not, as the kernel ended with the job.",
    "Back in JupyterLab, open ``town-done.ipynb`` or one of those in ``towns`` as any notebook:",
)
def test_an_executed_notebook_is_opened_and_reloaded(reader, window):
    """It is opened while papermill executes it, and once more when the job has ended."""
    plot = "import matplotlib.pyplot as plt\nx = 42\nplt.plot([1, 2])\nplt.show()"
    waits = "import pathlib, time\nwhile not pathlib.Path('go-on').exists():\n    time.sleep(0.1)"
    reader.write("grows.ipynb", ["print('first')", waits, plot, "print('last')"])
    wrapper = pages.read("triton/apps/jupyter/private_papermill.py")
    reader.user.write("private_papermill.py", wrapper)
    job = (
        f"#!/bin/bash\n#SBATCH --mem=500M --time=5\nmodule load {MODULES.jupyter}\n"
        "python3 private_papermill.py grows.ipynb grown.ipynb\n"
    )
    reader.user.write("grows.sh", job)
    reader.run("rm -f go-on; sbatch grows.sh")
    reader.user.wait_until("grep -q '\"first' grown.ipynb")
    lab = window
    lab.open("grown.ipynb")
    assert lab.output().strip() == "first"
    last = lab.cell(3).locator(".jp-OutputArea-output")
    assert not last.count()
    reader.run("touch go-on")
    reader.user.wait_until("grep -q '\"last' grown.ipynb")
    lab.menu("File", "Reload Notebook from Disk")
    sure = lab.page.locator(".jp-Dialog button", has_text=re.compile("^Reload$"))
    last.or_(sure).first.wait_for()
    if sure.count():  # JupyterLab has written the kernel into its copy
        lab.press("Reload")
    last.wait_for()
    assert lab.cell(2).locator("img").count()
    lab.write("\nx", 3)
    lab.run_cell(3)
    lab.cell(3).locator(".jp-OutputArea-output", has_text="NameError").wait_for()


@pytest.mark.claims(
    "No profile of the hub has one.",
    "No profile of JupyterHub has a GPU.",
)
@pytest.mark.claims("Where there is none, this prints nothing:")
@pytest.mark.proves("faq-gpu")
def test_there_is_no_gpu_in_a_server(entry, server):
    entry.shows(server.kernel().execute("!nvidia-smi")["stdout"])
    [look] = entry.commands()
    assert server.kernel().prints(f"!{look}") == ""
    asks = pages.read("triton/jupyterhub/jupyterhub_config.py") + repr(FACTS.profiles)
    assert not re.search(r"\b(gpus?|gres)\b", asks, re.IGNORECASE)


@pytest.mark.skipif(not MODULES.cuda, reason="triton/facts.toml has no module for CUDA")
@pytest.mark.claims("a kernel that runs already does not look again.")
@pytest.mark.proves("faq-cuda")
def test_a_library_of_cuda_is_found_with_its_module(entry, triton, user, server):
    load, look = entry.commands()
    before = f"module load {MODULES.python}"
    entry.shows(triton.run("login", f"{before}; {look}", user, check=False).stderr)
    assert "<CDLL 'libcudart.so.12'" in triton.run("login", f"{load}; {look}", user).stdout
    code = look.split("'")[1]
    folder = triton.run("login", f"{load}; echo $LD_LIBRARY_PATH", user).stdout.split(":")[0]
    late = server.kernel().execute(f"%env LD_LIBRARY_PATH={folder.strip()}\n{code}")
    entry.shows(late["error"])
    modules = f"{MODULES.python} {MODULES.cuda}"
    printed = triton.run(
        "login",
        f"module load {MODULES.jupyter}; envkernel lmod --user --name=cuda {modules}; "
        "cat > look.py; jupyter run --kernel=cuda look.py",
        user,
        input=code,
    )
    assert "<CDLL 'libcudart.so.12'" in printed.stdout


@pytest.mark.proves("faq-nodes")
def test_what_no_node_of_a_partition_has_is_refused(entry, triton, user):
    [look] = entry.commands()
    has = triton.run("login", f"{look} | grep '^{FACTS.partitions.interactive} '", user).stdout
    cores, memory, gres = has.split()[1:]
    asked = [f"--mem={int(memory) + 1}M", f"--cpus-per-task={int(cores) + 1}"]
    for option in (*asked, *["--gres=gpu:1"] * ("gpu" not in gres and bool(FACTS.gpus))):
        command = f"srun --partition={FACTS.partitions.interactive} {option} true"
        entry.shows(triton.run("login", command, user, check=False).stderr)


# ---------------------------------------------------------------- kernels and modules


@functools.cache
def named(page, label):
    """The name of the kernel that the commands below `label` make."""
    return next(
        re.search(r"--name[ =](\S+)", command.text)[1]
        for command in section(page, label)
        if "--name" in command.text
    )


def environment_of_ones_own(reader, register):
    """Type the page's commands that make an environment; with `register`, those that make it a
    kernel.
    """
    commands = [reader.own(command.text) for command in section(KERNELS, "own-kernel")]
    last = next(number for number, command in enumerate(commands) if "ipykernel install" in command)
    chosen = commands[last : last + 1] if register else commands[:last]
    reader.run("; ".join(chosen), timeout=120)
    return next(
        re.search(r"\S+/python(?= -m ipykernel)", command)[0]
        for command in commands
        if "ipykernel install" in command
    )


@pytest.mark.claims(
    "Reload the page, and the launcher has it. ``--name`` is the kernel's name for "
    "programs, ``--display-name`` the one "
    "that you read."
)
@pytest.mark.claims(
    "Jupyter lists kernels that are registered, not environments.",
    ":ref:`Make a kernel of it <own-kernel>`, again if it has disappeared. Then reload the page.",
    "when you empty or move ``~/.local``, your kernels disappear from the list, and the "
    "environments are still there.",
    "It is here, but does not start? Then its environment may be deleted or moved. This lists the "
    "kernels whose Python is gone;",
    "Put the environment back to where it was, or register it again from where it is now.",
    "Choose the kernel of your environment at the top right of the notebook,",
)
@pytest.mark.proves("faq-kernel-list")
def test_an_environment_is_in_the_list_once_it_is_registered(reader, entry, tunnel, server):
    environment_of_ones_own(reader, register=False)
    name = named(KERNELS, "own-kernel")
    load, look, missing = entry.commands()
    listed, missing = f"{load}; {look}", f"{load}; {missing}"
    assert name not in reader.run(listed) and name not in server.kernelspecs()
    reader.write("which.ipynb", ["1"])
    lab = reader.lab(server, "which.ipynb")
    lab.idle()
    choose, notebook = (
        lab.page.locator(where).first.bounding_box()
        for where in (".jp-Toolbar-kernelName:visible", ".jp-NotebookPanel:visible")
    )
    assert (
        choose["x"] > notebook["x"] + notebook["width"] / 2
        and choose["y"] < notebook["y"] + notebook["height"] / 4
    ), "the kernel's name is not at the top right"
    python = environment_of_ones_own(reader, register=True)
    assert re.search(rf"^ +{name} ", reader.run(listed), re.MULTILINE)
    assert name not in reader.run(missing)
    environment = python.rpartition("/bin/")[0]
    reader.run(f"mv {environment} {environment}-moved")
    assert name in reader.run(missing) and name in reader.run(listed)
    reader.run(f"mv {environment}-moved {environment}; mv .local aside")
    assert name not in reader.run(listed) and reader.run(f"ls {python}")
    reader.run("rm -rf .local; mv aside .local")
    shown = server.kernelspecs()[name]["spec"]["display_name"]
    lab.page.reload()
    lab.idle()
    lab.page.locator(".jp-Toolbar-kernelName:visible").click()
    lab.page.locator(".jp-Dialog select").first.select_option(label=shown)
    lab.press("Select")
    lab.page.locator(".jp-Toolbar-kernelName:visible", has_text=shown).wait_for()
    lab.page.locator("[title^='New Launcher']:visible").first.click()
    lab.page.locator(".jp-LauncherCard", has_text=shown).first.wait_for()
    reader.run(f"rm -r {PATHS.user_kernels}/{name} which.ipynb")


@pytest.mark.claims(
    "The notebook's kernel is another Python than the terminal's. ``import sys; "
    "sys.executable`` in a cell says which one it is."
)
@pytest.mark.proves("faq-import")
def test_an_import_of_the_terminal_works_in_its_own_kernel(reader, entry, server):
    """The kernel of the environment has the package that the terminal installed into it."""
    package = re.search("'(.+)'", entry.messages[0])[1]
    environment_of_ones_own(reader, register=False)
    python = environment_of_ones_own(reader, register=True)
    reader.run(
        f"echo 'here = True' > $({python} -c 'import sysconfig; "
        f'print(sysconfig.get_path("purelib"))\')/{package}.py'
    )
    in_terminal = reader.run(f"{python} -c 'import {package}, sys; print(sys.executable)'").strip()
    notebook = server.kernel()
    entry.shows(notebook.execute(f"import {package}")["error"])
    which = next(text for text in literals(pages.read(FAQ)) if text.endswith("sys.executable"))
    assert notebook.execute(which)["result"].strip("'") != in_terminal
    right = server.kernel(named(KERNELS, "own-kernel"))
    assert right.execute(f"import {package}")["status"] == "ok"
    assert right.execute(which)["result"].strip("'") == in_terminal
    reader.run(f"rm -r {PATHS.user_kernels}/{named(KERNELS, 'own-kernel')}")


@pytest.mark.claims("The second message names the Python that each release asks for.")
@pytest.mark.proves("faq-version")
def test_pip_finds_no_release_for_this_python(reader, entry):
    """The release asks for a Python that nobody has yet."""
    load, version = entry.commands()
    page = '<a href="newer-1.0-py3-none-any.whl" data-requires-python="&gt;=3.99">newer</a>'
    reader.run(f"{load}; python3 -m venv env; mkdir -p simple/newer")
    reader.run(f"echo '{page}' > simple/newer/index.html")
    pip = "PIP_CONFIG_FILE=/dev/null env/bin/pip install --index-url file://$PWD/simple"
    refused = reader.user.tries(f"{pip} newer").stderr
    entry.shows(refused, 0)
    entry.shows(refused, 1)
    assert "1.0 Requires-Python >=3.99" in refused
    entry.shows(reader.user.tries(f"{pip} nosuch").stderr, 0)
    assert re.fullmatch(r"Python 3\.\d+\.\d+", reader.run(f"{load}; {version}").strip())
    reader.run("rm -r simple env")


@pytest.mark.claims(
    "pandas leaves the files of Excel to another package, *openpyxl*, which the kernel Python 3 "
    "does not have.",
    "Save the table as CSV in Excel, and read that:",
)
@pytest.mark.proves("faq-excel")
def test_pandas_wants_another_package_for_excel(reader, entry, server):
    """The first bytes of the file are those of a workbook; pandas looks no further."""
    python = server.kernel()
    python.prints(
        "import pandas as pd, zipfile\n"
        "zipfile.ZipFile('t.xlsx', 'w').writestr('xl/workbook.xml', '')\n"
        "table = pd.DataFrame({'hours': [6, 7]})\ntable.to_csv('table.csv')"
    )
    entry.shows(python.execute("pd.read_excel('t.xlsx')")["error"], 0)
    entry.shows(python.execute("table.to_excel('new.xlsx')")["error"], 1)
    read = next(word for word in literals(entry.do) if word.startswith("pd."))
    assert python.prints(f"print({read}.hours.sum())") == "13"
    reader.run("rm t.xlsx table.csv")


@pytest.mark.claims(
    "``module: command not found``, or no message, and the module is not there.",
    "Take :ref:`a kernel that loads the module <module-kernel>`,",
)
@pytest.mark.proves("faq-module")
def test_a_module_comes_with_the_kernel_not_with_a_cell(reader, entry, server):
    """A line in a cell loads no module."""
    [line] = literals(entry.title)
    line = f"{line} {MODULES.demo}"
    greeting = "import os; print(os.environ.get('DEMO_GREETING'))"
    kernel = server.kernel()
    reply = kernel.execute(line)
    assert (reply["status"], reply["stdout"]) == ("ok", "") and kernel.prints(greeting) == "None", (
        "a message appears, or the module is there"
    )
    with Server(
        reader.triton,
        reader.user,
        "--mem=500M --time=5",
        before="unset -f module ml; unset BASH_ENV",
    ) as bare:
        kernel = bare.kernel()
        entry.shows(kernel.execute(line)["stdout"])
        assert kernel.prints(greeting) == "None"
    make = [command.text for command in section(KERNELS, "module-kernel")]
    last = next(number for number, command in enumerate(make) if command.startswith("envkernel"))
    reader.run("; ".join(make[: last + 1]))
    assert server.kernel(named(KERNELS, "module-kernel")).prints(greeting).startswith("Hello")
    reader.run(f"rm -r {PATHS.user_kernels}/{named(KERNELS, 'module-kernel')}")


@pytest.mark.claims(
    "It is no Python. The kernels of Python have commands of their own, the *magics*: ``%`` takes "
    "one line, ``%%``, as the first line, takes the whole cell. After ``!`` the line goes to a "
    "shell. In a program, or in a notebook of R or Bash, they are errors.",
    "``%lsmagic`` lists all of them, and a question mark behind one explains it:",
    "- runs the code behind it many times, and says how long it takes once",
    "- runs the cell, and says how long it took",
    "- writes the cell into the file whose name stands behind it, and does not run it",
    "- runs the file whose name stands behind it, and keeps its variables",
    "- lists your variables",
)
@pytest.mark.proves("faq-magic")
def test_each_magic_does_what_the_table_says(reader, entry, server):
    every, explained, timed, once, bash, to_file, run, variables, setting, _ = literals(entry.do)
    python, written = server.kernel(), f"{to_file} steps.py\nsteps_of_mine = 6 * 7"
    timed += " sum(range(1000))"
    name, value = setting.split()[1].split("=")
    for cell, shows in (
        (every, "%%bash"),
        (timed, r"per loop \(mean .* loops each\)"),
        (f"{once}\nseconds = 6 * 7", "Wall time: "),
        (f"{bash}\necho $BASH_VERSION {{1..3}}", r"^[\d.]+\S+ 1 2 3$"),
        ("!true && echo of the shell", "of the shell"),
        (written, "Writing "),
    ):
        done = python.execute(cell)
        assert re.search(shows, done["stdout"] + done["result"], re.MULTILINE), (cell, done)
    assert python.execute("steps_of_mine")["error"].startswith("NameError")
    assert python.execute(f"{run} steps.py")["status"] == "ok"
    assert python.prints("print(steps_of_mine, seconds)") == "42 42"
    assert "steps_of_mine" in python.prints(variables)
    python.execute(setting)
    assert python.prints(f"import os; print(os.environ[{name!r}])") == value
    assert python.execute(explained)["status"] == "ok"
    for kernel in ("ir", "bash"):
        assert server.kernel(kernel).execute(timed)["status"] == "error", kernel
    reader.user.write("program.py", timed)
    assert "SyntaxError" in reader.user.tries("python3 program.py").stderr
    reader.run("rm steps.py program.py")


@pytest.mark.claims(
    "A kernel is started by Jupyter, not by a shell. It has the variables of the server, "
    "and those of its ``kernel.json``.",
    "Put them into the :ref:`env block <kernel-env>` of a kernel of your own, or set "
    "them in the first cell:",
)
@pytest.mark.proves("faq-bashrc")
def test_a_variable_of_bashrc_comes_with_env_or_the_first_cell(reader, entry):
    """It comes from the env block of a kernel, or from the first cell of the notebook."""
    name = re.search("'(.+)'", entry.messages[0])[1]
    in_terminal = next(text for text in entry.messages if text.startswith("echo"))
    set_in_cell = next(text for text in literals(entry.do) if text.startswith("%env"))
    value = set_in_cell.partition("=")[2]
    reader.run(f"cp .bashrc bashrc-kept; echo 'export {name}={value}' >> .bashrc")
    try:
        with closing(Terminal(reader.triton, "login", reader.user, PROMPTS)) as terminal:
            assert terminal.type(in_terminal) == ([value], 0)
            entry.seen.add(entry.messages.index(in_terminal))
        with Server(
            reader.triton, reader.user, "--mem=500M --time=5", before="export OF_THE_SERVER=1"
        ) as server:
            kernel, show = server.kernel(), f"import os; print(os.environ['{name}'])"
            parent = (
                "import os; "
                "print(open(f'/proc/{os.getppid()}/cmdline').read().split(chr(0))[1], "
                "os.environ['OF_THE_SERVER'])"
            )
            assert re.fullmatch(r"\S*/jupyter-lab 1", kernel.prints(parent))
            entry.shows(kernel.execute(show)["error"])
            assert kernel.execute(set_in_cell)["status"] == "ok" and kernel.prints(show) == value
            spec = json.loads(pages.read("triton/apps/jupyter/demo-kernel.json"))
            spec["env"][name] = value
            reader.run(f"mkdir -p {PATHS.user_kernels}/with-variable")
            reader.triton.write(
                "login",
                f"{PATHS.user_kernels}/with-variable/kernel.json",
                json.dumps(spec),
                reader.user,
            )
            assert server.kernel("with-variable").prints(show) == value
    finally:
        reader.run(f"mv bashrc-kept .bashrc; rm -rf {PATHS.user_kernels}/with-variable")


@pytest.mark.claims(
    "``Disconnected``, beside the name of the kernel, before you have run anything.",
    "R: your own settings reach into the kernel's R. ``~/.Renviron`` or ``~/.Rprofile`` "
    "names a library folder with packages of "
    "another R.",
    "See which folders R takes packages from; one in your home directory is the suspect:",
    "Move the two files and that folder aside, and try again.",
)
@pytest.mark.proves("faq-r")
def test_an_r_kernel_with_packages_of_another_r_dies(reader, entry, tunnel, server):
    """The kernel works once the packages are moved aside."""
    # This library has a package that was built for another R, so this R cannot load its machine
    # code.
    reader.run(
        "mkdir -p R/other; cp -r /usr/lib/R/site-library/jsonlite R/other; echo 'built "
        "for another R' > R/other/jsonlite/libs/jsonlite.so; "
        'echo "R_LIBS_USER=$HOME/R/other" > .Renviron; echo \'.libPaths(c("~/R/other", '
        ".libPaths()))' > .Rprofile"
    )
    try:
        reader.write("r.ipynb", ["cat('hello')"], "ir", "R")
        for _ in range(
            5
            # A slow browser may connect after the kernel has ended, and then shows no message.
        ):
            shown = reader.lab(server, "r.ipynb").states("disconnected")
            if entry.messages[0] in shown:
                break
        for index in entry.wanted:
            entry.shows(shown, index)
        look = "; ".join(entry.commands())
        assert f"{PATHS.home}/{reader.user}/R/other" in reader.run(look)
        moved = [name for name in (".Renviron", ".Rprofile") if f"~/{name}" in pages.read(FAQ)]
        assert len(moved) == 2
        reader.run(f"mkdir aside; mv {' '.join(moved)} R aside")
        assert PATHS.home not in reader.run(look)
        assert server.kernel("ir").prints("cat('hello')") == "hello"
    finally:
        reader.run("rm -rf aside R .Renviron .Rprofile")


# A Python that is no virtual environment, as Anaconda's. Debian's has its packages in that folder.
PLAIN = """mkdir -p plain/bin plain/lib/python3; cp /usr/bin/python3 plain/bin
ln -s /usr/lib/python3.* plain/lib
/usr/bin/python3 -m pip install --quiet --target plain/lib/python3/dist-packages ipykernel
plain/bin/python3 -m ipykernel install --user --name plain
"""


@pytest.mark.claims(
    "A package in that folder takes the place of the kernel's own, and does not fit the others.",
    "A virtual environment does not look into that folder. Any other Python, Anaconda's too, looks "
    "there first.",
    "See whether the kernel starts without that folder. Type its name in place of ``python3``:",
    "If it does, move ``~/.local/lib`` aside. Or keep the folder out of this kernel alone:",
    "Or the kernel lives, and has another version of NumPy than you installed:",
)
@pytest.mark.proves("faq-local")
def test_a_package_of_local_does_not_fit_the_kernel(reader, entry, tunnel, server):
    """The package is an old traitlets, without most of its names."""
    folder = entry.messages[2]
    old = f"{folder}/{cluster.python()}/site-packages/traitlets"
    reader.run(PLAIN, timeout=120)
    try:
        assert server.kernel("plain").prints("print('hello')") == "hello"
        home, look = reader.run("echo ~").strip(), entry.messages[3]
        look = f"{look.replace('; ', '; print(')})"  # the display of a result asks this NumPy
        mine = folder.replace("~", home)
        numpy = f"{folder}/{cluster.python()}/site-packages/numpy"
        reader.run(f"mkdir -p {numpy} plain/lib/python3/dist-packages/numpy")
        reader.run(f"touch {numpy}/__init__.py plain/lib/python3/dist-packages/numpy/__init__.py")
        assert server.kernel("plain").prints(look).startswith(f"{mine}/")
        entry.seen.add(3)
        reader.run(f"mkdir -p {old}; echo '__version__ = \"4.0\"' > {old}/__init__.py")
        reader.write("plain.ipynb", ["1"], "plain")
        entry.shows(reader.lab(server, "plain.ipynb").states("disconnected"), 0)
        entry.shows(server.said().replace(reader.run("echo ~").strip(), "~"), 2)
        load, write, start = entry.commands()
        theirs = start.replace("python3", "plain")
        fails = f"{load}; {write}; {theirs.removeprefix('PYTHONNOUSERSITE=1 ')}"
        entry.shows(reader.user.tries(fails).stderr, 1)
        assert reader.run(f"{load}; {write}; {theirs}") == "It starts\n"
        assert server.kernel().prints("print('hello')") == "hello"
        spec = f"{PATHS.user_kernels}/plain/kernel.json"
        [(name, value)] = re.findall(r'set ``(\w+)`` to ``"(.)"``', " ".join(entry.do.split()))
        assert start.startswith(f"{name}={value} ")
        kept = json.loads(reader.run(f"cat {spec}"))
        reader.user.write(spec, json.dumps(kept | {"env": {name: value}}))
        assert server.kernel("plain").prints("print('hello')") == "hello"
        assert server.kernel("plain").prints(look).startswith(f"{home}/plain/")
        reader.user.write(spec, json.dumps(kept))
        reader.run(f"mv {folder} aside")
        assert server.kernel("plain").prints("print('hello')") == "hello"
    finally:
        reader.run(f"rm -rf plain aside {folder} {PATHS.user_kernels}/plain")


@pytest.mark.claims(
    "Matplotlib makes pictures unless you ask for more.",
    "In the kernel Python 3 that is all. For :ref:`a kernel of your own <own-kernel>` first "
    "install ``ipympl`` into its environment, where ``ipykernel`` is, and restart the kernel.",
    ":ref:`A kernel of your own <own-kernel>` needs the package ``ipywidgets``: install it into "
    "its environment, where ``ipykernel`` is.",
)
@pytest.mark.proves("faq-widget")
def test_a_figure_is_zoomed_with_the_mouse(reader, entry, tunnel, server):
    environment, line = "$WRKDIR/envs/figures", literals(entry.do)[0]
    pip = f"{environment}/bin/pip install --quiet"
    make = f"module load {MODULES.python}; python3 -m venv {environment}"
    register = f"{environment}/bin/python -m ipykernel install --user --name figures"
    reader.run(f"{make}; {pip} ipykernel matplotlib; {register}", timeout=300)
    entry.shows(server.kernel("figures").execute(line)["error"])
    no_sliders = server.kernel("figures").execute("import ipywidgets")["error"]
    assert "No module named 'ipywidgets'" in no_sliders
    reader.run(f"{pip} {literals(entry.do)[1]}")
    own = server.kernel("figures")
    assert own.execute(line)["status"] == "ok"
    reader.write("slider.ipynb", ["import ipywidgets; ipywidgets.IntSlider(7)"], "figures")
    lab = reader.lab(server, "slider.ipynb")
    lab.run_cell()
    lab.cell(0).locator(".jupyter-widgets.widget-slider", has_text="7").wait_for()
    draw = "import matplotlib.pyplot as plt\nfigure, axes = plt.subplots()\naxes.plot([0, 1])"
    drawn = f"{draw}\nprint(plt.get_backend())"
    assert own.prints(drawn) == line.split()[1]
    reader.write("figure.ipynb", [draw, f"{line}\n{draw}", "print(axes.get_xlim()[1] < 0.9)"])
    lab = reader.lab(server, "figure.ipynb")
    lab.run_cell(0)
    lab.cell(0).locator("img").wait_for()
    lab.run_cell(1)
    figure = lab.cell(1).locator(".jupyter-matplotlib-canvas-container")
    figure.hover()  # that shows the buttons
    lab.cell(1).locator(".jupyter-matplotlib-toolbar button[title^=Zoom]").click()
    for _ in range(10):  # the figure grows when its picture comes, and a drag may miss it
        box = figure.bounding_box()
        left, top, mouse = (
            box["x"] + box["width"] * 0.3,
            box["y"] + box["height"] / 3,
            lab.page.mouse,
        )
        mouse.move(left, top)
        mouse.down()
        mouse.move(left + 100, top + 100, steps=5)
        mouse.up()
        lab.run_cell(2)
        if lab.output(2).strip() == "True":
            break
    else:
        raise AssertionError("the figure has not zoomed")
    reader.run(f"rm -r {PATHS.user_kernels}/figures figure.ipynb")


@pytest.mark.claims(
    "The kernel runs on a node without a screen, and your browser shows what a cell returns, not "
    "windows.",
)
@pytest.mark.proves("faq-window")
def test_a_window_has_no_screen_to_open_on(entry, server):
    entry.shows(json.dumps(server.kernel("ir").execute("x11()")))
    assert server.kernel().prints("import os; print(os.environ.get('DISPLAY'))") == "None"


@pytest.mark.claims(
    "The notebook names a kernel that is not here;",
    "Choose one of the same language. The notebook remembers it when you save.",
)
@pytest.mark.claims("Where no kernel has that name, Jupyter asks you to choose another.")
@pytest.mark.proves("faq-select-kernel")
def test_a_notebook_without_its_kernel_asks_for_one(reader, entry, window, server):
    """The notebook stores the choice."""
    question = re.search('"(.+?)"', entry.title)[1]
    reader.write("elsewhere.ipynb", ["print('hello')"], "a-kernel-of-another-computer")
    lab = window
    lab.open("elsewhere.ipynb")
    assert question in lab.dialog()
    lab.page.locator(".jp-Dialog select").first.select_option(
        label=server.kernelspecs()["python3"]["spec"]["display_name"]
    )
    lab.press("Select")
    lab.run_cell()
    assert lab.output().strip() == "hello"
    lab.save()
    reader.user.wait_until('grep -q \'"name": "python3"\' elsewhere.ipynb')
    lab.menu("File", "Close Tab")
    tab = lab.page.locator(".lm-TabBar-tabLabel", has_text="elsewhere.ipynb")
    tab.wait_for(state="detached")
    lab.open("elsewhere.ipynb")
    lab.run_cell()
    assert not lab.page.locator(".jp-Dialog").count()


@pytest.mark.claims(
    "A notebook that is new names none yet.",
    "To change it later, press its name at the top right of the notebook.",
    "and each new notebook starts with the default kernel without asking.",
    "To begin with another one, press its card in the launcher.",
)
def test_new_notebooks_ask_for_no_kernel_any_more(reader, tunnel, server):
    entry = Entry("faq-select-kernel")
    question = re.search('"(.+?)"', entry.title)[1]
    [tick] = re.findall(r"Tick \*(.+?)\*", entry.do)
    lab = reader.lab(server)
    name = lab.page.locator(f"{FRONT} .jp-Toolbar-kernelName")
    lab.menu("File", "New", "Notebook")
    assert question in lab.dialog()
    lab.page.locator(".jp-Dialog select").first.select_option(label="R")
    lab.page.get_by_label(tick).check()
    lab.press("Select")
    name.filter(has_text=re.compile(r"^\s*R\s*$")).wait_for()
    lab.menu("File", "New", "Notebook")
    name.filter(has_text=server.kernelspecs()["python3"]["spec"]["display_name"]).wait_for()
    assert not lab.page.locator(".jp-Dialog").count()
    lab.click(name)
    assert question in lab.dialog()
    lab.press("Cancel")
    lab.menu("File", "New Launcher")
    lab.click(lab.page.locator(".jp-LauncherCard:visible", has_text="Bash").first)
    name.filter(has_text="Bash").wait_for()
    assert not lab.page.locator(".jp-Dialog").count()
    reader.run("rm -r Untitled*.ipynb ~/.jupyter/lab/user-settings/@jupyterlab/notebook-extension")


# ---------------------------------------------------------------- files


@pytest.mark.claims(
    "The file browser does not go above the folder where it began.",
    "or put a link into your home directory once:",
)
@pytest.mark.proves("faq-scratch")
def test_a_link_leads_the_file_browser_to_scratch(reader, entry, window, server):
    link = next(command for command in entry.commands() if command.startswith("ln")).rpartition(
        "/"
    )[2]
    reader.run("touch $WRKDIR/data-of-mine")
    try:
        lab = window
        items = lab.page.locator(".jp-DirListing-item")
        items.first.wait_for()
        assert not items.filter(has_text=re.compile(f"^(scratch|{link})")).count()
        with pytest.raises(AssertionError, match="HTTP Error 404"):
            server.talk("ask", f"/api/contents/..{PATHS.work}/{reader.user}")
        reader.run("; ".join(entry.commands()))
        lab.page.locator("[title^='Refresh the file']").first.click()
        items.filter(has_text=re.compile(f"^{link}")).first.dblclick()
        items.filter(has_text="data-of-mine").first.wait_for()
        lab.page.locator(".jp-BreadCrumbs-home").click()
        items.filter(has_text=re.compile(f"^{link}")).first.wait_for()
    finally:
        reader.run(f"rm -f {link} $WRKDIR/data-of-mine")


@pytest.mark.claims(
    "The convenience directory is read-only.", "Open ``home`` or ``scratch`` in it first."
)
@pytest.mark.proves("faq-readonly")
def test_a_read_only_folder_takes_notebooks_behind_its_links(reader, entry, tunnel):
    """JupyterLab can make no notebook in the folder itself."""
    reader.run(
        "mkdir convenience; ln -s ~ convenience/home; ln -s /scratch "
        "convenience/scratch; chmod 555 convenience"
    )
    try:
        with Server(
            reader.triton, reader.user, "--mem=500M --time=5", folder="~/convenience"
        ) as server:
            lab = reader.lab(server)
            lab.page.locator(".jp-LauncherCard", has_text="Python 3").first.click()
            entry.shows(lab.dialog())
            lab.page.keyboard.press("Escape")
            lab.page.locator(".jp-DirListing-item", has_text=literals(entry.do)[0]).first.dblclick()
            lab.page.locator(".jp-BreadCrumbs", has_text="home").wait_for()
            lab.page.locator(".jp-LauncherCard", has_text="Python 3").first.click()
            lab.page.locator(".jp-Notebook").first.wait_for()
            reader.run("ls Untitled.ipynb")
    finally:
        reader.run("chmod 755 convenience; rm -rf convenience Untitled.ipynb", check=False)


@pytest.mark.claims(
    "JupyterLab moves what you delete into a trash in your home directory.",
    "Some folders on another disk than your home have no trash, so JupyterLab refuses to delete "
    "there, and nothing is lost.",
    "JupyterLab keeps a copy of what you last saved yourself, in a hidden folder beside the "
    "notebook:",
)
@pytest.mark.proves("faq-deleted")
def test_a_deleted_notebook_comes_back(triton, chromium, tunnel, entry):
    """The reader's home is a disk of its own."""
    me = Reader(triton, cluster.FULL_USER, chromium)
    _, restore, copy = entry.commands()
    me.run("mkdir $WRKDIR/far && ln -s $WRKDIR/far far && echo 1 > far/table.csv")
    me.write("lost.ipynb", ["1"])
    try:
        with Server(triton, me.user, "--mem=500M --time=10") as server:
            lab = me.lab(server, "lost.ipynb")
            lab.idle()
            lab.write("40 + 2")
            lab.save()
            me.user.wait_until("grep -q '40 + 2' .ipynb_checkpoints/lost-checkpoint.ipynb")
            me.run("mv lost.ipynb aside")
            assert "40 + 2" in me.run(f"{copy}; cat {copy.split()[-1]}")
            me.run("mv aside lost.ipynb")
            server.talk("ask", "/api/contents/lost.ipynb", None, "DELETE")
            assert "40 + 2" in me.run(f"! [ -e lost.ipynb ] && {restore}; cat lost.ipynb")
            lab.go_into("far")
            lab.page.locator(".jp-DirListing-item", has_text="table.csv").click()
            lab.page.keyboard.press("Delete")
            lab.page.locator(".jp-Dialog button.jp-mod-warn").click()
            entry.shows(lab.dialog(about="Delete Failed"))
            me.run("ls far/table.csv")
    finally:
        me.run("rm -rf far $WRKDIR/far lost.ipynb aside found.ipynb", check=False)
        me.close()


@pytest.mark.claims("Make room (:ref:`storage-full`), then save again.")
@pytest.mark.claims("Do not close the page: what you wrote is still in it.")
@pytest.mark.claims("This counts them:")
@pytest.mark.proves("faq-unreadable")
def test_a_notebook_with_marks_of_git_does_not_open(reader, window, entry):
    """The copy of the last save has none."""
    count, copy = entry.commands()
    reader.write("results.ipynb", ["1"])
    window.open("results.ipynb")
    window.write("40 + 2")
    window.save()
    reader.user.wait_until("grep -q '40 + 2' .ipynb_checkpoints/results-checkpoint.ipynb")
    window.close_all()
    reader.run("sed -i '3i <<<<<<< HEAD' results.ipynb")
    assert reader.run(count) == "1\n"
    window.menu("File", "Open from Path…")
    window.page.locator(".jp-Dialog input").fill("results.ipynb")
    window.page.keyboard.press("Enter")
    told = window.dialog(about="Load Error")
    entry.shows(told, 0)
    entry.shows(told, 1)
    window.page.locator(".jp-Dialog-footer button").last.click()
    window.press("Discard")
    assert "40 + 2" in reader.run(f"{copy}; python3 -m json.tool results.ipynb")
    reader.run("rm -r results.ipynb .ipynb_checkpoints")


@pytest.mark.claims(
    "You have not run these cells yourself.",
    "So JupyterLab shows only what can do no harm.",
    "Run the cells: what you have run yourself is shown.",
    "Then close it, and sign it:",
)
@pytest.mark.proves("faq-trusted")
def test_what_others_have_shown_waits_for_trust(reader, window, entry):
    load, sign = entry.commands()
    draw = "element.innerHTML = '<b>drawn</b>'"
    text = entry.messages[1]
    stored = json.loads(
        notebook([f"from IPython.display import Javascript\nJavascript({draw!r})"] * 2)
    )
    for cell in stored["cells"]:
        data = {"application/javascript": draw, "text/plain": text}
        cell["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": data}]
        cell["execution_count"] = 1
    reader.user.write("results.ipynb", json.dumps(stored))
    shield = window.page.locator("#jp-main-statusbar [title^='Notebook'][title*='trusted']")
    refuses = shield.and_(window.page.locator(f"[title^='{entry.messages[0]}']"))
    window.open("results.ipynb")
    refuses.wait_for()
    entry.shows(refuses.get_attribute("title"), 0)
    entry.shows(window.output(1), 1)
    window.run_cell(0)
    window.cell(0).locator(".jp-OutputArea-output", has_text="drawn").wait_for()
    assert window.output(1) == text
    window.close_all()
    assert "Signing notebook: results.ipynb\n" in reader.run(f"{load}; {sign}")
    window.open("results.ipynb")
    window.cell(1).locator(".jp-OutputArea-output", has_text="drawn").wait_for()
    refuses.wait_for(state="detached")
    assert shield.get_attribute("title").startswith("Notebook trusted")
    reader.run("rm results.ipynb")


@pytest.mark.claims(
    "A cell can say that it begins a slide, and ``jupyter nbconvert`` makes one file of them for a "
    "browser.",
    "*Slide* begins a slide, *Skip* leaves the cell out, and without a choice it stands below the "
    "one before.",
    "It needs the internet, where it gets the program that shows the slides.",
    "leaves out the code.",
)
@pytest.mark.proves("faq-slides")
def test_a_notebook_becomes_slides(reader, entry, opens):
    cells = ["print('one' * 2)", "print('two' * 2)", "print('left' * 2)", "print('three' * 2)"]
    lab = opens("results.ipynb", cells)
    gears = lab.page.locator(".jp-SideBar.jp-mod-right .lm-TabBar-tab[title='Property Inspector']")
    lab.click(gears)
    for number, kind in enumerate(("Slide", "", "Skip", "Slide")):
        lab.run_cell(number)
        lab.cell(number).locator(".jp-InputPrompt").click()
        if kind:
            if not number:
                lab.click(lab.page.get_by_text("Common Tools", exact=True))
            field = lab.page.locator(".small-field", has_text="Slide Type").last
            field.locator("select").select_option(label=kind)
    lab.save()
    lab.click(lab.page.get_by_text("Common Tools", exact=True))
    lab.click(gears)  # closed, as it was: the page stays for other tests
    reader.user.wait_until("grep -q threethree results.ipynb && grep -q skip results.ipynb")
    load, convert, look = entry.commands()
    [option] = [word for word in literals(entry.do) if word.startswith("--")]
    assert reader.run(f"{load}; {convert} 2>/dev/null; {look}") == "results.slides.html\n"
    page, asked = reader.page(), []
    page.route("**/*", lambda route: (asked.append(route.request.url), route.abort()))
    page.set_content(reader.run("cat results.slides.html"), wait_until="commit")
    page.wait_for_timeout(500)
    slides = page.locator(".slides > section")
    texts = slides.all_text_contents()
    assert len(texts) == 2 and "oneone" in texts[0] and "twotwo" in texts[0], texts
    assert "threethree" in texts[1] and "leftleft" not in "".join(texts)
    assert [url for url in asked if "reveal" in url]
    assert "print(" in texts[0]
    reader.run(f"{load}; {convert} {option}")
    assert "print(" not in reader.run("grep -A999 'class=.slides' results.slides.html")
    reader.run("rm results.*")


@pytest.mark.proves("faq-quota")
def test_a_full_home_refuses_to_save_until_there_is_room(triton, chromium, tunnel, entry):
    full = Reader(triton, cluster.FULL_USER, chromium)
    space = triton.run(
        "login", f"stat --file-system --format='%b %S' {PATHS.home}/{full.user}"
    ).stdout.split()
    assert int(space[0]) * int(space[1]) < 2 * cluster.FULL_HOME_MB * 2**20, (
        "that home is not a small disk of its own"
    )
    full.write("results.ipynb", ["print('x' * 1_500_000)"])
    try:
        with Server(triton, full.user, "--mem=1G --time=10") as server:
            lab = full.lab(server, "results.ipynb")
            lab.run_cell()
            lab.output()
            lab.save()
            message = lab.dialog()
            for index in entry.wanted:
                entry.shows(message, index)
            assert int(full.run("stat --format=%s results.ipynb")) < 10_000
            lab.page.keyboard.press("Escape")
            # While the page stays open, the page's command shows what is big.
            look = [
                command.text
                for command in section("triton/tut/storage.rst", "storage-full")
                if command.text.startswith("du")
            ]
            shown = full.run(look[-1])
            assert "old-results.dat" in shown, f"{look[-1]} does not show what is big: {shown}"
            full.run("mv old-results.dat $WRKDIR")
            lab.save()
            full.user.wait_until("[ $(stat --format=%s results.ipynb) -gt 1500000 ]")
    finally:
        full.close()
        full.run(
            "rm -rf results.ipynb .ipynb_checkpoints .local .jupyter .ipython .cache "
            "server.sh jupyterhub_*; mv $WRKDIR/old-results.dat . || true"
        )


@pytest.mark.claims(
    "Write LaTeX between dollars, and between two pairs of dollars what shall have a line of its "
    "own.",
    "Run the cell, and the formulas are drawn. A double click brings back the text. Nothing is to "
    "be installed, and the internet is not needed.",
    "draws them only where it reaches the internet.",
    "In a figure Matplotlib draws them as well, with Greek letters in the label of an axis:",
)
@pytest.mark.proves("faq-formula")
def test_a_formula_is_drawn_without_the_internet(reader, entry, opens, server):
    """The example of the page is run as code first, then as Markdown."""
    example = pages.read("triton/apps/jupyter/formula.txt")
    lab = opens("formula.ipynb", [example])
    lab.run_cell()
    assert "SyntaxError" in lab.output()
    lab.cell(0).locator(".cm-content").click()
    for key in re.search("press ``(.+?)``, then ``(.+?)``", entry.do).groups():
        lab.page.keyboard.press({"Esc": "Escape"}.get(key, key.lower()))
    text = lab.page.locator(".jp-MarkdownCell:visible").first
    text.locator(".cm-content").click()
    lab.page.keyboard.press("Shift+Enter")
    alone, within = text.locator("mjx-container[display]"), text.locator("mjx-container")
    alone.wait_for()
    assert alone.count() == len(re.findall(r"\$\$.+?\$\$", example))
    assert within.count() == len(re.findall(r"\$\$.+?\$\$|\$.+?\$", example)) > alone.count()
    text.locator("p").first.dblclick()
    text.locator(".cm-content", has_text="bar{x}").wait_for()
    lab.save()
    reader.user.wait_until("grep -q markdown formula.ipynb")
    reader.run(f"module load {MODULES.jupyter}; jupyter nbconvert --to html formula.ipynb")
    assert re.search('src="https://[^"]*mathjax', reader.run("cat formula.html"), re.IGNORECASE)
    [label] = (word for word in literals(entry.do) if word.startswith("plt."))
    draw = f"import matplotlib.pyplot as plt\nplt.plot([1])\n{label}\nplt.savefig('wave.png')"
    assert server.kernel().execute(draw)["status"] == "ok"
    assert server.kernel().execute(draw.replace("lambda", "nosuch"))["status"] == "error"
    reader.run("rm formula.* wave.png")


@pytest.mark.claims(
    "JupyterLab downloads files, and no folders.",
    "Then click that file in the list with the right button of the mouse, and choose *Download*.",
)
def test_a_folder_is_downloaded_as_a_zip(reader, window):
    pack = re.search("python3 -m zipfile -c .+", pages.read("triton/tut/storage.rst"))[0]
    reader.run(f"mkdir results; echo 1,2 > results/table.csv; {pack}")
    entries = window.page.locator(".lm-Menu-itemLabel:visible")

    def choices(name):
        named = window.page.locator(".jp-DirListing-itemText", has_text=re.compile(f"^{name}$"))
        named.click(button="right")
        entries.get_by_text("Rename", exact=False).wait_for()
        return entries.all_inner_texts()

    assert "Download" not in choices("results")
    window.page.keyboard.press("Escape")
    assert "Download" in choices("results.zip")
    with window.page.expect_download() as download:
        entries.get_by_text("Download", exact=True).click()
    assert download.value.suggested_filename == "results.zip"
    content = "async url => [...new Uint8Array(await (await fetch(url)).arrayBuffer())]"
    packed = bytes(window.page.evaluate(content, download.value.url))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.read("results/table.csv") == b"1,2\n"
    reader.run("rm -r results results.zip")


@pytest.mark.claims("It stays so.", "It stays so, too.")
@pytest.mark.claims("for the notebook in front.")
@pytest.mark.proves("faq-look")
def test_jupyterlab_is_set_to_ones_taste(reader, entry, tunnel, server):
    reader.write("taste.ipynb", ["1"])
    numbers, dark, larger, headings = re.findall(":menuselection:`(.+?)`", entry.do)
    lab = reader.lab(server, "taste.ipynb")
    lab.menu(*numbers.split(" --> "))
    lab.cell(0).locator(".cm-lineNumbers").wait_for()
    lab.menu(*dark.split(" --> "))
    lab.page.locator("body[data-jp-theme-light=false]").wait_for(state="attached")
    size = "getComputedStyle(document.body).getPropertyValue('--jp-code-font-size')"
    before = int(lab.page.evaluate(size).removesuffix("px"))
    for more in (1, 2):
        lab.menu(*larger.split(" --> "))
        lab.page.wait_for_function(f"{size} === '{before + more}px'")
    lab.menu(*headings.split(" --> "))
    lab.page.locator("#table-of-contents").wait_for()
    lab = reader.lab(server, "taste.ipynb")
    lab.page.locator("body[data-jp-theme-light=false]").wait_for(state="attached")
    lab.page.wait_for_function(f"{size} === '{before + 2}px'")
    assert not lab.cell(0).locator(".cm-lineNumbers").count()
    settings = "~/.jupyter/lab/user-settings/@jupyterlab/apputils-extension"
    reader.run(f"rm -r taste.ipynb {settings}")


@pytest.mark.claims(
    "The notebook is open twice, or a program or ``git`` wrote to it.",
    "Two browser windows, or two people, with one notebook write over each other's "
    "changes. JupyterLab may notice, and asks "
    "under ``File Changed`` which version to keep; the other is lost.",
)
@pytest.mark.claims("If that question comes, cancel,")
@pytest.mark.proves("faq-twice")
def test_a_notebook_changed_meanwhile_asks_which_to_keep(reader, entry, opens, server):
    """The choice is between the version of the page and that of the file."""
    title = re.search('"(.+?)"', entry.title)[1]
    lab = opens("twice.ipynb", ["mine = 1"])
    lab.run_cell()
    reader.run("sleep 1.5")  # the file gets another modification time
    reader.write("twice.ipynb", ["theirs = 2"])
    lab.save()
    text = lab.dialog()
    assert title in text
    entry.shows(text)
    lab.press("Cancel")
    assert (
        "theirs" in reader.run("cat twice.ipynb")
        and lab.cell(0).locator(".cm-content").inner_text() == "mine = 1"
    ), "one of the two versions is missing"
    lab.save()
    assert title in lab.dialog()
    lab.press("Overwrite")
    reader.user.wait_until("grep -q mine twice.ipynb")
    assert "theirs" not in reader.run("cat twice.ipynb"), "the other version is still there"
    # A second window changes the notebook.
    other = reader.lab(server, "twice.ipynb")
    other.write("; second = 3")
    other.save()
    reader.user.wait_until("grep -q second twice.ipynb")
    lab.write("; first = 4")
    lab.save()
    assert title in lab.dialog()
    lab.press("Overwrite")
    reader.user.wait_until("grep -q first twice.ipynb")
    assert "second" not in reader.run("cat twice.ipynb")


@pytest.mark.claims(
    "Each start is a new job: with another node, another port and another token.",
    "A bookmark or a tunnel from before leads nowhere.",
    "The address of yesterday does not open any more ~~~",
    "Give nobody an address with a token in it. Whoever has it is you, until that server ends.",
)
@pytest.mark.proves("faq-address")
def test_each_server_has_an_address_of_its_own(reader, entry, tunnel, server):
    with Server(reader.triton, reader.user, "--mem=500M --time=5") as ended:
        assert reader.fails(ended.url) == ""
        assert (ended.url, ended.token) != (server.url, server.token)
        stranger = reader.triton.account()
        look = f"curl --silent --fail '{ended.url}/api/contents?token={ended.token}'"
        assert "content" in stranger.run(look)
    assert stranger.tries(look).returncode
    entry.shows(reader.fails(ended.url))


@pytest.mark.claims(
    "Where an extension of the browser stops that, one against advertisements for example, "
    "nothing is shown.",
    "JupyterLab then forgets which tabs were open; your files stay as they are.",
    "An empty page where JupyterLab should be.",
)
@pytest.mark.proves("faq-white")
def test_a_page_whose_programs_are_stopped_stays_white(reader, entry, tunnel, server):
    """A rule of the browser stands for the extension that stops them."""
    reader.write("white.ipynb", ["1"])
    white = reader.page()
    white.route("**/*.js*", lambda route: route.abort())
    white.goto(f"{server.url}/lab?token={server.token}", wait_until="load")
    assert not white.locator("body").inner_text().strip()
    # A workspace of its own: other windows of this server save their tabs in the usual one.
    workspace, page = f"{server.url}/lab/workspaces/white", reader.page()
    page.goto(f"{workspace}/tree/white.ipynb?token={server.token}")
    tab = page.locator(".lm-DockPanel-tabBar", has_text="white.ipynb")
    tab.wait_for()
    kept = f"curl --silent --header 'Authorization: token {server.token}' {server.url}"
    # The file has a state of its own there, too, which may be saved before its tab is.
    saved = f"{kept}/lab/api/workspaces/white | grep --quiet 'widgets[^]]*white.ipynb'"
    reader.user.wait_until(saved)
    page.goto(workspace)
    tab.wait_for()
    [end] = re.findall(r"``(\?\w+)`` at the end", entry.do)
    page.goto(f"{workspace}{end}")
    page.locator(".jp-LauncherCard").first.wait_for()
    assert not tab.count()
    reader.run("rm white.ipynb")


@pytest.mark.claims(
    "The page talks to a kernel over a connection that stays open, a WebSocket.",
    "The kernel and its variables are alive.",
)
@pytest.mark.proves("faq-connecting")
def test_a_page_without_websockets_stays_at_connecting(reader, entry, tunnel, server):
    """A rule of the browser stands for what stops them."""
    reader.write("open.ipynb", ["1"])
    page = reader.page()
    page.route_web_socket(re.compile("/api/kernels/"), lambda socket: socket.close())
    page.goto(f"{server.url}/lab/tree/open.ipynb?token={server.token}&reset")
    entry.shows(Lab(page).states(entry.messages[0].lower()))
    assert server.kernel().prints("print(1)") == "1"
    page.unroute_all()
    lab = reader.lab(server, "open.ipynb")
    assert "idle" in lab.states("idle").lower()
    reader.run("rm open.ipynb")


@pytest.mark.claims("JupyterLab forgets which tabs were open.")
@pytest.mark.proves("faq-afresh")
def test_settings_that_are_moved_aside_are_forgotten(reader, entry, tunnel):
    """The setting is that of a dark page."""
    [folder] = [name for name in literals(entry.do) if name.startswith("~/")]
    settings = f"{folder}/lab/user-settings/@jupyterlab/apputils-extension"
    reader.run(f"mkdir -p {settings}")
    dark = json.dumps({"theme": "JupyterLab Dark"})
    reader.user.write(f"{settings}/themes.jupyterlab-settings", dark)

    def light():
        with Server(reader.triton, reader.user, "--mem=500M --time=5") as server:
            body = reader.lab(server).page.locator("body[data-jp-theme-light]")
            body.wait_for(state="attached")
            return body.get_attribute("data-jp-theme-light")

    assert light() == "false"
    reader.run(f"mv {folder} aside")
    assert light() == "true"
    reader.run("rm -r aside")


@pytest.mark.claims(
    "A server that ``sjupyter`` has started asks, since its address came without the token. The "
    "token is the password to this server. Your password of {{ cluster.university }} is the "
    "wrong one here.",
    "Open the whole address, with all that stands behind ``token=``, or paste that as the answer.",
)
@pytest.mark.proves("faq-token")
def test_the_token_answers_the_question_for_a_password(reader, entry, tunnel, server):
    page = reader.page()
    page.goto(f"{server.url}/lab")
    entry.shows(page.locator("body").inner_text())
    assert not page.locator("input[name=username]").count()
    for word in (reader.triton.password(reader.user), server.token):
        page.locator("input[name=password]").first.fill(word)
        page.locator("#login_submit").click()
        if word != server.token:
            page.get_by_text("Invalid credentials").wait_for()
    page.locator("#jp-main-dock-panel").wait_for()


@pytest.mark.claims(
    "a program has none.",
    "In a program: send the token of your server as a header, ``Authorization: token ...``, and no "
    "cookie is needed.",
    '"Login form invalid or expired", or 403 with ``_xsrf``',
)
@pytest.mark.proves("faq-xsrf", [0])
def test_a_program_sends_the_token_and_no_cookie(reader, entry, server):
    ask = f"curl --silent --request POST {server.url}/api/kernels"
    entry.shows(reader.run(ask), 0)
    assert reader.run(f"{ask} --output /dev/null --write-out %{{http_code}}") == "403"
    [header] = re.findall(r"Authorization: token \S+", entry.do.replace("\n", " "))
    token = header.replace("...", server.token).rstrip("`,")
    started = json.loads(reader.run(f"{ask} --header {shlex.quote(token)}"))
    assert started["name"]


@pytest.mark.claims(
    "the entry PDF needs LaTeX, which the service does not have.",
    "Choose HTML there. Open the file in your browser, and print it into a PDF.",
    "Yes, but not directly: under :menuselection:`File --> Save and Export Notebook As` the"
    " entry PDF needs LaTeX,",
)
@pytest.mark.proves("faq-pdf")
def test_a_notebook_becomes_a_pdf_by_way_of_html(reader, entry, opens):
    """JupyterLab opens a tab for what it exports."""
    lab = opens("paper.ipynb", ["print('hello' * 2)"])
    lab.run_cell()
    assert lab.output().strip() == "hellohello"
    lab.save()
    reader.user.wait_until("grep -q hellohello paper.ipynb")
    with lab.page.context.expect_page() as opened:
        lab.menu("File", "Save and Export Notebook As", "PDF")
    entry.shows(opened.value.locator("body").inner_text())
    address = opened.value.url.replace("/pdf/", "/html/")
    opened.value.close()
    lab.menu("File", "Save and Export Notebook As")
    lab.page.locator(".lm-Menu-itemLabel:visible", has_text=re.compile("^HTML$")).wait_for()
    page = reader.page()
    page.set_content(lab.page.evaluate("url => fetch(url).then(it => it.text())", address))
    assert "hellohello" in page.locator("body").inner_text()
    assert page.pdf().startswith(b"%PDF")


# ---------------------------------------------------------------- last: its server runs a minute


@pytest.mark.claims(
    "Every profile has a longest time. At its end the job is killed, variables and all. "
    "Files that were saved stay.",
    "Start a new server and run the notebook again.",
    "at the end the job is killed, and the notebooks that are saved stay",
)
@pytest.mark.proves("faq-time", [1])
def test_when_the_time_is_up_saved_files_stay(reader, entry, short, server):
    """The log says that the time limit was reached."""
    reader.user.ended(short.job, seconds=150)
    for index in entry.wanted:
        entry.shows(short.said(), index)
    reader.run("ls analysis.ipynb")
    assert all(profile.seconds for profile in FACTS.profiles)
    assert not reader.run(
        "squeue --noheader --name=server --states=RUNNING --format=%i | grep -w "
        + short.job
        + " || true"
    )
    assert server.kernel().prints("print('again')") == "again"


# ---------------------------------------------------------------- the page and the tests


@pytest.mark.claims(
    "Run a cell: click into it and press Shift-Enter.",
    "Enter is a new line, Shift-Enter runs.",
    "A name lives on after its cell has run, and every later cell can use it.",
    "says when it ran: as the fourth. It counts runs, not places on the page:",
    "(click into the margin left of it, and press D twice)",
    "**Edit, Undo Cell Operation**, as often as it takes. A new cell is an operation, "
    "too, and is undone first.",
    "It works at first: the cell has gone from the page, but the name `town` is still in "
    "the kernel. After the restart it has "
    "gone from there too, and the cell fails.",
    "It forgets everything and runs from the top.",
)
@pytest.mark.claims("since they think that it deletes their text. It does not touch the page.")
@pytest.mark.claims("So the notebook works today, and tomorrow, after a restart, it does not.")
def test_keys_and_menus_do_what_the_first_notebook_says(opens):
    def runs(number, times):
        lab.cell(number).locator(".jp-InputPrompt", has_text=f"[{times}]").wait_for()

    lab = opens("first.ipynb", ["town = 'Utsjoki'", "town"])
    lab.idle()
    cells = lab.page.locator(f"{FRONT} .jp-CodeCell")
    lab.cell(0).locator(".cm-content").click()
    lab.page.keyboard.press("End")
    lab.page.keyboard.press("Enter")
    assert (
        lab.cell(0).locator(".cm-line").count() == 2
        and lab.cell(0).locator(".jp-InputPrompt").inner_text().strip(": ") == "[ ]"
    )
    lab.page.keyboard.press("Backspace")
    for number, times in ((0, 1), (1, 2), (1, 3), (0, 4)):
        lab.cell(number).locator(".cm-content").click()
        lab.page.keyboard.press("Shift+Enter")
        runs(number, times)
    assert lab.output(1) == "'Utsjoki'"
    there = cells.count()
    lab.cell(0).locator(".jp-InputPrompt").click()
    lab.page.keyboard.press("d")
    lab.page.keyboard.press("d")
    lab.cell(there - 1).wait_for(state="detached")
    lab.cell(0).locator(".cm-content").click()
    lab.page.keyboard.press("Shift+Enter")
    runs(0, 5)
    assert lab.output(0) == "'Utsjoki'", "the name has gone with its cell"
    lab.menu("Kernel", "Restart Kernel and Run All Cells…")
    lab.press("Restart")
    runs(0, 1)
    assert "NameError" in lab.output(0), "the name is still there after a restart"
    lab.cell(0).locator(".jp-InputPrompt").click()
    lab.page.keyboard.press("b")  # this key adds a cell
    lab.cell(there - 1).wait_for()
    lab.menu("Edit", "Undo Cell Operation")
    lab.cell(there - 1).wait_for(state="detached")
    assert "NameError" in lab.output(0), "the new cell is not undone first"
    lab.menu("Edit", "Undo Cell Operation")
    cells.locator(".cm-content", has_text="town = 'Utsjoki'").wait_for()


@pytest.mark.claims("For something small in Jupyter, drag it into the list of files on the left.")
def test_what_is_dragged_into_the_list_of_files_is_copied(reader, window):
    lab = window
    files = lab.page.locator(".jp-DirListing-content")
    files.wait_for()
    box = files.bounding_box()
    assert box["x"] + box["width"] < lab.page.viewport_size["width"] / 2, (
        "the list of files is not on the left"
    )
    files.evaluate("""list => {
        const drop = new Event("drop", {bubbles: true, cancelable: true});
        drop.dataTransfer = {files: [new File(["dragged"], "dragged.txt")]};
        list.dispatchEvent(drop);
    }""")
    lab.page.locator(".jp-DirListing-item", has_text="dragged.txt").wait_for()
    assert reader.run("cat dragged.txt; rm dragged.txt") == "dragged"


@pytest.mark.parametrize("place, bar, entry", pages.menus("triton/apps/jupyter/sjupyter.rst"))
def test_the_menu_of_ones_own_server_is_that_of_the_page(opens, place, bar, entry):
    """The page about sjupyter shows its menus."""
    assert opens("menus.ipynb", ["1"]).offers(bar, entry), (
        f"{place}: the menu {bar} has no {entry!r}"
    )


@pytest.mark.claims("``sjupyter --stop``, or :menuselection:`File --> Shut Down`.")
def test_shut_down_in_the_menu_ends_a_server_and_its_job(reader, tunnel):
    with Server(reader.triton, reader.user, "--mem=500M --time=5") as own:
        lab = reader.lab(own)
        lab.page.locator(".jp-LauncherCard").first.wait_for()
        lab.menu("File", "Shut Down")
        # Then JupyterLab may tell in a dialog that it has lost its server.
        lab.click(lab.page.locator(".jp-Dialog button", has_text="Shut Down").last)
        reader.user.ended(own.job)


@pytest.mark.claims(
    "Each fault of the :doc:`FAQ </triton/apps/jupyter/faq>` is brought about; the "
    "message is seen, and the remedy works."
)
@pytest.mark.claims(
    "An entry of the FAQ says what you see, why, and what to do; and a test brings the fault about."
)
def test_every_entry_has_a_test_or_a_reason(record_property):
    declared = faq.declared()
    assert len(LABELS) > 15 and len(set(LABELS)) == len(LABELS)
    titles = pages.read(FAQ).count("\n~~~~")
    assert titles == len(LABELS), "not every entry has a label of its own"
    assert set(declared) == set(LABELS)
    for label, tests in declared.items():
        all_here = visible(label, Entry(label).messages)
        assert {
            index for seen in tests.values() for index in (all_here if seen is None else seen)
        } == set(all_here), label
    for label, reasons in UNSEEN.items():
        for index, reason in reasons.items():
            record_property(
                "not_covered", f"{FAQ}#{label}: {Entry(label).messages[index]}: {reason}"
            )

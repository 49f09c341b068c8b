"""Each answer of the FAQ is true: the fault shows the page's message, and the page's remedy ends
it.
"""

import functools
import json
import re
import shlex
from contextlib import closing

import pytest

from tools import pages
from tools.browser import needs_chromium
from tools.cluster import cluster, jupyter_server
from tools.cluster.hub import Reader
from tools.cluster.jupyter_server import (
    Server,
    Ssh,
    ended,
    let_in,
    listens,
    literals,
    proxy,
    proxy_answers,
    rows,
    wait_until,
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
def playwright():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        yield running


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
    with Server(triton, user, "--mem=2G --time=30") as running:
        yield running


# ---------------------------------------------------------------- connections
# These tests run before the proxy of the others.


def forwards(reader, options=""):
    return Ssh(
        reader.triton, "laptop", reader.user, f"{options} -D {PORT} {reader.user}@{HOSTS.login}"
    )


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
    with jupyter_server.browser(playwright, reader.triton, tmp_path) as without:
        assert in_chrome in Reader(reader.triton, reader.user, without).fails(server.url)


@pytest.mark.claims(
    "in {{ cluster.network }} - open https://{{ hosts.hub }}",
    "or {{ end }}start the proxy, and open the same address",
    "{{ if cluster.vpn }}The VPN is easier: it needs no settings in the browser. {{ end }}",
    "and for JupyterHub when you are outside{{ if cluster.vpn }} and without the VPN{{ end }}.",
    "The hub then needs the proxy, also where you could reach it without: switch the file off",
    "and JupyterHub too if you sent it that way,",
    "inside {{ cluster.network }} or :doc:`connected to them <connecting>`",
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
    "Give it the address with ``localhost`` and the token.",
    "Its remote server runs where ``ssh`` leads, on the login node, which everyone "
    "shares. No compute node lets you in without a "
    "job.",
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
@pytest.mark.claims("It was: start again with a bigger profile,")
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
    "It does go on: what computes runs until its time is up.",
    "But it is the page in your browser that puts outputs into the notebook. What is "
    "printed while no page is open may be lost.",
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
    wait_until(reader.triton, reader.user, "ls began")
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


@pytest.mark.claims("No profile of the hub has one.")
@pytest.mark.proves("faq-gpu")
def test_there_is_no_gpu_in_a_server(entry, server):
    entry.shows(server.kernel().execute("!nvidia-smi")["stdout"])
    asks = pages.read("triton/jupyterhub/jupyterhub_config.py") + repr(FACTS.profiles)
    assert not re.search(r"\b(gpus?|gres)\b", asks, re.IGNORECASE)


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
    ":ref:`Make a kernel of it <own-kernel>`, then reload the page.",
    "Choose the kernel of your environment at the top right of the notebook,",
)
@pytest.mark.proves("faq-kernel-list")
def test_an_environment_is_in_the_list_once_it_is_registered(reader, entry, tunnel, server):
    environment_of_ones_own(reader, register=False)
    name = named(KERNELS, "own-kernel")
    listed = "; ".join(entry.commands())
    assert name not in reader.run(listed) and name not in server.kernelspecs()
    reader.write("which.ipynb", ["1"])
    lab = reader.lab(server, "which.ipynb")
    lab.idle()
    choose, notebook = (
        lab.page.locator(where).first.bounding_box()
        for where in (".jp-Toolbar-kernelName", ".jp-NotebookPanel")
    )
    assert (
        choose["x"] > notebook["x"] + notebook["width"] / 2
        and choose["y"] < notebook["y"] + notebook["height"] / 4
    ), "the kernel's name is not at the top right"
    environment_of_ones_own(reader, register=True)
    assert re.search(rf"^ +{name} ", reader.run(listed), re.MULTILINE)
    shown = server.kernelspecs()[name]["spec"]["display_name"]
    lab.page.reload()
    lab.idle()
    lab.page.locator(".jp-Toolbar-kernelName").first.click()
    lab.page.locator(".jp-Dialog select").first.select_option(label=shown)
    lab.press("Select")
    lab.page.locator(".jp-Toolbar-kernelName", has_text=shown).wait_for()
    lab.page.locator("[title^='New Launcher']").first.click()
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
            shown = reader.lab(server, "r.ipynb").states("disconnected", 30)
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


@pytest.mark.claims(
    "The notebook names a kernel that is not here;",
    "Choose one of the same language. The notebook remembers it when you save.",
)
@pytest.mark.claims("Where no kernel has that name, Jupyter asks you to choose another.")
@pytest.mark.proves("faq-select-kernel")
def test_a_notebook_without_its_kernel_asks_for_one(reader, entry, tunnel, server):
    """The notebook stores the choice."""
    question = re.search('"(.+?)"', entry.title)[1]
    reader.write("elsewhere.ipynb", ["print('hello')"], "a-kernel-of-another-computer")
    lab = reader.lab(server, "elsewhere.ipynb")
    assert question in lab.dialog()
    lab.page.locator(".jp-Dialog select").first.select_option(
        label=server.kernelspecs()["python3"]["spec"]["display_name"]
    )
    lab.press("Select")
    lab.run_cell()
    assert lab.output().strip() == "hello"
    lab.save()
    wait_until(reader.triton, reader.user, 'grep -q \'"name": "python3"\' elsewhere.ipynb')
    reader.close()
    lab = reader.lab(server, "elsewhere.ipynb")
    lab.run_cell()
    assert not lab.page.locator(".jp-Dialog").count()


# ---------------------------------------------------------------- files


@pytest.mark.claims(
    "The file browser does not go above the folder where it began.",
    "or put a link into your home directory once:",
)
@pytest.mark.proves("faq-scratch")
def test_a_link_leads_the_file_browser_to_scratch(reader, entry, tunnel, server):
    link = next(command for command in entry.commands() if command.startswith("ln")).rpartition(
        "/"
    )[2]
    reader.run("touch $WRKDIR/data-of-mine")
    try:
        lab = reader.lab(server)
        items = lab.page.locator(".jp-DirListing-item")
        items.first.wait_for()
        assert not items.filter(has_text=re.compile(f"^(scratch|{link})")).count()
        with pytest.raises(AssertionError, match="HTTP Error 404"):
            server.talk("ask", f"/api/contents/..{PATHS.work}/{reader.user}")
        reader.run("; ".join(entry.commands()))
        lab.page.locator("[title^='Refresh the file']").first.click()
        items.filter(has_text=re.compile(f"^{link}")).first.dblclick()
        items.filter(has_text="data-of-mine").first.wait_for()
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


@pytest.mark.claims("Make room (:ref:`storage-full`), then save again.")
@pytest.mark.claims("Do not close the page: what you wrote is still in it.")
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
            wait_until(full.triton, full.user, "[ $(stat --format=%s results.ipynb) -gt 1500000 ]")
    finally:
        full.close()
        full.run(
            "rm -rf results.ipynb .ipynb_checkpoints .local .jupyter .ipython .cache "
            "server.sh jupyterhub_*; mv $WRKDIR/old-results.dat . || true"
        )


@pytest.mark.claims(
    "The notebook is open twice, or a program or ``git`` wrote to it.",
    "Two browser windows, or two people, with one notebook write over each other's "
    "changes. JupyterLab may notice, and asks "
    "under ``File Changed`` which version to keep; the other is lost.",
)
@pytest.mark.claims("Before you answer that question, cancel,")
@pytest.mark.proves("faq-twice")
def test_a_notebook_changed_meanwhile_asks_which_to_keep(reader, entry, tunnel, server):
    """The choice is between the version of the page and that of the file."""
    title = re.search('"(.+?)"', entry.title)[1]
    reader.write("twice.ipynb", ["mine = 1"])
    lab = reader.lab(server, "twice.ipynb")
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
    wait_until(reader.triton, reader.user, "grep -q mine twice.ipynb")
    assert "theirs" not in reader.run("cat twice.ipynb"), "the other version is still there"
    # A second window changes the notebook.
    other = reader.lab(server, "twice.ipynb")
    other.write("; second = 3")
    other.save()
    wait_until(reader.triton, reader.user, "grep -q second twice.ipynb")
    lab.write("; first = 4")
    lab.save()
    assert title in lab.dialog()
    lab.press("Overwrite")
    wait_until(reader.triton, reader.user, "grep -q first twice.ipynb")
    assert "second" not in reader.run("cat twice.ipynb")


# ---------------------------------------------------------------- last: its server runs a minute


@pytest.mark.claims(
    "Every profile has a longest time. At its end the job is killed, variables and all. "
    "Files that were saved stay.",
    "Start a new server and run the notebook again.",
)
@pytest.mark.proves("faq-time", [1])
def test_when_the_time_is_up_saved_files_stay(reader, entry, short, server):
    """The log says that the time limit was reached."""
    ended(reader.triton, reader.user, short.job, seconds=150)
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
def test_keys_and_menus_do_what_the_first_notebook_says(reader, tunnel, server):
    def runs(number, times):
        lab.cell(number).locator(".jp-InputPrompt", has_text=f"[{times}]").wait_for()

    reader.write("first.ipynb", ["town = 'Utsjoki'", "town"])
    lab = reader.lab(server, "first.ipynb")
    lab.idle()
    cells = lab.page.locator(".jp-Notebook .jp-CodeCell")
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
    lab.page.locator(
        ".jp-Notebook .jp-CodeCell .cm-content", has_text="town = 'Utsjoki'"
    ).wait_for()


@pytest.mark.claims("For something small in Jupyter, drag it into the list of files on the left.")
def test_what_is_dragged_into_the_list_of_files_is_copied(reader, tunnel, server):
    lab = reader.lab(server)
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
def test_the_menu_of_ones_own_server_is_that_of_the_page(reader, tunnel, server, place, bar, entry):
    """The page about sjupyter shows its menus."""
    reader.write("menus.ipynb", ["1"])
    assert reader.lab(server, "menus.ipynb").offers(bar, entry), (
        f"{place}: the menu {bar} has no {entry!r}"
    )


@pytest.mark.claims("``sjupyter --stop``, or :menuselection:`File --> Shut Down`.")
def test_shut_down_in_the_menu_ends_a_server_and_its_job(reader, tunnel):
    with Server(reader.triton, reader.user, "--mem=500M --time=5") as own:
        lab = reader.lab(own)
        lab.page.locator(".jp-LauncherCard").first.wait_for()
        lab.menu("File", "Shut Down")
        lab.press("Shut Down")
        ended(reader.triton, reader.user, own.job)


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
                "not_covered", f"{FAQ}, {label}: {Entry(label).messages[index]}: {reason}"
            )

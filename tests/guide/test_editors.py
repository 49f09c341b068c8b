"""What the page about editors and other interfaces says is true on the small cluster."""

import contextlib
import json
import re
import shlex
import time

import pytest

from tools import pages
from tools.cluster import cluster
from tools.cluster.jupyter_server import CENTRAL, CLIENT, Server, Ssh, let_in, listens
from tools.files import ROOT
from tools.proof.faq import FAQ

FACTS = cluster.facts()
FOLDER = "triton/apps/jupyter"
INTO = f"ssh -o StrictHostKeyChecking=accept-new -F ssh_job {FACTS.hosts.short}-job"
DATA = ROOT / "tests/data/commands"
SERVE = (DATA / "serve_here.py").read_text(encoding="utf-8")
MINE, TAKEN = 4321, 4322  # ports of a node


def given(triton, user, host, name):
    """Give `user` on `host` a file that the page shows."""
    text = pages.filled(f"{FOLDER}/{name}").replace("username", user)
    triton.write(host, f"~/{name}", text, user)


@pytest.fixture(scope="module")
def user(triton):
    """Somebody who has done what the page says about ssh into a job."""
    name = triton.account()
    let_in(triton, name, ("laptop", "outside"))
    given(triton, name, "login", "into_job.sh")
    for computer in ("laptop", "outside"):
        given(triton, name, computer, "ssh_job")
    name.run("[ -e ~/.ssh/job_key ] || ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/job_key")
    return name


@pytest.fixture(scope="module")
def job(user):
    """The number of a job called editor, which runs."""
    options = "--job-name=editor --time=30 --mem=2G --output=/dev/null"
    number = user.run(f"sbatch --parsable {options} --wrap='sleep infinity'").strip()
    user.wait_until(f'[ "$(squeue --noheader --jobs={number} --format=%T)" = RUNNING ]')
    yield number
    user.run(f"scancel {number}")


@pytest.fixture(scope="module")
def node(user, job):
    """The node of that job."""
    return user.run(f"squeue --noheader --jobs={job} --format=%N").strip()


@contextlib.contextmanager
def in_job(user, job, command, name="out"):
    """A context in which `command` runs in `job` and prints into the file `name`."""
    step = f"srun --jobid={job} --overlap bash -c {shlex.quote(command)}"
    user.run(f"{step} < /dev/null > {name} 2>&1 & echo $! > {name}.pid")
    try:
        yield
    finally:
        user.run(f"kill $(cat {name}.pid)")


def neighbour(triton, node):
    """Another user, with a function that runs a command in a job on the same node."""
    stranger = triton.account()
    srun = f"srun --quiet -p {FACTS.partitions.interactive} -w {node} --mem=100M --time=5"
    return stranger, lambda command: stranger.tries(f"{srun} bash -c {shlex.quote(command)}")


@pytest.mark.claims(
    "Take out the word ``lab`` before the question mark, and leave all else, since VS Code looks "
    "for kernels below that address.",
    "It asks for a password? Then the token was missing: paste what stands behind ``token=``.",
    "The kernel works in the folder where you started ``sjupyter``, and sees its files, not those "
    "of your own computer.",
    "The cells run in a job, and the page stays in VS Code.",
    "Paste the line with ``-L`` that it prints into a terminal of your own computer.",
    "Paste the address: the one below the line with ``-L``, or on the login node the one on"
    " the compute node.",
    "The cell ``import socket; socket.gethostname()`` says where it runs.",
    "Done? ``sjupyter --stop``: closing VS Code does not stop it.",
    "Give the server any name, and choose a kernel, such as Python 3.",
    "Start a server on {{ cluster.name }}:",
)
def test_what_vs_code_asks_jupyter_for(triton, user):
    """Its extension asks with the token in a header, without cookies; it connects to the kernel
    with the token in the address, and it invents a name for the notebook.
    """
    user.run("mkdir work; cd work; sjupyter -t 20 --mem=1G --detach")
    ways = json.loads(user.run("sjupyter --attach --detach --json", timeout=200).splitlines()[-1])
    base, token = re.fullmatch(r"(.*/)lab\?token=(\w+)", ways["forward_url"]).groups()

    def ask(path, options="", sends_token=True):
        header = f"--header 'Authorization: token {token}'" * sends_token
        look = f"curl --silent --write-out ' %{{http_code}}' {header} {options} '{base}{path}'"
        text, _, code = triton.run("laptop", look, user, check=False).stdout.rpartition(" ")
        return int(code), text

    assert " -L " in ways["forward"]
    with Ssh(triton, "laptop", user, ways["forward"].removeprefix("ssh") + " -N"):
        listens(triton, "laptop", int(re.search(r"localhost:(\d+)", base)[1]))
        assert "<!doctype html>" in ask("lab/api/kernelspecs")[1].lower()
        assert ask("api/kernelspecs", sends_token=False)[0] == 403
        code, specs = ask("api/kernelspecs")
        assert code == 200
        shown = json.loads(specs)["kernelspecs"]["python3"]["spec"]["display_name"]
        assert shown.startswith("Python 3")
        wanted = {"path": "a-jvsc-1f.ipynb", "name": "", "type": "notebook"}
        body = json.dumps(wanted | {"kernel": {"name": "python3"}})
        kind = "--header 'Content-Type: application/json'"
        code, session = ask("api/sessions", f"{kind} --data '{body}'")
        assert code == 201, session
        kernel = json.loads(session)["kernel"]["id"]
        upgrade = (
            "--http1.1 --max-time 5 --output /dev/null --header 'Connection: Upgrade' --header "
            "'Upgrade: websocket' --header 'Sec-WebSocket-Version: 13' --header "
            "'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='"
        )
        channels = f"api/kernels/{kernel}/channels?session_id=1f&token={token}"
        assert ask(channels, upgrade, sends_token=False)[0] == 101
    direct = ways["url"].partition("/lab?")[0]
    code = "import os, socket; print(socket.gethostname(), os.getcwd())"
    client = shlex.join([f"{CENTRAL}/python", "-c", CLIENT, direct, token])
    printed = user.run(client, input=json.dumps(["execute", kernel, code, 60]) + "\n")
    host, folder = json.loads(printed)["stdout"].split()
    assert host.partition(".")[0] in triton.nodes and folder == f"{FACTS.paths.home}/{user}/work"
    user.run("sjupyter --stop")


@pytest.mark.claims(
    "By ``ssh`` alone, the compute nodes let in {{ hosts.node_ssh }}.",
    "It starts a server for ssh that has no port, and that lets in nobody but you,",
    "All that you start counts to the job: its memory, its cores, its time.",
    "No job of that name runs? Then it says so, and ends.",
    "Files are copied this way too,",
    "Slurm leads into a job of yours. Start a job in which nothing runs yet, with the name "
    "``editor``:",
    "Save this as ``into_job.sh`` in your home directory on {{ cluster.name }}:",
    "and that lets in nobody but you, with :ref:`your key <ssh-key>`. Once, make the server"
    " a key of its own:",
    "On your own computer, save this as ``ssh_job``:",
    "End it with ``scancel --me --name=editor``.",
)
def test_ssh_leads_into_the_job_and_nobody_else(triton, user, job, node):
    whose = "printenv SLURM_JOB_ID SLURM_CPUS_ON_NODE; echo $$; sleep 3"
    with Ssh(triton, "laptop", user, f"{INTO.removeprefix('ssh ')} {shlex.quote(whose)}") as ssh:
        printed = ssh.waits_for(r"(?m)^\d+\n1\n\d+$").split()
        number, pid = printed[-3], printed[-1]
        assert number == job
        # Its exit status is 1 while any step of the node does not answer.
        listed = triton.run(node, "scontrol listpids", check=False).stdout
        assert re.search(rf"^{pid} +{job} ", listed, re.M), listed
        assert not triton.listening(node, user)
    stranger = triton.account()
    refused = stranger.tries(f"srun --jobid={job} --overlap true")
    assert refused.returncode and "denied" in refused.stderr, refused.stderr
    copy = f"{INTO.replace('ssh ', 'scp -q ', 1).rpartition(' ')[0]} a {FACTS.hosts.short}-job:b"
    back = copy.replace(" a ", " ").replace(":b", ":b c")
    triton.run("laptop", f"head -c 9000000 /dev/urandom > a; {copy}; {back}; cmp a c", user)
    other = triton.account()
    given(triton, other, "login", "into_job.sh")
    assert "no job called editor runs" in other.tries("bash into_job.sh").stderr
    [end] = re.findall(r"End it with ``(scancel .*?)``", pages.read(f"{FOLDER}/editors.rst"))
    named, unnamed = (
        other.submit("sleep 300", f"--mem=50M --time=5 --output=/dev/null {name}")
        for name in ("--job-name=editor", "")
    )
    other.run(end)
    assert other.state(named)[0].startswith("CANCELLED")
    assert other.run(f"squeue --noheader --jobs={unnamed}; scancel {unnamed}")


@pytest.mark.claims(
    "In VS Code install *Remote - SSH*, choose *Remote-SSH: Connect to Host…*, and the host "
    "{{ hosts.short }}.",
    "Its other half now runs on the login node: its server, its extensions, its terminal, and each "
    "kernel and program that you start there. Everyone shares that node, and it is "
    ":doc:`for small work only </triton/tut/connecting>`. So edit there, use git there, "
    "submit jobs "
    "there, and let no cell run there.",
    "In the notebook click *Select Kernel*, *Existing Jupyter Server…*, *Enter the URL of the "
    "running Jupyter server*.",
    "VS Code itself was not run to prove this page:",
    "What it asks of ``ssh`` and of Jupyter was run.",
    "Open the folder of your work in ``{{ paths.work }}``, not all of ``{{ paths.scratch }}``:",
)
def test_the_settings_for_ssh_lead_an_editor_to_the_login_node(triton, user):
    """The FAQ names the same entries of VS Code's menu."""
    given(triton, user, "laptop", "ssh_config")
    look = f"ssh -F ssh_config -o StrictHostKeyChecking=accept-new {FACTS.hosts.short} hostname"
    assert user.run(look, "laptop").strip() == FACTS.hosts.login
    assert user.tries("type code", "laptop").returncode
    work = FACTS.paths.work
    assert user.run("echo $WRKDIR").startswith(f"{work}/") and work.startswith(FACTS.paths.scratch)
    entries = re.search(r"choose (Select .*?)\. ", pages.read(FAQ).replace("\n   ", " "))[1]
    page = pages.read(f"{FOLDER}/editors.rst")
    assert all(re.search(rf"\*{name}…?\*", page) for name in entries.split(", ")), entries


@pytest.mark.claims(
    "Is your home directory full? VS Code keeps its server there, in ``~/.vscode-server``, and "
    "cannot write it then.",
    "Does ``ssh`` alone work, in a terminal of your own computer?",
)
def test_a_full_home_lets_in_ssh_and_no_new_file(triton):
    full = triton.account(cluster.FULL_USER)
    let_in(triton, full)
    try:
        write = "hostname; mkdir -p .vscode-server; head -c 3000000 /dev/zero > .vscode-server/part"
        ssh = f"ssh {full}@{FACTS.hosts.login} {shlex.quote(write)}"
        reached = triton.run("laptop", ssh, full, check=False)
        assert reached.stdout.strip() == FACTS.hosts.login
        assert "No space left on device" in reached.stderr
    finally:
        full.run("rm -rf .vscode-server")


@pytest.mark.claims(
    "It works? Append it to ``~/.ssh/config``, and leave out ``-F`` from then on.",
    "From outside add ``-J username@{{ hosts.gateway }}`` behind ``ssh`` in ``ssh_job``.",
    "With ``--pty`` and ``bash`` in place of ``hostname`` you get a shell; ``--jobid`` takes the "
    "number of any job of yours:",
)
def test_settings_lead_into_the_job_from_inside_and_outside(user, job, node):
    reach = f"ssh -o StrictHostKeyChecking=accept-new {FACTS.hosts.short}-job hostname"
    assert node in user.run(f"cat ssh_job >> .ssh/config; {reach}", "laptop")
    jump = f"sed -i 's/ ssh / ssh -J {user}@{FACTS.hosts.gateway} /' ssh_job"
    assert node in user.run(f"{jump}; {reach.replace('ssh', 'ssh -F ssh_job', 1)}", "outside")
    shell = f"srun --jobid={job} --overlap --pty bash"
    assert node in user.run(f"(echo hostname; echo exit) | script -qec '{shell}' /dev/null")


@pytest.mark.claims(
    "Yes, by way of Slurm. With ``ssh`` alone you would take memory and cores of other people's "
    "jobs, so a compute node lets in {{ hosts.node_ssh }} that way.",
)
@pytest.mark.proves("faq-node-ssh")
def test_a_node_lets_in_nobody_by_ssh(entry, user, job, node):
    assert FACTS.hosts.node_ssh == "nobody"
    refused = user.tries(f"ssh -o BatchMode=yes {node}.{FACTS.hosts.domain} hostname")
    entry.shows(refused.stderr)
    assert node in user.run(f"srun --jobid={job} --overlap hostname")
    assert "editors-job" in entry.do


@pytest.mark.claims(
    "What you start ends when its ``ssh`` ends, with ``nohup`` or without.",
    "The job is yours until its time is up, used or not.",
)
def test_what_ssh_started_in_a_job_ends_with_it(triton, cgroups, user, job, node):
    start = "nohup setsid sleep 3210 > /dev/null 2>&1 & sleep 1; pgrep --full 'sleep 321[0]'"
    assert triton.run("laptop", f"{INTO} {shlex.quote(start)}", user).stdout
    gone = "for i in $(seq 300); do pgrep --full 'sleep 321[0]' || exit 0; sleep 0.1; done; exit 1"
    triton.run(node, gone)
    assert user.run(f"squeue --noheader --jobs={job} --format=%T") == "RUNNING\n"


@pytest.mark.claims(
    "They are at ports of the node, and everybody there reads what they print.",
    "So do kernels that VS Code starts itself.",
)
def test_kernels_that_vs_code_starts_itself_are_read_by_others(triton, user, job, node):
    """It gives a kernel a file with ports, which count more than all settings of the nodes."""
    user.write("~/kernel_of_vs_code.py", (DATA / "kernel_of_vs_code.py").read_text())
    with in_job(user, job, f"{CENTRAL}/python kernel_of_vs_code.py ~/ports.json", "kernel"):
        user.wait_until("grep --quiet ^port kernel")
        [port] = re.findall(r"^port (\d+)", user.run("cat kernel"), re.MULTILINE)
        stranger, there = neighbour(triton, node)
        stranger.write("~/reads.py", (DATA / "reads_kernels.py").read_text())
        assert there(f"{CENTRAL}/python reads.py {port}").stdout == "read\n"


@pytest.mark.claims(
    "Everybody on a node reaches each port of that node, also one that listens on "
    "``localhost`` only. A Unix socket is a file: in a folder of yours nobody else can open it.",
    "It needs a password, or a token as marimo, which is next.",
    "Give your program a Unix socket:",
    "``mkdir`` says that the folder exists? Then nothing starts, and you take another name: this "
    "folder may not be yours.",
    "Your browser has it at ``http://localhost:{{ proxy.example }}``:",
)
def test_a_socket_is_closed_to_others_and_a_port_is_open(triton, user, job, node):
    user.run("mkdir app; echo mine > app/page.html")
    user.write("~/app/serve.py", SERVE)
    place = f"/tmp/{user}-app"
    page = pages.read(f"{FOLDER}/editors.rst")
    address, typed = re.search(
        r"browser has it at ``(.*?)``:[^$]*\$ curl --silent (\S+)", page
    ).groups()
    assert address == typed
    # Nothing starts in a folder that somebody else has made.
    make = re.search(r"(mkdir -m \S+ \S+) && \S+/uvicorn ", page)[1].replace("username", user)
    run = f"cd app && {make} && exec python3 serve.py {place}/socket {MINE}"
    ask = f"curl --silent --unix-socket {place}/socket http://localhost/page.html"
    with in_job(user, job, run):
        own = f"srun --jobid={job} --overlap {ask}"
        user.wait_until(f'[ "$({own})" = mine ]')
        assert user.run(f"srun --jobid={job} --overlap stat --format=%a {place}") == "700\n"
        again = user.tries(f"srun --jobid={job} --overlap {make}")
        assert "File exists" in again.stderr
        _, there = neighbour(triton, node)
        assert there(ask).returncode
        assert there(f"curl --silent http://localhost:{MINE}/page.html").stdout == "mine\n"


@pytest.mark.claims(
    "Then it is the line above with ``app:server`` as its last word, and ``--interface`` with "
    "``wsgi`` before it.",
    "All that speaks as Dash does, such as Flask, starts that way.",
    "In your script, ``app.py``, write ``server = app.server`` below ``app = Dash(__name__)``.",
    "Write ``app.py`` anew, as below.",
    "For Streamlit, ``app.py`` stands beside your script, and has its name between the quotes:",
)
def test_an_app_as_dash_has_it_answers_at_a_socket(triton, user, job):
    """Dash's server is a WSGI application, for which a small one stands."""
    own = "$WRKDIR/envs/wsgi"
    make = f"python3 -m venv {own}; {own}/bin/pip install --quiet uvicorn"
    user.run(f"module load {FACTS.modules.python}; {make}", timeout=300)
    page = pages.read(f"{FOLDER}/editors.rst")
    last = r"with ``(app:server)`` as its last word, and ``(--\w+)`` with ``(\w+)`` before"
    server, option, value = re.search(last, " ".join(page.split())).groups()
    line = re.search(r"envs/apps/bin/(uvicorn --uds )\S+ app:app", page)[1]
    [streamlit] = [code for _, _, code in pages.other_code(f"{FOLDER}/editors.rst")]
    assert re.search(r"; app = streamlit\.App\(\"\w+\.py\"\)$", streamlit)  # as in app:app
    user.run("mkdir dash")
    user.write(
        "~/dash/app.py",
        "def server(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [environ['PATH_INFO'].encode()]\n",
    )
    place = f"/tmp/{user}-dash"
    start = f"{own}/bin/{line}{place}/s {option} {value} {server}"
    run = f"cd dash && mkdir -m 700 {place} && exec {start}"
    ask = f"curl --silent --unix-socket {place}/s http://localhost/_dash-layout"
    with in_job(user, job, run, "dash.out"):
        user.wait_until(f'[ "$(srun --jobid={job} --overlap {ask})" = /_dash-layout ]')


@pytest.mark.claims(
    "Open what it has printed, the token included; the token is the password.",
    "Without a token it asks nobody.",
)
def test_marimo_lets_in_nobody_without_its_token(triton, user, job, node):
    own = "$WRKDIR/envs/marimo"
    make = f"python3 -m venv {own}; {own}/bin/pip install --quiet marimo"
    user.run(f"module load {FACTS.modules.python}; {make}", timeout=300)
    user.write("~/a.py", "import marimo\napp = marimo.App()\n")
    _, there = neighbour(triton, node)

    def shows_login(url):
        look = "curl --silent --location --cookie '' --output /dev/null"
        last = there(f"{look} --write-out '%{{http_code}} %{{url_effective}}' '{url}'").stdout
        assert last.startswith("200 "), last
        return "/auth/login" in last

    for words, asks in (("run", False), ("run --token", True)):
        start = f"exec {own}/bin/marimo {words} --headless --port {MINE} a.py"
        with in_job(user, job, start, "marimo"):
            user.wait_until("grep -q URL: marimo")
            url = re.search(r"URL: (\S+)", user.run("cat marimo"))[1]
            assert ("access_token=" in url) == asks
            assert shows_login(url.partition("?")[0]) == asks
            assert not shows_login(url)
        gone = f"while ss -lnt | grep -q ':{MINE} '; do sleep 0.1; done"
        triton.run(node, gone)


@pytest.mark.claims(
    "With the word ``edit`` in place of ``run``, marimo opens one more port for each page, "
    "whatever the token is:"
)
@pytest.mark.parametrize("word, number", [("run", 1), ("edit", 2)])
def test_the_editor_of_marimo_opens_another_port(user, job, word, number):
    """It takes the first who comes there for its own kernel, and there is no password. What the
    page starts opens no port but the one that asks for the token.
    """
    own = "$WRKDIR/envs/marimo"
    make = f"[ -e {own}/bin/marimo ] || (python3 -m venv {own}; {own}/bin/pip install -q marimo)"
    user.run(f"module load {FACTS.modules.python}; {make}", timeout=300)
    given(user.triton, user, "login", "hello.py")
    user.write("~/ports_of.py", (ROOT / "tests/data/commands/ports_of.py").read_text())
    [line] = re.findall(r"bin/(marimo run --headless.*)", pages.filled(f"{FOLDER}/editors.rst"))
    start = f"exec {own}/bin/{line.replace('run', word, 1)}"
    with (
        in_job(user, job, f"exec python3 ports_of.py {user}", "ports"),
        in_job(user, job, start, "marimo"),
    ):
        user.wait_until("grep -q URL: marimo")
        address = re.search(r"URL: http(\S+)", user.run("cat marimo"))[1]
        page = address.replace("?", "/ws?session_id=s_a&file=hello.py&")
        opens = f"connect('ws{page}', origin='http{address.partition('?')[0]}')"
        script = "from websockets.sync.client import connect\n"
        script += f"with {opens} as opened: opened.recv()"
        run = f"srun --jobid={job} --overlap {own}/bin/python -c"
        user.run(f"{run} {shlex.quote(script)}")
        assert len(user.run("cat ports").split()) == number


@pytest.mark.claims(
    "With ``--exclusive=user`` a job waits for a node on which nobody else has one."
)
def test_an_exclusive_job_has_no_strangers_beside_it(triton, user, node):
    there = f"-w {node} --mem=100M --time=5 --output=/dev/null --wrap='sleep infinity'"
    mine = user.run(f"sbatch --parsable --exclusive=user {there}").strip()
    user.wait_until(f'[ "$(squeue --noheader --jobs={mine} --format=%T)" = RUNNING ]')
    stranger = triton.account()
    theirs = stranger.run(f"sbatch --parsable {there}").strip()
    try:
        time.sleep(10)
        state = stranger.run(f"squeue --noheader --jobs={theirs} --format='%T %r'")
        assert state.split() == ["PENDING", "Resources"]
    finally:
        stranger.run(f"scancel {theirs}")
        user.run(f"scancel {mine}")


@pytest.mark.claims("This hub does not have it.", "No. The hub does not have jupyter-server-proxy,")
@pytest.mark.proves("faq-server-proxy")
def test_the_hub_has_no_server_proxy(triton, user, entry):
    """The hub starts its servers from this environment."""
    find = "from importlib.util import find_spec; print(find_spec('jupyter_server_proxy'))"
    assert user.run([f"{CENTRAL}/python", "-c", find]).strip() == "None"
    with Server(triton, user, "--mem=1G --time=5") as server:
        header = f"--header 'Authorization: token {server.token}'"
        look = f"curl --silent --location {header} {server.url}/proxy/{MINE}/"
        assert "404 : Not Found" in user.run(look) and not entry.messages
    assert "editors-app" in entry.do and "editors-others" in entry.do


@pytest.mark.claims(
    "Several users share a node here, and a port belongs to whoever takes it first. Is that "
    "somebody else, their page opens at the address of your server,",
    "Do not install jupyter-server-proxy, or a package that needs it, into an environment that you "
    "give ``--env``: it opens that door.",
    "Elsewhere a package, jupyter-server-proxy, shows what listens at a port of the node, "
    "at an address that ends with the word ``proxy`` and the port.",
    "and may do there all that you may: read your files, start a terminal. It does not take"
    " a mistake of yours: a link is enough, if you click it.",
    "Forward after it has started, and never a port that it has not printed: behind another"
    " port may sit another user, who then gets your token.",
)
def test_a_server_proxy_shows_a_strangers_page_as_yours(triton, user, job, node):
    """Nothing in the answer keeps a script of that page from what the server's own pages may do."""
    own = f"{FACTS.paths.home}/{user}/own"
    install = f"{CENTRAL}/pip install --quiet --no-deps --target {own}"
    user.run(f"{install} jupyter-server-proxy simpervisor")
    before = f"export PYTHONPATH={own} JUPYTER_CONFIG_PATH={own}/etc/jupyter"
    stranger = triton.account()
    stranger.run("mkdir app; echo '<script>stranger()</script>' > app/page.html")
    stranger.write("~/app/serve.py", SERVE)
    run = f"cd app && exec python3 serve.py $(mktemp -d)/socket {TAKEN}"
    taken = f"sbatch --parsable -w {node} --mem=100M --time=9 --output=log --wrap '{run}'"
    number = stranger.run(taken).strip()
    with Server(triton, user, f"-w {node} --mem=1G --time=9", before=before) as server:
        header = f"--header 'Authorization: token {server.token}'"
        page = f"curl --silent --include {header} {server.url}/proxy/{TAKEN}/page.html"
        user.wait_until(f"{page} | grep -q stranger")
        forwarded = f"srun --jobid={job} --overlap curl --silent http://localhost:{TAKEN}/page.html"
        assert "stranger" in user.run(forwarded)
        answer = user.run(page)
        assert "text/html" in answer and "sandbox" not in answer
    stranger.run(f"scancel {number}")

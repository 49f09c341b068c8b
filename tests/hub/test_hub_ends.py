"""JupyterHub tells the user how and why a server ended, and nothing else ends a server. The tests
use a reader's browser.
"""

import re
import time
from urllib.parse import urlsplit

import pytest

from tools.browser import needs_chromium
from tools.cluster import cluster, hub
from tools.cluster.hub import LOGS, PROFILES, TINY, HubServer, Lab, Visit
from tools.cluster.jupyter_server import PATIENCE

FACTS = hub.FACTS
HANGS = "import time; time.sleep(1000)"
pytestmark = [needs_chromium, pytest.mark.usefixtures("services")]


def type_into_terminal(window, command):
    """Open a terminal in JupyterLab and type the command; return the terminal's name."""
    window.lab.menu("File", "New", "Terminal")
    window.page.locator(".jp-Terminal .xterm-screen").click()
    window.page.keyboard.type(command + "\n")
    window.page.wait_for_timeout(500)
    return window.ask("GET", "/api/terminals").json()[0]["name"]


def open_notebook_and_terminal(window, command, code=None):
    """Make a notebook, run a cell if there is `code`, and type a command into a terminal; return
    the ids of the kernels and the name of the terminal.
    """
    window.arrive()
    window.lab.go_into("home")
    window.lab.new_notebook("Python 3")
    if code:
        window.lab.write(code)
        window.lab.run_cell()
    kernels = {kernel["id"] for kernel in window.ask("GET", "/api/kernels").json()}
    return kernels | {type_into_terminal(window, command)}


@pytest.fixture(scope="module", autouse=True)
def begun(triton, chromium):
    """Windows whose servers need minutes while the other tests run.

    One server does not answer, and one has a short time limit. Four have a profile that stops what
    is unused: nobody uses the first; a page shows one notebook and a terminal of the second, but
    not its other notebook; the page of the third is in a hidden tab; the fourth computes while its
    owner is away.
    """
    names = ("hanging", "short", "unused", "used", "unseen", "away")
    windows = {name: Visit(triton, triton.account(), chromium) for name in names}
    hanging, _, unused, used, unseen, away = windows.values()
    # It is hidden behind other tabs.
    hide = "Object.defineProperty(document, 'hidden', {get: () => true})"
    unseen.context.add_init_script(hide)
    triton.run(
        "login", f"mkdir .jupyter; echo '{HANGS}' > .jupyter/jupyter_server_config.py", hanging.user
    )
    profiles = (TINY, "Two minutes", *["Not for long"] * 4)
    for window, profile in zip(windows.values(), profiles, strict=True):
        window.begin(profile)
    used.shown = open_notebook_and_terminal(used, "echo begun")
    closed = {"name": "closed.ipynb", "path": "home/closed.ipynb", "type": "notebook"}
    used.ask("POST", "/api/sessions", closed | {"kernel": {"name": "python3"}})
    used.ask("POST", "/api/terminals")
    unseen.arrive()
    away.left = open_notebook_and_terminal(away, "sleep 1000", code="import time; time.sleep(1000)")
    unused.arrive()
    for window in (unused, away):
        window.job_then = window.job()
        tab, window.page = window.page, window.context.new_page()
        tab.close()
    away.since = time.monotonic()
    unused.left = time.time()
    yield windows
    for window in windows.values():
        window.user.run("scancel --me")
        window.close()


@pytest.fixture(scope="module", autouse=True)
def kept(triton, services):
    """A user whose server no page shows, and whose profile never stops what is unused."""
    people, user = hub.People(triton), triton.account()
    people.ask(user, "log_in")
    people.ask(user, "start", TINY)
    people.close()
    yield user
    user.run("scancel --me")


@pytest.fixture(scope="module")
def kernel(staying):
    server = HubServer(staying)
    yield server.kernel()
    server.close()


# ---------------------------------------------------------------- failed starts, and ends


@pytest.mark.claims("Jupyter does not start then,")
@pytest.mark.proves("faq-spawn", [2])
def test_a_full_home_is_told_before_a_job_is_submitted(visit, triton, entry):
    window = visit(cluster.FULL_USER)
    before = window.user.run("sacct --noheader")
    window.begin(TINY)
    text = window.waits_for("is full")
    entry.shows(text.replace(window.user, "username"), 2)
    for words in (f"the quota of a home is {FACTS.quota.home_gb} GB", "du -sh", FACTS.paths.work):
        assert words in text
    free, total = re.search(r"is full: ([\d.]+) MB of (\d+) MB are free", text).groups()
    assert float(free) <= 1 < int(total) <= cluster.FULL_HOME_MB
    assert window.user.run("sacct --noheader") == before and not window.job()


@pytest.mark.claims(
    "Most often one of your settings stops it,",
    "The end of the newest log says what Jupyter did:",
)
@pytest.mark.proves("faq-spawn", [1])
def test_a_server_that_ends_early_is_reported_at_once(visit, triton, entry):
    window = visit()
    window.user.run("mkdir .jupyter")
    own = 'raise SystemExit("it is my own")'
    window.user.write("~/.jupyter/jupyter_server_config.py", own)
    # Without accounting, so nothing says how it ended.
    wait = "while kill -0 $accounts 2> /dev/null; do sleep 0.1; done"
    triton.run("ctl", f"accounts=$(cat /run/slurmdbd.pid); kill $accounts; {wait}")
    try:
        window.begin(TINY)
        text = window.waits_for("Spawn failed", 40)
    finally:
        triton.run("ctl", "slurmdbd; until sacct > /dev/null 2>&1; do sleep 0.1; done")
    entry.shows(text, 1)
    assert "it ended with an error; Slurm says FAILED" in text
    log = re.search(rf"{re.escape(LOGS).replace(re.escape('*'), '[0-9]+')}", text)[0]
    assert "it is my own" in window.user.run(f"cat {log}")
    assert not window.job()


@pytest.mark.claims(
    ":menuselection:`File --> Log Out` - your login, in all browsers; server and kernels run on",
    ":guilabel:`Stop My Server` in the Hub Control Panel - everything: the server, its kernels, "
    "the job",
    "log out, go home: the server runs on",
    "Then others can use what it held.",
    "You do this - This ends",
    "Logging out ends your login, and nothing else.",
    "You have logged out, and ``squeue --me`` still has your server.",
)
@pytest.mark.proves("faq-stop")
def test_after_the_log_out_the_server_runs_until_it_is_stopped(visit, triton, entry):
    look = next(text for text in entry.messages if text.startswith("squeue"))
    entry.seen.add(entry.messages.index(look))
    window = visit()
    window.start(TINY)
    job, kernel = window.job(), window.ask("POST", "/api/kernels", {"name": "python3"}).json()["id"]
    Lab(window.page).menu("File", "Log Out")
    until = time.monotonic() + PATIENCE
    # the page may open in a new tab
    while not any("/hub/login" in page.url for page in window.context.pages):
        assert time.monotonic() < until, [page.url for page in window.context.pages]
        window.page.wait_for_timeout(100)
    assert job in window.user.run(look)
    window.log_in()
    window.page.locator(".jp-LauncherCard").first.wait_for()
    assert kernel in [running["id"] for running in window.ask("GET", "/api/kernels").json()]
    window.to_the_control_panel()
    [button] = re.findall(r":guilabel:`(.+?)`", entry.do)
    window.stop_my_server(button)
    window.user.ended(job)
    assert job not in window.user.run(look)
    window.open()
    assert "ended" not in window.said(), "a page complains though the user stopped the server"


def test_a_log_out_ends_the_logins_of_the_servers(visit):
    """A page of another user has replaced the cookie by which JupyterHub finds them."""
    window = visit()
    window.start(TINY)

    def logins():
        answer = window.ask("GET", f"/users/{window.user}/tokens", base="/hub/api").json()
        made = {each["created"]: each["oauth_client"] for each in answer["api_tokens"]}
        return {when for when, client in made.items() if client != "JupyterHub"}

    before = logins()
    assert before
    planted = {"name": "jupyterhub-session-id", "value": "planted", "path": "/", "secure": True}
    window.context.add_cookies([planted | {"domain": f".{FACTS.hosts.hub}"}])
    window.open("/hub/logout")
    window.log_in()
    window.page.locator(".jp-LauncherCard").first.wait_for()
    assert not before & logins()


@pytest.mark.claims(
    "``Server unavailable or unreachable`` when it was the whole server.",
    "The start page then tells the reason, and the profile to choose next time: ``Your last "
    "server (job ...) ended: it took more memory than its profile allows, ...`` The log says so:",
    "and where Slurm ends it.",
)
@pytest.mark.proves("faq-died", [2])
def test_over_the_memory_limit_page_and_log_say_why(visit, triton, entry):
    """The server is killed."""
    window = visit()
    window.user.run("truncate --size=400M big.txt")
    window.start(TINY)
    job = window.job()
    window.ask("GET", "/api/contents/home/big.txt?content=1&type=file&format=text")
    window.user.ended(job)
    entry.shows(Lab(window.page).dialog(about="unavailable"), 2)
    text = window.says_of_the_end()
    why = f"(job {job}) ended: it took more memory than its profile allows, 400 MB, so Slurm killed"
    assert f"{why} it. Choose “{PROFILES[0]}” next time" in text
    for page in (f"/user/{window.user}/lab", "/hub/spawn"):
        window.open(page)
        assert f"(job {job}) ended: it took more memory" in window.said(), page
    [look] = entry.commands()
    assert "kill" in window.user.run(look).lower()
    log = window.user.run(f"cat {LOGS.replace('*', job)}")
    why = f"more memory than its profile Tiny allows, 400 MB. Choose “{PROFILES[0]}” next time"
    assert why in log or "exceeded memory limit" in log, log[-1500:]


@pytest.mark.claims(
    "Your job runs, but Jupyter in it does not answer.",
    "settings in ``~/.jupyter``. Move them aside and try again.",
    "Or ``scancel`` with the number that ``squeue --me`` shows.",
    "On the hub, click the folder symbol at the top, then the link ``scratch``.",
)
@pytest.mark.proves("faq-spawn", [0])
def test_a_server_that_does_not_answer_is_told_and_helped(begun, triton, entry):
    """The page says so after a minute. Without the user's settings the server starts."""
    window = begun["hanging"]
    entry.shows(window.waits_for("Spawn failed", 90))
    ran = window.user.run("sacct --noheader --allocations --format=State,ElapsedRaw").split()
    assert ran[0].rstrip("+") in ("RUNNING", "COMPLETING", "CANCELLED") and int(ran[-1]) >= 50, ran
    look, _ = entry.commands()
    window.user.run(look)
    window.user.run("mv .jupyter jupyter-aside")
    window.open("/hub/spawn")
    window.choose(TINY)
    window.press_start()
    window.arrive()
    window.lab.go_into("home")
    window.page.locator(".jp-BreadCrumbs-home").click()
    window.lab.go_into("scratch")
    job = window.job()
    assert job in window.user.run("squeue --me")
    window.user.run(f"scancel {job}")
    window.user.ended(job)


@pytest.mark.claims(
    "Ten minutes before, JupyterLab warns.",
    "wait - everything, when the time of the profile is up,",
    "Each server writes one, ``{{ logs.pattern }}``, with its messages and Slurm's last words.",
)
@pytest.mark.proves("faq-time", [0])
def test_when_the_time_is_up_jupyterlab_and_the_hub_say_so(begun, triton, entry, record_property):
    window, long = begun["short"], begun["used"]
    window.page.get_by_text("its time is up then. Save your files.").wait_for()
    minutes = re.findall(r"in (\d+) min: its time is up then", long.said())
    assert [6 <= int(number) <= 10 for number in minutes] == [True], (
        f"{minutes}: the warning did not appear once, ten minutes before the end"
    )
    entry.shows(Lab(window.page).dialog(180, about="unavailable"))
    began = time.monotonic()
    assert "the time of its profile, 2 minutes, was up" in window.says_of_the_end()
    record_property(
        "measured",
        f"the time of a server up: {time.monotonic() - began:.0f} s after JupyterLab "
        "noticed, the hub's page says why it ended",
    )
    log = window.user.run(f"cat {LOGS}")
    assert "ServerApp]" in log and "DUE TO TIME LIMIT" in log, log[-1500:]


def kernels_and_terminals(window):
    kernels, terminals = (
        window.ask("GET", f"/api/{kind}").json() for kind in ("kernels", "terminals")
    )
    return {kernel["id"] for kernel in kernels} | {terminal["name"] for terminal in terminals}


@pytest.mark.claims(
    "Close the tab, log out,",
    "the server runs on until its time is up, unless its profile stops what is unused.",
    "A kernel is unused when it computes nothing and no page shows it. It is stopped after the "
    "time in the table, and its variables are lost.",
    "A kernel is used while a page shows it, whether you run a cell or read a plot; a "
    "terminal is used while a page shows it, and while a program runs in it. A server "
    "without any of these is stopped after that time too, unless a browser has it open. The "
    "time begins anew when you close the page.",
    "close the tab, or the browser - nothing at once; later what is unused, after the time in "
    "the table above",
    "or sooner where the table above says so",
    "stop a kernel that computes nothing and that no page shows.",
)
def test_what_is_not_used_is_stopped(begun, kept, triton, record_property):
    """A kernel and a terminal that a page shows, or that compute, go on; those that no page shows
    are stopped. The server checks them each minute.
    """
    window = begun["unused"]
    window.user.ended(window.job_then, seconds=150)
    gone = time.monotonic()
    route = f"/{urlsplit(hub.own(window.user)).netloc}/user/{window.user}"
    while f"Removing route {route}\n" not in hub.log(triton, "proxy"):
        assert time.monotonic() < gone + 15, "the route of a server remains after its job"
        time.sleep(0.5)
    record_property(
        "measured",
        f"a server has ended: {time.monotonic() - gone:.0f} s later the proxy has no "
        "route to its port any more",
    )
    why = "it stopped by itself, as its profile says: stopped after 1 minute"
    assert why in window.says_of_the_end()
    ask = (
        f"for i in $(seq 100); do sacct --noheader --allocations --jobs={window.job_then} "
        "--format=Start,End | grep -v Unknown && break; sleep 0.2; done"
    )
    start, end = (
        time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
        for text in window.user.run(ask).split()
    )
    assert start + 10 < window.left < end - 58, "the time does not begin when the page is closed"
    used, until = begun["used"], time.monotonic() + 70
    while left := kernels_and_terminals(used) - used.shown:
        assert time.monotonic() < until, left
        time.sleep(1)
    away = begun["away"]
    time.sleep(max(0, away.since + 130 - time.monotonic()))
    assert kernels_and_terminals(used) == used.shown
    assert begun["unseen"].job(), "a kernel was stopped though its page is open"
    assert away.job() == away.job_then, "a server was stopped while it computed"
    assert kernels_and_terminals(away) == away.left, "a kernel was stopped while it computed"
    state = kept.run("squeue --me --noheader --format=%T").split()
    assert state == ["RUNNING"], "its profile never stops anything"


@pytest.mark.claims("JupyterLab warns of a kernel that no page shows before it is stopped.")
def test_a_kernel_that_no_page_shows_is_warned_of(begun):
    """JupyterLab warns before the kernel is stopped, and not if a page shows the kernel."""
    text = begun["used"].waits_for("its variables are gone", 60)
    warned = re.findall(r"No page shows (\S+): its kernel is stopped in 1 min", text)
    assert warned == ["closed.ipynb"], text


# This program runs in a kernel of another user. It takes the port, and writes down what it receives
# from those who accept its certificate.
TAKES = """
import os, socket, ssl, threading
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(os.environ["JUPYTERHUB_SSL_CERTFILE"], os.environ["JUPYTERHUB_SSL_KEYFILE"])
listener, came, got = socket.create_server(("", {port})), [], []
def take():
    while True:
        connection, _ = listener.accept()
        came.append(1)
        try:
            with tls.wrap_socket(connection, server_side=True) as wrapped:
                if sent := wrapped.recv(100):
                    got.append(sent.split(b" ")[1])
                    wrapped.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
        except OSError:
            pass
threading.Thread(target=take, daemon=True).start()
"""


@pytest.mark.claims(
    "Other people's jobs run beside yours.",
    "Who takes the port of a server that has gone, on the same node and with a valid certificate "
    "of their own, gets nothing.",
)
def test_who_takes_the_port_of_a_server_gets_nothing(staying, kernel, visit, triton):
    """A server has ended, but the proxy still has its route. A process of another user listens at
    the port, with a certificate of its own.
    """
    node = kernel.prints("import os; print(os.environ['SLURMD_NODENAME'])")
    others = ",".join(other for other in triton.nodes if other != node)
    triton.run("ctl", f"scontrol update nodename={others} state=drain reason=test")
    try:
        window = visit()
        window.start(TINY)
    finally:
        triton.run("ctl", f"scontrol update nodename={others} state=resume")
    route = rf"Route added /\S*/user/{window.user} -> https://([\w.]+):(\d+)"
    host, port = re.findall(route, hub.log(triton, "proxy"))[-1]
    assert host.split(".")[0] == node
    page = window.page_of(hub.own(window.user))
    triton.run("hub", "hub-services stop hub")  # without a hub, the route stays
    try:
        job = window.job()
        window.user.run(f"scancel --full --signal=KILL {job}; scancel {job}")
        window.user.ended(job)
        kernel.prints(TAKES.format(port=port))
        secret = ["GET", f"/user/{window.user}/api/contents?secret", "", None]
        assert page.evaluate(hub.FETCH, secret)["status"] == 503
        origin = hub.own(window.user).replace("https", "wss")
        events = f"{origin}/user/{window.user}/api/events/subscribe"
        opens = "address => new Promise(done => {new WebSocket(address).onclose = done})"
        page.evaluate(opens, events)
        assert int(kernel.prints("print(len(came))")) >= 2, "the proxy did not connect twice"
        triton.run("login", f"curl --silent --insecure https://{host}:{port}/anybody", check=False)
        # A client that checks no certificate is deceived.
        assert kernel.prints("print(got)") == "[b'/anybody']"
    finally:
        hub.restart(triton)
    removed = f"grep -q 'Removing route /[^ ]*/user/{window.user}$' /var/log/jupyterhub-proxy.log"
    triton.run("hub", f"until {removed}; do sleep 0.2; done", timeout=60)


# ---------------------------------------------------------------- restarts: last, since a restart
# would disturb the other tests


@pytest.mark.claims("servers survive a restart of the service.")
@pytest.mark.parametrize(("verb", "service"), [("stop", "hub"), ("kill", "hub"), ("stop", "proxy")])
def test_a_restart_leaves_servers_and_the_variables_of_kernels(
    staying, kernel, triton, verb, service, record_property
):
    job, value = staying.job(), f"{verb} {service}"
    kernel.prints(f"kept = {value!r}")
    number = f"cat /run/jupyterhub-{service}.pid"
    before = triton.run("hub", number).stdout
    began = time.monotonic()
    debug = "HUB_OPTIONS=--debug " * (service == "hub")
    triton.run("hub", f"hub-services {verb} {service}; {debug}hub-services start {service}")
    hub.answers(triton)
    now = triton.run("hub", f"{number}; kill -0 $({number})").stdout
    assert now != before, "it is the old one"
    until = time.monotonic() + 20
    # The hub's page for a server without a route has the status 200 too.
    while '"started"' not in staying.ask("GET", "/api/status").text:
        assert time.monotonic() < until, "the hub does not find the server again"
        time.sleep(0.2)
    record_property(
        "measured",
        f"the {service} {'killed (-9)' if verb == 'kill' else 'stopped'} and started: its "
        f"server answers again after {time.monotonic() - began:.0f} s",
    )
    assert kernel.prints("print(kept)") == value
    assert staying.job() == job
    asked = staying.ask("GET", f"/users/{staying.user}", base="/hub/api")
    assert asked.status == 200, "the user has to log in again"
    staying.open(f"/user/{staying.user}/lab?reset")
    staying.page.locator(".jp-LauncherCard").first.wait_for()

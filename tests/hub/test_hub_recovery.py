"""The hub's logs stay short, strangers cannot use up the time or memory of the hub or of a server,
and the hub recovers from a broken database and a full disk while servers run on.
"""

import contextlib
import json
import re
import shlex
import subprocess
import time
from urllib.parse import urlencode

import pytest

from tools.browser import needs_chromium
from tools.cluster import cluster, hub
from tools.cluster.hub import FACTS, HUB, LOGS, PROFILES, TINY, HubServer
from tools.cluster.hub_faults import alive, is_ready, within
from tools.cluster.jupyter_server import PATIENCE
from tools.files import ROOT

pytestmark = [needs_chromium, pytest.mark.usefixtures("services")]
STATE, DATABASE = "/var/lib/jupyterhub", "/var/lib/jupyterhub/jupyterhub.sqlite"
README = (cluster.ROOT / "triton/jupyterhub/README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def kernel(staying):
    server = HubServer(staying)
    yield server.kernel()
    server.close()


def size(triton, host, path, user=None):
    return int(triton.run(host, f"stat --format=%s {path}", user).stdout)


@pytest.mark.claims("No stranger fills a log, with long addresses")
def test_no_stranger_fills_a_log(staying, triton):
    """Without a login, the test requests long addresses: from the server, from the hub, and from a
    server that does not exist. Some of them the proxy cannot parse.
    """
    log = LOGS.replace("*", staying.job())
    places = {f"/var/log/jupyterhub-{name}.log": ("hub", None) for name in ("hub", "proxy")} | {
        log: ("login", staying.user)
    }
    before = {path: size(triton, host, path, user) for path, (host, user) in places.items()}
    for base in (
        hub.own(staying.user) + f"/user/{staying.user}/api/status",
        f"{hub.HUB}/hub/api/users",
        f"{hub.HUB}/user/{staying.user}/",
    ):
        triton.run(
            "laptop",
            "path=$(head -c 15000 /dev/zero | tr '\\0' x); curl --silent --output "
            f'/dev/null "{base}?[1-40]$path"',
        )
    for upgrade in ("", "--header 'Connection: Upgrade' --header 'Upgrade: websocket'"):
        triton.run(
            "laptop",
            "path=$(head -c 15000 /dev/zero | tr '\\0' x); curl --silent --parallel "
            f"--parallel-immediate --max-time 5 --output /dev/null {upgrade} "
            f'"{hub.HUB}/%ff[1-20]$path"',
            check=False,
        )
    for path, (host, user) in places.items():
        assert size(triton, host, path, user) - before[path] < 40 * 4 * 2500, path
    assert "characters)" in staying.user.run(f"cat {log}"), "the message is not cut"


@pytest.mark.claims("and no log grows without end.")
def test_the_log_of_a_server_keeps_its_newer_half(staying, kernel, triton):
    """The log has up to 4 MB of the output of the server and its kernels. Older output is removed
    in place.
    """
    log = LOGS.replace("*", staying.job())
    kernel.prints(
        "import os; log = open(f'/proc/{os.getppid()}/fd/2', 'ab'); log.write(b'printed "
        "again and again\\n' * 500_000 + b'the last\\n'); log.close(); print(1)"
    )
    until = time.monotonic() + 20
    while size(triton, "login", log, staying.user) > 4_100_000:
        assert time.monotonic() < until
        time.sleep(0.5)
    output = staying.user.run(f"head -n 1 {log}; grep -x 'the last' {log}")
    assert "what came before was too much to keep" in output and "the last" in output
    assert kernel.prints("print(6 * 7)") == "42"


def test_the_logs_of_both_services_are_rotated(triton):
    """The rotation uses the file of install, and the services continue in new files."""
    logs = [f"/var/log/jupyterhub-{name}.log" for name in ("hub", "proxy")]
    triton.run(
        "hub",
        f"for log in {' '.join(logs)}; do echo before the rotation >> $log; done; "
        "logrotate --force --state /root/rotated /etc/logrotate.d/jupyterhub",
    )
    triton.run("laptop", f"curl --silent --output /dev/null {hub.HUB}/hub/login?after")
    for log in logs:
        assert (
            "before the rotation" in triton.run("hub", f"zcat {log}.1.gz").stdout
            and "before the rotation" not in triton.run("hub", f"cat {log}").stdout
        )
    assert "/hub/login?after" in hub.log(triton) and "\0" not in hub.log(triton)


@pytest.mark.claims("The proxy and what reads its output end together.")
@pytest.mark.parametrize("killed", ["start-proxy", "configurable-http-proxy"])
def test_the_proxy_and_what_reads_its_output_end_together(triton, killed):
    """Without a reader of its log, the proxy would use all CPU time to report that. A service
    manager restarts both.
    """
    look = "pgrep --uid jupyterhub --full '[/]{}'"
    triton.run("hub", f"kill -KILL $({look.format(killed)})")
    try:
        triton.run(
            "hub",
            f"for i in $(seq 50); do {look.format('(start-|configurable-http-)proxy')} || "
            "exit 0; sleep 0.1; done; exit 1",
        )
    finally:
        triton.run(
            "hub",
            f"kill -KILL $({look.format('(start-|configurable-http-)proxy')}); "
            "hub-services start proxy",
            check=False,
        )
        hub.answers(triton)


# ---------------------------------------------------------------- requests of strangers

STRANGER = (ROOT / "tests/data/hub/stranger.py").read_text(encoding="utf-8")


def stranger(triton, address, many, says, sends, seconds=3):
    """The longest time, in seconds, that another user waited for the login page."""
    triton.write("laptop", "/tmp/stranger.py", STRANGER)
    numbers = f"{many} {says} {sends} {seconds}"
    command = f"/usr/bin/python3 /tmp/stranger.py {hub.HUB} {address} {numbers}"
    return float(triton.run("laptop", command, timeout=300).stdout)


def memory(triton, host, pid):
    """The peak memory of the process since the last call, in bytes."""
    output = triton.run(
        host, f"grep VmHWM /proc/{pid}/status; echo 5 > /proc/{pid}/clear_refs"
    ).stdout
    return int(output.split()[1]) * 1024


@pytest.mark.parametrize(("many", "size", "sent"), [(1, 65, 65), (4, 90, 89)])
def test_a_stranger_who_sends_much_holds_up_nobody(triton, many, size, sent):
    """The request has no login, and arrives completely or only half. The hub spends neither time
    nor memory on it.
    """
    pid = triton.run("hub", "cat /run/jupyterhub-hub.pid").stdout.strip()
    before = memory(triton, "hub", pid)
    name = "api/users/nobody/tokens" if size == sent else "login"
    wait = stranger(triton, f"{hub.HUB}/hub/{name}", many, size * 10**6, sent * 10**6)
    assert wait < 3 and memory(triton, "hub", pid) - before < 20 * 2**20


def test_a_thousand_connections_of_a_stranger_shut_nobody_out(triton):
    """Half a request comes through each connection to the proxy, and nothing through each
    connection from a node to the hub. systemd's limit would be 1024 open files.
    """
    before = len(hub.log(triton))
    node = triton.start(
        triton.nodes[0],
        [
            "/usr/bin/python3",
            "-c",
            "import resource, socket, time; own = resource.RLIMIT_NOFILE; "
            "resource.setrlimit(own, resource.getrlimit(own)[1:] * 2); lines = "
            f"[socket.create_connection(({FACTS.hosts.inside!r}, 8081)) "
            "for _ in range(1100)]; print(len(lines), flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert node.stdout.readline() == "1100\n"
        assert stranger(triton, f"{hub.HUB}/hub/login", 1300, 100, 50, seconds=5) < 20
        assert len(hub.log(triton)) - before < 2_000_000
    finally:
        node.kill()
        node.wait()
        node.stdout.close()


def test_requests_that_await_no_answer_hold_up_nobody(triton):
    """Whoever sends many at once on one connection gets no answers: the proxy would open a
    connection to the hub for each, all at the same time. Whoever waits keeps the connection.
    """
    lines = f"GET /hub/login HTTP/1.1\\r\\nHost: {FACTS.hosts.hub}\\r\\n\\r\\n"
    ask = f"(printf '{lines}%.0s' $(seq 300); sleep 5)"
    connect = f"openssl s_client -quiet -connect {FACTS.hosts.hub}:443 2>/dev/null"
    count = "grep --only-matching --text 'HTTP/1.1 200' | wc --lines"
    assert int(triton.run("laptop", f"{ask} | {connect} | {count}").stdout) < 2
    again = (
        f"--write-out ' %{{http_code}}/%{{num_connects}}' --output /dev/null {hub.HUB}/hub/login"
    )
    curl = f"curl --silent --http1.1 {again} {again}"
    assert triton.run("laptop", curl).stdout.split() == ["200/1", "200/0"]


@pytest.fixture
def token(staying):
    server = HubServer(staying)
    yield server.token
    server.close()


def test_who_reads_slowly_fills_no_memory_of_the_proxy(staying, triton, token):
    """A user asks for a big file as if it were a WebSocket, and reads little of the answer."""
    pid = triton.run("hub", HTTP_PROXY).stdout.strip()
    staying.user.run("truncate --size=1G ~/big; seq 1000000 > ~/numbers")
    curl = (
        f"curl --silent --http1.1 --header 'Authorization: token {token}' --header 'Connection: "
        f"Upgrade' --header 'Upgrade: websocket' {hub.own(staying.user)}/user/{staying.user}/files"
    )
    before = memory(triton, "hub", pid)
    slowly = "--limit-rate 10k --max-time 10 --output /dev/null"
    assert triton.run("laptop", f"{curl}/home/big {slowly}", check=False).returncode == 28
    assert memory(triton, "hub", pid) - before < 50 * 2**20
    numbers = triton.run("laptop", f"{curl}/home/numbers | cksum").stdout
    assert numbers == staying.user.run("cksum < ~/numbers; rm ~/big ~/numbers")


PIECES = (ROOT / "tests/data/hub/pieces.py").read_text(encoding="utf-8")
ENDLESS = (ROOT / "tests/data/hub/endless.py").read_text(encoding="utf-8")
LOOKS_ONLY = (hub.HUB, 0, 0, 0)  # for `stranger`: who sends is another program
HTTP_PROXY = "pgrep --full '[/]configurable-http-proxy .*--port=443'"


@contextlib.contextmanager
def runs(triton, host, command, user=None):
    """Run `command` on a host as long as the `with` takes."""
    process = triton.start(host, command, user)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def worked(triton):
    """The seconds for which the hub has worked."""
    used = "cut --delimiter=' ' --fields=14,15 /proc/$(cat /run/jupyterhub-hub.pid)/stat"
    return sum(map(int, triton.run("hub", used).stdout.split())) / 100


@pytest.mark.claims("Nor does one whose data comes in very many tiny pieces.")
@pytest.mark.parametrize("kind", ["chunks", "records"])
def test_tiny_pieces_hold_up_nobody(staying, triton, kind):
    """A stranger sends them through the proxy to the server of somebody. The proxy makes large ones
    of them, and reads from nobody else less often.
    """
    pid = triton.run("hub", HTTP_PROXY).stdout.strip()
    triton.write("laptop", "/tmp/pieces.py", PIECES)
    before = memory(triton, "hub", pid)
    name = hub.own(staying.user).removeprefix("https://")
    sends = f"/usr/bin/python3 /tmp/pieces.py {name} 443 /user/{staying.user}/login 40 12 {kind}"
    with runs(triton, "laptop", sends):
        assert stranger(triton, *LOOKS_ONLY, seconds=12) < 8
    assert memory(triton, "hub", pid) - before < 400 * 2**20


def test_tiny_records_from_a_node_take_the_hub_no_time(staying, kernel, triton):
    """A user has the certificate of the own server, and can ask the hub without the proxy."""
    folder = kernel.prints("import os; print(os.environ['JUPYTERHUB_SSL_KEYFILE'])")
    node = triton.run("login", f"squeue --noheader --jobs={staying.job()} --format=%N").stdout
    triton.write(node.strip(), "/tmp/pieces.py", PIECES)
    sends = f"/usr/bin/python3 /tmp/pieces.py {FACTS.hosts.inside} 8081 /hub/login 40 10 records"
    sends += f" {folder.rpartition('/')[0]}"
    before = worked(triton)
    with runs(triton, node.strip(), sends, staying.user):
        assert stranger(triton, *LOOKS_ONLY, seconds=8) < 5
    assert worked(triton) - before < 7


@pytest.mark.claims("Nor does the server of a user that answers without end.")
def test_a_server_that_answers_without_end_holds_up_nobody(triton, people):
    """First it answers the hub so, which looks whether it has started, and then its owner."""
    user = triton.account()
    triton.run("login", "mkdir ~/.jupyter", user)
    user.write("~/.jupyter/jupyter_server_config.py", ENDLESS)
    people.ask(user, "log_in")
    servers = ("", "one", "two", "three")
    for name in servers:
        people.ask(user, "start", TINY, name)
    try:
        asked = "ls asked-* | wc --lines"
        assert within(PATIENCE, lambda: int(user.tries(asked).stdout) == len(servers))
        before = worked(triton)
        assert stranger(triton, *LOOKS_ONLY, seconds=8) < 5
        assert worked(triton) - before < 4
        user.run("touch ~/good")
        assert within(PATIENCE, lambda: is_ready(people, user))
        token = people.ask(user, "token")["token"]
        curl = (
            f"seq 40 | xargs --max-procs=40 --replace nice curl --silent --max-time 12 --output "
            f"/dev/null --header 'Authorization: token {token}' "
            f"{hub.own(user)}/user/{user}/endless"
        )
        with runs(triton, "laptop", curl):
            assert stranger(triton, *LOOKS_ONLY, seconds=10) < 8
    finally:
        user.run("scancel --me")


def test_a_name_of_thousands_of_folders_takes_the_hub_no_time(triton):
    """Tornado would look for a link at each of them, and the hub would do nothing else."""
    before = worked(triton)
    name = "$(printf 'a/%.0s' $(seq 28000))"
    look = "curl --silent --output /dev/null --write-out '%{http_code} '"
    asked = triton.run("laptop", f'{look} "{hub.HUB}/hub/static/{name}?[1-10]"').stdout
    assert asked.split() == ["404"] * 10
    assert worked(triton) - before < 1


# This program loads the hub's configuration. Its loggers repeat one message many times, with and
# without a traceback, and then log another message.
AGAIN = """
import logging
from jupyterhub.app import JupyterHub
hub = JupyterHub.instance()
hub.load_config_file("/etc/jupyterhub/jupyterhub_config.py")
hub.init_logging()
for _ in range(10_000):
    for name in ("JupyterHub", "JupyterHub.jobs", "tornado.access", "asyncio", "any"):
        logging.getLogger(name).warning("%s, again %s", name, "x" * 1000)
    try:
        open("/none")
    except OSError:
        logging.getLogger("tornado.application").exception("an error, again")
logging.getLogger("JupyterHub").warning("said once")
"""


def test_lines_of_the_same_kind_are_bounded_in_the_log(triton):
    """A repeated message of any logger of the hub hides no other message, and the output of the
    proxy is limited.
    """
    output = triton.run(
        "hub", ["env", "-C", "/", "/opt/jupyterhub/bin/python", "-B", "-c", AGAIN]
    ).stderr
    for words in ("any, again", "an error, again", "FileNotFoundError"):
        assert words in output, output[:1000]
    assert len(output) < 1_000_000
    assert re.search(r"said once \(\d+ lines before this one were too many to keep\)$", output), (
        output[-1000:]
    )
    lines = "yes 'what a stranger makes the proxy print' | head -c 20000000"
    copy = (
        "import sys; sys.path.insert(0, '/etc/jupyterhub'); import log_lines; log_lines.copy(0, 1)"
    )
    python = f'/opt/jupyterhub/bin/python -B -c "{copy}"'
    printed = triton.run("hub", f"{lines} | {python}").stdout
    assert "a stranger" in printed and len(printed) < 1_000_000, printed[:1000]


def test_no_word_of_a_user_steers_a_terminal_from_the_log(triton, people):
    """The hub logs the name of the server that somebody asks for."""
    user = triton.account()
    people.ask(user, "log_in")
    with pytest.raises(hub.Refused):
        people.ask(user, "stop", "a%1b[2Jb%c2%9bc")
    log = hub.log(triton)
    assert r"a\x1b[2Jb\x9bc" in log and not re.search(r"[\x1b\x9b]", log)


def test_a_stranger_does_not_fill_the_memory_of_a_server(staying, kernel, triton):
    """A server is a job with limited memory. Of requests without a login it reads little, and few
    at a time.
    """
    job, pid = staying.job(), kernel.prints("import os; print(os.getppid())")
    node = triton.run("login", f"squeue --noheader --jobs={job} --format=%N").stdout.strip()
    before = memory(triton, node, pid)
    for many, size, sent in (
        (1, 480_000_000, 420_000_000),
        (20, 480_000_000, 20_000_000),
        (20, 9_000_000, 8_000_000),
        (1500, 16_000, 15_000),
    ):
        stranger(triton, f"{hub.own(staying.user)}/user/{staying.user}/login", many, size, sent)
    assert staying.job() == job and memory(triton, node, pid) - before < 30 * 2**20
    assert kernel.prints("print(6 * 7)") == "42"


# Two requests without a login, each with a long word that no other request has: in its address,
# and as a token. Arguments: the number of such pairs, and the address of a server.
LONG_WORDS = """
word=$(head -c 55000 /dev/zero | tr '\\0' x)
echo "url = $2/api"
for number in $(seq $1); do
    printf 'next\nurl = "%s/lab?%s"\n' "$2" "$number$word"
    printf 'next\nurl = "%s/api/contents"\n' "$2"
    printf 'header = "Authorization: token %s"\n' "$number$word"
done
"""


def test_what_a_server_remembers_of_strangers_is_bounded(staying, kernel, triton):
    """It remembers where a login began, and of each token whether the hub knows it."""
    job, pid = staying.job(), kernel.prints("import os; print(os.getppid())")
    node = triton.run("login", f"squeue --noheader --jobs={job} --format=%N").stdout.strip()
    base = f"{hub.own(staying.user)}/user/{staying.user}"
    before = memory(triton, node, pid)
    triton.write("laptop", "/tmp/long_words.sh", LONG_WORDS)
    many = f"bash /tmp/long_words.sh 300 {base} | curl --silent --config -"
    answers = triton.run("laptop", f"{many} 2>&1 | wc --bytes", timeout=600).stdout
    assert int(answers) > 1000, "the server has not answered"
    assert memory(triton, node, pid) - before < 20 * 2**20
    assert staying.job() == job and kernel.prints("print(6 * 7)") == "42"


UPLOAD = (ROOT / "tests/data/hub/upload.py").read_text(encoding="utf-8")


def test_the_owner_uploads_a_big_file(visit, triton):
    """The owner uploads a hundred megabytes in one request: from a browser with the login cookie,
    and with a token. A page of another user would have only the cookie.
    """
    window = visit()
    window.start(PROFILES[0])
    base = f"{hub.own(window.user)}/user/{window.user}"
    cookies = {cookie["name"]: cookie["value"] for cookie in window.context.cookies(f"{base}/")}
    [xsrf] = [value for name, value in cookies.items() if name.endswith("_xsrf")]
    server = HubServer(window)
    cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    token = {"Authorization": f"token {server.token}"}
    headers = {"cookie": cookie | {"X-XSRFToken": xsrf}, "token": token, "page": cookie}
    triton.write("laptop", "/tmp/upload.py", UPLOAD)
    upload = f"/usr/bin/python3 /tmp/upload.py {base}"
    statuses = triton.run("laptop", upload, input=json.dumps(headers)).stdout.split()
    assert statuses == ["201", "201", "closed"]
    sizes = window.user.run("stat --format=%s cookie token; rm cookie token").split()
    assert sizes == ["100000000"] * 2
    window.user.run("scancel --me")


def test_a_long_note_of_a_token_is_cut(visit, triton):
    window = visit()
    window.log_in()
    window.waits_for("Choose the least memory")
    path = f"/users/{window.user}/tokens"
    assert window.ask("POST", path, {"note": "x" * 3000}, base="/hub/api").status == 201
    scopes = [f"access:servers!server={window.user}/{number}" for number in range(200)]
    for asks in ({"note": "x" * 1_000_000}, {"scopes": scopes}):
        assert window.ask("POST", path, asks, base="/hub/api").status in (0, 400, 503)
    tokens = window.ask("GET", path, base="/hub/api").json()["api_tokens"]
    assert max(len(token["note"]) for token in tokens) <= 1000


MANY_TOKENS = """
import sqlite3, sys
with sqlite3.connect("/var/lib/jupyterhub/jupyterhub.sqlite", timeout=30) as database:
    [user] = database.execute("select id from users where name = ?", sys.argv[1:]).fetchone()
    database.executemany(
        "insert into api_tokens (user_id, hashed, prefix, client_id, scopes, created)"
        " values (?, ?, 'none', 'jupyterhub', '[]', '2026-01-01 00:00:00.000000')",
        [(user, f"{user}-{number}") for number in range(99)],
    )
"""


def test_a_user_has_few_tokens(visit, triton):
    """The hub lists all of them, or removes all that have expired, and does nothing else."""
    window = visit()
    window.log_in()
    window.waits_for("Choose the least memory")
    path = f"/users/{window.user}/tokens"
    assert window.ask("POST", path, base="/hub/api").status == 201
    hub.as_hub(triton, shlex.join(["/opt/jupyterhub/bin/python", "-c", MANY_TOKENS, window.user]))
    answer = window.ask("POST", path, {"note": "one more"}, base="/hub/api")
    assert answer.status == 403 and "Revoke some" in answer.text
    choice = {"profile": PROFILES[0]}
    answer = window.ask("POST", f"/users/{window.user}/server", choice, base="/hub/api")
    assert answer.status == 403 and "Revoke some" in answer.text
    tokens = window.ask("GET", path, base="/hub/api").json()["api_tokens"]
    assert len(tokens) == 100 and "one more" not in {token["note"] for token in tokens}
    window.ask("DELETE", f"{path}/{tokens[-1]['id']}", base="/hub/api")
    assert window.ask("POST", path, base="/hub/api").status == 201


# JavaScript of a page of the hub that begins many logins at an address, and ends none.
MANY_LOGINS = """async ([address, number]) => {
  for (let each = 0; each < number; each++) await fetch(address, { redirect: "manual" });
}"""
UNUSED = """
import sqlite3
with sqlite3.connect("/var/lib/jupyterhub/jupyterhub.sqlite", timeout=30) as database:
    print(*database.execute("select count(*), count(distinct user_id) from oauth_codes").fetchone())
"""


def test_a_user_has_few_codes_of_logins(staying, triton):
    """The hub removes those that are unused for long one by one, and does nothing else."""
    own = f"{hub.own(staying.user)}/user/{staying.user}/oauth_callback"
    client = {"client_id": f"jupyterhub-user-{staying.user}", "redirect_uri": own}
    asks = f"/hub/api/oauth2/authorize?{urlencode(client | {'response_type': 'code'})}"
    page = staying.page_of(hub.HUB)
    page.evaluate(MANY_LOGINS, [asks, 150])
    page.close()
    count = ["/opt/jupyterhub/bin/python", "-c", UNUSED]
    codes, users = map(int, hub.as_hub(triton, shlex.join(count)).stdout.split())
    assert 50 < codes <= 100 * users
    assert staying.ask("GET", "/api/status").status == 200
    token = HubServer(staying)
    token.close()


@pytest.mark.parametrize("number, status", [(3, 0), (2000, 400)])
def test_an_address_with_many_scopes_is_forgotten(staying, number, status):
    """Otherwise the hub would look up each scope in its database, and do nothing else. With few
    scopes the login goes on to the user's server, which has another origin.
    """
    scopes = " ".join(f"users!group={each:x}" for each in range(number))
    own = f"{hub.own(staying.user)}/user/{staying.user}/oauth_callback"
    client = {"client_id": f"jupyterhub-user-{staying.user}", "redirect_uri": own}
    asks = urlencode(client | {"response_type": "code", "state": "x", "scope": scopes})
    answer = staying.ask("GET", f"/oauth2/authorize?{asks}", base="/hub/api")
    assert answer.status == status, answer


def test_cookies_of_another_page_of_the_domain_harm_nobody(staying, triton):
    """They do not lock anybody out.

    The test sets a dozen of the longest cookies for all names below the hub's.
    """
    cookies = "; ".join(f"bomb{number}={'x' * 3800}" for number in range(12))
    for address in (f"{hub.HUB}/hub/login", f"{hub.own(staying.user)}/user/{staying.user}/api"):
        look = "curl --silent --output /dev/null --write-out '%{http_code}'"
        asks = f"{look} --header 'Cookie: {cookies}' {address}"
        assert triton.run("laptop", asks).stdout == "200", address


def test_a_secret_in_a_nested_address_is_in_no_log(triton):
    """An address may be part of another address. The last request is an error, so the hub logs its
    headers.
    """
    for address in (
        "%2Fuser%2Fnobody%2Flab%3Ftoken%3DSE-CRET",
        "%2Foauth_callback%3Fcode%3DSE-CRET%26state%3DSE-CRET",
        "%2F%3Fnext%3D%252Flab%253Ftoken%253DSE-CRET",
        "%2Flab%3F_xsrf%3DSE-CRET&_xsrf=SE-CRET",
    ):
        triton.run(
            "laptop", f"curl --silent --output /dev/null '{hub.HUB}/hub/error/503?url={address}'"
        )
    headers = "--header 'X-XSRFToken: SE-CRET' --referer 'https://['"
    triton.run("laptop", f"curl --silent --output /dev/null {headers} '{hub.HUB}/hub/logout'")
    text = hub.log(triton)
    assert "[secret]" in text and '"X-Xsrftoken": "[secret]"' in text and "SE-CRET" not in text


@pytest.mark.parametrize("method", ["DELETE", "OPTIONS"])
def test_no_body_is_taken_for_another_request(triton, method):
    """The hub would get it on a connection that all share, and its last words would become a part
    of the next person's request.
    """
    body = f"GET /hub/api/inside-{method} HTTP/1.1\r\nHost: {FACTS.hosts.hub}\r\n\r\n"
    send = f"--request {method} --header 'Transfer-Encoding: chunked' --data-binary @-"
    curl = "curl --silent --http1.1 --output /dev/null"
    triton.run("laptop", f"{curl} {send} {hub.HUB}/hub/api/", input=body)
    triton.run("laptop", f"{curl} {hub.HUB}/hub/api/after-{method}")
    log = hub.log(triton)
    assert f"/after-{method}" in log and f"/inside-{method}" not in log


def test_a_next_with_the_end_of_a_line_is_forgotten(visit):
    window = visit()
    window.log_in()
    window.waits_for("Choose the least memory")
    for page in ("login", "", "spawn"):
        for end in ("%0d%0aX:%20y", "%0bx", "%7f"):
            address = f"{hub.HUB}/hub/{page}?next=/hub/home{end}"
            assert window.page.goto(address).status == 200, address


# ---------------------------------------------------------------- recovery


def commands(heading):
    """The commands of the first code block below this heading of the README."""
    return re.search(rf"### {heading}\n.*?```console\n(.*?)```", README, re.DOTALL)[1]


@pytest.mark.claims("A broken database of the hub is recovered,")
def test_a_broken_database_is_recovered_and_no_server_is_lost(
    staying, kernel, triton, record_property
):
    """The README's commands restore the backup. Servers of that time run on, and nobody has to log
    in again. Root follows no link that somebody who has taken over the hub has put there.
    """
    kernel.prints("kept = 'since before'")
    job = staying.job()
    hub.as_hub(triton, "/etc/jupyterhub/backup")
    triton.run(
        "hub",
        f"hub-services kill hub; dd if=/dev/zero of={DATABASE} bs=100 count=1 "
        "conv=notrunc status=none",
    )
    refused = hub.as_hub(triton, "/etc/jupyterhub/backup", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"backup: {DATABASE} is not copied: "), refused
    triton.run(
        "hub",
        "HUB_OPTIONS=--debug hub-services start hub; for i in $(seq 300); do kill -0 "
        "$(cat /run/jupyterhub-hub.pid) 2>/dev/null || exit 0; sleep 0.2; done; exit 1",
    )
    assert "file is not a database" in hub.log(triton)
    hub.as_hub(triton, f"ln -s /etc/of-root {STATE}/broken")
    triton.run("hub", "mkdir /etc/of-root")
    began = time.monotonic()
    recover = commands("A broken database").replace("systemctl stop jupyterhub", "true")
    start = "HUB_OPTIONS=--debug hub-services start hub"
    triton.run("hub", recover.replace("systemctl start jupyterhub", start))
    assert triton.run("hub", f"rm {STATE}/broken; ls /etc/of-root; rm -r /etc/of-root").stdout == ""
    hub.answers(triton)
    until = time.monotonic() + PATIENCE
    while '"started"' not in staying.ask("GET", "/api/status").text:
        assert time.monotonic() < until
        time.sleep(0.5)
    record_property(
        "measured",
        "the hub's database broken, and restored from its backup: the server answers "
        f"again after {time.monotonic() - began:.0f} s",
    )
    assert staying.job() == job and kernel.prints("print(kept)") == "since before"
    assert staying.ask("GET", f"/users/{staying.user}", base="/hub/api").status == 200, (
        "the user has to log in again"
    )


@pytest.mark.claims(
    "*Update* there has the commands. Servers run on meanwhile, and nobody has to log in again."
)
def test_an_update_ends_no_server(staying, kernel, triton):
    """The README's commands, but for those that fetch packages: the hub's host reaches no registry.

    The configuration of before does not even start.
    """
    kernel.prints("kept = 'since before'")
    job = staying.job()
    fetches = re.compile(r".*(pip install|npm ci|/opt/jupyterhub$).*\n", re.MULTILINE)
    update = fetches.sub("", commands("Update"))
    start = "hub-services start proxy; HUB_OPTIONS=--debug hub-services start hub"
    checkout = "/tmp/checkout/triton"
    triton.run(
        "hub",
        f"mkdir -p {checkout}/lib; cp -r /etc/jupyterhub {checkout}; cd {checkout}; "
        "mv jupyterhub/facts.toml .; cp jupyterhub/*.py lib; cd ..; set -e\n"
        "echo broken > /etc/jupyterhub/jupyterhub_config.py\n"
        + re.sub("systemctl restart .*", f"hub-services stop; {start}", update)
        + "rm -r /tmp/checkout",
    )
    hub.answers(triton)
    assert within(PATIENCE, lambda: '"started"' in staying.ask("GET", "/api/status").text)
    assert staying.job() == job and kernel.prints("print(kept)") == "since before"
    assert staying.ask("GET", f"/users/{staying.user}", base="/hub/api").status == 200, (
        "the user has to log in again"
    )


def test_a_database_of_another_form_is_told(staying, triton):
    """The README has the words of the log, and a command that works with this configuration."""
    [upgrade] = re.findall(r"^runuser .* upgrade-db .*", README, re.MULTILINE)
    [told] = re.findall(r"its log says `(Found .*?)`", README)
    mark = f"""import sqlite3, sys
with sqlite3.connect("{DATABASE}") as database:
    database.execute("update alembic_version set version_num = ?", sys.argv[1:])"""
    version = f'sqlite3.connect("{DATABASE}").execute("select * from alembic_version")'
    now = hub.as_hub(
        triton, shlex.join(["python3", "-c", f"import sqlite3; print(*{version}.fetchone())"])
    ).stdout.strip()
    set_to = shlex.join(["python3", "-c", mark])
    triton.run("hub", "hub-services stop hub")
    hub.as_hub(triton, f"{set_to} 651f5419b74d")  # that of JupyterHub 1.2
    start = "HUB_OPTIONS=--debug hub-services start hub"
    ends = "while kill -0 $(cat /run/jupyterhub-hub.pid) 2>/dev/null; do sleep 0.2; done"
    triton.run("hub", f"{start}; timeout 60 bash -c '{ends}'")
    assert told in hub.log(triton)[-1000:]
    hub.as_hub(triton, f"{set_to} {now}")
    triton.run("hub", f"{upgrade}\n{start}")
    hub.answers(triton)


@pytest.mark.claims(
    "Prometheus reads at ``/hub/metrics`` how many servers run, how many people have worked, and "
    "how long a start takes. It needs a token of its own, which may do nothing else."
)
def test_prometheus_reads_numbers_and_nothing_else(staying, triton):
    """With the lines and the commands of the README."""
    lines = re.search(r"### Watch it .*?```python\n(.*?)```", README, re.DOTALL)[1]
    make, _ = commands("Watch it with Prometheus").splitlines()
    config = "/etc/jupyterhub/jupyterhub_config.py"
    curl = f"curl --silent --write-out %{{http_code}} {HUB}/hub"
    triton.run("hub", f"cp {config} /tmp/before; {make}")
    triton.run("hub", f"cat >> {config}", input=lines)
    try:
        hub.restart(triton)
        token = triton.run("hub", f"cat {STATE}/prometheus_token").stdout.strip()
        asks = f"--header 'Authorization: Bearer {token}'"
        numbers = triton.run("laptop", f"{curl}/metrics {asks}").stdout
        for count in (
            "jupyterhub_running_servers [1-9]",
            'jupyterhub_active_users{period="24h"} [1-9]',
            "jupyterhub_server_spawn_duration_seconds_count",
        ):
            assert re.search(count, numbers), numbers
        for path, header in (
            ("metrics", ""),
            ("api/users", asks),
            (f"api/users/{staying.user}", asks),
        ):
            assert triton.run("laptop", f"{curl}/{path} {header}").stdout[-3:] in ("403", "404")
    finally:
        hub.restart(triton, meanwhile=f"cp /tmp/before {config}; rm {STATE}/prometheus_token")


def fill(triton):
    """Fill the disk of the hub's state, which must be the small one; write at most 4 MB."""
    kind, blocks = triton.run(
        "hub", f"mountpoint --quiet {STATE}; stat --file-system --format='%T %b' {STATE}"
    ).stdout.split()
    assert kind == "tmpfs" and int(blocks) * 4096 <= 4 * 2**20
    assert triton.run(
        "hub", f"head -c {4 * 2**20} /dev/zero > {STATE}/rest", check=False
    ).returncode, "the disk is not full"


@pytest.mark.claims(
    "without the loss of a server.",
    "and a full disk emptied,",
)
def test_a_full_disk_of_the_hub_loses_no_server(triton):
    """The hub's state is on a small disk here, and small servers take JupyterLab's place.

    While the disk is full, a login may fail. Afterwards everything works without a restart.
    """
    hub.put_stand_in(triton)
    small = "size=4M,mode=700,uid=jupyterhub,gid=jupyterhub"
    mount = f"cp -a {STATE} /root/state; mount -t tmpfs -o {small} state {STATE}"
    meanwhile = f"{mount}; cp -a /root/state/. {STATE}"
    hub.restart(triton, hub.WITH_STAND_INS, "stop", meanwhile)
    people, user, late = hub.People(triton), triton.account(), triton.account()

    def start(one):
        people.ask(one, "log_in")
        people.ask(one, "start", TINY)
        assert within(PATIENCE, lambda: is_ready(people, one)), hub.log(triton)[-3000:]

    try:
        start(user)
        before = people.ask(user, "whose")
        fill(triton)
        assert people.ask(user, "whose") == before
        with contextlib.suppress(hub.Refused):
            people.ask(late, "log_in")
        time.sleep(3)
        assert not alive(triton, late), "the login or the start did not report a failure"
        triton.run("hub", f"rm {STATE}/rest")
        assert people.ask(user, "whose") == before and alive(triton, user) == [before["job"]]
        start(late)
    finally:
        people.close()
        triton.run("login", f"scancel --user={user}; scancel --user={late}")
        triton.run("hub", f"hub-services stop hub; umount {STATE}")

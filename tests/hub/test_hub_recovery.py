"""The hub's logs stay short, strangers cannot use up the time or memory of the hub or of a server,
and the hub recovers from a broken database and a full disk while servers run on.
"""

import json
import re
import subprocess
import time
from urllib.parse import urlencode

import pytest

from tools.browser import needs_chromium
from tools.cluster import cluster, hub
from tools.cluster.hub import FACTS, LOGS, PROFILES, TINY, HubServer
from tools.cluster.jupyter_server import PATIENCE
from tools.files import ROOT

pytestmark = [needs_chromium, pytest.mark.usefixtures("services")]
STATE, DATABASE = "/var/lib/jupyterhub", "/var/lib/jupyterhub/jupyterhub.sqlite"
AS_HUB = "cd /; setpriv --reuid jupyterhub --regid jupyterhub --init-groups"
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
    assert "characters)" in triton.run("login", f"cat {log}", staying.user).stdout, (
        "the message is not cut"
    )


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
    output = triton.run("login", f"head -n 1 {log}; grep -x 'the last' {log}", staying.user).stdout
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
    return float(
        triton.run(
            "laptop",
            [
                "/usr/bin/python3",
                "/tmp/stranger.py",
                hub.HUB,
                address,
                *map(str, (many, says, sends, seconds)),
            ],
            timeout=300,
        ).stdout
    )


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
            "import socket, time; lines = "
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
    assert (
        "any, again" in output
        and "an error, again" in output
        and "FileNotFoundError" in output
        and len(output) < 1_000_000
    ), output[:1000]
    assert re.search(r"said once \(\d+ lines before this one were too many to keep\)$", output), (
        output[-1000:]
    )
    lines, python = (
        "yes 'what a stranger makes the proxy print' | head -c 20000000",
        "/opt/jupyterhub/bin/python -B -c",
    )
    printed = triton.run(
        "hub",
        f"{lines} | {python} \"import sys; sys.path.insert(0, '/etc/jupyterhub'); import "
        'log_lines; log_lines.copy(0, 1)"',
    ).stdout
    assert "a stranger" in printed and len(printed) < 1_000_000, printed[:1000]


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
    headers = {
        "cookie": {
            "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
            "X-XSRFToken": xsrf,
        },
        "token": {"Authorization": f"token {server.token}"},
    }
    headers["page"] = {"Cookie": headers["cookie"]["Cookie"]}
    triton.write("laptop", "/tmp/upload.py", UPLOAD)
    assert triton.run(
        "laptop", ["/usr/bin/python3", "/tmp/upload.py", base], input=json.dumps(headers)
    ).stdout.split() == ["201", "201", "closed"]
    assert (
        triton.run(
            "login", "stat --format=%s cookie token; rm cookie token", window.user
        ).stdout.split()
        == ["100000000"] * 2
    )
    triton.run("login", "scancel --me", window.user)


def test_a_long_note_of_a_token_is_cut(visit, triton):
    window = visit()
    window.log_in()
    window.waits_for("Choose the least memory")
    assert (
        window.ask(
            "POST", f"/users/{window.user}/tokens", {"note": "x" * 3000}, base="/hub/api"
        ).status
        == 201
    )
    scopes = [f"access:servers!server={window.user}/{number}" for number in range(200)]
    for asks in ({"note": "x" * 1_000_000}, {"scopes": scopes}):
        assert window.ask("POST", f"/users/{window.user}/tokens", asks, base="/hub/api").status in (
            0,
            400,
            503,
        )
    assert (
        max(
            len(token["note"])
            for token in window.ask("GET", f"/users/{window.user}/tokens", base="/hub/api").json()[
                "api_tokens"
            ]
        )
        <= 1000
    )


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
        output = triton.run(
            "laptop",
            [
                "curl",
                "--silent",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code}",
                "--header",
                f"Cookie: {cookies}",
                address,
            ],
        ).stdout
        assert output == "200", address


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
            assert window.page.goto(f"{hub.HUB}/hub/{page}?next=/hub/home{end}").status == 200, (
                page,
                end,
            )


# ---------------------------------------------------------------- recovery


def commands(heading):
    """The commands of the first code block below this heading of the README."""
    return re.search(rf"### {heading}\n.*?```console\n(.*?)```", README, re.DOTALL)[1]


@pytest.mark.claims("A broken database of the hub is recovered,")
def test_a_broken_database_is_recovered_and_no_server_is_lost(
    staying, kernel, triton, record_property
):
    """The README's commands restore the backup. Servers of that time run on, and nobody has to log
    in again.
    """
    kernel.prints("kept = 'since before'")
    job = staying.job()
    triton.run("hub", f"{AS_HUB} /etc/jupyterhub/backup")
    triton.run(
        "hub",
        f"hub-services kill hub; dd if=/dev/zero of={DATABASE} bs=100 count=1 "
        "conv=notrunc status=none",
    )
    refused = triton.run("hub", f"{AS_HUB} /etc/jupyterhub/backup", check=False)
    assert refused.returncode == 1 and refused.stderr.startswith(
        f"backup: {DATABASE} is not copied: "
    ), refused
    triton.run(
        "hub",
        "HUB_OPTIONS=--debug hub-services start hub; for i in $(seq 300); do kill -0 "
        "$(cat /run/jupyterhub-hub.pid) 2>/dev/null || exit 0; sleep 0.2; done; exit 1",
    )
    assert "file is not a database" in hub.log(triton)
    began = time.monotonic()
    triton.run(
        "hub",
        commands("A broken database")
        .replace("systemctl stop jupyterhub", "true")
        .replace("systemctl start jupyterhub", "HUB_OPTIONS=--debug hub-services start hub"),
    )
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


def fill(triton):
    """Fill the disk of the hub's state, which must be the small one; write at most 4 MB."""
    kind, blocks = triton.run(
        "hub", f"mountpoint --quiet {STATE}; stat --file-system --format='%T %b' {STATE}"
    ).stdout.split()
    assert kind == "tmpfs" and int(blocks) * 4096 <= 4 * 2**20
    assert triton.run(
        "hub", f"head -c {4 * 2**20} /dev/zero > {STATE}/rest", check=False
    ).returncode, "the disk is not full"


@pytest.mark.claims("without the loss of a server.")
@pytest.mark.claims("and a full disk emptied,")
def test_a_full_disk_of_the_hub_loses_no_server(visit, triton):
    """The hub's state is on a small disk here.

    While the disk is full, a login may fail. Afterwards everything works without a restart.
    """
    triton.run(
        "hub",
        f"hub-services stop hub; cp -a {STATE} /root/state; mount -t tmpfs -o "
        f"size=4M,mode=700,uid=jupyterhub,gid=jupyterhub state {STATE}; "
        f"cp -a /root/state/. {STATE}; HUB_OPTIONS=--debug hub-services start hub",
    )
    try:
        hub.answers(triton)
        window = visit()
        late = visit()
        window.start(TINY)
        job = window.job()
        fill(triton)
        assert window.ask("GET", "/api/status").status == 200
        late.log_in()
        late.page.wait_for_timeout(3000)
        assert not late.job(), "the login or the start did not report a failure"
        triton.run("hub", f"rm {STATE}/rest")
        assert window.ask("GET", "/api/status").status == 200 and window.job() == job
        late.start(TINY)
        assert late.job()
    finally:
        for user in (window.user, late.user):
            triton.run("login", "scancel --me", user)
        triton.run(
            "hub",
            f"hub-services stop hub; umount {STATE}; HUB_OPTIONS=--debug hub-services start hub",
        )

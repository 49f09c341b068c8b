"""The hub's logs stay short, and it recovers from a database that is broken and from a full disk; the servers run on meanwhile."""
import re
import time

from browser import needs_chromium
import hub
import pytest
from hub import LOGS, TINY, HubServer, chromium, services, staying, visit  # noqa: F401  (fixtures)
from jupyter_server import PATIENCE
from triton import cluster

pytestmark = needs_chromium
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


@pytest.mark.claims("No stranger fills a log with long addresses,")
def test_no_stranger_fills_a_log(staying, triton):
    """Long addresses, asked for without a login, at the server, at the hub and at a server that is none."""
    log = LOGS.replace("*", staying.job())
    places = {f"/var/log/jupyterhub-{name}.log": ("hub", None) for name in ("hub", "proxy")} | {log: ("login", staying.user)}
    before = {path: size(triton, host, path, user) for path, (host, user) in places.items()}
    for base in (hub.own(staying.user) + f"/user/{staying.user}/api/status", f"{hub.HUB}/hub/api/users", f"{hub.HUB}/user/{staying.user}/"):
        triton.run("laptop", f"path=$(head -c 15000 /dev/zero | tr '\\0' x); curl --silent --output /dev/null \"{base}?[1-40]$path\"")
    for path, (host, user) in places.items():
        assert size(triton, host, path, user) - before[path] < 40 * 3 * 2500, path
    assert "characters)" in triton.run("login", f"cat {log}", staying.user).stdout, "a message is cut there"


@pytest.mark.claims("and no log grows without end.")
def test_the_log_of_a_server_keeps_its_newer_half(staying, kernel, triton):
    """What the server and its kernels print is kept up to 4 MB, in place; the rest goes."""
    log = LOGS.replace("*", staying.job())
    kernel.prints("import os; log = open(f'/proc/{os.getppid()}/fd/2', 'ab'); log.write(b'printed again and again\\n' * 500_000 + b'the last\\n'); log.close(); print(1)")
    until = time.monotonic() + 20
    while size(triton, "login", log, staying.user) > 4_100_000:
        assert time.monotonic() < until
        time.sleep(0.5)
    said = triton.run("login", f"head -n 1 {log}; grep -c . {log}; tail -n 5 {log}", staying.user).stdout
    assert "what came before was too much to keep" in said and "the last" in said
    assert kernel.prints("print(6 * 7)") == "42"


def test_the_logs_of_both_services_are_rotated(triton):
    """By the file that install has put in place; the services write on into new ones."""
    logs = [f"/var/log/jupyterhub-{name}.log" for name in ("hub", "proxy")]
    triton.run("hub", f"for log in {' '.join(logs)}; do echo before the rotation >> $log; done; logrotate --force --state /root/rotated /etc/logrotate.d/jupyterhub")
    triton.run("laptop", f"curl --silent --output /dev/null {hub.HUB}/hub/login?after")
    for log in logs:
        assert "before the rotation" in triton.run("hub", f"zcat {log}.1.gz").stdout and "before the rotation" not in triton.run("hub", f"cat {log}").stdout
    assert "/hub/login?after" in hub.log(triton) and "\0" not in hub.log(triton)


def commands(heading):
    """The commands of the first block below this heading of the README."""
    return re.search(rf"### {heading}\n.*?```console\n(.*?)```", README, re.DOTALL)[1]


@pytest.mark.claims("A broken database of the hub is recovered,")
def test_a_broken_database_is_recovered_and_no_server_is_lost(staying, kernel, triton, record_property):
    """By the README's commands, from the backup that it tells to make: servers of that time run on, and nobody logs in again."""
    kernel.prints("kept = 'since before'")
    job = staying.job()
    triton.run("hub", f"{AS_HUB} /etc/jupyterhub/backup")
    triton.run("hub", f"hub-services kill hub; dd if=/dev/zero of={DATABASE} bs=100 count=1 conv=notrunc status=none")
    refused = triton.run("hub", f"{AS_HUB} /etc/jupyterhub/backup", check=False)
    assert refused.returncode == 1 and refused.stderr.startswith(f"backup: {DATABASE} is not copied: "), refused
    triton.run("hub", "HUB_OPTIONS=--debug hub-services start hub; for i in $(seq 300); do kill -0 $(cat /run/jupyterhub-hub.pid) 2>/dev/null || exit 0; sleep 0.2; done; exit 1")
    assert "file is not a database" in hub.log(triton)
    began = time.monotonic()
    triton.run("hub", commands("A broken database").replace("systemctl stop jupyterhub", "true").replace("systemctl start jupyterhub", "HUB_OPTIONS=--debug hub-services start hub"))
    hub.answers(triton)
    until = time.monotonic() + PATIENCE
    while '"started"' not in staying.ask("GET", "/api/status").text:
        assert time.monotonic() < until
        time.sleep(0.5)
    record_property("measured", f"the hub's database broken, and restored from its backup: the server answers again after {time.monotonic() - began:.0f} s")
    assert staying.job() == job and kernel.prints("print(kept)") == "since before"
    assert staying.ask("GET", f"/users/{staying.user}", base="/hub/api").status == 200, "nobody has to log in again"


def fill(triton):
    """Fill the hub's state, which must be the small disk; at most 4 MB are written."""
    kind, blocks = triton.run("hub", f"mountpoint --quiet {STATE}; stat --file-system --format='%T %b' {STATE}").stdout.split()
    assert kind == "tmpfs" and int(blocks) * 4096 <= 4 * 2**20
    assert triton.run("hub", f"head -c {4 * 2**20} /dev/zero > {STATE}/rest", check=False).returncode, "it is full"


@pytest.mark.claims("and a full disk emptied,")
def test_a_full_disk_of_the_hub_loses_no_server(visit, triton):
    """Its state is on a small disk here. While that is full a login may fail; afterwards all goes on, without a restart."""
    triton.run("hub", f"hub-services stop hub; cp -a {STATE} /root/state; mount -t tmpfs -o size=4M,mode=700,uid=jupyterhub,gid=jupyterhub state {STATE}; "
               f"cp -a /root/state/. {STATE}; HUB_OPTIONS=--debug hub-services start hub")
    try:
        hub.answers(triton)
        window, late = visit(), visit()
        window.start(TINY)
        job = window.job()
        fill(triton)
        assert window.ask("GET", "/api/status").status == 200
        late.log_in()
        late.page.wait_for_timeout(3000)
        assert not late.job(), "its login, or its start, was told to fail"
        triton.run("hub", f"rm {STATE}/rest")
        assert window.ask("GET", "/api/status").status == 200 and window.job() == job
        late.start(TINY)
        assert late.job()
    finally:
        for window in (window, late):
            triton.run("login", "scancel --me", window.user)
        triton.run("hub", f"hub-services stop hub; umount {STATE}; HUB_OPTIONS=--debug hub-services start hub")

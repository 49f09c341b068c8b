"""Faults around JupyterHub end no server, leave no job behind, and are reported to the user. Many
users at once cause no fault.
"""

import concurrent.futures
import re
import subprocess
import time
from pathlib import Path

import pytest

from tools.browser import needs_chromium
from tools.cluster import hub
from tools.cluster.hub import TINY
from tools.cluster.jupyter_server import PATIENCE, ended
from tools.files import ROOT

pytestmark = needs_chromium
PARTITION = hub.FACTS.partitions.interactive
PEOPLE = 60
PATIENT = "--ProfileSpawner.http_timeout=240"


def jobs(triton, users):
    """The (user, number) pairs of these users' jobs in Slurm."""
    lines = triton.run(
        "login", f"squeue --noheader --format='%u %i' --user={','.join(users)}"
    ).stdout.splitlines()
    return sorted(tuple(line.split()) for line in lines)


def queries(triton):
    """How many times the hub has asked Slurm for its queue. Each squeue is two messages.

    The controller has no name for the hub's number.
    """
    number = triton.run("hub", "id -u jupyterhub").stdout.strip()
    output = triton.run("ctl", "sdiag").stdout.partition("by user")[2]
    match = re.search(rf"^\s+\S+\s+\(\s*{number}\)\s+count:(\d+)", output, re.MULTILINE)
    return int(match[1]) // 2 if match else 0


@pytest.fixture(scope="module", autouse=True)
def services(triton):
    """A hub that waits longer for servers: all nodes are one machine, where JupyterLab may need
    more than a minute to start.
    """
    hub.running(triton, PATIENT)


@pytest.fixture
def stand_ins(triton):
    """A small server in place of JupyterLab. Sixty JupyterLabs on one machine would only test the
    machine.
    """
    hub.put_stand_in(triton)
    hub.running(triton, f"{PATIENT} {hub.WITH_STAND_INS}")
    yield
    hub.running(triton, PATIENT)


@pytest.mark.claims("Sixty people who log in within ten seconds all get their servers.")
def test_sixty_people_at_once_get_their_own_servers(triton, stand_ins, record_property):
    """Slurm gets few queries meanwhile."""
    users = [triton.account() for _ in range(PEOPLE)]
    before, began = queries(triton), time.monotonic()
    try:
        answers = hub.crowd(triton, users, TINY, within=10)
        count, seconds = queries(triton) - before, time.monotonic() - began
        assert [answer for answer in answers.values() if not answer.get("own")] == []
        pairs = jobs(triton, users)
        assert [user for user, _ in pairs] == sorted(users), (
            "there is not one job for each user, with the right owner"
        )
        memory = triton.run("hub", "ps -o rss= -p $(cat /run/jupyterhub-hub.pid)").stdout
        time.sleep(5)
        quiet = queries(triton)
        time.sleep(15)
        quiet = queries(triton) - quiet
    finally:
        triton.run("login", f"scancel {' '.join(count for _, count in jobs(triton, users))}")
    assert 0 < count <= seconds + 5, f"{count} questions in {seconds:.0f} s"
    assert 0 < quiet <= 3 + 1, "with all servers up, the hub asks more than once in five seconds"
    slowest = max(answer["seconds"] for answer in answers.values())
    record_property(
        "measured",
        f"{PEOPLE} people who log in within 10 s all have their server (a small one in "
        f"the place of JupyterLab) after {slowest:.0f} s; the hub then has "
        f"{int(memory) // 1024} MB, and has asked Slurm {count} times in {seconds:.0f} s; "
        f"then {quiet} times in 15 s",
    )


@pytest.fixture
def closed(triton):
    """Closes the partition, so that no job starts. A call opens it again."""

    def state(word):
        triton.run("ctl", f"scontrol update partitionname={PARTITION} state={word}")

    state("down")
    yield lambda: state("up")
    state("up")


def waits_in_queue(window):
    window.log_in()
    window.choose(TINY)
    window.press_start()
    window.waits_for("PartitionDown: its part of the cluster is closed for a while.")


def controller(triton, verb):
    look = "for i in $(seq 100); do [ -e /run/slurmctld.pid ] || break; sleep 0.1; done"
    triton.run("ctl", "slurmctld" if verb == "start" else f"kill $(cat /run/slurmctld.pid); {look}")


def lives(window):
    return window.ask("GET", "/api/status").status == 200


@pytest.mark.claims(
    "While Slurm itself is down, the page says that it does not answer, and your start "
    "waits for it."
)
def test_half_a_minute_without_the_controller_ends_nothing(
    staying, visit, closed, triton, record_property
):
    """Neither running servers nor starts end."""
    window = visit()
    waits_in_queue(window)
    controller(triton, "stop")
    try:
        window.waits_for("Slurm does not answer", 30)
        time.sleep(30)
        assert lives(staying)
    finally:
        controller(triton, "start")
    window.waits_for("Pending in queue")
    closed()
    window.arrive()
    assert lives(staying)
    record_property(
        "measured",
        "30 s without Slurm's controller: of one server that ran and one that waited, "
        "none was lost",
    )
    triton.run("login", "scancel --me", window.user)


def test_a_start_that_is_cancelled_says_so(visit, closed, triton, record_property):
    window = visit()
    waits_in_queue(window)
    began = time.monotonic()
    triton.run("login", "scancel --me", window.user)
    window.waits_for("Your server ended before it answered: it was cancelled with scancel.", 30)
    record_property(
        "measured",
        "scancel in the middle of a start: the page says so after "
        f"{time.monotonic() - began:.0f} s",
    )


def node_of(triton, window):
    return triton.run("login", "squeue --me --noheader --format=%B", window.user).stdout.strip()


def test_a_server_lives_though_its_node_is_drained(staying, visit, triton, record_property):
    """The next server starts on another node."""
    node = node_of(triton, staying)
    triton.run("ctl", f"scontrol update nodename={node} state=drain reason=test")
    try:
        window = visit()
        window.start(TINY)
        assert node_of(triton, window) != node and lives(staying)
        record_property(
            "measured",
            "a node drained: its server was not lost, and the next one started on another node",
        )
    finally:
        triton.run("ctl", f"scontrol update nodename={node} state=resume")
        triton.run("login", "scancel --me", window.user)


def test_a_server_lives_though_slurmd_is_killed(staying, triton, record_property):
    node = node_of(triton, staying)
    triton.run(node, "kill -9 $(cat /run/slurmd.pid)")
    try:
        assert lives(staying)
        time.sleep(16)  # this is longer than the hub's interval between two checks
        assert lives(staying) and staying.job()
    finally:
        triton.run(node, "slurmd")
    time.sleep(5)
    assert lives(staying) and staying.job()
    record_property(
        "measured", "16 s without the slurmd of its node, which was killed: the server was not lost"
    )


def test_a_locked_database_delays_a_start_and_breaks_nothing(
    staying, visit, triton, record_property
):
    window = visit()
    window.log_in()
    window.choose(TINY)
    lock = (
        "import sqlite3, time; base = "
        "sqlite3.connect('/var/lib/jupyterhub/jupyterhub.sqlite'); base.execute('BEGIN "
        "EXCLUSIVE'); print(1, flush=True); time.sleep(10)"
    )
    locked = triton.start(
        "hub",
        f'setpriv --reuid jupyterhub --regid jupyterhub --init-groups /usr/bin/python3 -c "{lock}"',
        stdout=subprocess.PIPE,
    )
    assert locked.stdout.readline(), "the database is not locked"
    window.press_start()
    window.arrive()
    assert locked.wait(timeout=PATIENCE) == 0
    locked.stdout.close()
    assert lives(staying)
    record_property(
        "measured",
        "the hub's database locked for 10 s in the middle of a start: the server started",
    )
    triton.run("login", "scancel --me", window.user)


def test_a_killed_hub_leaves_no_job_of_those_who_were_starting(
    visit, staying, closed, triton, record_property
):
    users = [triton.account() for _ in range(10)]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        crowd = pool.submit(hub.crowd, triton, users, TINY, 2)
        until = time.monotonic() + PATIENCE
        while len(jobs(triton, users)) < len(users):
            assert time.monotonic() < until, jobs(triton, users)
            time.sleep(0.5)
        triton.run("hub", "hub-services kill hub; HUB_OPTIONS=--debug hub-services start hub")
        assert all("error" in answer for answer in crowd.result().values())
    hub.answers(triton)
    began = time.monotonic()
    while jobs(triton, users):
        assert time.monotonic() < began + PATIENCE, jobs(triton, users)
        time.sleep(0.5)
    record_property(
        "measured",
        f"the hub killed (-9) while {len(users)} servers started: "
        f"{time.monotonic() - began:.0f} s after it was back, no job of theirs was "
        "left, and the server that ran was not lost",
    )
    window = visit(users[0])
    window.log_in()
    window.waits_for("the hub was restarted while it started. Start it again.")
    closed()
    window.choose(TINY)
    window.press_start()
    window.arrive()
    assert jobs(triton, users) == [(users[0], window.job())]
    assert lives(staying)
    triton.run("login", "scancel --me", window.user)


def test_the_failure_of_a_node_is_reported(staying, triton):
    job, node = staying.job(), node_of(triton, staying)
    triton.run("ctl", f"scontrol update nodename={node} state=down reason=test")
    try:
        ended(triton, staying.user, job)
        assert f"(job {job}) ended: its node failed. Start it again." in staying.says_of_the_end()
        assert not staying.job(), "Slurm has started the job again"
        triton.run("hub", "hub-services kill hub; HUB_OPTIONS=--debug hub-services start hub")
        hub.answers(triton)
        staying.open()
        assert f"(job {job}) ended: its node failed." in staying.said(), (
            "a hub that starts later does not know the reason"
        )
    finally:
        triton.run(
            "ctl", f"scontrol update nodename={node} state=resume", check=False
        )  # the node may come back by itself


# ---------------------------------------------------------------- another hub: without its check of
# the home, and on PostgreSQL


@pytest.mark.claims(
    "or the quota of your home directory is exceeded: Jupyter cannot write the files "
    "that it needs to start."
)
def test_nobody_reads_the_message_of_old_on_a_full_home(visit, triton):
    """Without the check before the start, the job has enough room for its files, or the page says
    that the home directory is full.
    """
    hub.running(triton, f"{PATIENT} --ProfileSpawner.needed_mb=0")
    window = visit(hub.cluster.FULL_USER)
    triton.run(
        "login", "head -c 2M /dev/zero > rest", window.user, check=False
    )  # the disk has 1 MB left
    window.log_in()
    window.choose(TINY)
    window.press_start()
    until, text = time.monotonic() + PATIENCE, ""
    while "Spawn failed" not in text and "/user/" not in window.page.url:
        assert time.monotonic() < until, text
        window.page.wait_for_timeout(200)
        text = window.said()
    triton.run("login", "rm rest; scancel --me", window.user)
    assert (
        "/user/" in window.page.url
        or "Your server ended before it answered: your home directory is full" in text
    )
    assert "Spawner failed to start" not in text + hub.log(triton)


def test_a_home_without_room_for_files_is_told_first(visit, triton):
    """The user is told before a job is submitted, even though small files would fit: the disk has
    free bytes but no inodes.
    """
    hub.running(triton, f"{PATIENT} --ProfileSpawner.needed_mb=0")
    window = visit(hub.cluster.FULL_USER)
    triton.run(
        "login",
        "mkdir many; i=0; while : > many/$i; do i=$((i+1)); [ $i -lt 20000 ] || exit 1; "
        "done 2> /dev/null",
        window.user,
        check=False,
    )
    try:
        assert triton.run(
            "login", "df --output=iavail ~ | tail -1", window.user
        ).stdout.split() == ["0"], "the small disk still has inodes"
        window.log_in()
        window.choose(TINY)
        window.press_start()
        text = window.waits_for("more files")
    finally:
        triton.run("login", "rm -r many", window.user)
    assert re.search(
        r"Your home directory \S+ has room for 0 more files, and Jupyter needs 20 to "
        r"start, whatever their size\. .*\bdu\b",
        text,
    ), text
    assert not window.job()


@pytest.mark.claims("So it does where users have no names of their own.")
def test_without_names_for_users_the_login_is_for_the_hub_alone(visit, triton):
    """Without a wildcard name, all servers have one origin. The cookie of the login then has the
    hub's path, so servers do not receive it.
    """
    facts = "/etc/jupyterhub/facts.toml"
    triton.run(
        "hub",
        f"sed --in-place=.names 's/^servers = .*/servers = \"{hub.FACTS.hosts.hub}\"/' {facts}",
    )
    try:
        hub.running(triton, PATIENT)
        window = visit()
        window.log_in()
        window.page.get_by_role("button", name="Start", exact=True).wait_for()
        cookies = {cookie["name"]: cookie["path"] for cookie in window.context.cookies()}
        assert cookies["jupyterhub-hub-login"] == "/hub/", cookies
        sent = window.context.cookies(f"{hub.HUB}/user/another/lab")
        assert [cookie["name"] for cookie in sent] == ["jupyterhub-session-id"], (
            "a server received a cookie that is a login"
        )
    finally:
        triton.run("hub", f"mv {facts}.names {facts}")
        hub.running(triton, PATIENT)


POSTGRES = (ROOT / "tests/data/hub/postgres.sh").read_text(encoding="utf-8")


@pytest.mark.skipif(
    not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")),
    reason="no PostgreSQL here: make system installs it",
)
def test_postgresql_takes_the_place_of_sqlite(visit, triton):
    """The test uses the line that the configuration shows."""
    triton.run("hub", POSTGRES)
    window = visit()
    try:
        hub.running(triton, PATIENT)
        window.start(TINY)
        asked = (
            "psql --host=/run/postgresql --tuples-only --command='select name from users' "
            "jupyterhub"
        )
        assert (
            window.user
            in triton.run(
                "hub", f"cd /; setpriv --reuid jupyterhub --regid jupyterhub --init-groups {asked}"
            ).stdout
        )
        triton.run("hub", "hub-services kill hub; HUB_OPTIONS=--debug hub-services start hub")
        hub.answers(triton)
        window.open()
        window.page.get_by_role("button", name="Stop My Server").wait_for()
        assert lives(window)
    finally:
        triton.run("login", f"scancel --user={window.user}")
        triton.run(
            "hub",
            "hub-services stop; mv /etc/jupyterhub/jupyterhub_config.py.sqlite "
            "/etc/jupyterhub/jupyterhub_config.py; "
            "kill $(head -1 /var/lib/hub-postgres/postmaster.pid)",
        )

"""Faults around JupyterHub end no server, leave no job behind, and are reported to the user. Many
users at once cause no fault. A small server takes JupyterLab's place but for a full home.
"""

import concurrent.futures
import re
import subprocess
import time

import pytest

from tools.browser import needs_chromium
from tools.cluster import hub
from tools.cluster.hub import TINY
from tools.cluster.hub_faults import is_ready, within
from tools.cluster.jupyter_server import PATIENCE
from tools.files import ROOT

pytestmark = needs_chromium
PARTITION = hub.FACTS.partitions.interactive
PEOPLE = 60
PATIENT = "--ProfileSpawner.http_timeout=240"
SMALL = f"{PATIENT} {hub.WITH_STAND_INS}"


def jobs(triton, users):
    """The (user, number) pairs of these users' jobs in Slurm."""
    look = f"squeue --noheader --format='%u %i' --user={','.join(users)}"
    return sorted(tuple(line.split()) for line in triton.run("login", look).stdout.splitlines())


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
    """A hub that waits longer for servers: all nodes are one machine."""
    hub.put_stand_in(triton)
    hub.running(triton, SMALL)


def ready(people, user):
    """Log in and start a server; return the user when it answers."""
    people.ask(user, "log_in")
    people.ask(user, "start", TINY)
    assert within(PATIENCE, lambda: is_ready(people, user)), hub.log(people.triton)[-3000:]
    return user


@pytest.fixture(scope="module")
def staying(triton, people):
    """A user whose server runs from the first test that uses it to the last."""
    user = ready(people, triton.account())
    yield user
    user.run("scancel --me")


@pytest.mark.claims("Sixty people who log in within ten seconds all get their servers.")
def test_sixty_people_at_once_get_their_own_servers(triton, record_property):
    """Slurm gets few queries meanwhile."""
    users = [triton.account() for _ in range(PEOPLE)]
    before, began = queries(triton), time.monotonic()
    try:
        answers = hub.crowd(triton, users, TINY, within=10)
        count, seconds = queries(triton) - before, time.monotonic() - began
        assert [answer for answer in answers.values() if not answer.get("own")] == []
        pairs = jobs(triton, users)
        assert [user for user, _ in pairs] == sorted(users), "not each has one job of their own"
        memory = triton.run("hub", "ps -o rss= -p $(cat /run/jupyterhub-hub.pid)").stdout
        time.sleep(3)
        quiet = queries(triton)
        time.sleep(10)
        quiet = queries(triton) - quiet
    finally:
        triton.run("login", f"scancel {' '.join(count for _, count in jobs(triton, users))}")
    assert 0 < count <= seconds + 5, f"{count} questions in {seconds:.0f} s"
    assert 0 < quiet <= 2 + 1, "with all servers up, the hub asks more than once in five seconds"
    slowest = max(answer["seconds"] for answer in answers.values())
    record_property(
        "measured",
        f"{PEOPLE} people who log in within 10 s all have their server (a small one in "
        f"the place of JupyterLab) after {slowest:.0f} s; the hub then has "
        f"{int(memory) // 1024} MB, and has asked Slurm {count} times in {seconds:.0f} s; "
        f"then {quiet} times in 10 s",
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
    window.begin(TINY)
    window.waits_for("PartitionDown: its part of the cluster is closed for a while.")


def controller(triton, verb):
    look = "for i in $(seq 100); do [ -e /run/slurmctld.pid ] || break; sleep 0.1; done"
    triton.run("ctl", "slurmctld" if verb == "start" else f"kill $(cat /run/slurmctld.pid); {look}")


def job_of(user):
    return user.run("squeue --me --noheader --format=%i").strip()


def lives(people, user):
    """Whether the user's server answers, from the job that Slurm has."""
    return people.ask(user, "whose")["job"] == job_of(user)


def arrives(window):
    """Wait until the page is that of the user's server, and end the server."""
    window.page.wait_for_url("**/user/**")
    window.user.run("scancel --me")


@pytest.mark.claims(
    "While Slurm itself is down, the page says that it does not answer, and your start waits for "
    "it."
)
def test_a_time_without_the_controller_ends_nothing(people, staying, visit, closed, triton):
    """Neither running servers nor starts end."""
    window = visit()
    waits_in_queue(window)
    controller(triton, "stop")
    try:
        window.waits_for("Slurm does not answer", 30)
        time.sleep(12)  # the hub has looked twice
        assert people.ask(staying, "whose")["user"] == staying
    finally:
        controller(triton, "start")
    window.waits_for("Pending in queue")
    closed()
    arrives(window)
    assert lives(people, staying)


def test_a_start_that_is_cancelled_says_so(visit, closed, triton, record_property):
    window = visit()
    waits_in_queue(window)
    began = time.monotonic()
    window.user.run("scancel --me")
    window.waits_for("Your server ended before it answered: it was cancelled with scancel.", 30)
    record_property(
        "measured",
        "scancel in the middle of a start: the page says so after "
        f"{time.monotonic() - began:.0f} s",
    )


def node_of(user):
    return user.run("squeue --me --noheader --format=%B").strip()


def test_a_server_lives_though_its_node_is_drained(people, staying, triton):
    """The next server starts on another node."""
    node, other = node_of(staying), triton.account()
    triton.run("ctl", f"scontrol update nodename={node} state=drain reason=test")
    try:
        ready(people, other)
        assert node_of(other) != node and lives(people, staying)
    finally:
        triton.run("ctl", f"scontrol update nodename={node} state=resume")
        other.run("scancel --me")


def test_a_server_lives_though_slurmd_is_killed(people, staying, triton):
    node = node_of(staying)
    triton.run(node, "kill -9 $(cat /run/slurmd.pid)")
    try:
        time.sleep(7)  # this is longer than the hub's interval between two checks
        assert lives(people, staying)
    finally:
        triton.run(node, "slurmd")
    time.sleep(6)
    assert lives(people, staying)


def test_a_locked_database_delays_a_start_and_breaks_nothing(people, staying, triton):
    user = triton.account()
    people.ask(user, "log_in")
    lock = (
        "import sqlite3, time; base = sqlite3.connect('/var/lib/jupyterhub/jupyterhub.sqlite'); "
        "base.execute('BEGIN EXCLUSIVE'); print(1, flush=True); time.sleep(5)"
    )
    as_hub = "setpriv --reuid jupyterhub --regid jupyterhub --init-groups"
    command = f'{as_hub} /usr/bin/python3 -c "{lock}"'
    locked = triton.start("hub", command, stdout=subprocess.PIPE)
    assert locked.stdout.readline(), "the database is not locked"
    people.ask(user, "start", TINY)
    assert within(PATIENCE, lambda: is_ready(people, user))
    assert locked.wait(timeout=PATIENCE) == 0
    locked.stdout.close()
    assert lives(people, staying)
    user.run("scancel --me")


def test_a_killed_hub_leaves_no_job_of_those_who_were_starting(
    visit, people, staying, closed, triton, record_property
):
    users = [triton.account() for _ in range(10)]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        crowd = pool.submit(hub.crowd, triton, users, TINY, 2)
        until = time.monotonic() + PATIENCE
        while len(jobs(triton, users)) < len(users):
            assert time.monotonic() < until, jobs(triton, users)
            time.sleep(0.5)
        hub.restart(triton, SMALL)
        assert all("error" in answer for answer in crowd.result().values())
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
    window.page.wait_for_url("**/user/**")
    assert jobs(triton, users) == [(users[0], window.job())]
    assert lives(people, staying)
    window.user.run("scancel --me")


def test_the_failure_of_a_node_is_reported(visit, triton):
    window = visit()
    window.begin(TINY)
    window.page.wait_for_url("**/user/**")
    job, node = window.job(), node_of(window.user)
    triton.run("ctl", f"scontrol update nodename={node} state=down reason=test")
    try:
        window.user.ended(job)
        assert f"(job {job}) ended: its node failed. Start it again." in window.says_of_the_end()
        assert not window.job(), "Slurm has started the job again"
        hub.restart(triton, SMALL)
        window.open()
        # A hub that starts later knows the reason.
        assert f"(job {job}) ended: its node failed." in window.said()
    finally:
        # The node may come back by itself.
        triton.run("ctl", f"scontrol update nodename={node} state=resume", check=False)


# ---------------------------------------------------------------- another hub: without its check of
# the home, and on PostgreSQL


@pytest.mark.claims(
    "or the quota of your home directory is exceeded, so that Jupyter cannot write the files that "
    "it needs to start."
)
def test_nobody_reads_the_message_of_old_on_a_full_home(visit, triton):
    """Without the check before the start, the job has enough room for its files, or the page says
    that the home directory is full.
    """
    hub.running(triton, f"{PATIENT} --ProfileSpawner.needed_mb=0")
    window = visit(hub.cluster.FULL_USER)
    # The disk has free bytes but no inodes: that is told before a job is submitted.
    fill = "while : > many/$i; do i=$((i+1)); [ $i -lt 20000 ] || exit 1; done 2> /dev/null"
    window.user.tries(f"mkdir many; i=0; {fill}")
    try:
        left = window.user.run("df --output=iavail ~ | tail -1").strip()
        assert left == "0", "the small disk still has inodes"
        window.begin(TINY)
        text = window.waits_for("more files")
    finally:
        window.user.run("rm -r many")
    why = (
        r"has room for 0 more files, and Jupyter needs 20 to start, whatever their size\. .*\bdu\b"
    )
    assert re.search(rf"Your home directory \S+ {why}", text), text
    assert not window.job()
    window.user.tries("head -c 2M /dev/zero > rest")  # the disk has 1 MB left
    window.open("/hub/spawn")
    window.choose(TINY)
    window.press_start()
    until, text = time.monotonic() + PATIENCE, ""
    while "Spawn failed" not in text and "/user/" not in window.page.url:
        assert time.monotonic() < until, text
        window.page.wait_for_timeout(200)
        text = window.said()
    window.user.run("rm rest; scancel --me")
    assert (
        "/user/" in window.page.url
        or "Your server ended before it answered: your home directory is full" in text
    )
    assert "Spawner failed to start" not in text + hub.log(triton)


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


POSTGRES = (ROOT / "tests/data/hub/postgres.sh").read_text(encoding="utf-8")


def test_postgresql_takes_the_place_of_sqlite(people, triton):
    """The test uses the line that the configuration shows."""
    triton.run("hub", POSTGRES)
    user = triton.account()
    try:
        hub.running(triton, SMALL)
        ready(people, user)
        look = "psql --host=/run/postgresql --tuples-only --command='select name from users'"
        assert user in hub.as_hub(triton, f"{look} jupyterhub").stdout
        hub.restart(triton, SMALL)
        assert people.ask(user, "known")["servers"][""]["ready"] and lives(people, user)
    finally:
        triton.run("login", f"scancel --user={user}")
        triton.run(
            "hub",
            "hub-services stop; mv /etc/jupyterhub/jupyterhub_config.py.sqlite "
            "/etc/jupyterhub/jupyterhub_config.py; "
            "kill $(head -1 /var/lib/hub-postgres/postmaster.pid)",
        )

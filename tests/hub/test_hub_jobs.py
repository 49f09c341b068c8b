"""The hub forgets no job, ends none that is needed, and says why a start failed. Users call its
API, and a small server takes JupyterLab's place.
"""

import json
import re
import shlex
import statistics
import time

import pytest

from tools.cluster import hub, hub_faults
from tools.cluster.hub import FACTS, TINY, Refused
from tools.cluster.hub_faults import OPTIONS, alive, is_ready, within


@pytest.fixture(scope="module", autouse=True)
def services(triton):
    hub.put_stand_in(triton)
    hub.running(triton, OPTIONS)


def begin(people, user):
    """Log in and press Start; return the error of the hub, if there is one."""
    people.ask(user, "log_in")
    try:
        people.ask(user, "start", TINY)
    except Refused as refused:
        return str(refused)


def why_none(people, user):
    """Log in and press Start; wait until the start fails, and return the reason."""
    return begin(people, user) or people.ask(user, "failure")


@pytest.fixture
def started(triton, people):
    """started() returns a user whose server is ready."""
    users = []

    def one():
        users.append(triton.account())
        assert not begin(people, users[-1])
        assert within(60, lambda: is_ready(people, users[-1])), hub.log(triton)[-3000:]
        return users[-1]

    yield one
    for user in users:
        triton.run("login", f"scancel --user={user}")


@pytest.mark.claims("The hub hands no cookie of one server to another.")
def test_the_hub_keeps_no_cookie_of_a_server(people, started):
    """Servers on one node share one host name, so with three servers on two nodes, one server would
    receive another's cookie.
    """
    users = [started() for _ in range(3)]
    assert [people.ask(user, "whose")["cookies"] for user in users] == [[], [], []]


# ---------------------------------------------------------------- jobs without a server


@pytest.mark.claims(
    "Whatever breaks in the middle of a start, no job is left of which the service does not know."
)
def test_faults_in_the_middle_of_starts_leave_no_orphan(triton, people, record_property):
    """The test makes twelve faults during starts, at moments that a seed chooses. `make bench
    ONLY=hub-faults` makes 200.
    """
    outcomes = hub_faults.trials(triton, people, 12, seed=18)
    assert [f"{name}: {outcome}" for name, outcome in outcomes.items() if outcome.lost] == []
    ready = sum(outcome.ready for outcome in outcomes.values())
    assert ready >= 4, outcomes
    record_property(
        "measured",
        f"{len(outcomes)} faults of Slurm, hub and user, each in the middle of a start: "
        f"no job was left over and no server lost; {ready} servers "
        "came in spite of it, and of the others the user was told",
    )


def database(statement):
    """The command that runs a query in the hub's database."""
    look = (
        "import sqlite3; base = sqlite3.connect('/var/lib/jupyterhub/jupyterhub.sqlite', "
        f"timeout=30); base.execute({statement!r}); base.commit()"
    )
    user = "setpriv --reuid jupyterhub --regid jupyterhub --clear-groups"
    return f"{user} /usr/bin/python3 -c {shlex.quote(look)}"


@pytest.mark.claims("after its database is lost,")
def test_a_job_that_only_its_comment_tells_is_ended(triton, people, started):
    """The list of starts and the number in the database are lost, as after a restore. The next hub
    ends the job, and no job of others.

    Another user's job has the same comment, since everybody can read it.
    """
    user, staying = started(), started()
    [job] = alive(triton, user)
    mark = user.run(f"squeue --noheader --job {job} --format=%k").strip()
    somebody = triton.account()
    same = f"sbatch --parsable --hold --job-name=jupyterhub --comment={mark} --wrap=true"
    younger = triton.run("login", same, somebody).stdout.strip()
    others = (
        "sbatch --parsable --job-name=jupyterhub --comment=other:8081/0123 "
        "--output=/dev/null --wrap='sleep 100'"
    )
    other = user.run(others).strip()
    forget = database(
        f'update spawners set state = "{{}}", server_id = null where user_id in (select '
        f'id from users where name = "{user}")'
    )
    hub.restart(triton, OPTIONS, meanwhile=f"rm /var/lib/jupyterhub/jobs.json; {forget}")
    assert within(40, lambda: job not in alive(triton, user)), hub.log(triton)[-3000:]
    assert other in alive(triton, user), "the job of another hub was ended"
    assert within(40, lambda: not alive(triton, somebody))
    end = "squeue --noheader --states=all --format=%e --job"
    first, then = (triton.run("login", f"{end} {each}").stdout for each in (job, younger))
    assert first < then, "the older job is not the hub's"
    assert within(30, lambda: people.ask(staying, "whose")["user"] == staying)


@pytest.mark.claims("That holds after *Stop* while Slurm is away,")
def test_stop_while_the_controller_is_away_ends_the_job_later(triton, people, started):
    user = started()
    mend = hub_faults.Faults(triton, people).make("controller_stopped", user)
    try:
        people.ask(user, "stop")
        assert within(40, lambda: not people.ask(user, "known")["servers"]), (
            "the page waits for Slurm"
        )
        triton.run("hub", "hub-services kill hub")  # even a new hub does it
    finally:
        mend()
        triton.run("hub", f"HUB_OPTIONS='--debug {OPTIONS}' hub-services start hub")
    hub.answers(triton)
    assert within(60, lambda: not alive(triton, user)), hub.log(triton)[-3000:]
    assert within(
        90, lambda: json.loads(triton.run("hub", "cat /var/lib/jupyterhub/jobs.json").stdout) == {}
    ), "the start is still in the list, though Slurm has confirmed its end"


@pytest.fixture
def private(triton):
    """A Slurm that shows jobs to their owners only."""
    triton.run(
        "ctl",
        "cp /etc/slurm/slurm.conf /tmp/slurm.conf; echo PrivateData=jobs >> "
        "/etc/slurm/slurm.conf; scontrol reconfigure",
    )
    yield
    triton.run("ctl", "cp /tmp/slurm.conf /etc/slurm/slurm.conf; scontrol reconfigure")


@pytest.mark.claims("and where Slurm shows jobs to their owners only.")
def test_private_jobs_are_known_and_none_is_lost(triton, people, started, private):
    """The hub's own squeue lists nothing. Before the hub believes that a job has ended, it asks as
    the job's owner.
    """
    user = started()
    assert not hub.as_hub(triton, "squeue --noheader").stdout
    time.sleep(7)  # this is longer than the hub's interval between two checks
    assert is_ready(people, user) and people.ask(user, "whose")["user"] == user
    assert "squeue hides from the hub what it shows to users" in hub.log(triton)
    people.ask(user, "stop")
    assert within(40, lambda: not alive(triton, user))
    assert not begin(people, user)
    assert within(30, lambda: alive(triton, user))
    hub.restart(triton, OPTIONS)
    ready = within(20, lambda: is_ready(people, user))
    assert within(60, lambda: len(alive(triton, user)) == ready), (
        "the server was not ready, and its job was not ended"
    )


@pytest.mark.claims("A server ends when Slurm says so: not while Slurm has suspended it")
def test_a_suspended_server_goes_on_afterwards(triton, people, started):
    user = started()
    [job] = alive(triton, user)
    triton.run("ctl", f"scontrol suspend {job}")
    time.sleep(7)
    assert alive(triton, user) == [job] and is_ready(people, user)
    hub.running(triton, f"{OPTIONS} --ProfileSpawner.http_timeout=3")
    time.sleep(5)
    assert alive(triton, user) == [job], "a hub that starts meanwhile does not wait for the server"
    triton.run("ctl", f"scontrol resume {job}")
    assert within(20, lambda: is_ready(people, user))
    hub.running(triton, OPTIONS)
    answer = people.ask(user, "whose")
    assert (answer["user"], answer["prefix"], answer["job"]) == (user, f"/user/{user}/", job)


@pytest.mark.claims(
    "A server that the service has forgotten ends itself. While the service is away, no "
    "server ends."
)
def test_a_server_that_the_hub_refuses_ends_and_none_else(triton, people, started):
    """No server ends while the hub is away. When the hub is back and refuses a server's token, that
    server ends itself.
    """
    hub.running(triton, f"{OPTIONS} --ProfileSpawner.refused_seconds=4")
    user, staying = started(), started()
    hub.restart(triton, OPTIONS, "stop", "sleep 6")
    assert is_ready(people, user) and is_ready(people, staying)
    refuse = (
        'delete from api_tokens where note like "Server at%" and user_id in (select id '
        f'from users where name = "{user}")'
    )
    triton.run("hub", database(refuse))
    assert within(30, lambda: not alive(triton, user))
    assert alive(triton, staying) and people.ask(staying, "whose")["user"] == staying


# ---------------------------------------------------------------- reasons of a failed start


@pytest.mark.claims("A node without room for a start is named, and no secret goes into a log.")
@pytest.mark.parametrize("option", ["size=4k", "size=4m,nr_inodes=3"])
def test_a_node_without_room_is_named_and_logs_no_secret(triton, people, small_tmp, option):
    """If a start cannot write the filter of its log, it ends before it logs anything."""
    small_tmp(option, "/tmp", "/var/tmp", "/dev/shm")
    user = triton.account()
    reason = why_none(people, user)
    node = re.search(
        r"its node (\w+) has no room for the few files that a start needs, neither in "
        r"/tmp nor in /var/tmp nor in /dev/shm",
        reason,
    )[1]
    assert node in triton.nodes
    log = user.run(f"cat {hub.LOGS}")
    assert f"The node {node} has no room" in log and "xsrf" not in log and "token" not in log
    assert not alive(triton, user)


def test_a_server_starts_where_others_have_filled_the_disk(small_tmp, started):
    small_tmp("size=4k", "/tmp", "/var/tmp")
    started()


HOMES = {  # {a change of the home, made by root on the login node: the message of the page}
    "mv {home} {home}.away": "Your home directory {home} is not there. Log in "
    "to the cluster with ssh once",
    "chmod 500 {home}": "You may not write into your own home directory {home}",
    "chown root: {home}; chmod 711 {home}": "could not write its log into your "
    "home directory {home}",
    "install -d -o root -m 700 {home}/.local": "it may not write into a folder of your home "
    "directory, which the end of its log "
    "names.",
}


@pytest.mark.parametrize("damage", HOMES)
def test_a_fault_of_the_home_is_reported_as_no_quota(triton, people, damage):
    user = triton.account()
    home = f"{FACTS.paths.home}/{user}"
    triton.run("login", damage.format(home=home))
    reason = why_none(people, user)
    assert HOMES[damage].format(home=home) in reason, reason
    assert "quota" not in reason and not alive(triton, user)


# ---------------------------------------------------------------- many users


def nothing_is_lost(measured, record_property):
    """Assert that no server and no job is lost, and that other users get their pages. `make bench
    ONLY=hub-numbers` measures the same.
    """
    lost, looks, summary = measured
    assert not lost
    assert looks.median < 2, looks
    record_property("measured", summary)


@pytest.mark.claims(
    "A hundred starts that wait for a place keep nobody out,",
    "and two hundred windows that show how a start goes hold up nobody.",
)
def test_a_hundred_starts_that_wait_keep_nobody_out(triton, people, record_property):
    """JupyterHub by itself would refuse further starts with 429 meanwhile."""
    nothing_is_lost(hub_faults.hundred_waiting(triton, people), record_property)


@pytest.mark.claims(
    "A restart of the proxy, the hub or a daemon of Slurm, while servers start, loses none."
)
def test_a_restart_of_each_daemon_while_servers_start_loses_none(triton, people, record_property):
    nothing_is_lost(hub_faults.restarts(triton, people), record_property)


@pytest.fixture
def configured(triton):
    """configured(text) starts the hub with `text` at the end of its configuration."""
    config = "/etc/jupyterhub/jupyterhub_config.py"

    def put(text):
        triton.run("hub", f"cp {config} {config}.kept; cat >> {config}", input=text)
        hub.running(triton, OPTIONS)

    yield put
    triton.run("hub", f"mv {config}.kept {config}")
    hub.running(triton, OPTIONS)


SLOW_TO_CANCEL = """import asyncio
async def slow(spawner):
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(3)
c.ProfileSpawner.pre_spawn_hook = slow
"""


@pytest.mark.claims("Nor does *Stop* in a busy hub leave a server that is not there.")
def test_stop_waits_for_a_start_that_ends_slowly(triton, people, configured):
    """JupyterHub itself waits for one second, and shows the server for ever after that. A second
    click on the button does no harm.
    """
    configured(SLOW_TO_CANCEL)
    user = triton.account()
    people.ask(user, "log_in")
    click = people.tell(user, "start", TINY)
    assert within(30, lambda: people.ask(user, "known")["pending"] == "spawn")
    for stop in [people.tell(user, "stop"), people.tell(user, "stop")]:
        people.answer(stop)
    assert within(30, lambda: people.ask(user, "known")["servers"] == {})
    with pytest.raises(Refused):
        people.answer(click)


SLOW_HOMES = 66  # these are more than the hub handles at once


@pytest.fixture
def slow_homes(configured):
    """slow_homes(users) makes checks of these homes hang, like a file server that is away."""

    def put(users):
        configured(
            "import shutil, time\nc.ProfileSpawner.home_room = lambda home: time.sleep(1000) "
            f"if home.rpartition('/')[2] in {users!r} else shutil.disk_usage(home)[2::-2]\n"
        )

    return put


@pytest.mark.claims("Home directories that do not answer hold up nobody else.")
def test_homes_that_do_not_answer_hold_up_nobody_else(
    triton, people, slow_homes, started, record_property
):
    users = [triton.account() for _ in range(SLOW_HOMES)]
    slow_homes(users)
    user = started()
    hub_faults.log_in(people, users)
    clicks, looks = [], []
    with hub_faults.partition_down(triton):
        for person in users:
            clicks.append(people.tell(person, "start", TINY))
            looks.append(people.ask(user, "look", "/hub/home"))
        for click in clicks:
            looks.append(people.ask(user, "look", "/hub/home"))
            people.answer(click)  # without an answer, the server is started
        assert statistics.median(looks) < 2, looks
        assert within(90, lambda: len(alive(triton, *users)) == SLOW_HOMES)
        hub_faults.cancel_all(triton, users[3:])
    assert within(90, lambda: all(is_ready(people, person) for person in users[:3]))
    record_property(
        "measured",
        f"{SLOW_HOMES} people start whose homes do not answer: the hub's page comes to "
        f"others after {statistics.median(looks):.1f} s in the median, "
        f"{max(looks):.1f} s at most, and the {SLOW_HOMES} get their jobs",
    )
    hub_faults.cancel_all(triton, users[:3])

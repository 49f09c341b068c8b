"""What breaks in the middle of a start at the hub, when, and what must hold afterwards: for the
tests, and for `make bench ONLY=hub-faults`.

No job is left of which the hub knows nothing, what the hub calls ready answers, and it is nobody
else's.
"""

import contextlib
import random
import statistics
import threading
import time
from dataclasses import dataclass

from tools.cluster import hub
from tools.cluster.hub import TINY, Refused

MOMENTS = (
    0,
    0.1,
    0.2,
    0.3,
    0.4,
    0.6,
    0.8,
    1.0,
    1.5,
    2.0,
    3.0,
    5.0,
)  # seconds after the click on Start
OPTIONS = (
    f"{hub.WITH_STAND_INS} --ProfileSpawner.poll_interval=5 --JupyterHub.last_activity_interval=2"
)
GONE = (
    "for i in $(seq 100); do [ -e {pid} ] && kill -0 $(cat {pid}) 2>/dev/null || break; "
    "sleep 0.1; done"
)
PARTITION = hub.FACTS["partitions"]["interactive"]
CONTROLLER, SLURMD, MUNGE = "/run/slurmctld.pid", "/run/slurmd.pid", "/run/munge/munged.pid"


class Faults:
    """Each method breaks something, and returns what mends it."""

    def __init__(self, triton, people):
        self.triton, self.people = triton, people

    NAMES = (
        "controller_stopped",
        "controller_killed",
        "controller_hangs",
        "hub_stopped",
        "hub_killed",
        "slurmd_killed",
        "munge_away",
        "sbatch_killed",
        "start_cancelled",
        "job_suspended",
        "job_cancelled",
        "job_put_back",
    )

    def _signal(self, word, host, pid, then):
        self.triton.run(host, f"kill -{word} $(cat {pid})", check=False)
        return lambda: self.triton.run(host, then)

    def _hub(self, verb):
        self.triton.run("hub", f"hub-services {verb} hub")
        return lambda: self.triton.run(
            "hub", f"HUB_OPTIONS='--debug {OPTIONS}' hub-services start hub"
        )

    def _scontrol(self, user, verb, then=None):
        numbers = alive(self.triton, user)
        for number in numbers:
            self.triton.run("ctl", f"scontrol {verb} {number}", check=False)
        return lambda: [
            self.triton.run("ctl", f"scontrol {then} {number}", check=False)
            for number in numbers
            if then
        ]

    def controller_stopped(self, user):
        return self._signal("TERM", "ctl", CONTROLLER, GONE.format(pid=CONTROLLER) + "; slurmctld")

    def controller_killed(self, user):
        return self._signal("KILL", "ctl", CONTROLLER, GONE.format(pid=CONTROLLER) + "; slurmctld")

    def controller_hangs(self, user):
        return self._signal("STOP", "ctl", CONTROLLER, f"kill -CONT $(cat {CONTROLLER})")

    def accounts_stopped(self, user):
        return self._signal(
            "TERM", "ctl", "/run/slurmdbd.pid", GONE.format(pid="/run/slurmdbd.pid") + "; slurmdbd"
        )

    def proxy_stopped(self, user):
        self.triton.run("hub", "hub-services stop proxy")
        return lambda: self.triton.run("hub", "hub-services start proxy")

    def hub_stopped(self, user):
        return self._hub("stop")

    def hub_killed(self, user):
        return self._hub("kill")

    def slurmd_killed(self, user):
        nodes = self.triton.nodes
        mends = [
            self._signal("KILL", node, SLURMD, GONE.format(pid=SLURMD) + "; slurmd")
            for node in nodes
        ]
        return lambda: [mend() for mend in mends]

    def munge_away(self, user):
        return self._signal(
            "KILL", "hub", MUNGE, GONE.format(pid=MUNGE) + "; runuser -u munge -- munged --force"
        )

    def sbatch_killed(self, user):
        self.triton.run("hub", f"for pid in $(pgrep -x sbatch -u {user}); do kill -KILL $pid; done")
        return lambda: None

    def start_cancelled(self, user):
        try:
            self.people.ask(user, "stop")
        except Refused as refused:
            assert refused.status in (400, 404), refused  # it has no server to stop yet
        return lambda: None

    def job_suspended(self, user):
        return self._scontrol(user, "suspend", "resume")

    def job_cancelled(self, user):
        self.triton.run("login", f"scancel --user={user}", check=False)
        return lambda: None

    def job_put_back(self, user):
        return self._scontrol(user, "requeuehold", "release")


def alive(triton, *users):
    """The numbers of the users' jobs that are not over; none while Slurm is away."""
    rows = triton.run(
        "login",
        f"squeue --noheader --user={','.join(users)} --states=all --format='%i %T'",
        check=False,
    ).stdout.split()
    return [
        number
        for number, state in zip(rows[::2], rows[1::2], strict=True)
        if not hub.slurm.has_ended(state)
    ]


@dataclass
class Outcome:
    ready: bool
    lost: str = (
        ""  # what must not be: an orphan, a server that does not answer, one of somebody else
    )

    def __str__(self):
        return self.lost or ("ready" if self.ready else "told that it failed")


def within(seconds, holds):
    """Whether `holds` becomes true in so many seconds."""
    until = time.monotonic() + seconds
    while not (met := holds()) and time.monotonic() < until:
        time.sleep(0.3)
    return bool(met)


def trial(triton, people, user, fault, moment, rest):
    """One start with the fault at that moment, mended after `rest` seconds; then the user stops the
    server. Returns the Outcome.
    """
    people.ask(user, "log_in")
    click = people.tell(user, "start", TINY)
    time.sleep(moment)
    mend = getattr(Faults(triton, people), fault)(user)
    time.sleep(rest)
    mend()
    # A controller that was killed counts from old numbers again, and drains a node that knows them:
    # an administrator resumes it.
    triton.run(
        "ctl", f"scontrol update nodename={','.join(triton.nodes)} state=resume", check=False
    )
    hub.answers(triton)
    try:
        people.answer(click)
    except Refused:
        pass  # it failed at once; what is left counts

    seen = {}

    def settled():
        """Whether the hub and Slurm say the same, and nothing is on its way."""
        seen["hub"], seen["slurm"] = people.ask(user, "known"), alive(triton, user)
        seen["ready"] = bool(seen["hub"]["servers"].get("", {}).get("ready"))
        return not seen["hub"]["pending"] and len(seen["slurm"]) == seen["ready"]

    if not within(90, settled):
        return Outcome(
            seen["ready"],
            f"orphan or loss: the hub knows {seen['hub']['servers']}, pending "
            f"{seen['hub']['pending']}; Slurm has {seen['slurm']}"
            + triton.run(
                "login",
                "echo; squeue --noheader --format='%i %T %r'; sinfo --list-reasons --noheader",
            ).stdout.rstrip(),
        )
    ready = seen["ready"]
    if ready:

        def answers():
            try:
                said = people.ask(user, "whose")
            except (Refused, ValueError):
                return False
            assert said["user"] == user and said["prefix"] == f"/user/{user}/", (
                f"{user} reaches the server of {said}"
            )
            return said["job"] in alive(triton, user)

        if not within(30, answers):
            return Outcome(ready, "it is ready and does not answer")
        people.ask(user, "stop")
        if not within(40, lambda: not alive(triton, user)):
            return Outcome(ready, f"orphan after Stop: {alive(triton, user)}")
    return Outcome(ready)


def trials(triton, people, count, seed, say=lambda line: None):
    """So many trials, chosen at random: {"fault at moment": Outcome}.

    A user of 12 has a turn each time.
    """
    dice, users, outcomes = random.Random(seed), [triton.account() for _ in range(12)], {}
    faults = dice.sample(Faults.NAMES, len(Faults.NAMES))
    for number in range(count):
        fault, moment, rest = (
            faults[number % len(faults)],
            dice.choice(MOMENTS),
            dice.choice((0.2, 1, 3)),
        )
        name = f"{number}: {fault} after {moment} s for {rest} s"
        began = time.monotonic()
        outcomes[name] = trial(triton, people, users[number % len(users)], fault, moment, rest)
        say(f"{name}: {outcomes[name]} ({time.monotonic() - began:.0f} s)")
    return outcomes


# ---------------------------------------------------------------- many people at once


class Looks:
    """While it lasts, somebody else looks at a page of the hub again and again; `seconds` is how
    long each look took.
    """

    def __init__(self, people, user, path="/hub/home"):
        self.people, self.user, self.path, self.seconds, self.ended = (
            people,
            user,
            path,
            [],
            threading.Event(),
        )
        people.ask(user, "log_in")

    def __enter__(self):
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def _look(self):
        while not self.ended.is_set():
            with contextlib.suppress(Refused):  # the hub or the proxy is away just now
                self.seconds.append(self.people.ask(self.user, "look", self.path))
            self.ended.wait(0.1)

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    @property
    def median(self):
        return statistics.median(self.seconds)

    def __str__(self):
        return (
            f"others get the hub's page in {self.median:.1f} s in the median, "
            f"{max(self.seconds):.1f} s at most"
        )


def wrong(triton, people, users):
    """What is not as it must be, of people who all have a server: (user, what)."""
    found = []
    for user in users:
        try:
            said = people.ask(user, "whose")
        except (Refused, ValueError) as error:
            found.append((user, f"does not answer: {error}"))
            continue
        if (said["user"], said["prefix"], [said["job"]]) != (
            user,
            f"/user/{user}/",
            alive(triton, user),
        ):
            found.append((user, f"{said}, and Slurm has {alive(triton, user)}"))
    return found


def start_all(people, users, within_seconds):
    """All log in and click on Start within so many seconds; return the seconds until the last is
    ready.
    """
    for user in users:
        people.ask(user, "log_in")
    began = time.monotonic()
    clicks = []
    for number, user in enumerate(users):
        time.sleep(max(0, began + within_seconds * number / len(users) - time.monotonic()))
        clicks.append((user, people.tell(user, "start", TINY)))
    for user, click in clicks:
        people.answer(click)
    assert within(300, lambda: all(is_ready(people, user) for user in users)), [
        user for user in users if not is_ready(people, user)
    ]
    return time.monotonic() - began


def is_ready(people, user, name=""):
    return bool(people.ask(user, "known")["servers"].get(name, {}).get("ready"))


def cancel_all(triton, users):
    triton.run("login", f"for user in {' '.join(users)}; do scancel --user=$user; done")


def sixty_people(triton, people, count=60):
    """All get their own server."""
    users = [triton.account() for _ in range(count)]
    with Looks(people, triton.account()) as looks:
        took = start_all(people, users, 10)
    lost = wrong(triton, people, users)
    cancel_all(triton, users)
    return (
        lost,
        looks,
        f"{count} people who click within 10 s have their servers after {took:.0f} s, on "
        f"{len(triton.nodes)} nodes; {looks}",
    )


def hundred_waiting(triton, people, count=100):
    """While so many starts wait for a place, one more is taken; then it starts, and of the others
    none is left that was not wanted.
    """
    users, late = [triton.account() for _ in range(count // 4)], triton.account()
    names = ["", "one", "two", "three"]
    for user in (*users, late):
        people.ask(user, "log_in")
    triton.run("ctl", f"scontrol update partitionname={PARTITION} state=down")
    try:
        clicks = [people.tell(user, "start", TINY, name) for user in users for name in names]
        assert within(300, lambda: len(alive(triton, *users)) == count), alive(triton, *users)
        with Looks(people, triton.account()) as looks:
            began = time.monotonic()
            click = people.tell(late, "start", TINY)
            assert within(30, lambda: alive(triton, late)), "it is handed in"
            took = time.monotonic() - began
        for waiting in clicks:
            people.answer(waiting)  # each was accepted
        cancel_all(triton, users)
    finally:
        triton.run("ctl", f"scontrol update partitionname={PARTITION} state=up")
    people.answer(click)
    assert within(60, lambda: is_ready(people, late))
    lost = wrong(triton, people, [late])
    within(60, lambda: not alive(triton, *users))
    lost += [("some jobs", number) for number in alive(triton, *users)]
    cancel_all(triton, [late])
    return (
        lost,
        looks,
        f"{count} starts wait for a place: one more is in the queue after {took:.1f} s; {looks}",
    )


def many_streams(triton, people, count=200):
    """So many windows show the progress of starts that wait."""
    users = [triton.account() for _ in range(10)]
    for user in users:
        people.ask(user, "log_in")
    triton.run("ctl", f"scontrol update partitionname={PARTITION} state=down")
    try:
        for user in users:
            people.ask(user, "start", TINY)
        streams = [
            people.tell(users[number % len(users)], "progress", 12) for number in range(count)
        ]
        with Looks(people, triton.account()) as looks:
            heard = [people.answer(stream) for stream in streams]
        cancel_all(triton, users)
    finally:
        triton.run("ctl", f"scontrol update partitionname={PARTITION} state=up")
    lost = [("a window", "hears nothing") for number in heard if not number]
    within(60, lambda: not alive(triton, *users))
    lost += [("some jobs", number) for number in alive(triton, *users)]
    return (
        lost,
        looks,
        f"{count} windows that show the progress of starts: each hears of it; {looks}",
    )


def starts_and_stops(triton, people, count=160):
    """One user starts and stops again and again, without waiting for the end."""
    user = triton.account()
    people.ask(user, "log_in")
    names = ["", "one", "two", "three"]
    took = 0
    with Looks(people, triton.account()) as looks:
        for number in range(count):
            for verb, words in (
                ("start", (TINY, names[number % 4])),
                ("stop", (names[number % 4],)),
            ):
                try:
                    people.ask(user, verb, *words)
                    took += 1
                except Refused as refused:
                    assert 400 <= refused.status < 600, refused  # it still starts, or stops
    left = (
        []
        if within(90, lambda: not alive(triton, user))
        else [(user, f"is left with {alive(triton, user)}")]
    )
    return (
        left,
        looks,
        f"one user starts and stops {count} times ({took} of {2 * count} requests taken): "
        f"no job is left; {looks}",
    )


def restarts(triton, people, count=12):
    """Every daemon is restarted while people start: who is told that it failed starts again."""
    users, staying = [triton.account() for _ in range(count)], triton.account()
    start_all(people, [staying], 0)
    faults = Faults(triton, people)
    for user in users:
        people.ask(user, "log_in")
    for begin, fault in enumerate(
        (
            "proxy_stopped",
            "accounts_stopped",
            "slurmd_killed",
            "controller_stopped",
            "munge_away",
            "hub_stopped",
        )
    ):
        clicks = [people.tell(user, "start", TINY) for user in users[2 * begin : 2 * begin + 2]]
        time.sleep(0.5)
        getattr(faults, fault)(staying)()
        hub.answers(triton)
        for click in clicks:
            with contextlib.suppress(Refused):
                people.answer(click)
    with Looks(people, triton.account()) as looks:
        again = []
        for user in users:
            assert within(90, lambda: not people.ask(user, "known")["pending"])  # noqa: B023
            if not is_ready(people, user):
                again.append(user)
        start_all(people, again, 1)
    within(60, lambda: not wrong(triton, people, [*users, staying]))
    lost = wrong(triton, people, [*users, staying])
    cancel_all(triton, [*users, staying])
    return (
        lost,
        looks,
        (
            f"every daemon is restarted while {count} servers start: {count - len(again)} "
            f"came, {len(again)} were told to start again and did, the one that "
            f"ran before was not lost; {looks}"
        ),
    )

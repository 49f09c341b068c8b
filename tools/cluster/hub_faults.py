"""Faults in the middle of starts at the hub, for the tests and for `make bench ONLY=hub-faults`.

After a fault, the hub knows of every job that is left, and a server that the hub calls ready
answers and belongs to its user.
"""

import contextlib
import functools
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tools.cluster import hub
from tools.cluster.hub import TINY, People, Refused
from tools.cluster.small_triton import Triton
from triton.lib import slurm

# Seconds after the click on Start.
MOMENTS = (0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0)
OPTIONS = (
    f"{hub.WITH_STAND_INS} --ProfileSpawner.poll_interval=5 --JupyterHub.last_activity_interval=2"
)
GONE = (
    "for i in $(seq 100); do [ -e {pid} ] && kill -0 $(cat {pid}) 2>/dev/null || break; "
    "sleep 0.1; done"
)
PARTITION: str = hub.FACTS.partitions.interactive
NAMED_SERVERS = ("", "one", "two", "three")
CONTROLLER = "/run/slurmctld.pid"
SLURMD = "/run/slurmd.pid"
# {fault: the signal that ends a daemon, its host, the file of its number, what starts it again}
DAEMONS = {
    "controller_stopped": ("TERM", "ctl", CONTROLLER, "slurmctld"),
    "controller_killed": ("KILL", "ctl", CONTROLLER, "slurmctld"),
    "accounts_stopped": ("TERM", "ctl", "/run/slurmdbd.pid", "slurmdbd"),
    "munge_away": ("KILL", "hub", "/run/munge/munged.pid", "runuser -u munge -- munged --force"),
}
# The faults of the trials.
NAMES = (
    *("controller_stopped", "controller_killed", "controller_hangs", "hub_stopped", "hub_killed"),
    *("slurmd_killed", "munge_away", "sbatch_killed", "start_cancelled", "job_suspended"),
    *("job_cancelled", "job_put_back"),
)

Mend = Callable[[], object]
Wrong = tuple[str, object]  # (a user, what is wrong there)


class Faults:
    """Each method breaks something, and returns a function that mends it."""

    def __init__(self, triton: Triton, people: People) -> None:
        self.triton = triton
        self.people = people

    def make(self, name: str, user: str) -> Mend:
        """Make the fault `name` in the middle of a start of `user`; return what mends it."""
        if name in DAEMONS:
            return self._end(*DAEMONS[name])
        fault: Callable[[str], Mend] = getattr(self, name)
        return fault(user)

    def _signal(self, word: str, host: str, pid: str, mend: str) -> Mend:
        self.triton.run(host, f"kill -{word} $(cat {pid})", check=False)
        return lambda: self.triton.run(host, mend)

    def _end(self, word: str, host: str, pid: str, start: str) -> Mend:
        """End a daemon with a signal; the mend waits for its end, and starts it with `start`."""
        return self._signal(word, host, pid, f"{GONE.format(pid=pid)}; {start}")

    def _hub(self, verb: str) -> Mend:
        self.triton.run("hub", f"hub-services {verb} hub")
        return lambda: self.triton.run(
            "hub", f"HUB_OPTIONS='--debug {OPTIONS}' hub-services start hub"
        )

    def _scontrol(self, user: str, verb: str, mend: str) -> Mend:
        numbers = alive(self.triton, user)
        for number in numbers:
            self.triton.run("ctl", f"scontrol {verb} {number}", check=False)
        return lambda: [
            self.triton.run("ctl", f"scontrol {mend} {number}", check=False) for number in numbers
        ]

    def controller_hangs(self, user: str) -> Mend:
        return self._signal("STOP", "ctl", CONTROLLER, f"kill -CONT $(cat {CONTROLLER})")

    def proxy_stopped(self, user: str) -> Mend:
        self.triton.run("hub", "hub-services stop proxy")
        return lambda: self.triton.run("hub", "hub-services start proxy")

    def hub_stopped(self, user: str) -> Mend:
        return self._hub("stop")

    def hub_killed(self, user: str) -> Mend:
        return self._hub("kill")

    def slurmd_killed(self, user: str) -> Mend:
        mends = [self._end("KILL", node, SLURMD, "slurmd") for node in self.triton.nodes]
        return lambda: [mend() for mend in mends]

    def sbatch_killed(self, user: str) -> Mend:
        self.triton.run("hub", f"for pid in $(pgrep -x sbatch -u {user}); do kill -KILL $pid; done")
        return lambda: None

    def start_cancelled(self, user: str) -> Mend:
        try:
            self.people.ask(user, "stop")
        except Refused as refused:
            assert refused.status in (400, 404), refused  # there is no server yet
        return lambda: None

    def job_suspended(self, user: str) -> Mend:
        return self._scontrol(user, "suspend", "resume")

    def job_cancelled(self, user: str) -> Mend:
        self.triton.run("login", f"scancel --user={user}", check=False)
        return lambda: None

    def job_put_back(self, user: str) -> Mend:
        return self._scontrol(user, "requeuehold", "release")


def alive(triton: Triton, *users: str) -> list[str]:
    """The numbers of the users' jobs that have not ended; none while Slurm does not answer."""
    rows = triton.run(
        "login",
        f"squeue --noheader --user={','.join(users)} --states=all --format='%i %T'",
        check=False,
    ).stdout.split()
    return [
        number
        for number, state in zip(rows[::2], rows[1::2], strict=True)
        if not slurm.has_ended(state)
    ]


@dataclass
class Outcome:
    """The outcome of a start: whether a server is ready, and what is wrong.

    lost: a job without a server, a server that does not answer, or an empty string.
    """

    ready: bool
    lost: str = ""

    def __str__(self) -> str:
        return self.lost or ("ready" if self.ready else "failed, with a message to the user")


def within(seconds: float, holds: Callable[[], object]) -> bool:
    """Whether `holds()` becomes true in so many seconds."""
    until = time.monotonic() + seconds
    while not (met := holds()) and time.monotonic() < until:
        time.sleep(0.3)
    return bool(met)


def trial(
    triton: Triton, people: People, user: str, fault: str, moment: float, rest: float
) -> Outcome:
    """The outcome of one start with a fault, after which the user stops the server.

    fault: one of NAMES. moment: the seconds from the click to the fault. rest: the seconds
    from the fault until it is mended.
    """
    people.ask(user, "log_in")
    click = people.tell(user, "start", TINY)
    time.sleep(moment)
    mend = Faults(triton, people).make(fault, user)
    time.sleep(rest)
    mend()
    # A controller that was killed uses old job numbers again, and drains a node that knows them. An
    # administrator would resume the node.
    triton.run(
        "ctl", f"scontrol update nodename={','.join(triton.nodes)} state=resume", check=False
    )
    hub.answers(triton)
    with contextlib.suppress(Refused):  # the start may fail; it must leave nothing behind
        people.answer(click)
    known: dict[str, Any] = {}
    jobs: list[str] = []

    def ready() -> bool:
        return bool(known["servers"].get("", {}).get("ready"))

    def settled() -> bool:
        """Whether the hub and Slurm agree, and no start or stop is pending."""
        nonlocal known, jobs
        known = people.ask(user, "known")
        jobs = alive(triton, user)
        return not known["pending"] and len(jobs) == ready()

    if not within(90, settled):
        queue = triton.run(
            "login",
            "echo; squeue --noheader --format='%i %T %r'; sinfo --list-reasons --noheader",
        ).stdout.rstrip()
        return Outcome(
            ready(),
            f"hub and Slurm differ: the hub knows {known['servers']}, pending {known['pending']}; "
            f"Slurm has {jobs}{queue}",
        )
    return use_and_stop(triton, people, user) if ready() else Outcome(False)


def use_and_stop(triton: Triton, people: People, user: str) -> Outcome:
    """The outcome of a start that gave a server: it must answer, and leave no job after a stop."""

    def answers() -> bool:
        try:
            answer = people.ask(user, "whose")
        except (Refused, ValueError):
            return False
        assert answer["user"] == user and answer["prefix"] == f"/user/{user}/", (
            f"{user} reaches the server of {answer}"
        )
        return answer["job"] in alive(triton, user)

    if not within(30, answers):
        return Outcome(True, "the server is ready and does not answer")
    people.ask(user, "stop")
    if not within(40, lambda: not alive(triton, user)):
        return Outcome(True, f"jobs are left after Stop: {alive(triton, user)}")
    return Outcome(True)


def trials(
    triton: Triton,
    people: People,
    count: int,
    seed: int,
    say: Callable[[str], object] = lambda line: None,
) -> dict[str, Outcome]:
    """{fault, moment and rest of a trial: its outcome} of `count` random trials.

    12 users take turns. say: called with a line about each trial.
    """
    dice = random.Random(seed)
    users = [triton.account() for _ in range(12)]
    outcomes = {}
    faults = dice.sample(NAMES, len(NAMES))
    for number in range(count):
        fault = faults[number % len(faults)]
        moment = dice.choice(MOMENTS)
        rest = dice.choice((0.2, 1, 3))
        name = f"{number}: {fault} after {moment} s for {rest} s"
        began = time.monotonic()
        outcomes[name] = trial(triton, people, users[number % len(users)], fault, moment, rest)
        say(f"{name}: {outcomes[name]} ({time.monotonic() - began:.0f} s)")
    return outcomes


# ---------------------------------------------------------------- many people at once


class Looks:
    """A context in which another user opens a page of the hub again and again.

    `seconds`: how long the page took each time.
    """

    def __init__(self, people: People, user: str, path: str = "/hub/home") -> None:
        self.people = people
        self.user = user
        self.path = path
        self.seconds: list[float] = []
        self.ended = threading.Event()
        people.ask(user, "log_in")

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def _look(self) -> None:
        while not self.ended.is_set():
            with contextlib.suppress(Refused):  # the hub or the proxy is being restarted
                self.seconds.append(self.people.ask(self.user, "look", self.path))
            self.ended.wait(0.1)

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    @property
    def median(self) -> float:
        """The median of the seconds."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        return (
            f"others get the hub's page in {self.median:.1f} s in the median, "
            f"{max(self.seconds):.1f} s at most"
        )


# (what is wrong, the waits of another user, a line about both)
Measured = tuple[list[Wrong], Looks, str]


def wrong(triton: Triton, people: People, users: Iterable[str]) -> list[Wrong]:
    """What is wrong with the servers of `users`, who must all have one."""
    problems: list[Wrong] = []
    for user in users:
        try:
            answer = people.ask(user, "whose")
        except (Refused, ValueError) as error:
            problems.append((user, f"does not answer: {error}"))
            continue
        jobs = alive(triton, user)
        seen = (answer["user"], answer["prefix"], [answer["job"]])
        if seen != (user, f"/user/{user}/", jobs):
            problems.append((user, f"{answer}, and Slurm has {jobs}"))
    return problems


def log_in(people: People, users: Iterable[str]) -> None:
    """All users log in, at once."""
    for number in [people.tell(user, "log_in") for user in users]:
        people.answer(number)


def start_all(people: People, users: Sequence[str], within_seconds: float) -> float:
    """All users log in and click on Start within so many seconds.

    Returns the seconds until the last server is ready.
    """
    log_in(people, users)
    began = time.monotonic()
    clicks = []
    for number, user in enumerate(users):
        time.sleep(max(0, began + within_seconds * number / len(users) - time.monotonic()))
        clicks.append(people.tell(user, "start", TINY))
    for click in clicks:
        people.answer(click)
    assert within(300, lambda: all(is_ready(people, user) for user in users)), [
        user for user in users if not is_ready(people, user)
    ]
    return time.monotonic() - began


def is_ready(people: People, user: str, name: str = "") -> bool:
    """Whether the hub calls this server of the user ready."""
    return bool(people.ask(user, "known")["servers"].get(name, {}).get("ready"))


def cancel_all(triton: Triton, users: Iterable[str]) -> None:
    """Cancel all jobs of these users."""
    triton.run("login", f"for user in {' '.join(users)}; do scancel --user=$user; done")


@contextlib.contextmanager
def partition_down(triton: Triton) -> Iterator[None]:
    """A context in which no job of a server can start."""
    triton.run("ctl", f"scontrol update partitionname={PARTITION} state=down")
    try:
        yield
    finally:
        triton.run("ctl", f"scontrol update partitionname={PARTITION} state=up")


def leftovers(triton: Triton, users: Sequence[str]) -> list[Wrong]:
    """The jobs of these users that are left a minute after they were cancelled."""
    within(60, lambda: not alive(triton, *users))
    return [("some jobs", number) for number in alive(triton, *users)]


def hundred_waiting(
    triton: Triton, people: People, count: int = 100, windows: int = 200
) -> Measured:
    """While `count` starts wait in the queue, and `windows` show how they go, the hub takes one
    more.

    Then the others are cancelled: that one starts, and no other job is left.
    """
    users = [triton.account() for _ in range(count // len(NAMED_SERVERS))]
    late = triton.account()
    log_in(people, [*users, late])
    with partition_down(triton):
        clicks = [
            people.tell(user, "start", TINY, name) for user in users for name in NAMED_SERVERS
        ]
        assert within(300, lambda: len(alive(triton, *users)) == count), alive(triton, *users)
        streams = [
            people.tell(users[number % len(users)], "progress", 30) for number in range(windows)
        ]
        with Looks(people, triton.account()) as looks:
            began = time.monotonic()
            click = people.tell(late, "start", TINY)
            assert within(30, lambda: alive(triton, late)), "the hub has submitted no job"
            took = time.monotonic() - began
            messages = [people.answer(stream) for stream in streams]
        for waiting in clicks:
            people.answer(waiting)  # raises Refused if the hub has not taken it
        cancel_all(triton, users)
    people.answer(click)
    assert within(60, lambda: is_ready(people, late))
    lost: list[Wrong] = [("a window", "hears nothing") for heard in messages if not heard]
    lost += wrong(triton, people, [late]) + leftovers(triton, users)
    cancel_all(triton, [late])
    return (
        lost,
        looks,
        f"{count} starts wait for a place, and {windows} windows show how they go: each hears of "
        f"it, and one more start is in the queue after {took:.1f} s; {looks}",
    )


def starts_and_stops(triton: Triton, people: People, count: int = 160) -> Measured:
    """One user starts and stops servers again and again, without waiting for the end of each."""
    user = triton.account()
    people.ask(user, "log_in")
    accepted = 0
    with Looks(people, triton.account()) as looks:
        for number in range(count):
            name = NAMED_SERVERS[number % len(NAMED_SERVERS)]
            for verb, *words in (("start", TINY, name), ("stop", name)):
                try:
                    people.ask(user, verb, *words)
                    accepted += 1
                except Refused as refused:
                    assert 400 <= refused.status < 600, refused  # the last start or stop goes on
    lost: list[Wrong] = []
    if not within(90, lambda: not alive(triton, user)):
        lost.append((user, f"is left with {alive(triton, user)}"))
    return (
        lost,
        looks,
        f"one user starts and stops {count} times ({accepted} of {2 * count} requests taken): "
        f"no job is left; {looks}",
    )


def restarts(triton: Triton, people: People, count: int = 12) -> Measured:
    """Every daemon is restarted while people start servers. If a start fails, they start again."""
    users = [triton.account() for _ in range(count)]
    staying = triton.account()
    start_all(people, [staying], 0)
    faults = Faults(triton, people)
    log_in(people, users)
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
        faults.make(fault, staying)()
        hub.answers(triton)
        for click in clicks:
            with contextlib.suppress(Refused):
                people.answer(click)

    def decided(user: str) -> bool:
        return not people.ask(user, "known")["pending"]

    with Looks(people, triton.account()) as looks:
        again = []
        for user in users:
            assert within(90, functools.partial(decided, user))
            if not is_ready(people, user):
                again.append(user)
        start_all(people, again, 1)
    within(60, lambda: not wrong(triton, people, [*users, staying]))
    lost = wrong(triton, people, [*users, staying])
    cancel_all(triton, [*users, staying])
    return (
        lost,
        looks,
        f"every daemon is restarted while {count} servers start: {count - len(again)} "
        f"started, {len(again)} failed and started when they were asked again, the one that "
        f"ran before was not lost; {looks}",
    )

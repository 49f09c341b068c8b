"""The hub's jobs: how they are submitted, found again, asked about and ended, so that none is
forgotten.

Each start has a mark. The hub writes it down before it runs sbatch, and the job has it as its
comment. So the hub knows its job even without the number: when sbatch got no answer, when the start
was cancelled meanwhile, or when the hub was killed. A job that no server wants any more stays in
the list of Jobs. The hub ends it, and asks for it until Slurm says that it is over.
"""

import asyncio
import concurrent.futures
import contextlib
import json
import logging
import os
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import slurm

JOB_NAME = "jupyterhub"
CALLS = 8  # so many sbatch, scancel and squeue run as users at once
ENDING = 2  # so many of them end jobs that no server wants any more
EACH_USER = 4  # so many of these jobs of one user are looked after in a round
SECONDS = 60  # the longest time for a command; sudoers ends it later
PATIENCE = 3  # seconds that a page waits for squeue; squeue itself may take longer
EACH = 1  # seconds between two squeue that ask for all jobs
LATE = 600  # seconds after which an sbatch without an answer brings no job any more
AGAIN = 10  # seconds until a job that goes on after scancel is ended again
MARK = re.compile(r"/[0-9a-f]{16}$")
T = TypeVar("T")
log = logging.getLogger(
    "JupyterHub.jobs"
)  # below the application's, so that its lines stand in the hub's log


class SlurmSilent(Exception):
    """Slurm did not answer, so nothing is known; the argument is what the command said instead."""


class SlurmRefuses(SlurmSilent):
    """Slurm, or sudo, said no."""


async def aside(function: Callable[[], T], seconds: float | None) -> T:
    """What `function` returns. It may hang, so it runs in a thread of its own.

    Raises TimeoutError if it takes more than so many seconds; the thread goes on.

    In a pool, threads that hang would hold up others and the end of the hub. A subprocess of
    asyncio that is cancelled while it begins would never end.
    """
    loop, answer = asyncio.get_running_loop(), concurrent.futures.Future[T]()

    def work() -> None:
        try:
            answer.set_result(function())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(answer, loop=loop)), seconds)


def _run(command: tuple[str, ...], input: str, env: dict[str, str], seconds: float) -> str:
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=env,
            cwd="/",
        )
    except OSError as error:
        raise SlurmSilent(f"{command[0]} cannot be run: {error.strerror}") from None
    try:
        out, messages = process.communicate(input, timeout=seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(PermissionError, ProcessLookupError):  # sudo is root's
            process.kill()
        raise SlurmSilent(f"{command[0]} did not answer in {seconds:.0f} seconds") from None
    if process.returncode:
        said = messages.strip() or f"{command[0]} ended with {process.returncode}"
        # Ended by a signal, or Slurm is away.
        unknown = not 0 < process.returncode < 128 or slurm.is_away(messages)
        raise (SlurmSilent if unknown else SlurmRefuses)(said)
    return out


async def run(
    *command: str, input: str = "", env: dict[str, str] | None = None, seconds: float = SECONDS
) -> str:
    """Run `command`; return what it printed. Raises SlurmSilent or SlurmRefuses with its message.

    If the caller is cancelled, the command goes on: to kill sbatch does not take back what it has
    begun.
    """
    try:
        return await aside(
            lambda: _run(command, input, slurm.for_queries() if env is None else env, seconds),
            seconds + 5,
        )
    except TimeoutError:
        raise SlurmSilent(f"{command[0]} did not answer in {seconds:.0f} seconds") from None


@dataclass(frozen=True)
class Job:
    number: str
    user: str
    state: str  # Slurm's: PENDING, RUNNING, OUT_OF_MEMORY ...
    reason: str  # why it waits, or why it ended
    node: str
    start: str  # when it starts, or started; N/A if Slurm cannot tell
    status: str  # with what it exited
    mark: str  # its comment

    @property
    def over(self) -> bool:
        return slurm.has_ended(self.state)

    @property
    def exit_code(self) -> int:
        """With what its script ended; negative if by a signal. squeue prints what wait() says, from
        23.02 on "28:0" of it.
        """
        code, colon, signal = self.status.partition(":")
        if not colon:
            return (
                os.waitstatus_to_exitcode(int(code)) if code.isdigit() and int(code) < 65536 else 0
            )
        return int(code) or -int(signal)


FIELDS = {
    "JobID": 30,
    "UserName": 64,
    "State": 20,
    "Reason": 80,
    "BatchHost": 100,
    "StartTime": 20,
    "exit_code": 12,
    "Comment": 100,
}
SQUEUE = (
    "squeue",
    "--noheader",
    "--states=all",
    f"--name={JOB_NAME}",
    "--Format=" + ",".join(f"{name}:{width}|" for name, width in FIELDS.items()),
)


def parse(lines: str) -> dict[str, Job]:
    """The jobs that squeue printed, by number.

    A line counts only if each column has the width that was asked for. So a comment with line
    breaks cannot make a line that counts.
    """
    *widths, _ = FIELDS.values()
    rows = (line.split("|", len(widths)) for line in lines.split("\n"))
    return {
        row[0].strip(): Job(*map(str.strip, (*row[:-1], row[-1].removesuffix("|"))))
        for row in rows
        if [*map(len, row[:-1])] == widths
    }


class Queue:
    """The jobs of all servers, also of those that ended minutes ago; one squeue serves all."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.silent = ""  # what squeue said instead, the last time
        self.began = -float("inf")  # when that squeue was started
        self.asking: asyncio.Task[None] | None = None

    async def listing(self, since: float) -> dict[str, Job]:
        """The jobs by number, from a squeue that was started at `since` or later.

        Raises SlurmSilent, also if squeue takes too long.
        """
        until = time.monotonic() + PATIENCE
        while self.began < since:
            self.asking = self.asking or asyncio.create_task(self._ask())
            done, _ = await asyncio.wait({self.asking}, timeout=max(0.0, until - time.monotonic()))
            if not done:
                raise SlurmSilent("squeue has not answered yet")
        if self.silent:
            raise SlurmSilent(self.silent)
        return self.jobs

    async def _ask(self) -> None:
        began = time.monotonic()
        try:
            await asyncio.sleep(self.began + EACH - began)
            began = time.monotonic()
            self.jobs, self.silent = parse(await run(*SQUEUE)), ""
        except SlurmSilent as error:
            self.silent = str(error)
            log.warning("squeue: %s", error)
        finally:
            self.began, self.asking = began, None


class Starts:
    """The starts that were handed to Slurm and may not be over: {mark: {"user", "job", "since"}}.

    A file keeps them.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.entries, self.writing = path, {}, threading.Lock()
        try:
            self.entries = json.loads(path.read_text())
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            log.error(
                "%s cannot be read (%s). Jobs are known by their comments alone.", path, error
            )

    async def note(self, mark: str, user: str, job: str = "") -> bool:
        """Write down a start, or the number of its job; return whether it is on the disk."""
        return await self.note_all([(mark, user, job)])

    async def note_all(self, starts: Iterable[tuple[str, str, str]]) -> bool:
        """The same for many (mark, user, number) at once."""
        new = {
            mark: (self.entries.get(mark) or {"user": user, "since": time.time()}) | {"job": job}
            for mark, user, job in starts
        }
        self.entries = self.entries | new
        return await self._write() if new else True

    async def over(self, *marks: str) -> None:
        """Slurm says that the jobs of these marks are over."""
        self.entries = {mark: entry for mark, entry in self.entries.items() if mark not in marks}
        if marks:
            await self._write()

    async def _write(self) -> bool:
        def write() -> None:
            with (
                self.writing,
                open(
                    os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                    "w",
                    encoding="utf-8",
                ) as file,
            ):
                json.dump(self.entries, file)
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(self.path)

        temporary = self.path.with_suffix(".new")
        try:
            await aside(write, SECONDS)
        except (OSError, TimeoutError) as error:
            log.error("%s cannot be written: %s", self.path, error)
            return False
        return True


class Jobs:
    """All jobs of one hub.

    `hub` tells its marks from those of other hubs; `path` is where its starts are kept.
    """

    def __init__(self, hub: str, path: Path) -> None:
        self.hub, self.starts, self.queue = hub, Starts(path), Queue()
        self.own_mark = re.compile(re.escape(hub) + MARK.pattern)
        self.calls, self.ending = asyncio.Semaphore(CALLS), asyncio.Semaphore(ENDING)
        self.wake = asyncio.Event()
        self.next_try: dict[str, float] = {}
        self.told_that_jobs_are_private = False

    def new_mark(self) -> str:
        return f"{self.hub}/{os.urandom(8).hex()}"  # see MARK

    async def as_user(
        self, user: str, *command: str, input: str = "", env: dict[str, str] | None = None
    ) -> str:
        """What the command prints that is run as the user. Raises SlurmSilent, SlurmRefuses."""
        async with self.calls:
            return await run(
                "sudo",
                "--non-interactive",
                f"--user={user}",
                "--",
                *command,
                input=input,
                env={"PATH": os.environ["PATH"], **(env or {})},
            )

    async def submit(self, mark: str, user: str, script: str, env: dict[str, str]) -> str:
        """Hand in a job that carries `mark`, which has been noted; return its number.

        Raises SlurmRefuses.

        It waits while Slurm does not answer. If sbatch tells no number, the job is looked for by
        its mark. If there is none, the job is handed in again.
        """
        while True:
            try:
                printed = await self.as_user(user, "sbatch", "--parsable", input=script, env=env)
                found = re.search(r"^(\d+)(;\S*)?$", printed, re.MULTILINE)
                if not found:
                    raise SlurmSilent(f"sbatch printed no number: {printed.strip()!r}")
                number = found[1]
            except SlurmRefuses:
                await self.starts.over(mark)
                raise
            except SlurmSilent as error:
                log.warning("sbatch for %s came to no answer: %s", user, error)
                number = await self._number(mark, user)
            if number:
                await self.starts.note(mark, user, number)
                return number

    async def _number(self, mark: str, user: str) -> str:
        """The number of the job with this mark, once Slurm answers; empty if there is none."""
        while True:
            await asyncio.sleep(EACH)
            try:
                job = await self.find(user, time.monotonic(), mark=mark)
                return job.number if job else ""
            except SlurmSilent:
                continue

    async def find(self, user: str, since: float, number: str = "", mark: str = "") -> Job | None:
        """The user's job of this number, or without one of this mark, as Slurm saw it at `since` or
        later; None if there is none.

        If the hub does not see the job, squeue is run as its owner: the job ended long ago, or
        Slurm's PrivateData hides it. Raises SlurmSilent.
        """
        if job := _choose((await self.queue.listing(since)).values(), user, number, mark):
            return job
        if job := _choose(
            (await self.queue.listing(time.monotonic())).values(), user, number, mark
        ):
            return job  # it was younger than that
        job = _choose(parse(await self.as_user(user, *SQUEUE)).values(), user, number, mark)
        if job and not self.told_that_jobs_are_private:
            self.told_that_jobs_are_private = True
            log.error(
                "squeue hides from the hub what it shows to users. Make the hub's user "
                "an operator: see PrivateData in README.md"
            )
        return job

    async def cancel(self, user: str, number: str) -> None:
        """Ask Slurm to end a job; what it says against that goes to the log."""
        log.info("Cancelling job %s of %s", number, user)
        try:
            await self.as_user(user, "scancel", number)
        except SlurmSilent as error:
            log.error("scancel of job %s: %s", number, error)

    async def accounted(self, number: str) -> tuple[str | None, int]:
        """The state of a job and the most memory it had, in bytes, from Slurm's accounts; (None, 0)
        if they know nothing.
        """
        command = (
            "sacct",
            "--noheader",
            "--parsable2",
            f"--jobs={number}",
            "--noconvert",
            "--format=State,MaxRSS",
        )
        try:
            async with self.calls:
                lines = await run(*command, seconds=10)
        except SlurmSilent:
            return None, 0
        rows = [line.split("|") for line in lines.splitlines()]
        state = rows[0][0].split()[0] if rows and rows[0][0] else None
        return state, max(
            (int(float(rss)) for _, rss in rows if re.fullmatch(r"[\d.]+", rss)), default=0
        )

    # What no server wants any more.

    def tend(self, wanted: Callable[[], set[str]]) -> None:
        """From now on, end the jobs of which neither mark nor number is in what `wanted` returns.

        Does nothing where no hub begins to run.
        """
        with contextlib.suppress(RuntimeError):  # jupyterhub token, upgrade-db
            self.tending = asyncio.get_running_loop().create_task(self._tend(wanted))

    async def _tend(self, wanted: Callable[[], set[str]]) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.wake.wait(), 2 if self.next_try else 15)
            self.wake.clear()
            try:
                await self._round(wanted)
            except Exception:  # whatever it is, the next round comes
                log.exception("Jobs that are to be ended could not be looked after")

    async def _round(self, wanted: Callable[[], set[str]]) -> None:
        try:
            seen = await self.queue.listing(time.monotonic())
        except SlurmSilent:
            return
        entries = self.starts.entries
        own = [
            job
            for job in seen.values()
            if self.own_mark.fullmatch(job.mark)
            and not job.over
            and entries.get(job.mark, {"user": job.user})["user"] == job.user
        ]
        strays = few_of_each((job.user, job) for job in own if job.mark not in entries)
        # a twin: sbatch brought it though it said that it had not
        twins = {
            job.number: job.user
            for job in own
            if job.mark in entries and entries[job.mark]["job"] not in ("", job.number)
        }
        # Marks are public: of two jobs with one, the older is the hub's.
        strays.sort(key=lambda job: int(job.number), reverse=True)
        await self.starts.note_all((job.mark, job.user, job.number) for job in strays)
        left = {mark: entry["user"] for mark, entry in self._unwanted(wanted).items()}
        self.next_try = {key: self.next_try.get(key, 0.0) for key in left | twins}
        due = few_of_each(
            (user, key)
            for key, user in sorted((left | twins).items(), key=lambda item: self.next_try[item[0]])
            if self.next_try[key] < time.monotonic()
        )
        over = await asyncio.gather(
            *(
                self._end_twin(key, twins[key]) if key in twins else self._end(key, seen, wanted)
                for key in due
            )
        )
        await self.starts.over(*(key for key, is_over in zip(due, over, strict=True) if is_over))

    def _unwanted(self, wanted: Callable[[], set[str]]) -> dict[str, dict[str, Any]]:
        """The starts that no server wants now.

        Call it after squeue: a start is wanted before its job is in the queue.
        """
        keep = wanted() - {""}
        return {
            mark: entry
            for mark, entry in self.starts.entries.items()
            if mark not in keep and entry["job"] not in keep
        }

    async def _end(self, mark: str, seen: dict[str, Job], wanted: Callable[[], set[str]]) -> bool:
        """End the job of this start, if it is not over; return whether it is."""
        entry = self.starts.entries[mark]
        user, number = entry["user"], entry["job"]
        job = _choose(seen.values(), user, number, mark)
        async with self.ending:
            if job is None:
                try:
                    seen = parse(await self.as_user(user, *SQUEUE))
                    job = _choose(seen.values(), user, number, mark)
                    if job is None or job.over:  # a twin, which the hub does not see
                        job = next(
                            (
                                twin
                                for twin in seen.values()
                                if twin.mark == mark and twin.user == user and not twin.over
                            ),
                            job,
                        )
                except SlurmSilent as error:
                    log.warning("Whether a job of %s is to be ended is not known: %s", user, error)
                    self.next_try[mark] = time.monotonic() + 6 * AGAIN
                    return False
                # It was noted just now, and its server came while squeue was asked.
                if mark not in self._unwanted(wanted):
                    return False
            if job.over if job else number or time.time() - entry["since"] > LATE:
                self.next_try.pop(mark, None)
                return True
            self.next_try[mark] = time.monotonic() + AGAIN * (1 if job else 6)
            if job and job.state != "COMPLETING":
                await self.cancel(user, job.number)
            return False

    async def _end_twin(self, number: str, user: str) -> bool:
        """End a job beside that of a start; return False, for the start itself is not over."""
        self.next_try[number] = time.monotonic() + AGAIN
        async with self.ending:
            await self.cancel(user, number)
        return False


def few_of_each(of_users: Iterable[tuple[str, T]]) -> list[T]:
    """The first EACH_USER of each user. So a user who hands in a thousand jobs with the mark of a
    hub holds up nobody else.
    """
    counts, few = Counter[str](), list[T]()
    for user, item in of_users:
        counts[user] += 1
        if counts[user] <= EACH_USER:
            few.append(item)
    return few


def _choose(jobs: Iterable[Job], user: str, number: str, mark: str) -> Job | None:
    """The user's job of this number, or without one of this mark.

    Slurm that has lost a job may give its number to another, with its own mark.
    """
    if number:
        return next(
            (
                job
                for job in jobs
                if job.number == number
                and job.user == user
                and (job.mark == mark or not MARK.search(job.mark))
            ),
            None,
        )
    return next((job for job in jobs if job.mark == mark and job.user == user), None)

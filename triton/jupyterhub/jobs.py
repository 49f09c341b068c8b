"""The hub's jobs: it submits, finds, queries and ends them, and forgets none.

Each start has a mark. The hub writes the mark down before it runs sbatch, and the job carries it as
its comment. So the hub knows its job even without the number: when sbatch gave no answer, when the
start was cancelled meanwhile, or when the hub was killed. A job that no server needs stays in the
list of Jobs. The hub ends it, and asks for it until Slurm says that it has ended.
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
MOST_CALLS = 8  # the most sbatch, scancel and squeue that run as users at once
MOST_ENDING_CALLS = 2  # the most of them that end jobs which no server needs
MOST_OF_USER = 4  # the most of these jobs of one user in one round
COMMAND_SECONDS = 60  # the time limit of a command; sudoers has a longer one
PATIENCE = 3  # seconds that a page waits for squeue; squeue itself may take longer
SQUEUE_SECONDS = 1  # seconds between two squeue for all jobs
SBATCH_SECONDS = 600  # seconds after which an sbatch without an answer can no longer create a job
SCANCEL_SECONDS = 10  # seconds until scancel is repeated for a job that goes on
MARK = re.compile(r"/[0-9a-f]{16}$")
T = TypeVar("T")
log = logging.getLogger(
    "JupyterHub.jobs"
)  # a child of the application's logger, so its lines appear in the hub's log


class SlurmSilent(Exception):
    """Slurm did not answer, so nothing is known. The argument is the command's message."""


class SlurmRefuses(SlurmSilent):
    """Slurm or sudo has refused."""


async def in_thread(function: Callable[[], T], seconds: float | None) -> T:
    """What `function` returns. It may hang, so it runs in a thread of its own.

    Raises TimeoutError after `seconds`; the thread goes on.

    In a thread pool, threads that hang would block others and the end of the hub. An asyncio
    subprocess that is cancelled while it starts would never end.
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
        with contextlib.suppress(PermissionError, ProcessLookupError):  # sudo runs as root
            process.kill()
        raise SlurmSilent(f"{command[0]} did not answer in {seconds:.0f} seconds") from None
    if process.returncode:
        message = messages.strip() or f"{command[0]} ended with {process.returncode}"
        # A command that a signal ended, or a Slurm that is away, tells nothing about the job.
        unknown = not 0 < process.returncode < 128 or slurm.is_away(messages)
        raise (SlurmSilent if unknown else SlurmRefuses)(message)
    return out


async def run(
    *command: str,
    input: str = "",
    env: dict[str, str] | None = None,
    seconds: float = COMMAND_SECONDS,
) -> str:
    """Run `command`; return its output. Raises SlurmSilent or SlurmRefuses with its message.

    The command goes on if the caller is cancelled: killing sbatch does not undo what it has begun.
    """
    try:
        return await in_thread(
            lambda: _run(command, input, slurm.for_queries() if env is None else env, seconds),
            seconds + 5,
        )
    except TimeoutError:
        raise SlurmSilent(f"{command[0]} did not answer in {seconds:.0f} seconds") from None


@dataclass(frozen=True)
class Job:
    number: str
    user: str
    state: str  # a state of Slurm: PENDING, RUNNING, OUT_OF_MEMORY ...
    reason: str  # why it waits, or why it has ended
    node: str
    start: str  # the expected or actual time of its start; N/A if Slurm does not know it
    status: str  # its exit status, as squeue prints it
    mark: str  # the job's comment

    @property
    def over(self) -> bool:
        return slurm.has_ended(self.state)

    @property
    def exit_code(self) -> int:
        """The exit status of the job's script; negative if a signal ended it.

        squeue prints the number that wait() returns; from 23.02 on, a status of 28 is "28:0".
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

    A line counts only if each column has the requested width. So a comment with line breaks cannot
    add a job.
    """
    *widths, _ = FIELDS.values()
    rows = (line.split("|", len(widths)) for line in lines.split("\n"))
    return {
        row[0].strip(): Job(*map(str.strip, (*row[:-1], row[-1].removesuffix("|"))))
        for row in rows
        if [*map(len, row[:-1])] == widths
    }


class Queue:
    """The jobs of all servers, including those that ended minutes ago. One squeue serves all."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.fault = ""  # the error message of the last squeue
        self.began = -float("inf")  # when the last squeue was started
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
        if self.fault:
            raise SlurmSilent(self.fault)
        return self.jobs

    async def _ask(self) -> None:
        began = time.monotonic()
        try:
            await asyncio.sleep(self.began + SQUEUE_SECONDS - began)
            began = time.monotonic()
            self.jobs, self.fault = parse(await run(*SQUEUE)), ""
        except SlurmSilent as error:
            self.fault = str(error)
            log.warning("squeue: %s", error)
        finally:
            self.began, self.asking = began, None


class Starts:
    """The starts that were handed to Slurm and may not be over: {mark: {"user", "job", "since"}}.

    They are kept in a file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.entries, self.writing = path, {}, threading.Lock()
        try:
            self.entries = {
                mark: {key: entry[key] for key in ("user", "job", "since")}
                for mark, entry in json.loads(path.read_text()).items()
            }
        except FileNotFoundError:
            pass
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            log.error(
                "%s cannot be read (%r). Jobs are known by their comments alone.", path, error
            )

    async def note(self, mark: str, user: str, job: str = "") -> bool:
        """Write down a start, or the number of its job; return whether the file was written."""
        return await self.note_all([(mark, user, job)])

    async def note_all(self, starts: Iterable[tuple[str, str, str]]) -> bool:
        """Write down many (mark, user, number) at once; return whether the file was written."""
        new = {
            mark: (self.entries.get(mark) or {"user": user, "since": time.time()}) | {"job": job}
            for mark, user, job in starts
        }
        self.entries = self.entries | new
        return await self._write() if new else True

    async def over(self, *marks: str) -> None:
        """Remove these marks: Slurm says that their jobs have ended."""
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
            await in_thread(write, COMMAND_SECONDS)
        except (OSError, TimeoutError) as error:
            log.error("%s cannot be written: %s", self.path, error)
            return False
        return True


class Jobs:
    """All jobs of one hub.

    `hub` distinguishes its marks from those of other hubs; `path` is the file of its starts.
    """

    def __init__(self, hub: str, path: Path) -> None:
        self.hub, self.starts, self.queue = hub, Starts(path), Queue()
        self.own_mark = re.compile(re.escape(hub) + MARK.pattern)
        self.calls, self.ending = (
            asyncio.Semaphore(MOST_CALLS),
            asyncio.Semaphore(MOST_ENDING_CALLS),
        )
        self.wake = asyncio.Event()
        self.next_try: dict[str, float] = {}
        self.warned_of_private_jobs = False

    def new_mark(self) -> str:
        return f"{self.hub}/{os.urandom(8).hex()}"  # MARK matches it

    async def as_user(
        self, user: str, *command: str, input: str = "", env: dict[str, str] | None = None
    ) -> str:
        """The output of a command that runs as the user. Raises SlurmSilent or SlurmRefuses."""
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
        """Submit a job with `mark`, which is already written down; return its number.

        Raises SlurmRefuses.

        Waits while Slurm does not answer. If sbatch prints no number, it looks for the job by its
        mark, and submits again if there is none.
        """
        while True:
            try:
                printed = await self.as_user(user, "sbatch", "--parsable", input=script, env=env)
                match = re.search(r"^(\d+)(;\S*)?$", printed, re.MULTILINE)
                if not match:
                    raise SlurmSilent(f"sbatch printed no number: {printed.strip()!r}")
                number = match[1]
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
            await asyncio.sleep(SQUEUE_SECONDS)
            try:
                job = await self.find(user, time.monotonic(), mark=mark)
                return job.number if job else ""
            except SlurmSilent:
                continue

    async def find(self, user: str, since: float, number: str = "", mark: str = "") -> Job | None:
        """The user's job with this number or, if none is given, with this mark; None if there is
        none.

        The answer is as Slurm saw it at `since` or later. If the hub does not see the job, squeue
        runs as the job's owner: the job may have ended long ago, or Slurm's PrivateData may hide
        it. Raises SlurmSilent.
        """
        if job := _choose((await self.queue.listing(since)).values(), user, number, mark):
            return job
        if job := _choose(
            (await self.queue.listing(time.monotonic())).values(), user, number, mark
        ):
            return job  # the job is newer than the first listing
        job = _choose(parse(await self.as_user(user, *SQUEUE)).values(), user, number, mark)
        if job and not self.warned_of_private_jobs:
            self.warned_of_private_jobs = True
            log.error(
                "squeue hides from the hub what it shows to users. Make the hub's user "
                "an operator: see PrivateData in README.md"
            )
        return job

    async def cancel(self, user: str, number: str) -> None:
        """Ask Slurm to end a job; an error message goes to the log."""
        log.info("Cancelling job %s of %s", number, user)
        try:
            await self.as_user(user, "scancel", number)
        except SlurmSilent as error:
            log.error("scancel of job %s: %s", number, error)

    async def accounted(self, number: str) -> tuple[str | None, int]:
        """The state of a job and its peak memory in bytes, from Slurm's accounting; (None, 0) if it
        has no record.
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

    # Jobs that no server needs.

    def tend(self, wanted: Callable[[], set[str]]) -> None:
        """From now on, end each job whose mark and number are both missing in what `wanted`
        returns.

        Does nothing without an event loop, where no hub runs.
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
            except Exception:  # any error: the next round tries again
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
        strays = first_of_each_user((job.user, job) for job in own if job.mark not in entries)
        # A twin is a second job of a start: sbatch had reported an error, but created it.
        twins = {
            job.number: job.user
            for job in own
            if job.mark in entries and entries[job.mark]["job"] not in ("", job.number)
        }
        # Everybody can read a mark. Of two jobs with the same mark, the older belongs to the hub.
        strays.sort(key=lambda job: int(job.number), reverse=True)
        await self.starts.note_all((job.mark, job.user, job.number) for job in strays)
        left = {mark: entry["user"] for mark, entry in self._unwanted(wanted).items()}
        self.next_try = {key: self.next_try.get(key, 0.0) for key in left | twins}
        due = first_of_each_user(
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
        """The starts that no server needs now.

        Call it after squeue: a start is wanted before its job is in the queue.
        """
        keep = wanted() - {""}
        return {
            mark: entry
            for mark, entry in self.starts.entries.items()
            if mark not in keep and entry["job"] not in keep
        }

    async def _end(self, mark: str, seen: dict[str, Job], wanted: Callable[[], set[str]]) -> bool:
        """End the job of this start unless it has ended; return whether it has."""
        entry = self.starts.entries[mark]
        user, number = entry["user"], entry["job"]
        job = _choose(seen.values(), user, number, mark)
        async with self.ending:
            if job is None:
                try:
                    seen = parse(await self.as_user(user, *SQUEUE))
                    job = _choose(seen.values(), user, number, mark)
                    if job is None or job.over:  # there may be a twin that the hub does not see
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
                    self.next_try[mark] = time.monotonic() + 6 * SCANCEL_SECONDS
                    return False
                # The start was written down just now, and its server appeared while squeue ran.
                if mark not in self._unwanted(wanted):
                    return False
            if job.over if job else number or time.time() - entry["since"] > SBATCH_SECONDS:
                self.next_try.pop(mark, None)
                return True
            self.next_try[mark] = time.monotonic() + SCANCEL_SECONDS * (1 if job else 6)
            if job and job.state != "COMPLETING":
                await self.cancel(user, job.number)
            return False

    async def _end_twin(self, number: str, user: str) -> bool:
        """End a second job of a start. Always returns False: the start itself goes on."""
        self.next_try[number] = time.monotonic() + SCANCEL_SECONDS
        async with self.ending:
            await self.cancel(user, number)
        return False


def first_of_each_user(of_users: Iterable[tuple[str, T]]) -> list[T]:
    """The first MOST_OF_USER items of each user.

    So a user who submits a thousand jobs with the hub's mark delays nobody else.
    """
    counts, few = Counter[str](), list[T]()
    for user, item in of_users:
        counts[user] += 1
        if counts[user] <= MOST_OF_USER:
            few.append(item)
    return few


def _choose(jobs: Iterable[Job], user: str, number: str, mark: str) -> Job | None:
    """The user's job with this number or, if none is given, with this mark.

    A Slurm that has lost a job may give its number to another job, which has another mark.
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

"""Validate notebooks as jobs of Slurm, and gather their results as they come.

    python -m tools.validate.runner validate --on slurm [--resume] [NAME ...]

On a cluster's login node, from a checkout that its nodes see. A job array for each set of notebooks
that declare the same time, memory and partition; each of its tasks runs one notebook (job.py), as
`validate` does on one machine. Ctrl-C cancels the jobs. If the terminal ends they go on, and
--resume gathers them. What a dead node took with it is submitted once more; what was preempted,
again. All of them run, also what passed before: on which machine they come to run is not known.
"""

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from tools.files import ROOT, write_whole
from tools.validate import changes, requirements
from tools.validate.catalogue import StoredNotebook
from tools.validate.result import Report, Result
from triton.lib import clusterfacts

FOLDER = ROOT / "_build/slurm"
POLL = 1  # seconds
# seconds in which the result of a job that has ended may still come in over a network file system
GRACE = 15
# what the validation itself takes, beside the notebook
SPARE_SECONDS = 60
SPARE_MB = 300
# the state of a job that may be submitted again, and how often
LOST = {"NODE_FAIL": 1, "BOOT_FAIL": 1, "PREEMPTED": 5}
# states of a job that may still write its result, or that Slurm has not told yet
NOT_FAILED = ("COMPLETED", "PENDING", "RUNNING", "COMPLETING", "UNKNOWN")
LOG_CHARACTERS = 2000  # of the end of a job's log
SCRIPT = """#!/bin/bash
#SBATCH --job-name={name} --array=0-{last}
#SBATCH --time={minutes} --mem={memory}M --partition={partition} --cpus-per-task=1
#SBATCH --no-requeue --output={log}
exec {python} -m tools.validate.job {batch}
"""


class SlurmError(Exception):
    """What is wrong and what to do, in one sentence."""


def validate(
    notebooks: Sequence[StoredNotebook],
    report: Report = lambda result: None,
    resume: bool = False,
    folder: Path = FOLDER,
) -> list[Result]:
    """Run each of `notebooks` in a job; call `report` with each Result as it comes and return them
    all; raises SlurmError.

    resume: gather the run that is in `folder` instead of beginning one.
    """
    with _alone(folder):
        left = sorted(path.parent for path in folder.glob("*/state.json"))
        if left and not resume:
            raise SlurmError(
                f"A run that began {left[0].name.replace('T', ' ')} has not been "
                "gathered: make notebooks ON=slurm RESUME=1 does it"
            )
        if resume and not left:
            raise SlurmError("There is no run to resume: make notebooks ON=slurm begins one")
        results = []

        def finish(result: Result) -> None:
            results.append(result)
            report(result)

        run = _Run(
            left[0] if left else folder / time.strftime("%Y-%m-%dT%H:%M:%S"),
            {notebook.name: notebook for notebook in notebooks},
        )
        if left:
            run.adopt()
        else:
            surroundings = changes.Surroundings()
            ready = []
            for notebook in notebooks:
                if result := requirements.not_run(notebook, surroundings):
                    finish(result)
                else:
                    ready.append(notebook.name)
            if not ready:
                return results
            try:
                run.submit(ready)
            except (KeyboardInterrupt, SlurmError):
                run.cancel()
                raise
        try:
            for result in run.gather():
                finish(result)
        except KeyboardInterrupt:
            run.cancel()
            raise
        except SlurmError as error:
            raise SlurmError(
                f"{error}\nIts jobs go on; make notebooks ON=slurm RESUME=1 gathers them"
            ) from None
        shutil.rmtree(run.folder, ignore_errors=True)
        return results


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`: two gatherers would submit what was lost twice."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "lock", "w", encoding="utf-8")  # noqa: SIM115  closed below
    except OSError as error:
        raise SlurmError(f"Nothing was submitted: {error}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SlurmError(
                f"Another `make notebooks ON=slurm` gathers from {folder} already"
            ) from None
        yield


class _Batch(TypedDict):
    """An array of jobs: its name, its tasks (names of notebooks), and its number, None until it is
    known.
    """

    name: str
    tasks: list[str]
    job: str | None


class _State(TypedDict):
    """What is written down of a run: its batches, and how often the job of a notebook was lost."""

    batches: list[_Batch]
    lost: dict[str, int]


class _Run:
    """One validation: its folder, and its state, which is written before anything is submitted."""

    def __init__(self, folder: Path, notebooks: dict[str, StoredNotebook]) -> None:
        self.folder = folder
        self.notebooks = notebooks
        self.state: _State = {"batches": [], "lost": {}}

    def save(self) -> None:
        self._write("state.json", self.state)

    def _write(self, name: str, value: object) -> None:
        try:
            (self.folder / "results").mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / name, json.dumps(value))
        except OSError as error:
            raise SlurmError(f"The run could not be written down: {error}") from None

    def adopt(self) -> None:
        """Take up the state of a run whose gatherer has ended."""
        self.state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        forget = f"To forget the run: rm -r {self.folder}"
        if gone := set(self.tasks()) - set(self.notebooks):
            raise SlurmError(
                f"The run in {self.folder} is of notebooks that are not there any more: "
                f"{', '.join(sorted(gone))}. {forget}"
            )
        for batch in self.state["batches"]:
            if batch["job"] is None:
                raise SlurmError(
                    f"It ended while it submitted {', '.join(batch['tasks'])}. To end those jobs: "
                    f"scancel --me --name={batch['name']}. {forget}"
                )

    def submit(self, names: Sequence[str]) -> None:
        """One array for each set of limits, the longest first."""
        groups: dict[_Asked, list[str]] = {}
        for name in sorted(names, key=lambda name: -self.notebooks[name].expected_seconds):
            groups.setdefault(_asked(self.notebooks[name]), []).append(name)
        for tasks in groups.values():
            name = f"notebooks-{self.folder.name}-{len(self.state['batches'])}"
            batch: _Batch = {"name": name, "tasks": tasks, "job": None}
            self.state["batches"].append(batch)
            places = [[task, str(self.notebooks[task].folder)] for task in tasks]
            self._write(f"{name}.json", places)
            self.save()
            self._sbatch(batch)

    def _sbatch(self, batch: _Batch) -> None:
        asked = _asked(self.notebooks[batch["tasks"][0]])
        script = SCRIPT.format(
            name=batch["name"],
            last=len(batch["tasks"]) - 1,
            minutes=asked.minutes,
            memory=asked.memory_mb,
            partition=shlex.quote(asked.partition),
            log=shlex.quote(f"{str(self.folder).replace('%', '%%')}/{batch['name']}-%a.log"),
            python=shlex.quote(sys.executable),
            batch=shlex.quote(f"{self.folder}/{batch['name']}.json"),
        )
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        batch["job"] = _slurm("sbatch", "--parsable", input=script, env=environment).split(";")[0]
        self.save()

    def tasks(self) -> dict[str, str]:
        """The job of each notebook, as Slurm writes it: the last one, if it was submitted more than
        once.
        """
        return {
            name: f"{batch['job']}_{index}"
            for batch in self.state["batches"]
            for index, name in enumerate(batch["tasks"])
        }

    def gather(self) -> Iterator[Result]:
        """Yield the Result of each notebook as it comes."""
        open_names = set(self.tasks())
        ended: dict[str, float] = {}  # when each job was first seen to have ended
        while open_names:
            tasks = self.tasks()
            live = _live()  # before the results: a job that is gone from here has written its own
            for name in sorted(open_names):
                result = self._result(name)
                if result is None and live is not None and tasks[name] not in live:
                    ended.setdefault(tasks[name], time.monotonic())
                    result = self._of_ended(name, tasks[name], ended[tasks[name]])
                if result:
                    open_names.discard(name)
                    yield result
            if open_names:
                time.sleep(POLL)

    def _of_ended(self, name: str, task: str, ended: float) -> Result | None:
        """The Result of a notebook whose job has ended without one; None if it may still come, or
        if it was submitted again.
        """
        state = _ended(task)
        if state.split()[0] in LOST:
            return self._again(name, state)
        if time.monotonic() - ended <= GRACE and state in NOT_FAILED:
            return None
        return self._result(name) or Result(
            name, "failed", f"its job {task} ended without a result: {state}{self._log(task)}"
        )

    def _result(self, name: str) -> Result | None:
        path = self.folder / "results" / f"{name}.json"
        try:
            return Result.from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            return Result(name, "failed", f"its result cannot be read: {error}")

    def _again(self, name: str, state: str) -> Result | None:
        """Submit a notebook whose job was lost once more; a Result if that was often enough."""
        lost = self.state["lost"].get(name, 0)
        if lost >= LOST[state.split()[0]]:
            return Result(
                name, "failed", f"its job was lost {lost + 1} times, the last time as {state}"
            )
        self.state["lost"][name] = lost + 1
        print(f"{name}: its job ended as {state} and is submitted again", flush=True)
        self.submit([name])
        return None

    def _log(self, task: str) -> str:
        """The end of the log of a job, on a line of its own; empty if there is none."""
        job, _, index = task.partition("_")
        for batch in self.state["batches"]:
            if batch["job"] == job:
                log = self.folder / f"{batch['name']}-{index}.log"
                with contextlib.suppress(OSError):
                    return "\n" + log.read_text(errors="replace")[-LOG_CHARACTERS:].strip()
        return ""

    def cancel(self) -> None:
        """End every job of this run, and forget it."""
        for batch in self.state["batches"]:
            subprocess.run(
                ["scancel", batch["job"]]
                if batch["job"]
                else ["scancel", "--me", f"--name={batch['name']}"],
                capture_output=True,
            )
        shutil.rmtree(self.folder, ignore_errors=True)


class _Asked(NamedTuple):
    """What the job of a notebook asks for."""

    minutes: int
    memory_mb: float
    partition: str


def _asked(notebook: StoredNotebook) -> _Asked:
    seconds, memory_mb = notebook.limits
    return _Asked(
        int(-(-(seconds + SPARE_SECONDS) // 60)),
        memory_mb + SPARE_MB,
        notebook.course.partition or _usual_partition(),
    )


def _usual_partition() -> str:
    return clusterfacts.load(ROOT / "triton/facts.toml").partitions.batch


def _slurm(*command: str, **options: Any) -> str:
    """What a command of Slurm prints; SlurmError if it fails."""
    try:
        completed = subprocess.run(command, capture_output=True, text=True, **options)
    except FileNotFoundError:
        raise SlurmError(
            f"There is no {command[0]} here: run it on a cluster's login node"
        ) from None
    if completed.returncode:
        why = " ".join(completed.stderr.split()) or f"exit status {completed.returncode}"
        raise SlurmError(f"{command[0]}: {why}")
    return str(completed.stdout).strip()


def _live() -> dict[str, str] | None:
    """The state of each job of this user that has not ended; None if Slurm does not answer now."""
    try:
        queue = _slurm("squeue", "--me", "--array", "--noheader", "--format=%i %T")
    except SlurmError:
        return None
    return {job: state for job, state in (line.split() for line in queue.splitlines())}


def _ended(task: str) -> str:
    """The state in which a job ended, as Slurm's accounts have it."""
    columns = ("--noheader", "--parsable2", "--allocations", "--format=State")
    with contextlib.suppress(SlurmError):
        if lines := _slurm("sacct", *columns, f"--jobs={task}").splitlines():
            return lines[-1]
    return "UNKNOWN"

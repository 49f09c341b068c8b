"""Validate notebooks as jobs of Slurm, and gather their results as they come.

    python -m tools.validate.runner validate --on slurm [--resume] [NAME ...]

On a cluster's login node, from a checkout that its nodes see. A job array for each set of notebooks
that declare the same time, memory and partition; each of its tasks runs one notebook, as `validate`
does on one machine. Ctrl-C cancels the jobs. If the terminal ends they go on, and --resume gathers
them. What a dead node took with it is submitted once more; what was preempted, again. All of them
run, also what passed before: on which machine they come to run is not known.
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from tools.validate import changes

FOLDER = changes.ROOT / "_build/slurm"
POLL = 1  # seconds
# seconds in which the result of a job that has ended may still come in over a network file system
GRACE = 15
SPARE_SECONDS, SPARE_MB = 60, 300  # what the validation itself takes, beside the notebook
SIGTERM_SECONDS = (
    1  # in which SIGTERM reaches all processes of a job: was a failure no more than that?
)
LARGEST_ARRAY = 1000  # Slurm's default MaxArraySize
LOST = {
    "NODE_FAIL": 1,
    "BOOT_FAIL": 1,
    "PREEMPTED": 5,
}  # the state of a job that may be submitted again, and how often
FULL = (errno.ENOSPC, errno.EDQUOT)  # the exit status of a job whose result could not be written
SCRIPT = """#!/bin/bash
#SBATCH --job-name={name} --array=0-{last} --time={minutes} --mem={memory}M --partition={partition} --cpus-per-task=1
#SBATCH --no-requeue --output={log}
exec {python} -m tools.validate.slurm {batch}
"""


class SlurmError(Exception):
    """What is wrong and what to do, in one sentence."""


def validate(
    notebooks,
    report=lambda result: None,
    resume=False,
    folder=FOLDER,
    progress=lambda done, total, running: None,
):
    """Run each of `notebooks` in a job; call `report` with each Result as it comes and return them
    all; raises SlurmError.

    resume: gather the run that is in `folder` instead of beginning one.
    """
    from tools.validate.runner import Result, missing, too_large

    with _alone(folder):
        left = sorted(path.parent for path in folder.glob("*/state.json"))
        if left and not resume:
            raise SlurmError(
                f"A run that began {left[0].name.replace('T', ' ')} has not been "
                "gathered: make notebooks ON=slurm RESUME=1 does it"
            )
        if resume and not left:
            raise SlurmError("There is no run to resume: make notebooks ON=slurm begins one")
        results, surroundings = [], changes.Surroundings()

        def finish(result):
            results.append(result)
            report(result)

        run = _Run(
            left[0] if left else folder / time.strftime("%Y-%m-%dT%H:%M:%S"),
            {notebook.name: notebook for notebook in notebooks},
        )
        if left:
            run.adopt()
        else:
            ready = []
            for notebook in notebooks:
                if absent := missing(notebook, surroundings) or too_large(notebook.path):
                    finish(Result(notebook.name, *absent))
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
            for result in run.gather(progress):
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
def _alone(folder):
    """Hold the lock of `folder`: two gatherers would submit what was lost twice."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "lock", "w", encoding="utf-8")  # noqa: SIM115
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


class _Run:
    """One validation: its folder, and its state, which is written before anything is submitted.

    state["batches"]: the name of each array's jobs, its tasks (names of notebooks), and its job id,
    None until it is known. state["lost"]: how often the job of a notebook was lost.
    """

    def __init__(self, folder, notebooks):
        self.folder, self.notebooks = folder, notebooks
        self.state = {"batches": [], "lost": {}}

    def save(self):
        self._write("state.json", self.state)

    def _write(self, name, value):
        try:
            (self.folder / "results").mkdir(parents=True, exist_ok=True)
            write(self.folder / name, value)
        except OSError as error:
            raise SlurmError(f"The run could not be written down: {error}") from None

    def adopt(self):
        """Take up the state of a run whose gatherer has ended, also if it did between asking for an
        array and learning its number.
        """
        self.state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        if gone := set(self.tasks()) - set(self.notebooks):
            raise SlurmError(
                f"The run in {self.folder} is of notebooks that are not there any more: "
                f"{', '.join(sorted(gone))}. To forget it: rm -r {self.folder}"
            )
        for batch in self.state["batches"]:
            if batch["job"] is None:
                # What is submitted is in the queue at once, and in the accounts by the time that it
                # has left the queue.
                known = _slurm(
                    "squeue", "--me", "--noheader", "--format=%F", f"--name={batch['name']}"
                ) or _slurm(
                    "sacct",
                    "--noheader",
                    "--parsable2",
                    "--allocations",
                    "--format=JobID",
                    f"--name={batch['name']}",
                    "--starttime=now-7days",
                )
                if known:
                    batch["job"] = known.split()[0].split("_")[0]
                    self.save()
                else:
                    self._sbatch(batch)

    def submit(self, names):
        """One array for each set of limits, the longest first."""
        groups = {}
        for name in sorted(names, key=lambda name: -self.notebooks[name].expected_seconds):
            groups.setdefault(_asked(self.notebooks[name]), []).append(name)
        for tasks in groups.values():
            for first in range(0, len(tasks), LARGEST_ARRAY):
                batch = {
                    "name": f"notebooks-{self.folder.name}-{len(self.state['batches'])}",
                    "tasks": tasks[first : first + LARGEST_ARRAY],
                    "job": None,
                }
                self.state["batches"].append(batch)
                self._write(
                    f"{batch['name']}.json",
                    [[name, str(self.notebooks[name].folder)] for name in batch["tasks"]],
                )
                self.save()
                self._sbatch(batch)

    def _sbatch(self, batch):
        minutes, memory, partition = _asked(self.notebooks[batch["tasks"][0]])
        script = SCRIPT.format(
            name=batch["name"],
            last=len(batch["tasks"]) - 1,
            minutes=minutes,
            memory=memory,
            partition=shlex.quote(partition),
            log=shlex.quote(f"{str(self.folder).replace('%', '%%')}/{batch['name']}-%a.log"),
            python=shlex.quote(sys.executable),
            batch=shlex.quote(f"{self.folder}/{batch['name']}.json"),
        )
        environment = os.environ | {"PYTHONPATH": str(changes.ROOT)}
        batch["job"] = _slurm("sbatch", "--parsable", input=script, env=environment).split(";")[0]
        self.save()

    def tasks(self):
        """The job of each notebook, as Slurm writes it: the last one, if it was submitted more than
        once.
        """
        return {
            name: f"{batch['job']}_{index}"
            for batch in self.state["batches"]
            for index, name in enumerate(batch["tasks"])
        }

    def gather(self, progress):
        """Yield the Result of each notebook as it comes."""
        from tools.validate.runner import Result

        open_, ended, since = set(self.tasks()), {}, {}
        total = len(open_)
        while open_:
            tasks = self.tasks()
            live = _live()  # before the results: a job that is gone from here has written its own
            for name in sorted(open_):
                result = self._result(name)
                if result is None and live is not None and tasks[name] not in live:
                    ended.setdefault(tasks[name], time.monotonic())
                    state = _ended(tasks[name])
                    if state.split()[0] in LOST:
                        result = self._again(name, state)
                    elif time.monotonic() - ended[tasks[name]] > GRACE or state not in (
                        "COMPLETED",
                        "PENDING",
                        "RUNNING",
                        "COMPLETING",
                        "UNKNOWN",
                    ):
                        result = self._result(name) or Result(
                            name,
                            "failed",
                            f"its job {tasks[name]} ended without a result: "
                            f"{state}{self._log(tasks[name])}",
                        )
                if result:
                    open_.discard(name)
                    yield result
            now = time.monotonic()
            running = [
                name for name in sorted(open_) if live and live.get(tasks[name]) == "RUNNING"
            ]
            progress(
                total - len(open_),
                total,
                [
                    (
                        name,
                        now - since.setdefault(tasks[name], now),
                        self.notebooks[name].expected_seconds,
                    )
                    for name in running
                ],
            )
            if open_:
                time.sleep(POLL)

    def _result(self, name):
        from tools.validate.runner import Result

        try:
            return Result(
                **json.loads((self.folder / "results" / f"{name}.json").read_text(encoding="utf-8"))
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            return Result(name, "failed", f"its result cannot be read: {error}")

    def _again(self, name, state):
        """Submit a notebook whose job was lost once more; a Result if that was often enough."""
        from tools.validate.runner import Result

        lost = self.state["lost"].get(name, 0)
        if lost >= LOST[state.split()[0]]:
            return Result(
                name, "failed", f"its job was lost {lost + 1} times, the last time as {state}"
            )
        self.state["lost"][name] = lost + 1
        print(f"{name}: its job ended as {state} and is submitted again", flush=True)
        self.submit([name])
        return None

    def _log(self, task):
        for batch in self.state["batches"]:
            if task.split("_")[0] == batch["job"]:
                with contextlib.suppress(OSError):
                    return (
                        "\n"
                        + (self.folder / f"{batch['name']}-{task.split('_')[1]}.log")
                        .read_text(errors="replace")[-2000:]
                        .strip()
                    )
        return ""

    def cancel(self):
        """End every job of this run, and forget it."""
        for batch in self.state["batches"]:
            subprocess.run(
                ["scancel", batch["job"]]
                if batch["job"]
                else ["scancel", "--me", f"--name={batch['name']}"],
                capture_output=True,
            )
        shutil.rmtree(self.folder, ignore_errors=True)


def _asked(notebook):
    """The minutes, megabytes and partition that a notebook's job asks for."""
    seconds, memory = notebook.limits
    partition = (
        notebook.metadata["course"].get("partition")
        or tomllib.loads((changes.ROOT / "triton/facts.toml").read_text(encoding="utf-8"))[
            "partitions"
        ]["batch"]
    )
    return -(-(seconds + SPARE_SECONDS) // 60), memory + SPARE_MB, partition


def _slurm(*command, **options):
    try:
        done = subprocess.run(command, capture_output=True, text=True, **options)
    except FileNotFoundError:
        raise SlurmError(
            f"There is no {command[0]} here: run it on a cluster's login node"
        ) from None
    if done.returncode:
        raise SlurmError(
            f"{command[0]}: {' '.join(done.stderr.split()) or f'exit status {done.returncode}'}"
        )
    return done.stdout.strip()


def _live():
    """The state of each job of this user that has not ended; None if Slurm does not answer now."""
    try:
        return dict(
            line.split()
            for line in _slurm(
                "squeue", "--me", "--array", "--noheader", "--format=%i %T"
            ).splitlines()
        )
    except SlurmError:
        return None


def _ended(task):
    """The state in which a job ended, as Slurm's accounts have it, and that its disk was full, if
    it was: then there is no log.
    """
    with contextlib.suppress(SlurmError):
        lines = _slurm(
            "sacct",
            "--noheader",
            "--parsable2",
            "--allocations",
            "--format=State,ExitCode",
            f"--jobs={task}",
        ).splitlines()
        if lines and "|" in lines[-1]:
            state, status = lines[-1].split("|")
            number = int(status.partition(":")[0])
            return (
                f"{state}, {os.strerror(number)}" if state == "FAILED" and number in FULL else state
            )
    return "UNKNOWN"


def write(path, value):
    """Write JSON, whole or not at all."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=".new-", delete=False, encoding="utf-8"
    ) as file:
        try:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def task(batch):
    """In a job: run the notebook that this task of the array `batch`, a file, is for, and write its
    Result.

    A node that Slurm has given up may still run it: then wait until that has ended, and take its
    Result if it wrote one.
    """
    from tools.validate import runner

    own = os.getpid()
    # Cancelled or preempted: tidy up, and be no result. A forked child just ends.
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("ended by Slurm") if os.getpid() == own else os._exit(1)
    )

    name, folder = json.loads(batch.read_text(encoding="utf-8"))[
        int(os.environ["SLURM_ARRAY_TASK_ID"])
    ]
    result = batch.parent / "results" / f"{name}.json"
    result.parent.mkdir(parents=True, exist_ok=True)
    with open(result.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if result.exists():
            return
        [notebook] = runner.load([name], Path(folder))
        if notebook.online:
            tempfile.tempdir = os.fspath(batch.parent)  # what it submits runs on other nodes
        [found] = runner.validate([notebook])
        if found.outcome == "failed":
            time.sleep(SIGTERM_SECONDS)
        write(result, dataclasses.asdict(found))


if __name__ == "__main__":
    try:
        task(Path(sys.argv[1]))
    except OSError as error:
        with contextlib.suppress(OSError):  # its log may be on the same disk
            os.write(2, f"the result could not be written: {error}\n".encode())
        sys.exit(error.errno if error.errno in FULL else 1)

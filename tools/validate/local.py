"""Validate notebooks on this machine: each in a sandbox of its own, as many at a time as keep its
cores at work, if their declared memory fits, the longest first.
"""

import contextlib
import os
import select
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.course import halves
from tools.validate import changes, execution, requirements, sandbox
from tools.validate.catalogue import StoredNotebook
from tools.validate.result import Report, Result


def next_to_start(
    waiting: Sequence[StoredNotebook], running: Sequence[StoredNotebook], free_mb: float
) -> int | None:
    """The index in `waiting` of the notebook to start: the first whose declared memory fits beside
    those of `running`.

    waiting: the longest first; free_mb: what may be declared in all. None if none fits. With
    nothing running the first is taken even if it is too large: else it would never run.
    """
    left = free_mb - sum(notebook.limits[1] for notebook in running)
    for index, notebook in enumerate(waiting):
        if notebook.limits[1] <= left:
            return index
    return 0 if waiting and not running else None


def memory_mb() -> float:
    """What notebooks may take together here, in megabytes: what is available of the machine's
    memory, or of this process's cgroup if that is less.
    """
    import psutil  # it takes long to import, and is not needed where nothing has changed

    room = [psutil.virtual_memory().available]
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        room.append(limit - used)
    return float(min(room)) / 2**20


def validate(
    notebooks: Sequence[StoredNotebook],
    report: Report = lambda result: None,
    records: Path | None = None,
    surroundings: changes.Surroundings | None = None,
) -> list[Result]:
    """Run each of `notebooks`; call `report` with each Result as it comes and return them all.

    records: the folder that keeps under which conditions each passed; None keeps nothing.
    """
    validation = _Validation(report, records, surroundings or changes.Surroundings())
    validation.take(notebooks)
    validation.run_all()
    return validation.results


@dataclass
class _Started:
    """A notebook that runs: since when, in which folder, and what it and its halves were then."""

    notebook: StoredNotebook
    work: Path
    child: sandbox.Child
    since: float
    fingerprint: changes.Fingerprint | None
    halves: list[str]


class _Validation:
    """Some notebooks on this machine: those that wait, those that run, and the results so far."""

    def __init__(
        self, report: Report, records: Path | None, surroundings: changes.Surroundings
    ) -> None:
        self.report = report
        self.records = records
        self.surroundings = surroundings
        self.isolated = sandbox.obstacle() is None
        self.results: list[Result] = []
        self.waiting: list[StoredNotebook] = []
        self.running: dict[int, _Started] = {}  # by the descriptor that its result arrives on
        self.expected: dict[str, float] = {}  # seconds, by the notebook's name

    def take(self, notebooks: Sequence[StoredNotebook]) -> None:
        """Take in what can run, the longest first; what cannot has its Result at once."""
        for notebook in notebooks:
            if result := requirements.not_run(notebook, self.surroundings):
                self._finish(result)
                continue
            record = changes.load_record(self.records, notebook.name) if self.records else {}
            self.expected[notebook.name] = changes.measured(
                record, "seconds", notebook.expected_seconds
            )
            self.waiting.append(notebook)
        self.waiting.sort(key=lambda notebook: -self.expected[notebook.name])

    def run_all(self) -> None:
        """Run what waits; whatever ends this, nothing goes on running."""
        free_mb = memory_mb()
        with tempfile.TemporaryDirectory(prefix="notebooks-") as top:
            try:
                while self.waiting or self.running:
                    self._start_what_fits(top, free_mb)
                    ready, _, _ = select.select(list(self.running), [], [])
                    for descriptor in ready:
                        self._collect(self.running.pop(descriptor))
            finally:
                for started in self.running.values():
                    started.child.kill()

    def _start_what_fits(self, top: str, free_mb: float) -> None:
        # A notebook waits for half of its time, for its kernel to start and to end and for what its
        # cells wait for: two more keep the cores at work.
        jobs = len(os.sched_getaffinity(0)) + 2
        while len(self.running) < jobs:
            now = [started.notebook for started in self.running.values()]
            index = next_to_start(self.waiting, now, free_mb)
            if index is None:
                return
            self._start(self.waiting.pop(index), Path(tempfile.mkdtemp(dir=top)))

    def _start(self, notebook: StoredNotebook, work: Path) -> None:
        # Before it is copied: what changes from here on is found the next time.
        fingerprint = (
            changes.fingerprint(notebook, self.surroundings)
            if self.records and self.isolated
            else None
        )
        child = execution.start(notebook, work, self.isolated, self.surroundings)
        self.running[child.result] = _Started(
            notebook, work, child, time.monotonic(), fingerprint, halves.files(notebook.pair)
        )

    def _collect(self, started: _Started) -> None:
        """Take the result of a notebook that has ended, and keep a record of it."""
        notebook = started.notebook
        result = execution.result(
            notebook, started.work, started.child, time.monotonic() - started.since
        )
        if self.records:
            changes.save_record(
                self.records,
                notebook.name,
                started.fingerprint if result.outcome == "passed" else None,
                outcome=result.outcome,
                seconds=result.seconds,
                memory_mb=result.memory_mb,
                halves=started.halves,
            )
        self._finish(result)
        shutil.rmtree(started.work, ignore_errors=True)

    def _finish(self, result: Result) -> None:
        self.results.append(result)
        self.report(result)

"""Measure the times of programs, and compare ours with the plain tool."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tools.files import ROOT

PYTHON = ROOT / ".venv/bin/python"

Side = Callable[[], float]
"""Runs one of the two programs of a comparison; returns the seconds that it took."""

Sides = AbstractContextManager[tuple[Side, Side]]
"""A context manager: prepares a comparison, gives (our side, the plain side), and cleans up."""


@dataclass(frozen=True)
class Comparison:
    """A line of the table: what is compared, and the limit of the ratio of the times.

    sides: called with an empty folder. runs: the number of runs of each side.
    """

    what: str
    sides: Callable[[Path], Sides]
    most: float
    runs: int = 3


def seconds(
    *command: str | Path,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> float:
    """The seconds that `command` takes; its output is dropped.

    env: variables beside those of this process. If the command fails and `check` is set, raises
    SystemExit with its output.
    """
    began = time.perf_counter()
    completed = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | dict(env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    took = time.perf_counter() - began
    if check and completed.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{completed.stdout}")
    return took


def timed(function: Callable[[], object]) -> Side:
    """A side that calls `function`."""

    def side() -> float:
        began = time.perf_counter()
        function()
        return time.perf_counter() - began

    return side


def compare(comparison: Comparison, folder: Path) -> bool:
    """Compare both sides, print the medians, and return whether the ratio is within its limit.

    The sides run in turn, so that a busy machine slows both.
    """
    with comparison.sides(folder) as (ours, plain):
        times = [(ours(), plain()) for _ in range(comparison.runs)]
    mine, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(one / other for one, other in times)
    print(
        f"{comparison.what:62}{mine:7.2f} s {theirs:7.2f} s  ratio {ratio:.2f}"
        f"  (at most {comparison.most})",
        flush=True,
    )
    return ratio <= comparison.most

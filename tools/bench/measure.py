"""Times of programs, and their ratios."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tools.files import ROOT

PYTHON = ROOT / ".venv/bin/python"


def seconds(
    command: Iterable[str | Path],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
) -> float:
    """How long `command` takes, in seconds; its output is dropped.

    Raises CalledProcessError if it fails and `check` is set.
    """
    began = time.perf_counter()
    subprocess.run(
        [os.fspath(part) for part in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=env,
        cwd=cwd,
        check=check,
    )
    return time.perf_counter() - began


def compare(
    name: str,
    ours: Callable[[], float],
    plain: Callable[[], float],
    most: float,
    pairs: int = 3,
) -> bool:
    """Whether the ratio of the two times, in seconds, is at most `most`.

    Both run in turn, so many times; the median of the pairs' ratios counts, and is printed.
    """
    times = [(ours(), plain()) for _ in range(pairs)]
    mine, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(one / other for one, other in times)
    print(
        f"{name:58}{mine:7.2f} s  {theirs:7.2f} s  ratio {ratio:.2f}  (at most {most})", flush=True
    )
    return ratio <= most

"""Times of programs, and their ratios."""

import os
import statistics
import subprocess
import time

from tools.files import ROOT

PYTHON = ROOT / ".venv/bin/python"


def seconds(command, **options):
    """How long `command` takes, in seconds; its output is dropped, a failure is an error unless
    `check` is false.
    """
    started = time.perf_counter()
    subprocess.run(
        [os.fspath(part) for part in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **{"check": True} | options,
    )
    return time.perf_counter() - started


def compare(name, ours, plain, most, pairs=3):
    """Run both in turn, print the median of the pairs' ratios; True if it is at most `most`."""
    times = [(ours(), plain()) for _ in range(pairs)]
    mine, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(one / other for one, other in times)
    print(
        f"{name:58}{mine:7.2f} s  {theirs:7.2f} s  ratio {ratio:.2f}  (at most {most})", flush=True
    )
    return ratio <= most

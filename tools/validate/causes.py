"""What is told of cells that failed: one message for one cause. A file that is not there is told
once, and so is a name that a failed cell should have made; the cells that fail with it are counted.
"""

import re
from collections.abc import Mapping, Sequence

from tools.validate.result import RanCell

RAISED = "Cell execution caused an exception"  # nbval's words, above the traceback
NO_FILE = re.compile(
    r"No such file or directory: (?P<one>['\"])(.+?)(?P=one)|"
    r"cannot open (?:compressed )?file '(.+?)'"
)
UNDEFINED = re.compile(r"name '(\w+)' is not defined|object '([\w.]+)' not found")
ARROW = re.compile(r"^-+> \d+ (.+)$", re.MULTILINE)


def told_once(cells: Sequence[RanCell], sources: Sequence[str]) -> Mapping[int, list[str]]:
    """The problems to tell of each failed cell, by its number; none of a cell that failed only
    because of another one, which has the numbers of such cells in its last problem.

    sources: of all code cells, in their order.
    """
    told: dict[int, list[str]] = {}
    cause_of: dict[int, int] = {}  # of each failed cell the one to blame, often itself
    files: dict[str, int] = {}
    for cell in cells:
        if cell["outcome"] != "failed":
            continue
        number = cell["cell"]
        told[number] = []
        cause_of[number] = number
        for problem in cell["problems"]:
            cause, text = number, problem
            if file := _no_file(problem):
                cause, text = files.setdefault(file, number), _of_file(file, problem)
            elif name := _undefined(problem):
                cause = next(
                    (
                        cause_of[earlier]
                        for earlier in told
                        if re.search(rf"\b{re.escape(name)}\b", sources[earlier - 1])
                    ),
                    number,
                )
            if cause == number:
                told[number].append(text)
            else:
                cause_of[number] = cause
    for number, problems in told.items():
        followers = [other for other in told if cause_of[other] == number and not told[other]]
        if problems and followers:
            cells_ = "cell" if len(followers) == 1 else "cells"
            problems[-1] += f"\nBecause of it {cells_} {', '.join(map(str, followers))} failed, too"
    return told


def _raised(problem: str) -> str:
    """The last line of the traceback in a problem; empty if there is none."""
    return problem.rstrip().rpartition("\n")[2] if problem.startswith(RAISED) else ""


def _no_file(problem: str) -> str:
    """The file that was not there; empty if it is another problem, or a program that is not."""
    match = NO_FILE.search(_raised(problem))
    if not match or "subprocess.py" in problem:
        return ""
    return match[2] or match[3]


def _of_file(file: str, problem: str) -> str:
    lines = ARROW.findall(problem)
    place = f", in the line {lines[0].strip()}" if lines else ""
    return (
        f"{file} is not there{place}. What a notebook reads lies in the folder of the notebooks, "
        "and its header names it: reads: [data/...]"
    )


def _undefined(problem: str) -> str:
    """The name that was not defined; empty if it is another problem."""
    match = UNDEFINED.search(_raised(problem))
    return (match[1] or match[2]) if match else ""

"""One notebook in a sandbox of its own: what it may see, its run under nbval, and its Result."""

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tools.course.model import Notebook
from tools.files import ROOT
from tools.validate import causes, changes, sandbox, sanitize
from tools.validate.catalogue import StoredNotebook
from tools.validate.requirements import NBDIME
from tools.validate.result import CellResult, Problem, Result, Run

GRACE = 20  # seconds beyond a notebook's own limit until its sandbox is ended from outside
LOG_CHARACTERS = 2000  # of the end of a log that a person is shown


def environment(work: str | Path) -> dict[str, str]:
    """The variables that a notebook's kernel gets, with every writable place below `work`."""
    keep = {name: os.environ[name] for name in changes.KEPT_VARIABLES if name in os.environ}
    return keep | {
        "HOME": f"{work}/home",
        "TMPDIR": f"{work}/tmp",
        "IPYTHONDIR": f"{work}/state/ipython",
        "JUPYTER_RUNTIME_DIR": f"{work}/state/runtime",
        "MPLCONFIGDIR": f"{work}/state/matplotlib",
        "XDG_CACHE_HOME": f"{work}/state/cache",
        "PATH": f"{ROOT}/triton/bin:{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
        "NBDIME_GIT_PREFIX": f"{NBDIME}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


def start(
    notebook: StoredNotebook,
    work: Path,
    isolated: bool,
    surroundings: changes.Surroundings,
    record: bool = False,
) -> sandbox.Child:
    """Begin to run `notebook` in a sandbox that shows it only what it may see.

    work: an empty folder of its own; isolated: whether there are namespaces here; record: whether
    its outputs are to be stored, not compared. The Child gives a Run.
    """
    # It takes long to import, and who runs no notebook does without.
    from tools.validate import guard  # noqa: F401  once, before the children see no repository

    changes.copy(notebook, surroundings, work / "notebooks")
    for name in ("home", "tmp", "state"):
        (work / name).mkdir()
    # Finding the machine's fonts takes seconds, and is done once.
    fonts = ROOT / ".venv/share/matplotlib-cache"
    if fonts.exists():
        shutil.copytree(fonts, work / "state/matplotlib")
    patterns = [*sanitize.places(work), *sanitize.load()]
    (work / "sanitize.cfg").write_text(sanitize.nbval_file(patterns), encoding="utf-8")
    hidden = changes.hidden(notebook.course.needs, surroundings, work)
    return sandbox.start(
        lambda: _run(notebook, work, isolated, record),
        work,
        isolated,
        hidden,
        notebook.online,
        notebook.limits[0] + GRACE,
    )


def _run(notebook: StoredNotebook, work: Path, isolated: bool, record: bool) -> Run:
    """In the sandbox: validate the notebook, or record its outputs."""
    # They take long to import; start() has done it before.
    import pytest

    from tools.validate.guard import Guard

    copy = _enter(notebook, work)
    if record:
        _forget_outputs(copy)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    guard = Guard(
        *notebook.limits,
        [copy.parent, work / "home", work / "tmp"],
        isolated and not notebook.online,
        record,
    )
    started = time.monotonic()
    pytest.main(
        [
            str(copy),
            "-p",
            "nbval.plugin",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            "--rootdir",
            str(work),
            "--nbval-sanitize-with",
            str(work / "sanitize.cfg"),
            "--color=no",
            "--tb=native",
        ],
        plugins=[guard],
    )
    run: Run = {
        "cells": guard.cells,
        "seconds": time.monotonic() - started,
        "memory_mb": guard.peak_mb,
        "language": guard.language,
    }
    clean: Run = sanitize.apply(sanitize.places(work), run)
    return clean


def _forget_outputs(path: Path) -> None:
    notebook = Notebook.read(path)
    bare = notebook.having(cell.having(outputs=[], execution_count=None) for cell in notebook.cells)
    path.write_text(json.dumps(bare), encoding="utf-8")


def _enter(notebook: StoredNotebook, work: Path) -> Path:
    """In the sandbox: make `work` the home of this process.

    Returns the path of the notebook's copy in it.
    """
    with open(work / "log", "w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment(work))
    os.chdir(work)
    tempfile.tempdir = None  # look at $TMPDIR again
    return work / "notebooks" / notebook.path.relative_to(notebook.folder)


def result(notebook: StoredNotebook, work: Path, child: sandbox.Child, seconds: float) -> Result:
    """The Result of the notebook that `child` ran in `work`; it has taken so many `seconds`."""
    try:
        run: Run = child.collect()
    except RuntimeError as error:
        reason = f"the validation itself {error}\n{_end_of_log(work)}"
        return Result(notebook.name, "failed", reason, seconds)
    return judged(notebook, work, run)


def judged(notebook: StoredNotebook, work: Path, run: Run) -> Result:
    """The Result of a notebook of which the guard saw this."""
    result = Result(notebook.name, "passed", "", round(run["seconds"], 1), round(run["memory_mb"]))
    failed = [cell["cell"] for cell in run["cells"] if cell["outcome"] == "failed"]
    lines = _lines(notebook.path.with_suffix(".md")) if failed else []
    sources = [cell.source for cell in Notebook.read(notebook.path).code_cells] if failed else []
    told = causes.told_once(run["cells"], sources)
    for cell in run["cells"]:
        number = cell["cell"]
        outputs = None
        if number in failed:
            line = lines[number - 1] if 0 < number <= len(lines) else 0
            outputs = cell["outputs"]
            result.problems += [
                Problem(line, f"cell {number}: {problem}") for problem in told[number]
            ]
        result.cells.append(CellResult(number, cell["seconds"], outputs))
    if failed:
        result.outcome = "failed"
        result.reason = f"{len(failed)} of {len(run['cells'])} cells"
        if skipped := sum(cell["outcome"] == "skipped" for cell in run["cells"]):
            result.reason += f", {skipped} not run"
    elif not run["cells"]:
        result.outcome = "failed"
        result.reason = f"no cell was validated\n{_end_of_log(work)}"
    return result


def _end_of_log(work: Path) -> str:
    log = work / "log"
    return log.read_text(errors="replace")[-LOG_CHARACTERS:] if log.exists() else ""


def _lines(path: Path) -> list[int]:
    """The line of an .md half at which each code cell begins; none if it cannot be read."""
    # It imports jupytext, which takes long, and is needed where a notebook failed only.
    from tools.course import halves, myst

    try:
        md = myst.read(path)
    except halves.Unreadable:
        return []
    both = zip(md.notebook.cells, md.lines, strict=True)
    return [line for cell, line in both if cell.cell_type == "code"]

"""Refresh the stored outputs of notebooks: execute each anew, keep what a second run repeats."""

import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat

from tools.course import form, pairs
from tools.course.model import Notebook
from tools.files import ROOT
from tools.validate import changes, execution, local, requirements, sandbox, sanitize, varies
from tools.validate import report as reports
from tools.validate.catalogue import StoredNotebook
from tools.validate.report import describe
from tools.validate.result import Result, Run

# What makes a cell give something else in each run, and what to do.
ADVICE = """
    Random numbers get a seed: random.seed(1), np.random.default_rng(1), np.random.seed(1),
    in R set.seed(1). A number, a time, a path or an id that differs gets a tag on its cell:
    numbers-within-3, times-vary, paths-vary, ids-vary. Files and sets come in any order:
    sorted(...). An address in memory: leave it out. What must differ in many cells gets a pattern
    in tools/validate/sanitize.toml."""
BUILD = ROOT / "_build"
WIDGET = "application/vnd.jupyter.widget-view+json"

Accept = Callable[[str], bool]
"""Called with the name of a notebook whose new outputs are shown: whether they are kept."""


def ask(name: str) -> bool:
    """Ask at the terminal whether the new outputs of the notebook `name` are kept."""
    try:
        return input(f"{name}: keep these outputs? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def refresh(notebooks: Sequence[StoredNotebook], accept: Accept = lambda name: True) -> bool:
    """Execute each notebook anew and keep its outputs, if a second run gives the same; show what
    changed. False if one failed.
    """
    surroundings = changes.Surroundings()
    return all([_refresh(notebook, surroundings, accept) for notebook in notebooks])


def _refresh(notebook: StoredNotebook, surroundings: changes.Surroundings, accept: Accept) -> bool:
    """Refresh one notebook, and say what became of it and what it lacks; False if it failed."""
    good = _outputs_refreshed(notebook, surroundings, accept)
    if not notebook.fault:
        lacks = form.in_words(notebook.name, Notebook.read(notebook.path))
        print(lacks, end="", file=sys.stderr)
    return good


def _outputs_refreshed(
    notebook: StoredNotebook, surroundings: changes.Surroundings, accept: Accept
) -> bool:
    if obstacle := requirements.missing(notebook, surroundings):
        return _not_refreshed(notebook, f": {obstacle.reason}")
    try:
        fresh = executed(notebook, surroundings)
    except RuntimeError as error:
        return _not_refreshed(notebook, f":\n{error}")
    with tempfile.TemporaryDirectory(prefix="refresh-") as top:
        # The second run, in a copy of the folder that has the new outputs.
        again = Path(top, "notebooks")
        shutil.copytree(notebook.folder, again, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
        copy = dataclasses.replace(
            notebook, folder=again, path=again / notebook.path.relative_to(notebook.folder)
        )
        pairs.write_ipynb(fresh, copy.path)
        [result] = local.validate([copy])
        if result.outcome != "passed":
            what = f", since a second run does not repeat the first:\n{describe(result)}{ADVICE}"
            return _not_refreshed(notebook, what)
        fresh.metadata["measured"] = _steady(notebook.metadata.get("measured"), result) | {
            "code": pairs.code(fresh)
        }
        pairs.write_ipynb(fresh, copy.path)
        print(reports.compared(requirements.NBDIFF, notebook.path, copy.path), end="")
    if accept(notebook.name):
        pairs.write_ipynb(fresh, notebook.path)
        print(f"{notebook.name}: refreshed, {result.seconds} s, {result.memory_mb} MB")
    else:
        print(f"{notebook.name}: left as it was")
    return True


def _not_refreshed(notebook: StoredNotebook, why: str) -> bool:
    print(f"{notebook.name}: not refreshed{why}", file=sys.stderr)
    return False


def _steady(before: dict[str, Any] | None, result: Result) -> dict[str, Any]:
    """The measured numbers to store, with the seconds of each code cell: the old ones while the new
    ones are near, so that a refresh changes no more than it must.
    """
    new = {"seconds": max(1, round(result.seconds)), "memory_mb": round(result.memory_mb, -1)}
    cells = [round(cell.seconds, 1) for cell in result.cells]
    if (
        before
        and all(new[key] / 2 <= before.get(key, 0) <= new[key] * 2 for key in new)
        and len(before.get("cells", [])) == len(cells)
    ):
        return before
    return {**new, "cells": cells}


def executed(
    notebook: StoredNotebook, surroundings: changes.Surroundings, stop: bool = True
) -> nbformat.NotebookNode:
    """Execute a notebook as a validation does, and return it with its fresh outputs.

    A stored output that shows the same stays, so that a refresh changes no more than it must.
    RuntimeError says what is wrong; without `stop`, only if not every cell ran.
    """
    if notebook.online:
        BUILD.mkdir(exist_ok=True)
        tempfile.tempdir = os.fspath(BUILD)  # what it submits runs on other nodes
    with tempfile.TemporaryDirectory(prefix="notebooks-") as top:
        work = Path(tempfile.mkdtemp(dir=top))  # a path as long as that of a validation
        isolated = sandbox.obstacle() is None
        child = execution.start(notebook, work, isolated, surroundings, record=True)
        try:
            run: Run = child.collect()
        except KeyboardInterrupt:
            child.kill()
            raise
        result = execution.judged(notebook, work, run)
    whole = run["cells"] and all(cell["outcome"] != "skipped" for cell in run["cells"])
    if result.outcome == "failed" and (stop or not whole):
        raise RuntimeError(describe(result))
    return _with_outputs(notebook, run)


def _with_outputs(notebook: StoredNotebook, run: Run) -> nbformat.NotebookNode:
    """The notebook at its path, in today's format, with the outputs of this run."""
    stored = nbformat.read(notebook.path, as_version=4)
    stored = nbformat.v4.upgrade(stored, from_minor=stored.nbformat_minor)
    fresh: nbformat.NotebookNode
    _, fresh = nbformat.validator.normalize(stored)
    fresh.metadata["language_info"] = nbformat.from_dict(run["language"])
    patterns = sanitize.load()
    for cell, new in zip(
        (cell for cell in fresh.cells if cell.cell_type == "code"), run["cells"], strict=True
    ):
        outputs = new["outputs"] or []
        cell.execution_count = new["count"]
        same = varies.settled(outputs, cell.outputs, cell.metadata.get("tags", []))
        if sanitize.apply(patterns, _shown(cell.outputs)) != sanitize.apply(patterns, _shown(same)):
            cell.outputs = nbformat.from_dict(outputs)
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = new["count"]
    return fresh


def _shown(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a reader sees of outputs: not by which number a result or a widget is called."""
    shown = [
        {key: value for key, value in output.items() if key != "execution_count"}
        for output in outputs
    ]
    for output in shown:
        if "data" in output:  # a widget has another number in each run
            output["data"] = {
                kind: value for kind, value in output["data"].items() if kind != WIDGET
            }
    return shown

"""Validate the course's notebooks against their stored outputs, or refresh those outputs.

    python -m course.runner validate [--json] [NAME ...]
    python -m course.runner refresh NAME ...

Each notebook runs under nbval in a sandbox of its own, from a copy of its folder, offline, as many at a time as there
are processor cores and the longest first. NAME is a notebook's name without its ending; none means all.
"""
import argparse
import dataclasses
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager

from . import nbval_plugin, pairs, sandbox, sanitize

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
GRACE = 20  # seconds beyond a notebook's own limit until its sandbox is ended from outside


@dataclass
class Result:
    """What became of a notebook: `outcome` is passed, failed or skipped, and `reason` says why if it is not passed.

    seconds: wall time; memory_mb: peak resident memory of its largest process; problems: (line of the .md half, text).
    """

    name: str
    outcome: str
    reason: str = ""
    seconds: float = 0.0
    memory_mb: float = 0.0
    problems: list = field(default_factory=list)


@dataclass
class Notebook:
    """A notebook to run: `path` below `folder`, which is copied with its data."""

    name: str
    path: Path
    folder: Path
    metadata: dict

    @property
    def limits(self):
        course = self.metadata.get("course", {})
        return course.get("seconds", 60), course.get("memory_mb", 500)

    @property
    def expected_seconds(self):
        return self.metadata.get("measured", {}).get("seconds", self.limits[0])


def load(names=(), folder=NOTEBOOKS):
    """Return the Notebooks called `names`, all if there are none; ValueError names one that does not exist."""
    found = {pair.name: pair.ipynb for pair in pairs.find(folder) if pair.ipynb}
    unknown = set(names) - set(found)
    if unknown:
        raise ValueError(f"there is no notebook {unknown.pop()} in {folder.name}/; there are: {', '.join(sorted(found))}")
    notebooks = []
    for name in names or sorted(found):
        try:
            metadata = nbformat.read(found[name], as_version=4).metadata
        except Exception as error:  # nbformat raises many kinds; the pair check explains them
            metadata = {"broken": f"{type(error).__name__}: {error}".splitlines()[0]}
        notebooks.append(Notebook(name, found[name], Path(folder), metadata))
    return notebooks


def missing(notebook):
    """What `notebook` needs and this machine has not, as (outcome, reason), or None."""
    if "broken" in notebook.metadata:
        return "failed", f"not a notebook: {notebook.metadata['broken']}"
    course = notebook.metadata.get("course")
    if not course or not {"needs", "seconds", "memory_mb"} <= set(course):
        return "failed", "its metadata declares no course: needs, seconds, memory_mb (see notebooks/README.md)"
    for need in course["needs"]:
        if need not in NEEDS:
            return "failed", f"needs {need!r}, which is none of {', '.join(sorted(NEEDS))}"
        present, remedy = NEEDS[need]
        if not present():
            return "skipped", f"{need} is not here: {remedy}"
    kernel, kernels = notebook.metadata.get("kernelspec", {}).get("name"), KernelSpecManager().find_kernel_specs()
    if kernel not in kernels:
        return "failed", f"its kernel {kernel!r} is not here; there are: {', '.join(sorted(kernels))}"
    return None


NEEDS = {
    "r": (lambda: "ir" in KernelSpecManager().find_kernel_specs(), "make system installs it (r-cran-irkernel)"),
    "nbdime": (lambda: (ROOT / ".venv-nbdime/bin/nbdiff").exists(), "make .venv-nbdime installs it"),
    "slurm": (lambda: shutil.which("sbatch") is not None, "run it on a cluster"),
}


def validate(notebooks, report=lambda result: None):
    """Run each of `notebooks`; call `report` with each Result as it comes and return them all."""
    results = []

    def finish(result):
        results.append(result)
        report(result)

    waiting = []
    for notebook in notebooks:
        absent = missing(notebook)
        if absent:
            finish(Result(notebook.name, *absent))
        else:
            waiting.append(notebook)
    waiting.sort(key=lambda notebook: notebook.expected_seconds)
    isolated = sandbox.obstacle() is None
    jobs, running = len(os.sched_getaffinity(0)), {}
    with tempfile.TemporaryDirectory(prefix="notebooks-") as top:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    notebook, work = waiting.pop(), Path(tempfile.mkdtemp(dir=top))
                    _prepare(notebook, work)
                    child = sandbox.start(lambda: _run(notebook, work, isolated), work, isolated)  # noqa: B023
                    running[child.result] = notebook, work, child, time.monotonic()
                ready, _, _ = select.select(list(running), [], [], 1)
                for descriptor in running.keys() - set(ready):
                    notebook, _, child, since = running[descriptor]
                    if time.monotonic() - since > notebook.limits[0] + GRACE:
                        child.kill()
                for descriptor in ready:
                    notebook, work, child, since = running.pop(descriptor)
                    finish(_result(notebook, work, child, time.monotonic() - since))
                    shutil.rmtree(work, ignore_errors=True)
        finally:
            for _, _, child, _ in running.values():
                child.kill()
    return results


def _prepare(notebook, work):
    shutil.copytree(notebook.folder, work / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "_build"))
    for name in ("home", "tmp", "state"):
        (work / name).mkdir()
    fonts = ROOT / ".venv/share/matplotlib-cache"  # finding the machine's fonts takes seconds, and is done once
    if fonts.exists():
        shutil.copytree(fonts, work / "state/matplotlib")
    (work / "sanitize.cfg").write_text(sanitize.nbval_file(sanitize.load()), encoding="utf-8")


def environment(work):
    """The variables that a notebook's kernel gets, with every writable place below `work`."""
    keep = {name: os.environ[name] for name in ("USER", "LOGNAME", "SHELL", "TERM") if name in os.environ}
    return keep | {
        "HOME": f"{work}/home",
        "TMPDIR": f"{work}/tmp",
        "IPYTHONDIR": f"{work}/state/ipython",
        "JUPYTER_RUNTIME_DIR": f"{work}/state/runtime",
        "MPLCONFIGDIR": f"{work}/state/matplotlib",
        "XDG_CACHE_HOME": f"{work}/state/cache",
        "PATH": f"{ROOT}/triton/bin:{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
        "NBDIME_GIT_PREFIX": f"{ROOT}/.venv-nbdime",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


def _run(notebook, work, isolated):
    """In the sandbox: validate one notebook and return a dict of what was found."""
    copy = _enter(notebook, work)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    guard = nbval_plugin.Guard(*notebook.limits, [copy.parent, work / "home", work / "tmp"], isolated)
    started = time.monotonic()
    pytest.main(
        [str(copy), "--nbval", "-p", "nbval.plugin", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(work),
         "--nbval-sanitize-with", str(work / "sanitize.cfg"), "--color=no", "--tb=native"], plugins=[guard])
    return {"cells": guard.cells, "seconds": time.monotonic() - started, "memory_mb": guard.peak_mb}


def _enter(notebook, work):
    """In the sandbox: make `work` the home of this process; return the path of the notebook's copy in it."""
    with open(work / "log", "w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment(work))
    os.chdir(work)
    tempfile.tempdir = None  # look at $TMPDIR again
    return work / "notebooks" / notebook.path.relative_to(notebook.folder)


def _result(notebook, work, child, seconds):
    try:
        found = child.collect()
    except RuntimeError as error:
        log = (work / "log").read_text(errors="replace")[-2000:] if (work / "log").exists() else ""
        return Result(notebook.name, "failed", f"the validation itself {error}\n{log}", seconds)
    result = Result(notebook.name, "passed", "", round(found["seconds"], 1), round(found["memory_mb"]))
    failed = [cell for cell in found["cells"] if cell["outcome"] == "failed"]
    lines = _cell_lines(notebook.path.with_suffix(".md"))
    for cell in failed:
        line = lines[cell["cell"] - 1] if 0 < cell["cell"] <= len(lines) else 0
        result.problems += [[line, f"cell {cell['cell']}: {problem}"] for problem in cell["problems"]]
    if failed:
        unrun = sum(cell["outcome"] == "skipped" for cell in found["cells"])
        result.outcome, result.reason = "failed", f"{len(failed)} of {len(found['cells'])} cells" + (f", {unrun} not run" if unrun else "")
    elif not found["cells"]:
        log = (work / "log").read_text(errors="replace")[-2000:]
        result.outcome, result.reason = "failed", f"no cell was validated\n{log}"
    return result


def _cell_lines(path):
    """The line numbers at which the code cells of a MyST notebook begin."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    return [number for number, line in enumerate(text.splitlines(), 1) if re.match(r"`{3,}\{code-cell\}", line)]


def describe(result):
    """A Result as a person reads it: a line, and below it one paragraph for each problem."""
    word = result.outcome.upper() if result.outcome == "failed" else result.outcome
    line = f"{word:8}{result.name:24}"
    if result.seconds:
        line += f"{result.seconds:6.1f} s {result.memory_mb:5.0f} MB"
    if result.reason:
        line += f"  {result.reason}"
    for number, text in result.problems:
        line += f"\n    notebooks/{result.name}.md:{number}: " + text.replace("\n", "\n        ")
    return line


def refresh(notebooks):
    """Execute each notebook anew and keep its outputs, if a second run gives the same; show what changed. False if one failed."""
    good = True
    for notebook in notebooks:
        absent = missing(notebook)
        if not absent and pairs.differ(notebook.path.with_suffix(".md"), notebook.path):
            absent = "failed", f"its halves differ: make sync NB={notebook.name}"
        if absent:
            print(f"{notebook.name}: not refreshed: {absent[1]}", file=sys.stderr)
            good = False
            continue
        with tempfile.TemporaryDirectory(prefix="refresh-") as top:
            work = Path(top, "work")
            work.mkdir()
            _prepare(notebook, work)
            isolated = sandbox.obstacle() is None
            child = sandbox.start(lambda: _execute(notebook, work), work, isolated)  # noqa: B023
            try:
                fresh = nbformat.from_dict(child.collect())
            except RuntimeError as error:
                print(f"{notebook.name}: not refreshed: {error}", file=sys.stderr)
                good = False
                continue
            # The second run, in a copy of the folder that has the new outputs.
            again = Path(top, "notebooks")
            shutil.copytree(notebook.folder, again, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
            copy = dataclasses.replace(notebook, folder=again, path=again / notebook.path.relative_to(notebook.folder))
            pairs.write_ipynb(fresh, copy.path)
            [result] = validate([copy])
            if result.outcome != "passed":
                print(f"{notebook.name}: not refreshed, since a second run does not repeat the first:\n{describe(result)}", file=sys.stderr)
                good = False
                continue
            fresh.metadata["measured"] = _steady(notebook.metadata.get("measured"), result)
            pairs.write_ipynb(fresh, copy.path)
            _show_difference(notebook.path, copy.path)
            pairs.write_ipynb(fresh, notebook.path)
            print(f"{notebook.name}: refreshed, {result.seconds} s, {result.memory_mb} MB")
    return good


def _steady(before, result):
    """The measured numbers to store: the old ones while the new ones are near, so that a refresh changes no more than it must."""
    new = {"seconds": max(1, round(result.seconds)), "memory_mb": round(result.memory_mb, -1)}
    near = before and all(new[key] / 2 <= before.get(key, 0) <= new[key] * 2 for key in new)
    return before if near else new


def _execute(notebook, work):
    """In the sandbox: execute a notebook and return it as a dict."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    copy = _enter(notebook, work)
    fresh = nbformat.read(copy, as_version=4)
    try:
        NotebookClient(fresh, timeout=notebook.limits[0], kernel_name=fresh.metadata.kernelspec.name,
                       record_timing=False, coalesce_streams=True, resources={"metadata": {"path": str(copy.parent)}}).execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise SystemExit(f"a cell failed:\n{error}") from None
    return fresh


def _show_difference(old, new):
    nbdiff = ROOT / ".venv-nbdime/bin/nbdiff"
    if nbdiff.exists():
        print(subprocess.run([nbdiff, "--no-color", old, new], capture_output=True, text=True).stdout, end="")
    else:
        print("what changed cannot be shown: make .venv-nbdime")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="course.runner", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["validate", "refresh"])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
    options = parser.parse_args(arguments)
    try:
        notebooks = load([name.removesuffix(".ipynb").removesuffix(".md").removeprefix("notebooks/") for name in options.names])
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    if options.task == "refresh":
        return 0 if refresh(notebooks) else 1
    if options.json:
        results = validate(notebooks, lambda result: print(json.dumps(dataclasses.asdict(result)), flush=True))
    else:
        results = validate(notebooks, lambda result: print(describe(result), flush=True))
        print(summary(results))
    return 1 if any(result.outcome == "failed" for result in results) else 0


def summary(results):
    """One line that says how many notebooks passed, failed and were skipped, and under which conditions."""
    count = {outcome: sum(result.outcome == outcome for result in results) for outcome in ("passed", "failed", "skipped")}
    line = ", ".join(f"{number} {outcome}" for outcome, number in count.items() if number or outcome != "skipped")
    return f"notebooks: {line}" + (f"; not isolated: {sandbox.obstacle()}" if sandbox.obstacle() else "")


if __name__ == "__main__":
    sys.exit(main())

"""Validate the course's notebooks against their stored outputs, or refresh those outputs.

    python -m tools.validate.runner validate [--json] [--changed] [--explain] [--on slurm
    [--resume]] [NAME ...] python -m tools.validate.runner refresh [NAME ...]

Each notebook runs under nbval in a sandbox of its own, from a copy of its folder, offline, one more
at a time than there are processor cores, if their declared memory fits, the longest first. NAME is
a notebook's name without its ending; none means all, and for refresh those that failed in the last
run. With --changed those are left out that passed and can see nothing that changed since; --explain
says for each why it runs (see changes.py).
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import re
import select
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tools.course import halves
from tools.validate import changes, kernels, sandbox, sanitize, slurm
from tools.validate import report as reports
from tools.validate.report import describe

# What runs notebooks is imported where it is used: to find that nothing has changed takes less time
# than to import it.
ROOT = changes.ROOT
NOTEBOOKS = ROOT / "notebooks"
RECORDS = ROOT / "_build/validated"
# nbdime has an environment of its own here; a cluster's central one has it too.
NBDIME = next(
    (
        place
        for place in (ROOT / ".venv-nbdime", Path(sys.prefix))
        if (place / "bin/nbdiff").exists()
    ),
    ROOT / ".venv-nbdime",
)
NBDIFF = NBDIME / "bin/nbdiff"
WIDGET = "application/vnd.jupyter.widget-view+json"
GRACE = 20  # seconds beyond a notebook's own limit until its sandbox is ended from outside
NOTEBOOK_MB = 4  # of a notebook with its outputs: a reader loads all of it


@dataclass
class Result:
    """What became of a notebook: `outcome` is passed, failed, skipped or unchanged, and `reason`
    says why if it is not passed.

    seconds: wall time; memory_mb: peak resident memory of its largest process; problems: (line of
    the .md half, text); cells: of each code cell that ran its number, its line in the .md half, its
    seconds, and if it failed its fresh outputs.
    """

    name: str
    outcome: str
    reason: str = ""
    seconds: float = 0.0
    memory_mb: float = 0.0
    problems: list = field(default_factory=list)
    cells: list = field(default_factory=list)


@dataclass
class Notebook:
    """A notebook to run: `path` below `folder`, which is copied with its data."""

    name: str
    path: Path
    folder: Path
    metadata: dict

    @property
    def pair(self) -> halves.Pair:
        return halves.Pair(self.name, self.path, self.path.with_suffix(".md"))

    @property
    def limits(self):
        course = self.metadata.get("course", {})
        return course.get("seconds", 60), course.get("memory_mb", 500)

    @property
    def online(self):
        """Whether it keeps the network: to talk to Slurm."""
        return "slurm" in self.metadata.get("course", {}).get("needs", [])

    @property
    def expected_seconds(self):
        return self.metadata.get("measured", {}).get("seconds", self.limits[0])


def next_to_start(waiting, running, free_mb):
    """The index in `waiting` of the notebook to start: the first whose declared memory fits beside
    those of `running`.

    waiting: Notebooks, the longest first; free_mb: what may be declared in all. None if none fits.
    With nothing running the first is taken even if it is too large: else it would never run.
    """
    left = free_mb - sum(notebook.limits[1] for notebook in running)
    for index, notebook in enumerate(waiting):
        if notebook.limits[1] <= left:
            return index
    return 0 if waiting and not running else None


def memory_mb():
    """What notebooks may take together here: what is available of the machine's memory, or of this
    process's cgroup if that is less.
    """
    import psutil

    room = [psutil.virtual_memory().available]
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            room.append(
                int(Path("/sys/fs/cgroup", limit).read_text())
                - int(Path("/sys/fs/cgroup", used).read_text())
            )
        except (OSError, ValueError):  # no such file, or "max"
            pass
    if "SLURM_MEM_PER_NODE" in os.environ:
        room.append(int(os.environ["SLURM_MEM_PER_NODE"]) << 20)
    return min(room) / 2**20


def load(names=(), folder=NOTEBOOKS):
    """Return the Notebooks called `names`, all if there are none; ValueError names one that does
    not exist.
    """
    pairs = [pair for pair in halves.find(folder) if pair.ipynb]
    found = {pair.name: pair.ipynb for pair in pairs}
    names = [next((pair.name for pair in halves.called(pairs, name)), name) for name in names]
    unknown = set(names) - set(found)
    if unknown:
        raise ValueError(
            f"there is no notebook {unknown.pop()} in {folder.name}/; there are: "
            f"{', '.join(sorted(found))}"
        )
    notebooks = []
    for name in names or sorted(found):
        try:
            stored = json.loads(found[name].read_bytes())
            metadata = stored["metadata"] | {}
            if not any(cell["cell_type"] == "code" for cell in stored["cells"]):
                metadata["empty"] = True
        except (OSError, ValueError, KeyError, TypeError) as error:  # the pair check explains it
            metadata = {"broken": f"{type(error).__name__}: {error}".splitlines()[0]}
        notebooks.append(Notebook(name, found[name], Path(folder), metadata))
    return notebooks


def named(text: str, pairs: list[halves.Pair]) -> list[str]:
    """The names in a text that has blanks between them: as many words as make a name of one of
    `pairs` are one.
    """
    words, names = [word for word in text.split(" ") if word], []
    while words:
        first = next(
            (
                count
                for count in range(len(words), 1, -1)
                if halves.called(pairs, " ".join(words[:count]))
            ),
            1,
        )
        names.append(" ".join(words[:first]))
        words = words[first:]
    return names


def missing(notebook, surroundings):
    """What `notebook` needs and this machine has not, as (outcome, reason), or None."""
    if "broken" in notebook.metadata:
        return "failed", f"not a notebook: {notebook.metadata['broken']}"
    course = notebook.metadata.get("course")
    if not course or not {"needs", "seconds", "memory_mb"} <= set(course):
        return (
            "failed",
            "its metadata declares no course: needs, seconds, memory_mb (see notebooks/README.md)",
        )
    for need in course["needs"]:
        if need not in NEEDS:
            return "failed", f"needs {need!r}, which is none of {', '.join(sorted(NEEDS))}"
        present, remedy = NEEDS[need]
        if not present():
            return "skipped", f"{need} is not here: {remedy}"
    if "empty" in notebook.metadata:
        return (
            "failed",
            "it has no code cell, so there is nothing to run: give it one, or write it "
            "as a page of the guide, an .rst file",
        )
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if kernel not in _kernels():
        return (
            "failed",
            f"its kernel {kernel!r} is not here; there are: {', '.join(sorted(_kernels()))}",
        )
    try:
        changes.read(notebook, surroundings)
    except ValueError as error:
        return "failed", str(error)
    told = changes.drift(notebook, None)
    return ("failed", told) if told else None


def too_large(path: Path) -> tuple[str, str] | None:
    """What to say of a notebook that is larger than a page can be, as (outcome, reason), or None."""
    size = path.stat().st_size / 1e6
    if size <= NOTEBOOK_MB:
        return None
    cells = [len(json.dumps(cell)) / 1e6 for cell in json.loads(path.read_bytes())["cells"]]
    largest = max(range(len(cells)), key=cells.__getitem__) if cells else 0
    where = (
        f": cell {largest + 1} of all cells has {cells[largest]:.1f} MB. Show less there, "
        "then make refresh"
        if cells
        else ""
    )
    return "failed", f"it has {size:.1f} MB, and a page can have {NOTEBOOK_MB} MB{where}"


@functools.cache
def _kernels():
    from jupyter_client.kernelspec import KernelSpecManager

    return set(KernelSpecManager().find_kernel_specs())


NEEDS = {
    "r": (lambda: "ir" in _kernels(), "make system installs it (r-cran-irkernel)"),
    "nbdime": (lambda: NBDIFF.exists(), "make .venv-nbdime installs it"),
    "slurm": (lambda: shutil.which("sbatch") is not None, "run it on a cluster"),
}


def validate(
    notebooks,
    report=lambda result: None,
    records=None,
    surroundings=None,
    progress=lambda done, total, running: None,
):
    """Run each of `notebooks`; call `report` with each Result as it comes and return them all.

    records: the folder that keeps under which conditions each passed; None keeps nothing. progress:
    called about once a second.
    """
    surroundings = surroundings or changes.Surroundings()
    results = []

    def finish(result):
        results.append(result)
        report(result)

    waiting = []
    for notebook in notebooks:
        absent = missing(notebook, surroundings) or too_large(notebook.path)
        if absent:
            finish(Result(notebook.name, *absent))
        else:
            waiting.append(notebook)
    recorded = {
        notebook.name: changes.load_record(records, notebook.name) if records else None
        for notebook in waiting
    }
    seconds = {
        notebook.name: changes.measured(
            recorded[notebook.name], "seconds", notebook.expected_seconds
        )
        for notebook in waiting
    }
    waiting.sort(key=lambda notebook: -seconds[notebook.name])
    free_mb = memory_mb()
    isolated = sandbox.obstacle() is None
    # A notebook waits for a third of its time, for its kernel to start and to end: one more keeps
    # the cores at work.
    jobs, running = len(os.sched_getaffinity(0)) + 1, {}
    with (
        tempfile.TemporaryDirectory(prefix="notebooks-") as top,
        kernels.template(environment(top))
        if isolated and len(waiting) > 1
        else contextlib.nullcontext(),
    ):
        try:
            while waiting or running:
                while len(running) < jobs:
                    index = next_to_start(
                        waiting, [notebook for notebook, *_ in running.values()], free_mb
                    )
                    if index is None:
                        break
                    notebook, work = waiting.pop(index), Path(tempfile.mkdtemp(dir=top))
                    # Before it is copied: what changes from here on is found the next time.
                    seen = (
                        changes.fingerprint(notebook, surroundings)
                        if records and isolated
                        else None
                    )
                    child = _start(_run, notebook, work, isolated, surroundings)
                    running[child.result] = (
                        notebook,
                        work,
                        child,
                        time.monotonic(),
                        (seen, halves.files(notebook.pair)),
                    )
                progress(
                    len(results),
                    len(notebooks),
                    [
                        (notebook.name, time.monotonic() - since, seconds[notebook.name])
                        for notebook, _, _, since, _ in running.values()
                    ],
                )
                ready, _, _ = select.select(list(running), [], [], 1)
                for descriptor in ready:
                    notebook, work, child, since, (seen, in_step) = running.pop(descriptor)
                    result = _result(notebook, work, child, time.monotonic() - since)
                    if records:
                        changes.save_record(
                            records,
                            notebook.name,
                            seen if result.outcome == "passed" else None,
                            outcome=result.outcome,
                            seconds=result.seconds,
                            memory_mb=result.memory_mb,
                            halves=in_step,
                        )
                    finish(result)
                    shutil.rmtree(work, ignore_errors=True)
        finally:
            for _, _, child, _, _ in running.values():
                child.kill()
    return results


def _start(function, notebook, work, isolated, surroundings):
    """Begin `function(notebook, work, isolated)` in a sandbox that shows the notebook only what it
    may see; return the Child.
    """
    from tools.validate import guard as nbval_plugin  # noqa: F401  here once, not in each child, from which this repository is hidden

    changes.copy(notebook, surroundings, work / "notebooks")
    for name in ("home", "tmp", "state"):
        (work / name).mkdir()
    fonts = (
        ROOT / ".venv/share/matplotlib-cache"
    )  # finding the machine's fonts takes seconds, and is done once
    if fonts.exists():
        shutil.copytree(fonts, work / "state/matplotlib")
    patterns = [*sanitize.places(work), *sanitize.load()]
    (work / "sanitize.cfg").write_text(sanitize.nbval_file(patterns), encoding="utf-8")
    hidden = changes.hidden(notebook.metadata["course"]["needs"], surroundings, work)
    return sandbox.start(
        lambda: function(notebook, work, isolated),
        work,
        isolated,
        hidden,
        notebook.online,
        notebook.limits[0] + GRACE,
    )


def environment(work):
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


def _run(notebook, work, isolated, record=False):
    """In the sandbox: validate one notebook, or `record` its outputs; return a dict of what was
    found.
    """
    import pytest

    from tools.validate import guard as nbval_plugin

    copy = _enter(notebook, work)
    if record:
        _forget_outputs(copy)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    guard = nbval_plugin.Guard(
        *notebook.limits,
        [copy.parent, work / "home", work / "tmp"],
        isolated and not notebook.online,
        record,
    )
    started = time.monotonic()
    pytest.main(
        [
            str(copy),
            "--nbval",
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
    found = {
        "cells": guard.cells,
        "seconds": time.monotonic() - started,
        "memory_mb": guard.peak_mb,
        "language": guard.language,
    }
    return sanitize.apply(sanitize.places(work), found)


def _forget_outputs(path: Path) -> None:
    stored = json.loads(path.read_bytes())
    for cell in stored["cells"]:
        cell |= {"outputs": [], "execution_count": None}
    path.write_text(json.dumps(stored), encoding="utf-8")


def _enter(notebook, work):
    """In the sandbox: make `work` the home of this process; return the path of the notebook's copy
    in it.
    """
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
    return _judged(notebook, work, found)


def _judged(notebook, work, found):
    """The Result of a notebook of which the Guard `found` this."""
    result = Result(
        notebook.name, "passed", "", round(found["seconds"], 1), round(found["memory_mb"])
    )
    failed = [cell for cell in found["cells"] if cell["outcome"] == "failed"]
    lines = _cell_lines(notebook.path.with_suffix(".md"))
    for cell in found["cells"]:
        line = lines[cell["cell"] - 1] if 0 < cell["cell"] <= len(lines) else 0
        result.cells.append(
            {
                "cell": cell["cell"],
                "line": line,
                "seconds": cell["seconds"],
                "outputs": cell["outputs"] if cell["outcome"] == "failed" else None,
            }
        )
        if cell["outcome"] == "failed":
            result.problems += [
                [line, f"cell {cell['cell']}: {problem}"] for problem in cell["problems"]
            ]
    if failed:
        unrun = sum(cell["outcome"] == "skipped" for cell in found["cells"])
        result.outcome, result.reason = (
            "failed",
            f"{len(failed)} of {len(found['cells'])} cells"
            + (f", {unrun} not run" if unrun else ""),
        )
    elif not found["cells"]:
        log = (work / "log").read_text(errors="replace")[-2000:]
        result.outcome, result.reason = "failed", f"no cell was validated\n{log}"
    return result


def _cell_lines(path):
    """The line numbers at which the code cells of a MyST notebook begin."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if re.match(r"`{3,}\{code-cell\}", line)
    ]


def refresh(notebooks, accept=lambda name: True):
    """Execute each notebook anew and keep its outputs, if a second run gives the same; show what
    changed. False if one failed.

    accept: called with the name of each once its difference is shown; what it says no to is left as
    it was.
    """
    surroundings = changes.Surroundings()
    return all([_refresh(notebook, surroundings, accept) for notebook in notebooks])


def _refresh(notebook: Notebook, surroundings: changes.Surroundings, accept) -> bool:
    """Refresh one notebook, and say what became of it; False if it failed."""
    from tools.course import pairs

    absent = missing(notebook, surroundings)
    if absent:
        return _not_refreshed(notebook, f": {absent[1]}")
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
        [result] = validate([copy])
        if result.outcome != "passed":
            advice = reports.advice(result, copy)
            return _not_refreshed(
                notebook,
                f", since a second run does not repeat the first:\n{describe(result)}\n{advice}",
            )
        fresh.metadata["measured"] = _steady(notebook.metadata.get("measured"), result) | {
            "code": pairs.code(fresh)
        }
        pairs.write_ipynb(fresh, copy.path)
        print(reports.compared(NBDIFF, notebook.path, copy.path), end="")
    if accept(notebook.name):
        pairs.write_ipynb(fresh, notebook.path)
        print(f"{notebook.name}: refreshed, {result.seconds} s, {result.memory_mb} MB")
    else:
        print(f"{notebook.name}: left as it was")
    return True


def _not_refreshed(notebook: Notebook, why: str) -> bool:
    print(f"{notebook.name}: not refreshed{why}", file=sys.stderr)
    return False


def _steady(before, result):
    """The measured numbers to store, with the seconds of each code cell: the old ones while the new
    ones are near, so that a refresh changes no more than it must.
    """
    new = {"seconds": max(1, round(result.seconds)), "memory_mb": round(result.memory_mb, -1)}
    cells = [round(cell["seconds"], 1) for cell in result.cells]
    near = (
        before
        and all(new[key] / 2 <= before.get(key, 0) <= new[key] * 2 for key in new)
        and len(before.get("cells", [])) == len(cells)
    )
    return before if near else new | {"cells": cells}


def executed(notebook, surroundings, stop=True):
    """Execute a notebook as a validation does, and return it with its fresh outputs.

    A stored output that shows the same stays, so that a refresh changes no more than it must.
    RuntimeError says what is wrong; without `stop`, only if not every cell ran.
    """
    with tempfile.TemporaryDirectory(prefix="notebooks-") as top:
        work = Path(tempfile.mkdtemp(dir=top))  # a path as long as that of a validation
        child = _start(
            functools.partial(_run, record=True),
            notebook,
            work,
            sandbox.obstacle() is None,
            surroundings,
        )
        try:
            found = child.collect()
        except KeyboardInterrupt:
            child.kill()
            raise
        result = _judged(notebook, work, found)
    if result.outcome == "failed" and (
        stop or not found["cells"] or any(cell["outcome"] == "skipped" for cell in found["cells"])
    ):
        raise RuntimeError(describe(result))
    return _with_outputs(notebook, found)


def _with_outputs(notebook: Notebook, found: dict):
    """The notebook at its path, in today's format, with the outputs that a run `found`."""
    import nbformat

    fresh = nbformat.read(notebook.path, as_version=4)
    fresh = nbformat.v4.upgrade(fresh, from_minor=fresh.nbformat_minor)
    _, fresh = nbformat.validator.normalize(fresh)
    fresh.metadata["language_info"] = nbformat.from_dict(found["language"])
    patterns = sanitize.load()
    for cell, new in zip(
        (cell for cell in fresh.cells if cell.cell_type == "code"), found["cells"], strict=True
    ):
        cell.execution_count = new["count"]
        if sanitize.apply(patterns, _shown(cell.outputs)) != sanitize.apply(
            patterns, _shown(new["outputs"])
        ):
            cell.outputs = nbformat.from_dict(new["outputs"])
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = new["count"]
    return fresh


def _shown(outputs: list) -> list:
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


def _ask(name):
    try:
        return input(f"{name}: keep these outputs? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="tools.validate.runner",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=["validate", "refresh"])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument(
        "--nb",
        default="",
        metavar="'NAME ...'",
        help="more names in one text, as a make variable has them",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
    parser.add_argument(
        "--changed", action="store_true", help="run only what something changed for since it passed"
    )
    parser.add_argument("--explain", action="store_true", help="say why each runs, or does not")
    parser.add_argument("--on", choices=["slurm"], help="run them as jobs (see slurm.py)")
    parser.add_argument(
        "--resume", action="store_true", help="gather the jobs of a run whose terminal has ended"
    )
    options = parser.parse_intermixed_args(arguments)
    options.names += named(options.nb, halves.find(NOTEBOOKS) if options.nb else [])
    if options.resume and (options.names or not options.on):
        parser.exit(
            2,
            "--resume gathers all of the run that is there: make notebooks ON=slurm "
            "RESUME=1, without NB\n",
        )
    try:
        notebooks = load(options.names)
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    if options.task == "refresh":
        if not options.names:
            notebooks = [
                notebook
                for notebook in notebooks
                if changes.failed(changes.load_record(RECORDS, notebook.name))
            ]
            if not notebooks:
                parser.exit(
                    2,
                    "Nothing failed in the last run. Which notebook? make refresh "
                    "NB=01-first-notebook\n",
                )
        return 0 if refresh(notebooks, _ask if sys.stdin.isatty() else lambda name: True) else 1
    surroundings, began = changes.Surroundings(), time.monotonic()
    why = _why(notebooks, surroundings, options)
    results = (
        []
        if options.resume
        else [
            Result(notebook.name, "unchanged") for notebook in notebooks if not why[notebook.name]
        ]
    )
    if options.explain:
        for name, reasons in why.items():
            print(
                f"{name:24}{'runs: ' + '; '.join(reasons) if reasons else 'does not run: it passed, and nothing it can see changed since'}"
            )
    if options.json:
        for result in results:
            print(json.dumps(dataclasses.asdict(result)), flush=True)
    running = [notebook for notebook in notebooks if why[notebook.name]]
    progress = reports.Progress()
    by_name, differences = {notebook.name: notebook for notebook in notebooks}, {}

    def report(result):
        progress.clear()
        if options.json:
            print(json.dumps(dataclasses.asdict(result)), flush=True)
            return
        print(describe(result), flush=True)
        differences[result.name] = reports.difference(result, by_name[result.name], NBDIFF)
        print(differences[result.name], end="", flush=True)

    if options.on:
        try:
            results += slurm.validate(
                notebooks if options.resume else running,
                report,
                options.resume,
                progress=progress.show,
            )
        except slurm.SlurmError as error:
            parser.exit(1, f"{error}\n")
        except KeyboardInterrupt:
            parser.exit(130, "stopped; its jobs are cancelled\n")
    elif running:
        results += validate(running, report, RECORDS, surroundings, progress.show)
    progress.clear()
    if not options.json:
        for line in filter(
            None,
            [
                reports.slowest(results),
                *(
                    reports.annotations(results)
                    if os.environ.get("GITHUB_ACTIONS") == "true"
                    else ()
                ),
            ],
        ):
            print(line)
        print(
            reports.write(
                RECORDS.parent,
                results,
                by_name,
                differences,
                summary(results),
                time.monotonic() - began,
            )
        )
        print(summary(results))
    return 1 if any(result.outcome == "failed" for result in results) else 0


def _why(notebooks, surroundings, options):
    """For each notebook's name the reasons why it runs; none if it need not."""
    if options.on:
        return {notebook.name: ["each job runs on a machine of its own"] for notebook in notebooks}
    if options.names or not options.changed:
        return {notebook.name: ["it was asked for"] for notebook in notebooks}
    always, base = changes.rule(os.environ)
    if always:
        return {notebook.name: [always] for notebook in notebooks}
    if base:
        why = changes.why_run_since(base, notebooks, surroundings)
        seed = os.environ.get("GITHUB_SHA", "")
        for name in changes.sample([name for name in why if not why[name]], seed):
            why[name] = [f"it is in the sample of {seed or 'no commit'}"]
    else:
        why = {
            notebook.name: changes.why_run(notebook, surroundings, RECORDS)
            for notebook in notebooks
        }
    for notebook in notebooks:  # what is no longer what its writer wrote has to fail
        if not why[notebook.name] and (
            told := changes.drift(notebook, changes.load_record(RECORDS, notebook.name))
        ):
            why[notebook.name] = [told]
    return why


def summary(results):
    """One line that says how many notebooks passed, failed, were skipped and did not run, and under
    which conditions.
    """
    count = {
        outcome: sum(result.outcome == outcome for result in results)
        for outcome in ("passed", "failed", "skipped", "unchanged")
    }
    line = ", ".join(
        f"{number} {outcome}"
        for outcome, number in count.items()
        if number or outcome in ("passed", "failed")
    )
    ran = count["unchanged"] < len(results)
    return f"notebooks: {line}" + (
        f"; not isolated: {sandbox.obstacle()}" if ran and sandbox.obstacle() else ""
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)

"""The two halves of a notebook: NAME.ipynb with outputs and NAME.md (MyST) without, and what keeps
them together.

    python -m tools.course.pairs check [DIR]
    python -m tools.course.pairs sync [--nb NAME] [--from md|ipynb] [DIR]
    python -m tools.course.pairs published [DIR]

`sync` is a merge. The base is what both halves held when they were in step last: it is kept beside
them (halves.py), and stands in git's last commit. What one half changed goes into the other; what
both changed, in one cell, is told and left to a person. Everything is decided by content, never by
modification times: after a clone those say nothing. `published` says what keeps a notebook from
being published: halves that differ, and outputs that are those of other code.
"""

import argparse
import contextlib
import difflib
import fcntl
import hashlib
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

import nbformat
from nbformat import NotebookNode

from tools import git
from tools.course import halves, model, myst
from tools.course.halves import Pair, Unreadable, find
from tools.course.merge import Conflict, Merged, align, merge
from tools.course.myst import FORMATS, Key, keys
from tools.files import write_whole

SHARED = ("kernelspec", "course")  # the notebook's metadata that both halves hold
KERNEL = ("display_name", "language", "name")
ATTACHED = re.compile(r"attachment:([^)\s\"'>]+)")
ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
T = TypeVar("T")


@dataclass
class Problem:
    """What is wrong with a pair, at a line of a file (0: the whole file), and the command or edit
    that mends it.
    """

    path: Path
    line: int
    message: str
    repair: str

    def __str__(self) -> str:
        return (
            f"{self.path}{f':{self.line}' if self.line else ''}: {self.message}. To mend it: "
            f"{self.repair}"
        )


# ---- reading and writing


def read_ipynb(path: Path) -> NotebookNode:
    """Return the notebook at `path` as it is stored, in format 4, each source one string; raises
    Unreadable.
    """
    return _parse_ipynb(halves.text(path), path)


def _parse_ipynb(text: str, path: Path | None = None) -> NotebookNode:
    if marker := myst.MARKER.search(text):
        raise Unreadable(
            f"has conflict markers of git: {marker[0]!r}",
            text.count("\n", 0, marker.start()) + 1,
            path,
        )
    try:
        notebook = json.loads(text)
        text.encode()
        json.dumps(notebook, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Unreadable(
            "holds half a character (a lone surrogate, \\ud800 to \\udfff), which no file can hold",
            1,
            path,
        ) from None
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"no valid JSON: {error}", getattr(error, "lineno", 1), path) from None
    if (
        not isinstance(notebook, dict)
        or notebook.get("nbformat") != 4
        or not isinstance(notebook.get("cells"), list)
    ):
        raise Unreadable("no notebook of format 4", 1, path)
    if not isinstance(notebook.setdefault("metadata", {}), dict):
        raise Unreadable("its metadata are no mapping", 1, path)
    for number, cell in enumerate(notebook["cells"]):
        if (
            isinstance(cell, dict)
            and isinstance(cell.get("source"), list)
            and all(isinstance(line, str) for line in cell["source"])
        ):
            cell["source"] = "".join(cell["source"])
        if why := _no_cell(cell):
            raise Unreadable(
                f"cell {number + 1} {why}", _lines_of_cells(text, notebook)[number], path
            )
    node: NotebookNode = nbformat.from_dict(notebook)
    return node


def _no_cell(cell: Any) -> str | None:
    """Why something is no cell, in words; None if it is one."""
    if not isinstance(cell, dict) or cell.get("cell_type") not in ("markdown", "code", "raw"):
        return "is no Markdown, code or raw cell"
    if not isinstance(cell.get("source"), str):
        return "has no source"
    if not isinstance(cell.setdefault("metadata", {}), dict) or not isinstance(
        cell.get("attachments", {}), dict
    ):
        return "has metadata or attachments that are no mapping"
    if cell["cell_type"] == "code" and not isinstance(cell.setdefault("outputs", []), list):
        return "has outputs that are no list"
    return None


def _lines_of_cells(text: str, notebook: dict[str, Any]) -> list[int]:
    """The line at which each cell of the .ipynb begins, 1 where it is not written as Jupyter writes
    it.
    """
    begins = [
        text.count("\n", 0, match.start()) + 1
        for match in re.finditer(r"^  \{", text, re.MULTILINE)
    ]
    return begins if len(begins) == len(notebook["cells"]) else [1] * len(notebook["cells"])


def read_md(path: Path) -> NotebookNode:
    """Return the MyST notebook at `path`; raises Unreadable."""
    return myst.read(path).notebook


def write_pair(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook, whose .ipynb is `path`, as `make refresh` leaves it: both halves, and the
    fingerprint of the code that its outputs are of.
    """
    if "measured" in notebook.metadata:
        notebook.metadata.measured["code"] = code(notebook)
    write_ipynb(notebook, path)
    write_md(notebook, path.with_suffix(".md"))


def write_ipynb(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook to `path`, whole or not at all; raises OSError."""
    _write(path, ipynb_text(notebook))


def ipynb_text(notebook: NotebookNode) -> str:
    """The text of an .ipynb, as Jupyter writes it, with a newline at its end."""
    text = str(nbformat.writes(nbformat.from_dict(notebook), version=nbformat.NO_CONVERT))
    return text.rstrip("\n") + "\n"


def write_md(notebook: NotebookNode, path: Path) -> None:
    """Write the MyST half of a notebook to `path`, whole or not at all; raises OSError, or
    Unreadable if MyST cannot hold a cell.
    """
    _write(path, md_text(notebook))


def md_text(notebook: NotebookNode) -> str:
    """The MyST half of a notebook, as text; raises Unreadable if a cell would come back changed."""
    return myst.write(
        [cell for cell in notebook.cells if not myst.empty(cell)],
        myst.new_header(_shared(notebook)),
        _lexer(notebook),
    )


def _lexer(notebook: NotebookNode) -> str | None:
    lexer: str | None = notebook.metadata.get("language_info", {}).get("pygments_lexer")
    return lexer


def _write(path: Path, text: str, before: bytes | None = None) -> None:
    """Write `text` to `path`, whole or not at all, if that still has the content `before`; raises
    OSError, or Unreadable if it has not.
    """

    def check() -> None:
        if before is not None and path.read_bytes() != before:
            raise Unreadable(
                "was changed by somebody else while it was synced, and is left as it is. "
                "Once more: make sync",
                path=path,
            )

    write_whole(path, text, check)


def _keep_aside(path: Path) -> Path:
    """Copy a half that is thrown away beside itself, under a name that git ignores; return the path
    of the copy.
    """
    content = path.read_bytes()
    number = 1
    while True:
        aside = path.with_name(f"{path.name}.old{f'-{number}' if number > 1 else ''}")
        with contextlib.suppress(FileExistsError), open(aside, "xb") as file:
            file.write(content)
            return aside
        if aside.is_file() and aside.read_bytes() == content:
            return aside
        number += 1


# ---- what both halves hold


def _shared(notebook: NotebookNode) -> dict[str, Any]:
    """The part of a notebook's metadata that both halves hold, besides jupytext's own."""
    shared: dict[str, Any] = {}
    if isinstance(kernel := notebook.metadata.get("kernelspec"), dict):
        shared["kernelspec"] = {key: kernel[key] for key in KERNEL if key in kernel}
    if "course" in notebook.metadata:
        shared["course"] = notebook.metadata.course
    plain: dict[str, Any] = json.loads(json.dumps(shared))
    return plain


def _visible(ipynb: NotebookNode) -> list[int]:
    """The indices of the cells of an .ipynb that Markdown can hold: all but empty Markdown."""
    return [index for index, cell in enumerate(ipynb.cells) if not myst.empty(cell)]


def _content(notebook: NotebookNode) -> tuple[dict[str, Any], list[Key]]:
    """What must be the same in both halves."""
    return _shared(notebook), keys([cell for cell in notebook.cells if not myst.empty(cell)])


def differ(md: Path, ipynb: Path) -> bool:
    """Whether the halves at these paths hold different content; a half that is missing or
    unreadable differs from none.
    """
    try:
        return md.exists() and _content(read_md(md)) != _content(read_ipynb(ipynb))
    except Unreadable:
        return False


def _first_difference(one: Sequence[Key], other: Sequence[Key]) -> int | None:
    """The index of the first item that differs, None if all are the same."""
    for index in range(max(len(one), len(other))):
        if one[index : index + 1] != other[index : index + 1]:
            return index
    return None


# ---- check


class _Both(NamedTuple):
    """The paths of the halves of a notebook, where it has both."""

    name: str
    md: Path
    ipynb: Path

    @property
    def paths(self) -> tuple[Path, Path]:
        """The .md and the .ipynb."""
        return self.md, self.ipynb


def _both(pair: Pair) -> _Both | None:
    return _Both(pair.name, pair.md, pair.ipynb) if pair.md and pair.ipynb else None


def _one(pair: Pair) -> Path:
    """The path of the one half that there is; that of the .md, if there are both."""
    path = pair.md or pair.ipynb
    assert path, "a Pair has a half"
    return path


def check(folder: str | Path) -> list[Problem]:
    """Return every Problem of the pairs below `folder`; reads each file once."""
    problems = []
    stems: dict[str, str] = {}
    pairs = find(folder)
    for pair in pairs:
        other = stems.setdefault(Path(pair.name).name.lower(), pair.name)
        if other != pair.name:
            problems.append(
                Problem(
                    pair.ipynb or _one(pair),
                    0,
                    f"has the same name as {other}",
                    "rename one of them",
                )
            )
        problems += _check(pair, pairs)
    return problems


def _check(pair: Pair, pairs: Sequence[Pair]) -> Iterator[Problem]:
    both = _both(pair)
    if not both:
        missing = ".ipynb" if pair.md else ".md"
        twin = _renamed(pair, pairs)
        yield Problem(
            _one(pair),
            0,
            f"a lone half: there is no {pair.name}{missing}"
            + (f", but {twin} holds nearly the same" if twin else ""),
            _rename(pair, twin) if twin else _sync_command(pair),
        )
        return
    ipynb = md = None
    try:
        ipynb = read_ipynb(both.ipynb)
    except Unreadable as error:
        yield _unreadable(both, both.ipynb, error, "md")
    try:
        md = myst.read(both.md)
    except Unreadable as error:
        yield _unreadable(both, both.md, error, "ipynb")
    if ipynb is not None and md is not None:
        yield from _check_header(both, ipynb, md)
        yield from _check_cells(both, ipynb, md)
        yield from _check_ids(both, ipynb)
        yield from _check_course(both, md)


def _unreadable(pair: _Both, path: Path, error: Unreadable, other: str) -> Problem:
    return Problem(
        path,
        error.line,
        error.args[0],
        f"edit it, or make it anew from the other half: {_sync_command(pair)} FROM={other}",
    )


def _sync_command(pair: Pair | _Both) -> str:
    return f"make sync NB={shlex.quote(pair.name)}"


def _check_header(pair: _Both, ipynb: NotebookNode, md: myst.Md) -> Iterator[Problem]:
    for path, half in ((pair.ipynb, ipynb), (pair.md, md.notebook)):
        formats = _formats(half)
        if formats != FORMATS:
            yield Problem(
                path, 0, f"jupytext.formats is {formats!r}, not {FORMATS!r}", _sync_command(pair)
            )
    if _stale(md):
        yield Problem(
            pair.md, 2, f"its header does not say {', '.join(myst.STALE)}", _sync_command(pair)
        )
    here = _shared(md.notebook)
    there = _shared(ipynb)
    for key in SHARED:
        if here.get(key) != there.get(key):
            yield Problem(
                pair.md,
                1,
                f"{key} differs: {here.get(key)} here, {there.get(key)} in the .ipynb",
                _sync_command(pair),
            )
    if not here.get("kernelspec", {}).get("name") and not there.get("kernelspec", {}).get("name"):
        yield Problem(
            pair.md,
            1,
            "its header names no kernel",
            f"write it there, {_kernel_of('python3')}, then {_sync_command(pair)}",
        )


def _formats(half: NotebookNode) -> Any:
    """The formats of the pair, as jupytext reads them in this half."""
    jupytext = half.metadata.get("jupytext")
    return jupytext.get("formats") if isinstance(jupytext, dict) else None


def _kernel_of(name: str) -> str:
    return f"kernelspec: {{display_name: Python 3 (ipykernel), language: python, name: {name}}}"


def _stale(md: myst.Md) -> bool:
    """Whether the header of an .md says another format than the one that it is written in."""
    return not {f"    {row}" for row in myst.STALE} <= set(md.header.splitlines())


def _check_cells(pair: _Both, ipynb: NotebookNode, md: myst.Md) -> Iterator[Problem]:
    cells = [ipynb.cells[index] for index in _visible(ipynb)]
    here = keys(md.notebook.cells)
    there = keys(cells)
    at = _first_difference(here, there)
    if at is None:
        return
    try:
        md_text(ipynb)
    except Unreadable as error:
        yield Problem(pair.ipynb, 0, str(error), "edit that cell, then make sync")
        return
    mine = here[at] if at < len(here) else None
    theirs = there[at] if at < len(there) else None
    line = md.lines[at] if at < len(md.lines) else 1 + md.text.count("\n")
    if mine and theirs and mine.kind == theirs.kind and mine.source != theirs.source:
        one, other = _first_lines_that_differ(mine.source, theirs.source)
        rows = md.pieces[at].lstrip("\n").split("\n")
        line += rows.index(one) if one in rows else 0
        message = f"cell {at + 1} differs: {one!r} here, {other!r} in the .ipynb"
    else:
        message = _difference_of(at + 1, mine, theirs)
    yield Problem(
        pair.md,
        line,
        message,
        f"{_sync_command(pair)}; if it cannot tell which half is right, FROM=md or FROM=ipynb",
    )


def _first_lines_that_differ(one: str, other: str) -> tuple[str, str]:
    """Of two different sources the first lines that are not the same; after the last, none."""
    rows = zip([*one.split("\n"), ""], [*other.split("\n"), ""], strict=False)
    return next((mine, theirs) for mine, theirs in rows if mine != theirs)


def _difference_of(number: int, mine: Key | None, theirs: Key | None) -> str:
    """How a cell of the .md differs from that of the .ipynb, if not in its source."""
    if mine and theirs:
        if mine.kind != theirs.kind:
            return f"cell {number} is {mine.kind} here and {theirs.kind} in the .ipynb"
        return (
            f"the metadata of cell {number} differs: {mine.kept or 'none'} here, "
            f"{theirs.kept or 'none'} in the .ipynb"
        )
    only = mine or theirs
    first = only.source.partition("\n")[0] if only else ""
    return f"cell {number} is only in the {'.md' if mine else '.ipynb'}: {first!r}"


def _check_ids(pair: _Both, ipynb: NotebookNode) -> Iterator[Problem]:
    if _mended_ids(ipynb) != [cell.get("id") for cell in ipynb.cells]:
        yield Problem(
            pair.ipynb, 0, "cell ids are missing, stand twice, or are none", _sync_command(pair)
        )


def _check_course(pair: _Both, md: myst.Md) -> Iterator[Problem]:
    course = md.notebook.metadata.get("course")
    if not isinstance(course, dict):
        yield Problem(
            pair.md,
            1,
            f"declares no course: {', '.join(model.RULES)}",
            "declare it, see notebooks/README.md",
        )
        return
    for key, wanted in model.wrong_values(course).items():
        message = f"course.{key} is {course.get(key)!r}, not {wanted}"
        yield Problem(pair.md, 1, message, "edit the header")


# ---- publish


def unpublishable(folder: str | Path) -> Iterator[Problem]:
    """Yield a Problem for each pair below `folder` whose .ipynb, which is what the site shows, is
    not what its writer has written.
    """
    pairs = find(folder)
    for pair in pairs:
        both = _both(pair)
        if not both:
            yield from itertools.islice(_check(pair, pairs), 1)
            continue
        problem = None if halves.unchanged(folder, pair) else _drift(both)
        if problem:
            yield problem
            continue
        try:
            if why := outdated(read_ipynb(both.ipynb)):
                yield Problem(both.ipynb, 0, why, _refresh_command(pair))
        except Unreadable as error:
            yield Problem(both.ipynb, error.line, error.args[0], "edit it")


def drift(pair: Pair) -> Problem | None:
    """The first Problem because of which the halves of `pair` are not the same notebook; None if
    they are, or if there is one half only.
    """
    both = _both(pair)
    return _drift(both) if both else None


def _drift(pair: _Both) -> Problem | None:
    try:
        ipynb = read_ipynb(pair.ipynb)
        md = myst.read(pair.md)
    except Unreadable as error:
        return Problem(
            error.path or pair.md,
            error.line,
            error.args[0],
            "edit it, then " + _sync_command(pair),
        )
    if _content(md.notebook) == _content(ipynb):
        return None
    return next(
        itertools.chain(_check_cells(pair, ipynb, md), _check_header(pair, ipynb, md)), None
    )


def outdated(notebook: NotebookNode) -> str | None:
    """Why the stored outputs of `notebook` are not those of its code, as far as it tells; None if
    they are.
    """
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "code" and cell.source.strip() and cell.get("execution_count") is None:
            return (
                f"cell {number} was not executed since its code changed: "
                f"{cell.source.strip().partition(chr(10))[0][:60]!r}"
            )
    measured = notebook.metadata.get("measured")
    if isinstance(measured, dict) and measured.get("code", code(notebook)) != code(notebook):
        return (
            "its code changed after it was executed, so the outputs that it shows are those "
            "of other code"
        )
    return None


def code(notebook: NotebookNode) -> str:
    """The fingerprint of a notebook's code, which make refresh stores beside the outputs."""
    return hashlib.sha256(
        json.dumps(
            [myst.plain(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
        ).encode()
    ).hexdigest()[:16]


def _refresh_command(pair: Pair | _Both) -> str:
    return f"make refresh NB={shlex.quote(pair.name)}"


# ---- sync


class _Undecided(Exception):
    """Both halves may hold an edit."""


@dataclass
class _Base:
    """What both halves held at a time: keys() of their cells, the cells' ids, the metadata that
    both hold.
    """

    cells: Sequence[tuple[str, ...]]
    ids: list[str | None]
    shared: dict[str, Any]


@dataclass
class _Plan:
    """What both halves are to hold: cells, of each its index in the .md if it is the same there,
    and metadata; which attachments go.
    """

    cells: list[NotebookNode]
    places: list[int | None]
    shared: dict[str, Any]
    gone: list[str]


def sync(
    folder: str | Path, name: str | None = None, source: str | None = None
) -> tuple[list[str], bool]:
    """Bring the pairs below `folder` together, or that one called `name`; return (messages, whether
    all went well).

    source: "md" or "ipynb" says which half is right; without it what each half changed since they
    were in step last goes into the other, and where both changed one cell nothing is written.
    Raises ValueError for a name that does not exist.
    """
    pairs = find(folder)
    wanted = halves.called(pairs, name) if name else pairs
    if name and not wanted:
        raise ValueError(_no_notebook(folder, name))
    messages = []
    good = True
    with _alone(folder):
        for pair in wanted:
            if halves.unchanged(folder, pair) and not source:
                halves.still_in_step(folder, pair)
                continue
            try:
                message = _sync(folder, pair, source, pairs)
            except (Unreadable, OSError, _Undecided) as error:
                message = f"not synced: {error}"
                good = False
            if message:
                messages.append(f"{pair.name}: {message}")
    return messages, good


def _no_notebook(folder: str | Path, name: str) -> str:
    path = Path(folder, f"{name}.md")
    if path.exists():
        return (
            f"{path}:1: does not begin with the header of a notebook: a line ---, jupytext: "
            "and what belongs to it, a line ---"
        )
    return f"there is no notebook {name} in {folder}"


@contextlib.contextmanager
def _alone(folder: str | Path) -> Iterator[None]:
    """While another sync of this folder runs, wait."""
    memory = Path(folder, halves.MEMORY)
    try:
        memory.mkdir(exist_ok=True)
        lock = open(memory / "lock", "w")  # noqa: SIM115  closed below
    except OSError:  # nothing can be written here, which is told where it matters
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class _Blob(NamedTuple):
    """What git's index has of a file: the blob, and when the file was last known to be like it, in
    nanoseconds.
    """

    name: str
    mtime_ns: int


def _in_index(pair: _Both) -> list[_Blob] | None:
    """What git's index has of the .md and the .ipynb; None if it has not both."""
    listed = git.run(
        "--literal-pathspecs",
        "ls-files",
        "--stage",
        "--debug",
        "-z",
        "--",
        pair.md.name,
        pair.ipynb.name,
        cwd=pair.md.parent,
    )
    entry = re.compile(
        r"^100\d+ (\w+) 0\t([^\0]+)\0\s+ctime: \S+\s+mtime: (\d+):(\d+)", re.MULTILINE
    )
    blobs = {
        name: _Blob(blob, int(seconds) * 10**9 + int(rest))
        for blob, name, seconds, rest in entry.findall(os.fsdecode(listed.stdout))
    }
    return [blobs[path.name] for path in pair.paths] if len(blobs) == 2 else None


def _base_in_git(pair: _Both, blobs: Sequence[str]) -> _Base | None:
    """The halves as git has them, as a _Base; None if they are not in step there."""
    try:
        md_half, ipynb_half = (
            git.run("cat-file", "blob", blob, cwd=pair.md.parent, check=True)
            .stdout.decode("utf-8-sig")
            .replace("\r\n", "\n")
            for blob in blobs
        )
        md = myst.parse(md_half).notebook
        ipynb = _parse_ipynb(ipynb_half)
    except (ValueError, Unreadable, OSError, subprocess.SubprocessError):
        return None
    return _base_of(ipynb) if _content(md) == _content(ipynb) else None


def _base_of(ipynb: NotebookNode) -> _Base:
    cells = [ipynb.cells[index] for index in _visible(ipynb)]
    return _Base(keys(cells), [cell.get("id") for cell in cells], _shared(ipynb))


def _is_of(known: _Base | None, pair: _Both) -> bool:
    """Whether what is remembered is of this notebook, which may have had another name: it has the
    same cells, by their ids.
    """
    if not known:
        return False
    ids = {cell.get("id") for cell in read_ipynb(pair.ipynb).cells}
    return 2 * len(set(known.ids) & ids) >= len(known.ids)


def _remembered(folder: str | Path, name: str) -> _Base | None:
    record = halves.remembered(folder, name)
    if not record:
        return None
    try:
        cells = [tuple(cell) for cell in record["cells"]]
        return _Base(cells, record["ids"], record["shared"])
    except (KeyError, TypeError):
        return None


def _remember(folder: str | Path, pair: Pair, ipynb: NotebookNode) -> None:
    base = _base_of(ipynb)
    halves.remember(folder, pair, _write, cells=base.cells, ids=base.ids, shared=base.shared)


def _sync(folder: str | Path, pair: Pair, source: str | None, pairs: Sequence[Pair]) -> str:
    """Bring one pair together; return what was done, in words. Raises Unreadable, _Undecided."""
    both = _both(pair)
    if not both:
        return _make_other_half(folder, pair, pairs)
    _complete(folder, both)
    before = [path.read_bytes() if path.is_file() else b"" for path in both.paths]
    md = _read(myst.read, both.md, source == "ipynb")
    ipynb = _read(read_ipynb, both.ipynb, source == "md")
    if md is None:
        assert ipynb is not None, "one half only may be unreadable"
        text = md_text(ipynb)
        new = _finished(ipynb, ipynb.cells, _shared(ipynb))
        notes = [f"made the .md anew from the .ipynb; what it was is in {_keep_aside(both.md)}"]
    else:
        if not md.notebook.cells and (ipynb is None or ipynb.cells):
            raise Unreadable("has a header and no cell", md.header.count("\n"), both.md)
        stored = nbformat.v4.new_notebook() if ipynb is None else ipynb
        plan = _plan(folder, both, md, stored, source)
        new = _finished(stored, plan.cells, plan.shared)
        try:
            text = _new_md(md, plan, new)
        except Unreadable as error:
            error.path = both.md if error.line else both.ipynb
            raise
        notes = _notes(both, _Change(md, ipynb, new, text), source)
        if plan.gone and not source:
            notes.append(
                f"{', '.join(plan.gone)} went with a deleted cell; what the .ipynb was is "
                f"in {_keep_aside(both.ipynb)}"
            )
    after = (
        text if md is None or text != md.text else None,
        ipynb_text(new) if ipynb != new else None,
    )
    with _journal(folder, both, before, after):
        for path, old, written in zip(both.paths, before, after, strict=True):
            if written is not None:
                _write(path, written, old)
        _remember(folder, pair, new)
    if notes and outdated(new):
        notes.append(f"now: {_refresh_command(pair)}")
    return "; ".join(notes)


@contextlib.contextmanager
def _journal(
    folder: str | Path, pair: _Both, before: Sequence[bytes], after: Sequence[str | None]
) -> Iterator[None]:
    """While both halves are written, what each was and is to be stands in a file, for _complete()
    after a process that was killed between them.
    """
    path = Path(folder, halves.MEMORY, f"{pair.name}.writing")
    if None not in after:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(
            path,
            json.dumps([[_hash(old), written] for old, written in zip(before, after, strict=True)]),
        )
    yield
    path.unlink(missing_ok=True)


def _complete(folder: str | Path, pair: _Both) -> None:
    """Write what a killed process was about to write, if each half still is what it was then, or is
    what it was to be.
    """
    path = Path(folder, halves.MEMORY, f"{pair.name}.writing")
    try:
        journal = json.loads(path.read_text(encoding="utf-8"))
        now = [half.read_bytes() for half in pair.paths]
        if all(
            _hash(content) in (old, _hash(written.encode()))
            for content, (old, written) in zip(now, journal, strict=True)
        ):
            for half, content, (_, written) in zip(pair.paths, now, journal, strict=True):
                _write(half, written, content)
    except (ValueError, TypeError, FileNotFoundError):
        return
    path.unlink(missing_ok=True)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(read: Callable[[Path], T], path: Path, may_fail: bool) -> T | None:
    """The half at `path`, None if it cannot be read and `may_fail`, since it is thrown away."""
    try:
        return read(path)
    except Unreadable:
        if may_fail and path.is_file():
            return None
        raise


class _Change(NamedTuple):
    """The halves as they are, the .ipynb only if it can be read, and as they are to be."""

    md: myst.Md
    ipynb: NotebookNode | None
    new: NotebookNode
    text: str


def _notes(pair: _Both, change: _Change, source: str | None) -> list[str]:
    """What was done, in words. What `source` throws away is kept before it is."""
    md, ipynb, new, text = change
    if ipynb is None:
        return [f"made the .ipynb anew from the .md; what it was is in {_keep_aside(pair.ipynb)}"]
    if source and _content(md.notebook) != _content(ipynb):
        loser = pair.ipynb if source == "md" else pair.md
        to, of = (".ipynb", ".md") if source == "md" else (".md", ".ipynb")
        return [f"took the {of}'s cells into the {to}; what it was is in {_keep_aside(loser)}"]
    notes = []
    into_ipynb = _content(ipynb) != _content(new)
    into_md = _content(md.notebook) != _content(new)
    if into_ipynb and into_md:
        notes.append("merged the changes of both halves")
    elif into_ipynb:
        notes.append("took the .md's cells into the .ipynb")
    elif into_md:
        notes.append("took the .ipynb's cells into the .md")
    if ipynb != new and not into_ipynb:
        notes.append("mended the .ipynb's header or ids")
    if text != md.text and not into_md:
        notes.append("mended the .md's header")
    return notes


def _plan(
    folder: str | Path, pair: _Both, md: myst.Md, ipynb: NotebookNode, source: str | None
) -> _Plan:
    """The _Plan that holds the changes of both halves, or those of `source`; raises _Undecided, or
    Unreadable for what cannot be kept.
    """
    if source == "md":
        bases = [_base_of(ipynb)]
    elif source == "ipynb" or _content(md.notebook) == _content(ipynb):
        bases = [_Base(keys(md.notebook.cells), [], _shared(md.notebook))]
    else:
        bases = _bases(folder, pair)
    plans: list[_Plan] = []
    clashes = ""
    for base in bases:
        try:
            plan = _combined(md, ipynb, base)
        except Conflict as error:
            clashes = clashes or _in_words(pair, md, ipynb, error, base)
            continue
        if not any(
            (keys(plan.cells), plan.shared) == (keys(other.cells), other.shared) for other in plans
        ):
            plans.append(plan)
    if len(plans) == 1 and not clashes:
        return plans[0]
    choose = f"Nothing was written. Choose: {_sync_command(pair)} FROM=md, or FROM=ipynb"
    if len(bases) == 1:
        raise _Undecided(
            f"both halves changed the same.\n{clashes}{choose}; or make it the same in both"
        )
    why = (
        "git has written both halves since the last sync, and both were changed after that"
        if bases
        else "neither git nor an earlier sync has a version in which both are the same"
    )
    raise _Undecided(
        f"it cannot tell which half changed: {why}.\n{_difference(pair, md, ipynb)}{choose}"
    )


def _bases(folder: str | Path, pair: _Both) -> list[_Base]:
    """What both halves have grown from; two, if it can be either: then what follows from the one
    must follow from the other.

    It is what they held when they were in step last. But git may have written both since then
    (checkout, pull, stash), which its index tells. Then it is what git wrote, for sure if one half
    has not been touched since.
    """
    name = _remembered_as(folder, pair)
    known = _remembered(folder, name) if name else None
    since = halves.in_step_since(folder, name) if name else None
    index = _in_index(pair)
    in_git = None
    if index and not (known and since and min(blob.mtime_ns for blob in index) < since):
        in_git = _base_in_git(pair, [blob.name for blob in index])
    if not known:
        in_git = in_git or _base_in_git(pair, [f"HEAD:./{path.name}" for path in pair.paths])
        return [in_git] if in_git else []
    if not index or not in_git or in_git == known:
        return [known]
    untouched = any(
        path.stat().st_mtime_ns == blob.mtime_ns
        for path, blob in zip(pair.paths, index, strict=True)
    )
    return [in_git] if untouched else [known, in_git]


def _remembered_as(folder: str | Path, pair: _Both) -> str | None:
    """The name under which something is remembered of the pair: its own, or that which it had
    before it was renamed; None if nothing is.
    """
    if _remembered(folder, pair.name):
        return pair.name
    orphans = (name for name in halves.orphans(folder) if _is_of(_remembered(folder, name), pair))
    return next(orphans, None)


@dataclass
class _Entry:
    """A cell of a _Plan: its index in the .md if it is the same there, and in the .ipynb."""

    cell: NotebookNode
    place: int | None
    origin: int | None


def _combined(md: myst.Md, ipynb: NotebookNode, base: _Base) -> _Plan:
    """The _Plan with what `md` and `ipynb` made of `base`; raises Conflict, or Unreadable for what
    cannot be kept.
    """
    visible = _visible(ipynb)
    here = keys(md.notebook.cells)
    there = keys([ipynb.cells[index] for index in visible])
    ids = [ipynb.cells[index].get("id") for index in visible]
    merged = merge(
        base.cells, here, there, align(base.cells, here), align(base.cells, there, base.ids, ids)
    )
    shared = _combined_metadata(base.shared, _shared(md.notebook), _shared(ipynb))
    entries = [_entry(item, md, ipynb, visible) for item in merged]
    gone = _attach(entries, ipynb)
    for index in sorted(set(range(len(ipynb.cells))) - set(visible)):
        # Empty cells stay behind those that they followed.
        after = (number for number, entry in enumerate(entries, 1) if entry.origin == index - 1)
        at = 0 if index == 0 else next(after, None)
        if at is not None:
            entries.insert(at, _Entry(ipynb.cells[index], None, index))
    return _Plan(
        [entry.cell for entry in entries], [entry.place for entry in entries], shared, gone
    )


def _entry(item: Merged, md: myst.Md, ipynb: NotebookNode, visible: Sequence[int]) -> _Entry:
    """The cell that a merge gave; raises Unreadable if a part of it would get lost."""
    origin = visible[item.other] if item.other is not None else None
    old = ipynb.cells[origin] if origin is not None else None
    mine = md.notebook.cells[item.one] if item.one is not None else None
    chosen = mine if item.first else old
    assert chosen is not None, "a merged cell is that of one half at least"
    line = md.lines[item.one] if item.one is not None else 0
    cell = _cell(chosen, old, line)
    same = mine is not None and keys([cell]) == keys([mine])
    return _Entry(cell, item.one if same else None, origin)


def _combined_metadata(
    base: dict[str, Any], here: dict[str, Any], there: dict[str, Any]
) -> dict[str, Any]:
    """What both halves are to hold of the notebook's metadata; what one has lost it gets back.

    Raises Conflict.
    """
    shared = {}
    for key in SHARED:
        one = here.get(key)
        other = there.get(key)
        if one is None or other is None or one == other:
            value = other if one is None else one
        elif base.get(key) in (one, other):
            value = other if one == base.get(key) else one
        else:
            raise Conflict([key])
        if value is not None:
            shared[key] = value
    return shared


def _cell(new: NotebookNode, old: NotebookNode | None, line: int) -> NotebookNode:
    """A cell with the kind, source and kept metadata of `new`, and all else of `old` that still
    holds; outputs of another source do not.

    line: where it stands in the .md. Raises Unreadable if an attachment would get lost.
    """
    if old is None:
        make: dict[str, Callable[..., NotebookNode]] = {
            "code": nbformat.v4.new_code_cell,
            "markdown": nbformat.v4.new_markdown_cell,
            "raw": nbformat.v4.new_raw_cell,
        }
        return make[new.cell_type](new.source, metadata=new.metadata)
    if keys([new]) == keys([old]):
        return old
    metadata = {key: value for key, value in old.metadata.items() if key not in myst.KEPT_IN_CELLS}
    metadata |= {key: new.metadata[key] for key in myst.KEPT_IN_CELLS if key in new.metadata}
    cell = dict(old) | {"metadata": metadata}
    if (new.cell_type, myst.plain(new.source)) != (old.cell_type, myst.plain(old.source)):
        cell |= {"cell_type": new.cell_type, "source": new.source}
        for key in ("outputs", "execution_count"):
            cell.pop(key, None)
        if new.cell_type == "code":
            if cell.pop("attachments", None):
                raise Unreadable(
                    f"the cell at line {line} becomes code, which has no attachments: its "
                    f"{', '.join(old.attachments)} would get lost. "
                    "Move the image to another cell first, in JupyterLab"
                )
            cell |= {"outputs": [], "execution_count": None}
    node: NotebookNode = nbformat.from_dict(cell)
    return node


def _attach(entries: Sequence[_Entry], ipynb: NotebookNode) -> list[str]:
    """Give each cell the attachments that its source names, from the cell that had them; return
    those that go with a deleted cell. Raises Unreadable.
    """
    there = {entry.origin for entry in entries}
    lost = [
        ipynb.cells[index]
        for index in _visible(ipynb)
        if index not in there and ipynb.cells[index].get("attachments")
    ]
    carried = []
    for number, entry in enumerate(entries, 1):
        for name in _new_names(entry, ipynb):
            _attach_one(entry, name, number, lost, ipynb)
            carried += [(id(other), name) for other in lost if name in other.attachments]
    return [
        name for other in lost for name in other.attachments if (id(other), name) not in carried
    ]


def _names(source: str) -> list[str]:
    """The attachments that a source names, as often as it does."""
    return [unquote(name) for name in ATTACHED.findall(source)]


def _new_names(entry: _Entry, ipynb: NotebookNode) -> list[str]:
    """The attachments that a cell of Markdown names, and did not name as often before."""
    if entry.cell.cell_type != "markdown":
        return []
    names = _names(entry.cell.source)
    before = _names(ipynb.cells[entry.origin].source) if entry.origin is not None else []
    return [name for name in dict.fromkeys(names) if names.count(name) > before.count(name)]


def _attach_one(
    entry: _Entry,
    name: str,
    number: int,
    lost: Sequence[NotebookNode],
    ipynb: NotebookNode,
) -> None:
    """Give the cell, the one with this number, the attachment `name`: that of a `lost` cell, or of
    any. Raises Unreadable if more than one image has that name.
    """
    own = entry.cell.get("attachments") or {}
    mine = own.get(name)
    sources = [other for other in lost if name in other.attachments] or [
        other for other in ipynb.cells if name in (other.get("attachments") or {})
    ]
    images: list[Any] = []
    for other in sources:
        if other.attachments[name] not in images:
            images.append(other.attachments[name])
    if mine and (not images or [mine] == images[:1]):
        return
    if mine or len(images) > 1:
        raise Unreadable(
            f"cell {number}, {entry.cell.source.partition(chr(10))[0]!r}, names "
            f"{name}, and more than one image has that name. Attach it under "
            "another name first, in JupyterLab"
        )
    if images:
        attachments = dict(own) | {name: images[0]}
        entry.cell = nbformat.from_dict(dict(entry.cell) | {"attachments": attachments})


def _finished(
    ipynb: NotebookNode, cells: Sequence[NotebookNode], shared: dict[str, Any]
) -> NotebookNode:
    """The notebook that the .ipynb is to be: all of it, but with these cells and metadata."""
    new: NotebookNode = nbformat.from_dict(
        dict(ipynb) | {"cells": cells, "metadata": json.loads(json.dumps(ipynb.metadata))}
    )
    for key, value in shared.items():
        if _shared(new).get(key) != value:
            new.metadata[key] = nbformat.from_dict(
                dict(new.metadata.get(key) or {}) | value if key == "kernelspec" else value
            )
    if _formats(new) != FORMATS:
        new.metadata["jupytext"] = nbformat.from_dict({"formats": FORMATS})
    for cell, name in zip(new.cells, _mended_ids(new), strict=True):
        cell["id"] = name
    new["nbformat_minor"] = max(5, new.get("nbformat_minor", 5))
    return new


def _mended_ids(notebook: NotebookNode) -> list[str]:
    """An id for each cell that no other has: its own, if it is one."""
    ids: list[str] = []
    for cell in notebook.cells:
        own = cell.get("id")
        ids.append(
            own
            if isinstance(own, str) and ID.fullmatch(own) and own not in ids
            else nbformat.v4.new_markdown_cell()["id"]
        )
    return ids


def _new_md(md: myst.Md, plan: _Plan, new: NotebookNode) -> str:
    """The text of the .md with the plan's cells: that which it has, where they are the same."""
    here = _shared(md.notebook)
    changed = {key: value for key, value in plan.shared.items() if here.get(key) != value}
    if _formats(md.notebook) != FORMATS or _stale(md):
        changed |= myst.NEW_HEADER
    header = myst.change_header(md.header, changed) if changed else md.header
    shown = [
        (cell, place)
        for cell, place in zip(plan.cells, plan.places, strict=True)
        if not myst.empty(cell)
    ]
    if [place for _, place in shown] == list(range(len(md.pieces))):
        return header + "".join(md.pieces)
    has_code = any(cell.cell_type == "code" for cell in md.notebook.cells)
    return myst.write(
        [cell for cell, _ in shown],
        header,
        md.lexer if has_code else _lexer(new),
        md,
        [place for _, place in shown],
    )


# ---- a half without the other


def _make_other_half(folder: str | Path, pair: Pair, pairs: Sequence[Pair]) -> str:
    """Make the half that a pair lacks; return what was done, in words. Raises Unreadable."""
    path = _one(pair)
    if twin := _renamed(pair, pairs):
        raise Unreadable(
            f"it has no other half, but {twin} holds nearly the same cells and has none "
            "either: one of them was renamed. Then rename "
            f"the other too: {_rename(pair, twin)}",
            path=path,
        )
    target = path.with_suffix(".ipynb" if pair.md else ".md")
    if os.path.lexists(target):
        raise Unreadable("is there, and is no half that can be read", path=target)
    new = _make_ipynb(path, target) if pair.md else _make_md(path, target)
    pair = Pair(pair.name, pair.ipynb or target, pair.md or target)
    _remember(folder, pair, new)
    return f"made {target.name}" + (f"; now: {_refresh_command(pair)}" if outdated(new) else "")


def _make_ipynb(path: Path, target: Path) -> NotebookNode:
    """Make the .ipynb `target` of the .md at `path`, and return it."""
    md = myst.read(path)
    if not md.notebook.cells:
        raise Unreadable("has a header and no cell", md.header.count("\n"), path)
    if not md.notebook.metadata.get("kernelspec", {}).get("name"):
        raise Unreadable(f"its header names no kernel; write {_kernel_of('python3')}", 1, path)
    nothing = nbformat.v4.new_notebook()
    plan = _combined(md, nothing, _Base([], [], {}))
    new = _finished(nothing, plan.cells, plan.shared)
    text = _new_md(md, plan, new)
    if text != md.text:
        _write(path, text)
    _write(target, ipynb_text(new))
    return new


def _make_md(path: Path, target: Path) -> NotebookNode:
    """Make the .md `target` of the .ipynb at `path`, and return the notebook."""
    ipynb = read_ipynb(path)
    new = _finished(ipynb, ipynb.cells, _shared(ipynb))
    text = md_text(new)
    if new != ipynb:
        _write(path, ipynb_text(new))
    _write(target, text)
    return new


def _renamed(pair: Pair, pairs: Sequence[Pair]) -> Path | None:
    """The path of a half of the other kind that is alone too and holds half of the same cells; None
    if there is none.
    """
    try:
        own = read_md(pair.md) if pair.md else read_ipynb(_one(pair))
    except Unreadable:
        return None
    mine = set(keys(own.cells))
    for other in pairs:
        path = other.ipynb if pair.md else other.md
        if not path or _both(other):
            continue
        with contextlib.suppress(Unreadable):
            theirs = set(keys((read_ipynb if pair.md else read_md)(path).cells))
            if 2 * len(mine & theirs) >= max(len(mine), len(theirs), 1):
                return path
    return None


def _rename(pair: Pair, twin: Path) -> str:
    """The command that brings the half `twin` beside that of `pair`."""
    target = _one(pair).with_suffix(twin.suffix)
    return f"mv {shlex.quote(str(twin))} {shlex.quote(str(target))}"


# ---- a conflict in words


def _in_words(
    pair: _Both, md: myst.Md, ipynb: NotebookNode, conflict: Conflict, base: _Base
) -> str:
    """For each clash the lines at which it is, and what each half changed there."""
    lines = _lines_of_cells(halves.text(pair.ipynb), ipynb)
    visible = _visible(ipynb)
    there = keys([ipynb.cells[index] for index in visible])
    parts = []
    for clash in conflict.clashes:
        if isinstance(clash, str):
            line = _line_of_key(md.header, clash)
            parts.append(f"{pair.md}:{line} and {pair.ipynb}: both changed {clash} in the header\n")
            continue
        md_place = _place(pair.md, None if clash.one is None else md.lines[clash.one])
        ipynb_place = _place(
            pair.ipynb, None if clash.other is None else lines[visible[clash.other]]
        )
        parts.append(f"{md_place} and {ipynb_place}: {clash.reason}\n")
        before = _item(base.cells, clash.base)
        then = "when they were the same"
        mine = _item(keys(md.notebook.cells), clash.one)
        parts.append(_diff(before, mine, then, pair.md.name))
        parts.append(_diff(before, _item(there, clash.other), then, pair.ipynb.name))
    return "".join(parts)


def _line_of_key(header: str, key: str) -> int:
    """The line of a header at which the metadata `key` begin, 1 if they are not there."""
    return next(
        (number for number, row in enumerate(header.splitlines(), 1) if row.startswith(f"{key}:")),
        1,
    )


def _place(path: Path, line: int | None) -> str:
    return f"{path} (not there)" if line is None else f"{path}:{line}"


def _item(cells: Sequence[tuple[str, ...]], index: int | None) -> Sequence[tuple[str, ...]]:
    """The cell with this index, as a list of one; an empty list if it is None."""
    return [] if index is None else cells[index : index + 1]


def _difference(pair: _Both, md: myst.Md, ipynb: NotebookNode) -> str:
    return _diff(
        keys([ipynb.cells[index] for index in _visible(ipynb)]),
        keys(md.notebook.cells),
        pair.ipynb.name,
        pair.md.name,
    )


def _diff(
    before: Iterable[tuple[str, ...]], after: Iterable[tuple[str, ...]], name: str, other: str
) -> str:
    """A unified diff of cells."""
    return "".join(difflib.unified_diff(_lines(before), _lines(after), name, other, n=1))


def _lines(cells: Iterable[tuple[str, ...]]) -> list[str]:
    """Cells as lines of text, as a person compares them."""
    return [
        f"{line}\n"
        for kind, source, kept in cells
        for line in (f"[{kind}]{f' {kept}' if kept else ''}", *source.split("\n"))
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status: 0 if all is well."""
    parser = argparse.ArgumentParser(
        prog="tools.course.pairs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=["check", "sync", "published"])
    parser.add_argument("folder", nargs="?", default="notebooks", type=Path)
    parser.add_argument("--nb", metavar="NAME")
    parser.add_argument("--from", dest="source", choices=["md", "ipynb"])
    options = parser.parse_intermixed_args(arguments)
    if not options.folder.is_dir():
        parser.exit(2, f"there is no folder {options.folder}\n")
    if options.task != "sync":
        problems = [*(check if options.task == "check" else unpublishable)(options.folder)]
        print("".join(f"{problem}\n" for problem in problems), end="")
        return 1 if problems else 0
    if options.source and not options.nb:
        parser.exit(2, "FROM needs NB: say for which notebook that half is right\n")
    try:
        messages, good = sync(options.folder, options.nb, options.source)
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    print("\n".join(messages or ["every pair is in step"]))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

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
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import nbformat

from tools import git
from tools.course import halves, myst
from tools.course.halves import Unreadable, find
from tools.course.merge import Conflict, align, merge
from tools.course.myst import FORMATS, keys

SHARED = ("kernelspec", "course")  # the notebook's metadata that both halves hold
KERNEL = ("display_name", "language", "name")
ATTACHED = re.compile(r"attachment:([^)\s\"'>]+)")
ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass
class Problem:
    """What is wrong with a pair, at a line of a file (0: the whole file), and the command or edit
    that mends it.
    """

    path: Path
    line: int
    message: str
    repair: str

    def __str__(self):
        return (
            f"{self.path}{f':{self.line}' if self.line else ''}: {self.message}. To mend it: "
            f"{self.repair}"
        )


# ---- reading and writing


def read_ipynb(path):
    """Return the notebook at `path` as it is stored, in format 4, each source one string; raises
    Unreadable.
    """
    return _parse_ipynb(halves.text(path), path)


def _parse_ipynb(text, path=None):
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
    return nbformat.from_dict(notebook)


def _no_cell(cell):
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


def _lines_of_cells(text, notebook):
    """The line at which each cell of the .ipynb begins, 1 where it is not written as Jupyter writes
    it.
    """
    begins = [
        text.count("\n", 0, match.start()) + 1
        for match in re.finditer(r"^  \{", text, re.MULTILINE)
    ]
    return begins if len(begins) == len(notebook["cells"]) else [1] * len(notebook["cells"])


def read_md(path):
    """Return the MyST notebook at `path`; raises Unreadable."""
    return myst.read(path).notebook


def write_pair(notebook, path):
    """Write a notebook, whose .ipynb is `path`, as `make refresh` leaves it: both halves, and the
    fingerprint of the code that its outputs are of.
    """
    if "measured" in notebook.metadata:
        notebook.metadata.measured["code"] = code(notebook)
    write_ipynb(notebook, path)
    write_md(notebook, path.with_suffix(".md"))


def write_ipynb(notebook, path):
    """Write a notebook to `path`, whole or not at all; raises OSError."""
    _write(path, ipynb_text(notebook))


def ipynb_text(notebook):
    return (
        nbformat.writes(nbformat.from_dict(notebook), version=nbformat.NO_CONVERT).rstrip("\n")
        + "\n"
    )


def write_md(notebook, path):
    """Write the MyST half of a notebook to `path`, whole or not at all; raises OSError, or
    Unreadable if MyST cannot hold a cell.
    """
    _write(path, md_text(notebook))


def md_text(notebook):
    """The MyST half of a notebook, as text; raises Unreadable if a cell would come back changed."""
    return myst.write(
        [cell for cell in notebook.cells if not myst.empty(cell)],
        myst.new_header(_shared(notebook)),
        _lexer(notebook),
    )


def _lexer(notebook):
    return notebook.metadata.get("language_info", {}).get("pygments_lexer")


def _write(path, text, before=None):
    """Write `text` to `path`, whole or not at all, if that still has the content `before`; raises
    OSError, or Unreadable if it has not.
    """
    path = Path(os.path.realpath(path))
    temporary = path.with_name(
        f".{path.name}.new"
    )  # one name, so that a killed process leaves one at most, and the next takes it
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, (path.stat().st_mode if path.exists() else 0o666 & ~_umask()) & 0o7777)
        if before is not None and path.read_bytes() != before:
            raise Unreadable(
                "was changed by somebody else while it was synced, and is left as it is. "
                "Once more: make sync",
                path=path,
            )
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _keep_aside(path):
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


def _shared(notebook):
    """The part of a notebook's metadata that both halves hold, besides jupytext's own."""
    shared = {}
    if isinstance(kernel := notebook.metadata.get("kernelspec"), dict):
        shared["kernelspec"] = {key: kernel[key] for key in KERNEL if key in kernel}
    if "course" in notebook.metadata:
        shared["course"] = notebook.metadata.course
    return json.loads(json.dumps(shared))


def _visible(ipynb):
    """The indices of the cells of an .ipynb that Markdown can hold: all but empty Markdown."""
    return [index for index, cell in enumerate(ipynb.cells) if not myst.empty(cell)]


def _content(notebook):
    return _shared(notebook), keys([cell for cell in notebook.cells if not myst.empty(cell)])


def differ(md, ipynb):
    """Whether the halves at these paths hold different content; a half that is missing or
    unreadable differs from none.
    """
    try:
        return md.exists() and _content(read_md(md)) != _content(read_ipynb(ipynb))
    except Unreadable:
        return False


def _first_difference(one, other):
    """The index of the first item that differs, None if all are the same."""
    for index in range(max(len(one), len(other))):
        if one[index : index + 1] != other[index : index + 1]:
            return index
    return None


# ---- check


def check(folder):
    """Return every Problem of the pairs below `folder`; reads each file once."""
    found, stems, pairs = [], {}, find(folder)
    for pair in pairs:
        other = stems.setdefault(Path(pair.name).name.lower(), pair.name)
        if other != pair.name:
            found.append(
                Problem(
                    pair.ipynb or pair.md, 0, f"has the same name as {other}", "rename one of them"
                )
            )
        found += _check(pair, pairs)
    return found


def _check(pair, pairs):
    if not pair.md or not pair.ipynb:
        path, missing = (pair.md, ".ipynb") if pair.md else (pair.ipynb, ".md")
        twin = _renamed(pair, pairs)
        yield Problem(
            path,
            0,
            f"a lone half: there is no {pair.name}{missing}"
            + (f", but {twin} holds nearly the same" if twin else ""),
            _rename(pair, twin) if twin else f"make sync NB={shlex.quote(pair.name)}",
        )
        return
    both = []
    for path, read in ((pair.ipynb, read_ipynb), (pair.md, myst.read)):
        try:
            both.append(read(path))
        except Unreadable as error:
            other = "md" if path == pair.ipynb else "ipynb"
            yield Problem(
                path,
                error.line,
                error.args[0],
                f"edit it, or make it anew from the other half: {_sync_command(pair)} FROM={other}",
            )
    if len(both) == 2:
        yield from _check_header(pair, *both)
        yield from _check_cells(pair, *both)
        yield from _check_ids(pair, both[0])
        yield from _check_course(pair, both[1])


def _sync_command(pair):
    return f"make sync NB={shlex.quote(pair.name)}"


def _check_header(pair, ipynb, md):
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
    here, there = _shared(md.notebook), _shared(ipynb)
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


def _formats(half):
    jupytext = half.metadata.get("jupytext")
    return jupytext.get("formats") if isinstance(jupytext, dict) else None


def _kernel_of(name):
    return f"kernelspec: {{display_name: Python 3 (ipykernel), language: python, name: {name}}}"


def _stale(md):
    """Whether the header of an .md says another format than the one that it is written in."""
    return not {f"    {row}" for row in myst.STALE} <= set(md.header.splitlines())


def _check_cells(pair, ipynb, md):
    cells = [ipynb.cells[index] for index in _visible(ipynb)]
    here, there = keys(md.notebook.cells), keys(cells)
    at = _first_difference(here, there)
    if at is None:
        return
    try:
        md_text(ipynb)
    except Unreadable as error:
        yield Problem(pair.ipynb, 0, str(error), "edit that cell, then make sync")
        return
    line = md.lines[at] if at < len(md.lines) else 1 + md.text.count("\n")
    mine, theirs = (half[at] if at < len(half) else None for half in (here, there))
    if mine is None or theirs is None:
        message = (
            f"cell {at + 1} is only in the {'.ipynb' if mine is None else '.md'}: "
            f"{(mine or theirs)[1].partition(chr(10))[0]!r}"
        )
    elif mine[0] != theirs[0]:
        message = f"cell {at + 1} is {mine[0]} here and {theirs[0]} in the .ipynb"
    elif mine[1] != theirs[1]:
        rows = zip(mine[1].split("\n") + [""], theirs[1].split("\n") + [""], strict=False)
        number, (one, other) = next(
            (number, pair) for number, pair in enumerate(rows) if pair[0] != pair[1]
        )
        line += (
            md.pieces[at].lstrip("\n").split("\n").index(one)
            if one in md.pieces[at].lstrip("\n").split("\n")
            else 0
        )
        message = f"cell {at + 1} differs: {one!r} here, {other!r} in the .ipynb"
    else:
        message = (
            f"the metadata of cell {at + 1} differs: {mine[2] or 'none'} here, "
            f"{theirs[2] or 'none'} in the .ipynb"
        )
    yield Problem(
        pair.md,
        line,
        message,
        f"{_sync_command(pair)}; if it cannot tell which half is right, FROM=md or FROM=ipynb",
    )


def _check_ids(pair, ipynb):
    if _mended_ids(ipynb) != [cell.get("id") for cell in ipynb.cells]:
        yield Problem(
            pair.ipynb, 0, "cell ids are missing, stand twice, or are none", _sync_command(pair)
        )


def _check_course(pair, md):
    course = md.notebook.metadata.get("course")
    if not isinstance(course, dict):
        yield Problem(
            pair.md,
            1,
            "declares no course: goal, minutes, needs, seconds, memory_mb",
            "declare it, see notebooks/README.md",
        )
        return
    number = lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    )
    rules = {
        "goal": (lambda value: isinstance(value, str) and value.strip(), "a sentence"),
        "minutes": (lambda value: isinstance(value, int) and 5 <= value <= 60, "5 to 60"),
        "needs": (
            lambda value: isinstance(value, list) and all(isinstance(need, str) for need in value),
            "a list of words",
        ),
        "seconds": (number, "a positive number"),
        "memory_mb": (number, "a positive number"),
    }
    for key, (holds, wanted) in rules.items():
        if not holds(course.get(key)):
            yield Problem(
                pair.md, 1, f"course.{key} is {course.get(key)!r}, not {wanted}", "edit the header"
            )


# ---- publish


def unpublishable(folder):
    """Yield a Problem for each pair below `folder` whose .ipynb, which is what the site shows, is
    not what its writer has written.
    """
    pairs = find(folder)
    for pair in pairs:
        problem = (
            next(iter(_check(pair, pairs)), None)
            if not (pair.md and pair.ipynb)
            else None
            if halves.unchanged(folder, pair)
            else drift(pair)
        )
        if problem:
            yield problem
            continue
        try:
            if why := outdated(read_ipynb(pair.ipynb)):
                yield Problem(pair.ipynb, 0, why, _refresh_command(pair))
        except Unreadable as error:
            yield Problem(pair.ipynb, error.line, error.args[0], "edit it")


def drift(pair):
    """The first Problem because of which the halves of `pair` are not the same notebook, None if
    they are.
    """
    try:
        ipynb, md = read_ipynb(pair.ipynb), myst.read(pair.md)
    except Unreadable as error:
        return Problem(
            error.path, error.line, error.args[0], "edit it, then " + _sync_command(pair)
        )
    if _content(md.notebook) == _content(ipynb):
        return None
    return next(
        problem
        for found in (_check_cells(pair, ipynb, md), _check_header(pair, ipynb, md))
        for problem in found
    )


def outdated(notebook):
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


def code(notebook):
    """The fingerprint of a notebook's code, which make refresh stores beside the outputs."""
    return hashlib.sha256(
        json.dumps(
            [myst.plain(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
        ).encode()
    ).hexdigest()[:16]


def _refresh_command(pair):
    return f"make refresh NB={shlex.quote(pair.name)}"


# ---- sync


class _Undecided(Exception):
    """Both halves may hold an edit."""


@dataclass
class _Base:
    """What both halves held at a time: keys() of their cells, the cells' ids, the metadata that
    both hold.
    """

    cells: list
    ids: list
    shared: dict


@dataclass
class _Plan:
    """What both halves are to hold: cells, of each its index in the .md if it is the same there,
    and metadata; which attachments go.
    """

    cells: list
    places: list
    shared: dict
    gone: list


def sync(folder, name=None, source=None):
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
    messages, good = [], True
    with _alone(folder):
        for pair in wanted:
            if halves.unchanged(folder, pair) and not source:
                halves.still_in_step(folder, pair)
                continue
            try:
                done = _sync(folder, pair, source, pairs)
            except (Unreadable, OSError) as error:
                done, good = f"not synced: {error}", False
            except _Undecided as undecided:
                done, good = f"not synced: {undecided}", False
            if done:
                messages.append(f"{pair.name}: {done}")
    return messages, good


def _no_notebook(folder, name):
    path = Path(folder, f"{name}.md")
    if path.exists():
        return (
            f"{path}:1: does not begin with the header of a notebook: a line ---, jupytext: "
            "and what belongs to it, a line ---"
        )
    return f"there is no notebook {name} in {folder}"


@contextlib.contextmanager
def _alone(folder):
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


def _in_index(pair):
    """What git's index has of the .md and the .ipynb: for each the blob, and when the file was last
    known to be like it; None if it has not both.
    """
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
    found = {
        name: (blob, int(seconds) * 10**9 + int(rest))
        for blob, name, seconds, rest in entry.findall(os.fsdecode(listed.stdout))
    }
    return [found[path.name] for path in (pair.md, pair.ipynb)] if len(found) == 2 else None


def _base_in_git(pair, blobs):
    """The halves as git has them, as a _Base; None if they are not in step there."""
    try:
        md, ipynb = (
            git.run("cat-file", "blob", blob, cwd=pair.md.parent, check=True)
            .stdout.decode("utf-8-sig")
            .replace("\r\n", "\n")
            for blob in blobs
        )
        md, ipynb = myst.parse(md).notebook, _parse_ipynb(ipynb)
    except (ValueError, Unreadable, OSError, subprocess.SubprocessError):
        return None
    return _base_of(ipynb) if _content(md) == _content(ipynb) else None


def _base_of(ipynb):
    cells = [ipynb.cells[index] for index in _visible(ipynb)]
    return _Base(keys(cells), [cell.get("id") for cell in cells], _shared(ipynb))


def _is_of(known, pair):
    """Whether what is remembered is of this notebook, which may have had another name: it has the
    same cells, by their ids.
    """
    return bool(known) and 2 * len(
        set(known.ids) & {cell.get("id") for cell in read_ipynb(pair.ipynb).cells}
    ) >= len(known.ids)


def _remembered(folder, name):
    record = halves.remembered(folder, name)
    try:
        return record and _Base(
            [tuple(cell) for cell in record["cells"]], record["ids"], record["shared"]
        )
    except (KeyError, TypeError):
        return None


def _remember(folder, pair, ipynb):
    base = _base_of(ipynb)
    halves.remember(folder, pair, _write, cells=base.cells, ids=base.ids, shared=base.shared)


def _sync(folder, pair, source, pairs):
    if not (pair.md and pair.ipynb):
        return _make_other_half(folder, pair, pairs)
    _complete(folder, pair)
    before = [path.read_bytes() if path.is_file() else b"" for path in (pair.md, pair.ipynb)]
    md = _read(myst.read, pair.md, source == "ipynb")
    ipynb = _read(read_ipynb, pair.ipynb, source == "md")
    if md is None:
        text, new = md_text(ipynb), _finished(ipynb, ipynb.cells, _shared(ipynb))
        plan, notes = (
            None,
            [f"made the .md anew from the .ipynb; what it was is in {_keep_aside(pair.md)}"],
        )
    else:
        if not md.notebook.cells and (ipynb is None or ipynb.cells):
            raise Unreadable("has a header and no cell", md.header.count("\n"), pair.md)
        plan = _plan(folder, pair, md, ipynb or nbformat.v4.new_notebook(), source)
        new = _finished(ipynb or nbformat.v4.new_notebook(), plan.cells, plan.shared)
        try:
            text = _new_md(md, plan, new)
        except Unreadable as error:
            error.path = pair.md if error.line else pair.ipynb
            raise
    ipynb_changed, md_changed = ipynb != new, md is None or text != md.text
    if plan:
        notes = _notes(pair, md, ipynb, new, source, ipynb_changed, md_changed)
        if plan.gone and not source:
            notes.append(
                f"{', '.join(plan.gone)} went with a deleted cell; what the .ipynb was is "
                f"in {_keep_aside(pair.ipynb)}"
            )
    after = text if md_changed else None, ipynb_text(new) if ipynb_changed else None
    with _journal(folder, pair, before, after):
        for path, old, written in zip((pair.md, pair.ipynb), before, after, strict=True):
            if written is not None:
                _write(path, written, old)
        _remember(folder, pair, new)
    if notes and outdated(new):
        notes.append(f"now: {_refresh_command(pair)}")
    return "; ".join(notes)


@contextlib.contextmanager
def _journal(folder, pair, before, after):
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


def _complete(folder, pair):
    """Write what a killed process was about to write, if each half still is what it was then, or is
    what it was to be.
    """
    path = Path(folder, halves.MEMORY, f"{pair.name}.writing")
    try:
        journal = json.loads(path.read_text(encoding="utf-8"))
        now = [half.read_bytes() for half in (pair.md, pair.ipynb)]
        if all(
            _hash(content) in (old, _hash(written.encode()))
            for content, (old, written) in zip(now, journal, strict=True)
        ):
            for half, content, (_, written) in zip(
                (pair.md, pair.ipynb), now, journal, strict=True
            ):
                _write(half, written, content)
    except (ValueError, TypeError, FileNotFoundError):
        return
    path.unlink(missing_ok=True)


def _hash(content):
    return hashlib.sha256(content).hexdigest()


def _read(read, path, may_fail):
    """The half at `path`, None if it cannot be read and `may_fail`, since it is thrown away."""
    try:
        return read(path)
    except Unreadable:
        if may_fail and path.is_file():
            return None
        raise


def _notes(pair, md, ipynb, new, source, ipynb_changed, md_changed):
    """What was done, in words. What `source` throws away is kept before it is."""
    if ipynb is None:
        return [f"made the .ipynb anew from the .md; what it was is in {_keep_aside(pair.ipynb)}"]
    differed = _content(md.notebook) != _content(ipynb)
    notes = []
    if differed and source:
        loser = pair.ipynb if source == "md" else pair.md
        to, of = (".ipynb", ".md") if source == "md" else (".md", ".ipynb")
        return [f"took the {of}'s cells into the {to}; what it was is in {_keep_aside(loser)}"]
    into_ipynb, into_md = _content(ipynb) != _content(new), _content(md.notebook) != _content(new)
    if into_ipynb and into_md:
        notes.append("merged the changes of both halves")
    elif into_ipynb:
        notes.append("took the .md's cells into the .ipynb")
    elif into_md:
        notes.append("took the .ipynb's cells into the .md")
    if ipynb_changed and not into_ipynb:
        notes.append("mended the .ipynb's header or ids")
    if md_changed and not into_md:
        notes.append("mended the .md's header")
    return notes


def _plan(folder, pair, md, ipynb, source):
    """The _Plan that holds the changes of both halves, or those of `source`; raises _Undecided, or
    Unreadable for what cannot be kept.
    """
    if source == "md":
        bases = [_base_of(ipynb)]
    elif source == "ipynb" or _content(md.notebook) == _content(ipynb):
        bases = [_Base(keys(md.notebook.cells), [], _shared(md.notebook))]
    else:
        bases = _bases(folder, pair)
    plans, told = [], ""
    for base in bases:
        try:
            plan = _combined(md, ipynb, base)
        except Conflict as error:
            told = told or _told(pair, md, ipynb, error, base)
            continue
        if not any(
            (keys(plan.cells), plan.shared) == (keys(other.cells), other.shared) for other in plans
        ):
            plans.append(plan)
    if len(plans) == 1 and not told:
        return plans[0]
    choose = f"Nothing was written. Choose: {_sync_command(pair)} FROM=md, or FROM=ipynb"
    if len(bases) == 1:
        raise _Undecided(
            f"both halves changed the same.\n{told}{choose}; or make it the same in both"
        )
    why = (
        "git has written both halves since the last sync, and both were changed after that"
        if bases
        else "neither git nor an earlier sync has a version in which both are the same"
    )
    raise _Undecided(
        f"it cannot tell which half changed: {why}.\n{_difference(pair, md, ipynb)}{choose}"
    )


def _bases(folder, pair):
    """What both halves have grown from; two, if it can be either: then what follows from the one
    must follow from the other.

    It is what they held when they were in step last. But git may have written both since then
    (checkout, pull, stash), which its index tells. Then it is what git wrote, for sure if one half
    has not been touched since.
    """
    name = (
        next(
            (name for name in halves.orphans(folder) if _is_of(_remembered(folder, name), pair)),
            None,
        )
        if not _remembered(folder, pair.name)
        else pair.name
    )
    known, since, index = (
        name and _remembered(folder, name),
        name and halves.in_step_since(folder, name),
        _in_index(pair),
    )
    in_git = (
        _base_in_git(pair, [blob for blob, _ in index])
        if index and not (known and min(at for _, at in index) < since)
        else None
    )
    if not known:
        in_git = in_git or _base_in_git(
            pair, [f"HEAD:./{path.name}" for path in (pair.md, pair.ipynb)]
        )
        return [in_git] if in_git else []
    if not in_git or in_git == known:
        return [known]
    untouched = any(
        path.stat().st_mtime_ns == at
        for path, (_, at) in zip((pair.md, pair.ipynb), index, strict=True)
    )
    return [in_git] if untouched else [known, in_git]


def _combined(md, ipynb, base):
    """The _Plan with what `md` and `ipynb` made of `base`; raises Conflict, or Unreadable for what
    cannot be kept.
    """
    visible = _visible(ipynb)
    here, there = keys(md.notebook.cells), keys([ipynb.cells[index] for index in visible])
    ids = [ipynb.cells[index].get("id") for index in visible]
    merged = merge(
        base.cells, here, there, align(base.cells, here), align(base.cells, there, base.ids, ids)
    )
    shared = _combined_metadata(base.shared, _shared(md.notebook), _shared(ipynb))
    entries = []
    for item in merged:
        old = ipynb.cells[visible[item.other]] if item.other is not None else None
        new = md.notebook.cells[item.one] if item.first else old
        cell = _cell(new, old, f"{md.lines[item.one]}" if item.one is not None else "")
        place = item.one if item.one is not None and keys([cell])[0] == here[item.one] else None
        entries.append((cell, place, visible[item.other] if item.other is not None else None))
    gone = _attach(entries, ipynb)
    for index in sorted(
        set(range(len(ipynb.cells))) - set(visible)
    ):  # empty cells stay behind those that they followed
        at = next(
            (number + 1 for number, entry in enumerate(entries) if entry[2] == index - 1),
            0 if index == 0 else None,
        )
        if at is not None:
            entries.insert(at, (ipynb.cells[index], None, index))
    return _Plan([cell for cell, *_ in entries], [place for _, place, _ in entries], shared, gone)


def _combined_metadata(base, here, there):
    """What both halves are to hold of the notebook's metadata; what one has lost it gets back.

    Raises Conflict.
    """
    shared = {}
    for key in SHARED:
        one, other = here.get(key), there.get(key)
        if one is None or other is None or one == other:
            value = other if one is None else one
        elif base.get(key) in (one, other):
            value = other if one == base.get(key) else one
        else:
            raise Conflict([key])
        if value is not None:
            shared[key] = value
    return shared


def _cell(new, old, line):
    """A cell with the kind, source and kept metadata of `new`, and all else of `old` that still
    holds; outputs of another source do not.
    """
    if old is None:
        make = {
            "code": nbformat.v4.new_code_cell,
            "markdown": nbformat.v4.new_markdown_cell,
            "raw": nbformat.v4.new_raw_cell,
        }
        return make[new.cell_type](new.source, metadata=new.metadata)
    if keys([new]) == keys([old]):
        return old
    metadata = {key: value for key, value in old.metadata.items() if key not in myst.KEPT_IN_CELLS}
    cell = dict(old) | {
        "metadata": metadata
        | {key: new.metadata[key] for key in myst.KEPT_IN_CELLS if key in new.metadata}
    }
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
    return nbformat.from_dict(cell)


def _attach(entries, ipynb):
    """Give each cell the attachments that its source names, from the cell that had them; return
    those that go with a deleted cell. Raises Unreadable.
    """
    there = {origin for _, _, origin in entries}
    lost = [
        ipynb.cells[index]
        for index in _visible(ipynb)
        if index not in there and ipynb.cells[index].get("attachments")
    ]
    carried = []
    for number, (cell, place, origin) in enumerate(entries):
        before = ipynb.cells[origin].source if origin is not None else ""
        names = [unquote(name) for name in ATTACHED.findall(cell.source)]
        for name in dict.fromkeys(names):
            mine = (cell.get("attachments") or {}).get(name)
            if cell.cell_type != "markdown" or names.count(name) <= [
                unquote(other) for other in ATTACHED.findall(before)
            ].count(name):
                continue
            sources = [other for other in lost if name in other.attachments] or [
                other for other in ipynb.cells if name in (other.get("attachments") or {})
            ]
            images = [
                image
                for index, image in enumerate(other.attachments[name] for other in sources)
                if image not in [other.attachments[name] for other in sources[:index]]
            ]
            if (
                images
                and ([mine] if mine else images) != images[:1]
                or len(images) > 1
                and not mine
            ):
                raise Unreadable(
                    f"cell {number + 1}, {cell.source.partition(chr(10))[0]!r}, names "
                    f"{name}, and more than one image has that name. Attach it under "
                    "another name first, in JupyterLab"
                )
            if images and not mine:
                cell = nbformat.from_dict(
                    dict(cell)
                    | {"attachments": dict(cell.get("attachments") or {}) | {name: images[0]}}
                )
                entries[number] = cell, place, origin
            carried += [(id(other), name) for other in lost if name in other.attachments]
    gone = [
        name for other in lost for name in other.attachments if (id(other), name) not in carried
    ]
    return gone


def _finished(ipynb, cells, shared):
    """The notebook that the .ipynb is to be: all of it, but with these cells and shared metadata."""
    new = nbformat.from_dict(
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


def _mended_ids(notebook):
    """An id for each cell that no other has: its own, if it is one."""
    ids = []
    for cell in notebook.cells:
        own = cell.get("id")
        ids.append(
            own
            if isinstance(own, str) and ID.fullmatch(own) and own not in ids
            else nbformat.v4.new_markdown_cell()["id"]
        )
    return ids


def _new_md(md, plan, new):
    """The text of the .md with the plan's cells: that which it has, where they are the same."""
    here, changed = _shared(md.notebook), {}
    for key, value in plan.shared.items():
        if here.get(key) != value:
            changed[key] = value
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


def _make_other_half(folder, pair, pairs):
    if twin := _renamed(pair, pairs):
        raise Unreadable(
            f"it has no other half, but {twin} holds nearly the same cells and has none "
            "either: one of them was renamed. Then rename "
            f"the other too: {_rename(pair, twin)}",
            path=pair.md or pair.ipynb,
        )
    target = (pair.md or pair.ipynb).with_suffix(".ipynb" if pair.md else ".md")
    if os.path.lexists(target):
        raise Unreadable("is there, and is no half that can be read", path=target)
    if pair.md:
        md = myst.read(pair.md)
        if not md.notebook.cells:
            raise Unreadable("has a header and no cell", md.header.count("\n"), pair.md)
        if not md.notebook.metadata.get("kernelspec", {}).get("name"):
            raise Unreadable(
                f"its header names no kernel; write {_kernel_of('python3')}", 1, pair.md
            )
        plan = _combined(md, nbformat.v4.new_notebook(), _Base([], [], {}))
        new = _finished(nbformat.v4.new_notebook(), plan.cells, plan.shared)
        text = _new_md(md, plan, new)
        if text != md.text:
            _write(pair.md, text)
        _write(target, ipynb_text(new))
    else:
        ipynb = read_ipynb(pair.ipynb)
        new = _finished(ipynb, ipynb.cells, _shared(ipynb))
        text = md_text(new)
        if new != ipynb:
            _write(pair.ipynb, ipynb_text(new))
        _write(target, text)
    pair = halves.Pair(pair.name, pair.ipynb or target, pair.md or target)
    _remember(folder, pair, new)
    return f"made {target.name}" + (f"; now: {_refresh_command(pair)}" if outdated(new) else "")


def _renamed(pair, pairs):
    """The path of a half of the other kind that is alone too and holds half of the same cells; None
    if there is none.
    """
    try:
        mine = set(keys((read_md(pair.md) if pair.md else read_ipynb(pair.ipynb)).cells))
    except Unreadable:
        return None
    for other in pairs:
        path, read = (other.ipynb, read_ipynb) if pair.md else (other.md, read_md)
        if not path or other.md and other.ipynb:
            continue
        with contextlib.suppress(Unreadable):
            theirs = set(keys(read(path).cells))
            if 2 * len(mine & theirs) >= max(len(mine), len(theirs), 1):
                return path
    return None


def _rename(pair, twin):
    """The command that brings the half `twin` beside that of `pair`."""
    return (
        f"mv {shlex.quote(str(twin))} "
        f"{shlex.quote(str((pair.md or pair.ipynb).with_suffix(twin.suffix)))}"
    )


# ---- what is told of a conflict


def _told(pair, md, ipynb, conflict, base):
    """For each clash the lines at which it is, and what each half changed there."""
    lines = _lines_of_cells(halves.text(pair.ipynb), ipynb)
    visible, told = _visible(ipynb), []
    for clash in conflict.clashes:
        if isinstance(clash, str):
            row = next(
                (
                    number
                    for number, row in enumerate(md.header.splitlines(), 1)
                    if row.startswith(f"{clash}:")
                ),
                1,
            )
            told.append(f"{pair.md}:{row} and {pair.ipynb}: both changed {clash} in the header\n")
            continue
        here = (
            f"{pair.md}:{md.lines[clash.one]}"
            if clash.one is not None
            else f"{pair.md} (not there)"
        )
        there = (
            f"{pair.ipynb}:{lines[visible[clash.other]]}"
            if clash.other is not None
            else f"{pair.ipynb} (not there)"
        )
        told.append(f"{here} and {there}: {clash.reason}\n")
        old = base.cells[clash.base : clash.base + 1] if clash.base is not None else []
        for name, cells, index in (
            (pair.md.name, keys(md.notebook.cells), clash.one),
            (pair.ipynb.name, keys([ipynb.cells[index] for index in visible]), clash.other),
        ):
            told.append(
                _diff(
                    old,
                    cells[index : index + 1] if index is not None else [],
                    "when they were the same",
                    name,
                )
            )
    return "".join(told)


def _difference(pair, md, ipynb):
    return _diff(
        keys([ipynb.cells[index] for index in _visible(ipynb)]),
        keys(md.notebook.cells),
        pair.ipynb.name,
        pair.md.name,
    )


def _diff(before, after, name, other):
    """A unified diff of cells."""
    lines = [
        [
            f"{line}\n"
            for kind, source, kept in cells
            for line in (f"[{kind}]{f' {kept}' if kept else ''}", *source.split("\n"))
        ]
        for cells in (before, after)
    ]
    return "".join(difflib.unified_diff(*lines, name, other, n=1))


def main(arguments=None):
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

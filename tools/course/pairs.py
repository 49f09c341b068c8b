"""The two halves of a notebook: NAME.ipynb with outputs and NAME.md (MyST) without, and what keeps
them together.

    python -m tools.course.pairs check [DIR]
    python -m tools.course.pairs sync [--nb NAME] [--from md|ipynb] [DIR]
    python -m tools.course.pairs published [DIR]

`sync` is a merge. The base is what both halves held when they were in step last: it is kept beside
them (halves.py), and stands in git. What one half changed goes into the other; what both changed,
in one cell, is told and left to a person. Which half is newer is never asked: after a clone that
says nothing. `published` says what keeps a notebook from being published: halves that differ, and
outputs that are those of other code.
"""

import argparse
import difflib
import hashlib
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

import nbformat
from nbformat import NotebookNode

from tools import git
from tools.course import halves, model, myst
from tools.course.halves import Pair, Unreadable, find
from tools.course.merge import Clash, Conflict, merge
from tools.course.myst import FORMATS, Key, keys
from tools.files import write_whole

SHARED = ("kernelspec", "course")  # the notebook's metadata that both halves hold
KERNEL = ("display_name", "language", "name")
ATTACHED = re.compile(r"attachment:([^)\s\"'>]+)")
T = TypeVar("T")


class Problem(NamedTuple):
    """What is wrong with a pair, at a line of a file (0: the whole file), and the command or edit
    that mends it.
    """

    path: Path
    line: int
    message: str
    repair: str

    def __str__(self) -> str:
        place = f"{self.path}{f':{self.line}' if self.line else ''}"
        return f"{place}: {self.message}. To mend it: {self.repair}"


class Content(NamedTuple):
    """What must be the same in both halves: metadata, and keys() of the cells."""

    shared: dict[str, Any]
    cells: list[Key]


# ---- reading and writing


def read_ipynb(path: Path) -> NotebookNode:
    """Return the notebook at `path` as it is stored, in format 4, each source one string; raises
    Unreadable.
    """
    try:
        return _parse_ipynb(halves.text(path))
    except Unreadable as error:
        error.path = path
        raise


def _parse_ipynb(text: str) -> NotebookNode:
    myst.refuse(myst.MARKER, text, "has conflict markers of git: {!r}")
    try:
        notebook: NotebookNode = nbformat.v4.reads(text)
        json.dumps(notebook, ensure_ascii=False).encode()
        if notebook["nbformat"] == 4:
            _content(notebook)
            return notebook
    except UnicodeEncodeError:
        raise Unreadable(
            "holds half a character (a lone surrogate, \\ud800 to \\udfff), which no file can hold",
            1,
        ) from None
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"no valid JSON: {error}", getattr(error, "lineno", 1)) from None
    except (AttributeError, KeyError, TypeError):
        pass
    raise Unreadable("no notebook of format 4", 1)


def write_pair(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook, whose .ipynb is `path`, as `make refresh` leaves it: both halves, and the
    fingerprint of the code that its outputs are of.
    """
    if "measured" in notebook.metadata:
        notebook.metadata.measured["code"] = code(notebook)
    write_ipynb(notebook, path)
    write_whole(path.with_suffix(".md"), md_text(notebook))


def write_ipynb(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook to `path`, whole or not at all; raises OSError."""
    write_whole(path, ipynb_text(notebook))


def ipynb_text(notebook: NotebookNode) -> str:
    """The text of an .ipynb, as Jupyter writes it, with a newline at its end."""
    text = str(nbformat.writes(nbformat.from_dict(notebook), version=nbformat.NO_CONVERT))
    return text.rstrip("\n") + "\n"


def md_text(notebook: NotebookNode) -> str:
    """The MyST half of a notebook, as text; raises Unreadable if a cell would come back changed."""
    lexer = notebook.metadata.get("language_info", {}).get("pygments_lexer")
    return myst.write(_visible(notebook), _content(notebook).shared, lexer)


def _visible(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells of a notebook that Markdown can hold: all but empty Markdown."""
    return [cell for cell in notebook.cells if not myst.empty(cell)]


def _content(notebook: NotebookNode) -> Content:
    shared: dict[str, Any] = {}
    if isinstance(kernel := notebook.metadata.get("kernelspec"), dict):
        shared["kernelspec"] = {key: kernel[key] for key in KERNEL if key in kernel}
    if "course" in notebook.metadata:
        shared["course"] = notebook.metadata.course
    return Content(json.loads(json.dumps(shared)), keys(_visible(notebook)))


def differ(md: Path, ipynb: Path) -> bool:
    """Whether the halves at these paths hold different content; a half that is missing or
    unreadable differs from none.
    """
    try:
        return md.exists() and _content(myst.read(md).notebook) != _content(read_ipynb(ipynb))
    except Unreadable:
        return False


# ---- check


def check(folder: str | Path) -> list[Problem]:
    """Return every Problem of the pairs below `folder`."""
    return [problem for pair in find(folder) for problem in _check(pair)]


def _check(pair: Pair) -> Iterator[Problem]:
    if problem := drift(pair):
        yield problem
        return
    md = myst.read(pair.md)
    ipynb = read_ipynb(pair.ipynb)
    try:
        new = _finished(ipynb, ipynb.cells, _content(ipynb).shared)
        if ipynb != new or md.text != myst.rewritten(md, _visible(new), _of_md(md, new)):
            message = "its header, its cells' ids or its format are not those of a pair"
            yield Problem(pair.md, 1, message, _sync_command(pair))
    except Unreadable as error:
        yield Problem(pair.md, 1, str(error), "write it there")
    declared = md.notebook.metadata.get("course")
    if not isinstance(declared, dict):
        rules = ", ".join(model.RULES)
        message = f"declares no course: {rules}"
        yield Problem(pair.md, 1, message, "declare it, see notebooks/README.md")
        return
    for key, wanted in model.wrong_values(declared).items():
        message = f"course.{key} is {declared.get(key)!r}, not {wanted}"
        yield Problem(pair.md, 1, message, "edit the header")


def drift(pair: Pair) -> Problem | None:
    """The first Problem because of which the halves of `pair` are not the same notebook; None if
    they are.
    """
    if pair.missing:
        [one] = {pair.md, pair.ipynb} - {pair.missing}
        return Problem(one, 0, f"a lone half: there is no {pair.missing.name}", _sync_command(pair))
    try:
        ipynb = read_ipynb(pair.ipynb)
        md = myst.read(pair.md)
        here, there = _content(md.notebook), _content(ipynb)
        if here == there:
            return None
        md_text(ipynb)
    except Unreadable as error:
        path = error.path or pair.ipynb
        other = "md" if path == pair.ipynb else "ipynb"
        repair = f"edit it, or make it anew from the other half: {_sync_command(pair)} FROM={other}"
        return Problem(path, error.line, error.args[0], repair)
    line, difference = _first_difference(md, here, there)
    repair = f"{_sync_command(pair)}; if it cannot tell which half is right, FROM=md or FROM=ipynb"
    return Problem(pair.md, line, f"{difference} in the .ipynb", repair)


def _first_difference(md: myst.Md, here: Content, there: Content) -> tuple[int, str]:
    """The line at which the .md is not as the .ipynb, and what stands in the one and the other."""
    for key in SHARED:
        one, other = here.shared.get(key), there.shared.get(key)
        if one != other:
            return _line_of(key, md), f"{key} differs: {one} here, {other}"
    cells = list(itertools.zip_longest(here.cells, there.cells))
    at = next(number for number, (one, other) in enumerate(cells) if one != other)
    rows = [[*_rows(cell)[1:], _rows(cell)[0]] if cell else [] for cell in cells[at]]
    one, other = next(both for both in itertools.zip_longest(*rows) if both[0] != both[1])
    line = (*md.lines, md.text.count("\n") + 1)[at]
    below = md.text.split("\n")[line - 1 :]
    line += below.index(one) if one in below else 0
    shown = [repr(row) if row is not None else "nothing" for row in (one, other)]
    return line, f"cell {at + 1} differs: {shown[0]} here, {shown[1]}"


def _rows(cell: Key) -> list[str]:
    """A cell as lines of text, as a person compares them; the first says what it is."""
    return [f"[{cell.kind}] {cell.kept}".rstrip(), *cell.source.split("\n")]


def _line_of(key: str, md: myst.Md) -> int:
    """The line of the header at which the metadata `key` begin, 1 if they are not there."""
    rows = enumerate(md.header.splitlines(), 1)
    return next((number for number, row in rows if row.startswith(f"{key}:")), 1)


def _sync_command(pair: Pair) -> str:
    return f"make sync NB={shlex.quote(pair.name)}"


# ---- publish


def unpublishable(folder: str | Path) -> Iterator[Problem]:
    """Yield a Problem for each pair below `folder` whose .ipynb, which is what the site shows, is
    not what its writer has written.
    """
    for pair in find(folder):
        problem = None if halves.unchanged(pair) else drift(pair)
        if problem:
            yield problem
        elif why := outdated(read_ipynb(pair.ipynb)):
            yield Problem(pair.ipynb, 0, why, _refresh_command(pair))


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
    sources = [myst.plain(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]


def _refresh_command(pair: Pair) -> str:
    return f"make refresh NB={shlex.quote(pair.name)}"


# ---- sync


class _Undecided(Exception):
    """Both halves may hold an edit."""


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
        why = (
            "; its .md needs the header of a notebook"
            if Path(folder, f"{name}.md").exists()
            else ""
        )
        raise ValueError(f"there is no notebook {name} in {folder}{why}")
    renamed = len({pair.missing.suffix for pair in wanted if pair.missing}) == 2
    messages = []
    good = True
    for pair in wanted:
        if halves.unchanged(pair) and not source:
            continue
        try:
            if pair.missing and renamed:
                raise _Undecided(
                    f"there is no {pair.missing.name}, and another notebook lacks its other half "
                    "too. If one half was renamed, rename the other; if they are two notebooks: "
                    + _sync_command(pair)
                )
            message = _sync(pair, source)
        except (Unreadable, OSError, _Undecided) as error:
            message = f"not synced: {error}"
            good = False
        if message:
            messages.append(f"{pair.name}: {message}")
    return messages, good


def _sync(pair: Pair, source: str | None) -> str:
    """Bring one pair together; return what was done, in words. Raises Unreadable, _Undecided."""
    if pair.missing:
        source = "md" if pair.missing == pair.ipynb else "ipynb"
    before = {path: path.read_bytes() if path.is_file() else None for path in (pair.md, pair.ipynb)}
    md = _half(myst.read, pair.md, source == "ipynb")
    stored = _half(read_ipynb, pair.ipynb, source == "md")
    ipynb = nbformat.v4.new_notebook() if stored is None else stored
    cells, shared = _merged(pair, md, ipynb, source)
    new = _finished(ipynb, cells, shared)
    if md:
        text = myst.rewritten(md, _visible(new), _of_md(md, new))
        kept_layout = text is not None
        text = text or myst.write(
            _visible(new), {**md.notebook.metadata, **_of_md(md, new)}, md.lexer
        )
    else:
        text, kept_layout = md_text(new), False
    lost = [pair.md] * (not kept_layout)
    if source and (stored is None or (md and _content(md.notebook) != _content(stored))):
        lost.append(pair.ipynb if source == "md" else pair.md)
    aside = [str(_keep_aside(path)) for path in dict.fromkeys(lost) if before[path] is not None]
    writes = {pair.md: text} if not md or text != md.text else {}
    if stored is None or new != stored:
        writes[pair.ipynb] = ipynb_text(new)
    for path, content in writes.items():
        _write(path, content, before[path])
    halves.remember(pair, **_content(new)._asdict())
    notes = [f"wrote {' and '.join(path.name for path in writes)}"] if writes else []
    if aside:
        notes.append(f"what it was is in {', '.join(aside)}")
    if notes and outdated(new):
        notes.append(f"now: {_refresh_command(pair)}")
    return "; ".join(notes)


def _half(read: Callable[[Path], T], path: Path, thrown_away: bool) -> T | None:
    """The half at `path`; None if it cannot be read and is thrown away."""
    try:
        return read(path)
    except Unreadable:
        if thrown_away:
            return None
        raise


def _write(path: Path, text: str, before: bytes | None) -> None:
    """Write `text` to `path`, whole or not at all, if that still has the content `before`; raises
    OSError, or Unreadable if it has not.
    """

    def check() -> None:
        if (path.read_bytes() if path.is_file() else None) != before:
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
    for number in itertools.count(1):
        aside = path.with_name(f"{path.name}.old{f'-{number}' if number > 1 else ''}")
        if not os.path.lexists(aside):
            write_whole(aside, content)
        if aside.is_file() and aside.read_bytes() == content:
            return aside
    raise AssertionError("one number is free")


def _merged(
    pair: Pair, md: myst.Md | None, ipynb: NotebookNode, source: str | None
) -> tuple[list[NotebookNode], dict[str, Any]]:
    """The cells and the shared metadata that both halves are to hold: with the changes of both, or
    those of `source`. Raises _Undecided, or Unreadable for what cannot be kept.
    """
    there = _content(ipynb)
    if md is None:
        return ipynb.cells, there.shared
    if not md.notebook.cells:
        raise Unreadable("has a header and no cell", md.header.count("\n"), pair.md)
    here = _content(md.notebook)
    if source == "md":
        bases = [there]
    elif source == "ipynb" or here == there:
        bases = [here]
    else:
        bases = _bases(pair)
    merges = []
    clashes = ""
    for base in bases:
        try:
            merges.append(_combined(md, ipynb, base))
        except Conflict as error:
            clashes += _in_words(pair, md, ipynb, error.clashes, base)
    results = [(keys(cells), shared) for cells, shared in merges]
    if results and not clashes and all(result == results[0] for result in results):
        return merges[0]
    choose = f"Nothing was written. Choose: {_sync_command(pair)} FROM=md, or FROM=ipynb"
    if len(bases) == 1:
        raise _Undecided(
            f"both halves changed the same.\n{clashes}{choose}; or make it the same in both"
        )
    why = (
        "git has written both halves since the last sync"
        if bases
        else "neither git nor an earlier sync has a version in which both are the same"
    )
    difference = _diff(there.cells, here.cells, pair.ipynb.name, pair.md.name)
    raise _Undecided(f"it cannot tell which half changed: {why}.\n{difference}{choose}")


def _bases(pair: Pair) -> list[Content]:
    """What both halves have grown from; two, if it can be either: then what follows from the one
    must follow from the other.

    It is what they held when they were in step last. But git may have written both since then
    (checkout, pull, stash), which its index tells. Then it is what git wrote, for sure if one half
    has not been touched since.
    """
    in_git = _in_git(pair, ":./") or _in_git(pair, "HEAD:./")
    try:
        record = halves.remembered(pair)
        known = Content(record["shared"], [Key(*cell) for cell in record["cells"]])
        since = halves.remembered_at(pair)
    except (KeyError, TypeError, OSError):
        return [in_git] if in_git else []
    if not in_git or in_git == known:
        return [known]
    written = _written_by_git(pair)
    # A file system tells no two moments of some milliseconds apart. What a sync has written at the
    # moment of its record is what git has, once it is added, and was returned above.
    if not written or min(written.values()) < since:
        return [known]
    untouched = any(path.stat().st_mtime_ns == when for path, when in written.items())
    return [in_git] if untouched else [known, in_git]


def _written_by_git(pair: Pair) -> dict[Path, int]:
    """When git last knew each half to be as it has it, in nanoseconds; empty if it has not both."""
    times = {}
    for path in (pair.md, pair.ipynb):
        command = ("--literal-pathspecs", "ls-files", "--debug", "--", path.name)
        listed = git.run(*command, cwd=path.parent).stdout
        for seconds, rest in re.findall(rb"mtime: (\d+):(\d+)", listed)[:1]:
            times[path] = int(seconds) * 10**9 + int(rest)
    return times if len(times) == 2 else {}


def _in_git(pair: Pair, place: str) -> Content | None:
    """What both halves hold in git, in the index or in a commit; None if they are not in step."""
    try:
        md, ipynb = (
            git.run("cat-file", "blob", f"{place}{path.name}", cwd=path.parent, check=True)
            .stdout.decode("utf-8-sig")
            .replace("\r\n", "\n")
            for path in (pair.md, pair.ipynb)
        )
        here, there = _content(myst.parse(md).notebook), _content(_parse_ipynb(ipynb))
    except (ValueError, Unreadable, OSError, subprocess.SubprocessError):
        return None
    return here if here == there else None


def _combined(
    md: myst.Md, ipynb: NotebookNode, base: Content
) -> tuple[list[NotebookNode], dict[str, Any]]:
    """The cells and the shared metadata that `md` and `ipynb` made of `base`; raises Conflict, or
    Unreadable for what cannot be kept.
    """
    here, there = _content(md.notebook), _content(ipynb)
    visible = [index for index, cell in enumerate(ipynb.cells) if not myst.empty(cell)]
    merged = merge(base.cells, here.cells, there.cells)
    taken = {item.other for item in merged}
    cells: list[NotebookNode] = []
    origins: list[int | None] = []  # of each cell its index in the .ipynb
    for item in merged:
        other = item.other
        if other is None and item.one is not None:  # it may have been moved
            same = (at for at, key in enumerate(there.cells) if key == here.cells[item.one])
            other = next((at for at in same if at not in taken), None)
            taken.add(other)
        origin = None if other is None else visible[other]
        old = None if origin is None else ipynb.cells[origin]
        new = md.notebook.cells[item.one] if item.first and item.one is not None else old
        assert new is not None, "a merged cell is that of one half at least"
        cells.append(_cell(new, old))
        origins.append(origin)
    _refuse_lost_images(cells, ipynb)
    for index in sorted(set(range(len(ipynb.cells))) - set(visible)):
        # Empty cells stay behind those that they followed.
        at = origins.index(index - 1) + 1 if index - 1 in origins else 0 if index == 0 else None
        if at is not None:
            cells.insert(at, ipynb.cells[index])
            origins.insert(at, index)
    return cells, _combined_metadata(base.shared, here.shared, there.shared)


def _combined_metadata(
    base: dict[str, Any], here: dict[str, Any], there: dict[str, Any]
) -> dict[str, Any]:
    """What both halves are to hold of the notebook's metadata; what one has lost it gets back.

    Raises Conflict.
    """
    shared = {}
    for key in SHARED:
        one, other = here.get(key), there.get(key)
        if one is None or other is None or one == other:
            shared[key] = other if one is None else one
        elif base.get(key) in (one, other):
            shared[key] = other if one == base.get(key) else one
        else:
            raise Conflict([key])
    return {key: value for key, value in shared.items() if value is not None}


def _cell(new: NotebookNode, old: NotebookNode | None) -> NotebookNode:
    """A cell with the kind, source and kept metadata of `new`, and all else of `old` that still
    holds; outputs of another source do not.
    """
    if old is None:
        old = nbformat.v4.new_markdown_cell()
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
            cell.pop("attachments", None)
            cell |= {"outputs": [], "execution_count": None}
    node: NotebookNode = nbformat.from_dict(cell)
    return node


def _refuse_lost_images(cells: Sequence[NotebookNode], ipynb: NotebookNode) -> None:
    """Raise Unreadable where an attached image of the .ipynb is in none of the new `cells`, or not
    in the one that names it.
    """
    before = {name for cell in ipynb.cells for name in cell.get("attachments", {})}
    for cell in cells:
        if cell.cell_type != "markdown":
            continue
        named = {unquote(name) for name in ATTACHED.findall(cell.source)}
        for name in sorted(named & before - set(cell.get("attachments", {}))):
            raise Unreadable(
                f"the cell {cell.source.partition(chr(10))[0]!r} names {name}, which is attached "
                "to another cell. Attach it there too, in JupyterLab"
            )
    after = [image for cell in cells for image in cell.get("attachments", {}).items()]
    for old in ipynb.cells:
        for name, image in old.get("attachments", {}).items():
            if (name, image) not in after:
                raise Unreadable(
                    f"{name} would get lost, which is attached to a cell that is no Markdown any "
                    "more, or is deleted. Do that in JupyterLab"
                )


def _finished(
    ipynb: NotebookNode, cells: Sequence[NotebookNode], shared: dict[str, Any]
) -> NotebookNode:
    """The notebook that the .ipynb is to be: all of it, but with these cells and metadata; raises
    Unreadable if no kernel is named.
    """
    if not shared.get("kernelspec", {}).get("name"):
        raise Unreadable(
            "the header of the .md names no kernel: "
            "kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}"
        )
    new = nbformat.from_dict(
        dict(ipynb) | {"cells": cells, "metadata": json.loads(json.dumps(ipynb.metadata))}
    )
    for key, value in shared.items():
        if _content(new).shared.get(key) != value:
            old = new.metadata.get(key) if key == "kernelspec" else None
            new.metadata[key] = nbformat.from_dict(dict(old or {}) | value)
    jupytext = new.metadata.get("jupytext")
    if not isinstance(jupytext, dict) or jupytext.get("formats") != FORMATS:
        new.metadata["jupytext"] = nbformat.from_dict({"formats": FORMATS})
    if new.get("nbformat_minor", 0) < 5:
        new["nbformat_minor"] = 5
    normal: NotebookNode
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it mends: each cell gets an id of its own
        _, normal = nbformat.validator.normalize(new)
    return normal


def _of_md(md: myst.Md, new: NotebookNode) -> dict[str, Any]:
    """The metadata that the header of the .md gets: those that are shared and differ, and that it
    is half of a pair.
    """
    here = _content(md.notebook).shared
    shared = _content(new).shared
    changed = {
        key: {name: value[name] for name in here.get(key, {}) if name in value} | value
        for key, value in shared.items()
        if here.get(key) != value
    }
    own = dict(md.notebook.metadata.jupytext)
    form = dict(own.get("text_representation") or {}) | myst.FORMAT
    return changed | {"jupytext": own | {"formats": FORMATS, "text_representation": form}}


# ---- a conflict in words


def _in_words(
    pair: Pair, md: myst.Md, ipynb: NotebookNode, clashes: Sequence[Clash | str], base: Content
) -> str:
    """For each clash the lines at which it is, and what each half changed there."""
    here, there = keys(md.notebook.cells), keys(_visible(ipynb))
    begins = _lines_of_cells(pair.ipynb, ipynb)
    text = ""
    for clash in clashes:
        if isinstance(clash, str):
            line = _line_of(clash, md)
            text += f"{pair.md}:{line} and {pair.ipynb}: both changed {clash} in the header\n"
            continue
        before = [] if clash.base is None else [base.cells[clash.base]]
        mine = [] if clash.one is None else [here[clash.one]]
        theirs = [] if clash.other is None else [there[clash.other]]
        at_md = f":{md.lines[clash.one]}" if clash.one is not None else " (not there)"
        at_ipynb = f":{begins[clash.other]}" if clash.other is not None else " (not there)"
        text += f"{pair.md}{at_md} and {pair.ipynb}{at_ipynb}: {clash.reason}\n"
        for half, cells in ((pair.md, mine), (pair.ipynb, theirs)):
            text += _diff(before, cells, "when they were the same", half.name)
    return text


def _lines_of_cells(path: Path, ipynb: NotebookNode) -> list[int]:
    """The line at which each visible cell of the .ipynb begins, 1 where it is not written as
    Jupyter writes it.
    """
    rows = enumerate(halves.text(path).split("\n"), 1)
    begins = [number for number, row in rows if row.startswith("  {")]
    if len(begins) != len(ipynb.cells):
        begins = [1] * len(ipynb.cells)
    both = zip(begins, ipynb.cells, strict=True)
    return [number for number, cell in both if not myst.empty(cell)]


def _diff(before: Sequence[Key], after: Sequence[Key], name: str, other: str) -> str:
    """A unified diff of cells."""
    old, new = ([f"{row}\n" for cell in cells for row in _rows(cell)] for cells in (before, after))
    return "".join(difflib.unified_diff(old, new, name, other, n=1))


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

"""The two halves of a notebook: NAME.ipynb with outputs and NAME.md (MyST) without, and what keeps them together.

    python -m course.pairs check [DIR]
    python -m course.pairs sync [--nb NAME] [--from md|ipynb] [DIR]

Everything is decided by content, never by modification times: after a clone those say nothing.
"""
import argparse
import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat

from .halves import Pair, find

FORMATS = "ipynb,md:myst"
KEPT_IN_CELLS = ("tags", "mystnb")
HEADER = re.compile(r"---\n(?:.*\n)*?jupytext:(?:.*\n)*?---\n")


@dataclass
class Problem:
    """What is wrong with a pair, at a line of a file (0: the whole file), and the command or edit that mends it."""

    path: Path
    line: int
    message: str
    repair: str

    def __str__(self):
        return f"{self.path}{f':{self.line}' if self.line else ''}: {self.message}. To mend it: {self.repair}"


class Unreadable(Exception):
    """A half that is no notebook; says why in one sentence, with the line where it is known."""

    def __init__(self, message, line=0):
        super().__init__(message)
        self.line = line


def read_ipynb(path):
    """Return the notebook at `path` as it is stored, in format 4; raises Unreadable."""
    text = _text(path)
    try:
        notebook = json.loads(text)
    except ValueError as error:
        raise Unreadable(f"no valid JSON: {error}", getattr(error, "lineno", 0)) from None
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4 or not isinstance(notebook.get("cells"), list):
        raise Unreadable("no notebook of format 4")
    for cell in notebook["cells"]:
        if isinstance(cell.get("source"), list):
            cell["source"] = "".join(cell["source"])
    return nbformat.from_dict(notebook)


def read_md(path):
    """Return the MyST notebook at `path`; raises Unreadable."""
    try:
        return jupytext.reads(_text(path), fmt={"extension": ".md", "format_name": "myst"})
    except Unreadable:
        raise
    except Exception as error:  # jupytext passes on what YAML and MyST raise
        raise Unreadable(f"no MyST notebook: {' '.join(str(error).split())}") from None


def _text(path):
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"cannot be read: {error}") from None
    marker = re.search(r"^(?:<<<<<<< |>>>>>>> ).*$", text, flags=re.MULTILINE)
    if marker:
        raise Unreadable("has conflict markers of git", text.count("\n", 0, marker.start()) + 1)
    return text


def write_ipynb(notebook, path):
    """Write a notebook to `path`, whole or not at all; raises OSError."""
    _write(path, nbformat.writes(nbformat.from_dict(notebook), version=nbformat.NO_CONVERT))


def write_md(notebook, path):
    """Write the MyST half of a notebook to `path`, whole or not at all; raises OSError, or Unreadable if MyST cannot hold a cell."""
    _write(path, md_text(notebook))


def md_text(notebook):
    """The MyST half of a notebook, as text; raises Unreadable if a cell would come back changed."""
    filters = {"notebook_metadata_filter": "kernelspec,jupytext,course", "cell_metadata_filter": ",".join(KEPT_IN_CELLS)}
    bare = nbformat.v4.new_notebook(metadata=_shared_metadata(notebook) | {"jupytext": {"formats": FORMATS} | filters})
    if "language_info" in notebook.metadata:
        bare.metadata["language_info"] = notebook.metadata.language_info  # names the lexer of the code cells
    for cell in notebook.cells:
        metadata = {key: value for key, value in cell.metadata.items() if key in KEPT_IN_CELLS}
        bare.cells.append(nbformat.from_dict({"cell_type": cell.cell_type, "source": cell.source, "metadata": metadata}))
    text = jupytext.writes(bare, fmt={"extension": ".md", "format_name": "myst"})
    text = re.sub(r"^ +(?:jupytext_version|notebook_metadata_filter|cell_metadata_filter): .*\n", "", text, count=3, flags=re.MULTILINE)
    back = jupytext.reads(text, fmt={"extension": ".md", "format_name": "myst"})
    at = _first_difference(_cells(notebook), _cells(back))
    if at is not None:
        raise Unreadable(f"cell {at + 1} of the .ipynb changes when it is written as MyST: {_excerpt(notebook, at)!r}. Write it another way "
                         "(no line +++, no code-cell fence inside Markdown, no blank lines at its ends)")
    return text


def _write(path, text):
    path = Path(path).resolve()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text if text.endswith("\n") else text + "\n")
            file.flush()
            os.fsync(file.fileno())
        mode = path.stat().st_mode if path.exists() else 0o666 & ~_umask()
        os.chmod(temporary, mode & 0o7777)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _shared_metadata(notebook):
    """The part of a notebook's metadata that both halves hold, besides jupytext's own."""
    shared = {}
    if "kernelspec" in notebook.metadata:
        shared["kernelspec"] = {key: notebook.metadata.kernelspec.get(key) for key in ("display_name", "language", "name")}
    if "course" in notebook.metadata:
        shared["course"] = notebook.metadata.course
    return json.loads(json.dumps(shared))


def _cells(notebook):
    """What must be the same in both halves: type, source and kept metadata of each cell."""
    return [(cell.cell_type, cell.source, {key: cell.metadata[key] for key in KEPT_IN_CELLS if cell.metadata.get(key)})
            for cell in notebook.cells]


def _content(notebook):
    return _shared_metadata(notebook), _cells(notebook)


def differ(md, ipynb):
    """Whether the halves at these paths hold different content; a half that is missing or unreadable differs from none."""
    try:
        return md.exists() and _content(read_md(md)) != _content(read_ipynb(ipynb))
    except Unreadable:
        return False


def _first_difference(one, other):
    """The index of the first item that differs, None if all are the same."""
    for index in range(max(len(one), len(other))):
        if one[index:index + 1] != other[index:index + 1]:
            return index
    return None


def _excerpt(notebook, index):
    lines = notebook.cells[index].source.splitlines() if index < len(notebook.cells) else []
    return lines[0] if lines else ""


# ---- check

def check(folder):
    """Return every Problem of the pairs below `folder`; reads each file once."""
    found, stems = [], {}
    for pair in find(folder):
        other = stems.setdefault(Path(pair.name).name.lower(), pair.name)
        if other != pair.name:
            found.append(Problem(pair.ipynb or pair.md, 0, f"has the same name as {other}", "rename one of them"))
        found += _check(pair)
    return found


def _check(pair):
    name = pair.name
    if not pair.md or not pair.ipynb:
        yield Problem(pair.md or pair.ipynb, 0, f"a lone half: there is no {name}{'.ipynb' if pair.md else '.md'}", f"make sync NB={name}")
        return
    halves = []
    for path, read in ((pair.ipynb, read_ipynb), (pair.md, read_md)):
        try:
            halves.append(read(path))
        except Unreadable as error:
            yield Problem(path, error.line, str(error), "edit it, or git checkout it")
    if len(halves) < 2:
        return
    ipynb, md = halves
    yield from _check_header(pair, ipynb, md)
    yield from _check_cells(pair, ipynb, md)
    yield from _check_ids(pair, ipynb)
    yield from _check_course(pair, md)


def _check_header(pair, ipynb, md):
    for path, half in ((pair.ipynb, ipynb), (pair.md, md)):
        header = half.metadata.get("jupytext", {})
        if header.get("formats") != FORMATS:
            yield Problem(path, 0, f"jupytext.formats is {header.get('formats')!r}, not {FORMATS!r}", f"make sync NB={pair.name}")
        if path == pair.md and not {"    format_name: myst", "    format_version: 0.13"} <= set(_text(path).splitlines()[:40]):
            yield Problem(path, 2, "its header does not say format_name: myst, format_version: 0.13", f"make sync NB={pair.name}")
    here, there = _shared_metadata(md), _shared_metadata(ipynb)
    for key in ("kernelspec", "course"):
        if here.get(key) != there.get(key):
            yield Problem(pair.md, 1, f"{key} differs: {here.get(key)} here, {there.get(key)} in the .ipynb", f"make sync NB={pair.name}")


def _check_cells(pair, ipynb, md):
    at = _first_difference(_cells(ipynb), _cells(md))
    if at is None:
        return
    line = _line_of_cell(pair.md, md, at)
    try:
        md_text(ipynb)
    except Unreadable as error:
        yield Problem(pair.ipynb, 0, str(error), "edit that cell, then make sync")
        return
    one, other = (half.cells[at] if at < len(half.cells) else None for half in (md, ipynb))
    if one is None or other is None:
        message = f"cell {at + 1} is only in the {'.ipynb' if one is None else '.md'}: {_excerpt(ipynb if one is None else md, at)!r}"
    elif one.cell_type != other.cell_type:
        message = f"cell {at + 1} is {one.cell_type} here and {other.cell_type} in the .ipynb"
    elif one.source != other.source:
        pairs = zip(one.source.split("\n") + [""], other.source.split("\n") + [""], strict=False)
        mine, theirs = next(lines for lines in pairs if lines[0] != lines[1])
        message = f"cell {at + 1} differs: {mine!r} here, {theirs!r} in the .ipynb"
    else:
        message = f"the metadata of cell {at + 1} differs: {_cells(md)[at][2]} here, {_cells(ipynb)[at][2]} in the .ipynb"
    yield Problem(pair.md, line, message, f"make sync NB={pair.name}; if it cannot tell which half is right, FROM=md or FROM=ipynb")


def _line_of_cell(path, md, index):
    """The line at which cell `index` begins in the .md, as near as its text tells."""
    lines, line = path.read_text(encoding="utf-8").splitlines(), 0
    for cell in md.cells[:index + 1]:
        first = next((text for text in cell.source.splitlines() if text.strip()), None)
        line = next((number for number in range(line, len(lines)) if lines[number] == first), line - 1) + 1
    return max(line, 1)


def _check_ids(pair, ipynb):
    ids = [cell.get("id") for cell in ipynb.cells]
    if None in ids or len(set(ids)) < len(ids):
        yield Problem(pair.ipynb, 0, "cell ids are missing or stand twice", f"make refresh NB={pair.name}")


def _check_course(pair, md):
    course = md.metadata.get("course")
    if not isinstance(course, dict):
        yield Problem(pair.md, 1, "declares no course: goal, minutes, needs, seconds, memory_mb", "declare it, see notebooks/README.md")
        return
    number = lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value > 0  # noqa: E731
    rules = {
        "goal": (lambda value: isinstance(value, str) and value.strip(), "a sentence"),
        "minutes": (lambda value: isinstance(value, int) and 5 <= value <= 60, "5 to 60"),
        "needs": (lambda value: isinstance(value, list) and all(isinstance(need, str) for need in value), "a list of words"),
        "seconds": (number, "a positive number"),
        "memory_mb": (number, "a positive number"),
    }
    for key, (holds, wanted) in rules.items():
        if not holds(course.get(key)):
            yield Problem(pair.md, 1, f"course.{key} is {course.get(key)!r}, not {wanted}", "edit the header")


# ---- sync

def sync(folder, name=None, source=None):
    """Bring the pairs below `folder` together, or that one called `name`; return (messages, whether all went well).

    source: "md" or "ipynb" says which half is right; without it the half that changed since the last commit is, and
    where both did, or git cannot tell, nothing is written. Raises ValueError for a name that does not exist.
    """
    pairs = [pair for pair in find(folder) if name in (None, pair.name)]
    if name and not pairs:
        raise ValueError(f"there is no notebook {name} in {folder}")
    messages, good = [], True
    for pair in pairs:
        try:
            done = _sync(pair, source)
        except (Unreadable, OSError) as error:
            done, good = f"not synced: {error}", False
        except _Undecided as undecided:
            done, good = str(undecided), False
        if done:
            messages.append(f"{pair.name}: {done}")
    return messages, good


class _Undecided(Exception):
    """Both halves may hold an edit."""


def _sync(pair, source):
    if not pair.ipynb:
        md = read_md(pair.md)
        write_ipynb(_merged(md, nbformat.v4.new_notebook()), pair.md.with_suffix(".ipynb"))
        return f"made {pair.name}.ipynb; now: make refresh NB={pair.name}"
    ipynb = read_ipynb(pair.ipynb)
    if not pair.md:
        text = md_text(ipynb)
        _set_formats(pair, ipynb)
        _write(pair.ipynb.with_suffix(".md"), text)
        return f"made {pair.name}.md"
    md = read_md(pair.md)
    if _content(md) == _content(ipynb):
        return _mend_header(pair, ipynb, md)
    source = source or _changed_half(pair, ipynb, md)
    if source == "ipynb":
        text = md_text(ipynb)
        if _shared_metadata(md) == _shared_metadata(ipynb):  # then the header stays as its author wrote it
            text = HEADER.match(_text(pair.md))[0] + HEADER.sub("", text, count=1)
        _set_formats(pair, ipynb)
        _write(pair.md, text)
        return "took the .ipynb's cells into the .md"
    new = _merged(md, ipynb)
    write_ipynb(new, pair.ipynb)
    stale = _cells(md) != _cells(ipynb)
    return "took the .md's cells into the .ipynb" + (f"; now: make refresh NB={pair.name}" if stale else "")


def _mend_header(pair, ipynb, md):
    """Where the content is the same, bring stale jupytext headers up to date; return what was done or None."""
    done = None
    if ipynb.metadata.get("jupytext", {}).get("formats") != FORMATS:
        _set_formats(pair, ipynb)
        done = "mended the .ipynb's header"
    if any(problem.path == pair.md for problem in _check_header(pair, ipynb, md)):
        _write(pair.md, md_text(md))
        done = "mended the .md's header"
    return done


def _set_formats(pair, ipynb):
    if ipynb.metadata.get("jupytext", {}).get("formats") != FORMATS:
        ipynb.metadata.setdefault("jupytext", {})["formats"] = FORMATS
        write_ipynb(ipynb, pair.ipynb)


def _merged(md, ipynb):
    """The notebook with the cells of `md`, and with the ids and outputs of those cells of `ipynb` whose source is the same."""
    new = nbformat.v4.new_notebook(metadata=dict(ipynb.metadata) | _shared_metadata(md))
    new.metadata["jupytext"] = {"formats": FORMATS}
    keys = [[(cell.cell_type, cell.source) for cell in half.cells] for half in (ipynb, md)]
    same = {}
    for block in difflib.SequenceMatcher(None, *keys, autojunk=False).get_matching_blocks():
        same |= {block.b + step: ipynb.cells[block.a + step] for step in range(block.size)}
    for index, cell in enumerate(md.cells):
        if index in same:
            old = same[index]
            kept = {key: value for key, value in old.metadata.items() if key not in KEPT_IN_CELLS}
            cell = nbformat.from_dict(dict(old) | {"metadata": kept | dict(cell.metadata)})
        elif cell.cell_type == "code":
            cell = nbformat.v4.new_code_cell(cell.source, metadata=cell.metadata)
        else:
            cell = nbformat.from_dict({"id": cell.get("id") or nbformat.v4.new_markdown_cell()["id"], "cell_type": cell.cell_type, "metadata": cell.metadata, "source": cell.source})
        new.cells.append(cell)
    new.nbformat_minor = max(5, ipynb.get("nbformat_minor", 5))
    return new


def _changed_half(pair, ipynb, md):
    """Which half, "md" or "ipynb", holds all that changed since the last commit; raises _Undecided."""
    base_md, base_ipynb = _committed(pair.md, read_md), _committed(pair.ipynb, read_ipynb)
    if base_md is not None and base_ipynb is not None and _content(base_md) == _content(base_ipynb):
        if _content(ipynb) == _content(base_ipynb):
            return "md"
        if _content(md) == _content(base_md):
            return "ipynb"
        reason = "both halves changed since the last commit"
    else:
        base_md = base_ipynb = None
        reason = "git has no version in which both halves are the same, so it cannot tell which one changed"
    shown = "".join(_changes(base or other, half, path, base is not None)
                    for path, half, base, other in ((pair.md, md, base_md, ipynb), (pair.ipynb, ipynb, base_ipynb, None)) if base or other)
    raise _Undecided(f"not synced: {reason}.\n{shown}Nothing was written. Choose: make sync NB={pair.name} FROM=md, or FROM=ipynb")


def _changes(before, after, path, committed):
    """A unified diff of two notebooks' cells."""
    lines = [[f"{line}\n" for kind, source, kept in _cells(half) for line in (f"[{kind}]{f' {kept}' if kept else ''}", *source.split("\n"))]
             for half in (before, after)]
    return "".join(difflib.unified_diff(*lines, f"{path.name} {'as committed' if committed else '(the other half)'}", path.name))


def _committed(path, read):
    """The committed version of a half as a notebook, or None."""
    shown = subprocess.run(["git", "show", f"HEAD:./{path.name}"], cwd=path.parent, capture_output=True)
    if shown.returncode:
        return None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        copy.write_bytes(shown.stdout)
        try:
            return read(copy)
        except Unreadable:
            return None


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="course.pairs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["check", "sync"])
    parser.add_argument("folder", nargs="?", default="notebooks", type=Path)
    parser.add_argument("--nb", metavar="NAME", type=lambda name: re.sub(r"^notebooks/|\.(ipynb|md)$", "", name))
    parser.add_argument("--from", dest="source", choices=["md", "ipynb"])
    options = parser.parse_intermixed_args(arguments)
    if not options.folder.is_dir():
        parser.exit(2, f"there is no folder {options.folder}\n")
    if options.task == "check":
        problems = check(options.folder)
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

"""The .md half of a notebook: its cells, where each stands in the text, and the text that holds
other cells and changes no more than it must.
"""

import json
import re
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import yaml
from jupytext.myst import CompactDumper, get_parser, myst_to_notebook, notebook_to_myst

from tools import git
from tools.course.halves import Unreadable, text

Cells = Sequence[nbformat.NotebookNode]

FORMATS = "ipynb,md:myst"
KEPT_IN_CELLS = ("tags", "mystnb")
HEADER = re.compile(r"---\n(?:.*\n)*?---[ \t]*(?:\n|\Z)")
# At these Python ends a line and Markdown does not, so that jupytext loses count.
ODD = re.compile("[\x00\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
MARKER = re.compile(r"^(?:<<<<<<< |>>>>>>> ).*$", re.MULTILINE)
FORMAT = {"extension": ".md", "format_name": "myst", "format_version": 0.13}


@dataclass
class Md:
    """The .md half: its text, its cells as a notebook, the line at which each begins, and the name
    by which its cells call their language, None if they do not.
    """

    text: str
    notebook: nbformat.NotebookNode
    lines: list[int]
    lexer: str | None

    @property
    def header(self) -> str:
        match = HEADER.match(self.text)
        return match[0] if match else ""


def read(path: Path) -> Md:
    """The Md at `path`; raises Unreadable."""
    try:
        return parse(text(path))
    except Unreadable as error:
        error.path = path
        raise


def parse(written: str) -> Md:
    """The Md that is `written`; raises Unreadable."""
    refuse(MARKER, written, "has conflict markers of git: {!r}")
    header = HEADER.match(written)
    if not header or "\njupytext:" not in header[0]:
        raise Unreadable(
            "does not begin with the header of a notebook: a line ---, jupytext: and "
            "what belongs to it, a line ---",
            1,
        )
    refuse(ODD, written, "has the character {!a}, which no notebook needs: remove it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of several lexers, which stay as they are
            notebook = myst_to_notebook(written, add_source_map=True)
        starts = notebook.metadata.pop("source_map")
        lexer = notebook.metadata.pop("jupyter", {}).get("jupytext", {}).get("default_lexer")
        json.dumps(notebook.metadata)
    except Exception as error:  # jupytext passes on what YAML and MyST raise
        raise Unreadable(*_why(error)) from None
    if not isinstance(notebook.metadata.get("jupytext"), dict):
        raise Unreadable("jupytext: in its header has nothing below it", 1)
    lines = _lines(written.splitlines(), notebook.cells, starts)
    for number, (cell, line) in enumerate(zip(notebook.cells, lines, strict=True), 1):
        if unknown := set(cell.metadata) - set(KEPT_IN_CELLS):
            raise Unreadable(
                f"cell {number} has {', '.join(sorted(unknown))}; in the .md a "
                f"cell can have {' and '.join(KEPT_IN_CELLS)}",
                line,
            )
    for token in get_parser().parse(written + "\n"):
        if token.type == "myst_block_break" and token.content and token.map[1] not in starts:
            raise Unreadable(
                "this line +++ belongs to no cell, for no Markdown follows it", token.map[0] + 1
            )
    return Md(written, notebook, lines, lexer)


def refuse(pattern: re.Pattern[str], written: str, why: str) -> None:
    """Raise Unreadable with the line where the pattern is in the text, if it is."""
    if match := pattern.search(written):
        raise Unreadable(why.format(match[0]), written.count("\n", 0, match.start()) + 1)


def _why(error: Exception) -> tuple[str, int]:
    """What jupytext's `error` says, in one sentence, and the line that it says it of."""
    cause = error if isinstance(error, yaml.MarkedYAMLError) else error.__context__
    why = cause.problem if isinstance(cause, yaml.MarkedYAMLError) else " ".join(str(error).split())
    if cell := re.search(r"at line (\d+) ", str(error)):
        return f"the options of a cell are no YAML: {why}", int(cell[1])
    mark = cause.problem_mark if isinstance(cause, yaml.MarkedYAMLError) else None
    return f"no MyST notebook: {why}", mark.line + 2 if mark else 1


def _lines(rows: Sequence[str], cells: Cells, starts: Iterable[int]) -> list[int]:
    """The line at which each cell begins: the fence of code, the first text of Markdown.

    starts: what jupytext says: of Markdown how many lines stand before it and its blank lines.
    """
    return [
        start
        if cell.cell_type != "markdown"
        else next(number for number in range(start, len(rows)) if rows[number].strip()) + 1
        for cell, start in zip(cells, starts, strict=True)
    ]


# ---- what both halves hold


class Key(NamedTuple):
    """What must be the same in both halves of a cell: its kind, its source, and as JSON the
    metadata that are kept; no text if there are none.
    """

    kind: str
    source: str
    kept: str


def keys(cells: Iterable[nbformat.NotebookNode]) -> list[Key]:
    """What must be the same in both halves of each of `cells`."""
    return [Key(cell.cell_type, plain(cell.source), kept(cell)) for cell in cells]


def kept(cell: nbformat.NotebookNode) -> str:
    """The metadata of a cell that both halves hold, as JSON; no text if there are none."""
    metadata = {key: cell.metadata[key] for key in KEPT_IN_CELLS if cell.metadata.get(key)}
    return json.dumps(metadata, sort_keys=True) if metadata else ""


def plain(source: str) -> str:
    """A cell's source without what Markdown does not hold and nobody sees: carriage returns, blank
    lines before it, blanks after it.
    """
    return re.sub(
        r"\A(?:[^\S\n]*\n)+", "", source.replace("\r\n", "\n").replace("\r", "\n")
    ).rstrip()


def empty(cell: nbformat.NotebookNode) -> bool:
    """Whether Markdown cannot hold a cell because there is nothing in it."""
    return cell.cell_type == "markdown" and not plain(cell.source)


# ---- writing


def write(cells: Cells, metadata: Mapping[str, Any], lexer: str | None) -> str:
    """The text of an .md half with these cells and, besides jupytext's own, this metadata; raises
    Unreadable if a cell would come back changed.
    """
    written = _joined(cells, _header(metadata), lexer)
    if _holds(written, cells):
        return written
    for number, cell in enumerate(cells, 1):
        witness = nbformat.v4.new_markdown_cell("witness")
        if not _holds(_joined([cell, witness], _header(metadata), lexer), [cell, witness]):
            raise Unreadable(
                f"cell {number} of the .ipynb, {cell.cell_type} that begins "
                f"{plain(cell.source)[:60].partition(chr(10))[0]!r}, cannot be written as MyST. "
                "Write it another way: no line +++, no code-cell fence that no other fence "
                "surrounds, no fence and no HTML comment that stays open, no odd character"
            )
    raise Unreadable("its cells cannot be written as MyST, although each of them alone can")


def rewritten(md: Md, cells: Cells, metadata: Mapping[str, Any]) -> str | None:
    """The text of `md` with these cells and this metadata, and all else in it as it stands; None if
    what is laid out by hand is in the way.

    What changes from the one to the other in jupytext's words is merged into the text by git.
    """
    before = _joined(md.notebook.cells, _header(md.notebook.metadata), md.lexer)
    after = _joined(cells, _header({**md.notebook.metadata, **metadata}), md.lexer)
    if before == after:
        return md.text
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("mine", md.text), ("before", before), ("after", after)):
            Path(folder, name).write_text(content, encoding="utf-8")
        merged = git.run("merge-file", "-p", "mine", "before", "after", cwd=Path(folder))
    written = merged.stdout.decode()
    return written if _holds(written, cells) else None


def _holds(written: str, cells: Cells) -> bool:
    try:
        return keys(parse(written).notebook.cells) == keys(cells)
    except Unreadable:
        return False


def _joined(cells: Cells, header: str, lexer: str | None) -> str:
    """What jupytext writes of these cells, below the header."""
    bare = [
        {
            "cell_type": cell.cell_type,
            "source": plain(cell.source),
            "metadata": json.loads(kept(cell) or "{}"),
        }
        for cell in cells
    ]
    body = notebook_to_myst(
        nbformat.from_dict({"cells": bare, "metadata": {}}), default_lexer=lexer
    )
    return f"{header}\n{body}"


def _header(metadata: Mapping[str, Any]) -> str:
    """The header with these metadata, in YAML, and that this is half of a pair."""
    whole = {"jupytext": {"formats": FORMATS, "text_representation": FORMAT}} | dict(metadata)
    block = yaml.dump(
        json.loads(json.dumps(whole)),
        Dumper=CompactDumper,
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
    )
    return f"---\n{block}---\n"

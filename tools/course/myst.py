"""The .md half of a notebook: its cells, where each stands in the text, and the text that holds
other cells and changes no more than it must.
"""

import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import yaml
from jupytext.myst import CompactDumper, myst_to_notebook, notebook_to_myst

from tools.course.halves import Unreadable, text

Cells = Sequence[nbformat.NotebookNode]

FORMATS = "ipynb,md:myst"
KEPT_IN_CELLS = ("tags", "mystnb")
HEADER = re.compile(r"---\n(?:.*\n)*?---[ \t]*(?:\n|\Z)")
STALE = "format_name: myst", "format_version: 0.13"
# At these Python ends a line and Markdown does not, so that jupytext loses count; Markdown replaces
# the first.
ODD = "\x00\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
MARKER = re.compile(r"^(?:<<<<<<< |>>>>>>> ).*$", re.MULTILINE)
NEW_HEADER = {
    "jupytext": {
        "formats": FORMATS,
        "text_representation": {"extension": ".md", "format_name": "myst", "format_version": 0.13},
    }
}


@dataclass
class Md:
    """The .md half: its cells as a notebook, and of its text the header, the piece of each cell and
    the line at which that begins.
    """

    notebook: nbformat.NotebookNode
    header: str
    pieces: list[str]
    lines: list[int]
    lexer: str | None

    @property
    def text(self) -> str:
        """All of it."""
        return self.header + "".join(self.pieces)


def read(path: Path) -> Md:
    """The Md at `path`; raises Unreadable."""
    try:
        return parse(text(path))
    except Unreadable as error:
        error.path = path
        raise


def parse(written: str) -> Md:
    """The Md that is `written`; raises Unreadable."""
    if marker := MARKER.search(written):
        raise Unreadable(
            f"has conflict markers of git: {marker[0]!r}",
            written.count("\n", 0, marker.start()) + 1,
        )
    header = HEADER.match(written)
    if not header or "\njupytext:" not in header[0]:
        raise Unreadable(
            "does not begin with the header of a notebook: a line ---, jupytext: and "
            "what belongs to it, a line ---",
            1,
        )
    hidden, table = _hide(written)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of several lexers, which stay as they are
            notebook = myst_to_notebook(hidden, add_source_map=True)
        starts = notebook.metadata.pop("source_map")
        lexer = notebook.metadata.pop("jupyter", {}).get("jupytext", {}).get("default_lexer")
        json.dumps(notebook.metadata)
    except Exception as error:  # jupytext passes on what YAML and MyST raise
        raise Unreadable(*_why(error)) from None
    if not isinstance(notebook.metadata.get("jupytext"), dict):
        raise Unreadable("jupytext: in its header has nothing below it", 1)
    pieces, lines = _cut(hidden, header[0].count("\n"), notebook, starts)
    if table:
        notebook = nbformat.from_dict(_translate(notebook, table))
        pieces = [piece.translate(table) for piece in pieces]
    return Md(notebook, header[0] + pieces[0], pieces[1:], lines, lexer)


def _hide(written: str) -> tuple[str, dict[int, int]]:
    """The text with other characters in place of the odd ones, and the table that brings those
    back.
    """
    free = (number for number in range(0xE000, 0xF8FF) if chr(number) not in written)
    table = {ord(character): next(free) for character in ODD if character in written}
    return written.translate(table), {stand_in: odd for odd, stand_in in table.items()}


def _translate(value: Any, table: Mapping[int, int]) -> Any:
    if isinstance(value, str):
        return value.translate(table)
    if isinstance(value, dict):
        return {key: _translate(item, table) for key, item in value.items()}
    return [_translate(item, table) for item in value] if isinstance(value, list) else value


def _why(error: Exception) -> tuple[str, int]:
    """What jupytext's `error` says, in one sentence, and the line that it says it of."""
    yaml_error = next(
        (one for one in (error, error.__context__) if isinstance(one, yaml.MarkedYAMLError)), None
    )
    if cell := re.search(r"at line (\d+) ", str(error)):
        return (
            "the options of a cell are no "
            f"{f'YAML: {yaml_error.problem}' if yaml_error else 'mapping'}",
            int(cell[1]),
        )
    if yaml_error and yaml_error.problem_mark:
        return (
            f"no MyST notebook, for its header is no YAML: {yaml_error.problem}",
            yaml_error.problem_mark.line + 2,
        )
    return f"no MyST notebook: {' '.join(str(error).split())[:300]}", 1


def _cut(
    written: str, header: int, notebook: nbformat.NotebookNode, starts: Sequence[int]
) -> tuple[list[str], list[int]]:
    """The pieces of the text, the first what stands before the first cell, and the line at which
    each cell begins.

    header: how many lines the header has; starts: the line at which jupytext says that each cell
    begins. Raises Unreadable.
    """
    lines = written.splitlines(keepends=True)
    at = [
        start - 1
        if cell.cell_type != "markdown"
        or (start > header and lines[start - 1].lstrip(" ").startswith("+++"))
        else start
        for cell, start in zip(notebook.cells, starts, strict=True)
    ]
    pieces = [
        "".join(lines[begin:end])
        for begin, end in zip([header, *at], [*at, len(lines)], strict=True)
    ]
    _refuse_what_belongs_to_no_cell(None, pieces[0], header)
    begins: list[int] = []
    for cell, piece, begin, start in zip(notebook.cells, pieces[1:], at, starts, strict=True):
        _refuse_what_belongs_to_no_cell(cell, piece, begin)
        if unknown := set(cell.metadata) - set(KEPT_IN_CELLS):
            raise Unreadable(
                f"cell {len(begins) + 1} has {', '.join(sorted(unknown))}; in the .md a "
                f"cell can have {' and '.join(KEPT_IN_CELLS)}",
                begin + 1,
            )
        has_blank_lines = cell.cell_type == "markdown" and begin >= start
        blank = len(piece) - len(piece.lstrip("\n")) if has_blank_lines else 0
        begins.append(begin + blank + 1)
    return pieces, begins


def _refuse_what_belongs_to_no_cell(
    cell: nbformat.NotebookNode | None, piece: str, begin: int
) -> None:
    """At the end of a piece there may be a line +++ whose metadata no cell has, for no Markdown
    follows it. Raises Unreadable then.
    """
    rows = piece.splitlines()
    for number in range(len(rows) - 1, -1 if cell is None else 0, -1):
        if not rows[number].strip() or rows[number].strip() == "+++":
            continue
        if (
            rows[number].lstrip(" ").startswith("+++")
            and "{" in rows[number]
            and not (cell and cell.source.endswith(rows[number].rstrip()))
        ):
            raise Unreadable(
                f"this line belongs to no cell, for no Markdown follows it: {rows[number]!r}",
                begin + number + 1,
            )
        return


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


def write(
    cells: Cells,
    header: str,
    lexer: str | None,
    old: Md | None = None,
    places: Sequence[int | None] | None = None,
) -> str:
    """The text of an .md half with this `header` and these `cells`; raises Unreadable if a cell
    would come back changed.

    old: an Md of which the text is kept; places: for each of `cells` its index in `old`, None if it
    is not the same there.
    """
    written = _joined(cells, header, lexer, old, places or [None] * len(cells))
    try:
        good = keys(parse(written).notebook.cells) == keys(cells)
    except Unreadable:
        good = False
    if good:
        return written
    if old:
        return write(cells, header, lexer)
    raise _what_changes(cells, header, lexer)


def _joined(
    cells: Cells,
    header: str,
    lexer: str | None,
    old: Md | None,
    places: Sequence[int | None],
) -> str:
    """The text of these cells below the header: pieces of `old` where they are the same there."""
    written = header
    before = -1
    for number, (cell, place) in enumerate(zip(cells, places, strict=True)):
        piece = old.pieces[place] if old and place is not None else None
        after_markdown = number > 0 and cells[number - 1].cell_type == "markdown"
        if piece is None or (
            cell.cell_type == "markdown" and after_markdown and not piece.startswith("+++")
        ):
            piece = _piece(cell, lexer, after_markdown)
            place = None
        if place is not None and place == before + 1:
            written += piece
        else:
            written = written.rstrip("\n") + "\n\n" + piece.lstrip("\n")
        before = place if place is not None else -2
    return written if old and before == len(old.pieces) - 1 else written.rstrip("\n") + "\n"


def _piece(cell: nbformat.NotebookNode, lexer: str | None, after_markdown: bool) -> str:
    """The text of one cell."""
    bare = nbformat.from_dict(
        {
            "cell_type": cell.cell_type,
            "source": plain(cell.source),
            "metadata": json.loads(kept(cell) or "{}"),
        }
    )
    written = str(
        notebook_to_myst(nbformat.from_dict({"cells": [bare], "metadata": {}}), default_lexer=lexer)
    )
    return (
        f"+++\n\n{written}"
        if cell.cell_type == "markdown" and after_markdown and not kept(cell)
        else written
    )


def _what_changes(cells: Cells, header: str, lexer: str | None) -> Unreadable:
    """The Unreadable that names the first of `cells` that Markdown cannot hold, and its line."""
    witness = "\n+++\n\nwitness\n\n```{code-cell}\nwitness\n```\n"
    for number, cell in enumerate(cells, 1):
        came: Cells = []
        why = ""
        try:
            came = parse(header + "\n" + _piece(cell, lexer, False) + witness).notebook.cells
        except Unreadable as error:
            why = str(error)
        if not why and keys(came[:-2]) == keys([cell]) and len(came) == 3:
            continue
        rows = plain(cell.source).split("\n")
        line = _line_that_changes(rows, plain(came[0].source).split("\n")) if came else None
        if line is not None:
            why = f"its line {line + 1}, {rows[line][:80]!r}"
        return Unreadable(
            f"cell {number} of the .ipynb, {cell.cell_type} that begins "
            f"{(rows[0] or 'with nothing')[:60]!r}, cannot be written as MyST: "
            f"{why or 'its metadata'}, would end it or be read as something else. Write that "
            "another way (no line +++, no code-cell fence that "
            "no other fence surrounds, no fence and no HTML comment that stays open)"
        )
    return Unreadable(
        "the cells of the .ipynb cannot be written as MyST, although each of them alone can"
    )


def _line_that_changes(rows: Sequence[str], came: Sequence[str]) -> int | None:
    """The index of the first of `rows` that is not the same in `came`; None if all are.

    If more came than `rows`, the cell takes in what follows: then it is the last line that opens
    something, which is not closed.
    """
    for index, row in enumerate(rows):
        if list(came[index : index + 1]) != [row]:
            return index
    if len(came) <= len(rows):
        return None
    opens = re.compile(r" {0,3}(?:`{3,}|~{3,}|<)")
    return max((index for index, row in enumerate(rows) if opens.match(row)), default=None)


def new_header(shared: Mapping[str, Any]) -> str:
    """The header of an .md half with these metadata, in YAML."""
    return (
        "---\n"
        + "".join(_block(key, value) for key, value in {**NEW_HEADER, **shared}.items())
        + "---\n"
    )


def _block(key: str, value: object) -> str:
    return str(
        yaml.dump(
            {key: value},
            Dumper=CompactDumper,
            sort_keys=False,
            allow_unicode=True,
            width=float("inf"),
        )
    )


def change_header(header: str, changed: Mapping[str, Any]) -> str:
    """The `header` with the metadata `changed`, and all else in it as it stands; raises Unreadable
    where a comment would get lost.
    """
    for key, value in changed.items():
        header = _change(header, key, value)
    return header


def _change(header: str, key: str, value: Any) -> str:
    """The header with this value of `key`; raises Unreadable."""
    old = re.search(rf"^{key}:.*\n(?:[ \t].*\n|-[^-].*\n|#.*\n|\n)*", header, re.MULTILINE)
    old_rows = old[0].splitlines() if old else []
    rows = {_name(row): row for row in old_rows}
    if isinstance(value, dict):  # in the order in which they stand
        value = {name: value[name] for name in rows if name in value} | value
    new = [
        rows[_name(row)] if _name(row) in rows and _same(rows[_name(row)], row) else row
        for row in _block(key, value).splitlines()
    ]
    if old:
        for number, row in enumerate(old_rows, header.count("\n", 0, old.start()) + 1):
            if re.search(r"(?:^|\s)#", row) and row not in new:
                raise Unreadable(
                    f"a comment in the header would get lost with the change of {key} in the "
                    f".ipynb: {row.strip()!r}. Make that change here too",
                    number,
                )
    block = "\n".join(new) + "\n"
    if old:
        return header[: old.start()] + block + header[old.end() :]
    return re.sub(r"---[ \t]*\n?\Z", lambda end: block + end[0], header.rstrip("\n") + "\n")


def _name(row: str) -> str:
    """What stands before the colon in a line of YAML."""
    return row.partition(":")[0].strip()


def _same(one: str, other: str) -> bool:
    """Whether two lines of YAML say the same."""
    try:
        return bool(yaml.safe_load(one) == yaml.safe_load(other))
    except yaml.YAMLError:
        return False

"""What a notebook lacks to be one of the course: what is required, since tests ask for it, and what
is advised. Each kind is said once, with the cells that it is about and with its remedy.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tools.course import model
from tools.course.model import Cell, Notebook

GOALS = "**Can you do this at the end?**"
KEY_POINTS = "## Key points"
PACE = re.compile(r"\n\n\*\*Too fast\?\*\* .+ \*\*Too slow\?\*\* .+$")
POINT = re.compile(r"^- .+[.?]$", re.MULTILINE)
MYST = re.compile(r"(?<!`)\{\w+\}`|^:::|^```\{|\{\{", re.MULTILINE)
NOTE = re.compile(r"(\d+) minutes?\.")
SILENT_PARTS = 2  # that need no note for the room: tidying up and the key points


class Want(NamedTuple):
    """Something that a notebook lacks, and what to do; `cells` are counted from 1, all kinds."""

    what: str
    remedy: str
    cells: Sequence[int] = ()
    required: bool = True

    def __str__(self) -> str:
        numbers = ", ".join(map(str, self.cells))
        many = "s" if len(self.cells) > 1 else ""
        return f"{self.what}{f' (cell{many} {numbers})' if numbers else ''}. {self.remedy}"


def wants(notebook: Notebook) -> list[Want]:
    """All that a notebook lacks, what is required first; empty if it is one of the course."""
    return [want for rule in (*REQUIRED, *ADVISED) for want in rule(notebook)]


def in_words(name: str, notebook: Notebook) -> str:
    """What to say of it to the author of the notebook `name`: nothing if it lacks nothing."""
    lacks = wants(notebook)
    text = ""
    for required, title in ((True, "required, since tests ask for it"), (False, "advised")):
        if said := [f"    - {want}\n" for want in lacks if want.required == required]:
            text += f"{name}: for the course this is {title}:\n" + "".join(said)
    return text


def _numbers(notebook: Notebook, wrong: Callable[[Cell], bool]) -> list[int]:
    return [number for number, cell in enumerate(notebook.cells, 1) if wrong(cell)]


def _header(notebook: Notebook) -> Iterator[Want]:
    declared = notebook.metadata.get("course")
    lacking = model.wrong_values(declared if isinstance(declared, dict) else {})
    if not notebook.course.before:
        lacking["before"] = "what to know, as the end of a sentence"
    if lacking:
        listed = ", ".join(f"{key} ({wanted})" for key, wanted in lacking.items())
        yield Want(
            f"course: in the header lacks {listed}",
            "Copy it from notebooks/01-first-notebook.md, and change what it says",
        )


def _begin_and_end(notebook: Notebook) -> Iterator[Want]:
    if not notebook.cells or not notebook.cells[0].is_title:
        yield Want(
            "It does not begin with its title",
            "Let the first line of the first cell be # and the title, without a label above it",
            [1],
        )
    texts = [cell.source for cell in notebook.cells if cell.kind == "markdown"]
    for begin, text, where in (
        (GOALS, "".join(texts[1:2]), "as the second cell of text"),
        (KEY_POINTS, "".join(texts[-1:]), "as the last cell"),
    ):
        if not text.startswith(f"{begin}\n") or not 3 <= len(POINT.findall(text)) <= 5:
            yield Want(
                f"It has no list {begin!r} {where}",
                "Write three to five lines below it: each begins with - and ends with a full stop",
            )


def _exercises(notebook: Notebook) -> Iterator[Want]:
    kinds = ("exercise", "stub", "solution", "check")
    found = [kind for cell in notebook.cells for kind in kinds if kind in cell.tags]
    order = [kind for place, kind in enumerate(found) if found[place - 1 : place] != [kind]]
    count = order.count("exercise")
    if not 2 <= count <= 4 or order != [*kinds] * count:
        yield Want(
            f"It has {count} exercises, with cells in the order {', '.join(order)}"
            if order
            else "It has no exercises",
            "Write two to four, each with cells tagged exercise, stub, solution and check, in this "
            "order, and answers to each in tests/data/answers.toml: see notebooks/README.md",
        )
    if cells := _numbers(
        notebook, lambda cell: "exercise" in cell.tags and not PACE.search(cell.source)
    ):
        yield Want(
            "An exercise does not end with a smaller first step and with more to do",
            "Add a last paragraph: **Too fast?** ... **Too slow?** ...",
            cells,
        )
    if cells := _numbers(
        notebook,
        lambda cell: (
            "solution" in cell.tags and cell.kind == "code" and "hide-cell" not in cell.tags
        ),
    ):
        yield Want("A solution shows before a click", "Tag it hide-cell, too", cells)


def _plots(notebook: Notebook) -> Iterator[Want]:
    def silent(cell: Cell) -> bool:
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        kinds = (kind for output in cell.outputs for kind in output.get("data", {}))
        return any(kind.startswith("image/") for kind in kinds) and len(alt.split()) < 5

    if cells := _numbers(notebook, silent):
        yield Want(
            "A plot says nothing to those who do not see it",
            "Say what it shows, in five words or more, in a line below the {code-cell} of the .md: "
            ":mystnb: {image: {alt: ...}}",
            cells,
        )


def _text(notebook: Notebook) -> Iterator[Want]:
    if cells := _numbers(
        notebook, lambda cell: cell.kind == "markdown" and bool(MYST.search(cell.source))
    ):
        yield Want(
            "JupyterLab shows a directive or role of MyST as it stands",
            "Write it as plain Markdown",
            cells,
        )


def _notes(notebook: Notebook) -> Iterator[Want]:
    remedy = (
        "Below the heading of each part write a cell tagged instructor, which begins with its "
        "minutes: 3 minutes. The minutes of all parts are those of the header"
    )
    notes = [cell for cell in notebook.cells if "instructor" in cell.tags]
    if not notes:
        yield Want("It has no notes for who teaches it", remedy)
        return
    if cells := _numbers(
        notebook, lambda cell: "instructor" in cell.tags and not NOTE.match(cell.source)
    ):
        yield Want("A note does not begin with its minutes", remedy, cells)
    whole = sum(int(begin[1]) for note in notes if (begin := NOTE.match(note.source)))
    if whole != notebook.course.minutes:
        said = f"{whole} minutes together, and its header says {notebook.course.minutes}"
        yield Want(f"Its notes have {said}", remedy)
    silent: list[str] = []
    for cell in notebook.cells:
        if cell.kind == "markdown" and cell.source.startswith("## "):
            silent.append(cell.source.splitlines()[0].lstrip("# "))
        elif "instructor" in cell.tags and silent:
            silent[-1] = ""
    silent = [title for title in silent if title]
    if len(silent) > SILENT_PARTS:
        yield Want(f"These parts have no note: {', '.join(silent)}", remedy)


def _reads(notebook: Notebook) -> Iterator[Want]:
    if notebook.course.reads is None:
        yield Want(
            "Its header does not say which files it reads, so it sees all, and runs after each "
            "change of one",
            "reads: [data/daylight.csv], or reads: []",
            required=False,
        )


def _slides(notebook: Notebook) -> Iterator[Want]:
    if not any("slide" in cell.tags for cell in notebook.cells):
        yield Want(
            "It has no slides", "Tag the cells that a room should see: slide", required=False
        )


REQUIRED = (_header, _begin_and_end, _exercises, _plots, _text, _notes)
ADVISED = (_reads, _slides)

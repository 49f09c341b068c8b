"""Sphinx extension: the pages of a course without what students may not see yet, and its editions.

The directive `run-sheet` writes what an instructor needs to know about each notebook, and
`course-table` what a reader has to know to choose one. `course-schedule` adds up their minutes.

`course`: the module that loads the notebooks and makes the editions; see `Course`.
`course_solutions`: the notebooks whose solutions are published: "all", "none", or a list of names.
`course_problems`: a function that yields the reasons why the notebooks cannot be published. A
reason ends the build.
"""

import functools
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.utils import new_document
from markdown_it import MarkdownIt
from myst_parser.config.main import MdParserConfig
from myst_parser.mdit_to_docutils.base import DocutilsRenderer
from myst_parser.parsers.docutils_ import Parser
from myst_parser.parsers.mdit import create_md_parser
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

logger = logging.getLogger(__name__)
FOLDER = "course"  # of the site
Cell = dict[str, Any]
Notebook = dict[str, Any]


class Part(Protocol):
    """A part of a notebook."""

    title: str
    minutes: int  # of teaching
    seconds: float  # that a machine takes
    note: str  # the instructor's, in Markdown
    exercise: bool


class Sheet(Protocol):
    """What an instructor needs of a notebook."""

    title: str
    goal: str
    minutes: int
    seconds: float

    @property
    def parts(self) -> Sequence[Part]:
        """Its parts, each below a heading."""


class Course(Protocol):
    """What `course` offers. Solutions are released by the setting `course_solutions`."""

    NOTEBOOKS: Path  # where the notebooks are
    STUDENT: Path  # what only the student edition has
    FOLDER: str  # of the course in a reader's home
    BRANCH: str  # of the repository, with the student edition

    @property
    def CourseError(self) -> type[Exception]:
        """An error whose text says in one sentence what is wrong in a notebook."""

    def load(self) -> Mapping[str, Notebook]:
        """{name: notebook} in the order of the course; raises CourseError."""

    def in_order(self, name: str) -> Any:
        """The key by which notebooks are sorted in the order of the course."""

    def tags(self, cell: Cell) -> Sequence[str]:
        """The tags of a cell."""

    def sheet(self, name: str, notebook: Notebook) -> Sheet:
        """The sheet of a notebook; raises CourseError."""

    def promise(self, course: dict[str, Any]) -> str:
        """What a reader can do after a notebook, from its metadata `course`."""

    def known(self, course: dict[str, Any]) -> str:
        """What a reader should know before, from the same: a sentence; "" if it is not said."""

    def needed(self, course: dict[str, Any]) -> str:
        """What a reader must have beyond the kernel, from the same; "" if nothing."""

    def page(self, notebook: Notebook, with_solutions: bool) -> Notebook:
        """What the site shows of a notebook."""

    def folded(self, notebook: Notebook) -> Notebook:
        """The notebook with the text of its solutions behind a click."""

    def released(self, setting: Any, name: str) -> bool:
        """Whether the solutions of a notebook are out."""

    def wrong_setting(self, setting: Any, names: Iterable[str]) -> str:
        """What is wrong in the setting; "" if nothing is."""

    def data_files(self) -> Mapping[str, str | bytes]:
        """{path: text or bytes} of the data that notebooks read."""

    def published(
        self, course: Mapping[str, Notebook], site: str, values: dict[str, Any], setting: Any
    ) -> Mapping[str, str | bytes]:
        """{path: text or bytes} of the editions; raises CourseError."""

    def write(self, folder: Path, files: Mapping[str, str | bytes]) -> None:
        """Write the files {path: text or bytes} below a folder."""


def course_of(config: Config) -> Course:
    course: Course = config.course
    return course


def _check_notebooks(app: Sphinx) -> None:
    """End the build if the halves of a notebook differ, or its outputs are not those of its code.

    `make serve` prints the problems and goes on.
    """
    problems: Callable[[], Iterable[object]] | None = app.config.course_problems
    messages = (
        [str(problem).removeprefix(f"{app.confdir}/") for problem in problems()] if problems else []
    )
    if messages and app.tags.has("serve"):
        print("\n".join(messages), file=sys.stderr)
    elif messages:
        sys.exit("\n".join(messages))  # Sphinx would print a report of sixty lines


# ---------------------------------------------------------------- pages


def _show(app: Sphinx, name: str, text: list[str]) -> None:
    """Remove from a notebook what its readers may not see."""
    path = Path(app.env.doc2path(name))
    if path.suffix == ".ipynb":
        course = course_of(app.config)
        released = course.released(app.config.course_solutions, path.stem)
        text[0] = json.dumps(course.folded(course.page(json.loads(text[0]), released)))


def _say_minutes(app: Sphinx, doctree: nodes.document) -> None:
    """Write the minutes of each exercise below its heading; static/present.js adds a timer."""
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix != ".ipynb":
        return
    sheet = _sheet(course_of(app.config), path.stem, json.loads(path.read_text(encoding="utf-8")))
    minutes = {
        part.title: part.minutes
        for part in (sheet.parts if sheet else ())
        if part.exercise and part.minutes
    }
    for title in list(doctree.findall(nodes.title)):
        if (number := minutes.get(title.astext())) and title.parent is not None:
            text = f"{number} minute{'s' * (number > 1)}"
            title.parent.insert(1, nodes.paragraph("", text, classes=["minutes"]))


def _sort_menu(app: Sphinx, doctree: nodes.document) -> None:
    """Sort the notebooks of a menu by their numbers, 100 after 99.

    Other pages follow in the order in which the menu names them.
    """
    in_order = course_of(app.config).in_order
    for menu in doctree.findall(addnodes.toctree):
        if menu["glob"]:
            numbered = {
                name for _, name in menu["entries"] if name and Path(name).name[0].isdigit()
            }

            def place(name: str, numbered: set[str] = numbered) -> Any:
                return in_order(Path(name).name) if name in numbered else (True,)

            menu["entries"].sort(key=lambda entry: place(entry[1]))
            menu["includefiles"].sort(key=place)


def _sheet(course: Course, name: str, notebook: Notebook) -> Sheet | None:
    """The sheet of a notebook; None, and a logged error, if the notebook has none."""
    try:
        return course.sheet(name, notebook)
    except course.CourseError as error:
        place = str(course.NOTEBOOKS / f"{name}.ipynb")
        logger.error("%s", error, location=place, type="course")
        return None


def _download(
    app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Make links to files of an edition downloads: a browser would show a notebook as JSON."""
    context["body"] = re.sub(
        rf'<a (?=[^>]*href="[./]*{FOLDER}/[^"]+[.](?:ipynb|md|zip)")',
        "<a download ",
        context.get("body", ""),
    )


# ---------------------------------------------------------------- editions


@dataclass
class _Making:
    """Editions that another process is making."""

    files: "Future[Mapping[str, str | bytes]]"
    pool: ProcessPoolExecutor
    mark: Path  # the file that keeps the hash
    origin: str  # the hash of all that the editions are made of


class Editions:
    """Makes the editions in another process while Sphinx reads the pages."""

    def __init__(self) -> None:
        self.making: _Making | None = None

    def begin(self, app: Sphinx) -> None:
        self.making = None
        config, course = app.config, course_of(app.config)
        try:
            notebooks = course.load()
        except course.CourseError as error:
            raise SystemExit(str(error)) from None  # Sphinx would print a report of sixty lines
        if problem := course.wrong_setting(config.course_solutions, notebooks):
            logger.error("%s", problem, location=_place(app), type="course")
        if app.builder.name != "html":
            return
        origin = _origin(config, course, notebooks)
        mark = Path(app.doctreedir, "course-made")
        if Path(app.outdir, FOLDER).exists() and mark.exists() and mark.read_text() == origin:
            return
        pool = ProcessPoolExecutor(1)
        files = pool.submit(
            course.published,
            notebooks,
            config.html_baseurl,
            config.facts,
            config.course_solutions,
        )
        self.making = _Making(files, pool, mark, origin)

    def offer(self, app: Sphinx, error: Exception | None) -> None:
        """Write the editions into the site, unless the build has failed."""
        if not self.making:
            return
        course = course_of(app.config)
        with self.making.pool:
            if error:
                return
            try:
                files = self.making.files.result()
            except course.CourseError as problem:
                logger.warning("%s", problem, type="course")
                return
        target = Path(app.outdir, FOLDER)
        shutil.rmtree(target, ignore_errors=True)
        course.write(target, files)
        self.making.mark.write_text(self.making.origin)


def _origin(config: Config, course: Course, notebooks: Mapping[str, Notebook]) -> str:
    """A hash of all that the editions are made of."""
    parts = [
        notebooks,
        config.facts,
        config.course_solutions,
        course.data_files(),
        *(path.read_bytes() for path in course.STUDENT.iterdir()),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _place(app: Sphinx) -> str:
    """file:line of the setting `solutions` in the file of the facts."""
    lines = Path(app.confdir, app.config.facts_file).read_text(encoding="utf-8").splitlines()
    table = lines.index("[course]") if "[course]" in lines else 0
    line = next(
        (
            number
            for number, text in enumerate(lines[table:], table + 1)
            if re.match(r"solutions\s*=", text)
        ),
        1,
    )
    return f"{app.config.facts_file}:{line}"


# ---------------------------------------------------------------- the instructor's run sheet


@functools.cache
def _parser() -> MarkdownIt:
    return create_md_parser(
        MdParserConfig(enable_extensions={"amsmath", "dollarmath"}), DocutilsRenderer
    )


def _markdown(text: str) -> list[nodes.Node]:
    document = new_document("note", get_default_settings(Parser))
    _parser().options["document"] = document
    _parser().render(text)
    return document.children


def _row(*cells: nodes.entry) -> nodes.row:
    return nodes.row("", *cells)


def _cell(text: str) -> nodes.entry:
    return nodes.entry("", nodes.paragraph("", text))


class CourseTable(SphinxDirective):
    """A table of the notebooks: what a reader can do afterwards, the minutes, what is needed."""

    def run(self) -> list[nodes.Node]:
        course = course_of(self.config)
        folder = _folder(course, self.env.srcdir)
        rows = []
        for name, notebook in course.load().items():
            self.env.note_dependency(str(course.NOTEBOOKS / f"{name}.ipynb"))
            declared = notebook["metadata"]["course"]
            needs = filter(
                None, (declared.get("before"), _language(notebook), course.needed(declared))
            )
            rows.append(
                _row(
                    _entry(_link(self.env.docname, f"/{folder}/{name}")),
                    _cell(declared["goal"]),
                    _cell(str(declared["minutes"])),
                    _cell("; ".join(needs)),
                )
            )
        titles = ("Notebook", "What you can do afterwards", "Minutes", "You need")
        return [_table(titles, rows, (24, 46, 8, 22))]


class CourseSchedule(SphinxDirective):
    """A table of a day: when each notebook of its content begins, and each break.

    Its argument is when the day begins. A line is the name of a notebook, whose minutes the
    notebook says, or minutes and what they are for.
    """

    has_content = True
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        course = course_of(self.config)
        notebooks = course.load()
        folder = _folder(course, self.env.srcdir)
        rows = []
        hour, minute = self.arguments[0].split(":")
        now = int(hour) * 60 + int(minute)
        for line in filter(None, map(str.strip, self.content)):
            number, _, text = line.partition(" ")
            if line in notebooks:
                self.env.note_dependency(str(course.NOTEBOOKS / f"{line}.ipynb"))
                minutes = notebooks[line]["metadata"]["course"]["minutes"]
                what = _entry(_link(self.env.docname, f"/{folder}/{line}"))
            elif number.isdigit() and text:
                minutes, what = int(number), _cell(text)
            else:
                raise self.error(
                    f"{line!r} is neither a notebook nor minutes and what they are for"
                )
            rows.append(_row(_cell(_clock(now)), what, _cell(str(minutes))))
            now += minutes
        rows.append(_row(_cell(_clock(now)), _cell("The end"), _cell("")))
        return [_table(("Time", "What", "Minutes"), rows, (15, 70, 15))]


def _clock(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02}"


def _folder(course: Course, top: str | Path) -> str:
    """The folder of the notebooks, below the pages."""
    return course.NOTEBOOKS.relative_to(top).as_posix()


def _link(page: str, target: str) -> addnodes.pending_xref:
    """A link on the page to the document `target`, whose text is the title there."""
    return addnodes.pending_xref(
        "",
        nodes.inline("", ""),
        refdomain="std",
        reftype="doc",
        reftarget=target,
        refdoc=page,
        refexplicit=False,
        refwarn=True,
    )


def _entry(link: nodes.Node) -> nodes.entry:
    return nodes.entry("", nodes.paragraph("", "", link))


def _language(notebook: Notebook) -> str:
    """The language that the kernel of a notebook speaks; "" for Python."""
    kernel = notebook["metadata"]["kernelspec"]
    return "" if kernel["language"] == "python" else f"the kernel {kernel['display_name']}"


def _table(titles: Sequence[str], rows: Sequence[nodes.row], widths: Sequence[int]) -> nodes.table:
    """A table with these titles above its columns."""
    head = nodes.thead("", _row(*map(_cell, titles)))
    columns = [nodes.colspec(colwidth=width) for width in widths]
    body = nodes.tbody("", *rows)
    return nodes.table("", nodes.tgroup("", *columns, head, body, cols=len(widths)))


class RunSheet(SphinxDirective):
    """A section for each notebook: its goal, and a table of its parts.

    The table gives the minutes of each part, its run time, and the instructor's notes.
    """

    def run(self) -> list[nodes.Node]:
        course = course_of(self.config)
        sections: list[nodes.Node] = []
        for name, notebook in course.load().items():
            self.env.note_dependency(str(course.NOTEBOOKS / f"{name}.ipynb"))
            if sheet := _sheet(course, name, notebook):
                has_slides = any("slide" in course.tags(cell) for cell in notebook["cells"])
                sections.append(self._section(name, sheet, has_slides))
        return sections

    def _section(self, name: str, sheet: Sheet, has_slides: bool) -> nodes.section:
        section = nodes.section(
            "",
            nodes.title("", sheet.title),
            ids=[f"run-sheet-{name}"],
            names=[f"run-sheet-{name}"],
            classes=["run-sheet"],
        )
        line = nodes.paragraph(
            "", f"{sheet.goal}. {sheet.minutes} minutes; a machine takes {sheet.seconds} s. "
        )
        if has_slides:
            up = "../" * self.env.docname.count("/")
            line += nodes.reference(
                "", "Slides", refuri=f"{up}{FOLDER}/slides/{name}.html", internal=True
            )
        section += line
        if sheet.parts:
            section += _parts(sheet.parts)
        return section


def _parts(parts: Sequence[Part]) -> nodes.table:
    """The parts of a notebook as a table."""
    rows = []
    for part in parts:
        machine = f"{part.seconds:.1f} s" if part.seconds >= 0.05 else ""
        notes = nodes.entry("", *_markdown(part.note), classes=["notes"])
        rows.append(_row(_cell(part.title), _cell(f"{part.minutes or ''}"), _cell(machine), notes))
    return _table(("Part", "Minutes", "Machine", "Notes"), rows, (24, 8, 8, 60))


def setup(app: Sphinx) -> ExtensionMetadata:
    editions = Editions()
    app.add_config_value("course", None, "")
    app.add_config_value("course_problems", None, "")
    app.add_config_value("course_solutions", "all", "env", types=(str, list))
    app.add_directive("course-schedule", CourseSchedule)
    app.add_directive("course-table", CourseTable)
    app.add_directive("run-sheet", RunSheet)
    # This runs before any other function reads a notebook.
    app.connect("builder-inited", _check_notebooks, priority=100)
    app.connect("builder-inited", editions.begin)
    app.connect("source-read", _show)
    app.connect("doctree-read", _say_minutes)
    app.connect("doctree-read", _sort_menu, priority=100)  # before Sphinx collects the menus
    app.connect("html-page-context", _download)
    app.connect("build-finished", editions.offer)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

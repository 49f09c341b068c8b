"""Sphinx extension: the pages of a course show what their readers may see, and the site offers the
course's editions.

`course_solutions` says whose solutions are out: "all", "none", or a list of names of notebooks. The
directive `run-sheet` writes what an instructor needs of each notebook. editions.py makes the
editions.
"""

import functools
import hashlib
import json
import re
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.utils import new_document
from myst_parser.config.main import MdParserConfig
from myst_parser.mdit_to_docutils.base import DocutilsRenderer
from myst_parser.parsers.docutils_ import Parser
from myst_parser.parsers.mdit import create_md_parser
from sphinx import addnodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from tools.course import editions, slides

logger = logging.getLogger(__name__)
FOLDER = "course"  # of the site


def _show(app, name, text):
    """Leave in a notebook what its readers may see."""
    path = Path(app.env.doc2path(name))
    if path.suffix == ".ipynb":
        shown = editions.page(
            json.loads(text[0]), editions.released(app.config.course_solutions, path.stem)
        )
        text[0] = json.dumps(editions.folded(shown))


def _say_minutes(app, doctree):
    """Below the heading of each exercise, how long it takes; static/present.js makes a timer of it."""
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix != ".ipynb":
        return
    parts = {
        part.title: part.minutes
        for part in _sheet(path.stem, json.loads(path.read_text(encoding="utf-8"))).parts
        if part.exercise and part.minutes
    }
    for title in list(doctree.findall(nodes.title)):
        if title.astext() in parts:
            title.parent.insert(
                1,
                nodes.paragraph(
                    "",
                    f"{parts[title.astext()]} minute{'s' * (parts[title.astext()] > 1)}",
                    classes=["minutes"],
                ),
            )


def _sort_menu(app, doctree):
    """In the menu of the notebooks they stand by their numbers, 100 after 99, and other pages
    behind them as they are written.
    """
    for menu in doctree.findall(addnodes.toctree):
        if menu["glob"]:
            numbered = {
                name for _, name in menu["entries"] if name and Path(name).name[0].isdigit()
            }
            menu["entries"].sort(
                key=lambda entry: (
                    editions.in_order(Path(entry[1]).name) if entry[1] in numbered else (True,)
                )
            )
            menu["includefiles"].sort(
                key=lambda name: editions.in_order(Path(name).name) if name in numbered else (True,)
            )


def _sheet(name, notebook):
    try:
        return editions.sheet(name, notebook)
    except editions.CourseError as wrong:
        logger.error("%s", wrong, location=str(editions.NOTEBOOKS / f"{name}.ipynb"), type="course")
        return editions.Sheet(name, name, "", 0, 0)


def _download(app, name, template, context, doctree):
    """A link to a file of an edition saves it, where a browser would show its JSON."""
    context["body"] = re.sub(
        rf'<a (?=[^>]*href="[./]*{FOLDER}/[^"]+[.](?:ipynb|md|zip)")',
        "<a download ",
        context.get("body", ""),
    )


def _begin(app):
    """Make the editions beside the build, which waits for them at its end: they take as long as
    some pages.
    """
    app.editions_made = None
    try:
        course, config = editions.load(), app.config
    except editions.CourseError as wrong:
        raise SystemExit(str(wrong)) from None  # an exception would be told in sixty lines
    if wrong := editions.wrong_setting(config.course_solutions, course):
        logger.error("%s", wrong, location=_place(app), type="course")
    if app.builder.name != "html":
        return
    seen = hashlib.sha256(
        repr(
            [
                course,
                config.facts,
                config.course_solutions,
                editions.data_files(),
                *map(Path.read_bytes, editions.STUDENT.iterdir()),
            ]
        ).encode()
    ).hexdigest()
    made = Path(app.doctreedir, "course-made")
    if not (Path(app.outdir, FOLDER).exists() and made.exists() and made.read_text() == seen):
        pool = ProcessPoolExecutor(1)
        app.editions_made = (
            pool.submit(
                editions.published,
                course,
                config.html_baseurl,
                config.facts,
                config.course_solutions,
            ),
            pool,
            made,
            seen,
        )


def _place(app) -> str:
    """Where the facts say which solutions are out: file and line."""
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


def _offer(app, error):
    if not app.editions_made:
        return
    files, pool, made, seen = app.editions_made
    with pool:
        if error:
            return
        target = Path(app.outdir, FOLDER)
        try:
            content = files.result()
        except editions.CourseError as wrong:
            logger.warning("%s", wrong, type="course")
            return
    shutil.rmtree(target, ignore_errors=True)
    editions.write(target, content)
    made.write_text(seen)


@functools.cache
def _parser():
    return create_md_parser(
        MdParserConfig(enable_extensions={"amsmath", "dollarmath"}), DocutilsRenderer
    )


def _markdown(text):
    document = new_document("note", get_default_settings(Parser))
    _parser().options["document"] = document
    _parser().render(text)
    return document.children


def _cell(*children, **attributes):
    return nodes.entry("", *children, **attributes)


def _text(text):
    return nodes.paragraph("", text)


class RunSheet(SphinxDirective):
    """For each notebook a section: its goal, and of each part the minutes, what a machine takes for
    it, and the instructor's note.
    """

    def run(self):
        found = []
        for name, notebook in editions.load().items():
            self.env.note_dependency(str(editions.NOTEBOOKS / f"{name}.ipynb"))
            sheet = _sheet(name, notebook)
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
            if "slide" in slides.types(notebook):
                line += nodes.reference(
                    "",
                    "Slides",
                    refuri=f"{'../' * self.env.docname.count('/')}{FOLDER}/slides/{name}.html",
                    internal=True,
                )
            section += line
            body = nodes.tbody()
            for part in sheet.parts:
                machine = f"{part.seconds:.1f} s" if part.seconds >= 0.05 else ""
                body += nodes.row(
                    "",
                    _cell(_text(part.title)),
                    _cell(_text(f"{part.minutes or ''}")),
                    _cell(_text(machine)),
                    _cell(*_markdown(part.note), classes=["notes"]),
                )
            head = nodes.thead(
                "",
                nodes.row(
                    "", *[_cell(_text(text)) for text in ("Part", "Minutes", "Machine", "Notes")]
                ),
            )
            group = nodes.tgroup(
                "", *[nodes.colspec(colwidth=width) for width in (24, 8, 8, 60)], head, body, cols=4
            )
            section += [nodes.table("", group)] if sheet.parts else []
            found.append(section)
        return found


def setup(app):
    app.add_config_value("course_solutions", "all", "env", types=(str, list))
    app.add_directive("run-sheet", RunSheet)
    app.connect("source-read", _show)
    app.connect("doctree-read", _say_minutes)
    app.connect("doctree-read", _sort_menu, priority=100)  # before Sphinx collects the menus
    app.connect("html-page-context", _download)
    app.connect("builder-inited", _begin)
    app.connect("build-finished", _offer)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""Slides of a notebook: nbconvert makes them, with a reveal.js that lies beside them, for nothing
may come from another host.

A cell tagged `slide` is on a slide, a heading begins the next one, and the instructor's note below
that heading is what the speaker sees on pressing S. The first slide has the title and what readers
can do afterwards, in place of the rest of its cell; of an error a slide has the last line.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import sphinx_revealjs

from _ext import formulas
from tools.course.model import Cell, Notebook
from tools.course.shown import CourseError, linked, still
from tools.files import ROOT

OURS = Path(__file__).parent
REVEAL = Path(sphinx_revealjs.__file__).parent / "_static/revealjs"
NEEDED = [
    "dist/reveal.js",
    "dist/reveal.css",
    "dist/reset.css",
    "dist/theme/white.css",
    "plugin/notes/notes.js",
    "LICENSE",
]
WEB_FONT = re.compile(rb"@import url\([^)]*fonts/[^)]*\);")
# The colours of code are those of the pages.
HIGHLIGHT = re.compile(r"^\.highlight [^}]*\}", re.MULTILINE)
PAGE = """{% extends 'index.html.j2' %}
{%- block header -%}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>Slides: {{ resources.title | e }}</title>
<script>try { document.documentElement.dataset.theme = localStorage.theme || "" } catch { }</script>
<link rel="stylesheet" href="reveal/dist/reset.css">
<link rel="stylesheet" href="reveal/dist/reveal.css">
<link rel="stylesheet" href="reveal/dist/theme/white.css">
<link rel="stylesheet" href="slides.css">
</head>
{%- endblock header -%}
{%- block body_header -%}
<body tabindex="0"><main><div class="reveal"><div class="slides">
{%- endblock body_header -%}
{%- block body_footer -%}
</div></div></main>
{%- endblock body_footer -%}
{%- block error -%}
<div class="jp-OutputArea-output" data-mime-type="application/vnd.jupyter.stderr">
<pre>{{ output.ename }}: {{ output.evalue | ansi2html }}</pre></div>
{%- endblock error -%}
{%- block data_latex -%}
<div class="jp-OutputArea-output">{{ output.data["text/latex"] | latex2html }}</div>
{%- endblock data_latex -%}
{%- block footer_js -%}
<script src="reveal/dist/reveal.js"></script>
<script src="reveal/plugin/notes/notes.js"></script>
<script src="slides.js"></script>
</body>
{%- endblock footer_js -%}
"""


def types(notebook: dict[str, Any]) -> list[str]:
    """What nbconvert calls the slide_type of each cell."""
    kinds: list[str] = []
    shown = False
    for cell in Notebook(notebook).cells:
        heading = cell.kind == "markdown" and cell.source.startswith("#")
        on_slide = "slide" in cell.tags
        if heading:
            shown = on_slide
        if on_slide:
            kinds.append("slide" if heading or "slide" not in kinds else "-")
        else:
            kinds.append("notes" if shown and "instructor" in cell.tags else "skip")
    return kinds


def title(notebook: dict[str, Any]) -> str:
    """The title of a notebook, without the mark of a heading."""
    return Notebook(notebook).title


def on_slide(cell: Cell, notebook: Notebook) -> Cell:
    """The cell as a slide shows it: of the title's cell the title, and what readers can do
    afterwards, for nobody reads a page from a wall.
    """
    if not cell.is_title:
        return cell
    course = notebook.course
    first = cell.source.splitlines()[0]
    return cell.having(source=f"{first}\n\n{course.promise}\n\n{course.minutes} minutes")


def pages(course: Mapping[str, dict[str, Any]], site: str) -> dict[str, str | bytes]:
    """The slides of each notebook in `course`, and what they load, by the path of the file.

    site: the address of the built guide. Raises CourseError if a formula cannot be shown.
    """
    # They take longer to load than some pages to build, and only this function wants them.
    from nbconvert import SlidesExporter

    from tools.course import slide_text

    exporter = SlidesExporter()
    exporter.raw_template = PAGE
    exporter.register_filter("markdown2html", slide_text.markdown)
    exporter.register_filter("latex2html", slide_text.latex)
    files = _loaded()
    for name, stored in course.items():
        notebook = Notebook(stored)
        deck = _deck(notebook, site)
        if not deck.cells:
            continue
        # A file holds each text as a list of lines; nbconvert wants it whole, as a reader of
        # nbformat gives it.
        shown = nbformat.reads(json.dumps(deck), as_version=4)
        try:
            html, _ = exporter.from_notebook_node(shown, {"title": notebook.title})
        except formulas.FormulaError as wrong:
            raise CourseError(f"{name}: {wrong}") from None
        files[f"{name}.html"] = html
    return files


def _loaded() -> dict[str, str | bytes]:
    """What the slides load: reveal.js without its web fonts, our style and script."""
    files: dict[str, str | bytes] = {
        f"reveal/{path}": WEB_FONT.sub(b"", (REVEAL / path).read_bytes()) for path in NEEDED
    }
    for path in (OURS / "deck").iterdir():
        text = path.read_text(encoding="utf-8")
        if path.name == "slides.css":
            guide = (ROOT / "_ext/static/guide.css").read_text(encoding="utf-8")
            text += "\n".join(HIGHLIGHT.findall(guide))
        files[path.name] = text
    return files


def _deck(notebook: Notebook, site: str) -> Notebook:
    """The cells of a notebook that its slides show, each with the kind of its slide."""
    cells = []
    for cell, kind in zip(still(notebook).cells, types(notebook), strict=True):
        if kind != "skip":
            metadata = cell["metadata"] | {"slideshow": {"slide_type": kind}}
            shown = linked(on_slide(cell, notebook), site, beside=False)
            cells.append(shown.having(metadata=metadata))
    return notebook.having(cells)

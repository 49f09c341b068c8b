"""Slides of a notebook: nbconvert makes them, with a reveal.js that lies beside them, for nothing
may come from another host.

A cell tagged `slide` is on a slide, a heading begins the next one, and the instructor's note below
that heading is what the speaker sees on pressing S. The first slide has the title and what readers
can do afterwards, in place of the rest of its cell; of an error a slide has the last line.
"""

import json
import re
from pathlib import Path

import sphinx_revealjs

from _ext import formulas
from tools.course.editions import CourseError, linked, promise, source, still, tags
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
<div class="jp-OutputArea-output" data-mime-type="application/vnd.jupyter.stderr"><pre>{{ output.ename }}: {{ output.evalue | ansi2html }}</pre></div>
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


def types(notebook):
    """What nbconvert calls the slide_type of each cell."""
    found, shown = [], False
    for cell in notebook["cells"]:
        heading = cell["cell_type"] == "markdown" and source(cell).startswith("#")
        if heading:
            shown = "slide" in tags(cell)
        if "slide" in tags(cell):
            found.append("slide" if heading or not set(found) & {"slide"} else "-")
        else:
            found.append("notes" if shown and "instructor" in tags(cell) else "skip")
    return found


def title(notebook):
    return next(
        source(cell).splitlines()[0].lstrip("# ")
        for cell in notebook["cells"]
        if source(cell).startswith("# ")
    )


def on_slide(cell, notebook):
    """The cell as a slide shows it: of the title's cell the title, and what readers can do
    afterwards, for nobody reads a page from a wall.
    """
    if cell["cell_type"] != "markdown" or not source(cell).startswith("# "):
        return cell
    course = notebook["metadata"]["course"]
    return cell | {
        "source": f"{source(cell).splitlines()[0]}\n\n{promise(course)}\n\n{course['minutes']} "
        "minutes"
    }


def pages(course, site):
    """{path: text or bytes} of the slides of each notebook in `course`, and of what they load."""
    import nbformat
    from nbconvert import SlidesExporter

    from tools.course import (
        slide_text,
    )  # with nbconvert it takes as long to load as some pages to build

    exporter = SlidesExporter()
    exporter.raw_template = PAGE
    exporter.register_filter("markdown2html", slide_text.markdown)
    exporter.register_filter("latex2html", slide_text.latex)
    files = {f"reveal/{path}": WEB_FONT.sub(b"", (REVEAL / path).read_bytes()) for path in NEEDED}
    files |= {path.name: path.read_text(encoding="utf-8") for path in (OURS / "deck").iterdir()}
    files["slides.css"] += "\n".join(
        HIGHLIGHT.findall((ROOT / "_ext/static/guide.css").read_text(encoding="utf-8"))
    )
    for name, notebook in course.items():
        cells = [
            linked(on_slide(cell, notebook), site, beside=False)
            | {"metadata": cell["metadata"] | {"slideshow": {"slide_type": kind}}}
            for cell, kind in zip(still(notebook)["cells"], types(notebook), strict=True)
            if kind != "skip"
        ]
        if cells:
            # A file holds each text as a list of lines; nbconvert wants it whole, as a reader of
            # nbformat gives it.
            shown = nbformat.reads(json.dumps(notebook | {"cells": cells}), as_version=4)
            try:
                files[f"{name}.html"] = exporter.from_notebook_node(
                    shown, {"title": title(notebook)}
                )[0]
            except formulas.FormulaError as wrong:
                raise CourseError(f"{name}: {wrong}") from None
    return files

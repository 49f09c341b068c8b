"""Slides of a notebook: nbconvert makes them, with a reveal.js that lies beside them, for nothing may come from another host.

A cell tagged `slide` is on a slide, a heading begins the next one, and the instructor's note below that heading is what the speaker sees
on pressing S.
"""
import re
from pathlib import Path

import sphinx_revealjs
from editions import linked, source, tags

REVEAL = Path(sphinx_revealjs.__file__).parent / "_static/revealjs"
NEEDED = ["dist/reveal.js", "dist/reveal.css", "dist/reset.css", "dist/theme/white.css", "plugin/notes/notes.js", "LICENSE"]
WEB_FONT = re.compile(rb"@import url\([^)]*fonts/[^)]*\);")
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
{% for css in resources.inlining.css %}<style>{{ css }}</style>{% endfor %}
<link rel="stylesheet" href="slides.css">
</head>
{%- endblock header -%}
{%- block body_header -%}
<body tabindex="0"><main><div class="reveal"><div class="slides">
{%- endblock body_header -%}
{%- block body_footer -%}
</div></div></main>
{%- endblock body_footer -%}
{%- block footer_js -%}
<script src="reveal/dist/reveal.js"></script>
<script src="reveal/plugin/notes/notes.js"></script>
<script>Reveal.initialize({hash: true, slideNumber: true, width: 1100, height: 700, plugins: [RevealNotes],
    transition: matchMedia("(prefers-reduced-motion: reduce)").matches ? "none" : "slide"});</script>
</body>
{%- endblock footer_js -%}
"""
STYLE = """:root { --r-main-font: system-ui, sans-serif; --r-heading-font: system-ui, sans-serif; --r-main-font-size: 28px; --r-code-font: ui-monospace, monospace;
  --r-heading-text-transform: none; --r-link-color: #1a5f92; }
.reveal .slides { text-align: left; }
.reveal :is(p, li) a { text-decoration: underline; }
.reveal h1 { font-size: 1.9em; }
.reveal h2 { font-size: 1.5em; }
.reveal .anchor-link, .reveal .jp-InputPrompt, .reveal .jp-OutputPrompt { display: none; }
.reveal pre { width: auto; box-shadow: none; margin: .3em 0; font-size: 20px; white-space: pre-wrap; }
.reveal .jp-InputArea pre { background: #f3f5f7; border-left: 5px solid #1a5f92; padding: .4em .6em; }
.reveal .jp-OutputArea pre { padding: .1em .8em; }
.reveal .jp-OutputArea img { margin: 0; max-height: 420px; }
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
    return next(source(cell).splitlines()[0].lstrip("# ") for cell in notebook["cells"] if source(cell).startswith("# "))


def pages(course, site):
    """{path: text or bytes} of the slides of each notebook in `course`, and of what they load."""
    import nbformat
    from nbconvert import SlidesExporter

    exporter = SlidesExporter()
    exporter.raw_template = PAGE
    files = {f"reveal/{path}": WEB_FONT.sub(b"", (REVEAL / path).read_bytes()) for path in NEEDED} | {"slides.css": STYLE.encode()}
    for name, notebook in course.items():
        cells = [linked(cell, site, beside=False) | {"metadata": cell["metadata"] | {"slideshow": {"slide_type": kind}}}
                 for cell, kind in zip(notebook["cells"], types(notebook), strict=True) if kind != "skip"]
        if cells:
            shown = nbformat.from_dict(notebook | {"cells": [cell | {"source": source(cell)} for cell in cells]})
            files[f"{name}.html"] = exporter.from_notebook_node(shown, {"title": title(notebook)})[0]
    return files

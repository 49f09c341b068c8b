"""Sphinx extension: a search over sections, by Pagefind, instead of Sphinx's own over pages.

Each section is indexed as a page of its own, so that a question leads to its answer and not to the
top of a long page. The index is loaded when somebody searches. static/guide.js asks it, and
corrects misspelt words with the list of all words, words.json. What readers call it, where the text
says it otherwise, stands below a heading as ``.. index:: kernel missing, kernel not shown``.

`search_words`: words that readers use, and what the guide says instead. `search_called`: what
readers call a section of a notebook, which has no ``.. index::``. `search_weights`: how much more
the text of sections counts, by ``page#section``.
"""

import html
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

from _ext.page_text import text_of

WORD = re.compile(r"[a-z][a-z'_-]+[a-z]")


def index(app, target):
    """Write the index of all sections, each a page for Pagefind, into the folder `target`."""
    words = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for page in sorted(app.env.found_docs):
            said = text_of(app, page)
            for number, (anchor, title, text, called) in enumerate(said.sections):
                called = called or app.config.search_called.get(page, {}).get(anchor, "")
                weight = next(
                    (
                        weight
                        for pattern, weight in app.config.search_weights.items()
                        if fnmatch(f"{page}#{anchor}", pattern)
                    ),
                    1,
                )
                address = f"{page}.html" + (f"#{anchor}" if anchor else "")
                Path(folder, f"{page.replace('/', '-')}-{number:03}.html").write_text(
                    f"""<html lang="en"><body data-pagefind-meta="address:{address}">
                    <h1 data-pagefind-weight="8">{html.escape(title)}</h1><p hidden data-pagefind-meta="page">{html.escape(said.title)}</p>
                    <p>\N{BROKEN BAR}</p><div data-pagefind-weight="{weight}">{html.escape(text)}</div><p>\N{BROKEN BAR}</p>
                    <p data-pagefind-weight="8">{html.escape(called)}</p></body></html>""",
                    encoding="utf-8",
                )
                words.update(WORD.findall(f"{title} {text} {called}".lower()))
        # The package's Python interface waits a tenth of a second for each section.
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pagefind",
                "--silent",
                "--site",
                folder,
                "--output-path",
                target,
                "--force-language",
                "en",
            ],
            check=True,
        )
    for own in (
        "ui",
        "component-ui",
        "modular-ui",
        "highlight",
        "worker",
    ):  # static/guide.js does without
        for path in target.glob(f"pagefind-{own}.*"):
            path.unlink()
    (target / "words.json").write_text(
        json.dumps({"words": words, "said": app.config.search_words}), encoding="utf-8"
    )


def finish(app, error):
    target = Path(app.outdir) / "pagefind"
    if not error and app.builder.name == "html" and not (app.tags.has("serve") and target.exists()):
        index(app, target)


def begin(app):
    app.builder.search = False  # Sphinx's own index, of 300 kB, is not made


def setup(app):
    app.add_config_value("search_words", {}, "html")
    app.add_config_value("search_called", {}, "")
    app.add_config_value("search_weights", {}, "html")
    app.connect("builder-inited", begin)
    app.connect("build-finished", finish)
    return {
        "version": "1",
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }

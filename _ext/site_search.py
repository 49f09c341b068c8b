"""Sphinx extension: a search for sections with Pagefind, in the place of Sphinx's search for pages.

Pagefind gets each section as a page, so a question leads to its answer and not to the top of a long
page. A browser loads the index when somebody searches. static/guide.js searches in it, and corrects
misspelt words with the list of all words, words.json.

The words are those of _ext/readers_words.py.
"""

import gzip
import html
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.config import Config
from sphinx.util.typing import ExtensionMetadata

from _ext.page_text import Section, text_of

WORD = re.compile(r"[a-z][a-z\d'_-]+[a-z]")
# The parts of Pagefind that static/guide.js does not use.
UNUSED = ("ui", "component-ui", "modular-ui", "highlight", "worker")
# A section as a page for Pagefind.
PAGE = """<html lang="en"><body data-pagefind-meta="address:{address}">
<h1 data-pagefind-weight="8">{title}</h1><p hidden data-pagefind-meta="page">{page}</p>
<p hidden data-pagefind-meta="share:{share}"></p>
<p>\N{BROKEN BAR}</p><div data-pagefind-weight="{weight}">{text}</div><p>\N{BROKEN BAR}</p>
<p data-pagefind-weight="8">{called}</p></body></html>"""


def index(app: Sphinx, target: Path) -> None:
    """Write the index of all sections into the folder `target`."""
    words: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for page in sorted(app.env.found_docs):
            text = text_of(app, page)
            for number, section in enumerate(text.sections):
                called = app.config.search["sections"].get(page, {}).get(section.anchor, "")
                Path(folder, f"{page.replace('/', '-')}-{number:03}.html").write_text(
                    _section_page(app.config, page, text.title, section, called), encoding="utf-8"
                )
                words.update(WORD.findall(f"{section.title} {section.text} {called}".lower()))
        # The Python interface of pagefind would wait a tenth of a second for each section.
        pagefind = [sys.executable, "-m", "pagefind", "--silent", "--force-language", "en"]
        subprocess.run([*pagefind, "--site", folder, "--output-path", target], check=True)
    for part in UNUSED:
        for path in target.glob(f"pagefind-{part}.*"):
            path.unlink()
    language = {
        "words": words,
        "synonyms": synonyms(app.config.search["words"]),
        "sections": dict(map(_fragment, sorted(target.glob("fragment/*.pf_fragment")))),
    }
    (target / "words.json").write_text(json.dumps(language), encoding="utf-8")


def _fragment(path: Path) -> tuple[str, dict[str, str]]:
    """Pagefind's number of a section, and its address, title and page.

    A link to a section needs no more, and no request of its own.
    """
    text = gzip.decompress(path.read_bytes()).removeprefix(b"pagefind_dcd")
    return path.stem, json.loads(text)["meta"]


def _section_page(config: Config, page: str, page_title: str, section: Section, called: str) -> str:
    """The section as a page for Pagefind."""

    def first(table: str) -> float:
        """The value of the first pattern of `table` that fits this section, or 1."""
        patterns = config.search[table].items()
        name = f"{page}#{section.anchor}"
        return next((value for pattern, value in patterns if fnmatch(name, pattern)), 1)

    return PAGE.format(
        address=f"{page}.html" + (f"#{section.anchor}" if section.anchor else ""),
        title=html.escape(section.title),
        page=html.escape(page_title),
        weight=first("weights"),
        share=first("shares"),
        text=html.escape(section.text),
        called=html.escape(called),
    )


def synonyms(search_words: dict[str, str]) -> dict[str, list[str]]:
    """{a reader's word: the guide's words for it}."""
    result: dict[str, list[str]] = {}
    for ours, theirs in search_words.items():
        for word in theirs.split(","):
            result.setdefault(word.strip(), []).append(ours)
    return result


def finish(app: Sphinx, error: Exception | None) -> None:
    target = Path(app.outdir) / "pagefind"
    if not error and app.builder.name == "html" and not (app.tags.has("serve") and target.exists()):
        index(app, target)


def begin(app: Sphinx) -> None:
    if isinstance(app.builder, StandaloneHTMLBuilder):
        app.builder.search = False  # do not make Sphinx's own index of 300 kB


def setup(app: Sphinx) -> ExtensionMetadata:
    app.setup_extension("_ext.readers_words")
    app.connect("builder-inited", begin)
    app.connect("build-finished", finish)
    return {
        "version": "1",
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }

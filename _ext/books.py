"""Sphinx extension: pages fit for a book where the tag `book` is set; elsewhere the pages offer the
books that are there.

`make books` makes them.
"""

import re
import shutil
import time
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlparse

from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.builders.epub3 import Epub3Builder
from sphinx.transforms.post_transforms.images import ImageConverter
from sphinx.util.typing import ExtensionMetadata

KINDS = {".epub": "EPUB", ".pdf": "PDF"}
# The extensions that conf.py loads: for a book, and for the site.
BOOK_EXTENSIONS = ["_ext.site", "myst_nb", "sphinx_design"]
SITE_EXTENSIONS = [
    *BOOK_EXTENSIONS,
    "notfound.extension",
    "sphinx_copybutton",
    "sphinx_last_updated_by_git",
    "sphinx_reredirects",
    "sphinx_sitemap",
    "sphinxext.opengraph",
]


def name(project: str) -> str:
    """What the files of a book are called, without their ending."""
    return re.sub(r"\W+", "-", project.lower())


def settings(project: str, author: str, book: bool) -> dict[str, Any]:
    """What conf.py says of the book; with `book`, also what it says otherwise than of the site."""
    stem = name(project)
    epub = {
        "epub_basename": stem,
        "epub_title": project,
        "epub_author": author,
        "epub_publisher": author,
        "epub_identifier": stem,
        "epub_uid": stem,
        "epub_css_files": ["book.css"],
        "epub_show_urls": "no",
        "epub_tocdepth": 2,
    }
    instead = {
        "extensions": BOOK_EXTENSIONS,
        "html_theme": "epub",
        "html_theme_options": {},
        "html_static_path": ["_ext/book"],
        "html_css_files": ["book.css"],
        "html_js_files": [],
        "html_additional_pages": {},
        "version": time.strftime("%Y-%m-%d"),
    }
    return epub | instead if book else epub


def _text_first(app: Sphinx, doctree: nodes.document) -> None:
    """The pages below a page come after its own text, not in the middle of it."""
    top = doctree.next_node(nodes.section)
    for menu in list(doctree.findall(nodes.Element)):
        if "toctree-wrapper" in menu["classes"] and menu.parent is not None and top is not None:
            menu.parent.remove(menu)
            top.append(menu)


def _only_what_works_on_paper(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Marks that lead to a test are gone; a link to a file of the site leads there."""
    for link in list(doctree.findall(nodes.reference)):
        address = urlparse(link.get("refuri", ""))
        if "tested" in link["classes"] and link.parent is not None:
            link.parent.remove(link)
        elif address.path and not address.scheme and Path(address.path).suffix != ".xhtml":
            link["refuri"] = urljoin(f"{app.config.html_baseurl}{docname}", link["refuri"])


class Pictures(ImageConverter):
    """Readers of EPUB need not know WebP."""

    conversion_rules = [("image/webp", "image/png")]  # noqa: RUF012 - it is so in Sphinx's class

    def is_available(self) -> bool:
        return True

    def convert(self, _from: str | PathLike[str], _to: str | PathLike[str]) -> bool:
        with Image.open(_from) as picture:
            picture.save(_to, "PNG", optimize=True)
        return True


class Epub(Epub3Builder):
    """Sphinx's EPUB, whose list of contents says which chapters hold formulas, as the standard
    wants.
    """

    def build_content(self) -> None:
        super().build_content()
        path = Path(self.outdir, "content.opf")
        text = path.read_text(encoding="utf-8")
        for chapter in self.files:
            if chapter.endswith(".xhtml") and "<math" in Path(self.outdir, chapter).read_text(
                encoding="utf-8"
            ):
                text = text.replace(
                    f' href="{chapter}" media-type',
                    f' href="{chapter}" properties="mathml" media-type',
                )
        path.write_text(text, encoding="utf-8")


def _open(
    app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Show what stands behind a click or a tab, since nobody can click on paper.

    The style of notebook cells, which comes too late for an EPUB, and that of formulas on the site
    are left out.
    """
    context["css_files"] = [
        file
        for file in context["css_files"]
        if not re.search("mystnb|formulas", str(file.filename))
    ]
    body = re.sub(
        r"<summary\b.*?</summary>",
        "<summary>Solution</summary>",
        context.get("body", ""),
        flags=re.DOTALL,
    ).replace("<details", '<details open="open"')
    body = re.sub(r"<input\b[^>]*>", "", body)
    body = re.sub(
        r'<img\b[^>]*\bclass="[^"]*\bdark\b[^>]*>', "", body
    )  # of two screenshots the one for white paper
    body = re.sub(
        r'<a class="[^"]*image-reference[^"]*"[^>]*>\s*(<img\b[^>]*>)\s*</a>', r"\1", body
    )  # to the picture alone
    context["body"] = re.sub(
        r"<label\b[^>]*>(.*?)</label>", r'<p class="tab">\1</p>', body, flags=re.DOTALL
    )


def made(app: Sphinx) -> list[Path]:
    """The books that are there."""
    folder, stem = Path(app.srcdir, "_build/books"), name(app.config.project)
    return [path for kind in KINDS if (path := folder / f"{stem}{kind}").exists()]


def _offer(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    context["books"] = [
        (KINDS[path.suffix], context["pathto"](path.name, resource=True)) for path in made(app)
    ]


def _copy(app: Sphinx, error: Exception | None) -> None:
    if not error and app.builder.name == "html":
        for path in made(app):
            shutil.copy2(path, app.outdir)


def setup(app: Sphinx) -> ExtensionMetadata:
    if app.tags.has("book"):
        app.config.suppress_warnings = [
            *app.config.suppress_warnings,
            "epub.unknown_project_files",
        ]  # films, which no book shows
        app.add_builder(Epub, override=True)
        app.add_post_transform(Pictures)
        app.connect("doctree-read", _text_first)
        app.connect("doctree-resolved", _only_what_works_on_paper)
        app.connect("html-page-context", _open)
    else:
        app.connect("html-page-context", _offer)
        app.connect("build-finished", _copy)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""Sphinx extension: the guide as a book, which `make books` makes.

With the tag `book`, the pages are prepared for paper and e-readers. Without it, the pages of the
site offer the books that exist.
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
    """The name of a book's files, without their ending."""
    return re.sub(r"\W+", "-", project.lower())


def settings(project: str, author: str, book: bool) -> dict[str, Any]:
    """The settings of conf.py for a book; with `book`, also those that replace the site's."""
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
    of_book = {
        "extensions": BOOK_EXTENSIONS,
        "html_theme": "epub",
        "html_theme_options": {},
        "html_static_path": ["_ext/book"],
        "html_css_files": ["book.css"],
        "html_js_files": [],
        "html_additional_pages": {},
        "version": time.strftime("%Y-%m-%d"),
    }
    return epub | of_book if book else epub


def _text_first(app: Sphinx, doctree: nodes.document) -> None:
    """Move the pages below a page behind its own text."""
    top = doctree.next_node(nodes.section)
    for menu in list(doctree.findall(nodes.Element)):
        if "toctree-wrapper" in menu["classes"] and menu.parent is not None and top is not None:
            menu.parent.remove(menu)
            top.append(menu)


def _only_what_works_on_paper(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Remove the marks that lead to a test, and let links to files lead to the site."""
    for link in list(doctree.findall(nodes.reference)):
        address = urlparse(link.get("refuri", ""))
        if "tested" in link["classes"] and link.parent is not None:
            link.parent.remove(link)
        elif address.path and not address.scheme and Path(address.path).suffix != ".xhtml":
            link["refuri"] = urljoin(f"{app.config.html_baseurl}{docname}", link["refuri"])


class Pictures(ImageConverter):
    """Converts WebP to PNG, since not every e-reader shows WebP."""

    conversion_rules = [("image/webp", "image/png")]  # noqa: RUF012 - it is so in Sphinx's class

    def is_available(self) -> bool:
        return True

    def convert(self, _from: str | PathLike[str], _to: str | PathLike[str]) -> bool:
        with Image.open(_from) as picture:
            picture.save(_to, "PNG", optimize=True)
        return True


class Epub(Epub3Builder):
    """Sphinx's EPUB; its manifest also says which chapters hold formulas, as the standard asks."""

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
    """Show what the site shows after a click or in a tab, since nobody can click on paper.

    Two style sheets are left out: that of notebook cells, which Sphinx copies too late for an EPUB,
    and that of formulas, which is for the site.
    """
    context["css_files"] = [
        file
        for file in context["css_files"]
        if not re.search("mystnb|formulas", str(file.filename))
    ]
    body = re.sub(
        r'<p class="expanded\b.*?</p>|(?<=>)Show the ', "", context.get("body", ""), flags=re.DOTALL
    ).replace("<details", '<details open="open"')
    body = re.sub(r"<input\b[^>]*>", "", body)
    body = re.sub(
        r'<img\b[^>]*\bclass="[^"]*\bdark\b[^>]*>', "", body
    )  # the dark screenshots: paper is white
    body = re.sub(
        r'<a class="[^"]*image-reference[^"]*"[^>]*>\s*(<img\b[^>]*>)\s*</a>', r"\1", body
    )  # links to the picture itself
    context["body"] = re.sub(
        r"<label\b[^>]*>(.*?)</label>", r'<p class="tab">\1</p>', body, flags=re.DOTALL
    )


def existing(app: Sphinx) -> list[Path]:
    """The files of the books that `make books` has made."""
    folder, stem = Path(app.srcdir, "_build/books"), name(app.config.project)
    return [path for kind in KINDS if (path := folder / f"{stem}{kind}").exists()]


def _offer(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    context["books"] = [
        (KINDS[path.suffix], context["pathto"](path.name, resource=True)) for path in existing(app)
    ]


def _copy(app: Sphinx, error: Exception | None) -> None:
    if not error and app.builder.name == "html":
        for path in existing(app):
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

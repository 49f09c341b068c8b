"""Sphinx extension: loads all extensions of the guide, or those that a book needs."""

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

IN_A_BOOK = (
    "facts",
    "examples",
    "notebook_facts",
    "classroom",
    "in_browser",
    "proof",
    "formulas",
    "roles",
    "screenshots",
    "books",
    "readers_words",
)
# These are for a screen, or for programs.
ON_A_SITE = ("frontend", "page_text", "site_search", "plain")


def setup(app: Sphinx) -> ExtensionMetadata:
    for name in IN_A_BOOK if app.tags.has("book") else IN_A_BOOK + ON_A_SITE:
        app.setup_extension(f"_ext.{name}")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

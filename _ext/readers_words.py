"""Sphinx extension: the words of readers, for the search and as an index for people.

`search` in conf.py has four tables. `words`: {a word of the guide: words that readers use instead,
separated by commas}. `sections`: {page: {anchor: what readers call that section}}. `weights`:
{pattern of page#anchor: how much more the text of these sections counts}. `shares`: {pattern of
page#anchor: how much of their score these sections keep, from 0 to 1}.

The directive ``readers-words``, with the file of these words, shows them page by page.
"""

import html
from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata


class ReadersWords(SphinxDirective):
    """The place of the index, which `_show` writes when all pages are read."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(self.env.relfn2path(self.arguments[0])[0])
        return [nodes.container("", readers_words=True)]


def _in_order(env: BuildEnvironment, page: str) -> Iterator[str]:
    """The page and all below it, as in the menu."""
    yield page
    for below in env.toctree_includes.get(page, ()):
        yield from _in_order(env, below)


def _show(app: Sphinx, tree: nodes.document, docname: str) -> None:
    """Write the index: for each page, folded, its sections and what readers call them."""
    for place in [node for node in tree.findall(nodes.container) if node.get("readers_words")]:
        if app.builder.name != "html":  # thirty pages of links are nothing on paper
            place.replace_self(nodes.paragraph("", "They stand on the site, as links."))
            continue
        result = nodes.container(classes=["not-searched"])
        for page in _in_order(app.env, app.config.root_doc):
            called = app.config.search["sections"].get(page, {})
            entries = nodes.definition_list()
            for link in app.env.tocs[page].findall(nodes.reference):
                if words := called.get(link["anchorname"].removeprefix("#")):
                    address = app.builder.get_relative_uri(docname, page) + link["anchorname"]
                    section = nodes.reference("", link.astext(), refuri=address, internal=True)
                    entries += nodes.definition_list_item(
                        "",
                        nodes.term("", "", section),
                        nodes.definition("", nodes.paragraph("", words)),
                    )
            if entries.children:
                title = html.escape(app.env.titles[page].astext())
                result += [
                    nodes.raw("", f"<details><summary>{title}</summary>", format="html"),
                    entries,
                    nodes.raw("", "</details>", format="html"),
                ]
        place.replace_self(result)


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_config_value("search", {"words": {}, "sections": {}, "weights": {}, "shares": {}}, "")
    app.add_directive("readers-words", ReadersWords)
    app.connect("doctree-resolved", _show)
    return {
        "version": "1",
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }

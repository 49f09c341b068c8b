"""Sphinx extension: the text of each page, for the search, for llms.txt and for its description.

It is read after references are resolved: before, ``:ref:`faq-died``` is only the name of a label.
The text of a page is kept when Sphinx writes the page. If another process writes it, it is read
when it is needed.
"""

import html
import re
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

SENTENCE = re.compile(r"(?<=[.!?])\s+")
DESCRIPTION = 200  # characters; search engines show about so many


class Section(NamedTuple):
    """A section without its subsections; the first of a page has no anchor."""

    anchor: str
    title: str
    text: str


@dataclass
class PageText:
    """The title, the sections and the first sentences of a page."""

    title: str
    sections: list[Section]
    sentences: list[str]

    @property
    def about(self) -> str:
        """The first whole sentence."""
        return self.sentences[0] if self.sentences else ""

    @property
    def description(self) -> str:
        """The first sentences, as many as fit into a list of results."""
        text = self.about
        for sentence in self.sentences[1:]:
            if len(text) + len(sentence) >= DESCRIPTION:
                break
            text += f" {sentence}"
        return text


_texts: WeakKeyDictionary[Sphinx, dict[str, PageText]] = WeakKeyDictionary()


def plain(node: nodes.Node) -> str:
    """The text of a node, without the marks behind claims and without nodes `not-searched`."""
    if isinstance(node, nodes.Element) and (
        {"tested", "not-searched"} & set(node["classes"])
        or isinstance(node, nodes.comment | nodes.system_message)
    ):
        return ""
    if isinstance(node, nodes.Text) or not isinstance(node, nodes.Element):
        return node.astext()
    return (
        node.child_text_separator.join(plain(child) for child in node.children)
        if node.children
        else node.astext()
    )


def sections(doctree: nodes.document) -> list[Section]:
    """The sections of the page, in its order."""
    result = []
    for section in doctree.findall(nodes.section):
        title = section.next_node(nodes.title)
        if title is not None:
            text = "\n".join(
                plain(child)
                for child in section
                if not isinstance(child, nodes.section | nodes.title)
            )
            result.append(
                Section(
                    "" if isinstance(section.parent, nodes.document) else section["ids"][0],
                    title.astext(),
                    text,
                )
            )
    return result


def sentences(doctree: nodes.document) -> list[str]:
    """The first sentences of the page, up to the next heading, code or table."""
    result: list[str] = []
    for node in doctree.findall(nodes.Element):
        if result and isinstance(node, nodes.title | nodes.literal_block | nodes.table):
            break
        if (
            isinstance(node, nodes.paragraph)
            and not isinstance(node.parent, nodes.entry)
            and "notebook-facts" not in node.parent["classes"]
            and "minutes" not in node["classes"]
        ):
            result += [
                sentence
                for sentence in SENTENCE.split(" ".join(plain(node).split()))
                if sentence.endswith(".")
            ]
    return result


def text_of(app: Sphinx, page: str) -> PageText:
    """The text of the page."""
    if page not in _texts[app]:
        app.env.get_and_resolve_doctree(page, app.builder)
    return _texts[app][page]


def _keep(app: Sphinx, doctree: nodes.document, page: str) -> None:
    _texts[app][page] = PageText(
        app.env.titles[page].astext(), sections(doctree), sentences(doctree)
    )


def _describe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Give the page a description before sphinxext.opengraph does, which takes pieces of lists."""
    if (
        doctree is None
        or app.builder.name != "html"
        or not (text := text_of(app, page).description)
    ):
        return
    context["metatags"] += f'<meta name="description" content="{html.escape(text)}">\n'
    context["meta"] = (context["meta"] or {}) | {"og:description": text}


def _begin(app: Sphinx) -> None:
    _texts[app] = {}


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("builder-inited", _begin)
    app.connect("doctree-resolved", _keep, priority=900)
    app.connect("html-page-context", _describe, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

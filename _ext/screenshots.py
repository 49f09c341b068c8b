"""Sphinx extension: screenshots and films, each in light and dark colours.

A page shows the one that has the page's own colours.

    .. screenshot:: /images/NAME         NAME-light.webp, NAME-dark.webp
       :alt: what is to be seen

    .. film:: /images/NAME               NAME.gif, NAME-light.avif, NAME-dark.avif
       :still: /images/NAME              a screenshot that stands there until a reader clicks on it
       :alt: what happens

       Text below it.

A click on the still loads the film and starts it; the next click closes it. A figure of the class
`recording` is a picture that plays at its own address with #play, to which a click leads.
"""

import re
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator

SCHEMES = ("light", "dark")


class film(nodes.General, nodes.Element):
    """A film: its first five children are two stills, two films and the GIF; then comes the
    caption.
    """


def image(uri: str, scheme: str, alt: str = "") -> nodes.image:
    """A picture that a page shows when its colours are `scheme`, light or dark."""
    return nodes.image(uri=uri, alt=alt, classes=["screenshot", scheme])


class Pictures(SphinxDirective):
    """The base of both directives: a name, and an alternative text."""

    required_arguments = 1
    option_spec: ClassVar = {"alt": directives.unchanged_required}

    def pictures(self, name: str, ending: str, alt: str = "") -> list[nodes.image]:
        return [image(f"{name}-{scheme}.{ending}", scheme, alt) for scheme in SCHEMES]

    def shown(self, name: str, alt: str) -> list[nodes.Node]:
        """The nodes that stand for the directive."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        for option in self.option_spec:
            if not self.options.get(option):
                raise self.error(
                    f"{self.name} needs :{option}:"
                    + (", for those who do not see it" if option == "alt" else "")
                )
        return self.shown(self.arguments[0], " ".join(self.options["alt"].split()))


class Screenshot(Pictures):
    def shown(self, name: str, alt: str) -> list[nodes.Node]:
        pictures = self.pictures(name, "webp", alt)
        for picture in pictures:
            self.set_source_info(picture)
        return [*pictures]


class Film(Pictures):
    has_content = True
    option_spec: ClassVar = Pictures.option_spec | {"still": directives.unchanged_required}

    def shown(self, name: str, alt: str) -> list[nodes.Node]:
        node = film(
            "",
            *self.pictures(self.options["still"], "webp", "A still of the film"),
            *self.pictures(name, "avif", alt),
            image(f"{name}.gif", "", alt),
        )
        node += self.parse_content_to_nodes()
        self.set_source_info(node)
        for picture in node.findall(nodes.image):
            self.set_source_info(picture)
        return [node]


def visit_film(writer: HTML5Translator, node: film) -> None:
    *stills, light, dark, gif = list(node.findall(nodes.image))[:5]

    def address(picture: nodes.Element) -> str:
        return f"{writer.builder.imgpath}/{writer.builder.images[picture['uri']]}"

    if writer.builder.name != "html":  # a book shows the still
        for part in (stills[0], *node.children[5:]):
            part.walkabout(writer)
        raise nodes.SkipNode
    writer.body.append('<figure class="film"><details><summary>')
    for still in stills:
        still.walkabout(writer)
    writer.body.append(
        '<span class="play">\u25b6 Play</span><span class="close">\u25a0 Close</span></summary>\n'
    )
    for moving, scheme in zip((light, dark), SCHEMES, strict=True):
        writer.body.append(
            f'<picture class="{scheme}"><source srcset="{address(moving)}" type="image/avif" />'
            f'<img class="screenshot" src="{address(gif)}" '
            f'alt="{writer.attval(moving["alt"])}" /></picture>\n'
        )
    writer.body.append("</details><figcaption>")
    for text in node.children[5:]:
        text.walkabout(writer)
    writer.body.append("</figcaption></figure>\n")
    raise nodes.SkipNode


def _play(
    app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Let the link of a recording lead to its play."""
    context["body"] = re.sub(
        r'(<figure class="recording\b[^>]*>\s*<a\b[^>]*\.svg)"',
        r'\1#play"',
        context.get("body", ""),
    )


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("screenshot", Screenshot)
    app.add_directive("film", Film)
    app.connect("html-page-context", _play)
    app.add_node(film, html=(visit_film, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

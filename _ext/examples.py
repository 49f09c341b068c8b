"""Sphinx extension: an example of what varies in the output of a command.

``<number:4711>`` in a page is 4711 for its reader. Whoever types the command lets any number stand
there. What else can vary is in KINDS.
"""

import re

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

KINDS = {
    "date": r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d)?)?",
    "number": r"\d[\d.,]*",
    "size": r"\d[\d.]* ?[KMGT]?i?B?",
    "time": r"(?:\d+-)?\d+(?::\d\d){1,2}(?:\.\d+)?",
    "word": r"\S+",
}
EXAMPLE = re.compile(rf"<(?P<kind>{'|'.join(KINDS)}):(?P<example>[^<>\n]+)>")


def as_shown(text: str) -> str:
    """`text` with the examples alone."""
    return EXAMPLE.sub(lambda match: match["example"], text)


def pattern(line: str) -> str:
    """A regular expression for a line of output: an example stands for its kind, ... for anything.

    In a line with an example the number of spaces does not count: columns grow with what is in
    them.
    """
    parts = []
    end = 0
    for match in EXAMPLE.finditer(line):
        parts += [_escaped(line[end : match.start()]), KINDS[match["kind"]]]
        end = match.end()
    parts.append(_escaped(line[end:]))
    if len(parts) == 1:
        return parts[0]
    spaced = re.sub(r"(?:\\ )+", r"[ \\t]+", "".join(parts))
    return spaced.replace("]+", "]*", 1) if line.startswith(" ") else spaced


def _escaped(text: str) -> str:
    return ".*".join(map(re.escape, text.split("...")))


def _source_read(app: Sphinx, docname: str, source: list[str]) -> None:
    if app.env.doc2path(docname).suffix == ".rst":
        source[0] = as_shown(source[0])


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("source-read", _source_read)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

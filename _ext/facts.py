"""Sphinx extension: facts that are written once and shown on many pages.

``{{ table.key }}`` becomes the value of that key in the tables that conf.py gives as ``facts``: in
a reST page, and in a file that the page publishes with ``rendered-file``. It is replaced before
reST is parsed, so it works in prose, literals and code blocks. Line numbers do not change.
``facts_file`` names the file of the facts: when it changes, pages that show a fact are read again.

The text between ``{{ if table.key }}`` and ``{{ end }}`` is removed if there is no such key, and
with ``{{ if not table.key }}`` if there is one. It may be a part of a line, lines of a list, or
sections. ``facts_optional`` names the keys that may be
missing.
"""

import posixpath
import re
from collections.abc import Iterable, Set
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

logger = logging.getLogger(__name__)
PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}")
CONDITION = re.compile(r"\{\{ if (not )?([\w.]+) \}\}(.*?)\{\{ end \}\}", re.DOTALL)
Facts = dict[str, Any]
Unknown = tuple[int, str]  # the line and the name of a placeholder that is no fact


def lookup(facts: Facts, name: str) -> str | int | float:
    """The string or number that the dotted ``name`` stands for; raises KeyError."""
    value: object = facts
    for key in name.split("."):
        if not isinstance(value, dict):
            raise KeyError(name)
        value = value[key]
    if not isinstance(value, str | int | float):
        raise KeyError(name)
    return value


def substitute(text: str, facts: Facts) -> tuple[str, list[Unknown]]:
    """Replace each ``{{ name }}``; return the new text and the placeholders that are no facts."""
    unknown: list[Unknown] = []

    def kept(match: re.Match[str]) -> str:
        unwanted, name, inside = match.groups()
        try:
            lookup(facts, name)
            there = True
        except KeyError:
            there = False
        return "\n" * inside.count("\n") if there == bool(unwanted) else str(inside)

    def value(match: re.Match[str]) -> str:
        try:
            return str(lookup(facts, match[1].strip()))
        except KeyError:
            unknown.append((text.count("\n", 0, match.start()) + 1, match[1].strip()))
            return match[0]

    return PLACEHOLDER.sub(value, CONDITION.sub(kept, text)), unknown


def _substitute_in(app: Sphinx, text: str, path: str | PathLike[str]) -> str:
    """The text with each ``{{ name }}`` replaced; warns of each name that is no fact.

    Sphinx reads the page again when the facts change.
    """
    new, unknown = substitute(text, app.config.facts)
    for match in CONDITION.finditer(text):
        if match[2] not in app.config.facts_optional:
            unknown.append((text.count("\n", 0, match.start()) + 1, match[2]))
    for line, name in unknown:
        logger.warning(
            "there is no fact %r in %s",
            name,
            app.config.facts_file,
            location=f"{path}:{line}",
            type="facts",
        )
    if new != text:
        app.env.note_dependency(app.confdir / app.config.facts_file)
    return new


def _source_read(app: Sphinx, docname: str, source: list[str]) -> None:
    path = app.env.doc2path(docname)
    if path.suffix == ".rst":
        source[0] = _substitute_in(app, source[0], path)


def _include_read(
    app: Sphinx, relative_path: Path, parent_docname: str, content: list[str]
) -> None:
    content[0] = _substitute_in(app, content[0], app.srcdir / relative_path)


class RenderedFile(SphinxDirective):
    """Show a file with its facts filled in, and publish it beside the page under its own name."""

    required_arguments = 1
    option_spec: ClassVar = {"language": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        relative, path = self.env.relfn2path(name)
        self.env.note_dependency(relative)
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            return [
                self.state.document.reporter.error(f"cannot read {name}: {error}", line=self.lineno)
            ]
        text = _substitute_in(self.env.app, text, path)
        target = posixpath.normpath(posixpath.join(posixpath.dirname(self.env.docname), name))
        _rendered_files(self.env).setdefault(self.env.docname, {})[target] = text
        block = nodes.literal_block(text, text, language=self.options.get("language", "none"))
        self.set_source_info(block)
        if self.env.app.builder.format != "html":
            return [block]
        link = nodes.reference(
            "", posixpath.basename(name), refuri=name, internal=True, classes=["download"]
        )
        caption = nodes.caption("", "", nodes.Text("Download "), link)
        return [
            nodes.container(
                "", caption, block, literal_block=True, classes=["literal-block-wrapper"]
            )
        ]


class FactsTable(SphinxDirective):
    """A table of the facts in an array of tables, with a row for each of these.

    Each line of ``:columns:`` is ``key = Heading``.
    """

    required_arguments = 1
    option_spec: ClassVar = {"columns": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        rows = self.config.facts.get(self.arguments[0])
        columns = [
            [part.strip() for part in line.split("=", 1)]
            for line in self.options["columns"].splitlines()
        ]
        if not isinstance(rows, list):
            return [
                self.state.document.reporter.error(
                    f"there is no list {self.arguments[0]!r} in the facts", line=self.lineno
                )
            ]
        missing = [key for key, _ in columns if any(key not in row for row in rows)]
        if missing:
            return [
                self.state.document.reporter.error(
                    f"not every entry of {self.arguments[0]!r} has {missing[0]!r}", line=self.lineno
                )
            ]
        self.env.note_dependency(self.env.app.confdir / self.config.facts_file)
        group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in columns), cols=len(columns))
        group += nodes.thead("", self._row(heading for _, heading in columns))
        group += nodes.tbody("", *(self._row(str(row[key]) for key, _ in columns) for row in rows))
        return [nodes.table("", group)]

    @staticmethod
    def _row(texts: Iterable[str]) -> nodes.row:
        return nodes.row("", *(nodes.entry("", nodes.paragraph("", text)) for text in texts))


def _rendered_files(env: BuildEnvironment) -> dict[str, dict[str, str]]:
    """{page: {path in the site: text}} of the files that pages publish."""
    files: dict[str, dict[str, str]] = env.__dict__.setdefault("rendered_files", {})
    return files


def _forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    _rendered_files(env).pop(docname, None)


def _merge(app: Sphinx, env: BuildEnvironment, docnames: Set[str], other: BuildEnvironment) -> None:
    _rendered_files(env).update(
        {name: files for name, files in _rendered_files(other).items() if name in docnames}
    )


def _publish(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.name == "html":
        for files in _rendered_files(app.env).values():
            for name, text in files.items():
                target = app.outdir / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_config_value("facts", {}, "", dict)
    app.add_config_value("facts_file", "facts.toml", "env", str)
    app.add_config_value("facts_optional", (), "env", (tuple, list))
    app.connect("source-read", _source_read)
    app.connect("include-read", _include_read)
    app.connect("env-purge-doc", _forget)
    app.connect("env-merge-info", _merge)
    app.connect("build-finished", _publish)
    app.add_directive("rendered-file", RenderedFile)
    app.add_directive("facts-table", FactsTable)
    return {
        "version": "1",
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }

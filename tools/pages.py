"""The guide's pages: their texts, console blocks, words with a role, and the files that they show.

Facts are filled in first, as Sphinx does. Line numbers do not change.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from sybil import Document
from sybil.parsers.rest.lexers import DirectiveLexer

from _ext import examples
from _ext.facts import Facts, substitute
from _ext.roles import Word, as_shown, words
from tools.files import ROOT
from triton.lib import clusterfacts

BAR = "File|Edit|View|Run|Kernel|Git|Tabs|Settings|Help"  # the menus of JupyterLab
PROMPT = re.compile(r"username@(?P<host>[\w-]+):(?P<folder>\S*)\$(?: (?P<command>.*))?$")


@dataclass
class Command:
    """A command after a prompt, and what the page shows below it."""

    line: int
    host: str
    folder: str
    text: str
    shown: list[str] = field(default_factory=list)


@dataclass
class Block:
    """A console block: `line` is that of its directive, `files` those that the page shows above it.

    `files` is {name: content}.
    """

    page: str
    line: int
    commands: list[Command]
    files: dict[str, str]

    @property
    def name(self) -> str:
        """PAGE:LINE of the block."""
        return f"{self.page}:{self.line}"


@dataclass
class Directive:
    """A directive in a page. `first_line` is that of its content."""

    line: int
    name: str
    argument: str
    content: str
    first_line: int


def sources() -> list[str]:
    """The reST pages of the guide, as paths below the root folder."""
    pages = [
        path.relative_to(ROOT)
        for folder in ("triton", "scicomp", "notebooks")
        for path in (ROOT / folder).rglob("*.rst")
    ]
    return sorted(str(path) for path in (*pages, Path("index.rst")))


def notebooks() -> list[str]:
    """The notebooks' halves NAME.md, and other Markdown beside them, as paths below the root."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "notebooks").rglob("*.md"))


def shown_files() -> list[str]:
    """The files that pages show and publish, as paths below the root folder."""
    texts = {page: filled(page) for page in sources()}
    return sorted(
        {
            os.path.normpath(Path(page).parent / directive.argument)
            for page, text in texts.items()
            for directive in _directives(page, text, "rendered-file")
        }
    )


@cache
def facts() -> Facts:
    """The facts as pages show them: {table: {key: value}}. Raises FactsError."""
    return clusterfacts.load(ROOT / "triton/facts.toml").in_words()


@cache
def filled(name: str) -> str:
    """The text of the file `name` below the root folder, with the facts filled in.

    A page that is wholly for centres with something that this one lacks is read as theirs, with an
    example of that fact. Raises ValueError, with the line, if a placeholder is no fact.
    """
    source, known = (ROOT / name).read_text(encoding="utf-8"), facts()
    text, unknown = substitute(source, known)
    if not text.strip() and (lacking := re.match(r"\{\{ if (\w+)\.(\w+) \}\}", source)):
        table, key = lacking.groups()
        theirs = known | {table: known[table] | {key: f"{key}.example.org"}}
        text, unknown = substitute(source, theirs)
    if unknown:
        raise ValueError(f"{name}:{unknown[0][0]}: there is no fact {unknown[0][1]!r}")
    return text


@cache
def read(name: str) -> str:
    """The same, with each word that has a role (_ext/roles.py) as a ``literal``."""
    return as_shown(filled(name)) if name.endswith(".rst") else filled(name)


def controls(name: str) -> list[tuple[int, str, list[str]]]:
    """(line, role, names) of each button and menu entry on the page.

    A button has one name; a menu entry has the names from the menu bar to the entry.
    """
    text = read(name)
    return [
        (_line(text, match.start()), match[1], re.split(r"\s*-->\s*", match[2]))
        for match in re.finditer(r":(guilabel|menuselection):`([^`]+)`", text)
    ]


def menus(name: str) -> list[tuple[str, ...]]:
    """(page:line, menu, entry) of each menu entry on a page or in a notebook.

    A notebook has no roles, and writes **File, Download**.
    """
    if name.endswith(".rst"):
        return [
            (f"{name}:{line}", *names)
            for line, role, names in controls(name)
            if role == "menuselection"
        ]
    text = (ROOT / name).read_text(encoding="utf-8")
    return [
        (f"{name}:{_line(text, match.start())}", *match.groups())
        for match in re.finditer(rf"\*\*({BAR}), ([^*]+)\*\*", text)
    ]


def roles(name: str) -> list[tuple[int, Word]]:
    """(line, word) of each word of the page that has a role, in order."""
    text = filled(name)
    return [(_line(text, start), word) for start, word in words(text)]


def claims(test: str) -> list[tuple[str, int, str]]:
    """(page, line, paragraph) of each mark that names the test file.py::function."""
    paragraphs = []
    for page in sources():
        text = read(page)
        for mark in re.finditer(rf":tested:`{re.escape(test)}`", text):
            begin = max(text.rfind("\n\n", 0, mark.start()), 0)
            end = text.find("\n\n", mark.end())
            paragraphs.append((page, _line(text, mark.start()), text[begin:end].strip()))
    return paragraphs


def _line(text: str, position: int) -> int:
    """The number of the line with the character at `position`."""
    return text.count("\n", 0, position) + 1


def _directives(page: str, text: str, pattern: str) -> Iterator[Directive]:
    """The directives of `page` whose names match `pattern`, in order."""
    document = Document(text, page)
    for region in DirectiveLexer(pattern)(document):
        line = _line(document.text, region.start)
        content = region.lexemes["source"]
        yield Directive(
            line,
            region.lexemes["directive"],
            (region.lexemes["arguments"] or "").strip(),
            content,
            line + content.line_offset + 1,
        )


def blocks(page: str, text: str | None = None) -> list[Block]:
    """The console blocks of `page`, in order.

    text: the page's text, if it is not that of its file. Raises ValueError, with the line, if a
    block does not begin with a prompt.
    """
    console_blocks = []
    files: dict[str, str] = {}
    for directive in _directives(
        page, read(page) if text is None else text, "code-block|rendered-file"
    ):
        if directive.name == "rendered-file":
            name = directive.argument
            files[Path(name).name] = read(str(Path(page).parent / name))
        elif directive.argument == "console":
            commands = _commands(directive.content, page, directive.first_line)
            console_blocks.append(Block(page, directive.line, commands, dict(files)))
    return console_blocks


def other_code(page: str) -> list[tuple[int, str, str]]:
    """(line, language, lines joined with ;) of each other code block on `page`.

    These are no console blocks and no files. A block without lines has the name of the file that
    it includes.
    """
    pattern = "code-block|code|sourcecode|highlight|parsed-literal|literalinclude"
    pieces = [
        (
            directive.line,
            directive.argument or directive.name,
            "; ".join(filter(None, map(str.strip, directive.content.splitlines())))
            or directive.argument,
        )
        for directive in _directives(page, read(page), pattern)
        if directive.argument != "console"
    ]
    # A paragraph that ends in :: begins a code block too.
    pieces += [
        (number, "::", line.strip())
        for number, line in enumerate(read(page).splitlines(), start=1)
        if line.endswith("::") and not line.lstrip().startswith("..")
    ]
    return sorted(pieces)


def _commands(content: str, page: str, first_line: int) -> list[Command]:
    commands: list[Command] = []
    for number, text in enumerate(content.rstrip().splitlines(), start=first_line):
        if prompt := PROMPT.match(text):
            commands.append(
                Command(number, prompt["host"], prompt["folder"], prompt["command"] or "")
            )
        elif commands:
            commands[-1].shown.append(text)
        else:
            raise ValueError(
                f"{page}:{number}: a console block begins with a prompt such as "
                f"username@triton:~$, not with {text!r}"
            )
    return commands


def matches(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether the lines `printed` match the lines `shown`.

    In `shown`, `...` stands for any text, and alone in a line for any lines; an example stands for
    its kind (see _ext/examples.py). Spaces at the ends of lines are ignored. If all of `shown` is
    `...`, anything may be printed, but not nothing.
    """
    if shown and not any(line.strip(". ") for line in shown):
        return bool(printed)
    pattern = "".join(
        "(?:[^\n]*\n)*" if line.strip() == "..." else examples.pattern(line.rstrip()) + "\n"
        for line in shown
    )
    return (
        re.fullmatch(pattern, "".join(line.rstrip() + "\n" for line in printed), re.DOTALL)
        is not None
    )

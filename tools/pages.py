"""What the guide's pages show: their console blocks, command by command, and the files that they
publish.

Facts are filled in first, as Sphinx does, which leaves line numbers as they are.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from sybil import Document
from sybil.parsers.rest.lexers import DirectiveLexer

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
    """A console block: `line` is that of its directive; `files` are those that the page has shown
    above it.
    """

    page: str
    line: int
    commands: list[Command]
    files: dict[str, str]

    @property
    def name(self) -> str:
        """Where it stands: PAGE:LINE."""
        return f"{self.page}:{self.line}"


@dataclass
class Directive:
    """A directive in a page: its line, its name, and its content with the line of its beginning."""

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
    """The texts of the course, as paths below the root folder."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "notebooks").rglob("*.md"))


def shown_files() -> list[str]:
    """The files that pages show and publish, as paths below the root folder."""
    texts = {page: (ROOT / page).read_text(encoding="utf-8") for page in sources()}
    return sorted(
        {
            os.path.normpath(Path(page).parent / directive.argument)
            for page, text in texts.items()
            for directive in _directives(page, text, "rendered-file")
        }
    )


@cache
def facts() -> Facts:
    """The facts in words, as pages show them: {table: {key: value}}. Raises FactsError."""
    return clusterfacts.load(ROOT / "triton/facts.toml").in_words()


@cache
def filled(name: str) -> str:
    """The text of the file `name` below the root folder, with the facts filled in.

    Raises ValueError, which names the line, for a name that is no fact.
    """
    text, unknown = substitute((ROOT / name).read_text(encoding="utf-8"), facts())
    if unknown:
        raise ValueError(f"{name}:{unknown[0][0]}: there is no fact {unknown[0][1]!r}")
    return text


@cache
def read(name: str) -> str:
    """The same as a reader sees it: words with a role (see _ext/roles.py) are ``literals``."""
    return as_shown(filled(name)) if name.endswith(".rst") else filled(name)


def controls(name: str) -> list[tuple[int, str, list[str]]]:
    """(line, role, names) of what the page says to click.

    A button is one name, a menu the names from the bar to the entry.
    """
    text = read(name)
    return [
        (_line(text, match.start()), match[1], re.split(r"\s*-->\s*", match[2]))
        for match in re.finditer(r":(guilabel|menuselection):`([^`]+)`", text)
    ]


def menus(name: str) -> list[tuple[str, ...]]:
    """(page:line, menu, entry) of each entry of a menu that the page or notebook names.

    A notebook, which has no roles, writes **File, Download**.
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
    """(page, line, paragraph) of each mark that names `test`, a test as file.py::function."""
    paragraphs = []
    for page in sources():
        text = read(page)
        for mark in re.finditer(rf":tested:`{re.escape(test)}`", text):
            begin = max(text.rfind("\n\n", 0, mark.start()), 0)
            end = text.find("\n\n", mark.end())
            paragraphs.append((page, _line(text, mark.start()), text[begin:end].strip()))
    return paragraphs


def _line(text: str, position: int) -> int:
    """The number of the line in which the character at `position` stands."""
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

    text: what the page says, if not what is in its file. Raises ValueError, which names the line,
    for a block that does not begin with a prompt.
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
    """(line, language, lines with ; between) of each piece of code on `page` that is neither a
    console block nor a file.
    """
    pattern = "code-block|code|sourcecode|highlight|parsed-literal|literalinclude"
    pieces = [
        (
            directive.line,
            directive.argument or directive.name,
            "; ".join(filter(None, map(str.strip, directive.content.splitlines()))),
        )
        for directive in _directives(page, read(page), pattern)
        if directive.argument != "console"
    ]
    # a paragraph that ends in :: makes a block as well
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
    """Whether the lines `printed` are the lines `shown`.

    In `shown`, `...` stands for any text, and alone in a line for any lines. Spaces at the ends of
    lines do not count. Where only `...` is shown, something must have been printed.
    """
    if shown and not any(line.strip(". ") for line in shown):
        return bool(printed)
    pattern = "".join(
        "(?:[^\n]*\n)*"
        if line.strip() == "..."
        else ".*".join(map(re.escape, line.rstrip().split("..."))) + "\n"
        for line in shown
    )
    return (
        re.fullmatch(pattern, "".join(line.rstrip() + "\n" for line in printed), re.DOTALL)
        is not None
    )

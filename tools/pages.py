"""What the guide's pages show: their console blocks, command by command, and the files that they
publish.

Facts are filled in first, as Sphinx does, which leaves line numbers as they are.
"""

import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from sybil import Document
from sybil.parsers.rest.lexers import DirectiveLexer

from _ext.facts import load, substitute
from tools.files import ROOT

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
    def name(self):
        return f"{self.page}:{self.line}"


def sources():
    """The reST pages of the guide, as paths below the root folder."""
    found = [
        path.relative_to(ROOT)
        for folder in ("triton", "scicomp", "notebooks")
        for path in (ROOT / folder).rglob("*.rst")
    ]
    return sorted(str(path) for path in (*found, Path("index.rst")))


def notebooks():
    """The texts of the course, as paths below the root folder."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "notebooks").rglob("*.md"))


def shown_files():
    """The files that pages show and publish, as paths below the root folder."""
    texts = {page: (ROOT / page).read_text(encoding="utf-8") for page in sources()}
    return sorted(
        {
            os.path.normpath(Path(page).parent / file)
            for page, text in texts.items()
            for _, _, file, *_ in _directives(page, text, "rendered-file")
        }
    )


@cache
def read(name):
    """The text of the file `name` below the root folder, with the facts filled in; ValueError names
    what is no fact.
    """
    text, unknown = substitute(
        (ROOT / name).read_text(encoding="utf-8"), load(ROOT / "triton/facts.toml")
    )
    if unknown:
        raise ValueError(f"{name}:{unknown[0][0]}: there is no fact {unknown[0][1]!r}")
    return text


def controls(name):
    """(line, role, names) of what the page says to click: a button as one name, a menu as the names
    from the bar to the entry.
    """
    text = read(name)
    return [
        (text.count("\n", 0, found.start()) + 1, found[1], re.split(r"\s*-->\s*", found[2]))
        for found in re.finditer(r":(guilabel|menuselection):`([^`]+)`", text)
    ]


def menus(name):
    """(page:line, menu, entry) of each entry of a menu that the page names; a notebook, which has
    no roles, writes **File, Download**.
    """
    if name.endswith(".rst"):
        return [
            (f"{name}:{line}", *names)
            for line, role, names in controls(name)
            if role == "menuselection"
        ]
    text = (ROOT / name).read_text(encoding="utf-8")
    return [
        (f"{name}:{text.count(chr(10), 0, found.start()) + 1}", *found.groups())
        for found in re.finditer(rf"\*\*({BAR}), ([^*]+)\*\*", text)
    ]


def claims(test):
    """(page, line, paragraph) of each mark that names this test function of a file of tests, as
    `file.py::test`.
    """
    found = []
    for page in sources():
        text = read(page)
        for mark in re.finditer(rf":tested:`{re.escape(test)}`", text):
            begin = max(text.rfind("\n\n", 0, mark.start()), 0)
            found.append(
                (
                    page,
                    text.count("\n", 0, mark.start()) + 1,
                    text[begin : text.find("\n\n", mark.end())].strip(),
                )
            )
    return found


def _directives(page, text, pattern):
    """(line, directive, argument, content, first line of the content) of each directive of `page`
    that `pattern` matches.
    """
    document = Document(text, page)
    for region in DirectiveLexer(pattern)(document):
        line, source = document.text.count("\n", 0, region.start) + 1, region.lexemes["source"]
        yield (
            line,
            region.lexemes["directive"],
            (region.lexemes["arguments"] or "").strip(),
            source,
            line + source.line_offset + 1,
        )


def blocks(page, text=None):
    """The console blocks of `page`, in order; ValueError names a line that is none of prompt,
    command and output.

    text: what the page says, if not what is in its file.
    """
    found, files = [], {}
    for line, directive, argument, source, first in _directives(
        page, read(page) if text is None else text, "code-block|rendered-file"
    ):
        if directive == "rendered-file":
            files[Path(argument).name] = read(str(Path(page).parent / argument))
        elif argument == "console":
            found.append(Block(page, line, _commands(source, page, first), dict(files)))
    return found


def other_code(page):
    """(line, language, lines with ; between) of each piece of code on `page` that is neither a
    console block nor a file.
    """
    pattern = "code-block|code|sourcecode|highlight|parsed-literal|literalinclude"
    found = [
        (line, argument or directive, "; ".join(filter(None, map(str.strip, source.splitlines()))))
        for line, directive, argument, source, _ in _directives(page, read(page), pattern)
        if argument != "console"
    ]
    # a paragraph that ends in :: makes a block as well
    found += [
        (number, "::", line.strip())
        for number, line in enumerate(read(page).splitlines(), start=1)
        if line.endswith("::") and not line.lstrip().startswith("..")
    ]
    return sorted(found)


def _commands(source, page, first):
    commands = []
    for number, text in enumerate(source.rstrip().splitlines(), start=first):
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


def matches(shown, printed):
    """Whether the lines `printed` are the lines `shown`, where `...` stands for any text, and alone
    for any lines.

    Spaces at the ends of lines do not count. Where only `...` is shown, something must have been
    printed.
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

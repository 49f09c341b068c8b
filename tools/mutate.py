"""Change the guide in one place at a time, and see whether the tests notice and say where.

    python -m tools.mutate [-n N] [--seed SEED] [--page FILE]

A mutation is a mistake that a writer could make: an option misspelled, another host, a wrong digit
in an output. Mutations that cannot be taken for each other are put into one copy of the checkout,
and the tests that read their pages run there. A mutation is caught if a failure names its page and
line. What is not caught is judged again, and at last alone.

The same seed makes the same mutations, and a larger N goes on where a smaller one ended. External
addresses are not touched: only the internet could tell. The exit status is 1 if a mutation survived
or failed a test that does not name its page, and 2 if nothing could be judged.
"""

import argparse
import ctypes
import json
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from _ext.roles import ROLES
from tools.files import ROOT, copy_source, write_whole
from triton.lib import clusterfacts

FACTS = "triton/facts.toml"
# What is run, in this order: first what is cheap. A file that is not there is left out.
TESTS = [
    "guide/test_facts.py",
    "guide/test_seed.py",
    "guide/test_proof.py",
    "guide/test_roles.py",
    "guide/test_console_blocks.py",
    "guide/test_faq.py",
    "guide/test_claims.py",
    "site/test_site.py",
]
# of use only if what is typed changes: in a console block, a shown file, or a fact
CONSOLE = "guide/test_console_blocks.py"
NAMES = {
    "guide/test_faq.py": ["tests/guide/test_faq.py", "tools/proof/faq.py"],
    "guide/test_claims.py": ["tests/guide/test_claims.py"],
}  # they read the facts, and the pages that are named there
MACHINERY = {
    "tmp_path",
    "copy",
}  # a test with a folder of its own is about our programs, and cannot see the guide
LIMIT = 600  # seconds for the tests of one mutation; three times as long for several together

# A failure that does not say where counts as none: it sends nobody to the mistake, and may be of
# something else.
GRADES = {
    "line": "caught, line named",
    "page": "caught, page named",
    "unnamed": "NO PAGE NAMED",
    "survived": "SURVIVED",
}
CAUGHT = ("line", "page")

Place = tuple[str, int, int]  # file, first line, last line


@dataclass(frozen=True)
class Mutation:
    """One line that is changed.

    `before` is the line as it stands; `after` is what stands there instead: a line, none ("") or
    the line twice.
    """

    kind: str
    page: str
    line: int
    before: str
    after: str

    def apply(self, text: str) -> str:
        """`text` with this one line changed; raises ValueError if the line is not there."""
        lines = text.split("\n")
        if lines[self.line - 1] != self.before:
            raise ValueError(f"{self.page}:{self.line} is not {self.before!r}")
        lines[self.line - 1 : self.line] = self.after.split("\n") if self.after else []
        return "\n".join(lines)


@dataclass
class Verdict:
    """What came of the tests of a mutation."""

    grade: str  # one of GRADES
    seconds: float
    failed: list[str] = field(default_factory=list)  # the names of the tests
    output: str = ""  # the end of what they printed, or why they did not end


Result = tuple[Mutation, Verdict]


# The guide's text.

PLACEHOLDER = re.compile(r"\{\{ *(\w+)\.(\w+) *\}\}")
PROMPT = re.compile(
    r"(?P<indent> *)(?P<user>username)@(?P<host>\w+|\{\{.*?\}\}):"
    r"(?P<folder>\S*|\{\{.*?\}\}\S*)\$ ?(?P<command>.*)$"
)
DIRECTIVE = re.compile(r"( *)\.\. ([\w-]+)::(?: (.*))?$")
TOKEN = re.compile(r"(?:\{\{.*?\}\}|[^\s{]|\{(?!\{))+")
# A word with a role, or a plain ``literal``.
LITERAL = re.compile(
    rf"(?<![\w`\\])(?:``|:(?:{'|'.join(ROLES)}):`)(?=\S)((?:(?!\n *\n)[^`])+?)(?<=\S)"
    r"(?:\s+<[^<>`]+>)?``?(?![\w`])"
)
BLOCKS = ("code-block", "rendered-file", "facts-table", "toctree", "contents")
ROLE = re.compile(r":(doc|ref):`(?:[^`<]*<)?([^`<>\n]+)>?`")
FILE_NAME = re.compile(
    r"\.?[\w-]+\.(sh|out|py|json|ipynb|md|txt|pac|patch|pub|csv|toml|log|ini|Rprofile)"
    r"|\.[a-z]\w+|\w+_config"
)
KIND_OF_TABLE = {
    "hosts": "host",
    "modules": "module",
    "paths": "path",
    "partitions": "partition",
    "logs": "file name",
    "proxy": "port",
}


@dataclass(frozen=True)
class Site:
    """A piece of a line that can be mutated, and in what way: see Mutator."""

    kind: str
    page: str
    line: int
    start: int
    end: int
    way: str


class Guide:
    """The pages below `root`, the files that they publish, and the facts."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def pages(self) -> list[str]:
        """The reST pages, as paths below the root folder."""
        names = [
            path.relative_to(self.root).as_posix()
            for top in ("triton", "scicomp", "notebooks")
            for path in (self.root / top).rglob("*.rst")
        ]
        return sorted(names + [name for name in ("index.rst",) if (self.root / name).exists()])

    @cached_property
    def published(self) -> dict[str, list[tuple[str, int]]]:
        """The files that pages show and publish, and the (page, line) that does so for each."""
        places: dict[str, list[tuple[str, int]]] = {}
        for page in self.pages:
            for number, line in enumerate(self.lines(page), 1):
                if (match := DIRECTIVE.match(line)) and match[2] == "rendered-file":
                    file = (Path(page).parent / match[3].strip()).as_posix()
                    places.setdefault(file, []).append((page, number))
        return places

    @cached_property
    def facts(self) -> clusterfacts.Facts:
        """What triton/facts.toml says."""
        return clusterfacts.load(self.root / FACTS)

    @cached_property
    def in_words(self) -> dict[str, Any]:
        """The same in words, as pages show it."""
        return self.facts.in_words()

    @property
    def files(self) -> list[str]:
        """The pages, the files that they publish, and triton/facts.toml."""
        return [
            *self.pages,
            *sorted(name for name in self.published if (self.root / name).exists()),
            FACTS,
        ]

    def text(self, name: str) -> str:
        """What is in the file `name`."""
        return (self.root / name).read_text(encoding="utf-8")

    def lines(self, name: str) -> list[str]:
        """The lines of the file `name`."""
        return self.text(name).split("\n")

    def filled(self, text: str) -> str:
        """`text` with the facts filled in, as far as they exist."""
        return PLACEHOLDER.sub(
            lambda match: str(self.in_words.get(match[1], {}).get(match[2], match[0])), text
        )

    def block(self, page: str, line: int) -> tuple[int, int, str] | None:
        """First line, last line and name of the directive that `line` is in.

        None if it is in none, or in one whose body is prose.
        """
        for first, last, name, _ in _directives(self.lines(page)):
            if name in BLOCKS and first <= line <= last:
                return first, last, name
        return None

    def extent(self, name: str, line: int) -> tuple[int, int]:
        """The first and last line of the code block, list item, table cell or paragraph in which
        `line` stands.
        """
        if name.endswith(".rst") and (block := self.block(name, line)):
            return block[:2]
        lines = self.lines(name)
        first = last = min(line, len(lines))
        item = re.compile(r" *(\* - |\* |- |#\. |:[\w ]+: )")
        while (
            first > 1
            and lines[first - 2].strip()
            and not (name.endswith(".rst") and item.match(lines[first - 1]))
        ):
            first -= 1
        while (
            last < len(lines)
            and lines[last].strip()
            and not (name.endswith(".rst") and item.match(lines[last]))
        ):
            last += 1
        return first, last

    def shown_in(self, mutation: Mutation) -> list[Place]:
        """Where a reader meets what `mutation` changes; the file itself comes first."""
        places = [self._place(mutation.page, mutation.line)]
        names = [mutation.page]
        if mutation.page == FACTS:
            uses = {name: self._uses(name, mutation.line) for name in self.files if name != FACTS}
            names = [name for name, numbers in uses.items() if numbers]
            for name in names:
                places += [self._place(name, number) for number in uses[name]]
        for name in names:
            places += [self._place(page, number) for page, number in self.published.get(name, ())]
        return list(dict.fromkeys(places))

    def _place(self, name: str, line: int) -> Place:
        return (name, *self.extent(name, line))

    def _uses(self, name: str, line: int) -> list[int]:
        """The lines of `name` that use the fact in line `line` of the facts."""
        above = [text for text in self.lines(FACTS)[:line] if text.startswith("[")]
        table = above[-1].strip("[] ") if above else ""
        key = self.lines(FACTS)[line - 1].partition("=")[0].strip()
        key = re.sub("_(gb|days|minutes)$", "", key)  # a page names a fact without its unit
        wanted = re.compile(rf"\{{\{{ *{table}\.{key} *\}}\}}")
        columns = re.compile(rf"(:columns:)? *{key} = ")
        uses = [number for number, text in enumerate(self.lines(name), 1) if wanted.search(text)]
        if name.endswith(".rst"):
            uses += [
                first
                for first, last, directive, argument in _directives(self.lines(name))
                if (directive, argument) == ("facts-table", table)
                and any(
                    columns.fullmatch(text.strip().partition("= ")[0] + "= ")
                    for text in self.lines(name)[first:last]
                )
            ]
        return uses


def _directives(lines: Sequence[str]) -> Iterator[tuple[int, int, str, str]]:
    """The directives with all that is indented below them, as (first line, last line, name,
    argument).
    """
    for number, text in enumerate(lines, 1):
        if match := DIRECTIVE.match(text):
            last = number
            indent = len(match[1])
            for below in range(number, len(lines)):
                if lines[below].strip():
                    if len(lines[below]) - len(lines[below].lstrip()) <= indent:
                        break
                    last = below + 1
            yield number, last, match[2], (match[3] or "").strip()


# Where the guide can be mutated.


def sites(guide: Guide, only: str | None = None) -> dict[str, list[Site]]:
    """All sites of the guide, or of the file `only`, by their kind."""
    by_kind: dict[str, list[Site]] = {}
    for name in guide.files:
        if only in (None, name):
            scan = (
                _facts_sites
                if name == FACTS
                else _page_sites
                if name.endswith(".rst")
                else _published_sites
            )
            for site in scan(guide, name):
                by_kind.setdefault(site.kind, []).append(site)
    return by_kind


def kind_of(token: str) -> str | None:
    """What a word in a command or a literal is, from its looks; None for one that could be
    anything.
    """
    if re.match(r"-{1,2}[A-Za-z]", token):
        return "option"
    if "kernel" in token and ("/" in token or "{{" in token):
        return "kernel path"
    if match := PLACEHOLDER.search(token):
        if match[1] == "cluster":
            return "host" if match[2] == "vpn" else None
        return KIND_OF_TABLE.get(match[1])
    if "localhost" in token or re.search(r"\d+\.\d+\.\d+\.\d+", token):
        return "host"
    if re.match(r"[~$/.%a-z][~$/.%\w]*/|/", token):
        return "path"
    if FILE_NAME.fullmatch(token):
        return "file name"
    return None


def _command_sites(page: str, number: int, line: str, start: int) -> Iterator[Site]:
    """Sites in the command that begins in `line` at `start`."""
    quoted = ""
    for match in TOKEN.finditer(line, start):
        token = match[0]
        kind = kind_of(token)
        begin, end = match.span()
        inside = bool(quoted)
        for quote in re.findall("['\"]", token):
            quoted = "" if quoted == quote else quoted or quote
        whole = not inside and not quoted and not set(token) & set("'\"()<>;{$`\\") - set("{$")
        if kind == "option" and not inside:
            name = re.split(r"[^\w-]", token, maxsplit=1)[0]
            yield Site(kind, page, number, begin, begin + len(name), "option")
            if whole:
                yield Site(kind, page, number, begin, end, "drop")
            value = token[len(name) + 1 :]
            if whole and (kind_of_value := kind_of(value)):
                yield Site(kind_of_value, page, number, begin + len(name) + 1, end, "value")
        elif kind and (whole or PLACEHOLDER.search(token)):
            yield Site(kind, page, number, begin, end, "value")
        elif whole and re.fullmatch(r"[a-z][a-z0-9-]+", token) and token != "username":
            yield Site("command", page, number, begin, end, "word")


def _page_sites(guide: Guide, page: str) -> Iterator[Site]:
    lines = guide.lines(page)
    prose = list(lines)  # what is left when directives' bodies and titles are taken away
    tables: dict[int, str] = {}  # the heading of the first column, by line
    for first, last, name, argument in _directives(lines):
        if name == "list-table":
            headings = [line.partition("* - ")[2] for line in lines[first:last] if "* - " in line]
            tables |= dict.fromkeys(range(first, last + 1), headings[0] if headings else "")
        if name in BLOCKS:
            for number in range(first, last + 1):
                prose[number - 1] = " " * len(lines[number - 1])
        else:
            prose[first - 1] = " " * len(lines[first - 1])
        if name == "rendered-file":
            start = lines[first - 1].rindex(argument)
            yield Site("reference", page, first, start, start + len(argument), "spell")
        if name == "toctree":
            for number in range(first + 1, last + 1):
                text = lines[number - 1].strip()
                if re.fullmatch(r"[\w/-]+", text):
                    start = lines[number - 1].index(text)
                    yield Site("reference", page, number, start, start + len(text), "spell")
        if name == "code-block":
            yield from _block_sites(page, lines, first, last, argument)
    for number, line in enumerate(lines, 1):
        below, above = (
            lines[index] if 0 <= index < len(lines) else "" for index in (number, number - 2)
        )
        ruler = re.compile(r"([=\-~^])\1{2,}$")
        if (
            ruler.match(line)
            or ruler.match(below)
            or (ruler.match(above) and ruler.match(below))
            or line.startswith(".. ")
        ):
            prose[number - 1] = " " * len(line)
        if re.match(r" *:[a-z-]+:( |$)", line):
            prose[number - 1] = " " * len(line)
        if label := re.match(r"\.\. _([\w-]+):$", line):
            yield Site("reference", page, number, label.start(1), label.end(1), "spell")
    yield from _prose_sites(page, prose, tables)


def _block_sites(
    page: str, lines: Sequence[str], first: int, last: int, language: str
) -> Iterator[Site]:
    """Sites in a code block that stands in these lines."""
    for number in range(first + 1, last + 1):
        line = lines[number - 1]
        if not line.strip() or re.match(r" +:\w+:", line):
            continue
        if language != "console":
            yield from _command_sites(page, number, line, len(line) - len(line.lstrip()))
        elif prompt := PROMPT.match(line):
            yield Site("prompt", page, number, *prompt.span("host"), "host of a prompt")
            yield Site("prompt", page, number, *prompt.span("folder"), "folder of a prompt")
            if prompt["command"]:
                yield Site("command line", page, number, 0, len(line), "drop line")
                if number < last and lines[number].strip() and not PROMPT.match(lines[number]):
                    yield Site("command line", page, number, 0, len(line), "double line")
                yield from _command_sites(page, number, line, prompt.start("command"))
        else:
            for word in re.finditer(r"\{\{.*?\}\}|\w{2,}|\d", line):
                yield Site(
                    "output", page, number, *word.span(), "value" if word[0][0] == "{" else "spell"
                )


def _fields(lines: Sequence[str]) -> list[str]:
    """The name of the field that each line belongs to, as in `:You see:`; "" for none."""
    names = []
    current = ""
    for line in lines:
        if match := re.match(r":([\w ]+):(?= |$)", line):
            current = match[1]
        elif line.strip() and not line.startswith(" "):
            current = ""
        names.append(current)
    return names


def _prose_sites(page: str, prose: Sequence[str], tables: dict[int, str]) -> Iterator[Site]:
    """Sites in literals, references and facts; `tables` has the heading of the table, by line."""
    text = "\n".join(prose)
    fields = _fields(prose)
    starts = [0]
    for line in prose:
        starts.append(starts[-1] + len(line) + 1)

    def place(start: int, end: int) -> tuple[int, int, int]:
        """The line and the columns of a piece of text that stands in one line."""
        number = text.count("\n", 0, start) + 1
        return number, start - starts[number - 1], end - starts[number - 1]

    for literal in LITERAL.finditer(text):
        number = text.count("\n", 0, literal.start(1)) + 1
        words = list(TOKEN.finditer(text, *literal.span(1)))
        message = (
            fields[number - 1] == "You see"
            or tables.get(number) == "You see"
            or re.match(r"[A-Z][a-z]+ \w+ \w", literal[1])
        )
        one_line = "\n" not in literal[1]
        fallback = "table value" if number in tables else "literal"
        if len(words) == 1 and one_line and not message:
            kind = kind_of(literal[1]) or fallback
            yield Site(
                kind, page, *place(*literal.span(1)), "option" if kind == "option" else "value"
            )
            continue
        for index, word in enumerate(words):
            if re.search(r"[A-Za-z0-9]{2}", PLACEHOLDER.sub("", word[0])) or PLACEHOLDER.search(
                word[0]
            ):
                kind = kind_of(word[0]) or (
                    "command" if index == 0 and re.fullmatch("[a-z-]+", word[0]) else fallback
                )
                way = "spell" if message else "option" if kind == "option" else "value"
                yield Site("message" if message else kind, page, *place(*word.span()), way)
    rest = LITERAL.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    for role in ROLE.finditer(rest):
        yield Site("reference", page, *place(*role.span(2)), f"{role[1]} target")
    for match in PLACEHOLDER.finditer(rest):
        kind_of_fact = kind_of(match[0])
        if not kind_of_fact and match[1] in ("quota", "site"):
            kind_of_fact = "fact in prose"
        if kind_of_fact:
            yield Site(kind_of_fact, page, *place(*match.span()), "value")


def _published_sites(guide: Guide, name: str) -> Iterator[Site]:
    for number, line in enumerate(guide.lines(name), 1):
        if re.match(r" *(#(?!SBATCH|!)|//)", line):
            continue
        for match in re.finditer(r"\{\{.*?\}\}|[A-Za-z_]{3,}", line):
            if match[0] != "username":
                yield Site(
                    "published file",
                    name,
                    number,
                    *match.span(),
                    "value" if match[0][0] == "{" else "spell",
                )


def _facts_sites(guide: Guide, name: str) -> Iterator[Site]:
    table = ""
    for number, line in enumerate(guide.lines(name), 1):
        if line.startswith("["):
            table = line.strip("[] ")
        elif match := re.match(r'(\w+) = "?([^"#]*[^"# ])', line):
            yield Site(
                "profile" if table == "profiles" else "fact", name, number, *match.span(2), "fact"
            )


# How a site is mutated: each way returns the new text of the piece, or None.


def spell(text: str, rng: random.Random) -> str | None:
    """`text` with a character dropped, doubled, swapped with its neighbour, or another digit.

    Placeholders stay as they are; None if nothing else is there.
    """
    held = {
        index
        for match in re.finditer(r"\{\{.*?\}\}|\.\.\.|username", text)
        for index in range(*match.span())
    }
    letters = [
        index for index, character in enumerate(text) if character.isalnum() and index not in held
    ]
    if not letters:
        return None
    at = rng.choice(letters)
    if text[at].isdigit():
        return (
            text[:at]
            + rng.choice([digit for digit in "0123456789" if digit != text[at]])
            + text[at + 1 :]
        )
    match rng.choice(("drop", "double", "swap")):
        case "drop":
            return text[:at] + text[at + 1 :] if len(letters) > 1 else text + text[at]
        case "double":
            return text[:at] + text[at] + text[at:]
        case "swap":
            other = at + 1 if at + 1 in letters else at - 1
            low, high = sorted((at, other))
            return (
                text[:low] + text[high] + text[low] + text[high + 1 :] if other in letters else None
            )


def _option(text: str, rng: random.Random) -> str | None:
    if re.fullmatch(r"-[A-Za-z]", text):
        return "-" + rng.choice(
            [
                letter
                for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                if letter != text[1]
            ]
        )
    new = spell(text, rng)
    if new and (text.startswith(new) or (text[1] != "-" and set(text) == set(new))):
        return None  # many programs take --sil for --silent, and -hs for -sh
    return new


class Mutator:
    """Draws mutations of a guide."""

    def __init__(self, guide: Guide, only: str | None = None) -> None:
        self.guide = guide
        self.sites = sites(guide, only)
        # By kind and way: the whole pieces that stand somewhere in the guide.
        self.pool: dict[tuple[str, str], set[str]] = {}
        for kind, of_kind in sites(guide).items():
            for site in of_kind:
                if site.way in (
                    "value",
                    "folder of a prompt",
                    "host of a prompt",
                    "doc target",
                    "ref target",
                ):
                    self.pool.setdefault((kind, site.way), set()).add(self._piece(site))

    def _piece(self, site: Site) -> str:
        return self.guide.lines(site.page)[site.line - 1][site.start : site.end]

    def draw(self, number: int, seed: int) -> list[Mutation]:
        """`number` mutations, none twice, the kinds in turn; fewer if there are no more."""
        rng = random.Random(seed)
        drawn: dict[tuple[str, int, str], Mutation] = {}
        kinds = sorted(self.sites)
        rng.shuffle(kinds)
        while kinds and len(drawn) < number:
            kind = kinds.pop(0)
            for _ in range(50):
                mutation = self._mutate(rng.choice(self.sites[kind]), rng)
                if mutation and (mutation.page, mutation.line, mutation.after) not in drawn:
                    drawn[mutation.page, mutation.line, mutation.after] = mutation
                    kinds.append(kind)
                    break
        return list(drawn.values())

    def _mutate(self, site: Site, rng: random.Random) -> Mutation | None:
        line = self.guide.lines(site.page)[site.line - 1]
        piece = self._piece(site)
        if site.way == "double line":
            after = f"{line}\n{line}"
        elif site.way == "drop line":
            after = ""
        elif site.way == "drop":
            after = line[: site.start].rstrip() + line[site.end :]
        else:
            new = self._new(site, piece, rng)
            if not new or new != new.strip():
                return None
            after = line[: site.start] + new + line[site.end :]
        mutation = Mutation(site.kind, site.page, site.line, line, after)
        return mutation if self._noticeable(mutation) else None

    def _new(self, site: Site, piece: str, rng: random.Random) -> str | None:
        """What stands in the place of `piece`; None if this site gives nothing."""
        match site.way:
            case "spell" | "word":
                return spell(piece, rng)
            case "option":
                return _option(piece, rng)
            case "host of a prompt":
                return self._other(site, piece, rng)
            case "folder of a prompt":
                return self._other(site, piece, rng)
            case "doc target" | "ref target":
                return self._other(site, piece, rng) if rng.random() < 0.25 else spell(piece, rng)
            case "fact":
                if site.kind == "profile" and rng.random() < 0.5:
                    key = self.guide.lines(FACTS)[site.line - 1].split(" =")[0]
                    values = {getattr(profile, key) for profile in self.guide.facts.profiles}
                    others = sorted({str(value) for value in values if value} - {piece})
                    return _choice(others, rng)
                return spell(piece, rng)
        placeholder = PLACEHOLDER.search(piece)
        way = rng.choice(
            ("other", "spell", *(["another fact", "wrong value"] * 2 if placeholder else ["spell"]))
        )
        if way == "other":
            return self._other(site, piece, rng)
        if placeholder and way != "spell":
            new = (
                _choice(self._facts_like(placeholder), rng)
                if way == "another fact"
                else spell(self.guide.filled(placeholder[0]), rng)
            )
            return new and piece[: placeholder.start()] + new + piece[placeholder.end() :]
        return spell(piece, rng)

    def _facts_like(self, placeholder: re.Match[str]) -> list[str]:
        """The other facts of the same kind; where they have none, of the same table."""
        kind = kind_of(placeholder[0])
        names = [
            f"{{{{ {table}.{key} }}}}"
            for table, values in self.guide.in_words.items()
            if isinstance(values, dict)
            for key in values
            if kind or table == placeholder[1]
        ]
        return sorted(name for name in names if kind_of(name) == kind and name != placeholder[0])

    def _other(self, site: Site, piece: str, rng: random.Random) -> str | None:
        return _choice(sorted(self.pool.get((site.kind, site.way), set()) - {piece}), rng)

    def _noticeable(self, mutation: Mutation) -> bool:
        """Whether a reader sees a difference on a page: more than spaces, and more than another way
        to write the same fact.
        """
        if mutation.page == FACTS and len(self.guide.shown_in(mutation)) == 1:
            return False
        before, after = (
            " ".join(self.guide.filled(text).split()) for text in (mutation.before, mutation.after)
        )
        return before.replace(" ", "") != after.replace(" ", "")


def _choice(values: Sequence[str], rng: random.Random) -> str | None:
    return rng.choice(values) if values else None


# Judging.


def pages_named(text: str, files: Collection[str]) -> set[str]:
    """Those of `files` that `text` names, whole."""
    return {name for name in files if re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w/-])", text)}


def grade(output: str, shown: Sequence[Place]) -> str:
    """How well the `output` of a failure names one of the places `shown`: line, page or unnamed.

    A file's name without its folders counts for the line if the whole name stands in the output
    too; a page also counts without its ending, as in triton/tut/serial#title.
    """
    best = "unnamed"
    for name, first, last in shown:
        stem = re.escape(name.removesuffix(".rst"))
        if not re.search(rf"(?<![\w./-]){stem}(\.rst|\.html)?(?![\w/-])", output):
            continue
        best = "page"
        for match in re.finditer(
            rf"(?<![\w-])({re.escape(name)}|(?<!/){re.escape(Path(name).name)}):(\d+)", output
        ):
            if first <= int(match[2]) <= last and not re.search(
                r"[\w.-]/$", output[max(0, match.start() - 2) : match.start()]
            ):
                return "line"
    return best


class Copy:
    """A copy of the checkout in which mutations are judged: one, or some together, at a time."""

    def __init__(self, root: Path, folder: Path) -> None:
        """root: the checkout; folder: where its copy is made, and what the tests write."""
        self.root = root
        self.folder = folder / "checkout"
        self.temporary = folder / "tmp"
        self.process: subprocess.Popen[str] | None = None
        self.ended = False
        copy_source(self.folder, root)
        for name in (".venv", ".venv-nbdime", ".triton"):
            if (self.root / name).exists():
                (self.folder / name).symlink_to(self.root / name)
        self.guide = Guide(self.folder)
        self.tests = [name for name in TESTS if (self.folder / "tests" / name).exists()]

    def judge(self, *mutations: Mutation) -> list[Verdict]:
        """Put `mutations` into the copy, run the tests that read their pages, and take them out
        again; return the verdict on each.

        Of several, one whose line no failure names is "survived" here: the tests may not have come
        to it because of another. Raises ValueError if a line is not as a mutation has it.
        """
        began = time.monotonic()
        files = {mutation.page for mutation in mutations}
        originals = {name: (self.folder / name).read_bytes() for name in files}
        shown = [_moved(self.guide.shown_in(mutation), mutations) for mutation in mutations]
        try:
            for mutation in sorted(mutations, key=lambda mutation: -mutation.line):
                path = self.folder / mutation.page
                path.write_text(mutation.apply(path.read_text(encoding="utf-8")), encoding="utf-8")
            status: int | None = 0
            if FACTS in files:
                output, status = self._remake_apps()
            if status == 0:
                output, status = self.run(shown, self.needed(mutations))
        finally:
            for name, original in originals.items():
                (self.folder / name).write_bytes(original)
            self._usual_apps()
        seconds = round(time.monotonic() - began, 1)
        if status in (0, 5):
            return [Verdict("survived", seconds)] * len(mutations)
        if status is None or status < 0:
            why = (
                "the tests did not end in time"
                if status is None
                else f"signal {-status} ended the tests"
            )
            return [Verdict("survived", seconds, output=why)] * len(mutations)
        grades = [grade(output, places) for places in shown]
        return [
            Verdict(
                name if name == "line" or len(mutations) == 1 else "survived",
                seconds,
                _failed(output),
                output[-6000:],
            )
            for name in grades
        ]

    def settle(self, mutations: Sequence[Mutation]) -> Iterator[Result]:
        """Judge `mutations` together, those that were not caught again, and at last each alone;
        yield each with its verdict.
        """
        while len(mutations) > 1 and not self.ended:
            judged = list(zip(mutations, self.judge(*mutations), strict=True))
            yield from (result for result in judged if result[1].grade == "line")
            left = [mutation for mutation, verdict in judged if verdict.grade != "line"]
            if len(left) in (0, len(mutations)):
                mutations = left
                break
            mutations = left
        for mutation in mutations:
            if not self.ended:
                yield mutation, self.judge(mutation)[0]

    def needed(self, mutations: Sequence[Mutation]) -> list[str]:
        """The tests that can see any of `mutations`."""
        return [
            name
            for name in self.tests
            if any(name in _needed(self.guide, mutation, self.tests) for mutation in mutations)
        ]

    def run(self, shown: Sequence[Sequence[Place]], tests: Sequence[str]) -> tuple[str, int | None]:
        """Run those of `tests` that read the places `shown`, a list for each mutation in the copy.

        Return what pytest printed, and its exit status, None if it took too long.
        """
        environment = {
            key: value
            for key, value in os.environ.items()
            if key not in ("SMALL_TRITON", "CI", "PYTEST_ADDOPTS")
        }
        environment |= {"MUTATE": json.dumps({"files": self.guide.files, "shown": shown})}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tools.mutate",
            "-q",
            f"--basetemp={self.temporary}",
            *(f"tests/{name}" for name in tests),
        ]
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_prepare_child,
        )
        try:
            if self.ended:
                self.end()
            output, _ = self.process.communicate(timeout=LIMIT if len(shown) == 1 else 3 * LIMIT)
            return self._tidy(output), self.process.returncode
        except subprocess.TimeoutExpired:
            self._stop()
            return "", None

    def end(self) -> None:
        """Judge nothing any more, and end the tests that run."""
        self.ended = True
        self._stop()

    def _stop(self) -> None:
        process = self.process
        if process and process.poll() is None:
            # On SIGINT pytest ends its cluster, unless somebody is still typing there.
            process.send_signal(signal.SIGINT)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for state in self.temporary.glob("*/state"):
            subprocess.run(
                [sys.executable, "tools/cluster/cluster.py", "down"],
                cwd=self.folder,
                env=os.environ | {"SMALL_TRITON": str(state)},
            )

    def _tidy(self, output: str) -> str:
        """`output` with the names of files below the root folder."""
        return output.replace(f"{self.folder}/", "").replace(f"{self.folder.resolve()}/", "")

    def _remake_apps(self) -> tuple[str, int]:
        """Make what the cluster has as /share/apps from the mutated facts, as `make .triton` would;
        return what was printed, and the exit status.
        """
        link = self.folder / ".triton"
        if not link.is_symlink() or not (self.folder / "tools/cluster/cluster.py").exists():
            return "", 0
        link.unlink()
        (link / "apps").mkdir(parents=True)
        for name in ("wheels", "hub"):
            (link / name).symlink_to(self.root / ".triton" / name)
        completed = subprocess.run(
            ["/usr/bin/python3", "tools/cluster/cluster.py", "apps", link],
            cwd=self.folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        return self._tidy(completed.stdout + completed.stderr), completed.returncode

    def _usual_apps(self) -> None:
        """Take the checkout's /share/apps again."""
        link = self.folder / ".triton"
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)
            link.symlink_to(self.root / ".triton")


def _moved(places: Sequence[Place], mutations: Sequence[Mutation]) -> list[Place]:
    """`places` as they are numbered when all `mutations` are made, some of which take a line away,
    or add one.
    """

    def grown(name: str, last: int) -> int:
        return sum(
            len(mutation.after.split("\n")) - 1 if mutation.after else -1
            for mutation in mutations
            if mutation.page == name and mutation.line <= last
        )

    return [
        (
            name,
            first + grown(name, first - 1),
            max(first + grown(name, first - 1), last + grown(name, last)),
        )
        for name, first, last in places
    ]


def _typed(guide: Guide, mutation: Mutation) -> bool:
    """Whether `mutation` changes what is typed: a console block, a published file, or a fact."""
    return not mutation.page.endswith(".rst") or bool(
        (block := guide.block(mutation.page, mutation.line))
        and block[2] in ("code-block", "rendered-file")
    )


@dataclass
class _Group:
    """Mutations that can be judged in one run."""

    mutations: list[Mutation] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)  # where they are shown
    typed: set[str] = field(default_factory=set)  # the pages on which one of them is typed

    def has_room(self, places: Sequence[Place], typed: set[str]) -> bool:
        """Whether a mutation that is shown at `places`, and typed on the pages `typed`, fits in."""
        return not typed & self.typed and not any(
            name == other and first <= end and begin <= last
            for name, first, last in places
            for other, begin, end in self.places
        )


def together(guide: Guide, mutations: Sequence[Mutation]) -> list[list[Mutation]]:
    """`mutations` in lists of such as can be judged in one run, the longest first.

    No two stand in the same paragraph or block, and only one on a page changes what is typed there:
    a reader whose command fails types no more. A fact is on many pages, and is judged alone.
    """
    groups: list[_Group] = []
    for mutation in mutations:
        if mutation.page == FACTS:
            continue
        places = guide.shown_in(mutation)
        typed = {name for name, *_ in places} if _typed(guide, mutation) else set()
        group = next((group for group in groups if group.has_room(places, typed)), None)
        if not group:
            groups.append(group := _Group())
        group.mutations.append(mutation)
        group.places += places
        group.typed |= typed
    return sorted((group.mutations for group in groups), key=len, reverse=True) + [
        [mutation] for mutation in mutations if mutation.page == FACTS
    ]


def _needed(guide: Guide, mutation: Mutation, tests: Sequence[str]) -> list[str]:
    """Those of `tests` that can see `mutation`: the console blocks are typed only if one of them
    has changed.
    """
    shown = {name for name, *_ in guide.shown_in(mutation)}

    def reads(test: str) -> bool:
        text = "".join((ROOT / name).read_text(encoding="utf-8") for name in NAMES.get(test, ()))
        return not text or FACTS in shown or any(name in text for name in shown)

    return [name for name in tests if reads(name) and (name != CONSOLE or _typed(guide, mutation))]


def _failed(output: str) -> list[str]:
    """The names of the tests that pytest's summary lists."""
    return re.findall(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", output, re.MULTILINE)


def _prepare_child() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # whatever ends this program ends the tests
    # A shell's background job ignores it, and so would its children.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


# This file is also the pytest plugin with which the tests of a mutation are run.


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that name other pages in their parameters, and those of our programs."""
    wanted = json.loads(os.environ["MUTATE"])
    files = {name for places in wanted["shown"] for name, *_ in places}
    kept = []
    for item in items:
        named = pages_named(item.nodeid.partition("[")[2].rstrip("]"), wanted["files"])
        if (not named or named & files) and not MACHINERY & set(getattr(item, "fixturenames", ())):
            kept.append(item)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def pytest_configure(config: pytest.Config) -> None:
    """Stop as soon as no other test can say more."""
    config.pluginmanager.register(_Stop(), "mutate-stop")


class _Stop:
    """Of one mutation, ends the run at the first failure that names the line, for no other test can
    say more; and after the file of a test that names the page.
    """

    def __init__(self) -> None:
        self.grades: set[str] = set()  # how well the failures so far name what is wrong
        self.shown = json.loads(os.environ["MUTATE"])["shown"]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Grade a failure."""
        if report.failed and len(self.shown) == 1:
            output = f"{report.nodeid}\n{report.longreprtext}".replace(f"{os.getcwd()}/", "")
            self.grades.add(grade(output, self.shown[0]))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Run one test, and end the run if that is enough."""
        result = yield
        if "line" in self.grades:
            item.session.shouldfail = "page and line are named"
        elif "page" in self.grades and nextitem and nextitem.path != item.path:
            item.session.shouldfail = "the page is named"
        return result


# The command.


def run(
    mutations: Sequence[Mutation],
    root: Path,
    workers: int = 2,
    say: Callable[[str], object] = print,
) -> Iterator[Result]:
    """Judge `mutations` of the checkout `root`; yield each with its verdict as soon as it is known.

    say: takes a line that tells how far it is. Raises SystemExit with one sentence if the tests do
    not pass without a mutation.
    """
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        groups = together(Guide(root), mutations)
        copies = [Copy(root, Path(folder) / str(number)) for number in range(workers)]
        free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        known: queue.SimpleQueue[Result | Exception] = queue.SimpleQueue()
        for copy in copies:
            free.put(copy)

        def settle(group: Sequence[Mutation]) -> None:
            copy = free.get()
            try:
                for result in copy.settle(group):
                    known.put(result)
            except Exception as error:
                known.put(error)
            finally:
                free.put(copy)

        def check() -> str:
            copy = free.get()
            try:
                return _check_unmutated(copy, mutations)
            finally:
                free.put(copy)

        pool = ThreadPoolExecutor(workers)
        try:
            unmutated = pool.submit(check)
            for group in groups:
                pool.submit(settle, group)
            say(unmutated.result())
            for number in range(1, len(mutations) + 1):
                result = known.get()
                if isinstance(result, Exception):
                    raise result
                mutation, verdict = result
                say(
                    f"{number:3}/{len(mutations)} {verdict.seconds:5.1f} s  "
                    f"{GRADES[verdict.grade]:20}"
                    f"{mutation.kind:16}{mutation.page}:{mutation.line}"
                )
                yield result
        finally:
            for copy in copies:
                copy.end()
            pool.shutdown(cancel_futures=True)


def _check_unmutated(copy: Copy, mutations: Sequence[Mutation]) -> str:
    """The sentence that says how long the tests take without a mutation; SystemExit if they fail
    then.
    """
    began = time.monotonic()
    tests = copy.needed(mutations)
    output, status = copy.run([copy.guide.shown_in(mutation) for mutation in mutations], tests)
    if status != 0:
        failed = _failed(output)
        more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
        raise SystemExit(
            "The tests do not pass without any mutation, so none can be judged: "
            f"{'; '.join(failed[:5]) + more}\n{output[-4000:]}"
        )
    return f"{', '.join(tests)} pass on the pages as they are, in {time.monotonic() - began:.0f} s"


def report(results: Sequence[Result]) -> list[str]:
    """The lines that sum up: the survivors, then how many of each kind were caught how well."""
    lines: list[str] = []
    for mutation, verdict in results:
        if verdict.grade != "line":
            survived = verdict.grade == "survived"
            why = f" ({verdict.output})" if survived and verdict.output else ""
            lines += [
                "",
                f"{GRADES[verdict.grade]}: {mutation.kind}, {mutation.page}:{mutation.line}{why}",
                f"  - {mutation.before.strip()}",
                *(f"  + {line.strip()}" for line in mutation.after.split("\n") if line),
            ]
            lines += [f"  by {name}" for name in verdict.failed[:3]]
    counts = Counter((mutation.kind, verdict.grade) for mutation, verdict in results)
    lines += ["", f"{'':18}" + "".join(f"{name:>22}" for name in GRADES.values())]
    for kind in sorted({mutation.kind for mutation, _ in results}):
        lines.append(f"{kind:18}" + "".join(f"{counts[kind, name] or '':>22}" for name in GRADES))
    lines.append(
        f"{'all':18}"
        + "".join(f"{sum(verdict.grade == name for _, verdict in results):>22}" for name in GRADES)
    )
    return lines


def save(results: Sequence[Result], path: Path) -> None:
    """Write `results` to the JSON file `path`, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    entries = [asdict(mutation) | asdict(verdict) for mutation, verdict in results]
    write_whole(path, json.dumps(entries, indent=1) + "\n")


def _obstacle() -> str:
    """Why the tests of this checkout cannot run here; "" if they can.

    Skipped ones would let every mutation survive.
    """
    program = ROOT / "tools/cluster/cluster.py"
    if not program.exists():
        return ""
    completed = subprocess.run(
        [sys.executable, program, "obstacle"], capture_output=True, text=True
    )
    return completed.stdout


def _print_mutations(mutations: Sequence[Mutation]) -> None:
    for mutation in mutations:
        print(
            f"{mutation.kind:16}{mutation.page}:{mutation.line}\n  - {mutation.before.strip()}",
            *(f"  + {line.strip()}" for line in mutation.after.split("\n") if line),
            sep="\n",
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-n", type=int, default=20, metavar="N", help="how many mutations (20)")
    parser.add_argument("--seed", type=int, default=1, help="(1)")
    parser.add_argument(
        "--page", metavar="FILE", help="mutate this page, published file or triton/facts.toml only"
    )
    parser.add_argument("--list", action="store_true", help="print the mutations and judge none")
    options = parser.parse_args(arguments)
    guide = Guide(ROOT)
    if options.page and options.page not in guide.files:
        print(
            f"{options.page} is no file of the guide; there are: {', '.join(guide.files)}",
            file=sys.stderr,
        )
        return 2
    mutations = Mutator(guide, options.page).draw(options.n, options.seed)
    if options.list:
        _print_mutations(mutations)
        return 0
    if why := _obstacle():
        print(f"No mutation can be judged: {why}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results: list[Result] = []
    status = 0
    began = time.monotonic()
    try:
        for result in run(mutations, ROOT, say=lambda line: print(line, flush=True)):
            results.append(result)
    except KeyboardInterrupt:
        status = 130
    except SystemExit as error:
        print(error, file=sys.stderr)
        return 2
    if not results:
        return status
    results.sort(key=lambda result: mutations.index(result[0]))
    save(results, ROOT / "_build/mutations.json")
    print(*report(results), sep="\n")
    caught = sum(verdict.grade in CAUGHT for _, verdict in results)
    print(
        f"\n{caught} caught of {len(results)} mutations, seed {options.seed}, in "
        f"{time.monotonic() - began:.0f} s; "
        "what the tests said is in _build/mutations.json"
    )
    return status or int(caught < len(results))


if __name__ == "__main__":
    sys.exit(main())

"""The inline literals of the guide: where they stand, and what the small Triton says of each.

A rule is a function `rule(literal, page, reality)`. It returns None if the literal is none of its
kind, "" if it is true, or a sentence that says what is wrong. The first rule that knows a literal
decides; one that no rule knows is a fault. Rules ask the cluster and the programs on it, never the
guide. What only a page can know (the names of its own example files) must be in a command or a file
that the page shows, since those are run.
"""

import http.client
import json
import mimetypes
import ntpath
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise, takewhile
from pathlib import Path

from sybil import Document
from sybil.parsers.rest.lexers import DirectiveLexer

from tools import pages
from tools.cluster import cluster
from tools.course import editions
from tools.files import ROOT
from tools.proof.reality import PORTS, Program, Reality, words_of

# As docutils has it: what may stand before and after, and no space inside at the ends.
LITERAL = re.compile(
    r"""(?:(?<=[\s'"(\[{<\-/:])|^)``(?=\S)(.+?)(?<=\S)``(?=[\s'")\]}>\-/:.,;!?\\]|$)""",
    re.DOTALL | re.MULTILINE,
)
CODE = "code-block|rendered-file|facts-table|toctree|contents"
# What prose calls programs. sjupyter hands its options to Slurm.
SPOKEN = {"Slurm": "srun", "sjupyter": "srun", "Chrome": "chromium"}


@dataclass(frozen=True)
class Literal:
    """Text between double backticks, and where it stands: line, and offset in the page."""

    page: str
    line: int
    text: str
    start: int

    @property
    def name(self) -> str:
        """Where it stands, and what it is."""
        return f"{self.page}:{self.line} ``{self.text}``"


class Page:
    """A page with the facts filled in: its literals, and what stands around each."""

    def __init__(self, name: str, text: str | None = None) -> None:
        """text: what the page says, if not what is in its file."""
        self.name = name
        self.text = pages.read(name) if text is None else text
        self.code: list[tuple[int, str, str]] = []  # offset, language, content
        self.files: dict[str, str] = {}
        hidden = list(self.text)
        for region in DirectiveLexer(CODE)(Document(self.text, name)):
            argument = region.lexemes["arguments"] or ""
            if region.lexemes["directive"] == "rendered-file":
                self.files[Path(argument.strip()).name] = pages.read(
                    os.path.normpath(Path(name).parent / argument.strip())
                )
            elif region.lexemes["directive"] == "code-block":
                self.code.append((region.start, argument.strip(), str(region.lexemes["source"])))
            for position in range(region.start, region.end):
                if hidden[position] != "\n":
                    hidden[position] = " "
        prose = "".join(hidden)
        self.literals = [
            Literal(
                name,
                prose.count("\n", 0, found.start()) + 1,
                " ".join(found[1].split()),
                found.start(),
            )
            for found in LITERAL.finditer(prose)
        ]
        # What is inside literals is hidden from whoever looks for the ends of sentences.
        self.prose = LITERAL.sub(lambda found: re.sub(r"\S", "x", found[0]), prose)
        self._prose = prose

    @cached_property
    def commands(self) -> list[tuple[int, str]]:
        """(offset, command) of all that the page types after prompts, and of what its other code
        blocks hold.
        """
        found = []
        for start, language, source in self.code:
            for line in source.splitlines():
                prompt = pages.PROMPT.match(line)
                if prompt and prompt["command"]:
                    found.append((start, prompt["command"]))
                elif language in ("bash", "text") and line.strip():
                    found.append((start, line.strip()))
        for text in self.files.values():
            found += [
                (0, "sbatch " + line.removeprefix("#SBATCH "))
                for line in text.splitlines()
                if line.startswith("#SBATCH ")
            ]
            found += [
                (0, line)
                for line in text.splitlines()
                if text.startswith("#!/bin/bash") and re.match(r"\w", line)
            ]
        return found

    @cached_property
    def words(self) -> set[str]:
        """Every shell word of every command, and of the parts that = and $( separate."""
        found: set[str] = set()
        for _, command in self.commands:
            for word in split(command, True):
                found |= {word, *re.split(r"=|\$\(|\)", word)}
        return found - {""}

    @cached_property
    def programs(self) -> set[str]:
        """The programs that commands of the page run."""
        return {
            words[0].rsplit("/", 1)[-1]
            for _, command in self.commands
            for words in simple_commands(command)
        }

    def arguments(self, program: str) -> set[str]:
        """The words that stand behind `program` in commands of the page."""
        found = [words for _, command in self.commands for words in simple_commands(command)]
        return {word for words in found if words[0] == program for word in words[1:]}

    def values(self, flag: str) -> set[str]:
        """What this option is given in the commands of the page."""
        found: set[str] = set()
        for _, command in self.commands:
            for words in simple_commands(command):
                found |= {word.partition("=")[2] for word in words if word.startswith(flag + "=")}
                found |= {
                    value for word, value in pairwise(words) if word == flag and len(flag) == 2
                }
        return found

    def says_in_code(self, text: str) -> bool:
        """Whether a command or a file of the page holds `text`, not as a part of a longer word."""
        sources = [command for _, command in self.commands] + list(self.files.values())
        edge = [
            r"(?<!\w)" if re.match(r"\w", text) else "",
            r"(?!\w)" if re.search(r"\w$", text) else "",
        ]
        return any(re.search(edge[0] + re.escape(text) + edge[1], source) for source in sources)

    def _between(self, literal: Literal, before: str, after: str) -> tuple[int, int]:
        """The offsets of the stretch around `literal` that these patterns end."""
        begin = max(
            (found.end() for found in re.finditer(before, self.prose[: literal.start])), default=0
        )
        end = re.compile(after).search(self.prose, literal.start)
        return begin, end.start() if end else len(self.prose)

    def sentence(self, literal: Literal) -> str:
        """The sentence that the literal stands in."""
        ends = r"\n[ \t]*\n|{}\s|\n\s*(?:[*#]\.? +|- )"
        return self._text(
            self._between(literal, ends.format("(?<=[.:?!;])"), ends.format("[.:?!;]"))
        )

    def paragraph(self, literal: Literal) -> str:
        """The paragraph, or the row of a table, that the literal stands in."""
        return self._text(
            self._between(literal, r"\n[ \t]*\n|\n\s*\* - ", r"\n[ \t]*\n|\n\s*\* - ")
        )

    def in_table(self, literal: Literal) -> bool:
        """Whether the literal stands in a table."""
        begin, end = self._between(literal, r"\n[ \t]*\n", r"\n[ \t]*\n")
        return re.match(r"\s*\* - ", self.prose[begin:end]) is not None

    def cell(self, literal: Literal) -> str:
        """The cell of a table that the literal stands in."""
        return self._text(
            self._between(literal, r"\n[ \t]*\n|\n\s*(?:\* )?- ", r"\n[ \t]*\n|\n\s*(?:\* )?- ")
        )

    def section(self, literal: Literal) -> tuple[int, int]:
        """The offsets of the section that the literal stands in."""
        return self._between(literal, r"\n[=~-]{4,}\n", r"\n[^\n]+\n[=~-]{4,}\n")

    def _text(self, offsets: tuple[int, int]) -> str:
        return self._prose[slice(*offsets)]

    def beside(self, literal: Literal, text: str) -> list[str]:
        """The other literals in a stretch of `text` around this one."""
        found = [" ".join(match[1].split()) for match in LITERAL.finditer(text)]
        return [other for other in found if other != literal.text]


def split(command: str, comments: bool = False) -> list[str]:
    """The words of a command as a shell has them; where its quotes do not match, as they stand."""
    try:
        return shlex.split(command, comments)
    except ValueError:
        return command.split()


def simple_commands(command: str) -> list[list[str]]:
    """The commands that pipes, && and $( ) connect, each as a list of words."""
    return [
        words
        for part in re.split(r"\|\|?|&&|;|\$\(|^\w+=\$\(", command.replace(")", " "))
        if (words := split(part, True))
    ]


def facts(*tables: str) -> set[str]:
    """The values of these tables of triton/facts.toml, as text."""
    known = pages.facts()
    return {str(value) for table in tables for value in known[table].values()}


def one_slip(first: str, second: str) -> bool:
    """Whether two texts differ by one character that was added, left out or replaced."""
    if first == second or abs(len(first) - len(second)) > 1:
        return False
    head = _alike(first, second)
    tail = _alike(first[head:][::-1], second[head:][::-1])
    return max(len(first), len(second)) - head - tail <= 1


def _alike(first: str, second: str) -> int:
    """How many characters at the beginning are the same."""
    return sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    )


# Names and addresses.


def fact(literal: Literal, page: Page, reality: Reality) -> str | None:
    """What is outside the small Triton, as triton/facts.toml has it: the VPN, the logs' names."""
    return "" if literal.text in facts("cluster", "logs") else None


def address(literal: Literal, page: Page, reality: Reality) -> str | None:
    """https:// and http:// addresses."""
    if not (found := re.match(r"https?://([^/:]+)(?::(\d+))?(/.*)?$", literal.text)):
        return None
    host, port, path = found.groups()
    site = cluster.facts().site.url
    if literal.text.startswith(site):
        name = literal.text.removeprefix(site)
        return (
            ""
            if name in {str(Path(page.name).parent / file) for file in page.files}
            else f"this page publishes no file {name}"
        )
    if host != "localhost" and host not in facts("hosts"):
        return f"{host} is no host of triton/facts.toml"
    if port not in PORTS or path:
        return f"{port}{path or ''} is no port of triton/facts.toml"
    return ""


SAYS = {
    "hub": r"Hub\b|browser|proxy",
    "node": r"\bnodes?\b",
    "domain": r"\bends? (in|with)\b|domain",
}  # what a sentence with such a name speaks of


def host(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Names of hosts, of domains, and patterns of such names."""
    names, text = cluster.facts().hosts, literal.text
    if text == cluster.facts().proxy.pattern:
        inside, outside = f"{names.node}.{names.domain}", names.login
        pattern = re.compile(".*".join(map(re.escape, text.split("*"))))
        return (
            ""
            if pattern.fullmatch(inside) and not pattern.fullmatch(outside)
            else f"it does not tell {inside} from {outside}"
        )
    if text == names.servers:
        server = text.replace("*", cluster.USERS[0])
        return "" if reality.resolves("laptop", server) else f"{server} does not resolve on laptop"
    for name, value in (
        ("hub", names.hub),
        ("node", names.node),
        ("domain", f".{names.domain}"),
    ):
        if text == value and not re.search(SAYS[name], page.sentence(literal)):
            return f"it is the {name} of triton/facts.toml, and this sentence is not about that"
    if text == f".{names.domain}":
        return (
            ""
            if reality.resolves("login", names.node + text)
            else f"no compute node is called {names.node}{text}"
        )
    if text == "localhost":
        return "" if reality.resolves("laptop", text) else "it does not resolve"
    if text not in {names.login, names.hub, names.gateway, names.node}:
        return None
    from_outside = (
        re.search(r"outside|elsewhere|anywhere|jump|gateway", page.sentence(literal)) is not None
    )
    if from_outside != reality.listens("outside", text):
        return "from outside it " + (
            "does not answer" if from_outside else "answers, and this sentence is not about outside"
        )
    where = "outside" if text == names.gateway else "login" if text == names.node else "laptop"
    return "" if reality.resolves(where, text) else f"on {where} it does not resolve"


def port(literal: Literal, page: Page, reality: Reality) -> str | None:
    """A bare port, and what stands where a page says a port."""
    if (
        re.search(r"\bport:?\s$", page._prose[: literal.start], re.IGNORECASE)
        and not literal.text.isdigit()
    ):
        return "a port is a number"
    if not re.fullmatch(r"\d{2,5}", literal.text):
        return None
    return "" if literal.text in PORTS else f"triton/facts.toml has no port {literal.text}"


def reader(literal: Literal, page: Page, reality: Reality) -> str | None:
    """The word that stands for the reader's own name: the one in the prompts."""
    users = set(re.findall(r"^\s*(\w+)@[\w-]+:\S*\$", page.text, re.MULTILINE))
    return "" if users == {literal.text} else None


# kernel.json


def kernel_value(literal: Literal, page: Page, reality: Reality) -> str | None:
    """What can stand in the env block or in argv of a kernel.json, and what the kernel gets."""
    text = literal.text
    if text == reality.jupyter_client["placeholder"]:
        return ""
    if not re.fullmatch(r'"[^"]*"(: "[^"]*")?', text):
        return None
    try:
        values = list(json.loads(f"{{{text}}}" if '": ' in text else f'{{"X": {text}}}').values())
    except ValueError as error:
        return f"it is no JSON: {error}"
    if text == '"python"' or "argv" in page.sentence(literal):
        return (
            ""
            if reality.kernel_program(values[0])
            else f"Jupyter does not replace {text} by its own Python"
        )
    if '": ' in text:
        return (
            "" if page.says_in_code(text) else "it does not stand in the kernel.json of this page"
        )
    got = reality.expanded(values[0])
    row = page.paragraph(literal)
    right = row.split("\n", 1)[1:] and re.split(r"\n\s*- ", row, maxsplit=1)[1]
    told = [" ".join(found[1].split()) for found in LITERAL.finditer(right or "")]
    names = re.findall(r"\$\{?(\w+)", values[0])
    if got in told:
        return ""
    if re.search(r"[${}]", got):
        return f"the kernel gets {got!r}, which the page does not say"
    unknown = [name for name in names if not name.isdigit() and name not in reality.environment]
    if not names or unknown:
        return f"the kernel gets {got!r}, and the page says that it gets {told}"
    others = [name for name in re.findall(r"\$\{?(\w+)", " ".join(told)) if name not in names]
    return f"the page speaks of {others[0]}, which is not in {text}" if others else ""


def kernel_result(literal: Literal, page: Page, reality: Reality) -> str | None:
    """The other side: what the kernel gets, in a table whose left side is what is written."""
    row = page.paragraph(literal)
    if not re.match(r"\s*``\"", row) or not re.search(r"[~$/]", literal.text):
        return None
    left = [found[1] for found in LITERAL.finditer(re.split(r"\n\s*- ", row, maxsplit=1)[0])]
    got = [reality.expanded(value[1:-1]) for value in left if '": ' not in value]
    return "" if literal.text in got else None


def kernel_key(literal: Literal, page: Page, reality: Reality) -> str | None:
    """The keys of kernel.json."""
    return (
        ""
        if literal.text in reality.jupyter_client["keys"] and page.says_in_code(f'"{literal.text}"')
        else None
    )


# Paths.


def git_file(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Files of a git repository: git, nbdime and nbdime-git make them, or git knows their names."""
    if not literal.text.startswith(".git"):
        return None
    return (
        ""
        if literal.text in reality.git_files or reality.is_string("git", literal.text)
        else "neither git nor nbdime makes it"
    )


def home_file(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Files and folders in a home directory: a program says that it uses them."""
    text = literal.text
    if text.startswith("%"):
        if "\\" not in text:
            return None
        name = ntpath.normpath(text).replace("\\", "/")
        variable, _, rest = name.partition("/")
        known = ntpath.expanduser.__code__.co_consts
        return (
            home_path(f"~/{rest}", page, reality)
            if variable.strip("%") in known
            else f"Windows has no {variable}"
        )
    if text.startswith("~/"):
        if "``PATH``" in page.sentence(literal) and not text.endswith("/bin"):
            return "programs are in no such folder, and this sentence is about PATH"
        return home_path(text, page, reality)
    if re.fullmatch(r"\.[a-z]+rc", text):
        return "" if reality.exists(f"~/{text}") else "a new home directory has none"
    return None


def home_path(text: str, page: Page, reality: Reality) -> str:
    if text in reality.home_places:
        return ""
    if any(
        reality.is_string(name, text) or (text[2] == "." and reality.is_string(name, text[2:]))
        for name in ("bash", "ssh", "R")
    ):
        return ""
    if page.says_in_code(text[1:]):  # ~/envs: the guide's own example, as $WRKDIR/envs
        return ""
    return "no program on the cluster uses it"


def path(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Absolute paths: files of the cluster, or parts of an address of Jupyter."""
    text = literal.text
    if not re.fullmatch(r"(/[\w.*-]+)+", text):
        return None
    if text in reality.jupyter_urls:
        return ""
    if not reality.exists(text):
        return "on the cluster there is no such file or folder, and Jupyter has no such address"
    for name in (other.strip("$") for other in page.beside(literal, page.paragraph(literal))):
        value = reality.environment.get(name, "")
        if value.startswith("/") and ":" not in value and str(Path(value).parent) != text:
            return f"{name}, in the same place, is {value}: a folder in {Path(value).parent}"
    return ""


def ending(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Endings of file names: of files beside the page, of those that ssh-keygen and Slurm make, or
    of plain text.
    """
    text = literal.text
    if not re.fullmatch(r"\.\w+", text):
        return None
    near = {path.suffix for path in (ROOT / page.name).parent.iterdir()} | {
        Path(name).suffix for name in page.files
    }
    if text in near - {".rst"}:
        return ""
    if (
        text in {Path(name).suffix for name in reality.made_files}
        or mimetypes.guess_type("x" + text)[0] == "text/plain"
    ):
        return (
            ""
            if re.search(r"\bfiles?\b|\bending", page.sentence(literal))
            else "it is the ending of a file's name, and this sentence is not about that"
        )
    return None


def file(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Names of files: beside the page, of the course, or of a command that some page shows."""
    text = literal.text
    if not re.fullmatch(r"[\w./-]+\.\w+|[a-z]+", text):
        return None
    if "." not in text:
        return "" if (ROOT / text).is_dir() and page.name.startswith(text) else None
    if ((ROOT / page.name).parent / text).is_file() or any(
        text in every(name).words or text in every(name).files
        for name in ([page.name, *pages.sources()])
    ):
        return ""
    if text in page.words or text in page.files:
        return ""
    return (
        ""
        if text.endswith(".json")
        and reality.exists(f"{reality.central}/share/jupyter/kernels/python3/{text}")
        else None
    )


@cache
def every(name: str) -> Page:
    """The page `name` as it is in the checkout, read once."""
    return Page(name)


def links(literal: Literal, page: Page, reality: Reality) -> str | None:
    """The folders that one begins in: links to the cluster's own, by their names."""
    known = cluster.facts().paths
    if literal.text not in {Path(known.home).name, Path(known.scratch).name}:
        return None
    return "" if reality.exists("/" + literal.text) else "the cluster has no such folder"


# Variables.


def variable(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Variables of the shell: set on the login node, in a job, by a command of the page, or read by
    a program.
    """
    text = literal.text
    match = re.fullmatch(r"\$\{?(\w+)\}?|([A-Z][A-Z0-9_]+)", text)
    if not match:
        return None
    name: str = match[1] or match[2]
    if name in reality.environment or name in reality.job_environment:
        return ""
    if "begin with" in page.sentence(literal) and any(
        known.startswith(f"{name}_") for known in reality.environment
    ):
        return ""
    if any(re.match(rf"{name}=", command) for _, command in page.commands):
        return ""
    if reality.read_by_loader(name):
        return ""
    return "" if name == "_" else None


# Slurm.


def slurm_word(literal: Literal, page: Page, reality: Reality) -> str | None:
    """States, reasons, columns and partitions, as Slurm's own library and programs have them."""
    text, known = literal.text, reality.slurm
    for kind in ("states", "codes", "reasons", "partitions", "steps"):
        if text in known[kind] and (kind != "codes" or "squeue" in page.words):
            return ""
    if text in known["columns"]:
        return "" if page.says_in_code(text) else "no command of this page shows that column"
    if text == known["unknown"]:
        return ""
    return None


def slurm_sign(literal: Literal, page: Page, reality: Reality) -> str | None:
    """#SBATCH, %a, %20, the % of an array, the _ in a task's number, how the name of an output
    begins.
    """
    text = literal.text
    if text.startswith("#") and len(text) > 1:
        return "" if reality.is_string("sbatch", text) else "sbatch does not look for it"
    if re.fullmatch(r"%\w+", text) and not reality.magic(text):
        if text[1:].isdigit():
            return (
                ""
                if page.says_in_code(text)
                else "no command of this page asks for a column of that width"
            )
        return (
            ""
            if any(
                text in found[0]
                for _, command in page.commands
                for found in [re.search(r"--output=\S+", command)]
                if found
            )
            else "no name of an output of this page holds it"
        )
    if re.fullmatch(r"[^\w\s]|_", text) and "$" not in text:
        if text in reality.array_signs and re.search(
            r"squeue|scancel|--array", page.sentence(literal)
        ):
            return ""
        begins = "begin with" in page.sentence(literal)
        return "" if begins and any(name.startswith(text) for name in reality.environment) else None
    if text.endswith("-") and text[:-1].isalpha():
        return (
            ""
            if any(name.startswith(text) for name in reality.job_files)
            else "no output of a job begins so"
        )
    return None


# Programs and their options.


def program_near(literal: Literal, page: Page) -> Iterator[list[str]]:
    """The first words of programs that an option may belong to, nearest first.

    They are named before it in the sentence or paragraph, or typed in its section.
    """
    paragraph = page.paragraph(literal)
    before = paragraph[: max(paragraph.find(f"``{literal.text}``"), 0)]
    named = [split(" ".join(found[1].split())) for found in LITERAL.finditer(before)]
    after = [split(other) for other in page.beside(literal, page.sentence(literal))]
    yield from (words for words in [*reversed(named), *after] if words)
    begin, end = page.section(literal)
    blocks = [
        (start, command) for start, command in page.commands if start == 0 or begin <= start < end
    ]
    earlier = [command for start, command in blocks if 0 < start < literal.start]
    later = [command for start, command in blocks if start > literal.start]
    for command in [*reversed(earlier), *later]:
        yield from simple_commands(command)
    prose = page._text((begin, end))
    for spoken, program in SPOKEN.items():
        if re.search(rf"(?<!\w){spoken}(?!\w)", prose):
            yield from ([spoken], [program])
    for command in (command for start, command in blocks if start == 0):
        yield from simple_commands(command)


def option(literal: Literal, page: Page, reality: Reality) -> str | None:
    """An option, with or without its value, of the program that the page speaks of here."""
    words = split(literal.text)
    if not words or not re.match(r"--?[A-Za-z]|--$", words[0]):
        return None
    tried = []
    for near in program_near(literal, page):
        program = reality.program(near)
        if not program or str(program) in tried:
            continue
        tried.append(str(program))
        flag = words[0].split("=")[0]
        if program.words[0] in SPOKEN and flag != "--" and not reality.entry(program, flag):
            # What it does not know it hands on.
            program = reality.program([SPOKEN[program.words[0]]])
        if program and reality.has_option(program, flag):
            values = page.values(flag)
            given = words[0].partition("=")[2] or " ".join(words[1:])
            if given and len(values) == 1 and given not in values:
                return f"where this page runs it, it has the value {values.pop()}"
            return arguments(program, words, literal, page, reality)
    return f"the programs spoken of here ({', '.join(tried) or 'none'}) have no such option"


def command(literal: Literal, page: Page, reality: Reality) -> str | None:
    """A command: its program is on the PATH, its options in the program's help, its other words
    known here.
    """
    words = split(literal.text)
    if not words or not re.match(r"\w|[./~]+\w", words[0]):
        return None
    while words and (setting := re.fullmatch(r"([A-Z_]+)=\S*", words[0])):
        if not reality.in_scripts(setting[1]):
            return f"no command of the cluster reads {setting[1]}"
        words.pop(0)
    program = reality.program(words)
    if not program:
        return None
    for package in re.findall(r"``pip install (\w[\w-]*)``", page.cell(literal)):
        if words[0] != "pip" and not reality.brings(package, tuple(words)):
            return f"{package}, which is installed before it, does not bring it"
    rest = words[len(program.words) :]
    if rest:
        return arguments(program, rest, literal, page, reality)
    if any(literal.text in every(name).programs for name in pages.sources()):
        return ""
    meant_one = next(
        (
            name
            for name in page.programs
            if one_slip(name, literal.text) and reality.program([name])
        ),
        None,
    )
    return f"the page runs {meant_one}" if meant_one else ""


def arguments(
    program: Program, words: Sequence[str], literal: Literal, page: Page, reality: Reality
) -> str:
    """What is wrong with these options and other words of a program; "" if nothing is."""
    for number, word in enumerate(words):
        if re.match(r"--?[A-Za-z]|--$", word):
            flag = word.split("=")[0]
            if not reality.has_option(program, flag):
                return f"{program} has no option {flag}"
            if re.fullmatch(r"-\w", flag) and not meant(program, flag, literal, page, reality):
                said = " ".join(reality.entry(program, flag).split())[:200] or "nothing"
                return (
                    f"no page runs {program} with {flag}, and its manual speaks of something "
                    f"else than this sentence: {said}"
                )
            value = word.split("=", 1)[1] if "=" in word else None
            if slip := value and slipped(word, page):
                return f"the page runs {slip}"
            if (
                value
                and "://" in value
                and (fault := address(Literal(page.name, 0, value, 0), page, reality))
            ):
                return fault
        elif fault := argument(program, words, number, page, reality):
            return fault
    return reality.try_out(program, words, page.files)


def meant(program: Program, flag: str, literal: Literal, page: Page, reality: Reality) -> bool:
    """Whether a one-letter option is the one that the page means.

    Commands that are run have it, or its manual speaks of the same.
    """
    for name in {*pages.sources()} - {page.name}:
        if runs(every(name), program, flag):
            return True
    if runs(page, program, flag) or reality.has_effect(program, flag):
        return True
    around = page.paragraph(literal) if page.in_table(literal) else page.sentence(literal)
    if "," in around and len(re.findall(r"``-", around)) > 1:  # one clause for each
        around = next(
            (
                clause
                for clause in around.split(",")
                if f"``{literal.text}``" in " ".join(clause.split())
            ),
            around,
        )
    return bool(words_of(LITERAL.sub(" ", around)) & reality.meaning(program, flag))


def runs(page: Page, program: Program, flag: str) -> bool:
    """Whether a command of the page runs `program` with this option."""
    for _, command in page.commands:
        for words in simple_commands(command):
            if program.words[0] in (words[0], SPOKEN.get(words[0])) and flag in words:
                return True
    return False


def slipped(word: str, page: Page) -> str | None:
    """The word of the page's commands from which `word` differs by one character.

    None if there is none, or if `word` stands there itself.
    """
    if word in page.words:
        return None
    return next((other for other in page.words if "=" in other and one_slip(word, other)), None)


def argument(
    program: Program, words: Sequence[str], number: int, page: Page, reality: Reality
) -> str:
    """What is wrong with a word that is no option; "" if nothing is."""
    word = words[number]
    before = words[number - 1] if number else ""
    if word in page.arguments(program.words[0]) and not re.fullmatch(r"[\d:]+", word):
        return ""
    if re.fullmatch(r":?\d{3,5}", word):
        return (
            "" if word.lstrip(":") in PORTS else f"triton/facts.toml has no port {word.lstrip(':')}"
        )
    if found := re.fullmatch(r"(\w+)@(\S+)", word):
        users = set(re.findall(r"^\s*(\w+)@[\w-]+:\S*\$", page.text, re.MULTILINE))
        return (
            ""
            if found[1] in users and found[2] in facts("hosts")
            else f"{word} is nobody on a host of triton/facts.toml"
        )
    if re.fullmatch(r"[\w.-]+", word) and program.words[0] == "ssh" and "ssh_config" in page.files:
        return ""  # ssh -G says what becomes of it
    if program.words[:2] == ("module", "load"):
        return "" if word in reality.modules else f"module avail has no {word}"
    if program.words[:2] == ("pip", "install"):
        return "" if word in reality.wheels else f"there is no package {word}"
    if re.match(r"-[A-Za-z]$", before) and before != "-o":
        return ""  # its value; trying it out tells
    if word in page.files:
        return ""
    if re.fullmatch(r"\$\w+", word) and program.words[0] == "echo":
        return "" if mentioned(word[1:], page) > 1 else f"{word} stands nowhere else on this page"
    return f"{program} knows no {word!r}, and no command of this page has it"


def mentioned(name: str, page: Page) -> int:
    """How often a made-up name stands in the page: one that stands once may be misspelt."""
    return len(re.findall(rf"(?<!\w){re.escape(name)}(?!\w)", page.text))


def elsewhere(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Commands that other clusters have: those that come with Slurm's sources."""
    if not re.match(r"\W*Some clusters\b", page.sentence(literal)):
        return None
    return "" if reality.contributed_to_slurm(literal.text) else None


def module(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Modules, with or without version, and versions."""
    if literal.text in reality.modules or literal.text in {
        name.partition("/")[0] for name in reality.modules
    }:
        if "/" not in literal.text and re.search(
            rf"\bversion,\s+as\s+in\s+``{re.escape(literal.text)}``", page.sentence(literal)
        ):
            return "it names no version"
        return "" if literal.text in facts("modules") else "triton/facts.toml does not have it"
    if (
        "/" in literal.text
        and re.fullmatch(r"[\w.]+/[\w.]+", literal.text)
        and not Path(literal.text).suffix.strip(".").isalpha()
    ):
        return "module avail has no such module"
    return (
        ""
        if literal.text in {name.partition("/")[2] for name in reality.modules}
        and "called" in page.sentence(literal)
        else None
    )


# Python, notebooks, R.


def notebook_line(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Lines of a cell: ! and % commands, and the numbers beside cells."""
    text = literal.text
    if (found := re.fullmatch(r"!(.*)", text)) and (
        found[1] or re.search(r"line|cell", page.sentence(literal))
    ):
        if not reality.shell_escape(text):
            return "IPython does not take it for a shell command"
        inner = found[1] and command(
            Literal(literal.page, literal.line, found[1], literal.start), page, reality
        )
        return (
            ""
            if not found[1]
            else inner
            if inner is not None
            else f"no program {found[1].split()[0]}"
        )
    if text.startswith("%") and re.match(r"%[a-z]+( |$)", text) and reality.magic(text):
        names = re.findall(r"\b[A-Z_]{3,}\b", text)
        lonely = [name for name in names if mentioned(name, page) < 2]
        return f"{lonely[0]} stands nowhere else on this page" if lonely else ""
    if re.fullmatch(r"\[.*\]", text):
        return "" if text in reality.prompts else "JupyterLab shows no such number beside a cell"
    return None


def python(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Python: keywords, and expressions that evaluate."""
    text = literal.text
    if re.fullmatch(r"[a-z]+", text):
        return (
            ""
            if text in reality.python_keywords
            and re.search(r"[Ii]mport|step|cell|Python|notebook", page.paragraph(literal))
            else None
        )
    if re.search(r"\(\)$", text) or text.startswith("import "):
        return "" if reality.evaluates(text) else "Python does not know it"
    return None


def r_name(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Functions of R."""
    if not re.fullmatch(r"[a-z]+\.[a-z]+", literal.text) or not re.search(
        r"(?<!\w)R(?!\w)", page.paragraph(literal)
    ):
        return None
    return "" if reality.in_r(literal.text) else None


def package(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Python packages that commands of the page install, and that can be installed."""
    return "" if literal.text in reality.wheels and literal.text in page.words else None


# Keys and answers.


def key(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Keys: JupyterLab's shortcuts, those of the pager, answers to questions of ssh."""
    text = literal.text
    if found := re.fullmatch(r"Control-([A-Z])", text):
        return "" if f"^{found[1]}" in reality.terminal_keys else "it does nothing in a terminal"
    if "-" in text and text.split("-")[0] in ("Control", "Shift", "Alt"):
        return (
            ""
            if text in reality.shortcuts
            else "JupyterLab has no such shortcut for running a cell"
        )
    if re.fullmatch(r"[a-z]", text) and "long list" in page.paragraph(literal):
        return "" if text in reality.pager_quits else "it does not end the pager"
    if re.search(r"answer\s*$", page._prose[: literal.start]):
        return (
            ""
            if text in reality.answers(page.paragraph(literal))
            else "ssh and ssh-keygen do something else on that answer"
        )
    return None


def protocol(literal: Literal, page: Page, reality: Reality) -> str | None:
    """A kind of proxy, as PAC files name it."""
    if not re.fullmatch(r"SOCKS\w*", literal.text):
        return None
    pac = [
        text
        for name in pages.sources()
        for file, text in every(name).files.items()
        if file.endswith(".pac")
    ]
    used = {kind for text in pac for kind in re.findall(r'return "(\w+) localhost', text)}
    return (
        ""
        if literal.text in used and reality.curl_knows(literal.text)
        else "the PAC file and curl have another kind"
    )


def ssh_keyword(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Keywords of an ssh configuration."""
    if not re.fullmatch(r"([A-Z][a-z]+){2,}", literal.text) or not any(
        literal.text in text for text in page.files.values()
    ):
        return None
    return "" if reality.ssh_keyword(literal.text) else "ssh has no such setting"


# What programs print.


def made_up_error(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Errors of Python and of the shell about a name that is not there."""
    text = literal.text
    if found := re.fullmatch(r"(\w+): command not found", text):
        known = reality.program([found[1]])
        return (
            ""
            if known and reality.shell_says(found[1], text)
            else "the shell does not say that, or nobody knows that program"
        )
    if found := re.fullmatch(r"(\w+Error): .*'(\w+)'", text):
        if not reality.python_says(text, found[2]):
            return "Python says something else"
        return ""
    return None


def message(literal: Literal, page: Page, reality: Reality) -> str | None:
    """What Slurm, ssh, curl, git, the system and JupyterLab print: brought about, or found in the
    program.
    """
    text = literal.text
    if not re.search(r"\w.*[\s_-].*\w", text) and text not in reality.signals:
        # of single words, those that JupyterLab has for a state
        return (
            "" if text.istitle() and len(text) > 6 and text in reality.jupyter_messages[0] else None
        )
    scenes = reality.scenes_that_say(text)
    if scenes:
        cell = page.cell(literal)
        if page.in_table(literal):
            for other in page.beside(literal, cell):
                if (
                    re.search(r"\s|[A-Z]_", other)
                    and (theirs := reality.scenes_that_say(other))
                    and not theirs & scenes
                ):
                    return (
                        f"it comes when {', '.join(sorted(scenes))}, and {other!r}, beside "
                        f"it, when {', '.join(sorted(theirs))}"
                    )
        return ""
    if text in reality.system_messages or text in reality.signals:
        return ""
    if len(text) > 6 and not reality.program(split(text)) and reality.printed_by_programs(text):
        return ""
    return "" if said_by_jupyter(text, page, reality) else None


def said_by_jupyter(text: str, page: Page, reality: Reality, depth: int = 0) -> bool:
    """Whether JupyterLab, the hub or a server of the environment says `text`.

    What stands for %1 must be known itself. In `text`, ... at the end stands for the rest.
    """
    plain, templates = reality.jupyter_messages
    if text in plain:
        return True
    if found := re.fullmatch(
        r"(?:Error: )?HTTP (\d{3}): (.+?) \((.+)\)", text
    ):  # as tornado writes it, and the hub's page before it
        code, phrase, reason = found.groups()
        return phrase == http.client.responses.get(int(code)) and said_by_jupyter(
            reason, page, reality, depth
        )
    if text.startswith("Error: "):  # before a message on the hub's page
        return said_by_jupyter(text.removeprefix("Error: "), page, reality, depth)
    head = text.removesuffix("...") if text.endswith(" ...") else None
    for pieces in templates if depth < 2 else ():
        cuts = [] if head is None else [(head, pieces[:number]) for number in range(1, len(pieces))]
        for said, known in [(text, pieces), *cuts]:
            if (
                all(piece in said for piece in known)
                and (found := _fits(said, known))
                and all(fill(value, page, reality, depth) for value in found.groups())
            ):
                return True
    return False


def _fits(text: str, pieces: Sequence[str]) -> re.Match[str] | None:
    """How `text` consists of these pieces and what stands between them."""
    return re.fullmatch("(.+?)".join(map(re.escape, pieces)) + r"(?:(?<!\.)\.)?", text)


def fill(value: str, page: Page, reality: Reality, depth: int) -> bool:
    """Whether `value` can stand for the %1 of a message: it is known itself."""
    here = Literal(
        page.name, 0, re.sub(r"\busername\b", cluster.USERS[0], value.removesuffix(":...")), 0
    )
    if re.fullmatch(r"https://\w+", here.text):
        return here.text.removeprefix("https://") in facts("hosts")
    if value == "..." or value.isdigit() or value in reality.default_names:
        return True
    return any(
        rule(here, page, reality) == "" for rule in (address, host, reader, file, path)
    ) or said_by_jupyter(value, page, reality, depth + 1)


def interface(literal: Literal, page: Page, reality: Reality) -> str | None:
    """The name of a tab that an extension of JupyterLab has."""
    return "" if literal.text in reality.tabs else None


def conflict(literal: Literal, page: Page, reality: Reality) -> str | None:
    """The lines that git puts around a conflict."""
    if not re.fullmatch(r"([<>=|])\1+", literal.text):
        return None
    return "" if literal.text in reality.conflict_marks else "git writes another number of them"


def own_words(literal: Literal, page: Page, reality: Reality) -> str | None:
    """Names of the university's own that no cluster of ours has: as Triton's old page has them."""
    if not re.fullmatch(r"[a-z_]{4,}( [a-z]+)?", literal.text) or literal.text in page.words:
        return None
    return (
        ""
        if any(
            re.search(rf"(?<![\w/.~-]){re.escape(literal.text)}(?![\w/-])", phrase)
            for phrase in reality.old_page
        )
        else None
    )


def classroom(literal: Literal, page: Page, reality: Reality) -> str | None:
    """On the page for those who teach: the guide's own repository, its tasks and settings, and what
    the editions have.
    """
    text = literal.text
    if page.name != "notebooks/teaching.rst":
        return None
    if text.startswith("make "):
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        return (
            ""
            if re.search(rf"^{re.escape(text.removeprefix('make '))}:.*##", makefile, re.MULTILINE)
            else "the Makefile has no such task"
        )
    if call := re.fullmatch(r"(?:python3|%run -e) (\w+\.py) (\d+) (\d+)", text):
        solved = [
            editions.exercises(notebook)
            for name, notebook in editions.load().items()
            if name.startswith(call[2])
        ]
        return (
            ""
            if (editions.STUDENT / call[1]).is_file()
            and len(solved) == 1
            and int(call[3]) <= solved[0]
            else "the student edition has no such program, notebook or exercise"
        )
    if text.startswith("_build/"):
        return "" if text in (ROOT / "Makefile").read_text(encoding="utf-8") else "no task makes it"
    if re.fullmatch(r'"\w+"', text):
        try:
            editions.released(text.strip('"'), "")
        except editions.CourseError as error:
            return str(error)
        return ""
    if re.fullmatch(r"\[\w+\]", text):
        return "" if text.strip("[]") in pages.facts() else "triton/facts.toml has no such table"
    checks = [
        cell
        for notebook in editions.load().values()
        for cell in notebook["cells"]
        if "check" in editions.tags(cell)
    ]
    known = {editions.BRANCH, "solutions.zip", "student.zip", *pages.facts()["course"]}
    return (
        ""
        if text in known
        or (ROOT / text).is_file()
        or all(text in editions.source(cell) for cell in checks)
        else None
    )


RULES = [
    classroom,
    port,
    fact,
    address,
    host,
    kernel_value,
    kernel_result,
    kernel_key,
    git_file,
    home_file,
    path,
    slurm_sign,
    ending,
    variable,
    notebook_line,
    conflict,
    key,
    protocol,
    made_up_error,
    python,
    option,
    slurm_word,
    module,
    message,
    r_name,
    ssh_keyword,
    package,
    command,
    elsewhere,
    file,
    links,
    reader,
    interface,
    own_words,
]


def check(literal: Literal, page: Page, reality: Reality) -> tuple[str | None, str]:
    """(the rule that knows `literal`, what is wrong with it); (None, ...) if no rule knows it."""
    for rule in RULES:
        problem = rule(literal, page, reality)
        if problem is not None:
            return rule.__name__, problem
    return (
        None,
        "no rule knows it: is it misspelt? If not, teach tools/proof/literals.py to check it",
    )

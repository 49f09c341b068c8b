"""The inline literals of the guide: where they stand, and what the small Triton says of each.

A rule is a function `rule(literal, page, reality)`. It returns None if the literal is none of its kind, "" if it is true,
or a sentence that says what is wrong. The first rule that knows a literal decides; one that no rule knows is a fault.
Rules ask the cluster and the programs on it, never the guide. What only a page can know (the names of its own example
files) must be in a command or a file that the page shows, since those are run.
"""
import ast
import contextlib
import functools
import http.client
import json
import mimetypes
import mmap
import ntpath
import os
import re
import shlex
import signal
import threading
import tomllib
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sybil import Document
from sybil.parsers.rest.lexers import DirectiveLexer
from triton import cluster

from . import pages

# As docutils has it: what may stand before and after, and no space inside at the ends.
LITERAL = re.compile(r"""(?:(?<=[\s'"(\[{<\-/:])|^)``(?=\S)(.+?)(?<=\S)``(?=[\s'")\]}>\-/:.,;!?\\]|$)""", re.DOTALL | re.MULTILINE)
CODE = "code-block|rendered-file|facts-table|toctree|contents"
# What prose calls programs. sjupyter hands its options to Slurm.
SPOKEN = {"Slurm": "srun", "sjupyter": "srun", "Chrome": "chromium"}
PLACEHOLDER = re.compile(r"%\d|%s|%u|%d|\{[^{}]*\}")


@dataclass(frozen=True)
class Literal:
    """Text between double backticks, and where it stands: line, and offset in the page."""

    page: str
    line: int
    text: str
    start: int

    @property
    def name(self):
        return f"{self.page}:{self.line} ``{self.text}``"


class Page:
    """A page with the facts filled in: its literals, and what stands around each."""

    def __init__(self, name, text=None):
        self.name, self.text = name, pages.read(name) if text is None else text
        self.code, self.files = [], {}
        hidden = list(self.text)
        for region in DirectiveLexer(CODE)(Document(self.text, name)):
            argument = region.lexemes["arguments"] or ""
            if region.lexemes["directive"] == "rendered-file":
                self.files[Path(argument.strip()).name] = pages.read(os.path.normpath(Path(name).parent / argument.strip()))
            elif region.lexemes["directive"] == "code-block":
                self.code.append((region.start, argument.strip(), str(region.lexemes["source"])))
            for position in range(region.start, region.end):
                if hidden[position] != "\n":
                    hidden[position] = " "
        prose = "".join(hidden)
        self.literals = [Literal(name, prose.count("\n", 0, found.start()) + 1, " ".join(found[1].split()), found.start())
                         for found in LITERAL.finditer(prose)]
        # What is inside literals is hidden from whoever looks for the ends of sentences.
        self.prose = LITERAL.sub(lambda found: re.sub(r"\S", "x", found[0]), prose)
        self._prose = prose

    @cached_property
    def commands(self):
        """(offset, command) of all that the page types after prompts, and of what its other code blocks hold."""
        found = []
        for start, language, source in self.code:
            for line in source.splitlines():
                prompt = pages.PROMPT.match(line)
                if prompt and prompt["command"]:
                    found.append((start, prompt["command"]))
                elif language in ("bash", "text") and line.strip():
                    found.append((start, line.strip()))
        for text in self.files.values():
            found += [(0, "sbatch " + line.removeprefix("#SBATCH ")) for line in text.splitlines() if line.startswith("#SBATCH ")]
            found += [(0, line) for line in text.splitlines() if text.startswith("#!/bin/bash") and re.match(r"\w", line)]
        return found

    @cached_property
    def words(self):
        """Every shell word of every command, and of the parts that = and $( separate."""
        found = set()
        for _, command in self.commands:
            for word in split(command, True):
                found |= {word, *re.split(r"=|\$\(|\)", word)}
        return found - {""}

    @cached_property
    def programs(self):
        """The programs that commands of the page run."""
        return {words[0].rsplit("/", 1)[-1] for _, command in self.commands for words in simple_commands(command)}

    def arguments(self, program):
        """The words that stand behind `program` in commands of the page."""
        found = [words for _, command in self.commands for words in simple_commands(command)]
        return {word for words in found if words[0] == program for word in words[1:]}

    def values(self, flag):
        """What this option is given in the commands of the page."""
        found = set()
        for _, command in self.commands:
            for words in simple_commands(command):
                found |= {word.partition("=")[2] for word in words if word.startswith(flag + "=")}
                found |= {value for word, value in zip(words, words[1:], strict=False) if word == flag and len(flag) == 2}
        return found

    def says_in_code(self, text):
        """Whether a command or a file of the page holds `text`, not as a part of a longer word."""
        sources = [command for _, command in self.commands] + list(self.files.values())
        edge = [r"(?<!\w)" if re.match(r"\w", text) else "", r"(?!\w)" if re.search(r"\w$", text) else ""]
        return any(re.search(edge[0] + re.escape(text) + edge[1], source) for source in sources)

    def _between(self, literal, before, after):
        begin = max((found.end() for found in re.finditer(before, self.prose[:literal.start])), default=0)
        end = re.compile(after).search(self.prose, literal.start)
        return begin, end.start() if end else len(self.prose)

    def sentence(self, literal):
        ends = r"\n[ \t]*\n|{}\s|\n\s*(?:[*#]\.? +|- )"
        return self._text(self._between(literal, ends.format("(?<=[.:?!;])"), ends.format("[.:?!;]")))

    def paragraph(self, literal):
        return self._text(self._between(literal, r"\n[ \t]*\n|\n\s*\* - ", r"\n[ \t]*\n|\n\s*\* - "))

    def in_table(self, literal):
        begin, end = self._between(literal, r"\n[ \t]*\n", r"\n[ \t]*\n")
        return re.match(r"\s*\* - ", self.prose[begin:end]) is not None

    def cell(self, literal):
        return self._text(self._between(literal, r"\n[ \t]*\n|\n\s*(?:\* )?- ", r"\n[ \t]*\n|\n\s*(?:\* )?- "))

    def section(self, literal):
        """The offsets of the section that the literal stands in."""
        return self._between(literal, r"\n[=~-]{4,}\n", r"\n[^\n]+\n[=~-]{4,}\n")

    def _text(self, offsets):
        return self._prose[slice(*offsets)]

    def beside(self, literal, text):
        """The other literals in a stretch of `text` around this one."""
        found = [" ".join(match[1].split()) for match in LITERAL.finditer(text)]
        return [other for other in found if other != literal.text]


def split(command, comments=False):
    try:
        return shlex.split(command, comments)
    except ValueError:
        return command.split()


def simple_commands(command):
    """The commands that pipes, && and $( ) connect, each as a list of words."""
    return [words for part in re.split(r"\|\|?|&&|;|\$\(|^\w+=\$\(", command.replace(")", " ")) if (words := split(part, True))]


def facts(*tables):
    """The values of these tables of triton/facts.toml, as text."""
    known = cluster.facts()
    return {str(value) for table in tables for value in known[table].values()}


PORTS = {str(cluster.facts()["proxy"][key]) for key in ("port", "example")}


def one_slip(first, second):
    """Whether two texts differ by one character that was added, left out or replaced."""
    if first == second or abs(len(first) - len(second)) > 1:
        return False
    head = len(os.path.commonprefix([first, second]))
    tail = len(os.path.commonprefix([first[head:][::-1], second[head:][::-1]]))
    return max(len(first), len(second)) - head - tail <= 1


# Names and addresses.

def fact(literal, page, reality):
    """What is outside the small Triton, as triton/facts.toml has it: the VPN, the pattern of logs."""
    return "" if literal.text in facts("cluster", "logs") else None


def address(literal, page, reality):
    """https:// and http:// addresses."""
    if not (found := re.match(r"https?://([^/:]+)(?::(\d+))?(/.*)?$", literal.text)):
        return None
    host, port, path = found.groups()
    site = cluster.facts()["site"]["url"]
    if literal.text.startswith(site):
        name = literal.text.removeprefix(site)
        return "" if name in published() else f"the site publishes no file {name}"
    if host != "localhost" and host not in facts("hosts"):
        return f"{host} is no host of triton/facts.toml"
    if port not in PORTS or path:
        return f"{port}{path or ''} is no port of triton/facts.toml"
    return ""


def published():
    """The files that the site has beside its pages."""
    return {str((Path(name).parent / file)) for name in pages.sources() for file in Page(name).files}


def host(literal, page, reality):
    """Names of hosts, of domains, and patterns of such names."""
    names, text = cluster.facts()["hosts"], literal.text
    if text == cluster.facts()["proxy"]["pattern"]:
        inside, outside = f"{names['node']}.{names['domain']}", names["login"]
        pattern = re.compile(".*".join(map(re.escape, text.split("*"))))
        return "" if pattern.fullmatch(inside) and not pattern.fullmatch(outside) else f"it does not tell {inside} from {outside}"
    if text == f".{names['domain']}":
        return "" if reality.resolves("login", names["node"] + text) else f"no compute node is called {names['node']}{text}"
    if text == "localhost":
        return "" if reality.resolves("laptop", text) else "it does not resolve"
    if text not in {names["login"], names["hub"], names["gateway"], names["node"]}:
        return None
    outside = re.search(r"outside|elsewhere|anywhere|jump|gateway", page.sentence(literal)) is not None
    if outside != reality.listens("outside", text):
        return f"from outside it {'does not answer' if outside else 'answers, and this sentence is not about outside'}"
    where = "outside" if text == names["gateway"] else "login" if text == names["node"] else "laptop"
    return "" if reality.resolves(where, text) else f"on {where} it does not resolve"


def port(literal, page, reality):
    """A bare port."""
    if not re.fullmatch(r"\d{2,5}", literal.text):
        return None
    return "" if literal.text in PORTS else f"triton/facts.toml has no port {literal.text}"


def reader(literal, page, reality):
    """The word that stands for the reader's own name: the one in the prompts."""
    users = set(re.findall(r"^\s*(\w+)@\w+:\S*\$", page.text, re.MULTILINE))
    return "" if users == {literal.text} else None


# kernel.json

def kernel_value(literal, page, reality):
    """What can stand in the env block or in argv of a kernel.json, and what the kernel gets of it."""
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
        return "" if reality.kernel_program(values[0]) else f"Jupyter does not replace {text} by its own Python"
    if '": ' in text:
        return "" if page.says_in_code(text) else "it does not stand in the kernel.json of this page"
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


def kernel_result(literal, page, reality):
    """The other side: what the kernel gets, in a table whose left side is what is written."""
    row = page.paragraph(literal)
    if not re.match(r"\s*``\"", row) or not re.search(r"[~$/]", literal.text):
        return None
    left = [found[1] for found in LITERAL.finditer(re.split(r"\n\s*- ", row, maxsplit=1)[0])]
    got = [reality.expanded(value[1:-1]) for value in left if '": ' not in value]
    return "" if literal.text in got else None


def kernel_key(literal, page, reality):
    """The keys of kernel.json."""
    return "" if literal.text in reality.jupyter_client["keys"] and page.says_in_code(f'"{literal.text}"') else None


# Paths.

def git_file(literal, page, reality):
    """Files of a git repository: git, nbdime and nbdime-git make them, or git knows them by name."""
    if not literal.text.startswith(".git"):
        return None
    return "" if literal.text in reality.git_files or reality.is_string("git", literal.text) else "neither git nor nbdime makes it"


def home_file(literal, page, reality):
    """Files and folders in a home directory: a program says that it uses them."""
    text = literal.text
    if text.startswith("%"):
        if "\\" not in text:
            return None
        name = ntpath.normpath(text).replace("\\", "/")
        variable, _, rest = name.partition("/")
        known = ntpath.expanduser.__code__.co_consts
        return home_path(f"~/{rest}", page, reality) if variable.strip("%") in known else f"Windows has no {variable}"
    if text.startswith("~/"):
        return home_path(text, page, reality)
    if re.fullmatch(r"\.[a-z]+rc", text):
        return "" if reality.exists(f"~/{text}") else "a new home directory has none"
    return None


def home_path(text, page, reality):
    if text in reality.home_places:
        return ""
    if any(reality.is_string(name, text) or text[2] == "." and reality.is_string(name, text[2:]) for name in ("bash", "ssh", "R")):
        return ""
    if page.says_in_code(text[1:]):    # ~/envs: the guide's own example, as $WRKDIR/envs
        return ""
    return "no program on the cluster uses it"


def path(literal, page, reality):
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


def ending(literal, page, reality):
    """Endings of file names: of files beside the page, of those that ssh-keygen and Slurm make, or of plain text."""
    text = literal.text
    if not re.fullmatch(r"\.\w+", text):
        return None
    near = {path.suffix for path in (pages.ROOT / page.name).parent.iterdir()} | {Path(name).suffix for name in page.files}
    made = {Path(name).suffix for name in reality.made_files}
    return "" if text in (near | made) - {".rst"} or mimetypes.guess_type("x" + text)[0] == "text/plain" else None


def file(literal, page, reality):
    """Names of files: beside the page, of the course, or of a command that some page shows."""
    text = literal.text
    if not re.fullmatch(r"[\w./-]+\.\w+|[a-z]+", text):
        return None
    if "." not in text:
        return "" if (pages.ROOT / text).is_dir() and page.name.startswith(text) else None
    if ((pages.ROOT / page.name).parent / text).is_file() or any(text in every(name).words or text in every(name).files
                                                                for name in ([page.name, *pages.sources()])):
        return ""
    if text in page.words or text in page.files:
        return ""
    return "" if text.endswith(".json") and reality.exists(f"{reality.central}/share/jupyter/kernels/python3/{text}") else None


def every(name, known={}):  # noqa: B006
    """The page `name` as it is in the checkout, read once."""
    if name not in known:
        known[name] = Page(name)
    return known[name]


def links(literal, page, reality):
    """The folders that one begins in: links to the cluster's own, by their names."""
    known = cluster.facts()["paths"]
    if literal.text not in {Path(known[key]).name for key in ("home", "scratch")}:
        return None
    return "" if reality.exists("/" + literal.text) else "the cluster has no such folder"


# Variables.

def variable(literal, page, reality):
    """Variables of the shell: set on the login node, in a job, by a command of the page, or read by a program."""
    text = literal.text
    name = re.fullmatch(r"\$\{?(\w+)\}?|([A-Z][A-Z0-9_]+)", text)
    if not name:
        return None
    name = name[1] or name[2]
    if name in reality.environment or name in reality.job_environment:
        return ""
    if "begin with" in page.sentence(literal) and any(known.startswith(f"{name}_") for known in reality.environment):
        return ""
    if any(re.match(rf"{name}=", command) for _, command in page.commands):
        return ""
    if reality.read_by_loader(name):
        return ""
    return "" if name == "_" else None


# Slurm.

def slurm_word(literal, page, reality):
    """States, reasons, columns and partitions, as Slurm's own library and programs have them."""
    text, known = literal.text, reality.slurm
    for kind in ("states", "codes", "reasons", "columns", "partitions", "steps"):
        if text in known[kind] and (kind != "codes" or "squeue" in page.words):
            return ""
    if text == known["unknown"]:
        return ""
    return None


def slurm_sign(literal, page, reality):
    """#SBATCH, %a, %20, the % of an array, the _ in a task's number, the name of an output."""
    text = literal.text
    if text.startswith("#") and len(text) > 1:
        return "" if reality.is_string("sbatch", text) else "sbatch does not look for it"
    if re.fullmatch(r"%\w+", text) and not reality.magic(text):
        if text[1:].isdigit():
            return "" if page.says_in_code(text) else "no command of this page asks for a column of that width"
        return "" if any(text in found[0] for _, command in page.commands for found in [re.search(r"--output=\S+", command)] if found) \
            else "no name of an output of this page holds it"
    if re.fullmatch(r"[^\w\s]|_", text) and "$" not in text:
        if text in reality.array_signs and re.search(r"squeue|scancel|--array", page.sentence(literal)):
            return ""
        begins = "begin with" in page.sentence(literal)
        return "" if begins and any(name.startswith(text) for name in reality.environment) else None
    if text.endswith("-") and text[:-1].isalpha():
        return "" if any(name.startswith(text) for name in reality.job_files) else "no output of a job begins so"
    if re.fullmatch(r"\.\w+", text) and any(re.fullmatch(r"[a-z]+-\d+" + re.escape(text), name) for name in reality.job_files):
        return ""
    return None


# Programs and their options.

def program_near(literal, page, reality):
    """Programs that an option may belong to, nearest first: named before it in the sentence or paragraph, typed in its section."""
    paragraph = page.paragraph(literal)
    before = paragraph[:max(paragraph.find(f"``{literal.text}``"), 0)]
    named = [split(" ".join(found[1].split())) for found in LITERAL.finditer(before)]
    after = [split(other) for other in page.beside(literal, page.sentence(literal))]
    yield from (words for words in [*reversed(named), *after] if words)
    begin, end = page.section(literal)
    blocks = [(start, command) for start, command in page.commands if start == 0 or begin <= start < end]
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


def option(literal, page, reality):
    """An option, with or without its value, of the program that the page speaks of here."""
    words = split(literal.text)
    if not words or not re.match(r"--?[A-Za-z]|--$", words[0]):
        return None
    tried = []
    for near in program_near(literal, page, reality):
        found = reality.program(near)
        if not found or str(found) in tried:
            continue
        tried.append(str(found))
        if found.words[0] in SPOKEN and words[0] != "--" and not reality.entry(found, words[0].split("=")[0]):
            found = reality.program([SPOKEN[found.words[0]]])   # what it does not know it hands on
        if reality.has_option(found, words[0].split("=")[0]):
            values = page.values(words[0].split("=")[0])
            given = words[0].partition("=")[2] or " ".join(words[1:])
            if given and len(values) == 1 and given not in values:
                return f"where this page runs it, it has the value {values.pop()}"
            return arguments(found, words, literal, page, reality)
    return f"the programs spoken of here ({', '.join(tried) or 'none'}) have no such option"


def command(literal, page, reality):
    """A command: its program is on the PATH, its options in the program's help, its other words known here."""
    words = split(literal.text)
    if not words or not re.match(r"\w|[./~]+\w", words[0]):
        return None
    while words and (found := re.fullmatch(r"([A-Z_]+)=\S*", words[0])):
        if not reality.in_scripts(found[1]):
            return f"no command of the cluster reads {found[1]}"
        words.pop(0)
    found = reality.program(words)
    if not found:
        return None
    rest = words[len(found.words):]
    if rest:
        return arguments(found, rest, literal, page, reality)
    if any(literal.text in every(name).programs for name in pages.sources()):
        return ""
    meant_one = next((name for name in page.programs if one_slip(name, literal.text) and reality.program([name])), None)
    return f"the page runs {meant_one}" if meant_one else ""


def arguments(program, words, literal, page, reality):
    """What is wrong with these options and other words of a program; "" if nothing is."""
    name = program.words[0]
    for number, word in enumerate(words):
        if re.match(r"--?[A-Za-z]|--$", word):
            flag = word.split("=")[0]
            if not reality.has_option(program, flag):
                return f"{program} has no option {flag}"
            if re.fullmatch(r"-\w", flag) and not meant(program, flag, literal, page, reality):
                said = " ".join(reality.entry(program, flag).split())[:200] or "nothing"
                return f"no page runs {program} with {flag}, and its manual speaks of something else than this sentence: {said}"
            value = word.split("=", 1)[1] if "=" in word else None
            if slip := value and slipped(word, page):
                return f"the page runs {slip}"
            if value and "://" in value and (fault := address(Literal(page.name, 0, value, 0), page, reality)):
                return fault
        elif fault := argument(program, words, number, page, reality):
            return fault
    return reality.try_out(program, words, page)


def meant(program, flag, literal, page, reality):
    """Whether a one-letter option is the one that the page means: commands that are run have it, or its manual speaks of the same."""
    for name in {*pages.sources()} - {page.name}:
        if runs(every(name), program, flag):
            return True
    if runs(page, program, flag) or reality.has_effect(program, flag):
        return True
    around = page.paragraph(literal) if page.in_table(literal) else page.sentence(literal)
    if "," in around and len(re.findall(r"``-", around)) > 1:    # one clause for each
        around = next((clause for clause in around.split(",") if f"``{literal.text}``" in " ".join(clause.split())), around)
    return bool(words_of(LITERAL.sub(" ", around)) & reality.meaning(program, flag))


def runs(page, program, flag):
    for _, command in page.commands:
        for words in simple_commands(command):
            if program.words[0] in (words[0], SPOKEN.get(words[0])) and flag in words:
                return True
    return False


def slipped(word, page):
    """The word of the page's commands from which `word` differs by one character; None if it stands there itself."""
    if word in page.words:
        return None
    return next((other for other in page.words if "=" in other and one_slip(word, other)), None)


def argument(program, words, number, page, reality):
    """What is wrong with a word that is no option, or ""."""
    word, before = words[number], words[number - 1] if number else ""
    if word in page.arguments(program.words[0]) and not re.fullmatch(r"[\d:]+", word):
        return ""
    if re.fullmatch(r":?\d{3,5}", word):
        return "" if word.lstrip(":") in PORTS else f"triton/facts.toml has no port {word.lstrip(':')}"
    if found := re.fullmatch(r"(\w+)@(\S+)", word):
        users = set(re.findall(r"^\s*(\w+)@\w+:\S*\$", page.text, re.MULTILINE))
        return "" if found[1] in users and found[2] in facts("hosts") else f"{word} is nobody on a host of triton/facts.toml"
    if re.fullmatch(r"[\w.-]+", word) and program.words[0] == "ssh" and "ssh_config" in page.files:
        return ""    # ssh -G says what becomes of it
    if program.words[:2] == ("module", "load"):
        return "" if word in reality.modules else f"module avail has no {word}"
    if program.words[:2] == ("pip", "install"):
        return "" if word in reality.wheels else f"there is no package {word}"
    if re.match(r"-[A-Za-z]$", before) and before != "-o":
        return ""    # its value; trying it out tells
    if word in page.files:
        return ""
    if re.fullmatch(r"\$\w+", word) and program.words[0] == "echo":
        return "" if mentioned(word[1:], page) > 1 else f"{word} stands nowhere else on this page"
    return f"{program} knows no {word!r}, and no command of this page has it"


def mentioned(name, page):
    """How often a made-up name stands in the page: one that stands once may be misspelt."""
    return len(re.findall(rf"(?<!\w){re.escape(name)}(?!\w)", page.text))


def elsewhere(literal, page, reality):
    """Commands that other clusters have: those that come with Slurm's sources."""
    if not re.match(r"\W*Some clusters\b", page.sentence(literal)):
        return None
    return "" if reality.contributed_to_slurm(literal.text) else None


def module(literal, page, reality):
    """Modules, with or without version, and versions."""
    if literal.text in reality.modules or literal.text in {name.partition("/")[0] for name in reality.modules}:
        return "" if literal.text in facts("modules") else "triton/facts.toml does not have it"
    if "/" in literal.text and re.fullmatch(r"[\w.]+/[\w.]+", literal.text) and not Path(literal.text).suffix.strip(".").isalpha():
        return "module avail has no such module"
    return "" if literal.text in {name.partition("/")[2] for name in reality.modules} and "called" in page.sentence(literal) else None


# Python, notebooks, R.

def notebook_line(literal, page, reality):
    """Lines of a cell: ! and % commands, and the numbers beside cells."""
    text = literal.text
    if (found := re.fullmatch(r"!(.*)", text)) and (found[1] or re.search(r"line|cell", page.sentence(literal))):
        if not reality.shell_escape(text):
            return "IPython does not take it for a shell command"
        inner = found[1] and command(Literal(literal.page, literal.line, found[1], literal.start), page, reality)
        return "" if not found[1] else inner if inner is not None else f"no program {found[1].split()[0]}"
    if text.startswith("%") and re.match(r"%[a-z]+( |$)", text) and reality.magic(text):
        names = re.findall(r"\b[A-Z_]{3,}\b", text)
        lonely = [name for name in names if mentioned(name, page) < 2]
        return f"{lonely[0]} stands nowhere else on this page" if lonely else ""
    if re.fullmatch(r"\[.*\]", text):
        return "" if text in reality.prompts else "JupyterLab shows no such number beside a cell"
    return None


def python(literal, page, reality):
    """Python: keywords, and expressions that evaluate."""
    text = literal.text
    if re.fullmatch(r"[a-z]+", text):
        return "" if text in reality.python_keywords and re.search(r"[Ii]mport|step|cell|Python|notebook", page.paragraph(literal)) else None
    if re.search(r"\(\)$", text) or text.startswith("import "):
        return "" if reality.evaluates(text) else "Python does not know it"
    return None


def r_name(literal, page, reality):
    """Functions of R."""
    if not re.fullmatch(r"[a-z]+\.[a-z]+", literal.text) or not re.search(r"(?<!\w)R(?!\w)", page.paragraph(literal)):
        return None
    return "" if reality.in_r(literal.text) else None


def package(literal, page, reality):
    """Python packages that commands of the page install, and that can be installed."""
    return "" if literal.text in reality.wheels and literal.text in page.words else None


# Keys and answers.

def key(literal, page, reality):
    """Keys: JupyterLab's shortcuts, those of the pager, answers to questions of ssh."""
    text = literal.text
    if found := re.fullmatch(r"Control-([A-Z])", text):
        return "" if f"^{found[1]}" in reality.terminal_keys else "it does nothing in a terminal"
    if "-" in text and text.split("-")[0] in ("Control", "Shift", "Alt"):
        return "" if text in reality.shortcuts else "JupyterLab has no such shortcut for running a cell"
    if re.fullmatch(r"[a-z]", text) and "long list" in page.paragraph(literal):
        return "" if text in reality.pager_quits else "it does not end the pager"
    if re.search(r"answer\s*$", page._prose[:literal.start]):
        return "" if text in reality.answers(page.paragraph(literal)) else "ssh and ssh-keygen do something else on that answer"
    return None


def protocol(literal, page, reality):
    """A kind of proxy, as PAC files name it."""
    if not re.fullmatch(r"SOCKS\w*", literal.text):
        return None
    pac = [text for name in pages.sources() for file, text in every(name).files.items() if file.endswith(".pac")]
    used = {kind for text in pac for kind in re.findall(r'return "(\w+) localhost', text)}
    return "" if literal.text in used and reality.curl_knows(literal.text) else "the PAC file and curl have another kind"


def ssh_keyword(literal, page, reality):
    """Keywords of an ssh configuration."""
    if not re.fullmatch(r"([A-Z][a-z]+){2,}", literal.text) or not any(literal.text in text for text in page.files.values()):
        return None
    return "" if reality.ssh_keyword(literal.text) else "ssh has no such setting"


# What programs print.

def made_up_error(literal, page, reality):
    """Errors of Python and of the shell about a name that is not there."""
    text = literal.text
    if found := re.fullmatch(r"(\w+): command not found", text):
        known = reality.program([found[1]])
        return "" if known and reality.shell_says(found[1], text) else "the shell does not say that, or nobody knows that program"
    if found := re.fullmatch(r"(\w+Error): .*'(\w+)'", text):
        if not reality.python_says(text, found[2]):
            return "Python says something else"
        return ""
    return None


def message(literal, page, reality):
    """What Slurm, ssh, curl, git, the system and JupyterLab print: brought about, or found in the program."""
    text = literal.text
    if not re.search(r"\w.*[\s_-].*\w", text) and text not in reality.signals:
        # of single words, those that JupyterLab has for a state
        return "" if text.istitle() and len(text) > 6 and text in reality.jupyter_messages[0] else None
    scenes = reality.scenes_that_say(text)
    if scenes:
        cell = page.cell(literal)
        if page.in_table(literal):
            for other in page.beside(literal, cell):
                if re.search(r"\s|[A-Z]_", other) and (theirs := reality.scenes_that_say(other)) and not theirs & scenes:
                    return f"it comes when {', '.join(sorted(scenes))}, and {other!r}, beside it, when {', '.join(sorted(theirs))}"
        return ""
    if text in reality.system_messages or text in reality.signals:
        return ""
    if len(text) > 6 and not reality.program(split(text)) and reality.printed_by_programs(text):
        return ""
    return "" if said_by_jupyter(text, page, reality) else None


def said_by_jupyter(text, page, reality, depth=0):
    """Whether JupyterLab or a server of the environment says `text`; what stands for %1 must be known itself."""
    plain, templates = reality.jupyter_messages
    if text in plain:
        return True
    if found := re.fullmatch(r"(?:Error: )?HTTP (\d{3}): (.+?) \((.+)\)", text):   # as tornado writes it, and the hub's page before it
        code, phrase, reason = found.groups()
        return phrase == http.client.responses.get(int(code)) and said_by_jupyter(reason, page, reality, depth)
    for pieces in templates if depth < 2 else ():
        if all(piece in text for piece in pieces) and (found := re.fullmatch("(.+?)".join(map(re.escape, pieces)) + r"\.?", text)):
            if all(fill(value, page, reality, depth) for value in found.groups()):
                return True
    return False


def fill(value, page, reality, depth):
    here = Literal(page.name, 0, value.removesuffix(":..."), 0)
    if re.fullmatch(r"http://\w+", here.text):
        return here.text.removeprefix("http://") in facts("hosts")
    if value == "..." or value.isdigit() or value in reality.default_names:
        return True
    return any(rule(here, page, reality) == "" for rule in (address, host, reader, file)) or said_by_jupyter(value, page, reality, depth + 1)


def interface(literal, page, reality):
    """The name of a tab that an extension of JupyterLab has."""
    return "" if literal.text in reality.tabs else None


def conflict(literal, page, reality):
    """The lines that git puts around a conflict."""
    if not re.fullmatch(r"([<>=|])\1+", literal.text):
        return None
    return "" if literal.text in reality.conflict_marks else "git writes another number of them"


def own_words(literal, page, reality):
    """Names of the university's own that no cluster of ours has: as Triton's old page has them."""
    if not re.fullmatch(r"[a-z_]{4,}( [a-z]+)?", literal.text) or literal.text in page.words:
        return None
    return "" if any(re.search(rf"(?<![\w/.~-]){re.escape(literal.text)}(?![\w/-])", phrase) for phrase in reality.old_page) else None


RULES = [fact, address, host, port, kernel_value, kernel_result, kernel_key, git_file, home_file, path, slurm_sign, ending, variable,
         notebook_line, conflict, key, protocol, made_up_error, python, option, slurm_word, module, message, r_name, ssh_keyword,
         package, command, elsewhere, file, links, reader, interface, own_words]


def check(literal, page, reality):
    """(the rule that knows `literal`, what is wrong with it); (None, ...) if no rule knows it."""
    for rule in RULES:
        said = rule(literal, page, reality)
        if said is not None:
            return rule.__name__, said
    return None, "no rule knows it: is it misspelt? If not, teach tests/guide/literals.py to check it"


# What the cluster and the programs on it say. Each question is put once.

def words_of(text):
    """The words of a text that mean something, cut to their stems."""
    return {word[:5] for word in re.findall(r"[a-z]{4,}", text.lower())} - {word[:5] for word in COMMON.split()}


COMMON = """also been before both does each else ever first from have here into like more most must need only other over such than that
their them then there these they this those time used uses using very what when where which while will with without your option options
value specify specified default given command commands name same some should instead about above below example"""


@dataclass(frozen=True)
class Program:
    """A program, with its subcommand, and the shell commands that make it available on `host`."""

    host: str
    before: str
    words: tuple[str, ...]

    def __str__(self):
        return " ".join(self.words)


def once(method):
    """A method whose answer is kept; two threads that ask the same wait for one answer."""
    @functools.wraps(method)
    def ask(self, *arguments):
        with self._guard:
            question = (method.__name__, arguments)
            mine = question not in self._answers
            answer = self._answers.setdefault(question, Future())
        if mine:
            try:
                answer.set_result((method(self, *arguments), None))
            except Exception as error:
                answer.set_result((None, error))
        value, error = answer.result()
        if error:
            raise RuntimeError(f"{method.__name__}{arguments or ''}: {error}")    # a new one: what is raised anew grows
        return value
    return ask


def fixed(method):
    return property(once(method))


class Reality:
    """A running small Triton, a user of it, and the programs that are installed there."""

    def __init__(self, triton):
        self.triton, self.user = triton, triton.account()
        self._answers, self._guard = {}, threading.Lock()
        self.central = Path(cluster.facts()["paths"]["jupyter_env"])
        # The same files, as this machine has them.
        self.installed = cluster.APPS / "apps" / self.central.relative_to(cluster.facts()["paths"]["apps"])
        # What takes long is asked beforehand, a part of it on the other processor.
        self._beforehand = [threading.Thread(target=self._ask_each, args=names, daemon=True) for names in (
            ("scenes", "_jobs", "_repository"), ("jupyter_client", "_ipython", "_jupyter_defaults", "jupyter_messages"))]
        for thread in self._beforehand:
            thread.start()

    def _ask_each(self, *names):
        for name in names:
            with contextlib.suppress(RuntimeError):    # kept, and raised for whoever asks next
                getattr(self, name)

    def close(self):
        for thread in self._beforehand:
            thread.join(300)

    def ask(self, host, script, timeout=60):
        """(exit status, what was printed) of a script in a login shell of the user on `host`."""
        done = self.triton.run(host, f"exec 2>&1; {script}", self.user, check=False, timeout=timeout)
        return done.returncode, done.stdout + done.stderr

    def answer(self, host, script):
        """As `ask`, for what must succeed."""
        status, printed = self.ask(host, script)
        if status:
            raise RuntimeError(f"on {host}: {script}\n{printed}")
        return printed

    def python(self, code, *arguments):
        """What Python of the central environment prints."""
        return self.answer("login", shlex.join([f"{self.central}/bin/python", "-c", code, *arguments]))

    # hosts, paths, variables

    @once
    def resolves(self, host, name):
        return self.ask(host, f"getent hosts {shlex.quote(name)}")[0] == 0

    @once
    def listens(self, host, name):
        """Whether one gets an ssh connection from `host` to `name`."""
        return self.ask(host, f"timeout 2 bash -c ': < /dev/tcp/{name}/22' 2>/dev/null")[0] == 0

    @once
    def exists(self, path):
        quoted = "~/" + shlex.quote(path[2:]) if path.startswith("~/") else shlex.quote(path)
        return self.ask("login", f"test -e {quoted}")[0] == 0

    @fixed
    def environment(self):
        """The variables of a login shell."""
        return dict(pair.split("=", 1) for pair in self.answer("login", "env -0 | tr '\\n' ' '").split("\0") if "=" in pair)

    @once
    def read_by_loader(self, name):
        """Whether the dynamic loader speaks of the variable `name` in its help."""
        loader = re.search(r"\S+/ld-linux\S+", self.answer("login", "ldd /bin/true"))[0]
        return re.search(rf"(?<!\w){name}(?!\w)", self.answer("login", f"{loader} --help")) is not None

    @fixed
    def home_places(self):
        """The folders below a home directory that programs say they use, and those above them, as ~/..."""
        said = self.answer("login", f"""{self.central}/bin/jupyter --paths; {self.central}/bin/python -m site; pip cache dir; pipx environment
            {self.central}/bin/python -c 'import send2trash.plat_other as trash; print(trash.HOMETRASH)'""")
        found = set()
        for place in re.findall(rf"{cluster.facts()['paths']['home']}/{self.user}(/[\w./-]+)", said):
            for folder in (Path(place), *Path(place).parents):
                found.add(f"~{folder}")
        return found

    @fixed
    def modules(self):
        said = self.answer("login", "module -t avail")
        return {line for line in said.split() if "/" in line and not line.endswith((":", "/"))}

    @fixed
    def wheels(self):
        return {path.name.split("-")[0].replace("_", "-").lower() for path in (cluster.APPS / "wheels").glob("*.whl")}

    # Slurm

    @fixed
    def slurm(self):
        """What Slurm knows: states, their codes, reasons, columns, partitions, steps; and how it writes that it does not know."""
        code = """import ctypes, glob, json
library = ctypes.CDLL(glob.glob("/usr/lib/*/slurm*/libslurmfull.so")[0])
def names(function, most):
    function = getattr(library, function)
    function.restype = ctypes.c_char_p
    return [function(number).decode() for number in range(most)]
print(json.dumps([names("job_state_string", 16), names("job_state_string_compact", 16), names("job_reason_string", 256)]))"""
        states, codes, reasons = (set(names) for names in json.loads(self.answer("login", shlex.join(["python3", "-c", code]))))
        columns = self.answer("login", "sacct --helpformat; sstat --helpformat").split()
        partitions = self.answer("login", "sinfo --noheader --format=%R").split()
        shown = set(self._jobs["waiting"].split() + self._jobs["running"].split())
        printed = re.findall(r"(?<=\s)[A-Z]/[A-Z](?=\s)", self._jobs["waiting"])
        return {"states": states - {"?"}, "codes": codes & shown, "reasons": {name for name in reasons if not name.isdigit()},
                "columns": set(columns), "partitions": set(partitions), "unknown": printed[0] if printed else None,
                "steps": set(re.findall(r"^\d+\.([a-z]+)", self._jobs["steps"], re.MULTILINE))}

    @fixed
    def _jobs(self):
        """Two jobs that were run: the variables of one with tasks, the files that they left, and how Slurm lists them."""
        printed = self.answer("login", r"""rm -rf jobs && mkdir jobs && cd jobs &&
            sbatch --quiet --wait --array=0-1 --output=%A_%a.env --wrap 'env' && sbatch --quiet --wait --wrap 'squeue --me' &&
            held=$(sbatch --parsable --hold --array=0-3%2 --wrap true) && echo ==waiting && squeue --me --start && squeue --me --array &&
            scancel $held && echo ==running && cat slurm-*.out && echo ==files && ls && echo ==env && cat *_0.env && echo ==steps &&
            for try in 1 2 3 4 5 6 7 8; do sacct --noheader --parsable2 --format=JobID | grep batch && break; sleep 0.5; done""")
        parts = re.split(r"^==(\w+)\n", printed, flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2], strict=True))

    @property
    def job_environment(self):
        return {line.split("=")[0] for line in self._jobs["env"].splitlines() if "=" in line}

    @property
    def job_files(self):
        return [name for name in self._jobs["files"].split() if not name.endswith(".env")]

    @property
    def array_signs(self):
        """What Slurm writes between the numbers of a job and of its task, and before the number of tasks at a time."""
        found = re.findall(r"^\s*\d+(\D)\[?\d+(?:-\d+(\D))?", self._jobs["waiting"], re.MULTILINE)
        return {sign for signs in found for sign in signs} - {"", " ", "]"}

    @once
    def contributed_to_slurm(self, name):
        """Whether Slurm's sources have a command of that name beside Slurm's own; Debian lists who wrote which."""
        return self.ask("login", f"grep -qw contribs/{shlex.quote(name)} /usr/share/doc/slurm-client/copyright")[0] == 0

    # programs

    @fixed
    def places(self):
        """(host, what to do first, the names of all programs there), in the order in which a reader comes to them."""
        names = "IFS=:; ls $PATH 2>/dev/null; compgen -b; compgen -A function"
        found = []
        for host in ("login", "laptop"):
            found.append((host, "", set(self.ask(host, names)[1].split())))
        central = cluster.facts()["modules"]["jupyter"]
        for module in sorted(self.modules, key=lambda name: name != central):
            before = f"module load {module}; "
            found.insert(-1, ("login", before, set(self.ask("login", before + names)[1].split())))
        return found

    def program(self, words):
        """The Program that a command's first words name, with its subcommand; None if there is none."""
        return self._program(tuple(words))

    @once
    def _program(self, words):
        name = words[0] if words else ""
        if re.search(r"(?:^|/)python3?$", name) and words[1:2] == ("-m",):
            return Program("login", f"module load {cluster.facts()['modules']['jupyter']}; ", ("python", *words[1:4]))
        if re.fullmatch(r"(?:~|\$\w+)?(?:/[\w.-]+)+", name):
            name = name.rsplit("/", 1)[-1]
        for host, before, names in self.places:
            if name in names:
                program = Program(host, before, (name,))
                for word in words[1:]:
                    if not re.fullmatch(r"[a-z][a-z-]+", word) or not self._has_part(program, word):
                        break
                    program = Program(host, before, (*program.words, word))
                return program
        return None

    @once
    def _has_part(self, program, word):
        """Whether `word` is a subcommand."""
        if program.words == ("git",):
            return word in self.answer(program.host, "git --list-cmds=main,others").split()
        if program.words[0] == "git":
            return re.search(rf"git {program.words[1]} \(?(?:[\w| ]*[| (])?{word}(?!\S)", self.help(program)) is not None
        if program.words == ("module",):
            return re.search(rf"^ {{2}}(?:\S+ \| )*{word}(?![\w-])", self.help(program), re.MULTILINE) is not None
        if len(program.words) > 1 or program.words[0] in ("echo", "bash", "ssh", "exit", "srun", "sbatch"):
            return False
        listed = re.search(rf"(?:^ {{2,}}|[{{,|] ?|(?:modules|subcommands):[\w \n]* |{program.words[0]} (?:\[[^\]]*\] )?\(?(?:[\w|]+\|)?){word}(?![\w-])",
                           self.help(program), re.MULTILINE)
        return listed is not None

    @once
    def help(self, program):
        """What a program says when it is asked how to use it."""
        words = shlex.join(program.words)
        if program.words[0] == "module":
            ways = ["module help"]
        elif program.words[0] == "git":
            ways = [f"git {words.split(' ', 1)[1]} -h" if len(program.words) > 1 else "git --help"]
            if len(program.words) > 2:
                ways = [f"git {program.words[1]} -h"]
        elif program.words[0] in self.builtins:
            ways = [f"help {words}"]
        else:
            ways = [f"{words} --help", f"{words} -h"]
            if program.words[0] == "curl":
                ways = ["curl --help all"]
        printed = ""
        for way in ways:
            printed = self.ask(program.host, program.before + f"timeout 20 {way}" if way[:4] not in ("modu", "help") else way)[1]
            if re.search(r"usage|options", printed, re.IGNORECASE):
                break
        return printed

    @fixed
    def builtins(self):
        return set(self.answer("login", "compgen -b").split())

    @once
    def manual(self, program):
        name = "-".join(program.words[:2]) if program.words[0] == "git" and len(program.words) > 1 else program.words[0]
        status, printed = self.ask(program.host, f"MANWIDTH=200 man {name} 2>/dev/null | col -bx")
        return printed if len(printed) > 200 else ""

    @once
    def has_option(self, program, flag):
        """Whether a program's help, or else its manual, has this option."""
        exact = re.compile(rf"(?<![\w-])(?:{re.escape(flag)}|--\[no-\]{re.escape(flag[2:])})(?![\w-])" if flag.startswith("--")
                           else rf"(?<![\w-]){re.escape(flag)}(?!\w|-\w)")
        if program.words[0] == "chromium" and flag.startswith("--"):
            return self.is_string("chromium", flag[2:])
        said = self.help(program)
        if flag == "--help":
            return self.ask(program.host, f"{program.before}{program} --help")[0] == 0
        if exact.search(said) or len(flag) == 2 and any(flag[1] in some for some in re.findall(r"\[-(\w+)\]", said)):
            return True
        return re.search(rf"^\s+(?:-\w, )*{re.escape(flag)}(?!\w|-\w)", self.manual(program), re.MULTILINE) is not None

    @once
    def entry(self, program, flag):
        """What the manual says of a one-letter option; "" if it is not there."""
        for text in (self.manual(program), self.help(program)):
            if found := re.search(rf"^( *)(?:--?\w[\w-]*[ ,]+)*{re.escape(flag)}(?![\w-])[^\n]*(?:\n(?:\1 +[^\n]*)?)*", text, re.MULTILINE):
                return found[0]
        return ""

    @once
    def meaning(self, program, flag):
        """The words by which the manual tells this option from most others."""
        entries = [self.entry(program, f"-{letter}") for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"]
        entries = [words_of(entry) for entry in entries if entry]
        own = words_of(self.entry(program, flag))
        return {word for word in own if sum(word in other for other in entries) <= max(2, len(entries) / 5)}

    @once
    def has_effect(self, program, flag):
        """Whether git or ssh does something else with this option than without; for the others, False."""
        if program.words[0] == "git" and len(program.words) == 2:
            do = f"git {program.words[1]}"
            said = [self.ask("login", f"rm -rf effect; cp -r repository effect; cd effect; git add base; git commit -qm x; echo b >> base; "
                                      f"{do} {given} < /dev/null && git status --porcelain")[1] for given in ("", flag) if self._repository]
            return said[0] != said[1] and not re.search(r"^(error|fatal|usage)", said[1], re.MULTILINE)
        if program.words == ("ssh",):
            if self.ask("laptop", f"ssh {flag} < /dev/null")[0] == 0:
                return True
            user, ssh = self._traveller
            scripts = [f"timeout 2 {ssh.replace('ssh', given, 1)} < /dev/null" for given in ("ssh", f"ssh {flag}")]
            return [self.triton.run("laptop", script, user, check=False).returncode for script in scripts] == [0, 124]
        return False

    @fixed
    def _traveller(self):
        """A user who has a key on the login node, and the ssh command that goes there."""
        user = self.triton.account()
        for host in ("laptop", "login"):
            self.triton.run(host, "mkdir -pm 700 .ssh", user)
        self.triton.run("laptop", "rm -f .ssh/id_* known other*; ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519", user)
        self.triton.write("login", ".ssh/authorized_keys", self.triton.run("laptop", "cat .ssh/id_ed25519.pub", user).stdout, user)
        options = "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=known"
        return user, f"ssh {options} {user}@{cluster.facts()['hosts']['login']}"

    def try_out(self, program, words, page):
        """Run what may be run, as far as it goes; return what it complains about, or ""."""
        return self._try_out(program, tuple(words), page.files.get("ssh_config", ""),
                             tuple((name, text) for name, text in page.files.items() if name.endswith(".sh")))

    @once
    def _try_out(self, program, words, ssh_config, scripts):
        name, given = program.words[0], shlex.join(words)
        known = cluster.facts()["hosts"]
        if name == "ssh":
            if len(words) == 1 and words[0].startswith("-"):
                return ""    # an option without its value
            elsewhere = not re.match(r"-", words[-1]) and not (len(words) > 1 and re.match(r"-[A-Za-z]$", words[-2]))
            target = "" if elsewhere or "-o" in words else f" username@{known['login']}"
            self.triton.write("laptop", "~/ssh_config_of_page", ssh_config, self.user)
            status, said = self.ask("laptop", f"ssh -F ~/ssh_config_of_page -G {given}{target}")
            if status:
                return said.strip().splitlines()[-1]
            settings = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
            if settings.get("hostname") != known["login"] or settings.get("user") != "username":
                return f"it would log in as {settings.get('user')} on {settings.get('hostname')}"
            ports = re.findall(r"\d{3,}", settings.get("dynamicforward", ""))
            if not set(ports) <= PORTS:
                return f"triton/facts.toml has no port {ports[0]}"
            jump = settings.get("proxyjump")
            return f"it would go over {jump}" if jump and jump != f"username@{known['gateway']}" else ""
        if name == "lsof":
            status, said = self.ask("laptop", f"lsof {given}")
            return said.splitlines()[0] if "lsof" in said else ""
        if name == "git" and (tool := re.search(r"--tool=(\S+)", given)):
            return "" if tool[1] in self.git_tools[program.words[1]] else f"git {program.words[1]} knows no tool {tool[1]}"
        if name in ("srun", "sbatch", "squeue", "sacct", "scancel", "bash"):
            assert self._jobs    # they have ended: scancel --me must not hit them
            plain = [word for word, before in zip(words, ("", *words), strict=False) if word[0] != "-" and not re.fullmatch("-[A-Za-z]", before)]
            if name in ("srun", "sbatch") and not plain:
                if all("=" not in word and re.match("-", word) for word in words):
                    return ""   # an option without its value
                if gres := re.search(r"--gres=(\w+):\d+$", given):
                    return "" if self.gres_plugin(gres[1]) else f"Slurm has no kind of resource called {gres[1]}"
                status, said = self.ask("login", f"sbatch --test-only {given} --wrap true")
                return said.strip().splitlines()[-1] if status else ""
            if all("=" not in word and re.match("--", word) for word in words) and name in ("sbatch", "sacct"):
                return ""
            for script, text in scripts:
                self.triton.write("login", f"~/{script}", text, self.user)
            where = program.before + "module load " + cluster.facts()["modules"]["python"] + "; " if name == "bash" else ""
            status, said = self.ask("login", f"{where}timeout 30 {name} {given}")
            return (said.strip().splitlines() or [f"exit status {status}"])[0] if status else ""
        return ""

    @once
    def gres_plugin(self, name):
        return self.ask("login", f"ls /usr/lib/*/slurm*/gres_{name}.so")[0] == 0

    @once
    def in_scripts(self, name):
        """Whether a command of the cluster's own reads the variable `name`."""
        return self.ask("login", f"grep -rqw {shlex.quote(name)} {cluster.facts()['paths']['apps']}/triton/bin")[0] == 0

    def binary(self, name):
        """The files that the program `name` is made of: itself, or what it loads."""
        made_of = {"ssh": ["/usr/bin/ssh"], "bash": ["/bin/bash"], "git": ["/usr/bin/git"], "sbatch": ["/usr/bin/sbatch"],
                   "R": ["/usr/lib/R/lib/libR.so", "/usr/lib/R/library/base/R/Rprofile"], "chromium": ["/usr/lib/chromium/chromium"]}
        return [path for path in made_of[name] if os.path.exists(path)]

    @once
    def is_string(self, name, text):
        """Whether `text` is a whole string of the program `name`, or a path at the end of one."""
        pattern = re.compile(rb"(?:\0|[~%]s?/|^|[\"'])" + re.escape(os.fsencode(text)) + rb"[\0\"']")
        for path in self.binary(name):
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if pattern.search(content):
                    return True
        return False

    # ssh, git

    @fixed
    def made_files(self):
        """The files that ssh-keygen makes for one key, and those of Slurm for jobs."""
        return self.answer("laptop", "rm -rf key; mkdir key; cd key; ssh-keygen -q -t ed25519 -N '' -f id; ls").split() + self.job_files

    @once
    def ssh_keyword(self, name):
        return self.ask("laptop", f"ssh -o {shlex.quote(name)}=1 -G nowhere")[0] == 0

    def answers(self, paragraph):
        """The answers after which ssh trusts a host, or ssh-keygen keeps an old key: whichever the paragraph is about."""
        return self._keeps_key if "passphrase" in paragraph else self._trusts

    @fixed
    def _keeps_key(self):
        kept = set()
        for word in "yn":
            said = self.answer("laptop", f"rm -f old*; ssh-keygen -q -t ed25519 -N '' -f old; cp old.pub before; echo {word} | "
                               "ssh-keygen -t ed25519 -N '' -f old; cmp -s old.pub before && echo KEPT; true")
            if "KEPT" in said and "(y/n)" in said:
                kept.add(word)
        return kept

    @fixed
    def _trusts(self):
        with open("/usr/bin/ssh", "rb") as file:
            question = re.search(rb"continue connecting \(([a-z]+)/", file.read())
        return {question[1].decode()} if question else set()

    @fixed
    def _repository(self):
        """A repository with everything that the guide sets up in it."""
        return self.answer("login", f"""rm -rf repository; mkdir repository; cd repository; git init -q; 
            git config user.name N; git config user.email e@x
            nbdime-git enable >/dev/null && {self.central}/bin/nbdime config-git --enable
            echo ==files; find .git .gitattributes -maxdepth 2
            echo ==mergetool; git mergetool --tool-help; echo ==difftool; git difftool --tool-help
            echo ==marks; printf 'a\\n' > base; printf 'b\\n' > one; printf 'c\\n' > two; git merge-file --diff3 -p one base two; true""")

    @property
    def git_files(self):
        return set(re.search(r"==files\n(.*?)==", self._repository, re.DOTALL)[1].split())

    @property
    def git_tools(self):
        told = re.split(r"^==(\w+)\n", self._repository, flags=re.MULTILINE)
        told = dict(zip(told[1::2], told[2::2], strict=True))
        return {name: set(re.findall(r"^\s+(\w+)(?:\.cmd)?\b", told[name], re.MULTILINE)) for name in ("mergetool", "difftool")}

    @property
    def conflict_marks(self):
        return set(re.findall(r"^[<=>|]{5,}", self._repository.split("==marks")[1], re.MULTILINE))

    # Python, Jupyter, R

    @fixed
    def python_keywords(self):
        return set(self.python("import keyword; print(*keyword.kwlist)").split())

    @once
    def evaluates(self, text):
        """Whether the names in `text` exist; a call at its end is not made."""
        code = """import ast, importlib, sys
tree = ast.parse(sys.argv[1])
if not tree.body or not isinstance(tree.body[-1], ast.Expr): sys.exit(1)
last = tree.body[-1].value
last = last.func if isinstance(last, ast.Call) else last
names = {node.id: importlib.import_module(node.id) for node in ast.walk(last) if isinstance(node, ast.Name) and len(tree.body) == 1}
exec(compile(ast.Module(tree.body[:-1], []), "", "exec"), names)
eval(compile(ast.Expression(last), "", "eval"), names)"""
        return self.ask("login", shlex.join([f"{self.central}/bin/python", "-c", code, text]))[0] == 0

    @once
    def python_says(self, text, name):
        """Whether text is what Python ends with when it imports `name`, or takes it from the environment."""
        for code in (f"import {name}", f"import os; os.environ[{name!r}]"):
            status, said = self.ask("login", shlex.join([f"{self.central}/bin/python", "-c", code]))
            if status and said.strip().splitlines()[-1] == text:
                return True
        return False

    @once
    def shell_says(self, name, text):
        """Whether a shell that does not have `name` says `text`. A module function is what a plain shell has not."""
        said = self.ask("login", f"env -i PATH=/nowhere /bin/bash --norc --noprofile -c {shlex.quote(name)}")[1]
        return said.strip().endswith(": " + text)

    @fixed
    def _ipython(self):
        code = """import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "autoreload")
print(json.dumps({"magics": sorted(shell.magics_manager.magics["line"]), "first": shell.execution_count}))"""
        return json.loads(self.python(code).strip().splitlines()[-1])

    def magic(self, text):
        name = text[1:].split(" ")[0]
        return name in self._ipython["magics"] and re.fullmatch(r"%\w+|%env \w+=\S+", text) is not None

    @once
    def shell_escape(self, text):
        code = "import sys; from IPython.core.inputtransformer2 import TransformerManager; print(TransformerManager().transform_cell(sys.argv[1]))"
        return "system(" in self.python(code, text if text[1:] else f"{text}x")

    @property
    def prompts(self):
        """What stands beside cells: the number of the first, and of one that runs."""
        scripts = "".join(path.read_text(encoding="utf-8") for path in (self.installed / "share/jupyter/lab/static").glob("jlab_core*.js"))
        running = set(re.findall(r"""["']running["']={2,3}[\w.]+\?["'](.)["']""", scripts))
        return {f"[{self._ipython['first']}]"} | {f"[{sign}]" for sign in running}

    @fixed
    def jupyter_client(self):
        """The keys of kernel.json, and the placeholder that Jupyter replaces, as jupyter_client has them."""
        code = """import json, re, inspect
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec
source = inspect.getsource(KernelManager.format_kernel_cmd)
manager = KernelManager(connection_file="/the/file")
manager._kernel_spec = KernelSpec(argv=["{connection_file}", "{resource_dir}", "{prefix}"])
names = [name for name in ("connection_file", "resource_dir", "prefix") if name in source]
done = [name for name in names if "{" + name + "}" not in manager.format_kernel_cmd()]
print(json.dumps({"keys": sorted(KernelSpec().to_dict()), "placeholder": "{" + done[0] + "}"}))"""
        return json.loads(self.python(code).strip().splitlines()[-1])

    @once
    def kernel_program(self, word):
        code = """import sys
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec
manager = KernelManager(connection_file="/the/file")
manager._kernel_spec = KernelSpec(argv=[sys.argv[1], "-m", "x"])
sys.exit(manager.format_kernel_cmd()[0] != sys.executable)"""
        return self.ask("login", shlex.join([f"{self.central}/bin/python", "-c", code, word]))[0] == 0

    @once
    def expanded(self, value):
        """What a kernel gets of `value` in the env block of its kernel.json."""
        code = """import asyncio, json, os, sys
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.provisioning import KernelProvisionerBase, LocalProvisioner
provisioner = LocalProvisioner(kernel_id="x", kernel_spec=KernelSpec(argv=["true"], env={"ASKED": sys.argv[1]}))
print(json.dumps(asyncio.run(KernelProvisionerBase.pre_launch(provisioner, env=dict(os.environ)))["env"]["ASKED"]))"""
        return json.loads(self.python(code, value).strip().splitlines()[-1])

    @fixed
    def jupyter_urls(self):
        """Where the interfaces of Jupyter begin, behind the address of the server."""
        return set(self._jupyter_defaults[:2])

    @fixed
    def _jupyter_defaults(self):
        return self.python("""from jupyter_server.services.contents.manager import ContentsManager
from jupyterlab.labapp import LabApp
from notebook.app import JupyterNotebookApp
print(*(name.default_value for name in (LabApp.default_url, JupyterNotebookApp.default_url, ContentsManager.untitled_notebook)))""").split()

    @fixed
    def shortcuts(self):
        """The keys that run a cell, on a Mac and elsewhere, as the guide writes them."""
        found = set()
        for path in (self.installed / "share/jupyter/lab/schemas/@jupyterlab").glob("notebook-extension/*.json"):
            for entry in json.loads(path.read_text(encoding="utf-8")).get("jupyter.lab.shortcuts", []):
                if entry["command"].startswith("notebook:run-cell"):
                    for keys in [*entry.get("keys", []), *entry.get("macKeys", []), *entry.get("winKeys", []), *entry.get("linuxKeys", [])]:
                        found.add(re.sub(r"^(Accel|Ctrl)\b", "Control", keys).replace(" ", "-"))
        return found

    @fixed
    def terminal_keys(self):
        """The keys with which a terminal interrupts, stops or ends what runs in it, as ^C."""
        said = self.answer("login", "script -qc 'stty -a' /dev/null < /dev/null")
        return set(re.findall(r"(?:intr|quit|eof|susp) = (\^\S);", said))

    @fixed
    def pager_quits(self):
        """The keys that end the pager."""
        said = self.answer("login", "less --help")
        return set(re.search(r"^((?: +\S+)+) +Exit\.", said, re.MULTILINE)[1].split())

    @once
    def in_r(self, name):
        before = f"module load {cluster.facts()['modules']['r']}; "
        return self.ask("login", before + shlex.join(["Rscript", "-e", f'stopifnot(exists("{name}"))']))[0] == 0

    @fixed
    def jupyter_messages(self):
        """The texts that JupyterLab shows, and those in the sources of the servers beside it, each whole and by sentences.

        A set of those without anything variable in the middle, and a list of the others, as the pieces around %1 or {}.
        """
        found = set()
        for path in (self.installed / "share/jupyter").glob("lab*/**/*.js"):
            for quote, said in re.findall(r"""__\((["'`])((?:(?!\1)[^\\]|\\.)*)\1""", path.read_text(encoding="utf-8")):
                found.add(re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], said))
        library = next((self.installed / "lib").glob("python3*")) / "site-packages"
        for name in ("jupyter_server", "jupyterhub", "batchspawner", "wrapspawner", "jupyterlmod"):
            for path in (library / name).rglob("*.py"):
                if "tests" not in path.parts:
                    found |= set(_texts(path.read_text(encoding="utf-8")))
            for path in (*(library / name).rglob("*.html"), *(self.installed / "share/jupyterhub").rglob("*.html")):
                found |= {" ".join(text.split()) for text in re.findall(r">([^<>{}]{4,})<", path.read_text(encoding="utf-8"))}
        plain, templates = set(), set()
        for text in found:
            for part in {text, *re.split(r"(?<=[.?!])\s+|\n", text)}:
                pieces = PLACEHOLDER.split(part.strip(" \"'\u2026").removesuffix("."))
                words = [piece.strip(" \"'") for piece in pieces if piece.strip(" \"'")]
                if len(words) == 1:
                    plain |= {words[0], part.strip(" \"'\u2026") if len(pieces) == 1 else words[0] + "." * part.endswith(".")}
                if len(pieces) > 1 and len(max(pieces, key=len)) >= 12:
                    templates.add(tuple(pieces))
        return plain, sorted(templates)

    @fixed
    def tabs(self):
        """The titles of what extensions add to JupyterLab."""
        found = set()
        for path in (self.installed / "share/jupyter/labextensions").rglob("*.js"):
            found |= set(re.findall(r"""title\.(?:caption|label)\s*=\s*["'`]([A-Z][\w ]+)["'`]""", path.read_text(encoding="utf-8")))
        return found

    @fixed
    def default_names(self):
        """What JupyterLab calls a new notebook."""
        return {self._jupyter_defaults[2] + ".ipynb"}

    # what programs print

    @fixed
    def system_messages(self):
        return {os.strerror(number) for number in range(1, 134)} | {
            text for text in (_gai(number) for number in range(-12, 0)) if text}

    @fixed
    def signals(self):
        return {signal.strsignal(number) for number in range(1, 32)} - {None}

    @once
    def printed_by_programs(self, text):
        """Whether Slurm's programs, git, ssh or curl hold a text in which this stands between the ends of words."""
        pattern = re.compile(rb"(?<![\w-])" + re.escape(os.fsencode(text)) + rb"(?![\w-])")
        return any(os.fsencode(text) in content and pattern.search(content) for content in self._programs)

    @fixed
    def _programs(self):
        places = [f"/usr/{name}" for name in ("bin/srun", "bin/squeue", "sbin/slurmstepd", "bin/git", "bin/ssh", "bin/curl")]
        places += [*Path("/usr/lib").glob("*/slurm*/libslurmfull.so"), *Path("/usr/lib").glob("*/slurm*/*cgroup*.so")]
        return [Path(place).read_bytes() for place in places if os.path.exists(place)]

    @once
    def curl_knows(self, name):
        return re.search(rf"(?<!\w){name}(?!\w)", self.answer("laptop", "curl --help all")) is not None

    def scenes_that_say(self, text):
        """In which situations a program printed `text`, between the ends of words."""
        pattern = re.compile(r"(?<![\w-])" + re.escape(text) + r"(?![\w-])")
        return {scene for scene, said in self.scenes.items() if pattern.search(said)}

    @fixed
    def scenes(self):
        """What ssh, curl and Chromium print on a reader's computer in each of the situations that can go wrong."""
        names, port = cluster.facts()["hosts"], cluster.facts()["proxy"]["port"]
        silent, nobody = f"{names['node']}.{names['domain']}", f"nobody.{names['domain']}"
        web = cluster.facts()["proxy"]["example"]
        user, ssh = self._traveller

        def browse(host, proxy):
            through = f"--proxy-server=socks5://localhost:{port}" if proxy else ""
            return ("timeout 30 chromium --headless --no-sandbox --disable-gpu --user-data-dir=$(mktemp -d) --dump-dom "
                    f"{through} http://{host}:{web} 2>&1 | grep -o 'ERR_[A-Z_]*' & curl --silent --show-error --max-time 10 "
                    f"{f'--socks5-hostname localhost:{port}' if proxy else ''} http://{host}:{web} & wait")

        said = {}

        def scene(name, script):
            done = self.triton.run("laptop", f"exec 2>&1; {script}", user, check=False, timeout=90)
            said[name] = " ".join(done.stdout.split())

        listens = f"(: < /dev/tcp/127.0.0.1/{port}) 2>/dev/null"
        with_proxy = f"{ssh} -N -D {port} & proxy=$!; for try in $(seq 60); do {listens} && break; sleep 0.1; done; "
        scene("the proxy does not run", browse(silent, True))
        scene("the address does not go through the proxy", browse(silent, False))
        scene("nothing listens at the address", with_proxy + f"({browse(silent, True)}); sleep 0.3; kill $proxy; wait")
        scene("no node has that name", with_proxy + f"({browse(nobody, True)}); sleep 0.3; kill $proxy; wait")
        scene("another ssh has the port", with_proxy + f"{ssh} -D {port} true; kill $proxy; wait")
        changed = f"ssh -o BatchMode=yes {user}@{names['login']} true"
        scene("the host has another key",
              f"ssh-keygen -q -t ed25519 -N '' -f other; echo {names['login']} $(cat other.pub) > .ssh/known_hosts; {changed}")
        return said

    @fixed
    def old_page(self):
        """What the page that the guide grew from said (tests/seed.toml)."""
        sections = tomllib.loads((pages.ROOT / "tests/seed.toml").read_text(encoding="utf-8"))["section"]
        return [phrase for section in sections for phrase in section.get("says", [])]


def _gai(number):
    """What the system says when a name cannot be looked up for this reason."""
    import ctypes
    function = ctypes.CDLL(None).gai_strerror
    function.restype = ctypes.c_char_p
    text = function(number)
    return text.decode() if text else ""


def _texts(source):
    """The texts in a Python source; what is formatted into them stands as {}."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value and "\n\n" not in node.value:
            yield node.value

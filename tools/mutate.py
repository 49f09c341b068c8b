"""Make mistakes in the guide, one in each place, and see whether the tests find each and say where.

    python -m tools.mutate [-n N] [--seed SEED] [--page FILE] [--list]

A mutation is a mistake that a writer could make: a misspelled option, another host, a wrong digit
in an output, a *not* that was left out. The tests of the guide run in a copy of the checkout with
one mutation in each of several pages. A mutation is caught if a failure names its page and line. A
mutated fact is tested alone, since many pages show it.

The same seed makes the same mutations, and a larger N continues where a smaller one ended. External
addresses are not changed, since only the internet could tell. The exit status is 1 if a mutation
survived or no failure names its page, and 2 if no mutation could be judged.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sybil import Document
from sybil.parsers.rest.lexers import DirectiveLexer

from _ext.examples import EXAMPLE
from _ext.roles import SOURCE
from tools import pages
from tools.files import ROOT, copy_source
from tools.proof.amounts import NUMBERS

FACTS = "triton/facts.toml"
TESTS = ["tests/guide", "tests/site/test_site.py"]
# These tests use pages of their own, so no mutation can fail them.
NOT_OF_THE_GUIDE = ["tests/guide/test_stage.py", "tests/guide/test_writing.py"]
LIMIT = 1800  # seconds for one run of the tests
PATIENCE = 20  # seconds, for pytest after an interrupt
GRADES = ("line named", "page named", "NO PAGE NAMED", "SURVIVED")
SURVIVED = GRADES[3]

PLACEHOLDER = re.compile(r"\{\{ *(\w+)\.(\w+) *\}\}")
TOKEN = re.compile(r"(?:\{\{.*?\}\}|[^\s{]|\{(?!\{))+")
PROMPT = re.compile(
    r" *username@(?P<host>\{\{.*?\}\}|[\w-]+):(?P<folder>(?:\{\{.*?\}\}|[^\s$])*)\$ ?"
    r"(?P<command>.*)"
)
# Words of plain sentences in which a mistake misleads a reader. "One" often stands for no number.
PLAIN = {
    "number": re.compile(
        rf"\b(?:\d+|{'|'.join(name for name in NUMBERS if len(name) > 2 and name != 'one')})\b"
    ),
    "negation": re.compile(r"\b(?:not|no|nobody|nothing|never|none|without) "),
    "button": re.compile(r"(?<!\*)(?<=\*)[^\s*][^*\n]*(?=\*(?!\*))|(?<=:guilabel:`)[^`\n]+"),
}
REFERENCE = re.compile(
    r":(?:doc|ref):`(?:[^`<]*<)?(?P<target>[^`<>\n]+)>?`|^\.\. _(?P<label>[\w-]+):"
)


@dataclass(frozen=True)
class Place:
    """A piece of a line that can be mutated; `way` is spell, swap, drop or double."""

    kind: str
    page: str
    line: int
    start: int
    end: int
    way: str = "spell"


@dataclass(frozen=True)
class Mutation:
    """A change of one line from `before` to `after`, which may be no line, one or two."""

    kind: str
    page: str
    line: int
    before: str
    after: str

    def apply(self, text: str) -> str:
        """`text` with this line changed. Raises ValueError if the line is not there."""
        lines = text.split("\n")
        if lines[self.line - 1] != self.before:
            raise ValueError(f"{self.page}:{self.line} is not {self.before!r}")
        lines[self.line - 1 : self.line] = self.after.split("\n") if self.after else []
        return "\n".join(lines)

    def __str__(self) -> str:
        changed = [f"  + {line.strip()}" for line in self.after.split("\n") if line]
        place = f"{self.kind}, {self.page}:{self.line}"
        return "\n".join([place, f"  - {self.before.strip()}", *changed])


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# Where the guide can be mutated


def places(name: str) -> Iterator[Place]:
    """The places in the file `name`: a page, a file that pages show, or triton/facts.toml."""
    text = read(name)
    if name == FACTS:
        yield from _values(text)
    elif name.endswith(".rst"):
        yield from _typed(name, text.split("\n"))
        yield from _words(name, text)
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if not re.match(r" *(#(?!SBATCH|!)|//)", line):
                for word in re.finditer(r"\{\{.*?\}\}|[A-Za-z_]{3,}", line):
                    yield Place("published file", name, number, *word.span())


def _values(text: str) -> Iterator[Place]:
    table = ""
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("["):
            table = line.strip("[] ")
        elif match := re.match(r'(\w+) = "?([^"#]*[^"# ])', line):
            used = table == "profiles" or any(
                _uses(name, table, match[1]) for name in shown_names()
            )
            if used:
                yield Place(
                    "profile" if table == "profiles" else "fact", FACTS, number, *match.span(2)
                )


def shown_names() -> list[str]:
    """The pages, and the files that they show."""
    return pages.sources() + pages.shown_files()


def _uses(name: str, table: str, key: str) -> bool:
    """Whether a page shows this fact, whose name has no unit there."""
    key = re.sub("_(gb|days|minutes)$", "", key)
    return re.search(rf"\{{\{{ *{table}\.{key} *\}}\}}", read(name)) is not None


def _typed(name: str, lines: Sequence[str]) -> Iterator[Place]:
    """The places in console blocks: prompts, commands and outputs."""
    for block in pages.blocks(name):
        for command in block.commands:
            line = lines[command.line - 1]
            prompt = PROMPT.match(line)
            assert prompt, f"{name}:{command.line}"
            yield Place("prompt host", name, command.line, *prompt.span("host"), "swap")
            yield Place("prompt folder", name, command.line, *prompt.span("folder"), "swap")
            if command.text:
                yield Place("command line", name, command.line, 0, len(line), "drop")
                if command.shown:
                    yield Place("command line", name, command.line, 0, len(line), "double")
                for token in TOKEN.finditer(line, prompt.start("command")):
                    kind = "option" if token[0].startswith("-") else "command"
                    yield Place(kind, name, command.line, *token.span())
                    if kind == "option":
                        yield Place(kind, name, command.line, *token.span(), "drop")
            for number in range(command.line + 1, command.line + 1 + len(command.shown)):
                # Of an example any other would do.
                line = EXAMPLE.sub(lambda match: "-" * len(match[0]), lines[number - 1])
                for word in re.finditer(r"\{\{.*?\}\}|\w{2,}|\d", line):
                    yield Place("output", name, number, *word.span())


def _words(name: str, text: str) -> Iterator[Place]:
    """Words with a role, references and facts in the prose, and words of PLAIN."""
    hidden = list(text)
    for word in SOURCE.finditer(text):
        for at in range(*word.span()):
            hidden[at] = "\n" if text[at] == "\n" else " "
        shown = re.sub(r"\s*<[^<>]+>$", "", word["text"])
        begin = word.start("text")
        if "\n" not in shown:
            yield _place(word["role"], name, text, begin, begin + len(shown), "swap")
        for token in TOKEN.finditer(text, begin, begin + len(shown)):
            if re.search(r"[A-Za-z0-9]{2}", token[0]):
                yield _place(word["role"], name, text, *token.span())
    prose = "".join(hidden)
    for reference in REFERENCE.finditer(prose):
        group = reference.lastgroup or 0
        yield _place("reference", name, text, *reference.span(group))
    typed = {
        number
        for block in pages.blocks(name)
        for command in block.commands
        for number in range(command.line, command.line + 1 + len(command.shown))
    }
    for fact in PLACEHOLDER.finditer(prose):
        place = _place("fact in prose", name, text, *fact.span(), "swap")
        if place.line not in typed:
            yield place
    code = {
        number
        for region in DirectiveLexer("code-block|screenshot|figure")(Document(text, name))
        for number in _lines(text, region.start, region.end)
    }
    code |= {n for n, line in enumerate(text.split("\n"), 1) if re.match(r" +:[a-z-]+: ", line)}
    for kind, look in PLAIN.items():
        for word in look.finditer(PLACEHOLDER.sub(lambda fact: "-" * len(fact[0]), prose)):
            place = _place(kind, name, text, *word.span(), "drop" if kind == "negation" else "swap")
            if place.line not in code:
                yield place


def _lines(text: str, start: int, end: int) -> range:
    """The numbers of the lines of this part of `text`."""
    return range(text.count("\n", 0, start) + 1, text.count("\n", 0, end) + 2)


def _place(kind: str, name: str, text: str, start: int, end: int, way: str = "spell") -> Place:
    line = text.count("\n", 0, start) + 1
    begin = text.rfind("\n", 0, start) + 1
    return Place(kind, name, line, start - begin, end - begin, way)


# How a place is mutated


def spell(text: str, rng: random.Random) -> str | None:
    """`text` with one mistake: a character dropped, doubled or swapped, or another digit.

    Placeholders, `...` and `username` are not changed; None if there is nothing else.
    """
    held = {
        index
        for match in re.finditer(r"\{\{.*?\}\}|\.\.\.|username", text)
        for index in range(*match.span())
    }
    letters = [at for at, sign in enumerate(text) if sign.isalnum() and at not in held]
    if not letters:
        return None
    at = rng.choice(letters)
    if text[at].isdigit():
        return text[:at] + rng.choice([d for d in "0123456789" if d != text[at]]) + text[at + 1 :]
    if re.fullmatch(r"-[A-Za-z]", text):
        return "-" + rng.choice(
            [letter for letter in "abcdeghijklmopqrstuvwxyz" if letter != text[1]]
        )
    match rng.choice(("drop", "double", "swap")):
        case "drop":
            return text[:at] + text[at + 1 :] if len(letters) > 1 else None
        case "double":
            return text[:at] + text[at] + text[at:]
    return text[:at] + text[at + 1 : at + 2] + text[at] + text[at + 2 :] if text[at + 1 :] else None


class Mutator:
    """Draws mutations of the guide, or of the file `only`."""

    def __init__(self, only: str | None = None) -> None:
        self.places: dict[str, list[Place]] = defaultdict(list)
        # {kind: pieces of the guide, one of which may replace another}
        self.pool: dict[str, set[str]] = defaultdict(set)
        for name in [*shown_names(), FACTS]:
            for place in places(name):
                if only in (None, name):
                    self.places[place.kind].append(place)
                if place.way == "swap":
                    self.pool[place.kind].add(self._piece(place))

    def _piece(self, place: Place) -> str:
        return read(place.page).split("\n")[place.line - 1][place.start : place.end]

    def draw(self, number: int, seed: int) -> list[Mutation]:
        """`number` different mutations, or fewer if there are no more; the kinds take turns."""
        rng = random.Random(seed)
        drawn: dict[tuple[str, int, str], Mutation] = {}
        kinds = sorted(self.places)
        rng.shuffle(kinds)
        while kinds and len(drawn) < number:
            kind = kinds.pop(0)
            for _ in range(50):
                mutation = self._mutate(rng.choice(self.places[kind]), rng)
                if mutation and (mutation.page, mutation.line, mutation.after) not in drawn:
                    drawn[mutation.page, mutation.line, mutation.after] = mutation
                    kinds.append(kind)
                    break
        return list(drawn.values())

    def _mutate(self, place: Place, rng: random.Random) -> Mutation | None:
        """A random mutation of this place; None if readers would not see it."""
        line = read(place.page).split("\n")[place.line - 1]
        piece = line[place.start : place.end]
        new = ""
        if place.way == "swap":
            new = rng.choice(sorted(self.pool[place.kind] - {piece}) or [piece])
        elif place.way == "spell":
            new = spell(piece, rng) or piece
            if piece.startswith("--") and piece.startswith(new):
                return None  # many programs accept --sil for --silent
        after = line[: place.start] + new + line[place.end :]
        if place.way == "drop":
            after = after.rstrip()
        elif place.way == "double":
            after = f"{line}\n{line}"
        seen = "".join(filled(line).split()) != "".join(filled(after).split())
        return Mutation(place.kind, place.page, place.line, line, after) if seen else None


def filled(text: str) -> str:
    """`text` with the facts filled in; an unknown placeholder stays."""
    known = pages.facts()
    return PLACEHOLDER.sub(lambda match: str(known.get(match[1], {}).get(match[2], match[0])), text)


# Judging


def extents(mutation: Mutation) -> list[tuple[str, int, int]]:
    """(file, first line, last line) of each place where a reader sees the mutation.

    That is its paragraph or console block; for a file or a fact, each page that shows it.
    """
    name = mutation.page
    if name.endswith(".rst"):
        lines = read(name).split("\n")
        first = last = min(mutation.line, len(lines))
        for block in pages.blocks(name):
            end = block.commands[-1].line + len(block.commands[-1].shown)
            if block.line <= mutation.line <= end:
                return [(name, block.line, end)]
        while first > 1 and lines[first - 2].strip():
            first -= 1
        while last < len(lines) and lines[last].strip():
            last += 1
        return [(name, first, last)]
    whole = [(name, 1, 10**6)]
    if name == FACTS:
        table = re.findall(r"^\[+(\w+)", "\n".join(read(FACTS).split("\n")[: mutation.line]), re.M)
        key = mutation.before.partition("=")[0].strip()
        names = [page for page in shown_names() if table and _uses(page, table[-1], key)]
    else:
        names = [page for page in pages.sources() if Path(name).name in read(page)]
    return whole + [(page, 1, 10**6) for page in names]


def grade(output: str, shown: Sequence[tuple[str, int, int]]) -> str:
    """One of GRADES: how well the output of pytest names one of the places `shown`."""
    named = False
    for name, first, last in shown:
        pattern = rf"(?<![\w./-]){re.escape(name)}:(\d+)"
        if any(first <= int(line) <= last for line in re.findall(pattern, output)):
            return GRADES[0]
        stem = re.escape(name.removesuffix(".rst"))
        failed = rf"^(?:FAILED|ERROR) .*(?<![\w./-]){stem}(?:\.rst)?(?![\w/-])"
        named = named or re.search(failed, output, re.MULTILINE) is not None
    return GRADES[1] if named else SURVIVED


def batches(mutations: Sequence[Mutation]) -> list[list[Mutation]]:
    """Lists of `mutations` for one run of the tests each: one for a page, and a fact alone."""
    result: list[list[Mutation]] = []
    for mutation in mutations:
        names = {name for name, *_ in extents(mutation)}
        for batch in result:
            taken = {name for other in batch for name, *_ in extents(other)}
            if not taken & names and FACTS not in taken | names:
                batch.append(mutation)
                break
        else:
            result.append([mutation])
    return result


class Copy:
    """A copy of the checkout, in which the tests run."""

    def __init__(self, folder: Path) -> None:
        self.folder = copy_source(folder / "checkout")
        self.temporary = folder / "tmp"
        for name in (".venv", ".venv-nbdime", ".triton"):
            if (ROOT / name).exists():
                (self.folder / name).symlink_to(ROOT / name)

    def judge(self, batch: Sequence[Mutation]) -> list[str]:
        """Apply these mutations, run the tests, undo the mutations; return the grade of each.

        Raises SystemExit if the tests do not end in time.
        """
        for mutation in batch:
            path = self.folder / mutation.page
            path.write_text(mutation.apply(read(mutation.page)), encoding="utf-8")
        try:
            output, status = self.run(alone=len(batch) == 1)
        finally:
            for mutation in batch:
                shutil.copyfile(ROOT / mutation.page, self.folder / mutation.page)
        if status == 0:
            return [SURVIVED] * len(batch)
        grades = [grade(output, extents(mutation)) for mutation in batch]
        # With one mutation, a failure elsewhere is due to it, but does not show where it is.
        return [GRADES[2]] if grades == [SURVIVED] else grades

    def run(self, alone: bool = False) -> tuple[str, int]:
        """(output of pytest, exit status). alone: stop after three failures."""
        tests = [name for name in TESTS if (self.folder / name).exists()]
        command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-n", "2", "--tb=short"]
        command += [*tests, *(f"--ignore={name}" for name in NOT_OF_THE_GUIDE)]
        command += [f"--basetemp={self.temporary}", *(["--maxfail=3"] if alone else [])]
        variables = {
            name: value
            for name, value in os.environ.items()
            if name not in ("SMALL_TRITON", "CI", "PYTEST_ADDOPTS")
        }
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        try:
            output, _ = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"the tests did not end in {LIMIT} s") from None
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)  # pytest ends its cluster then
                try:
                    process.wait(timeout=PATIENCE)
                except subprocess.TimeoutExpired:  # interrupted while it started its workers
                    process.kill()
                    process.wait()
        return output.replace(f"{self.folder}/", ""), process.returncode


def run(mutations: Sequence[Mutation]) -> Iterator[tuple[Mutation, str]]:
    """Yield each mutation with its grade as soon as it is known.

    Raises SystemExit if the tests do not pass without a mutation.
    """
    with tempfile.TemporaryDirectory(prefix="mutate-", ignore_cleanup_errors=True) as folder:
        copy = Copy(Path(folder))
        output, status = copy.run()
        if status:
            raise SystemExit(f"The tests do not pass without a mutation:\n{output[-4000:]}")
        for batch in batches(mutations):
            yield from zip(batch, copy.judge(batch), strict=True)


# The command


def obstacle() -> str:
    """Why the cluster cannot run here; "" if it can. With skipped tests, all would survive."""
    command = [sys.executable, str(ROOT / "tools/cluster/cluster.py"), "obstacle"]
    return subprocess.run(command, capture_output=True, text=True).stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-n", type=int, default=20, metavar="N", help="how many mutations (20)")
    parser.add_argument("--seed", type=int, default=1, help="(1)")
    parser.add_argument("--page", metavar="FILE", help="mutate this file only")
    parser.add_argument("--list", action="store_true", help="print the mutations and judge none")
    options = parser.parse_args(arguments)
    names = [*shown_names(), FACTS]
    if options.page and options.page not in names:
        print(f"{options.page} is no file of the guide; there are: {', '.join(names)}")
        return 2
    mutations = Mutator(options.page).draw(options.n, options.seed)
    if options.list:
        print(*mutations, sep="\n")
        return 0
    if why := obstacle():
        print(f"No mutation can be judged: {why}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    counts: Counter[str] = Counter()
    try:
        for mutation, verdict in run(mutations):
            counts[verdict] += 1
            print(f"{counts.total():3}/{len(mutations)} {verdict:14} {mutation}", flush=True)
    except KeyboardInterrupt:
        return 130
    except SystemExit as error:
        print(error, file=sys.stderr)
        return 2
    print(", ".join(f"{counts[name]} {name}" for name in GRADES))
    return int(counts[GRADES[0]] + counts[GRADES[1]] < len(mutations))


if __name__ == "__main__":
    sys.exit(main())

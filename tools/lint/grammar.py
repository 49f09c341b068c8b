"""Check the English of pages with Harper, a grammar checker (https://writewithharper.com).

A paragraph goes to it as Markdown; it does not read what is code there. words.txt lists our words.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from sybil import Document
from sybil.parsers.rest.lexers import DirectiveLexer

from _ext.roles import as_shown
from tools.files import ROOT

PROGRAM = ROOT / "tools/harper.mjs"
WORDS = Path(__file__).with_name("words.txt")
# Rules of Harper that are off: why.
OFF = {
    "CompoundNouns": "we write file name and host name in two words",
    "Dashes": "an option begins with two hyphens",
    "DisjointPrefixes": "it joins words that are two",
    "DiscourseMarkers": "a comma after Otherwise is a matter of style",
    "DoubleClick": "a double click is a noun",
    "ExpandControl": "Ctrl is what the key says",
    "ExpandMemoryShorthands": "we write 4 GB",
    "ExpandStandardInputAndOutput": "stderr is a name",
    "HowTo": "it misreads how we say it",
    "LongSentences": "the cells of a table are no sentence",
    "MassNouns": "a maintenance is a day on which the cluster is closed",
    "MergeWords": "it joins the s of a genitive with the next word",
    "MissingPreposition": "it takes nouns for verbs",
    "MissingTo": "it takes nouns for verbs",
    "NoFrenchSpaces": "what is hidden leaves spaces",
    "OneOfTheSingular": "it does not see the plural",
    "OrthographicConsistency": "Unix is a family of systems, and no trademark",
    "OxfordComma": "a matter of style",
    "PhrasalVerbAsCompoundNoun": "a backup is a noun in our tables",
    "ReasonForDoing": "a name of a reason is no reason",
    "SentenceCapitalization": "an item of a list goes on with the sentence above it",
    "SingleBe": "what is between two code words is not repeated",
    "Spaces": "an empty condition of a fact leaves a space",
    "SplitWords": "it splits names of programs",
    "ThereToTheir": "is there room",
    "ToTwoToo": "up to now",
    "UseTitleCase": "our headings are sentences",
    "WereWhere": "headings begin with Where",
}
NO_PROSE = "code-block|rendered-file|literalinclude|facts-table|toctree|program|image|raw"
OPTION = re.compile(r":[a-z-]+:( |$)(?!`)")
HIDDEN = re.compile(r"\.\. |[=~^-]+$")
MARK = re.compile(r"(?:[*-] (?:- )?|#\. |:[A-Z][\w ]*: |:alt: )+")
TESTED = re.compile(r"\s*:tested:`[^`]*`")
LITERAL = re.compile(r"``(.+?)``", re.DOTALL)
LINK = re.compile(r"(?::\w+:)?`([^`<]+?)(?P<target>\s*<[^`]*>)?`_{0,2}", re.DOTALL)
CODE = re.compile(r"\{\{ [\w.]+ \}\}")
CONDITION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
FENCE = re.compile(r"^(?:---\n.*?\n---\n|(```+|:::+).*?^\1$)", re.DOTALL | re.MULTILINE)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def as_markdown(name: str, text: str) -> list[tuple[int, str]]:
    """(line in the page, text) of each line of a page as Markdown, without what is no prose.

    The page is in reST, or in Markdown if its `name` says so.
    """
    if name.endswith(".md"):
        text = FENCE.sub(lambda match: _blank(match[0]), text)
        return list(enumerate(text.split("\n"), 1))
    for region in DirectiveLexer(NO_PROSE)(Document(text, name)):
        text = text[: region.start] + _blank(text[region.start : region.end]) + text[region.end :]
    text = TESTED.sub(lambda match: _blank(match[0]), as_shown(text))
    text = LITERAL.sub(lambda match: f"\0{match[1].replace('`', '')}\0", text)
    text = LINK.sub(lambda match: match[1] if match["target"] else "`link`", text)
    text = CONDITION.sub("", CODE.sub("`fact`", text).replace("\0", "`"))
    lines = []
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        if mark := MARK.match(line):
            lines.append((number, ""))
            line = line[mark.end() :]
        hidden = HIDDEN.match(line) or OPTION.match(line)
        lines.append((number, "" if hidden else line))
    return lines


def problems(pages: Mapping[str, str], harper: Path, node: Path) -> Iterator[str]:
    """A sentence, with file and line, for each mistake that Harper finds in {name: text}.

    harper: the folder of its npm package. Raises SystemExit if it does not run.
    """
    prose = {name: as_markdown(name, text) for name, text in pages.items()}
    texts = ["\n".join(line for _, line in lines) for lines in prose.values()]
    ours = WORDS.read_text(encoding="utf-8").split()
    words = [*ours, *(f"{word}'s" for word in ours)]
    checked = subprocess.run(
        [node, PROGRAM, harper],
        input=json.dumps({"texts": texts, "off": list(OFF), "words": words}),
        stdout=subprocess.PIPE,
        text=True,
    )
    if checked.returncode:
        raise SystemExit("Harper, which checks the grammar, did not run. It says above why.")
    for number, rule, message, start, end in json.loads(checked.stdout):
        name, lines = list(prose.items())[number]
        line, _ = lines[texts[number].count("\n", 0, start)]
        wrong = texts[number][start:end]
        more = f"; if {wrong} is right, add it to {WORDS.name}" if rule == "SpellCheck" else ""
        yield f"{name}:{line}: {wrong!r}: {message} ({rule}{more})"

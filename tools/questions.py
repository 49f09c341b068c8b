"""Readers' questions to the search, from tests/data/questions.toml, and its answers."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tools.files import ROOT
from tools.site import html_pages

FILE = ROOT / "tests/data/questions.toml"
PLACES = {"first": 1, "three": 3}  # {table: the answer must be among so many results}
START = "triton/tut/modules.html"  # any page will do: each has the search
FIND = """questions => Promise.all(questions.map(async question => {
    const results = (await search(question)).slice(0, 3);
    return Promise.all(results.map(async result => (await result.data()).meta.address));
}))"""


@dataclass(frozen=True)
class Question:
    """A question, the sections (page#anchor) that answer it, and the number of results among which
    one of them must be.
    """

    text: str
    answers: list[str]
    places: int


def _stored() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def load() -> list[Question]:
    """All questions of the file."""
    stored = _stored()
    return [
        Question(text, answers, places)
        for table, places in PLACES.items()
        for text, answers in stored[table].items()
    ]


def least() -> float:
    """The share of the questions, 0 to 1, that the search has to answer."""
    return float(_stored()["least"])


def sections(site: Path) -> dict[str, str]:
    """{page#anchor: the page#anchor that the search gives for this section} of the built site.

    A page without an anchor stands for its first section.
    """
    known: dict[str, str] = {}
    section = re.compile(r'<section id="([^"]+)">\s*((?:<span id="[^"]+"></span>)*)')
    for path in html_pages(site):
        page = path.relative_to(site).with_suffix("").as_posix()
        for anchor, others in section.findall(path.read_text(encoding="utf-8")):
            known.setdefault(page, f"{page}#{anchor}")
            for name in (anchor, *re.findall(r'id="([^"]+)"', others)):
                known[f"{page}#{name}"] = f"{page}#{anchor}"
    return known


def misses(opened: Page, questions: Sequence[Question], known: Mapping[str, str]) -> list[str]:
    """A line for each question that the search does not answer, with its results.

    opened: a page of the site, in a browser. known: sections() of that site.
    """
    lines = []
    results = opened.evaluate(FIND, [question.text for question in questions])
    for question, addresses in zip(questions, results, strict=True):
        best = [address.replace(".html", "") for address in addresses[: question.places]]
        wanted = {known.get(answer, answer) for answer in question.answers}
        if not wanted & {known.get(address, address) for address in best}:
            lines.append(f"{question.text}: {', '.join(best) or 'nothing'}")
    return lines

"""The guide loses nothing of the page that it grew from.

For each section of that page, tests/data/seed.toml names the page and anchor that have its content
now, and the words and links that must stand there. It repeats facts on purpose, so that a wrong one
in triton/facts.toml is noticed.
"""

import difflib
import functools
import tomllib
from html.parser import HTMLParser

import pytest

from tools import pages
from tools.files import ROOT
from triton.lib import clusterfacts

FACTS = clusterfacts.load(ROOT / "triton/facts.toml")
SEED = tomllib.loads((ROOT / "tests/data/seed.toml").read_text(encoding="utf-8"))
line_of = functools.partial(
    clusterfacts.line_of, (ROOT / "triton/facts.toml").read_text(encoding="utf-8")
)
TITLES = [
    "Jupyter",
    "How Jupyter notebooks work",
    "Limitations",
    "JupyterHub",
    "Connecting and starting",
    "Usage",
    "Problems? Requests?",
    "Your own notebooks via sjupyter",
    "Set up the proxy",
    "Starting sjupyter",
    "Software and kernels",
    "Git integration",
    "FAQ/common problems",
    "See also",
]


class Sections(HTMLParser):
    """The text and links of each section of a page, by every id in it or just before it."""

    def __init__(self, path):
        super().__init__()
        self.open, self.sections = [], {}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "section":
            self.open.append({"text": [], "links": set()})
        if given.get("id") and self.open:
            self.sections[given["id"]] = self.open[-1]
        for section in self.open:
            if given.get("href"):
                section["links"].add(given["href"])

    def handle_endtag(self, tag):
        if tag == "section":
            self.open.pop()

    def handle_data(self, data):
        for section in self.open:
            section["text"].append(data)


@pytest.fixture(scope="module")
def sections(site):
    read = {}

    def of(page):
        if page not in read:
            assert (site / f"{page}.html").exists(), f"there is no page {page}"
            read[page] = Sections(site / f"{page}.html").sections
        return read[page]

    return of


def nearest(page, words):
    """The most similar places, as FILE:LINE: lines of the page, of a file that it shows, or of a
    profile in triton/facts.toml that resemble `words` without having them.
    """
    profiles = [profile.in_words() for profile in FACTS.profiles]
    units = {"time": "", "memory": "_gb", "kill": "_gb"}
    if "minutes" in words:
        units["idle"] = "_minutes"
    wrong = min(
        (
            [(key, index) for key in units if profile[key] not in words]
            for index, profile in enumerate(profiles)
        ),
        key=len,
    )
    if 0 < len(wrong) < len(units) - 1:
        return " or ".join(
            f"triton/facts.toml:{line_of(f'profiles.{key}{units[key]}', index)}"
            for key, index in wrong
        )
    shown = [
        file
        for file in pages.shown_files()
        if f":: {file.rsplit('/')[-1]}\n" in pages.read(f"{page}.rst")
    ]
    places = [
        (f"{name}:{number}", line)
        for name in (f"{page}.rst", *shown)
        for number, line in enumerate(pages.read(name).splitlines(), 1)
        if words not in line
    ]
    scored = sorted(
        ((_likeness(words, line), place) for place, line in places), key=lambda pair: -pair[0]
    )
    return " or ".join(place for likeness, place in scored[:3] if likeness > 0.6 * scored[0][0])


def _likeness(words, line):
    """The share of equal text, from 0 to 1. For a line with a prompt, only the command counts."""
    line = line.partition("$ ")[2] if pages.PROMPT.match(line.strip()) else line.strip()
    blocks = difflib.SequenceMatcher(None, words, line, autojunk=False).get_matching_blocks()
    return (
        2
        * sum(block.size for block in blocks if block.size > 2)
        / (len(words) + min(len(line), 2 * len(words)))
    )


@pytest.mark.claims("``tests/data/seed.toml`` holds what an older page said,")
@pytest.mark.parametrize(
    "entry",
    SEED["section"],
    ids=lambda entry: f"{entry['title']} -> {entry['page']}#{entry['anchor']}",
)
def test_a_section_of_the_seed_stands_where_the_table_says(entry, sections):
    """The section has its facts and its links."""
    assert entry["anchor"] in sections(entry["page"]), (
        f"{entry['page']} has no anchor {entry['anchor']}"
    )
    section = sections(entry["page"])[entry["anchor"]]
    text = " ".join("".join(section["text"]).replace("\u2019", "'").split())
    missing = [
        f"{nearest(entry['page'], words)}: the section {entry['anchor']} no longer says {words!r}"
        for words in entry["says"]
        if words not in text
    ]
    missing += [
        f"{nearest(entry['page'], link)}: the section {entry['anchor']} no longer links to {link}"
        for link in entry.get("links", [])
        if link not in section["links"]
    ]
    if missing:
        missing.append("If that is meant, change it in tests/data/seed.toml too.")
        pytest.fail("\n".join(missing), pytrace=False)


@pytest.mark.parametrize("name", SEED["facts"])
def test_a_fact_that_the_old_page_does_not_say_is_still_so(name):
    table, key = name.split(".")
    known = getattr(getattr(FACTS, table), key)
    assert known == SEED["facts"][name], (
        f"triton/facts.toml:{line_of(name)}: {name} is {known!r}, and "
        f"tests/data/seed.toml has {SEED['facts'][name]!r}: if it is meant, change it there too"
    )


@pytest.mark.parametrize(
    "page, anchor",
    [(entry["page"], anchor) for entry in SEED["anchor"] for anchor in entry["anchors"]],
)
def test_an_address_that_readers_have_bookmarked_leads_there(page, anchor, sections):
    assert anchor in sections(page), (
        f"{nearest(page, f'.. _{anchor}:')}: readers have bookmarked {page}#{anchor}"
    )


def test_the_table_has_every_section_of_the_seed():
    assert {entry["title"] for entry in SEED["section"]} >= set(TITLES)
    assert all(entry["says"] for entry in SEED["section"])


@pytest.mark.parametrize(
    "entry",
    [entry for entry in SEED["section"] if "shown" not in entry],
    ids=lambda entry: f"{entry['page']}#{entry['anchor']}",
)
def test_what_no_test_shows_of_the_seed_has_a_reason(entry, record_property):
    assert len(entry["not_shown"].split()) > 4, (
        f"{entry['page']}#{entry['anchor']}: a reason that a reader accepts, please"
    )
    record_property("not_covered", f"{entry['page']}.html#{entry['anchor']}: {entry['not_shown']}")


def test_what_was_dropped_is_named_with_its_reason():
    assert SEED["gone"] and all(len(entry["why"]) > 10 for entry in SEED["gone"])

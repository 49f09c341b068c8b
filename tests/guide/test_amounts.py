"""Each duration and size that the prose names is that of the program it speaks of:
tools/proof/amounts.toml says of which.
"""

import difflib
import re
import tomllib

import pytest

from tools import pages
from tools.course import editions
from tools.files import ROOT
from tools.proof.amounts import AMOUNT, NUMBERS, UNITS
from tools.proof.literals import Page

LIST = tomllib.loads((ROOT / "tools/proof/amounts.toml").read_text(encoding="utf-8"))


def prose(name):
    """The prose of a page, or the comments of a file."""
    text = (pages.ROOT / name).read_text(encoding="utf-8")
    return (
        Page(name, text).prose
        if name.endswith(".rst")
        else "\n".join(line if re.match("#[ \t]|//", line) else "" for line in text.split("\n"))
    )


def amounts(name):
    """(line, text) of the amounts in the prose, in order; those of triton/facts.toml are
    placeholders there.
    """
    text = prose(name)
    return [
        (text.count("\n", 0, found.start()) + 1, " ".join(found[0].split()))
        for found in AMOUNT.finditer(text)
    ]


def number(text):
    """An amount as it is written or typed, in seconds or bytes."""
    if clock := re.search(r"(\d+):(\d\d):(\d\d)$", text):
        return int(clock[1]) * 3600 + int(clock[2]) * 60 + int(clock[3])
    count, unit = re.search(
        r"(?i)(half an|[a-z]+|\d+) ?([a-z]+)$", re.sub(r"(\d)G$", r"\1 GB", text)
    ).groups()
    return (NUMBERS[count.lower()] if count.lower() in NUMBERS else int(count)) * UNITS[
        unit.lower().removesuffix("s")
    ]


def constant(where):
    """The number that `file: name` stands for, in seconds or bytes; that of the notebooks is what
    they take together, up to the full hour.
    """
    file, name = where.split(": ")
    if file == "the notebooks":
        return (
            -(
                -sum(notebook["metadata"]["course"][name] for notebook in editions.load().values())
                // 60
            )
            * 3600
        )
    text = (pages.ROOT / file).read_text(encoding="utf-8")
    found = re.search(
        rf"(?:^(?:const |\w+, )?{name} = (?:[\d.]+, )?|\b{name}\()([\d_]+(?: \* "
        r"[\d_]+)*)(.*milliseconds)?",
        text,
        re.MULTILINE,
    )
    if not found:
        alike = [
            difflib.SequenceMatcher(None, f"{name}(1)", line).find_longest_match().size
            for line in text.splitlines()
        ]
        pytest.fail(
            f"{file}:{alike.index(max(alike)) + 1}: no number is called {name} here, as "
            "tools/proof/amounts.toml has it",
            pytrace=False,
        )
    product = 1
    for factor in found[1].split(" * "):
        product *= int(factor)
    return product / 1000 if found[2] else product


@pytest.mark.claims(
    "A duration or a size in a sentence, two minutes or 4 MB, stands in "
    "``tools/proof/amounts.toml`` with the number of the program "
    "that makes it true."
)
@pytest.mark.parametrize("page", pages.sources() + pages.shown_files())
def test_each_amount_in_the_prose_is_known_and_true(page):
    known = LIST.get(page, [])
    for (line, says), entry in zip(amounts(page), known, strict=False):
        assert says == entry["says"], (
            f"{page}:{line}: it says {says!r} where tools/proof/amounts.toml has {entry['says']!r}"
        )
        if "why" in entry:
            continue
        true = constant(entry["is"]) if "is" in entry else number(entry["typed"])
        assert number(says) == true, (
            f"{page}:{line}: {says!r} is {number(says)}, and "
            f"{entry.get('is') or entry['typed']} is {true}"
        )
        assert "is" in entry or entry["typed"] in pages.read(page), (
            f"{page}:{line}: nothing there has {entry['typed']}"
        )
    more = amounts(page)[len(known) :]
    assert not more, (
        f"{page}:{more[0][0]}: {more[0][1]!r} is not in tools/proof/amounts.toml, which "
        "says what makes it true"
    )
    assert len(amounts(page)) == len(known), (
        f"{page}: it has no {known[len(amounts(page))]['says']!r}, as "
        "tools/proof/amounts.toml has it"
    )


def test_no_page_is_listed_that_is_not_there():
    assert set(LIST) <= {*pages.sources(), *pages.shown_files()}


@pytest.mark.parametrize("page", pages.sources() + pages.shown_files())
def test_what_is_counted_is_spelled_as_a_unit_is(page):
    text, units = (
        prose(page),
        [name + plural for name in UNITS if len(name) > 2 for plural in ("", "s")],
    )
    wrong = [
        (text.count("\n", 0, found.start()) + 1, found[0])
        for found in re.finditer(rf"\b(?:{'|'.join(NUMBERS)}|\d+)\s+([a-z]{{3,}})", text)
        if found[1] not in units and difflib.get_close_matches(found[1], units, cutoff=0.8)
    ]
    assert wrong == [], f"{page}:{wrong[0][0]}: {wrong[0][1]!r} is nearly an amount"

"""Every name in the guide that is set as code is one that the small cluster knows."""

import pickle
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from docutils import nodes

from tools import pages
from tools.files import ROOT
from tools.proof.literals import Page, check
from tools.proof.reality import Reality

LIST = tomllib.loads((ROOT / "tools/proof/literals.toml").read_text(encoding="utf-8"))["unchecked"]
PAGES = {name: Page(name) for name in pages.sources()}
LITERALS = [literal for page in PAGES.values() for literal in page.literals]
UNCHECKED = {(entry["page"], entry["text"]): entry for entry in LIST}
MOST_UNCHECKED = 0.02


@pytest.fixture(scope="module")
def reality(triton):
    found = Reality(triton)
    yield found
    found.close()


def identify(literals):
    """A name for each; the same literal twice in one line is numbered."""
    seen = Counter()
    for literal in literals:
        seen[literal.name] += 1
        yield literal.name + (f" ({seen[literal.name]})" if seen[literal.name] > 1 else "")


@pytest.mark.claims(
    "Each path, option, host, variable, state and message in ``this type`` is compared "
    "with the program or file that it speaks of."
)
@pytest.mark.claims(
    "What is set as code is looked up: a path must be there, an option must be one, a "
    "message must be said."
)
@pytest.mark.parametrize("literal", LITERALS, ids=identify(LITERALS))
def test_the_literal_is_true(literal, reality, record_property):
    record_property("literal", literal.page)
    rule, fault = check(literal, PAGES[literal.page], reality)
    if entry := UNCHECKED.get((literal.page, literal.text)):
        record_property("not_covered", f"{literal.name}: {entry['reason']}")
        if not fault:
            pytest.fail(
                f"{literal.name}: the rule {rule!r} can check it: take it out of "
                "tools/proof/literals.toml",
                pytrace=False,
            )
    elif fault:
        pytest.fail(
            f"{literal.name}\n  taken for  {rule or 'nothing that is known'}\n  but        {fault}",
            pytrace=False,
        )


def test_each_literal_on_the_list_is_there_and_has_a_reason():
    there = Counter((literal.page, literal.text) for literal in LITERALS)
    assert len(UNCHECKED) == len(LIST), "tools/proof/literals.toml lists a literal twice"
    for entry in LIST:
        assert (entry["page"], entry["text"]) in there, (
            f"tools/proof/literals.toml: {entry['page']} has no literal {entry['text']!r} any more"
        )
        assert len(entry["reason"].split()) > 4, (
            f"tools/proof/literals.toml: {entry['text']}: a reason that a reader accepts, please"
        )


@pytest.mark.parametrize("page", pages.sources() + pages.notebooks())
def test_an_entry_of_a_menu_is_named_so_that_it_is_opened(page):
    """The name has the menu in it, which a test opens.

    In a page by the role menuselection, in a notebook as **File, Download**; what stands in the
    place of a picture is for the ear.
    """
    text = re.sub(
        r"(?<=:alt: ).*(?:\n {9,}.*)*", lambda alt: re.sub(r"\S", "x", alt[0]), pages.read(page)
    )
    named = ":menuselection:`" if page.endswith(".rst") else "**"
    for found in re.finditer(
        rf"(?<![\w-])(?<!Select )(?:{pages.BAR})(?:,| *(?:>|-->|\u2192)) *[A-Z][a-z]", text
    ):
        line = text.count("\n", 0, found.start()) + 1
        browsers = page == "triton/apps/jupyter/connecting.rst" and found[0].startswith("Settings")
        assert browsers or text[: found.start()].endswith(named), (
            f"{page}:{line}: no test opens this menu: {found[0]!r}"
        )


def test_few_literals_are_unchecked():
    unchecked = [literal for literal in LITERALS if (literal.page, literal.text) in UNCHECKED]
    assert len(unchecked) <= MOST_UNCHECKED * len(LITERALS), (
        f"{len(unchecked)} of {len(LITERALS)} literals are not checked"
    )


def test_no_literal_is_overlooked(site):
    """Sphinx finds the same ones."""
    for name, page in PAGES.items():
        with open(site.parent / "doctrees" / Path(name).with_suffix(".doctree"), "rb") as file:
            tree = pickle.load(file)
        for contents in list(tree.findall(nodes.topic)):
            contents.parent.remove(contents)  # repeats the titles
        found = [
            " ".join(node.astext().split())
            for node in tree.findall(nodes.literal)
            if node.rawsource.startswith("``")
        ]
        assert Counter(found) == Counter(literal.text for literal in page.literals), name

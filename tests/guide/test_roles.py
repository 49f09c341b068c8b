"""Every word in the guide that has a role is true on the small cluster."""

import pickle
import re
from collections import Counter
from pathlib import Path

import pytest
from docutils import nodes

from _ext.roles import ROLES, Word, words
from tools import pages
from tools.files import ROOT
from tools.proof import typed
from tools.proof.reality import Reality
from tools.proof.roles import CHECKS, ELSEWHERE

PAGES = [name for name in pages.sources() if pages.roles(name)]
MOST_ELSEWHERE = 0.02  # the largest share of words that nothing checks


@pytest.fixture(scope="module")
def reality(triton):
    real = Reality(triton)
    yield real
    real.close()


@pytest.mark.claims(
    "Each path, option, host, variable, state and message in ``this type`` is compared "
    "with the program or file that it speaks of."
)
@pytest.mark.claims(
    "A word that means something says so with a role: ``:file:`` must be there, an ``:option:`` "
    "must be one, a ``:message:`` must be said."
)
@pytest.mark.parametrize("name", PAGES)
def test_each_word_with_a_role_is_true(name, reality, record_property):
    page = typed.page(name)
    problems = []
    for line, word in page.words:
        if problem := CHECKS[word.role](word, page, reality):
            problems.append(f"{name}:{line} :{word.role}:`{word.text}`: {problem}")
        if word.role != "elsewhere":
            record_property("word", name)
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.mark.parametrize("name", PAGES)
def test_a_file_is_saved_under_its_name(name):
    """What `save this as` names is the file that is shown below, or one that is made of it."""
    text = pages.filled(name)
    shown = r"this as\s+:file:`([^`]+)`(?:(?!\n\n).)*\n\n\.\. rendered-file:: (\S+)"
    for save in re.finditer(shown, text, re.DOTALL):
        line = text.count("\n", 0, save.start()) + 1
        assert Path(save[1]).name == Path(save[2]).name, f"{name}:{line}: {save[1]} is {save[2]}"


def test_an_option_is_the_one_that_its_target_names():
    for target, of in (("--mem <sbatch --mem>", "sbatch"), ("--mem <sbatch --memm>", "")):
        [(_, word)] = words(f":option:`{target}`")
        assert (word.text, word.of) == ("--mem", of)


def test_few_words_are_compared_with_nothing():
    every = [(name, word) for name in PAGES for _, word in pages.roles(name)]
    elsewhere = [(name, word.text) for name, word in every if word.role == "elsewhere"]
    assert len(elsewhere) <= MOST_ELSEWHERE * len(every)
    assert set(elsewhere) == {(name, text) for name, words in ELSEWHERE.items() for text in words}


def test_what_nothing_checks_has_its_reason_for_each_page():
    check, word = CHECKS["elsewhere"], Word("elsewhere", "nvidia-smi")
    assert check(word, typed.page("triton/tut/gpu.rst"), None) == ""
    assert "no reason" in check(word, typed.page("triton/tut/storage.rst"), None)


def test_no_word_is_overlooked(site):
    """Sphinx finds the same words."""
    for name in PAGES:
        if (ROOT / name).read_text(encoding="utf-8").startswith("{{ if "):
            continue  # a page that some centres lack
        with open(site.parent / "doctrees" / Path(name).with_suffix(".doctree"), "rb") as file:
            tree = pickle.load(file)
        for contents in list(tree.findall(nodes.topic)):
            contents.parent.remove(contents)  # a table of contents repeats the titles
        shown = [
            (node["classes"][0], " ".join(node.astext().split()))
            for node in tree.findall(lambda node: isinstance(node, nodes.literal | nodes.inline))
            if set(node["classes"]) & set(ROLES)
        ]
        read = [(word.role, word.text) for _, word in pages.roles(name)]
        assert Counter(shown) == Counter(read), name


@pytest.mark.parametrize("page", pages.sources() + pages.notebooks())
def test_an_entry_of_a_menu_is_named_so_that_it_is_opened(page):
    """The name includes the menu, and a test opens that menu.

    On a page the name has the role menuselection, in a notebook it is written **File, Download**.
    The text for screen readers that replaces a picture counts too.
    """
    text = re.sub(
        r"(?<=:alt: ).*(?:\n {9,}.*)*", lambda alt: re.sub(r"\S", "x", alt[0]), pages.read(page)
    )
    named = ":menuselection:`" if page.endswith(".rst") else "**"
    for match in re.finditer(
        rf"(?<![\w-])(?<!Select )(?:{pages.BAR})(?:,| *(?:>|-->|\u2192)) *[A-Z][a-z]", text
    ):
        line = text.count("\n", 0, match.start()) + 1
        browsers = page == "triton/apps/jupyter/connecting.rst" and match[0].startswith("Settings")
        assert browsers or text[: match.start()].endswith(named), (
            f"{page}:{line}: no test opens this menu: {match[0]!r}"
        )

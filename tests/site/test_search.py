"""The search finds the section that answers a question, typed as in tests/data/questions.toml. It
is fast, and loads nothing before it is used.
"""

import functools
import http.server
import json
import re
import threading
import tomllib

import pytest

from _ext import facts
from tools import questions
from tools.browser import Quiet, needs_chromium
from tools.files import ROOT
from triton.lib import clusterfacts

pytestmark = needs_chromium
FACTS = clusterfacts.load(ROOT / "triton/facts.toml").in_words()
WORDS = tomllib.loads((ROOT / "triton/search.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def sections(site):
    return questions.sections(site)


@pytest.mark.claims("and ``tests/data/questions.toml`` what they ask.")
def test_the_search_answers_as_many_questions_as_before(browser, address, sections):
    """The share of questions with an answer among the first results is at least `least`, which
    stands with the questions. If the share sinks, the test prints the questions without an answer.
    """
    asked = questions.load()
    opened = browser.new_page()
    opened.goto(f"{address}/{questions.START}")
    misses = questions.misses(opened, asked, sections)
    opened.close()
    assert len(asked) >= 60
    if 1 - len(misses) / len(asked) < questions.least():
        pytest.fail("\n".join(misses), pytrace=False)


def test_the_answers_to_the_questions_are_there(sections):
    wanted = {answer for question in questions.load() for answer in question.answers}
    assert sorted(wanted - set(sections)) == []


@pytest.mark.claims("Those stand in ``triton/search.toml``: *kernel not shown* for one section,")
def test_words_for_sections_are_for_sections_that_are_there(sections):
    """By the address that the search knows; a label would be lost."""
    for page, words in WORDS["sections"].items():
        for section in filter(None, words):
            address = f"{page}#{section}"
            assert sections.get(address) == address, (
                f"triton/search.toml: {address} is no section; is it {sections.get(address)}?"
            )
        assert page in sections, f"triton/search.toml: there is no page {page}"


def test_the_index_shows_what_readers_call_each_section(site):
    shown = (site / "about/words.html").read_text(encoding="utf-8")
    for page, sections in WORDS["sections"].items():
        for anchor in filter(None, sections):
            assert f"{page.removeprefix('about/')}.html#{anchor}" in shown
    assert "kernel died, " in shown


def test_a_name_in_the_words_for_a_section_stands_on_its_page(site):
    """A name has a capital or a digit. Other words may be those of readers alone."""
    name = re.compile(r"(?=[a-z.+_-]*[A-Z\d])\w[\w.+-]*\w")
    unknown = []
    for page, words in WORDS["sections"].items():
        path = site / f"{page}.html.md"  # a cluster without GPUs has no page on them
        text = path.read_text(encoding="utf-8").lower() if path.exists() else None
        unknown += [
            f"triton/search.toml: {page}#{section} is called {promised}, which its page does not "
            "know: let the page say it, or make it a synonym in [words], or take it away"
            for section, called in words.items()
            for promised in name.findall(facts.substitute(called, FACTS)[0])
            if text is not None and promised.lower() not in text
        ]
    assert unknown == []


@pytest.mark.claims("and for all pages *crash* where the guide says *died*.")
def test_words_of_readers_lead_to_words_that_the_guide_has(site):
    words = json.loads((site / "pagefind/words.json").read_text(encoding="utf-8"))["words"]
    ours = WORDS["words"]
    missing = [word for word in ours if not {part for part in word.split() if part[2:]} <= {*words}]
    assert ours and missing == []


def test_a_search_in_opened_files_says_that_it_needs_a_server(browser, site):
    opened = browser.new_page()
    opened.goto(f"{(site / 'search.html').as_uri()}?q=kernel")
    opened.get_by_text("The search works where a server shows the site").wait_for()
    opened.close()


def test_results_come_while_typing_and_the_keyboard_opens_one(page):
    opened = page("triton/apps/jupyter/hub.html")
    assert not [url for url in opened.asked if "pagefind" in url]
    opened.get_by_role("combobox").press_sequentially("server di", delay=20)
    first = opened.get_by_role("option").first
    first.wait_for()
    opened.get_by_role("combobox").press_sequentially("ed")
    first.filter(has_text=re.compile("^My server or kernel died")).wait_for()
    opened.keyboard.press("ArrowDown")
    assert first.get_attribute("aria-selected") == "true" and opened.get_by_role(
        "combobox"
    ).get_attribute("aria-activedescendant") == first.get_attribute("id")
    opened.keyboard.press("Enter")
    opened.wait_for_url("**/faq.html#my-server-or-kernel-died")
    assert not opened.faults


def test_late_results_leave_the_choice_of_the_reader(page):
    """The reader's choice among the earlier results stays."""
    opened = page("triton/apps/jupyter/hub.html")
    opened.get_by_role("combobox").press_sequentially("server died")
    opened.get_by_role("option").first.filter(
        has_text=re.compile("^My server or kernel died")
    ).wait_for()  # wait for the answers to the whole question
    opened.keyboard.press("ArrowDown")
    opened.evaluate(
        "async () => show(await Promise.all((await search('server died')).slice(0, 8).map(entry)))"
    )
    assert opened.get_by_role("option").first.get_attribute("aria-selected") == "true"


def test_escape_closes_the_results_and_enter_goes_to_all_of_them(page):
    opened = page("index.html")
    box = opened.get_by_role("combobox")
    box.press_sequentially("proxy")
    opened.get_by_role("option").first.wait_for()
    opened.keyboard.press("Escape")
    assert not opened.get_by_role("listbox").is_visible()
    opened.keyboard.press("Enter")
    opened.wait_for_url("**/search.html?q=proxy")
    opened.locator("#results li").nth(4).wait_for()
    assert "sections for “proxy”" in opened.get_by_role("status").inner_text()


def test_sections_of_a_page_stand_together(page):
    """Each page is one result, with links to its other sections, whose texts are not loaded."""
    opened = page("search.html?q=git+diff+notebook")
    opened.locator("#results ul a").first.wait_for()
    texts = [url for url in opened.asked if url.endswith(".pf_fragment")]
    assert len(texts) == opened.locator("#results > li").count(), "a text is loaded and not shown"

    def pages(links):
        return [re.sub(r"#.*", "", link.get_attribute("href")) for link in links]

    results = opened.locator("#results > li").all()
    firsts = [pages(result.locator("> a").all()) for result in results]
    assert [len(first) for first in firsts] == [1] * len(firsts)
    assert len({first for [first] in firsts}) == len(firsts)
    others = [pages(result.locator("ul a").all()) for result in results]
    assert all({first} >= set(other) for [first], other in zip(firsts, others, strict=True))
    assert len(firsts) < len(firsts) + sum(map(len, others)) <= 10


@pytest.mark.parametrize("one, both", [("disk", "disk quota"), ("gpu", "gpu memory")])
def test_two_words_find_no_section_with_one_of_them(one, both, page):
    opened = page("search.html?q=disk+quota")
    found = "async question => (await search(question)).length"
    assert 0 < opened.evaluate(found, both) < opened.evaluate(found, one)


def test_one_of_two_words_is_not_found_beside_both(page):
    """The licence of this guide is no answer to a question about MATLAB."""
    opened = page("search.html?q=matlab+licence")
    texts = opened.evaluate(
        """async question => Promise.all((await search(question)).map(async result =>
            (await result.data()).content.toLowerCase()))""",
        "matlab licence",
    )
    assert len(texts) > 2 and [text for text in texts if "matlab" not in text] == []


def test_late_results_do_not_open_a_closed_list(page):
    opened = page("index.html")
    opened.get_by_role("combobox").press_sequentially("proxy")
    for closes in (
        "box.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape', bubbles: true}))",
        "document.body.click()",
    ):
        opened.evaluate(
            "async () => show(await Promise.all((await search('proxy')).slice(0, 8).map(entry)))"
        )
        opened.evaluate(f"box.dispatchEvent(new Event('input')); {closes}")
        opened.evaluate(
            "async () => Promise.all((await search('proxy')).slice(0, 8).map(entry))"
        )  # this request comes later, so its answer does too
        assert not opened.get_by_role("listbox").is_visible(), closes


def test_a_section_is_shown_by_its_own_text(page):
    """It is not shown by the words that readers use for it."""
    opened = page("search.html?q=keeps+restarting")
    first = opened.locator("#results li").first
    first.get_by_role("link", name="My server or kernel died").wait_for()
    shown = first.locator("p").inner_text()
    assert len(shown) > 100 and "restarting" not in shown and "\N{BROKEN BAR}" not in shown
    page("search.html?q=backup").locator("#results li").first.locator(
        "mark", has_text="backup"
    ).first.wait_for()


def test_a_search_without_results_says_so(page):
    opened = page("search.html?q=xyzzyqqq")
    opened.get_by_text("Nothing found for “xyzzyqqq”").wait_for()
    assert opened.get_by_role("link", name="tell us what you looked for").is_visible()
    for link in ("FAQ", "The index"):
        there = opened.locator("main").get_by_role("link", name=link, exact=True)
        there.wait_for()
        assert there.bounding_box()["y"] < 500, f"{link} is below the screen"


def test_where_nothing_is_found_the_nearest_words_are_offered(page):
    opened = page("search.html?q=segfalt")
    opened.locator("#nearest").get_by_role("link", name="segfault").click()
    opened.get_by_role("link", name="My server or kernel died").first.wait_for()


def test_the_search_works_below_another_path(browser, site, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/guide").symlink_to(site)
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path)
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        opened = browser.new_page()
        opened.goto(f"http://127.0.0.1:{server.server_port}/deep/guide/search.html?q=server+died")
        link = opened.locator("#results a").first
        link.wait_for()
        assert "/deep/guide/triton/apps/jupyter/faq.html#" in link.get_attribute("href")
        opened.close()
        server.shutdown()

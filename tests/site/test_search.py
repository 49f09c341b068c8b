"""The search finds the section that answers, as people type it, in tests/data/questions.toml; it is
quick to use and loads nothing before.
"""

import functools
import http.server
import json
import re
import threading
import tomllib

import pytest

from tools.browser import Quiet, needs_chromium
from tools.files import ROOT
from tools.page_quality import QUESTIONS

pytestmark = needs_chromium
FIND = (
    "async question => (await Promise.all((await search(question)).slice(0, 3).map(result => "
    "result.data()))).map(found => found.meta.address)"
)


@pytest.fixture(scope="module")
def anchors(site):
    """{(page, anchor): the anchors of the same section}; the anchor of a page's first section is
    also \"\".
    """
    found = {}
    for path in site.rglob("*.html"):
        name = path.relative_to(site).with_suffix("").as_posix()
        for number, (first, others) in enumerate(
            re.findall(
                r'<section id="([^"]+)">\s*((?:<span id="[^"]+"></span>)*)',
                path.read_text(encoding="utf-8"),
            )
        ):
            same = {first, *re.findall(r'id="([^"]+)"', others), *([""] if number == 0 else [])}
            found |= {(name, anchor): same for anchor in same}
    return found


@pytest.fixture(scope="module")
def asked(browser, address):
    """A page on which questions are asked one after the other."""
    opened = browser.new_page()
    opened.goto(f"{address}/triton/tut/modules.html")
    yield opened
    opened.close()


@pytest.mark.claims("and ``tests/data/questions.toml`` what they ask.")
@pytest.mark.parametrize(
    ("question", "answers", "places"), QUESTIONS, ids=[question for question, *_ in QUESTIONS]
)
def test_a_question_finds_its_answer(question, answers, places, asked, anchors):
    found = [
        address.replace(".html", "").partition("#")[::2]
        for address in asked.evaluate(FIND, question)
    ][:places]
    wanted = [answer.partition("#")[::2] for answer in answers]
    assert all(answer in anchors for answer in wanted), (
        "the table names a section that is not there"
    )
    assert [
        one
        for one in found
        if any(one[0] == name and one[1] in anchors[name, anchor] for name, anchor in wanted)
    ], found


@pytest.mark.claims("For a notebook they stand in ``notebooks/search.toml``.")
def test_words_for_notebooks_are_for_sections_that_are_there(anchors):
    said = tomllib.loads((ROOT / "notebooks/search.toml").read_text(encoding="utf-8"))
    assert said and not [
        (name, section)
        for name, sections in said.items()
        for section in sections
        if (f"notebooks/{name}", section) not in anchors
    ]


@pytest.mark.claims("Words for all pages, *crash* where the guide says *died*, stand in")
def test_words_of_readers_lead_to_words_that_the_guide_has(site):
    words = json.loads((site / "pagefind/words.json").read_text(encoding="utf-8"))["words"]
    ours = tomllib.loads((ROOT / "triton/search.toml").read_text(encoding="utf-8"))
    missing = [word for word in ours if not {part for part in word.split() if part[2:]} <= {*words}]
    assert ours and missing == []


def test_a_search_in_opened_files_says_that_it_needs_a_server(browser, site):
    opened = browser.new_page()
    opened.goto(f"{(site / 'search.html').as_uri()}?q=kernel")
    opened.get_by_text("The search works where a server shows the site").wait_for()
    opened.close()


def test_there_are_sixty_questions():
    assert len(QUESTIONS) >= 60


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
    """The choice that the reader has made meanwhile."""
    opened = page("triton/apps/jupyter/hub.html")
    opened.get_by_role("combobox").press_sequentially("server died")
    opened.get_by_role("option").first.filter(
        has_text=re.compile("^My server or kernel died")
    ).wait_for()  # not the list of half the question
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
        )  # asked later, so it comes later
        assert not opened.get_by_role("listbox").is_visible(), closes


def test_a_section_is_shown_by_its_own_text(page):
    """Not by what readers call it."""
    opened = page("search.html?q=keeps+restarting")
    first = opened.locator("#results li").first
    first.get_by_role("link", name="My server or kernel died").wait_for()
    shown = first.locator("p").inner_text()
    assert len(shown) > 100 and "restarting" not in shown and "\N{BROKEN BAR}" not in shown
    page("search.html?q=backup").locator("#results li").first.locator(
        "mark", has_text="backup"
    ).first.wait_for()


def test_what_is_found_by_nothing_says_so(page):
    opened = page("search.html?q=xyzzyqqq")
    opened.get_by_text("Nothing found for “xyzzyqqq”").wait_for()


def test_it_works_where_the_site_is_not_at_the_top(browser, site, tmp_path):
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

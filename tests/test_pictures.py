"""The guide's pictures: the steps that they show still work, and show today what the picture shows."""
import itertools
import re
from xml.etree import ElementTree

import pytest
from conftest import ROOT
from jupyter_server import CHROMIUM, FLAGS
from pictures import PICTURES, Failed

VARIES = [                                                  # in each run, and nothing that a reader goes by
    (r"\b([Jj])ob \d+\b|^\d+(?= +c\d)", "JOB"),             # Job 7 is ended.
    (r"\bc\d+\b", "NODE"),                                  # runs on c1
    (r":\d{5}\b", ":PORT"),                                 # c1.int...:39343, not localhost:8888
    (r"\((Resources|Priority|None)\)", "(REASON)"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "DATE"),
    (r"\b1:5\d:\d\d\b", "LEFT"),                            # of 2 hours
    (r"(\d+|-)M(?= of )", "USED"),                          # 156M of 1G, and not the 1G
    (r"(?<=\S)  +", "  "),                                  # columns are as wide as what is in them
]


def shown(name):
    """The rows of text in the picture, as (line of the file, text) pairs."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [(number, "".join(ElementTree.fromstring(line).itertext())) for number, line in enumerate(lines, 1) if line.startswith("<text")]


def comparable(rows):
    """The (line, text) pairs without what varies. A job may tell several times why it waits: the last counts."""
    user = re.match(r"\w+", rows[0][1])[0]
    found = []
    for number, text in rows:
        text = text.replace(user, "USER")
        for pattern, instead in VARIES:
            text = re.sub(pattern, instead, text)
        if found and "(REASON)" in text and "(REASON)" in found[-1][1]:
            found.pop()
        found.append((number, text))
    return found


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_shows_what_its_steps_show_today(name, triton):
    rows, failed = [], ""
    try:
        rows = PICTURES[name](triton, triton.account()).rows()
    except Failed as error:
        failed = f"{name}: a step that it shows no longer works: {error}"
    if failed:
        pytest.fail(failed, pytrace=False)
    today = [(0, text) for text in map(lambda row: "".join(piece for _, piece in row), rows) if text]
    for (line, old), (_, new) in itertools.zip_longest(comparable(shown(name)), comparable(today), fillvalue=("end", "")):
        if old != new:
            pytest.fail(f"{name}, line {line}: the picture shows {old!r}, today's run {new!r}. If today's is right: make pictures", pytrace=False)


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_overlooked_in_a_picture_is_in_it(name):
    text = "\n".join(text for _, text in shown(name))
    assert not [pattern for pattern, _ in VARIES if not re.search(pattern, text, re.MULTILINE)]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_small_and_gives_no_token_away(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(text) < 60_000 and "token=..." in text and not re.search(r"token=\w|\b[0-9a-f]{16,}\b", text)


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: make system installs it")
@pytest.mark.parametrize("name", PICTURES)
def test_a_recording_plays_once_and_stands_still_for_those_who_want_no_motion(name):
    from playwright.sync_api import sync_playwright

    seen = "[...document.querySelectorAll('tspan')].map(piece => getComputedStyle(piece).visibility)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto((ROOT / name).as_uri())
        assert set(page.evaluate(seen)[-10:]) == {"hidden"}
        page.evaluate("document.getAnimations().forEach(piece => piece.finish())")
        assert set(page.evaluate(seen)) == {"visible"}
        page = browser.new_page(reduced_motion="reduce")
        page.goto((ROOT / name).as_uri())
        assert set(page.evaluate(seen)) == {"visible"}
        browser.close()

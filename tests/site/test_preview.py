"""A reviewer sees the pages that a change alters, before and after, and no others."""

from bs4 import BeautifulSoup
from PIL import Image

from tools import preview
from tools.browser import needs_chromium

PAGE = '<!DOCTYPE html><p>Menu {menu}</p><div itemprop="articleBody"><h1>{text}</h1></div>'


def site(folder, pages, menu):
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PAGE.format(menu=menu, text=text))
    return folder


@needs_chromium
def test_pages_that_say_something_else_are_shown_side_by_side(tmp_path):
    pages = {"same.html": "Same", "tut/changed.html": "Old", "gone.html": "Gone"}
    before = site(tmp_path / "a", pages, "old")
    pages = {"same.html": "Same", "tut/changed.html": "New", "new.html": "New"}
    after = site(tmp_path / "b", pages, "new")
    names = preview.show(before, after, tmp_path / "shown")
    assert names == ["gone.html", "new.html", "tut/changed.html"]
    shown = BeautifulSoup((tmp_path / "shown/index.html").read_bytes(), "html.parser")
    pictures = [image["src"] for image in shown.select("img")]
    assert pictures == [
        "before/gone.html.jpeg",
        "after/new.html.jpeg",
        "before/tut/changed.html.jpeg",
        "after/tut/changed.html.jpeg",
    ]
    old, new = (Image.open(tmp_path / "shown" / name).tobytes() for name in pictures[2:])
    assert old != new
    assert "There is no such page after." in shown.text


@needs_chromium
def test_a_change_of_no_page_shows_the_front_page(tmp_path):
    pages = {"index.html": "Front"}
    before, after = (site(tmp_path / name, pages, name) for name in "ab")
    assert preview.show(before, after, tmp_path / "shown") == []
    assert (tmp_path / "shown/after/index.html.jpeg").exists()

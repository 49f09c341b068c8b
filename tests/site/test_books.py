"""The guide is complete as EPUB and as PDF: its links lead somewhere, and its code, tabs, solutions
and plots are visible without a click.
"""

import posixpath
import re
import zipfile
from urllib.parse import unquote, urldefrag
from xml.etree import ElementTree

import pytest
from pypdf import PdfReader

from tools import books
from tools.browser import needs_chromium
from tools.files import ROOT
from triton.lib import clusterfacts

FACTS = clusterfacts.load(ROOT / "triton/facts.toml")
pytestmark = needs_chromium


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("books")
    books.main(folder)
    return {path.suffix: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def chapters(made):
    """{path in the EPUB: its parsed XHTML}, and the set of all its file names."""
    with zipfile.ZipFile(made[".epub"]) as book:
        return {
            name: ElementTree.fromstring(book.read(name))
            for name in book.namelist()
            if name.endswith(".xhtml")
        }, set(book.namelist())


@pytest.fixture(scope="module")
def text(made):
    """The PDF and its text."""
    pdf = PdfReader(made[".pdf"])
    return pdf, re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pdf.pages))


def test_every_link_and_picture_of_the_epub_leads_somewhere(chapters):
    """A link leads to a part of the EPUB or to the web."""
    pages, names = chapters
    ids = {name: {element.get("id") for element in page.iter()} for name, page in pages.items()}
    broken = []
    for name, page in pages.items():
        for element in page.iter():
            link = element.get("href") or element.get("src")
            if not link or re.match(r"https?:", link):
                continue
            path, fragment = urldefrag(link)
            target = (
                posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(path)))
                if path
                else name
            )
            if target not in names or (fragment and fragment not in ids[target]):
                broken.append(f"{name}: {link}")
    assert len(pages) > 25 and broken == []


def test_the_epub_uses_only_features_of_every_reader(made, chapters):
    """EPUBCheck 4.2 once reported WebP pictures, CSS 4 selectors, and two names for one book."""
    _, names = chapters
    assert {posixpath.splitext(name)[1] for name in names} <= {
        "",
        ".xhtml",
        ".css",
        ".js",
        ".png",
        ".svg",
        ".gif",
        ".ncx",
        ".opf",
        ".xml",
    }
    with zipfile.ZipFile(made[".epub"]) as book:
        assert not [
            name
            for name in names
            if name.endswith(".css")
            and re.search(r":(is|where|not|has)\([^)]*,", book.read(name).decode())
        ]
        index, contents = (
            ElementTree.fromstring(book.read(next(name for name in names if name.endswith(end))))
            for end in (".ncx", ".opf")
        )
    uid = next(
        element.get("content") for element in index.iter() if element.get("name") == "dtb:uid"
    )
    assert uid == next(
        element.text
        for element in contents.iter()
        if element.tag.endswith("}identifier")
        and element.get("id") == contents.get("unique-identifier")
    )


def test_hidden_parts_of_pages_are_open_in_both_books(chapters, text):
    pages, _ = chapters
    details = [
        element
        for page in pages.values()
        for element in page.iter()
        if element.tag.endswith("}details")
    ]
    assert len(details) > 10 and all(element.get("open") for element in details)
    assert not [
        element
        for page in pages.values()
        for element in page.iter()
        if element.tag.endswith(("}input", "}script", "}button"))
    ]
    for words in (
        f"ssh -D {FACTS.proxy.port} -J",
        "System Settings, Network",
        "%USERPROFILE%",
    ):  # the page has three tabs
        assert words in text[1], words


def test_the_pdf_has_bookmarks_and_links_to_its_own_pages(text):
    pdf, content = text
    titles = [item.title for item in pdf.outline if not isinstance(item, list)] + [
        item.title
        for part in pdf.outline
        if isinstance(part, list)
        for item in part
        if not isinstance(item, list)
    ]
    assert (
        any("Jupyter" in title for title in titles)
        and len(pdf.pages) > 40
        and FACTS.hosts.login in content
    )
    links = [note.get_object() for page in pdf.pages for note in page.get("/Annots", [])]
    inside = [link["/Dest"] for link in links if "/Dest" in link]
    assert len(inside) > 100 and all(dest in pdf.named_destinations for dest in inside)
    outside = [str(link["/A"]["/URI"]) for link in links if "/URI" in link.get("/A", {})]
    assert outside and not [address for address in outside if not address.startswith("http")]


def test_no_page_of_the_pdf_is_empty_and_the_recording_is_whole(text):
    pdf, content = text
    assert not [number for number, page in enumerate(pdf.pages, 1) if len(page.extract_text()) < 60]
    assert re.search(r"sjupyter --stop Job \d+ is ended", content)


def test_the_plots_of_the_course_are_in_both(chapters, text):
    pages, _ = chapters
    plots = {
        element.get("src")
        for page in pages.values()
        for element in page.iter()
        if element.tag.endswith("}img")
    }
    assert len([plot for plot in plots if plot.endswith(".png")]) >= 5
    assert (
        sum(
            kind["/Subtype"] == "/Image"
            for page in text[0].pages
            for kind in page["/Resources"].get("/XObject", {}).values()
        )
        >= 5
    )

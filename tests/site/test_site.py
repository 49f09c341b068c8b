"""The built site is consistent: links lead somewhere, old addresses still work, and a build does
only what it must.
"""

import json
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import nbformat
import pytest
from bs4 import BeautifulSoup
from docutils import nodes

from _ext import frontend
from tools import anchors
from tools.course.pairs import write_pair
from tools.files import ROOT, copy_source
from tools.pages import read, sources
from tools.site import html_pages
from triton.lib import clusterfacts

FACTS = clusterfacts.load(ROOT / "triton/facts.toml")
CONF = runpy.run_path(str(ROOT / "conf.py"))


class Page(HTMLParser):
    """The ids, links and images of an HTML page."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.images, self.text = (
            set(),
            [],
            [],
            path.read_text(encoding="utf-8"),
        )
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids |= {given[key] for key in ("id", "name") if given.get(key)}
        self.links += [given[key] for key in ("href", "src") if given.get(key)]
        if tag == "img":
            self.images.append(given)


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site).as_posix(): Page(path) for path in html_pages(site)}


def test_every_link_of_every_page_leads_to_what_exists(site, pages):
    """A link leads to a page, a file and an anchor that exist."""
    base, broken = urlparse(FACTS.site.url).path, []
    for name, page in pages.items():
        for link in page.links:
            target, fragment = urldefrag(link)
            if urlparse(link).scheme or link.startswith("//"):
                continue
            if target.startswith(base) and name == "404.html":
                path = site / unquote(target.removeprefix(base)).split("?")[0]
            else:
                path = (
                    (site / name).parent / unquote(target).split("?")[0] if target else site / name
                )
            if path.is_dir():
                path /= "index.html"
            if not path.exists():
                broken.append(f"{name}: {link}")
            elif (
                fragment
                and path.suffix == ".html"
                and fragment not in pages[path.resolve().relative_to(site).as_posix()].ids | {"top"}
            ):
                broken.append(f"{name}: {link}: no such anchor")
    assert not broken, "\n".join(sorted(set(broken)))


@pytest.mark.claims("``tests/data/anchors.txt`` which addresses its readers know,")
@pytest.mark.claims(
    "Then ``make anchors``: from then on a test fails when the address of a section is gone."
)
def test_no_address_of_a_section_is_lost_or_missing(site):
    """The list of addresses has every section."""
    published, now = set(anchors.LIST.read_text(encoding="utf-8").split()), anchors.anchors(site)
    assert len(published) > 150
    new = [f"{label_of(address)}: {address}" for address in sorted(now - published)]
    assert (
        sorted(address for address in published - now if _after_the_move(address) not in now) == []
    ), (
        "readers have bookmarked these: write `.. _old-name:` above the section that has "
        f"replaced it; new are {new}"
    )
    assert new == [], "new sections: make anchors adds them to tests/data/anchors.txt"


def _after_the_move(address):
    """Where a redirect leads from this address of a section: to the section with the same name on
    the new page.
    """
    page, _, anchor = address.partition("#")
    return f"{CONF['redirects'].get(page.removesuffix('.html'))}#{anchor}"


def label_of(address):
    """page.rst:LINE of the label or the title that makes the address `page.html#label`."""
    page, _, anchor = address.partition("#")
    source = ROOT / Path(page).with_suffix(".rst")
    lines = source.read_text(encoding="utf-8").splitlines() if source.exists() else []
    makes = (n for n, line in enumerate(lines, 1) if anchor == nodes.make_id(line.strip(".:")))
    return f"{source.relative_to(ROOT)}:{next(makes, 1)}"


@pytest.mark.parametrize("anchor", ["data-rsync", "whole-folders-with-rsync"])
def test_a_new_address_is_named_with_its_line(anchor):
    page, _, line = label_of(f"triton/tut/data.html#{anchor}").partition(":")
    named = (ROOT / page).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert named in (".. _data-rsync:", "Whole folders, with rsync")


SOURCES = (
    sorted(path for folder in ("triton", "scicomp") for path in (ROOT / folder).rglob("*.rst"))
    + sorted(ROOT.glob("about/[!p]*.rst"))
    + [ROOT / "index.rst"]
)
SMALL = {"the", "it", "of", "to", "you", "your", "in", "is"}


def _words(text):
    """The stems of the words of `text`, without short words."""
    return {
        re.sub(r"(ing|ers?|ed|es|s|e)$", "", word)
        for word in re.findall(r"[a-z]{2,}", text.lower())
    } - SMALL


@pytest.fixture(scope="module")
def labels():
    """{label: the words of its name, of the title below it, and of the text's first two words}."""
    words_of = {}
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        for label in re.finditer(
            r"^\.\. _([\w-]+):\n\n?(?:\.\. _[\w-]+:\n+)*((?:[=-]+\n)?.*)", text, re.MULTILINE
        ):
            below = re.findall(r"\w+", text[label.end() :])[:2]
            words_of[label[1]] = _words(
                f"{label[1].replace('-', ' ')} {label[2]} {' '.join(below)}"
            )
    return words_of


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_reference_has_words_of_its_target(path, labels):
    text, wrong = path.read_text(encoding="utf-8"), []
    for match in re.finditer(r":ref:`([^`<]+?)\s*<([\w-]+)>`", text):
        if not _words(match[1]) & labels.get(match[2], set()):
            line = text.count("\n", 0, match.start()) + 1
            wrong.append(
                f"{path.relative_to(ROOT)}:{line}: {' '.join(match[1].split())!r} has no "
                f"word in common with the section {match[2]}"
            )
    assert not wrong, "\n".join(wrong)


def test_an_address_in_our_repository_leads_to_a_file():
    """The repository has that file."""
    repository, branch = FACTS.site.repository, FACTS.site.branch
    address = re.compile(
        rf"https?://[^\s>`]*?/(?:tree|blob)/[^\s>`]+|{re.escape(repository)}/[^\s>`]+"
    )
    ours = tuple(value for value in vars(FACTS.site).values() if value.startswith("https:"))
    wrong, seen = [], 0
    for name in sources():
        for number, line in enumerate(read(name).splitlines(), 1):
            for match in (match for match in address.finditer(line) if match[0].startswith(ours)):
                seen += 1
                before, _, path = match[0].partition(f"/tree/{branch}/")
                if before != repository or not path or not (ROOT / path).exists():
                    wrong.append(f"{name}:{number}: {match[0]}")
    assert seen and not wrong, wrong


def test_the_menu_marks_the_page_and_those_above_it(site):
    marked = 0
    for path in html_pages(site):
        page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        items = page.select("nav#menu li.current")
        assert [
            link["href"] for link in page.select("nav#menu a.current, nav#menu a[href='#']")
        ] == [item.a["href"] for item in items[-1:]], path
        if items:  # no menu has the front page and the search
            assert [item.find_parent("li") for item in items] == [None, *items[:-1]], (
                f"{path}: one in the other"
            )
            assert items[-1].a["href"] == "#" and page.h1.text.startswith(items[-1].a.text), (
                f"{path}: {items[-1].a.text}"
            )
            marked += 1
    assert marked > 20


def test_every_page_is_reached_from_the_menu(site, pages):
    redirected = {f"{name}.html" for name in CONF["redirects"]}
    linked = {(site / unquote(urldefrag(link)[0])).resolve() for link in pages["index.html"].links}
    reached = set()
    todo = [site / "index.html"]
    while todo:
        path = todo.pop()
        if path in reached or path.suffix != ".html" or not path.exists():
            continue
        reached.add(path)
        todo += [
            (path.parent / unquote(urldefrag(link)[0])).resolve()
            for link in pages[path.relative_to(site).as_posix()].links
            if not urlparse(link).scheme and urldefrag(link)[0]
        ]
    assert linked <= reached | {
        path for path in linked if path.suffix != ".html" or not path.exists()
    }
    assert {site / name for name in pages} - reached <= {
        site / name for name in redirected | {"404.html", "search.html"}
    }


@pytest.mark.claims("Each has an alternative text.")
def test_every_image_has_an_alternative_text(pages):
    bare = [
        f"{name}: {image.get('src', '')[:60]}"
        for name, page in pages.items()
        for image in page.images
        if len(image.get("alt", "")) < 10 or re.fullmatch(r"\S*[0-9a-f]{20,}\S*", image["alt"])
    ]
    assert not bare, "\n".join(bare)


def test_no_placeholder_is_left_in_a_page(pages):
    # the exception is the page that explains them
    assert not [
        name
        for name, page in pages.items()
        if name != "about/how-to-write.html"
        and re.search(r"\{\{ ?[\w.]+ ?\}\}", re.sub(r"(?s)<script.*?</script>", "", page.text))
    ]


def test_addresses_of_the_ancestor_lead_to_their_new_page(site, pages):
    assert CONF["redirects"]
    for old in CONF["redirects"]:
        target = re.search(r'content="0; url=([^"]+)"', (site / f"{old}.html").read_text())[1]
        path, fragment = urldefrag(target)
        destination = ((site / old).parent / path).resolve().relative_to(site).as_posix()
        assert destination in pages and (not fragment or fragment in pages[destination].ids), (
            f"{old} leads to {target}"
        )


def test_every_guide_page_can_be_edited_and_leads_on(site, pages):
    """It shows the date of its last change."""
    for name in (
        "index.html",
        "triton/apps/jupyter.html",
        "triton/apps/jupyter/faq.html",
        "notebooks/01-first-notebook.html",
    ):
        text = pages[name].text
        source = next(
            path
            for path in (ROOT / name.replace(".html", suffix) for suffix in (".rst", ".md"))
            if path.exists()
        )
        assert (
            'property="og:title"' in text and f'property="og:url" content="{FACTS.site.url}' in text
        )
        assert 'rel="next"' in text and (name == "index.html" or 'rel="prev"' in text)
        if subprocess.run(
            ["git", "-C", ROOT, "log", "-1", "--format=%h", "--", source],
            capture_output=True,
            text=True,
        ).stdout:
            assert re.search(r"Last updated on\s+(<time[^>]*>)?\d{4}-\d\d-\d\d", text), (
                f"{name} shows no date"
            )


@pytest.mark.claims("Press *Edit* at the top of its page, correct it, and propose the change.")
def test_edit_leads_to_the_editor_of_the_source_that_people_edit(pages):
    """For a notebook, this is the half in Markdown. A page without a source, as the search, has no
    such link.
    """
    begin = f"{FACTS.site.repository}/edit/{FACTS.site.branch}/"
    for name, page in (
        (name, page) for name, page in pages.items() if not name.startswith("course/")
    ):
        links = [
            link["href"]
            for link in BeautifulSoup(page.text, "html.parser").select("a")
            if link.text == "Edit"
        ]
        sources = [
            path
            for path in (ROOT / name.replace(".html", suffix) for suffix in (".rst", ".md"))
            if path.exists()
        ]
        assert links == [begin + path.relative_to(ROOT).as_posix() for path in sources], name
        assert sources or name in {f"{old}.html" for old in CONF["redirects"]} | {
            "404.html",
            "search.html",
        }


@pytest.mark.parametrize(
    "repository, begin",
    [
        ("https://github.com/us/guide", "https://github.com/us/guide/edit/"),
        ("https://github.com/us/guide.git", "https://github.com/us/guide/edit/"),
        ("https://gitlab.com/group/sub/guide", "https://gitlab.com/group/sub/guide/-/edit/"),
        (
            "https://version.aalto.fi/gitlab/group/guide/",
            "https://version.aalto.fi/gitlab/group/guide/-/edit/",
        ),
        ("https://codeberg.org/us/guide", "https://codeberg.org/us/guide/_edit/"),
    ],
)
def test_edit_has_the_form_that_each_host_of_repositories_wants(repository, begin):
    assert frontend.edit_address(repository, "main", "a b/c.rst") == f"{begin}main/a%20b/c.rst"


def test_the_site_has_a_sitemap_and_a_page_for_lost_addresses(site, pages):
    """That page appears for addresses that do not exist."""
    assert "404.html" in pages
    sitemap = (site / "sitemap.xml").read_text()
    for name in ("triton/apps/jupyter.html", "notebooks/01-first-notebook.html"):
        assert f"<loc>{FACTS.site.url}{name}</loc>" in sitemap


def test_a_notebook_page_shows_its_times_and_offers_both_halves(site, pages):
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page = pages[f"notebooks/{notebook.stem}.html"]
        measured = json.loads(notebook.read_text(encoding="utf-8"))["metadata"]["measured"]
        assert f"run took {measured['seconds']} s and {measured['memory_mb']} MB" in page.text
        for suffix in (".ipynb", ".md"):
            assert any(link.endswith(notebook.stem + suffix) for link in page.links)


def test_a_page_shows_stored_outputs_of_one_half_only(site):
    """Only the notebook's half has outputs, and it becomes the page."""
    assert (site / "notebooks/01-first-notebook.html").exists()
    assert not list((site / "notebooks").glob("README*"))


def test_the_readme_of_the_hub_is_a_page_with_all_its_sections(pages):
    """Admins have the same file beside the configuration: there is one text."""
    readme = (ROOT / "triton/jupyterhub/README.md").read_text(encoding="utf-8")
    titles = re.findall(r"(?m)^#+ (.+)", re.sub(r"(?s)```.*?```", "", readme))
    page = pages["triton/jupyterhub/README.html"]
    assert len(titles) > 20 and {nodes.make_id(title) for title in titles} <= page.ids
    assert any(link.endswith("/triton/jupyterhub/README.md") for link in page.links)
    assert "triton/jupyterhub/README.html" in pages["index.html"].links


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the checkout in a folder with a space in its name, built once."""
    source = copy_source(tmp_path_factory.mktemp("a copy") / "the guide")
    read = _read(source)
    return source, read


def _read(source, *options):
    """Build the copy and report what Sphinx reads; return those documents."""
    program = (
        "import sys\n"
        "from sphinx.application import Sphinx\n"
        "read = []\n"
        "app = Sphinx(*sys.argv[1:5], 'html', status=None, warningiserror=True)\n"
        "app.connect('source-read', lambda app, name, source: read.append(name))\n"
        "app.build()\n"
        "print('\\n'.join(read)); sys.exit(app.statuscode)\n"
    )
    built = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            source,
            source,
            source / "_build/html",
            source / "_build/doctrees",
        ],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return set(built.stdout.split())


def test_without_make_lite_there_is_no_button(copy):
    """The page about the button says so."""
    source, _ = copy
    assert not (source / ".lite").exists() and not (source / "_build/html/lite").exists()
    assert (
        "Run in the browser"
        not in (source / "_build/html/notebooks/01-first-notebook.html").read_text()
    )
    assert (
        "This copy of the guide was built without it."
        in (text := (source / "_build/html/notebooks/in-the-browser.html").read_text())
        and "Two clicks" not in text
        and "The first start" not in text
    )


def test_a_build_without_a_change_reads_nothing_again(copy):
    source, first = copy
    assert "index" in first and len(first) > 20
    assert _read(source) == set()


def test_a_change_of_one_page_reads_that_page_again(copy):
    source, _ = copy
    page = source / "triton/tut/storage.rst"
    page.write_text(page.read_text() + "\nOne more sentence.\n")
    assert _read(source) == {
        "triton/tut/storage",
        "about/how-tested",
    }  # this page lists the claims of all pages


def test_a_change_of_the_facts_reads_the_pages_that_use_them(copy):
    source, _ = copy
    path = source / "triton/facts.toml"
    path.write_text(path.read_text() + "\n")
    read = _read(source)
    assert "triton/apps/jupyter/connecting" in read and "notebooks/01-first-notebook" not in read


def test_a_build_executes_no_notebook(copy):
    source, _ = copy
    path = source / "notebooks/02-hidden-state.ipynb"
    notebook = nbformat.read(path, as_version=4)
    stored = nbformat.v4.new_output("stream", text="stored, not computed")
    notebook.cells.append(
        nbformat.v4.new_code_cell(
            f"open({str(source / 'executed')!r}, 'w')", outputs=[stored], execution_count=1
        )
    )
    write_pair(notebook, path)
    assert _read(source) == {
        "notebooks/02-hidden-state",
        "notebooks/index",
        "notebooks/teaching",
        "about/how-tested",
    }
    assert (
        "stored, not computed"
        in (source / "_build/html/notebooks/02-hidden-state.html").read_text()
    )
    assert not (source / "executed").exists()


def test_the_other_half_of_each_pair_is_derived_not_listed():
    for notebook in Path(ROOT, "notebooks").glob("*.ipynb"):
        assert f"notebooks/{notebook.stem}.md" in CONF["exclude_patterns"]
        assert f"notebooks/{notebook.stem}.md" not in (ROOT / "conf.py").read_text()

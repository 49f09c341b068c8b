"""Each page exists as Markdown, with the same headings, code and links, and llms.txt lists all of
them.
"""

import gzip
import json
import re
from urllib.parse import urlparse

import pytest
from bs4 import BeautifulSoup

from tools.files import ROOT
from triton.lib import clusterfacts

FACTS = clusterfacts.load(ROOT / "triton/facts.toml")
SITE = FACTS.site.url


@pytest.fixture(scope="module")
def pages(site):
    """{page: its Markdown}."""
    return {
        path.relative_to(site).as_posix().removesuffix(".html.md"): path.read_text(encoding="utf-8")
        for path in site.rglob("*.html.md")
    }


def test_every_page_of_the_guide_has_one_and_says_where(site, pages):
    sources = {
        path.relative_to(ROOT).with_suffix("").as_posix()
        for folder in ("about", "triton", "scicomp", "notebooks")
        for suffix in ("rst", "ipynb")
        for path in (ROOT / folder).rglob(f"*.{suffix}")
        if ".ipynb_checkpoints" not in path.parts and path.name != "page-template.rst"
    } | {"index", "triton/jupyterhub/README"}
    lacking = {
        "triton/tut/gpu": not FACTS.gpus,
        "triton/apps/jupyter/ondemand": not FACTS.hosts.ondemand,
    }
    assert set(pages) == sources - {page for page, absent in lacking.items() if absent}
    for name in pages:
        assert (
            f'type="text/markdown" href="{name.rpartition("/")[2]}.html.md"'
            in (site / f"{name}.html").read_text()
        )


def test_llms_txt_lists_every_page_once_below_what_the_site_is(site, pages):
    text = (site / "llms.txt").read_text(encoding="utf-8")
    assert re.match(r"# .+\n\n> .+[.]\n\n## ", text)
    assert sorted(re.findall(r"\]\((\S+)\.html\.md\): .+[.]$", text, re.MULTILINE)) == sorted(
        SITE + name for name in pages if name != "index"
    )


def test_the_markdown_holds_headings_and_code_and_no_html(site, pages):
    """The headings and code are those of the page."""
    for name, text in pages.items():
        html = (site / f"{name}.html").read_text(encoding="utf-8")
        blocks = re.split(r"^\s*```.*$", text, flags=re.MULTILINE)
        prose, code = "\n".join(blocks[::2]), blocks[1::2]
        headings = len(re.findall(r"<h[1-6]>", html.partition("<main")[2].partition("</main>")[0]))
        assert len(re.findall(r"^#{1,6} ", prose, re.MULTILINE)) == headings, name
        assert len(code) == html.count('<div class="highlight"><pre') and all(
            block.strip() for block in code
        ), name
        assert "<summary>What it took<" not in html or "\nWhat it took:\n" in prose, name
        assert not re.search(r"</?(div|span|p|pre|input|label|details|section)\b", prose), name


def test_every_link_of_the_markdown_leads_to_a_file_of_the_site(site, pages):
    broken = []
    for name, text in pages.items():
        for link in re.findall(r"\]\(<?([^\s()<>]+)", text):
            address = urlparse(link)
            if (
                address.path
                and not address.scheme
                and not (site / name).parent.joinpath(address.path).exists()
            ):
                broken.append(f"{name}: {link}")
    assert broken == []


@pytest.fixture(scope="module")
def descriptions(site, pages):
    """{place: text} of everything that describes pages elsewhere: descriptions, llms.txt, the texts
    of the search, the Markdown.
    """
    texts = {"llms.txt": (site / "llms.txt").read_text(encoding="utf-8")} | {
        f"{name}.html.md": text for name, text in pages.items()
    }
    for name in pages:
        head = BeautifulSoup(
            (site / f"{name}.html").read_text(encoding="utf-8"), "html.parser"
        ).head
        texts |= {
            f"{name}, {meta.get('name') or meta['property']}": meta["content"]
            for meta in head.select("[name=description], [property='og:description']")
        }
    for path in (site / "pagefind/fragment").iterdir():
        content = gzip.decompress(path.read_bytes()).decode(errors="replace")
        section = json.loads(content[content.index("{") :])
        texts[f"search, {section['meta']['address']}"] = (
            section["content"].partition("\N{BROKEN BAR}")[2].rpartition("\N{BROKEN BAR}")[0]
        )
    return texts


def test_descriptions_of_pages_have_words_and_no_targets(descriptions):
    """They have no ``jupyter/faq`` or ``faq-died`` where the page shows a title, no message of the
    parser, no mark, and no half sentence.
    """
    sources = {
        path: path.read_text(encoding="utf-8")
        for folder in ("triton", "scicomp", "notebooks")
        for path in (ROOT / folder).rglob("*.rst")
    }
    targets = {
        name
        for text in sources.values()
        for name in re.findall(r":(?:doc|ref):`/?([\w/-]*[/-][\w/-]*)`", text)
    }
    targets |= {
        name
        for text in sources.values()
        for name in re.findall(r":(?:doc|ref):`[^`<]*<([\w/-]*[/-][\w/-]*)>`", text)
    }
    bare = re.compile(
        rf"(?<![\w/#.~-])(?:{'|'.join(sorted(targets, key=len, reverse=True))})(?![\w/.=-])"
    )
    wrong = []
    for where, text in descriptions.items():
        prose = (
            re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", text, flags=re.DOTALL)
            if where.endswith(".md")
            else text
        )
        wrong += [
            f"{where}: {match[0]}"
            for match in [bare.search(prose)]
            if match and where.partition(", ")[0] != "search"
        ]
        wrong += [
            f"{where}: {match[0]!r}"
            for match in [
                re.search(
                    r"Duplicate \w+ target|Unknown "
                    r"(?:target|interpreted)|(?<![.])[.],\s|problematic",
                    prose,
                )
            ]
            if match
        ]
        if where.endswith("description"):
            wrong += [
                f"{where}: {text}"
                for _ in [0]
                if not re.fullmatch(r"\S.{20,}[.]", text) or len(text) > 300
            ]
    assert len(targets) > 20 and len(descriptions) > 4 * 30 and not wrong, "\n".join(wrong)


def test_descriptions_and_snippets_show_the_titles_of_references(descriptions, pages):
    for where in (
        "triton/apps/jupyter/hub, description",
        "triton/apps/jupyter/hub, og:description",
    ):
        assert "connected to them. Log in with" in descriptions[where]
    faq = next(
        text
        for where, text in descriptions.items()
        if where.startswith("search, triton/apps/jupyter.html")
        and "What you see, why, and what to do" in text
    )
    assert "FAQ" in faq and "jupyter/faq" not in faq and "faq-died" not in faq
    assert not re.search(r"\btested\b\s*$", faq)


def test_the_page_on_storage_reads_as_it_should(pages):
    text = pages["triton/tut/storage"]
    assert (
        "\n## When home is full\n" in text
        and "| ----" in text
        and f"username@{FACTS.hosts.short}:~$ du -sh ~\n4.1G    {FACTS.paths.home}/username\n"
        in text
    )

"""Each page is there as Markdown, with the same headings, code and links, and llms.txt lists them all."""
import re
from urllib.parse import urlparse

import facts
import pytest
from conftest import ROOT

FACTS = facts.load(ROOT / "triton/facts.toml")
SITE = FACTS["site"]["url"]


@pytest.fixture(scope="module")
def pages(site):
    """{page: its Markdown}."""
    return {path.relative_to(site).as_posix().removesuffix(".html.md"): path.read_text(encoding="utf-8") for path in site.rglob("*.html.md")}


def test_every_page_of_the_guide_has_one_and_says_where(site, pages):
    sources = {path.relative_to(ROOT).with_suffix("").as_posix() for folder in ("triton", "scicomp", "notebooks") for suffix in ("rst", "ipynb")
               for path in (ROOT / folder).rglob(f"*.{suffix}") if ".ipynb_checkpoints" not in path.parts} | {path.stem for path in ROOT.glob("*.rst")}
    assert set(pages) == sources
    for name in pages:
        assert f'type="text/markdown" href="{name.rpartition("/")[2]}.html.md"' in (site / f"{name}.html").read_text()


def test_llms_txt_lists_every_page_once_below_what_the_site_is(site, pages):
    text = (site / "llms.txt").read_text(encoding="utf-8")
    assert re.match(r"# .+\n\n> .+[.]\n\n## ", text)
    assert sorted(re.findall(r"\]\((\S+)\.html\.md\): .+[.]$", text, re.MULTILINE)) == sorted(SITE + name for name in pages if name != "index")


def test_the_markdown_holds_the_headings_and_the_code_of_the_page_and_no_html(site, pages):
    for name, text in pages.items():
        html = (site / f"{name}.html").read_text(encoding="utf-8")
        blocks = re.split(r"^\s*```.*$", text, flags=re.MULTILINE)
        prose, code = "\n".join(blocks[::2]), blocks[1::2]
        headings = len(re.findall(r"<h[1-6]>", html.partition("<main")[2].partition("</main>")[0]))
        assert len(re.findall(r"^#{1,6} ", prose, re.MULTILINE)) == headings, name
        assert len(code) == html.count('<div class="highlight"><pre') and all(block.strip() for block in code), name
        assert not re.search(r"</?(div|span|p|pre|input|label|details|section)\b", prose), name


def test_every_link_of_the_markdown_leads_to_a_file_of_the_site(site, pages):
    broken = []
    for name, text in pages.items():
        for link in re.findall(r"\]\(<?([^\s()<>]+)", text):
            address = urlparse(link)
            if address.path and not address.scheme and not (site / name).parent.joinpath(address.path).exists():
                broken.append(f"{name}: {link}")
    assert broken == []


def test_the_page_on_storage_reads_as_it_should(pages):
    text = pages["triton/tut/storage"]
    assert "\n## When home is full\n" in text and "| ----" in text and f"\n```console\nusername@{FACTS['hosts']['short']}:~$ du -sh ~\n...\n" in text

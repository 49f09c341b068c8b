"""The guide as a book, for a train without a network: EPUB by Sphinx, and PDF as Chromium prints the whole guide on one page.

    books.py FOLDER         make FOLDER/NAME.epub and FOLDER/NAME.pdf, in a few seconds; NAME is the project's

As a Sphinx extension it makes pages fit for that where the tag `book` is set, and elsewhere lets the pages offer the books that are there.
"""
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urljoin, urlparse

from docutils import nodes
from PIL import Image
from sphinx.builders.epub3 import Epub3Builder
from sphinx.transforms.post_transforms.images import ImageConverter

ROOT = Path(__file__).resolve().parents[1]
KINDS = {".epub": "EPUB", ".pdf": "PDF"}
# What a book needs of the extensions of a site: none of what is for the eye on a screen, or for programs.
NOT_IN_A_BOOK = {"frontend", "page_text", "site_search", "plain", "notfound.extension", "sphinx_copybutton", "sphinx_last_updated_by_git", "sphinx_reredirects",
                 "sphinx_sitemap", "sphinxext.opengraph"}
FOOT = '<p style="font: 8pt system-ui; width: 100%; text-align: center; color: #575757"><span class="pageNumber"></span></p>'


def name(project):
    return re.sub(r"\W+", "-", project.lower())


def _text_first(app, doctree):
    """The pages below a page come after its own text, not in the middle of it."""
    for menu in list(doctree.findall(lambda node: "toctree-wrapper" in getattr(node, "attributes", {}).get("classes", []))):
        top = doctree.next_node(nodes.section)
        menu.parent.remove(menu)
        top.append(menu)


def _only_what_works_on_paper(app, doctree, docname):
    """Marks that lead to a test are gone; a link to a file of the site leads there."""
    for link in list(doctree.findall(nodes.reference)):
        address = urlparse(link.get("refuri", ""))
        if "tested" in link["classes"]:
            link.parent.remove(link)
        elif address.path and not address.scheme and Path(address.path).suffix != ".xhtml":
            link["refuri"] = urljoin(f"{app.config.html_baseurl}{docname}", link["refuri"])


class Pictures(ImageConverter):
    """Readers of EPUB need not know WebP."""

    conversion_rules = [("image/webp", "image/png")]

    def is_available(self):
        return True

    def convert(self, _from, _to):
        with Image.open(_from) as picture:
            picture.save(_to, "PNG", optimize=True)
        return True


class Epub(Epub3Builder):
    """Sphinx's EPUB, whose list of contents says which chapters hold formulas, as the standard wants."""

    def build_content(self) -> None:
        super().build_content()
        path = Path(self.outdir, "content.opf")
        text = path.read_text(encoding="utf-8")
        for chapter in self.files:
            if chapter.endswith(".xhtml") and "<math" in Path(self.outdir, chapter).read_text(encoding="utf-8"):
                text = text.replace(f' href="{chapter}" media-type', f' href="{chapter}" properties="mathml" media-type')
        path.write_text(text, encoding="utf-8")


def _open(app, name, template, context, doctree):
    """Nobody can click on paper: what stands behind a click or a tab is there. Without the style of notebook cells, which comes too late for an EPUB, and that of formulas on the site."""
    context["css_files"] = [file for file in context["css_files"] if not re.search("mystnb|formulas", str(file.filename))]
    body = re.sub(r"<summary\b.*?</summary>", "<summary>Solution</summary>", context.get("body", ""), flags=re.DOTALL).replace("<details", '<details open="open"')
    body = re.sub(r"<input\b[^>]*>", "", body)
    body = re.sub(r'<img\b[^>]*\bclass="[^"]*\bdark\b[^>]*>', "", body)     # of two screenshots the one for white paper
    body = re.sub(r'<a class="[^"]*image-reference[^"]*"[^>]*>\s*(<img\b[^>]*>)\s*</a>', r"\1", body)      # to the picture alone
    context["body"] = re.sub(r"<label\b[^>]*>(.*?)</label>", r'<p class="tab">\1</p>', body, flags=re.DOTALL)


def made(app):
    return [path for path in (Path(app.srcdir, "_build/books", name(app.config.project) + kind) for kind in KINDS) if path.exists()]


def _offer(app, page, template, context, doctree):
    context["books"] = [(KINDS[path.suffix], context["pathto"](path.name, resource=True)) for path in made(app)]


def _copy(app, error):
    if not error and app.builder.name == "html":
        for path in made(app):
            shutil.copy2(path, app.outdir)


def setup(app):
    if app.tags.has("book"):
        app.config.suppress_warnings = [*app.config.suppress_warnings, "epub.unknown_project_files"]     # films, which no book shows
        app.add_builder(Epub, override=True)
        app.add_post_transform(Pictures)
        app.connect("doctree-read", _text_first)
        app.connect("doctree-resolved", _only_what_works_on_paper)
        app.connect("html-page-context", _open)
    else:
        app.connect("html-page-context", _offer)
        app.connect("build-finished", _copy)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def build(builder, folder):
    """Have Sphinx make the book into folder/builder; both builders share what they read."""
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-t", "book", "-b", builder, "-d", folder / "doctrees", ROOT, folder / builder]
    if subprocess.run(command).returncode:
        sys.exit(f"books.py: the {builder} was not made, see above")
    return folder / builder


def pdf(page, target):
    """Print the HTML file `page` into the file `target`, with bookmarks and page numbers."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not chromium:
        sys.exit("books.py: no Chromium here, which prints the PDF: make system installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page(reduced_motion="reduce", color_scheme="light", java_script_enabled=False)
        opened.goto(page.as_uri())
        opened.pdf(path=target, format="A4", margin={side: "18mm" for side in ("top", "bottom", "left", "right")}, outline=True, tagged=True,
                   display_header_footer=True, header_template="<span></span>", footer_template=FOOT)
        browser.close()


def main(folder):
    folder = Path(folder)
    with tempfile.TemporaryDirectory() as made:
        epub = next(build("epub", Path(made)).glob("*.epub"))
        new = Path(made, "new.pdf")
        pdf(build("singlehtml", Path(made)) / "index.html", new)
        folder.mkdir(parents=True, exist_ok=True)
        for path in (epub, new):
            print(shutil.move(path, folder / f"{epub.stem}{path.suffix}"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])

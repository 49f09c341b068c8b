"""Make the guide as a book, to read without a network.

    python -m tools.books FOLDER

makes FOLDER/NAME.epub and FOLDER/NAME.pdf in a few seconds; NAME is that of the project. Sphinx
makes the EPUB, and Chromium prints the PDF from one page with the whole guide.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tools.browser import CHROMIUM
from tools.files import ROOT

FOOT = (
    '<p style="font: 8pt system-ui; width: 100%; text-align: center; color: #575757"><span '
    'class="pageNumber"></span></p>'
)


def build(builder: str, folder: Path) -> Path:
    """Make the book with Sphinx; return its folder, `folder`/BUILDER.

    Builders with the same `folder` read the pages once. Raises SystemExit if Sphinx fails.
    """
    sphinx = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q"]
    folders = [folder / "doctrees", ROOT, folder / builder]
    if subprocess.run([*sphinx, "-t", "book", "-b", builder, "-d", *folders]).returncode:
        sys.exit(f"books.py: the {builder} was not made, see above")
    return folder / builder


def pdf(page: Path, target: Path) -> None:
    """Print the HTML file `page` into the file `target`, with bookmarks and page numbers.

    Raises SystemExit if there is no Chromium.
    """
    if not CHROMIUM:
        sys.exit("books.py: no Chromium here, which prints the PDF: make system says how to get it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        opened = browser.new_page(
            reduced_motion="reduce", color_scheme="light", java_script_enabled=False
        )
        opened.goto(page.as_uri())
        opened.pdf(
            path=target,
            format="A4",
            margin={"top": "18mm", "bottom": "18mm", "left": "18mm", "right": "18mm"},
            outline=True,
            tagged=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOT,
        )
        browser.close()


def main(folder: Path) -> None:
    """Make both books in `folder`, and print their names."""
    with tempfile.TemporaryDirectory() as temporary:
        epub = next(build("epub", Path(temporary)).glob("*.epub"))
        new = Path(temporary, "new.pdf")
        pdf(build("singlehtml", Path(temporary)) / "index.html", new)
        folder.mkdir(parents=True, exist_ok=True)
        for path in (epub, new):
            print(shutil.move(path, folder / f"{epub.stem}{path.suffix}"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))

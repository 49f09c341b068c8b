"""The guide as a book, for a train without a network: EPUB by Sphinx, and PDF as Chromium prints
the whole guide on one page.

python -m tools.books FOLDER    make FOLDER/NAME.epub and FOLDER/NAME.pdf, in a few seconds; NAME is
the project's
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.files import ROOT

FOOT = (
    '<p style="font: 8pt system-ui; width: 100%; text-align: center; color: #575757"><span '
    'class="pageNumber"></span></p>'
)


def build(builder, folder):
    """Have Sphinx make the book into folder/builder; both builders share what they read."""
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "--fail-on-warning",
        "--keep-going",
        "-q",
        "-t",
        "book",
        "-b",
        builder,
        "-d",
        folder / "doctrees",
        ROOT,
        folder / builder,
    ]
    if subprocess.run(command).returncode:
        sys.exit(f"books.py: the {builder} was not made, see above")
    return folder / builder


def pdf(page, target):
    """Print the HTML file `page` into the file `target`, with bookmarks and page numbers."""
    from playwright.sync_api import sync_playwright

    chromium = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if not chromium:
        sys.exit("books.py: no Chromium here, which prints the PDF: make system installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        opened = browser.new_page(
            reduced_motion="reduce", color_scheme="light", java_script_enabled=False
        )
        opened.goto(page.as_uri())
        opened.pdf(
            path=target,
            format="A4",
            margin={side: "18mm" for side in ("top", "bottom", "left", "right")},
            outline=True,
            tagged=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOT,
        )
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

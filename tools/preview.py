"""Show each page that a change alters, before and after: `make preview SINCE=main`.

    python -m tools.preview REVISION

The site is built from REVISION and from this checkout. _build/preview/index.html then shows the
pages whose text or structure differs, as two pictures side by side, and a new or removed page as
one. A change of what all pages look like is seen on the front page.
"""

import functools
import http.server
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from html import escape
from pathlib import Path

from bs4 import BeautifulSoup
from playwright.sync_api import sync_playwright

from tools.browser import FLAGS, HEADLESS, Quiet
from tools.files import ROOT, write_whole
from tools.site import build_site, html_pages

TARGET = ROOT / "_build/preview"
MOST = 30  # pages that are shown; a person looks at no more
WIDTH = 1000  # pixels
SIDES = ("before", "after")


def article(page: Path) -> str:
    """What a page itself says, without menu, header and footer; "" if there is no such page."""
    if not page.exists():
        return ""
    found = BeautifulSoup(page.read_bytes(), "html.parser").select_one("[itemprop=articleBody]")
    return str(found or "")


def altered(before: Path, after: Path) -> list[str]:
    """The pages, relative to the folders of the two built sites, that are not the same in both."""
    names = {
        page.relative_to(site).as_posix() for site in (before, after) for page in html_pages(site)
    }
    return sorted(name for name in names if article(before / name) != article(after / name))


def take(site: Path, names: Iterable[str], target: Path) -> None:
    """Take a picture of each of these pages that the site has, as NAME.jpeg below `target`."""
    handler = functools.partial(Quiet, directory=site)
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        sync_playwright() as p,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = p.chromium.launch(executable_path=HEADLESS, args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        for name in names:
            if (site / name).exists():
                page.goto(f"http://127.0.0.1:{server.server_port}/{name}", wait_until="load")
                path = target / f"{name}.jpeg"
                page.screenshot(path=path, full_page=True, type="jpeg", quality=70)
        browser.close()
        server.shutdown()


def show(before: Path, after: Path, target: Path) -> list[str]:
    """Write the pictures and the page that shows them; return the names of the altered pages."""
    names = altered(before, after)
    shown = names[:MOST] if names else ["index.html"]
    rows = []
    for side, site in zip(SIDES, (before, after), strict=True):
        take(site, shown, target / side)
    for name in shown:
        pictures = "".join(
            f'<td><img src="{side}/{escape(name)}.jpeg" alt="{side}">'
            if (target / side / f"{name}.jpeg").exists()
            else f"<td>There is no such page {side}."
            for side in SIDES
        )
        rows.append(f"<tr><th colspan=2>{escape(name)}<tr>{pictures}")
    left = f"<p>{len(names) - MOST} more have changed." if len(names) > MOST else ""
    head = "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>Changed pages</title>"
    style = "<style>img{width:100%}td{width:50%;vertical-align:top}</style>"
    write_whole(target / "index.html", f"{head}{style}<table>{''.join(rows)}</table>{left}\n")
    return names


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("Before and after what? make preview SINCE=main", file=sys.stderr)
        return 2
    [revision] = arguments
    with tempfile.TemporaryDirectory() as folder:
        old, built = Path(folder, "old"), Path(folder, "built")
        add = ["git", "worktree", "add", "--quiet", "--detach", str(old), revision]
        added = subprocess.run(add, cwd=ROOT, capture_output=True, text=True)
        if added.returncode:
            print(f"There is no {revision} here: {added.stderr.strip()}", file=sys.stderr)
            return 2
        try:
            done = build_site(old, built)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(old)], cwd=ROOT, check=True)
        if done.returncode:
            print(f"The site of {revision} does not build:\n{done.stderr}", file=sys.stderr)
            return 1
        names = show(built / "html", ROOT / "_build/html", TARGET)
    print("\n".join(names) or "No page says anything else than before.")
    print(f"{TARGET.relative_to(ROOT)}/index.html shows them before and after.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

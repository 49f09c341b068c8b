"""Add the addresses of new sections to tests/data/anchors.txt: `make anchors`.

The file lists all addresses that readers may have bookmarked. It never shrinks.
"""

import re
from pathlib import Path

from tools.files import ROOT, write_whole

LIST = ROOT / "tests/data/anchors.txt"
SECTION = re.compile(r'<section id="([^"]+)">\s*((?:<span id="[^"]+"></span>)*)')


def anchors(site: Path) -> set[str]:
    """The address, page#anchor, of each section in the built site; a section may have several."""
    addresses = set()
    for path in site.rglob("*.html"):
        page = path.relative_to(site).as_posix()
        for first, others in SECTION.findall(path.read_text(encoding="utf-8")):
            addresses |= {
                f"{page}#{anchor}" for anchor in (first, *re.findall(r'id="([^"]+)"', others))
            }
    return addresses


if __name__ == "__main__":
    published = set(LIST.read_text(encoding="utf-8").split()) if LIST.exists() else set()
    write_whole(LIST, "\n".join(sorted(published | anchors(ROOT / "_build/html"))) + "\n")

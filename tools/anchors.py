"""Add the addresses of today's sections to tests/data/anchors.txt, the list of all that readers may
have bookmarked; it never shrinks.

make anchors
"""

import re
from pathlib import Path

from tools.files import ROOT

LIST = ROOT / "tests/data/anchors.txt"
SECTION = re.compile(r'<section id="([^"]+)">\s*((?:<span id="[^"]+"></span>)*)')


def anchors(site):
    """page#anchor of each section of the guide in the folder `site`, by all the names that it has."""
    found = set()
    for path in site.rglob("*.html"):
        page = path.relative_to(site).as_posix()
        for first, others in SECTION.findall(path.read_text(encoding="utf-8")):
            found |= {
                f"{page}#{anchor}" for anchor in (first, *re.findall(r'id="([^"]+)"', others))
            }
    return found


if __name__ == "__main__":
    published = set(LIST.read_text(encoding="utf-8").split()) if LIST.exists() else set()
    LIST.write_text(
        "\n".join(sorted(published | anchors(ROOT / "_build/html"))) + "\n", encoding="utf-8"
    )

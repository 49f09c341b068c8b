"""Write _build/links.md: the external links that `make linkcheck` found dead, ready to be filed.

    python -m tools.links

Each comes with the address of its copy in the Internet Archive, of about the day on which the page
that links was last changed; the archive leads on to the copy that is nearest. The exit status is 1
if a link is dead.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from tools.files import ROOT, write_whole

CHECKED = ROOT / "_build/linkcheck/output.json"  # one JSON object a line, by Sphinx
TARGET = ROOT / "_build/links.md"
ARCHIVE = "https://web.archive.org/web/{day}/{address}"
DEAD = ("broken", "timeout")


def dead(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The links of Sphinx's output that do not lead anywhere."""
    for line in lines:
        link = json.loads(line)
        if link["status"] in DEAD:
            yield link


def last_change(page: str) -> str:
    """The day of the last commit of the page, as YYYYMMDD; "2" for a page without one, which is
    the newest copy.
    """
    command = ["git", "log", "-1", "--format=%cd", "--date=format:%Y%m%d", "--", page]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip() or "2"


def report(links: Iterable[dict[str, Any]]) -> str:
    """The text of the issue; "" if there is none."""
    lines = []
    for link in links:
        copy = ARCHIVE.format(day=last_change(link["filename"]), address=link["uri"])
        lines += [
            f"- `{link['filename']}:{link['lineno']}` <{link['uri']}>: {link['info']}",
            f"  Perhaps in its place: <{copy}>",
        ]
    return "\n".join(["# Dead links", "", *lines, ""]) if lines else ""


def main() -> int:
    if not CHECKED.exists():
        print("No link has been checked yet: make linkcheck", file=sys.stderr)
        return 2
    text = report(dead(CHECKED.read_text(encoding="utf-8").splitlines()))
    write_whole(TARGET, text)
    print(text or "All external links lead somewhere.")
    return bool(text)


if __name__ == "__main__":
    sys.exit(main())

"""Say what keeps another centre's guide from taking over what gets better here: `make adopt`.

    python -m tools.adopt [UPSTREAM]

UPSTREAM is the branch of this guide that the centre follows, upstream/main if nothing else is said.
What is the centre's own is in YOURS, or a file that is only there. A change of any other file can
meet a change of ours in the same lines: it is named, with what to do. The exit status is 1 then.
"""

import re
import subprocess
import sys
from pathlib import Path

from tools import git
from tools.files import ROOT

# What a centre replaces: about/adopt.rst says so.
YOURS = re.compile(
    r"triton/facts\.toml|tests/data/(?:seed\.toml|anchors\.txt|questions\.toml)"
    r"|about/(?:redirects\.toml|history\.rst)|\.github/ISSUE_TEMPLATE/.*|images/.*|CITATION\.cff"
)


def changed(folder: Path, upstream: str) -> list[str]:
    """The files of ours, as the checkout last took them over, that it has changed since."""
    base = git.said(folder, "merge-base", "HEAD", upstream)
    names = git.said(
        folder, "diff", "--name-only", "--no-renames", "--diff-filter=MD", base, "HEAD"
    )
    return [name for name in names.splitlines() if not YOURS.fullmatch(name)]


def main(arguments: list[str]) -> int:
    [upstream] = arguments or ["upstream/main"]
    try:
        names = changed(ROOT, upstream)
    except subprocess.CalledProcessError:
        print(
            f"{upstream} is no branch here, or has no commit in common with yours. Name the guide "
            "that you follow: git remote add upstream ADDRESS; git fetch upstream",
            file=sys.stderr,
        )
        return 2
    for name in names:
        print(f"{name}: is changed here")
    if names:
        print(
            "Where these change in the guide that you follow, a merge may stop. Propose the change "
            "there, turn what differs into a fact, or put it on a page of your own."
        )
    return bool(names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

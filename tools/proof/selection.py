"""pytest plugin: run only what a change of pages can affect, with SINCE=revision.

    SINCE=origin/main make test

If anything but a page or a notebook has changed since that revision, all tests run. Otherwise these
run: the tests of the site, of the house and of the text, which need no small Triton; those that a
changed page names with :tested:, or that claim words of it; those whose parameter is the page, or a
file beside it; and of all others one of twenty, drawn anew for each commit.
"""

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from _ext.roles import as_shown
from tools import git
from tools.files import ROOT
from tools.proof.recorder import MARK, claims

PAGE = re.compile(r"index\.rst|(?:triton|scicomp|about)/.*\.rst|notebooks/[^/]+\.(?:md|ipynb|rst)")
SAMPLE = 20
# Tests in these folders do not depend on what one page says, unless they name it.
ELSEWHERE = (
    "tests/hub/",
    "tests/commands/",
    "tests/cluster/",
    "tests/notebooks/",
    "tests/house/test_mutate.py",
)


def changed_pages(folder: Path, since: str) -> set[str] | None:
    """The pages and notebooks that differ from the revision; None if other files differ too."""
    against = git.told(folder, "merge-base", since, "HEAD")
    if not against:
        raise pytest.UsageError(f"SINCE={since} is no revision that this checkout descends from.")
    names = {
        *git.told(folder, "diff", "--name-only", "--no-renames", against).splitlines(),
        *git.told(folder, "ls-files", "--others", "--exclude-standard").splitlines(),
    }
    return names if all(PAGE.fullmatch(name) for name in names) else None


def drawn(nodeid: str, seed: str) -> bool:
    """Whether the test is one of the sample."""
    return hashlib.sha256(f"{seed} {nodeid}".encode()).digest()[0] % SAMPLE == 0


class Selection:
    """Which tests the changed pages can affect."""

    def __init__(self, pages: Iterable[str], folder: Path) -> None:
        self.pages = set(pages)
        paths = [folder / page for page in sorted(self.pages) if (folder / page).is_file()]
        text = "\n\n".join(as_shown(path.read_text(encoding="utf-8")) for path in paths)
        self.words = " ".join(MARK.sub("", text).split())
        self.named = {test for page, _, test in claims() if page in self.pages}
        # A parameter names a page by its path, or a notebook by its name.
        self.parameters = self.pages | {
            Path(page).stem for page in self.pages if page.startswith("notebooks/")
        }

    def affects(self, item: pytest.Item) -> bool:
        """Whether the test may end in another way than before."""
        test = f"{item.path.name}::{item.name.split('[')[0]}"
        markers = {name: item.get_closest_marker(name) for name in ("claims", "proves")}
        words = markers["claims"].args if markers["claims"] else ()  # with single spaces
        label = f".. _{markers['proves'].args[0]}:" if markers["proves"] else None
        named = test in self.named or any(name in item.nodeid for name in self.parameters)
        if named or (label and label in self.words):
            return True
        if any(said in self.words for said in words):
            return True
        slow = "triton" in getattr(item, "fixturenames", ())
        return not slow and not item.nodeid.startswith(ELSEWHERE)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what the change cannot affect."""
    since = os.environ.get("SINCE")
    if not since or (pages := changed_pages(ROOT, since)) is None:
        return
    selection, head = Selection(pages, ROOT), git.told(ROOT, "rev-parse", "HEAD")
    kept = {item for item in items if selection.affects(item) or drawn(item.nodeid, head)}
    left = [item for item in items if item not in kept]
    items[:] = [item for item in items if item in kept]
    config.hook.pytest_deselected(items=left)

"""Make a release of this commit: a day as its version, and the files that belong to it.

    python -m tools.release            checks, then changelog, commit and tag
    python -m tools.release files      the files of the release, in _build/release

A release is made only where the proof is: all tests have passed on this very commit, on the branch
of the facts, and nothing has changed since. The commit of the release adds the version to
CHANGELOG.md and CITATION.cff. It is not pushed: the last lines printed are the command for that.
"""

import datetime
import json
import re
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

from tools import dependencies, git
from tools.files import ROOT, write_whole
from triton.lib import clusterfacts

FILES = ROOT / "_build/release"
UNRELEASED = "## [Unreleased]\n"


class NotReadyError(Exception):
    """Why no release is made, with the remedy."""


def check(folder: Path, branch: str, version: str) -> None:
    """Raise NotReadyError unless the checkout may become the release `version`."""
    if git.said(folder, "status", "--porcelain"):
        raise NotReadyError("Files have changed that are not committed: git status names them.")
    if (here := git.said(folder, "rev-parse", "--abbrev-ref", "HEAD")) != branch:
        raise NotReadyError(f"This is the branch {here}; a release is made on {branch}.")
    if git.said(folder, "tag", "--list", version):
        raise NotReadyError(f"There is a release {version} already; a day has one.")
    if not news(folder / "CHANGELOG.md"):
        raise NotReadyError("CHANGELOG.md has nothing under Unreleased: nobody needs a release.")
    try:
        proof: dict[str, Any] = json.loads((folder / "_build/proof.json").read_text("utf-8"))
    except FileNotFoundError:
        raise NotReadyError("Nothing is proven here yet: make test") from None
    head = git.said(folder, "rev-parse", "HEAD")
    if not head.startswith(proof["commit"]) or proof["changed"]:
        raise NotReadyError(f"The last run of all tests was of {proof['commit']}: make test")
    failed = [name for name, outcome in proof["tests"].items() if outcome == "failed"]
    if failed:
        raise NotReadyError(f"The last run of all tests was not green: {', '.join(failed[:3])}")


def news(changelog: Path) -> str:
    """What stands under Unreleased."""
    text = changelog.read_text(encoding="utf-8").partition(UNRELEASED)[2]
    return text.partition("\n## [")[0].strip()


def cut(folder: Path, version: str, day: str) -> None:
    """Write the version into the changelog and CITATION.cff, commit, and tag the commit."""
    changelog, citation = folder / "CHANGELOG.md", folder / "CITATION.cff"
    text = changelog.read_text(encoding="utf-8")
    heading = f"{UNRELEASED}\n## [{version}] - {day}\n"
    write_whole(changelog, text.replace(UNRELEASED, heading, 1))
    cited = re.sub(r"^(version|date-released):.*\n", "", citation.read_text("utf-8"), flags=re.M)
    write_whole(citation, f"{cited}version: {version}\ndate-released: {day}\n")
    git.said(
        folder, "commit", "-q", "-m", f"Release {version}", "--", changelog.name, citation.name
    )
    git.said(folder, "tag", "--annotate", version, "--message", f"Release {version}")


def gather(built: Path, target: Path) -> None:
    """Put the built site, the editions of the course and the lists of packages into `target`."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tarfile.open(target / "site.tar.gz", "w:gz") as archive:
        archive.add(built / "html", arcname=".")
    for edition in sorted((built / "class").glob("*.zip")):
        shutil.copy2(edition, target)
    dependencies.sbom(target)


def main(arguments: list[str]) -> int:
    if arguments == ["files"]:
        gather(ROOT / "_build", FILES)
        print(f"{FILES.relative_to(ROOT)} has {', '.join(p.name for p in sorted(FILES.iterdir()))}")
        return 0
    today = datetime.date.today()
    version = today.strftime("%Y.%m.%d")
    branch = clusterfacts.load(ROOT / "triton/facts.toml").site.branch
    try:
        check(ROOT, branch, version)
    except NotReadyError as error:
        print(f"No release: {error}", file=sys.stderr)
        return 1
    cut(ROOT, version, today.isoformat())
    print(f"Release {version} is made, and only here yet. To publish it:")
    print(f"    git push origin {branch} {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

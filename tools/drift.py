"""Write _build/drift.md: which packages `make drift` has renewed, and what no longer holds.

    python -m tools.drift

The text is made to be filed as an issue. It names each test that failed, alone too, with the lines
of the pages that say what it shows, and the package whose renewal it does not survive. That package
is found by bisection: half of the packages are renewed, and the test runs again.
"""

import functools
import json
import re
import shlex
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from tools.files import ROOT, write_whole
from tools.proof.recorder import FAILED, RESULTS, claims

LOCKS = ("*requirements*.txt", "*wheels.txt", "*package.json", "*package-lock.json")
# A pinned package of Python, or of npm in a package.json.
PIN = re.compile(r"""^([-+])(?:([A-Za-z0-9._-]+)==|    "([^"]+)": ")([0-9][^\s"]*)""", re.MULTILINE)
BISECTED = 3  # tests, each of which takes some minutes for each of about six steps


def renewed(folder: Path) -> dict[str, tuple[str, str]]:
    """{package: (versions before, versions now)} of all locks of the checkout `folder`."""
    command = ["git", "diff", "--unified=0", "HEAD", "--", *LOCKS[:3]]
    printed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    versions: dict[str, dict[str, set[str]]] = defaultdict(lambda: {"-": set(), "+": set()})
    for sign, of_python, of_npm, version in PIN.findall(printed):
        versions[of_python or of_npm][sign].add(version)
    return {
        package: (", ".join(sorted(found["-"])) or "none", ", ".join(sorted(found["+"])) or "none")
        for package, found in sorted(versions.items())
        if found["-"] != found["+"]
    }


def culprit(packages: list[str], holds: Callable[[list[str]], bool]) -> str | None:
    """The package with whose renewal a test fails: it holds with those before it, and no longer
    with it. None if it fails with none of them renewed, or holds with all.
    """
    if not holds([]) or holds(packages):
        return None
    good, bad = 0, len(packages)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(packages[:middle]) else (good, middle)
    return packages[bad - 1]


def culprits(packages: list[str], tests: list[str]) -> dict[str, str]:
    """{test: its culprit, in words}. tests: arguments of pytest. The locks are as before at the
    end.
    """
    newest = _git("diff", "--binary", "HEAD", "--", *LOCKS)
    found = {}
    try:
        for test in tests:
            package = culprit(packages, functools.partial(_holds, test))
            found[test] = package or "none alone: it fails with the old ones too, or now and then"
    finally:
        _git("checkout", "HEAD", "--", *LOCKS)
        subprocess.run(["git", "apply"], cwd=ROOT, input=newest, text=True, check=True)
    return found


def _holds(test: str, packages: list[str]) -> bool:
    """Whether the test passes when only these packages are renewed."""
    _git("checkout", "HEAD", "--", *LOCKS)
    if packages:
        names = " ".join(f"--upgrade-package {package}" for package in packages)
        subprocess.run(["make", "-s", "requirements", f"UPGRADE={names}"], cwd=ROOT, check=True)
    command = ["make", "-s", "tests", "WORKERS=", f"TESTS={shlex.quote(test).replace('$', '$$')}"]
    return not subprocess.run(command, cwd=ROOT).returncode


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def report(
    packages: dict[str, tuple[str, str]], outcomes: dict[str, str], because: dict[str, str]
) -> str:
    """The text of the issue. outcomes: {file::test: passed, failed or skipped}; because: {test: the
    package with which it fails}, with folders in the test's name.
    """
    renewal = {Path(test).name: package for test, package in because.items()}
    failed = sorted(test for test, outcome in outcomes.items() if outcome == "failed")
    places = defaultdict(list)
    for page, line, test in claims():
        places[test].append(f"{page}:{line}")
    passed = sum(outcome == "passed" for outcome in outcomes.values())
    lines = ["# What the newest packages change", "", f"{passed} tests passed with them.", ""]
    lines += [f"## No longer holds: {len(failed)}", ""]
    for test in failed:
        said = places[test.split("[")[0]]
        lines.append(f"- `{test}`" + (f", which {', '.join(said)} names" if said else ""))
        if test in renewal:
            lines.append(f"  Package: {renewal[test]}")
    lines += ["", f"## Renewed: {len(packages)}", ""]
    lines += [f"- {package}: {before} → {now}" for package, (before, now) in packages.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    outcomes = json.loads(RESULTS.read_text(encoding="utf-8"))["outcomes"]
    failed = FAILED.read_text(encoding="utf-8").splitlines() if FAILED.exists() else []
    packages = renewed(ROOT)
    target = ROOT / "_build/drift.md"
    write_whole(target, report(packages, outcomes, culprits([*packages], failed[:BISECTED])))
    print(f"{target.relative_to(ROOT)} says what no longer holds, and what is new.")


if __name__ == "__main__":
    main()

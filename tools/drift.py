"""Write _build/drift.md: which packages `make drift` has renewed, and what no longer holds.

    python -m tools.drift

The text is made to be filed as an issue. It names each test that failed, alone too, with the lines
of the pages that say what it shows.
"""

import json
import re
import subprocess
from collections import defaultdict
from pathlib import Path

from tools.files import ROOT, write_whole
from tools.proof.recorder import RESULTS, claims

PIN = re.compile(r"^([-+])([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def renewed(folder: Path) -> dict[str, tuple[str, str]]:
    """{package: (versions before, versions now)} of all locks of the checkout `folder`."""
    command = ["git", "diff", "--unified=0", "HEAD", "--", "*requirements*.txt", "*wheels.txt"]
    printed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    versions: dict[str, dict[str, set[str]]] = defaultdict(lambda: {"-": set(), "+": set()})
    for sign, package, version in PIN.findall(printed):
        versions[package][sign].add(version)
    return {
        package: (", ".join(sorted(found["-"])) or "none", ", ".join(sorted(found["+"])) or "none")
        for package, found in sorted(versions.items())
        if found["-"] != found["+"]
    }


def report(packages: dict[str, tuple[str, str]], outcomes: dict[str, str]) -> str:
    """The text of the issue. outcomes: {file::test: passed, failed or skipped}."""
    failed = sorted(test for test, outcome in outcomes.items() if outcome == "failed")
    places = defaultdict(list)
    for page, line, test in claims():
        places[test].append(f"{page}:{line}")
    lines = ["# What the newest packages change", "", f"## No longer holds: {len(failed)}", ""]
    for test in failed:
        said = places[test.split("[")[0]]
        lines.append(f"- `{test}`" + (f", which {', '.join(said)} names" if said else ""))
    lines += ["", f"## Renewed: {len(packages)}", ""]
    lines += [f"- {package}: {before} → {now}" for package, (before, now) in packages.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    outcomes = json.loads(RESULTS.read_text(encoding="utf-8"))["outcomes"]
    target = ROOT / "_build/drift.md"
    write_whole(target, report(renewed(ROOT), outcomes))
    print(f"{target.relative_to(ROOT)} says what no longer holds, and what is new.")


if __name__ == "__main__":
    main()

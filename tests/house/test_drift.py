"""The report on the newest packages names what is new, what no longer holds, and why."""

import subprocess
from pathlib import Path

import pytest

from tools import drift
from tools.proof.recorder import claims


def test_the_report_names_versions_and_lines_of_pages(tmp_path):
    lock = tmp_path / "tools/requirements.txt"
    lock.parent.mkdir()
    lock.write_text("numpy==1.0 \\\n    --hash=sha256:1\nsphinx==9.0.4 \\\n    --hash=sha256:2\n")
    npm = Path(tmp_path, "tools/package.json")
    npm.write_text('{\n  "dependencies": {\n    "harper.js": "2.10.0"\n  }\n}\n')
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    lock.write_text(lock.read_text().replace("1.0 ", "2.0 ").replace("sha256:1", "sha256:3"))
    npm.write_text(npm.read_text().replace("2.10.0", "3.0.0"))
    packages = drift.renewed(tmp_path)
    assert packages == {"harper.js": ("2.10.0", "3.0.0"), "numpy": ("1.0", "2.0")}

    page, line, test = next(claims())
    outcomes = {test: "failed", "test_a.py::test_b[x]": "passed"}
    text = drift.report(packages, outcomes, {f"tests/guide/{test}": "numpy"})
    assert f"- `{test}`, which {page}:{line}" in text and " names\n  Package: numpy\n" in text
    assert "- numpy: 1.0 → 2.0" in text and "test_b" not in text and "\n1 tests passed" in text


@pytest.mark.parametrize("guilty", range(7))
def test_a_package_that_breaks_a_test_is_found_among_seven(guilty):
    packages, tries = list("abcdefg"), []

    def holds(names):
        tries.append(names)
        return packages[guilty] not in names

    assert drift.culprit(packages, holds) == packages[guilty]
    assert len(tries) <= 5


@pytest.mark.parametrize("outcome", [True, False])
def test_no_package_is_blamed_for_what_none_changes(outcome):
    assert drift.culprit(["a", "b"], lambda names: outcome) is None

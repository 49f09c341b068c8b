"""The report on the newest packages names what is new, and what no longer holds."""

import subprocess

from tools import drift
from tools.proof.recorder import claims


def test_the_report_names_versions_and_lines_of_pages(tmp_path):
    lock = tmp_path / "tools/requirements.txt"
    lock.parent.mkdir()
    lock.write_text("numpy==1.0 \\\n    --hash=sha256:1\nsphinx==9.0.4 \\\n    --hash=sha256:2\n")
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    lock.write_text(lock.read_text().replace("1.0 ", "2.0 ").replace("sha256:1", "sha256:3"))
    packages = drift.renewed(tmp_path)
    assert packages == {"numpy": ("1.0", "2.0")}

    page, line, test = next(claims())
    text = drift.report(packages, {test: "failed", "test_a.py::test_b[x]": "passed"})
    assert f"- `{test}`, which {page}:{line}" in text
    assert "- numpy: 1.0 → 2.0" in text and "test_b" not in text

"""A release is made of a proven commit only, and its dead links are told."""

import json
import re
import subprocess
import tarfile

import pytest

from tools import dependencies, links, release
from tools.files import copy_source


def git(folder, *arguments):
    command = ["git", "-C", folder, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def proven(tmp_path):
    """A checkout on main whose tests have all passed on this commit."""
    folder = copy_source(tmp_path / "a guide")
    git(folder, "config", "user.name", "a")
    git(folder, "config", "user.email", "a@b")
    git(folder, "checkout", "-q", "-B", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "All", "--allow-empty")
    (folder / "_build").mkdir(exist_ok=True)
    proof = {"commit": git(folder, "rev-parse", "--short", "HEAD"), "changed": False}
    prove(folder, proof | {"tests": {"test_a.py::test_b": "passed"}})
    return folder


def prove(folder, proof):
    (folder / "_build/proof.json").write_text(json.dumps(proof))


def test_a_release_has_a_day_in_changelog_citation_and_tag(proven):
    release.check(proven, "main", "2026.12.31")
    release.cut(proven, "2026.12.31", "2026-12-31")
    changelog = (proven / "CHANGELOG.md").read_text()
    assert re.search(r"## \[Unreleased\]\n\n## \[2026\.12\.31\] - 2026-12-31\n\n###", changelog)
    citation = (proven / "CITATION.cff").read_text()
    assert "version: 2026.12.31\ndate-released: 2026-12-31\n" in citation
    assert git(proven, "rev-parse", "2026.12.31^{commit}") == git(proven, "rev-parse", "HEAD")
    assert git(proven, "status", "--porcelain") == ""


def test_what_a_second_release_needs_is_said(proven):
    release.cut(proven, "2026.12.31", "2026-12-31")
    with pytest.raises(release.NotReadyError, match="a day has one"):
        release.check(proven, "main", "2026.12.31")
    with pytest.raises(release.NotReadyError, match="nothing under Unreleased"):
        release.check(proven, "main", "2027.01.01")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "new").touch(), "not committed"),
        (lambda folder: git(folder, "checkout", "-qb", "other"), "the branch other"),
        (lambda folder: (folder / "_build/proof.json").unlink(), "Nothing is proven"),
        (lambda folder: prove(folder, {"commit": "0000000", "changed": False}), "was of 0000000"),
    ],
)
def test_what_is_not_ready_is_no_release(proven, spoil, says):
    spoil(proven)
    with pytest.raises(release.NotReadyError, match=says):
        release.check(proven, "main", "2026.12.31")


def test_a_red_proof_is_no_release(proven):
    proof = json.loads((proven / "_build/proof.json").read_text())
    prove(proven, proof | {"tests": {"test_a.py::test_b": "failed"}})
    with pytest.raises(release.NotReadyError, match=r"test_a\.py::test_b"):
        release.check(proven, "main", "2026.12.31")


def test_the_files_are_the_site_the_editions_and_the_lists(tmp_path, monkeypatch):
    monkeypatch.setattr(dependencies, "sbom", lambda folder: (folder / "sbom-a.json").touch())
    for name in ("html/index.html", "class/student.zip", "class/solutions/a.ipynb"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    release.gather(tmp_path, tmp_path / "release")
    assert {path.name for path in (tmp_path / "release").iterdir()} == {
        "site.tar.gz",
        "student.zip",
        "sbom-a.json",
    }
    with tarfile.open(tmp_path / "release/site.tar.gz") as archive:
        assert "./index.html" in archive.getnames()


def test_a_dead_link_comes_with_its_line_and_an_archived_copy():
    found = [
        {"filename": "index.rst", "lineno": 3, "status": "working", "uri": "https://a", "info": ""},
        {
            "filename": "index.rst",
            "lineno": 7,
            "status": "broken",
            "uri": "https://b",
            "info": "404",
        },
    ]
    text = links.report(links.dead(map(json.dumps, found)))
    assert "`index.rst:7` <https://b>: 404" in text and "https://a" not in text
    assert re.search(r"<https://web\.archive\.org/web/20\d{6}/https://b>", text)
    assert links.report([]) == ""

"""What the guide is made with is listed, with its purpose, its age and all that it brings along."""

import functools
import http.server
import json
import threading
import tomllib
from pathlib import Path

import pytest

from tools import dependencies
from tools.browser import Quiet


def test_each_package_says_what_it_is_for():
    found = list(dependencies.asked_for())
    assert len(found) > 80
    assert [f"{one.file}: {one.name}" for one in found if not one.purpose] == []


def test_each_accepted_finding_has_a_reason_and_a_day():
    text = dependencies.ACCEPTED.read_text()
    for finding in tomllib.loads(text).values():
        assert len(finding["reason"]) > 20 and finding["day"].year >= 2026


def test_age_and_licence_of_a_package_are_found(tmp_path):
    folder = tmp_path / "simple/some-package"
    folder.mkdir(parents=True)
    files = [
        {"filename": "some_package-1.2-py3-none-any.whl", "upload-time": "2024-05-06T07:08:09Z"},
        {"filename": "some-package-1.2.tar.gz", "upload-time": "2024-05-07T07:08:09Z"},
        {"filename": "some_package-1.20-py3-none-any.whl", "upload-time": "2025-01-02T03:04:05Z"},
    ]
    (folder / "index.html").write_text(json.dumps({"files": files}))
    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asked = dependencies.Dependency("some-package", "1.2", "a test", "requirements.in")
        found = dependencies.look_up(asked, f"http://127.0.0.1:{server.server_port}/simple")
        server.shutdown()
    assert (found.released, found.newest) == ("2024-05-06", "2025-01-02")
    assert dependencies.licences()["jupytext"].startswith("MIT")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"message": "no network"}, ["could not ask: no network"]),
        ({"vulnerabilities": {}}, []),
        (
            {
                "vulnerabilities": {
                    "a": {"via": [{"url": "https://example.org/GHSA-1", "title": "It leaks"}]},
                    "b": {"via": [{"url": "https://example.org/GHSA-2", "title": "accepted"}]},
                    "c": {"via": ["a"]},
                }
            },
            ["a has GHSA-1, It leaks"],
        ),
    ],
)
def test_what_npm_finds_and_nobody_has_accepted_is_told(monkeypatch, answer, says):
    done = dependencies.subprocess.CompletedProcess([], 0, json.dumps(answer), "")
    monkeypatch.setattr(dependencies, "_npm", lambda *arguments: done)
    folder = dependencies.npm_folders()[0]
    lines = list(dependencies.npm_findings(folder, {"GHSA-2"}))
    assert [line.partition(": ")[2].removeprefix("npm ") for line in lines] == says


def test_a_lock_of_npm_is_listed_whole(tmp_path, monkeypatch):
    """The list of Python's packages is made by a program that make lint installs."""
    monkeypatch.setattr(
        dependencies, "locks", lambda: [dependencies.ROOT / "tools/node/requirements.txt"]
    )
    dependencies.sbom(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"sbom-tools-node-requirements.json", "sbom-npm-triton-jupyterhub.json"} <= names
    listed = json.loads(Path(tmp_path, "sbom-npm-triton-jupyterhub.json").read_text())
    assert listed["bomFormat"] == "CycloneDX"
    assert "configurable-http-proxy" in {part["name"] for part in listed["components"]}

"""The files for hosting services follow the schemas of those services, and run the same commands as
readers.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tools.files import ROOT, copy_source


@pytest.mark.parametrize(
    "schema, path",
    [
        ("github-workflows", ".github/workflows/ci.yml"),
        ("github-workflows", ".github/workflows/weekly.yml"),
        ("github-workflows", ".github/workflows/release.yml"),
        ("citation-file-format", "CITATION.cff"),
        ("dependabot", ".github/dependabot.yml"),
        ("readthedocs", ".readthedocs.yaml"),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/wrong-sentence.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/command-fault.yml"),
    ],
)
def test_each_file_follows_its_schema(schema, path):
    check = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            f"vendor.{schema}",
            ROOT / path,
        ],
        capture_output=True,
        text=True,
    )
    assert check.returncode == 0, check.stdout


def test_ci_runs_the_command_of_the_readme_and_is_executable():
    [command] = re.findall(
        r"^make test\b(?=.*check everything)", (ROOT / "README.md").read_text(), flags=re.MULTILINE
    )
    assert re.findall(r"^make .*$", (ROOT / ".ci/run").read_text(), flags=re.MULTILINE) == [
        command
    ] and os.access(ROOT / ".ci/run", os.X_OK)
    assert "bash .ci/run" in (ROOT / ".github/workflows/ci.yml").read_text()
    assert "make lite html" in (ROOT / ".readthedocs.yaml").read_text(), (
        "a published site needs the button Run in the browser"
    )
    assert "(MAKE) --no-print-directory lite" in (ROOT / "Makefile").read_text(), (
        "CI does not test the button"
    )


@pytest.mark.claims(
    "``.github/ISSUE_TEMPLATE/config.yml`` names your tracker once more; a test fails "
    "while it is another one."
)
def test_who_needs_help_is_led_to_the_tracker_of_the_facts():
    """A centre that edits its facts learns here what else names its tracker."""
    tracker = tomllib.loads((ROOT / "triton/facts.toml").read_text())["site"]["issues"]
    assert re.findall(
        r"https?://\S+", (ROOT / ".github/ISSUE_TEMPLATE/config.yml").read_text()
    ) == [tracker]


def test_the_container_to_work_in_is_that_of_ci():
    """No test starts it, but it uses the same image and packages as CI."""
    ci, container = (
        (ROOT / ".github/workflows/ci.yml").read_text(),
        (ROOT / ".devcontainer/Dockerfile").read_text(),
    )
    assert (
        re.search(r"image: (\S+)", ci)[1] == re.search(r"^FROM (\S+)", container, re.MULTILINE)[1]
    )
    [command] = re.findall(r"run: (apt-get .*)", ci)
    assert f"RUN {command}\n" in container
    settings = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert (
        settings["privileged"]
        and "--privileged" in ci
        and settings["postCreateCommand"].endswith("make .venv")
    )


def workflow(name):
    return yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text())["jobs"]


def step(job, word):
    """The shell lines of the step of a job that have this word, as they stand."""
    [lines] = [step["run"] for step in job["steps"] if word in step.get("run", "")]
    return lines


def run_step(lines, folder, **variables):
    """Run shell lines as GitHub does, in a folder; return what they print."""
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", lines],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def hosted(tmp_path):
    """(a checkout with an origin; the folder of a gh that writes down what it is told)."""
    checkout, origin, programs = (tmp_path / name for name in ("a guide", "origin.git", "bin"))
    copy_source(checkout)
    subprocess.run(["git", "clone", "-q", "--bare", checkout, origin], check=True)
    subprocess.run(["git", "remote", "remove", "origin"], cwd=checkout, check=True)
    subprocess.run(["git", "remote", "add", "origin", origin], cwd=checkout, check=True)
    programs.mkdir()
    gh = programs / "gh"
    gh.write_text('#!/bin/sh\necho "$@" >> "$TOLD"\n')
    gh.chmod(0o755)
    return checkout, {"PATH": f"{programs}:{os.environ['PATH']}", "TOLD": f"{tmp_path}/told"}


@pytest.mark.parametrize(
    ("drift", "links", "told", "branches"),
    [
        ("failure", "success", ["What the newest packages change"], 0),
        ("success", "failure", ["Dead links"], 1),
        ("success", "success", [], 1),
    ],
)
def test_the_weekly_run_files_faults_and_proposes_a_lock(hosted, drift, links, told, branches):
    checkout, variables = hosted
    lock = checkout / "requirements.txt"
    lock.write_text(lock.read_text().replace("alabaster==", "alabaster==9"))
    found = checkout / "found"
    (found / "drift").mkdir(parents=True)
    patch = subprocess.run(
        ["git", "diff", "requirements.txt"], cwd=checkout, capture_output=True, text=True
    ).stdout
    (found / "drift/lock.patch").write_text(patch)
    subprocess.run(["git", "checkout", "-q", "requirements.txt"], cwd=checkout, check=True)
    lines = step(workflow("weekly")["file"], "file-findings")
    run_step(lines, checkout, DRIFT=drift, LINKS=links, **variables)
    said = Path(variables["TOLD"]).read_text() if told or branches else ""
    created = re.findall(r"issue create --title (.*) --body-file", said)
    assert created == told and said.count("pr create") == branches
    listed = subprocess.run(
        ["git", "log", "--format=%s", "-1", "newest-packages", "--"],
        cwd=checkout.parent / "origin.git",
        capture_output=True,
        text=True,
    ).stdout
    assert ("Take the newest release" in listed) == bool(branches)


def test_the_changed_pages_of_a_pull_request_are_listed(hosted, tmp_path):
    checkout, variables = hosted
    with (checkout / "triton/tut/storage.rst").open("a") as page:
        page.write("\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, "commit", "-qam", "a"], cwd=checkout, check=True)
    summary = tmp_path / "summary"
    lines = step(workflow("ci")["test"], "Changed pages")
    run_step(lines, checkout, BASE="HEAD~1", GITHUB_STEP_SUMMARY=f"{summary}", **variables)
    assert summary.read_text().splitlines()[-1] == "- triton/tut/storage.rst"


def test_a_release_says_what_its_part_of_the_changelog_says(hosted, tmp_path):
    checkout, variables = hosted
    changelog = checkout / "CHANGELOG.md"
    changelog.write_text(
        "# Changelog\n\n## [Unreleased]\n\n## [2027.1.1] - x\n\n- new\n\n## [2026.1.1]\n- old\n"
    )
    lines = step(workflow("release")["publish"], "gh release create")
    run_step(lines, checkout, VERSION="2027.1.1", **variables)
    notes = (checkout / "notes.md").read_text()
    assert "- new" in notes and "old" not in notes and "Unreleased" not in notes
    assert "release create 2027.1.1 --verify-tag" in Path(variables["TOLD"]).read_text()


def test_what_ci_keeps_for_the_next_run_is_what_make_makes():
    """A folder that is kept but not told to make, or the other way round, is made anew."""
    steps = workflow("ci")["test"]["steps"]
    [kept] = [step["with"]["path"].split() for step in steps if "cache" in step.get("uses", "")]
    touched = re.findall(r"(\S+)/\.made", step(workflow("ci")["test"], "touch"))
    assert sorted(kept) == sorted(touched)
    environments = re.findall(r"^(\S+)/\.made:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for folder in kept:
        assert folder.replace(".triton/bookworm", "$(MADE)") in environments


def test_every_make_command_that_a_text_names_exists():
    tasks = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    texts = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("about/*.rst"),
        *ROOT.glob("notebooks/*.md"),
        *ROOT.glob("tools/**/*.py"),
    ]
    for path in texts:
        for task in re.findall(r"`make ([a-z-]+)", path.read_text(encoding="utf-8")):
            assert task in tasks, f"{path.name} names make {task}"


def test_the_requirements_are_pinned_and_follow_their_sources():
    """Each requirement has the hashes of its files."""
    for name in (
        "requirements",
        "tools/requirements-nbdime",
        "tools/cluster/requirements",
        "triton/jupyterhub/requirements",
        "tools/lite/requirements",
        "tools/lite/wheels",
    ):
        pinned = (ROOT / f"{name}.txt").read_text()
        packages = re.findall(
            r"^([a-z0-9.-]+)==(\S+)(.*(?:\n {4}--hash=.*)*)", pinned, flags=re.MULTILINE
        )
        assert packages and all("--hash=sha256:" in hashes for _, _, hashes in packages)
        versions = {package: version for package, version, _ in packages}
        for line in (ROOT / f"{name}.in").read_text().splitlines():
            wanted = line.split("#")[0].strip()
            if wanted:
                package, _, version = re.sub(
                    r"\[.*?\]", "", wanted.lower().replace("_", "-")
                ).partition("==")
                assert package in versions and version in ("", versions[package]), (
                    f"{name}.in asks for {wanted}: make requirements"
                )


def test_the_facts_are_one_toml_file():
    assert tomllib.loads((ROOT / "triton/facts.toml").read_text())["cluster"]["name"]

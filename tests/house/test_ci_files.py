"""The files for hosting services follow the schemas of those services, and run the same commands as
readers.
"""

import json
import os
import re
import subprocess
import sys
import tomllib

import pytest

from tools.files import ROOT


@pytest.mark.parametrize(
    "schema, path",
    [
        ("github-workflows", ".github/workflows/ci.yml"),
        ("github-workflows", ".github/workflows/weekly.yml"),
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

"""Every notebook of the course gives, in a fresh run, the outputs that are stored in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.course import pairs
from tools.files import ROOT
from tools.validate import catalogue, report, sandbox
from tools.validate.result import Result

NAMES = sorted(pair.name for pair in pairs.find(catalogue.NOTEBOOKS) if pair.ipynb)


@pytest.fixture(scope="module")
def outcome():
    """A function that returns the Result of a notebook; the runner goes through all of them while
    the tests wait.
    """
    before = _state()
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.validate.runner", "validate", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    results = {}

    def of(name):
        while name not in results:
            line = process.stdout.readline()
            if not line:
                pytest.fail(f"the runner ended without a result for {name}")
            result = Result.from_json(json.loads(line))
            results[result.name] = result
        return results[name]

    try:
        yield of
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert _state() == before, "the validation changed the checkout"


def _state():
    """Every file of the course with what changes when it is written."""
    files = [path for path in Path(catalogue.NOTEBOOKS).rglob("*") if path.is_file()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.mark.claims(
    "let a machine run it and compare the outputs, as is done for the ones here with "
    "``pytest --nbval``.",
    "a machine runs every notebook anew and compares each output with the one shown here.",
    "The notebooks of this course are checked that way, and their outputs compared with the "
    "stored ones.",
)
@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_run_gives_the_stored_outputs(name, outcome):
    result = outcome(name)
    if result.outcome == "skipped":
        pytest.skip(f"{name}: {result.reason}")
    if result.outcome == "failed":
        # GitHub shows beside the notebook's line what begins a line of the log like this.
        annotations = (
            report.annotations([result]) if os.environ.get("GITHUB_ACTIONS") == "true" else []
        )
        pytest.fail("\n".join([report.describe(result), *annotations]), pytrace=False)


def test_notebooks_run_offline_and_write_in_their_folder_only():
    if sandbox.obstacle():
        pytest.skip(f"not isolated: {sandbox.obstacle()}")
    assert sandbox.obstacle() is None


def test_the_notebooks_are_numbered_without_a_gap():
    assert (
        sorted(int(name.split("-")[0]) for name in NAMES) == [*range(1, len(NAMES) + 1)]
        and len(NAMES) >= 9
    )

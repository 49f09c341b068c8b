"""Every notebook of the course gives, in a fresh run, the outputs that are stored in it."""

import pytest

from tools.validate import catalogue, local, report, sandbox

NOTEBOOKS = catalogue.load()
# The others run on the small Triton, in test_notebooks_on_triton.py.
HERE = [notebook for notebook in NOTEBOOKS if not notebook.online]


@pytest.fixture(scope="module")
def results():
    """The Result of each notebook, by its name."""
    before = _state()
    yield {result.name: result for result in local.validate(HERE)}
    assert _state() == before, "the validation changed the checkout"


def _state():
    """Every file of the course with what changes when it is written."""
    files = [path for path in catalogue.NOTEBOOKS.rglob("*") if path.is_file()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.mark.claims(
    "let a machine run it and compare the outputs, as is done for the ones here with "
    "``pytest --nbval``.",
    "a machine runs every notebook anew and compares each output with the one shown here.",
    "The notebooks of this course are checked that way, and their outputs compared with the "
    "stored ones.",
)
@pytest.mark.parametrize("name", [notebook.name for notebook in HERE])
def test_a_fresh_run_gives_the_stored_outputs(name, results):
    result = results[name]
    if result.outcome == "skipped":
        pytest.skip(f"{name}: {result.reason}")
    if result.outcome == "failed":
        pytest.fail(report.describe(result), pytrace=False)


def test_notebooks_run_offline_and_write_in_their_folder_only():
    if sandbox.obstacle():
        pytest.skip(f"not isolated: {sandbox.obstacle()}")


def test_the_notebooks_are_numbered_without_a_gap():
    numbers = sorted(int(notebook.name.split("-")[0]) for notebook in NOTEBOOKS)
    assert numbers == [*range(len(NOTEBOOKS))] and len(NOTEBOOKS) >= 9

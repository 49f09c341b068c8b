"""A change of a page runs the tests that it can affect; any other change runs all."""

import os
import subprocess
import sys

import pytest

from tools.files import copy_source
from tools.proof import selection

PAGE = "triton/tut/storage.rst"
FILES = [
    "tests/guide/test_console_blocks.py",
    "tests/guide/test_claims.py",
    "tests/hub/test_hub.py",
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = copy_source(tmp_path_factory.mktemp("a checkout"))
    commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a", "--allow-empty"]
    for command in (["add", "."], commit):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


@pytest.fixture
def changed(checkout):
    """A function that adds a line to a file, until the test ends."""

    def change(name):
        with (checkout / name).open("a") as file:
            file.write("\n")

    yield change
    subprocess.run(["git", "checkout", "-q", "."], cwd=checkout, check=True)
    subprocess.run(["git", "clean", "-qfd"], cwd=checkout, check=True)


def chosen(checkout, since):
    """(exit status, what pytest prints) when it collects some files."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *FILES],
        cwd=checkout,
        env=os.environ | {"SINCE": since},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_changed_page_runs_its_blocks_and_its_claims(checkout, changed):
    changed(PAGE)
    _, printed = chosen(checkout, "HEAD")
    assert f"test_the_block_does_what_the_page_shows[{PAGE}:7]" in printed
    assert "test_claims.py::test_the_folders_of_the_table_of_storage_are_as_it_says" in printed
    others = [line for line in printed.splitlines() if "tests/hub/test_hub.py::" in line]
    assert len(others) < 30, "the tests of the hub do not depend on this page"


@pytest.mark.parametrize(
    "name", ["triton/facts.toml", "conftest.py", "tests/guide/test_faq.py", "about/redirects.toml"]
)
def test_what_is_no_page_can_affect_every_test(checkout, changed, name):
    changed(PAGE)
    changed(name)
    assert selection.changed_pages(checkout, "HEAD") is None


def test_a_notebook_and_a_page_are_known(checkout, changed):
    changed(PAGE)
    changed("notebooks/07-measure.md")
    assert selection.changed_pages(checkout, "HEAD") == {PAGE, "notebooks/07-measure.md"}


def test_a_revision_that_is_none_is_one_sentence(checkout):
    status, printed = chosen(checkout, "nowhere")
    assert status and "SINCE=nowhere is no revision" in printed and "Traceback" not in printed


def test_the_sample_is_a_twentieth_and_changes_each_commit():
    names = [f"tests/hub/test_hub.py::test_{number}" for number in range(4000)]
    first, second = ({name for name in names if selection.drawn(name, head)} for head in "ab")
    assert 100 < len(first) < 300 and first != second

"""Setting up fails with one clear sentence, leaves nothing half-made, and mends itself the next time."""
import os
import shutil
import subprocess

import pytest
from conftest import ROOT


def make(folder, *arguments):
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True,
                          env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")})


@pytest.fixture
def folder(tmp_path):
    """What `make` needs, in a folder with a space in its name."""
    folder = tmp_path / "the guide"
    (folder / "tests").mkdir(parents=True)
    for name in ("Makefile", "requirements.txt", "tests/make-venv", "tests/requirements-nbdime.txt"):
        shutil.copy2(ROOT / name, folder / name)
    return folder


def environment(folder, made):
    """An environment as `make` leaves it, with `made` in its mark."""
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to(shutil.which("python3"))
    if made is not None:
        (folder / ".venv/.made").write_text(str(made))


def test_a_python_that_is_too_old_or_missing_is_named_with_the_remedy(folder):
    for python in ("/bin/false", "python2-is-gone"):
        failed = make(folder, "html", f"PYTHON={python}")
        assert failed.returncode == 2
        assert f"{python} is no Python 3.11 or newer. Name one that is: make html PYTHON=" in failed.stderr
        assert "Traceback" not in failed.stderr and not (folder / ".venv").exists()


def test_packages_that_cannot_be_had_leave_no_environment_and_a_sentence(folder, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    failed = make(folder, "html")
    assert failed.returncode == 2
    assert "could not be installed. Is the network there, and space on the disk?" in failed.stderr
    assert "Traceback" not in failed.stderr and not (folder / ".venv").exists()


def test_an_environment_that_is_whole_is_not_made_again(folder):
    environment(folder, folder)
    assert "make-venv" not in make(folder, "-n", "html").stdout


@pytest.mark.parametrize("made", [None, "/somewhere/else"], ids=["killed in the middle", "moved here"])
def test_an_environment_that_is_not_whole_is_made_again(folder, made):
    environment(folder, made)
    assert "make-venv" in make(folder, "-n", "html").stdout


def test_new_requirements_make_the_environment_again(folder):
    environment(folder, folder)
    os.utime(folder / "requirements.txt", (2**31, 2**31))
    assert "make-venv" in make(folder, "-n", "html").stdout


def test_help_names_every_task():
    tasks = {line.split()[0] for line in make(ROOT, "help").stdout.splitlines()}
    assert tasks >= {"html", "test", "serve", "notebooks", "sync", "refresh", "bench", "linkcheck", "clean", "help"}
    assert make(ROOT).stdout == make(ROOT, "help").stdout


def test_bisect_without_a_name_says_what_to_name(folder):
    environment(folder, folder)
    shutil.copytree(folder / ".venv", folder / ".venv-nbdime", symlinks=True)
    failed = make(folder, "bisect")
    assert failed.returncode == 2 and "Which notebook? make bisect NB=01-first-notebook" in failed.stderr

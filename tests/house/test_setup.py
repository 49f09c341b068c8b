"""A set-up that fails prints one clear sentence, leaves nothing incomplete, and works the next
time.
"""

import os
import pwd
import shutil
import subprocess

import pytest

from tools.cluster import privileges
from tools.files import ROOT


def make(folder, *arguments):
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
    )


@pytest.fixture
def folder(tmp_path):
    """A folder with what `make` needs, and a space in its name."""
    folder = tmp_path / "the guide"
    (folder / "tools/lint").mkdir(parents=True)
    for name in (
        "Makefile",
        "requirements.txt",
        "tools/make-venv",
        "tools/requirements-nbdime.txt",
        "tools/lint/requirements.txt",
        "tools/lint/package-lock.json",
    ):
        shutil.copy2(ROOT / name, folder / name)
    return folder


def environment(folder, made):
    """An environment as `make` leaves it, with `made` in its mark."""
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to(shutil.which("python3"))
    if made is not None:
        (folder / ".venv/.made").write_text(str(made))


@pytest.mark.claims("You need git, make and Python 3.11 or newer.")
def test_a_python_too_old_or_missing_is_named_with_the_remedy(folder):
    for python in ("/bin/false", "python2-is-gone"):
        failed = make(folder, "html", f"PYTHON={python}")
        assert failed.returncode == 2
        assert (
            f"{python} is no Python 3.11 or newer. Name one that is: make html PYTHON="
            in failed.stderr
        )
        assert "Traceback" not in failed.stderr and not (folder / ".venv").exists()


def test_missing_packages_leave_no_environment(folder, monkeypatch):
    """One sentence says so."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    failed = make(folder, "html")
    assert failed.returncode == 2
    assert "could not be installed. Is the network there, and space on the disk?" in failed.stderr
    assert "Traceback" not in failed.stderr and not (folder / ".venv").exists()


def test_lint_without_a_network_fails_with_a_sentence(folder, monkeypatch):
    environment(folder, folder)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    failed = make(folder, "lint")
    assert failed.returncode == 2
    assert "The packages of tools/lint/requirements.txt could not be installed." in failed.stderr
    assert "Traceback" not in failed.stderr and not (folder / ".lint").exists()


def test_a_complete_environment_is_not_made_again(folder):
    environment(folder, folder)
    assert "make-venv" not in make(folder, "-n", "html").stdout


@pytest.mark.parametrize(
    "made", [None, "/somewhere/else"], ids=["killed in the middle", "moved here"]
)
def test_an_incomplete_environment_is_made_again(folder, made):
    environment(folder, made)
    assert "make-venv" in make(folder, "-n", "html").stdout


def test_new_requirements_make_the_environment_again(folder):
    environment(folder, folder)
    os.utime(folder / "requirements.txt", (2**31, 2**31))
    assert "make-venv" in make(folder, "-n", "html").stdout


def test_help_names_every_task():
    tasks = {line.split()[0] for line in make(ROOT, "help").stdout.splitlines()}
    assert tasks >= {
        "html",
        "test",
        "serve",
        "notebooks",
        "sync",
        "refresh",
        "bench",
        "linkcheck",
        "clean",
        "help",
    }
    assert make(ROOT).stdout == make(ROOT, "help").stdout


def refused(monkeypatch, tmp_path, mapper=True, lines=("subuid", "subgid"), apparmor="0"):
    """Why an ordinary user may have no namespace, if the kernel refuses it.

    mapper: newuidmap is there. lines: the files with a line of this user. apparmor: its setting.
    """
    user = pwd.getpwuid(os.geteuid()).pw_name
    for file in ("subuid", "subgid"):
        (tmp_path / file).write_text(f"{user}:100000:65536\n" if file in lines else "")
    (tmp_path / "apparmor").write_text(apparmor)
    monkeypatch.setattr(privileges, "ETC", tmp_path)
    monkeypatch.setattr(privileges, "APPARMOR", tmp_path / "apparmor")
    monkeypatch.setattr(shutil, "which", lambda name: name if mapper else None)
    return privileges.why_no_user_namespace("unshare: no")


@pytest.mark.parametrize(
    "how, says, remedy",
    [
        ({"mapper": False}, "needs newuidmap", "make system"),
        ({"lines": ["subgid"]}, "no line in /etc/subuid", "sudo usermod --add-subuids"),
        ({"lines": ["subuid"]}, "no line in /etc/subgid", "sudo usermod --add-subuids"),
        ({"apparmor": "1"}, "AppArmor forbids", "sudo"),
        ({}, "(unshare: no)", "sudo"),
    ],
)
def test_who_can_have_no_small_triton_is_told_why(monkeypatch, tmp_path, how, says, remedy):
    said = refused(monkeypatch, tmp_path, **how)
    assert says in said and remedy in said.partition(says)[2] and "\n" not in said


def test_a_small_triton_without_room_for_its_hosts_is_not_begun(tmp_path):
    """A disk that is too small is named before anything is downloaded."""
    small = tmp_path / "small"
    small.mkdir()
    script = (
        f"mount -t tmpfs -o size=1M small {small} && '{ROOT}/tools/cluster/make-image' {small} x"
    )
    if why := privileges.obstacle():
        pytest.skip(why)
    failed = subprocess.run(
        [*privileges.as_root(), "unshare", "--mount", "--propagation=private", "sh", "-c", script],
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 1
    assert "6 GB of disk of 0 GB" in failed.stdout and "too little space" in failed.stderr


def test_readme_and_ci_install_the_same_packages():
    line = (ROOT / "tools/system").read_text().partition('tried="')[2].partition('"')[0]
    for path in ("README.md", ".ci/run", ".github/workflows/ci.yml", ".devcontainer/Dockerfile"):
        assert f"--no-install-recommends {line}" in (ROOT / path).read_text(), path


def test_make_test_begins_with_lint():
    shown = make(ROOT, "-n", "test").stdout
    assert shown.index("-m tools.lint") < shown.index("-m pytest")

"""A set-up that fails prints one clear sentence, leaves nothing incomplete, and works the next
time.
"""

import os
import shutil
import subprocess

import pytest

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


# `make test` first runs tools/install-packages. Here stand-ins replace the programs that would
# change this machine.

PACKAGES = ["chromium", "slurm-wlm", "acl"]


def install(tmp_path, *options, root=True, version="12", installed=(), apt="exit 0"):
    """Run a copy of tools/install-packages for three packages; return the finished process and the
    arguments of apt-get.
    """
    (tmp_path / "tools").mkdir(exist_ok=True)
    shutil.copy2(ROOT / "tools/install-packages", tmp_path / "tools")
    (tmp_path / "tools/apt.txt").write_text(
        "# What is needed.\n" + "".join(f"{name}   # why\n" for name in PACKAGES)
    )
    (tmp_path / "os-release").write_text(f'ID=debian\nVERSION_ID="{version}"\n')
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    for name, text in {
        "id": f"echo {0 if root else 1000}",
        "apt-get": f"echo $* >> {tmp_path}/asked; test -x {tmp_path}/policy; {apt}",
        "dpkg-query": f"case ' {' '.join(installed)} ' in *\" $4 \"*) echo installed;; *) exit "
        "1;; esac",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    completed = subprocess.run(
        [tmp_path / "tools/install-packages", *options],
        capture_output=True,
        text=True,
        cwd="/",
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "RELEASE": f"{tmp_path}/os-release",
            "POLICY": f"{tmp_path}/policy",
        },
    )
    requests = (tmp_path / "asked").read_text() if (tmp_path / "asked").exists() else ""
    assert not (tmp_path / "policy").exists(), (
        "the file that keeps apt from starting services is still there"
    )
    return completed, requests


def test_root_on_debian_gets_the_packages_that_are_missing(tmp_path):
    completed, requests = install(tmp_path, "--if-possible", installed=["acl"])
    assert (
        completed.returncode == 0
        and completed.stdout == "Installing Debian packages: chromium slurm-wlm\n"
    )
    assert "update" in requests and requests.endswith("chromium slurm-wlm\n")


@pytest.mark.parametrize(
    "how",
    [{"installed": PACKAGES}, {"root": False}, {"version": "13"}],
    ids=["there", "not root", "Debian 13"],
)
def test_nothing_to_install_prints_nothing(how, tmp_path):
    completed, requests = install(tmp_path, "--if-possible", **how)
    assert (completed.returncode, completed.stdout, completed.stderr, requests) == (0, "", "", "")


@pytest.mark.parametrize("options, status", [(["--if-possible"], 0), ([], 1)])
def test_a_failed_installation_is_reported(options, status, tmp_path):
    """The other tests run all the same. `make system` does nothing else, so it fails."""
    completed, _ = install(
        tmp_path, *options, apt="echo 'E: Could not resolve deb.example'; exit 100"
    )
    assert completed.returncode == status
    assert completed.stderr == (
        "They could not be installed (Could not resolve deb.example). What needs them is "
        "not tested. "
        "Is the network there? Then: make system\n"
    )


def test_make_system_says_that_it_needs_root(tmp_path):
    completed, requests = install(tmp_path, root=False)
    assert (completed.returncode, completed.stderr, requests) == (
        1,
        "The packages of tools/apt.txt are installed by root: sudo make system\n",
        "",
    )


def test_make_test_begins_with_lint():
    shown = make(ROOT, "-n", "test").stdout
    assert shown.index("-m tools.lint") < shown.index("install-packages --if-possible")


def test_make_test_installs_before_it_chooses_tests():
    shown = make(ROOT, "-n", "test").stdout
    assert shown.index("install-packages --if-possible") < shown.index("-m pytest")

"""`make bisect` finds the commit or the version of a package that broke a notebook, in a repository
where one did.
"""

import hashlib
import os
import shutil
import subprocess
import zipfile

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output, writes

from tools.files import ROOT
from tools.validate import bisect

PACKAGES = ("alpha", "toy")  # the new version of alpha does no harm
SOURCE = "import toy\nfrom own import add\nprint(add(toy.one, toy.one))"


def wheel(folder, name, version, code):
    """Make a wheel of one module in `folder`."""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        info = f"{name}-{version}.dist-info"
        file.writestr(f"{name}.py", code)
        file.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        file.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        file.writestr(
            f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )


class Repository:
    """A repository with one notebook, whose packages come from local wheels; `python` has those of
    its lock file at HEAD.
    """

    def __init__(self, folder):
        self.root, self.wheels, self.folder = folder / "a guide", folder / "wheels", folder
        self.wheels.mkdir()
        for name in PACKAGES:
            wheel(self.wheels, name, 1, "one = 1\n")
            wheel(self.wheels, name, 2, f"one = {2 if name == 'toy' else 1}\n")
        shutil.copytree(
            ROOT / "tools", self.root / "tools", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(ROOT / ".gitignore", self.root)  # Python leaves its bytecode, and may
        self.write("notebooks/own.py", "def add(a, b):\n    return a + b\n")
        self.write(
            "notebooks/x.ipynb",
            writes(
                new_notebook(
                    cells=[
                        new_code_cell(
                            SOURCE,
                            id="one",
                            execution_count=1,
                            outputs=[new_output("stream", text="2\n")],
                        )
                    ],
                    metadata={
                        "kernelspec": {"name": "python3", "display_name": "Python 3"},
                        "course": {"needs": [], "seconds": 60, "memory_mb": 300},
                    },
                )
            ),
        )
        self.lock(1)
        subprocess.run(["git", "init", "-q", self.root], check=True)
        self.commit("Begin")

    def write(self, name, text):
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def lock(self, version):
        lines = []
        for name in PACKAGES:
            digest = hashlib.sha256(
                (self.wheels / f"{name}-{version}-py3-none-any.whl").read_bytes()
            ).hexdigest()
            lines.append(f"{name}=={version} \\\n    --hash=sha256:{digest}\n    # via x\n")
        self.write(bisect.LOCK, "".join(lines))

    def commit(self, subject):
        for words in (
            ["add", "-A"],
            [
                "-c",
                "user.name=A",
                "-c",
                "user.email=a@b",
                "commit",
                "-q",
                "--allow-empty",
                "-m",
                subject,
            ],
        ):
            subprocess.run(["git", *words], cwd=self.root, check=True)

    def bisect(self, *arguments):
        """What the command prints, in the environment that the lock file asks for."""
        search = bisect.Bisection("x", self.root, self.folder)
        search.before = bisect.pinned((self.root / bisect.LOCK).read_text())
        python = search.environment(tuple(search.before))
        return subprocess.run(
            [python, "-m", "tools.validate.bisect", *arguments],
            cwd=self.root,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": f"{self.root}"},
        )


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    return Repository(tmp_path)


def test_the_version_of_a_package_that_broke_it_is_named(repository):
    repository.lock(2)
    repository.commit("Compile the requirements anew")
    repository.commit("Say more")
    before = subprocess.run(
        ["git", "status", "--porcelain"], cwd=repository.root, capture_output=True, text=True
    ).stdout
    done = repository.bisect("x")
    assert done.stdout.splitlines()[-1] == "toy 1 -> 2 broke it", done.stdout + done.stderr
    assert (
        subprocess.run(
            ["git", "status", "--porcelain"], cwd=repository.root, capture_output=True, text=True
        ).stdout
        == before
    )


def test_the_commit_that_broke_it_is_named(repository):
    """Though packages have changed too."""
    repository.commit("Say more")
    repository.write("notebooks/own.py", "def add(a, b):\n    return a - b\n")
    repository.commit("Subtract")
    repository.commit("Say even more")
    done = repository.bisect("notebooks/x.ipynb")
    assert done.stdout.splitlines()[-1].endswith(", Subtract) broke it"), done.stdout + done.stderr


def test_a_notebook_that_passes_at_head_is_not_searched(repository):
    repository.commit("Say more")
    done = repository.bisect("x")
    assert (
        done.returncode == 1
        and "x passes at" in done.stderr
        and "what is not committed" in done.stderr
    )


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["none"], "There is no commit with notebooks/none.ipynb"),
        (
            ["x"],
            "changed in the last commit: name one at which it passed, make bisect NB=x GOOD=commit",
        ),
        (["x", "--good", "nowhere"], "git rev-parse: fatal: Needed a single revision"),
    ],
)
def test_where_there_is_nothing_to_search_one_sentence_says_so(arguments, says, repository):
    done = repository.bisect(*arguments)
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("count", range(1, 9))
def test_the_first_that_fails_is_found_by_halving(count):
    """In as few tries as that takes."""
    for bad in range(1, count + 1):
        tried = []
        assert bisect.first_bad(count, lambda number: tried.append(number) or number < bad) == bad  # noqa: B023
        assert len(tried) <= (count - 1).bit_length() and not {0, count} & set(tried)


def test_a_package_for_another_machine_is_none_of_ours():
    found = bisect.pinned(
        "a==1 ; sys_platform == 'win32' \\\n    --hash=sha256:0\nb==2 \\\n    "
        "--hash=sha256:1\n    # via a\n"
    )
    assert found == {"b": ("2", "b==2 \\\n    --hash=sha256:1\n    # via a\n")}

"""The files, tests and variables that CONTRIBUTING.md names exist."""

import re
import subprocess

from tools.files import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# The guide asks the reader to write these.
WRITTEN = {"triton/tut/my-page.rst", "notebooks/90-dates.md", "test_a_partition_that_is_not_there"}


def test_each_file_and_folder_that_it_names_is_there():
    named = (
        set(re.findall(r"(?<![\w./-])(?:\.?[\w-]+/)+[\w.-]*|\b[A-Z]+\.md\b|\bconf\.py\b", TEXT))
        - WRITTEN
    )
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    there = {
        *tracked,
        *(
            f"{folder}/"
            for name in tracked
            for folder in (name.rpartition("/")[0], name.split("/")[0])
        ),
    }
    assert len(named) > 25 and "tests/data/questions.toml" in named
    assert (
        sorted(
            name
            for name in named
            if name not in there and not name.startswith((".venv/bin", "_build/", "2026"))
        )
        == []
    )


def test_each_test_and_marker_that_it_names_is_there():
    tests = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")
    )
    named = set(re.findall(r"\btest_\w+\b(?!\.py)", TEXT)) - WRITTEN
    assert named and not [
        name for name in named if f"def {name}(" not in tests and name != "test_name"
    ]
    for marker in re.findall(r"pytest\.mark\.(\w+)", TEXT):
        assert f'"{marker}(' in (ROOT / "pyproject.toml").read_text(encoding="utf-8"), marker


def test_each_make_variable_that_it_names_is_read():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"make ([a-z-]+)((?: [A-Z]+=\S+)+)", TEXT)
    assert len(commands) > 4
    for task, settings in commands:
        for name in re.findall(r"([A-Z]+)=", settings):
            assert re.search(rf"^{task}:.*\n(?:\t.*\n)*?\t.*\b{name}\b", makefile, re.MULTILINE), (
                f"make {task} reads no {name}"
            )

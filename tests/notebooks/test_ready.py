"""`ready.py` of the student edition says which notebooks run on a computer, and what is missing."""

import os
import subprocess
import sys

import nbformat
import pytest

from tools.course import editions
from tools.files import ROOT
from triton.lib import clusterfacts

FACTS = clusterfacts.load(ROOT / "triton/facts.toml")
COURSE = editions.load()


@pytest.fixture
def folder(tmp_path):
    """What a student has unpacked."""
    editions.write(tmp_path, editions.student_files(COURSE, FACTS.site.url, FACTS.in_words()))
    return tmp_path


def told(folder, *options, path=""):
    """{name of a notebook: what ready.py says of it}"""
    done = subprocess.run(
        [sys.executable, *options, folder / "ready.py"],
        env={"PATH": path, "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def test_what_runs_in_the_checks_of_the_course_is_ready(folder):
    """Each notebook that needs nothing but Python runs in this environment, in other tests."""
    here = told(folder, path=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
    assert here.keys() == COURSE.keys()
    for name, notebook in COURSE.items():
        course = notebook["metadata"]["course"]
        if notebook["metadata"]["kernelspec"]["language"] == "python" and not course["needs"]:
            assert here[name] == "ready", (name, here[name])
        if "slurm" in course["needs"]:
            assert "needs a cluster with Slurm" in here[name], (name, here[name])


def test_a_python_without_packages_and_programs_lacks_them(folder):
    """Each line says what to do."""
    bare = told(folder, "-S")
    assert "ready" not in bare.values()
    assert bare["00-self-test"] == "no kernel python3: pip install jupyterlab"
    assert "no pandas: pip install pandas" in bare["12-gaps"]
    assert "no nbdime-git or nbdime: pip install nbdime" in bare["05-git"]
    assert "no uv: pip install uv" in bare["14-environment"]
    for name in ("04-notebook-to-batch", "05-git", "14-environment"):
        assert "needs Linux, macOS, or WSL on Windows: see README.md" in bare[name], bare[name]
    assert "no kernel bash" in bare["08-shell"] and "no kernel ir" in bare["09-r"]


def test_what_a_new_notebook_uses_is_found(folder):
    code = "%matplotlib inline\nimport nosuchmodule, json\nlines = !nosuchprogram --x 'a; b' | sort"
    python = {"name": "python3", "language": "python", "display_name": "Python 3"}
    new = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(code),
            nbformat.v4.new_code_cell("%%writefile mine.py\nimport othermodule"),
            nbformat.v4.new_code_cell("import mine"),
        ],
        metadata={"kernelspec": python},
    )
    nbformat.write(new, folder / "90-new.ipynb")
    here = told(folder, path=os.environ["PATH"])["90-new"]
    for lacks in ("nosuchmodule: pip install", "othermodule: pip install", "nosuchprogram: needs"):
        assert lacks in here, here
    assert not {"json:", "mine:", "sort:"} & set(here.split()), here

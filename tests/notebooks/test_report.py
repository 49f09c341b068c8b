"""What people read about a validation says which cell failed, where, and how its outputs differ."""

import re
import subprocess
import sys

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tools.course.cells import FINE, cell, image_output, picture, shows, stream
from tools.course.pairs import sync, write_ipynb
from tools.files import ROOT
from tools.validate import catalogue, changes, local, report, requirements, runner

WRONG = [
    FINE,
    cell("print(f'<{1 + 1}>')", stream("<3>\n")),
    cell(shows(picture(0)), image_output(picture(255))),
]


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    """A notebook in which two cells fail, and its Result."""
    folder = tmp_path_factory.mktemp("a course")
    cells = [new_code_cell(**{**one, "id": f"cell-{number}"}) for number, one in enumerate(WRONG)]
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "course": {"needs": [], "reads": [], "seconds": 60, "memory_mb": 500},
    }
    write_ipynb(new_notebook(cells=cells, metadata=metadata), folder / "wrong.ipynb")
    sync(folder)
    [notebook] = catalogue.load(folder=folder)
    [result] = local.validate([notebook])
    return notebook, result


def test_a_problem_names_the_line_of_its_cell_in_the_md(wrong):
    notebook, result = wrong
    rows = notebook.path.with_suffix(".md").read_text().splitlines()
    found = re.findall(r"^    notebooks/wrong.md:(\d+): cell (\d)", report.describe(result), re.M)
    assert [cell for _, cell in found] == ["2", "3"]
    for (number, _), source in zip(found, ("print(f'<{1 + 1}>')", "import base64"), strict=True):
        assert rows[int(number) - 1].startswith("```{code-cell}") and rows[int(number)] == source


def test_the_difference_is_nbdimes_and_of_the_failed_cells_alone(wrong, tmp_path, monkeypatch):
    """What cannot be compared is one sentence: nbdiff is not there, or takes too long."""
    notebook, result = wrong
    text = report.difference(result, notebook, requirements.NBDIFF)
    assert re.search(r"^- *<3>$", text, re.M) and re.search(r"^\+ *<2>$", text, re.M)
    assert "fine" not in text and "image/png" in text
    nbdiff = tmp_path / "nbdiff"
    assert report.difference(result, notebook, nbdiff).endswith("make .venv-nbdime\n")
    nbdiff.write_text("#!/bin/sh\nexec sleep 60\n")
    nbdiff.chmod(0o755)
    monkeypatch.setattr(report, "NBDIFF_SECONDS", 0.2)
    assert "takes more than 0.2 s" in report.difference(result, notebook, nbdiff)


def test_the_command_says_what_became_of_each_notebook():
    name = "02-hidden-state"
    command = [sys.executable, "-m", "tools.validate.runner", "validate", "--changed", name]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"passed  {name}")
    assert done.stdout.splitlines()[-1] == "notebooks: 1 passed, 0 failed"
    assert changes.load_record(runner.RECORDS, name)["passed"]

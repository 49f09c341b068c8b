"""What people read about a validation says which cell failed, where, and how its outputs differ."""

import base64
import io
import re
import subprocess
import sys

import pytest
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from tools.course.cells import FINE, cell, image_output, picture, shows, stream
from tools.course.pairs import sync, write_ipynb
from tools.files import ROOT
from tools.validate import catalogue, changes, local, report, requirements, runner
from tools.validate.result import CellResult, Problem, Result

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


def test_the_page_shows_how_pictures_differ_and_runs_nothing(wrong):
    """They stand side by side, with their difference; no output is run."""
    notebook, result = wrong
    differences = {"wrong": report.difference(result, notebook, requirements.NBDIFF)}
    text = report.page([result], {"wrong": notebook}, differences, "notebooks: 0 passed, 1 failed")
    captions = re.findall(r"<figcaption>([^<]*)</figcaption>\s*<img", text)
    assert captions == ["stored", "fresh", "where they differ"]
    differ = text.split('<img alt="where they differ" src="data:image/png;base64,')[1]
    shown = Image.open(io.BytesIO(base64.b64decode(differ.split('"')[0])))
    pixels = [(x, y) for x in range(shown.width) for y in range(shown.height)]
    assert [pixel for pixel in pixels if shown.getpixel(pixel) < 128] == [(3, 3)]
    assert "<ins>+" in text and "<del>-" in text
    assert "<2>" not in text and "&lt;2&gt;" in text and 'src="http' not in text


@pytest.mark.parametrize(
    ("fresh", "images"),
    [([picture(0, (60, 20))], 3), ([], 1), ([picture(255)], 0), ([picture(255), picture(0)], 1)],
    ids=["another size", "one less", "the same", "one more"],
)
def test_pictures_that_differ_are_shown(fresh, images, wrong):
    outputs = [image_output(data) for data in fresh]
    result = Result("wrong", "failed", cells=[CellResult(3, 0.0, outputs)])
    shown = report.pictures(result, wrong[0])
    assert [number for number, _ in shown] == [3] * bool(images)
    assert len([data for _, row in shown for data in row.values() if data]) == images


def test_annotations_are_one_line_each_at_file_and_line(wrong):
    _, result = wrong
    lines = report.annotations([Result("good", "passed"), result])
    places = [
        re.match(r"::error file=notebooks/wrong\.md,line=(\d+),title=wrong::", line)[1]
        for line in lines
    ]
    assert places == [str(number) for number, _ in result.problems]
    assert all("\n" not in line for line in lines)
    odd = Result("odd,name", "failed", problems=[Problem(0, "100 %\nof it")])
    assert report.annotations([odd, Result("x", "failed", "no cell was validated")]) == [
        "::error file=notebooks/odd%2Cname.md,line=1,title=odd%2Cname::100 %25%0Aof it",
        "::error file=notebooks/x.md,line=1,title=x::no cell was validated",
    ]


def test_a_report_that_cannot_be_written_is_one_sentence(tmp_path):
    assert report.write(tmp_path / "_build", "page") == "report: _build/notebooks.html"
    assert [path.name for path in (tmp_path / "_build").iterdir()] == ["notebooks.html"]
    (tmp_path / "taken").write_text("")
    assert "the report could not be written" in report.write(tmp_path / "taken", "page")


def test_the_command_says_what_became_of_each_notebook():
    name = "02-hidden-state"
    command = [sys.executable, "-m", "tools.validate.runner", "validate", "--changed", name]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"passed  {name}")
    assert done.stdout.splitlines()[-2:] == [
        "report: _build/notebooks.html",
        "notebooks: 1 passed, 0 failed",
    ]
    assert changes.load_record(runner.RECORDS, name)["passed"]

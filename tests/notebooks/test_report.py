"""What people and programs read about a validation says which cell failed, where, and how its
outputs differ.
"""

import base64
import io
import json
import os
import pty
import re
import subprocess
import sys

import pytest
from nbformat.v4 import new_code_cell, new_notebook, writes
from PIL import Image

from tools.course.cells import FINE, cell, image_output, picture, shows, stream
from tools.course.pairs import sync
from tools.files import ROOT
from tools.validate import catalogue, local, report, requirements, runner
from tools.validate.result import CellResult, Result

NAMES = {
    "good": [FINE],
    "wrong": [
        FINE,
        cell("print(f'<{1 + 1}>')", stream("<3>\n")),
        cell(shows(picture(0)), image_output(picture(255))),
    ],
    "slow": [cell("import time; time.sleep(1.2)"), cell("1 / 0")],
    "odd,name": [cell("print('100 %\\x1b[0m\\x00')", stream("x"))],
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The notebooks by name, their Results, and the differences of their outputs."""
    folder = tmp_path_factory.mktemp("a course") / "notebooks"
    folder.mkdir()
    for name, cells in NAMES.items():
        cells = [
            new_code_cell(**{**one, "id": f"cell-{number}"}) for number, one in enumerate(cells)
        ]
        (folder / f"{name}.ipynb").write_text(
            writes(
                new_notebook(
                    cells=cells,
                    metadata={
                        "kernelspec": {
                            "name": "python3",
                            "display_name": "Python 3",
                            "language": "python",
                        },
                        "course": {"needs": [], "reads": [], "seconds": 60, "memory_mb": 500},
                    },
                )
            )
        )
    sync(folder)
    notebooks = {notebook.name: notebook for notebook in catalogue.load(folder=folder)}
    results = local.validate(list(notebooks.values()))
    return (
        notebooks,
        results,
        {
            result.name: report.difference(result, notebooks[result.name], requirements.NBDIFF)
            for result in results
        },
    )


def result_of(ran, name):
    return next(result for result in ran[1] if result.name == name)


def test_a_problem_names_the_line_of_its_cell_in_the_md(ran):
    """The line at which the cell begins in the half .md."""
    notebooks, _, _ = ran
    lines = notebooks["wrong"].path.with_suffix(".md").read_text().splitlines()
    problems = result_of(ran, "wrong").problems
    assert [text.split(":")[0] for _, text in problems] == ["cell 2", "cell 3"]
    for (number, _), source in zip(problems, ("print(f'<{1 + 1}>')", "import base64"), strict=True):
        assert lines[number - 1].startswith("```{code-cell}") and lines[number] == source


def test_the_difference_is_nbdimes_and_of_the_failed_cells_alone(ran):
    text = ran[2]["wrong"]
    assert re.search(r"^- *<3>$", text, re.MULTILINE) and re.search(
        r"^\+ *<2>$", text, re.MULTILINE
    )
    assert "fine" not in text and "image/png" in text and ran[2]["good"] == ""


def test_what_cannot_be_compared_is_one_sentence(ran, tmp_path, monkeypatch):
    """nbdiff is not there, or takes too long."""
    nbdiff = tmp_path / "nbdiff"
    wrong = result_of(ran, "wrong"), ran[0]["wrong"], nbdiff
    assert report.difference(*wrong) == "what changed cannot be shown: make .venv-nbdime\n"
    nbdiff.write_text("#!/bin/sh\nexec sleep 60\n")
    nbdiff.chmod(0o755)
    monkeypatch.setattr(report, "NBDIFF_SECONDS", 0.2)
    assert "to compare it takes more than 0.2 s" in report.difference(*wrong)


def test_the_page_shows_how_pictures_differ_and_runs_nothing(ran):
    """They stand side by side, with their difference; no output is run."""
    text = report.page(ran[1], ran[0], ran[2], "notebooks: 1 passed, 3 failed")
    assert re.findall(r"<figcaption>([^<]*)</figcaption>\s*<img", text) == [
        "stored",
        "fresh",
        "where they differ",
    ]
    differ = text.split('<img alt="where they differ" src="data:image/png;base64,')[1]
    shown = Image.open(io.BytesIO(base64.b64decode(differ.split('"')[0])))
    pixels = [(x, y) for x in range(shown.width) for y in range(shown.height)]
    assert [pixel for pixel in pixels if shown.getpixel(pixel) < 128] == [(3, 3)], "one differs"
    assert "<ins>+" in text and "<del>-" in text
    assert "<2>" not in text and "&lt;2&gt;" in text and 'src="http' not in text


@pytest.mark.parametrize(
    "fresh, images",
    [([picture(0, (60, 20))], 3), ([], 1), ([picture(255)], 0), ([picture(255), picture(0)], 1)],
)
def test_pictures_that_differ_are_shown_whatever_they_are(fresh, images, ran):
    """One of another size, one less, the same one, one more."""
    outputs = [image_output(data) for data in fresh]
    result = Result("wrong", "failed", cells=[CellResult(3, 0, 0.0, outputs)])
    shown = report.pictures(result, ran[0]["wrong"])
    assert [cell for cell, _ in shown] == [3] * bool(images)
    assert len([data for _, row in shown for data in row.values() if data]) == images


def test_annotations_are_one_line_each_at_file_and_line(ran):
    lines = report.annotations(ran[1])
    wrong = [line for line in lines if "wrong.md" in line]
    assert [
        re.match(r"::error file=notebooks/wrong\.md,line=(\d+),title=wrong::cell \d", line)[1]
        for line in wrong
    ] == [str(number) for number, _ in result_of(ran, "wrong").problems]
    assert all("\n" not in line for line in lines) and not any("good" in line for line in lines)
    [odd] = [line for line in lines if "odd" in line]
    assert "file=notebooks/odd%2Cname.md,line=" in odd and "100 %25" in odd
    assert report.annotations([Result("x", "failed", "no cell was validated")]) == [
        "::error file=notebooks/x.md,line=1,title=x::no cell was validated"
    ]


def test_the_slowest_cells_are_named(ran):
    assert re.fullmatch(
        r"slowest cells: .*notebooks/slow\.md:\d+ [1-9]\.\d s.*", report.slowest(ran[1])
    )
    assert report.slowest([]) == ""


def test_the_last_line_of_a_terminal_says_what_runs():
    """And for how long; a file gets no such line."""
    leader, follower = pty.openpty()
    with open(follower, "w") as terminal, open(leader, "rb", buffering=0) as screen:
        progress = report.Progress(terminal)
        progress.show(3, 9, [("06-kernels", 4.2, 17)])
        assert b"3 of 9 done; 06-kernels 4 of about 17 s" in screen.read(1000)
        progress.clear()
        assert screen.read(1000) == b"\r\x1b[K"
    plain = io.StringIO()
    report.Progress(plain).show(3, 9, [])
    assert plain.getvalue() == ""


def test_a_report_that_cannot_be_written_is_one_sentence(tmp_path):
    assert report.write(tmp_path / "_build", "page") == "report: _build/notebooks.html"
    assert [path.name for path in (tmp_path / "_build").iterdir()] == ["notebooks.html"]
    (tmp_path / "taken").write_text("")
    assert "the report could not be written" in report.write(tmp_path / "taken", "page")


def test_the_command_ends_with_the_report_and_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tools.validate.runner", "validate", "--changed", "02-hidden-state"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0 and done.stdout.splitlines()[-2:] == [
        "report: _build/notebooks.html",
        "notebooks: 1 passed, 0 failed",
    ]
    assert (
        json.loads((runner.RECORDS / "02-hidden-state.json").read_text())["passed"]
        and done.stderr == ""
    )

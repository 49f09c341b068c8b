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
import xml.etree.ElementTree as xml

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


@pytest.mark.parametrize(
    "sources, says",
    [
        (["import random", "random.random()"], "Give them a seed: random.seed(1)"),
        (["rng = np.random.default_rng()", "x = rng.random(3)", "x"], "Give them a seed"),
        (["rnorm(3)"], "in R set.seed(1)"),
        (["import time", "time.time()"], "it shows a time"),
        (["import os", "os.listdir()"], "Sort them"),
        (["{'a', 'b'}"], "Sort them"),
        (["id(object())"], "an address or a number of its own"),
        (["open('/proc/self/stat').read()"], "tools/validate/sanitize.toml"),
    ],
)
def test_what_does_not_repeat_is_told_with_its_remedy(sources, says, tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text(writes(new_notebook(cells=[new_code_cell(source) for source in sources])))
    number = len(sources)
    result = Result(
        "x",
        "failed",
        problems=[[1, f"cell {number}: Cell outputs differ"], [2, "cell 1: wrote to stderr"]],
        cells=[CellResult(1, 0, 0.0), CellResult(number, 0, 0.0, [])],
    )
    [line] = report.advice(result, catalogue.StoredNotebook("x", path, tmp_path, {})).splitlines()
    assert line.startswith(f"    cell {number}: ") and says in line


def test_a_comparison_that_takes_too_long_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "NBDIFF_SECONDS", 0.2)
    slow = tmp_path / "nbdiff"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    assert (
        report.compared(slow, tmp_path, tmp_path)
        == "what changed cannot be shown: to compare it takes more than 0.2 s\n"
    )


def test_without_nbdime_it_is_said_how_to_get_it(ran, tmp_path):
    assert "make .venv-nbdime" in report.difference(
        result_of(ran, "wrong"), ran[0]["wrong"], tmp_path / "nbdiff"
    )


def test_the_page_shows_how_pictures_differ_and_runs_nothing(ran):
    """They stand side by side, with their difference; no output is run."""
    text = report.page(ran[1], ran[0], ran[2], "notebooks: 1 passed, 3 failed")
    figures = re.findall(
        r'<figcaption>([^<]*)</figcaption><img alt="[^"]*" src="data:image/png;base64,([^"]*)">',
        text,
    )
    assert [caption for caption, _ in figures] == ["stored", "fresh", "where they differ"]
    shown = Image.open(io.BytesIO(base64.b64decode(figures[2][1])))
    dark = [
        (x, y)
        for x in range(shown.width)
        for y in range(shown.height)
        if shown.getpixel((x, y)) < 128
    ]
    assert dark == [(3, 3)], "the one point that differs"
    assert "<2>" not in text and "&lt;2&gt;" in text and 'src="http' not in text


def test_a_picture_of_another_size_is_compared_too(ran):
    stored, fresh = picture(0), picture(0, (60, 20))
    [row] = report._pictures([image_output(stored)], CellResult(1, 0, 0.0, [image_output(fresh)]))
    assert row.count("<img") == 3
    [row] = report._pictures([image_output(stored)], CellResult(1, 0, 0.0, []))
    assert row.count("<img") == 1 and "none" in row


def test_junit_xml_has_a_case_for_each_notebook(ran):
    """With its file and line."""
    results = [
        *ran[1],
        Result("left-out", "unchanged"),
        Result("absent", "skipped", "r is not here"),
    ]
    suite = xml.fromstring(report.junit(results, 12.3).split("\n", 1)[1])
    assert (
        suite.attrib | {"tests": "6", "failures": "3", "skipped": "2", "time": "12.3"}
        == suite.attrib
    )
    cases = {case.get("name"): case for case in suite}
    assert cases["good"].find("failure") is None and "cell 2" in cases["wrong"].find("failure").text
    assert (
        cases["wrong"].get("line") == str(result_of(ran, "wrong").problems[0][0])
        and cases["wrong"].get("file") == "notebooks/wrong.md"
    )
    assert cases["absent"].find("skipped").get("message") == "r is not here"


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


def test_a_report_that_cannot_be_written_is_one_sentence(ran, tmp_path):
    (tmp_path / "taken").write_text("")
    assert "the report could not be written" in report.write(
        tmp_path / "taken", ran[1], ran[0], ran[2], "line", 1
    )
    assert (
        report.write(tmp_path / "_build", ran[1], ran[0], ran[2], "line", 1)
        == "report: _build/notebooks.html"
    )
    assert sorted(path.name for path in (tmp_path / "_build").iterdir()) == [
        "notebooks.html",
        "notebooks.xml",
    ]


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

"""Each notebook of the course is what a class needs: a goal, exercises with solutions, described
plots, no cluster facts.
"""

import ast
import json
import re

import nbformat
import pytest

from tools.course import editions, pairs
from tools.files import ROOT
from tools.validate import catalogue
from triton.lib import clusterfacts

NOTEBOOKS = {
    pair.name: json.loads(pair.ipynb.read_text(encoding="utf-8"))
    for pair in pairs.find(catalogue.NOTEBOOKS)
    if pair.ipynb
}
FACTS = clusterfacts.load(ROOT / "triton/facts.toml")
every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def cells(name, tag):
    return [cell for cell in NOTEBOOKS[name]["cells"] if tag in cell["metadata"].get("tags", [])]


def source(cell):
    return "".join(cell["source"])


@every_notebook
def test_a_notebook_has_two_to_four_exercises_with_solutions(name):
    """Each solution follows its exercise."""
    kinds = [
        next(
            (tag for tag in ("exercise", "solution") if tag in cell["metadata"].get("tags", [])),
            None,
        )
        for cell in NOTEBOOKS[name]["cells"]
    ]
    exercises = [
        index
        for index, kind in enumerate(kinds)
        if kind == "exercise" and kinds[index - 1] != "exercise"
    ]
    assert 2 <= len(exercises) <= 4, f"{name} has {len(exercises)} exercises: give it 2 to 4"
    for begin, end in zip(exercises, [*exercises[1:], len(kinds)], strict=True):
        assert "solution" in kinds[begin:end], f"exercise in cell {begin + 1} has no solution"
    for cell in cells(name, "solution"):
        assert cell["cell_type"] == "markdown" or "hide-cell" in cell["metadata"]["tags"], (
            "a solution shows before a click"
        )


@every_notebook
def test_a_notebook_takes_10_to_25_minutes_and_names_its_goal(name):
    course = NOTEBOOKS[name]["metadata"]["course"]
    assert 10 <= course["minutes"] <= 25 and course["goal"]
    assert source(NOTEBOOKS[name]["cells"][0]).startswith("# "), "the first cell is not its title"


@every_notebook
def test_a_notebook_says_what_to_know_and_what_to_take_home(name):
    """It declares what to know before, and has three to five goals and key points."""
    assert NOTEBOOKS[name]["metadata"]["course"]["before"]
    texts = [source(cell) for cell in NOTEBOOKS[name]["cells"] if cell["cell_type"] == "markdown"]
    assert texts[1].startswith("**Can you do this at the end?**\n"), "the goals stand second"
    assert texts[-1].startswith("## Key points\n"), "the key points stand last"
    for text in (texts[1], texts[-1]):
        assert 3 <= len(re.findall("^- .+[.?]$", text, re.MULTILINE)) <= 5, text


@every_notebook
def test_an_exercise_has_a_smaller_step_and_more_to_do(name):
    for cell in cells(name, "exercise"):
        assert re.search(r"\n\n\*\*Too fast\?\*\* .+ \*\*Too slow\?\*\* .+$", source(cell)), (
            f"say at the end what to do if it is too fast, or too slow: {source(cell)[:60]}"
        )


@every_notebook
def test_a_check_takes_no_name_away_that_a_student_uses(name):
    """What it binds is in its function; only functions stay, for the checks that follow."""
    if NOTEBOOKS[name]["metadata"]["kernelspec"]["language"] != "python":
        return
    for number, cell in enumerate(cells(name, "check"), 1):
        for statement in ast.parse(source(cell)).body:
            assert isinstance(statement, ast.FunctionDef | ast.Expr | ast.Assert), (
                f"put it into a function check_{number}(), and call that: "
                f"{ast.get_source_segment(source(cell), statement)}"
            )


@every_notebook
def test_every_plot_has_an_alternative_text(name):
    for cell in NOTEBOOKS[name]["cells"]:
        if any(
            kind.startswith("image/")
            for output in cell.get("outputs", [])
            for kind in output.get("data", {})
        ):
            alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt.split()) >= 5, f"no alternative text: {source(cell)[:80]}"


@every_notebook
def test_measured_time_and_memory_are_within_the_limits(name):
    """They are stored, and the limits are those that the notebook declares."""
    metadata = NOTEBOOKS[name]["metadata"]
    assert 0 < metadata["measured"]["seconds"] <= metadata["course"]["seconds"]
    assert 0 < metadata["measured"]["memory_mb"] <= metadata["course"]["memory_mb"]


@every_notebook
def test_a_notebook_holds_no_fact_of_the_cluster(name):
    text = json.dumps(NOTEBOOKS[name]["cells"])
    assert not re.search(
        r"\{\{ ?[a-z_]+\.[a-z_]+ ?\}\}", "".join(map(source, NOTEBOOKS[name]["cells"]))
    ), "a placeholder would show in JupyterLab"
    for table in ("hosts", "modules"):
        for fact in filter(None, vars(getattr(FACTS, table)).values()):
            assert ("/" not in fact and "." not in fact) or fact not in text, (
                f"{fact} belongs to the guide: link to it"
            )
    for path in (FACTS.paths.scratch, FACTS.paths.apps):
        assert path not in text


def test_some_of_the_notebooks_show_plots():
    assert (
        sum('"image/png"' in json.dumps(notebook["cells"]) for notebook in NOTEBOOKS.values()) >= 4
    )


# ---------------------------------------------------------------- a notebook that is added


def new(*sources):
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell(source) for source in sources],
        metadata={"course": {"goal": "try", "minutes": 20}},
    )


@pytest.mark.parametrize(
    "source, titles",
    [
        ("Text first.\n\n## A part", ["A part"]),
        ("## One\n\nText.\n\n## Two", ["One", "Two"]),
        ("A part\n------\n\nText.", ["A part"]),
        ("## The `x` of *y*", ["The x of y"]),
        ("```\n## no part\n```\n\n> ## nor this\n\n### nor that", []),
        ("  ## Indented ##", ["Indented"]),
    ],
)
def test_a_heading_is_a_part_wherever_it_stands_in_its_cell(source, titles):
    """A part without a note takes no time."""
    parts = editions.sheet("x", new("# Title", source)).parts
    assert [(part.title, part.minutes) for part in parts] == [(title, 0) for title in titles]


def test_the_hundredth_notebook_comes_after_the_eleventh(tmp_path):
    names = ["01-a", "02-b", "10-c", "11-d", "99-e", "100-f"]
    for name in names:
        pairs.write_ipynb(new("# Title"), tmp_path / f"{name}.ipynb")
    assert [*editions.load(tmp_path)] == names


@pytest.mark.parametrize(
    "text, says",
    [
        ('{"cells": [\n}', "x.ipynb:2: no notebook: Expecting value"),
        ("[]", "x.ipynb:1: has no cells, or declares no course"),
        (
            '{"cells": [], "metadata": {"course": {"goal": "x", "minutes": 5}}}',
            "x.ipynb:1: has no cells",
        ),
    ],
)
def test_what_is_no_notebook_is_told_with_its_file_and_line(text, says, tmp_path):
    (tmp_path / "x.ipynb").write_text(text)
    with pytest.raises(editions.CourseError, match=re.escape(says)):
        editions.load(tmp_path)


def test_no_page_says_how_many_notebooks_there_are():
    for name in ("index.rst", "README.md", "notebooks/index.rst", "notebooks/teaching.rst"):
        assert not re.search(
            r"\b(?:[a-z]+een|seven|eight|nine|ten|eleven|twelve|\d+) notebooks",
            (ROOT / name).read_text(),
            re.IGNORECASE,
        ), name

"""Each notebook of the course is what a class needs: a goal, exercises with solutions, described
plots, no cluster facts.
"""

import ast
import copy
import json
import re

import nbformat
import pytest

from tools.course import editions, form, model, pairs
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
def test_a_notebook_is_what_the_course_wants(name):
    """Goals, exercises with solutions, a text for each plot, notes: all of tools/course/form.py."""
    assert form.in_words(name, model.Notebook(NOTEBOOKS[name])) == ""


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


# ---------------------------------------------------------------- what a notebook lacks

WHOLE = NOTEBOOKS["12-gaps"]  # it has all, and a plot
TITLE, GOALS, NOTE = (
    0,
    1,
    next(
        place for place, cell in enumerate(WHOLE["cells"]) if "instructor" in model.Cell(cell).tags
    ),
)


def changed(place, old, new):
    """The notebook with a text in one cell replaced."""
    whole = copy.deepcopy(WHOLE)
    text = source(whole["cells"][place])
    assert old in text
    whole["cells"][place]["source"] = text.replace(old, new)
    return whole


def untagged(tag):
    """The notebook whose cells have lost a tag."""
    whole = copy.deepcopy(WHOLE)
    for cell in whole["cells"]:
        tags = cell["metadata"].get("tags", [])
        cell["metadata"]["tags"] = [other for other in tags if other != tag]
    return whole


def declaring(**declared):
    """The notebook with other things in its header; None takes one out."""
    whole = copy.deepcopy(WHOLE)
    course = whole["metadata"]["course"] | declared
    kept = {key: value for key, value in course.items() if value is not None}
    whole["metadata"]["course"] = kept
    return whole


def without_pictures_text():
    whole = copy.deepcopy(WHOLE)
    for cell in whole["cells"]:
        cell["metadata"].pop("mystnb", None)
    return whole


@pytest.mark.parametrize(
    "notebook, says",
    [
        (declaring(goal=None, minutes=None), "lacks goal (a sentence), minutes (10 to 30). Copy"),
        (declaring(minutes=50), "minutes (10 to 30)"),
        (declaring(before=""), "lacks before"),
        (declaring(minutes=29), "30 minutes together, and its header says 29"),
        (changed(TITLE, "# Data", "(data)=\n# Data"), "begin with its title (cell 1)"),
        (changed(GOALS, "Can you do this", "What you learn"), "no list '**Can you do this"),
        (changed(-1, "## Key points", "## Summary"), "no list '## Key points'"),
        (changed(NOTE, "4 minutes.", "Slowly."), f"begin with its minutes (cell {NOTE + 1})"),
        (untagged("instructor"), "no notes"),
        (untagged("stub"), "exercise, solution, check, exercise"),
        (untagged("exercise"), "It has 0 exercises"),
        (untagged("hide-cell"), "before a click (cells "),
        (without_pictures_text(), "not see it (cell "),
        (changed(GOALS, "Say how many", "{doc}`Say` how many"), "JupyterLab shows"),
        (declaring(reads=None), "12-gaps: for the course this is advised:"),
        (untagged("slide"), "no slides"),
    ],
)
def test_what_a_notebook_lacks_is_told_with_its_remedy(notebook, says):
    assert says in form.in_words("12-gaps", model.Notebook(notebook))


def test_a_new_notebook_is_told_all_at_once_and_each_kind_once():
    """What is required first, then what is advised."""
    bare = new("# Dates", "## A part", "```{note}\nx\n```", ":::{tip}\ny\n:::")
    lacks = form.wants(model.Notebook(bare))
    assert len({want.what for want in lacks}) == len(lacks) >= 8
    assert [want.required for want in lacks] == sorted(
        (want.required for want in lacks), reverse=True
    )
    [directives] = [want for want in lacks if "JupyterLab" in want.what]
    assert [*directives.cells] == [3, 4] and all(want.remedy for want in lacks)


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

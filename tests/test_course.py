"""Each notebook of the course is what a class needs: a goal, exercises with solutions, described plots, no cluster facts."""
import json
import re

import facts
import pytest
from course import pairs, runner

NOTEBOOKS = {pair.name: json.loads(pair.ipynb.read_text(encoding="utf-8")) for pair in pairs.find(runner.NOTEBOOKS) if pair.ipynb}
FACTS = facts.load(runner.ROOT / "triton/facts.toml")
every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def cells(name, tag):
    return [cell for cell in NOTEBOOKS[name]["cells"] if tag in cell["metadata"].get("tags", [])]


def source(cell):
    return "".join(cell["source"])


@every_notebook
def test_a_notebook_has_two_to_four_exercises_each_followed_by_its_solution(name):
    kinds = [next((tag for tag in ("exercise", "solution") if tag in cell["metadata"].get("tags", [])), None)
             for cell in NOTEBOOKS[name]["cells"]]
    exercises = [index for index, kind in enumerate(kinds) if kind == "exercise" and kinds[index - 1] != "exercise"]
    assert 2 <= len(exercises) <= 4
    for begin, end in zip(exercises, [*exercises[1:], len(kinds)], strict=True):
        assert "solution" in kinds[begin:end], f"exercise in cell {begin + 1} has no solution"
    for cell in cells(name, "solution"):
        assert cell["cell_type"] == "markdown" or "hide-cell" in cell["metadata"]["tags"], "a solution shows before a click"


@every_notebook
def test_a_notebook_takes_ten_to_twenty_five_minutes_and_names_its_goal(name):
    course = NOTEBOOKS[name]["metadata"]["course"]
    assert 10 <= course["minutes"] <= 25 and course["goal"]
    assert source(NOTEBOOKS[name]["cells"][0]).startswith("# "), "the first cell is not its title"


@every_notebook
def test_every_plot_has_an_alternative_text(name):
    for cell in NOTEBOOKS[name]["cells"]:
        if any(kind.startswith("image/") for output in cell.get("outputs", []) for kind in output.get("data", {})):
            alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt.split()) >= 5, f"no alternative text: {source(cell)[:80]}"


@every_notebook
def test_measured_time_and_memory_are_stored_and_within_the_declared_limits(name):
    metadata = NOTEBOOKS[name]["metadata"]
    assert 0 < metadata["measured"]["seconds"] <= metadata["course"]["seconds"]
    assert 0 < metadata["measured"]["memory_mb"] <= metadata["course"]["memory_mb"]


@every_notebook
def test_a_notebook_holds_no_fact_of_the_cluster(name):
    text = json.dumps(NOTEBOOKS[name]["cells"])
    assert not re.search(r"\{\{ ?[a-z_]+\.[a-z_]+ ?\}\}", "".join(map(source, NOTEBOOKS[name]["cells"]))), "a placeholder would show in JupyterLab"
    for table in ("hosts", "modules"):
        for fact in FACTS[table].values():
            assert "/" not in fact and "." not in fact or fact not in text, f"{fact} belongs to the guide: link to it"
    for path in (FACTS["paths"]["scratch"], FACTS["paths"]["apps"]):
        assert path not in text


def test_some_of_the_notebooks_show_plots():
    assert sum(any("image/png" in output.get("data", {}) for cell in notebook["cells"] for output in cell.get("outputs", []))
               for notebook in NOTEBOOKS.values()) >= 4

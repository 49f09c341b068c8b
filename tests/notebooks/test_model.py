"""The one model of a notebook and the result of a run say what is stored, and lose nothing."""

import json

import pytest

from tools.course.model import Cell, Course, Measured, Notebook, wrong_values
from tools.validate.result import CellResult, Problem, Result

STORED = {
    "nbformat": 4,
    "metadata": {"course": {"goal": "Find it", "minutes": 5, "needs": ["r"], "own": 1}, "x": 2},
    "cells": [{"cell_type": "code", "metadata": {}, "source": ["a\n", "b"], "attic": [3]}],
}


def test_a_notebook_says_what_it_declares_and_keeps_the_rest():
    notebook = Notebook(STORED)
    assert notebook.course == Course("Find it", minutes=5, needs=("r",))
    assert notebook.course.promise == "Afterwards you can find it."
    assert notebook.cells[0].source == "a\nb" and notebook.cells[0].tags == []
    assert Cell({"cell_type": "markdown", "source": "# A", "metadata": {}}).is_title
    changed = notebook.having([cell.having(source="c") for cell in notebook.cells])
    assert changed == STORED | {"cells": [STORED["cells"][0] | {"source": "c"}]}
    assert notebook == STORED, "the one that it was made from is as it was"


@pytest.mark.parametrize("metadata", [{}, {"course": None, "measured": None}, {"course": []}])
def test_metadata_that_declare_nothing_are_no_fault(metadata):
    assert Course.of(metadata) == Course() and Measured.of(metadata) == Measured()


def test_each_wrong_value_is_named_with_what_it_must_be():
    declared = {"goal": "x", "minutes": 4, "needs": "r", "seconds": True}
    assert wrong_values(declared) == {
        "minutes": "10 to 30",
        "needs": "a list of words",
        "seconds": "a positive number",
        "memory_mb": "a positive number",
    }


def test_a_result_comes_back_from_json_as_it_was():
    cells = [CellResult(1, 0.1, [{"output_type": "stream"}])]
    result = Result("a", "failed", "1 of 2 cells", 1.5, 20, [Problem(3, "cell 1: no")], cells)
    assert Result.from_json(json.loads(json.dumps(result.as_json()))) == result

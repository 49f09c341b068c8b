"""A person reads one message for one cause, however many cells fail because of it."""

import pytest

from tools.course import pairs
from tools.validate import catalogue, causes, refresh

READ = 'table = open("hogs.csv")'
ARROW = "----> 1"


def raised(line, source="x"):
    """A problem as nbval tells it: a traceback with this last line."""
    return f"{causes.RAISED}\n\n{ARROW} {source}\n\n{line}"


def no_file(name, source="x"):
    return raised(f"FileNotFoundError: [Errno 2] No such file or directory: {name!r}", source)


def undefined(name):
    return raised(f"NameError: name {name!r} is not defined")


def told(*cells):
    """What is told of cells, each with its source and its problem, by their numbers."""
    ran = [
        {"cell": number, "outcome": "failed" if problem else "passed", "problems": [problem]}
        for number, (_, problem) in enumerate(cells, 1)
    ]
    return causes.told_once(ran, [source for source, _ in cells])


def test_a_missing_file_is_told_once_with_the_cells_that_need_it():
    """Those that read it too, those that want a name of it, and those that want a name of these."""
    said = told(
        ("import os", ""),
        (READ, no_file("hogs.csv", READ)),
        ("rows = list(table)", undefined("table")),
        ("again = open('hogs.csv')", no_file("hogs.csv")),
        ("print(1)", ""),
        ("len(rows)", undefined("rows")),
    )
    [problem] = said[2]
    assert problem.startswith(f"hogs.csv is not there, in the line {READ}. ")
    assert "reads: [data/...]" in problem
    assert problem.endswith("\nBecause of it cells 3, 4, 6 failed, too")
    assert said == {2: [problem], 3: [], 4: [], 6: []}


@pytest.mark.parametrize(
    "problem",
    [
        undefined("rows"),
        no_file("other.csv"),
        raised("ZeroDivisionError: division by zero"),
        "Cell outputs differ: name 'table' is not defined",
    ],
)
def test_a_fault_of_its_own_is_told(problem):
    """A name that no failed cell has, another file, another error, and outputs that differ."""
    said = told((READ, no_file("hogs.csv")), ("x", problem))
    assert len(said[2]) == 1 and "Because" not in said[1][0]


def test_a_program_that_is_not_there_is_no_file_that_lacks():
    problem = raised(
        "FileNotFoundError: [Errno 2] No such file or directory: 'convert'",
        "x\nFile /usr/lib/python3.11/subprocess.py:1955",
    )
    assert told(("x", problem)) == {1: [problem]}


@pytest.mark.parametrize(
    "last",
    [
        "Error in eval(expr): object 'hogs' not found",
        "Error in file(file, \"rt\"): cannot open file 'hogs.csv': No such file or directory",
    ],
)
def test_what_r_says_is_understood(last):
    first = raised("cannot open file 'hogs.csv': No such file or directory")
    assert told(("hogs <- read.csv('hogs.csv')", first), ("plot(hogs)", raised(last)))[2] == []


def test_a_refresh_tells_a_missing_file_in_one_message(tmp_path, capfd):
    """As an ordinary notebook has it: one cell reads, the others compute."""
    (tmp_path / "x.md").write_text(
        "---\nkernelspec:\n  name: python3\n  display_name: Python 3\n  language: python\n"
        "course: {goal: try, minutes: 10, needs: [], seconds: 60, memory_mb: 500}\n"
        "jupytext:\n  text_representation: {extension: .md, format_name: myst}\n---\n\n# X\n"
        + "".join(
            f"\n```{{code-cell}}\n{source}\n```\n"
            for source in (READ, *["table.read()"] * 8, "rows = [*table]", "len(rows)")
        )
    )
    pairs.sync(tmp_path)
    assert not refresh.refresh(catalogue.load(folder=tmp_path))
    said = capfd.readouterr().err
    assert said.count("notebooks/x.md:") == said.count("hogs.csv is not there") == 1, said
    assert "cells 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 failed, too" in said
    assert "Traceback" not in said and "x: for the course this is required" in said

"""`make refresh` keeps new outputs only if a second run repeats them, and shows what changed."""
import json

import nbformat
import pytest
from course import pairs, runner
from nbformat.v4 import new_code_cell, new_notebook


@pytest.fixture
def notebook(tmp_path):
    """A function that writes a never executed notebook with one cell and returns it as the runner sees it."""
    folder = tmp_path / "notebooks"
    folder.mkdir()

    def write(source, **limits):
        pairs.write_ipynb(new_notebook(cells=[new_code_cell(source)], metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "course": {"goal": "try", "minutes": 10, "needs": [], "seconds": 60, "memory_mb": 500} | limits}), folder / "x.ipynb")
        return runner.load(folder=folder)[0]

    return write


def test_outputs_and_measured_numbers_are_stored_and_the_difference_is_shown(notebook, capfd):
    stored = notebook("print(1 + 1)")
    assert runner.refresh([stored])
    fresh = nbformat.read(stored.path, 4)
    assert fresh.cells[0].outputs[0].text == "2\n" and fresh.cells[0].execution_count == 1
    assert fresh.metadata.measured.seconds >= 1 and fresh.metadata.measured.memory_mb > 20
    assert fresh.cells[0].id == nbformat.read(stored.path, 4).cells[0].id
    assert "execution" not in fresh.cells[0].metadata, "times of a run would change with every refresh"
    assert "x: refreshed" in capfd.readouterr().out
    [result] = runner.validate(runner.load(folder=stored.folder))
    assert result.outcome == "passed"


def test_without_a_name_those_are_refreshed_that_failed_in_the_last_run(notebook, monkeypatch, capsys):
    stored = notebook("print(1 + 1)")
    monkeypatch.setattr(runner, "NOTEBOOKS", stored.folder)
    monkeypatch.setattr(runner.load, "__defaults__", ((), stored.folder))
    monkeypatch.setattr(runner, "RECORDS", stored.folder.parent / "records")
    with pytest.raises(SystemExit) as end:
        runner.main(["refresh"])
    assert end.value.code == 2 and "Nothing failed in the last run" in capsys.readouterr().err
    runner.validate([stored], records=runner.RECORDS)
    assert runner.main(["refresh"]) == 0 and nbformat.read(stored.path, 4).cells[0].outputs[0].text == "2\n"


def test_a_second_refresh_changes_no_byte(notebook):
    stored = notebook("print(1 + 1)")
    assert runner.refresh([stored])
    before = stored.path.read_bytes()
    assert runner.refresh(runner.load(folder=stored.folder)) and stored.path.read_bytes() == before


def test_at_a_terminal_each_notebook_is_kept_or_left_as_its_writer_says(notebook, monkeypatch, capsys):
    stored = notebook("print(1 + 1)")
    before = stored.path.read_bytes()
    monkeypatch.setattr("builtins.input", lambda question: "" if "x: keep these outputs?" in question else "y")
    assert runner.refresh([stored], runner._ask)
    assert stored.path.read_bytes() == before and "x: left as it was" in capsys.readouterr().out
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert runner.refresh([stored], runner._ask) and stored.path.read_bytes() != before


@pytest.mark.parametrize("source, limits, says", [
    ("import os; print(os.urandom(8))", {}, "a second run does not repeat the first"),
    ("1 / 0", {}, "ZeroDivisionError"),
    ("open('stray', 'w').close()", {}, "stray was left changed by cell 1"),
    ("import time; time.sleep(100)", {"seconds": 3}, "not refreshed"),
    ("import os; os._exit(1)", {}, "not refreshed"),
])
def test_a_notebook_that_does_not_run_or_does_not_repeat_is_left_as_it_was(source, limits, says, notebook, capfd):
    stored = notebook(source, **limits)
    before = stored.path.read_bytes()
    assert not runner.refresh([stored])
    assert stored.path.read_bytes() == before
    said = capfd.readouterr().err
    assert says in said and "Traceback (most recent call last):\n  File" not in said


def test_a_notebook_whose_halves_differ_is_synced_first(notebook, capfd):
    stored = notebook("print(1)")
    pairs.sync(stored.folder)
    md = stored.path.with_suffix(".md")
    md.write_text(md.read_text().replace("print(1)", "print(2)"))
    before = stored.path.read_bytes()
    assert not runner.refresh([stored]) and stored.path.read_bytes() == before
    assert "its halves differ: make sync NB=x" in capfd.readouterr().err


def test_the_stored_notebook_is_plain_json_with_a_newline_at_its_end(notebook):
    stored = notebook("print(1)")
    runner.refresh([stored])
    text = stored.path.read_text()
    assert json.loads(text) and text.endswith("}\n")

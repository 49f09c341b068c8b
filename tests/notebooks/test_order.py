"""The longest notebook begins first, by what its last run took, as many as keep the cores at work,
and none before its declared memory is free.
"""

import time

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tools.course.pairs import write_ipynb
from tools.validate import catalogue, changes, execution, local


@pytest.fixture
def started(tmp_path, monkeypatch):
    """A function: run notebooks {name: (measured seconds, MB)} on two cores with 1000 MB; return
    {name: (start, end)}, the first started first.
    """

    def run(declared):
        for name, (seconds, memory) in declared.items():
            metadata = {
                "kernelspec": {"name": "python3", "display_name": "x"},
                "measured": {"seconds": seconds},
                "course": {"needs": [], "reads": [], "seconds": 60, "memory_mb": memory},
            }
            cells = [new_code_cell("x = 1", execution_count=1)]
            write_ipynb(new_notebook(cells=cells, metadata=metadata), tmp_path / f"{name}.ipynb")
        times, start = {}, execution.start

        def note(notebook, *rest):
            times[notebook.name] = [time.monotonic()]
            return start(notebook, *rest)

        monkeypatch.setattr(execution, "start", note)
        monkeypatch.setattr(local, "memory_mb", lambda: 1000)
        monkeypatch.setattr(local.os, "sched_getaffinity", lambda pid: {0, 1})
        results = local.validate(
            catalogue.load(folder=tmp_path),
            lambda result: times[result.name].append(time.monotonic()),
            tmp_path / "records",
        )
        assert {result.outcome for result in results} == {"passed"}
        return times

    return run


def test_a_notebook_waits_for_the_memory_that_it_declares(started):
    """A smaller one may go before it; one that never fits runs alone."""
    times = started({"a": (9, 600), "b": (5, 600), "small": (1, 300), "huge": (50, 5000)})
    assert [*times] == ["a", "small", "b", "huge"]
    assert times["a"][1] > times["small"][0] and times["b"][0] >= times["a"][1]
    assert times["huge"][0] >= max(times["small"][1], times["b"][1])


def test_the_longest_begins_and_two_more_run_than_cores(started, tmp_path):
    """Before there is a last run, the one that was measured longest."""
    for name, seconds in {"a": 1, "b": 30, "c": "no number", "d": -1}.items():
        changes.save_record(tmp_path / "records", name, None, seconds=seconds)
    times = started({"a": (50, 100), "b": (2, 100), "c": (20, 100), "d": (10, 100), "e": (5, 100)})
    first_end = min(end for _, end in times.values())
    assert [*times] == [*"bcdea"]
    assert [name for name, (start, _) in times.items() if start < first_end] == [*"bcde"]

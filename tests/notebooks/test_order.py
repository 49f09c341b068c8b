"""The longest notebook begins first, by what its last run took, as many as keep the cores at work,
and none before its declared memory is free.
"""

import dataclasses
import json
import time

import pytest

from tools.validate import catalogue, changes, execution, local


@dataclasses.dataclass
class Declared:
    limits: tuple


def first(waiting, running, free):
    return local.next_to_start(
        [Declared((60, mb)) for mb in waiting], [Declared((60, mb)) for mb in running], free
    )


@pytest.mark.parametrize(
    "waiting, running, free, index",
    [
        ([500, 100], [], 1000, 0),
        ([500, 100], [600], 1000, 1),
        ([500, 300], [600], 850, None),
        ([500], [500], 1000, 0),
        ([], [], 1000, None),
        ([5000], [], 1000, 0),
        ([5000], [1], 1000, None),
        ([5000, 10], [1], 1000, 1),
    ],
)
def test_a_notebook_starts_only_if_its_declared_memory_fits(waiting, running, free, index):
    """A smaller one may go before it."""
    assert first(waiting, running, free) == index


def started(tmp_path, monkeypatch, declared, free, records=None):
    """Run notebooks {name: (seconds, MB)}; return [(name, start, end)], the first started first."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name, (seconds, memory) in declared.items():
        (folder / f"{name}.ipynb").write_text(
            json.dumps(
                {
                    "nbformat": 4,
                    "nbformat_minor": 5,
                    "metadata": {
                        "kernelspec": {"name": "python3", "display_name": "x"},
                        "measured": {"seconds": seconds},
                        "course": {"needs": [], "reads": [], "seconds": 60, "memory_mb": memory},
                    },
                    "cells": [
                        {
                            "cell_type": "code",
                            "id": "a",
                            "source": "x = 1",
                            "metadata": {},
                            "outputs": [],
                            "execution_count": 1,
                        }
                    ],
                }
            )
        )
    times, start = {}, execution.start

    def note(notebook, *rest):
        times[notebook.name] = [time.monotonic()]
        return start(notebook, *rest)

    monkeypatch.setattr(execution, "start", note)
    monkeypatch.setattr(local, "memory_mb", lambda: free)
    monkeypatch.setattr(local.os, "sched_getaffinity", lambda pid: {0, 1})
    results = local.validate(
        catalogue.load(folder=folder),
        lambda result: times[result.name].append(time.monotonic()),
        records,
    )
    assert {result.outcome for result in results} == {"passed"}
    return [(name, *both) for name, both in times.items()]


def test_two_that_do_not_fit_together_never_run_together(tmp_path, monkeypatch):
    (_, _, end), (_, start, _) = started(
        tmp_path, monkeypatch, {"a": (9, 600), "b": (5, 600)}, 1000
    )
    assert start >= end


def test_two_more_run_than_there_are_cores(tmp_path, monkeypatch):
    times = started(tmp_path, monkeypatch, dict.fromkeys("abcde", (9, 100)), 1000)
    first_end = min(end for _, _, end in times)
    at_once = [name for name, start, _ in times if start < first_end]
    assert at_once == [*"abcd"], "on two cores"


def test_the_longest_of_the_last_run_is_first(tmp_path, monkeypatch):
    """Before there is a last run, the one that was measured longest."""
    for name, seconds in {"a": 1, "b": 30}.items():
        changes.save_record(tmp_path / "records", name, None, seconds=seconds)
    order = started(
        tmp_path,
        monkeypatch,
        {"a": (50, 100), "b": (2, 100), "c": (20, 100)},
        1000,
        tmp_path / "records",
    )
    assert [name for name, _, _ in order] == ["b", "c", "a"]


@pytest.mark.parametrize("record", [{}, {"seconds": "x"}, {"seconds": None}, {"seconds": -1}])
def test_a_record_without_a_time_is_no_error(record):
    assert changes.measured(record, "seconds", 7) == 7

"""What a cell declares to vary may vary, and nothing else."""

import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tools.validate import catalogue, refresh, varies


@pytest.mark.parametrize(
    "tag, stored, fresh",
    [
        ("numbers-within-3", "64 MB", "130 MB"),
        ("numbers-within-3", "took   9.5 s", "took  11.0 s"),
        ("numbers-within-3", "1,200 of -0.5", "900 of -0.25"),
        ("numbers-within-3", "float64: 2e-05", "float64: 4e-05"),
        ("numbers-within-1.5", "1 and 0", "1.4 and 0"),
        ("times-vary", "2026-11-30T22:50:01 00:05", "2027-01-02T03:04:05 1-10:20:30"),
        ("times-vary", "2 passed in 0.02s", "2 passed in 11.30s"),
        ("paths-vary", "/home/ada/it.txt is 5", "/tmp/x/it.txt is 5"),
        ("ids-vary", "Submitted batch job 999", "Submitted batch job 1000"),
        ("ids-vary", "  99 R", " 100 R"),
        ("ids-vary", "9.batch", "10.batch"),
        ("ids-vary", "99_1 failed", "100_1 failed"),
        ("ids-vary", "99_1   failed  1:0", "100_1  failed  1:0"),
    ],
)
def test_what_is_declared_may_vary(tag, stored, fresh):
    assert varies.settled(fresh, stored, [tag]) == stored
    assert varies.settled(fresh, stored, []) == fresh


@pytest.mark.parametrize(
    "tag, stored, fresh",
    [
        ("numbers-within-3", "64 MB", "640 MB"),
        ("numbers-within-3", "64 MB", "20 MB"),
        ("numbers-within-3", "64 MB", "-64 MB"),
        ("numbers-within-3", "64 MB", "64 kB"),
        ("numbers-within-3", "0 errors", "1 errors"),
        ("numbers-within-3", "1 error", "0 error"),
        ("numbers-within-3", "1 2", "1"),
        ("numbers-within-3", "float64", "float32"),
        ("numbers-within-3", "1,200", "12.00"),
        ("times-vary", "in 00:05:00", "in 5 minutes"),
        ("times-vary", "5 of 00:05", "6 of 00:05"),
        ("times-vary", "2 passed in 0.02s", "1 passed in 0.02s"),
        ("times-vary", "2 passed in 0.02s", "2 passed in 0.02m"),
        ("paths-vary", "/home/ada", "home/ada"),
        ("ids-vary", "job 7 failed", "job 8 completed"),
        ("ids-vary", "job 7", "job None"),
        ("ids-vary", "job 7  failed", "job 8failed"),
        ("ids-vary", "99_1 failed", "100_2 failed"),
        ("ids-vary", "job 7 took 29.6M", "job 8 took 296.6M"),
        ("ids-vary", "job 7 took 00:00:06", "job 8 took 00:00:07"),
    ],
)
def test_all_else_is_compared(tag, stored, fresh):
    assert varies.settled(fresh, stored, [tag]) != stored


def test_pictures_and_the_order_of_outputs_are_compared():
    stored = [{"data": {"image/png": "1", "text/plain": "1"}}]
    fresh = [{"data": {"image/png": "2", "text/plain": "2"}}]
    expected = [{"data": {"image/png": "2", "text/plain": "1"}}]
    assert varies.settled(fresh, stored, ["numbers-within-3"]) == expected
    assert varies.settled([*fresh, {}], stored, ["numbers-within-3"]) == [*fresh, {}]


@pytest.mark.parametrize("stored, kept", [("14", True), ("150", False)])
def test_a_refresh_keeps_a_number_that_is_near(stored, kept, tmp_path):
    """Else each refresh would change the number."""
    cell = new_code_cell(
        "print(15)",
        execution_count=1,
        metadata={"tags": ["numbers-within-2"]},
        outputs=[new_output("stream", text=f"{stored}\n")],
    )
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "course": {"needs": [], "seconds": 60, "memory_mb": 500},
    }
    nbformat.write(new_notebook(cells=[cell], metadata=metadata), tmp_path / "near.ipynb")
    assert refresh.refresh(catalogue.load(folder=tmp_path))
    [cell] = nbformat.read(tmp_path / "near.ipynb", as_version=4).cells
    assert cell.outputs[0].text == f"{stored if kept else 15}\n"


def test_a_stored_number_that_is_ten_times_too_large_is_told():
    """In each cell of the course in which numbers may vary; a sign is told, too."""
    judged = 0
    for notebook in catalogue.load():
        for cell in nbformat.read(notebook.path, as_version=4).cells:
            tags = cell.metadata.get("tags", [])
            if not any(map(varies.FACTOR.fullmatch, tags)):
                continue
            for text in (output.text for output in cell.outputs if "text" in output):
                for number in re.finditer(varies.NUMBERS, text):
                    value = number[0].replace(",", "")
                    for wrong in (f"{float(value) * 10:g}", f"-{value.strip()}"):
                        stored = text[: number.start()] + wrong + text[number.end() :]
                        assert varies.settled(text, stored, tags) != stored, (notebook.name, stored)
                        judged += 1
    assert judged >= 20

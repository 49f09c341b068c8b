"""The mutations of the guide are mistakes that a reader would meet, and a mutation that no test
notices is reported.
"""

import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tools import mutate
from tools.cluster import cluster
from tools.files import ROOT, copy_source

MUTATOR = mutate.Mutator()
MUTATIONS = MUTATOR.draw(200, seed=5)
PAGE = "triton/tut/array.sh"


def test_the_same_seed_draws_the_same_mutations():
    """The first mutations of a larger number are those of a smaller one."""
    assert MUTATOR.draw(200, seed=5) == MUTATIONS
    assert MUTATOR.draw(40, seed=5) == MUTATIONS[:40]
    assert MUTATOR.draw(40, seed=6) != MUTATIONS[:40]
    assert len(set(MUTATIONS)) == 200


def test_a_mutation_changes_one_line_so_that_it_is_seen():
    for mutation in MUTATIONS:
        text = mutate.read(mutation.page)
        before, after = text.split("\n"), mutation.apply(text).split("\n")
        assert before[: mutation.line - 1] == after[: mutation.line - 1], mutation
        assert before[mutation.line :] == after[len(after) - len(before) + mutation.line :]
        assert abs(len(after) - len(before)) <= 1, mutation
        assert mutate.filled(mutation.before) != mutate.filled(mutation.after), mutation


def test_every_kind_occurs_early():
    assert {one.kind for one in MUTATIONS[: len(MUTATOR.places)]} == set(MUTATOR.places)
    assert set(MUTATOR.places) >= {
        *("amount", "command", "envvar", "file", "host", "message", "module", "option", "slurm"),
        *("command line", "output", "prompt host", "prompt folder", "published file", "reference"),
        *("fact", "fact in prose", "profile", "number", "negation", "button"),
    }


def test_only_what_is_asked_for_is_mutated():
    drawn = mutate.Mutator(PAGE).draw(10, seed=1)
    assert drawn and {mutation.page for mutation in drawn} == {PAGE}


@pytest.mark.parametrize("text", ["-J", "--mem", "{{ hosts.login }}-2", "8123"])
def test_a_misspelling_is_another_word_of_the_same_kind(text):
    new = {mutate.spell(text, random.Random(seed)) for seed in range(200)}
    assert text not in new
    assert all(one[0] == text[0] for one in new if one and not text.isdigit())
    assert all(one.isdigit() for one in new if text.isdigit())


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("a.py:9: something else", "SURVIVED"),
        ("tut/page.rst:5: it is wrong", "line named"),
        ("FAILED tests/test_x.py::test[tut/page.rst:5]", "line named"),
        ("tut/page.rst:9: the paragraph after", "SURVIVED"),
        ("FAILED tests/test_x.py::test[tut/page.rst] - AssertionError", "page named"),
        ("FAILED tests/test_x.py::test[other/tut/page.rst]", "SURVIVED"),
        ("FAILED tests/test_x.py::test[tut/page/more.rst]", "SURVIVED"),
    ],
)
def test_a_failure_is_as_good_as_what_it_names(printed, expected):
    assert mutate.grade(printed, [("tut/page.rst", 4, 6)]) == expected


def test_a_batch_has_one_mutation_of_a_page_or_a_fact():
    batches = mutate.batches(MUTATIONS[:60])
    assert sorted(str(one) for batch in batches for one in batch) == sorted(
        map(str, MUTATIONS[:60])
    )
    for batch in batches:
        names = [name for one in batch for name in {name for name, *_ in mutate.extents(one)}]
        assert len(names) == len(set(names))
        assert len(batch) == 1 or mutate.FACTS not in names


def test_a_changed_fact_is_looked_for_where_it_is_shown():
    lines = mutate.read(mutate.FACTS).split("\n")
    port = next(number for number, line in enumerate(lines, 1) if line.startswith("port ="))
    fact = mutate.Mutation("fact", mutate.FACTS, port, lines[port - 1], "port = 1")
    shown = {name for name, *_ in mutate.extents(fact)}
    assert shown >= {"triton/apps/jupyter/connecting.rst", "triton/apps/jupyter/proxy.pac"}


# These tests run the whole program, with one test of their own in place of the guide's.

TEST = """
from pathlib import Path

def test_it():
    for number, line in enumerate(Path("triton/tut/array.sh").read_text().splitlines(), 1):
        assert {condition}, f"triton/tut/array.sh:{{number}}"
"""
needs_cluster = pytest.mark.skipif(bool(cluster.obstacle()), reason=cluster.obstacle() or "")


@pytest.fixture
def checkout(tmp_path):
    """A copy of the checkout without the guide's tests."""
    folder = copy_source(tmp_path / "checkout")
    shutil.rmtree(folder / "tests")
    (folder / "tests/guide").mkdir(parents=True)
    (folder / "conftest.py").write_text("")
    return folder


def start(folder, condition, tmp_path):
    (folder / "tests/guide/test_it.py").write_text(TEST.format(condition=condition))
    command = [sys.executable, "-m", "tools.mutate", "-n", "4", "--page", PAGE]
    variables = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "TMPDIR": str(tmp_path)}
    return subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True)


@needs_cluster
@pytest.mark.parametrize(
    ("condition", "status", "says"),
    [
        ("'pytohn' not in line and line in KNOWN", 0, "4 line named"),
        ("len(line) < 1000", 1, "4 SURVIVED"),
        ("not line", 2, ""),
    ],
    ids=["tests that say where", "blind tests", "tests that fail already"],
)
def test_the_exit_status_says_whether_all_were_caught(checkout, tmp_path, condition, status, says):
    known = repr((ROOT / PAGE).read_text().splitlines())
    before = {path: path.read_bytes() for path in (checkout / "triton").rglob("*.sh")}
    process = start(checkout, condition.replace("KNOWN", known), tmp_path)
    printed, _ = process.communicate(timeout=120)
    assert (process.returncode, says in printed) == (status, True), printed
    assert before == {path: path.read_bytes() for path in before}
    assert [path.name for path in tmp_path.iterdir()] == ["checkout"]


@needs_cluster
def test_an_interrupt_leaves_no_process_and_no_file(checkout, tmp_path):
    process = start(checkout, "__import__('time').sleep(300)", tmp_path)
    for _ in range(200):
        if any(tmp_path.glob("mutate-*/tmp")):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert [path.name for path in tmp_path.iterdir()] == ["checkout"]
    running = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True)
    assert running.stdout == ""

"""The mutations of the guide are mistakes that a reader would meet, and whoever survives the tests
is reported.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import mutate
from tools.files import ROOT
from tools.mutate import Mutation

GUIDE = mutate.Guide(ROOT)
MUTATIONS = mutate.Mutator(GUIDE).draw(300, seed=5)


def test_the_same_seed_draws_the_same_mutations():
    """A larger number of them begins with those of a smaller one."""
    mutator = mutate.Mutator(mutate.Guide(ROOT))
    assert mutator.draw(300, seed=5) == MUTATIONS
    assert mutator.draw(40, seed=5) == MUTATIONS[:40]
    assert mutator.draw(40, seed=6) != MUTATIONS[:40]


def test_no_mutation_is_drawn_twice():
    assert (
        len(MUTATIONS)
        == 300
        == len({(mutation.page, mutation.line, mutation.after) for mutation in MUTATIONS})
    )


def test_a_mutation_changes_exactly_one_line():
    """So that a reader would notice."""
    for mutation in MUTATIONS:
        text = GUIDE.text(mutation.page)
        before, after = text.split("\n"), mutation.apply(text).split("\n")
        assert before[: mutation.line - 1] == after[: mutation.line - 1], mutation
        assert before[mutation.line :] == after[len(after) - len(before) + mutation.line :], (
            mutation
        )
        assert abs(len(after) - len(before)) <= 1, mutation
        assert "".join(GUIDE.filled(mutation.before).split()) != "".join(
            GUIDE.filled(mutation.after).split()
        ), mutation


def test_every_kind_occurs_and_those_that_matter_most_do_early():
    kinds = set(mutate.sites(GUIDE))
    assert {mutation.kind for mutation in MUTATIONS[: len(kinds)]} == kinds
    assert kinds >= {
        "port",
        "path",
        "host",
        "option",
        "module",
        "profile",
        "file name",
        "kernel path",
        "output",
        "message",
        "fact",
        "reference",
        "prompt",
        "command",
        "command line",
        "literal",
        "table value",
        "published file",
    }


def test_only_what_is_asked_for_is_mutated():
    drawn = mutate.Mutator(GUIDE, "triton/tut/array.sh").draw(10, seed=1)
    assert drawn and {mutation.page for mutation in drawn} == {"triton/tut/array.sh"}


@pytest.mark.parametrize("option", ["--silent", "-sh", "-J", "--max-depth"])
def test_an_option_is_not_changed_into_another_way_to_write_it(option):
    new = {mutate._option(option, random.Random(seed)) for seed in range(300)} - {None}
    assert new and option not in new
    assert not [one for one in new if option.startswith(one)]
    assert option[:2] == "--" or not [one for one in new if set(one) == set(option)]


@pytest.mark.parametrize(
    "said, expected",
    [
        ("a.py:9: something else", "unnamed"),
        ("FAILED tests/test_x.py::test[tut/page.rst:5]", "line"),
        ("tut/page.rst:9: the paragraph after", "page"),
        ("on tut/page#title", "page"),
        ("page.rst:5: without its folder", "unnamed"),
        ("page.rst:5: in tut/page.rst", "line"),
        ("other/tut/page.rst:5", "unnamed"),
        ("tut/page/more.rst:5", "unnamed"),
        ("other/page.rst:5 and tut/page.rst:9", "page"),
    ],
)
def test_a_failure_is_as_good_as_what_it_names(said, expected):
    assert mutate.grade(said, [("tut/page.rst", 4, 6)]) == expected


def test_a_changed_fact_is_looked_for_on_the_pages_that_show_it():
    """What is published as a file, too."""
    port = next(
        number
        for number, line in enumerate(GUIDE.lines(mutate.FACTS), 1)
        if line.startswith("port =")
    )
    shown = GUIDE.shown_in(Mutation("fact", mutate.FACTS, port, "", ""))
    assert shown[0][0] == mutate.FACTS and {
        "triton/apps/jupyter/connecting.rst",
        "triton/apps/jupyter/proxy.pac",
    } <= {name for name, *_ in shown}
    shown = GUIDE.shown_in(Mutation("published file", "triton/tut/array.sh", 3, "", ""))
    page, first, last = next(place for place in shown if place[0] == "triton/tut/array.rst")
    assert any(
        ".. rendered-file:: array.sh" in line for line in GUIDE.lines(page)[first - 1 : last]
    )


def test_console_blocks_are_typed_only_if_they_have_changed():
    """Either what is typed, or what is shown."""
    tests = [mutate.CONSOLE, "test_facts.py"]
    page = "triton/tut/array.rst"
    typed = next(
        number for number, line in enumerate(GUIDE.lines(page), 1) if mutate.PROMPT.match(line)
    )
    for name, line, needed in (
        (page, 1, False),
        (page, typed, True),
        ("triton/tut/array.sh", 3, True),
        (mutate.FACTS, 5, True),
    ):
        assert (
            mutate.CONSOLE in mutate._needed(GUIDE, Mutation("x", name, line, "", ""), tests)
        ) == needed, name


def test_faults_are_brought_about_only_where_tests_read():
    """For those pages that the tests of faults read."""
    tests = ["guide/test_faq.py", "guide/test_claims.py", "guide/test_facts.py"]
    for name, needed in (
        ("triton/tut/modules.rst", tests[2:]),
        ("triton/apps/jupyter/faq.rst", [tests[0], tests[2]]),
        (mutate.FACTS, tests),
        ("triton/apps/jupyter/demo-kernel.json", tests),
    ):
        assert mutate._needed(GUIDE, Mutation("x", name, 5, "", ""), tests) == needed, name


# A small guide with a test of its own, in a repository of its own, judged by the real thing.

PAGE = """\
Title
=====

.. a comment that nobody reads

Write to ``/tmp/one`` and to ``/tmp/two``.

The file ``/tmp/three`` is named badly, ``/tmp/four`` not at all.
"""
TEST = """\
import os
import re
from pathlib import Path
import pytest
ROOT = Path(__file__).parents[2]

@pytest.mark.parametrize("page", ["triton/page.rst", "triton/other.rst"])
def test_paths(page):
    Path(os.environ["TMPDIR"], "tested").write_text(page)
    text = (ROOT / page).read_text()
    for number, line in enumerate(text.splitlines(), 1):
        for path in re.findall("``(.*?)``", line):
            place = f"{page}:{number}" if path.startswith("/tmp/t") else "bad path"
            assert path in ("/tmp/one", "/tmp/two", "/tmp/three", "/tmp/four"), place

def test_that_four_is_there():
    text = Path(ROOT, "triton", "page.rst").read_text()
    assert "/tmp/four" in text, "a page is wrong"

def test_of_a_program(tmp_path):
    assert "one" in (ROOT / "triton/page.rst").read_text(), "triton/page.rst:6"
"""


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The folder of the small guide; temporary files go beside it."""
    root, temporary = tmp_path / "small", tmp_path / "temporary"
    (root / "triton").mkdir(parents=True)
    (root / "tests/guide").mkdir(parents=True)
    (root / "tools").mkdir()
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    (root / "triton/page.rst").write_text(PAGE)
    (root / "triton/other.rst").write_text("Other\n=====\n\nNothing.\n")
    (root / "tests/guide/test_roles.py").write_text(TEST)
    (root / "pytest.ini").write_text("[pytest]\naddopts = -r fE -p no:cacheprovider\n")
    (root / "triton/lib").mkdir()
    (root / "_ext").mkdir()
    for name in (
        *("tools/mutate.py", "tools/files.py", "_ext/roles.py"),
        *("triton/facts.toml", "triton/lib/clusterfacts.py"),
    ):
        shutil.copy(ROOT / name, root / name)
    _commit(root)
    return root


def _commit(root):
    """Make `root` a git repository with all its files."""
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", "-C", root, *command], check=True, capture_output=True)


def change(old, new, line):
    before = PAGE.split("\n")[line - 1]
    assert old in before
    return Mutation("test", "triton/page.rst", line, before, before.replace(old, new))


def test_each_mutation_is_graded_by_what_the_test_names(small):
    """By the place that the failing test names; a harmless one survives."""
    harmless = change("nobody", "somebody", 4)
    wanted = [
        (harmless, "survived"),
        (change("/tmp/two", "/tmp/tow", 6), "line"),
        (change("/tmp/three", "/var/three", 8), "page"),
        (change("/tmp/four", "/tmp/one", 8), "unnamed"),
        (change("to ``/tmp/one`` and ", "", 6), "survived"),
    ]
    said = []
    verdicts = dict(mutate.run([mutation for mutation, _ in wanted], small, say=said.append))
    results = [(mutation, verdicts[mutation]) for mutation, _ in wanted]
    assert [(mutation, verdict.grade) for mutation, verdict in results] == wanted
    assert len(said) == 1 + len(wanted)
    assert "test_paths[triton/page.rst]" in results[1][1].failed[0]
    lines = mutate.report(results)
    assert [line for line in lines if line.startswith("SURVIVED: ")] == [
        "SURVIVED: test, triton/page.rst:4",
        "SURVIVED: test, triton/page.rst:6",
    ]
    assert re.fullmatch(r"all +1 +1 +1 +2", lines[-1])


def test_the_copy_is_restored_and_the_checkout_untouched(small):
    """After each mutation."""
    (small.parent / "work").mkdir()
    copy = mutate.Copy(small, small.parent / "work")
    assert [verdict.grade for verdict in copy.judge(change("/tmp/two", "/tmp/tow", 6))] == ["line"]
    assert [verdict.grade for verdict in copy.judge(change("nobody", "somebody", 4))] == [
        "survived"
    ]
    assert (small.parent / "temporary/tested").read_text() == "triton/page.rst", (
        "the test of another page was run"
    )
    assert (
        (copy.folder / "triton/page.rst").read_text()
        == PAGE
        == (small / "triton/page.rst").read_text()
    )
    with pytest.raises(ValueError, match=r"page\.rst:6 is not"):
        copy.judge(Mutation("test", "triton/page.rst", 6, "what is not there", "x"))
    assert (copy.folder / "triton/page.rst").read_text() == PAGE
    assert (
        subprocess.run(
            ["git", "-C", small, "status", "--short"], capture_output=True, text=True
        ).stdout
        == ""
    )


def test_mutations_judged_together_do_not_save_each_other(small):
    """Of two, one may hide the other."""
    (small.parent / "work").mkdir()
    copy = mutate.Copy(small, small.parent / "work")
    dropped, two = (
        Mutation("test", "triton/page.rst", 4, PAGE.split("\n")[3], ""),
        change("/tmp/two", "/tmp/tow", 6),
    )
    hidden, harmless = change("four", "tenfold", 8), change("named badly", "fine", 8)
    assert [verdict.grade for verdict in copy.judge(dropped, two, hidden)] == [
        "survived",
        "line",
        "survived",
    ], "the line has moved by one"
    found = list(copy.settle([dropped, two, hidden]))
    assert [(mutation, verdict.grade) for mutation, verdict in found] == [
        (two, "line"),
        (hidden, "line"),
        (dropped, "survived"),
    ]
    assert mutate.together(copy.guide, [dropped, two, hidden, harmless]) == [
        [dropped, two, hidden],
        [harmless],
    ]
    assert copy.guide.text("triton/page.rst") == PAGE


def test_what_is_typed_changes_once_on_a_page():
    """A fact is judged alone."""
    groups = mutate.together(GUIDE, MUTATIONS)
    grouped = [mutation for group in groups for mutation in group]
    assert sorted(map(MUTATIONS.index, grouped)) == list(range(300)) and len(groups) < 150
    for group in groups:
        typed = [
            name
            for mutation in group
            if mutate._typed(GUIDE, mutation)
            for name in {name for name, *_ in GUIDE.shown_in(mutation)}
        ]
        assert len(typed) == len(set(typed))
        assert len(group) == 1 or mutate.FACTS not in {mutation.page for mutation in group}


def command(root, *arguments):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.Popen(
        [sys.executable, "-m", "tools.mutate", *arguments],
        cwd=root,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=mutate._prepare_child,
    )


def test_the_command_prints_survivors_and_fails_if_there_are_any(small):
    process = command(small, "-n", "4", "--page", "triton/page.rst")
    said, errors = process.communicate(timeout=300)
    results = json.loads((small / "_build/mutations.json").read_text())
    assert len(results) == 4 and not errors
    assert said.count("SURVIVED: ") == sum(result["grade"] == "survived" for result in results)
    assert process.returncode == (1 if "SURVIVED: " in said or "NO PAGE NAMED: " in said else 0)
    assert (
        f"{sum(result['grade'] in ('line', 'page') for result in results)} caught of 4 mutations"
        in said
    )


@pytest.mark.parametrize(
    "assertion, status, survive",
    [
        ("True", 1, 3),
        ("same, page", 0, 0),
        ("same, 'somewhere'", 1, 0),
    ],
    ids=["blind tests", "tests that say where", "tests that do not say where"],
)
def test_the_exit_status_says_whether_all_were_caught_and_named(small, assertion, status, survive):
    (small / "tests/guide/test_roles.py").write_text(
        f"from pathlib import Path\nROOT = Path(__file__).parents[2]\nPAGE = {PAGE!r}\n"
        f"OTHER = {(small / 'triton/other.rst').read_text()!r}\n"
        "def test_it():\n    for page in [Path('triton', 'page.rst'), Path('triton', "
        "'other.rst')]:\n"
        f"        same, page = (ROOT / page).read_text() in (PAGE, OTHER), f'{{page}}:1'\n"
        f"        assert {assertion}\n"
    )
    process = command(small, "-n", "3")
    said, errors = process.communicate(timeout=300)
    assert process.returncode == status, said + errors
    assert said.count("SURVIVED: ") == survive


def test_nothing_is_judged_if_the_tests_fail_already(small):
    (small / "triton/page.rst").write_text(PAGE.replace("/tmp/one", "/tmp/eleven"))
    process = command(small, "-n", "3")
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 2 and not said
    assert (
        errors.startswith("The tests do not pass without any mutation")
        and "test_paths[triton/page.rst]" in errors
    )


def test_an_interrupt_leaves_no_process_and_no_file(small):
    (small / "tests/guide/test_roles.py").write_text(
        "import os, pathlib, time\ndef test_slow():\n"
        "    pathlib.Path(os.environ['TMPDIR'], "
        "'tests.pid').write_text(str(os.getpid()))\n    time.sleep(60)\n"
    )
    note = small.parent / "temporary/tests.pid"
    with command(small, "-n", "3") as process:
        for _ in range(1200):
            if note.exists() and note.read_text():
                break
            time.sleep(0.1)
        tests = Path("/proc", note.read_text())
        assert tests.exists()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=50)
    assert process.returncode == 130
    assert not tests.exists()
    assert [path.name for path in note.parent.iterdir()] == ["tests.pid"]

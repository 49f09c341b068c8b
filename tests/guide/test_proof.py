"""Each marked claim has a test, and a page says no more than the last run has shown."""

import ast
import difflib
import json
import os
import re
import subprocess
import sys

import pytest
from bs4 import BeautifulSoup

from _ext import proof
from _ext.roles import as_shown
from tools import pages
from tools.files import ROOT, copy_source
from tools.proof import recorder as proof_recorder
from tools.site import build_site, html_pages
from triton.lib import clusterfacts

TEST = "def test_it_holds():\n    assert {}\n"


@pytest.mark.claims(
    "A sentence that a test proves is marked with the role ``:tested:`` and the test's name,"
)
def test_every_mark_names_a_test_that_is_there():
    marks = list(proof_recorder.claims())
    assert len(marks) > 10
    files = {
        path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")
    }
    for page, line, test in marks:
        file, _, name = test.partition("::")
        assert f"\ndef {name}(" in files.get(file, ""), f"{page}:{line}: {test}"


def claimed():
    """The (file::test, words) of each `claims` marker."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for test in ast.parse(path.read_text(encoding="utf-8")).body:
            for marker in getattr(test, "decorator_list", []):
                if (
                    isinstance(marker, ast.Call)
                    and ast.unparse(marker.func) == "pytest.mark.claims"
                ):
                    yield from (
                        (f"{path.name}::{test.name}", ast.literal_eval(words))
                        for words in marker.args
                    )


@pytest.fixture(scope="module")
def prose():
    """The (page, line, text) of each paragraph, list item and table row, and of the comments in
    shown files.

    Marks and comment signs are removed, spaces are single, and " - " separates cells.
    """
    paragraphs, folders = (
        [],
        [ROOT / folder for folder in ("about", "triton", "scicomp", "notebooks")],
    )
    texts = [
        ROOT / "index.rst",
        *(
            path
            for folder in folders
            for kind in ("rst", "md")
            for path in folder.rglob(f"*.{kind}")
        ),
    ]
    for path in sorted({*texts, *(ROOT / name for name in pages.shown_files())}):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".rst":
            text = as_shown(text)
        elif path.suffix != ".md":
            text = re.sub(r"^( *)(?://|#) ", r"\1", text, flags=re.MULTILINE)
        for part in re.finditer(r"(?:(?!\n[ \t]*\n|\n *(?:\*|#\.) +).)+", text, re.DOTALL):
            words, begins = (
                " ".join(proof_recorder.MARK.sub("", part[0]).split()),
                part.end() - len(part[0].lstrip()),
            )
            paragraphs.append(
                (path.relative_to(ROOT).as_posix(), text.count("\n", 0, begins) + 1, words)
            )
    return paragraphs


@pytest.mark.parametrize(("test", "words"), list(claimed()))
def test_the_guide_says_what_a_test_shows(prose, test, words):
    """The words of a claim stand in one place only. With two places, one of them could change
    unnoticed.
    """
    places = [f"{page}:{line}" for page, line, text in prose for _ in range(text.count(words))]
    if len(places) > 1:
        pytest.fail(
            f"{test} claims {words!r}, which stands in {', '.join(places)}: give more of its words",
            pytrace=False,
        )
    if not places:
        near = max(
            prose,
            key=lambda part: (
                difflib.SequenceMatcher(None, part[2], words, autojunk=False)
                .find_longest_match()
                .size
            ),
        )
        pytest.fail(
            f"{near[0]}:{near[1]}: it does not say {words!r}, which {test} shows; it says "
            f"{near[2]!r}",
            pytrace=False,
        )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return copy_source(tmp_path_factory.mktemp("copy") / "guide")


@pytest.fixture(scope="module")
def without_run(source, tmp_path_factory):
    """(the finished build of a guide without a run, in which one mark names no test; its folder)"""
    page, target = source / "triton/tut/storage.rst", tmp_path_factory.mktemp("without")
    text = page.read_text(encoding="utf-8")
    page.write_text(text + "\nTrue. :tested:`test_claims.py::test_of_nothing`\n", encoding="utf-8")
    built = build_site(source, target)
    page.write_text(text, encoding="utf-8")
    return built, target / "html"


def test_a_mark_without_a_test_stops_the_build(source, without_run):
    built, _ = without_run
    line = len((source / "triton/tut/storage.rst").read_text(encoding="utf-8").splitlines()) + 2
    assert built.returncode and len(built.stderr.splitlines()) == 1, built.stderr
    assert f"storage.rst:{line}" in built.stderr and "test_of_nothing" in built.stderr


def marks(page):
    """For each mark of a built page: (its visible text, its text for a screen reader)."""
    return [
        (mark.text, mark["aria-label"])
        for mark in BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").select(
            "a.tested"
        )
    ]


def test_a_mark_is_named_by_its_claim(site):
    """In a list of links, nine marks are nine claims. A claim with two tests has two marks with the
    same name.
    """
    names = [marks(path) for path in html_pages(site)]
    whole = [mark for page in names for mark in page]
    assert len(whole) > 50 and all(
        name.startswith(f"{text}: ") and len(name.split()) >= len(text.split()) + 2
        for text, name in whole
    )
    assert len({name for _, name in whole}) > 0.9 * len(whole)
    storage = [name for _, name in marks(site / "triton/tut/storage.html")]
    assert any(
        name.endswith(
            ": All but /tmp are the same on the login node, on every compute node and in Jupyter."
        )
        for name in storage
    ), storage


@pytest.mark.claims(
    "the few that were not run stand :ref:`below, not run <not-run>`, with the reason."
)
def test_what_is_not_run_is_told_with_its_reasons(site):
    """The page lists what the tests leave out, from the tests' own files: code, names, and programs
    that have a stand-in.
    """
    text = " ".join(
        BeautifulSoup((site / "about/how-tested.html").read_text(encoding="utf-8"), "html.parser")
        .main.text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        .split()
    )
    values = clusterfacts.load(ROOT / "triton/facts.toml").in_words()
    lists = [
        ROOT / "tools/proof/console_blocks.toml",
        ROOT / "tools/proof/elsewhere.toml",
        ROOT / "tools/cluster/stand-ins.toml",
    ]
    for path in lists:
        rows = proof.exceptions(path, values)
        assert rows and not [
            entry
            for entry in rows
            if " ".join(entry[1].strip("`").split()) not in text
            or " ".join(entry[2].split()) not in text
        ], path


@pytest.mark.claims(
    "The mark leads to it, below.", "The numbers come from the run before this page was built."
)
def test_a_page_built_without_a_run_says_so(source, without_run, tmp_path):
    """With a run, the page shows the results of that run."""
    _, html = without_run
    page = (html / "about/how-tested.html").read_text(encoding="utf-8")
    assert "Not proven in this build" in page
    shown = {text for text, _ in marks(html / "triton/tut/storage.html")}
    assert shown == {"not proven in this build"}
    tests = {
        test: "passed"
        for name, _, test in proof_recorder.claims()
        if name == "triton/tut/storage.rst"
    }
    (source / "_build").mkdir(exist_ok=True)
    (source / "_build/proof.json").write_text(
        json.dumps(
            {
                "date": "2031-05-06 07:08 UTC",
                "commit": "abc1234",
                "changed": False,
                "seconds": 60,
                "versions": {"Slurm": "99.1"},
                "files": {"test_claims.py": [7, 0, 1]},
                "pages": {},
                "hosts": {
                    "laptop": 23,
                    clusterfacts.load(ROOT / "triton/facts.toml").hosts.short: 345,
                },
                "tests": tests,
                "not_covered": ["a page that nobody reads"],
                "measured": ["a start takes 7 s"],
            }
        )
    )
    assert build_site(source, tmp_path / "two").returncode == 0
    page = (tmp_path / "two/html/about/how-tested.html").read_text(encoding="utf-8")
    for word in (
        "2031-05-06",
        "abc1234",
        "Slurm 99.1",
        "a page that nobody reads",
        "a start takes 7 s",
        ": passed.",
        ">345</text>",
        ">tests/guide</text>",
    ):
        assert word in page
    marked = (tmp_path / "two/html/triton/tut/storage.html").read_text(encoding="utf-8")
    assert {text for text, _ in marks(tmp_path / "two/html/triton/tut/storage.html")} == {"tested"}
    assert {text for text, _ in marks(tmp_path / "two/html/triton/apps/jupyter/hub.html")} == {
        "not proven in this build"
    }, "the page credits a run that has not shown the claim"
    address = marked.split('class="tested reference internal" href="../../')[1].split('"')[0]
    assert (
        address.startswith("about/how-tested.html#") and f'id="{address.partition("#")[2]}"' in page
    )


def run(folder, *arguments, ci="true", again=False):
    """Run pytest with the plugin in `folder`, a guide of the test's own; return the process.

    again: run what failed before.
    """
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-q",
            *arguments,
            "@_build/failed.txt" if again else folder / "tests",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ
        | {"CI": ci, "PYTHONPATH": f"{folder}:{ROOT}", "PYTEST_PLUGINS": "tools.proof.recorder"},
    )


@pytest.fixture
def guide(tmp_path):
    """A guide with one claim, and the plugin."""
    (tmp_path / "tests").mkdir()
    for name in (
        "tools/__init__.py",
        "tools/files.py",
        "tools/git.py",
        "tools/proof/__init__.py",
        "tools/proof/recorder.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "index.rst").write_text("It holds. :tested:`test_it.py::test_it_holds`\n")
    (tmp_path / "tests/test_it.py").write_text(TEST.format("True"))
    return tmp_path


def test_a_whole_run_writes_what_it_has_shown(guide):
    assert run(guide).returncode == 0
    report = json.loads((guide / "_build/proof.json").read_text())
    assert report["files"] == {"test_it.py": [1, 0, 0]} and report["tests"] == {
        "test_it.py::test_it_holds": "passed"
    }


def test_a_page_is_credited_with_what_tests_say_they_show(guide):
    """The names of the test files do not matter. A failed test shows nothing."""
    (guide / "tests/test_it.py").write_text(
        "import pytest\n"
        '@pytest.mark.parametrize("page", ["a.rst", "a.rst", "b.rst"])\n'
        "def test_it_holds(page, record_property):\n"
        '    record_property("console block", page)\n'
        '    record_property("word", "c.rst")\n'
        '    record_property("typed on", "laptop")\n'
        '    assert page == "a.rst"\n'
    )
    run(guide, ci="")
    report = json.loads((guide / "_build/proof.json").read_text())
    assert report["pages"] == {"a.rst": {"blocks": 2}, "c.rst": {"words": 2}}
    assert report["hosts"] == {"laptop": 2}
    assert report["tests"] == {"test_it.py::test_it_holds": "failed"}


def test_a_run_of_a_part_writes_nothing(guide):
    assert run(guide, "-k", "holds").returncode == 0
    assert not (guide / "_build/proof.json").exists()


@pytest.mark.parametrize("body", ["False", "__import__('pytest').skip('no root')"])
def test_a_claim_that_was_not_shown_turns_ci_red_and_is_named(guide, body):
    (guide / "tests/test_it.py").write_text(TEST.format(body))
    completed = run(guide)
    assert (
        completed.returncode == 1
        and "NOT PROVEN: index.rst:1 says that test_it.py::test_it_holds shows it"
        in completed.stdout
    ), completed.stdout


def test_what_fails_beside_others_and_passes_alone_is_told(guide):
    """The second try ends the first run: the rest of its results stays."""
    (guide / "tests/test_it.py").write_text(
        TEST.format("True") + "\n\ndef test_two():\n    assert open('there').close() is None\n"
    )
    assert run(guide).returncode == 1
    (guide / "there").touch()
    assert run(guide, again=True).returncode == 0
    report = json.loads((guide / "_build/proof.json").read_text())
    assert report["files"] == {"test_it.py": [2, 0, 0]}
    assert report["measured"] == [
        "test_it.py::test_two failed while other tests ran, and passed when it ran again alone."
    ]


def test_what_fails_twice_stays_failed(guide):
    (guide / "tests/test_it.py").write_text(TEST.format("False"))
    assert run(guide).returncode == 1
    completed = run(guide, again=True)
    assert completed.returncode == 1 and "NOT PROVEN: index.rst:1" in completed.stdout

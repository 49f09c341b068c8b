"""What students get holds no solution before its release, and works: checks say what is off, and
slides, run sheet and catching up are there.
"""

import contextlib
import datetime
import functools
import gzip
import html
import http.server
import io
import json
import re
import resource
import shlex
import subprocess
import sys
import threading
import tomllib
import warnings
import zipfile
from pathlib import Path
from urllib.parse import urljoin

import nbformat
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from tools import pages
from tools.browser import Quiet, needs_chromium
from tools.cluster.checkout import check_out
from tools.course import editions, slides
from tools.files import ROOT
from tools.site import build_site
from tools.validate import catalogue, changes, refresh, requirements
from triton.lib import clusterfacts

FACTS = clusterfacts.load(ROOT / "triton/facts.toml")
SITE = FACTS.site.url
COURSE = editions.load()
FORM = "an exercise has cells tagged exercise, stub, solution and check: see notebooks/README.md"
ANSWERS = tomllib.loads((ROOT / "tests/data/answers.toml").read_text(encoding="utf-8"))
every_notebook = pytest.mark.parametrize("name", COURSE)


def cells(notebook, tag):
    return [cell for cell in notebook["cells"] if tag in editions.tags(cell)]


def lines(text):
    return [line.strip() for line in text.splitlines() if len(line.strip()) >= 12]


HIDDEN = {"solution", "hidden-test"}


def said(cell):
    """The lines of a cell and of what it prints."""
    texts = [editions.source(cell)]
    for output in cell.get("outputs", []):
        texts += [
            "".join(output.get("text", "")),
            "".join(output.get("data", {}).get("text/plain", "")),
        ]
    return {line for text in texts for line in lines(text)}


@functools.cache
def shown():
    """All lines that everybody may read, as one text."""
    public = {
        line
        for notebook in COURSE.values()
        for cell in notebook["cells"]
        if not HIDDEN & set(editions.tags(cell))
        for line in said(cell)
    }
    pages = [
        path
        for folder in ("triton", "scicomp", "notebooks/student")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".rst", ".sh", ".py")
    ]
    return "\n".join([*sorted(public), *(path.read_text(encoding="utf-8") for path in pages)])


@functools.cache
def secrets(name):
    """The lines that only solutions and hidden tests of the notebook have."""
    told = {
        line
        for cell in COURSE[name]["cells"]
        if HIDDEN & set(editions.tags(cell))
        for line in said(cell)
    }
    return {line for line in told if line not in shown()}


# ---------------------------------------------------------------- nothing leaks


def readable(path):
    """The texts in a file: of an archive those of its members, of a compressed file what is in it,
    of a repository all its objects.
    """
    content = path.read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return [archive.read(name).decode(errors="replace") for name in archive.namelist()]
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    return [content.decode(errors="replace")]


def leaks(texts, names=COURSE):
    """The lines of solutions that stand in one of the texts, be they written as text, as JSON or as
    HTML.
    """
    found = []
    for where, text in texts:
        plain = (
            text
            + html.unescape(re.sub(r"<[^>]*>", "", text))
            + text.replace('\\"', '"').replace("\\\\", "\\")
        )
        found += [(where, line) for name in names for line in secrets(name) if line in plain]
    return found


@pytest.fixture(scope="module")
def held_back(tmp_path_factory):
    """The site before the release of any solution."""
    target = tmp_path_factory.mktemp("held-back")
    built = build_site(ROOT, target, "-D", "course_solutions=none")
    assert built.returncode == 0, built.stderr
    return target / "html"


@every_notebook
def test_each_solution_says_something_that_a_search_can_find(name):
    for cell in cells(COURSE[name], "solution"):
        assert any(line in secrets(name) for line in lines(editions.source(cell))) or (
            cell["cell_type"] == "code" and cell["outputs"]
        ), editions.source(cell)
    assert len(secrets(name)) >= 2, FORM


@pytest.mark.claims(
    "Before that they stand neither in a page nor in a download, nor in the search."
)
def test_before_the_release_no_file_of_the_site_has_a_solution(held_back):
    made = ROOT / ".lite/app"
    jupyterlite = {
        held_back / "lite" / path.relative_to(made) for path in made.rglob("*")
    }  # it was there before a notebook was read
    files = [path for path in held_back.rglob("*") if path.is_file() and path not in jupyterlite]
    assert not jupyterlite or any(path.parent == held_back / "lite/files" for path in files), (
        "what runs in the browser is looked at"
    )
    assert any(path.suffix == ".zip" for path in files) and any(
        path.read_bytes()[:2] == b"\x1f\x8b" for path in files
    ), "the search index is looked at"
    assert (
        leaks([(path.relative_to(held_back), text) for path in files for text in readable(path)])
        == []
    )
    assert not list(held_back.glob("course/solutions*")) and not list(
        held_back.glob("course/after")
    )


@pytest.mark.claims(
    "what the page of a notebook shows behind a click, and ``solutions.zip``; as soon as you "
    "release them"
)
def test_a_page_has_released_solutions_behind_a_click(site):
    for name in COURSE:
        text = (site / f"notebooks/{name}.html").read_text(encoding="utf-8")
        assert len(
            re.findall(
                r'<div class="cell [^"]*tag_hide-cell[^"]*tag_solution|<div class="cell '
                r'[^"]*tag_solution[^"]*tag_hide-cell',
                text,
            )
        ) == sum(cell["cell_type"] == "code" for cell in cells(COURSE[name], "solution"))
        assert leaks([(name, text)], [name]), "the search for solutions sees them where they are"
        assert "tag_hidden-test" not in text and editions.sheet(name, COURSE[name]).parts[
            0
        ].note.split("\n")[0] not in html.unescape(text)


@pytest.mark.parametrize(
    "setting, says",
    [
        (list(COURSE)[:2], ""),
        ("some", "course.solutions is 'some'. Choose"),
        ([1], "course.solutions is [1]. Choose"),
        (["01-frist-notebook"], "names '01-frist-notebook', which is no notebook. Choose"),
    ],
)
@pytest.mark.claims('``solutions`` is ``"all"``, ``"none"``, or a list of notebooks.')
def test_a_wrong_choice_of_solutions_is_told(setting, says):
    said = editions.wrong_setting(setting, COURSE)
    assert (
        (says in said and said.endswith(f"a list of these: {', '.join(COURSE)}"))
        if says
        else said == ""
    )


def test_in_place_of_a_widget_stands_what_it_is():
    widget = {
        "output_type": "display_data",
        "metadata": {},
        "data": {editions.WIDGET: {"model_id": "1f2e"}, "text/plain": ["IntSlider(value=3)"]},
    }
    other = {"output_type": "stream", "name": "stdout", "text": ["3\n"]}
    notebook = {
        "cells": [
            {"cell_type": "code", "metadata": {}, "source": "slider", "outputs": [widget, other]}
        ],
        "metadata": {},
    }
    [shown, kept] = editions.page(notebook, True)["cells"][0]["outputs"]
    assert kept == other and list(shown["data"]) == ["text/markdown", "text/plain"]
    assert (
        shown["data"]["text/markdown"]
        == "*Here stands a widget (`IntSlider`). It needs a kernel: run this notebook in Jupyter.*"
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of `make class`, made twice."""
    folder = tmp_path_factory.mktemp("my class") / "editions"
    for _ in range(2):
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            assert editions.main([str(folder)]) == 0
        push = f"git -C {folder}/student.git push {FACTS.site.repository} {editions.BRANCH}"
        assert push in shown.getvalue()
    return folder


def git(repository, *command):
    return subprocess.run(
        ["git", "-C", repository, *command], check=True, capture_output=True
    ).stdout.decode(errors="replace")


@pytest.mark.claims("where ``make class`` says how to push it.")
@pytest.mark.claims(
    "instructor - all of it, with notes and hidden tests: ``make class`` puts it into "
    "``_build/class``, beside the others"
)
def test_the_student_edition_has_no_solution_in_its_history(made):
    """Nor in its files."""
    assert leaks([("zip", text) for text in readable(made / "student.zip")]) == []
    assert (
        leaks(
            [
                ("folder", path.read_text(encoding="utf-8"))
                for path in (made / "student").rglob("*")
                if path.is_file()
            ]
        )
        == []
    )
    everything = git(made / "student.git", "cat-file", "--batch", "--batch-all-objects")
    assert leaks([("git", everything)]) == [] and COURSE.keys() <= set(
        re.findall(r"([\w-]+)\.ipynb", git(made / "student.git", "ls-tree", "-r", "student"))
    )
    assert leaks([("solutions", text) for text in readable(made / "solutions.zip")])


def test_the_repository_goes_on_from_what_students_have(made, tmp_path):
    """Only if something has changed."""
    assert git(made / "student.git", "log", "--format=%s", "student").count("\n") == 1, (
        "made twice, changed once"
    )
    new = tmp_path / "new.git"
    editions.repository(new, {"README.html": "changed"}, [(made / "student.git", "student")])
    assert (
        git(new, "log", "--format=%P", "student").split()
        == git(made / "student.git", "log", "--format=%H", "student").split()
    )


def test_make_class_takes_a_folder_by_its_name_alone(tmp_path, monkeypatch):
    """As the Makefile names it; git is called in another one."""
    monkeypatch.chdir(tmp_path)
    assert editions.main(["editions"]) == 0
    assert "feedback.txt" in git(tmp_path / "editions/student.git", "ls-tree", "-r", "student")


def test_make_class_that_fails_leaves_the_last_editions(made, monkeypatch, capsys):
    name, notebook = next(iter(COURSE.items()))
    course = notebook["metadata"]["course"] | {"minutes": 1}
    wrong = notebook | {"metadata": notebook["metadata"] | {"course": course}}
    monkeypatch.setattr(editions, "load", lambda: {name: wrong})
    before = sorted(path.name for path in made.iterdir())
    with pytest.raises(SystemExit) as end:
        editions.main([str(made)])
    assert end.value.code == 1 and sorted(path.name for path in made.iterdir()) == before
    assert re.match(f"{name}: .*minutes together", capsys.readouterr().err)


# ---------------------------------------------------------------- a copy to work in


@pytest.mark.claims(
    "the notebooks without outputs and solutions, and the data. Each exercise has a cell to "
    "fill in, and below it a check that "
    "says ``Right.`` or what is off.",
    "An exercise has a cell for you, and below it a check that says whether you are right.",
)
@every_notebook
def test_a_students_copy_is_clean_with_stubs_and_checks(name):
    """One of each for each exercise."""
    student = editions.student(COURSE[name], SITE)
    kinds = [
        next((tag for tag in ("exercise", "stub", "check") if tag in editions.tags(cell)), "")
        for cell in student["cells"]
    ]
    count = kinds.count("exercise")
    assert [kind for kind in kinds if kind] == ["exercise", "stub", "check"] * count, FORM
    assert count >= 2, FORM
    jobs = "slurm" in COURSE[name]["metadata"]["course"]["needs"]
    assert not any(
        cell.get("outputs") or cell.get("execution_count")
        for cell in student["cells"][kinds.index("exercise") if jobs else 0 :]
    )
    assert not {"solution", "instructor", "hidden-test", "hide-cell"} & {
        tag for cell in student["cells"] for tag in editions.tags(cell)
    }
    for cell in student["cells"]:
        text = editions.source(cell)
        if cell["cell_type"] == "markdown":
            assert not re.search(r"(?<!`)\{\w+\}`|^:::|^```\{|\{\{", text, re.MULTILINE), (
                "raw MyST would show in JupyterLab"
            )
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                assert target.startswith("http") or target.split("#")[0] in editions.student_files(
                    COURSE, SITE, FACTS.in_words()
                ), target


def test_links_of_a_students_copy_lead_to_pages_that_it_has(site):
    """The links to the guide."""
    found = {
        target
        for notebook in COURSE.values()
        for cell in editions.student(notebook, SITE)["cells"]
        if cell["cell_type"] == "markdown"
        for target in re.findall(rf"\]\({re.escape(SITE)}([^)\s]+)\)", editions.source(cell))
    }
    assert len(found) >= 4
    assert [target for target in found if not (site / target.split("#")[0]).exists()] == []


def ran(name, tmp_path, request, solved=0, answers=()):
    """The cells of a student's copy with so many exercises solved, run where the runner runs
    notebooks; `answers` are tried before the solutions. What needs Slurm runs on the small Triton.
    """
    folder = tmp_path / "course"
    copy = editions.student(COURSE[name], SITE, solved)
    editions.write(folder, editions.student_files(COURSE, SITE, FACTS.in_words()))
    editions.write(
        folder,
        {f"{name}.ipynb": editions.ipynb(copy | {"cells": with_answers(copy["cells"], answers)})},
    )
    if "slurm" in COURSE[name]["metadata"]["course"]["needs"]:
        return ran_on_triton(name, folder, request.getfixturevalue("triton"))
    metadata = COURSE[name]["metadata"]
    longer = metadata["course"] | {"seconds": metadata["course"]["seconds"] + 5 * len(answers)}
    notebook = catalogue.StoredNotebook(
        name, folder / f"{name}.ipynb", folder, metadata | {"course": longer}
    )
    surroundings = changes.Surroundings()
    if (absent := requirements.missing(catalogue.load([name])[0], surroundings)) and absent[
        0
    ] == "skipped":
        pytest.skip(absent[1])
    with warnings.catch_warnings():  # of bash_kernel's description; here they would be errors
        warnings.simplefilter("ignore")
        return refresh.executed(notebook, surroundings, stop=False).cells


RUN_THERE = """
import json, sys
from pathlib import Path
import nbformat
from tools.validate import catalogue, changes, refresh
folder = Path("../course").resolve()
metadata = json.loads(sys.stdin.read())
metadata["course"]["seconds"] = 1800  # many answers, one after the other
path = folder / (sys.argv[1] + ".ipynb")
notebook = catalogue.StoredNotebook(sys.argv[1], path, folder, metadata)
print(nbformat.writes(refresh.executed(notebook, changes.Surroundings(), stop=False)))
"""


def ran_on_triton(name, folder, triton):
    """The cells of the notebook `name` in `folder`, run on the login node of the small Triton."""
    user = triton.account()
    check_out(triton, user)
    packed = subprocess.run(
        ["tar", "--create", f"--directory={folder}", "."], capture_output=True, check=True
    )
    unpack = "mkdir $WRKDIR/course && tar --extract --no-same-owner --directory=$WRKDIR/course"
    subprocess.run(triton.command("login", unpack, user), input=packed.stdout, check=True)
    python = f"{FACTS.paths.jupyter_env}/bin/python"
    done = triton.run(
        "login",
        f"cd $WRKDIR/guide && {python} -c {shlex.quote(RUN_THERE)} {name}",
        user,
        input=json.dumps(COURSE[name]["metadata"]),
        timeout=1800,
    )
    return nbformat.reads(done.stdout, as_version=4).cells


def with_answers(cells, answers):
    """The cells, and before the first solution of an exercise the cells of each answer to it,
    followed by the exercise's check, which knows the answer by its metadata.
    """
    exercises = [place for place, cell in enumerate(cells) if "exercise" in editions.tags(cell)]
    for number, begin in reversed(list(enumerate(exercises, 1))):
        first = next(
            place
            for place in range(begin, len(cells))
            if {"solution", "stub"} & set(editions.tags(cells[place]))
            and cells[place]["cell_type"] == "code"
        )
        check = next(cell for cell in cells[begin:] if "check" in editions.tags(cell))
        tried = []
        for answer in (answer for answer in answers if answer["exercise"] == number):
            sources = re.split(r"^# %%\n", answer["answer"].strip(), flags=re.MULTILINE)
            given = [check | {"source": source, "metadata": {}} for source in sources]
            judge = check | {"metadata": {"tags": ["checks"], "answer": answer}}
            for cell in [*given, judge]:
                tried.append(cell | {"id": f"tried-{len(cells)}-{len(tried)}"})
        cells = cells[:first] + tried + cells[first:]
    return cells


def text_of(cell):
    return " ".join(output.get("text", "") or output.get("evalue", "") for output in cell.outputs)


def failure(cell):
    return next((output for output in cell.outputs if output.output_type == "error"), None)


def turned_away(check, answer):
    """The check has told in a sentence of its own what is off."""
    said = text_of(check)
    assert failure(check), (
        f"this check lets an answer through that is wrong, {answer}: {check.source}"
    )
    assert failure(check).ename in ("AssertionError", "", "ERROR") and not re.search(
        r"not found|No such|is not defined", said
    ), f"{answer}: {failure(check).ename} {said}\n{check.source}"
    assert len(said.split()) >= 4 and "Right." not in said, said


@every_notebook
def test_a_check_fails_on_the_empty_stub_with_a_sentence(name, tmp_path, request):
    """Nothing else fails."""
    for cell in ran(name, tmp_path, request):
        if cell.cell_type == "code" and "check" in cell.metadata.get("tags", []):
            turned_away(cell, "empty")
        elif cell.cell_type == "code" and "raises-exception" not in cell.metadata.get("tags", []):
            assert not failure(cell), f"{failure(cell).evalue}\n{cell.source}"


@every_notebook
def test_each_exercise_has_right_answers_and_usual_mistakes(name):
    """At least three of the right ones, but where the data say why there are fewer."""
    few = {(each["notebook"], each["exercise"]) for each in ANSWERS["fewer-right"] if each["why"]}
    for exercise in range(1, editions.exercises(COURSE[name]) + 1):
        given = [answer for answer in ANSWERS[name] if answer["exercise"] == exercise]
        right = sum("right" in answer for answer in given)
        assert (right < 3) == ((name, exercise) in few), (
            f"{name}, {exercise}: {right} right answers"
        )
        assert len(given) - right >= 5, f"{name}, {exercise}: too few wrong answers"


@every_notebook
def test_checks_tell_right_answers_from_wrong_ones(name, tmp_path, request):
    """Each check takes right answers and turns wrong ones away, and with the solutions the whole
    notebook runs.
    """
    assert name in ANSWERS, f"{name} has no answers: put some into tests/data/answers.toml"
    checks, given = 0, ANSWERS[name]
    assert {answer["exercise"] for answer in given} == set(
        range(1, editions.exercises(COURSE[name]) + 1)
    )
    for cell in ran(name, tmp_path, request, editions.exercises(COURSE[name]), given):
        kinds = cell.metadata.get("tags", [])
        if "checks" in kinds and "wrong" in cell.metadata.answer:
            turned_away(cell, cell.metadata.answer.wrong)
            assert cell.metadata.answer.get("says", "") in text_of(cell), (
                f"this hint does not fit, {cell.metadata.answer.wrong}: {text_of(cell)}"
            )
        elif cell.cell_type == "code" and "raises-exception" not in kinds:
            assert not failure(cell), f"{text_of(cell)}\n{cell.source}"
        if ("checks" in kinds and "right" in cell.metadata.answer) or "check" in kinds:
            checks += 1
            assert "Right." in text_of(cell), f"{text_of(cell)}\n{cell.source}"
    assert checks == editions.exercises(COURSE[name]) + sum("right" in answer for answer in given)


# ---------------------------------------------------------------- the room


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("Show it.", "begin with its minutes"),
        ("5 minutes. Show it.", "its parts take 5 minutes together, and its header says 7"),
    ],
)
def test_missing_or_wrong_minutes_of_a_note_are_told(text, wrong):
    """Wrong are minutes that do not add up."""

    def markdown(source, *tags):
        return {"cell_type": "markdown", "metadata": {"tags": list(tags)}, "source": source}

    notebook = {
        "metadata": {"course": {"minutes": 7, "goal": "see"}},
        "cells": [markdown("# Title"), markdown("## Part"), markdown(text, "instructor")],
    }
    with pytest.raises(editions.CourseError, match=f"^mine: .*{wrong}"):
        editions.sheet("mine", notebook)


@pytest.mark.claims("a few of each notebook, for the screen, linked from the run sheet.")
@pytest.mark.claims(
    "It says for each notebook what to do in the room, how long each part takes, what to "
    "ask, and where people get stuck."
)
def test_the_run_sheet_has_each_part_with_minutes_and_note(site):
    page = (site / "notebooks/teaching.html").read_text(encoding="utf-8")
    assert all(f"course/slides/{name}.html" in page for name in COURSE)
    text = html.unescape(re.sub(r"<[^>]+>", "", page))
    for name, notebook in COURSE.items():
        sheet = editions.sheet(name, notebook)
        assert (
            sheet.goal in text
            and sum(part.minutes for part in sheet.parts)
            == notebook["metadata"]["course"]["minutes"]
        )
        assert len([part for part in sheet.parts if part.note]) >= len(sheet.parts) - 2, (
            "each part but tidying up and the key points has a note"
        )
        for part in sheet.parts:
            assert part.title in text
    assert leaks([("run sheet", text)]) == []


@pytest.mark.claims("Students have them in a file beside the notebooks.")
def test_students_have_the_questions_that_instructors_ask(site):
    files = editions.student_files(COURSE, SITE, FACTS.in_words())
    questions = re.findall(r"^\d\. (.+)$", files["feedback.txt"], re.MULTILINE)
    page = BeautifulSoup(
        (site / "notebooks/teaching.html").read_text(encoding="utf-8"), "html.parser"
    )
    shown = page.select_one("#afterwards").get_text()
    assert len(questions) >= 5 and all(question in shown for question in questions)


@pytest.mark.claims(
    "The minutes are teaching time. The seconds are what a machine took for the cells of a "
    "part, in the last run."
)
def test_the_run_sheet_adds_up_what_the_cells_of_a_part_take():
    name = next(iter(COURSE))
    sheet = editions.sheet(name, COURSE[name])
    assert sum(part.seconds for part in sheet.parts) == pytest.approx(
        sum(COURSE[name]["metadata"]["measured"]["cells"])
    )


# A wall, a phone: width, height, and the smallest letters in pixels.
WALL = 1280, 720, 15
SIZES = [WALL, (390, 844, 11)]
LOOK = (ROOT / "tests/data/slide_faults.js").read_text(encoding="utf-8").rstrip().rstrip(";")
MOST_WORDS = 40  # besides code


@pytest.fixture(scope="module")
def decks(browser, address):
    """A function that opens the slides of a notebook in a window of a size, and one page for all
    that it is asked for.
    """
    opened = browser.new_page(reduced_motion="reduce")
    opened.faults = []
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((address, "data:"))
            else opened.faults.append(request.url)
        ),
    )

    def show(name, width, height):
        opened.set_viewport_size({"width": width, "height": height})
        opened.goto(f"{address}/course/slides/{name}.html")
        opened.wait_for_function("window.Reveal && Reveal.isReady()")
        return opened

    yield show
    opened.close()


def contact_sheet(pictures, target):
    """Write all slides of a notebook, small, into one picture: for who changes the course."""
    small, columns = (480, 270), 4
    size = small[0] * columns, small[1] * -(-len(pictures) // columns)
    sheet = Image.new("RGB", size, "grey")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        shown = Image.open(io.BytesIO(picture)).resize(small)
        sheet.paste(shown, (column * small[0], row * small[1]))
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target)


@needs_chromium
@pytest.mark.parametrize("width, height, smallest", SIZES)
def test_each_slide_is_seen_whole_and_large(width, height, smallest, decks):
    """What a person sees: the slide is in the window and takes most of it, its text is visible,
    nothing is cut, and it is short.
    """
    wrong, seen = [], 0
    for name in COURSE:
        opened, pictures = decks(name, width, height), []
        for number in range(opened.evaluate("Reveal.getTotalSlides()")):
            opened.evaluate(f"Reveal.slide({number})")
            seen += 1
            if width == WALL[0]:
                pictures.append(opened.screenshot(type="jpeg"))
            wrong += [
                f"{name}, slide {number + 1}: {fault}"
                for fault in opened.evaluate(LOOK, {"smallest": smallest})
            ]
            words = (
                opened.locator("section.present section.present")
                .locator(":is(p, li):not(aside *)")
                .all_inner_texts()
            )
            if (count := len(" ".join(words).split())) > MOST_WORDS:
                wrong.append(
                    f"{name}, slide {number + 1}: {count} words, of which nobody reads more "
                    f"than {MOST_WORDS} from a wall"
                )
        assert opened.faults == [], "nothing comes from elsewhere"
        if pictures:
            contact_sheet(pictures, ROOT / f"_build/slides/{name}.webp")
    assert seen >= 2 * len(COURSE) and not wrong, "\n".join(wrong)


@needs_chromium
@pytest.mark.parametrize(
    "scheme, chosen, dark",
    [("light", "", False), ("dark", "", True), ("dark", "light", False), ("light", "dark", True)],
)
def test_slides_have_the_colours_that_the_pages_have(scheme, chosen, dark, page):
    """Those of the system, until the reader presses the button of a page."""
    opened = page("index.html", color_scheme=scheme)
    opened.evaluate("chosen => localStorage.theme = chosen", chosen)
    opened.goto(opened.url.replace("index.html", "course/slides/07-measure.html"))
    background = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(22, 25, 29)" if dark else "rgb(255, 255, 255)")


@pytest.mark.claims("The key S shows your notes.")
@needs_chromium
def test_the_speaker_sees_slide_next_slide_and_notes(page):
    opened = page("course/slides/01-first-notebook.html#/1")
    opened.wait_for_function("window.Reveal && Reveal.isReady()")
    with opened.expect_popup() as other:
        opened.keyboard.press("s")
    speaker = other.value
    speaker.locator(".speaker-controls-notes .value", has_text="minutes.").wait_for()
    for number, heading in (("current", "The kernel remembers"), ("upcoming", "The order counts")):
        frame = speaker.frame_locator(f"#{number}-slide iframe")
        box = frame.get_by_role("heading", name=heading).bounding_box()
        whole = speaker.locator(f"#{number}-slide").bounding_box()
        assert (
            box["width"] > whole["width"] / 3
            and whole["y"] < box["y"] < whole["y"] + whole["height"]
        ), (number, box, whole)
    assert opened.faults == []


def test_slides_hold_the_stored_outputs_and_no_solution():
    files = slides.pages(COURSE, SITE)
    for name, notebook in COURSE.items():
        kinds = slides.types(notebook)
        shown = [
            cell
            for cell, kind in zip(notebook["cells"], kinds, strict=True)
            if kind in ("slide", "-")
        ]
        text = BeautifulSoup(files[f"{name}.html"], "html.parser").get_text()
        for output in (
            output for cell in shown if cell["cell_type"] == "code" for output in cell["outputs"]
        ):
            stored = (
                output.get("text")
                or output.get("data", {}).get("text/plain")
                or f"{output['ename']}: {output['evalue']}"
            )
            assert "".join(stored).strip() in text, name
        assert (
            not any({"solution", "hidden-test"} & set(editions.tags(cell)) for cell in shown)
            and "slide" in kinds[1:]
            and "notes" in kinds
        )


@pytest.mark.claims(
    ":guilabel:`Present`, or the key P, makes a page large and takes the menu away. Each "
    "exercise has a timer then."
)
@needs_chromium
def test_a_page_is_presented_at_a_key_with_a_timer(page):
    """The timer tells when the time is up."""
    name = next(iter(COURSE))
    opened = page(f"notebooks/{name}.html")
    size = "parseFloat(getComputedStyle(document.querySelector('.cell pre')).fontSize)"
    before = opened.evaluate(size)
    opened.clock.install()
    opened.clock.pause_at(
        datetime.datetime.now() + datetime.timedelta(hours=1)
    )  # or a slow machine's own seconds count too
    opened.keyboard.press("p")
    assert opened.evaluate(size) > 1.4 * before and not opened.locator("#menu").is_visible()
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    timer = opened.locator(".timer").first
    minutes = next(
        part.minutes for part in editions.sheet(name, COURSE[name]).parts if part.exercise
    )
    assert timer.inner_text() == f"{minutes}:00"
    timer.click()
    opened.clock.run_for(61_000)
    assert timer.inner_text() == f"{minutes - 2}:59"
    timer.click()
    opened.clock.run_for(600_000)
    assert timer.inner_text() == f"{minutes - 2}:59", "held"
    timer.click()
    opened.clock.run_for(600_000)
    assert timer.inner_text() == "Time is up"
    timer.click()
    assert timer.inner_text() == f"{minutes}:00"
    opened.reload()
    assert not opened.locator("#menu").is_visible(), "it stays as it is on the next page"
    opened.get_by_role("button", name="Present").click()
    assert opened.locator("#menu").is_visible() and opened.evaluate(size) == before


def test_what_explains_a_solution_is_behind_a_click_too(site):
    """As the code of the solution is."""
    texts = 0
    for name, notebook in COURSE.items():
        page = BeautifulSoup(
            (site / f"notebooks/{name}.html").read_text(encoding="utf-8"), "html.parser"
        )
        for folded in page.select("details"):
            folded.extract()
        open_text = " ".join(page.main.get_text().split())
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown" and "solution" in editions.tags(cell):
                begin = " ".join(editions.source(cell).split("`")[0].split())[:40]
                assert begin not in open_text, f"{name}: {begin}"
                texts += 1
    assert texts > 2


@needs_chromium
def test_each_button_of_each_notebook_leads_to_its_file(page, site):
    for name in COURSE:
        opened = page(f"notebooks/{name}.html")
        there = {text.strip() for text in opened.locator("a, button").all_inner_texts()}
        for number, role, names in pages.controls("notebooks/teaching.rst"):
            assert role == "menuselection" or names[0] in there, (
                f"notebooks/teaching.rst:{number}: the page of a notebook has no {names[0]!r}"
            )
        line = opened.locator(".notebook-facts")
        for text, file in (
            ("Download", f"{name}.ipynb"),
            ("as text", f"{name}.md"),
            ("solved", f"solutions/{name}.ipynb"),
        ):
            with opened.expect_download() as saved:
                line.get_by_role("link", name=text).click()
            assert Path(saved.value.path()).read_bytes() == (site / "course" / file).read_bytes()
        launch = line.get_by_role("link", name=f"Open on {FACTS.cluster.name}").get_attribute(
            "href"
        )
        assert (
            launch.startswith(f"https://{FACTS.hosts.hub}/hub/user-redirect/git-pull?")
            and f"{name}.ipynb" in launch
        )  # opened in test_hub.py
        for runs in line.get_by_role(
            "link", name="Run in the browser"
        ).all():  # opened in test_in_browser.py
            assert (
                opened.request.get(urljoin(opened.url, runs.get_attribute("href"))).ok
                and (site / f"lite/files/{name}.ipynb").exists()
            )


def test_what_a_notebook_needs_is_said_before_one_begins(site):
    """On its card and in the table of the course."""

    def read(page):
        return BeautifulSoup((site / page).read_text(encoding="utf-8"), "html.parser")

    table = {
        row.a["href"]: row.get_text(" ")
        for row in read("notebooks/index.html").main.table.tbody.find_all("tr")
    }
    assert list(table) == [f"{name}.html" for name in COURSE]
    words = {"slurm": "a cluster with Slurm", "nbdime": "git and nbdime", "r": "R"}
    for name, notebook in COURSE.items():
        card = read(f"notebooks/{name}.html").select_one(".notebook-facts").get_text(" ")
        for need in notebook["metadata"]["course"]["needs"]:
            assert words[need] in card and words[need] in table[f"{name}.html"], name
        assert ("needs" in card) == bool(
            {"slurm", "nbdime"} & {*notebook["metadata"]["course"]["needs"]}
        )


def minutes_of(clock):
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


@pytest.mark.claims(
    "The minutes are those of the notebooks, of which more than a third is for exercises.",
    "No more than about an hour lies between two breaks, since nobody listens longer.",
)
def test_the_schedules_have_the_notebooks_minutes_and_breaks(site):
    soup = BeautifulSoup((site / "notebooks/teaching.html").read_text("utf-8"), "html.parser")
    [heading] = [title for title in soup.find_all("h2") if "Half a day" in title.text]
    days = heading.parent.find_all("table")
    assert len(days) == 2
    for day in days:
        rows = [row.find_all("td") for row in day.tbody.find_all("tr")]
        now, since_break = minutes_of("9:00"), 0
        for time, what, minutes in rows[:-1]:
            assert minutes_of(time.text) == now
            if what.a:
                name = what.a["href"].removesuffix(".html")
                assert int(minutes.text) == COURSE[name]["metadata"]["course"]["minutes"]
            since_break = (
                0 if what.text.strip() in ("Break", "Lunch") else since_break + int(minutes.text)
            )
            assert since_break <= 65, f"{what.text}: nobody listens so long"
            now += int(minutes.text)
        assert minutes_of(rows[-1][0].text) == now
        assert sum(bool(row[1].a) for row in rows) >= 5
    parts = [part for name in COURSE for part in editions.sheet(name, COURSE[name]).parts]
    exercises = sum(part.minutes for part in parts if part.exercise)
    assert exercises > sum(part.minutes for part in parts) / 3


# ---------------------------------------------------------------- catching up


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The address of the states after each exercise, of all notebooks but the last."""
    served = tmp_path_factory.mktemp("served")
    editions.write(served, editions.published(COURSE, SITE, FACTS.in_words(), list(COURSE)[:-1]))
    handler = functools.partial(Quiet, directory=served)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/after"
        server.shutdown()


@pytest.fixture
def desk(published, tmp_path):
    """(what runs `catch_up` with the published states, a student's folder)"""
    folder = tmp_path / "my course"
    editions.write(folder, editions.student_files(COURSE, SITE, FACTS.in_words()))
    return functools.partial(catch_up, folder, "--from", published), folder


def catch_up(folder, *arguments, **options):
    """From another folder, as in a notebook that has gone elsewhere."""
    return subprocess.run(
        [sys.executable, folder / "catch_up.py", *arguments],
        cwd="/",
        capture_output=True,
        text=True,
        **options,
    )


@pytest.mark.claims(
    "brings notebook 03 to where the class is after exercise 2, once its solutions are out. "
    "What they had saved is kept under "
    "another name, so save first."
)
def test_catching_up_keeps_what_was_written(desk):
    """It brings the state after an exercise."""
    run, folder = desk
    name = "01-first-notebook"
    path = folder / f"{name}.ipynb"
    path.write_text("mine", encoding="utf-8")
    first = run("01", "2")
    assert first.returncode == 0 and f"{name}-mine-1.ipynb" in first.stdout, first.stderr
    got = json.loads(path.read_text(encoding="utf-8"))
    assert got == editions.student(COURSE[name], SITE, 2) and len(cells(got, "solution")) >= 2
    assert len(cells(got, "stub")) == editions.exercises(COURSE[name]) - 2
    assert run("01", "3").returncode == 0 and (folder / f"{name}-mine-2.ipynb").exists()
    assert (folder / f"{name}-mine-1.ipynb").read_text(encoding="utf-8") == "mine"


def test_catching_up_finds_the_notebook_beside_copies_of_it(desk):
    """JupyterLab's Duplicate makes NAME-Copy1, and whoever has removed a notebook gets it again."""
    run, folder = desk
    path = folder / "01-first-notebook.ipynb"
    path.rename(folder / "01-first-notebook-Copy1.ipynb")
    (folder / "01-f own notes.ipynb").write_text("")
    for argument in ("1", "01-f", "01-first-notebook", "my course/01-first-notebook.ipynb"):
        done = run(argument, "2")
        assert done.returncode == 0 and "You had none here" in done.stdout, done.stderr
        got = json.loads(path.read_text(encoding="utf-8"))
        assert got == editions.student(COURSE[path.stem], SITE, 2)
        path.unlink()


@pytest.mark.parametrize(
    "arguments, status, says",
    [
        (("01", "0"), 2, "The first exercise is 1"),
        (("01", "9"), 1, "has no exercise 9, or its solutions are not released yet"),
        ((list(COURSE)[-1], "1"), 1, "are not released yet"),
        (("99", "1"), 2, f"There are: {', '.join(COURSE)}."),
        (("01-first-notebook-Copy1", "1"), 2, "must be the name of one notebook"),
    ],
)
def test_what_cannot_be_caught_up_with_changes_nothing(desk, arguments, status, says):
    """It is told."""
    run, folder = desk
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = run(*arguments)
    assert done.returncode == status and says in done.stderr and "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_catching_up_without_network_or_room_changes_nothing(desk):
    """Without a place to write, that is."""
    run, folder = desk
    done = catch_up(folder, "01", "1", "--from", "http://127.0.0.1:9/after")
    assert (
        done.returncode == 1
        and "does not answer" in done.stderr
        and "Nothing was changed" in done.stderr
    )
    before = sorted(folder.iterdir())
    limited = run(
        "01", "1", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    )  # as on a full disk
    assert (
        limited.returncode == 1
        and "cannot be written" in limited.stderr
        and "as it was" in limited.stderr
    ), limited.stderr
    assert sorted(folder.iterdir()) == before

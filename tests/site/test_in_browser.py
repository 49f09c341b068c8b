"""A notebook runs in the reader's browser, without an account and without another host. Its code
decides whether it can.
"""

import _imp
import importlib.util
import json
import re
import subprocess
import sys
import time
import zipfile

import pytest

from tools.browser import needs_chromium
from tools.course import editions, in_browser
from tools.files import ROOT
from triton.lib import clusterfacts

APP = ROOT / ".lite/app"
spec = importlib.util.spec_from_file_location("make", ROOT / "tools/lite/make.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)
HAVE = in_browser.packages(APP)
FACTS = clusterfacts.load(ROOT / "triton/facts.toml")
SITE = FACTS.site.url
COURSE = editions.load()
MEGABYTES, SECONDS = 40, 120  # seconds to the first output; other programs may use this machine too


# ---------------------------------------------------------------- notebooks that can run there


def notebook(*codes, needs=(), language="python", drawn=(), tags=()):
    """A notebook with a title and cells with these codes. The cells whose numbers are in `drawn`
    have a picture as output, and `tags`.
    """
    cells = [
        {
            "cell_type": "code",
            "id": f"c{number}",
            "metadata": {"tags": list(tags) if number in drawn else []},
            "source": code,
            "outputs": [{"data": {"image/png": "iVBO\n"}}] if number in drawn else [],
        }
        for number, code in enumerate(codes)
    ]
    return {
        "cells": [{"cell_type": "markdown", "metadata": {}, "source": "# Title"}, *cells],
        "metadata": {
            "course": {"needs": list(needs)},
            "kernelspec": {"display_name": "Bash", "language": language},
        },
    }


@pytest.mark.parametrize(
    "codes, lacks",
    [
        (["import csv, json\nfrom os import path"], set()),
        (["def plot():\n    import matplotlib.pyplot as plt"], {"matplotlib"}),
        (["from numpy.linalg import norm"], {"numpy"}),
        (["import subprocess"], {"subprocess"}),
        (["import IPython, traitlets"], set()),
        (["%%writefile mine.py\nx = 1", "import mine"], set()),
        (["%load_ext autoreload\nimport numpy"], {"numpy"}),
        (["for one in range(3):\n    !ls"], {"a shell"}),
        (["%%bash\nls"], {"a shell"}),
        (["text = '!important'\nprint(text != '')"], set()),
        (["this is no Python"], set()),
    ],
)
@pytest.mark.claims("A package in pure Python runs, if the guide brings it.")
def test_the_code_shows_what_a_browser_lacks(codes, lacks):
    assert in_browser.edition(notebook(*codes), SITE, {"IPython", "traitlets"}).lacks == lacks


def test_needs_and_another_language_keep_a_notebook_out():
    """A notebook can declare what it needs, or be in a language other than Python."""
    assert in_browser.edition(notebook("1", needs=["slurm"]), SITE, set()).lacks == {"slurm"}
    assert in_browser.edition(notebook("echo 1", language="bash"), SITE, set()).lacks == {
        "the kernel Bash"
    }


@pytest.mark.parametrize(
    "later, tags, lacks",
    [
        ("print(1)", [], set()),
        ("for x in [1]:\n    print(x)", [], set()),
        ("print(x)", [], {"numpy"}),
        ("print(1)", ["check"], {"numpy"}),
    ],
)
def test_a_cell_becomes_the_picture_that_it_drew(later, tags, lacks):
    """It does so only if no later cell needs it."""
    new = in_browser.edition(
        notebook("import numpy\nx = numpy.pi", later, drawn=[0], tags=tags), SITE, set()
    )
    assert new.lacks == lacks and new.pictured == {"numpy"} - lacks
    assert any(
        "data:image/png;base64,iVBO)" in editions.source(cell) for cell in new.notebook["cells"]
    ) is not bool(lacks)


# ---------------------------------------------------------------- notebooks in a browser

made = pytest.mark.skipif(
    HAVE is None, reason="what runs notebooks in the browser is not here: make lite"
)
EDITIONS = {
    name: found
    for name, found in (
        (name, in_browser.edition(one, SITE, set(HAVE or ()))) for name, one in COURSE.items()
    )
    if not found.lacks
}
CALM = """
import sys, traceback
sys.modules |= dict.fromkeys(sys.argv[1].split())
names = {"__name__": "__main__"}
for code, fails in CELLS:
    try:
        exec(compile(code, "cell", "exec"), names)
    except Exception:
        if not fails: raise
"""


@pytest.mark.claims(
    "Python's standard library is there, but no other program can be started, which is "
    "what subprocess is for: no shell, no git, "
    "no Slurm."
)
@pytest.mark.parametrize("name", EDITIONS)
def test_a_solved_notebook_needs_the_standard_library_only(name, tmp_path):
    """It runs in a Python without packages, and without the modules that browsers lack."""
    solved = editions.student(EDITIONS[name].notebook, SITE, editions.exercises(COURSE[name]))
    cells = [
        (editions.source(cell), "raises-exception" in editions.tags(cell))
        for cell in solved["cells"]
        if cell["cell_type"] == "code"
    ]
    editions.write(tmp_path, editions.data_files())
    completed = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"CELLS = {cells!r}{CALM}",
            " ".join(in_browser.NOT_THERE),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.count("Right.") == editions.exercises(COURSE[name])


@made
def test_what_python_imports_at_its_start_is_compiled():
    """It is compiled from the source beside it."""
    compiled = 0
    for archive in (APP / "static/pyodide").iterdir():
        for name in (
            zipfile.ZipFile(archive).namelist() if archive.suffix in (".zip", ".whl") else ()
        ):
            if name.endswith(".pyc"):
                pyc, source = (
                    zipfile.ZipFile(archive).read(each) for each in (name, make.source(name))
                )
                magic, flags, hash_of_source = (
                    int.from_bytes(pyc[:4], "little"),
                    int.from_bytes(pyc[4:8], "little"),
                    pyc[8:16],
                )
                assert flags == 1 and hash_of_source == _imp.source_hash(magic, source), (
                    f"{archive.name}: {name} is compiled of another source, or looks for it"
                )
                compiled += 1
    assert compiled > 300


def run_cell(opened, number):
    """Start the code cell with this number, and return as soon as it runs."""
    cell = opened.locator(".jp-CodeCell").nth(number)
    for _ in range(SECONDS // 2):  # a kernel that is not ready yet ignores the command
        cell.locator(".cm-content").click(timeout=SECONDS * 1000)
        opened.keyboard.press("Shift+Enter" if number == 0 else "Control+Enter")
        opened.wait_for_timeout(2000 if number == 0 else 200)
        if cell.locator(".jp-InputPrompt").inner_text().strip(": ") != "[ ]":
            break
    return cell


def assert_what_is_written_stays_in_this_browser(browser, context, opened):
    """Write into the first cell, save, and read it again here and in another browser."""
    first = opened.locator(".jp-CodeCell .cm-content").first
    first.click()
    opened.keyboard.press("Control+End")
    opened.keyboard.type("  # what I wrote")
    opened.keyboard.press("Control+s")
    opened.wait_for_timeout(2000)
    anew = browser.new_context()  # like a browser whose data were deleted
    for where, kept in ((context, True), (anew, False)):
        again = where.new_page()
        again.goto(opened.url)
        cell = again.locator(".jp-CodeCell .cm-content").first
        cell.wait_for(timeout=SECONDS * 1000)
        again.wait_for_timeout(2000)
        assert ("# what I wrote" in cell.inner_text()) == kept
    anew.close()


@pytest.mark.claims(
    "You can try notebooks :doc:`online, with nothing installed "
    "</notebooks/in-the-browser>`; what you write stays in your "
    "browser."
)
@pytest.mark.claims(
    "You need no account and nothing installed, and nothing is sent anywhere: Python "
    "itself runs in your browser.",
    "Two clicks, and you have a notebook: choose one below, then press Shift-Enter in "
    "its first cell.",
    "What you write stays in this browser, on this computer: if you clear its data, your work is "
    "lost.",
    "The first start loads about 30 MB,",
)
@made
@needs_chromium
def test_a_click_on_a_notebooks_page_leads_to_a_running_one(browser, address, record_property):
    """No request goes to another host.

    The first notebook is a beginner's. Its cells print what the page of the guide shows.
    """
    name = "01-first-notebook"
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    others, failed, finished = [], [], []
    context.route(
        lambda url: not url.startswith((f"{address}/", "data:", "blob:")),
        lambda route: (others.append(route.request.url), route.abort()),
    )
    context.on("requestfinished", lambda request: finished.append(request))
    context.on(
        "response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None
    )
    opened = context.new_page()
    opened.goto(f"{address}/notebooks/{name}.html", wait_until="networkidle")
    assert not [request.url for request in finished if f"/{in_browser.FOLDER}/" in request.url], (
        "something of it is loaded before the click"
    )
    opened.get_by_role("link", name="Run in the browser").click()
    printed, clicked = [], time.monotonic()
    code = [cell for cell in EDITIONS[name].notebook["cells"] if cell["cell_type"] == "code"]
    reads = next(number for number, cell in enumerate(code) if "open(" in editions.source(cell))
    for number in range(reads + 1):
        cell = run_cell(opened, number)
        if code[number]["outputs"]:
            cell.locator(".jp-OutputArea-output").first.wait_for(timeout=SECONDS * 1000)
            if not printed:
                record_property(
                    "measured",
                    "Run in the browser: from the click to the first output of a cell "
                    f"{time.monotonic() - clicked:.0f} s, among other tests.",
                )
            cell.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for(
                timeout=SECONDS * 1000
            )  # the cell has ended and printed everything
            printed.append(
                (code[number], "\n".join(cell.locator(".jp-OutputArea-output").all_inner_texts()))
            )
    size = sum(
        request.sizes()["responseBodySize"]
        for request in finished
        if f"/{in_browser.FOLDER}/" in request.url
    )
    for cell, text in printed:
        for output in cell["outputs"]:
            assert "".join(output.get("text") or output["data"]["text/plain"]).strip() in text
    assert (
        len(printed) >= 3
        and others == []
        and failed == []
        and 10_000_000 < size < MEGABYTES * 1_000_000
    )
    assert_what_is_written_stays_in_this_browser(browser, context, opened)
    context.close()


@pytest.mark.claims("those are not to be had where this guide gets its packages.")
@made
def test_the_page_says_which_run_and_what_the_others_lack(site):
    """Every notebook is in one of its lists."""
    text = (site / "notebooks/in-the-browser.html").read_text(encoding="utf-8")
    assert not {"numpy", "pandas", "matplotlib"} & set(HAVE), "the page says that these are missing"
    rows = re.findall(r"<tr.*?</tr>", text, re.DOTALL)[1:]
    assert len(rows) == len(COURSE) and {*EDITIONS} >= {"01-first-notebook", "02-hidden-state"}
    for (name, one), row in zip(COURSE.items(), rows, strict=True):
        page = (site / f"notebooks/{name}.html").read_text(encoding="utf-8")
        assert (
            (f"?path={name}.ipynb" in row)
            == (f"?path={name}.ipynb" in page)
            == (name in EDITIONS)
            == (site / f"lite/files/{name}.ipynb").exists()
        )
        lacks = in_browser.edition(one, SITE, set(HAVE)).lacks
        assert all(lack in row for lack in lacks) and ("no: it needs" in row) == bool(lacks)
    assert sum(path.stat().st_size for path in (site / "lite").rglob("*")) < MEGABYTES * 1_000_000


@made
def test_what_runs_in_the_browser_is_the_student_edition(site):
    """The student edition runs there even when the solutions are published."""
    for name in EDITIONS:
        cells = json.loads((site / f"lite/files/{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        assert not {"solution", "instructor", "hidden-test"} & {
            tag for cell in cells for tag in editions.tags(cell)
        } and not any(cell.get("outputs") for cell in cells)
        assert sum("stub" in editions.tags(cell) for cell in cells) == editions.exercises(
            COURSE[name]
        )

"""What the course and the pages on notebooks say is so: with the stored outputs, which nbval
compares, or with the program that they speak of.
"""

import csv
import json
import os
import re
import subprocess
import sys
from itertools import groupby, pairwise

import nbformat
import pytest
from jupytext.cli import jupytext as jupytext_command
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tools.course import editions
from tools.files import ROOT
from tools.validate import requirements

COURSE = {name.partition("-")[0]: notebook for name, notebook in editions.load().items()}
ROWS = list(
    csv.DictReader((ROOT / "notebooks/data/daylight.csv").read_text(encoding="utf-8").splitlines())
)
TOWNS = list(dict.fromkeys(row["town"] for row in ROWS))  # from south to north
HOURS = {town: [float(row["hours"]) for row in ROWS if row["town"] == town] for town in TOWNS}


def shows(number, words):
    """What the code cell of a notebook shows that has these words in its source; there is one."""
    [cell] = [
        cell
        for cell in COURSE[number]["cells"]
        if cell["cell_type"] == "code" and words in editions.source(cell)
    ]
    return "\n".join(
        "".join(
            output.get("text")
            or output.get("data", {}).get("text/plain")
            or f"{output.get('ename')}: {output.get('evalue')}"
        )
        for output in cell["outputs"]
    ).strip()


def gains(town):
    """By how many hours each day of a town is longer than the one before."""
    return [after - before for before, after in pairwise(HOURS[town])]


# ---------------------------------------------------------------- the page on git


@pytest.mark.claims(
    "keeps a notebook as two files with the same cells: ``analysis.ipynb`` with outputs, "
    "``analysis.md`` without.",
    "If you edited or merged the text, bring the notebook along, and run it again, since its "
    "outputs are the old ones:",
    "Do not leave that choice to ``jupytext --sync`` after a clone or a merge: it takes the "
    "file with the newer date, and git "
    "does not keep dates.",
    "With a pair, solve the conflict in ``analysis.md``, and make the notebook from it as above.",
)
def test_a_pair_of_jupytext_has_outputs_in_one_half(tmp_path):
    """Which half is newer, it tells by their dates."""
    notebook, text = tmp_path / "analysis.ipynb", tmp_path / "analysis.md"
    output = new_output("execute_result", {"text/plain": "the old output"}, execution_count=1)
    cells = [
        new_code_cell("1 + 1", id="one", execution_count=1, outputs=[output]),
        new_code_cell("2", id="two"),
    ]
    nbformat.write(new_notebook(cells=cells), notebook)

    def jupytext(*arguments):
        assert jupytext_command([*map(str, arguments), "--quiet"]) == 0

    jupytext("--set-formats", "ipynb,md:myst", notebook)
    assert text.read_text().count("{code-cell}") == 2 and "old output" not in text.read_text()
    text.write_text(text.read_text().replace("\n2\n", "\n2 + 2\n"))
    jupytext("--to", "ipynb", "--update", text)
    assert [cell.source for cell in nbformat.read(notebook, 4).cells] == ["1 + 1", "2 + 2"]
    assert "old output" in notebook.read_text()
    for newer, older, wins in ((text, notebook, "3"), (notebook, text, "2 + 2")):
        text.write_text(text.read_text().replace("2 + 2", "3"))
        notebook.write_text(notebook.read_text().replace('"3"', '"2 + 2"'))
        os.utime(older, (1_700_000_000,) * 2)
        os.utime(newer, (1_700_000_100,) * 2)
        jupytext("--sync", notebook)
        assert nbformat.read(notebook, 4).cells[1].source == wins
        assert f"\n{wins}\n" in text.read_text()


# ---------------------------------------------------------------- 01


@pytest.mark.claims(
    "The last line of a code cell is shown, if it has a value. Nothing else is, unless you "
    "print it."
)
def test_the_last_line_is_shown():
    assert (shows("01", "2 + 2\n40 + 2"), shows("01", "print(2 + 2)")) == ("42", "4\n42")


@pytest.mark.claims(
    "says for each day of 2026 how long the sun is up in five towns of Finland.",
    "All five curves cross twice, near 12 hours: at the equinox the day is equally long "
    "everywhere.",
    "You are right if the date is near Christmas and the day a little under six hours.",
    "You are right if only two towns have such days.",
    "how long the sun is up on each day of the year, in five towns.",
    "In the two northernmost towns they jump to more than 40 minutes, all on one day: that "
    "on which the midnight sun begins.",
    "The table has hundredths of an hour, and one of them is 0.6 minutes:",
    "You are right if only Utsjoki has such days.",
    "You are right if `dark Utsjoki` is greater than `dark Oulu`, and `dark Utsjoki 1` "
    "smaller than `dark Utsjoki`.",
)
def test_the_table_of_daylight_is_as_the_notebooks_say():
    assert {row["date"][:4] for row in ROWS} == {"2026"}
    assert all(re.fullmatch(r"\d+(\.\d\d?)?", row["hours"]) for row in ROWS)
    assert [len(hours) for hours in HOURS.values()] == [365] * 5
    latitudes = [float(row["latitude"]) for row in ROWS[::365]]
    assert latitudes == sorted(latitudes)

    def dark(town, limit):
        return sum(hours < limit for hours in HOURS[town])

    assert dark("Utsjoki", 6) > dark("Oulu", 6) and dark("Utsjoki", 1) < dark("Utsjoki", 6)
    assert [town for town in TOWNS if 0 in HOURS[town]] == ["Utsjoki"]
    shortest = min(HOURS["Helsinki"])
    [date, *_] = [row["date"] for row in ROWS if row["hours"] == str(shortest)]
    assert date[5:] in ("12-20", "12-21", "12-22", "12-23")
    assert 5.7 < shortest < 6
    hours_of_days = list(zip(*HOURS.values(), strict=True))
    alike = [day for day, hours in enumerate(hours_of_days) if max(hours) - min(hours) < 0.3]
    assert [spring for spring, _ in groupby(alike, key=lambda day: day < 180)] == [True, False]
    assert all(11 < hours < 13 for day in alike for hours in hours_of_days[day])
    assert [town for town in TOWNS if 24 in HOURS[town]] == TOWNS[-2:]
    for town in TOWNS[-2:]:
        day = gains(town).index(max(gains(town)))
        assert 60 * max(gains(town)) > 40
        assert HOURS[town][day + 1] == 24 > max(HOURS[town][: day + 1])


# ---------------------------------------------------------------- 02


@pytest.mark.claims(
    "A day of 79,000 minutes. The cell reads and writes the same name, so its result depends "
    "on how often it ran.",
    "You define a limit, use it, and then delete the cell that defined it. The kernel keeps "
    "the name. `del` shows what a restart "
    "would:",
    "There is only one list. `backup` is a second name for it, not a copy; `list(week)` "
    "would be one.",
    "Place 4 is where it left the order, and place 6 is where the old order shows again.",
)
def test_hidden_state_shows_what_it_says():
    twice = [
        cell
        for cell in COURSE["02"]["cells"]
        if editions.source(cell).startswith("hours = [value * 60")
    ]
    said = [
        int(re.search(r"(\d+) minutes", "".join(cell["outputs"][0]["text"]))[1]) for cell in twice
    ]
    assert len(said) == 2 and said[1] // 1000 == 79 and abs(said[1] - 60 * said[0]) <= 30
    assert shows("02", "week.append(999)") == "8 8"
    failed = [cell for cell in COURSE["02"]["cells"] if "raises-exception" in editions.tags(cell)]
    assert [cell["outputs"][0]["ename"] for cell in failed] == ["NameError"]
    assert shows("02", "guess = out_of_order([1, 2, 3, 7, 8, 6])") == "[4, 6]"
    week = [1]
    copy = list(week)
    week.append(2)
    assert copy == [1]


@pytest.mark.claims(
    "`jupyter nbconvert --execute --to notebook notebook.ipynb`. It stops at the first error that "
    "is not expected; in a copy of this notebook, at an exercise that is still empty."
)
def test_a_run_in_a_terminal_stops_at_an_empty_exercise(tmp_path):
    name = next(name for name in editions.load() if name.startswith("02"))
    editions.write(tmp_path, editions.data_files())
    (tmp_path / "notebook.ipynb").write_text(
        json.dumps(editions.student(editions.load()[name], "https://example.org/")),
        encoding="utf-8",
    )
    text = (ROOT / f"notebooks/{name}.md").read_text(encoding="utf-8")
    [typed] = re.findall("`jupyter (.* notebook.ipynb)`", text)
    command = [sys.executable, "-m", "jupyter", *typed.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "AssertionError" in done.stderr
    last = done.stderr.rpartition("AssertionError")[2]
    assert "NameError" not in last, "the error that is expected did not stop it"


# ---------------------------------------------------------------- 04


@pytest.mark.claims(
    "You are right if the numbers grow from south to north, and are greatest in Utsjoki.",
    "Three towns gain a little more each; the other two have their jump.",
    "The same number as above. And a wrong argument gives an answer instead of a wrong result:",
)
def test_what_the_notebook_on_batch_jobs_says_is_in_its_outputs():
    oulu = shows("04", "!python3 gains.py daylight.csv --town Oulu")
    assert oulu == shows("04", "up to {max(gains):.1f}")
    assert shows("04", "--town Atlantis").split("no rows for Atlantis")[1].split() == ["2"]
    greatest = [max(gains(town)) for town in TOWNS]
    assert greatest == sorted(greatest) and TOWNS[-1] == "Utsjoki"
    assert greatest[2] < 0.15 < greatest[3]


# ---------------------------------------------------------------- 05


@pytest.mark.claims(
    "`UU` means that both sides changed it.",
    "The conflict stands in its cell, between the marks: above `=======` yours, below it the "
    "other.",
    "Raise the limit to 20 and run the cell again: fewer days.",
    "Two changes, each where it is: the source of a cell, and an output.",
    "Both changes, and a notebook that opens.",
)
def test_what_the_notebook_on_git_says_is_in_its_outputs():
    marks = shows("05", '"<<<<<<<" in cell.source')
    assert marks.index("limit = 19") < marks.index("=======") < marks.index("limit = 22")
    assert "UU days.ipynb" in shows("05", "!git merge --quiet --no-edit stricter")
    assert sum(hours > 20 for hours in HOURS["Oulu"]) < sum(hours > 18 for hours in HOURS["Oulu"])
    readable = next(cell for cell in COURSE["05"]["cells"] if editions.source(cell) == "!git diff")
    assert re.findall(
        r"^## modified (\S+):", "".join(readable["outputs"][0]["text"]), re.MULTILINE
    ) == ["/cells/1/outputs/0/data/text/plain", "/cells/1/source"]
    assert shows("05", "print([cell.source for cell in merged.cells])").startswith(
        "['# Where it hardly gets dark', 'limit = 21"
    )


@pytest.mark.claims(
    "Where there is no `nbdime-git`, the shell says *not found*, and what stands behind `||` "
    "does it:",
    "plain nbdime keeps its settings in a file `.gitattributes` too, which you see in `git "
    "status`, and shows cells even where `git diff` goes into a file or a pipe;",
)
def test_the_notebook_on_git_works_with_plain_nbdime(tmp_path):
    """With nbdime, and without the cluster's command, no cell fails and each check is content."""
    if not requirements.NBDIFF.exists():
        pytest.skip("make .venv-nbdime installs nbdime")
    editions.write(tmp_path, editions.data_files())
    solved = editions.ipynb(editions.student(COURSE["05"], "https://example.org/", 9))
    notebook = nbformat.reads(solved, as_version=4)
    look = new_code_cell("!git status --short; git diff HEAD^2 | head -1")
    [end] = [at for at, cell in enumerate(notebook.cells) if "folder.cleanup()" in cell.source]
    notebook.cells.insert(end, look)
    elsewhere = os.environ | {
        "PATH": f"{requirements.NBDIME}/bin:/usr/bin:/bin",
        "HOME": str(tmp_path),
    }
    NotebookClient(notebook, resources={"metadata": {"path": tmp_path}}).execute(env=elsewhere)

    def said(cell):
        return "".join(output.get("text", "") for output in cell.outputs)

    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    [enabled] = [
        cell for cell in code if "nbdime-git enable" in cell.source and "tags" not in cell.metadata
    ]
    assert "not found" in said(enabled)
    checks = [said(cell) for cell in code if "check" in cell.metadata.get("tags", [])]
    assert checks == ["Right.\n"] * 2
    assert said(look).split()[:2] == ["??", ".gitattributes"] and "nbdiff" in said(look)


# ---------------------------------------------------------------- 06


@pytest.mark.claims(
    "Only a variable is filled in, from the environment of the Jupyter server. No shell ever "
    "sees the line, and no `.bashrc` either.",
    "What you define in one kernel does not exist in the other, even if both are the same "
    "Python. It is another process.",
    "The kernel belongs to the environment that it was installed *from*, by its absolute path.",
    "The cell came too late: it changed the variable, and nobody looked any more.",
    "Only the name and the command go; the environment behind them stays.",
    "Python picks a new seed for its hashes at each start, unless this says which;",
    "You are right if the same code finds 51 dark days with one kernel and none with the other.",
    "The pictures are for the launcher. What counts is one small file, and in it one line, "
    "the command that starts the kernel:",
)
@pytest.mark.claims("`ipykernel install` has an option `--env NAME VALUE`.")
def test_what_the_notebook_on_kernels_says_is_in_its_outputs():
    become = shows("06", 'TILDE="~/data"')
    assert re.sub(" +", " ", become).split("\n") == [
        "TILDE ~/data",
        "COMMAND $(echo hello)",
        "SUM $((1 + 1))",
        "BRACES (your home)/data",
    ]
    assert shows("06", "'town' in globals()") == "False"
    kernel, here = shows("06", 'print(spec["argv"][0])').split()
    assert kernel == here == shows("06", 'ask("course-demo", "import sys;') and kernel[0] == "/"
    assert re.findall(r": +(\w+)", shows("06", "set in a cell, same hash")) == ["False", "True"]
    assert "Utsjoki: 51 days" in shows(
        "06", "answers = {name: ask(name, code)"
    ) and "Helsinki: 0 days" in shows("06", "answers = {name: ask(name, code)")
    assert (
        "'.json'" in shows("06", "kinds of files")
        and "'.png'" in shows("06", "kinds of files")
        and int(re.search(r"json: (\d+) bytes", shows("06", "kinds of files"))[1]) < 2000
    )
    assert sum(hours == 0 for hours in HOURS["Utsjoki"]) == 51 and sys.executable, (
        "and the Python of the removed kernels runs this"
    )


# ---------------------------------------------------------------- 07


@pytest.mark.claims(
    "Eight bytes each. The type decides:",
    "A list of Python's own numbers is another matter: each is an object, and the list holds "
    "references to them.",
    "The numbers themselves are 8 MB.",
    "A table of all pairs grows with the square: twice as many towns, four times the memory.",
    "`tracemalloc` said 64 MB.",
    "What the whole process took, plus a quarter, rounded up to a number that people use.",
    "Slurm's `M` is 1024 times 1024 bytes, a little more than our MB, so you err on the safe side.",
    "`spread` takes twice what its numbers take.",
    "You are right if it is less than 10 MB.",
)
def test_what_the_notebook_on_measuring_says_is_in_its_outputs():
    assert shows("07", "numbers = np.zeros(10_000_000)") == "80.0 MB"
    as_list, as_array = map(int, re.findall(r"(\d+) MB", shows("07", "as a list")))
    assert as_array == 8 and as_list > 3 * as_array
    assert shows("07", "{peak_mb(spread, 1_000_000):.0f} MB") == "16 MB" and 1_000_000 * 8 == 8e6
    assert shows("07", "times the memory for twice the points").startswith("4 times")
    assert re.search(
        r"4,000,000 numbers: predicted +64 MB, measured +64 MB",
        shows("07", "predicted {guess:3.0f} MB"),
    )
    for peak, asked in re.findall(r"measured +(\d+) MB: --mem=(\d+)M", shows("07", "def ask_for")):
        assert 1.25 * int(peak) <= int(asked) < 1.25 * int(peak) + 100 and int(asked) % 100 == 0
    assert 1024 * 1024 > 10**6
    assert shows("07", 'print(f"{peak_mb(mean_distance, 4000)').startswith("0.")
    loop, quick = re.findall(r"([\d.]+) ms", shows("07", "def with_a_loop"))
    assert float(loop) > 5 * float(quick)
    one, four_million = re.findall(r"(\d+) MB", shows("07", "almost_nothing, all_of_it ="))
    assert 60 < int(four_million) - int(one) < 68


# ---------------------------------------------------------------- 09


@pytest.mark.claims(
    "A date is text until you say otherwise:",
    "`aggregate` splits the rows by town, and applies a function to each part.",
    "More, by up to twenty minutes a day:",
    "Rovaniemi, where the midwinter and midsummer sun only graze it, gets the most.",
    "R is forgiving: there is no column `houres`, so R gives `NULL`, and the sum of nothing "
    "is 0. A wrong result without a word.",
    "In brackets the same mistake is an error, which is better:",
    "You are right if it is a month of spring, with six or seven minutes.",
    "You are right if two bars are higher than nothing.",
)
@pytest.mark.claims("Compare with the first notebook: here the numbers are numbers at once.")
def test_what_the_notebook_on_r_says_is_in_its_outputs():
    assert re.search(r"\$ date +: chr", shows("09", "str(daylight)")) and re.search(
        r"\$ hours +: num", shows("09", "str(daylight)")
    )
    means = {town: sum(hours) / 365 for town, hours in HOURS.items()}
    assert len(shows("09", "longest <- aggregate").split("\n")) == 6
    assert (
        max(means, key=means.get) == "Rovaniemi"
        and 15 < 60 * (max(means.values()) - min(means.values())) <= 21
        and min(means, key=means.get) == TOWNS[0]
    )
    assert shows("09", "print(sum(daylight$houres))") == "[1] 0" and "undefined columns" in str(
        next(
            cell["outputs"]
            for cell in COURSE["09"]["cells"]
            if editions.source(cell).strip() == 'daylight[, "houres"]'
        )
    )
    month = re.search(r'\[1\] "(\d\d)"', shows("09", "by_month <- tapply"))[1]
    assert (
        2 <= int(month) <= 5
        and 6 <= max(map(float, re.findall(r"\d\.\d", shows("09", "by_month <- tapply")))) < 8
    )
    assert sum(24 in hours for hours in HOURS.values()) == 2


# ---------------------------------------------------------------- 10


@pytest.mark.claims(
    "`PENDING` is a job that waits, and the last word is the reason: `BeginTime` here.",
    "This program takes 300 MB, and its script asks for 100.",
    "With `--parsable` the command prints the number alone, and Python keeps the lines that it "
    "printed.",
    "The line `batch` is the script and what it started. The job asked for 1000 MB and took 300. "
    "With a quarter more than it took, 400 MB are right.",
)
def test_what_the_notebook_on_the_queue_says_is_in_its_outputs():
    assert shows("10", "squeue --me --name=later --format").endswith(" later PENDING BeginTime")
    assert re.fullmatch(r"\['\d+'\]", shows("10", "hungry = !sbatch"))
    assert re.search(r"hungry\.sh +OUT_OF_MEMORY +100M", shows("10", "{hungry[0]}"))
    table = shows("10", "{measured[0]}")
    assert re.search(r"hungry\.sh +COMPLETED +1000M", table)
    took = float(re.search(r"batch +COMPLETED +([\d.]+)M", table)[1])
    assert 290 < took < 320 and 1.25 * took < 400
    nightless = re.findall(r"(\d+)\s+days without night in (\w+)", shows("10", "cat array_"))
    assert nightless == [(str(hours.count(24)), town) for town, hours in HOURS.items()]


# ---------------------------------------------------------------- 11


@pytest.mark.claims(
    "Nothing has failed. But a day has 12 hours of daylight in the mean, a little more in the "
    "north, and nowhere 16.",
    "`python3 -O` leaves out every `assert`.",
    "The last lines say which case failed, and why: there is no 24 in the list.",
    "You are right if it finds two rows in `broken`.",
)
def test_what_the_notebook_on_tests_says_is_in_its_outputs():
    mean = float(re.fullmatch(r"365 days, ([\d.]+) hours .*", shows("11", "sent = read(data)"))[1])
    assert 15.5 < mean < 16.5 and all(12 < sum(hours) / 365 < 12.8 for hours in HOURS.values())
    assert "2026-06-21: 13" in shows("11", "sent[100] = read(data)[100]")
    done = subprocess.run([sys.executable, "-O", "-c", "assert False"], timeout=60)
    assert done.returncode == 0
    first, second = (
        "".join(cell["outputs"][0]["text"])
        for cell in COURSE["11"]["cells"]
        if editions.source(cell) == "!pytest -q --color=no --tb=short"
    )
    assert re.search(r"test_first_day\[hours2-None\] - ValueError: 24 is not in list", first)
    assert "1 failed, 2 passed" in first and "3 passed" in second
    assert shows("11", "print([row[").count("2026-01-0") == 2


# ---------------------------------------------------------------- 12

CO2 = dict(
    line.split(",")
    for line in (ROOT / "notebooks/data/co2.csv").read_text(encoding="utf-8").split()[1:]
)


@pytest.mark.claims(
    "316 of a million molecules of dry air were CO₂.",
    "1958 begins in March. But 1964 lacks 21 of its weeks.",
    "In one of forty years the CO₂ fell.",
    "In spring there is most:",
    "In 1964 just those weeks are missing, so the mean of what is left is too low.",
    "In a year the CO₂ rises by about 1 ppm. Who leaves the weeks out is off by most of that, and "
    "who draws a line by much less.",
    "The sentence is: in the 1960s the CO₂ rose by 0.86 ppm a year, in the 1990s by 1.54. 59 of "
    "2284 weeks were filled with straight lines; where we tried that with 18 weeks, the mean of "
    "the year was off by 0.4 ppm at most.",
)
def test_what_the_notebook_on_gaps_says_is_in_its_outputs():
    first, gone = next(iter(CO2)), [week for week, value in CO2.items() if not value]
    assert (first[:6], CO2[first][:3], len(gone), len(CO2)) == ("195803", "316", 59, 2284)
    assert sum(week.startswith("1964") for week in gone) == 21
    assert re.findall(r"^(\d{4}) +-", shows("12", "print(rise[rise < 0])"), re.M) == ["1964"]
    months = {
        int(month): (float(mean), int(weeks))
        for month, mean, weeks in re.findall(
            r"^(\d+) +([\d.]+) +(\d+)$", shows("12", "months = pd"), re.M
        )
    }
    assert len(months) == 12 and max(months, key=lambda month: months[month][0]) == 5
    assert all(months[month][1] >= 4 for month in (2, 3, 4, 5))
    without, line = re.findall(r"by ([\d.]+) ppm, at worst by ([\d.]+)", shows("12", "def hidden"))
    assert 0.5 < float(without[0]) < 1 and float(line[0]) < 0.2 and line[1] == "0.4"
    rises = dict(re.findall(r"^(\d{4}) +([\d.]+)$", shows("12", "filled = co2"), re.M))
    assert (rises["1960"], rises["1990"]) == ("0.86", "1.54")


# ---------------------------------------------------------------- 13


@pytest.mark.claims(
    "`papermill` puts a new cell below the tagged one, with your value, executes the notebook, and "
    "writes it under another name.",
    "The last decade of the table has two years. So one task will fail, and you will see how one "
    "notices.",
    "The number behind the line is that of the task.",
)
def test_what_the_unattended_notebook_says_is_in_its_outputs():
    """And the program that it writes is that of the guide."""
    [cell] = [
        cell
        for cell in COURSE["13"]["cells"]
        if editions.source(cell).startswith("%%writefile private_papermill.py\n")
    ]
    wrapper = (ROOT / "triton/apps/jupyter/private_papermill.py").read_text(encoding="utf-8")
    assert editions.source(cell).partition("\n")[2] == wrapper.rstrip()
    tagged, injected = shows("13", "for cell in json.loads").split("['injected-parameters']")
    assert tagged.split() == ["['parameters']", "decade", "=", "1960"] and "1970" in injected
    states = dict(re.findall(r"^\d+_(\d) +([A-Z]+)", shows("13", "{array[0]}"), re.M))
    assert states == dict.fromkeys("0123", "COMPLETED") | {"4": "FAILED"}
    assert shows("13", "grep").endswith("the 2000s have 2 years")
    assert shows("13", "wanted = [1960").endswith("missing: {2000}")


# ---------------------------------------------------------------- 14


@pytest.mark.claims(
    "The same program, the same list, and two numbers. Nothing has failed. With the lock the "
    "colleague sees what you saw.",
    "`.venv` is the environment: a Python with these packages, and with no others.",
)
def test_what_the_environment_notebook_says_is_in_its_outputs():
    assert shows("14", "!cd mine && .venv") == "22.1 hours"
    assert shows("14", "!mkdir one other").split() == ["24.0", "hours", "22.1", "hours"]
    assert shows("14", "!grep -A 1").split()[-1] == '"1.0"'
    assert shows("14", "--upgrade-package").splitlines()[::2] == ['-version = "1.0"', "24.0 hours"]
    assert "needs to be updated" in shows("14", "!mkdir theirs")

"""`make refresh` keeps new outputs only if a second run repeats them, and shows what changed."""

import json
import os
import re
import shlex
import shutil
import subprocess

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tools.course import halves, pairs
from tools.files import ROOT
from tools.validate import catalogue, local, refresh, requirements, runner, sandbox

# What a notebook prints without a thought, in which an address or a folder stands. Each is a cell.
ORDINARY = {
    "python3": [
        "import warnings; warnings.warn('careful')",
        "import helper; helper.old()",
        "import sys; sys.stderr.write(__import__('os').getcwd())",
        "%pwd",
        "import matplotlib.pyplot as plt, numpy as np\nfigure, axes = "
        "plt.subplots()\naxes.plot([1, 2], label='a')",
        "axes.legend()",
        "plt.hist([1, 2, 2])",
        "lambda: 1",
        "(n for n in [1])",
        "class Thing: pass\n[Thing()]",
        "import pathlib, tempfile\nfolder = "
        "tempfile.mkdtemp()\npathlib.Path(folder).rmdir()\nfolder",
        "np.__file__",
        "import logging; logging.basicConfig(format='%(pathname)s: %(message)s'); "
        "logging.warning('look')",
        "'\\d is \\k'",
        "helper.fails()",
    ],
    "ir": [
        "warning('careful')",
        "getwd()",
        "environment()",
        "tempfile()",
        "mean",
        "f <- function(x) x; f",
    ],
    "bash": ["pwd", "echo $HOME", "mktemp -d", "rmdir $TMPDIR/tmp.*", "ls /nowhere || true"],
}


@pytest.fixture
def notebook(tmp_path):
    """A function that writes a never executed notebook with one cell, or some, and returns it as
    the runner sees it.
    """
    folder = tmp_path / "notebooks"
    folder.mkdir()

    def write(*sources, kernel="python3", tags=(), **limits):
        pairs.write_ipynb(
            new_notebook(
                cells=[new_code_cell(source, metadata={"tags": list(tags)}) for source in sources],
                metadata={
                    "kernelspec": {
                        "name": kernel,
                        "display_name": "Python 3",
                        "language": "python",
                    },
                    "course": {
                        "goal": "try",
                        "minutes": 10,
                        "needs": [],
                        "seconds": 60,
                        "memory_mb": 500,
                    }
                    | limits,
                },
            ),
            folder / "x.ipynb",
        )
        return catalogue.load(folder=folder)[0]

    return write


def test_outputs_and_measured_numbers_are_stored(notebook, capfd):
    """The difference is shown."""
    stored = notebook("print(1 + 1)")
    assert refresh.refresh([stored])
    fresh = nbformat.read(stored.path, 4)
    assert fresh.cells[0].outputs[0].text == "2\n" and fresh.cells[0].execution_count == 1
    assert fresh.metadata.measured.seconds >= 1 and fresh.metadata.measured.memory_mb > 20
    assert fresh.cells[0].id == nbformat.read(stored.path, 4).cells[0].id
    assert "execution" not in fresh.cells[0].metadata, (
        "times of a run would change with every refresh"
    )
    assert "x: refreshed" in capfd.readouterr().out
    [result] = local.validate(catalogue.load(folder=stored.folder))
    assert result.outcome == "passed"


def test_without_a_name_those_that_failed_are_refreshed(notebook, monkeypatch, capsys):
    """Those that failed in the last run."""
    stored = notebook("print(1 + 1)")
    monkeypatch.setattr(catalogue, "NOTEBOOKS", stored.folder)
    monkeypatch.setattr(catalogue.load, "__defaults__", ((), stored.folder))
    monkeypatch.setattr(runner, "RECORDS", stored.folder.parent / "records")
    with pytest.raises(SystemExit) as end:
        runner.main(["refresh"])
    assert end.value.code == 2 and "Nothing failed in the last run" in capsys.readouterr().err
    local.validate([stored], records=runner.RECORDS)
    assert (
        runner.main(["refresh"]) == 0
        and nbformat.read(stored.path, 4).cells[0].outputs[0].text == "2\n"
    )


def test_a_second_refresh_changes_no_byte(notebook):
    stored = notebook("print(1 + 1)")
    assert refresh.refresh([stored])
    before = stored.path.read_bytes()
    assert (
        refresh.refresh(catalogue.load(folder=stored.folder)) and stored.path.read_bytes() == before
    )


@pytest.mark.parametrize(
    "kernel, isolated", [("python3", True), ("python3", False), ("ir", True), ("bash", True)]
)
def test_addresses_and_folders_hinder_no_refresh(kernel, isolated, notebook, capfd, monkeypatch):
    """What ordinary last lines print is stored with a reader's folders, passes, and stays as it is
    at the next refresh.
    """
    if kernel not in requirements.installed_kernels():
        pytest.skip(f"{kernel} is not here")
    if not isolated:
        monkeypatch.setattr(sandbox, "obstacle", lambda: "tried without")
    stored = notebook(*ORDINARY[kernel], kernel=kernel, tags=["writes-stderr"])
    (stored.folder / "helper.py").write_text(
        "import warnings\ndef old(): warnings.warn('old', DeprecationWarning, 1)\ndef "
        "fails(): 1 / 0\n"
    )
    if kernel == "python3":
        whole = nbformat.read(stored.path, 4)
        whole.cells[-1].metadata.tags.append("raises-exception")
        pairs.write_ipynb(whole, stored.path)
    assert refresh.refresh([stored]), capfd.readouterr().err
    text = stored.path.read_text()
    assert (
        "/notebooks-" not in text
        and str(ROOT) not in text
        and "/home/username/jupyter-course" in text
    )
    assert refresh.refresh(catalogue.load(folder=stored.folder))
    assert json.loads(stored.path.read_text())["cells"] == json.loads(text)["cells"]


def test_at_a_terminal_the_writer_keeps_or_leaves_each_notebook(notebook, monkeypatch, capsys):
    stored = notebook("print(1 + 1)")
    before = stored.path.read_bytes()
    monkeypatch.setattr(
        "builtins.input", lambda question: "" if "x: keep these outputs?" in question else "y"
    )
    assert refresh.refresh([stored], refresh.ask)
    assert stored.path.read_bytes() == before and "x: left as it was" in capsys.readouterr().out
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert refresh.refresh([stored], refresh.ask) and stored.path.read_bytes() != before


@pytest.mark.parametrize(
    "source, limits, says",
    [
        (
            "import numpy as np; np.random.normal(size=2)",
            {},
            "Random numbers get a seed: random.seed(1)",
        ),
        ("1 / 0", {}, "ZeroDivisionError"),
        ("open('stray', 'w').close()", {}, "stray was left by cell 1"),
        ("import time; time.sleep(100)", {"seconds": 3}, "limit was reached"),
        ("import os; os._exit(1)", {}, "the kernel died"),
        ("print('x' * 3_000_000)", {"seconds": 20}, "shows 3.0 MB"),
        ("x = b'x' * 400_000_000", {"memory_mb": 300}, "memory_mb: 300"),
    ],
)
def test_a_notebook_that_does_not_repeat_is_left_as_it_was(source, limits, says, notebook, capfd):
    """So is one that does not run."""
    stored = notebook(source, **limits)
    before = stored.path.read_bytes()
    assert not refresh.refresh([stored])
    assert stored.path.read_bytes() == before
    said = capfd.readouterr().err
    assert says in said and "Traceback (most recent call last):\n  File" not in said
    assert ("get a seed" in said) == ("random" in source)


def test_a_notebook_whose_halves_differ_is_synced_first(notebook, capfd):
    stored = notebook("print(1)")
    pairs.sync(stored.folder)
    md = stored.path.with_suffix(".md")
    md.write_text(md.read_text().replace("print(1)", "print(2)"))
    before = stored.path.read_bytes()
    assert not refresh.refresh([stored]) and stored.path.read_bytes() == before
    told = capfd.readouterr().err
    assert "its halves differ" in told and "x.md:" in told and "make sync NB=x" in told


def test_the_stored_notebook_is_plain_json(notebook):
    """With a newline at its end."""
    stored = notebook("print(1)")
    refresh.refresh([stored])
    text = stored.path.read_text()
    assert json.loads(text) and text.endswith("}\n")


def test_a_long_line_takes_no_longer_than_a_short_one(notebook):
    stored = notebook("print('x' * 900_000)", seconds=5)
    assert refresh.refresh([stored])


def test_a_notebook_of_an_older_format_gets_ids(notebook):
    """Those that the check wants."""
    stored = notebook("print(1)", "print(2)")
    pairs.sync(stored.folder)
    old = json.loads(stored.path.read_text())
    for cell in old["cells"]:
        del cell["id"]
    stored.path.write_text(json.dumps(old | {"nbformat_minor": 4}))
    [problem] = pairs.check(stored.folder)
    assert "ids are missing" in problem.message
    assert refresh.refresh([stored]) and not pairs.check(stored.folder)


# ---- the commands that our messages tell people to type

ODD = "2 über's"  # a blank, an accent, a quote


def make(*arguments, folder, **variables):
    """Run make in a checkout whose environments are ours; variables as they are typed on its
    command line.
    """
    made = [f"--assume-old={name}/.made" for name in (".venv", ".venv-nbdime")]
    return subprocess.run(
        ["make", *made, *arguments, *(f"{key}={value}" for key, value in variables.items())],
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MAKE", "PYTHON"))
        },
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what the tasks of make for notebooks need, with one notebook that was never run,
    and one with an odd name.
    """
    folder = tmp_path_factory.mktemp("a checkout")
    for name in ("Makefile", "requirements.txt", "triton/facts.toml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    for name in ("tools", "_ext"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copytree(ROOT / "triton/lib", folder / "triton/lib")
    for name in (".venv", ".venv-nbdime"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "notebooks").mkdir()
    shutil.copy2(catalogue.NOTEBOOKS / "jupytext.toml", folder / "notebooks")
    for name in ("1", ODD):
        pairs.write_ipynb(
            new_notebook(
                cells=[new_code_cell("print(1)")],
                metadata={
                    "kernelspec": {
                        "name": "python3",
                        "display_name": "Python 3",
                        "language": "python",
                    },
                    "course": {
                        "goal": "try",
                        "minutes": 10,
                        "needs": [],
                        "seconds": 60,
                        "memory_mb": 500,
                    },
                },
            ),
            folder / f"notebooks/{name}.ipynb",
        )
    assert make("sync", folder=folder).returncode == 0
    return folder


def remedy(text):
    """The arguments of the first command of make in a message, as a shell gives them."""
    return shlex.split(
        re.search(
            r"make ((?:sync|refresh|notebooks)\b(?: \w+=(?:'(?:[^']|'\"'\"')*'|[^\s';]+))*)", text
        )[1]
    )


def test_each_remedy_that_is_printed_cures(checkout):
    """A pair that differs, and outputs that are old, of a notebook with an odd name: what make says
    is typed as it stands.
    """
    md = checkout / f"notebooks/{ODD}.md"
    md.write_text(md.read_text().replace("print(1)", "print(2)"))
    refused = make("refresh", folder=checkout, NB=ODD)
    assert "its halves differ" in refused.stderr
    synced = make(*remedy(refused.stderr), folder=checkout)
    assert synced.returncode == 0, synced.stdout + synced.stderr
    failed = make("notebooks", folder=checkout, NB=ODD)
    assert "never executed" in failed.stdout and failed.returncode
    told = make(
        *remedy(failed.stdout), folder=checkout
    )  # without a name: what failed in the last run
    assert f"{ODD}: refreshed" in told.stdout, told.stdout + told.stderr
    passed = make("notebooks", folder=checkout, NB=f"{ODD} 1")
    assert f"passed  {ODD}" in passed.stdout and "1 passed, 1 failed" in passed.stdout


@pytest.mark.parametrize(
    "kernel, source",
    [
        ("python3", "open('a b', 'w').close()"),
        ("python3", "import os; os.makedirs('a/b')"),
        ("ir", "cat('x', file = 'a b')"),
        ("bash", "mkdir -p 'a b/c'"),
    ],
)
def test_the_line_that_removes_what_is_left_does_so(kernel, source, notebook, capfd):
    if kernel not in requirements.installed_kernels():
        pytest.skip(f"{kernel} is not here")
    stored = notebook(source, kernel=kernel)
    assert not refresh.refresh([stored])
    lines = re.findall(r"In the last cell remove it: (.*)", capfd.readouterr().err)
    whole = nbformat.read(stored.path, 4)
    whole.cells.append(new_code_cell(lines[0]))
    pairs.write_ipynb(whole, stored.path)
    assert refresh.refresh(catalogue.load(folder=stored.folder)), capfd.readouterr().err


@pytest.mark.parametrize(
    "text, names",
    [
        ("a", ["a"]),
        ("a b", ["a", "b"]),
        ("my notebook", ["my notebook"]),
        ("a my notebook b", ["a", "my notebook", "b"]),
        (" notebooks/a.ipynb  b.md ", ["notebooks/a.ipynb", "b.md"]),
        ("notebooks/my notebook.md", ["notebooks/my notebook.md"]),
        ("", []),
    ],
)
def test_a_name_may_have_a_blank(text, names):
    assert (
        catalogue.named(
            text, [halves.Pair(name, None, None) for name in ("a", "b", "my notebook", "my")]
        )
        == names
    )


def test_a_name_is_found_in_both_forms_of_its_accents(notebook):
    stored = notebook("print(1)")
    stored.path.rename(stored.folder / "u\u0308ben.ipynb")
    [found] = catalogue.load(["notebooks/\u00fcben.md"], stored.folder)
    assert found.name == "u\u0308ben"

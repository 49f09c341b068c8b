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

from tools.course import pairs
from tools.files import ROOT
from tools.validate import catalogue, local, refresh, requirements, sandbox

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
        "print('x' * 900_000)",
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
COURSE = {"goal": "try", "minutes": 10, "needs": [], "seconds": 60, "memory_mb": 500}


def write(path, *sources, kernel="python3", tags=(), **declared):
    """Write a notebook that was never executed."""
    metadata = {
        "kernelspec": {"name": kernel, "display_name": "Python 3", "language": "python"},
        "course": COURSE | declared,
    }
    cells = [new_code_cell(source, metadata={"tags": list(tags)}) for source in sources]
    pairs.write_ipynb(new_notebook(cells=cells, metadata=metadata), path)


@pytest.fixture
def notebook(tmp_path):
    """A function that writes a notebook with some cells, and returns it as the runner sees it."""

    def stored(*sources, **options):
        write(tmp_path / "x.ipynb", *sources, **options)
        return catalogue.load(folder=tmp_path)[0]

    return stored


def test_outputs_and_measured_numbers_are_stored(notebook, monkeypatch, capfd):
    """At a terminal only if the writer says so. Then the notebook passes, and a second refresh
    changes no byte.
    """
    stored = notebook("print(1 + 1)")
    before = stored.path.read_bytes()
    monkeypatch.setattr("builtins.input", lambda question: "")
    assert refresh.refresh([stored], refresh.ask) and stored.path.read_bytes() == before
    monkeypatch.setattr(
        "builtins.input", lambda question: "y" if "x: keep these outputs?" in question else ""
    )
    assert refresh.refresh([stored], refresh.ask)
    assert re.findall("x: (left as it was|refreshed)", capfd.readouterr().out) == [
        "left as it was",
        "refreshed",
    ]
    fresh = nbformat.read(stored.path, 4)
    assert fresh.cells[0].outputs[0].text == "2\n" and fresh.cells[0].execution_count == 1
    assert fresh.metadata.measured.seconds >= 1 and fresh.metadata.measured.memory_mb > 20
    assert "execution" not in fresh.cells[0].metadata, "its times are others in each run"
    [result] = local.validate(catalogue.load(folder=stored.folder))
    assert result.outcome == "passed"
    before = stored.path.read_bytes()
    assert before.endswith(b"}\n") and refresh.refresh(catalogue.load(folder=stored.folder))
    assert stored.path.read_bytes() == before


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
    assert "/notebooks-" not in text and str(ROOT) not in text
    assert "/home/username/jupyter-course" in text
    assert refresh.refresh(catalogue.load(folder=stored.folder))
    assert json.loads(stored.path.read_text())["cells"] == json.loads(text)["cells"]


@pytest.mark.parametrize(
    "source, limits, says",
    [
        ("import numpy as np; np.random.normal(size=2)", {}, "seed: random.seed(1)"),
        ("open('stray', 'w').close()", {}, "stray was left by cell 1"),
        ("import time; time.sleep(100)", {"seconds": 3}, "limit was reached"),
        ("import os; os._exit(1)", {}, "the kernel died"),
        ("print('x' * 3_000_000)", {"seconds": 20}, "shows 3.0 MB"),
    ],
)
def test_a_notebook_that_does_not_repeat_is_left_as_it_was(source, limits, says, notebook, capfd):
    """So is one that does not run."""
    stored = notebook(source, **limits)
    before = stored.path.read_bytes()
    assert not refresh.refresh([stored]) and stored.path.read_bytes() == before
    told = capfd.readouterr().err
    assert says in told and "Traceback (most recent call last):\n  File" not in told
    assert ("get a seed" in told) == ("random" in source)


def test_a_notebook_of_an_older_format_gets_ids(notebook):
    stored = notebook("print(1)", "print(2)")
    pairs.sync(stored.folder)
    old = json.loads(stored.path.read_text())
    for cell in old["cells"]:
        del cell["id"]
    stored.path.write_text(json.dumps(old | {"nbformat_minor": 4}))
    assert pairs.check(stored.folder)
    assert refresh.refresh([stored]) and not pairs.check(stored.folder)


# ---- the commands that our messages tell people to type

ODD = "2 über's"  # a blank, an accent, a quote


@pytest.fixture
def make(tmp_path):
    """A function: run make in a checkout whose environments are ours, which has one notebook that
    was never run, and one with an odd name.
    """
    for name in ("Makefile", "requirements.txt", "triton/facts.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    for name in ("tools", "_ext", "triton/lib"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in (".venv", ".venv-nbdime"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "notebooks").mkdir()
    for name in ("1", ODD):
        write(tmp_path / f"notebooks/{name}.ipynb", "print(1)")

    def run(*arguments):
        return subprocess.run(
            ["make", "-o", ".venv/.made", "-o", ".venv-nbdime/.made", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("MAKE", "PYTHON"))
            },
        )

    return run


def remedy(text):
    """The arguments of the first command of make in a message, as a shell gives them."""
    return shlex.split(
        re.search(
            r"make ((?:sync|refresh|notebooks)\b(?: \w+=(?:'(?:[^']|'\"'\"')*'|[^\s';]+))*)", text
        )[1]
    )


def test_each_remedy_that_is_printed_cures(make, tmp_path):
    """A pair that differs, and outputs that are old, of a notebook with an odd name: what make says
    is typed as it stands.
    """
    assert make("sync").returncode == 0
    nothing = make("refresh")
    assert nothing.returncode and "Nothing failed in the last run" in nothing.stderr
    md = tmp_path / f"notebooks/{ODD}.md"
    md.write_text(md.read_text().replace("print(1)", "print(2)"))
    refused = make("refresh", f"NB={ODD}")
    assert "its halves differ" in refused.stderr
    synced = make(*remedy(refused.stderr))
    assert synced.returncode == 0, synced.stdout + synced.stderr
    failed = make("notebooks", f"NB={ODD}")
    assert "never executed" in failed.stdout and failed.returncode
    told = make(*remedy(failed.stdout))  # without a name: what failed in the last run
    assert f"{ODD}: refreshed" in told.stdout, told.stdout + told.stderr
    passed = make("notebooks")
    assert f"passed  {ODD}" in passed.stdout and "1 passed, 1 failed" in passed.stdout


def test_a_name_may_have_blanks_and_either_form_of_accents(tmp_path):
    for name in ("a", "my notebook", "u\u0308ben"):
        write(tmp_path / f"{name}.ipynb", "1")
    assert catalogue.named("my notebook", tmp_path) == ["my notebook"]
    assert catalogue.named(" notebooks/a.ipynb  b.md ", tmp_path) == ["notebooks/a.ipynb", "b.md"]
    [found] = catalogue.load(["notebooks/\u00fcben.md"], tmp_path)
    assert found.name == "u\u0308ben"

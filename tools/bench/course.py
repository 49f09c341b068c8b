"""Comparisons of the site, the notebooks and nbdime-git with the plain tools."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.bench.times import PYTHON, Side, seconds, timed
from tools.course import halves
from tools.files import ROOT, copy_source
from tools.validate import catalogue

NOTEBOOKS = ROOT / "notebooks"
NUMPY_MAKE = Path(__file__).with_name("scripts") / "numpy_make.py"
NUMPY_NEEDS = ("scipy", "pandas", "imageio", "pooch")
# What differs in each run of numpy's tutorials.
NUMPY_PATTERNS = """
[[general]]
regex = '0x[0-9a-f]{8,}|value is [-0-9.e]+'
replace = '...'
"""
BARE_CONF = """
extensions = ["myst_nb"]
html_theme = "sphinx_rtd_theme"
nb_execution_mode = "off"
include_patterns = ["index.rst", "about/**", "triton/**", "scicomp/**", "notebooks/**"]
exclude_patterns = ["notebooks/*.md", "notebooks/data/**"]
"""
VALIDATE = ("-m", "tools.validate.runner", "validate")
NBDIME = ROOT / ".venv-nbdime"
# The variables of `make notebooks` on a machine with all optional programs.
ENVIRONMENT = {
    "PATH": f"{ROOT}/triton/bin:{ROOT}/.venv/bin:{os.environ['PATH']}",
    "NBDIME_GIT_PREFIX": os.fspath(NBDIME),
    "LC_ALL": "C.UTF-8",
}


def in_python() -> list[str]:
    """The names of the notebooks of the course without those in R, which not every machine has."""
    return [
        notebook.name
        for notebook in catalogue.load()
        if notebook.metadata["kernelspec"]["name"] != "ir"
    ]


def fill(folder: Path, names: Sequence[str], count: int) -> None:
    """Put `count` copies of these notebooks of the course, both halves, into `folder`."""
    for number in range(count):
        for suffix in (".ipynb", ".md"):
            source = NOTEBOOKS / f"{names[number % len(names)]}{suffix}"
            shutil.copy(source, folder / f"{number:04}{suffix}")


def other_course(folder: Path) -> Path:
    """Copy the checkout without its notebooks; return the folder for notebooks in the copy."""
    notebooks = copy_source(folder) / "notebooks"
    for pair in halves.find(notebooks):
        for path in (pair.ipynb, pair.md):
            path.unlink()
    return notebooks


def nbval(folder: Path, names: Sequence[str]) -> Side:
    """A side that runs `pytest --nbval` for these notebooks, in a copy in `folder`."""
    copy = shutil.copytree(NOTEBOOKS, folder / "notebooks")
    options = ("--nbval", "-p", "no:cacheprovider", "-c", os.devnull)
    files = [copy / f"{name}.ipynb" for name in names]
    return lambda: seconds(
        PYTHON, "-m", "pytest", *options, *files, cwd=copy, env=ENVIRONMENT, check=False
    )


def build(source: Path, target: Path) -> Side:
    """A side that builds the site of `source` in a new folder below `target`."""

    def side() -> float:
        shutil.rmtree(target, ignore_errors=True)
        return seconds(PYTHON, "-m", "sphinx", "-q", "-b", "html", source, target, cwd=source)

    return side


@contextmanager
def site(folder: Path, more: int = 0) -> Iterator[tuple[Side, Side]]:
    """A cold build, and one by Sphinx with the theme and myst-nb alone.

    more: the number of notebooks that are added.
    """
    ours = copy_source(folder / "ours")
    fill(ours / "notebooks", in_python(), more)
    bare = folder / "bare"
    shutil.copytree(ours, bare, ignore=shutil.ignore_patterns(".git"))
    (bare / "conf.py").write_text(BARE_CONF)
    yield build(ours, folder / "of-ours"), build(bare, folder / "of-bare")


@contextmanager
def notebooks(folder: Path) -> Iterator[tuple[Side, Side]]:
    """A validation of the course, and nbval in one process over a copy."""
    names = in_python()
    yield lambda: seconds(PYTHON, *VALIDATE, *names, env=ENVIRONMENT), nbval(folder, names)


@contextmanager
def changed(folder: Path) -> Iterator[tuple[Side, Side]]:
    """A validation of the course where one notebook has changed, and nbval of that one alone."""
    name = in_python()[0]

    def ours() -> float:
        (ROOT / f"_build/validated/{name}.json").unlink(missing_ok=True)
        return seconds(PYTHON, *VALIDATE, "--changed", env=ENVIRONMENT, check=False)

    ours()
    yield ours, nbval(folder, [name])


@contextmanager
def numpy(folder: Path) -> Iterator[tuple[Side, Side]]:
    """A validation of numpy's tutorials, and nbval-lax as their own tox.ini calls it.

    Their repository stores no outputs, so these are made first. Our validation compares outputs;
    nbval-lax reports exceptions only.
    """
    if not (clone := os.environ.get("NUMPY_TUTORIALS")):
        raise SystemExit(
            "Where is a clone of https://github.com/numpy/numpy-tutorials? "
            "make bench ONLY=numpy NUMPY_TUTORIALS=FOLDER"
        )
    theirs = folder / "theirs"
    seconds("git", "clone", "-q", clone, theirs)
    python = numpy_environment(folder / "env")
    checkout = folder / "checkout"
    ours = other_course(checkout)
    with open(checkout / "tools/validate/sanitize.toml", "a", encoding="utf-8") as file:
        file.write(NUMPY_PATTERNS)
    seconds(python, NUMPY_MAKE, theirs / "content", ours)
    lax = ("-m", "pytest", "-p", "no:cacheprovider", "--nbval-lax", "--durations=10", "content/")
    yield (
        lambda: seconds(python, *VALIDATE, cwd=checkout, env=ENVIRONMENT),
        lambda: seconds(python, *lax, cwd=theirs),
    )


def numpy_environment(folder: Path) -> Path:
    """The Python of a new environment with our packages and those of the tutorials."""
    seconds(PYTHON, "-m", "venv", folder)
    [packages] = folder.glob("lib/python*/site-packages")
    [ours] = (ROOT / ".venv").glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text(f"{ours}\n")
    seconds(folder / "bin/python", "-m", "pip", "install", "--quiet", *NUMPY_NEEDS)
    return folder / "bin/python"


@contextmanager
def nbdime_git(folder: Path) -> Iterator[tuple[Side, Side]]:
    """`git diff` of ten changed notebooks with pictures, by nbdime-git's driver and by nbdime's."""
    environment = os.environ | {
        "PATH": f"{NBDIME / 'bin'}:{os.environ['PATH']}",
        "HOME": os.fspath(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "NBDIME_GIT_READABLE": "1",
        "LC_ALL": "C.UTF-8",
    }

    def side(name: str, *enable: str | Path) -> Side:
        repository = folder / name
        repository.mkdir()
        fill(repository, ["07-measure"], 10)

        def run(*command: str | Path) -> str:
            return subprocess.run(
                command,
                cwd=repository,
                env=environment,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout

        author = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        run("git", "init", "-q")
        run("git", "add", ".")
        run("git", *author, "commit", "-qm", "first")
        for path in repository.glob("*.ipynb"):
            notebook = json.loads(path.read_text(encoding="utf-8"))
            code = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
            code["source"].append("\nchanged = True")
            path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
        run(*enable)

        def difference() -> None:
            shown = run("git", "-c", "color.ui=always", "diff")
            if shown.count("changed = True") != 10 or "/source" not in shown:
                raise SystemExit(f"{name} did not show all ten changes:\n{shown[:2000]}")

        return timed(difference)

    yield (
        side("ours", PYTHON, ROOT / "triton/bin/nbdime-git", "enable", "--prefix", NBDIME),
        side("plain", "nbdime", "config-git", "--enable"),
    )

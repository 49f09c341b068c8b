"""Check the code with ruff and mypy (Python), shellcheck (shell scripts) and biome (JavaScript and
CSS), what GitHub runs with zizmor, all text with codespell, and the English of pages with Harper;
find words of the pages that need a role.

    python -m tools.lint [ruff] [mypy] [shellcheck] [biome] [zizmor] [codespell] [grammar] [words]
    python -m tools.lint --format

Without a name, all run and print their problems. The exit status is 1 if there are any. The
programs are in the environment `.lint`, which `make lint` makes. `--format` formats the code with
ruff and biome.
"""

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.files import ROOT
from tools.lint import grammar as english
from tools.lint.words import plain_words

BIN = ROOT / ".lint/bin"
BIOME = ROOT / ".lint/node_modules/.bin/biome"
HARPER = ROOT / ".lint/node_modules/harper.js"
BIOME_SETTINGS = "--config-path=tools/lint"
SHELL = re.compile(rb"#!.*\b(?:ba|da|k)?sh\b")
PYTHON = re.compile(rb"#!.*\bpython")
# The folders from which the programs of triton/ import modules.
LIBRARIES = ("triton/lib", "triton/jupyterhub")

WEB = (".css", ".js", ".mjs")
# A script may be a template, of Jinja or with the guide's facts: the word `value` replaces a value.
VALUE = re.compile(r"\{\{.*?\}\}")
STATEMENT = re.compile(r"\{%.*?%\}")


def tracked(folder: Path) -> list[str]:
    """The paths, relative to `folder`, of the files that git tracks there, and of new files that it
    does not ignore.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=folder, capture_output=True)
    if listed.returncode:
        sys.exit(f"{folder} is no repository of git, whose list of files make lint reads.")
    names = sorted(set(map(os.fsdecode, filter(None, listed.stdout.split(b"\0")))))
    return [name for name in names if (folder / name).is_file()]


def shell_scripts(folder: Path) -> list[str]:
    """The tracked files whose first line names a shell."""
    return [name for name in tracked(folder) if SHELL.match(_first_line(folder / name))]


def installed_programs(folder: Path) -> list[str]:
    """The tracked Python programs and modules of triton/, without those that pages show."""
    return [
        name
        for name in tracked(folder)
        if name.startswith("triton/")
        and not name.startswith(("triton/apps/", "triton/tut/"))
        and (name.endswith(".py") or PYTHON.match(_first_line(folder / name)))
    ]


def _first_line(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline(200)


def _run(folder: Path, *command: str | Path, **variables: str) -> tuple[bool, str]:
    """(whether the command has succeeded, its output)."""
    completed = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"NO_COLOR": "1"} | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return completed.returncode == 0, completed.stdout


def ruff(folder: Path) -> Iterator[tuple[bool, str]]:
    yield _run(folder, BIN / "ruff", "format", "--check", "--output-format=concise")
    yield _run(folder, BIN / "ruff", "check", "--quiet", "--output-format=concise")


def mypy(folder: Path) -> Iterator[tuple[bool, str]]:
    """The types in the folders that pyproject.toml names, and in the programs that admins install.

    The programs need a run of their own: they import the modules of triton/lib by other names.
    """
    stubs = sysconfig.get_path("purelib", vars={"base": str(ROOT / ".lint")})
    command = (BIN / "mypy", "--python-executable", ROOT / ".venv/bin/python")
    yield _run(folder, *command, PYTHONPATH=stubs)
    if names := installed_programs(folder):
        yield _run(
            folder,
            *command,
            "--scripts-are-modules",
            *names,
            PYTHONPATH=stubs,
            MYPYPATH=os.pathsep.join(LIBRARIES),
        )


def shellcheck(folder: Path) -> Iterator[tuple[bool, str]]:
    """The shell scripts, as copies with templates filled in."""
    names = shell_scripts(folder)
    if not names:
        return
    with tempfile.TemporaryDirectory() as copies:
        for name in names:
            text = (folder / name).read_text(encoding="utf-8")
            copy = Path(copies, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(VALUE.sub("value", STATEMENT.sub("", text)), encoding="utf-8")
        # SC1091: a script may read files that only the computer has on which it runs.
        yield _run(Path(copies), BIN / "shellcheck", "--format=gcc", "--exclude=SC1091", *names)


def biome(folder: Path) -> Iterator[tuple[bool, str]]:
    names = [name for name in tracked(folder) if name.endswith(WEB)]
    if names:
        yield _run(folder, BIOME, "check", "--error-on-warnings", BIOME_SETTINGS, *names)


def zizmor(folder: Path) -> Iterator[tuple[bool, str]]:
    """What lets strangers into the workflows of GitHub: unpinned actions, wide permissions."""
    if (folder / ".github").is_dir():
        yield _run(folder, BIN / "zizmor", "--offline", "--quiet", "--format=plain", ".github")


def codespell(folder: Path) -> Iterator[tuple[bool, str]]:
    """Words that are misspelt often, in code and text. pyproject.toml says what is not read."""
    yield _run(folder, BIN / "codespell", *tracked(folder))


def grammar(folder: Path) -> Iterator[tuple[bool, str]]:
    """The English of all that is written in reST or Markdown."""
    pages = {
        name: (folder / name).read_text(encoding="utf-8")
        for name in tracked(folder)
        if name.endswith((".rst", ".md"))
    }
    problems = list(english.problems(pages, HARPER, BIN / "node"))
    yield not problems, "\n".join(problems)


def words(folder: Path) -> Iterator[tuple[bool, str]]:
    """The literals of the guide's pages that look like a path, an option or a host."""
    for name in tracked(folder):
        if re.match(r"(triton|scicomp|notebooks)/.*\.rst|index\.rst", name):
            problems = list(plain_words(name, (folder / name).read_text(encoding="utf-8")))
            yield not problems, "\n".join(problems)


CHECKS: dict[str, Callable[[Path], Iterator[tuple[bool, str]]]] = {
    check.__name__: check
    for check in (ruff, mypy, shellcheck, biome, zizmor, codespell, grammar, words)
}


def lint(folder: Path, names: list[str]) -> int:
    """Run the checks of these names, or all; print the problems; return the exit status."""
    failed = []
    for name in names or CHECKS:
        results = list(CHECKS[name](folder))
        for passed, output in results:
            if not passed:
                print(output.strip() or f"{name} failed and said nothing.", flush=True)
        if not all(passed for passed, _ in results):
            failed.append(name)
    if failed:
        mend = " What is about form, make format mends." if {"ruff", "biome"} & {*failed} else ""
        print(f"Not as it should be: {', '.join(failed)}.{mend}", file=sys.stderr)
    return bool(failed)


def reformat(folder: Path) -> int:
    """Format Python, JavaScript and CSS; return the exit status."""
    names = [name for name in tracked(folder) if name.endswith(WEB)]
    results = [
        _run(folder, BIN / "ruff", "format"),
        _run(folder, BIOME, "format", "--write", BIOME_SETTINGS, *names),
    ]
    for _, output in results:
        print(output.strip())
    return not all(passed for passed, _ in results)


def main(arguments: list[str]) -> int:
    if arguments == ["--format"]:
        return reformat(ROOT)
    if not set(arguments) <= set(CHECKS):
        print(__doc__, file=sys.stderr)
        return 2
    return lint(ROOT, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Which notebooks of the course run in the reader's browser, without an account and without a
server, and the files that are there for them.

A browser has Python's standard library, no other programs, and of packages those with a wheel for
it. What a notebook needs is read off its code. A cell that needs what is not there, and whose names
no later cell uses, becomes the picture that it drew. tools/lite/make.py makes JupyterLite's
notebook, the program that runs them.
"""

import ast
import datetime
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tools.course import editions, slides

FOLDER = "lite"  # of the site
KERNEL = {"name": "python", "display_name": "Python (Pyodide)", "language": "python"}
# Of the standard library, what no browser lets a program do:
# https://pyodide.org/en/stable/usage/wasm-constraints.html
NOT_THERE = {
    "curses",
    "dbm",
    "ensurepip",
    "fcntl",
    "grp",
    "idlelib",
    "multiprocessing",
    "pty",
    "pwd",
    "readline",
    "resource",
    "socket",
    "socketserver",
    "subprocess",
    "syslog",
    "termios",
    "threading",
    "tkinter",
    "tty",
    "turtle",
    "venv",
}
# Each notebook has this below its title. There a cell that fails on purpose stops "Run All Cells",
# whatever its tags say.
NOTE = (
    "**In your browser.** The first cell waits some seconds for Python. What you write stays in "
    "this browser; to keep it, choose *File*, *Download*. A cell\nthat fails on purpose stops "
    "*Run All Cells*; go on below it with *Run*, *Run Selected Cell and All Below*."
)
SHELL = re.compile(r"^[ \t]*!|^%%(?:bash|sh|script|system|sx)\b", re.MULTILINE)
MAGIC = re.compile(r"^([ \t]*)[%!].*$", re.MULTILINE)
WRITTEN = re.compile(r"^%%writefile .*?(\w+)\.py\s*$", re.MULTILINE)

Cell = dict[str, Any]
Notebook = dict[str, Any]


# ---------------------------------------------------------------- which notebooks


@dataclass
class Edition:
    """What the browser makes of a notebook: `lacks` is empty where it runs; `pictured` is what the
    cells lack that became pictures.
    """

    notebook: Notebook
    lacks: set[str]
    pictured: set[str]

    @property
    def title(self) -> str:
        return slides.title(self.notebook)


def _tree(cell: Cell) -> ast.Module:
    """The code of the cell; nothing where it is no Python."""
    text = editions.source(cell)
    try:
        return ast.parse("" if text.startswith("%%") else MAGIC.sub(r"\1pass", text))
    except SyntaxError:
        return ast.parse("")


def _lacks(cell: Cell, have: set[str]) -> set[str]:
    """What the cell needs and the browser has not. have: the names of modules beyond the standard
    library.
    """
    imported = set()
    for node in ast.walk(_tree(cell)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported.add(node.module.split(".")[0])
    lacks = (imported & NOT_THERE) | (imported - sys.stdlib_module_names - have)
    return lacks | ({"a shell"} if SHELL.search(editions.source(cell)) else set())


def _names(cell: Cell) -> tuple[set[str], set[str]]:
    """(the names that the cell binds, those that it uses)."""
    bound: set[str] = set()
    used: set[str] = set()
    for node in ast.walk(_tree(cell)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
    return bound, used


def _missed(cell: Cell, later: Iterable[Cell]) -> bool:
    """Whether one of the cells `later` uses a name of this one, and does not bind it itself."""
    bound, _ = _names(cell)
    return any(bound & (used - own) for own, used in map(_names, later))


def _picture(cell: Cell, lacks: set[str]) -> Cell | None:
    """The cell as Markdown: its code, and what it drew; None if it drew nothing, or belongs to an
    exercise.
    """
    drawn = next(
        (
            output["data"]["image/png"].replace("\n", "")
            for output in cell["outputs"]
            if "image/png" in output.get("data", {})
        ),
        None,
    )
    if drawn is None or {"stub", "solution", "check"} & set(editions.tags(cell)):
        return None
    alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
    text = (
        f"```python\n{editions.source(cell)}\n```\n\nThis browser has no "
        f"{', '.join(sorted(lacks))}. Where there is, the code draws this:\n\n"
        f"![{alt}](data:image/png;base64,{drawn})"
    )
    return {"cell_type": "markdown", "id": cell["id"], "metadata": {}, "source": text}


def edition(notebook: Notebook, site: str, have: set[str]) -> Edition:
    """The Edition of a notebook. site: the address of the built guide; have: the names of modules
    beyond the standard library.
    """
    metadata = notebook["metadata"]
    if metadata["kernelspec"]["language"] != KERNEL["language"]:
        return Edition(notebook, {f"the kernel {metadata['kernelspec']['display_name']}"}, set())
    lacks: set[str] = set(metadata["course"]["needs"])
    pictured: set[str] = set()
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    have = have | {name for cell in code for name in WRITTEN.findall(editions.source(cell))}
    cells = []
    for cell in notebook["cells"]:
        shown = cell
        if (
            cell["cell_type"] == "code"
            and "hidden-test" not in editions.tags(cell)
            and (missing := _lacks(cell, have))
        ):
            picture = _picture(cell, missing)
            if picture and not _missed(cell, code[code.index(cell) + 1 :]):
                shown = picture
                pictured |= missing
            else:
                lacks |= missing
        cells.append(editions.linked(shown, site, beside=False))
    note = {"cell_type": "markdown", "id": "in-your-browser", "metadata": {}, "source": NOTE}
    return Edition(
        notebook
        | {"cells": [*cells[:1], note, *cells[1:]], "metadata": metadata | {"kernelspec": KERNEL}},
        lacks,
        pictured,
    )


def packages(app: Path) -> list[str] | None:
    """The names that a program can import from the wheels in the folder `app`, which
    tools/lite/make.py made; None if it is not there.
    """
    lock = app / "static/pyodide/pyodide-lock.json"
    if not lock.exists():
        return None
    return sorted(
        {
            name
            for package in json.loads(lock.read_text(encoding="utf-8"))["packages"].values()
            for name in package["imports"]
        }
    )


# ---------------------------------------------------------------- files


def files(site: str, have: set[str]) -> dict[str, str | bytes]:
    """{path: text or bytes} of the course for JupyterLite: the student edition of each notebook
    that runs there, and the data. site, have: as of `edition`.
    """
    notebooks = {name: edition(notebook, site, have) for name, notebook in editions.load().items()}
    course: dict[str, str | bytes] = {
        f"{name}.ipynb": editions.ipynb(editions.student(one.notebook, site))
        for name, one in notebooks.items()
        if not one.lacks
    }
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return contents(course | editions.data_files(), now)


def contents(files: dict[str, str | bytes], now: str) -> dict[str, str | bytes]:
    """{path: text or bytes} of what JupyterLite reads instead of asking a server: the answers of
    Jupyter's contents API for the `files`, and the files. now: when they were made, in ISO 8601.
    """
    paths = {PurePosixPath(path): len(content) for path, content in files.items()}
    folders = {folder for path in paths for folder in path.parents}
    answers: dict[str, str | bytes] = {}
    for folder in folders:
        inside = [
            _model(path, "directory", now)
            for path in sorted(folders)
            if path.parent == folder and path.name
        ]
        inside += [
            _model(path, "notebook" if path.suffix == ".ipynb" else "file", now, size=size)
            for path, size in paths.items()
            if path.parent == folder
        ]
        answers[f"api/contents/{folder}/all.json"] = json.dumps(
            _model(folder, "directory", now, content=inside, format="json")
        )
    return answers | {f"files/{path}": content for path, content in files.items()}


def _model(path: PurePosixPath, kind: str, now: str, **more: object) -> dict[str, object]:
    """What Jupyter's contents API says of a file or folder."""
    return {
        "name": path.name,
        "path": str(path) if path.name else "",
        "type": kind,
        "content": None,
        "format": None,
        "mimetype": None,
        "size": None,
        "writable": True,
        "created": now,
        "last_modified": now,
    } | more

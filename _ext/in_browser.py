"""Sphinx extension: notebooks of the course that run in the reader's browser, without an account
and without a server.

lite/make.py makes JupyterLite's notebook, once. A build copies it into the site, with the student
edition of each notebook that can run there, and the data. Whether one can is read off its code: a
browser has Python's standard library, no other programs, and of packages those with a wheel for it.
A cell that lacks something, and whose names no later cell uses, becomes the picture that it drew.
The directive `in-browser` says for each notebook what it lacks. Without what lite/make.py makes
there is no button, and the page says so.

`lite_app`: the folder with what lite/make.py made.
"""

import ast
import datetime
import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

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
# Each begins with this. A cell that fails on purpose stops "Run All Cells" there, whatever its tags
# say.
NOTE = """**In your browser.** The first cell waits some seconds for Python. What you write stays in this browser; to keep it, choose *File*, *Download*. A cell
that fails on purpose stops *Run All Cells*; go on below it with *Run*, *Run Selected Cell and All Below*."""
SHELL = re.compile(r"^[ \t]*!|^%%(?:bash|sh|script|system|sx)\b", re.MULTILINE)
MAGIC = re.compile(r"^([ \t]*)[%!].*$", re.MULTILINE)
WRITTEN = re.compile(r"^%%writefile .*?(\w+)\.py\s*$", re.MULTILINE)


# ---------------------------------------------------------------- which notebooks


@dataclass
class Edition:
    """What the browser makes of a notebook: `lacks` is empty where it runs; `pictured` is what the
    cells lack that became pictures.
    """

    notebook: dict
    lacks: set
    pictured: set


def _tree(cell):
    """The code of the cell; nothing where it is no Python."""
    text = editions.source(cell)
    try:
        return ast.parse("" if text.startswith("%%") else MAGIC.sub(r"\1pass", text))
    except SyntaxError:
        return ast.parse("")


def _lacks(cell, have):
    """What the cell needs and the browser has not. have: the names of modules beyond the standard
    library.
    """
    asked = set()
    for node in ast.walk(_tree(cell)):
        if isinstance(node, ast.Import):
            asked |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            asked.add(node.module.split(".")[0])
    return {
        name for name in asked if name in NOT_THERE or name not in sys.stdlib_module_names | have
    } | ({"a shell"} if SHELL.search(editions.source(cell)) else set())


def _names(cell):
    """(the names that the cell binds, those that it uses)."""
    bound, used = set(), set()
    for node in ast.walk(_tree(cell)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
    return bound, used


def _missed(cell, later):
    """Whether one of the cells `later` uses a name of this one, and does not bind it itself."""
    bound, _ = _names(cell)
    return any(bound & (used - own) for own, used in map(_names, later))


def _picture(cell, lacks):
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


def edition(notebook, site, have):
    """The Edition of a notebook. site: the address of the built guide; have: the names of modules
    beyond the standard library.
    """
    metadata = notebook["metadata"]
    if metadata["kernelspec"]["language"] != KERNEL["language"]:
        return Edition(notebook, {f"the kernel {metadata['kernelspec']['display_name']}"}, set())
    lacks, pictured, cells = set(metadata["course"]["needs"]), set(), []
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    have = have | {name for cell in code for name in WRITTEN.findall(editions.source(cell))}
    for cell in notebook["cells"]:
        if (
            cell["cell_type"] == "code"
            and "hidden-test" not in editions.tags(cell)
            and (missing := _lacks(cell, have))
        ):
            drawn = _picture(cell, missing)
            if drawn and not _missed(cell, code[code.index(cell) + 1 :]):
                cell = drawn
                pictured |= missing
            else:
                lacks |= missing
        cells.append(editions.linked(cell, site, beside=False))
    note = {"cell_type": "markdown", "id": "in-your-browser", "metadata": {}, "source": NOTE}
    return Edition(
        notebook
        | {"cells": [*cells[:1], note, *cells[1:]], "metadata": metadata | {"kernelspec": KERNEL}},
        lacks,
        pictured,
    )


def packages(app):
    """The names that a program can import from the wheels in the folder `app`, which lite/make.py
    made; None if it is not there.
    """
    lock = Path(app, "static/pyodide/pyodide-lock.json")
    if not lock.exists():
        return None
    return sorted(
        {
            name
            for package in json.loads(lock.read_text(encoding="utf-8"))["packages"].values()
            for name in package["imports"]
        }
    )


def address(config, name, notebook):
    """Where, from the top of the site, the notebook runs in the browser; None if it does not."""
    if (
        config.lite_packages is None
        or edition(notebook, config.html_baseurl, set(config.lite_packages)).lacks
    ):
        return None
    return f"{FOLDER}/notebooks/index.html?path={name}.ipynb"


# ---------------------------------------------------------------- files


def contents(files, now):
    """{path: text} of what JupyterLite reads instead of asking a server: the answers of Jupyter's
    contents API for the files {path: content}.
    """

    def model(path, kind, **more):
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

    paths = {PurePosixPath(path): len(content) for path, content in files.items()}
    folders = {folder for path in paths for folder in path.parents}
    found = {}
    for folder in folders:
        inside = [
            model(path, "directory")
            for path in sorted(folders)
            if path.parent == folder and path.name
        ]
        inside += [
            model(path, "notebook" if path.suffix == ".ipynb" else "file", size=size)
            for path, size in paths.items()
            if path.parent == folder
        ]
        found[f"api/contents/{folder}/all.json"] = json.dumps(
            model(folder, "directory", content=inside, format="json")
        )
    return found | {f"files/{path}": content for path, content in files.items()}


def _publish(app, error):
    if error or app.builder.format != "html":
        return
    target, site = Path(app.outdir, FOLDER), app.config.html_baseurl
    shutil.rmtree(target, ignore_errors=True)
    if app.config.lite_packages is None:
        return
    shutil.copytree(Path(app.confdir, app.config.lite_app), target)
    course = {
        name: edition(notebook, site, set(app.config.lite_packages))
        for name, notebook in editions.load().items()
    }
    files = {
        f"{name}.ipynb": editions.ipynb(editions.student(found.notebook, site))
        for name, found in course.items()
        if not found.lacks
    }
    editions.write(
        target,
        contents(
            files | editions.data_files(),
            datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        ),
    )


class InBrowser(SphinxDirective):
    """For each notebook, whether it runs in the browser, and what it lacks there."""

    def run(self):
        have = self.config.lite_packages
        if have is None:
            return [
                nodes.admonition(
                    "",
                    nodes.title("", "Not here"),
                    nodes.paragraph("", "This copy of the guide was built without it."),
                    classes=["warning"],
                )
            ]
        body = nodes.tbody()
        for name, notebook in editions.load().items():
            self.env.note_dependency(str(editions.NOTEBOOKS / f"{name}.ipynb"))
            found = edition(notebook, "", set(have))
            text = nodes.paragraph()
            if found.lacks:
                text += nodes.Text(f"no: it needs {', '.join(sorted(found.lacks))}")
            else:
                up = "../" * self.env.docname.count("/")
                text += nodes.reference(
                    "", "Run it", refuri=up + address(self.config, name, notebook), internal=True
                )
                if found.pictured:
                    text += nodes.Text(
                        f"; what needs {', '.join(sorted(found.pictured))} is a picture there"
                    )
            body += nodes.row(
                "",
                nodes.entry("", nodes.paragraph("", slides.title(notebook))),
                nodes.entry("", text),
            )
        head = nodes.thead(
            "",
            nodes.row(
                "",
                *[
                    nodes.entry("", nodes.paragraph("", text))
                    for text in ("Notebook", "In the browser")
                ],
            ),
        )
        return [
            nodes.table(
                "",
                nodes.tgroup(
                    "", *[nodes.colspec(colwidth=width) for width in (35, 65)], head, body, cols=2
                ),
            )
        ]


def _look(app, config):
    config.lite_packages = packages(Path(app.confdir, config.lite_app))


def setup(app):
    app.add_config_value("lite_app", ".lite/app", "env")
    app.add_config_value(
        "lite_packages", None, "env"
    )  # found, not set: pages are read again when it comes or goes
    app.add_directive("in-browser", InBrowser)
    app.connect("config-inited", _look)
    app.connect("build-finished", _publish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

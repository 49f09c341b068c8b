"""Sphinx extension: a line below the title of each notebook: what it takes, and links to run or
download it.

The numbers come from the notebook's metadata: its author declares those in ``course``, and its last
validated run took those in ``measured``.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

from _ext import in_browser
from _ext.classroom import FOLDER, Course, Notebook, course_of


def _add_lines(app: Sphinx, doctree: nodes.document) -> None:
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix != ".ipynb":
        return
    notebook = json.loads(path.read_text(encoding="utf-8"))
    title = next(doctree.findall(nodes.title), None)
    declared = notebook["metadata"].get("course")
    if not declared or title is None or title.parent is None:
        return
    line = nodes.paragraph("", " · ".join(_takes(notebook)), classes=["notebook-facts"])
    for text, address in _buttons(app, path.stem, notebook):
        line += [
            nodes.Text(", " if text.islower() else " · "),
            nodes.reference("", text, refuri=address, internal=not address.startswith("https:")),
        ]
    line.source, line.line = str(path), 1
    promise = nodes.paragraph("", course_of(app.config).promise(declared))
    title.parent.insert(title.parent.index(title) + 1, [promise, line])


def _takes(notebook: Notebook) -> list[str]:
    """What the notebook takes: a reader's minutes, a kernel, run time and memory."""
    metadata = notebook["metadata"]
    declared, measured = metadata["course"], metadata.get("measured")
    limits = f"limits {declared['seconds']} s, {declared['memory_mb']} MB"
    if measured:
        limits = f"ran in {measured['seconds']} s with {measured['memory_mb']} MB ({limits})"
    return [f"{declared['minutes']} minutes", metadata["kernelspec"]["display_name"], limits]


def _buttons(app: Sphinx, name: str, notebook: Notebook) -> list[tuple[str, str]]:
    """(text, address) of each place where a reader can run the notebook or get it."""
    course, config = course_of(app.config), app.config
    up = "../" * app.env.docname.count("/")
    buttons = [
        (f"Open on {config.facts['cluster']['name']}", launch(course, config.facts, name)),
        ("Download", f"{up}{FOLDER}/{name}.ipynb"),
        ("as text", f"{up}{FOLDER}/{name}.md"),
    ]
    if address := in_browser.address(config, name, notebook):
        buttons.insert(0, ("Run in the browser", up + address))
    if course.released(config.course_solutions, name):
        buttons.append(("solved", f"{up}{FOLDER}/solutions/{name}.ipynb"))
    return buttons


def launch(course: Course, facts: dict[str, Any], name: str) -> str:
    """The address at the hub that opens the notebook `name` of the student edition.

    nbgitpuller clones the edition into the reader's home, or updates it there.
    """
    folder = f"home/{course.FOLDER}"
    return f"https://{facts['hosts']['hub']}/hub/user-redirect/git-pull?" + urlencode(
        {
            "repo": facts["site"]["repository"],
            "branch": course.BRANCH,
            "targetpath": folder,
            "urlpath": f"lab/tree/{folder}/{name}.ipynb",
        }
    )


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("doctree-read", _add_lines, priority=100)  # before Sphinx collects the downloads
    return {
        "version": "1",
        "env_version": 2,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }

"""Sphinx extension: a card below the title of each notebook: what it takes, and links to run or
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
    buttons = nodes.paragraph("", classes=["buttons"])
    for text, address in _buttons(app, path.stem, notebook):
        link = nodes.reference("", text, refuri=address, internal=not address.startswith("https:"))
        buttons += [link, nodes.Text(" ")]
    facts = [f"{declared['minutes']} minutes", notebook["metadata"]["kernelspec"]["display_name"]]
    if needed := course_of(app.config).needed(declared):
        facts.append(f"needs {needed}")
    card = nodes.container(
        "",
        nodes.paragraph("", " · ".join(facts)),
        buttons,
        nodes.raw("", "<details><summary>What it took</summary>", format="html"),
        nodes.paragraph("", _took(notebook)),
        nodes.raw("", "</details>", format="html"),
        classes=["notebook-facts"],
    )
    for paragraph in card.findall(nodes.paragraph):
        paragraph.source, paragraph.line = str(path), 1
    course = course_of(app.config)
    sentences = filter(None, (course.promise(declared), course.known(declared)))
    promise = nodes.paragraph("", " ".join(sentences), classes=["lead"])
    title.parent.insert(title.parent.index(title) + 1, [promise, card])


def _took(notebook: Notebook) -> str:
    """The run time and the memory of the last validated run, and their limits."""
    declared, measured = notebook["metadata"]["course"], notebook["metadata"].get("measured")
    limits = f"It may take {declared['seconds']} s and {declared['memory_mb']} MB."
    if not measured:
        return limits
    return f"Its last run took {measured['seconds']} s and {measured['memory_mb']} MB. {limits}"


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
        "env_version": 4,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }

"""A line under the title of each notebook page: what it takes, and where to run it, open it or get
a copy, of those that classroom.py makes.

The numbers come from the notebook's own metadata: ``course`` says what its author declares,
``measured`` what its last validated run took.
"""

import json
from urllib.parse import urlencode

from docutils import nodes

from _ext import in_browser
from tools.course import editions


def _add_line(app, doctree):
    path = app.env.doc2path(app.env.docname)
    if path.suffix != ".ipynb":
        return
    notebook = json.loads(path.read_text(encoding="utf-8"))
    metadata = notebook["metadata"]
    course, measured = metadata.get("course"), metadata.get("measured")
    title = next(doctree.findall(nodes.title), None)
    if not course or title is None:
        return
    parts = [f"{course['minutes']} minutes", metadata["kernelspec"]["display_name"]]
    limits = f"limits {course['seconds']} s, {course['memory_mb']} MB"
    if measured:
        parts.append(f"ran in {measured['seconds']} s with {measured['memory_mb']} MB ({limits})")
    else:
        parts.append(limits)
    line = nodes.paragraph("", " · ".join(parts), classes=["notebook-facts"])
    up = "../" * app.env.docname.count("/")
    buttons = [
        (f"Open on {app.config.facts['cluster']['name']}", launch(app.config.facts, path.stem)),
        ("Download", f"{up}course/{path.stem}.ipynb"),
        ("as text", f"{up}course/{path.stem}.md"),
    ]
    if address := in_browser.address(app.config, path.stem, notebook):
        buttons.insert(0, ("Run in the browser", up + address))
    if editions.released(app.config.course_solutions, path.stem):
        buttons.append(("solved", f"{up}course/solutions/{path.stem}.ipynb"))
    for text, address in buttons:
        line += [
            nodes.Text(", " if text.islower() else " · "),
            nodes.reference("", text, refuri=address, internal=not address.startswith("https:")),
        ]
    line.source, line.line = str(path), 1
    title.parent.insert(
        title.parent.index(title) + 1, [nodes.paragraph("", editions.promise(course)), line]
    )


def launch(facts, name):
    """The address at the hub that brings the student edition into a reader's home, or brings it up
    to date, and opens the notebook `name`.
    """
    folder = f"home/{editions.FOLDER}"
    return f"https://{facts['hosts']['hub']}/hub/user-redirect/git-pull?" + urlencode(
        {
            "repo": facts["site"]["repository"],
            "branch": editions.BRANCH,
            "targetpath": folder,
            "urlpath": f"lab/tree/{folder}/{name}.ipynb",
        }
    )


def setup(app):
    app.connect("doctree-read", _add_line, priority=100)  # before Sphinx collects the downloads
    return {
        "version": "1",
        "env_version": 2,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }

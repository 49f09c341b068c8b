"""A line under the title of each notebook page: what it takes, and both halves of the pair to download.

The numbers come from the notebook's own metadata: ``course`` says what its author declares, ``measured`` what its last
validated run took.
"""
import json

from docutils import nodes
from sphinx import addnodes


def _add_line(app, doctree):
    path = app.env.doc2path(app.env.docname)
    if path.suffix != ".ipynb":
        return
    metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]
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
    line = nodes.paragraph("", " · ".join(parts) + " · Download ", classes=["notebook-facts"])
    for index, name in enumerate((path.name, path.with_suffix(".md").name)):
        link = addnodes.download_reference("", "", nodes.literal("", name), reftarget=name, refdoc=app.env.docname, refdomain="")
        line += [nodes.Text(" or "), link] if index else [link]
    line.source, line.line = str(path), 1
    title.parent.insert(title.parent.index(title) + 1, line)


def setup(app):
    app.connect("doctree-read", _add_line, priority=100)  # before Sphinx collects the downloads
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}

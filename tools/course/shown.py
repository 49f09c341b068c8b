"""What a copy of a notebook shows where it is not run: a sentence in the place of a widget, and
links that lead to the guide.
"""

import copy
import re
from typing import Any
from urllib.parse import urljoin

from tools.course.model import Cell, Notebook

LINK = re.compile(r"\]\((?!\w+:|#)([^)\s]+)\)")
SOURCE_FILE = re.compile(r"[.](rst|md|ipynb)(?=#|$)")
WIDGET = "application/vnd.jupyter.widget-view+json"


class CourseError(Exception):
    """What is wrong in a notebook and where, in one sentence."""


def still(notebook: Notebook) -> Notebook:
    """The notebook with a sentence in the place of each widget: without a kernel a page shows
    nothing there.
    """
    return notebook.having(
        cell.having(outputs=[_still(output) for output in cell.outputs]) if cell.outputs else cell
        for cell in notebook.cells
    )


def _still(output: dict[str, Any]) -> dict[str, Any]:
    if WIDGET not in output.get("data", {}):
        return output
    text = "".join(output["data"].get("text/plain", ""))
    name = re.sub(r"\W.*", "", text, flags=re.DOTALL)
    sentence = (
        f"*Here stands a widget{f' (`{name}`)' if name else ''}. It needs a kernel: run this "
        "notebook in Jupyter.*"
    )
    return output | {"data": {"text/markdown": sentence, "text/plain": sentence.replace("*", "")}}


def linked(cell: dict[str, Any], site: str, beside: bool = True) -> Cell:
    """The cell with links that would break in a copy turned to the site.

    site: the address of the built guide; beside: whether other notebooks lie beside the copy.
    """

    def turned(match: re.Match[str]) -> str:
        path = match[1]
        if beside and not path.startswith("../"):
            return match[0]
        page = SOURCE_FILE.sub(".html", path)
        return f"]({urljoin(urljoin(site, 'notebooks/'), page)})"

    new = Cell(copy.deepcopy(cell))
    if new.kind == "markdown":
        new["source"] = LINK.sub(turned, new.source).splitlines(keepends=True)
    return new

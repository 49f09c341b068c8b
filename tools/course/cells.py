"""Cells of notebooks, made by a program, for tests and benches."""

import base64
import io
from collections.abc import Iterable

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output
from PIL import Image


def stream(text: str, name: str = "stdout") -> NotebookNode:
    """What a cell prints."""
    output: NotebookNode = new_output("stream", name=name, text=text)
    return output


def cell(
    source: str, *outputs: NotebookNode, count: int | None = 1, tags: Iterable[str] = ()
) -> NotebookNode:
    """A code cell that was executed as number `count`."""
    made: NotebookNode = new_code_cell(
        source,
        outputs=list(outputs),
        execution_count=count,
        metadata={"tags": list(tags)} if tags else {},
    )
    return made


def picture(level: int, size: tuple[int, int] = (40, 30)) -> str:
    """A grey PNG with one black dot at `level`, as base64."""
    image = Image.new("L", size, 255)
    image.putpixel((3, 3), level)
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def shows(data: str) -> str:
    """The source of a cell that displays the PNG `data`."""
    return (
        f"import base64\nfrom IPython.display import display\ndisplay({{'image/png': "
        f"'{data}'}}, raw=True)"
    )


def image_output(data: str) -> NotebookNode:
    """What that cell shows."""
    output: NotebookNode = new_output("display_data", data={"image/png": data})
    return output


FINE = cell("print('fine')", stream("fine\n"))

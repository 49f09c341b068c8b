"""Cells of notebooks, made by a program, for tests and benches."""

import base64
import io

from nbformat.v4 import new_code_cell, new_output
from PIL import Image


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def cell(source, *outputs, count=1, tags=()):
    return new_code_cell(
        source,
        outputs=list(outputs),
        execution_count=count,
        metadata={"tags": list(tags)} if tags else {},
    )


def picture(level, size=(40, 30)):
    """A grey PNG with one black dot at `level`, as base64."""
    image = Image.new("L", size, 255)
    image.putpixel((3, 3), level)
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def shows(data):
    """A cell that displays the PNG `data`."""
    return (
        f"import base64\nfrom IPython.display import display\ndisplay({{'image/png': "
        f"'{data}'}}, raw=True)"
    )


def image_output(data):
    return new_output("display_data", data={"image/png": data})


FINE = cell("print('fine')", stream("fine\n"))

"""Make a course of any size, the same for the same seed:

    python -m tools.bench.generate FOLDER [N] [SEED]

Paired notebooks with text, tables, pictures, expected errors, data files and two kernels, whose
stored outputs are what a run gives.
"""

import base64
import io
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from tools.course import myst, pairs

WORDS = [
    *("node", "queue", "kernel", "module", "memory"),
    *("partition", "result", "table", "value", "notebook"),
]
KERNELS = {"python3": ("Python 3", "python"), "bash": ("Bash", "bash")}
SHOW = "from IPython.display import display\ndisplay({{{kind!r}: {data!r}}}, raw=True)"


def make(folder: Path, count: int = 1000, seed: int = 1) -> None:
    """Write `count` notebooks, both halves, and their data into `folder`."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        chance = random.Random(f"{seed} {number}")
        kernel = "bash" if chance.random() < 0.1 else "python3"
        data = f"data/{number:04}.txt"
        (folder / data).write_text(f"{chance.randrange(1000)}\n")
        makers = (_echo,) if kernel == "bash" else (_text, _text, _table, _picture, _error)
        cells = [
            new_markdown_cell(f"# Notebook {number}", id="title"),
            _read(kernel, data, (folder / data).read_text()),
        ]
        for part in range(chance.randrange(3, 9)):
            cells.append(
                new_markdown_cell(f"## About {_words(chance, 2)}\n\n{_words(chance, 40)}.")
            )
            if part == 0:
                cells.append(new_markdown_cell("10 minutes.", metadata={"tags": ["instructor"]}))
            cells.append(chance.choice(makers)(chance))
        code = (cell for cell in cells if cell.cell_type == "code")
        for place, cell in enumerate(code, 1):
            cell.execution_count = place
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = place
        for place, cell in enumerate(cells):
            cell.id = f"cell-{place}"
        shown, language = KERNELS[kernel]
        notebook = new_notebook(
            cells=cells,
            metadata={
                "kernelspec": {"name": kernel, "display_name": shown, "language": language},
                "jupytext": {"formats": myst.FORMATS},
                "measured": {"seconds": 2, "memory_mb": 100},
                "course": {
                    "goal": "measure",
                    "minutes": 10,
                    "needs": [],
                    "reads": [data],
                    "seconds": 60,
                    "memory_mb": 300,
                },
            },
        )
        pairs.write_ipynb(notebook, folder / f"{number:04}.ipynb")
        pairs.write_md(notebook, folder / f"{number:04}.md")


def _words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choices(WORDS, k=count))


def _cell(source: str, *outputs: Any, tags: Sequence[str] = ()) -> Any:
    return new_code_cell(
        source, outputs=list(outputs), metadata={"tags": list(tags)} if tags else {}
    )


def _read(kernel: str, data: str, text: str) -> Any:
    return _cell(
        f"cat {data}" if kernel == "bash" else f"print(open({data!r}).read(), end='')",
        new_output("stream", text=text),
    )


def _echo(chance: random.Random) -> Any:
    text = _words(chance, 5)
    return _cell(f"echo {text}", new_output("stream", text=f"{text}\n"))


def _text(chance: random.Random) -> Any:
    one = chance.randrange(1000)
    other = chance.randrange(1000)
    return _cell(
        f"{one} * {other}", new_output("execute_result", data={"text/plain": str(one * other)})
    )


def _table(chance: random.Random) -> Any:
    rows = "".join(
        f"<tr><td>{_words(chance, 1)}</td><td>{chance.randrange(100)}</td></tr>" for _ in range(5)
    )
    data = f"<table>{rows}</table>"
    return _cell(
        SHOW.format(kind="text/html", data=data),
        new_output("display_data", data={"text/html": data}),
    )


def _picture(chance: random.Random) -> Any:
    image = Image.new("RGB", (60, 40), "white")
    for x in range(60):
        image.putpixel((x, chance.randrange(40)), (0, 80, 160))
    file = io.BytesIO()
    image.save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return _cell(
        SHOW.format(kind="image/png", data=data),
        new_output("display_data", data={"image/png": data}),
    )


def _error(chance: random.Random) -> Any:
    text = _words(chance, 3)
    return _cell(
        f"raise ValueError({text!r})",
        new_output("error", ename="ValueError", evalue=text, traceback=[]),
        tags=["raises-exception"],
    )


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4 or not all(argument.isdecimal() for argument in sys.argv[2:]):
        sys.exit(__doc__)
    make(Path(sys.argv[1]), *map(int, sys.argv[2:]))

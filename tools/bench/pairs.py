"""The pair check of 200 pairs, against parsing those 400 files once; exits 1 if it takes more than
twice as long.
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nbformat

from tools.bench.measure import compare
from tools.course import halves, myst, pairs

PAIRS = 200
WORDS = ("one", "two", "three", "four", "five")


def make(folder: Path, seed: int = 0) -> None:
    """Write PAIRS varied notebooks, both halves, into `folder`."""
    chance = random.Random(seed)
    for number in range(PAIRS):
        cells = []
        for index in range(chance.randrange(10, 30)):
            text = "\n".join(
                " ".join(chance.choices(WORDS, k=8)) for _ in range(chance.randrange(1, 8))
            )
            if chance.random() < 0.5:
                cells.append(nbformat.v4.new_markdown_cell(f"## Part {index}\n\n{text}"))
            else:
                output = nbformat.v4.new_output("stream", text=text)
                cells.append(
                    nbformat.v4.new_code_cell(
                        f"x = '''{text}'''\nprint(x)", outputs=[output], execution_count=index + 1
                    )
                )
        notebook = nbformat.v4.new_notebook(
            cells=cells,
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
                "jupytext": {"formats": myst.FORMATS},
                "course": {
                    "goal": "try",
                    "minutes": 10,
                    "needs": [],
                    "seconds": 30,
                    "memory_mb": 200,
                },
            },
        )
        pairs.write_ipynb(notebook, folder / f"{number:03}.ipynb")
        pairs.write_md(notebook, folder / f"{number:03}.md")


def main() -> int:
    """Measure; return the exit status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)

        def parse() -> None:
            for pair in halves.find(folder):
                assert pair.ipynb and pair.md
                nbformat.read(pair.ipynb, as_version=4)
                pairs.read_md(pair.md)

        def check() -> None:
            problems = pairs.check(folder)
            assert not problems, problems[0]

        met = compare(
            f"check of {PAIRS} pairs / parsing their files once", timed(check), timed(parse), 2
        )
        return 0 if met else 1


def timed(function: Callable[[], None]) -> Callable[[], float]:
    """A function that calls `function` and returns how long that took, in seconds."""

    def run() -> float:
        began = time.perf_counter()
        function()
        return time.perf_counter() - began

    return run


if __name__ == "__main__":
    sys.exit(main())

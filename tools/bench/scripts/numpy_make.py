"""Make notebooks of our course from numpy's tutorials, with outputs: `python -m
tools.bench.scripts.numpy_make THEIRS OURS`, two folders.
"""

import sys
import time
from pathlib import Path

import jupytext
import nbformat

from tools.course import pairs
from tools.validate import catalogue, changes, refresh

# Files that a tutorial leaves behind, which no notebook of our course may do.
LEAVES = {
    "tutorial-x-ray-image-processing": ["tutorial-x-ray-image-processing/xray_image.gif"],
    "save-load-arrays": ["x_y-squared.npz", "x_y-squared.csv"],
    "mooreslaw-tutorial": ["mooreslaw_regression.npz", "mooreslaw_regression.csv"],
}
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def take_over(theirs: Path, ours: Path) -> None:
    """Write a notebook of our course for each of their tutorials, without outputs."""
    for path in sorted(theirs.glob("*.md")):
        notebook = jupytext.read(path)
        if "kernelspec" not in notebook.metadata:
            continue
        jupytext.write(notebook, path.with_suffix(".ipynb"))
        notebook.metadata.kernelspec = KERNEL
        if path.stem in LEAVES:
            remove = f"import os; [os.remove(path) for path in {LEAVES[path.stem]}];"
            notebook.cells.append(nbformat.v4.new_code_cell(remove))
        notebook.metadata["course"] = {"needs": [], "seconds": 300, "memory_mb": 3000}
        pairs.write_ipynb(notebook, ours / f"{path.stem}.ipynb")


def add_outputs(ours: Path) -> None:
    """Run each notebook, and keep its outputs."""
    for notebook in catalogue.load(folder=ours):
        began = time.monotonic()
        fresh = refresh.executed(notebook, changes.Surroundings(), stop=False)
        # As a refresh does: the longest begins first.
        fresh.metadata["measured"] = {"seconds": round(time.monotonic() - began)}
        for cell in fresh.cells:
            if any(output.get("name") == "stderr" for output in cell.outputs):
                cell.metadata["tags"] = ["writes-stderr"]
        fresh.metadata["course"] = notebook.metadata["course"]
        pairs.write_ipynb(fresh, notebook.path)


if __name__ == "__main__":
    take_over(Path(sys.argv[1]), Path(sys.argv[2]))
    add_outputs(Path(sys.argv[2]))

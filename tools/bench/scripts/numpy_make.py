"""Make notebooks of our course, with outputs, from numpy's tutorials: `numpy_make.py THEIRS OURS`.

THEIRS and OURS are folders. For nbval, each tutorial also gets an .ipynb in THEIRS.
"""

import shutil
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbconvert.preprocessors import ExecutePreprocessor

# Two of these need the network, their own tests ignore one, and one is too large for our pages.
LEFT_OUT = (
    "tutorial-svd",
    "tutorial-deep-learning-on-mnist",
    "tutorial-style-guide",
    "tutorial-x-ray-image-processing",
)
# Files that a tutorial leaves behind; our validation does not allow that.
LEAVES = {
    "save-load-arrays": ["x_y-squared.npz", "x_y-squared.csv"],
    "mooreslaw-tutorial": ["mooreslaw_regression.npz", "mooreslaw_regression.csv"],
}
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def make(source: Path, ours: Path) -> None:
    """Write a notebook of our course, with the outputs of a run, for the tutorial `source`."""
    notebook = jupytext.read(source)
    if "kernelspec" not in notebook.metadata:
        return
    jupytext.write(notebook, source.with_suffix(".ipynb"))
    # OURS holds other files than THEIRS.
    notebook.cells = [cell for cell in notebook.cells if cell.source != "! ls"]
    if source.stem in LEAVES:
        remove = f"import os; [os.remove(path) for path in {LEAVES[source.stem]}];"
        notebook.cells.append(nbformat.v4.new_code_cell(remove))
    notebook.metadata["kernelspec"] = KERNEL
    began = time.monotonic()
    ExecutePreprocessor(timeout=600).preprocess(notebook, {"metadata": {"path": ours}})
    for cell in notebook.cells:
        if any(output.get("name") == "stderr" for output in cell.get("outputs", ())):
            cell.metadata["tags"] = ["writes-stderr"]
    notebook.metadata["course"] = {"needs": [], "seconds": 300, "memory_mb": 3000}
    # A validation begins with the notebook that takes longest.
    notebook.metadata["measured"] = {"seconds": round(time.monotonic() - began)}
    nbformat.write(notebook, ours / f"{source.stem}.ipynb")


if __name__ == "__main__":
    theirs, ours = map(Path, sys.argv[1:])
    for name in LEFT_OUT:
        (theirs / f"{name}.md").unlink()
    shutil.copytree(theirs, ours, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.md"))
    for tutorial in sorted(theirs.glob("*.md")):
        make(tutorial, ours)

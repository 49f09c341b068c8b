"""Validate numpy's tutorials, against the plain tools: `pytest --nbval-lax` as their own tox.ini
calls it, and `pytest --nbmake -n auto`.

NUMPY_TUTORIALS is a clone of https://github.com/numpy/numpy-tutorials; those that need the network
are left out. Their outputs are made first, since that repository stores none: we compare each with
a fresh run, pictures too, and the plain tools see exceptions only.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.bench.measure import PYTHON, compare, seconds
from tools.files import ROOT

NETWORK = (
    "tutorial-svd",
    "tutorial-deep-learning-on-mnist",
    "tutorial-style-guide",
)  # the last one is in their ignore_testing
PACKAGES = ("scipy", "pandas", "imageio", "pooch", "nbmake")
MAKE = """
import sys
import time
from pathlib import Path
import jupytext
import nbformat
from tools.course import pairs
from tools.validate import changes, runner
LEAVES = {      # files, which no notebook of our course may leave
    "tutorial-x-ray-image-processing": ["tutorial-x-ray-image-processing/xray_image.gif"], "save-load-arrays": ["x_y-squared.npz", "x_y-squared.csv"],
    "mooreslaw-tutorial": ["mooreslaw_regression.npz", "mooreslaw_regression.csv"],
}
theirs, ours = Path(sys.argv[1]), Path(sys.argv[2])
for path in sorted(theirs.glob("*.md")):
    notebook = jupytext.read(path)
    if "kernelspec" not in notebook.metadata:
        continue
    jupytext.write(notebook, path.with_suffix(".ipynb"))
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    if path.stem in LEAVES:
        notebook.cells.append(nbformat.v4.new_code_cell(f"import os; [os.remove(path) for path in {LEAVES[path.stem]}];"))
    notebook.metadata["course"] = {"needs": [], "seconds": 300, "memory_mb": 3000}
    pairs.write_ipynb(notebook, ours / f"{path.stem}.ipynb")
for notebook in runner.load(folder=ours):
    began = time.monotonic()
    fresh = runner.executed(notebook, changes.Surroundings(), stop=False)
    fresh.metadata["measured"] = {"seconds": round(time.monotonic() - began)}       # as a refresh does: the longest begins first
    for cell in fresh.cells:
        if any(output.get("name") == "stderr" for output in cell.outputs):
            cell.metadata["tags"] = ["writes-stderr"]
    fresh.metadata["course"] = notebook.metadata["course"]
    pairs.write_ipynb(fresh, notebook.path)
"""
VALIDATE = """
import sys
from pathlib import Path
from tools.validate import runner, sanitize
sanitize.load = lambda: [{"regex": "0x[0-9a-f]{8,}", "replace": "ADDRESS"},     # of objects that a cell shows
                         {"regex": "value is [-0-9.e]+", "replace": "VALUE"}]   # of a sample that is drawn anew each time
results = runner.validate(runner.load(folder=Path(sys.argv[1])))
print(*[runner.describe(result) for result in results], sep="\\n")
"""


def main():
    place = os.environ.get("NUMPY_TUTORIALS")
    if not place:
        print(
            "numpy's tutorials are not here: git clone "
            "https://github.com/numpy/numpy-tutorials, then make bench "
            "NUMPY_TUTORIALS=FOLDER",
            file=sys.stderr,
        )
        return 1
    with tempfile.TemporaryDirectory() as top:
        top = Path(top)
        subprocess.run(["git", "clone", "-q", place, top / "clone"], check=True)
        content, ours = top / "clone/content", top / "notebooks"
        for name in NETWORK:
            (content / f"{name}.md").unlink()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", top / "env"], check=True)
        python = top / "env/bin/python"
        subprocess.run(
            [
                ROOT / ".venv/bin/uv",
                "pip",
                "install",
                "-q",
                "--compile-bytecode",
                f"--python={python}",
                "-r",
                ROOT / "requirements.in",
                "-c",
                locked(top),
                *PACKAGES,
            ],
            check=True,
        )
        subprocess.run(["cp", "-r", content, ours], check=True)
        environment = os.environ | {"PYTHONPATH": f"{ROOT}"}
        subprocess.run([python, "-c", MAKE, content, ours], check=True, env=environment)
        checked = subprocess.run(
            [python, "-c", VALIDATE, ours],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        if "FAILED" in checked:
            sys.exit(f"a second run does not give the outputs of the first:\n{checked}")
        print(checked, end="")

        def validation():
            return seconds([python, "-c", VALIDATE, ours], env=environment)

        def plain(*options):
            return lambda: seconds(
                [python, "-m", "pytest", "-p", "no:cacheprovider", *options, "content/"],
                cwd=top / "clone",
            )

        met = [
            compare(
                "numpy's tutorials / pytest --nbval-lax",
                validation,
                plain("--nbval-lax", "--durations=10"),
                0.55,
            ),
            compare(
                "numpy's tutorials / pytest --nbmake -n auto",
                validation,
                plain("-p", "no:nbval", "--nbmake", "-n", "auto"),
                1.0,
            ),
        ]
    return 0 if all(met) else 1


def locked(folder):
    """Our lock file as constraints: without hashes, which the packages beside it have none of."""
    plain = subprocess.run(
        [
            PYTHON.parent / "uv",
            "pip",
            "compile",
            "-q",
            "--no-header",
            "--no-annotate",
            ROOT / "requirements.txt",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    (folder / "constraints.txt").write_text(plain.stdout)
    return folder / "constraints.txt"


if __name__ == "__main__":
    sys.exit(main())

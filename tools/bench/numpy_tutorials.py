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

# Those that need the network, and one more that their own tests ignore.
LEFT_OUT = ("tutorial-svd", "tutorial-deep-learning-on-mnist", "tutorial-style-guide")
PACKAGES = ("scipy", "pandas", "imageio", "pooch", "nbmake")
MAKE = ("-m", "tools.bench.scripts.numpy_make")
VALIDATE = ("-m", "tools.bench.scripts.numpy_validate")


def main() -> int:
    """Measure; return the exit status."""
    clone = os.environ.get("NUMPY_TUTORIALS")
    if not clone:
        print(
            "numpy's tutorials are not here: git clone "
            "https://github.com/numpy/numpy-tutorials, then make bench "
            "NUMPY_TUTORIALS=FOLDER",
            file=sys.stderr,
        )
        return 1
    with tempfile.TemporaryDirectory() as folder:
        return 0 if measure(clone, Path(folder)) else 1


def measure(source: str, folder: Path) -> bool:
    """Whether we are as fast as promised, over the tutorials of the repository `source`.

    Raises SystemExit if a second run does not give the outputs of the first.
    """
    clone = folder / "clone"
    ours = folder / "notebooks"
    subprocess.run(["git", "clone", "-q", source, clone], check=True)
    for name in LEFT_OUT:
        (clone / f"content/{name}.md").unlink()
    python = environment(folder)
    subprocess.run(["cp", "-r", clone / "content", ours], check=True)
    variables = os.environ | {"PYTHONPATH": f"{ROOT}"}
    subprocess.run([python, *MAKE, clone / "content", ours], check=True, env=variables)
    report = subprocess.run(
        [python, *VALIDATE, ours], env=variables, capture_output=True, text=True, check=True
    ).stdout
    if "FAILED" in report:
        sys.exit(f"a second run does not give the outputs of the first:\n{report}")
    print(report, end="")

    def validation() -> float:
        return seconds([python, *VALIDATE, ours], env=variables)

    def plain(*options: str) -> float:
        return seconds(
            [python, "-m", "pytest", "-p", "no:cacheprovider", *options, "content/"], cwd=clone
        )

    return all(
        [
            compare(
                "numpy's tutorials / pytest --nbval-lax",
                validation,
                lambda: plain("--nbval-lax", "--durations=10"),
                0.55,
            ),
            compare(
                "numpy's tutorials / pytest --nbmake -n auto",
                validation,
                lambda: plain("-p", "no:nbval", "--nbmake", "-n", "auto"),
                1.0,
            ),
        ]
    )


def environment(folder: Path) -> Path:
    """The Python of a new environment in `folder`, with our packages and those of the tutorials."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    python = folder / "env/bin/python"
    subprocess.run(
        [
            ROOT / ".venv/bin/uv",
            *("pip", "install", "-q", "--compile-bytecode", f"--python={python}"),
            *("-r", str(ROOT / "requirements.in"), "-c", str(constraints(folder))),
            *PACKAGES,
        ],
        check=True,
    )
    return python


def constraints(folder: Path) -> Path:
    """A file with what our lock file says, without hashes: the packages of the tutorials have
    none.
    """
    locked = subprocess.run(
        [
            PYTHON.parent / "uv",
            *("pip", "compile", "-q", "--no-header", "--no-annotate"),
            ROOT / "requirements.txt",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    file = folder / "constraints.txt"
    file.write_text(locked.stdout)
    return file


if __name__ == "__main__":
    sys.exit(main())

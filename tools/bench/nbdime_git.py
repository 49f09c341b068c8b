"""How long `git diff` over ten changed notebooks takes: nbdime-git's driver against nbdime's own.

    python -m tools.bench.nbdime_git --env DIR [--pairs 3]

Runs both in turn, so that a busy machine slows both; prints the ratio of the medians. Both print
nbdime's readable, coloured diff, and the run counts only if all ten changes are in it. The exit
status is 1 if the ratio is above 0.4.
"""

import argparse
import json
import os
import random
import statistics
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tools.files import ROOT

LIMIT = 0.4
NOTEBOOKS = 10
PICTURES = (7, 12)  # the cells that have one
SCRIPT = ROOT / "triton/bin/nbdime-git"
GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "color.ui=always")


def notebook(seed: int, radius: int) -> str:
    """The JSON of a notebook of 20 cells with text outputs and two pictures; `radius` stands in one
    line of it.
    """
    chance = random.Random(seed)
    cells = [_cell(chance, number, radius) for number in range(20)]
    content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1) + "\n"


def _cell(chance: random.Random, number: int, radius: int) -> dict[str, Any]:
    lines = [f"value_{line} = {chance.randrange(10**6)}\n" for line in range(6)]
    text = [f"result {chance.random()}\n" for _ in range(5)]
    outputs: list[dict[str, Any]] = [{"output_type": "stream", "name": "stdout", "text": text}]
    if number in PICTURES:
        letters = string.ascii_letters + string.digits + "+/"
        picture = "".join(chance.choices(letters, k=40000))
        data = {"image/png": picture, "text/plain": ["<Figure>"]}
        outputs.append({"output_type": "display_data", "metadata": {}, "data": data})
    if number == 5:
        lines[2] = f"radius = {radius}\n"
    return {
        "cell_type": "code",
        "execution_count": number + 1,
        "id": f"cell-{number}",
        "metadata": {},
        "outputs": outputs,
        "source": lines,
    }


class Repository:
    """A repository with ten notebooks that have changed since the commit."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        folder.mkdir()
        self.run(*GIT, "init", "-q")
        self._write(radius=1)
        self.run(*GIT, "add", ".")
        self.run(*GIT, "commit", "-qm", "first")
        self._write(radius=2)

    def _write(self, radius: int) -> None:
        for seed in range(NOTEBOOKS):
            (self.folder / f"{seed}.ipynb").write_text(notebook(seed, radius))

    def run(self, *command: str | Path) -> str:
        """What the command prints in this repository. Raises CalledProcessError if it fails."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def seconds(self) -> float:
        """How long `git diff` takes. Raises SystemExit if it does not show all changes."""
        began = time.perf_counter()
        shown = self.run(*GIT, "diff")
        took = time.perf_counter() - began
        if (
            shown.count("radius = 2") != NOTEBOOKS
            or shown.count("## modified /cells/5/source") != NOTEBOOKS
            or "\x1b[" not in shown
        ):
            sys.exit(f"{self.folder.name} did not show all {NOTEBOOKS} changes:\n{shown[:2000]}")
        return took


def measure(prefix: Path, pairs: int) -> dict[str, float]:
    """The medians of so many runs, in seconds: {"nbdime": ..., "nbdime-git": ...}.

    prefix: the environment that has nbdime.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "PATH": f"{prefix.absolute() / 'bin'}:{os.environ['PATH']}",
            "HOME": folder,
            "GIT_CONFIG_NOSYSTEM": "1",
            "NBDIME_GIT_READABLE": "1",
            "LC_ALL": "C.UTF-8",
        }
        repositories = {
            name: Repository(Path(folder, name), environment) for name in ("nbdime", "nbdime-git")
        }
        repositories["nbdime"].run("nbdime", "config-git", "--enable")
        repositories["nbdime-git"].run(
            sys.executable, SCRIPT, "enable", "--prefix", prefix.absolute()
        )
        times: dict[str, list[float]] = {name: [] for name in repositories}
        for pair in range(pairs):
            for name in sorted(repositories, reverse=bool(pair % 2)):
                times[name].append(repositories[name].seconds())
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> int:
    """Measure; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", required=True, type=Path, help="the environment that has nbdime")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    if not (options.env / "bin/git-nbdiffdriver").exists():
        parser.error(f"no nbdime in {options.env}")
    medians = measure(options.env, options.pairs)
    ratio = medians["nbdime-git"] / medians["nbdime"]
    print(
        f"git diff over {NOTEBOOKS} notebooks, medians of {options.pairs} pairs: nbdime "
        f"{medians['nbdime']:.2f} s, "
        f"nbdime-git {medians['nbdime-git']:.2f} s, ratio {ratio:.3f} (at most {LIMIT})"
    )
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())

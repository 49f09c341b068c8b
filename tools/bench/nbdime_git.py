"""How long `git diff` over ten changed notebooks takes: nbdime-git's driver against nbdime's own.

    python tools/bench/nbdime_git.py --env DIR [--pairs 3]

Runs both in turn, so that a busy machine slows both; prints the ratio of the medians. Both print
nbdime's readable, coloured diff, and the run counts only if all ten changes are in it. Exit status
1 if the ratio is above 0.4.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 0.4
NOTEBOOKS = 10
SCRIPT = Path(__file__).resolve().parents[2] / "triton/bin/nbdime-git"


def notebook(seed, radius):
    """JSON text of a notebook of 20 cells with text outputs and two pictures; `radius` stands in
    one line of it.
    """
    rng = random.Random(seed)
    cells = []
    for number in range(20):
        lines = [f"value_{line} = {rng.randrange(10**6)}\n" for line in range(6)]
        outputs = [
            {
                "output_type": "stream",
                "name": "stdout",
                "text": [f"result {rng.random()}\n" for _ in range(5)],
            }
        ]
        if number in (7, 12):
            picture = "".join(
                rng.choices(
                    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", k=40000
                )
            )
            outputs.append(
                {
                    "output_type": "display_data",
                    "metadata": {},
                    "data": {"image/png": picture, "text/plain": ["<Figure>"]},
                }
            )
        if number == 5:
            lines[2] = f"radius = {radius}\n"
        cells.append(
            {
                "cell_type": "code",
                "execution_count": number + 1,
                "id": f"cell-{number}",
                "metadata": {},
                "outputs": outputs,
                "source": lines,
            }
        )
    return (
        json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1)
        + "\n"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", required=True, type=Path, help="the environment that has nbdime")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    bin_folder = options.env.absolute() / "bin"
    if not (bin_folder / "git-nbdiffdriver").exists():
        parser.error(f"no nbdime in {options.env}")
    with tempfile.TemporaryDirectory() as folder:
        env = {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "HOME": folder,
            "GIT_CONFIG_NOSYSTEM": "1",
            "NBDIME_GIT_READABLE": "1",
            "LC_ALL": "C.UTF-8",
        }

        def git(repo, *arguments):
            return subprocess.run(
                [
                    "git",
                    "-c",
                    "user.name=A",
                    "-c",
                    "user.email=a@example.org",
                    "-c",
                    "color.ui=always",
                    *arguments,
                ],
                cwd=repo,
                env=env,
                check=True,
                capture_output=True,
                text=True,
            ).stdout

        repos = {name: Path(folder, name) for name in ("nbdime", "nbdime-git")}
        for name, repo in repos.items():
            repo.mkdir()
            git(repo, "init", "-q")
            for radius in (1, 2):
                for seed in range(NOTEBOOKS):
                    (repo / f"{seed}.ipynb").write_text(notebook(seed, radius))
                if radius == 1:
                    git(repo, "add", ".")
                    git(repo, "commit", "-qm", "first")
        subprocess.run(
            ["nbdime", "config-git", "--enable"], cwd=repos["nbdime"], env=env, check=True
        )
        subprocess.run(
            [sys.executable, SCRIPT, "enable", "--prefix", options.env],
            cwd=repos["nbdime-git"],
            env=env,
            check=True,
            capture_output=True,
        )
        seconds = {name: [] for name in repos}
        for pair in range(options.pairs):
            for name in sorted(repos, reverse=pair % 2):
                begun = time.perf_counter()
                shown = git(repos[name], "diff")
                seconds[name].append(time.perf_counter() - begun)
                if (
                    shown.count("radius = 2") != NOTEBOOKS
                    or shown.count("## modified /cells/5/source") != NOTEBOOKS
                    or "\x1b[" not in shown
                ):
                    sys.exit(f"{name} did not show all {NOTEBOOKS} changes:\n{shown[:2000]}")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians["nbdime-git"] / medians["nbdime"]
    print(
        f"git diff over {NOTEBOOKS} notebooks, medians of {options.pairs} pairs: nbdime "
        f"{medians['nbdime']:.2f} s, "
        f"nbdime-git {medians['nbdime-git']:.2f} s, ratio {ratio:.3f} (at most {LIMIT})"
    )
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())

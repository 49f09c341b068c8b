"""Compare our speed with that of the plain tools, and count faults: `make bench`.

A line of COMPARISONS shows the medians of both times, the median of their ratio, and the limit of
the ratio. A line of COUNTS shows a number and its limit. Names on the command line choose lines.
"""

import functools
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from playwright.sync_api import sync_playwright

from tools import questions
from tools.bench import course, on_cluster
from tools.bench.times import Comparison, compare
from tools.browser import CHROMIUM, FLAGS
from tools.cluster import cluster
from tools.files import ROOT
from tools.page_quality import served
from tools.site import build_site

# {name: what is compared, ours first; the limit of the ratio; the number of runs}
COMPARISONS = {
    "site": Comparison("cold build of the site / bare Sphinx", course.site, 1.3, runs=5),
    "pages": Comparison(
        "with 200 notebooks more / bare Sphinx", functools.partial(course.site, more=200), 1.3, 1
    ),
    "notebooks": Comparison("validation of the notebooks / nbval", course.notebooks, 0.45),
    "changed": Comparison("one notebook has changed / nbval of it alone", course.changed, 1.3, 5),
    "numpy": Comparison("numpy's tutorials / nbval-lax", course.numpy, 0.55),
    "nbdime-git": Comparison("git diff with nbdime-git / with nbdime", course.nbdime_git, 0.4),
    "slurm": Comparison("16 notebooks in jobs: four nodes / one", on_cluster.slurm, 0.33, 1),
    "cluster": Comparison("a small Triton with 16 nodes / with 4", on_cluster.bring_up, 4),
    "sjupyter": Comparison("sjupyter, until a page answers / srun", on_cluster.sjupyter, 1.1, 9),
    "hub": Comparison("start in the hub / a bare batch job", on_cluster.service, 1.15, 7),
}


def search(folder: Path) -> float:
    """The percentage of readers' questions that the search does not answer."""
    if not CHROMIUM:
        raise SystemExit("no Chromium here: make system says how to get it")
    if (built := build_site(ROOT, folder)).returncode:
        raise SystemExit(f"the site does not build:\n{built.stderr}")
    asked = questions.load()
    site = folder / "html"
    with served(site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(f"{address}/{questions.START}")
        misses = questions.misses(page, asked, questions.sections(site))
        browser.close()
    print(*misses, f"{len(misses)} of {len(asked)} questions are not answered", sep="\n  ")
    return 100 * len(misses) / len(asked)


# {name: what is counted, a function that counts it, the limit}
COUNTS: dict[str, tuple[str, Callable[[Path], float], float]] = {
    "search": ("% of the questions to the search", search, 100 - 100 * questions.least()),
    "memory": ("MB that an idle small Triton holds", on_cluster.idle_memory, 300),
    "hub-faults": ("losses in starts with a fault", on_cluster.faults, 0),
    "hub-numbers": ("losses and long waits with many people", on_cluster.numbers, 0),
}
NEED_CLUSTER = {"slurm", "cluster", "sjupyter", "hub", "memory", "hub-faults", "hub-numbers"}


def met(name: str, folder: Path) -> bool:
    """Measure one line, print it, and return whether it is within its limit."""
    if name in NEED_CLUSTER and (why := cluster.obstacle()):
        print(f"{name}: {why}")
        return False
    if name in COMPARISONS:
        return compare(COMPARISONS[name], folder)
    what, count, most = COUNTS[name]
    number = count(folder)
    print(f"{what:62}{number:9.1f}  (at most {most:g})", flush=True)
    return number <= most


def main(names: Sequence[str]) -> None:
    """Measure the lines of these names, or all. Raises SystemExit with the exit status."""
    known = [*COMPARISONS, *COUNTS]
    if unknown := set(names) - set(known):
        sys.exit(f"there is no bench {unknown.pop()}; there are: {', '.join(known)}")
    # With this variable, the plain tools would compile their imports in each run.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    results = []
    for name in names or known:
        with tempfile.TemporaryDirectory() as folder:
            results.append(met(name, Path(folder)))
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Compare our speed with that of the plain tools: `make bench`.

Each line shows the medians of both, and the median of the ratios of runs made in turn, beside the most it may be. Names on the command
line choose some: site, notebooks, pairs, nbdime-git, imports, cluster.
"""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from triton import cluster

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv/bin/python"
BARE_CONF = """
extensions = ["myst_nb"]
html_theme = "sphinx_rtd_theme"
nb_execution_mode = "off"
include_patterns = ["index.rst", "triton/**", "scicomp/**", "notebooks/**"]
exclude_patterns = ["notebooks/*.md", "notebooks/data/**"]
"""


def seconds(command, **options):
    """How long `command` takes, in seconds; its output is dropped, a failure is an error unless `check` is false."""
    started = time.perf_counter()
    subprocess.run([os.fspath(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **{"check": True} | options)
    return time.perf_counter() - started


def compare(name, ours, plain, most, pairs=3):
    """Run both in turn, print the median of the pairs' ratios; True if it is at most `most`."""
    times = [(ours(), plain()) for _ in range(pairs)]
    mine, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(one / other for one, other in times)
    print(f"{name:58}{mine:7.2f} s  {theirs:7.2f} s  ratio {ratio:.2f}  (at most {most})", flush=True)
    return ratio <= most


def site(folder):
    """A cold build of the site, against bare Sphinx with the theme and myst-nb over the same sources."""
    bare = folder / "bare"
    shutil.copytree(ROOT, bare, ignore=shutil.ignore_patterns(".git", ".venv*", ".triton", "_build", "conf.py"))
    (bare / "conf.py").write_text(BARE_CONF)

    def build(source):
        target = Path(tempfile.mkdtemp(dir=folder))
        return seconds([PYTHON, "-m", "sphinx", "-q", "-b", "html", source, target], cwd=source)

    return compare("cold build / bare Sphinx, theme and myst-nb", lambda: build(ROOT), lambda: build(bare), 1.3, pairs=5)


def notebooks(folder):
    """Validation of the course, against nbval in one process over a copy."""
    copy = folder / "notebooks"
    shutil.copytree(ROOT / "notebooks", copy)
    names = [path.stem for path in sorted(copy.glob("*.ipynb")) if '"r"' not in path.read_text(encoding="utf-8")]
    environment = os.environ | {"PATH": f"{ROOT}/triton/bin:{ROOT}/.venv/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "tests"),
                                "NBDIME_GIT_PREFIX": str(ROOT / ".venv-nbdime"), "LC_ALL": "C.UTF-8"}
    return compare(
        "validation of the notebooks / pytest --nbval",
        lambda: seconds([PYTHON, "-m", "course.runner", "validate", *names], env=environment),
        lambda: seconds([PYTHON, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "-c", os.devnull, *[copy / f"{name}.ipynb" for name in names]],
                        env=environment, cwd=copy, check=False), 0.6)


def imports(folder):
    """`import nbformat` where the site is built, against the environment that has nbdime."""
    return compare("import nbformat in .venv / in .venv-nbdime",
                   lambda: seconds([PYTHON, "-c", "import nbformat"]),
                   lambda: seconds([ROOT / ".venv-nbdime/bin/python", "-c", "import nbformat"]), 0.6, pairs=5)


def small_triton(folder):
    """Sixteen nodes against four: bring-up and the memory that the idle cluster holds. Nothing on it can be measured for speed."""
    if why := cluster.obstacle():
        print(f"no cluster: {why}")
        return False
    held = {}

    def bring_up(nodes):
        state, began = folder / f"nodes-{nodes}", time.perf_counter()
        cluster.up(nodes, state=state, tied=True, say=lambda line: None)
        took = time.perf_counter() - began
        held[nodes] = cluster.memory_used(cluster.machine_room(state)) / 1e6
        down = time.perf_counter()
        cluster.down(state)
        held["down"] = time.perf_counter() - down
        return took

    met = compare("small Triton up with 16 nodes / with 4", lambda: bring_up(16), lambda: bring_up(4), 4)
    print(f"{'  it holds, idle':58}{held[16]:5.0f} MB  {held[4]:6.0f} MB; down in {held['down']:.1f} s")
    return met and held[4] < 700


def script(*arguments):
    return lambda folder: subprocess.run([PYTHON, *arguments], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT / "tests")}).returncode == 0


BENCHES = {
    "site": site,
    "notebooks": notebooks,
    "pairs": script("tests/bench_pairs.py"),
    "nbdime-git": script("tests/bench_nbdime_git.py", "--env", ROOT / ".venv-nbdime"),
    "imports": imports,
    "cluster": small_triton,
}


def main(names):
    unknown = set(names) - set(BENCHES)
    if unknown:
        sys.exit(f"there is no bench {unknown.pop()}; there are: {', '.join(BENCHES)}")
    with tempfile.TemporaryDirectory() as folder:
        met = []
        for name in names or BENCHES:
            (Path(folder) / name).mkdir()
            met.append(BENCHES[name](Path(folder) / name))
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main(sys.argv[1:])

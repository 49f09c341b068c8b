"""How time and memory grow with the number of notebooks, from 10 to 1,000; exits 1 if more than in
proportion.

Each line shows the processor time at each size and the growth of the time for one notebook from the
second size to the last. A whole validation is measured up to 40 notebooks, and a site build without
our extensions up to 100; with `--all` both up to 1,000, which takes a quarter of an hour.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tools.bench import generate
from tools.course import pairs
from tools.files import ROOT
from tools.validate import catalogue, changes

DECIDE = ("-m", "tools.bench.scripts.decide")
VALIDATE = ("-m", "tools.bench.scripts.validate")

# The same configuration without the extensions that are this repository's own.
OWN_OFF = """
extensions = [name for name in extensions if not name.startswith("_ext.")]
"""


def run(*command: str | Path) -> tuple[float, str]:
    """Run a Python command in a process of its own: the processor time that it and its children
    took, in seconds, and what it printed. Raises SystemExit if it fails.
    """
    began = _children()
    completed = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    if completed.returncode:
        sys.exit(
            f"it does not do what is measured here:\n{completed.stdout}{completed.stderr}",
        )
    return _children() - began, completed.stdout


def _children() -> float:
    """The processor time of this process's children that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def line(name: str, seconds: dict[int, float], most: float = float("inf")) -> bool:
    """Print the times, by the number of notebooks; return whether the time for one notebook grows
    by `most` at most, from the second size to the last.
    """
    sizes = sorted(seconds)
    growth = seconds[sizes[-1]] / sizes[-1] / (seconds[sizes[-2]] / sizes[-2])
    print(
        f"{name:40}"
        + "".join(f"{size:6}: {seconds[size]:6.2f} s" for size in sizes)
        + f"  growth {growth:.2f}"
        + f"  (at most {most})" * (most < 9),
        flush=True,
    )
    return growth <= most


@dataclass
class Times:
    """What was measured, by the number of notebooks: processor time in seconds, the runner's peak
    of memory in KiB, the search index in bytes.
    """

    check: dict[int, float] = field(default_factory=dict)
    unchanged: dict[int, float] = field(default_factory=dict)
    validation: dict[int, float] = field(default_factory=dict)
    memory: dict[int, int] = field(default_factory=dict)
    build: dict[int, float] = field(default_factory=dict)
    bare_build: dict[int, float] = field(default_factory=dict)  # with our own extensions off
    index: dict[int, int] = field(default_factory=dict)


def measure_check(times: Times, folder: Path, size: int) -> None:
    """The check of the pairs, and a validation where nothing has changed."""
    generate.make(folder, size)
    began = time.process_time()
    assert not pairs.check(folder)
    times.check[size] = time.process_time() - began
    surroundings = changes.Surroundings()
    for notebook in catalogue.load(folder=folder):
        fingerprint = changes.fingerprint(notebook, surroundings)
        changes.save_record(folder / "_build", notebook.name, fingerprint)
    run(*DECIDE, folder)
    times.unchanged[size], _ = run(*DECIDE, folder)


def measure_build(times: Times, site: Path, size: int, both: bool) -> None:
    """A build of the site with `size` stored notebooks more; if `both`, with our extensions off
    too.
    """
    ignored = shutil.ignore_patterns(".git", ".venv*", ".node", ".triton", "_build")
    shutil.copytree(ROOT, site, ignore=ignored)
    generate.make(site / "notebooks", size)
    sphinx = ("-m", "sphinx", "-q", "-b", "html")
    times.build[size], _ = run(*sphinx, site, site / "_build/html")
    times.index[size] = sum(
        path.stat().st_size for path in (site / "_build/html/pagefind").rglob("*") if path.is_file()
    )
    if both:
        with open(site / "conf.py", "a", encoding="utf-8") as conf:
            conf.write(OWN_OFF)
        times.bare_build[size], _ = run(*sphinx, site, site / "_build/off")
    shutil.rmtree(site)


def measure_validation(times: Times, folder: Path, size: int) -> None:
    """A validation of all notebooks. Raises SystemExit if one does not pass."""
    generate.make(folder, size)
    times.validation[size], printed = run(*VALIDATE, folder)
    problems, memory = printed.splitlines()[-1].rsplit(" ", 1)
    if problems != "[]":
        sys.exit(f"generated notebooks do not pass: {problems}")
    times.memory[size] = int(memory)


def report(times: Times) -> bool:
    """Print what was measured; return whether all of it is as promised."""
    met = [
        line("pair check", times.check, 1.3),
        line("validation, nothing changed", times.unchanged, 1.3),
        line("validation", times.validation, 1.3),
        line("site build", times.build, 1.3),
    ]
    # No promise of ours: Sphinx copies the list of all pages for each page.
    line("  with our own extensions off", times.bare_build)
    least, most = (times.memory[size] for size in sorted(times.memory))
    print(
        f"{'memory of the runner':40}{least // 1024} MB, "
        f"{most // 1024} MB  ratio {most / least:.2f}  (at most 1.3)"
    )
    last = max(times.bare_build)
    own = times.build[last] / times.bare_build[last]
    print(
        f"{f'site build of {last} / with ours off':40}{times.build[last]:.1f} s, "
        f"{times.bare_build[last]:.1f} s  ratio {own:.2f}  (at most 1.2)"
    )
    growth = times.index[1000] / times.index[100]
    print(
        f"{'search index':40}"
        + "".join(f"{size:6}: {number / 1e6:6.2f} MB" for size, number in times.index.items())
        + f"  growth {growth:.1f}  (at most 10)"
    )
    each = (times.unchanged[1000] - times.unchanged[10]) / 990 * 1000
    print(
        f"{'nothing changed':40}{times.unchanged[10]:.2f} s and {each:.1f} ms for each notebook  "
        "(at most 2 ms)"
    )
    return all(met) and most / least <= 1.3 and own <= 1.2 and each <= 2 and growth <= 10


def main() -> int:
    """Measure; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="a whole validation of 1,000 too")
    most = 1000 if parser.parse_args().all else 40
    times = Times()
    with tempfile.TemporaryDirectory() as folder:
        for size in (10, 100, 1000):
            measure_check(times, Path(folder, f"{size}"), size)
            measure_build(times, Path(folder, f"site-{size}"), size, both=size <= max(most, 100))
        for size in (10, most):
            measure_validation(times, Path(folder, f"cold-{size}"), size)
    return 0 if report(times) else 1


if __name__ == "__main__":
    sys.exit(main())

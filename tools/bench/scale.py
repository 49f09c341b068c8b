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
from pathlib import Path

from tools.bench import generate
from tools.course import pairs
from tools.validate import changes, runner

DECIDE = (
    "import sys; from pathlib import Path; from tools.validate import changes, runner; "
    "place = changes.Surroundings(); "
    "notebooks = runner.load(folder=Path(sys.argv[1])); "
    "sys.exit(any(changes.why_run(notebook, place, Path(sys.argv[1], '_build')) for "
    "notebook in notebooks))"
)
VALIDATE = (
    "import resource, sys; from pathlib import Path; from tools.validate import runner; "
    "results = runner.validate(runner.load(folder=Path(sys.argv[1]))); "
    "print([runner.describe(result) for result in results if result.outcome != "
    "'passed'], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
)


# The same configuration without the extensions that are this repository's own.
OWN_OFF = """
extensions = [name for name in extensions if not name.startswith("_ext.")]
"""


def run(*command):
    """Run a Python command in a process of its own: the processor time that it and its children
    took, in seconds, and what it printed.
    """
    began = _children()
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(changes.ROOT)},
    )
    if done.returncode:
        sys.exit(f"it does not do what is measured here:\n{done.stdout}{done.stderr}")
    return _children() - began, done.stdout


def _children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def line(name, seconds, most=float("inf")):
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


def build(top, size, both):
    """The site with `size` stored notebooks more: the processor time of a build, that with our
    extensions off if `both`, and the bytes of the search index.
    """
    site = Path(top, f"site-{size}")
    shutil.copytree(
        changes.ROOT,
        site,
        ignore=shutil.ignore_patterns(".git", ".venv*", ".node", ".triton", "_build"),
    )
    generate.make(site / "notebooks", size)
    sphinx = ("-m", "sphinx", "-q", "-b", "html")
    with_ours, _ = run(*sphinx, site, site / "_build/html")
    index = sum(
        path.stat().st_size for path in (site / "_build/html/pagefind").rglob("*") if path.is_file()
    )
    with open(site / "conf.py", "a", encoding="utf-8") as conf:
        conf.write(OWN_OFF)
    without, _ = run(*sphinx, site, site / "_build/off") if both else (None, "")
    shutil.rmtree(site)
    return with_ours, without, index


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="a whole validation of 1,000 too")
    most = 1000 if parser.parse_args().all else 40
    check, warm, cold, memory, site, off, index = {}, {}, {}, {}, {}, {}, {}
    with tempfile.TemporaryDirectory() as top:
        for size in (10, 100, 1000):
            folder = Path(top, f"{size}")
            generate.make(folder, size)
            began = time.process_time()
            assert not pairs.check(folder)
            check[size] = time.process_time() - began
            place = changes.Surroundings()
            for notebook in runner.load(folder=folder):
                changes.save_record(
                    folder / "_build", notebook.name, changes.fingerprint(notebook, place)
                )
            run("-c", DECIDE, folder)
            warm[size], _ = run("-c", DECIDE, folder)
            site[size], without, index[size] = build(top, size, both=size <= max(most, 100))
            if without:
                off[size] = without
        for size in (10, most):
            folder = Path(top, f"cold-{size}")
            generate.make(folder, size)
            cold[size], printed = run("-c", VALIDATE, folder)
            wrong, memory[size] = printed.splitlines()[-1].rsplit(" ", 1)
            if wrong != "[]":
                sys.exit(f"generated notebooks do not pass: {wrong}")
    met = [
        line("pair check", check, 1.3),
        line("validation, nothing changed", warm, 1.3),
        line("validation", cold, 1.3),
        line("site build", site, 1.3),
    ]
    line(
        "  with our own extensions off", off
    )  # no promise of ours: Sphinx copies the list of all pages for each page
    ratio = int(memory[most]) / int(memory[10])
    print(
        f"{'memory of the runner':40}{int(memory[10]) // 1024} MB, "
        f"{int(memory[most]) // 1024} MB  ratio {ratio:.2f}  (at most 1.3)"
    )
    last = max(off)
    own = site[last] / off[last]
    print(
        f"{f'site build of {last} / with ours off':40}{site[last]:.1f} s, {off[last]:.1f} "
        f"s  ratio {own:.2f}  (at most 1.2)"
    )
    growth = index[1000] / index[100]
    print(
        f"{'search index':40}"
        + "".join(f"{size:6}: {bytes_ / 1e6:6.2f} MB" for size, bytes_ in index.items())
        + f"  growth {growth:.1f}  (at most 10)"
    )
    each = (warm[1000] - warm[10]) / 990 * 1000
    print(
        f"{'nothing changed':40}{warm[10]:.2f} s and {each:.1f} ms for each notebook  (at "
        "most 2 ms)"
    )
    return 0 if all(met) and ratio <= 1.3 and own <= 1.2 and each <= 2 and growth <= 10 else 1


if __name__ == "__main__":
    sys.exit(main())

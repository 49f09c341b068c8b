"""What a notebook must have before it can run: a declared course, programs of this machine, a
kernel, two halves that say the same.
"""

import functools
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tools.course.model import wrong_values
from tools.files import ROOT
from tools.validate import changes
from tools.validate.catalogue import StoredNotebook
from tools.validate.result import Outcome, Result

# nbdime has an environment of its own here; a cluster's central one has it too.
NBDIME = next(
    (
        place
        for place in (ROOT / ".venv-nbdime", Path(sys.prefix))
        if (place / "bin/nbdiff").exists()
    ),
    ROOT / ".venv-nbdime",
)
NBDIFF = NBDIME / "bin/nbdiff"
NOTEBOOK_MB = 4  # of a notebook with its outputs: a reader loads all of it


@functools.cache
def installed_kernels() -> set[str]:
    """The names of the kernelspecs that this machine has."""
    # It takes long to import, and who finds that nothing has changed needs no kernel.
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_core.paths import jupyter_path

    # It would look into IPython's folder too, and make that, though the disk be full.
    return set(KernelSpecManager(kernel_dirs=jupyter_path("kernels")).find_kernel_specs())


@functools.cache
def _slurm_answers() -> bool:
    """Whether this machine belongs to a cluster: Slurm's commands alone do not make it one."""
    if not shutil.which("sinfo"):
        return False
    return not subprocess.run(["sinfo"], capture_output=True, timeout=60).returncode


class Need(NamedTuple):
    """Something that a notebook can need: whether it is here, and how one gets it."""

    is_here: Callable[[], bool]
    remedy: str


NEEDS = {
    "r": Need(lambda: "ir" in installed_kernels(), "make system names r-cran-irkernel"),
    "nbdime": Need(NBDIFF.exists, "make .venv-nbdime installs it"),
    "slurm": Need(_slurm_answers, "run it on a cluster"),
}


class Obstacle(NamedTuple):
    """Why a notebook is not run: what is then its outcome, and the reason in words."""

    outcome: Outcome
    reason: str


def not_run(notebook: StoredNotebook, surroundings: changes.Surroundings) -> Result | None:
    """The Result of a notebook that is not run here; None if it can be run."""
    obstacle = missing(notebook, surroundings) or too_large(notebook.path)
    return Result(notebook.name, *obstacle) if obstacle else None


def missing(notebook: StoredNotebook, surroundings: changes.Surroundings) -> Obstacle | None:
    """What `notebook` needs and this machine has not; None if it has all."""
    if notebook.fault:
        return Obstacle("failed", f"not a notebook: {notebook.fault}")
    course = notebook.metadata.get("course")
    if not course or not {"needs", "seconds", "memory_mb"} <= set(course):
        lacking = ", ".join(wrong_values(course if isinstance(course, dict) else {}))
        return Obstacle(
            "failed",
            f"its header declares no course, or lacks of it: {lacking} (see notebooks/README.md)",
        )
    for name in course["needs"]:
        if name not in NEEDS:
            return Obstacle(
                "failed", f"needs {name!r}, which is none of {', '.join(sorted(NEEDS))}"
            )
        if not NEEDS[name].is_here():
            return Obstacle("skipped", f"{name} is not here: {NEEDS[name].remedy}")
    if not notebook.has_code:
        return Obstacle(
            "failed",
            "it has no code cell, so there is nothing to run: give it one, or write it "
            "as a page of the guide, an .rst file",
        )
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if kernel not in installed_kernels():
        return Obstacle(
            "failed",
            f"its kernel {kernel!r} is not here; there are: "
            f"{', '.join(sorted(installed_kernels()))}",
        )
    try:
        changes.read(notebook, surroundings)
    except ValueError as error:
        return Obstacle("failed", str(error))
    drift = changes.drift(notebook, {})
    return Obstacle("failed", drift) if drift else None


def too_large(path: Path) -> Obstacle | None:
    """What to say of a notebook that is larger than a page can be; None if it is not."""
    size = path.stat().st_size / 1e6
    if size <= NOTEBOOK_MB:
        return None
    return Obstacle(
        "failed",
        f"it has {size:.1f} MB, and a page can have {NOTEBOOK_MB} MB. Show less, then make refresh",
    )

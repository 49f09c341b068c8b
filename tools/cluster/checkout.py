"""Copy this checkout to the small Triton, to validate its notebooks in jobs there."""

import os
import re
import subprocess
from typing import Any

from nbformat.v4 import new_code_cell, new_notebook, new_output, writes

from tools.cluster import cluster
from tools.cluster.small_triton import Triton
from tools.files import ROOT

ON_SLURM = f"make notebooks ON=slurm VENV={cluster.facts().paths.jupyter_env}"
BATCH: str = cluster.facts().partitions.batch


def check_out(triton: Triton, user: str) -> None:
    """Copy this checkout into $WRKDIR/guide, which all nodes can read."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = [
        name for name in tracked.stdout.split(b"\0") if name and (ROOT / os.fsdecode(name)).exists()
    ]
    packed = subprocess.run(
        ["tar", "--create", "--null", "--files-from=-"],
        cwd=ROOT,
        input=b"\0".join(names),
        capture_output=True,
        check=True,
    )
    subprocess.run(
        triton.command(
            "login",
            "mkdir $WRKDIR/guide && tar --extract --no-same-owner --directory=$WRKDIR/guide",
            user,
        ),
        input=packed.stdout,
        check=True,
    )


def problems(printed: str) -> dict[str, str | None]:
    """{notebook: what is wrong with it, or None if it passed}, from the output of a validation."""
    parts = re.split(r"^(passed|FAILED|skipped|unchanged) +(\S+)", printed, flags=re.MULTILINE)
    return {
        name: None if outcome == "passed" else text.strip()
        for outcome, name, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
    }


def notebook(source: str, text: str = "", **declared: Any) -> str:
    """The text of a notebook with one cell, whose stored output is `text`.

    declared: values for its metadata `course` that differ from the defaults.
    """
    outputs = [new_output("stream", text=text)] if text else []
    content = new_notebook(
        cells=[new_code_cell(source, id="one", execution_count=1, outputs=outputs)],
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "course": {"needs": [], "reads": [], "seconds": 120, "memory_mb": 300} | declared,
        },
    )
    return str(writes(content))

"""This checkout on the small Triton, and its notebooks as jobs there."""

import os
import subprocess
import xml.etree.ElementTree as xml
from typing import Any

from nbformat.v4 import new_code_cell, new_notebook, new_output, writes

from tools.cluster import cluster
from tools.cluster.small_triton import Triton
from tools.files import ROOT

ON_SLURM = f"make notebooks ON=slurm VENV={cluster.facts().paths.jupyter_env}"
BATCH: str = cluster.facts().partitions.batch


def check_out(triton: Triton, user: str) -> None:
    """Put this checkout into $WRKDIR/guide, which all nodes see."""
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


def results(triton: Triton, user: str) -> dict[str, str | None]:
    """What the report says of each notebook: None, or the text of its failure."""
    report = triton.run("login", "cat $WRKDIR/guide/_build/notebooks.xml", user).stdout
    suite = xml.fromstring(report.split("\n", 1)[1])
    return {
        case.get("name", ""): next(
            (f"{child.get('message')}\n{child.text or ''}" for child in case), None
        )
        for case in suite
    }


def notebook(source: str, text: str = "", **declared: Any) -> str:
    """The text of a notebook with one cell, whose stored output is `text`.

    declared: what its metadata `course` says beside the usual.
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

"""This checkout on the small Triton, and its notebooks as jobs there."""

import subprocess
import xml.etree.ElementTree as xml

from nbformat.v4 import new_code_cell, new_notebook, new_output, writes

from tools.cluster import cluster
from tools.files import ROOT

ON_SLURM = f"make notebooks ON=slurm VENV={cluster.facts()['paths']['jupyter_env']}"
BATCH = cluster.facts()["partitions"]["batch"]


def check_out(triton, user):
    """Put this checkout into $WRKDIR/guide, which all nodes see."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    there = b"\0".join(
        name for name in names.stdout.split(b"\0") if name and (ROOT / name.decode()).exists()
    )
    packed = subprocess.run(
        ["tar", "--create", "--null", "--files-from=-"],
        cwd=ROOT,
        input=there,
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


def results(triton, user):
    """The report's verdict on each notebook: None, or what it says of a failure."""
    suite = xml.fromstring(
        triton.run("login", "cat $WRKDIR/guide/_build/notebooks.xml", user).stdout.split("\n", 1)[1]
    )
    return {
        case.get("name"): next(
            (f"{child.get('message')}\n{child.text or ''}" for child in case), None
        )
        for case in suite
    }


def notebook(source, text="", **declared):
    """The text of a notebook with one cell, whose stored output is `text`."""
    outputs = [new_output("stream", text=text)] if text else []
    return writes(
        new_notebook(
            cells=[new_code_cell(source, id="one", execution_count=1, outputs=outputs)],
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
                "course": {"needs": [], "reads": [], "seconds": 120, "memory_mb": 300} | declared,
            },
        )
    )

"""What a job of Slurm runs: one notebook of a batch (slurm.py submits it).

python -m tools.validate.job BATCH
"""

import fcntl
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from tools.files import ROOT, write_whole
from tools.validate import catalogue, local

# in which SIGTERM reaches all processes of a job: was a failure no more than that?
SIGTERM_SECONDS = 1


def run(batch: Path) -> None:
    """Run the notebook that this task of the array `batch`, a file, is for, and write its Result.

    A node that Slurm has given up may still run it: then wait until that has ended, and take its
    Result if it wrote one. Raises OSError if the Result cannot be written.
    """
    own = os.getpid()
    # Cancelled or preempted: tidy up, and be no result. A forked child just ends.
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("ended by Slurm") if os.getpid() == own else os._exit(1)
    )

    tasks = json.loads(batch.read_text(encoding="utf-8"))
    name, folder = tasks[int(os.environ["SLURM_ARRAY_TASK_ID"])]
    result_file = batch.parent / "results" / f"{name}.json"
    result_file.parent.mkdir(parents=True, exist_ok=True)
    with open(result_file.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if result_file.exists():
            return
        [notebook] = catalogue.load([name], Path(folder))
        if notebook.online:
            # What it submits runs on other nodes. The path is short: a socket's name has 107 bytes.
            tempfile.tempdir = os.fspath(ROOT / "_build")
        [result] = local.validate([notebook])
        if result.outcome == "failed":
            time.sleep(SIGTERM_SECONDS)
        write_whole(result_file, json.dumps(result.as_json()))


if __name__ == "__main__":
    run(Path(sys.argv[1]))

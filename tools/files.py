"""The checkout: where it is, and a copy of what git tracks in it."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def copy_source(target):
    """Copy what git tracks, and new files it does not ignore, to `target`, with the history; return
    `target`.
    """
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.split(b"\0")
    for name in map(os.fsdecode, filter(None, names)):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    subprocess.run(["git", "clone", "-q", "--bare", ROOT, target / ".git"], check=True)
    subprocess.run(["git", "-C", target, "config", "core.bare", "false"], check=True)
    subprocess.run(["git", "-C", target, "reset", "-q"], check=True)
    return target

"""What people read about a validation: a line for each notebook, its problems, and how its outputs
differ.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from tools.course.model import Notebook
from tools.validate.catalogue import StoredNotebook
from tools.validate.result import Result

TEXT_LIMIT = 20_000  # characters of one difference
NBDIFF_SECONDS = 60  # that a comparison may take: of much that differs it takes minutes
# It says where our packages are, and nbdime has its own.
OUR_PYTHON = ("PYTHONPATH", "PYTHONHOME")


def describe(result: Result) -> str:
    """A Result as a person reads it: a line, and below it one paragraph for each problem."""
    word = result.outcome.upper() if result.outcome == "failed" else result.outcome
    line = f"{word:8}{result.name:24}"
    if result.seconds:
        line += f"{result.seconds:6.1f} s {result.memory_mb:5.0f} MB"
    if result.reason:
        line += f"  {result.reason}"
    for number, text in result.problems:
        place = f"{result.name}.md:{number}" if number else f"{result.name}.ipynb"
        line += f"\n    notebooks/{place}: " + text.replace("\n", "\n        ")
    return line


def difference(result: Result, notebook: StoredNotebook, nbdiff: Path) -> str:
    """nbdime's comparison of the stored outputs of the failed cells with the fresh ones, as text;
    what to do if it is not there.
    """
    fresh = {cell.cell: cell.outputs for cell in result.cells if cell.outputs is not None}
    if not fresh:
        return ""
    whole = Notebook.read(notebook.path)
    stored = whole.code_cells
    before = whole.having(stored[number - 1] for number in fresh)
    after = whole.having(stored[number - 1].having(outputs=fresh[number]) for number in fresh)
    with tempfile.TemporaryDirectory(prefix="difference-") as folder:
        old = Path(folder, "stored.ipynb")
        new = Path(folder, "fresh.ipynb")
        old.write_text(json.dumps(before), encoding="utf-8")
        new.write_text(json.dumps(after), encoding="utf-8")
        return compared(nbdiff, old, new)


def compared(nbdiff: Path, old: Path, new: Path) -> str:
    """nbdime's comparison of two notebooks as text, or what to do if there is none."""
    if not nbdiff.exists():
        return "what changed cannot be shown: make .venv-nbdime\n"
    try:
        completed = subprocess.run(
            [nbdiff, "--no-color", "--ignore-details", old, new],
            capture_output=True,
            text=True,
            env={name: value for name, value in os.environ.items() if name not in OUR_PYTHON},
            timeout=NBDIFF_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"what changed cannot be shown: to compare it takes more than {NBDIFF_SECONDS} s\n"
    if completed.returncode:
        return f"nbdiff: {completed.stderr.strip()}\n"
    lines = [
        line
        for line in completed.stdout.splitlines()
        if not line.startswith(("nbdiff ", "--- ", "+++ "))
    ]
    text = "\n".join(lines).strip("\n") + "\n"
    return text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + "\n... and more\n"

"""What people read about a validation: lines in the terminal, an HTML page, notes on GitHub."""

import base64
import io
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tools.course.model import Notebook
from tools.files import write_whole
from tools.validate.catalogue import StoredNotebook
from tools.validate.result import Problem, Result

TEXT_LIMIT = 20_000  # characters of one difference
NBDIFF_SECONDS = 60  # that a comparison may take: of much that differs it takes minutes
# It says where our packages are, and nbdime has its own.
OUR_PYTHON = ("PYTHONPATH", "PYTHONHOME")
TEMPLATE = Path(__file__).with_name("report.html")


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


def annotations(results: Iterable[Result]) -> list[str]:
    """The lines by which GitHub shows each problem beside its line of the .md half."""
    lines = []
    for result in results:
        if result.outcome == "failed":
            name = _property(result.name)
            for number, text in result.problems or [Problem(0, result.reason)]:
                place = f"file=notebooks/{name}.md,line={max(1, number)},title={name}"
                lines.append(f"::error {place}::{_data(text)}")
    return lines


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def page(
    results: Sequence[Result],
    notebooks: Mapping[str, StoredNotebook],
    differences: Mapping[str, str],
    line: str,
) -> str:
    """The HTML page: for each failed notebook its problems, the difference of its outputs, and
    pictures side by side; then all times.
    """
    # It takes long to import, and what skips notebooks or runs in a job does without.
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        line=line,
        day=time.strftime("%Y-%m-%d %H:%M"),
        failures=[result for result in results if result.outcome == "failed"],
        differences=differences,
        pictures=lambda result: pictures(result, notebooks[result.name]),
        results=sorted(results, key=lambda result: -result.seconds),
    )


def pictures(result: Result, notebook: StoredNotebook) -> list[tuple[int, dict[str, str | None]]]:
    """The pictures that differ, each with the number of its cell: what was stored, what is fresh
    and where they differ, as addresses that hold the picture.
    """
    failed = [cell for cell in result.cells if cell.outputs is not None]
    stored = Notebook.read(notebook.path).code_cells if failed else []
    return [
        (
            cell.cell,
            {
                "stored": _address(kind, old),
                "fresh": _address(kind, new),
                "where they differ": _address("image/png", _where_they_differ(old, new)),
            },
        )
        for cell in failed
        for kind in ("image/png", "image/jpeg")
        for old, new in zip_longest(
            _of_kind(kind, stored[cell.cell - 1].outputs), _of_kind(kind, cell.outputs or [])
        )
        if old != new
    ]


def _of_kind(kind: str, outputs: Sequence[dict[str, Any]]) -> list[str]:
    """The pictures of this kind, as base64; an output may hold it as a list of lines."""
    return ["".join(output["data"][kind]) for output in outputs if kind in output.get("data", {})]


def _address(kind: str, picture: str | None) -> str | None:
    return f"data:{kind};base64,{picture}" if picture else None


def _where_they_differ(before: str | None, after: str | None) -> str | None:
    """A PNG as base64, as large as both pictures have in common: what differs is black on white.

    None if one is no picture.
    """
    if not before or not after:
        return None
    # It takes long to import, and is needed where pictures differ only.
    from PIL import Image, ImageChops, ImageOps

    try:
        old, new = (
            Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")
            for text in (before, after)
        )
    except (OSError, ValueError):
        return None
    difference = ImageChops.difference(old, new).convert("L")
    file = io.BytesIO()
    ImageOps.invert(difference.point(lambda level: min(255, level * 4))).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def write(folder: Path, page: str) -> str:
    """Write notebooks.html below `folder`, whole or not at all; return a line that says so."""
    try:
        folder.mkdir(exist_ok=True)
        write_whole(folder / "notebooks.html", page)
    except OSError as error:
        return f"the report could not be written: {error}"
    return f"report: {folder.name}/notebooks.html"

"""What people and programs read about a validation: lines in the terminal, an HTML page, JUnit XML,
annotations of GitHub.
"""

import base64
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tools.course.model import Cell, Notebook
from tools.files import write_whole
from tools.validate.catalogue import StoredNotebook
from tools.validate.result import CellResult, Problem, Result, Running

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SLOW = 1.0  # seconds; a cell that takes less is not worth a line
SLOWEST = 5
TEXT_LIMIT = 20_000  # characters of one difference
NBDIFF_SECONDS = 60  # that a comparison may take: of much that differs it takes minutes
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }}
pre {{ overflow-x: auto; padding: .5rem; border: 1px solid #8888 }}
ins, del {{ text-decoration: none }} ins {{ background: #2a62 }} del {{ background: #c332 }}
figure {{ display: inline-block; margin: 0 1rem 1rem 0; vertical-align: top }}
img {{ max-width: 22rem; background: #fff }}
table {{ border-collapse: collapse }} td, th {{ padding: .1rem .8rem .1rem 0; text-align: left }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""


# What makes a cell give something else in each run: a word in its source, and what to do.
VARIES = (
    (
        r"random|shuffle|permut|\brand|\brnorm|\brunif|\brbinom|\bsample\(|RANDOM|uniform|normal\(|seed",
        "it draws random numbers. Give them a seed: random.seed(1), rng = "
        "np.random.default_rng(1), np.random.seed(1), in R set.seed(1)",
    ),
    (
        r"time|clock|datetime|\bnow\(|\bdate\b|\btoday\(",
        "it shows a time. Show what follows from it: that one way is faster, that it "
        "takes less than a minute",
    ),
    (
        r"listdir|glob|iterdir|scandir|os\.walk|\bset\(|\{[^:{}]+,[^:{}]*\}",
        "it shows files or a set in the order in which they come. Sort them: sorted(...)",
    ),
    (
        r"\bid\(|hash\(|getpid|uuid|\$\$|memory",
        "it shows what each process has anew, as an address or a number of its own. Leave that out",
    ),
)
NO_REASON = (
    "it gives something else in each run: a random number without a seed, a time, files "
    "in no order? "
    "What must differ gets a pattern in tools/validate/sanitize.toml"
)


def advice(result: Result, notebook: StoredNotebook) -> str:
    """For each cell of a notebook that a second run did not repeat a line with the likely reason
    and what to do.
    """
    sources = [cell.source for cell in _code_cells(notebook)]
    lines = []
    for cell in result.cells:
        if cell.outputs is None or not any(
            "differ" in text for _, text in result.problems if text.startswith(f"cell {cell.cell}:")
        ):
            continue
        # What it shows may come from a cell above: the nearest that says a reason has it.
        before = reversed(sources[: cell.cell])
        reason = next(
            (what for source in before for word, what in VARIES if re.search(word, source)),
            NO_REASON,
        )
        lines.append(f"    cell {cell.cell}: {reason}")
    return "\n".join(lines)


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


def slowest(results: Iterable[Result]) -> str:
    """One line that names the slowest cells, empty if none is slow."""
    cells = sorted(
        ((cell.seconds, result.name, cell.line) for result in results for cell in result.cells),
        reverse=True,
    )
    slow = [
        f"notebooks/{name}.md:{line} {seconds:.1f} s"
        for seconds, name, line in cells[:SLOWEST]
        if seconds >= SLOW
    ]
    return f"slowest cells: {', '.join(slow)}" if slow else ""


class Progress:
    """The last line of a terminal: what runs, and how long; nothing where the output is no
    terminal.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.shown = self.stream.isatty()

    def show(self, done: int, total: int, running: Sequence[Running]) -> None:
        """Write anew: how many are done, how many there are, and those that run."""
        if not self.shown:
            return
        what = ", ".join(
            f"{name} {seconds:.0f} of about {expected:.0f} s" for name, seconds, expected in running
        )
        line = f"{done} of {total} done; {what}"
        self.stream.write("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1])
        self.stream.flush()

    def clear(self) -> None:
        """Remove the line, before something else is written."""
        if self.shown:
            self.stream.write("\r\x1b[K")
            self.stream.flush()


def difference(result: Result, notebook: StoredNotebook, nbdiff: Path) -> str:
    """nbdime's comparison of the stored outputs of the failed cells with the fresh ones, as text;
    what to do if it is not there.
    """
    failed = [cell for cell in result.cells if cell.outputs is not None]
    if not failed:
        return ""
    stored = _code_cells(notebook)
    name = Path(notebook.name).name
    with tempfile.TemporaryDirectory(prefix="difference-") as folder:
        old = Path(folder, f"{name} stored.ipynb")
        new = Path(folder, f"{name} fresh.ipynb")
        _write_cells(old, failed, stored, [stored[cell.cell - 1].outputs for cell in failed])
        _write_cells(new, failed, stored, [cell.outputs or [] for cell in failed])
        return compared(nbdiff, old, new)


def _write_cells(
    path: Path,
    failed: Sequence[CellResult],
    stored: Sequence[Cell],
    outputs: Iterable[list[dict[str, Any]]],
) -> None:
    """Write a notebook of the failed cells alone, with these outputs."""
    cells = [
        {
            "cell_type": "code",
            "metadata": {},
            "source": stored[cell.cell - 1]["source"],
            "execution_count": None,
            "id": f"cell-{cell.cell}",
            "outputs": [
                dict(output, execution_count=None) if "execution_count" in output else output
                for output in shown
            ],
        }
        for cell, shown in zip(failed, outputs, strict=True)
    ]
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    path.write_text(json.dumps(notebook), encoding="utf-8")


def compared(nbdiff: Path, old: Path, new: Path) -> str:
    """nbdime's comparison of two notebooks as text, or what to do if there is none."""
    if not nbdiff.exists():
        return "what changed cannot be shown: make .venv-nbdime\n"
    try:
        completed = subprocess.run(
            [nbdiff, "--no-color", old, new],
            capture_output=True,
            text=True,
            env=_bare_environment(),
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


def _bare_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME")
    }


def _code_cells(notebook: StoredNotebook) -> list[Cell]:
    return Notebook.read(notebook.path).code_cells


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


def junit(results: Sequence[Result], seconds: float) -> str:
    """JUnit XML, a test case for each notebook. seconds: how long all of it took."""
    count = {
        outcome: sum(result.outcome == outcome for result in results)
        for outcome in ("failed", "skipped", "unchanged")
    }
    suite = xml.Element(
        "testsuite",
        name="notebooks",
        tests=str(len(results)),
        failures=str(count["failed"]),
        errors="0",
        skipped=str(count["skipped"] + count["unchanged"]),
        time=f"{seconds:.1f}",
    )
    for result in results:
        line = str(max([1, *(number for number, _ in result.problems[:1])]))
        case = xml.SubElement(
            suite,
            "testcase",
            classname="notebooks",
            name=result.name,
            time=str(result.seconds),
            file=f"notebooks/{result.name}.md",
            line=line,
        )
        if result.outcome == "failed":
            xml.SubElement(case, "failure", message=_printable(result.reason)).text = _printable(
                describe(result)
            )
        elif result.outcome != "passed":
            xml.SubElement(case, "skipped", message=_printable(result.reason or result.outcome))
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n' + xml.tostring(suite, encoding="unicode") + "\n"
    )


def _printable(text: str) -> str:
    """`text` without the characters that XML cannot hold."""
    return "".join(
        char
        if char in "\t\n\r"
        or " " <= char <= "\ud7ff"
        or "\ue000" <= char <= "\ufffd"
        or char > "\uffff"
        else "?"
        for char in text
    )


def page(
    results: Iterable[Result],
    notebooks: Mapping[str, StoredNotebook],
    differences: Mapping[str, str],
    line: str,
) -> str:
    """The HTML page: for each failed notebook its problems, the difference of its outputs, and
    pictures side by side; then all times.
    """
    parts = [f"<p>{html.escape(time.strftime('%Y-%m-%d %H:%M'))}</p>"]
    results = list(results)
    for result in results:
        if result.outcome == "failed":
            parts += _failure(result, notebooks[result.name], differences.get(result.name, ""))
    rows = "".join(
        f"<tr><td>{html.escape(result.name)}</td><td>{result.outcome}</td><td>{result.seconds} "
        f"s</td><td>{result.memory_mb:.0f} MB</td></tr>"
        for result in sorted(results, key=lambda result: -result.seconds)
    )
    parts.append(
        "<h2>All notebooks</h2>\n"
        f"<table><tr><th>notebook</th><th></th><th>time</th><th>memory</th></tr>{rows}</table>"
    )
    if slow := slowest(results):
        parts.append(f"<p>{html.escape(slow)}</p>")
    return PAGE.format(title=html.escape(line), body="\n".join(parts))


def _failure(result: Result, notebook: StoredNotebook, difference: str) -> Iterator[str]:
    """The parts of the page about a failed notebook."""
    yield (
        f'<h2 id="{html.escape(result.name)}">{html.escape(result.name)}</h2>\n'
        f"<p>{html.escape(result.reason)}</p>"
    )
    for number, text in result.problems:
        yield (
            f"<p>notebooks/{html.escape(result.name)}.md:{number}</p>\n"
            f"<pre>{html.escape(text)}</pre>"
        )
    if difference:
        yield (
            "<h3>Stored (\N{MINUS SIGN}) against fresh (+)</h3>\n"
            f"<pre>{_coloured(difference)}</pre>"
        )
    for cell in result.cells:
        if cell.outputs is not None:
            yield from _pictures(_code_cells(notebook)[cell.cell - 1].outputs, cell)


def _coloured(text: str) -> str:
    tags = {"+": "ins", "-": "del"}
    return "\n".join(
        f"<{tags[line[0]]}>{html.escape(line)}</{tags[line[0]]}>"
        if line[:1] in tags
        else html.escape(line)
        for line in text.splitlines()
    )


Data = str | list[str]
"""A picture as base64, as an output holds it."""


def _pictures(stored: Sequence[dict[str, Any]], cell: CellResult) -> Iterator[str]:
    """A row of figures for each picture of a cell that differs: stored, fresh, and where they
    differ.
    """
    for kind in ("image/png", "image/jpeg"):
        before = _of_kind(kind, stored)
        after = _of_kind(kind, cell.outputs or [])
        for index in range(max(len(before), len(after))):
            old = before[index] if index < len(before) else None
            new = after[index] if index < len(after) else None
            if old != new:
                yield f"<h3>Pictures of cell {cell.cell}</h3>\n" + "\n".join(
                    (
                        _figure("stored", kind, old),
                        _figure("fresh", kind, new),
                        _figure("where they differ", "image/png", _where_they_differ(old, new)),
                    )
                )


def _of_kind(kind: str, outputs: Sequence[dict[str, Any]]) -> list[Data]:
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


def _figure(caption: str, kind: str, data: Data | None) -> str:
    shown = (
        f'<img alt="{caption}" src="data:{kind};base64,{html.escape("".join(data))}">'
        if data
        else "<p>none</p>"
    )
    return f"<figure><figcaption>{caption}</figcaption>{shown}</figure>"


def _where_they_differ(before: Data | None, after: Data | None) -> str | None:
    """A PNG as base64: what differs is black on white; None if one is no picture."""
    if not before or not after:
        return None
    # It takes long to import, and is needed where pictures differ only.
    from PIL import Image, ImageChops, ImageOps

    try:
        pictures = [
            Image.open(io.BytesIO(base64.b64decode("".join(data)))).convert("RGB")
            for data in (before, after)
        ]
    except (OSError, ValueError):
        return None
    width = max(picture.width for picture in pictures)
    height = max(picture.height for picture in pictures)

    def padded(picture: "Picture") -> "Picture":
        whole = Image.new("RGB", (width, height), "white")
        whole.paste(picture)
        return whole

    difference = ImageChops.difference(*map(padded, pictures)).convert("L")
    shown = ImageOps.invert(difference.point(lambda level: min(255, level * 4)))
    file = io.BytesIO()
    shown.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def write(
    folder: Path,
    results: Sequence[Result],
    notebooks: Mapping[str, StoredNotebook],
    differences: Mapping[str, str],
    line: str,
    seconds: float,
) -> str:
    """Write notebooks.html and notebooks.xml below `folder`, each whole or not at all; return a
    line that says so.

    differences: of the outputs of the notebooks that failed, by their names; line: the summary;
    seconds: how long all of it took.
    """
    try:
        folder.mkdir(exist_ok=True)
        for name, text in (
            ("notebooks.html", page(results, notebooks, differences, line)),
            ("notebooks.xml", junit(results, seconds)),
        ):
            write_whole(folder / name, text)
    except OSError as error:
        return f"the report could not be written: {error}"
    return f"report: {folder.name}/notebooks.html"

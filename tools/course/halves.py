"""Which notebooks there are: the halves NAME.ipynb and NAME.md below a folder; and what is
remembered of each pair.

Reads no more of them than it must, and imports nothing that is slow.
"""

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.files import write_whole

MEMORY = ".synced"  # the folder, beside the notebooks, with what was in step last
IGNORED = {"_build", ".ipynb_checkpoints", MEMORY}


class Unreadable(Exception):
    """A file that is not the half that its name says; says why in one sentence, and in which file
    at which line, where they are known.
    """

    def __init__(self, message: str, line: int = 0, path: Path | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.path = path

    def __str__(self) -> str:
        place = f"{self.path}{f':{self.line}' if self.line else ''}: " if self.path else ""
        return place + super().__str__()


@dataclass
class Pair:
    """A notebook: `name` is its path below the folder, without an ending. A half may be missing."""

    name: str
    folder: Path

    @property
    def ipynb(self) -> Path:
        return self.folder / f"{self.name}.ipynb"

    @property
    def md(self) -> Path:
        return self.folder / f"{self.name}.md"

    @property
    def missing(self) -> Path | None:
        """The half that does not exist."""
        return next((path for path in (self.ipynb, self.md) if not os.path.lexists(path)), None)


def find(folder: str | Path) -> list[Pair]:
    """Return the Pairs below `folder`, by name; an .md that has no jupytext header and lies beside
    no .ipynb is no half.
    """
    names = set()
    for path in Path(folder).rglob("*"):
        parts = path.relative_to(folder).parts
        if IGNORED & set(parts) or any(part.startswith(".") for part in parts):
            continue
        if path.suffix == ".ipynb" or (path.suffix == ".md" and _has_header(path)):
            names.add(path.relative_to(folder).with_suffix("").as_posix())
    return [Pair(name, Path(folder)) for name in sorted(names)]


def called(pairs: Iterable[Pair], name: str) -> list[Pair]:
    """Those of `pairs` that are called `name`, whichever way its accents are written: an ä may be
    one character or two.
    """
    wanted = unicodedata.normalize("NFC", re.sub(r"^(?:\./)?notebooks/|\.(?:ipynb|md)$", "", name))
    return [pair for pair in pairs if unicodedata.normalize("NFC", pair.name) == wanted]


def text(path: Path) -> str:
    """The text of a file, without a byte order mark and with lines that end in a newline; raises
    Unreadable.
    """
    try:
        content = path.read_bytes() if path.is_file() or path.is_symlink() else None
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}", path=path) from None
    if content is None:
        raise Unreadable("is no file", path=path)
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable("cannot be read: it is not written in UTF-8", line, path) from None


def _has_header(path: Path) -> bool:
    try:
        start = text(path)
    except Unreadable:
        return True  # let the check say that it cannot be read
    return start.startswith("---\n") and "\njupytext:" in start[: start.find("\n---", 3)]


# ---- what is remembered of a pair that was in step: a cache for those who only want to know
# whether it still is, and the base of a merge


def _record(pair: Pair) -> Path:
    return pair.folder / MEMORY / f"{pair.name}.json"


def remembered(pair: Pair) -> dict[str, Any]:
    """What remember() kept of the pair; empty if that is nothing."""
    try:
        record = json.loads(_record(pair).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def remember(pair: Pair, **known: Any) -> None:
    """Keep what is `known` of a pair whose halves are in step, and its files' content."""
    path = _record(pair)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({"files": files(pair), **known}, ensure_ascii=False))


def remembered_at(pair: Pair) -> int:
    """When remember() was called for the pair, in nanoseconds as files have them; raises OSError if
    it was not.
    """
    return _record(pair).stat().st_mtime_ns


def unchanged(pair: Pair) -> bool:
    """Whether both halves are, byte by byte, as they were when they were in step last."""
    return not pair.missing and remembered(pair).get("files") == files(pair)


def files(pair: Pair) -> list[str]:
    """The hashes of what stands in the halves; none of those that are not there."""
    try:
        return [
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (pair.md, pair.ipynb)
            if path.is_file()
        ]
    except OSError:
        return []

"""Which notebooks there are: the halves NAME.ipynb and NAME.md below a folder; and what is
remembered of each pair.

Reads no more of them than it must, and imports nothing that is slow.
"""

import contextlib
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEMORY = ".synced"  # the folder, beside the notebooks, with what was in step last
IGNORED = {"_build", ".ipynb_checkpoints", MEMORY}
KEPT_ASIDE = re.compile(r"\.(?:ipynb|md)\.old(?:-\d+)?$")  # what FROM= threw away


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
    """A notebook: `name` is its path below the folder without an ending; a half that does not exist
    is None.
    """

    name: str
    ipynb: Path | None
    md: Path | None


def find(folder: str | Path) -> list[Pair]:
    """Return the Pairs below `folder`, by name; an .md that has no jupytext header and lies beside
    no .ipynb is no half.
    """
    halves: dict[str, dict[str, Path]] = {}
    for path in sorted(Path(folder).rglob("*")):
        parts = path.relative_to(folder).parts
        if (
            path.suffix not in (".ipynb", ".md")
            or IGNORED & set(parts)
            or any(part.startswith(".") for part in parts)
        ):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        halves.setdefault(name, {})[path.suffix] = path
    return [
        Pair(name, both.get(".ipynb"), both.get(".md"))
        for name, both in sorted(halves.items())
        if ".ipynb" in both or _has_header(both[".md"])
    ]


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
        raise Unreadable(
            "cannot be read: it is not written in UTF-8",
            content.count(b"\n", 0, error.start) + 1,
            path,
        ) from None


def _has_header(path: Path) -> bool:
    try:
        start = text(path)
    except Unreadable:
        return True  # let the check say that it cannot be read
    return start.startswith("---\n") and "\njupytext:" in start[: start.find("\n---", 3)]


# ---- what is remembered of a pair that was in step: a cache for those who only want to know
# whether it still is, and the base of a merge


def _record(folder: str | Path, name: str) -> Path:
    return Path(folder, MEMORY, f"{name}.json")


def remembered(folder: str | Path, name: str) -> dict[str, Any] | None:
    """What remember() kept of the pair, None if that is nothing."""
    try:
        record: dict[str, Any] = json.loads(_record(folder, name).read_text(encoding="utf-8"))
        return record if record["files"] and record["cells"] is not None else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def orphans(folder: str | Path) -> list[str]:
    """The names of the notebooks of which something is remembered and no half is there: they were
    renamed, or deleted.
    """
    names = (
        path.relative_to(Path(folder, MEMORY)).as_posix().removesuffix(".json")
        for path in sorted(Path(folder, MEMORY).rglob("*.json"))
    )
    return [
        name
        for name in names
        if not any(os.path.lexists(Path(folder, f"{name}{ending}")) for ending in (".md", ".ipynb"))
    ]


def remember(
    folder: str | Path, pair: Pair, write: Callable[[Path, str], object], **known: Any
) -> None:
    """Keep what is `known` of a pair whose halves are in step, and its files' content.

    write: writes a text to a path, whole or not at all.
    """
    path = _record(folder, pair.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, json.dumps({"files": files(pair), **known}, ensure_ascii=False))


def in_step_since(folder: str | Path, name: str) -> int | None:
    """When remember() was called for the pair, in nanoseconds as files have them; None if it was
    not.
    """
    try:
        return _record(folder, name).stat().st_mtime_ns
    except OSError:
        return None


def unchanged(folder: str | Path, pair: Pair) -> bool:
    """Whether both halves are, byte by byte, as they were when they were in step last."""
    record = remembered(folder, pair.name)
    if not record or not pair.md or not pair.ipynb:
        return False
    return bool(record["files"] == files(pair))


def still_in_step(folder: str | Path, pair: Pair) -> None:
    """Note that both halves are in step now too."""
    with contextlib.suppress(OSError):
        os.utime(_record(folder, pair.name))


def files(pair: Pair) -> list[str]:
    """The hashes of what stands in the halves; none of those that are not there."""
    try:
        return [
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (pair.md, pair.ipynb)
            if path and path.is_file()
        ]
    except OSError:
        return []

"""Which notebooks there are: the halves NAME.ipynb and NAME.md below a folder. Reads no more of them than it must."""
from dataclasses import dataclass
from pathlib import Path

IGNORED = {"_build", ".ipynb_checkpoints"}


@dataclass
class Pair:
    """A notebook: `name` is its path below the folder without an ending; a half that does not exist is None."""

    name: str
    ipynb: Path | None
    md: Path | None


def find(folder):
    """Return the Pairs below `folder`, by name; an .md without a jupytext header is no half."""
    halves = {}
    for path in sorted(Path(folder).rglob("*")):
        parts = path.relative_to(folder).parts
        if path.suffix not in (".ipynb", ".md") or IGNORED & set(parts) or any(part.startswith(".") for part in parts):
            continue
        if path.suffix == ".md" and not _has_header(path):
            continue
        halves.setdefault(path.relative_to(folder).with_suffix("").as_posix(), {})[path.suffix] = path
    return [Pair(name, both.get(".ipynb"), both.get(".md")) for name, both in sorted(halves.items())]


def _has_header(path):
    try:
        text = path.read_text(encoding="utf-8")
        return text.startswith("---\n") and "\njupytext:" in text[:text.find("\n---", 3)]
    except (OSError, UnicodeDecodeError):
        return True  # let the check say that it cannot be read

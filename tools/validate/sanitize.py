"""What may differ between two runs of a notebook: patterns from sanitize.toml, and the folders of a
sandbox.
"""

import os
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tools.files import ROOT

FILE = Path(__file__).with_name("sanitize.toml")
# The folders of a sandbox, each with the name that a reader's own would have.
SHOWN = {
    "notebooks": "/home/username/jupyter-course",
    "home": "/home/username",
    "tmp": "/tmp",
    "state": "/home/username/.cache",
    "": "/tmp",
}
CHECKOUT = "/home/username/guide"

Pattern = dict[str, Any]
"""A pattern: regex and replace, and of those in a file also why, changes, keeps and general."""


def load(path: Path = FILE) -> list[Pattern]:
    """Return the patterns of a file; those that are for any notebook are `general`."""
    stored = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    general = [pattern | {"general": True} for pattern in stored.get("general", [])]
    return [*general, *stored.get("pattern", [])]


def places(work: Path) -> list[Pattern]:
    """Return patterns that give the folders of the sandbox in `work` and of this checkout the names
    that readers know.

    Where a machine keeps them is no business of a reader, and another machine has them elsewhere.
    """
    tops = dict.fromkeys((os.fspath(work), os.path.realpath(work)))
    names = {
        os.path.join(top, name).rstrip("/"): shown for name, shown in SHOWN.items() for top in tops
    }
    names |= {sys.prefix: f"{CHECKOUT}/.venv", os.fspath(ROOT): CHECKOUT}
    # LaTeX writes \_ for an underscore.
    return [
        {"regex": re.escape(place).replace("_", r"\\?_") + r"(?![\w-])", "replace": names[place]}
        for place in sorted(names, key=len, reverse=True)
    ]


def apply(patterns: Iterable[Pattern], value: Any) -> Any:
    """Return a JSON value with all patterns applied to each of its texts."""
    if isinstance(value, str):
        for pattern in patterns:
            value = re.sub(pattern["regex"], pattern["replace"], value)
        return value
    if isinstance(value, dict):
        return {key: apply(patterns, item) for key, item in value.items()}
    return [apply(patterns, item) for item in value] if isinstance(value, list) else value


def nbval_file(patterns: Iterable[Pattern]) -> str:
    """Return the text that `--nbval-sanitize-with` reads; its two lines a pattern must be adjacent
    and literal.
    """
    return "".join(
        f"regex: {pattern['regex']}\nreplace: {pattern['replace']}\n" for pattern in patterns
    )

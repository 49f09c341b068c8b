"""What may vary in the outputs of one cell: the cell says it with its tags.

`numbers-within-3`: each number, by a factor of 3 at most, or of another number that stands there.
`times-vary`: a date, a time of day, a duration like 00:01:30 or 0.02s.
`paths-vary`: an absolute path.
`ids-vary`: a whole number, such as that of a job, and the spaces that fill its column.

All else is compared as it stands: words, units, signs, and how many numbers there are.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

# The space before a number fills a column.
NUMBERS = r" *(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.]*\d)"
KINDS = {
    "times-vary": r"\d{4}-\d\d-\d\d|(?<![\d:])(?:\d+-)?\d\d?:\d\d(?::\d\d)?(?![\d:])"
    r"|(?<![\w.])\d+\.\d+s\b",
    "paths-vary": r"(?<![\w./])/[\w./+-]+",
    "ids-vary": r" *(?<![\w.:])\d+(?![^\W_]|:|\.\d)",
}
FACTOR = re.compile(r"numbers-within-(\d+(?:\.\d+)?)")


def settled(fresh: Any, stored: Any, tags: Iterable[str]) -> Any:
    """`fresh`, the outputs of a cell with these tags, in which what may vary is as in `stored`."""
    kinds = [(KINDS[tag], math.inf) for tag in KINDS if tag in tags]  # dates before numbers
    kinds += [(" +", math.inf)] if "ids-vary" in tags else []
    kinds += [(NUMBERS, float(match[1])) for match in map(FACTOR.fullmatch, tags) if match]
    for pattern, factor in kinds:
        fresh = _settled(fresh, stored, pattern, factor)
    return fresh


def _settled(fresh: Any, stored: Any, pattern: str, factor: float) -> Any:
    if isinstance(fresh, dict) and isinstance(stored, dict):
        return type(fresh)(
            {
                key: value
                if key.startswith("image/")
                else _settled(value, stored.get(key), pattern, factor)
                for key, value in fresh.items()
            }
        )
    if isinstance(fresh, list) and isinstance(stored, list) and len(fresh) == len(stored):
        return [_settled(*pair, pattern, factor) for pair in zip(fresh, stored, strict=True)]
    if isinstance(fresh, str) and isinstance(stored, str):
        before = re.findall(pattern, stored)
        if len(before) == len(re.findall(pattern, fresh)):
            values = iter(before)
            return re.sub(pattern, lambda match: _kept(match[0], next(values), factor), fresh)
    return fresh


def _kept(fresh: str, stored: str, factor: float) -> str:
    """`stored` if `fresh` differs by no more than this factor, else `fresh`."""
    if factor == math.inf:
        return stored
    new, old = (float(text.replace(",", "")) for text in (fresh, stored))
    return stored if new == old or (old and 1 / factor <= new / old <= factor) else fresh

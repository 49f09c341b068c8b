"""Durations and sizes, in prose and in programs."""

import math
import re

from tools.course import editions
from tools.files import ROOT

_COUNTED = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    *map(str, range(13, 20)),
    "twenty",
]
NUMBERS: dict[str, float] = {name: number for number, name in enumerate(_COUNTED)} | {
    "a": 1,
    "an": 1,
    "half an": 0.5,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "ninety": 90,
}
UNITS = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86400,
    "week": 7 * 86400,
    "month": 30 * 86400,
    "year": 365 * 86400,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}


def number(text: str) -> float:
    """The seconds or bytes of an amount: two minutes, 4 MB or --time=02:00:00.

    Raises ValueError if the text is no amount.
    """
    if clock := re.search(r"(\d+):(\d\d):(\d\d)$", text):
        return int(clock[1]) * 3600 + int(clock[2]) * 60 + int(clock[3])
    written = re.search(
        r"(half an|[a-z]+|\d+) ?([a-z]+)$", re.sub(r"(\d)G$", r"\1 GB", text).lower()
    )
    unit = written[2] if written and written[2] in UNITS else written and written[2][:-1]
    if not written or unit not in UNITS:
        raise ValueError(f"{text!r} is no duration and no size")
    count = NUMBERS[written[1]] if written[1] in NUMBERS else float(written[1])
    return count * UNITS[unit]


def constant(file: str, name: str) -> float | None:
    """The number that the program `file` calls `name`, in seconds or bytes; None without one.

    For "the notebooks" it is the sum of all notebooks, rounded up to hours.
    """
    if file == "the notebooks":
        minutes = sum(notebook["metadata"]["course"][name] for notebook in editions.load().values())
        return float(-(-minutes // 60) * 3600)
    path = ROOT / file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    assigned = re.search(
        rf"^(?:const |\w+, )?{name} = (?:[\d.]+, )?([\d_]+(?: \* [\d_]+)*)(.*milliseconds)?",
        text,
        re.MULTILINE,
    )
    if not assigned:
        return None
    product = math.prod(int(factor) for factor in assigned[1].split(" * "))
    return product / 1000 if assigned[2] else product

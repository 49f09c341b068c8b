"""Numbers and units as prose writes them."""

import re

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
AMOUNT = re.compile(rf"\b({'|'.join(NUMBERS)}|\d+)\s+({'|'.join(UNITS)})s?\b", re.IGNORECASE)

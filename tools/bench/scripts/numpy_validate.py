"""Validate the notebooks that numpy_make.py has made, with patterns of their own: `python -m
tools.bench.scripts.numpy_validate FOLDER`.
"""

import sys
from pathlib import Path
from unittest import mock

from tools.validate import catalogue, local, report, sanitize

PATTERNS = [
    {"regex": "0x[0-9a-f]{8,}", "replace": "ADDRESS"},  # of objects that a cell shows
    {"regex": "value is [-0-9.e]+", "replace": "VALUE"},  # of a sample that is drawn anew each time
]
with mock.patch.object(sanitize, "load", return_value=PATTERNS):
    for result in local.validate(catalogue.load(folder=Path(sys.argv[1]))):
        print(report.describe(result))

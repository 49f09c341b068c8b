"""Decide which notebooks of a folder have changed: `python -m tools.bench.scripts.decide FOLDER`.

The exit status is 1 if one has.
"""

import sys
from pathlib import Path

from tools.validate import catalogue, changes

folder = Path(sys.argv[1])
surroundings = changes.Surroundings()
sys.exit(
    any(
        changes.why_run(notebook, surroundings, folder / "_build")
        for notebook in catalogue.load(folder=folder)
    )
)

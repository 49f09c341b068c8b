"""Validate the notebooks of a folder: `python -m tools.bench.scripts.validate FOLDER`.

It prints what did not pass, as a list, and the memory of this process, in KiB.
"""

import resource
import sys
from pathlib import Path

from tools.validate import catalogue, local, report

results = local.validate(catalogue.load(folder=Path(sys.argv[1])))
problems = [report.describe(result) for result in results if result.outcome != "passed"]
print(problems, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

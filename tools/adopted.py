"""Test the guide as that of an invented cluster, whose names are in tools/adopted.toml: `make
adopted`.

Only triton/facts.toml is changed. Then a small cluster starts under the new names, and the
commands, the words and the claims of the guide are tested there.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from tools.files import ROOT, copy_source

INVENTED = tomllib.loads((ROOT / "tools/adopted.toml").read_text(encoding="utf-8"))
TESTS = [
    "guide/test_facts.py",
    "guide/test_console_blocks.py",
    "guide/test_roles.py",
    "notebooks/test_course.py",
    "guide/test_claims.py",
    "guide/test_parallel.py",
    "guide/test_faq.py",
]


def rename(text: str, names: dict[str, dict[str, Any]]) -> str:
    """`text`, that of a facts.toml, with the values of `names`, a dict of tables.

    Raises KeyError with the first name, TABLE.KEY, that the text does not have.
    """
    left = {
        (table, key): value for table, entries in names.items() for key, value in entries.items()
    }
    lines = []
    table = ""
    for line in text.splitlines():
        if line.startswith("["):
            table = line.strip("[] ")
        elif (match := re.match(r'(\w+) = ("[^"]*"|\d+)', line)) and (table, match[1]) in left:
            line = f"{match[1]} = {json.dumps(left.pop((table, match[1])))}{line[match.end() :]}"
        lines.append(line)
    if left:
        raise KeyError(".".join(next(iter(left))))
    return "\n".join(lines) + "\n"


def adopt(folder: Path) -> Path:
    """Copy the checkout to `folder`, under the names of the invented cluster; return `folder`."""
    copy_source(folder)
    path = folder / "triton/facts.toml"
    path.write_text(rename(path.read_text(encoding="utf-8"), INVENTED), encoding="utf-8")
    return folder


def main(tests: list[str]) -> int:
    """Run `tests`, or TESTS, in an adopted copy; return the first exit status that is not 0, or 0.

    tests: file names below tests/.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = adopt(Path(folder) / "guide")
        for name in (".venv", ".venv-nbdime"):
            (copy / name).symlink_to(ROOT / name)
        (copy / ".triton/apps").mkdir(parents=True)
        for name in ("wheels", "hub"):  # these do not depend on the facts
            (copy / ".triton" / name).symlink_to(ROOT / ".triton" / name)
        make_apps = [sys.executable, "tools/cluster/cluster.py", "apps", ".triton"]
        names = [f"tests/{name}" for name in tests or TESTS]
        run_tests = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", *names]
        for command in (make_apps, run_tests):
            if status := subprocess.run(command, cwd=copy).returncode:
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

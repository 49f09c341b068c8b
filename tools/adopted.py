"""Another centre's guide: the checkout under the names of an invented cluster, tools/adopted.toml:
`make adopted`.

Only triton/facts.toml is changed. Then the small cluster comes up under the new names, and the
commands, the names in the text and the claims of the guide are tested there.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tools.files import ROOT, copy_source

INVENTED = tomllib.loads((ROOT / "tools/adopted.toml").read_text(encoding="utf-8"))
TESTS = [
    "guide/test_facts.py",
    "guide/test_console_blocks.py",
    "guide/test_literals.py",
    "notebooks/test_course.py",
    "guide/test_claims.py",
    "guide/test_faq.py",
]


def rename(text, names):
    """The text of a facts.toml with the values of `names`, a dict of tables; KeyError names what it
    does not have.
    """
    left = {
        (table, key): value for table, entries in names.items() for key, value in entries.items()
    }
    lines, table = [], None
    for line in text.splitlines():
        if line.startswith("["):
            table = line.strip("[] ")
        elif (found := re.match(r'(\w+) = ("[^"]*"|\d+)', line)) and (table, found[1]) in left:
            line = f"{found[1]} = {json.dumps(left.pop((table, found[1])))}{line[found.end() :]}"
        lines.append(line)
    if left:
        raise KeyError(".".join(next(iter(left))))
    return "\n".join(lines) + "\n"


def adopt(folder):
    """Copy the checkout to `folder`, under the names of the invented cluster; return `folder`."""
    copy_source(folder)
    path = folder / "triton/facts.toml"
    path.write_text(rename(path.read_text(encoding="utf-8"), INVENTED), encoding="utf-8")
    return folder


def main(tests):
    with tempfile.TemporaryDirectory() as folder:
        copy = adopt(Path(folder) / "guide")
        for name in (".venv", ".venv-nbdime"):
            (copy / name).symlink_to(ROOT / name)
        (copy / ".triton/apps").mkdir(parents=True)
        for name in ("wheels", "hub"):  # these do not depend on the facts
            (copy / ".triton" / name).symlink_to(ROOT / ".triton" / name)
        for command in (
            [sys.executable, "tools/cluster/cluster.py", "apps", ".triton"],
            [
                sys.executable,
                "-m",
                "pytest",
                "-n",
                "2",
                "--dist",
                "loadfile",
                *[f"tests/{name}" for name in tests or TESTS],
            ],
        ):
            if status := subprocess.run(command, cwd=copy).returncode:
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

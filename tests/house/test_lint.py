"""`make lint` finds a fault of each kind: all its checks run, even after one has failed."""

import shutil
import subprocess

import pytest

from tools.files import ROOT
from tools.lint.__main__ import BIOME, installed_programs, lint, shell_scripts

pytestmark = pytest.mark.skipif(
    not BIOME.exists(), reason="what checks the code is not here: make lint"
)
GOOD = {
    "_ext/good.py": '"""Good."""\n',
    "conf.py": 'project: str = "x"\n',
    "tools/good.py": "def half(number: float) -> float:\n    return number / 2\n",
    "triton/lib/good.py": "number: int = 1\n",
    "triton/jupyterhub/good_hub.py": "from good import number\n\nprint(number)\n",
    "triton/bin/good-command": "#!/usr/bin/python3\nfrom good import number\n\nprint(number)\n",
    "template": "#!/bin/bash\n#SBATCH --mem={{ memory }}\n{% if quick %}{% endif %}echo {{ x }}\n",
    "good.js": "const open = 1;\nconsole.log(open);\n",
    "good.css": "a {\n  color: red;\n}\n",
    "picture.bin": "no text",
    ".github/workflows/good.yml": "on: push\npermissions: {}\njobs: {}\n",
    "triton/good.rst": "Write :file:`~/.bashrc`, and ``{}``.\n\n.. code-block:: rst\n\n   ``-x``\n",
}
# {file: (a fault, what the message says)}
FAULTS = {
    "tools/form.py": ("x = {1:2}\n", "tools/form.py:1:8: unformatted"),
    "tools/unused.py": ("import os\n", "tools/unused.py:1:8: F401"),
    "tools/types.py": ("def half(n: int) -> str:\n    return n\n", "tools/types.py:2: error"),
    "_ext/untyped.py": ("def half(n):\n    return n\n", "_ext/untyped.py:1: error"),
    "triton/lib/untyped.py": ("def half(n):\n    return n\n", "triton/lib/untyped.py:1: error"),
    "triton/bin/untyped-command": (
        "#!/usr/bin/env -S python3 -I\nfrom good import number\n\nnumber.half()\n",
        "triton/bin/untyped-command:4: error",
    ),
    "bin/start": ("#!/bin/sh\necho {{ name }}\nrm $1\n", "bin/start:3:4: note: Double quote"),
    "form.js": ("const a = {b:1}\nconsole.log(a);\n", "form.js format"),
    ".github/workflows/fault.yml": (
        "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - uses: a/b@v1\n",
        "error[unpinned-uses]",
    ),
    "fault.mjs": ("if (window.a = 1) close();\n", "fault.mjs:1:5 lint/suspicious"),
    "triton/fault.rst": (
        "See\n``/tmp/x``.\n",
        "triton/fault.rst:2: ``/tmp/x`` looks like the role file",
    ),
    "tools/a.sh": ("# It is wierd.\n", "a.sh:1: wierd ==> weird"),  # codespell:ignore wierd
    "scicomp/fault.rst": (
        "Take\n:file:`~/.bashrc` as an an example.\n",
        "scicomp/fault.rst:2: 'an an': Did you mean to repeat this word?",
    ),
    "notebooks/fault.md": (
        "```\nnot rread\n```\n\nRaed this.\n",
        "notebooks/fault.md:5: 'Raed': Did you mean",
    ),
    "fault.css": ("a {\n  colour: red;\n}\n", "fault.css:2:3 lint/correctness"),
}


@pytest.fixture
def folder(tmp_path):
    """A repository whose code has no fault."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tools/lint").mkdir(parents=True)
    shutil.copy(ROOT / "tools/lint/biome.jsonc", tmp_path / "tools/lint")
    write(tmp_path, GOOD)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return tmp_path


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_lint_says_nothing_of_good_code(folder, capfd):
    assert lint(folder, []) == 0
    assert capfd.readouterr() == ("", "")
    assert shell_scripts(folder) == ["template"]


def test_lint_finds_a_fault_of_each_kind(folder, capfd):
    write(folder, {name: text for name, (text, _) in FAULTS.items()})
    assert lint(folder, []) == 1
    output, summary = capfd.readouterr()
    assert [message for _, message in FAULTS.values() if message not in output] == []
    assert summary.startswith(
        "Not as it should be: ruff, mypy, shellcheck, biome, zizmor, codespell, grammar, words."
    )


def test_every_program_that_admins_install_is_checked():
    assert {
        "triton/bin/class-check",
        "triton/bin/nbdime-git",
        "triton/bin/sjupyter",
        "triton/jupyterhub/jobs.py",
        "triton/jupyterhub/start-proxy",
        "triton/lib/slurm.py",
    } <= set(installed_programs(ROOT))


def test_every_shell_script_of_ours_is_checked():
    assert {
        ".ci/run",
        "tools/cluster/host.sh",
        "tools/cluster/make-image",
        "tools/make-venv",
        "tools/system",
        "triton/jupyterhub/install",
        "triton/jupyterhub/job.sh",
        "triton/jupyterhub/start-hub",
    } <= set(shell_scripts(ROOT))

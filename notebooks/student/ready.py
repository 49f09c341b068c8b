"""Which notebooks of the course can this computer run?

    python ready.py

Type it where you would start JupyterLab: in a terminal, in this folder. It reads what each notebook uses, looks for it, and says what is missing and
what to do. It changes nothing.
"""
import ast
import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
UNIX = "needs Linux, macOS, or WSL on Windows: see README.md"
SLURM = "needs a cluster with Slurm: elsewhere read it, with the outputs that it has"
ADVICE = {
    "git": "https://git-scm.com",
    "kernel ir": "install R, and in R: install.packages('IRkernel'); IRkernel::installspec()",
    "kernel bash": "pip install bash_kernel, then python -m bash_kernel.install",
    "kernel python3": "pip install jupyterlab",
}
OF_PIP = {"nbdime", "pytest", "uv"}                     # programs that come as packages of this name
OF_SHELL = {"cd", "echo", "export", "for", "do", "done", "if", "then", "fi"}
MAGIC = re.compile(r"^([ \t]*)(?:[\w\[\], ]+ = )?[%!].*$", re.MULTILINE)
SHELL = re.compile(r"^[ \t]*(?:[\w\[\], ]+ = )?!(.*)$", re.MULTILINE)


def modules(text: str) -> set[str]:
    """The names of the modules that the code of a cell imports."""
    try:
        tree = ast.parse(MAGIC.sub(r"\1pass", re.sub(r"^%%writefile .*\.py$", "", text, flags=re.MULTILINE)))
    except SyntaxError:                                 # a cell in another language
        return set()
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def programs(text: str) -> set[tuple[str, ...]]:
    """The programs that a cell starts: tuples, of which one is enough."""
    if text.startswith("%%writefile"):
        return set()
    lines = SHELL.findall(text)
    asserted = [re.findall(r'shutil\.which\("([\w-]+)"\)', line) for line in text.splitlines() if line.startswith("assert ")]
    for line in lines:
        for part in re.split(r"&&|[;|](?!\|)", re.sub(r"'[^']*'|\"[^\"]*\"", "x", line).replace("||", "\0")):
            words = [next((word for word in way.split() if "=" not in word), "") for way in part.split("\0")]
            asserted.append([word for word in words if re.fullmatch(r"[\w-]+", word) and word not in OF_SHELL])
    return {tuple(names) for names in asserted if names}


def needs(notebook: dict[str, Any]) -> tuple[str, set[str], set[tuple[str, ...]]]:
    """(the name of the kernel, modules, programs) of a notebook, as its file says."""
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    written = {name for text in code for name in re.findall(r"\b(\w+)\.py\b", text)}
    kernel = notebook["metadata"]["kernelspec"]
    if kernel["language"] != "python":
        return kernel["name"], set(), set()
    return kernel["name"], set().union(*map(modules, code)) - written, set().union(*map(programs, code))


def kernels() -> set[str]:
    """The names of the kernels that Jupyter finds."""
    if not importlib.util.find_spec("jupyter_client"):
        return set()
    from jupyter_client.kernelspec import KernelSpecManager

    return set(KernelSpecManager().find_kernel_specs())


def missing(notebook: dict[str, Any], there: set[str]) -> dict[str, str]:
    """{what a notebook lacks: what to do}. there: the kernels."""
    kernel, imported, started = needs(notebook)
    lacks = {} if kernel in there else {f"kernel {kernel}": ADVICE.get(f"kernel {kernel}", "ask who teaches")}
    for name in sorted(imported):
        if not importlib.util.find_spec(name):
            lacks[name] = UNIX if name in sys.stdlib_module_names else f"pip install {name}"
    for names in sorted(started):
        if not any(map(shutil.which, names)):
            usual = f"pip install {names[-1]}" if names[-1] in OF_PIP else UNIX
            lacks[" or ".join(names)] = ADVICE.get(names[-1], usual)
    return {"sbatch": SLURM} if "sbatch" in lacks else lacks


def main() -> None:
    if sys.version_info < (3, 11):
        sys.exit(f"This is Python {sys.version.split()[0]}, and the course needs 3.11 or newer: https://python.org")
    there = kernels()
    for path in sorted(FOLDER.glob("[0-9]*.ipynb")):
        lacks = missing(json.loads(path.read_text(encoding="utf-8")), there)
        told = [f"no {', '.join(name for name in lacks if lacks[name] == remedy)}: {remedy}" for remedy in dict.fromkeys(lacks.values())]
        print(f"{path.stem:22}", "; ".join(told) or "ready")


if __name__ == "__main__":
    main()

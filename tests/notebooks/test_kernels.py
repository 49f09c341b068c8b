"""A kernel that is forked from the template is the kernel that a notebook has without it, whatever
ran before.
"""

import json
from pathlib import PurePath

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tools.files import ROOT
from tools.validate import catalogue, changes, execution, kernels, refresh, sandbox

pytestmark = pytest.mark.skipif(
    sandbox.obstacle() is not None, reason=f"not isolated: {sandbox.obstacle()}"
)

TELL = (ROOT / "tests/data/kernel_sees.py").read_text(encoding="utf-8")
VANDAL = """
import builtins, gc, json, os, random, resource, sys, types, warnings
builtins.left = json.left = left = 1
sys.modules["left"], os.environ["LEFT"] = types.ModuleType("left"), "1"
sys.path.append("/left"); sys.meta_path.append(object()); sys.setswitchinterval(1)
random.seed(1); warnings.simplefilter("error"); gc.disable(); gc.set_threshold(7)
os.umask(0o77); os.chdir("/"); os.nice(5); os.environ["HOME"] = "/"
resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
"""


@pytest.fixture
def run(tmp_path):
    """Execute a cell as a notebook of its own, and return what it prints."""

    def run(source):
        notebook = new_notebook(cells=[new_code_cell(source)])
        notebook.metadata.kernelspec = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        notebook.metadata.course = {"needs": [], "seconds": 60, "memory_mb": 500}
        nbformat.write(notebook, tmp_path / "one.ipynb")
        [notebook] = catalogue.load(folder=tmp_path)
        [cell] = refresh.executed(notebook, changes.Surroundings()).cells
        return "".join(output.get("text", "") for output in cell.outputs)

    return run


@pytest.fixture
def tell(run):
    """What a fresh notebook sees; its folders are told as a reader's, the same each time."""
    return lambda: json.loads(run(TELL))


def template(tmp_path):
    return kernels.template(execution.environment(tmp_path))


def test_it_sees_what_a_kernel_sees_that_is_started_alone(tell, tmp_path):
    alone = tell()
    with template(tmp_path):
        forked = tell()
    assert (alone["command"], PurePath(forked["command"]).name) == ("-m", kernels.TEMPLATE.name)
    assert forked["same"] == alone["same"]


def test_no_kernel_compiles_what_it_imports(tell):
    """The sandbox is read-only, and each would again: `make .venv` imports it once (Makefile)."""
    assert tell()["to compile"] == []


def test_nothing_that_one_leaves_reaches_the_next(run, tell, tmp_path):
    with template(tmp_path):
        before = tell()
        run(VANDAL)
        after = tell()
    assert {PurePath(told["command"]).name for told in (before, after)} == {kernels.TEMPLATE.name}
    assert after["same"] == before["same"]
    assert not set(after["drawn"]) & set(before["drawn"])


def test_when_the_template_has_died_a_kernel_starts_alone(tell, tmp_path):
    with template(tmp_path) as process:
        process.kill()
        process.wait()
        assert tell()["command"] == "-m"

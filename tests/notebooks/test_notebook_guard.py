"""A notebook that is wrong in a way that nbval alone would pass, or wait for, is reported by
notebook and cell.
"""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tools.course.cells import FINE, cell, image_output, picture, shows, stream
from tools.files import ROOT
from tools.validate import catalogue, local, report, requirements, sandbox
from tools.validate import guard as nbval_plugin

needs_sandbox = pytest.mark.skipif(
    sandbox.obstacle() is not None, reason=f"not isolated: {sandbox.obstacle()}"
)


MAGIC_ERROR = "UsageError: Line magic function `%nonsense` not found.\n"
SLEEPER = "86399.25"  # a duration that no other process has


@dataclass
class Case:
    """Cells of a notebook, and what its report must say, at the code cell with that number."""

    cells: list
    says: str = ""
    at: int = 2
    limits: dict = field(default_factory=dict)
    metadata: dict = field(default_factory=dict)
    marks: tuple = ()


CASES = {
    "output_differs": Case([FINE, cell("print(2)", stream("3\n"))], "differ"),
    "output_was_added": Case([FINE, cell("print(2)")], "Unexpected output"),
    "output_is_missing": Case([FINE, cell("x = 2", stream("2\n"))], "Missing output"),
    "cell_was_never_executed": Case([FINE, cell("print(2)", count=None)], "never executed"),
    "image_is_missing": Case(
        [FINE, cell("x = 1", image_output(picture(0)))], "stored are 1 images"
    ),
    "one_pixel_of_an_image_differs": Case(
        [FINE, cell(shows(picture(0)), image_output(picture(255)))], "image differs"
    ),
    "image_has_another_size": Case(
        [FINE, cell(shows(picture(0)), image_output(picture(0, (40, 31))))], "40x31"
    ),
    "expected_exception_does_not_come": Case(
        [FINE, cell("x = 1", tags=["raises-exception"])], "raised nothing"
    ),
    "other_exception_than_stored": Case(
        [
            FINE,
            cell(
                "1 / 0",
                new_output("error", ename="NameError", evalue="x", traceback=[]),
                tags=["raises-exception"],
            ),
        ],
        "differ",
    ),
    "exception": Case([FINE, cell("1 / 0")], "ZeroDivisionError"),
    "magic_does_not_exist": Case(
        [FINE, cell("%nonsense", stream(MAGIC_ERROR, "stderr"))], "a magic failed"
    ),
    "stderr": Case(
        [FINE, cell("import sys; print('x', file=sys.stderr)", stream("x\n", "stderr"))],
        "writes-stderr",
    ),
    "comparison_switched_off_by_comment": Case(
        [FINE, cell("# NBVAL_IGNORE_OUTPUT\nprint(2)", stream("3\n"))],
        "switches the comparison off",
    ),
    "comparison_switched_off_by_tag": Case(
        [FINE, cell("print(2)", stream("3\n"), tags=["nbval-skip"])], "switches the comparison off"
    ),
    "kernel_dies": Case(
        [FINE, cell("import os; os._exit(1)"), FINE], "kernel died", limits={"seconds": 300}
    ),
    "cell_hangs": Case(
        [
            FINE,
            cell(
                "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile "
                "True: time.sleep(1)"
            ),
        ],
        "limit was reached",
        limits={"seconds": 12},
    ),
    "cell_prints_for_ever": Case(
        [FINE, cell("import time\nwhile True: print('x' * 100); time.sleep(0.001)")],
        "limit was reached",
        limits={"seconds": 12},
    ),
    "too_much_memory": Case(
        [FINE, cell("x = b'x' * 300_000_000")], "memory_mb: 200", limits={"memory_mb": 200}
    ),
    "too_much_memory_in_a_child": Case(
        [
            FINE,
            cell(
                "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import time; "
                'x = b"x" * 300_000_000; time.sleep(1)\'])'
            ),
        ],
        "memory_mb: 200",
        limits={"memory_mb": 200},
    ),
    "connection_is_tried_in_silence": Case(
        [
            FINE,
            cell(
                "import socket\ntry: socket.create_connection(('192.0.2.7', 80), 1)\nexcept "
                "OSError: pass"
            ),
        ],
        "network",
        marks=(needs_sandbox,),
    ),
    "name_is_looked_up_in_silence": Case(
        [
            FINE,
            cell(
                "import socket\ntry: socket.getaddrinfo('www.example.org', 80)\nexcept "
                "OSError: pass"
            ),
        ],
        "network",
        marks=(needs_sandbox,),
    ),
    "writes_outside_its_folder": Case(
        [FINE, cell(f"open({str(ROOT / 'notebooks/stray')!r}, 'w')")],
        "Read-only file system",
        marks=(needs_sandbox,),
    ),
    "leaves_a_folder": Case(
        [cell("import pathlib; (pathlib.Path.home() / 'stray/a').mkdir(parents=True)"), FINE],
        "cell 2: ../home/stray was left by cell 1",
    ),
    "leaves_a_file": Case(
        [cell("open('stray', 'w').close()"), FINE],
        "stray was left by cell 1: remove it in the last cell",
    ),
    "changes_its_data": Case(
        [
            cell(
                "open('data.txt', 'a').write('more')",
                new_output("execute_result", data={"text/plain": "4"}),
            ),
            FINE,
        ],
        "data.txt was changed by cell 1",
    ),
    "removes_its_data": Case(
        [cell("import os; os.remove('data.txt')"), FINE], "data.txt was removed by cell 1"
    ),
    "number_varies": Case(
        [FINE, cell("print(' 98 MB')\nprint(7)", stream("123 MB\n5\n"), tags=["numbers-within-3"])]
    ),
    "number_varies_too_much": Case(
        [FINE, cell("print('98 MB')", stream("12 MB\n"), tags=["numbers-within-3"])], "differ"
    ),
    "shows_too_much": Case([FINE, cell("print('x' * 2_200_000)", stream("x\n"))], "shows 2.2 MB"),
    "sends_too_much": Case(
        [FINE, cell("for _ in range(3_000): print('x' * 10_000)"), FINE], "sent more than 20 MB"
    ),
    "notebook_is_too_large": Case(
        [cell(f"print({number} * {'x' * 900_000!r})") for number in range(5)],
        "has 4.5 MB, and a page can have 4 MB",
        at=0,
    ),
    "undeclared": Case([FINE], "declares no course", at=0, metadata={"course": None}),
    "unknown_need": Case(
        [FINE],
        "'quantum'",
        at=0,
        metadata={"course": {"needs": ["quantum"], "seconds": 60, "memory_mb": 500}},
    ),
    "kernel_is_not_installed": Case(
        [FINE],
        "'python2'",
        at=0,
        metadata={"kernelspec": {"name": "python2", "display_name": "Python 2"}},
    ),
    "no_cells": Case([], "has no code cell, so there is nothing to run", at=0),
    # and what is right passes
    "passes_fine": Case([FINE, cell("print(1 + 1)", stream("2\n"))]),
    "passes_the_same_image": Case([cell(shows(picture(0)), image_output(picture(0)))]),
    "passes_an_image_smoothed_otherwise": Case(
        [cell(shows(picture(200)), image_output(picture(200 + nbval_plugin.PIXEL_TOLERANCE)))]
    ),
    "passes_a_dot_in_a_large_image": Case(
        [cell(shows(picture(0, (1400, 800))), image_output(picture(255, (1400, 800))))]
    ),
    "passes_what_a_semicolon_hides": Case([cell("40 + 2;")]),
    "passes_the_last_result": Case(
        [
            cell("40 + 2", new_output("execute_result", data={"text/plain": "42"})),
            cell("_ + 1", new_output("execute_result", data={"text/plain": "43"})),
        ]
    ),
    "passes_stderr_that_is_declared": Case(
        [
            cell(
                "import sys; print('x', file=sys.stderr)",
                stream("x\n", "stderr"),
                tags=["writes-stderr"],
            )
        ]
    ),
    "passes_a_file_that_is_removed_again": Case(
        [cell("open('stray', 'w').close()"), cell("import os; os.remove('stray')")]
    ),
    "passes_temporary_files": Case(
        [
            cell(
                "import tempfile\nwith tempfile.TemporaryDirectory() as t: open(f'{t}/x', "
                "'w').close()"
            )
        ]
    ),
    "passes_an_address_that_differs": Case(
        [
            cell(
                "object()",
                new_output("execute_result", data={"text/plain": "<object at 0x7f0123456789>"}),
            )
        ]
    ),
    "passes_what_it_shows_at_last": Case(
        [
            cell(
                "from IPython.display import clear_output\nfor number in range(3):\n    "
                "clear_output(wait=True)\n    print(number)",
                stream("2\n"),
            ),
            cell(
                "from IPython.display import display\nshown = display(1, "
                "display_id=True)\nshown.update(2)",
                new_output("display_data", data={"text/plain": "2"}),
            ),
        ]
    ),
    "passes_many_small_messages": Case(
        [
            cell(
                "for number in range(3000): print(number, flush=True)",
                stream("".join(f"{number}\n" for number in range(3000))),
            )
        ]
    ),
    "passes_lines_that_overwrite_each_other": Case(
        [
            cell(
                "for n in range(120): print('\\r' + 'x' * 9_999 + str(n), end='')",
                stream("\r" + "x" * 9_999 + "119"),
            )
        ]
    ),
    # Where it can write nothing, each kernel would do so again: `make .venv` starts one (Makefile).
    "passes_and_compiles_nothing": Case(
        [
            cell(
                "import sys, pathlib\nspecs = [module.__spec__ for module in "
                "sys.modules.values() if getattr(module, '__spec__', None)]\n"
                "[spec.name for spec in specs if spec.cached and "
                "spec.origin.startswith(sys.prefix) and not pathlib.Path(spec.cached).exists()]",
                new_output("execute_result", data={"text/plain": "[]"}),
            )
        ],
        marks=(needs_sandbox,),
    ),
    "passes_and_leaves_a_process": Case(
        [cell(f"import subprocess; process = subprocess.Popen(['sleep', '{SLEEPER}'])")]
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a space in its name that holds the cases' notebooks."""
    folder = tmp_path_factory.mktemp("the course") / "notebooks"
    folder.mkdir()
    (folder / "data.txt").write_text("data")
    for name, case in CASES.items():
        metadata = {
            "kernelspec": {"name": "python3", "display_name": "Python 3"},
            "course": {"needs": [], "seconds": 60, "memory_mb": 500} | case.limits,
        } | case.metadata
        cells = [
            new_code_cell(**{**cell, "id": f"cell-{number}"})
            for number, cell in enumerate(case.cells)
        ]
        nbformat.write(
            new_notebook(
                cells=cells, metadata={key: value for key, value in metadata.items() if value}
            ),
            folder / f"{name}.ipynb",
        )
    return folder


@pytest.fixture(scope="module")
def results(folder):
    return {result.name: result for result in local.validate(catalogue.load(folder=folder))}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=case.marks) for name, case in CASES.items()]
)
def test_what_nbval_would_miss_is_reported_by_notebook_and_cell(name, results):
    case, result = CASES[name], results[name]
    if not case.says:
        assert result.outcome == "passed", report.describe(result)
        return
    assert result.outcome == "failed", report.describe(result)
    if case.at:
        [[_, text]] = result.problems
        assert text.startswith(f"cell {case.at}: ") and case.says in text
    else:
        assert case.says in result.reason


def test_a_dead_kernel_is_reported_within_ten_seconds(
    results,
):
    """The cells after it do not count as passed."""
    assert results["kernel_dies"].seconds < 10 and "1 not run" in results["kernel_dies"].reason


def test_a_need_that_is_not_there_skips_with_a_reason(folder, monkeypatch):
    """It never passes."""
    monkeypatch.setitem(requirements.NEEDS, "quantum", requirements.Need(lambda: False, "buy one"))
    [result] = local.validate(catalogue.load(["unknown_need"], folder))
    assert (result.outcome, result.reason) == ("skipped", "quantum is not here: buy one")


def test_each_is_reported_and_its_folder_is_left_as_it_was(folder, results):
    assert set(results) == set(CASES) and (folder / "data.txt").read_text() == "data"
    names = {f"{name}.ipynb" for name in CASES} | {"data.txt"}
    assert {path.name for path in folder.iterdir()} == names


@needs_sandbox
def test_no_process_outlives_its_notebook(results):
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if SLEEPER in (process.info["cmdline"] or [])
    ]


@needs_sandbox
def test_killing_the_runner_leaves_no_process(folder):
    program = (
        "import pathlib, sys; from tools.validate import catalogue, local; "
        "local.validate(catalogue.load(['cell_hangs'], pathlib.Path(sys.argv[1])))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, folder], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    try:
        for _ in range(600):
            family = psutil.Process(process.pid).children(recursive=True)
            if len(family) > 2:  # supervisor, nbval, kernel
                break
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
    assert len(family) > 2
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive


@pytest.mark.parametrize("isolated", [pytest.param(True, marks=needs_sandbox), False])
def test_nothing_runs_longer_than_it_may(isolated, tmp_path):
    """Whatever holds a process up, as a regular expression that takes for ever does, it is ended
    from outside.
    """
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="did not end within 1 s"):
        sandbox.start(
            lambda: re.search("(a*)*b", "a" * 99), tmp_path, isolated, seconds=1
        ).collect()
    assert time.monotonic() - began < 20


def test_a_name_that_no_notebook_has_is_one_clear_sentence(folder):
    with pytest.raises(ValueError, match="there is no notebook 99-none in notebooks/"):
        catalogue.load(["99-none"], folder)

"""A notebook is left out only if nothing that it can see changed since it passed: each kind of
change runs exactly the right ones.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, writes

from tools.course import pairs
from tools.files import ROOT
from tools.validate import catalogue, changes, execution, local, report, runner, sandbox

needs_sandbox = pytest.mark.skipif(
    sandbox.obstacle() is not None, reason=f"not isolated: {sandbox.obstacle()}"
)

# What each of the small course's notebooks declares: one file, a folder, nothing at all, no
# declaration, a need, a module.
COURSE = {
    "a": {"reads": ["data/a.csv"]},
    "b": {"reads": ["data"]},
    "c": {"reads": []},
    "d": {},
    "e": {"reads": [], "needs": ["nbdime"]},
    "f": {"reads": ["towns.py"]},
    "g": {"reads": ["../towns.py"]},  # lies in deep/
}
ALL, NONE = set("abcdefg"), set()
PATTERNS = "tools/validate/sanitize.toml"
FILES = {
    "requirements.txt": "numpy==2\n",
    "tools/requirements-nbdime.txt": "nbdime==4\n",
    "triton/bin/nbdime-git": "#!/bin/sh\n",
    "triton/bin/sjupyter": "#!/bin/sh\n",
    "triton/facts.toml": "[cluster]\n",
    "scicomp/git.rst": "Git\n",
    ".venv/pyvenv.cfg": "include-system-site-packages = false\n",
    ".venv/lib/numpy/core.py": "one = 1\n",
    ".venv/bin/jupyter": "#!python\n",
    ".venv-nbdime/lib/nbdime.py": "two = 2\n",
    "tools/validate/guard.py": "plug = 1\n",
    PATTERNS: '[[pattern]]\nregex = "[0-9]+ s"\nreplace = "TIME"\n'
    'why = "times"\nchanges = "3 s"\nkeeps = "x"\n',
    "notebooks/data/a.csv": "1,2\n",
    "notebooks/data/b.csv": "3,4\n",
    "notebooks/towns.py": "towns = 5\n",
    "system/status": "Package: bash\nVersion: 5.2\n",
    "system/bin/tool": "#!/bin/sh\n",
    "system/lib/R/x.R": "x\n",
    "system/python/bin/python3": "ELF",
    "system/python/lib/json.py": "loads = 1\n",
    "system/kernels/ir/kernel.json": "{}",
}


class Repository:
    """A small repository in `root` whose notebooks have all passed."""

    def __init__(self, root):
        self.root = root
        for name, text in FILES.items():
            self.write(name, text)
        for name, declared in COURSE.items():
            cells = [
                new_markdown_cell("# Title", id="t"),
                new_code_cell("x = 1", id="one", execution_count=1),
                new_code_cell(
                    "print(x)",
                    id="two",
                    execution_count=2,
                    outputs=[new_output("stream", text="1\n")],
                ),
            ]
            metadata = {
                "kernelspec": {"name": "python3", "display_name": "Python 3"},
                "measured": {"seconds": 1},
                "course": {"goal": "try", "needs": [], "seconds": 60, "memory_mb": 500} | declared,
            }
            self.write(self.path(name), writes(new_notebook(cells=cells, metadata=metadata)))
            self.write(self.path(name).removesuffix("ipynb") + "md", "---\njupytext:\n---\n")
        self.pass_all()

    @staticmethod
    def path(name):
        return "notebooks/" + ("deep/" if name == "g" else "") + name + ".ipynb"

    def surroundings(self, user="alice"):
        system = self.root / "system"
        return changes.Surroundings(
            self.root,
            self.root / ".venv",
            (system / "python/bin", system / "python/lib"),
            system / "status",
            (system / "bin", system / "lib/R"),
            (system / "kernels",),
            {"USER": user},
        )

    def pass_all(self):
        """Keep a record of each as it is now."""
        for notebook in catalogue.load(folder=self.root / "notebooks"):
            passed = changes.fingerprint(notebook, self.surroundings())
            changes.save_record(self.root / "_build", notebook.name, passed, seconds=1)

    def to_run(self, user="alice"):
        """The last letters of the notebooks that have to run."""
        surroundings = self.surroundings(user)
        return {
            notebook.name[-1]
            for notebook in catalogue.load(folder=self.root / "notebooks")
            if changes.why_run(notebook, surroundings, self.root / "_build")
        }

    def write(self, name, text="new\n"):
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def notebook(self, name, change):
        path = self.root / self.path(name)
        stored = json.loads(path.read_text())
        change(stored)
        path.write_text(json.dumps(stored))


@pytest.fixture
def repository(tmp_path):
    made = Repository(tmp_path / "the guide")
    assert made.to_run() == NONE
    return made


def written(name, text="new\n"):
    return lambda repository: repository.write(name, text)


def removed(name):
    return lambda repository: (repository.root / name).unlink()


def moved(name, to):
    return lambda repository: (repository.root / name).rename(repository.root / to)


def executable(name):
    return lambda repository: (repository.root / name).chmod(0o755)


def same_size_and_time(name, text):
    def change(repository):
        path, before = repository.root / name, (repository.root / name).stat()
        assert len(text) == before.st_size
        path.write_text(text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


def notebook(change, name="a"):
    return lambda repository: repository.notebook(name, change)


def cell(number, name="a", **new):
    return notebook(lambda stored: stored["cells"][number].update(new), name)


def metadata(**new):
    return notebook(lambda stored: stored["metadata"].update(new))


def course(name="a", **new):
    return notebook(lambda stored: stored["metadata"]["course"].update(new), name)


def in_record(change):
    def edit(repository):
        path = repository.root / "_build/a.json"
        kept = json.loads(path.read_text())
        change(kept)
        path.write_text(json.dumps(kept))

    return edit


CHANGES = {
    # its code cells and their stored outputs, and what it does not run
    "a_source": (cell(1, source="x = 1 "), {"a"}),
    "a_source_in_a_folder": (cell(1, "g", source="x = 2"), {"g"}),
    "a_tag": (cell(1, metadata={"tags": ["raises-exception"]}), {"a"}),
    "a_cell_less": (notebook(lambda stored: stored["cells"].pop()), {"a"}),
    "the_order_of_cells": (notebook(lambda stored: stored["cells"].reverse()), {"a"}),
    "prose_made_code": (cell(0, cell_type="code", outputs=[], execution_count=None), {"a"}),
    "an_output": (notebook(lambda n: n["cells"][2]["outputs"][0].update(text="1")), {"a"}),
    "no_execution_count": (cell(1, execution_count=None), {"a"}),
    "prose": (cell(0, source="# Another title", metadata={"tags": ["exercise"]}), NONE),
    "its_layout": (notebook(lambda stored: stored.update(dict(reversed(stored.items())))), NONE),
    # its metadata
    "its_kernel": (metadata(kernelspec={"name": "ir", "display_name": "R"}), {"a"}),
    "its_seconds": (course(seconds=61), {"a"}),
    "its_memory": (course(memory_mb=501), {"a"}),
    "a_need_that_shows_more": (course(needs=["nbdime"]), {"a"}),
    "what_it_reads": (course(reads=["data/b.csv"]), {"a"}),
    "that_it_reads_what_is_not_there": (course(reads=["data/none.csv"]), {"a"}),
    "no_declaration": (metadata(course=None), {"a"}),
    "its_goal": (course(goal="understand"), NONE),
    "what_was_measured": (metadata(measured={"seconds": 9}), NONE),
    # the file
    "no_json": (written("notebooks/a.ipynb", "{"), {"a"}),
    "no_notebook": (written("notebooks/a.ipynb", "[]"), {"a"}),
    "another_name": (moved("notebooks/a.ipynb", "notebooks/z.ipynb"), {"z"}),
    "another_folder": (moved("notebooks/a.ipynb", "notebooks/deep/a.ipynb"), {"a"}),
    # files of its folder
    "data_of_the_same_size_and_time": (
        same_size_and_time("notebooks/data/a.csv", "9,2\n"),
        {"a", "b", "d"},
    ),
    "a_new_data_file": (written("notebooks/data/.c"), {"b", "d"}),
    "a_data_file_less": (removed("notebooks/data/a.csv"), {"a", "b", "d"}),
    "a_data_file_made_executable": (executable("notebooks/data/a.csv"), {"a", "b", "d"}),
    "a_module": (written("notebooks/towns.py"), {"d", "f", "g"}),
    "a_module_that_hides_the_standard_one": (written("notebooks/json.py"), {"d"}),
    "what_an_editor_leaves": (written("notebooks/.ipynb_checkpoints/a-checkpoint.ipynb"), NONE),
    "what_python_leaves": (written("notebooks/__pycache__/towns.pyc"), NONE),
    # the environment
    "the_lock_file": (written("requirements.txt"), ALL),
    "the_lock_file_of_nbdime": (written("tools/requirements-nbdime.txt"), {"e"}),
    "an_installed_package": (written(".venv/lib/new.py"), ALL),
    "a_package_less": (removed(".venv/lib/numpy/core.py"), ALL),
    "an_edit_in_a_package": (same_size_and_time(".venv/lib/numpy/core.py", "one = 2\n"), ALL),
    "a_program_of_the_environment": (executable(".venv/bin/jupyter"), ALL),
    "compiled_code_of_the_environment": (written(".venv/lib/numpy/__pycache__/core.pyc"), NONE),
    "a_package_of_nbdime": (written(".venv-nbdime/lib/nbdime.py", "two = 3\n"), {"e"}),
    "the_command_for_nbdime": (written("triton/bin/nbdime-git", "#!/bin/bash\n"), {"e"}),
    "a_command_that_no_notebook_sees": (written("triton/bin/sjupyter", "#!/bin/bash\n"), NONE),
    "the_python_below": (written("system/python/bin/python3", "ELF2"), ALL),
    "the_standard_library": (written("system/python/lib/json.py", "loads = 2\n"), ALL),
    "a_package_beside_the_python": (written("system/python/lib/site-packages/other.py"), NONE),
    "a_system_package": (written("system/status"), ALL),
    "no_list_of_packages": (removed("system/status"), ALL),
    "a_program_of_the_machine": (written("system/bin/tool", "#!/bin/bash\n"), ALL),
    "an_r_package_without_a_debian_package": (written("system/lib/R/y.R"), ALL),
    "another_kernel": (written("system/kernels/ir/kernel.json", "[]"), NONE),
    "a_kernel_of_the_machine_with_its_name": (written("system/kernels/python3/kernel.json"), ALL),
    # how it is checked, and the rest of the repository
    "a_pattern": (
        lambda r: r.write(PATTERNS, FILES[PATTERNS].replace("[0-9]+ s", "[0-9]+ m")),
        ALL,
    ),
    "the_reason_of_a_pattern": (
        lambda r: r.write(PATTERNS, FILES[PATTERNS].replace("times", "durations")),
        NONE,
    ),
    "the_plugin": (written("tools/validate/guard.py", "plug = 2\n"), ALL),
    "a_new_module_of_the_runner": (written("tools/course/new.py"), ALL),
    "a_page": (written("scicomp/git.rst", "More\n"), NONE),
    "a_fact": (written("triton/facts.toml", "[hosts]\n"), NONE),
    # what is kept
    "a_record_less": (removed("_build/a.json"), {"a"}),
    "half_a_record": (written("_build/a.json", '{"passed": {"the notebook": "5f'), {"a"}),
    "a_record_that_is_no_dict": (written("_build/a.json", "[]"), {"a"}),
    "a_record_of_a_failure": (in_record(lambda kept: kept.update(passed=None)), {"a"}),
    "a_record_without_a_part": (in_record(lambda kept: kept["passed"].pop("kernel")), {"a"}),
    "a_record_with_a_part_more": (in_record(lambda kept: kept["passed"].update(other="0")), {"a"}),
    "what_was_measured_in_a_record": (in_record(lambda kept: kept.update(seconds=100)), NONE),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_runs_exactly_the_notebooks_that_can_see_it(name, repository):
    change, expected = CHANGES[name]
    change(repository)
    assert repository.to_run() == expected


def test_an_environment_that_sees_more_packages_runs_all(repository):
    """One that sees the packages beside its Python runs all notebooks when one of those changes."""
    repository.write(".venv/pyvenv.cfg", "include-system-site-packages = true\n")
    repository.pass_all()
    assert repository.to_run() == NONE
    repository.write("system/python/lib/site-packages/other.py")
    assert repository.to_run() == ALL


def test_another_machine_python_or_user_runs_all(repository, monkeypatch):
    """And what talks to Slurm always runs."""
    for place, name, value in (
        (os, "uname", lambda: ("Linux", "elsewhere", "6.1", "#1", "x86_64")),
        (os, "sched_getaffinity", lambda pid: {97}),
        (sys, "version", "3.99"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, value)
            assert repository.to_run() == ALL, name
    assert repository.to_run(user="bob") == ALL
    course(needs=["slurm"])(repository)
    repository.pass_all()
    assert repository.to_run() == {"a"}


def test_a_full_disk_keeps_no_record_and_no_half_of_one(repository, monkeypatch, capsys):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    changes.save_record(repository.root / "_build", "a", None)
    monkeypatch.undo()
    says = "a: its result could not be kept, so it runs again the next time"
    assert says in capsys.readouterr().err and repository.to_run() == {"a"}
    kept = sorted(path.name for path in (repository.root / "_build").glob("*.*"))
    assert kept == [f"{name}.json" for name in "bcdef"]


# The same with real runs.


class Runs:
    """Real runs of notebooks in a folder, of which records are kept."""

    def __init__(self, top):
        self.folder, self.records = top / "notebooks", top / "records"
        (self.folder / "data").mkdir(parents=True)
        (self.folder / "data/a.csv").write_text("1\n")

    def __call__(self, **notebooks):
        """The results of these, {name: (source, stored text, what it declares)}."""
        for name, (source, text, declared) in notebooks.items():
            outputs = [new_output("stream", text=text)] if text else []
            made = new_notebook(
                cells=[new_code_cell(source, id="one", execution_count=1, outputs=outputs)],
                metadata={
                    "kernelspec": {"name": "python3", "display_name": "Python 3"},
                    "course": {"needs": [], "seconds": 60, "memory_mb": 500} | declared,
                },
            )
            (self.folder / f"{name}.ipynb").write_text(writes(made))
        results = local.validate(catalogue.load(folder=self.folder), records=self.records)
        return {result.name: result for result in results}

    def why(self):
        return {
            notebook.name: changes.why_run(notebook, changes.Surroundings(), self.records)
            for notebook in catalogue.load(folder=self.folder)
        }


@pytest.fixture
def real(tmp_path):
    return Runs(tmp_path)


@needs_sandbox
def test_what_a_notebook_does_not_declare_it_cannot_read(real):
    look = "import os; print(*(os.path.exists(p) for p in {!r}))"
    inside = ["data/a.csv", "hidden.ipynb", "half.md"]
    outside = [
        str(ROOT / name)
        for name in ("notebooks/README.md", "tools/validate/runner.py", ".venv/bin/python")
    ]
    (real.folder / "half.md").write_text("---\njupytext:\n  formats: x\n---\n")
    results = real(
        all=(look.format(inside), "True False False\n", {}),
        own=(look.format(inside), "False False False\n", {"reads": []}),
        hidden=(look.format(outside), "False False True\n", {"reads": []}),
        text=(f"print(open({str(ROOT / 'README.md')!r}).read(), end='')", "", {"reads": []}),
        itself=(
            "import json; nb = json.load(open('itself.ipynb')); "
            "print(sorted(nb['metadata']['course']), len(nb['cells']))",
            "['memory_mb', 'needs', 'reads', 'seconds'] 1\n",
            {"reads": [], "goal": "not shown"},
        ),
    )
    outcomes = {result.outcome for result in results.values()}
    assert outcomes == {"passed"}, [*map(report.describe, results.values())]
    assert set(real.why().values()) == {None}
    (real.folder / "data/a.csv").write_text("2\n")
    assert {name: why for name, why in real.why().items() if why} == {"all": "data/a.csv changed"}


@needs_sandbox
def test_an_unfinished_or_failed_run_is_no_pass(real, monkeypatch):
    """A run that failed, that was killed, or during which a file has changed."""
    start = execution.start
    data = ("print(open('data/a.csv').read(), end='')", "3\n", {"reads": ["data"]})

    def change_then_start(notebook, *rest):
        if notebook.name == "reads":  # after its fingerprint was taken, before it is copied
            (real.folder / "data/a.csv").write_text("3\n")
        return start(notebook, *rest)

    monkeypatch.setattr(execution, "start", change_then_start)
    results = real(fails=("print(1)", "2\n", {"reads": []}), reads=data)
    outcomes = {name: result.outcome for name, result in results.items()}
    assert outcomes == {"fails": "failed", "reads": "passed"}
    assert real.why() == {"fails": "no pass of it is known", "reads": "data/a.csv changed"}
    monkeypatch.undo()
    (real.records / "reads.json").unlink()
    program = (
        "import pathlib, sys; from tools.validate import catalogue, local; "
        "local.validate(catalogue.load(['reads'], pathlib.Path(sys.argv[1])), "
        "records=pathlib.Path(sys.argv[2]))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, real.folder, real.records], cwd=ROOT)
    time.sleep(0.5)
    process.kill()
    process.wait()
    assert real.why()["reads"] == "no pass of it is known"


@needs_sandbox
def test_a_notebook_runs_once_its_halves_differ(real, monkeypatch):
    """Then it fails, though the half that is run is the one that passed."""
    monkeypatch.setattr(runner, "RECORDS", real.records)
    asked = argparse.Namespace(on=None, names=[], changed=True)

    def why_run():
        return runner.why_run(catalogue.load(folder=real.folder), changes.Surroundings(), asked)

    real(x=("print(1)", "1\n", {"reads": []}))
    pairs.sync(real.folder)
    assert why_run() == {"x": None}
    md = real.folder / "x.md"
    md.write_text(md.read_text().replace("print(1)", "print(2)"))
    assert "its halves differ" in why_run()["x"]


def test_a_declared_file_that_is_missing_is_one_sentence(real):
    declared = {"x": ["data/none.csv"], "y": "data", "z": ["../../etc"]}
    results = real(**{name: ("1", "", {"reads": reads}) for name, reads in declared.items()})
    not_there = "declares that it reads {}, which is not in notebooks/ (see notebooks/README.md)"
    assert results["x"].reason == not_there.format("data/none.csv")
    assert "it is a list of files and folders" in results["y"].reason
    assert results["z"].reason == not_there.format("../../etc")


def test_to_find_that_nothing_changed_imports_little():
    """Nothing that runs notebooks."""
    program = (
        "import sys; from tools.validate import catalogue, runner; catalogue.load(); "
        "print({'nbformat', 'jupytext', 'pytest', 'nbval', 'jupyter_client'} & set(sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT
    )
    assert found.stdout == "set()\n", found.stdout + found.stderr

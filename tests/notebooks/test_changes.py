"""A notebook is left out only if nothing that it can see changed since it passed: each kind of
change runs exactly the right ones.
"""

import argparse
import json
import os
import subprocess
import sys

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
FILES = {
    "requirements.txt": "numpy==2\n",
    "tools/requirements-nbdime.txt": "nbdime==4\n",
    "README.md": "# The guide\n",
    "Makefile": "all:\n",
    "triton/bin/nbdime-git": "#!/bin/sh\n",
    "triton/bin/sjupyter": "#!/bin/sh\n",
    "triton/facts.toml": "[cluster]\n",
    "scicomp/git.rst": "Git\n",
    ".venv/pyvenv.cfg": "include-system-site-packages = false\n",
    ".venv/lib/numpy/core.py": "one = 1\n",
    ".venv/lib/numpy.dist-info/RECORD": "core.py\n",
    ".venv/bin/jupyter": "#!python\n",
    ".venv/share/jupyter/kernels/python3/kernel.json": "{}",
    ".venv-nbdime/lib/nbdime.py": "two = 2\n",
    "tools/validate/runner.py": "run = 1\n",
    "tools/validate/guard.py": "plug = 1\n",
    "tests/test_x.py": "test = 1\n",
    "tools/validate/sanitize.toml": '[[pattern]]\nregex = "[0-9]+ s"\nreplace = "TIME"\n'
    'why = "times"\nchanges = "3 s"\nkeeps = "x"\n',
    "notebooks/data/a.csv": "1,2\n",
    "notebooks/data/b.csv": "3,4\n",
    "notebooks/towns.py": "towns = 5\n",
    "notebooks/README.md": "How\n",
    "notebooks/index.rst": "Course\n",
    "system/status": "Package: bash\nVersion: 5.2\n",
    "system/bin/tool": "#!/bin/sh\n",
    "system/lib/R/x.R": "x\n",
    "system/python/bin/python3": "ELF",
    "system/python/lib/json.py": "loads = 1\n",
    "system/python/lib/__pycache__/json.pyc": "code",
    "system/kernels/ir/kernel.json": "{}",
}


class Repository:
    """A small repository in `root` whose notebooks have all passed; each method that changes it
    returns nothing.
    """

    def __init__(self, root):
        self.root = root
        for name, text in FILES.items():
            self.write(name, text)
        for name, course in COURSE.items():
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
            self.write(
                self.path(name),
                writes(
                    new_notebook(
                        cells=cells,
                        metadata={
                            "kernelspec": {
                                "name": "python3",
                                "display_name": "Python 3",
                                "language": "python",
                            },
                            "language_info": {"name": "python"},
                            "measured": {"seconds": 1},
                            "course": {
                                "goal": "try",
                                "minutes": 10,
                                "needs": [],
                                "seconds": 60,
                                "memory_mb": 500,
                            }
                            | course,
                        },
                    )
                ),
            )
            self.write(
                self.path(name).removesuffix("ipynb") + "md", "---\njupytext:\n  formats: x\n---\n"
            )

    @staticmethod
    def path(name):
        return "notebooks/" + ("deep/" if name == "g" else "") + name + ".ipynb"

    def surroundings(self):
        system = self.root / "system"
        return changes.Surroundings(
            self.root,
            self.root / ".venv",
            (system / "python/bin", system / "python/lib"),
            system / "status",
            (system / "bin", system / "lib/R"),
            (system / "kernels",),
            {"USER": "alice"},
        )

    def pass_all(self):
        for notebook in catalogue.load(folder=self.root / "notebooks"):
            changes.save_record(
                self.root / "_build",
                notebook.name,
                changes.fingerprint(notebook, self.surroundings()),
                seconds=1,
            )

    def to_run(self, surroundings=None):
        """The last letters of the notebooks that have to run."""
        surroundings = surroundings or self.surroundings()
        return {
            notebook.name[-1]
            for notebook in catalogue.load(folder=self.root / "notebooks")
            if changes.why_run(notebook, surroundings, self.root / "_build")
        }

    def write(self, name, text="new\n"):
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def edit(self, name, old, new):
        text = (self.root / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new, 1))

    def notebook(self, name, change):
        path = self.root / self.path(name)
        stored = json.loads(path.read_text())
        change(stored)
        path.write_text(json.dumps(stored))


@pytest.fixture
def repository(tmp_path):
    made = Repository(tmp_path / "the guide")
    made.pass_all()
    assert made.to_run() == NONE
    return made


def written(name, text="new\n"):
    return lambda repository: repository.write(name, text)


def edited(name, old, new):
    return lambda repository: repository.edit(name, old, new)


def removed(name):
    return lambda repository: (repository.root / name).unlink()


def moved(name, to):
    return lambda repository: (repository.root / name).rename(repository.root / to)


def executable(name):
    return lambda repository: (repository.root / name).chmod(0o755)


def touched(name):
    return lambda repository: os.utime(repository.root / name, (1, 1))


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


def output(**new):
    return notebook(lambda stored: stored["cells"][2]["outputs"][0].update(new))


def in_record(change):
    def edit(repository):
        path = repository.root / "_build/a.json"
        kept = json.loads(path.read_text())
        change(kept)
        path.write_text(json.dumps(kept))

    return edit


A_PICTURE = {"output_type": "display_data", "data": {"image/png": "AAAA"}, "metadata": {}}
CODE = {
    "cell_type": "code",
    "id": "new",
    "source": "1",
    "metadata": {},
    "outputs": [],
    "execution_count": 3,
}

CHANGES = {
    # its cells
    "a_space_in_a_source": (cell(1, source="x = 1 "), {"a"}),
    "a_lookalike_letter": (cell(1, source="\N{CYRILLIC SMALL LETTER HA} = 1"), {"a"}),
    "a_cell_tag": (cell(1, metadata={"tags": ["raises-exception"]}), {"a"}),
    "a_new_cell": (notebook(lambda stored: stored["cells"].append(CODE)), {"a"}),
    "a_cell_less": (notebook(lambda stored: stored["cells"].pop()), {"a"}),
    "the_order_of_cells": (notebook(lambda stored: stored["cells"].reverse()), {"a"}),
    "code_made_prose": (cell(2, cell_type="markdown"), {"a"}),
    "prose_made_code": (cell(0, cell_type="code", outputs=[], execution_count=None), {"a"}),
    "a_cell_of_one_that_declares_nothing": (cell(1, "d", source="x = 2"), {"d"}),
    "a_cell_of_one_in_a_folder": (cell(1, "g", source="x = 2"), {"g"}),
    # what it does not run
    "prose": (cell(0, source="# Another title"), NONE),
    "a_tag_of_prose": (cell(0, metadata={"tags": ["exercise"]}), NONE),
    "prose_less": (notebook(lambda stored: stored["cells"].pop(0)), NONE),
    "its_layout": (notebook(lambda stored: stored.update(dict(reversed(stored.items())))), NONE),
    # its stored outputs
    "an_outputs_newline": (output(text="1"), {"a"}),
    "an_outputs_stream": (output(name="stderr"), {"a"}),
    "an_output_less": (cell(2, outputs=[]), {"a"}),
    "a_picture": (cell(1, outputs=[A_PICTURE]), {"a"}),
    "no_execution_count": (cell(1, execution_count=None), {"a"}),
    # its metadata
    "its_kernel": (metadata(kernelspec={"name": "ir", "display_name": "R"}), {"a"}),
    "its_seconds": (course(seconds=61), {"a"}),
    "its_memory": (course(memory_mb=501), {"a"}),
    "a_need_that_shows_more": (course(needs=["nbdime"]), {"a"}),
    "a_need_less": (course("e", needs=[]), {"e"}),
    "what_it_reads": (course(reads=["data/b.csv"]), {"a"}),
    "that_it_reads_nothing": (course(reads=[]), {"a"}),
    "that_it_reads_what_is_not_there": (course(reads=["data/none.csv"]), {"a"}),
    "no_declaration": (metadata(course=None), {"a"}),
    "the_minor_format": (notebook(lambda stored: stored.update(nbformat_minor=4)), {"a"}),
    "the_shown_name_of_its_kernel": (
        metadata(kernelspec={"name": "python3", "display_name": "Python"}),
        NONE,
    ),
    "its_goal": (course(goal="understand"), NONE),
    "what_was_measured": (metadata(measured={"seconds": 9}), NONE),
    # the file
    "no_json": (written("notebooks/a.ipynb", "{"), {"a"}),
    "no_notebook": (written("notebooks/a.ipynb", "[]"), {"a"}),
    "another_name": (moved("notebooks/a.ipynb", "notebooks/z.ipynb"), {"z"}),
    "another_folder": (moved("notebooks/a.ipynb", "notebooks/deep/a.ipynb"), {"a"}),
    "a_notebooks_time": (touched("notebooks/a.ipynb"), NONE),
    # files of its folder
    "a_data_file_of_the_same_size_and_time": (
        same_size_and_time("notebooks/data/a.csv", "9,2\n"),
        {"a", "b", "d"},
    ),
    "a_new_data_file": (written("notebooks/data/.c"), {"b", "d"}),
    "a_data_file_less": (removed("notebooks/data/b.csv"), {"b", "d"}),
    "the_declared_data_file_less": (removed("notebooks/data/a.csv"), {"a", "b", "d"}),
    "two_data_files_with_each_others_names": (
        lambda repository: (
            moved("notebooks/data/a.csv", "x")(repository),
            moved("notebooks/data/b.csv", "notebooks/data/a.csv")(repository),
            moved("x", "notebooks/data/b.csv")(repository),
        ),
        {"a", "b", "d"},
    ),
    "a_data_file_made_executable": (executable("notebooks/data/a.csv"), {"a", "b", "d"}),
    "a_data_file_made_a_link": (
        lambda repository: (
            removed("notebooks/data/a.csv")(repository),
            (repository.root / "notebooks/data/a.csv").symlink_to(repository.root / "README.md"),
        ),
        {"a", "b", "d"},
    ),
    "a_data_files_time": (touched("notebooks/data/a.csv"), NONE),
    "a_module": (edited("notebooks/towns.py", "5", "6"), {"d", "f", "g"}),
    "a_module_that_hides_the_standard_one": (written("notebooks/json.py"), {"d"}),
    "what_an_editor_leaves": (written("notebooks/.ipynb_checkpoints/a-checkpoint.ipynb"), NONE),
    "what_python_leaves": (written("notebooks/__pycache__/towns.pyc"), NONE),
    # the environment
    "the_lock_file": (edited("requirements.txt", "2", "3"), ALL),
    "the_lock_file_of_nbdime": (edited("tools/requirements-nbdime.txt", "4", "5"), {"e"}),
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
    "a_system_package": (edited("system/status", "5.2", "5.3"), ALL),
    "no_list_of_packages": (removed("system/status"), ALL),
    "a_program_of_the_machine": (written("system/bin/tool", "#!/bin/bash\n"), ALL),
    "an_r_package_without_a_debian_package": (written("system/lib/R/y.R"), ALL),
    "another_kernel": (written("system/kernels/ir/kernel.json", "[]"), NONE),
    "a_kernel_of_the_machine_with_its_name": (written("system/kernels/python3/kernel.json"), ALL),
    # how it is checked
    "a_pattern": (edited("tools/validate/sanitize.toml", "[0-9]+ s", "[0-9]+ m"), ALL),
    "the_reason_of_a_pattern": (edited("tools/validate/sanitize.toml", "times", "durations"), NONE),
    "the_plugin": (written("tools/validate/guard.py", "plug = 2\n"), ALL),
    "a_new_module_of_the_runner": (written("tools/course/new.py"), ALL),
    # the rest of the repository
    "a_page": (written("scicomp/git.rst", "More\n"), NONE),
    "a_fact": (written("triton/facts.toml", "[hosts]\n"), NONE),
    # what is kept
    "a_record_less": (removed("_build/a.json"), {"a"}),
    "half_a_record": (written("_build/a.json", '{"passed": {"the notebook": "5f'), {"a"}),
    "a_record_that_is_no_dict": (written("_build/a.json", "[]"), {"a"}),
    "a_record_of_bytes": (
        lambda repository: (repository.root / "_build/a.json").write_bytes(b"\xff\x00"),
        {"a"},
    ),
    "a_record_of_a_failure": (in_record(lambda kept: kept.update(passed=None)), {"a"}),
    "a_record_with_nothing_in_it": (in_record(lambda kept: kept.update(passed={})), {"a"}),
    "a_record_without_a_part": (in_record(lambda kept: kept["passed"].pop("kernel")), {"a"}),
    "a_record_with_a_part_more": (in_record(lambda kept: kept["passed"].update(other="0")), {"a"}),
    "another_name_with_its_record": (
        lambda repository: (
            moved("notebooks/c.ipynb", "notebooks/n.ipynb")(repository),
            moved("_build/c.json", "_build/n.json")(repository),
        ),
        {"n"},
    ),
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


@pytest.mark.parametrize(
    "name, change",
    {
        "another_machine": lambda monkeypatch: monkeypatch.setattr(
            os, "uname", lambda: ("Linux", "elsewhere", "6.1", "#1", "x86_64")
        ),
        "fewer_processors": lambda monkeypatch: monkeypatch.setattr(
            os, "sched_getaffinity", lambda pid: {0}
        ),
        "another_python": lambda monkeypatch: monkeypatch.setattr(sys, "version", "3.99"),
    }.items(),
)
def test_another_machine_runs_all(name, change, repository, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    repository.pass_all()
    assert repository.to_run() == NONE
    change(monkeypatch)
    assert repository.to_run() == ALL


def test_a_notebook_that_talks_to_slurm_always_runs(repository):
    course(needs=["slurm"])(repository)
    repository.pass_all()
    assert repository.to_run() == {"a"}


def test_a_variable_that_a_notebook_can_read_runs_all(repository):
    surroundings = repository.surroundings()
    surroundings.variables["USER"] = "bob"
    assert repository.to_run(surroundings) == ALL


def test_a_full_disk_keeps_no_record_and_no_half_of_one(repository, monkeypatch, capsys):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    changes.save_record(repository.root / "_build", "a", None)
    monkeypatch.undo()
    assert (
        "a: its result could not be kept, so it runs again the next time" in capsys.readouterr().err
    )
    assert sorted(
        path.name for path in (repository.root / "_build").iterdir() if path.is_file()
    ) == [f"{name}.json" for name in "bcdef"]
    assert repository.to_run() == {"a"}


# The same with real runs.


@pytest.fixture
def real(tmp_path):
    """A function that runs notebooks with the given cells, {name: (source, stored text, declared)},
    and keeps records.
    """
    folder = tmp_path / "notebooks"
    (folder / "data").mkdir(parents=True)
    (folder / "data/a.csv").write_text("1\n")

    def run(**notebooks):
        for name, (source, text, more) in notebooks.items():
            outputs = [new_output("stream", text=text)] if text else []
            (folder / f"{name}.ipynb").write_text(
                writes(
                    new_notebook(
                        cells=[new_code_cell(source, id="one", execution_count=1, outputs=outputs)],
                        metadata={
                            "kernelspec": {"name": "python3", "display_name": "Python 3"},
                            "course": {"needs": [], "seconds": 60, "memory_mb": 500} | more,
                        },
                    )
                )
            )
        return {
            result.name: result
            for result in local.validate(
                catalogue.load(folder=folder), records=tmp_path / "records"
            )
        }

    run.folder, run.records = folder, tmp_path / "records"
    return run


def why(real):
    return {
        notebook.name: changes.why_run(notebook, changes.Surroundings(), real.records)
        for notebook in catalogue.load(folder=real.folder)
    }


@needs_sandbox
def test_what_a_notebook_does_not_declare_it_cannot_read(real):
    look = "import os; print(*(os.path.exists(p) for p in {!r}))"
    inside = ["data/a.csv", "hidden.ipynb", "half.md"]
    outside = [
        str(ROOT / name)
        for name in (
            "README.md",
            "notebooks/README.md",
            "triton/facts.toml",
            "tools/validate/runner.py",
            ".venv/bin/python",
        )
    ]
    (real.folder / "half.md").write_text("---\njupytext:\n  formats: x\n---\n")
    read = f"for p in {outside[:1]!r}: print(open(p).read(), end='')"
    results = real(
        all=(look.format(inside), "True False False\n", {}),
        own=(look.format(inside), "False False False\n", {"reads": []}),
        hidden=(look.format(outside[1:]), "False False False True\n", {"reads": []}),
        text=(read, "", {"reads": []}),
        itself=(
            "import json; nb = json.load(open('itself.ipynb')); "
            "print(sorted(nb['metadata']['course']), len(nb['cells']))",
            "['memory_mb', 'needs', 'reads', 'seconds'] 1\n",
            {"reads": [], "goal": "not shown"},
        ),
    )
    assert {name: result.outcome for name, result in results.items()} == dict.fromkeys(
        results, "passed"
    ), [*map(report.describe, results.values())]
    assert set(why(real).values()) == {None}
    (real.folder / "data/a.csv").write_text("2\n")
    assert {name: reason for name, reason in why(real).items() if reason} == {
        "all": "data/a.csv changed"
    }


@needs_sandbox
def test_an_unfinished_or_failed_run_is_no_pass(real):
    """A run that failed, that was killed, or during which a file has changed."""
    program = (
        "import pathlib, sys; from tools.validate import catalogue, local; "
        "local.validate(catalogue.load(['slow'], pathlib.Path(sys.argv[1])), "
        "records=pathlib.Path(sys.argv[2]))"
    )
    results = real(
        fails=("print(1)", "2\n", {}),
        slow=("print(open('data/a.csv').read(), end='')", "1\n", {"reads": ["data"]}),
    )
    assert results["fails"].outcome == "failed"
    assert why(real) == {"fails": "no pass of it is known", "slow": None}
    # It changes after the run has copied it: the record says what was there before.
    (real.records / "slow.json").unlink()
    slow = real.folder / "slow.ipynb"
    slow.write_text(slow.read_text().replace("end='')", "end=''); import time; time.sleep(3)"))
    process = subprocess.Popen(
        [sys.executable, "-c", program, real.folder, real.records],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
    )
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
    process.wait()
    assert not (real.records / "slow.json").exists()
    assert why(real)["slow"] == "no pass of it is known"


@needs_sandbox
def test_a_file_that_changes_meanwhile_runs_it_again(real, monkeypatch):
    """While the notebook runs that uses it."""
    start = execution.start

    def change_then_start(*arguments):
        (real.folder / "data/a.csv").write_text("3\n")  # after the fingerprint, before the copy
        return start(*arguments)

    monkeypatch.setattr(execution, "start", change_then_start)
    results = real(reads=("print(open('data/a.csv').read(), end='')", "3\n", {"reads": ["data"]}))
    assert results["reads"].outcome == "passed" and why(real)["reads"] == "data/a.csv changed"


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
    results = real(
        x=("1", "", {"reads": ["data/none.csv"]}),
        y=("1", "", {"reads": "data"}),
        z=("1", "", {"reads": ["../../etc"]}),
    )
    assert (
        results["x"].reason
        == "declares that it reads data/none.csv, which is not in notebooks/ (see "
        "notebooks/README.md)"
    )
    assert (
        "it is a list of files and folders" in results["y"].reason
        and "not in notebooks/" in results["z"].reason
    )


def test_to_find_that_nothing_changed_imports_little():
    """Nothing that runs notebooks."""
    program = (
        "import sys; from tools.validate import catalogue, runner; catalogue.load(); "
        "print({'nbformat', 'jupytext', 'pytest', 'nbval', 'jupyter_client'} & set(sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert found.stdout == "set()\n", found.stdout + found.stderr

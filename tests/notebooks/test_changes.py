"""A notebook is left out only if nothing that it can see changed since it passed: each kind of
change runs exactly the right ones.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, writes

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
            self.root / "tools",
            self.root / "tools/validate/sanitize.toml",
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


def replaced_by_a_link(name, to):
    def change(repository):
        (repository.root / name).unlink()
        (repository.root / name).symlink_to(repository.root / to)

    return change


def same_size_and_time(name, text):
    def change(repository):
        path, before = repository.root / name, (repository.root / name).stat()
        assert len(text) == before.st_size
        path.write_text(text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


def cell(number, name="a", **new):
    return lambda repository: repository.notebook(
        name, lambda stored: stored["cells"][number].update(new)
    )


def metadata(name="a", **new):
    return lambda repository: repository.notebook(
        name, lambda stored: stored["metadata"].update(new)
    )


def course(name="a", **new):
    return lambda repository: repository.notebook(
        name, lambda stored: stored["metadata"]["course"].update(new)
    )


def cells(change, name="a"):
    return lambda repository: repository.notebook(name, lambda stored: change(stored["cells"]))


def output(name="a", **new):
    return lambda repository: repository.notebook(
        name, lambda stored: stored["cells"][2]["outputs"][0].update(new)
    )


def record(name, text):
    return written(f"_build/{name}.json", text)


def in_record(change, name="a"):
    def edit(repository):
        path = repository.root / f"_build/{name}.json"
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
    # nothing
    "nothing": (lambda repository: None, NONE),
    "another_look_at_a_file": (
        lambda repository: (repository.root / "notebooks/data/a.csv").read_text(),
        NONE,
    ),
    # its cells
    "a_cells_source": (cell(1, source="x = 2"), {"a"}),
    "a_space_in_a_source": (cell(1, source="x = 1 "), {"a"}),
    "a_comment": (cell(1, source="x = 1  # one"), {"a"}),
    "a_case": (cell(1, source="X = 1"), {"a"}),
    "a_lookalike_letter": (cell(1, source="\N{CYRILLIC SMALL LETTER HA} = 1"), {"a"}),
    "a_cell_tag": (cell(1, metadata={"tags": ["raises-exception"]}), {"a"}),
    "another_cell_tag": (cell(1, metadata={"tags": ["writes-stderr"]}), {"a"}),
    "a_cells_id": (cell(1, id="other"), {"a"}),
    "a_new_cell": (cells(lambda all_: all_.append(CODE)), {"a"}),
    "a_new_cell_first": (cells(lambda all_: all_.insert(0, CODE)), {"a"}),
    "a_cell_less": (cells(lambda all_: all_.pop()), {"a"}),
    "the_order_of_cells": (cells(lambda all_: all_.reverse()), {"a"}),
    "code_made_prose": (cell(2, cell_type="markdown"), {"a"}),
    "prose_made_code": (cell(0, cell_type="code", outputs=[], execution_count=None), {"a"}),
    "a_cell_of_another_notebook": (cell(1, "c", source="x = 2"), {"c"}),
    "a_cell_of_one_that_declares_nothing": (cell(1, "d", source="x = 2"), {"d"}),
    "a_cell_of_one_in_a_folder": (cell(1, "g", source="x = 2"), {"g"}),
    "cells_of_two": (
        lambda repository: (
            cell(1, "a", source="2")(repository),
            cell(1, "f", source="2")(repository),
        ),
        {"a", "f"},
    ),
    "all_cells": (cells(list.clear), {"a"}),
    # what it does not run
    "prose": (cell(0, source="# Another title"), NONE),
    "new_prose": (cells(lambda all_: all_.insert(1, new_markdown_cell("More"))), NONE),
    "prose_less": (cells(lambda all_: all_.pop(0)), NONE),
    "a_tag_of_prose": (cell(0, metadata={"tags": ["exercise"]}), NONE),
    "a_raw_cell": (
        cells(
            lambda all_: all_.append({"cell_type": "raw", "id": "r", "source": "x", "metadata": {}})
        ),
        NONE,
    ),
    "its_md_half": (written("notebooks/a.md", "---\njupytext:\n  formats: y\n---\nMore\n"), NONE),
    "its_layout": (
        lambda repository: repository.notebook(
            "a", lambda stored: stored.update(dict(reversed(stored.items())))
        ),
        NONE,
    ),
    # its stored outputs
    "an_outputs_text": (output(text="2\n"), {"a"}),
    "an_outputs_newline": (output(text="1"), {"a"}),
    "an_outputs_stream": (cells(lambda all_: all_[2]["outputs"][0].update(name="stderr")), {"a"}),
    "an_output_less": (cell(2, outputs=[]), {"a"}),
    "an_output_more": (cell(1, outputs=[A_PICTURE]), {"a"}),
    "a_picture": (cells(lambda all_: all_[2]["outputs"].append(A_PICTURE)), {"a"}),
    "an_execution_count": (cell(1, execution_count=None), {"a"}),
    "another_execution_count": (cell(1, execution_count=7), {"a"}),
    # its metadata
    "its_kernel": (metadata(kernelspec={"name": "ir", "display_name": "R"}), {"a"}),
    "no_kernel": (metadata(kernelspec={}), {"a"}),
    "its_seconds": (course(seconds=61), {"a"}),
    "its_memory": (course(memory_mb=501), {"a"}),
    "its_needs": (course(needs=["r"]), {"a"}),
    "a_need_that_shows_more": (course(needs=["nbdime"]), {"a"}),
    "a_need_less": (course("e", needs=[]), {"e"}),
    "what_it_reads": (course(reads=["data/b.csv"]), {"a"}),
    "that_it_reads_more": (course(reads=["data/a.csv", "data/b.csv"]), {"a"}),
    "that_it_reads_nothing": (course(reads=[]), {"a"}),
    "that_it_reads_what_is_not_there": (course(reads=["data/none.csv"]), {"a"}),
    "that_it_reads_no_list": (course(reads="data"), {"a"}),
    "no_declaration": (metadata(course=None), {"a"}),
    "the_minor_format": (
        lambda repository: repository.notebook("a", lambda stored: stored.update(nbformat_minor=4)),
        {"a"},
    ),
    "the_shown_name_of_its_kernel": (
        metadata(kernelspec={"name": "python3", "display_name": "Python"}),
        NONE,
    ),
    "its_goal": (course(goal="understand"), NONE),
    "its_minutes": (course(minutes=15), NONE),
    "what_was_measured": (metadata(measured={"seconds": 9}), NONE),
    "its_language_info": (metadata(language_info={"name": "python", "version": "3.13"}), NONE),
    # the file
    "no_json": (written("notebooks/a.ipynb", "{"), {"a"}),
    "an_empty_file": (written("notebooks/a.ipynb", ""), {"a"}),
    "no_notebook": (written("notebooks/a.ipynb", "[]"), {"a"}),
    "another_name": (moved("notebooks/a.ipynb", "notebooks/z.ipynb"), {"z"}),
    "another_folder": (moved("notebooks/a.ipynb", "notebooks/deep/a.ipynb"), {"a"}),
    "a_new_notebook": (
        lambda repository: shutil.copy(
            repository.root / "notebooks/c.ipynb", repository.root / "notebooks/n.ipynb"
        ),
        {"n"},
    ),
    "a_notebook_less": (removed("notebooks/c.ipynb"), NONE),
    "a_notebooks_time": (touched("notebooks/a.ipynb"), NONE),
    # files of its folder
    "a_data_file": (written("notebooks/data/a.csv", "1,3\n"), {"a", "b", "d"}),
    "a_data_file_of_the_same_size_and_time": (
        same_size_and_time("notebooks/data/a.csv", "9,2\n"),
        {"a", "b", "d"},
    ),
    "another_data_file": (written("notebooks/data/b.csv"), {"b", "d"}),
    "a_new_data_file": (written("notebooks/data/c.csv"), {"b", "d"}),
    "a_hidden_data_file": (written("notebooks/data/.c"), {"b", "d"}),
    "a_data_file_less": (removed("notebooks/data/b.csv"), {"b", "d"}),
    "the_declared_data_file_less": (removed("notebooks/data/a.csv"), {"a", "b", "d"}),
    "a_data_file_with_another_name": (
        moved("notebooks/data/b.csv", "notebooks/data/z.csv"),
        {"b", "d"},
    ),
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
        replaced_by_a_link("notebooks/data/a.csv", "README.md"),
        {"a", "b", "d"},
    ),
    "a_new_data_folder": (written("notebooks/data/deep/x"), {"b", "d"}),
    "a_data_files_time": (touched("notebooks/data/a.csv"), NONE),
    "a_module": (edited("notebooks/towns.py", "5", "6"), {"d", "f", "g"}),
    "a_new_module": (written("notebooks/more.py"), {"d"}),
    "a_module_that_hides_the_standard_one": (written("notebooks/json.py"), {"d"}),
    "the_courses_readme": (written("notebooks/README.md"), {"d"}),
    "what_an_editor_leaves": (written("notebooks/.ipynb_checkpoints/a-checkpoint.ipynb"), NONE),
    "what_python_leaves": (written("notebooks/__pycache__/towns.pyc"), NONE),
    # the environment
    "the_lock_file": (edited("requirements.txt", "2", "3"), ALL),
    "the_lock_file_gone": (removed("requirements.txt"), ALL),
    "the_lock_file_of_nbdime": (edited("tools/requirements-nbdime.txt", "4", "5"), {"e"}),
    "an_installed_package": (written(".venv/lib/new.py"), ALL),
    "a_package_less": (removed(".venv/lib/numpy/core.py"), ALL),
    "an_edit_in_a_package": (same_size_and_time(".venv/lib/numpy/core.py", "one = 2\n"), ALL),
    "a_program_of_the_environment": (executable(".venv/bin/jupyter"), ALL),
    "the_kernelspec": (written(".venv/share/jupyter/kernels/python3/kernel.json", "[]"), ALL),
    "compiled_code_of_the_environment": (written(".venv/lib/numpy/__pycache__/core.pyc"), NONE),
    "a_package_of_nbdime": (written(".venv-nbdime/lib/nbdime.py", "two = 3\n"), {"e"}),
    "the_command_for_nbdime": (written("triton/bin/nbdime-git", "#!/bin/bash\n"), {"e"}),
    "a_command_that_no_notebook_sees": (written("triton/bin/sjupyter", "#!/bin/bash\n"), NONE),
    "a_fact": (written("triton/facts.toml", "[hosts]\n"), NONE),
    "the_python_below": (written("system/python/bin/python3", "ELF2"), ALL),
    "the_standard_library": (written("system/python/lib/json.py", "loads = 2\n"), ALL),
    "a_package_beside_the_python": (written("system/python/lib/site-packages/other.py"), NONE),
    "compiled_code_of_the_standard_library": (
        written("system/python/lib/__pycache__/json.pyc", "edoc"),
        NONE,
    ),
    "a_system_package": (edited("system/status", "5.2", "5.3"), ALL),
    "no_list_of_packages": (removed("system/status"), ALL),
    "a_program_of_the_machine": (written("system/bin/tool", "#!/bin/bash\n"), ALL),
    "a_new_program_of_the_machine": (written("system/bin/python3"), ALL),
    "an_r_package_without_a_debian_package": (written("system/lib/R/y.R"), ALL),
    "another_kernel": (written("system/kernels/ir/kernel.json", "[]"), NONE),
    "a_kernel_of_the_machine_with_its_name": (written("system/kernels/python3/kernel.json"), ALL),
    # how it is checked
    "a_pattern": (edited("tools/validate/sanitize.toml", "[0-9]+ s", "[0-9]+ m"), ALL),
    "what_a_pattern_gives": (edited("tools/validate/sanitize.toml", "TIME", "SECONDS"), ALL),
    "no_pattern": (written("tools/validate/sanitize.toml", ""), ALL),
    "the_reason_of_a_pattern": (edited("tools/validate/sanitize.toml", "times", "durations"), NONE),
    "the_runner": (written("tools/validate/runner.py", "run = 2\n"), ALL),
    "the_plugin": (written("tools/validate/guard.py", "plug = 2\n"), ALL),
    "a_new_module_of_the_runner": (written("tools/course/new.py"), ALL),
    # the rest of the repository
    "a_page": (written("scicomp/git.rst", "More\n"), NONE),
    "the_readme": (written("README.md"), NONE),
    "the_makefile": (written("Makefile"), NONE),
    "a_test": (written("tests/test_x.py", "test = 2\n"), NONE),
    "a_new_file_beside_it_all": (written("notes.txt"), NONE),
    # what is kept
    "a_record_less": (removed("_build/a.json"), {"a"}),
    "an_empty_record": (record("a", ""), {"a"}),
    "half_a_record": (record("a", '{"format": 1, "passed": {"cells": "5f'), {"a"}),
    "a_record_that_is_no_dict": (record("a", "[]"), {"a"}),
    "a_record_that_is_null": (record("a", "null"), {"a"}),
    "a_record_of_bytes": (
        lambda repository: (repository.root / "_build/a.json").write_bytes(b"\xff\x00"),
        {"a"},
    ),
    "a_record_of_a_failure": (in_record(lambda kept: kept.update(passed=None)), {"a"}),
    "a_record_with_nothing_in_it": (in_record(lambda kept: kept.update(passed={})), {"a"}),
    "a_record_without_a_part": (in_record(lambda kept: kept["passed"].pop("cells")), {"a"}),
    "a_record_with_a_part_more": (in_record(lambda kept: kept["passed"].update(other="0")), {"a"}),
    "a_record_with_another_part": (
        in_record(lambda kept: kept["passed"].update(machine="0")),
        {"a"},
    ),
    "a_record_of_another_format": (in_record(lambda kept: kept.update(format=0)), {"a"}),
    "a_record_of_no_format": (in_record(lambda kept: kept.pop("format")), {"a"}),
    "a_record_that_is_a_folder": (
        lambda repository: (
            removed("_build/a.json")(repository),
            (repository.root / "_build/a.json").mkdir(),
        ),
        {"a"},
    ),
    "the_record_of_another_notebook": (
        lambda repository: shutil.copy(
            repository.root / "_build/c.json", repository.root / "_build/a.json"
        ),
        {"a"},
    ),
    "all_records_less": (lambda repository: shutil.rmtree(repository.root / "_build"), ALL),
    "what_was_measured_in_a_record": (in_record(lambda kept: kept.update(seconds=100)), NONE),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_runs_exactly_the_notebooks_that_can_see_it(name, repository):
    change, expected = CHANGES[name]
    change(repository)
    assert repository.to_run() == expected


def test_an_environment_that_sees_more_packages_runs_all(
    repository,
):
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


def test_the_reason_names_what_changed(repository):
    repository.write("notebooks/data/a.csv", "changed")
    repository.write("notebooks/data/new.csv")
    (repository.root / "notebooks/data/b.csv").unlink()
    notebooks = {
        notebook.name: notebook for notebook in catalogue.load(folder=repository.root / "notebooks")
    }
    why = {
        name: changes.why_run(notebook, repository.surroundings(), repository.root / "_build")
        for name, notebook in notebooks.items()
    }
    assert why["a"] == ["data/a.csv changed"] and why["c"] == []
    assert why["b"] == ["data/a.csv changed", "data/new.csv is new", "data/b.csv is gone"]


@pytest.mark.parametrize(
    "environ, all_, base",
    [
        ({}, False, None),
        ({"CI": "true"}, True, None),
        ({"CI": "true", "GITHUB_EVENT_NAME": "push"}, True, None),
        ({"CI": "true", "GITHUB_EVENT_NAME": "pull_request"}, False, "HEAD^1"),
        ({"GITHUB_EVENT_NAME": "pull_request"}, False, None),
    ],
)
def test_ci_runs_all_of_them_and_a_pull_request_what_changed(environ, all_, base):
    always, since = changes.rule(environ)
    assert (bool(always), since) == (all_, base)


@pytest.fixture
def committed(tmp_path):
    """The small repository with all files in a commit, but for those that git would not track."""
    made = Repository(tmp_path / "the guide")
    made.write(".gitignore", ".venv*\n_build\nsystem\n")
    made.write("tools/apt.txt", "r-cran-irkernel\n")
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "-m", "Begin"],
    ):
        subprocess.run(["git", *words], cwd=made.root, check=True)
    return made


def since(repository, base="HEAD"):
    why = changes.why_run_since(
        base, catalogue.load(folder=repository.root / "notebooks"), repository.surroundings()
    )
    return {name[-1] for name, reasons in why.items() if reasons}


@pytest.mark.parametrize(
    "name",
    [
        "nothing",
        "a_cells_source",
        "prose",
        "an_outputs_text",
        "what_it_reads",
        "a_new_notebook",
        "another_name",
        "no_json",
        "a_module",
        "a_data_file_of_the_same_size_and_time",
        "the_lock_file",
        "the_lock_file_of_nbdime",
        "the_command_for_nbdime",
        "a_pattern",
        "the_reason_of_a_pattern",
        "the_runner",
        "a_page",
    ],
)
def test_since_a_commit_the_same_changes_run_the_same_notebooks(name, committed):
    change, expected = CHANGES[name]
    change(committed)
    assert since(committed) == expected


def test_without_the_commit_or_with_other_packages_all_run(committed):
    """The commit to compare with is not there, or the system has other packages."""
    assert since(committed, "nowhere") == ALL
    committed.write("tools/apt.txt", "r-base\n")
    assert since(committed) == ALL


def test_the_sample_is_a_tenth_and_depends_on_the_seed_alone():
    names = [f"n{number}" for number in range(95)]
    shuffled = random.Random(1).sample(names, len(names))
    assert len(changes.sample(names, "abc")) == 10 and changes.sample(
        names, "abc"
    ) == changes.sample(shuffled, "abc")
    assert changes.sample(names, "abc") != changes.sample(names, "abd")
    assert changes.sample([], "abc") == set() and changes.sample(["one"], "abc") == {"one"}


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
    assert set(map(tuple, why(real).values())) == {()}
    (real.folder / "data/a.csv").write_text("2\n")
    assert {name for name, reasons in why(real).items() if reasons} == {"all"}


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
    assert (
        results["fails"].outcome == "failed"
        and why(real)["fails"] == ["it did not pass the last time"]
        and why(real)["slow"] == []
    )
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
    assert not (real.records / "slow.json").exists() and why(real)["slow"] == [
        "nothing is known of an earlier run"
    ]


@needs_sandbox
def test_a_file_that_changes_meanwhile_runs_it_again(real, monkeypatch):
    """While the notebook runs that uses it."""
    start = execution.start

    def change_then_start(*arguments):
        (real.folder / "data/a.csv").write_text("3\n")  # after the fingerprint, before the copy
        return start(*arguments)

    monkeypatch.setattr(execution, "start", change_then_start)
    results = real(reads=("print(open('data/a.csv').read(), end='')", "3\n", {"reads": ["data"]}))
    assert results["reads"].outcome == "passed" and why(real)["reads"] == ["data/a.csv changed"]


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


def test_a_pull_request_runs_changes_and_a_sample(monkeypatch):
    """On main all notebooks run."""
    monkeypatch.setenv("CI", "true")
    options = argparse.Namespace(on=None, names=[], changed=True)
    notebooks = catalogue.load()
    monkeypatch.setenv("GITHUB_EVENT_NAME", "push")
    assert all(runner.why_run(notebooks, changes.Surroundings(), options).values())
    monkeypatch.setenv("GITHUB_EVENT_NAME", "pull_request")
    monkeypatch.setenv("GITHUB_SHA", "abc")
    monkeypatch.setattr(
        changes,
        "why_run_since",
        lambda base, notebooks, surroundings: (
            {notebook.name: [] for notebook in notebooks} | {"05-git": ["cells changed"]}
        ),
    )
    why = runner.why_run(notebooks, changes.Surroundings(), options)
    sampled = [name for name, reasons in why.items() if reasons == ["it is in the sample of abc"]]
    assert (
        why["05-git"] == ["cells changed"]
        and len(sampled) == 1
        and sum(map(bool, why.values())) == 2
    )

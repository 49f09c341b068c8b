"""The two halves of a notebook hold the same cells, and `make sync` brings them together without losing an edit."""
import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT
from course import pairs, runner

MD = """\
---
jupytext:
  formats: ipynb,md:myst
  text_representation:
    extension: .md
    format_name: myst
    format_version: 0.13
kernelspec:
  display_name: Python 3 (ipykernel)
  language: python
  name: python3
course:  # a comment that must survive
  goal: try it
  minutes: 10
  needs: []
  seconds: 30
  memory_mb: 200
---

# A title

```{code-cell}
one = 1
```

Some prose.

```{code-cell}
:tags: [a-tag]

print(one)
```
"""


def git(folder, *arguments):
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org",
                                "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org"}
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, env=environment).stdout


@pytest.fixture
def folder(tmp_path):
    """notebooks/ with one pair that has outputs, committed."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "x.md").write_text(MD)
    pairs.sync(folder)
    notebook = nbformat.read(folder / "x.ipynb", 4)
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        cell.execution_count, cell.outputs = number, [nbformat.v4.new_output("stream", text=f"output {number}\n")]
    pairs.write_ipynb(notebook, folder / "x.ipynb")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "a pair")
    return folder


def edit(path, old, new, count=1):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, count), encoding="utf-8")


def edit_json(path, change):
    notebook = json.loads(path.read_text())
    change(notebook)
    path.write_text(json.dumps(notebook, indent=1) + "\n")


def content(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_notebook_of_the_course_is_a_pair_with_the_same_cells():
    assert not (problems := pairs.check(runner.NOTEBOOKS)), "\n".join(map(str, problems))
    assert len(pairs.find(runner.NOTEBOOKS)) >= 8


BROKEN = {
    "lone .md": (lambda f: (f / "x.ipynb").unlink(), "x.md: a lone half: there is no x.ipynb", "make sync NB=x"),
    "lone .ipynb": (lambda f: (f / "x.md").unlink(), "x.ipynb: a lone half: there is no x.md", "make sync NB=x"),
    "no formats": (lambda f: edit_json(f / "x.ipynb", lambda n: n["metadata"].pop("jupytext")), "x.ipynb: jupytext.formats is None", "make sync NB=x"),
    "other formats": (lambda f: edit(f / "x.md", "ipynb,md:myst", "ipynb,py"), "x.md: jupytext.formats is 'ipynb,py'", "make sync NB=x"),
    "stem twice": (lambda f: [(f / "sub").mkdir(), *(shutil.copy(f / f"x{s}", f / f"sub/X{s}") for s in (".md", ".ipynb"))], "has the same name as", "rename"),
    "stale format": (lambda f: edit(f / "x.md", "format_name: myst", "format_name: markdown"), "format_name: myst", "make sync NB=x"),
    "stale format version": (lambda f: edit(f / "x.md", "format_version: 0.13", "format_version: 0.1"), "format_version: 0.13", "make sync NB=x"),
    "other kernel": (lambda f: edit(f / "x.md", "name: python3", "name: python2"), "x.md:1: kernelspec differs", "make sync NB=x"),
    "other course": (lambda f: edit(f / "x.md", "minutes: 10", "minutes: 11"), "x.md:1: course differs", "make sync NB=x"),
    "other source": (lambda f: edit(f / "x.md", "one = 1", "one = 2"), "x.md:23: cell 2 differs: 'one = 2' here, 'one = 1' in the .ipynb", "make sync NB=x"),
    "other prose": (lambda f: edit(f / "x.ipynb", "Some prose.", "Some verse."), "x.md:26: cell 3 differs: 'Some prose.' here, 'Some verse.'", "make sync NB=x"),
    "other tag": (lambda f: edit(f / "x.md", "[a-tag]", "[b-tag]"), "the metadata of cell 4 differs", "make sync NB=x"),
    "a cell more": (lambda f: edit_json(f / "x.ipynb", lambda n: n["cells"].append(n["cells"][0] | {"id": "new"})), "cell 5 is only in the .ipynb", "make sync"),
    "another kind of cell": (lambda f: edit_json(f / "x.ipynb", lambda n: n["cells"][2].update(cell_type="raw")), "cell 3 is markdown here and raw", "make sync"),
    "a cell that MyST cannot hold": (lambda f: edit(f / "x.ipynb", "Some prose.", "Some\\n+++\\nprose."), "cell 3 of the .ipynb changes when it is written as MyST", "edit that cell"),
    "broken JSON": (lambda f: edit(f / "x.ipynb", '"cells"', '"cells'), "x.ipynb:2: no valid JSON", "edit it"),
    "JSON that is no notebook": (lambda f: (f / "x.ipynb").write_text("[]"), "x.ipynb: no notebook", "edit it"),
    "an empty file": (lambda f: (f / "x.ipynb").write_text(""), "x.ipynb:1: no valid JSON", "edit it"),
    "broken header": (lambda f: edit(f / "x.md", "course:  #", "course: [  #"), "x.md: no MyST notebook", "edit it"),
    "conflict markers": (lambda f: edit(f / "x.md", "Some prose.", "<<<<<<< HEAD\nSome prose.\n=======\nOther\n>>>>>>> branch"), "x.md:26: has conflict markers", "edit it"),
    "no UTF-8": (lambda f: (f / "x.md").write_bytes(MD.encode() + b"\xff\n"), "x.md: cannot be read", "edit it"),
    "an id twice": (lambda f: edit_json(f / "x.ipynb", lambda n: n["cells"][1].update(id=n["cells"][0]["id"])), "cell ids", "make refresh NB=x"),
    "no course": (lambda f: [edit(f / "x.md", "course:  #", "curse:  #"), edit_json(f / "x.ipynb", lambda n: n["metadata"].pop("course"))], "declares no course", "declare it"),
    "no goal": (lambda f: [edit(f / "x.md", "goal: try it", "goal: ''"), edit_json(f / "x.ipynb", lambda n: n["metadata"]["course"].update(goal=""))], "course.goal is ''", "edit the header"),
    "no limit": (lambda f: [edit(f / "x.md", "seconds: 30", "seconds: -1"), edit_json(f / "x.ipynb", lambda n: n["metadata"]["course"].update(seconds=-1))], "course.seconds is -1", "edit"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_check_names_what_is_wrong_where_and_what_mends_it(name, folder):
    break_it, says, repair = BROKEN[name]
    assert not pairs.check(folder)
    break_it(folder)
    problems = [str(problem) for problem in pairs.check(folder)]
    assert any(says in text and repair in text.split("To mend it:")[1] for text in problems), problems


def test_files_that_are_no_notebooks_are_left_alone(folder):
    (folder / "README.md").write_text("# No notebook\n")
    for name in ("_build", ".ipynb_checkpoints"):
        (folder / name).mkdir()
        shutil.copy(folder / "x.ipynb", folder / name / "y.ipynb")
    assert [pair.name for pair in pairs.find(folder)] == ["x"] and not pairs.check(folder)


def test_a_change_in_the_md_reaches_the_ipynb_and_other_cells_keep_their_outputs(folder):
    ids = [cell["id"] for cell in json.loads((folder / "x.ipynb").read_text())["cells"]]
    edit(folder / "x.md", "one = 1", "one = 2")
    messages, good = pairs.sync(folder)
    assert good and "make refresh NB=x" in messages[0]
    notebook = nbformat.read(folder / "x.ipynb", 4)
    assert notebook.cells[1].source == "one = 2" and notebook.cells[1].outputs == [] and notebook.cells[1].execution_count is None
    assert notebook.cells[3].outputs[0].text == "output 2\n"
    assert [cell.id for cell in notebook.cells][2:] == ids[2:] and not pairs.check(folder)


def test_a_change_in_the_ipynb_reaches_the_md_and_its_header_stays(folder):
    edit(folder / "x.ipynb", "one = 1", "one = 2")
    assert pairs.sync(folder)[1]
    assert (folder / "x.md").read_text() == MD.replace("one = 1", "one = 2")


def test_a_lone_half_gets_its_other_half(folder):
    (folder / "x.md").unlink()
    assert pairs.sync(folder)[1] and not pairs.check(folder)
    (folder / "x.ipynb").unlink()
    assert pairs.sync(folder)[1] and not pairs.check(folder)


def test_where_both_halves_changed_nothing_is_written_and_both_changes_are_shown(folder):
    edit(folder / "x.md", "one = 1", "one = 2")
    edit(folder / "x.ipynb", "one = 1", "one = 3")
    before = content(folder)
    [message], good = pairs.sync(folder)
    assert not good and content(folder) == before
    assert "+one = 2" in message and "+one = 3" in message and "FROM=md" in message


@pytest.mark.parametrize("half, value", [("md", "one = 2"), ("ipynb", "one = 3")])
def test_the_half_that_is_named_wins(half, value, folder):
    edit(folder / "x.md", "one = 1", "one = 2")
    edit(folder / "x.ipynb", "one = 1", "one = 3")
    assert pairs.sync(folder, "x", half)[1]
    assert value in (folder / "x.md").read_text() and value in (folder / "x.ipynb").read_text()


def test_the_same_change_in_both_halves_is_no_conflict(folder):
    edit(folder / "x.md", "one = 1", "one = 2")
    edit(folder / "x.ipynb", "one = 1", "one = 2")
    before = content(folder)
    assert pairs.sync(folder) == ([], True) and content(folder) == before


def test_without_git_two_different_halves_are_left_and_shown(folder):
    shutil.rmtree(folder.parent / ".git")
    edit(folder / "x.md", "one = 1", "one = 2")
    before = content(folder)
    [message], good = pairs.sync(folder)
    assert not good and content(folder) == before and "+one = 2" in message and "cannot tell" in message


def test_a_drift_that_was_committed_is_left_and_shown(folder):
    edit(folder / "x.md", "one = 1", "one = 2")
    git(folder, "commit", "-qam", "drift")
    before = content(folder)
    [message], good = pairs.sync(folder)
    assert not good and content(folder) == before and "+one = 2" in message


@pytest.mark.parametrize("newer", ["x.md", "x.ipynb", None])
def test_a_clone_reverts_nothing_whatever_its_modification_times(newer, folder, tmp_path):
    edit(folder / "x.md", "one = 1", "one = 2")
    pairs.sync(folder)
    git(folder, "commit", "-qam", "an edit")
    git(tmp_path, "clone", "-q", ".", "clone")
    clone = tmp_path / "clone/notebooks"
    for name in ("x.md", "x.ipynb"):
        os.utime(clone / name, (1000, 2000 if name == newer else 1000))
    before = content(clone)
    assert pairs.sync(clone) == ([], True) and content(clone) == before
    edit(clone / "x.md", "one = 2", "one = 3")
    os.utime(clone / "x.md", (0, 0))
    assert pairs.sync(clone)[1] and "one = 3" in (clone / "x.ipynb").read_text()


def test_a_second_sync_changes_no_byte(folder):
    for old, new, name in (("one = 1", "one = 2", "x.md"), ("one = 2", "one = 3", "x.ipynb")):
        edit(folder / name, old, new)
        pairs.sync(folder, "x", name.removeprefix("x."))
        before = content(folder)
        assert pairs.sync(folder) == ([], True) and content(folder) == before


def test_a_stale_header_is_mended(folder):
    edit(folder / "x.md", "format_version: 0.13", "format_version: 0.1")
    edit_json(folder / "x.ipynb", lambda notebook: notebook["metadata"].pop("jupytext"))
    assert pairs.sync(folder)[1] and not pairs.check(folder)


def test_a_cell_that_myst_cannot_hold_stops_the_sync_before_anything_is_written(folder):
    edit(folder / "x.ipynb", "Some prose.", "Some\\n+++\\nprose.")
    before = content(folder)
    [message], good = pairs.sync(folder)
    assert not good and "changes when it is written as MyST" in message and content(folder) == before


def test_a_write_that_fails_leaves_both_halves_whole(folder, monkeypatch):
    edit(folder / "x.md", "one = 1", "one = 2")
    before = content(folder)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    [message], good = pairs.sync(folder)
    assert not good and "No space left on device" in message and content(folder) == before


def test_a_file_keeps_its_mode_and_a_symlink_stays_one(folder):
    os.chmod(folder / "x.ipynb", 0o640)
    (folder / "x.md").rename(folder.parent / "elsewhere.md")
    (folder / "x.md").symlink_to(folder.parent / "elsewhere.md")
    edit(folder / "x.md", "one = 1", "one = 2")
    pairs.sync(folder, "x", "md")
    edit(folder / "x.ipynb", "one = 2", "one = 3")
    pairs.sync(folder, "x", "ipynb")
    assert (folder / "x.ipynb").stat().st_mode & 0o777 == 0o640
    assert (folder / "x.md").is_symlink() and "one = 3" in (folder.parent / "elsewhere.md").read_text()


@pytest.mark.parametrize("arguments, status, says", [
    (["check"], 0, ""), (["check", "nowhere"], 2, "there is no folder nowhere"), (["sync", "--nb", "zz"], 2, "there is no notebook zz"),
    (["sync", "--from", "md"], 2, "FROM needs NB"), (["sync"], 0, "every pair is in step"),
])
def test_the_command_line_answers_in_a_sentence(arguments, status, says, folder):
    done = subprocess.run([sys.executable, "-m", "course.pairs", *arguments], cwd=folder.parent, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT / "tests")})
    assert done.returncode == status and says in done.stdout + done.stderr and "Traceback" not in done.stderr

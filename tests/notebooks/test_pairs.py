"""The two halves of a notebook hold the same cells, and `make sync` brings them together without
losing an edit.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import nbformat
import pytest

from tools.course import halves, pairs
from tools.files import ROOT, copy_source
from tools.site import build_site
from tools.validate import catalogue, changes, local

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
    environment = os.environ | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, env=environment
    ).stdout


@pytest.fixture
def folder(tmp_path):
    """notebooks/ with one pair that has outputs, committed."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(ROOT / ".gitignore", tmp_path)
    (folder / "x.md").write_text(MD)
    pairs.sync(folder)
    notebook = nbformat.read(folder / "x.ipynb", 4)
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        cell.execution_count, cell.outputs = (
            number,
            [nbformat.v4.new_output("stream", text=f"output {number}\n")],
        )
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
    """What stands in the halves."""
    return {
        path.name: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in (".md", ".ipynb")
    }


def forget(folder):
    """Make what was synced last unknown, as in a clone."""
    shutil.rmtree(folder / ".synced")


@pytest.mark.claims("The notebooks of :doc:`the course </notebooks/index>` are such pairs.")
def test_every_notebook_is_a_pair_with_the_same_cells():
    assert not (problems := pairs.check(catalogue.NOTEBOOKS)), "\n".join(map(str, problems))
    assert len(pairs.find(catalogue.NOTEBOOKS)) >= 8


BROKEN = {
    "lone .md": (
        lambda f: (f / "x.ipynb").unlink(),
        "x.md: a lone half: there is no x.ipynb",
        "make sync NB=x",
    ),
    "lone .ipynb": (
        lambda f: (f / "x.md").unlink(),
        "x.ipynb: a lone half: there is no x.md",
        "make sync NB=x",
    ),
    "no formats": (
        lambda f: edit_json(f / "x.ipynb", lambda n: n["metadata"].pop("jupytext")),
        "x.ipynb: jupytext.formats is None",
        "make sync NB=x",
    ),
    "other formats": (
        lambda f: edit(f / "x.md", "ipynb,md:myst", "ipynb,py"),
        "x.md: jupytext.formats is 'ipynb,py'",
        "make sync NB=x",
    ),
    "stem twice": (
        lambda f: [
            (f / "sub").mkdir(),
            *(shutil.copy(f / f"x{s}", f / f"sub/X{s}") for s in (".md", ".ipynb")),
        ],
        "has the same name as",
        "rename",
    ),
    "stale format": (
        lambda f: edit(f / "x.md", "format_name: myst", "format_name: markdown"),
        "format_name: myst",
        "make sync NB=x",
    ),
    "stale format version": (
        lambda f: edit(f / "x.md", "format_version: 0.13", "format_version: 0.1"),
        "format_version: 0.13",
        "make sync NB=x",
    ),
    "other kernel": (
        lambda f: edit(f / "x.md", "name: python3", "name: python2"),
        "x.md:1: kernelspec differs",
        "make sync NB=x",
    ),
    "no kernel": (
        lambda f: edit(
            f / "x.md",
            "kernelspec:\n  display_name: Python 3 (ipykernel)\n  language: python\n  name: "
            "python3\n",
            "",
        ),
        "x.md:1: kernelspec differs",
        "make sync NB=x",
    ),
    "other course": (
        lambda f: edit(f / "x.md", "minutes: 10", "minutes: 11"),
        "x.md:1: course differs",
        "make sync NB=x",
    ),
    "other source": (
        lambda f: edit(f / "x.md", "one = 1", "one = 2"),
        "x.md:23: cell 2 differs: 'one = 2' here, 'one = 1' in the .ipynb",
        "make sync NB=x",
    ),
    "other prose": (
        lambda f: edit(f / "x.ipynb", "Some prose.", "Some verse."),
        "x.md:26: cell 3 differs: 'Some prose.' here, 'Some verse.'",
        "make sync NB=x",
    ),
    "other tag": (
        lambda f: edit(f / "x.md", "[a-tag]", "[b-tag]"),
        "the metadata of cell 4 differs",
        "make sync NB=x",
    ),
    "a cell more": (
        lambda f: edit_json(
            f / "x.ipynb", lambda n: n["cells"].append(n["cells"][0] | {"id": "new"})
        ),
        "cell 5 is only in the .ipynb",
        "make sync",
    ),
    "another kind of cell": (
        lambda f: edit_json(f / "x.ipynb", lambda n: n["cells"][2].update(cell_type="raw")),
        "cell 3 is markdown here and raw",
        "make sync",
    ),
    "a cell that MyST cannot hold": (
        lambda f: edit(f / "x.ipynb", "Some prose.", "Some\\n+++\\nprose."),
        "cell 3 of the .ipynb, markdown that begins 'Some', cannot be written as MyST: its "
        "line 2, '+++'",
        "edit that cell",
    ),
    "broken JSON": (
        lambda f: edit(f / "x.ipynb", '"cells"', '"cells'),
        "x.ipynb:2: no valid JSON",
        "edit it",
    ),
    "JSON that is no notebook": (
        lambda f: (f / "x.ipynb").write_text("[]"),
        "x.ipynb:1: no notebook",
        "make sync NB=x FROM=md",
    ),
    "an empty file": (
        lambda f: (f / "x.ipynb").write_text(""),
        "x.ipynb:1: no valid JSON",
        "edit it",
    ),
    "broken header": (
        lambda f: edit(f / "x.md", "course:  #", "course: [  #"),
        "x.md:14: no MyST notebook, for its header is no YAML: expected ',' or ']'",
        "make sync NB=x FROM=ipynb",
    ),
    "conflict markers": (
        lambda f: edit(
            f / "x.md", "Some prose.", "<<<<<<< HEAD\nSome prose.\n=======\nOther\n>>>>>>> branch"
        ),
        "x.md:26: has conflict markers",
        "edit it",
    ),
    "no UTF-8": (
        lambda f: (f / "x.md").write_bytes(MD.encode() + b"\xff\n"),
        "x.md:33: cannot be read",
        "edit it",
    ),
    "an id twice": (
        lambda f: edit_json(f / "x.ipynb", lambda n: n["cells"][1].update(id=n["cells"][0]["id"])),
        "cell ids",
        "make sync NB=x",
    ),
    "no course": (
        lambda f: [
            edit(f / "x.md", "course:  #", "curse:  #"),
            edit_json(f / "x.ipynb", lambda n: n["metadata"].pop("course")),
        ],
        "declares no course",
        "declare it",
    ),
    "no goal": (
        lambda f: [
            edit(f / "x.md", "goal: try it", "goal: ''"),
            edit_json(f / "x.ipynb", lambda n: n["metadata"]["course"].update(goal="")),
        ],
        "course.goal is ''",
        "edit the header",
    ),
    "no limit": (
        lambda f: [
            edit(f / "x.md", "seconds: 30", "seconds: -1"),
            edit_json(f / "x.ipynb", lambda n: n["metadata"]["course"].update(seconds=-1)),
        ],
        "course.seconds is -1",
        "edit",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_check_names_what_is_wrong_where_and_what_mends_it(name, folder):
    break_it, says, repair = BROKEN[name]
    assert not pairs.check(folder)
    break_it(folder)
    problems = [str(problem) for problem in pairs.check(folder)]
    assert any(says in text and repair in text.split("To mend it:")[1] for text in problems), (
        problems
    )


def test_files_that_are_no_notebooks_are_left_alone(folder):
    (folder / "README.md").write_text("# No notebook\n")
    for name in ("_build", ".ipynb_checkpoints"):
        (folder / name).mkdir()
        shutil.copy(folder / "x.ipynb", folder / name / "y.ipynb")
    assert [pair.name for pair in pairs.find(folder)] == ["x"] and not pairs.check(folder)


def test_a_change_in_the_md_reaches_the_ipynb(folder):
    """Other cells keep their outputs."""
    ids = [cell["id"] for cell in json.loads((folder / "x.ipynb").read_text())["cells"]]
    edit(folder / "x.md", "one = 1", "one = 2")
    messages, good = pairs.sync(folder)
    assert good and "make refresh NB=x" in messages[0]
    notebook = nbformat.read(folder / "x.ipynb", 4)
    assert (
        notebook.cells[1].source == "one = 2"
        and notebook.cells[1].outputs == []
        and notebook.cells[1].execution_count is None
    )
    assert notebook.cells[3].outputs[0].text == "output 2\n"
    assert [cell.id for cell in notebook.cells][2:] == ids[2:] and not pairs.check(folder)


def test_a_change_in_the_ipynb_reaches_the_md(folder):
    """The header of the half .md stays."""
    edit(folder / "x.ipynb", "one = 1", "one = 2")
    assert pairs.sync(folder)[1]
    assert (folder / "x.md").read_text() == MD.replace("one = 1", "one = 2")


def test_a_lone_half_gets_its_other_half(folder):
    (folder / "x.md").unlink()
    assert pairs.sync(folder)[1] and not pairs.check(folder)
    (folder / "x.ipynb").unlink()
    assert pairs.sync(folder)[1] and not pairs.check(folder)


def test_where_both_halves_changed_nothing_is_written(folder):
    """Both changes are shown."""
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
    forget(folder)
    edit(folder / "x.md", "one = 1", "one = 2")
    before = content(folder)
    [message], good = pairs.sync(folder)
    assert (
        not good
        and content(folder) == before
        and "+one = 2" in message
        and "cannot tell" in message
    )


def test_a_drift_that_was_committed_is_left_and_shown_in_a_clone(folder):
    edit(folder / "x.md", "one = 1", "one = 2")
    git(folder, "commit", "-qam", "drift")
    forget(folder)
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


def test_a_cell_that_myst_cannot_hold_stops_the_sync(folder):
    """Before anything is written."""
    edit(folder / "x.ipynb", "Some prose.", "Some\\n+++\\nprose.")
    before = content(folder)
    [message], good = pairs.sync(folder)
    assert not good and "cannot be written as MyST" in message and content(folder) == before


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
    assert (folder / "x.md").is_symlink() and "one = 3" in (
        folder.parent / "elsewhere.md"
    ).read_text()


@pytest.mark.parametrize(
    "arguments, status, says",
    [
        (["check"], 0, ""),
        (["check", "nowhere"], 2, "there is no folder nowhere"),
        (["sync", "--nb", "zz"], 2, "there is no notebook zz"),
        (["sync", "--from", "md"], 2, "FROM needs NB"),
        (["sync"], 0, "every pair is in step"),
    ],
)
def test_the_command_line_answers_in_a_sentence(arguments, status, says, folder):
    done = subprocess.run(
        [sys.executable, "-m", "tools.course.pairs", *arguments],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (
        done.returncode == status
        and says in done.stdout + done.stderr
        and "Traceback" not in done.stderr
    )


# ---------------------------------------------------------------- no edit is lost


ATTACHED = {
    "cell_type": "markdown",
    "id": "with-image",
    "metadata": {"editable": False},
    "source": "Look: ![i](attachment:image.png)",
    "attachments": {"image.png": {"image/png": "aW1hZ2U="}},
}


@pytest.fixture
def attached(folder):
    """The folder whose third cell has an image."""
    edit_json(folder / "x.ipynb", lambda notebook: notebook["cells"].__setitem__(2, dict(ATTACHED)))
    assert pairs.sync(folder)[1]
    return folder


def cell_of(folder, index):
    return json.loads((folder / "x.ipynb").read_text())["cells"][index]


def test_an_edited_cell_keeps_its_image_metadata_and_id(attached):
    edit(attached / "x.md", "Look:", "Look here:")
    assert pairs.sync(attached)[1]
    assert cell_of(attached, 2) == ATTACHED | {"source": ["Look here: ![i](attachment:image.png)"]}


def test_an_image_goes_with_its_text_into_another_cell(attached):
    edit(
        attached / "x.md",
        "Look: ![i](attachment:image.png)",
        "Look:\n\n```{code-cell}\ntwo = 2\n```\n\nHere: ![i](attachment:image.png)",
    )
    assert pairs.sync(attached)[1]
    images = [
        cell.get("attachments")
        for cell in json.loads((attached / "x.ipynb").read_text())["cells"]
        if "attachment:" in "".join(cell["source"])
    ]
    assert images == [ATTACHED["attachments"]]


@pytest.mark.parametrize(
    "old, new, says",
    [
        (
            "Look: ![i](attachment:image.png)",
            "```{code-cell}\nLook: ![i](attachment:image.png)\n```",
            "becomes code, which has no attachments: its image.png",
        ),
        (
            "# A title",
            "# A title ![i](attachment:image.png)\n\nLook: ![i](attachment:image.png)\n+++",
            "more than one image has that name",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(old, new, says, attached):
    edit_json(
        attached / "x.ipynb",
        lambda notebook: notebook["cells"].append(
            ATTACHED
            | {
                "id": "b",
                "source": "![](attachment:image.png)",
                "attachments": {"image.png": {"image/png": "b3RoZXI="}},
            }
        ),
    )
    assert pairs.sync(attached)[1]
    edit(attached / "x.md", old, new)
    before = content(attached)
    [message], good = pairs.sync(attached)
    assert not good and says in message and "image.png" in message and content(attached) == before


def test_an_image_of_a_deleted_cell_is_told_and_kept(attached):
    """It is kept beside the notebook."""
    before = (attached / "x.ipynb").read_bytes()
    edit(attached / "x.md", "Look: ![i](attachment:image.png)\n", "")
    [message], good = pairs.sync(attached)
    assert (
        good
        and "image.png went with a deleted cell" in message
        and (attached / "x.ipynb.old").read_bytes() == before
    )


# ---------------------------------------------------------------- a file that is there is never
# missing


def bom(path):
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def test_a_byte_order_mark_is_read(folder):
    for name, value in {"x.md": "one = 2", "x.ipynb": "one = 3"}.items():
        edit(folder / name, "one = 1" if name == "x.md" else "one = 2", value)
        bom(folder / name)
        assert not [problem for problem in pairs.check(folder) if "differs" not in problem.message]
        assert pairs.sync(folder)[1] and not pairs.check(folder)
        assert all(
            value in (folder / name).read_text(encoding="utf-8") for name in ("x.md", "x.ipynb")
        )


NO_HALVES = {
    "UTF-16": (
        lambda path: path.write_text(path.read_text(), encoding="utf-16"),
        ":1: cannot be read: it is not written in UTF-8",
    ),
    "empty": (lambda path: path.write_bytes(b""), ":1: "),
    "prose": (lambda path: path.write_text("# Notes\n\nMine.\n"), ":1: "),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), ": is no file"),
    "a link to nothing": (
        lambda path: (path.unlink(), path.symlink_to("nowhere")),
        ": cannot be read: No such file",
    ),
    "a named pipe": (lambda path: (path.unlink(), os.mkfifo(path)), ": is no file"),
    "conflict markers": (
        lambda path: path.write_text(path.read_text() + "<<<<<<< HEAD\n"),
        "has conflict markers",
    ),
    "half of it": (lambda path: path.write_text(path.read_text()[:300]), ":"),
}


@pytest.mark.parametrize("half", ["md", "ipynb"])
@pytest.mark.parametrize("kind", NO_HALVES)
def test_what_cannot_be_read_is_refused_and_left(kind, half, folder):
    """Whatever has become of a half: sync says in which file and line, touches neither, and what
    the check recommends destroys nothing.
    """
    edit(folder / "x.md", "one = 1", "one = 2")
    path, (spoil, says) = folder / f"x.{half}", NO_HALVES[kind]
    spoil(path)
    before = content(folder)
    if (kind, half) != ("half of it", "md"):
        [message], good = pairs.sync(folder)
        assert (not good and f"x.{half}{says}" in message.replace(" has", "")) or says in message, (
            message
        )
        assert content(folder) == before and path.is_symlink() == (kind == "a link to nothing")
    assert any(problem.path == path for problem in pairs.check(folder))
    if path.is_file():
        assert (
            pairs.sync(folder, "x", "ipynb" if half == "md" else "md")[1]
            and before[path.name] == (folder / f"x.{half}.old").read_bytes()
        )
        assert not pairs.check(folder)


# ---------------------------------------------------------------- sync as often as you like


def test_a_half_is_edited_and_synced_again_and_again(folder):
    """And changed back."""
    for name in ("x.md", "x.md", "x.ipynb", "x.ipynb", "x.md"):
        for old, new in (("one = 1", "one = 2"), ("one = 2", "one = 3"), ("one = 3", "one = 1")):
            edit(folder / name, old, new)
            assert pairs.sync(folder)[1] and not pairs.check(folder)
            assert all(new in (folder / name).read_text() for name in ("x.md", "x.ipynb"))


BOTH = {
    "neighbours": (
        ("one = 1", "one = 2"),
        ("Some prose.", "Some verse."),
        ["one = 2", "Some verse."],
    ),
    "an insertion beside a change": (
        ("Some prose.", "More.\n\n+++\n\nSome prose."),
        ("Some prose.", "Some verse."),
        ["More.", "Some verse."],
    ),
    "a deletion beside an insertion": (
        ("Some prose.\n", ""),
        ("# A title", "# Another title"),
        ["# Another title", "print(one)"],
    ),
    "a header and a cell": (
        ("minutes: 10", "minutes: 11"),
        ("one = 1", "one = 2"),
        ["minutes: 11", "a comment that must survive", "one = 2"],
    ),
}


@pytest.mark.parametrize("name", BOTH)
def test_changes_of_different_cells_merge(name, folder):
    in_md, in_ipynb, result = BOTH[name]
    edit(folder / "x.md", *in_md)
    edit(folder / "x.ipynb", *in_ipynb)
    [message], good = pairs.sync(folder)
    assert good and "merged" in message and not pairs.check(folder)
    assert all(text in (folder / "x.md").read_text() for text in result)


CLASHES = {
    "a cell": (
        ("one = 1", "one = 2"),
        ("one = 1", "one = 3"),
        "x.md:22 and {folder}/x.ipynb:11: both changed this cell",
    ),
    "a cell that one deleted": (
        ("Some prose.\n", ""),
        ("Some prose.", "Some verse."),
        "x.md (not there) and {folder}/x.ipynb:29: one half changed this cell",
    ),
    "a place": (
        ("# A title", "# A title\n\n+++\n\nMine."),
        (
            '"# A title"\n   ]\n  },',
            '"# A title"\n   ]\n  },\n  {"cell_type": "raw", "id": "n", "metadata": {}, '
            '"source": "Yours."},',
        ),
        "both put cells at this place",
    ),
    "the header": (
        ("minutes: 10", "minutes: 11"),
        ('"minutes": 10', '"minutes": 12'),
        "x.md:12 and {folder}/x.ipynb: both changed course in the header",
    ),
}


@pytest.mark.parametrize("name", CLASHES)
def test_the_same_cell_changed_in_both_is_told_by_line_and_left(name, folder):
    """And each remedy that is printed cures; what FROM= throws away is kept where git does not see
    it.
    """
    in_md, in_ipynb, says = CLASHES[name]
    edit(folder / "x.md", *in_md)
    edit(folder / "x.ipynb", *in_ipynb)
    before = content(folder)
    [message], good = pairs.sync(folder)
    assert (
        not good
        and says.format(folder=folder) in message
        and "make sync NB=x FROM=md, or FROM=ipynb" in message
        and content(folder) == before
    )
    for source, loser in {"md": "x.ipynb", "ipynb": "x.md"}.items():
        for path, text in before.items():
            (folder / path).write_bytes(text)
        [message], good = pairs.sync(folder, "x", source)
        assert (
            good
            and f"{loser}.old" in message
            and (folder / f"{loser}.old").read_bytes() == before[loser]
            and not pairs.check(folder)
        )
    assert ".old" not in git(folder, "status", "--porcelain") and ".synced" not in git(
        folder, "status", "--porcelain", "--untracked-files=all"
    )


def test_what_was_thrown_away_earlier_is_not_overwritten(folder):
    for number in ("2", "3", "3"):
        edit(folder / "x.md", "one = 1", f"one = {number}")
        pairs.sync(folder, "x", "ipynb")
    assert [
        path.read_text().count(text)
        for path, text in ((folder / "x.md.old", "one = 2"), (folder / "x.md.old-2", "one = 3"))
    ] == [1, 1]
    assert len(list(folder.glob("*.old*"))) == 2


@pytest.mark.parametrize("name, in_both", [("x.md", False), ("x.ipynb", False), ("x.md", True)])
def test_what_git_restored_since_counts_as_the_version_before(name, in_both, folder):
    """The md is as it was when they were in step last, for the edit is made once more: that does
    not mean that it is the .ipynb that changed.
    """
    edit(folder / name, "one = 1", "one = 2")
    pairs.sync(folder)
    git(folder, "checkout", "--", ".")
    edit(folder / name, "one = 1", "one = 2")
    if in_both:
        edit(folder / "x.ipynb", "one = 1", "one = 3")
    before = content(folder)
    [_message], good = pairs.sync(folder)
    assert (
        not good and content(folder) == before
        if in_both
        else good and all("one = 2" in (folder / half).read_text() for half in ("x.md", "x.ipynb"))
    )


def test_an_edit_that_is_undone_after_a_stash_is_not_lost(folder):
    """The stash has come back before."""
    edit(folder / "x.md", "one = 1", "one = 2")
    pairs.sync(folder)
    git(folder, "stash")
    git(folder, "stash", "pop")
    edit(folder / "x.md", "one = 2", "one = 1")
    assert pairs.sync(folder)[1] and all(
        "one = 1" in (folder / name).read_text() for name in ("x.md", "x.ipynb")
    )


@pytest.mark.parametrize("killed_at", range(4))
def test_a_killed_sync_leaves_whole_files(killed_at, folder, monkeypatch):
    """The next one completes it."""
    edit(folder / "x.md", "one = 1", "one = 2")
    edit(folder / "x.ipynb", "Some prose.", "Some verse.")
    before, replace, calls = content(folder), os.replace, iter(range(10))

    def killed(*paths):
        if next(calls) == killed_at:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        pairs.sync(folder)
    monkeypatch.undo()
    now = content(folder)
    pairs.sync(folder)
    after = content(folder)
    assert all(now[name] in (before[name], after[name]) for name in now) and not pairs.check(folder)
    assert all(text in after["x.md"].decode() for text in ("one = 2", "Some verse."))
    assert sorted(path.name for path in folder.iterdir()) == [".synced", "x.ipynb", "x.md"]


def test_a_half_that_is_saved_during_the_sync_is_left(folder, monkeypatch):
    edit(folder / "x.md", "one = 1", "one = 2")
    fsync = os.fsync

    def meanwhile(descriptor):
        edit(folder / "x.ipynb", "Some prose.", "Some verse.")
        monkeypatch.setattr(os, "fsync", fsync)

    monkeypatch.setattr(os, "fsync", meanwhile)
    [message], good = pairs.sync(folder)
    assert (
        not good
        and "changed by somebody else" in message
        and "Some verse." in (folder / "x.ipynb").read_text()
    )
    assert (
        pairs.sync(folder)[1]
        and "Some verse." in (folder / "x.md").read_text()
        and "one = 2" in (folder / "x.ipynb").read_text()
    )


# ---------------------------------------------------------------- what JupyterLab writes

ORDINARY = {
    "a newline at the end": (1, "one = 1\n"),
    "empty lines first": (2, "\n\nSome prose."),
    "CRLF": (1, "one = 1\r\ntwo = 2"),
    "a lone CR": (2, "Some\rprose."),
    "a line separator": (2, "Some\u2028prose."),
    "a form feed": (1, "one = 1\x0c\ntwo = 2"),
    "code that begins empty": (1, "\n\none = 1"),
    "nothing in Markdown": (2, ""),
    "nothing in code": (1, ""),
    "blanks": (2, "  \n "),
    "options": (1, ":tags: [a]"),
    "YAML": (1, "---\na: 1\n---"),
    "a fence in a longer fence": (2, "````\n```{code-cell}\none\n```\n````"),
    "a fence in code": (1, "'''\n```\n'''"),
    "a null": (1, "'\x00'"),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_cells_of_jupyterlab_work_in_both_directions(name, folder):
    index, source = ORDINARY[name]
    edit_json(folder / "x.ipynb", lambda notebook: notebook["cells"][index].update(source=source))
    assert pairs.sync(folder)[1] and not pairs.check(folder)
    edit(folder / "x.md", "# A title", "# Another title")
    assert pairs.sync(folder)[1] and not pairs.check(folder)
    assert (
        "".join(cell_of(folder, index)["source"]) == source
        and "".join(cell_of(folder, 0)["source"]) == "# Another title"
    )
    assert pairs.sync(folder) == ([], True)


IMPOSSIBLE = {
    "a line +++": ("Some\n+++\nprose.", "its line 2, '+++'"),
    "a code cell": ("Some\n```{code-cell}\nprose\n```", "its line 2, '```{code-cell}'"),
    "an open fence": ("Some\n\n```\nprose.", "its line 3, '```'"),
    "an open comment": ("Some\n\n<!-- prose.", "its line 3, '<!-- prose.'"),
    "conflict markers": ("Some\n<<<<<<< HEAD\nprose.", "'<<<<<<< HEAD'"),
    "half a character": ("Some \ud800", "half a character"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_cell_that_myst_cannot_hold_is_named_with_its_line(name, folder):
    source, says = IMPOSSIBLE[name]
    edit_json(folder / "x.ipynb", lambda notebook: notebook["cells"][2].update(source=source))
    before = content(folder)
    [message], good = pairs.sync(folder)
    assert not good and says in message and content(folder) == before
    assert [
        problem
        for problem in pairs.check(folder)
        if says in str(problem) and problem.path.name == "x.ipynb"
    ]


@pytest.mark.parametrize(
    "old, new, says",
    [
        (
            "```{code-cell}\none",
            '+++ {"tags": ["slide"]}\n\n```{code-cell}\none',
            "x.md:22: this line belongs to no cell",
        ),
        (":tags: [a-tag]", ":name: a-name", "x.md:28: cell 4 has name"),
        (":tags: [a-tag]", ":tags: [a-tag", "x.md:28: the options of a cell are no YAML"),
    ],
)
def test_what_a_notebook_cannot_hold_is_refused_in_the_md(old, new, says, folder):
    """What the half .md says of a cell."""
    edit(folder / "x.md", old, new)
    before = content(folder)
    [message], good = pairs.sync(folder)
    assert not good and says in message and content(folder) == before
    assert any(says in str(problem) for problem in pairs.check(folder))


def test_what_the_writer_of_the_md_laid_out_stays(folder):
    """A change in the .ipynb touches no other cell's text in the .md: comments of options, longer
    fences, empty lines.
    """
    edit(
        folder / "x.md",
        ":tags: [a-tag]\n\nprint(one)\n```",
        ":tags: [a-tag]  # why\n\nprint(one)\n```\n\n\n~~~{code-cell}\n2\n~~~",
    )
    pairs.sync(folder)
    before = (folder / "x.md").read_text()
    edit(folder / "x.ipynb", "one = 1", "one = 2")
    assert pairs.sync(folder)[1] and (folder / "x.md").read_text() == before.replace(
        "one = 1", "one = 2"
    )


def test_a_comment_in_the_header_is_not_lost(folder):
    edit(folder / "x.ipynb", '"minutes": 10', '"minutes": 11')
    assert pairs.sync(folder)[1] and (folder / "x.md").read_text() == MD.replace(
        "minutes: 10", "minutes: 11"
    )
    edit(folder / "x.md", "minutes: 11", "minutes: 11  # measured in class")
    pairs.sync(folder)
    edit(folder / "x.ipynb", '"minutes": 11', '"minutes": 12')
    before = content(folder)
    [message], good = pairs.sync(folder)
    assert (
        not good
        and "x.md:14: a comment in the header would get lost" in message
        and content(folder) == before
    )


# ---------------------------------------------------------------- what is published is what was
# written


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the repository."""
    return copy_source(tmp_path_factory.mktemp("a checkout"))


@pytest.mark.parametrize(
    "name, old, new, says",
    [
        (
            "md",
            "# Hidden state",
            "# Hidden states",
            "notebooks/02-hidden-state.md:23: cell 1 differs",
        ),
        (
            "ipynb",
            'print(f\\"longest day',
            'print(f\\"the longest day',
            "notebooks/02-hidden-state.md:48: cell 4 differs",
        ),
        (
            "both",
            "longest day in Oulu: {max(hours)",
            "the longest day in Oulu: {max(hours)",
            "its code changed after it was executed, so the outputs that it shows are those "
            "of other code",
        ),
        (
            "lone",
            "",
            "",
            "notebooks/11-new.md: a lone half: there is no 11-new.ipynb. To mend it: make "
            "sync NB=11-new",
        ),
    ],
)
def test_another_half_or_other_code_stops_what_publishes(name, old, new, says, checkout):
    """The site and the editions: each says which notebook it is, where it differs and what mends
    it, within seconds.
    """
    folder = checkout / "notebooks"
    before = content(folder)
    if name == "lone":
        (folder / "11-new.md").write_text(MD)
    for half in ("md", "ipynb") if name == "both" else [name] * (name != "lone"):
        edit(folder / f"02-hidden-state.{half}", old, new)
    built = build_site(checkout, checkout / "_build")
    made = subprocess.run(
        [
            "make",
            "class",
            f"RUN={shlex.quote(sys.executable)} -m",
            f"VENV={sys.prefix}",
            "-o",
            ".venv",
        ],
        cwd=checkout,
        capture_output=True,
        text=True,
    )
    for half in ("02-hidden-state.md", "02-hidden-state.ipynb"):
        (folder / half).write_bytes(before[half])
    (folder / "11-new.md").unlink(missing_ok=True)
    assert (
        built.returncode
        and says in built.stderr
        and "Traceback" not in built.stderr
        and len(built.stderr.splitlines()) < 8
    ), built.stderr
    assert (
        made.returncode
        and says in made.stdout + made.stderr
        and not (checkout / "_build/class").exists()
    ), made.stdout + made.stderr


def test_an_edit_of_the_md_alone_is_no_notebook_that_passed(folder, tmp_path):
    """Neither a full validation says so, nor one of what changed."""
    edit(folder / "x.md", "Some prose.", "Some verse.")
    [result] = local.validate(catalogue.load(folder=folder), records=tmp_path / "records")
    assert (
        result.outcome == "failed"
        and "x.md:26: cell 3 differs: 'Some verse.' here, 'Some prose.' in the .ipynb"
        in result.reason
    )
    assert "make sync NB=x" in result.reason
    [notebook] = catalogue.load(folder=folder)
    for record in ({}, {"halves": "others"}):
        assert "its halves differ" in changes.drift(notebook, record)
    assert changes.drift(notebook, {"halves": halves.files(notebook.pair)}) is None


def test_after_an_edit_of_code_the_sync_says_what_comes_next(folder):
    """In either half. What was executed is in its place again once the code is as it was."""
    notebook = pairs.read_ipynb(folder / "x.ipynb")
    notebook.metadata["measured"] = {"code": pairs.code(notebook)}
    pairs.write_ipynb(notebook, folder / "x.ipynb")
    assert not pairs.outdated(pairs.read_ipynb(folder / "x.ipynb"))
    edit(folder / "x.ipynb", "one = 1", "one = 2")
    assert "now: make refresh NB=x" in pairs.sync(folder)[0][0] and [
        problem.repair for problem in pairs.unpublishable(folder)
    ] == ["make refresh NB=x"]
    edit(folder / "x.ipynb", "one = 2", "one = 1")
    assert "make refresh" not in pairs.sync(folder)[0][0] and not [*pairs.unpublishable(folder)]
    edit(folder / "x.md", "one = 1", "one = 2")
    assert (
        "now: make refresh NB=x" in pairs.sync(folder)[0][0]
        and "cell 2 was not executed" in next(iter(pairs.unpublishable(folder))).message
    )


# ---------------------------------------------------------------- names, remedies, hooks

CURED = [name for name, (_, _, repair) in BROKEN.items() if repair.startswith("make sync")]


@pytest.mark.parametrize("name", CURED)
def test_the_sync_that_the_check_recommends_cures(name, folder):
    """Also a kernelspec that is gone from the .md, and a format without ids."""
    BROKEN[name][0](folder)
    recommended = [problem.repair for problem in pairs.check(folder)]
    assert any("make sync NB=x" in repair for repair in recommended)
    source = next(
        (found[1] for repair in recommended if (found := re.search(r"NB=x FROM=(\w+)$", repair))),
        None,
    )
    assert pairs.sync(folder, "x", source)[1] and not pairs.check(folder)


def test_a_notebook_of_format_4_4_without_ids_gets_them(folder):
    def old(notebook):
        notebook["nbformat_minor"] = 4
        for cell in notebook["cells"]:
            del cell["id"]

    edit_json(folder / "x.ipynb", old)
    assert "cell ids are missing" in str(pairs.check(folder)[0])
    assert pairs.sync(folder)[1] and not pairs.check(folder)
    notebook = nbformat.read(folder / "x.ipynb", 4)
    nbformat.validate(notebook)
    assert (
        notebook.nbformat_minor == 5
        and notebook.cells[1].outputs[0].text == "output 1\n"
        and pairs.sync(folder) == ([], True)
    )


def test_a_notebook_without_code_is_one_too(folder):
    (folder / "y.md").write_text(MD.split("```{code-cell}")[0])
    assert pairs.sync(folder, "y") == (["y: made y.ipynb"], True)
    edit(folder / "y.md", "# A title", "# Another title")
    assert (
        pairs.sync(folder, "y")[1]
        and not [problem for problem in pairs.check(folder)]
        and not [*pairs.unpublishable(folder)]
    )


@pytest.mark.parametrize(
    "name", ["my first try", "käyttö", "ka\u0308ytto\u0308", "sub/it's", '100 % "so" & $HOME']
)
def test_a_name_may_have_blanks_and_accents(name, checkout):
    """Given to make as a user would, also in the command that is printed."""
    path = checkout / f"notebooks/{name}.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text(MD)
    given = name.replace("a\u0308", "ä").replace("o\u0308", "ö").replace("$", "$$")
    for _ in range(2):
        done = subprocess.run(
            ["make", "sync", f"NB={given}", f"RUN={shlex.quote(sys.executable)} -m", "-o", ".venv"],
            cwd=checkout,
            capture_output=True,
            text=True,
            env=os.environ | {"LC_ALL": "C"},
        )
        assert done.returncode == 0, done.stderr
    assert path.with_suffix(".ipynb").exists() and "every pair is in step" in done.stdout
    edit(path, "one = 1", "one = 2")
    [message], _ = pairs.sync(checkout / "notebooks", name)
    assert shlex.split(message.rpartition("now: ")[2].replace("; ", " ")) == [
        "make",
        "refresh",
        f"NB={name}",
    ]


@pytest.mark.parametrize("old, new", [("x.md", "y.md"), ("x.ipynb", "y.ipynb"), ("x.md", "X.md")])
def test_a_half_renamed_alone_becomes_no_second_notebook(old, new, folder):
    edit(folder / old, "Some prose.", "Some verse.")
    (folder / old).rename(folder / new)
    messages, good = pairs.sync(folder)
    assert not good and len(content(folder)) == 2 and "one of them was renamed" in messages[0]
    command = next(problem.repair for problem in pairs.check(folder) if problem.path.name == new)
    subprocess.run(command, shell=True, check=True)
    assert sorted(content(folder)) == sorted(
        [new, new.replace(*((".md", ".ipynb") if ".md" in new else (".ipynb", ".md")))]
    )
    assert (
        pairs.sync(folder)[1]
        and not pairs.check(folder)
        and all(b"Some verse." in text for text in content(folder).values())
    )


def test_a_sync_in_a_hook_of_a_worktree_lets_the_commit_through(folder):
    """Git hands GIT_DIR and GIT_INDEX_FILE to its hooks: of the repository that is committed to,
    here of the linked worktree.
    """
    git(folder, "worktree", "add", "-q", "../linked")
    linked = (
        folder.parents[1] / "linked"
        if (folder.parents[1] / "linked").exists()
        else folder.parent / "linked"
    )
    hook = folder.parent / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} "
        "-m tools.course.pairs sync notebooks\n"
    )
    hook.chmod(0o755)
    edit(linked / "notebooks/x.md", "one = 1", "one = 2")
    git(linked, "commit", "-qam", "an edit")
    assert (
        "one = 2" in (linked / "notebooks/x.ipynb").read_text()
        and "one = 1" in (folder / "x.ipynb").read_text()
    )

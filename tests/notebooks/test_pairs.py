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
    who = [f"GIT_{role}_{what}" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull} | dict.fromkeys(who, "a@localhost")
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
        cell.execution_count = number
        cell.outputs = [nbformat.v4.new_output("stream", text=f"output {number}\n")]
    notebook.metadata.kernelspec["own"] = "of the kernel"
    pairs.write_ipynb(notebook, folder / "x.ipynb")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "a pair")
    return folder


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def edit_json(folder, change):
    notebook = json.loads((folder / "x.ipynb").read_text())
    change(notebook)
    (folder / "x.ipynb").write_text(json.dumps(notebook, indent=1) + "\n")


def cell_of(folder, index):
    return json.loads((folder / "x.ipynb").read_text())["cells"][index]


def content(folder):
    """What stands in the halves."""
    return {
        path.name: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in (".md", ".ipynb")
    }


def in_both(folder, text):
    return all(text in (folder / name).read_text("utf-8-sig") for name in ("x.md", "x.ipynb"))


def refused(folder, *arguments):
    """What sync says; it must have written nothing."""
    before = content(folder)
    [message], good = pairs.sync(folder, *arguments)
    assert not good and content(folder) == before
    return message


@pytest.mark.claims("The notebooks of :doc:`the course </notebooks/index>` are such pairs.")
def test_every_notebook_is_a_pair_with_the_same_cells():
    assert not (problems := pairs.check(catalogue.NOTEBOOKS)), "\n".join(map(str, problems))
    assert len(pairs.find(catalogue.NOTEBOOKS)) >= 8


# ---------------------------------------------------------------- what the check finds


def md(old, new):
    return lambda folder: edit(folder / "x.md", old, new)


def ipynb(old, new):
    return lambda folder: edit(folder / "x.ipynb", old, new)


def stored(change):
    return lambda folder: edit_json(folder, change)


def without_ids(notebook):
    notebook["nbformat_minor"] = 4
    for cell in notebook["cells"]:
        del cell["id"]


def undeclared(folder):
    md("course:  #", "curse:  #")(folder)
    edit_json(folder, lambda notebook: notebook["metadata"].pop("course"))


SYNC = "make sync NB=x"
KERNEL = MD[MD.index("kernelspec:") : MD.index("course:")]
NO_PAIR = "x.md:1: its header, its cells' ids or its format are not those of a pair"
FAULTS = {
    "lone md": (lambda f: (f / "x.ipynb").unlink(), "x.md: a lone half: there is no x.ipynb", SYNC),
    "lone ipynb": (lambda f: (f / "x.md").unlink(), "x.ipynb: a lone half: there is", SYNC),
    "no formats": (stored(lambda n: n["metadata"].pop("jupytext")), NO_PAIR, SYNC),
    "other formats": (md("ipynb,md:myst", "ipynb,py"), NO_PAIR, SYNC),
    "old format": (md("format_version: 0.13", "format_version: 0.1"), NO_PAIR, SYNC),
    "id twice": (stored(lambda n: n["cells"][1].update(id=n["cells"][0]["id"])), NO_PAIR, SYNC),
    "no ids": (stored(without_ids), NO_PAIR, SYNC),
    "kernel": (md("name: python3", "name: python2"), "x.md:8: kernelspec differs", SYNC),
    "no kernel": (md(KERNEL, ""), "x.md:1: kernelspec differs: None here, {", SYNC),
    "course": (md("minutes: 10", "minutes: 11"), "x.md:12: course differs", SYNC),
    "source": (
        md("one = 1", "one = 2"),
        "x.md:23: cell 2 differs: 'one = 2' here, 'one = 1'",
        SYNC,
    ),
    "prose": (ipynb("Some prose.", "Some verse."), "x.md:26: cell 3 differs: 'Some prose.'", SYNC),
    "tag": (md("[a-tag]", "[b-tag]"), 'x.md:28: cell 4 differs: \'[code] {"tags": ["b-tag', SYNC),
    "cell more": (
        stored(lambda n: n["cells"].append(n["cells"][0] | {"id": "new"})),
        "cell 5 differs: nothing here, '# A title' in the .ipynb",
        SYNC,
    ),
    "kind": (stored(lambda n: n["cells"][2].update(cell_type="raw")), "'[raw]' in the", SYNC),
    "no MyST": (ipynb("Some prose.", "Some\\n+++\\nprose."), "cannot be written as", "edit it"),
    "no JSON": (ipynb('"cells"', '"cells'), "x.ipynb:2: no valid JSON", f"{SYNC} FROM=md"),
    "no notebook": (
        lambda f: (f / "x.ipynb").write_text('{"cells": [], "metadata": {}}'),
        "no notebook",
        f"{SYNC} FROM=md",
    ),
    "header": (
        md("course:  #", "course: [  #"),
        "x.md:14: no MyST notebook: expected",
        "FROM=ipyn",
    ),
    "conflict": (md("Some prose.", "<<<<<<< HEAD\nSome"), "x.md:26: has conflict", "FROM=ipynb"),
    "no UTF-8": (
        lambda f: (f / "x.md").write_bytes(MD.encode() + b"\xff\n"),
        "x.md:33: cannot be read",
        "FROM=ipynb",
    ),
    "undeclared": (undeclared, "declares no course", "declare it"),
    "no limit": (
        lambda f: [md("s: 30", "s: -1")(f), ipynb('s": 30', 's": -1')(f)],
        "course.seconds is -1, not a positive number",
        "edit the header",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_check_names_what_is_wrong_and_its_remedy_cures(name, folder):
    break_it, says, repair = FAULTS[name]
    break_it(folder)
    [problem] = pairs.check(folder)
    assert says in str(problem) and repair in problem.repair
    if "make sync" in problem.repair:
        source = re.search(r"NB=x FROM=(\w+)$", problem.repair)
        assert pairs.sync(folder, "x", source and source[1])[1] and not pairs.check(folder)


def test_files_that_are_no_notebooks_are_left_alone(folder):
    (folder / "README.md").write_text("# No notebook\n")
    for name in ("_build", ".ipynb_checkpoints"):
        (folder / name).mkdir()
        shutil.copy(folder / "x.ipynb", folder / name / "y.ipynb")
    assert [pair.name for pair in pairs.find(folder)] == ["x"] and not pairs.check(folder)


# ---------------------------------------------------------------- sync: no edit is lost

BOTH = {
    "md": (("one = 1", "one = 2"), None, ["one = 2"]),
    "ipynb": (None, ("one = 1", "one = 2"), ["one = 2"]),
    "the same": (("one = 1", "one = 2"), ("one = 1", "one = 2"), ["one = 2"]),
    "neighbours": (("one = 1", "one = 2"), ("Some prose.", "A verse."), ["one = 2", "A verse."]),
    "insertion beside a change": (
        ("Some prose.", "More.\n\n+++\n\nSome prose."),
        ("Some prose.", "Some verse."),
        ["More.", "Some verse."],
    ),
    "deletion beside a change": (
        ("Some prose.\n", ""),
        ("# A title", "# Another title"),
        ["# Another title", "print(one)"],
    ),
    "header and cell": (
        ("minutes: 10", "minutes: 11"),
        ("one = 1", "one = 2"),
        ["11", "one = 2"],
    ),
    "code becomes text": (
        ("```{code-cell}\none = 1\n```", "+++\n\none = 1\n\n+++"),
        None,
        ["one = 1"],
    ),
    "kernel": (("Python 3 (ipykernel)", "Python 3.14"), None, ["Python 3.14"]),
    "a cell that is moved": (
        (
            "# A title\n\n```{code-cell}\none = 1\n```\n",
            "```{code-cell}\none = 1\n```\n\n# A title\n\n+++\n",
        ),
        ("Some prose.", "Some verse."),
        ["Some verse.", "one = 1"],
    ),
}


@pytest.mark.parametrize("name", BOTH)
def test_changes_of_different_cells_merge(name, folder):
    """What nobody changed keeps its text in the .md, its outputs and its ids; a second sync changes
    nothing.
    """
    in_md, in_ipynb, result = BOTH[name]
    outputs = [cell["outputs"] for cell in (cell_of(folder, 1), cell_of(folder, 3))]
    last = cell_of(folder, 3)["id"]
    for half, change in (("x.md", in_md), ("x.ipynb", in_ipynb)):
        if change:
            edit(folder / half, *change)
    messages, good = pairs.sync(folder)
    assert good and not pairs.check(folder) and all(in_both(folder, text) for text in result)
    assert "a comment that must survive" in (folder / "x.md").read_text()
    cells = json.loads((folder / "x.ipynb").read_text())["cells"]
    assert cells[-1]["outputs"] == outputs[1] and cells[-1]["id"] == last
    [one] = [cell for cell in cells if cell["source"][0].startswith("one")]
    stored = nbformat.read(folder / "x.ipynb", 4)
    nbformat.validate(stored)
    assert stored.metadata.kernelspec["own"] == "of the kernel"
    if name == "md":
        assert one["outputs"] == [] and "now: make refresh NB=x" in messages[0]
    elif name in ("header and cell", "a cell that is moved"):
        assert one["outputs"] == outputs[0] and "refresh" not in messages[0]
    before = content(folder)
    assert pairs.sync(folder) == ([], True) and content(folder) == before


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
        "x.md:24 and {folder}/x.ipynb:11: both put cells at this place",
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
    message = refused(folder)
    assert says.format(folder=folder) in message and f"{SYNC} FROM=md, or FROM=ipynb" in message
    for source, loser in {"md": "x.ipynb", "ipynb": "x.md"}.items():
        for path, text in before.items():
            (folder / path).write_bytes(text)
        [message], good = pairs.sync(folder, "x", source)
        assert good and f"{loser}.old" in message and not pairs.check(folder)
        assert (folder / f"{loser}.old").read_bytes() == before[loser]
    status = git(folder, "status", "--porcelain", "--untracked-files=all")
    assert ".old" not in status and ".synced" not in status


def test_what_was_thrown_away_earlier_is_not_overwritten(folder):
    for number in ("2", "3", "3"):
        edit(folder / "x.md", "one = 1", f"one = {number}")
        pairs.sync(folder, "x", "ipynb")
    kept = {path.name: "one = 2" in path.read_text() for path in folder.glob("*.old*")}
    assert kept == {"x.md.old": True, "x.md.old-2": False}


@pytest.mark.parametrize("committed", [True, False])
def test_without_a_common_version_both_are_left_and_shown(committed, folder):
    """In a clone in which the halves differ, and without git."""
    edit(folder / "x.md", "one = 1", "one = 2")
    shutil.rmtree(folder / ".synced")
    if committed:
        git(folder, "commit", "-qam", "drift")
    else:
        shutil.rmtree(folder.parent / ".git")
    message = refused(folder)
    assert "+one = 2" in message and "cannot tell" in message


@pytest.mark.parametrize("newer", ["x.md", "x.ipynb"])
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
    assert pairs.sync(clone)[1] and in_both(clone, "one = 3")


def test_a_half_is_edited_and_synced_again_and_again(folder):
    """And changed back."""
    for name in ("x.md", "x.ipynb", "x.ipynb", "x.md"):
        for old, new in (("one = 1", "one = 2"), ("one = 2", "one = 3"), ("one = 3", "one = 1")):
            edit(folder / name, old, new)
            assert pairs.sync(folder)[1] and in_both(folder, new)


def test_both_halves_are_edited_and_synced_again_and_again(folder):
    """The same cell of the one, another cell of the other; nothing is committed."""
    edit(folder / "x.md", "one = 1", "one = 2")
    assert pairs.sync(folder)[1]
    edit(folder / "x.md", "one = 2", "one = 3")
    edit(folder / "x.ipynb", "Some prose.", "Some verse.")
    assert pairs.sync(folder)[1] and in_both(folder, "one = 3") and in_both(folder, "Some verse.")


@pytest.mark.parametrize("name", ["x.md", "x.ipynb"])
def test_an_edit_that_is_made_anew_after_git_undid_it_is_kept(name, folder):
    """The half is as it was when they were in step last: that does not mean that it is the other
    that changed.
    """
    edit(folder / name, "one = 1", "one = 2")
    pairs.sync(folder)
    git(folder, "checkout", "--", ".")
    edit(folder / name, "one = 1", "one = 2")
    before = content(folder)
    assert pairs.sync(folder)[1] and in_both(folder, "one = 2")
    for path, text in before.items():
        (folder / path).write_bytes(text)
    git(folder, "checkout", "--", ".")
    edit(folder / name, "one = 1", "one = 2")
    edit(folder / ({"x.md", "x.ipynb"} - {name}).pop(), "one = 1", "one = 3")
    assert "git has written both halves" in refused(folder)


def test_an_edit_that_is_undone_after_a_stash_is_not_lost(folder):
    """The stash has come back before."""
    edit(folder / "x.md", "one = 1", "one = 2")
    pairs.sync(folder)
    git(folder, "stash")
    git(folder, "stash", "pop")
    edit(folder / "x.md", "one = 2", "one = 1")
    assert pairs.sync(folder)[1] and in_both(folder, "one = 1")


def test_what_git_brings_is_merged_with_an_edit(folder):
    """A change that git has brought into both halves, and an edit of the same cell since."""
    for text in ("one = 2", "one = 1"):
        for name in ("x.md", "x.ipynb"):
            edit(folder / name, "one = 1" if text == "one = 2" else "one = 2", text)
        git(folder, "commit", "-qam", text)
    pairs.sync(folder)
    git(folder, "checkout", "-q", "HEAD~", "--", ".")
    edit(folder / "x.md", "one = 2", "one = 3")
    assert pairs.sync(folder)[1] and in_both(folder, "one = 3")


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("at", range(3))
def test_a_sync_that_is_ended_leaves_whole_files(at, fault, folder, monkeypatch):
    """The next one completes it."""
    edit(folder / "x.md", "one = 1", "one = 2")
    edit(folder / "x.ipynb", "Some prose.", "Some verse.")
    before, replace, calls = content(folder), os.replace, iter(range(10))

    def ended(*paths):
        if next(calls) == at:
            raise fault
        replace(*paths)

    monkeypatch.setattr(os, "replace", ended)
    if fault is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            pairs.sync(folder)
    else:
        [message], good = pairs.sync(folder)
        assert not good and "No space left on device" in message
    monkeypatch.undo()
    now = content(folder)
    pairs.sync(folder)
    after = content(folder)
    assert all(now[name] in (before[name], after[name]) for name in now) and not pairs.check(folder)
    assert in_both(folder, "one = 2") and in_both(folder, "Some verse.")
    assert sorted(path.name for path in folder.iterdir()) == [".synced", "x.ipynb", "x.md"]


def test_a_half_that_is_saved_during_the_sync_is_left(folder, monkeypatch):
    edit(folder / "x.md", "one = 1", "one = 2")
    fsync = os.fsync

    def meanwhile(descriptor):
        monkeypatch.setattr(os, "fsync", fsync)
        edit(folder / "x.ipynb", "Some prose.", "Some verse.")

    monkeypatch.setattr(os, "fsync", meanwhile)
    [message], good = pairs.sync(folder)
    assert not good and "changed by somebody else" in message
    assert pairs.sync(folder)[1] and in_both(folder, "Some verse.") and in_both(folder, "one = 2")


def test_a_file_keeps_its_mode_and_a_symlink_stays_one(folder):
    os.chmod(folder / "x.ipynb", 0o640)
    (folder / "x.md").rename(folder.parent / "elsewhere.md")
    (folder / "x.md").symlink_to(folder.parent / "elsewhere.md")
    edit(folder / "x.md", "one = 1", "one = 2")
    pairs.sync(folder)
    edit(folder / "x.ipynb", "one = 2", "one = 3")
    pairs.sync(folder)
    assert (folder / "x.ipynb").stat().st_mode & 0o777 == 0o640
    assert (folder / "x.md").is_symlink() and in_both(folder, "one = 3")


# ---------------------------------------------------------------- what only one half can hold

ATTACHED = {
    "cell_type": "markdown",
    "id": "with-image",
    "metadata": {"editable": False},
    "source": ["Look: ![i](attachment:image.png)"],
    "attachments": {"image.png": {"image/png": "aW1hZ2U="}},
}


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("Look:", "Look here:", None),
        ("Look: ![i](attachment:image.png)\n", "", "image.png would get lost"),
        (
            "Look: ![i](attachment:image.png)",
            "```{code-cell}\nLook: ![i](attachment:image.png)\n```",
            "image.png would get lost",
        ),
        ("# A title", "# A ![i](attachment:image.png)", "image.png, which is attached to another"),
    ],
)
def test_an_edited_cell_keeps_its_image_or_is_refused(old, new, says, folder):
    """Its image, metadata and id."""
    edit_json(folder, lambda notebook: notebook["cells"].__setitem__(2, ATTACHED))
    assert pairs.sync(folder)[1]
    edit(folder / "x.md", old, new)
    if says:
        assert says in refused(folder)
    else:
        assert pairs.sync(folder)[1]
        source = ["Look here: ![i](attachment:image.png)"]
        assert cell_of(folder, 2) == ATTACHED | {"source": source}


ORDINARY = {
    "a newline at the end": (1, "one = 1\n"),
    "empty lines first": (2, "\n\nSome prose."),
    "CRLF": (1, "one = 1\r\ntwo = 2"),
    "a lone CR": (2, "Some\rprose."),
    "code that begins empty": (1, "\n\none = 1"),
    "nothing in Markdown": (2, ""),
    "nothing in code": (1, ""),
    "blanks": (2, "  \n "),
    "options": (1, ":tags: [a]"),
    "YAML": (1, "---\na: 1\n---"),
    "a fence in a longer fence": (2, "````\n```{code-cell}\none\n```\n````"),
    "a fence in code": (1, "'''\n```\n'''"),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_cells_of_jupyterlab_work_in_both_directions(name, folder):
    index, source = ORDINARY[name]
    edit_json(folder, lambda notebook: notebook["cells"][index].update(source=source))
    assert pairs.sync(folder)[1] and not pairs.check(folder)
    edit(folder / "x.md", "# A title", "# Another title")
    assert pairs.sync(folder)[1] and not pairs.check(folder)
    assert "".join(cell_of(folder, index)["source"]) == source
    assert cell_of(folder, 0)["source"] == ["# Another title"]
    assert pairs.sync(folder) == ([], True)


@pytest.mark.parametrize(
    "source",
    [
        "Some\n+++\nprose.",
        "Some\n```{code-cell}\nprose\n```",
        "Some\n\n```\nprose.",
        "Some\n\n<!-- prose.",
        "Some\n<<<<<<< HEAD\nprose.",
        "Some\u2028prose.",
        "Some \ud800",
    ],
)
def test_a_cell_that_myst_cannot_hold_is_refused(source, folder):
    edit_json(folder, lambda notebook: notebook["cells"][2].update(source=source))
    says = (
        "half a character" if "\ud800" in source else "cell 3 of the .ipynb, markdown that begins"
    )
    assert says in refused(folder)
    [problem] = pairs.check(folder)
    assert says in problem.message and problem.path.name == "x.ipynb"


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("```{code-cell}\none", '+++ {"tags": ["slide"]}\n\n```{code-cell}\none', "22: this line"),
        (":tags: [a-tag]", ":name: a-name", "28: cell 4 has name"),
        (":tags: [a-tag]", ":tags: [a-tag", "28: the options of a cell are no YAML"),
        ("Some prose.", "Some\x0cprose.", "26: has the character '\\x0c'"),
        (MD[MD.index("# A title") :], "", "18: has a header and no cell"),
    ],
)
def test_what_a_notebook_cannot_hold_is_refused_in_the_md(old, new, says, folder):
    edit(folder / "x.md", old, new)
    assert f"x.md:{says}" in refused(folder)


def test_what_the_writer_of_the_md_laid_out_stays(folder):
    """A change in the .ipynb touches no other text: comments, longer fences, empty lines. Where it
    must, what was there is kept.
    """
    laid_out = ":tags: [a-tag]  # why\n\nprint(one)\n```\n\n\n~~~{code-cell}\n2\n~~~"
    edit(folder / "x.md", ":tags: [a-tag]\n\nprint(one)\n```", laid_out)
    pairs.sync(folder)
    before = (folder / "x.md").read_text()
    edit(folder / "x.ipynb", "one = 1", "one = 2")
    edit(folder / "x.ipynb", '"minutes": 10', '"minutes": 11')
    assert pairs.sync(folder)[1]
    expected = before.replace("one = 1", "one = 2").replace("minutes: 10", "minutes: 11")
    assert (folder / "x.md").read_text() == expected
    edit(folder / "x.md", "minutes: 11", "minutes: 11  # measured in class")
    pairs.sync(folder)
    edit(folder / "x.ipynb", '"minutes": 11', '"minutes": 12')
    [message], good = pairs.sync(folder)
    assert good and "what it was is in" in message and in_both(folder, "12")
    assert "# measured in class" in (folder / "x.md.old").read_text()


# ---------------------------------------------------------------- a half that is no half

NO_HALVES = {
    "UTF-16": lambda path: path.write_text(path.read_text(), encoding="utf-16"),
    "empty": lambda path: path.write_bytes(b""),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link to nothing": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "a named pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "conflict markers": lambda path: path.write_text(path.read_text() + "<<<<<<< HEAD\n"),
}


@pytest.mark.parametrize("half", ["md", "ipynb"])
@pytest.mark.parametrize("kind", NO_HALVES)
def test_what_cannot_be_read_is_refused_and_left(kind, half, folder):
    """Whatever has become of a half: sync says in which file, touches neither, and what the check
    recommends destroys nothing.
    """
    path = folder / f"x.{half}"
    NO_HALVES[kind](path)
    before = content(folder)
    assert f"{path}:" in refused(folder) and path.is_symlink() == (kind == "a link to nothing")
    assert [problem.path for problem in pairs.check(folder)] == [path]
    if path.is_file():
        assert pairs.sync(folder, "x", "ipynb" if half == "md" else "md")[1]
        assert (folder / f"x.{half}.old").read_bytes() == before[path.name]
        assert not pairs.check(folder)


def test_a_byte_order_mark_is_read(folder):
    for name in ("x.md", "x.ipynb"):
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    edit(folder / "x.md", "one = 1", "one = 2")
    assert pairs.sync(folder)[1] and not pairs.check(folder) and in_both(folder, "one = 2")


def test_a_lone_half_gets_its_other_half(folder):
    """One without code too."""
    (folder / "x.md").unlink()
    (folder / "y.ipynb").write_bytes((folder / "x.ipynb").read_bytes())
    assert pairs.sync(folder)[1] and not pairs.check(folder)
    (folder / "z.md").write_text(MD.split("```{code-cell}")[0])
    assert pairs.sync(folder) == (["z: wrote z.ipynb"], True) and not pairs.check(folder)
    (folder / "v.md").write_text(MD.replace(KERNEL, ""))
    assert "names no kernel" in pairs.sync(folder)[0][0] and not (folder / "v.ipynb").exists()


def test_a_half_renamed_alone_becomes_no_second_notebook(folder):
    edit(folder / "x.md", "Some prose.", "Some verse.")
    (folder / "x.md").rename(folder / "y.md")
    messages, good = pairs.sync(folder)
    assert not good and len(content(folder)) == 2 and len(messages) == 2
    assert "If one half was renamed, rename the other" in messages[0]
    (folder / "x.ipynb").rename(folder / "y.ipynb")
    assert pairs.sync(folder, "y", "md")[1] and not pairs.check(folder)


# ---------------------------------------------------------------- what is published is what was
# written


def test_an_edit_of_the_md_alone_is_no_notebook_that_passed(folder, tmp_path):
    """Neither a full validation says so, nor one of what changed."""
    edit(folder / "x.md", "Some prose.", "Some verse.")
    [result] = local.validate(catalogue.load(folder=folder), records=tmp_path / "records")
    assert result.outcome == "failed" and SYNC in result.reason
    says = "x.md:26: cell 3 differs: 'Some verse.' here, 'Some prose.' in the .ipynb"
    assert says in result.reason
    [notebook] = catalogue.load(folder=folder)
    for record in ({}, {"halves": "others"}):
        assert "its halves differ" in changes.drift(notebook, record)
    assert changes.drift(notebook, {"halves": halves.files(notebook.pair)}) is None


def test_after_an_edit_of_code_the_sync_says_what_comes_next(folder):
    """In either half. What was executed is in its place again once the code is as it was."""
    notebook = pairs.read_ipynb(folder / "x.ipynb")
    notebook.metadata["measured"] = {"code": pairs.code(notebook)}
    pairs.write_ipynb(notebook, folder / "x.ipynb")
    assert not [*pairs.unpublishable(folder)]
    edit(folder / "x.ipynb", "one = 1", "one = 2")
    assert "now: make refresh NB=x" in pairs.sync(folder)[0][0]
    [problem] = pairs.unpublishable(folder)
    assert "its code changed after it was executed" in problem.message
    assert problem.repair == "make refresh NB=x"
    edit(folder / "x.ipynb", "one = 2", "one = 1")
    assert "make refresh" not in pairs.sync(folder)[0][0] and not [*pairs.unpublishable(folder)]
    edit(folder / "x.md", "one = 1", "one = 2")
    assert next(pairs.unpublishable(folder)).repair.startswith(SYNC)
    assert "now: make refresh NB=x" in pairs.sync(folder)[0][0]
    assert "cell 2 was not executed" in next(pairs.unpublishable(folder)).message


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the repository."""
    return copy_source(tmp_path_factory.mktemp("a checkout"))


def make(checkout, *arguments):
    """What `make` does in the checkout, in our environment."""
    ours = (f"RUN={shlex.quote(sys.executable)} -m", f"VENV={sys.prefix}", "-o", ".venv")
    return subprocess.run(
        ["make", *arguments, *ours],
        cwd=checkout,
        capture_output=True,
        text=True,
        env=os.environ | {"LC_ALL": "C"},
    )


def test_another_half_stops_what_publishes(checkout):
    """The site and the editions: each says which notebook it is, where it differs and what mends
    it.
    """
    path = checkout / "notebooks/02-hidden-state.md"
    edit(path, "# Hidden state", "# Hidden states")
    line = path.read_text(encoding="utf-8").splitlines().index("# Hidden states") + 1
    built = build_site(checkout, checkout / "_build")
    made = make(checkout, "class")
    edit(path, "# Hidden states", "# Hidden state")
    says = f"notebooks/02-hidden-state.md:{line}: cell 1 differs"
    assert built.returncode and says in built.stderr and len(built.stderr.splitlines()) < 8
    assert made.returncode and says in made.stdout + made.stderr
    assert not (checkout / "_build/class").exists()


def test_a_name_may_have_blanks_and_accents(checkout):
    """Given to make as a user would, also in the command that is printed."""
    name = 'sub/it\'s ka\u0308ytto\u0308, 100 % "so" & $HOME'
    path = checkout / f"notebooks/{name}.md"
    path.parent.mkdir()
    path.write_text(MD)
    given = name.replace("a\u0308", "ä").replace("o\u0308", "ö").replace("$", "$$")
    for _ in range(2):
        done = make(checkout, "sync", f"NB={given}")
        assert done.returncode == 0, done.stderr
    assert path.with_suffix(".ipynb").exists() and "every pair is in step" in done.stdout
    edit(path, "one = 1", "one = 2")
    [message], _ = pairs.sync(checkout / "notebooks", name)
    assert shlex.split(message.rpartition("now: ")[2]) == ["make", "refresh", f"NB={name}"]


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
def test_the_command_line_answers_in_a_sentence(
    arguments, status, says, folder, monkeypatch, capsys
):
    monkeypatch.chdir(folder.parent)
    try:
        ended = pairs.main(arguments)
    except SystemExit as end:
        ended = end.code
    assert ended == status and says in "".join(capsys.readouterr())


def test_a_sync_in_a_hook_of_a_worktree_lets_the_commit_through(folder):
    """Git hands GIT_DIR and GIT_INDEX_FILE to its hooks: of the repository that is committed to,
    here of the linked worktree.
    """
    git(folder, "worktree", "add", "-q", folder.parent / "linked")
    linked = folder.parent / "linked/notebooks"
    hook = folder.parent / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} "
        "-m tools.course.pairs sync notebooks\n"
    )
    hook.chmod(0o755)
    edit(linked / "x.md", "one = 1", "one = 2")
    git(linked, "add", "x.md")
    git(linked, "commit", "-qm", "an edit")
    assert in_both(linked, "one = 2") and in_both(folder, "one = 1")

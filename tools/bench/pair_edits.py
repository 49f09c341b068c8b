"""Edit the two halves of a notebook at random, sync, and see that no edit is lost:

    python -m tools.bench.pair_edits [EDITS] [SEED]

Cells are inserted, deleted, moved, split, changed and changed back, in both halves, several times
for each sync and each commit; now and then git restores the halves, or a sync is killed between its
writes. After each sync either every edit is in both halves, or it was refused and neither file has
changed.
"""

import base64
import collections
import itertools
import json
import os
import random
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from tools import git
from tools.course import pairs
from tools.course.myst import plain

HEADER = """\
---
jupytext:
  formats: ipynb,md:myst
  text_representation:
    extension: .md
    format_name: myst
    format_version: 0.13
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---
"""
WORDS = [
    *("node", "queue", "kernel", "module", "memory"),
    *("partition", "result", "table", "value", "notebook"),
]
KINDS = [
    *(["change"] * 4 + ["insert"] * 2 + ["delete"] * 3),
    *("move", "split", "tag", "back", "again", "odd"),
]
ODD = [
    "\n\n\n{}",
    "{}\n",
    "{}\n\n",
    "{}\r\nnext",
    "{}\u2028next",
    "{}\x0cnext",
    "````\n```{{code-cell}}\n{}\n```\n````",
    ":tags: {}",
    "---\n{}",
    "{}\n+++\nnext",
    "```{{code-cell}}\n{}\n```",
    "```\n{}",
    "",
    "   ",
]
AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A"), ("EMAIL", "a@example.org"))
}


Cell = dict[str, Any]
Row = tuple[str, str, tuple[str, ...]]  # what Markdown can hold of a cell: kind, source, tags


class Killed(BaseException):
    """The process was killed."""


class Trial:
    """A folder with one notebook, and a writer and a runner who do not know of each other.

    counts: how many of which edits there were, and of what came of them.
    """

    def __init__(self, folder: Path, seed: str) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.md = folder / "x.md"
        self.ipynb = folder / "x.ipynb"
        self.number = 0  # of things made until now: each word or output of a cell has its own
        self.past: list[list[Row]] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self._git("init", "-q")
        (self.folder / ".gitignore").write_text(".synced/\n*.old*\n.*.new\n")
        self.write_md(
            [
                self.new_cell("markdown") | {"source": "# A title"},
                *(self.new_cell() for _ in range(self.chance.randrange(2, 9))),
            ]
        )
        self.sync()
        self.commit()

    def _git(self, *arguments: str) -> None:
        git.run(
            "-c",
            "core.fsync=none",
            "-c",
            "gc.auto=0",
            *arguments,
            cwd=self.folder,
            check=True,
            env=git.environment() | AUTHOR,
        )

    # what is there

    def read_md(self) -> list[Cell]:
        return [dict(cell) for cell in pairs.read_md(self.md).cells]

    def read_ipynb(self) -> dict[str, Any]:
        notebook: dict[str, Any] = json.loads(self.ipynb.read_text())
        return notebook

    def held(self, cells: Iterable[Cell]) -> list[Row]:
        """What Markdown can hold of these cells, to be compared."""
        rows = [
            (
                cell["cell_type"],
                plain("".join(cell["source"])),
                tuple(cell["metadata"].get("tags", [])),
            )
            for cell in cells
        ]
        return [row for row in rows if row[0] != "markdown" or row[1]]

    def write_md(self, cells: Iterable[Cell]) -> None:
        text = HEADER
        for cell in cells:
            tags, source = cell["metadata"].get("tags", []), cell["source"]
            if cell["cell_type"] == "code":
                text += (
                    "\n`````{code-cell}\n"
                    + (f":tags: {json.dumps(tags)}\n" if tags else "")
                    + "\n"
                    + source
                    + "\n`````\n"
                )
            else:
                text += (
                    "\n+++" + (f" {json.dumps({'tags': tags})}" if tags else "") + f"\n\n{source}\n"
                )
        content = text.encode()
        if self.chance.random() < 0.1:
            content = b"\xef\xbb\xbf" + content
        if self.chance.random() < 0.1:
            content = content.replace(b"\n", b"\r\n")
        self.md.write_bytes(content)

    def write_ipynb(self, notebook: dict[str, Any]) -> None:
        self.ipynb.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")

    # edits

    def words(self, count: int = 8) -> str:
        """So many words, and one that stands nowhere else."""
        self.number += 1
        return " ".join([*self.chance.choices(WORDS, k=count), f"w{self.number}"])

    def new_cell(self, kind: str | None = None) -> Cell:
        kind = kind or self.chance.choice(["markdown", "markdown", "code"])
        tags = (
            {"tags": [self.chance.choice(["slide", "exercise"])]}
            if self.chance.random() < 0.3
            else {}
        )
        return {"cell_type": kind, "metadata": tags, "source": self.words()}

    def edit(self, cells: list[Cell], half: str) -> None:
        """Make one edit in the list `cells`, of the .md half or the .ipynb half."""
        self.counts["edits"] += 1
        kind = self.chance.choice(KINDS)
        at = self.chance.randrange(len(cells))
        cell = cells[at]
        source = "".join(cell["source"])
        self.counts[kind] += 1
        if kind == "insert" or len(cells) < 3:
            place = self.chance.randrange(len(cells) + 1)
            cells.insert(place, self.finished(self.new_cell(), half))
        elif kind == "again":  # a cell that stands twice
            place = self.chance.randrange(len(cells) + 1)
            same = {key: cell[key] for key in ("cell_type", "metadata", "source")}
            cells.insert(place, self.finished(same, half))
        elif kind == "delete":
            del cells[at]
        elif kind == "move":
            cells.insert(self.chance.randrange(len(cells)), cells.pop(at))
        elif kind == "split" and re.search(r"\A[^\n`+-]+ [^\n`+-]+\Z", source):
            self._split(cells, at, half)
        elif kind == "tag":
            cell["metadata"] = {
                key: value for key, value in cell["metadata"].items() if key != "tags"
            } | self.chance.choice([{}, {"tags": ["slide", "check"]}])
        elif kind == "odd" and half == "ipynb":
            cell["source"] = self.chance.choice(ODD).format(self.words(2))
        elif kind == "back" and self.past:
            kept = [row for row in self.chance.choice(self.past) if row[0] == cell["cell_type"]]
            if kept:
                cell["source"] = self.chance.choice(kept)[1]
        else:
            words = source.split(" ")
            plain_words = [number for number, word in enumerate(words) if word.isalnum()] or [0]
            words[self.chance.choice(plain_words)] = self.words(0).strip()
            cell["source"] = " ".join(words)

    def _split(self, cells: list[Cell], at: int, half: str) -> None:
        """Split a cell at a space, if there is text on both sides of it."""
        cell = cells[at]
        source = "".join(cell["source"])
        third = len(source) // 3
        space = source.index(" ", third if " " in source[third:] else 0)
        if source[:space].strip() and source[space:].strip():
            cell["source"] = source[:space]
            rest = {
                "cell_type": cell["cell_type"],
                "metadata": {},
                "source": source[space + 1 :],
            }
            cells.insert(at + 1, self.finished(rest, half))

    def finished(self, cell: Cell, half: str) -> Cell:
        """A cell as it stands in `half`: in the .ipynb it may have what Markdown cannot hold."""
        if half == "md":
            return cell
        self.number += 1
        cell = cell | {
            "id": f"id{self.number}",
            "metadata": cell["metadata"] | {"secret": self.number},
        }
        if cell["cell_type"] == "code":
            return cell | {
                "outputs": [
                    {"output_type": "stream", "name": "stdout", "text": f"out {self.number}\n"}
                ],
                "execution_count": self.number,
            }
        if self.chance.random() < 0.3:
            name = self.chance.choice(["image.png", f"image {self.number}.png"])
            data = base64.b64encode(f"picture {self.number}".encode()).decode()
            return cell | {
                "source": f"{cell['source']} ![i](attachment:{name.replace(' ', '%20')})",
                "attachments": {name: {"image/png": data}},
            }
        return cell

    def edit_halves(self) -> tuple[list[Row], list[Cell], list[Cell]]:
        """Edit one or both halves, a few times; return what was in them, and the cells that are in
        the .md and in the .ipynb now.
        """
        here, notebook = self.read_md(), self.read_ipynb()
        base = self.held(here)
        self.past.append(base)
        for half in self.chance.choice([["md"], ["ipynb"], ["md", "ipynb"], ["md", "ipynb"]]):
            times = self.chance.choice([1, 1, 1, 2, 3, 5])
            if half == "md":
                for _ in range(times):
                    self.edit(here, half)
                self.write_md(here)
            else:
                for _ in range(times):
                    self.edit(notebook["cells"], half)
                self.write_ipynb(notebook)
        if any(cell["source"].startswith("```\n") for cell in here):
            here = self.read_md()  # a fence that stays open takes in what was put behind it
        return base, here, notebook["cells"]

    # sync

    def sync(self, source: str | None = None) -> tuple[str, bool]:
        """Sync, or take over the half `source`; return the message, and whether it is done."""
        messages, good = pairs.sync(self.folder, "x" if source else None, source)
        return "\n".join(messages), good

    def commit(self) -> None:
        self._git("add", "-A")
        self._git("commit", "-q", "--allow-empty", "-m", "one more")

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.md, self.ipynb)}

    def killed_sync(self) -> None:
        """A sync that is killed at one of its writes."""
        left = self.chance.randrange(3)
        replace = os.replace

        def until(*paths: Path) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            replace(*paths)

        with mock.patch.object(os, "replace", until):
            try:
                self.sync()
            except Killed:
                self.counts["killed"] += 1

    def round(self) -> None:
        """Edit, sync, and compare. Raises AssertionError, which says what was lost."""
        base, here, there = self.edit_halves()
        before = self.files()
        if self.chance.random() < 0.1:
            self.killed_sync()
        now = self.files()
        message, good = self.sync()
        if good:
            self.counts["synced"] += 1
            self.compare(base, here, there, message)
        else:
            self.counts["refused"] += 1
            assert self.files() == now, message
            assert now == before, "a sync that is refused after it was killed"
            self.choose(before)
        again = self.files()
        assert self.sync() == ("", True) and self.files() == again, (
            f"a second sync after {message!r} does something"
        )
        if self.chance.random() < 0.2:
            self.commit()
            self.counts["commits"] += 1
        elif self.chance.random() < 0.1:
            self._git("checkout", "-q", "--", "x.md", "x.ipynb")
            self.counts["restored"] += 1

    def choose(self, before: dict[str, bytes]) -> None:
        """Take over one half, as a person does whose sync was refused; see that the other is kept
        aside.
        """
        source = self.chance.choice(["md", "ipynb"])
        _, good = self.sync(source)
        loser = "x.ipynb" if source == "md" else "x.md"
        if good:
            kept = [path.read_bytes() for path in self.folder.glob(f"{loser}.old*")]
            assert before[loser] in kept, "what is thrown away is kept"
            for path in self.folder.glob("*.old*"):
                path.unlink()
        else:  # a cell that Markdown cannot hold: the other half is right, then
            assert self.files() == before
            other = "md" if source == "ipynb" else "ipynb"
            _, good = self.sync(other)
            if not good:  # nor can the images be kept
                assert self.files() == before
                self.counts["stuck"] += 1
                self.md.write_text(HEADER + "\n# A title\n\nAnew.\n")
                self.ipynb.unlink()
                assert self.sync()[1]

    def compare(
        self, base: list[Row], here: Iterable[Cell], there: Sequence[Cell], message: str
    ) -> None:
        """See that every edit of both halves is in both halves."""
        result, after = self.held(self.read_md()), self.read_ipynb()["cells"]
        assert result == self.held(after), "the halves differ"
        count = [
            collections.Counter(rows) for rows in (base, self.held(here), self.held(there), result)
        ]
        for row in set().union(*count):
            was, one, other, now = (rows[row] for rows in count)
            problem = (
                f"{row}: {was} before, {one} in the .md, {other} in the .ipynb, {now} now. "
                f"{message}"
            )
            if max(was, one, other) > 1:
                # A cell that stands twice, which each half may have put at another place.
                assert now > 0 or (was > 0 and min(one, other) < was), problem
            elif (was, one, other, now) != (0, 1, 1, 2):
                assert now == (one if was == other else other), problem
        self.compare_order(base, self.held(here), self.held(there), result)
        self.compare_the_rest(there, after, message)

    def compare_order(self, *versions: list[Row]) -> None:
        """See that all cells stand in the order of the half that alone has moved some."""
        once = set.intersection(
            *(
                {row for row, number in collections.Counter(rows).items() if number == 1}
                for rows in versions
            )
        )
        places = [{row: number for number, row in enumerate(rows)} for rows in versions]
        was, one, other, now = (sorted(once, key=place.__getitem__) for place in places)
        assert now == (one if was == other else other) or was not in (one, other), (
            f"the order is {now}, not {one if was == other else other}"
        )

    def compare_the_rest(self, before: Iterable[Cell], after: Sequence[Cell], message: str) -> None:
        """See that what Markdown cannot hold is still there: of each cell of the .ipynb whose
        source is in the result, and of each id that is.
        """
        ids = {cell["id"]: cell for cell in after}
        images = [data for cell in after for data in cell.get("attachments", {}).values()]
        aside = "".join(path.read_text() for path in self.folder.glob("x.ipynb.old*"))
        for cell in before:
            new = ids.get(cell["id"])
            if new:
                assert new["metadata"].get("secret") == cell["metadata"].get("secret"), cell
                same = (
                    "".join(new["source"]) == "".join(cell["source"])
                    and new["cell_type"] == cell["cell_type"] == "code"
                )
                assert not same or ["".join(out["text"]) for out in new["outputs"]] == [
                    "".join(out["text"]) for out in cell["outputs"]
                ], cell
            for name, data in cell.get("attachments", {}).items():
                assert data in images or data["image/png"] in aside, f"{name} is lost: {message}"


def try_out(folder: Path, edits: int = 20_000, seed: int = 1) -> collections.Counter[str]:
    """Make `edits` random edits in notebooks below `folder`; return how many of what there were.

    Raises AssertionError, which says what was lost.
    """
    counts: collections.Counter[str] = collections.Counter()
    for number in itertools.count():
        if counts["edits"] >= edits:
            break
        place = folder / str(number)
        place.mkdir()
        trial = Trial(place, f"{seed} {number}")
        try:
            for _ in range(30):
                trial.round()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, notebook {number}: {error}") from error
        counts += trial.counts
    return counts


if __name__ == "__main__":
    if len(sys.argv) > 3 or not all(argument.isdecimal() for argument in sys.argv[1:]):
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as top:
        print(dict(try_out(Path(top), *map(int, sys.argv[1:]))))

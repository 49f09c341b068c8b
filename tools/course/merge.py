"""What two versions of a list of cells made of the list that they had in common: a merge of three
lists, in which no edit is lost.

A cell is a tuple whose first two items are its kind and its source. Each version may insert,
delete, move and change cells. What both changed in different ways is a Conflict, never a guess.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

SIMILAR = 0.6  # of 1: from here on two sources count as versions of one cell

Key = tuple[Any, ...]
"""A cell: its kind, its source, and whatever else must not get lost."""


@dataclass
class Clash:
    """Why a merge is not possible: the cells concerned, as indices into the common list and the two
    versions (None: not there).
    """

    reason: str
    base: int | None
    one: int | None
    other: int | None


class Conflict(Exception):
    """The two versions cannot be merged; `clashes` says where: at cells, or in what is named."""

    def __init__(self, clashes: Sequence[Clash | str]) -> None:
        super().__init__(f"{len(clashes)} conflicts")
        self.clashes = clashes


@dataclass(frozen=True)
class Merged:
    """A cell of the result: its index in each version (None: not there), and whether what it holds
    is that of the first.
    """

    one: int | None
    other: int | None
    first: bool


def align(base: Sequence[Key], cells: Sequence[Key]) -> list[int | None]:
    """For each of `cells` the index of the cell of `base` that it is a version of, None if it is
    new. The indices ascend: a cell that was moved is a new one at its new place.
    """
    labels: list[int | None] = [None] * len(cells)
    matcher = difflib.SequenceMatcher(None, base, cells, autojunk=False)
    for kind, low, high, begin, end in matcher.get_opcodes():
        if kind == "equal":
            labels[begin:end] = range(low, high)
            continue
        old = range(low, high)
        new = [index for index in range(begin, end) if cells[index] not in base]
        alike = sorted(_alike(base, cells, old, new), reverse=True)
        for index, label in _versions(base, cells, old, new, alike):
            labels[index] = label
    return labels


_Alike = tuple[bool, float, int, int]
"""Two cells that are alike: whether they are of one kind, how alike (0 to 1), and their indices in
the version and in the common list.
"""


def _alike(
    base: Sequence[Key], cells: Sequence[Key], old: Sequence[int], new: Sequence[int]
) -> Iterator[_Alike]:
    for index in new:
        matcher = difflib.SequenceMatcher(None, "", cells[index][1], autojunk=False)
        for label in old:
            matcher.set_seq1(base[label][1])
            if matcher.quick_ratio() >= SIMILAR and (ratio := matcher.ratio()) >= SIMILAR:
                yield base[label][0] == cells[index][0], ratio, index, label


def _versions(
    base: Sequence[Key],
    cells: Sequence[Key],
    old: Sequence[int],
    new: Sequence[int],
    alike: Sequence[_Alike],
) -> Iterator[tuple[int, int]]:
    """Which of the cells `new` are versions of which of `old`: first the pair that is most
    alike, then those before and after it; a single cell is a version of the single one there.
    """
    best = next((pair[2:] for pair in alike if pair[2] in new and pair[3] in old), None)
    if best:
        index, label = best
        yield index, label
        for side in (int.__lt__, int.__gt__):
            rest = (
                [one for one in old if side(one, label)],
                [one for one in new if side(one, index)],
            )
            yield from _versions(base, cells, *rest, alike)
    elif len(old) == len(new) == 1 and base[old[0]][0] == cells[new[0]][0]:
        yield new[0], old[0]


class _Version:
    """One version of the list `base`: where each cell of base is in it, and which cells it has
    inserted before each cell of base; `new` says before which one each new cell stands.
    """

    def __init__(self, base: Sequence[Key], cells: Sequence[Key]) -> None:
        labels = align(base, cells)
        self.cells = cells
        self.place = {label: index for index, label in enumerate(labels) if label is not None}
        self.inserted: list[list[int]] = [[] for _ in range(len(base) + 1)]
        waiting: list[int] = []
        for index, label in enumerate([*labels, len(base)]):
            if label is None:
                waiting.append(index)
            else:
                self.inserted[label] = waiting
                waiting = []
        self.new = {
            cells[index]: label for label, indices in enumerate(self.inserted) for index in indices
        }

    def cell(self, label: int) -> Key | None:
        """What this cell of base has become, None if it was deleted."""
        return self.cells[self.place[label]] if label in self.place else None


def merge(base: Sequence[Key], one: Sequence[Key], other: Sequence[Key]) -> list[Merged]:
    """The Merged cells of the versions `one` and `other` of `base`; raises Conflict."""
    first = _Version(base, one)
    second = _Version(base, other)
    merged: list[Merged] = []
    clashes: list[Clash] = []
    for label, (mine, theirs) in enumerate(zip(first.inserted, second.inserted, strict=True)):
        if not mine or not theirs:
            merged += [Merged(index, None, True) for index in mine]
            merged += [Merged(None, index, False) for index in theirs]
        elif [one[index] for index in mine] == [other[index] for index in theirs]:
            merged += [Merged(*both, True) for both in zip(mine, theirs, strict=True)]
        else:
            clashes.append(Clash("both put cells at this place", None, mine[0], theirs[0]))
        if label == len(base):
            break
        here, there = first.place.get(label), second.place.get(label)
        if why := _clash(base[label], first, second, label):
            clashes.append(Clash(why, label, here, there))
        elif here is not None and there is not None:
            merged.append(Merged(here, there, one[here] != base[label]))
    if clashes:
        raise Conflict(clashes)
    return merged


def _clash(before: Key, first: _Version, second: _Version, label: int) -> str:
    """Why the two versions of a cell of base cannot be merged; empty if they can."""
    mine, theirs = first.cell(label), second.cell(label)
    if mine == theirs:
        moved = mine != before and first.new.get(before) != second.new.get(before)
        return "both moved this cell, or one moved it and the other deleted it" if moved else ""
    if before in (mine, theirs):
        return ""
    if mine is None or theirs is None:
        return "one half changed this cell, the other deleted it"
    return "both changed this cell"

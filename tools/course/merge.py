"""What two versions of a list of cells made of the list that they had in common: a merge of three
lists, in which no edit is lost.

A cell is a tuple whose first two items are its kind and its source. Each version of the list may
insert, delete, move and change cells. What both changed in different ways is a Conflict, never a
guess.
"""

import bisect
import difflib
from collections.abc import Hashable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

SIMILAR = 0.6  # of 1: from here on two sources count as versions of one cell


Key = tuple[Any, ...]
"""A cell: its kind, its source, and whatever else must not get lost."""

Label = int | None
"""The index in the common list of the cell that a cell is a version of; None if it is new."""


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


def align(
    base: Sequence[Key],
    cells: Sequence[Key],
    base_ids: Sequence[Hashable] = (),
    ids: Sequence[Hashable] = (),
) -> list[Label]:
    """For each of `cells` the index of the cell of `base` that it is a version of, or None.

    By id, if both lists have ids that stand once; then by source; then by similarity; then by their
    place, where one cell lies between the same neighbours.
    """
    match: _Match = {}
    if len(set(base_ids)) == len(base) and len(set(ids)) == len(cells):
        place = {name: index for index, name in enumerate(base_ids)}
        match = {index: place[name] for index, name in enumerate(ids) if name in place}
    _match_equal(base, cells, match)
    _match_similar(base, cells, match)
    _match_between_neighbours(base, cells, match)
    return [match.get(index) for index in range(len(cells))]


_Match = MutableMapping[int, int]
"""For the index of a cell that of the cell of the common list that it is a version of."""


def _unmatched(
    base: Sequence[Key], cells: Sequence[Key], match: _Match
) -> tuple[list[int], list[int]]:
    """The indices of the cells of `base`, and of `cells`, that have no partner yet."""
    taken = set(match.values())
    return [index for index in range(len(base)) if index not in taken], [
        index for index in range(len(cells)) if index not in match
    ]


def _match_equal(base: Sequence[Key], cells: Sequence[Key], match: _Match) -> None:
    for exact in (slice(None), slice(2)):
        old, new = _unmatched(base, cells, match)
        matcher = difflib.SequenceMatcher(
            None,
            [base[index][exact] for index in old],
            [cells[index][exact] for index in new],
            autojunk=False,
        )
        for block in matcher.get_matching_blocks():
            match.update({new[block.b + step]: old[block.a + step] for step in range(block.size)})
        old, new = _unmatched(base, cells, match)
        for index in new:  # moved
            if (
                same := next(
                    (other for other in old if base[other][exact] == cells[index][exact]), None
                )
            ) is not None:
                match[index] = same
                old.remove(same)


def _match_similar(base: Sequence[Key], cells: Sequence[Key], match: _Match) -> None:
    old, new = _unmatched(base, cells, match)
    pairs = []
    for index in new:
        matcher = difflib.SequenceMatcher(None, "", cells[index][1], autojunk=False)
        for other in old:
            matcher.set_seq1(base[other][1])
            if (
                matcher.real_quick_ratio() >= SIMILAR
                and matcher.quick_ratio() >= SIMILAR
                and (ratio := matcher.ratio()) >= SIMILAR
            ):
                pairs.append(
                    (base[other][0] != cells[index][0], -ratio, abs(other - index), index, other)
                )
    for *_, index, other in sorted(pairs):
        if index not in match and other not in set(match.values()):
            match[index] = other


def _match_between_neighbours(base: Sequence[Key], cells: Sequence[Key], match: _Match) -> None:
    old, new = _unmatched(base, cells, match)
    anchors = [-1, *sorted(match.values()), len(base)]
    for index in new:
        before = -1 if index == 0 else match.get(index - 1)
        after = len(base) if index == len(cells) - 1 else match.get(index + 1)
        if (
            before is not None
            and after is not None
            and before in anchors
            and after in anchors
            and after - before == 2
            and before + 1 in old
            and base[before + 1][0] == cells[index][0]
        ):
            match[index] = before + 1


class _Gap(NamedTuple):
    """What a version has between two cells of the common list: the indices of these cells, and
    those of what stands between them in the version.
    """

    low: int
    high: int
    indices: list[int]


class _Version:
    """One version of the list `base`.

    `place`: where the cells of base are in it; `stable`: those that keep their order; `gaps`:
    between which cells of base the others stand.
    """

    def __init__(self, base: Sequence[Key], cells: Sequence[Key], labels: Sequence[Label]) -> None:
        self.cells = cells
        self.labels = labels
        self.place = {label: index for index, label in enumerate(labels) if label is not None}
        self.stable = set(_longest_ascending([label for label in labels if label is not None]))
        self.gaps: list[_Gap] = []
        low = -1
        waiting: list[int] = []
        for index, label in enumerate([*labels, len(base)]):
            if label is not None and (label in self.stable or index == len(labels)):
                if waiting:
                    self.gaps.append(_Gap(low, label, waiting))
                low = label
                waiting = []
            else:
                waiting.append(index)

    def tokens(self, gap: _Gap) -> list[Key | int]:
        """What stands in a gap: a cell of base that was moved there, or a new cell."""
        tokens: list[Key | int] = []
        for index in gap.indices:
            label = self.labels[index]
            tokens.append(self.cells[index] if label is None else label)
        return tokens

    def moved(self, label: int) -> bool:
        """Whether this cell of base stands elsewhere in the order."""
        return label in self.place and label not in self.stable


def _longest_ascending(numbers: Sequence[int]) -> list[int]:
    """The longest ascending part of a list of different numbers."""
    tails: list[int] = []
    ends: list[int] = []
    before: dict[int, int | None] = {}
    for number in numbers:
        at = bisect.bisect(tails, number)
        before[number] = ends[at - 1] if at else None
        tails[at : at + 1] = [number]
        ends[at : at + 1] = [number]
    backwards = []
    last = ends[-1] if ends else None
    while last is not None:
        backwards.append(last)
        last = before[last]
    return backwards[::-1]


def merge(
    base: Sequence[Key],
    one: Sequence[Key],
    other: Sequence[Key],
    labels_of_one: Sequence[Label],
    labels_of_other: Sequence[Label],
) -> list[Merged]:
    """The Merged cells of the versions `one` and `other` of `base`; their labels come from align().

    Raises Conflict.
    """
    first = _Version(base, one, labels_of_one)
    second = _Version(base, other, labels_of_other)
    clashes = [
        *filter(None, (_content_clash(label, base, first, second) for label in range(len(base))))
    ]
    # of the first version's gaps, by number, the gap of the second that holds the same
    same: dict[int, _Gap] = {}
    for number, gap in enumerate(first.gaps):
        for twin in second.gaps:
            if max(gap.low, twin.low) >= min(gap.high, twin.high):
                continue
            if number in same or twin in same.values() or first.tokens(gap) != second.tokens(twin):
                where = gap.indices[0], twin.indices[0]
                clashes.append(Clash("both put cells at this place", None, *where))
            else:
                same[number] = twin
    in_both = {
        label
        for number in same
        for label in first.tokens(first.gaps[number])
        if isinstance(label, int)
    }
    clashes += [
        Clash(
            "both moved this cell, to different places",
            label,
            first.place[label],
            second.place[label],
        )
        for label in range(len(base))
        if first.moved(label) and second.moved(label) and label not in in_both
    ]
    if clashes:
        raise Conflict(clashes)
    return list(_put_together(base, first, second, same))


def _content_clash(
    label: int, base: Sequence[Key], first: _Version, second: _Version
) -> Clash | None:
    """Why the two versions of a cell of base are not to be merged; None if they are."""
    here = first.place.get(label)
    there = second.place.get(label)
    if here is None or there is None:
        for version, index in ((first, here), (second, there)):
            if index is not None and (version.cells[index] != base[label] or version.moved(label)):
                return Clash("one half changed this cell, the other deleted it", label, here, there)
        return None
    if (
        base[label] not in (first.cells[here], second.cells[there])
        and first.cells[here] != second.cells[there]
    ):
        return Clash("both changed this cell", label, here, there)
    return None


def _put_together(
    base: Sequence[Key], first: _Version, second: _Version, same: dict[int, _Gap]
) -> Iterator[Merged]:
    def item(label: int) -> Merged:
        here = first.place[label]
        return Merged(here, second.place[label], first.cells[here] != base[label])

    def gap_items(version: _Version, gap: _Gap, twin: _Gap | None = None) -> Iterator[Merged]:
        for position, index in enumerate(gap.indices):
            label = version.labels[index]
            if label is not None:
                if label in first.place and label in second.place:
                    yield item(label)
            elif version is first:
                yield Merged(index, twin.indices[position] if twin else None, True)
            else:
                yield Merged(None, index, False)

    for label in range(-1, len(base)):
        if label in first.stable and label in second.stable:
            yield item(label)
        for number, gap in enumerate(first.gaps):
            if gap.low == label:
                yield from gap_items(first, gap, same.get(number))
        for gap in second.gaps:
            if gap.low == label and gap not in same.values():
                yield from gap_items(second, gap)

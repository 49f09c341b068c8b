"""What two versions of a list of cells made of the list that they had in common: a merge of three
lists, in which no edit is lost.

A cell is a tuple whose first two items are its kind and its source. Each version of the list may
insert, delete, move and change cells. What both changed in different ways is a Conflict, never a
guess.
"""

import bisect
import difflib
from dataclasses import dataclass

SIMILAR = 0.6  # of 1: from here on two sources count as versions of one cell


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
    """The two versions cannot be merged; `clashes` says where."""

    def __init__(self, clashes):
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


def align(base, cells, base_ids=(), ids=()):
    """For each of `cells` the index of the cell of `base` that it is a version of, or None.

    By id, if both lists have ids that stand once; then by source; then by similarity; then by their
    place, where one cell lies between the same neighbours.
    """
    match = {}
    if len(set(base_ids)) == len(base) and len(set(ids)) == len(cells):
        place = {name: index for index, name in enumerate(base_ids)}
        match = {index: place[name] for index, name in enumerate(ids) if name in place}
    _match_equal(base, cells, match)
    _match_similar(base, cells, match)
    _match_between_neighbours(base, cells, match)
    return [match.get(index) for index in range(len(cells))]


def _unmatched(base, cells, match):
    taken = set(match.values())
    return [index for index in range(len(base)) if index not in taken], [
        index for index in range(len(cells)) if index not in match
    ]


def _match_equal(base, cells, match):
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


def _match_similar(base, cells, match):
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


def _match_between_neighbours(base, cells, match):
    old, new = _unmatched(base, cells, match)
    anchors = [-1, *sorted(match.values()), len(base)]
    for index in new:
        before = match.get(index - 1, -1 if index == 0 else None)
        after = match.get(index + 1, len(base) if index == len(cells) - 1 else None)
        if (
            before in anchors
            and after in anchors
            and after - before == 2
            and before + 1 in old
            and base[before + 1][0] == cells[index][0]
        ):
            match[index] = before + 1


class _Version:
    """One version of the list `base`.

    `place`: where the cells of base are in it; `stable`: those that keep their order; `gaps`:
    between which cells of base the others stand, as (low, high, indices).
    """

    def __init__(self, base, cells, labels):
        self.cells, self.labels = cells, labels
        self.place = {label: index for index, label in enumerate(labels) if label is not None}
        self.stable = set(_longest_ascending([label for label in labels if label is not None]))
        self.gaps, low, waiting = [], -1, []
        for index, label in enumerate([*labels, len(base)]):
            if label in self.stable or index == len(labels):
                if waiting:
                    self.gaps.append((low, label, waiting))
                low, waiting = label, []
            else:
                waiting.append(index)

    def tokens(self, gap):
        """What stands in a gap: a cell of base that was moved there, or a new cell."""
        return [
            self.cells[index] if self.labels[index] is None else self.labels[index]
            for index in gap[2]
        ]

    def moved(self, label):
        return label in self.place and label not in self.stable


def _longest_ascending(numbers):
    """The longest ascending part of a list of different numbers."""
    tails, ends, before = [], [], {}
    for number in numbers:
        at = bisect.bisect(tails, number)
        before[number] = ends[at - 1] if at else None
        tails[at : at + 1], ends[at : at + 1] = [number], [number]
    found, number = [], ends[-1] if ends else None
    while number is not None:
        found.append(number)
        number = before[number]
    return found[::-1]


def merge(base, one, other, labels_of_one, labels_of_other):
    """The Merged cells of the versions `one` and `other` of `base`; their labels come from align().

    Raises Conflict.
    """
    first, second = _Version(base, one, labels_of_one), _Version(base, other, labels_of_other)
    clashes = [
        *filter(None, (_content_clash(label, base, first, second) for label in range(len(base))))
    ]
    same = {}  # of the first version's gaps, by number, the gap of the second that holds the same
    for number, gap in enumerate(first.gaps):
        for twin in (twin for twin in second.gaps if max(gap[0], twin[0]) < min(gap[1], twin[1])):
            if number in same or twin in same.values() or first.tokens(gap) != second.tokens(twin):
                clashes.append(Clash("both put cells at this place", None, gap[2][0], twin[2][0]))
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


def _content_clash(label, base, first, second):
    here, there = first.place.get(label), second.place.get(label)
    if here is None and there is None:
        return None
    if here is None or there is None:
        version, index = (second, there) if here is None else (first, here)
        if version.cells[index] != base[label] or version.moved(label):
            return Clash("one half changed this cell, the other deleted it", label, here, there)
        return None
    if (
        base[label] not in (first.cells[here], second.cells[there])
        and first.cells[here] != second.cells[there]
    ):
        return Clash("both changed this cell", label, here, there)
    return None


def _put_together(base, first, second, same):
    def item(label):
        here, there = first.place[label], second.place[label]
        return Merged(here, there, first.cells[here] != base[label])

    def gap_items(version, gap, twin=None):
        for position, index in enumerate(gap[2]):
            label = version.labels[index]
            if label is not None:
                if label in first.place and label in second.place:
                    yield item(label)
            elif version is first:
                yield Merged(index, twin[2][position] if twin else None, True)
            else:
                yield Merged(None, index, False)

    for label in range(-1, len(base)):
        if label in first.stable and label in second.stable:
            yield item(label)
        for number, gap in enumerate(first.gaps):
            if gap[0] == label:
                yield from gap_items(first, gap, same.get(number))
        for gap in second.gaps:
            if gap[0] == label and gap not in same.values():
                yield from gap_items(second, gap)

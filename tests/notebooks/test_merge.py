"""A merge of two edited lists of cells loses no edit, whatever the edits are."""

import collections
import random

import pytest

from tools.course import merge

WORDS = ("node", "queue", "kernel", "module", "memory", "partition", "result", "table", "value")
EDITS = ["change"] * 4 + ["insert", "delete", "delete", "move", "again"]


class Writer:
    """Edits lists of cells at random: each word that it adds stands nowhere else."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.number = 0

    def word(self):
        self.number += 1
        return f"w{self.number}"

    def cell(self):
        words = [*self.chance.choices(WORDS, k=8), self.word()]
        return self.chance.choice(["markdown", "code"]), " ".join(words)

    def cells(self):
        return [self.cell() for _ in range(self.chance.randrange(4, 10))]

    def edited(self, base, edits=EDITS, most=5):
        """A copy of the list `base` with one to `most` of these edits, and where in `base` each of
        its cells comes from, None for a new one. With "again" a cell stands twice.
        """
        cells = list(enumerate(base))
        for _ in range(self.chance.randint(1, most)):
            at = self.chance.randrange(len(cells))
            place = self.chance.randrange(len(cells) + 1)
            origin, (kind, source) = cells[at]
            edit = self.chance.choice(edits) if len(cells) > 2 else "insert"
            if edit == "insert":
                cells.insert(place, (None, self.cell()))
            elif edit == "again":
                cells.insert(place, cells[at])
            elif edit == "delete":
                del cells[at]
            elif edit == "move":
                cells.insert(self.chance.randrange(len(base)), cells.pop(at))
            elif edit == "rewrite":
                cells[at] = origin, (kind, self.word())
            else:
                words = source.split()
                words[self.chance.randrange(len(words))] = self.word()
                cells[at] = origin, (kind, " ".join(words))
        return [cell for _, cell in cells], [origin for origin, _ in cells]


def merged(base, one, other):
    """The cells of the merge. Raises merge.Conflict."""
    items = merge.merge(base, one, other)
    return [one[item.one] if item.first else other[item.other] for item in items]


def lost(base, one, other, result):
    """The cells that `result` has not as often as the one version that changed their number."""
    count = [collections.Counter(cells) for cells in (base, one, other, result)]
    for cell in set().union(*count):
        was, first, second, now = (cells[cell] for cells in count)
        if max(was, first, second) > 1:  # each version may have put it at another place
            good = now > 0 or (was > 0 and min(first, second) < was)
        else:
            both_made_it = (was, first, second, now) == (0, 1, 1, 2)
            good = both_made_it or now == (first if was == second else second)
        if not good:
            yield cell, was, first, second, now


def in_order(origins):
    known = [origin for origin in origins if origin is not None]
    return known == sorted(known)


def same_order(one, other):
    """Whether the cells that stand once in both lists stand in the same order."""
    counts = collections.Counter(one), collections.Counter(other)
    once = {cell for cell in one if counts[0][cell] == counts[1][cell] == 1}
    return [cell for cell in one if cell in once] == [cell for cell in other if cell in once]


def test_no_edit_is_lost_and_no_order_changes_by_itself():
    """1,000 pairs of versions, edited at random. A merge may refuse, as a person then decides; but
    where only one version was edited it never does.
    """
    outcomes = collections.Counter()
    for seed in range(1000):
        writer = Writer(seed)
        base = writer.cells()
        one, origins_of_one = writer.edited(base)
        other, origins_of_other = writer.edited(base)
        assert merged(base, one, base) == one and merged(base, base, other) == other, seed
        try:
            result = merged(base, one, other)
        except merge.Conflict:
            outcomes["refused"] += 1
            continue
        outcomes["merged"] += 1
        assert list(lost(base, one, other, result)) == [], seed
        # Where one version alone has moved cells, its order counts.
        assert same_order(result, one) or not in_order(origins_of_other), seed
        assert same_order(result, other) or not in_order(origins_of_one), seed
    assert min(outcomes["merged"], outcomes["refused"]) > 150, outcomes


@pytest.mark.parametrize(
    "edit, most", {"insert": 3, "delete": 2, "change": 3, "rewrite": 1}.items()
)
def test_a_cell_is_known_after_an_edit(edit, most):
    """By its source, after a small change by its likeness, and after a large one by its place. What
    Markdown cannot hold, outputs and images, stays with it so.
    """
    for seed in range(100):
        writer = Writer(seed)
        base = writer.cells()
        cells, origins = writer.edited(base, [edit], most)
        assert merge.align(base, cells) == origins, seed

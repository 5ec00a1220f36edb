"""Which positions of two texts correspond: equal tokens, and stretches of other tokens of the same length."""

from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher

import numpy as np

Pair = tuple[int | None, int | None]
"""A place in one text and the place in another that corresponds to it; None if there is none."""

_GAP, _UNLIKE = 2, 3
"""What it costs to leave a token out, and to set two unlike ones against each other: less than two gaps."""

_MOST = 4_000_000
"""Pairs of places up to which all alignments are weighed; beyond, the longest equal stretches are taken."""


def aligned(one: Sequence[Hashable], other: Sequence[Hashable]) -> list[Pair]:
    """Every place of both, in order, each with what corresponds to it.

    Equal tokens are brought together so that as few as possible are left out. A stretch of other tokens between them is
    set against the other text's stretch if both have the same length, and else has no counterpart.

    >>> aligned("the cat sat".split(), "the old dog sat".split())
    [(0, 0), (1, None), (None, 1), (None, 2), (2, 3)]
    """
    pairs: list[Pair] = []
    equal = [*_equal(one, other), (len(one), len(other))]
    here, there = 0, 0
    for end, finish in equal:
        if end - here == finish - there:
            pairs += zip(range(here, end), range(there, finish), strict=True)
        else:
            pairs += [(place, None) for place in range(here, end)]
            pairs += [(None, place) for place in range(there, finish)]
        pairs.append((end, finish))
        here, there = end + 1, finish + 1
    return pairs[:-1]


def _equal(one: Sequence[Hashable], other: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The places of equal tokens that are brought together, in order."""
    before = common(one, other)
    after = common(one[before:][::-1], other[before:][::-1])
    inner = [each[before : len(each) - after] for each in (one, other)]
    if len(inner[0]) * len(inner[1]) > _MOST:
        blocks = SequenceMatcher(None, inner[0], inner[1], autojunk=False).get_matching_blocks()
        found = [(start + step, begin + step) for start, begin, size in blocks for step in range(size)]
    else:
        found = _cheapest(*inner)
    ends = [(len(one) - step, len(other) - step) for step in range(after, 0, -1)]
    return (
        [(place, place) for place in range(before)] + [(here + before, there + before) for here, there in found] + ends
    )


def common(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """How many tokens at the beginning of two texts are the same."""
    unlike = (place for place, (here, there) in enumerate(zip(one, other, strict=False)) if here != there)
    return next(unlike, min(len(one), len(other)))


def _cheapest(one: Sequence[Hashable], other: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The places of equal tokens in the cheapest alignment."""
    numbers = {token: number for number, token in enumerate(dict.fromkeys([*one, *other]))}
    here, there = (np.array([numbers[token] for token in each], dtype=np.int64) for each in (one, other))
    steps = _GAP * np.arange(len(there) + 1)
    costs = np.empty((len(here) + 1, len(there) + 1), dtype=np.int32)
    costs[0] = steps
    for place, token in enumerate(here):
        set_against = costs[place, :-1] + np.where(there == token, 0, _UNLIKE)
        row = costs[place] + _GAP
        row[1:] = np.minimum(row[1:], set_against)
        costs[place + 1] = np.minimum.accumulate(row - steps) + steps  # skipped tokens of the other text
    found = []
    row, column = len(here), len(there)
    while row and column:
        equal = here[row - 1] == there[column - 1]
        if costs[row, column] == costs[row - 1, column - 1] + (0 if equal else _UNLIKE):
            row, column = row - 1, column - 1
            if equal:
                found.append((row, column))
        elif costs[row, column] == costs[row - 1, column] + _GAP:
            row -= 1
        else:
            column -= 1
    return found[::-1]

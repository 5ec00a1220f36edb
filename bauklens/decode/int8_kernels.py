"""One pass over products of int8, which numba compiles; imported by :mod:`bauklens.decode.compiled_pass` only.

Like :mod:`bauklens.decode.pass_kernels`, but logits are computed from whole numbers, and each has a margin: how far it
may lie below the truth.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bauklens.decode.kernel_parts import (
    SMALLEST,
    bfloat16_of,
    choose_groups,
    choose_member,
    ends_of,
    least_reached,
    power_of_two,
    put,
    total_of,
)

Array = NDArray[Any]

PARTS = "386c6cd03600"
"""The hash of kernel_parts.py, to change with it: numba recompiles a module only if its own file changes."""

_GROUP = 16
"""Members of a group; some have one more if the vocabulary is not a multiple of this."""

_SAFE = np.float32(120)
"""Bits above the number that is subtracted from all logits, up to which powers are finite."""

_FARTHEST = np.float32(86)
"""Bits: the largest logit, if it determines the number that is subtracted from all logits."""

_FOUND = np.int32(-(1 << 31))
"""The product of a token that was found; no other is as low."""


@njit(inline="always", error_model="numpy", fastmath={"contract"})
def _logit(product: Any, scale: Any, bias: Array, token: Any) -> Any:
    """One logit, of a product and the product of its row's and its token's scale."""
    logit = np.float32(product) * scale
    return logit + bias[token] if len(bias) else logit


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "nnan"})
def _largest_of_some(products: Array, scale: Any, scales: Array, bias: Array, number: int) -> Any:
    """The largest of the first tokens that have a finite logit."""
    for start in range(0, len(products), number):
        highest = np.float32(-np.inf)
        for token in range(start, min(start + number, len(products))):
            highest = max(highest, _logit(products[token], scale * scales[token], bias, token))
        if np.isfinite(highest):
            return highest
    return np.float32(-np.inf)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _sums(
    products: Array,
    scale: Any,
    margin: Any,
    scales: Array,
    margins: Array,
    bias: Array,
    less: Any,
    reach: Array,
    masses: Array,
    weighted: Array,
) -> None:
    """For every group: the largest logit with its margin, the sum of powers, and that of powers times logits."""
    number = len(reach)
    reach[:], masses[:], weighted[:] = -np.inf, 0, 0
    for start in range(0, len(products), number):
        stop = min(start + number, len(products))
        whole, by, off, some = products[start:stop], scales[start:stop], margins[start:stop], bias[start:stop]
        for group in range(stop - start):
            logit = _logit(whole[group], scale * by[group], some, group)
            reach[group] = max(reach[group], logit + margin * off[group])
            low = max(logit - less, SMALLEST)
            power = power_of_two(low)
            masses[group] += power
            weighted[group] += power * low


@njit(cache=True, nogil=True, error_model="numpy")
def survey(
    products: Array,
    row_scales: Array,
    row_margins: Array,
    scales: Array,
    margins: Array,
    bias: Array,
    places: Array,
    lowest: float,
    found: Array,
    ids: Array,
    sums: Array,
    drawn_ids: Array,
    drawn: Array,
    kept: Array,
) -> None:
    """The tokens of each row that may be the largest, sums over the rest, and tokens that are drawn from it.

    A row whose numbers are not all finite, or that has too few tokens whose logits are, has NaN for every sum.

    Args:
        products: (row, vocabulary) int32; those of tokens that are found are overwritten.
        row_scales: (row,) float32; a logit is the product times the row's and the token's scale, and the bias.
        row_margins: (row,) float32; a token's true logit is higher by at most the product of both margins.
        scales: (vocabulary,) float32.
        margins: (vocabulary,) float32.
        bias: (vocabulary,) float32, bits; empty if there is none.
        places: (2, draw) float32, 0..1, the places to draw: along the mass of the groups, rising, and in each group.
        lowest: what the logits that are found become among those that are kept.
        found: (row, count) float32, to write to: the logits that are highest with their margins added.
        ids: (row, count) int64, to write to: theirs.
        sums: (row, 5) float32, to write to: the mass of the rest; the rest's logits weighted with it; what is taken
            from all logits, here and in all other results; what no other token reaches with its margin; and the least
            that a group reaches.
        drawn_ids: (row, draw) int64, to write to; -1 if there is nothing to draw.
        drawn: (row, draw) float32, to write to: the logits of what was drawn.
        kept: (row, vocabulary) uint16, to write to: all logits as bits of bfloat16; or empty.
    """
    vocabulary, count = products.shape[1], found.shape[1]
    number = max(vocabulary // _GROUP, 1)
    most = -(-vocabulary // number)
    reach, masses, weighted = np.empty(number, np.float32), np.empty(number, np.float32), np.empty(number, np.float32)
    heap, members, inside = np.empty(count, np.float32), np.empty(most, np.float32), np.empty(most, np.float32)
    for row in range(len(products)):
        whole, tokens, scale, margin = products[row], ids[row], row_scales[row], row_margins[row]
        found[row], tokens[:], drawn_ids[row], drawn[row], heap[:] = np.nan, 0, -1, 0, -np.inf
        less = _largest_of_some(whole, scale, scales, bias, number)
        _sums(whole, scale, margin, scales, margins, bias, less, reach, masses, weighted)
        ends = ends_of(reach)
        if ends[1] > less + _SAFE:
            less = ends[1] - _FARTHEST
            _sums(whole, scale, margin, scales, margins, bias, less, reach, masses, weighted)
        least = least_reached(reach, ends, count)
        for group in range(number):
            if reach[group] >= least:
                for token in range(group, vocabulary, number):
                    reached = _logit(whole[token], scale * scales[token], bias, token) + margin * margins[token]
                    if reached >= least and reached > heap[0]:
                        put(heap, tokens, reached, token)
        if not (np.isfinite(less) and np.isfinite(heap[0]) and np.isfinite(ends[1]) and np.isfinite(margin)):
            sums[row] = np.nan
            continue
        for place in range(count):
            token, group = tokens[place], tokens[place] % number
            logit = _logit(whole[token], scale * scales[token], bias, token) - less
            low = max(logit, SMALLEST)
            power = power_of_two(low)
            masses[group] = max(masses[group] - power, np.float32(0))
            weighted[group] -= power * low
            found[row, place], whole[token] = logit, _FOUND
        sums[row, 0], sums[row, 1], sums[row, 2] = total_of(masses), total_of(weighted), less
        sums[row, 3], sums[row, 4] = heap[0] - less, ends[0] - less
        choose_groups(masses, places[0], drawn_ids[row])
        for each in range(places.shape[1]):
            group = drawn_ids[row, each]
            there = 0
            for token in range(group, vocabulary, number):
                logit = _logit(whole[token], scale * scales[token], bias, token) - less
                members[there] = lowest if whole[token] == _FOUND else logit
                there += 1
            member = choose_member(members[:there], places[1, each], inside)
            drawn_ids[row, each] = member * number + group if member >= 0 else -1
            drawn[row, each] = members[member]
        if len(kept):
            bits = kept[row]
            for token in range(vocabulary):
                bits[token] = bfloat16_of(_logit(whole[token], scale * scales[token], bias, token) - less)
            for place in range(count):
                bits[tokens[place]] = bfloat16_of(lowest)

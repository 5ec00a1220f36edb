"""One pass over products of int8, which numba compiles; imported by :mod:`bauklens.decode.compiled` only.

As :mod:`bauklens.decode.pass_kernels`, but for logits that are made of whole numbers on the way, and for margins: how
far each may lie below the truth.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bauklens.decode.kernel_parts import SMALLEST, bfloat16_of, draw, least_reached, power_of_two, put, total_of

Array = NDArray[Any]

_GROUP = 32
"""Members of a group, and one more of some if the vocabulary is no multiple of it."""


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _logits_of(
    products: Array, scale: Any, margin: Any, scales: Array, margins: Array, bias: Array, row: Array, reach: Array
) -> None:
    """A row's logits, and the largest of each group with their margins."""
    number = len(reach)
    reach[:] = -np.inf
    for start in range(0, len(row), number):
        stop = min(start + number, len(row))
        whole, by, off, into = products[start:stop], scales[start:stop], margins[start:stop], row[start:stop]
        for group in range(stop - start):
            into[group] = np.float32(whole[group]) * (scale * by[group])
        if len(bias):
            some = bias[start:stop]
            for group in range(stop - start):
                into[group] += some[group]
        for group in range(stop - start):
            reach[group] = max(reach[group], into[group] + margin * off[group])


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _highest(row: Array, highs: Array) -> Any:
    """The largest logit; many lie side by side, as one maximum after another would be slow."""
    highs[:] = -np.inf
    for start in range(0, len(row), len(highs)):
        some = row[start : start + len(highs)]
        for place in range(len(some)):
            highs[place] = max(highs[place], some[place])
    return highs.max()


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _masses(row: Array, high: Any, masses: Array, weighted: Array) -> None:
    """The logits less the highest, and of every group the sums of their powers, and of these times the logits."""
    number = len(masses)
    masses[:], weighted[:] = 0, 0
    for start in range(0, len(row), number):
        some = row[start : start + number]
        for group in range(len(some)):
            some[group] -= high
            low = max(some[group], SMALLEST)
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

    A row that has a NaN or an infinite logit, or too few finite ones, has NaN for every sum.

    Args:
        products: (row, vocabulary) int32.
        row_scales: (row,) float32; a logit is the product times the row's and the token's scale, and the bias.
        row_margins: (row,) float32; a token's logit in truth is higher by no more than the product of both margins.
        scales: (vocabulary,) float32.
        margins: (vocabulary,) float32.
        bias: (vocabulary,) float32, bits; empty if there is none.
        places: (2, draw) float32, 0..1: where to draw, along the mass of the groups, rising, and inside each group.
        lowest: what the logits that are found become.
        found: (row, count) float32, to write to: those that reach highest with their margins, less the highest logit.
        ids: (row, count) int64, to write to: theirs.
        sums: (row, 5) float32, to write to: the mass of the rest, the rest's logits weighted with it, the highest
            logit, and, less this, what all others with their margins reach at most, and the least that a group reaches.
        drawn_ids: (row, draw) int64, to write to; -1 if there is nothing to draw.
        drawn: (row, draw) float32, to write to: the logits of what was drawn, less the highest.
        kept: (row, vocabulary) uint16, to write to: all logits less the highest, as bits of bfloat16; or empty.
    """
    vocabulary, count = products.shape[1], found.shape[1]
    number = vocabulary // _GROUP
    row, reach, masses = np.empty(vocabulary, np.float32), np.empty(number, np.float32), np.empty(number, np.float32)
    weighted, heap = np.empty(number, np.float32), np.empty(count, np.float32)
    for each in range(len(products)):
        margin, tokens = row_margins[each], ids[each]
        _logits_of(products[each], row_scales[each], margin, scales, margins, bias, row, reach)
        high = _highest(row, masses)
        least = least_reached(reach, reach.max(), count)
        heap[:], tokens[:], drawn_ids[each], drawn[each] = -np.inf, 0, -1, 0
        for group in range(number):
            if reach[group] >= least:
                for token in range(group, vocabulary, number):
                    reached = row[token] + margin * margins[token]
                    if reached >= least and reached > heap[0]:
                        put(heap, tokens, reached, token)
        if not np.isfinite(high) or not np.isfinite(heap[0]) or not np.isfinite(margin):
            sums[each], found[each] = np.nan, np.nan
            continue
        _masses(row, high, masses, weighted)
        for place in range(count):
            logit, group = row[tokens[place]], tokens[place] % number
            low = max(logit, SMALLEST)
            power = power_of_two(low)
            masses[group] = max(masses[group] - power, np.float32(0))
            weighted[group] -= power * low
            found[each, place], row[tokens[place]] = logit, lowest
        sums[each, 0], sums[each, 1], sums[each, 2] = total_of(masses), total_of(weighted), high
        sums[each, 3], sums[each, 4] = heap[0] - high, reach.min() - high
        draw(row, np.float32(0), masses, places, drawn_ids[each], drawn[each])
        if len(kept):
            bits = kept[each]
            for token in range(vocabulary):
                bits[token] = bfloat16_of(row[token])

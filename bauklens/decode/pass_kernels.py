"""One pass over the logits of a row, which numba compiles; imported by :mod:`bauklens.decode.compiled` only.

Most rows are read while their logits are in a core's cache. The vocabulary is split into groups: a token's id is
``member * groups + group``, so that the numbers of all groups are next to each other in memory, and a processor sums or
compares many of them at once.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bauklens.decode.kernel_parts import (
    LOWEST,
    SMALLEST,
    choose_groups,
    choose_member,
    ends_of,
    float_of,
    least_reached,
    log_of_two,
    power_of_e,
    power_of_two,
    put,
    sort,
    total_of,
)

Array = NDArray[Any]

PARTS = "386c6cd03600"
"""The hash of kernel_parts.py, to change with it: numba recompiles a module only if its own file changes."""

_GROUP = 32
"""Members of a group; as :data:`bauklens.decode.rounding.GROUP`."""

_FARTHEST = np.float32(86)
"""Bits; as :data:`bauklens.decode.rest.FARTHEST`."""

_COMPARED = 2048
"""How many logits are added in single precision, so that they stay in a core's cache."""

_TINY = np.float32(2.0**-126)
"""The least probability that counts."""


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _sums(row: Array, less: Any, largest: Array, masses: Array, weighted: Array) -> Any:
    """For every group: the largest logit, the sum of powers, and of powers times logits; whether all are numbers."""
    number = len(largest)
    largest[:], masses[:], weighted[:] = -np.inf, 0, 0
    odd = np.uint16(0)
    for member in range(_GROUP):
        some = row[member * number : (member + 1) * number]
        for group in range(number):
            logit = float_of(some[group])
            largest[group] = max(largest[group], logit)
            odd = max(odd, np.uint16(some[group] & np.uint16(0x7FFF)))
            low = max(logit - less, SMALLEST)
            power = power_of_two(low)
            masses[group] += power
            weighted[group] += power * low
    return odd <= np.uint16(0x7F80)


@njit(cache=True, nogil=True, error_model="numpy")
def survey(
    logits: Array, places: Array, lowest: int, found: Array, ids: Array, sums: Array, drawn_ids: Array, drawn: Array
) -> None:
    """The largest logits of each row, sums over the rest, and tokens that are drawn from it.

    A row that has a NaN or an infinite logit has NaN for every sum.

    Args:
        logits: (row, padded vocabulary) uint16, the bits of bfloat16; those of the largest are overwritten.
        places: (2, draw) float32, 0..1, the places to draw: along the mass of the groups, rising, and in each group.
        lowest: uint16, the bits of what the largest become.
        found: (row, count) float32, to write to: the largest, largest first.
        ids: (row, count) int64, to write to: theirs.
        sums: (row, 5) float32, to write to: the mass of the rest, the rest's logits weighted with it, what was taken
            from all logits for both, and the largest and the smallest of all groups' largest logits.
        drawn_ids: (row, draw) int64, to write to; -1 if there is nothing to draw.
        drawn: (row, draw) float32, to write to: the logits of what was drawn.
    """
    number, count = logits.shape[1] // _GROUP, found.shape[1]
    largest, masses, weighted = np.empty(number, np.float32), np.empty(number, np.float32), np.empty(number, np.float32)
    members, inside = np.empty(_GROUP, np.float32), np.empty(_GROUP, np.float32)
    for row in range(len(logits)):
        bits, less = logits[row], np.float32(0)
        are_numbers = _sums(bits, less, largest, masses, weighted)
        ends = ends_of(largest)
        high = ends[1]
        found[row], ids[row], drawn_ids[row], drawn[row] = -np.inf, 0, -1, 0
        if not are_numbers or high == np.inf:
            sums[row] = np.nan
            continue
        if high > _FARTHEST:
            less = high - _FARTHEST
            _sums(bits, less, largest, masses, weighted)
        sums[row, 2], sums[row, 3], sums[row, 4] = less, high, ends[0]
        best, tokens, least = found[row], ids[row], least_reached(largest, ends, count)
        for group in range(number):
            if largest[group] >= least:
                for token in range(group, len(bits), number):
                    logit = float_of(bits[token])
                    if logit >= least and logit > best[0]:
                        put(best, tokens, logit, token)
        sort(best, tokens)
        for each in range(count):
            low, group = max(best[each] - less, SMALLEST), tokens[each] % number
            power = power_of_two(low)
            masses[group] = max(masses[group] - power, np.float32(0))
            weighted[group] -= power * low
            bits[tokens[each]] = lowest
        sums[row, 0], sums[row, 1] = total_of(masses), total_of(weighted)
        choose_groups(masses, places[0], drawn_ids[row])
        for each in range(places.shape[1]):
            group = drawn_ids[row, each]
            for member in range(_GROUP):
                members[member] = float_of(bits[member * number + group]) - less
            member = choose_member(members, places[1, each], inside)
            drawn_ids[row, each] = member * number + group if member >= 0 else -1
            drawn[row, each] = members[member] + less


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def score(inputs: Array, weights: Array, bias: Array, ids: Array, scores: Array) -> None:
    """The logits of some tokens of each row.

    Args:
        inputs: (row, width) float32.
        weights: (vocabulary, width) float32.
        bias: (vocabulary,) float32.
        ids: (row, token) int64.
        scores: (row, token) float32, to write to.
    """
    for row in range(len(inputs)):
        for each in range(ids.shape[1]):
            weight, total = weights[ids[row, each]], np.float32(0)
            for place in range(inputs.shape[1]):
                total += inputs[row, place] * weight[place]
            scores[row, each] = total + bias[ids[row, each]]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _maxima(row: Array, largest: Array) -> Any:
    """The largest logit of every group, as far as groups go; whether these and the rest are numbers."""
    number, odd = len(largest), np.int32(0)
    largest[:] = -np.inf
    for start in range(0, len(row), number):
        some = row[start : start + number]
        for group in range(len(some)):
            largest[group] = max(largest[group], some[group])
            odd += np.int32(some[group] != some[group])
    return odd == 0


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _masses(row: Array, high: Any, masses: Array, weighted: Array) -> None:
    number = len(masses)
    masses[:], weighted[:] = 0, 0
    for start in range(0, len(row), number):
        some = row[start : start + number]
        for group in range(len(some)):
            low = max(some[group] - high, LOWEST)
            power = power_of_e(low)
            masses[group] += power
            weighted[group] += power * low


@njit(cache=True, nogil=True, error_model="numpy")
def summarize(logits: Array, number: int, found: Array, ids: Array, sums: Array) -> None:
    """The largest logits of each row, and sums over all of them.

    A row that has a NaN, or no logit that is finite, has NaN for every sum.

    Args:
        logits: (row, vocabulary) float32.
        number: of groups, more than what is to be found.
        found: (row, count) float32, to write to: the largest, largest first.
        ids: (row, count) int64, to write to: theirs.
        sums: (row, 2) float64, to write to: the sum of exp(logit - largest), and that of these times logit - largest.
    """
    largest, masses, weighted = np.empty(number, np.float32), np.empty(number, np.float32), np.empty(number, np.float32)
    for row in range(len(logits)):
        values, best, tokens = logits[row], found[row], ids[row]
        are_numbers = _maxima(values, largest)
        ends = ends_of(largest)
        high, least = ends[1], least_reached(largest, ends, len(best))
        best[:], tokens[:] = -np.inf, -1
        for group in range(number):
            if largest[group] >= least:
                for token in range(group, len(values), number):
                    if values[token] >= least and values[token] > best[0]:
                        put(best, tokens, values[token], token)
        sort(best, tokens)
        token = 0
        for each in range(len(tokens)):  # used if fewer logits are finite
            if tokens[each] < 0:
                while values[token] > -np.inf:
                    token += 1
                tokens[each] = token
                token += 1
        if not are_numbers or not np.isfinite(high):
            sums[row] = np.nan
            continue
        _masses(values, high, masses, weighted)
        sums[row, 0], sums[row, 1] = total_of(masses), total_of(weighted)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _compared(logits: Array, less: Any, factor: Any, normalizer: Any, own: Array) -> Any:
    total = np.float32(0)
    for place in range(len(logits)):
        low = max((float_of(logits[place]) - less) * factor - normalizer, SMALLEST)
        power = power_of_two(low)
        both = own[place] + power
        total += power * low - both * (log_of_two(max(both, _TINY)) - np.float32(1))
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def compare(logits: Array, scales: Array, factor: float, own: Array, columns: Array, sums: Array) -> None:
    """Sets each row beside what the model itself says, token by token.

    Args:
        logits: (row, vocabulary) float32, or uint16, the bits of bfloat16; there may be more tokens than are compared.
        scales: (row, 2) float32; the log of a token's probability q, in bits, is its logit less the first, times the
            factor, less the second.
        factor: float32, bits for each unit of the logits.
        own: (column, vocabulary) float32, the model's own probabilities p.
        columns: (row,) int64, which of these a row is set beside.
        sums: (row,) float64, to write to: the sum of q log q - (p + q) log((p + q) / 2), in bits.
    """
    vocabulary = own.shape[1]
    for row in range(len(logits)):
        probabilities, sums[row] = own[columns[row]], 0
        for start in range(0, vocabulary, _COMPARED):
            some = slice(start, min(start + _COMPARED, vocabulary))
            sums[row] += _compared(logits[row, some], scales[row, 0], factor, scales[row, 1], probabilities[some])

"""One pass over the logits of a row, which numba compiles; imported by :mod:`bauklens.decode.compiled` only.

What is read of most rows is found while their logits are in a core's cache. The vocabulary is looked at in groups: a
token's id is ``member * groups + group``, so that what is summed or compared of all groups lies side by side in memory,
and a processor does it for many of them at once.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Array = NDArray[Any]

_GROUP = 32
"""Members of a group; as :data:`bauklens.decode.rounding.GROUP`."""

_FARTHEST = np.float32(86)
"""Bits; as :data:`bauklens.decode.rest.FARTHEST`."""

_SMALLEST = np.float32(-126)
"""Bits: what lies lower is taken for this, as its power adds nothing."""

_LEFT_OUT = np.float32(-1e29)
"""What lies lower was one of the largest."""

_HALVINGS, _MORE = 20, 8
"""Of the range of the largest logits of all groups, until no more than so many are left over."""

_LOWEST = np.float32(-87)
"""Nats: what lies lower is taken for this, as its exponential adds nothing."""

_LOG2E, _LN2 = np.float32(1.4426950408889634), 0.6931471805599453
_LN2_HIGH = np.float32(0.693359375)
"""Of nine bits, so that its product with a whole number is exact."""
_LN2_LOW = np.float32(_LN2 - 0.693359375)

_E2, _E3, _E4, _E5, _E6, _E7 = (np.float32(1 / factorial) for factorial in (2, 6, 24, 120, 720, 5040))
"""Of the series of e^x, which is off by 5e-9 of it at log(2) / 2, where it ends."""

_ONE = np.float32(1)


def _as_float(typingctx: Any, bits: Any) -> Any:  # noqa: ARG001
    """The float32 of these bits, of four bytes, or of two as a bfloat16 has them."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        found, wide = args[0], context.get_value_type(types.int32)
        if bits == types.uint16:
            found = builder.shl(builder.zext(found, wide), wide(16))
        return builder.bitcast(found, context.get_value_type(types.float32))

    return types.float32(bits), codegen


_float_of: Any = intrinsic(_as_float)


@njit(inline="always", error_model="numpy", fastmath={"contract"})
def _exponential(part: Any, whole: Any) -> Any:
    """e to the part, -log(2) / 2 .. log(2) / 2, times 2 to the whole number, -126 .. 127."""
    series = _E7
    series = series * part + _E6
    series = series * part + _E5
    series = series * part + _E4
    series = series * part + _E3
    series = series * part + _E2
    series = series * part + _ONE
    series = series * part + _ONE
    return series * _float_of(np.int32(np.int32(whole + np.int32(127)) << np.int32(23)))


@njit(inline="always", error_model="numpy", fastmath={"contract"})
def _nearest(number: Any) -> Any:
    """The whole number that is nearest to one above -200."""
    return np.int32(np.int32(number + np.float32(200.5)) - np.int32(200))


@njit(inline="always", error_model="numpy", fastmath={"contract"})
def _power_of_two(bits: Any) -> Any:
    whole = _nearest(bits)
    return _exponential((bits - np.float32(whole)) * np.float32(_LN2), whole)


@njit(inline="always", error_model="numpy", fastmath={"contract"})
def _power_of_e(nats: Any) -> Any:
    whole = _nearest(nats * _LOG2E)
    return _exponential((nats - np.float32(whole) * _LN2_HIGH) - np.float32(whole) * _LN2_LOW, whole)


@njit(cache=True, nogil=True, error_model="numpy")
def _total(numbers: Array) -> Any:
    """Their sum, in float64."""
    total = np.float64(0)
    for place in range(len(numbers)):
        total += numbers[place]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _put(heap: Array, ids: Array, logit: Any, token: Any) -> None:
    """Puts a logit in the place of the least of a heap, which comes first."""
    place, child = 0, 1
    while child < len(heap):
        if child + 1 < len(heap) and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= logit:
            break
        heap[place], ids[place] = heap[child], ids[child]
        place, child = child, 2 * child + 1
    heap[place], ids[place] = logit, token


@njit(cache=True, nogil=True, error_model="numpy")
def _sort(heap: Array, ids: Array) -> None:
    """Largest first."""
    for place in range(1, len(heap)):
        logit, token, before = heap[place], ids[place], place
        while before > 0 and heap[before - 1] < logit:
            heap[before], ids[before] = heap[before - 1], ids[before - 1]
            before -= 1
        heap[before], ids[before] = logit, token


@njit(cache=True, nogil=True, error_model="numpy")
def _count(numbers: Array, least: Any) -> Any:
    """How many are no less."""
    total = np.int32(0)
    for place in range(len(numbers)):
        total += np.int32(numbers[place] >= least)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _least(largest: Array, high: Any, count: int) -> Any:
    """A number that the largest logits of so many groups reach, and those of few others: found by halving."""
    low = max(largest.min(), high - _FARTHEST)
    if _count(largest, low) < count:
        return np.float32(-np.inf)
    for _ in range(_HALVINGS):
        middle = np.float32(0.5) * (low + high)
        reached = _count(largest, middle)
        if reached < count:
            high = middle
        else:
            low = middle
            if reached <= count + _MORE:
                break
    return low


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _sums(row: Array, less: Any, largest: Array, masses: Array, weighted: Array) -> Any:
    """Of every group the largest logit, the powers' sum, and that of powers times logits; whether all are numbers."""
    number = len(largest)
    largest[:], masses[:], weighted[:] = -np.inf, 0, 0
    odd = np.uint16(0)
    for member in range(_GROUP):
        some = row[member * number : (member + 1) * number]
        for group in range(number):
            logit = _float_of(some[group])
            largest[group] = max(largest[group], logit)
            odd = max(odd, np.uint16(some[group] & np.uint16(0x7FFF)))
            low = max(logit - less, _SMALLEST)
            power = _power_of_two(low)
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
        places: (2, draw) float32, 0..1: where to draw, along the mass of the groups, rising, and inside each group.
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
    for row in range(len(logits)):
        bits, less = logits[row], np.float32(0)
        are_numbers = _sums(bits, less, largest, masses, weighted)
        high = largest.max()
        found[row], ids[row], drawn_ids[row], drawn[row] = -np.inf, 0, -1, 0
        if not are_numbers or high == np.inf:
            sums[row] = np.nan
            continue
        if high > _FARTHEST:
            less = high - _FARTHEST
            _sums(bits, less, largest, masses, weighted)
        sums[row, 2], sums[row, 3], sums[row, 4] = less, high, largest.min()
        best, tokens, least = found[row], ids[row], _least(largest, high, count)
        for group in range(number):
            if largest[group] >= least:
                for token in range(group, len(bits), number):
                    logit = _float_of(bits[token])
                    if logit >= least and logit > best[0]:
                        _put(best, tokens, logit, token)
        _sort(best, tokens)
        for each in range(count):
            low, group = max(best[each] - less, _SMALLEST), tokens[each] % number
            power = _power_of_two(low)
            masses[group] = max(masses[group] - power, np.float32(0))
            weighted[group] -= power * low
            bits[tokens[each]] = lowest
        sums[row, 0], sums[row, 1] = _total(masses), _total(weighted)
        _draw(bits, less, masses, places, drawn_ids[row], drawn[row])


@njit(cache=True, nogil=True, error_model="numpy")
def _draw(bits: Array, less: Any, masses: Array, places: Array, ids: Array, drawn: Array) -> None:
    """Draws tokens of a row, each as often as its power has it."""
    number, total = len(masses), _total(masses)
    inside = np.empty(_GROUP, np.float32)
    group, along = 0, np.float64(masses[0])
    for each in range(len(ids)):
        while group < number - 1 and along < places[0, each] * total:
            group += 1
            along += masses[group]
        mass = np.float32(0)
        for member in range(_GROUP):
            logit = _float_of(bits[member * number + group])
            mass += _power_of_two(max(logit - less, _SMALLEST)) if logit > _LEFT_OUT else np.float32(0)
            inside[member] = mass
        member = 0
        while member < _GROUP - 1 and inside[member] < places[1, each] * mass:
            member += 1
        if mass > 0:
            ids[each] = member * number + group
            drawn[each] = _float_of(bits[ids[each]])


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
            low = max(some[group] - high, _LOWEST)
            power = _power_of_e(low)
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
        high = largest.max()
        least = _least(largest, high, len(best))
        best[:], tokens[:] = -np.inf, -1
        for group in range(number):
            if largest[group] >= least:
                for token in range(group, len(values), number):
                    if values[token] >= least and values[token] > best[0]:
                        _put(best, tokens, values[token], token)
        _sort(best, tokens)
        token = 0
        for each in range(len(tokens)):  # if fewer logits are finite
            if tokens[each] < 0:
                while values[token] > -np.inf:
                    token += 1
                tokens[each] = token
                token += 1
        if not are_numbers or not np.isfinite(high):
            sums[row] = np.nan
            continue
        _masses(values, high, masses, weighted)
        sums[row, 0], sums[row, 1] = _total(masses), _total(weighted)

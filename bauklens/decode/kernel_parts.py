"""The common parts of passes over logits: exponentials, the largest numbers, and draws; numba compiles them."""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Array = NDArray[Any]

SMALLEST = np.float32(-126)
"""Bits: powers of lower numbers are 0."""

_RANGE = np.float32(86)
"""How far below the highest the largest of many groups are told apart."""

_HALVINGS, _MORE = 20, 8
"""Of the range of the largest logits of all groups, until no more than so many are left over."""

LOWEST = np.float32(-87)
"""Nats: likewise."""

_LOG2E, _LN2 = np.float32(1.4426950408889634), 0.6931471805599453
_LN2_HIGH = np.float32(0.693359375)
"""Of nine bits, so that its product with a whole number is exact."""
_LN2_LOW = np.float32(_LN2 - 0.693359375)

_E2, _E3, _E4, _E5, _E6, _E7 = (np.float32(1 / factorial) for factorial in (2, 6, 24, 120, 720, 5040))
"""Of the series of e^x, which is off by 5e-9 of it at log(2) / 2, where it ends."""

_ROOT = np.int32(0x3F3504F3)
"""The bits of the root of 1/2: a number between that and the root of 2 has 0 as the whole part of its logarithm."""

_L1, _L3, _L5, _L7, _L9 = (np.float32(2 / (_LN2 * power)) for power in (1, 3, 5, 7, 9))
"""Of the series of the logarithm, which is off by 1e-9 where it ends."""

_ONE = np.float32(1)


def _as_float(typingctx: Any, bits: Any) -> Any:  # noqa: ARG001
    """The float32 of these bits, of four bytes, or of two as a bfloat16 has them; one that is a float32 is as it is."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        found, wide = args[0], context.get_value_type(types.int32)
        if bits == types.uint16:
            found = builder.shl(builder.zext(found, wide), wide(16))
        return builder.bitcast(found, context.get_value_type(types.float32))

    return types.float32(bits), codegen


float_of: Any = intrinsic(_as_float)


def _as_bits(typingctx: Any, number: Any) -> Any:  # noqa: ARG001
    """The bits of a float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(args[0], context.get_value_type(types.int32))

    return types.int32(types.float32), codegen


_bits_of: Any = intrinsic(_as_bits)


@njit(inline="always", error_model="numpy")
def bfloat16_of(number: Any) -> Any:
    """The bits of the bfloat16 that is nearest to a float32, or even of two."""
    bits = _bits_of(number)
    return np.uint16(np.uint32(bits + np.int32(0x7FFF) + ((bits >> np.int32(16)) & np.int32(1))) >> np.uint32(16))


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
    return series * float_of(np.int32(np.int32(whole + np.int32(127)) << np.int32(23)))


@njit(inline="always", error_model="numpy", fastmath={"contract"})
def _nearest(number: Any) -> Any:
    """The whole number that is nearest to one above -200."""
    return np.int32(np.int32(number + np.float32(200.5)) - np.int32(200))


@njit(inline="always", error_model="numpy", fastmath={"contract"})
def power_of_two(bits: Any) -> Any:
    """2 to this power, up to 127; 0 if the result is too small to tell from 0."""
    safe = max(bits, SMALLEST)
    whole = _nearest(safe)
    power = _exponential((safe - np.float32(whole)) * np.float32(_LN2), whole)
    return power if bits > SMALLEST else np.float32(0)


@njit(inline="always", error_model="numpy", fastmath={"contract"})
def power_of_e(nats: Any) -> Any:
    """E to this power, up to 88; 0 if the result is too small to tell from 0."""
    safe = max(nats, LOWEST)
    whole = _nearest(safe * _LOG2E)
    power = _exponential((safe - np.float32(whole) * _LN2_HIGH) - np.float32(whole) * _LN2_LOW, whole)
    return power if nats > LOWEST else np.float32(0)


@njit(inline="always", error_model="numpy", fastmath={"contract"})
def log_of_two(number: Any) -> Any:
    """The logarithm to base 2 of a number of at least 2^-126."""
    bits = _bits_of(number)
    whole = np.int32(np.int32(bits - _ROOT) >> np.int32(23))
    part = float_of(np.int32(bits - np.int32(whole << np.int32(23))))
    ratio = (part - _ONE) / (part + _ONE)
    square = ratio * ratio
    series = _L9 * square + _L7
    series = series * square + _L5
    series = series * square + _L3
    series = series * square + _L1
    return np.float32(whole) + series * ratio


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def total_of(numbers: Array) -> Any:
    """The sum of numbers, in float64; in any order, so that a processor adds many at once."""
    total = np.float64(0)
    for place in range(len(numbers)):
        total += numbers[place]
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz", "nnan"})
def ends_of(numbers: Array) -> Any:
    """The least and the largest of numbers, none of which is NaN."""
    least, largest = numbers[0], numbers[0]
    for place in range(1, len(numbers)):
        least, largest = min(least, numbers[place]), max(largest, numbers[place])
    return least, largest


@njit(cache=True, nogil=True, error_model="numpy")
def put(heap: Array, ids: Array, logit: Any, token: Any) -> None:
    """Replaces the least logit of a heap, which comes first, by another."""
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
def sort(heap: Array, ids: Array) -> None:
    """Sorts a heap, largest first."""
    for place in range(1, len(heap)):
        logit, token, before = heap[place], ids[place], place
        while before > 0 and heap[before - 1] < logit:
            heap[before], ids[before] = heap[before - 1], ids[before - 1]
            before -= 1
        heap[before], ids[before] = logit, token


@njit(cache=True, nogil=True, error_model="numpy")
def _count(numbers: Array, least: Any) -> Any:
    """How many numbers are at least as large."""
    total = np.int32(0)
    for place in range(len(numbers)):
        total += np.int32(numbers[place] >= least)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def least_reached(largest: Array, ends: Any, count: int) -> Any:
    """A number that the largest logits of ``count`` groups reach, and those of few others; found by bisection.

    Args:
        largest: (group,) float32.
        ends: the least and the largest of these.
        count: of groups.
    """
    low, high = max(ends[0], ends[1] - _RANGE), ends[1]
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


@njit(cache=True, nogil=True, error_model="numpy")
def choose_groups(masses: Array, places: Array, chosen: Array) -> None:
    """Draws groups in proportion to their masses.

    Args:
        masses: (group,) float32.
        places: (draw,) float32, 0..1, along the mass of all groups, rising.
        chosen: (draw,) int64, to write to.
    """
    total, group, along = total_of(masses), 0, np.float64(masses[0])
    for each in range(len(places)):
        while group < len(masses) - 1 and along < places[each] * total:
            group += 1
            along += masses[group]
        chosen[each] = group


@njit(cache=True, nogil=True, error_model="numpy")
def choose_member(logits: Array, place: float, sums: Array) -> Any:
    """Draws one member of a group, in proportion to its power; -1 if there is nothing to draw.

    Args:
        logits: (member,) float32, in bits; those whose power is too small to count are left out.
        place: 0..1, along the mass of all members.
        sums: (member,) float32, to be used.
    """
    mass = np.float32(0)
    for member in range(len(logits)):
        mass += power_of_two(logits[member])
        sums[member] = mass
    member = 0
    while member < len(logits) - 1 and sums[member] < place * mass:
        member += 1
    return member if mass > 0 else -1

"""Loops over logits that numba compiles; only :mod:`bauklens.decode.compiled` imports them, if numba is installed.

They release Python's lock and use no threads of their own, so that several threads of ours can run them side by side.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

_AT_ONCE = 4096
"""Logits whose bins are found before they are counted, so that both loops are short and stay in a core's cache."""

_BLOCK = 128
"""Bins whose counts are added together, so that those up to a bin are not added one by one."""

_NUMBERS = 1 << 16
"""Numbers of two bytes."""

_SIGN = 1 << 15
"""The bit that a negative number of two bytes has."""

_LAST = _SIGN - 1
"""The highest bits of a number of two bytes, less that one; a NaN's, as no number is greater than infinity."""


@njit(cache=True, nogil=True, error_model="numpy")
def count(logits: Array, values: Array, above: Array, beside: Array) -> None:
    """How many numbers of a row are greater than a value's own cell, and how many are in it.

    The cell of a value is the greatest number of two bytes that is not greater than it.

    Args:
        logits: (row, vocabulary) uint16, the bits of bfloat16.
        values: (row, token) int32, the bits of float32.
        above: (row, token) int32, to write to.
        beside: likewise.
    """
    tally, before = np.empty(_NUMBERS, np.int32), np.empty(_NUMBERS // _BLOCK, np.int32)
    for row in range(logits.shape[0]):
        _tally(logits[row], tally, before)
        for token in range(values.shape[1]):
            above[row, token], beside[row, token] = _counted(tally, before, _cell(values[row, token]))


@njit(cache=True, nogil=True, error_model="numpy")
def rank_among(
    logits: Array,
    ids: Array,
    values: Array,
    others: Array,
    scores: Array,
    proved: Array,
    bits: Array,
    ranks: Array,
    sure: Array,
) -> None:
    """Ranks tokens by numbers of four bytes, among some others that also have these, and the rest in two bytes.

    Tokens of the rest that are rounded to the same number of two bytes count as if they were spread evenly around it.

    Args:
        logits: (row, vocabulary) uint16, the bits of bfloat16; those of the others are far below all others.
        ids: (token,) int64.
        values: (row, token) float32, the tokens' own; they become those of the others for tokens that are among them.
        others: (row, candidate) int64, their ids.
        scores: (row, candidate) float32.
        proved: (row,) float32, above which none of the rest lies, on the scale of the logits.
        bits: (row, 2) float32, by which numbers come to that scale: times the first, less the second.
        ranks: (row, token) int32, to write to; from 1.
        sure: (row, token) bool, to write to: whether a rank is proved.
    """
    tally, before = np.empty(_NUMBERS, np.int32), np.empty(_NUMBERS // _BLOCK, np.int32)
    place = np.full(logits.shape[1], -1, np.int32)
    scaled = np.empty(1, np.float32)
    for row in range(logits.shape[0]):
        _tally(logits[row], tally, before)
        for each in range(others.shape[1]):
            place[others[row, each]] = each
        for token in range(len(ids)):
            known = place[ids[token]]
            value = values[row, token] if known < 0 else scores[row, known]
            scaled[0] = bits[row, 0] * value - bits[row, 1]
            sure[row, token] = scaled[0] > proved[row]
            rest = 0
            if not sure[row, token]:
                cell, part = _nearest(scaled.view(np.int32)[0])
                above, beside = _counted(tally, before, cell)
                itself = _ordered(np.int64(logits[row, ids[token]])) - _ordered(cell)
                above, beside = above - np.int64(itself > 0), beside - np.int64(itself == 0)
                rest = max(above + np.int64(part * beside + 0.5), 0)
            ranks[row, token] = 1 + _greater(scores[row], value) + rest
        for each in range(others.shape[1]):
            place[others[row, each]] = -1


@njit(cache=True, nogil=True, error_model="numpy")
def _tally(row: Array, tally: Array, before: Array) -> None:
    """Counts every number of two bytes in a row, and those in all blocks before each."""
    tally[:] = 0
    for place in range(len(row)):
        tally[row[place]] += 1
    tally[0] += tally[_SIGN]  # 0 and -0 are equal
    tally[_SIGN] = 0
    _add_blocks(tally, before)


@njit(cache=True, nogil=True, error_model="numpy")
def _cell(bits: int) -> Any:
    """The bits of float32 -> those of the greatest number of two bytes that is not greater; never of -0."""
    bits = np.int64(bits)
    if bits >= 0:
        return bits >> 16
    magnitude = min(((bits & 0x7FFFFFFF) + 0xFFFF) >> 16, _LAST)
    return _SIGN + magnitude if magnitude > 0 else np.int64(0)


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest(bits: int) -> Any:
    """The bits of float32 -> those of the number of two bytes that it is rounded to, and the part of its cell above."""
    magnitude = (np.int64(bits) & 0x7FFFFFFF) + 0x8000
    cell, part = min(magnitude >> 16, _LAST), (magnitude & 0xFFFF) / 0x10000
    if bits >= 0:
        return cell, 1 - part
    return (_SIGN + cell if cell > 0 else np.int64(0)), part


@njit(cache=True, nogil=True, error_model="numpy")
def _ordered(cell: int) -> Any:
    """Numbers in the order of what these bits are; the bits of negative numbers rise as the numbers fall."""
    return cell if cell < _SIGN else _SIGN - cell


@njit(cache=True, nogil=True, error_model="numpy")
def _counted(tally: Array, before: Array, cell: int) -> Any:
    """How many are greater than a cell, and how many are in it."""
    up_to = _up_to(tally, before, cell)
    above = up_to - tally[cell] if cell > _SIGN else before[_SIGN // _BLOCK] - up_to
    return above, tally[cell]


@njit(cache=True, nogil=True, error_model="numpy")
def _add_blocks(tally: Array, before: Array) -> None:
    total = np.int32(0)
    for block in range(len(before)):
        before[block] = total
        for each in range(block * _BLOCK, (block + 1) * _BLOCK):
            total += tally[each]


@njit(cache=True, nogil=True, error_model="numpy")
def _up_to(tally: Array, before: Array, last: int) -> Any:
    """How many are counted in all bins up to one."""
    total = before[last // _BLOCK]
    for each in range(last // _BLOCK * _BLOCK, last + 1):
        total += tally[each]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _put_in_bins(values: Array, low: float, scale: float, bins: int, codes: Array) -> None:
    last = np.float32(bins - 1)
    for place in range(len(values)):
        height = (values[place] - low) * scale
        height = height if height > 0 else np.float32(0)
        codes[place] = np.uint16(np.int32(height if height < last else last))


@njit(cache=True, nogil=True, error_model="numpy")
def rank(
    logits: Array,
    values: Array,
    top: Array,
    low: Array,
    scale: Array,
    bins: int,
    within: float,
    few: int,
    ranks: Array,
    sure: Array,
) -> None:
    """Ranks values of each row among all its logits; from 1.

    Args:
        logits: (row, vocabulary) float32.
        values: (row, token) float32, some of its logits.
        top: (row, k) float32, its largest logits, largest first.
        low: (row,) float32, the lower end of the lowest bin.
        scale: (row,) float32, bins for each nat.
        bins: how many, at most 32,768, a multiple of 128.
        within: the part of a rank that it may be off by; if it could be more, a value is compared with every logit.
        few: if more values of a row than that are compared so, all are.
        ranks: (row, token) int32, to write to.
        sure: (row, token) bool, to write to: whether a rank is exact.
    """
    even, odd = np.empty(bins, np.int32), np.empty(bins, np.int32)  # two tables: a count just written is slow to read
    codes, before = np.empty(_AT_ONCE, np.uint16), np.empty(bins // _BLOCK, np.int32)
    beyond = np.empty(values.shape[1], np.bool_)
    vocabulary = logits.shape[1]
    for row in range(logits.shape[0]):
        even[:] = 0
        odd[:] = 0
        for start in range(0, vocabulary, _AT_ONCE):
            part = logits[row, start : start + _AT_ONCE]
            _put_in_bins(part, low[row], scale[row], bins, codes)
            for place in range(0, len(part) - 1, 2):
                even[codes[place]] += 1
                odd[codes[place + 1]] += 1
            if len(part) % 2:
                even[codes[len(part) - 1]] += 1
        even += odd
        _add_blocks(even, before)
        doubtful = 0
        for token in range(values.shape[1]):
            value = values[row, token]
            if value >= top[row, top.shape[1] - 1]:
                ranks[row, token], sure[row, token] = 1 + _greater(top[row], value), True
                continue
            _put_in_bins(values[row, token : token + 1], low[row], scale[row], bins, codes)
            own = np.int32(codes[0])
            others = max(even[own] - 1, 0)
            ranks[row, token] = 1 + vocabulary - _up_to(even, before, own) + others // 2
            sure[row, token] = others == 0
            beyond[token] = others > 0 and even[own] // 2 > within * ranks[row, token]
            doubtful += beyond[token]
        for token in range(values.shape[1]):
            if not sure[row, token] and (beyond[token] or doubtful > few):
                ranks[row, token], sure[row, token] = 1 + _greater(logits[row], values[row, token]), True


@njit(cache=True, nogil=True, error_model="numpy")
def above(logits: Array, values: Array, counts: Array) -> None:
    """How many numbers of a row are greater than each of some values.

    Args:
        logits: (row, vocabulary) float32.
        values: (row, token) float32.
        counts: (row, token) int32, to write to.
    """
    for row in range(logits.shape[0]):
        counts[row] = 0
        for start in range(0, logits.shape[1], _AT_ONCE):
            part = logits[row, start : start + _AT_ONCE]
            for token in range(values.shape[1]):
                counts[row, token] += _greater(part, values[row, token])


@njit(cache=True, nogil=True, error_model="numpy")
def _greater(logits: Array, value: float) -> Any:
    total = np.int32(0)
    for place in range(len(logits)):
        total += np.int32(logits[place] > value)
    return total

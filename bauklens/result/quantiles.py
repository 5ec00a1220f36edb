"""Quantiles of any number of values in little memory: counts of bins whose width is a fixed share of their value.

A DDSketch (Masson, Rim and Lee, 2019). Needs no torch.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from bauklens.errors import LensError
from bauklens.result.frozen import frozen_array, require

RELATIVE_ERROR = 0.01
"""The largest relative error of a quantile."""

LARGEST = float(np.finfo(np.float32).max)
"""The largest value that is counted; measures are float32."""

SMALLEST = float(np.finfo(np.float32).tiny)
"""Values nearer to 0 are counted as 0."""

RATIO = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
"""The ratio of a bin's ends, and so of the values of two neighbouring bins."""

_STEP = float(np.log(RATIO))
_MIDDLE = float(np.log((RATIO + 1) / 2))
"""log of a bin's upper end, relative to its value."""


def _step_of(magnitudes: np.ndarray) -> np.ndarray:
    """The whole number i of the bin of each positive number, whose value is ``RATIO ** i``."""
    found: np.ndarray = np.ceil((np.log(magnitudes) - _MIDDLE) / _STEP).astype(np.int64)
    return found


_first, _last = _step_of(np.array([SMALLEST, LARGEST])).tolist()

ONE = 1 - _first
"""The bin of 1. Bin 0 is 0, and bin b the numbers near ``RATIO ** (b - ONE)``; bin -b has the negatives of bin b."""

FURTHEST = _last + ONE
"""The last bin; the first one is its negative."""

_BINS = 2 * FURTHEST + 1

_LEAST_WAITING = 1024
"""How many values are collected before they are counted: counting them together takes less time."""


def bin_of(values: np.ndarray) -> np.ndarray:
    """The bin of every value, int64: a larger value never has a smaller bin.

    With ``RATIO`` = r and the relative error a = (r - 1) / (r + 1), bin ``ONE + i`` holds the numbers above
    ``r ** (i - 1) * (r + 1) / 2`` and up to ``r ** i * (r + 1) / 2``. Its value ``r ** i`` is below the upper end by
    ``1 - 2 / (r + 1) = a``, relative to that end, and above the lower one by ``2 * r / (r + 1) - 1 = a``; so it is
    within a of all of them. 0 and 1 are exact.

    Args:
        values: any shape; finite, and up to :data:`LARGEST`.
    """
    magnitudes = np.abs(np.asarray(values, dtype=np.float64))
    bins = np.clip(_step_of(np.maximum(magnitudes, SMALLEST)) + ONE, 1, FURTHEST)
    return np.where(magnitudes < SMALLEST, 0, np.copysign(bins, values).astype(np.int64))


def value_of(bins: np.ndarray) -> np.ndarray:
    """The value that stands for a bin, float64, within :data:`RELATIVE_ERROR` of all that is counted there."""
    return np.where(bins == 0, 0.0, np.sign(bins) * np.exp(_STEP * (np.abs(bins) - ONE)))


@dataclass(frozen=True, eq=False)
class Sketch:
    """How many values each bin has, for several rows. Values give the same sketch in any order and in any parts.

    Attributes:
        rows: how many rows there are.
        row, bin, count: (bin,) int64, the bins that have values, by row, then by bin. Their number is at most
            17,609 per row, however many values there are.
    """

    rows: int
    row: np.ndarray
    bin: np.ndarray
    count: np.ndarray
    total: np.ndarray = field(init=False)
    """(row,) int64, the number of values."""

    def __post_init__(self) -> None:
        for name in ("row", "bin", "count"):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), np.int64))
        shapes = {self.row.shape, self.bin.shape, self.count.shape}
        require(len(shapes) == 1 and self.row.ndim == 1, "row, bin and count do not have one number for each bin")
        require(bool(((self.row >= 0) & (self.row < self.rows)).all()), "a bin belongs to a row that does not exist")
        require(
            bool(((self.bin >= -FURTHEST) & (self.bin <= FURTHEST)).all()),
            f"a bin is not from {-FURTHEST:,} to {FURTHEST:,}",
        )
        require(bool((self.count > 0).all()), "a count is not above 0")
        require(bool((np.diff(_keys(self.row, self.bin)) > 0).all()), "its bins are not in order")
        require(float(self.count.sum(dtype=np.float64)) < 2**62, "its counts are too large")
        found = np.zeros(self.rows, np.int64)
        np.add.at(found, self.row, self.count)
        found.setflags(write=False)
        object.__setattr__(self, "total", found)

    def quantile(self, q: float) -> np.ndarray:
        """(row,) float64, the value at a quantile, within :data:`RELATIVE_ERROR` of it; NaN in a row without values.

        It is the value of number ``floor(q * (n - 1))`` of n values, from 0, in rising order, as for
        ``np.quantile(values, q, method="lower")``. Values below 1.2e-38 count as 0.

        Args:
            q: 0 .. 1; 0.5 is the median.

        Raises:
            LensError: q is not in that range.
        """
        if isinstance(q, bool) or not isinstance(q, (int, float, np.number)) or not 0 <= q <= 1:
            raise LensError(f"q is {q!r:.80}: pass a number from 0 to 1; 0.5 is the median")
        up_to = np.cumsum(self.count)
        before = np.cumsum(self.total) - self.total
        wanted = before + np.floor(q * np.maximum(self.total - 1, 0)).astype(np.int64)
        known = self.total > 0
        found = np.full(self.rows, np.nan)
        found[known] = value_of(self.bin[np.searchsorted(up_to, wanted[known], side="right")])
        return found


class Tally:
    """Counts values, some at a time. Its memory grows with the number of bins that have values, not of values.

    Args:
        rows: how many rows there are.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._keys = self._counts = np.zeros(0, np.int64)
        self._waiting: list[np.ndarray] = []
        self._size = 0

    def add(self, row: np.ndarray, values: np.ndarray) -> None:
        """Adds values.

        Args:
            row: (value,), the row of each.
            values: (value,), finite, and up to :data:`LARGEST`.
        """
        self._waiting.append(_keys(row, bin_of(values)))
        self._size += len(values)
        if self._size >= max(_LEAST_WAITING, len(self._keys)):
            self._count()

    def add_sketch(self, sketch: Sketch) -> None:
        """Adds what another one has counted."""
        self._count()
        keys = np.concatenate([self._keys, _keys(sketch.row, sketch.bin)])
        self._keys, self._counts = _summed(keys, np.concatenate([self._counts, sketch.count]))

    def sketch(self) -> Sketch:
        """All so far."""
        self._count()
        row, place = np.divmod(self._keys, _BINS)
        return Sketch(self._rows, row, place - FURTHEST, self._counts)

    def _count(self) -> None:
        """Counts the collected values."""
        keys, counts = np.unique(np.concatenate([*self._waiting, self._keys[:0]]), return_counts=True)
        self._waiting, self._size = [], 0
        keys, counts = np.concatenate([self._keys, keys]), np.concatenate([self._counts, counts])
        self._keys, self._counts = _summed(keys, counts)


def joined(sketches: Iterable[Sketch]) -> Sketch:
    """One sketch of all values of several sketches that have the same rows."""
    each = list(sketches)
    tally = Tally(each[0].rows)
    for sketch in each:
        tally.add_sketch(sketch)
    return tally.sketch()


def _keys(row: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """One number for a row and a bin, which rises with the row, then with the bin."""
    found: np.ndarray = row.astype(np.int64) * _BINS + bins + FURTHEST
    return found


def _summed(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different keys in rising order, and the sum of each one's counts."""
    found, place = np.unique(keys, return_inverse=True)
    sums = np.zeros(len(found), np.int64)
    np.add.at(sums, place, counts)
    return found, sums

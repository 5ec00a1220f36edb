"""Means, spreads, counts and quantiles of measures by row, added up from columns of numbers. Needs no torch."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bauklens.errors import LensError
from bauklens.result.measures import MEASURES
from bauklens.result.quantiles import LARGEST, Sketch, Tally

ACCURACY = "accuracy"
"""How often the most probable token is the next token of the text; ``agreement`` compares with the model instead."""

Moments = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(row,) each: count, mean, and sum of squared differences from the mean."""


class Averages:
    """Statistics of any measures for some rows, in memory that does not grow with the number of values.

    Means and spreads are computed as by Welford (1962), and combined as by Chan, Golub and LeVeque (1979).

    Args:
        rows: how many rows there are.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._moments: dict[str, Moments] = {}
        self._tallies: dict[str, Tally] = {}

    def add(self, row: np.ndarray, measures: Mapping[str, np.ndarray]) -> None:
        """Adds cells. NaN, infinity and numbers beyond the largest float32 are left out.

        Args:
            row: (cell,), whole numbers, the row of each cell from 0.
            measures: name -> (cell,) numbers.

        Raises:
            LensError: a column has another length, or a row does not exist.
        """
        row = np.asarray(row).astype(np.int64, casting="same_kind")
        if row.size and not 0 <= row.min() <= row.max() < self._rows:
            raise LensError(f"there are {self._rows} rows; got one of number {row.min()} or {row.max()}")
        for name, values in measures.items():
            values = np.asarray(values)
            if values.shape != row.shape or row.ndim != 1:
                raise LensError(f"{name} has shape {values.shape}, but the rows have shape {row.shape}")
            known = np.abs(values) <= LARGEST
            rows, some = row[known], values[known].astype(np.float64)
            count = np.bincount(rows, minlength=self._rows)
            mean = np.bincount(rows, some, self._rows) / np.maximum(count, 1)
            squares = np.bincount(rows, (some - mean[rows]) ** 2, self._rows)
            self._join(name, (count, mean, squares))
            self._tally(name).add(rows, some)

    def join(self, name: str, count: np.ndarray, mean: np.ndarray, spread: np.ndarray, sketch: Sketch | None) -> None:
        """Adds the statistics of a measure over other cells, as :meth:`statistics` returns them.

        A measure has a sketch only if all parts have one.
        """
        some = count > 0
        self._join(name, (count, np.where(some, mean, 0), np.where(some, spread, 0) ** 2 * count))
        if sketch is not None:
            self._tally(name).add_sketch(sketch)

    def statistics(self) -> dict[str, Any]:
        """``"mean"``, ``"spread"``, ``"count"`` and ``"sketches"``: name of a measure -> what :class:`Summary` has.

        They are NaN in rows without values.
        """
        found: dict[str, dict[str, Any]] = {"mean": {}, "spread": {}, "count": {}, "sketches": {}}
        known = [name for name in (ACCURACY, *MEASURES) if name in self._moments]
        for name in dict.fromkeys([*known, *self._moments]):
            count, mean, squares = self._moments[name]
            some = count > 0
            found["count"][name] = count
            found["mean"][name] = np.where(some, mean, np.nan)
            found["spread"][name] = np.where(some, np.sqrt(squares / np.maximum(count, 1)), np.nan)
            sketch = self._tally(name).sketch()
            if (sketch.total == count).all():
                found["sketches"][name] = sketch
        return found

    def _tally(self, name: str) -> Tally:
        return self._tallies.setdefault(name, Tally(self._rows))

    def _join(self, name: str, other: Moments) -> None:
        one = self._moments.get(name)
        if one is None:
            self._moments[name] = other
            return
        count = one[0] + other[0]
        share = other[0] / np.maximum(count, 1)
        apart = other[1] - one[1]
        self._moments[name] = count, one[1] + apart * share, one[2] + other[2] + apart**2 * one[0] * share

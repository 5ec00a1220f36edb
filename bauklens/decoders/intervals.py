"""Bootstrap intervals over documents (Efron 1979): percentiles of a statistic of sums, over resamples of documents."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

RESAMPLES = 1000

_ENDS = (2.5, 97.5)
"""Percent, of a 95 % interval."""

_WEIGHTS = 1 << 22
"""How many weights of documents all resamples at once may hold."""


Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Sums (resample, ...), counts (resample, any) -> (resample, ...)."""


class Bounds(NamedTuple):
    """A statistic, and the ends of its 95 % interval, each of one shape; the ends may be NaN."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def with_intervals(sums: np.ndarray, counts: np.ndarray, statistic: Statistic, seed: int) -> Bounds:
    """A statistic, and the ends of its 95 % interval.

    A resample draws as many documents as there are, with replacement; the same seed draws the same ones. An end that
    is beyond the statistic itself, as the calibration error's lower one can be, is the statistic.

    Args:
        sums: (document, ...) float64.
        counts: (document, any) float64.
        statistic: computes the statistic from the sums and counts of some documents.

    Returns:
        Arrays of the statistic's own shape; the ends are NaN with fewer than two documents.
    """
    documents = len(sums)
    flat = sums.reshape(documents, -1)

    def of(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return statistic((weights @ flat).reshape(-1, *sums.shape[1:]), weights @ counts)

    value = of(np.ones((1, documents)))[0]
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    if documents < 2:
        return Bounds(value, low, high)
    random, at_once = np.random.default_rng([seed, 0]), max(1, _WEIGHTS // documents)
    shares, resampled = np.full(documents, 1 / documents), []
    for start in range(0, RESAMPLES, at_once):
        weights = random.multinomial(documents, shares, min(at_once, RESAMPLES - start))
        resampled.append(of(weights.astype(np.float64)))
    found = np.concatenate(resampled)
    known = ~np.isnan(found).all(axis=0)
    if known.any():
        with np.errstate(invalid="ignore"):
            low[known], high[known] = np.nanpercentile(found[:, known], _ENDS, axis=0)
    return Bounds(value, np.fmin(low, value), np.fmax(high, value))

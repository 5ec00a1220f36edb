"""Ranks of words -> pass@k, with bootstrap intervals over items. Needs no torch."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
"""Resamples of the items of each set, for an interval."""

_SEED = 0
_AT_ONCE = 1 << 20
"""How many items are drawn at once."""


def item_shares(ranks: Sequence[Sequence[int]], ks: Sequence[int]) -> np.ndarray:
    """The share of each item's ranks that are at most k: (item, k) float64.

    Args:
        ranks: for each item, the best rank of every word that is scored; at least one.
    """
    return np.array([[np.mean(np.array(each) <= k) for k in ks] for each in ranks]).reshape(-1, len(ks))


def resampled_means(shares: np.ndarray) -> np.ndarray:
    """Means over items drawn with replacement: (decoder, item, k) -> (resample, decoder, k).

    The draws depend only on the number of items, so all decoders have the same ones.
    """
    items = shares.shape[1]
    random, at_once = np.random.default_rng([_SEED, items]), max(1, _AT_ONCE // items)
    parts = []
    for start in range(0, RESAMPLES, at_once):
        drawn = random.integers(items, size=(min(at_once, RESAMPLES - start), items))
        times = np.stack([np.bincount(each, minlength=items) for each in drawn])
        parts.append(np.einsum("ri,dik->rdk", times, shares) / items)
    return np.concatenate(parts)


def interval(means: np.ndarray) -> np.ndarray:
    """The 2.5th and the 97.5th percentile of resampled means: (resample, ...) -> (..., 2)."""
    found: np.ndarray = np.moveaxis(np.percentile(means, [2.5, 97.5], axis=0), 0, -1)
    return found


def known_mean(values: np.ndarray) -> np.ndarray:
    """The mean over the first axis, without NaN; NaN if there is nothing else."""
    known = ~np.isnan(values)
    total, count = np.where(known, values, 0).sum(axis=0), known.sum(axis=0)
    found: np.ndarray = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return found

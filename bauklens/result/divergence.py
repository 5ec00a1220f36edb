"""How far apart two lenses' predictions are: a lower bound on their Jensen-Shannon divergence. Needs no torch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bauklens.result.result import LensResult

LARGEST = float(np.log(2))
"""The Jensen-Shannon divergence, in nats, of predictions that have nothing in common."""

_CELLS = 256
"""Cells that are read at once, so that memory stays small."""

_HALF = 2.0**-11
"""The relative error of a number that was rounded to float16."""


@dataclass(frozen=True)
class _Between:
    """Bounds on numbers: the lowest and the highest that each can be, (cell, token)."""

    low: np.ndarray
    high: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Whether a number is known, to rounding."""
        known: np.ndarray = self.high <= self.low * (1 + 64 * _HALF)
        return known


def js_bound(one: "LensResult", other: "LensResult") -> np.ndarray:
    """A lower bound on the Jensen-Shannon divergence in each cell, in nats, from 0 to log 2.

    It is computed from all tokens whose probabilities are known: the top k of both, targets that are a single token,
    and tracked tokens. A token in the top k of one that is not known in the other is at most as probable there as the
    last of its top k. All other tokens count as one. So this never exceeds the divergence of the full predictions,
    and equals it if all tokens are known.

    Args:
        one, other: on the same grid.

    Returns:
        (layer, position) float32.
    """
    grid = one.magnitude.shape
    followed = np.array([*_followed(one), *_followed(other)], dtype=np.int64)
    tops = [lens.top_ids.reshape(-1, lens.topk) for lens in (one, other)]
    found = np.empty(one.magnitude.size, dtype=np.float32)
    for start in range(0, len(found), _CELLS):
        some = slice(start, start + _CELLS)
        ids = np.unique(np.concatenate([followed, *(top[some].ravel() for top in tops)]))
        found[some] = _least(*(_between(lens, ids, some) for lens in (one, other)))
    return found.reshape(grid)


def js_distance(divergence: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergences in nats -> distances, float32: 0 the same, 1 nothing in common."""
    distance: np.ndarray = np.sqrt(np.clip(divergence, 0, LARGEST) / LARGEST).astype(np.float32)
    return distance


def _followed(lens: "LensResult") -> list[int]:
    """The tokens that are known in every cell."""
    tracked = [] if lens.tracked is None else lens.tracked.token_ids.tolist()
    return [*tracked, *(each.token_ids[0] for each in lens.targets if each.is_token)]


def _between(lens: "LensResult", ids: np.ndarray, some: slice) -> _Between:
    """What is known of the probabilities of some tokens in some cells; ``ids`` are sorted."""
    top_ids = lens.top_ids.reshape(-1, lens.topk)[some]
    top = lens.top_probs.reshape(-1, lens.topk)[some].astype(np.float64)
    rest = np.clip(1 - top.sum(axis=-1), 0, top[:, -1])
    low = np.zeros((len(top), len(ids)))
    high = np.repeat(rest[:, None], len(ids), axis=1)
    if lens.tracked is not None:
        logs = lens.tracked.log_probability.reshape(len(lens.tracked), -1)[:, some].T.astype(np.float64)
        columns = np.searchsorted(ids, lens.tracked.token_ids)
        low[:, columns], high[:, columns] = np.exp(logs * (1 + _HALF)), np.exp(logs * (1 - _HALF))
    for target in lens.targets:
        if target.is_token:
            column = np.searchsorted(ids, target.token_ids[0])
            low[:, column] = high[:, column] = target.probability.ravel()[some]
    columns = np.searchsorted(ids, top_ids)
    np.put_along_axis(low, columns, top, axis=1)
    np.put_along_axis(high, columns, top, axis=1)
    return _Between(low, high)


def _least(one: _Between, other: _Between) -> np.ndarray:
    """The least divergence: of each token that is known in both or surely apart, and of all others as one; (cell,)."""
    own = (one.known & other.known) | (one.low > other.high) | (other.low > one.high)
    share = np.where(own, _share(one, other), 0).sum(axis=-1)
    rests = [
        _Between(*(np.clip(1 - np.where(own, side, 0).sum(axis=-1), 0, 1) for side in (each.high, each.low)))
        for each in (one, other)
    ]
    least: np.ndarray = np.clip(share + _share(*rests), 0, LARGEST)
    return least


def _share(one: _Between, other: _Between) -> np.ndarray:
    """The least that tokens add to the divergence, which is 0 if they may be as probable in one as in the other."""
    more = one.low > other.high
    apart = more | (other.low > one.high)
    more = more[apart]
    p = np.where(more, one.low[apart], one.high[apart])
    q = np.where(more, other.high[apart], other.low[apart])
    mean = (p + q) / 2
    with np.errstate(invalid="ignore", divide="ignore"):  # a file's values may be anything
        parts = [each * np.log(np.where(each > 0, each, 1) / np.where(each > 0, mean, 1)) for each in (p, q)]
    least = np.zeros(apart.shape)
    least[apart] = np.maximum(sum(parts) / 2, 0)
    return least

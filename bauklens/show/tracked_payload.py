"""Tracked tokens of a result -> the data that the viewer unpacks: the first exactly, the others as rough ranks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bauklens.result.tracked import Tracked

MOST_EXACT = 400_000
"""The most values in a page without rounding, in about 4 bytes each."""

MOST_BRIEF = 18_000
"""The same for a notebook, which has no others."""

MOST_TOKENS = 1 << 16
"""The most tokens in a page without rounding, as the viewer sorts them by numbers of 16 bits."""

MOST_COARSE = 12_000_000
"""The most further values with ranks in a page, in a quarter of a byte each; beyond, the last tokens are left out."""

_TAKEN = 4
"""How many fewer such values a page has for each number beside them, if these are too many to hold."""

LIMIT = 300
"""The largest rank that a page has roughly."""

_EXACT = 16
"""Ranks up to this one have a code each."""

_STEPS = 12
"""Codes for each further doubling of the rank. A rank is within 3 % of its code's, and within 5 % of that rounded."""

_KEPT_BITS = 7
"""Leading bits kept of ranks in a notebook, so that they are within 0.8 % of what was tracked, and exact below 128."""


@dataclass(frozen=True)
class TrackedPayload:
    """The tracked tokens in a page.

    Attributes:
        head: their description; None if there are none.
        arrays: their numbers by name, flat, (token, layer, position); codes are (token, position, layer).
    """

    head: dict[str, Any] | None = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


def tracked_payload(
    tracked: Tracked | None, places: Mapping[int, int], *, brief: bool = False, beside: int = 0
) -> TrackedPayload:
    """The part of the tracked tokens that a page has.

    Args:
        places: token id -> its place among the texts of the page.
        brief: for a notebook, whether to keep few and to round ranks that are not small.
        beside: how many other numbers the page has beyond those of a large table; if there are any, fewer tokens are
            kept, and none exactly.
    """
    if tracked is None or not len(tracked):
        return TrackedPayload()
    cells = tracked.rank[0].size
    exact = 0 if beside else min(len(tracked), (MOST_BRIEF if brief else MOST_EXACT) // cells, MOST_TOKENS)
    coarse = 0 if brief else max(0, MOST_COARSE - _TAKEN * beside) // cells
    kept = min(len(tracked), exact + coarse)
    head = {
        "places": [places[token] for token in tracked.token_ids[:kept].tolist()],
        "exact": exact,
        "rounded": brief,
        "limit": LIMIT,
        "left": len(tracked) - kept,
    }
    by_position = coded(tracked.rank[exact:kept]).transpose(0, 2, 1)  # layers next to each other are much the same
    codes = {"tracked codes": by_position.ravel()}
    if not exact:
        return TrackedPayload(head, codes)
    logs = np.ascontiguousarray(tracked.log_probability[:exact], dtype="<f2").view("<u2")
    ranks = _rounded(tracked.rank[:exact]) if brief else tracked.rank[:exact]
    sure = np.minimum(tracked.exact_to, (1 << _KEPT_BITS) - 1) if brief else tracked.exact_to
    arrays = {"tracked sure": sure.ravel(), "tracked logs": logs.ravel(), "tracked ranks": _steps(ranks, logs).ravel()}
    return TrackedPayload(head, arrays | codes)


def coded(ranks: np.ndarray) -> np.ndarray:
    """Ranks -> uint8 codes: exact to 16, then twelve for each doubling; 0 beyond :data:`LIMIT`."""
    known = ranks <= LIMIT
    wide = np.where(known, ranks, 1).astype(np.float32)
    beyond = _EXACT + np.round(_STEPS * np.log2(np.maximum(wide, _EXACT) / _EXACT))
    return np.where(known, np.where(wide <= _EXACT, wide, beyond), 0).astype(np.uint8)


def _rounded(ranks: np.ndarray) -> np.ndarray:
    """Ranks -> uint16 codes: exact below 128, then 64 for each doubling."""
    wide = ranks.astype(np.int64)
    lost = np.maximum(np.frexp(wide)[1] - _KEPT_BITS, 0)
    kept = (wide + (1 << lost >> 1)) >> lost
    codes: np.ndarray = ((lost << (_KEPT_BITS - 1)) + kept).astype(np.uint16)
    return codes


def _steps(ranks: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Ranks in the order of their tokens' probabilities, each minus the one before it: small numbers pack better.

    Args:
        ranks: (token, layer, position), unsigned; so are the steps, which may wrap around.
        logs: (token, layer, position), the bits of float16 numbers, none above 0.
    """
    order = np.argsort(logs & 0x7FFF, axis=0, kind="stable")
    ordered: np.ndarray = np.take_along_axis(ranks, order, axis=0)
    ordered[1:] -= ordered[:-1].copy()
    return ordered

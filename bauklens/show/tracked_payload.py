"""Tracked tokens of a result -> what the viewer unpacks: the first exactly, of the others the ranks, roughly."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bauklens.result.tracked import Tracked

MOST_EXACT = 400_000
"""Values that a page holds as they are, in about 4 bytes each."""

MOST_COARSE = 12_000_000
"""Further values of which a page holds ranks, in about half a byte each; the last tokens are left out beyond."""

LIMIT = 300
"""The largest rank that a page holds roughly."""

_EXACT = 16
"""Ranks up to this one have a code each."""

_STEPS = 12
"""Codes for each doubling of the rank beyond, so that a rank is within 3 % of what its code means."""


@dataclass(frozen=True)
class TrackedPayload:
    """What a page holds of tracked tokens.

    Attributes:
        head: what is said of them; None if there are none.
        arrays: their numbers by name, flat, (token, layer, position).
    """

    head: dict[str, Any] | None = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


def tracked_payload(tracked: Tracked | None, places: Mapping[int, int]) -> TrackedPayload:
    """What a page holds of tracked tokens.

    Args:
        places: token id -> its place among the texts of the page.
    """
    if tracked is None or not len(tracked):
        return TrackedPayload()
    cells = tracked.rank[0].size
    exact = min(len(tracked), MOST_EXACT // cells)
    kept = min(len(tracked), exact + MOST_COARSE // cells)
    head = {
        "places": [places[token] for token in tracked.token_ids[:kept].tolist()],
        "exact": exact,
        "exactTo": min(tracked.exact_to, (1 << 31) - 1),
        "limit": LIMIT,
        "left": len(tracked) - kept,
    }
    logs = np.ascontiguousarray(tracked.log_probability[:exact], dtype="<f2").view("<u2").ravel()
    arrays = {"tracked logs": logs, "tracked ranks": tracked.rank[:exact].ravel()}
    return TrackedPayload(head, arrays | {"tracked codes": coded(tracked.rank[exact:kept]).ravel()})


def coded(ranks: np.ndarray) -> np.ndarray:
    """Ranks -> uint8 codes: exact to 16, then twelve for each doubling; 0 beyond :data:`LIMIT`."""
    known = ranks <= LIMIT
    wide = np.where(known, ranks, 1).astype(np.float32)
    beyond = _EXACT + np.round(_STEPS * np.log2(np.maximum(wide, _EXACT) / _EXACT))
    return np.where(known, np.where(wide <= _EXACT, wide, beyond), 0).astype(np.uint8)

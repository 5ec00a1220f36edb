"""Attention weights of a result -> the data that the viewer unpacks: one byte each."""

from typing import Any, NamedTuple

import numpy as np

from bauklens.result.result import LensResult
from bauklens.result.tokens import visible

MOST, MOST_BRIEF = 4_000_000, 400_000
"""The most weights in a page, and in a notebook; if all heads are too many, it has the mean, or nothing."""


class AttentionPayload(NamedTuple):
    """The attention weights in a page.

    Attributes:
        head: their description; empty if none were kept.
        arrays: codes (layer, head or 1, position, source) uint8, flat.
    """

    head: dict[str, Any]
    arrays: dict[str, np.ndarray]


def attention_payload(lens: LensResult, *, brief: bool) -> AttentionPayload:
    """The part of a result's attention weights that a page has.

    Args:
        brief: whether to keep it small, for a notebook.
    """
    if lens.attended is None:
        return AttentionPayload({}, {})
    kept, most = lens.attended, MOST_BRIEF if brief else MOST
    has_heads = kept.has_heads and kept.weights.size <= most
    weights = kept.weights if has_heads or not kept.has_heads else kept.mean
    if weights.size > most:
        return AttentionPayload({"attention": {"layers": [], "heads": [], "tokens": []}}, {})
    head = {
        "layers": list(kept.layers),
        "heads": kept.heads.tolist() if has_heads else [],
        "tokens": [visible(token) for token in kept.tokens],
    }
    return AttentionPayload({"attention": head}, {"attention": coded(weights).ravel()})


def coded(weights: np.ndarray) -> np.ndarray:
    """Weights 0..1 -> uint8: 255 times their square roots, so that small ones stay distinct; all are within 0.004."""
    codes: np.ndarray = np.round(255 * np.sqrt(np.minimum(weights.astype(np.float32), 1))).astype(np.uint8)
    return codes

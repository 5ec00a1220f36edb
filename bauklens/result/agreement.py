"""How far the most probable tokens of two tables are the same."""

import numpy as np


def agreement(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether the most probable tokens are the same: two (..., k), most probable first -> (...) float32, 0 or 1."""
    alike: np.ndarray = (one[..., 0] == other[..., 0]).astype(np.float32)
    return alike


def overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The part of a top k that is in another, whatever the order: two (..., k) -> (...) float32, 0..1."""
    shared: np.ndarray = (one[..., :, None] == other[..., None, :]).any(axis=-1).mean(axis=-1, dtype=np.float32)
    return shared

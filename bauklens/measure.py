"""Pure functions on logits and states."""

from collections.abc import Iterator

import torch

_CACHE = 4 << 20
"""Bytes of a few rows of float32 that stay in the caches of most CPUs."""


def top_probabilities(logits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k most probable tokens of every row: softmax over the vocabulary, then the k largest.

    Args:
        logits: (..., vocabulary), any float dtype; the softmax is taken in float32.
        k: 1 .. vocabulary.

    Returns:
        ids (..., k) int64 and probabilities (..., k) float32 in 0..1, most probable first.
    """
    rows = logits.flatten(0, -2)
    ids = torch.empty(len(rows), k, dtype=torch.int64, device=logits.device)
    probabilities = torch.empty(len(rows), k, dtype=torch.float32, device=logits.device)
    for some in in_cache(rows):
        top = torch.softmax(rows[some], dim=-1, dtype=torch.float32).topk(k, dim=-1)
        ids[some], probabilities[some] = top.indices, top.values
    return ids.view(*logits.shape[:-1], k), probabilities.view(*logits.shape[:-1], k)


def in_cache(rows: torch.Tensor) -> Iterator[slice]:
    """Slices of (row, vocabulary): on a CPU so few rows that they stay in its cache, elsewhere all."""
    count = len(rows) if rows.device.type != "cpu" else max(1, _CACHE // (4 * rows.shape[-1]))
    return (slice(start, start + count) for start in range(0, len(rows), max(1, count)))


def whole_magnitude(states: torch.Tensor, axis: int, positions: int, streams: int) -> torch.Tensor:
    """The L2 norm at every position of states that are not (position, hidden): over all their other axes.

    Args:
        states: (layer, *shape).
        axis: which axis of the shape runs along the positions; what it has before them (a prefix) is left out.
        positions: how many there are.
        streams: places along the axis for each position, one stream after another.

    Returns:
        (layer, position) float32.
    """
    along = states.movedim(axis + 1, 1).flatten(2)[:, -streams * positions :]  # (layer, streams * position, rest)
    apart = along.reshape(len(states), streams, positions, -1)
    return magnitude(apart.transpose(1, 2).flatten(2))


def magnitude(states: torch.Tensor) -> torch.Tensor:
    """The L2 norm of every state, (..., hidden) -> (...) float32."""
    wide = torch.float64 if states.dtype == torch.float64 else torch.float32
    norms: torch.Tensor = torch.linalg.vector_norm(states, dim=-1, dtype=wide)
    return norms.float()

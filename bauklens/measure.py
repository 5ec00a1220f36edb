"""Pure functions on logits and states."""

import torch


def top_probabilities(logits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k most probable tokens of every row: softmax over the vocabulary, then the k largest.

    Args:
        logits: (..., vocabulary), any float dtype; the softmax is taken in float32.
        k: 1 .. vocabulary.

    Returns:
        ids (..., k) int64 and probabilities (..., k) float32 in 0..1, most probable first.
    """
    probabilities = torch.softmax(logits, dim=-1, dtype=torch.float32)
    top = probabilities.topk(k, dim=-1)
    return top.indices, top.values


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

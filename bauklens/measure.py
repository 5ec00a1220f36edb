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


def magnitude(states: torch.Tensor) -> torch.Tensor:
    """The L2 norm of every state, (..., hidden) -> (...) float32."""
    norms: torch.Tensor = torch.linalg.vector_norm(states, dim=-1, dtype=torch.float32)
    return norms

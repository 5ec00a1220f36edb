"""Pure functions on logits and states."""

import math
from collections.abc import Iterator

import torch
from torch import nn

_CACHE = 4 << 20
"""Bytes of a few rows of float32 that stay in the caches of most CPUs."""


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
    norms: torch.Tensor = torch.linalg.vector_norm(states, dim=-1, dtype=_wide(states[:0]).dtype)
    return norms.float()


def log_normalizer(logits: torch.Tensor) -> torch.Tensor:
    """log sum exp of the logits, less the largest of them first: (..., vocabulary) -> (...) float32.

    ``torch.logsumexp`` says the same, and takes four times as long on a CPU.
    """
    logits = _wide(logits)
    best = logits.amax(dim=-1, keepdim=True)
    return (logits - best).exp().sum(dim=-1).log() + best[..., 0]


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """The log of the softmax over the vocabulary, of any shape -> the same, float32.

    ``torch.log_softmax`` says the same to five digits alone, as it adds up in single precision, one after another.
    """
    return _wide(logits) - log_normalizer(logits)[..., None]


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """How spread a prediction is, ``H(p) = -sum p log p`` (Shannon 1948): (..., vocabulary) -> (...), nats.

    0 where one token is certain, log(vocabulary) where all are alike.
    """
    below = _wide(logits) - _wide(logits).amax(dim=-1, keepdim=True)
    weights = below.exp()
    total = weights.sum(dim=-1)
    finite = torch.where(weights > 0, below, 0)  # a token that is left out adds nothing
    return total.log() - (weights * finite).sum(dim=-1) / total


def kl_divergence(logits: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """``KL(p || q) = sum p (log p - log q)`` (Kullback and Leibler 1951), nats; at least 0, and 0 where they are alike.

    With p the final row and q a row of the lens, this is what the tuned lens minimizes (Belrose et al. 2023, eq. 3).

    Args:
        logits: (..., vocabulary), those of p.
        others: (..., vocabulary), those of q.

    Returns:
        (...) float32.
    """
    one, other = log_probabilities(logits), log_probabilities(others)
    probabilities = one.exp()
    return (probabilities * torch.where(probabilities > 0, one - other, 0)).sum(dim=-1).clamp_min(0)


def js_divergence(logits: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The Jensen-Shannon divergence (Lin 1991): the mean KL of p and of q to their mean, 0 .. log 2 nats.

    Args:
        logits: (..., vocabulary), of p.
        others: (..., vocabulary), of q.

    Returns:
        (...) float32.
    """
    one, other = log_probabilities(logits), log_probabilities(others)
    mean = torch.logaddexp(one, other) - math.log(2)
    return (kl_divergence(one, mean) + kl_divergence(other, mean)) / 2


def surprisal(logits: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """``-log p(token)``, the cross-entropy of a prediction with what came: (..., vocabulary), (...) -> (...), nats."""
    return log_normalizer(logits) - _wide(logits).gather(-1, token_ids[..., None])[..., 0]


def rank_of(logits: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """1 + how many tokens are more probable than this one: (..., vocabulary), (...) -> (...) int64, from 1.

    Tokens with the very same logit share the better rank.
    """
    own = logits.gather(-1, token_ids[..., None])
    return 1 + (logits > own).sum(dim=-1)


def overlap(top_ids: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The part of a top k that is in another, whatever the order: two (..., k) -> (...) float32, 0..1."""
    alike = top_ids[..., :, None] == others[..., None, :]  # (..., k, k)
    return alike.any(dim=-1).float().mean(dim=-1)


def cosine(states: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The cosine of the angle between states, (..., hidden) -> (...) float32, -1..1; 0 where one of them is 0."""
    return nn.functional.cosine_similarity(_wide(states), _wide(others), dim=-1)


def _wide(values: torch.Tensor) -> torch.Tensor:
    """Float64 as it is, every other dtype as float32."""
    return values if values.dtype == torch.float64 else values.float()

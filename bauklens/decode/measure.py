"""The formulas of the measures, each written once, and norms and cosines of states.

The formulas for logits are functions of the results of a pass over the vocabulary: the log of the softmax's
denominator, ``log Z``, and mean logits. So the exact pass and the one in bfloat16 share them.
"""

from collections.abc import Iterator

import torch
from torch import nn

from bauklens.decode import compiled

_CACHE = 4 << 20
"""How many bytes of float32 rows stay in the caches of most CPUs."""


def in_cache(rows: torch.Tensor) -> Iterator[slice]:
    """Slices of (row, vocabulary): on a CPU, few enough rows to stay in its cache; elsewhere, all rows."""
    count = len(rows) if rows.device.type != "cpu" else max(1, _CACHE // (4 * rows.shape[-1]))
    return (slice(start, start + count) for start in range(0, len(rows), max(1, count)))


def entropy(normalizer: torch.Tensor, mean_logit: torch.Tensor) -> torch.Tensor:
    """How spread a prediction is: ``H(p) = -sum p log p = log Z - sum p x`` (Shannon 1948), nats.

    0 if one token is certain, log(vocabulary) if all are alike.

    Args:
        normalizer: (row,), ``log Z = log sum exp x`` of logits x.
        mean_logit: (row,), ``sum p x``, the logits' mean under the prediction itself.

    Returns:
        (row,).
    """
    return normalizer - mean_logit


def kl_divergence(own_entropy: torch.Tensor, normalizer: torch.Tensor, mean_logit: torch.Tensor) -> torch.Tensor:
    """``KL(p || q) = sum p (log p - log q) = log Z(q) - sum p x(q) - H(p)`` (Kullback and Leibler 1951), nats, from 0.

    With p the final row and q a row of the lens, this is what the tuned lens minimizes (Belrose et al. 2023, eq. 3).

    Args:
        own_entropy: (row,), H(p).
        normalizer: (row,), log Z(q).
        mean_logit: (row,), ``sum p x(q)``, the mean under p of q's logits.

    Returns:
        (row,).
    """
    return (normalizer - mean_logit - own_entropy).clamp_min(0)


def js_divergence(entropy_of_mean: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The Jensen-Shannon divergence ``H((p + q) / 2) - (H(p) + H(q)) / 2`` (Lin 1991), 0 .. log 2 nats.

    Args:
        entropy_of_mean: (row,), H of the mean of p and q.
        one: (row,), H(p).
        other: (row,), H(q).

    Returns:
        (row,).
    """
    return (entropy_of_mean - (one + other) / 2).clamp_min(0)


def surprisal(normalizer: torch.Tensor, logit: torch.Tensor) -> torch.Tensor:
    """``-log p(token) = log Z - x(token)``, the cross-entropy with the actual token: (row,) twice -> (row,), nats."""
    return normalizer - logit


def rank_of(logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """1 + the number of tokens with a larger logit; tokens with exactly the same logit share the better rank.

    Args:
        logits: (row, vocabulary).
        chosen: (row, token), the logits of some tokens of each row.

    Returns:
        (row, token) float32, from 1.
    """
    if compiled.ready(logits):
        return 1 + compiled.above(logits, chosen).float()
    each = [(logits > chosen[:, place, None]).sum(dim=-1) for place in range(chosen.shape[1])]
    return 1 + torch.stack(each, dim=1).float()


def cosine(states: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The cosine of the angle between states, (..., hidden) -> (...) float32, -1..1; 0 if one of them is 0."""
    return nn.functional.cosine_similarity(_wide(states), _wide(others), dim=-1)


def magnitude(states: torch.Tensor) -> torch.Tensor:
    """The L2 norm of every state, (..., hidden) -> (...) float32."""
    norms: torch.Tensor = torch.linalg.vector_norm(states, dim=-1, dtype=_wide(states[:0]).dtype)
    return norms.float()


def whole_magnitude(states: torch.Tensor, axis: int, positions: int, streams: int) -> torch.Tensor:
    """The L2 norm at every position of states that are not (position, hidden): over all their other axes.

    Args:
        states: (layer, *shape).
        axis: which axis of the shape runs along the positions; a prefix before them is left out.
        positions: the number of positions.
        streams: places along the axis for each position, one stream after another.

    Returns:
        (layer, position) float32.
    """
    along = states.movedim(axis + 1, 1).flatten(2)[:, -streams * positions :]  # (layer, streams * position, rest)
    apart = along.reshape(len(states), streams, positions, -1)
    return magnitude(apart.transpose(1, 2).flatten(2))


def _wide(values: torch.Tensor) -> torch.Tensor:
    """Float64 as it is, every other dtype as float32."""
    return values if values.dtype == torch.float64 else values.float()

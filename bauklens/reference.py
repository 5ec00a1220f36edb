"""What the model itself says at every column of a table, which some measures set the rows against."""

from collections.abc import Collection
from dataclasses import replace

import torch

from bauklens.errors import LensError, out_of_memory
from bauklens.reading import Reference
from bauklens.unembed import Tile, Unembed, free_memory

_APART = 64
"""Tokens of each column whose part in the mean weights is computed in double precision."""


def reference_of(
    unembed: Unembed, topk: int, measures: Collection[str], offset: torch.Tensor | None, limit: int
) -> Reference:
    """The top k of the final states, the entropy, and what KL and JS need.

    Args:
        unembed: of the final states alone, (1, position, hidden), through the model's own norm.
        topk: tokens to keep.
        measures: those that are asked for.
        offset: (1, 1, vocabulary), what the rows that are set against it leave out of their logits.
        limit: columns to decode at once; it is halved where memory runs out.

    Raises:
        LensError: memory runs out for a single row.
    """
    whole, count = unembed.anatomy.whole, len(unembed.positions)
    limit, start = count if whole else min(limit, count), 0
    parts: list[Reference] = []
    while start < count:
        try:
            parts.append(_part(unembed, range(start, min(start + limit, count)), topk, measures, offset))
            start += limit
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if whole or limit == 1:
                raise LensError(f"out of memory for the model's own logits at {limit:,} positions: {error}") from None
            limit //= 2
            free_memory(error)
    names = [name for name, value in vars(parts[0]).items() if value is not None]
    return Reference(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def _part(
    unembed: Unembed, columns: range, topk: int, measures: Collection[str], offset: torch.Tensor | None
) -> Reference:
    logits = unembed.logits(Tile(range(1), columns))[0]
    probabilities = torch.softmax(logits, dim=-1, dtype=torch.float32)  # (column, vocabulary)
    probabilities /= probabilities.sum(dim=-1, keepdim=True)  # softmax adds in single precision, to five digits
    found = Reference(probabilities.topk(topk, dim=-1).indices, torch.special.entr(probabilities).sum(dim=-1))
    linear = "kl" in measures and unembed.is_linear
    kept = probabilities if "js" in measures or ("kl" in measures and not linear) else None
    if not linear:
        return replace(found, probabilities=kept)
    assert unembed.anatomy.post_ops is not None
    scale, weight = unembed.anatomy.post_ops.scale, unembed.head.weight[: probabilities.shape[1]]
    bias = getattr(unembed.head, "bias", None)
    constant = torch.zeros_like(found.entropy)
    if bias is not None:
        bias = bias[: len(weight)].float()
        constant = scale * (probabilities @ torch.where(bias.isfinite(), bias, 0))  # what is left out has no part
    constant = constant if offset is None else constant - probabilities @ offset[0, 0].float()
    weights = scale * _expected_weights(probabilities, weight)
    return replace(found, probabilities=kept, weights=weights, constant=constant)


def _expected_weights(probabilities: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(column, vocabulary), (vocabulary, width) -> (column, width) float64: the mean weights.

    The most probable tokens, which make up most of it, in double precision, and so to a digit more than by a product.
    """
    top = probabilities.topk(min(_APART, probabilities.shape[1]), dim=-1)
    rest = probabilities.scatter(1, top.indices, 0.0) @ weight
    most = torch.stack([row.double() @ weight[ids].double() for row, ids in zip(top.values, top.indices, strict=True)])
    return rest.double() + most

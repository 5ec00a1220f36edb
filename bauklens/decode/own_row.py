"""What the model itself says at every column of a table, which some measures set the rows against."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from bauklens.decode.measure import in_cache
from bauklens.decode.readout import Mean, Reading, Reference, Values
from bauklens.decode.unembed import Tile, Unembed, free_memory
from bauklens.errors import LensError, out_of_memory

_MOST = 64
"""The most probable tokens of each column, whose part in its mean is taken apart, and so to a digit more."""


Weigh = Callable[[torch.Tensor], torch.Tensor]
"""Probabilities (column, vocabulary) -> the mean of the head's weights (column, head width)."""


@dataclass(frozen=True)
class Own:
    """What the model itself says at every column, decoded once.

    Attributes:
        reference: what rows are set against.
        values: what is read off it as off any row, (column, ...).
        last_logits: (vocabulary,), at the last column.
    """

    reference: Reference
    values: Values
    last_logits: torch.Tensor


def own_of(
    unembed: Unembed, reading: Reading, offset: torch.Tensor | None, limit: int, weigh: Weigh | None = None
) -> Own:
    """The final states, read as a row, and as what other rows are set against: top k, entropy, what KL and JS need.

    Args:
        unembed: of the final states alone, (1, position, hidden), through the model's own norm.
        reading: what is read off every row.
        offset: (1, 1, vocabulary), what the rows that are set against it leave out of their logits.
        limit: columns to decode at once; it is halved where memory runs out.
        weigh: a product in the place of that with the head's weights, where less than their precision will do.

    Raises:
        LensError: memory runs out for a single row.
    """
    whole, count = unembed.anatomy.whole, len(unembed.positions)
    limit, start = count if whole else min(limit, count), 0
    parts: list[Own] = []
    while start < count:
        try:
            columns = range(start, min(start + limit, count))
            parts.append(_part(unembed, columns, reading, offset, weigh))
            start += limit
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if whole or limit == 1:
                raise LensError(f"out of memory for the model's own logits at {limit:,} positions: {error}") from None
            limit //= 2
            free_memory(error)
    values = {name: torch.cat([part.values[name] for part in parts]) for name in parts[0].values}
    return Own(_joined([part.reference for part in parts]), values, parts[-1].last_logits)


def _joined(parts: list[Any]) -> Any:
    """Parts of columns as one; tensors end to end, in whatever holds them."""
    first = parts[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(parts)
    if first is None:
        return None
    return type(first)(**{each.name: _joined([getattr(part, each.name) for part in parts]) for each in fields(first)})


def _part(unembed: Unembed, columns: range, reading: Reading, offset: torch.Tensor | None, weigh: Weigh | None) -> Own:
    logits = unembed.logits(Tile(range(1), columns))[0]
    values = reading.of(logits, torch.tensor(columns))
    values |= {name: torch.zeros(len(columns)) for name in ("kl", "js") if name in reading.measures}  # of itself
    return Own(_reference(unembed, logits, reading, offset, weigh), values, logits[-1].clone())


def _reference(
    unembed: Unembed, logits: torch.Tensor, reading: Reading, offset: torch.Tensor | None, weigh: Weigh | None
) -> Reference:
    topk, measures = reading.topk, reading.measures
    linear = "kl" in measures and unembed.is_linear
    elementwise = "js" in measures or ("kl" in measures and not linear)
    most = min(max(topk, _MOST), logits.shape[1])
    probabilities = torch.empty(logits.shape if linear or elementwise else (0,), device=logits.device)
    entropy, ids, probs = [], [], []
    for some in in_cache(logits):
        found = torch.softmax(logits[some], dim=-1, dtype=torch.float32)
        found /= found.sum(dim=-1, keepdim=True)  # softmax adds in single precision, to five digits
        entropy.append(torch.special.entr(found).sum(dim=-1))
        top = found.topk(most, dim=-1)
        ids.append(top.indices)
        probs.append(top.values)
        if linear or elementwise:
            probabilities[some] = found
    reference = Reference(torch.cat(ids)[:, :topk], torch.cat(entropy), probabilities.clone() if elementwise else None)
    if not linear:
        return reference
    most_ids, most_probs = torch.cat(ids), torch.cat(probs)
    weight, constant = unembed.head.weight[: logits.shape[1]], _constant(unembed, logits.shape[1], offset)
    scale = unembed.post_ops.scale
    each = [row.double() @ weight[some].double() for row, some in zip(most_probs, most_ids, strict=True)]
    rest = probabilities.scatter_(1, most_ids, 0.0)
    return replace(
        reference,
        most_ids=most_ids,
        most_probs=most_probs,
        most=Mean(scale * torch.stack(each), (most_probs * constant[most_ids]).sum(dim=-1)),
        rest=Mean(scale * (rest @ weight if weigh is None else weigh(rest)).double(), rest @ constant),
    )


def _constant(unembed: Unembed, vocabulary: int, offset: torch.Tensor | None) -> torch.Tensor:
    """(vocabulary,), what a row's logits have that is no function of its state; nothing of a token that is left out."""
    bias = getattr(unembed.head, "bias", None)
    constant = unembed.head.weight.new_zeros(vocabulary) if bias is None else unembed.post_ops.scale * bias[:vocabulary]
    constant = constant if offset is None else constant - offset[0, 0]
    return torch.where(constant.isfinite(), constant, 0).float()

"""What the model itself says at every column of a table, with which some measures compare the rows."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from bauklens.decode.exits import OwnLogits, Said
from bauklens.decode.measure import in_cache
from bauklens.decode.reading import Mean, Reading, Reference, Values, probabilities_of
from bauklens.decode.sharded import ShardedReading
from bauklens.decode.tiles import Some, Tile, in_tiles
from bauklens.decode.unembed import Unembed

_MOST = 64
"""How many of the most probable tokens of each column are averaged separately, which gains one digit of accuracy."""

Weigh = Callable[[torch.Tensor], torch.Tensor]
"""Probabilities (column, vocabulary) -> the mean of the head's weights (column, head width)."""


@dataclass(frozen=True)
class Own:
    """What the model itself says at every column, decoded once.

    Attributes:
        reference: what rows are compared with.
        values: the same results as for any row, (column, ...).
        precision: the dtype of its logits, as text.
    """

    reference: Reference
    values: Values
    precision: str


def own_of(
    own: OwnLogits,
    unembed: Unembed,
    reading: Reading,
    offset: torch.Tensor | None,
    limit: int,
    weigh: Weigh,
    compare: Callable[[range, Said], None] | None = None,
    show: Callable[[range, Values], None] | None = None,
) -> Own:
    """What the model itself says, read like a row, and as the reference for the KL and JS of other rows.

    Args:
        unembed: how the rows that are compared with it are decoded.
        reading: what is read from every row.
        offset: (1, vocabulary), what the rows that are compared with it leave out of their logits.
        limit: columns to decode at once; fewer if memory runs out.
        weigh: a product with the head's weights, which need not be exact to the last digit.
        compare: called with columns and what the model says at them.
        show: called with columns and their results, after they were compared.

    Raises:
        LensError: memory runs out for a single row.
    """

    def read(tile: Some) -> Own:
        assert isinstance(tile, Tile)
        said = own.at(tile.positions)
        logits = said.logits
        if compare is not None:
            compare(tile.positions, said)
        found = reading.with_measure("entropy").of(logits, torch.tensor(tile.positions, device="cpu"))
        if show is not None:
            show(tile.positions, found)
        if isinstance(reading, ShardedReading):
            reference = reading.reference_of(logits, torch.tensor(tile.positions, device="cpu"))
        else:
            reference = _reference(unembed, logits, found["entropy"], reading, offset, weigh)
        values = {name: value for name, value in found.items() if name != "entropy" or "entropy" in reading.measures}
        of_itself = torch.zeros(len(logits), dtype=torch.float32, device="cpu")
        values |= {name: of_itself for name in ("kl", "js") if name in reading.measures}
        return Own(reference, values, str(logits.dtype).removeprefix("torch."))

    count = len(unembed.rows.positions)
    first = max(0, count - limit)  # the last columns are looked at first
    tiles = [Tile(range(1), each) for each in (range(first, count), range(first)) if each]
    what = "for the model's own logits at a single position"
    found = {int(tile.numbers(count)[0]): part for tile, part in in_tiles(tiles, read, limit=limit, what=what)}
    parts = [found[place] for place in sorted(found)]
    values = {name: torch.cat([part.values[name] for part in parts]) for name in parts[0].values}
    return Own(_joined([part.reference for part in parts]), values, parts[0].precision)


def _joined(parts: list[Any]) -> Any:
    """Joins the parts of columns; tensors are put end to end, also inside other objects."""
    first = parts[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(parts)
    if first is None:
        return None
    return type(first)(**{each.name: _joined([getattr(part, each.name) for part in parts]) for each in fields(first)})


def _reference(
    unembed: Unembed,
    logits: torch.Tensor,
    entropy: torch.Tensor,
    reading: Reading,
    offset: torch.Tensor | None,
    weigh: Weigh,
) -> Reference:
    linear = "kl" in reading.measures and unembed.is_linear
    elementwise = "js" in reading.measures or ("kl" in reading.measures and not linear)
    most = min(max(reading.topk, _MOST), logits.shape[1])
    shape = logits.shape if linear or elementwise else (0,)
    probabilities = torch.empty(shape, dtype=torch.float32, device=logits.device)
    ids, probs = [], []
    for some in in_cache(logits):
        found = probabilities_of(logits[some])
        top = logits[some].topk(most, dim=-1).indices
        ids.append(top)
        probs.append(found.gather(1, top))
        if linear or elementwise:
            probabilities[some] = found
    most_ids, most_probs = torch.cat(ids), torch.cat(probs)
    reference = Reference(entropy, probabilities.clone() if elementwise else None)
    if not linear:
        return reference
    weight, constant = unembed.head.weight[: logits.shape[1]], _constant(unembed, logits.shape[1], offset)
    scale = unembed.post_ops.scale
    each = [row.double() @ weight[some].double() for row, some in zip(most_probs, most_ids, strict=True)]
    rest = probabilities.scatter_(1, most_ids, 0.0)
    return replace(
        reference,
        most_ids=most_ids,
        most_probs=most_probs,
        most=Mean(scale * torch.stack(each), (most_probs * constant[most_ids]).sum(dim=-1)),
        rest=Mean(scale * weigh(rest).double(), rest @ constant),
    )


def _constant(unembed: Unembed, vocabulary: int, offset: torch.Tensor | None) -> torch.Tensor:
    """(vocabulary,), the part of a row's logits that does not depend on its state; 0 for a token that is left out."""
    bias = getattr(unembed.head, "bias", None)
    constant = unembed.head.weight.new_zeros(vocabulary) if bias is None else unembed.post_ops.scale * bias[:vocabulary]
    constant = constant if offset is None else constant - offset[0]
    return torch.where(constant.isfinite(), constant, 0).float()

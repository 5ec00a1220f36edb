"""Whether what is shown is what the model says: the last row at every position, and some cells of the others."""

from dataclasses import dataclass
from functools import partial

import torch

from bauklens.decode.exits import OwnLogits
from bauklens.decode.reading import Values, probabilities_of
from bauklens.decode.sharded_check import difference_in_shards, prove_in_shards
from bauklens.decode.tiles import Some, Tile, in_tiles
from bauklens.decode.unembed import Rows, Unembed
from bauklens.model.proof import NotProvedError, allowed_difference, prove
from bauklens.model.read_position import position_read
from bauklens.stream.head_call import HeadCall, checksums_of
from bauklens.stream.run import Run

_LAYERS, _COLUMNS = 2, 6
"""Of the rows and columns of a table, those whose cells are compared with an early exit."""

TOKENS = 2048
"""The first tokens of the vocabulary, whose logits are compared at every position."""


@dataclass(frozen=True)
class Check:
    """What was compared with the model itself.

    Attributes:
        positions: those at which the last block's logits were decoded and compared with the model's own.
        logits: the largest difference there; None if the forward pass ended before the model's own logits.
        cells: those of earlier rows that were compared with an early exit.
        probability: the largest difference there of a probability that is shown; None if none was compared.
        only: the one position whose logits the model returns; None if it returns those of each.
    """

    positions: int = 0
    logits: float | None = None
    cells: int = 0
    probability: float | None = None
    only: int | None = None


def own_difference(unembed: Unembed, tile: Tile, own: OwnLogits, limit: int) -> float:
    """The largest difference of the logits of the last block's output from the model's own, at every column.

    Args:
        unembed: how the table is decoded.
        tile: the row of the last block.
        limit: rows to decode at once.

    Raises:
        NotProvedError: it is more than rounding.
    """
    dtype = unembed.rows.states.dtype

    def difference(some: Some) -> float:
        assert isinstance(some, Tile)
        logits = own.at(some.positions)
        if unembed.shard is not None:
            decoded = unembed.shard.alike(partial(unembed.logits, some))
            return prove_in_shards(unembed.shard, unembed.anatomy, decoded, logits, dtype)
        by_parts = _difference_by_parts(unembed, some, own.head(some.positions), logits)
        return prove(unembed.anatomy, unembed.logits(some), logits, dtype) if by_parts is None else by_parts

    smallest = tile.count if unembed.anatomy.whole else 1
    return max((each for _, each in in_tiles([tile], difference, limit=limit, smallest=smallest)), default=0.0)


def _difference_by_parts(unembed: Unembed, tile: Tile, call: HeadCall | None, own: torch.Tensor) -> float | None:
    """As :func:`own_difference`, without the whole product; None if that is needed.

    The head's input here must equal its input in the forward pass, bit for bit, and the model must have returned its
    head's output. Only the product between them is left. It is measured for some tokens at every position, and for all
    tokens at the last position of the tile.

    Args:
        own: (column, vocabulary), the model's own logits.
    """
    if call is None or not unembed.by_product:
        return None
    inputs = unembed.head_inputs(tile)
    if not (torch.equal(inputs, call.inputs) and torch.equal(checksums_of(own), call.checksums)):
        return None
    some = slice(0, TOKENS)
    bias = unembed.head.bias
    part = torch.nn.functional.linear(inputs, unembed.head.weight[some], None if bias is None else bias[some])
    dtype = unembed.rows.states.dtype
    try:
        return max(
            prove(unembed.anatomy, part[:, : own.shape[1]], own[:, some], dtype),
            prove(unembed.anatomy, unembed.after_inputs(inputs[-1:]), own[-1:], dtype),
        )
    except NotProvedError:
        return None


def compared_cells(run: Run, unembed: Unembed, offset: torch.Tensor | None, values: Values, promised: float) -> Check:
    """Compares the top tokens of some cells with those that an early exit gives for the whole prompt.

    If states are decoded whole, there is nothing to compare, as that is how an early exit decodes them.

    Args:
        unembed: how the table was decoded.
        offset: (1, vocabulary), what was left out of all logits.
        values: what was read, (layer, column, ...).
        promised: by how much a probability may be off, beyond rounding.

    Raises:
        NotProvedError: a cell shows other tokens or probabilities.
    """
    rows, anatomy = unembed.rows, run.anatomy
    if anatomy.whole:
        return Check()
    layers = _spread([row for row, label in enumerate(rows.labels) if not _is_last(rows, label, run)], _LAYERS)
    columns = torch.tensor(_spread(_exiting(run, rows.positions), _COLUMNS), dtype=torch.int64, device="cpu")
    if not len(columns):
        return Check()
    positions = torch.tensor(rows.positions, device="cpu")[columns]

    def difference(row: int) -> float:
        logits = unembed.exit(row, positions)
        logits = logits if offset is None else logits - offset
        if unembed.shard is None:
            return _difference(run, rows.labels[row], values, row, columns, logits.cpu(), promised)
        ids, shown = values["top_ids"][row, columns], values["top_probs"][row, columns]
        return difference_in_shards(unembed.shard, run, rows.labels[row], logits, ids, shown)

    return Check(cells=len(layers) * len(columns), probability=max(map(difference, layers), default=None))


def _exiting(run: Run, positions: list[int]) -> list[int]:
    """The columns at which the model can exit early: all, or the one whose logits it returns."""
    if not run.anatomy.alone:
        return list(range(len(positions)))
    read = position_read(run.model, run.inputs, run.anatomy.reads)
    return [column for column, position in enumerate(positions) if position == read]


def _is_last(rows: Rows, label: str, run: Run) -> bool:
    return rows.stream == "hidden" and label == run.anatomy.labels[-1]


def _spread(numbers: list[int], count: int) -> list[int]:
    """So many of some numbers, evenly, the first and the last among them."""
    if len(numbers) <= count:
        return numbers
    return [numbers[place * (len(numbers) - 1) // (count - 1)] for place in range(count)]


def _difference(
    run: Run, label: str, values: Values, row: int, columns: torch.Tensor, logits: torch.Tensor, promised: float
) -> float:
    """The largest difference of a probability shown in some cells of a row."""
    ids, shown = values["top_ids"][row, columns], values["top_probs"][row, columns]
    if not logits.isfinite().any(dim=-1).all() or logits.isnan().any():
        raise NotProvedError(f"the logits of row {label} are not finite in an early exit")
    logits = logits.float()
    allowed = allowed_difference(logits, run.final.dtype)[:, None]
    differences = (probabilities_of(logits).gather(1, ids) - shown).abs()
    right_order = logits.topk(ids.shape[1]).values - logits.gather(1, ids) <= 2 * allowed
    if (differences > promised + 2 * allowed).any() or not right_order.all():
        raise NotProvedError(
            f"row {label} of {run.anatomy.model_class} is not what an early exit of the model gives: a probability "
            f"differs by {differences.max():.3g}"
        )
    return float(differences.max())

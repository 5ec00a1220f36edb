"""Checks a table against the model itself: the last row at every position, and some cells of the other rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import torch

from bauklens.decode.exits import OwnLogits, Said
from bauklens.decode.reading import Values, probabilities_of
from bauklens.decode.sharded_check import differences_in_shards, prove_in_shards
from bauklens.decode.tiles import Some, Tile, in_tiles
from bauklens.decode.unembed import Rows, Unembed
from bauklens.model.proof import NotProvedError, allowed_difference, prove
from bauklens.model.read_position import position_read
from bauklens.stream.head_call import checksums_of
from bauklens.stream.run import Run

_LAYERS, _COLUMNS = 2, 6
"""How many rows and columns of a table have cells that are compared with an early exit."""

_FEW = 3
"""Columns of each prompt, if several are decoded together."""

_SUMS = 1e-6
"""The part of a probability by which sums over the vocabulary may differ, because of another order of addition."""

TOKENS = 2048
"""How many of the first tokens of the vocabulary have their logits compared at every position."""


@dataclass(frozen=True)
class Check:
    """What was compared with the model itself.

    Attributes:
        positions: the positions at which the last block's logits were decoded and compared with the model's own.
        logits: the largest difference there; None if the forward pass ended before the model's own logits.
        cells: the number of cells in earlier rows that were compared with an early exit.
        probability: the largest difference of a probability in these cells; None if none was compared.
        only: the one position whose logits the model returns; None if it returns those of each.
    """

    positions: int = 0
    logits: float | None = None
    cells: int = 0
    probability: float | None = None
    only: int | None = None


def own_difference(unembed: Unembed, tile: Tile, own: OwnLogits, limit: int) -> float:
    """The largest difference, over all columns, between the logits of the last block's output and the model's own.

    Args:
        unembed: how the table is decoded.
        tile: the row of the last block.
        limit: rows to decode at once.

    Raises:
        NotProvedError: it is more than rounding.
    """

    def difference(some: Some) -> float:
        assert isinstance(some, Tile)
        return _difference(unembed, some, own.at(some.positions))

    smallest = tile.count if unembed.anatomy.whole else 1
    return max((each for _, each in in_tiles([tile], difference, limit=limit, smallest=smallest)), default=0.0)


class OwnDifferences:
    """Like :func:`own_difference`, for each of several prompts, while the model's own logits are available.

    Args:
        unembed: how the table is decoded.
        row: that of the last block.
        parts: the columns of each prompt.
    """

    def __init__(self, unembed: Unembed, row: int, parts: Sequence[range]) -> None:
        self._unembed, self._row, self._parts = unembed, row, parts
        self.each = [0.0] * len(parts)

    def add(self, columns: range, said: Said) -> None:
        """Compares some columns; raises the errors of :func:`own_difference`."""
        for number, part in enumerate(self._parts):
            own = range(max(part.start, columns.start), min(part.stop, columns.stop))
            if own:
                there = said.of(slice(own.start - columns.start, own.stop - columns.start))
                found = _difference(self._unembed, Tile(range(self._row, self._row + 1), own), there)
                self.each[number] = max(self.each[number], found)


def _difference(unembed: Unembed, tile: Tile, said: Said) -> float:
    dtype = unembed.rows.states.dtype
    if unembed.shard is not None:
        decoded = unembed.shard.alike(partial(unembed.logits, tile))
        return prove_in_shards(unembed.shard, unembed.anatomy, decoded, said.logits, dtype)
    by_parts = _difference_by_parts(unembed, tile, said)
    return prove(unembed.anatomy, unembed.logits(tile), said.logits, dtype) if by_parts is None else by_parts


def _difference_by_parts(unembed: Unembed, tile: Tile, said: Said) -> float | None:
    """Like :func:`own_difference`, but without the whole product; None if that is needed.

    The head's input here must equal its input in the forward pass, bit for bit, and the model must have returned its
    head's output. Only the product between them is left. It is measured for some tokens at every position, and for all
    tokens at the last position of the tile.
    """
    call, own = said.call, said.logits
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


def compared_cells(
    run: Run,
    unembed: Unembed,
    offset: torch.Tensor | None,
    values: Values,
    promised: float,
    parts: Sequence[range],
    limit: int,
) -> list[Check]:
    """Compares the top tokens of some cells with those of an early exit for the whole prompt.

    If states are decoded whole, there is nothing to compare, because an early exit decodes them in the same way.

    Args:
        unembed: how the table was decoded.
        offset: (1, vocabulary), what was left out of all logits.
        values: the results, (layer, column, ...).
        promised: by how much a probability may be off, beyond rounding.
        parts: the columns of each prompt, if several ran as one.
        limit: positions to decode at once, of several prompts.

    Returns:
        The comparison for each part.

    Raises:
        NotProvedError: a cell shows other tokens or probabilities.
    """
    rows, anatomy = unembed.rows, run.anatomy
    count = _COLUMNS if run.together == 1 else _FEW
    each_columns = [] if anatomy.whole else [_spread(_exiting(run, rows.positions, part), count) for part in parts]
    columns = torch.tensor([column for each in each_columns for column in each], dtype=torch.int64, device="cpu")
    if not len(columns):
        return [Check() for _ in parts]
    layers = compared_layers(run, rows)
    positions = torch.tensor(rows.positions, device="cpu")[columns]

    def of_some(row: int, at: torch.Tensor, some: torch.Tensor) -> torch.Tensor:
        logits = unembed.exit(row, at)
        logits = logits if offset is None else logits - offset
        if unembed.shard is None:
            return _differences(run, rows.labels[row], values, row, some, logits.cpu(), promised)
        ids, shown = values["top_ids"][row, some], values["top_probs"][row, some]
        return differences_in_shards(unembed.shard, run, rows.labels[row], logits, ids, shown)

    def differences(row: int) -> torch.Tensor:
        """(column,)."""
        return torch.cat([of_some(row, positions[some], columns[some]) for some in _at_once(run, each_columns, limit)])

    worst = torch.stack([differences(row) for row in layers]).amax(dim=0) if layers else None
    counts = [len(each) for each in each_columns]
    each_worst = [None] * len(parts) if worst is None else [_largest(each) for each in torch.split(worst, counts)]
    return [
        Check(cells=len(layers) * count, probability=largest) for count, largest in zip(counts, each_worst, strict=True)
    ]


def compared_layers(run: Run, rows: Rows) -> list[int]:
    """The layers of a table whose cells are compared."""
    return _spread([row for row, label in enumerate(rows.labels) if not _is_last(rows, label, run)], _LAYERS)


def _at_once(run: Run, each_columns: Sequence[list[int]], limit: int) -> list[slice]:
    """Which columns exit together: those of one prompt, or of as many prompts as fit into a limit of positions."""
    prompts = max(1, limit // run.length)
    ends = [0, *accumulate(map(len, each_columns))]
    starts = range(0, len(each_columns), prompts)
    return [slice(ends[start], ends[min(start + prompts, len(each_columns))]) for start in starts]


def _largest(differences: torch.Tensor) -> float | None:
    return float(differences.max()) if len(differences) else None


def _exiting(run: Run, positions: list[int], part: range) -> list[int]:
    """The columns of a part at which the model can exit early: all, or the one whose logits it returns."""
    if not run.anatomy.single:
        return list(part)
    read = position_read(run.model, run.inputs, run.anatomy.reads)
    return [column for column in part if positions[column] == read]


def _is_last(rows: Rows, label: str, run: Run) -> bool:
    return rows.stream == "hidden" and label == run.anatomy.labels[-1]


def _spread(numbers: list[int], count: int) -> list[int]:
    """Some of the numbers, evenly spread, including the first and the last."""
    if len(numbers) <= count:
        return numbers
    return [numbers[place * (len(numbers) - 1) // (count - 1)] for place in range(count)]


def _differences(
    run: Run, label: str, values: Values, row: int, columns: torch.Tensor, logits: torch.Tensor, promised: float
) -> torch.Tensor:
    """(column,), the largest difference of a probability in each of some cells of a row."""
    ids, shown = values["top_ids"][row, columns], values["top_probs"][row, columns]
    if not logits.isfinite().any(dim=-1).all() or logits.isnan().any():
        raise NotProvedError(f"the logits of row {label} are not finite in an early exit")
    logits = logits.float()
    allowed = allowed_difference(logits, run.final.dtype)[:, None]
    differences = (probabilities_of(logits).gather(1, ids) - shown).abs()
    right_order = logits.topk(ids.shape[1]).values - logits.gather(1, ids) <= 2 * allowed
    if (differences > promised + 2 * allowed + _SUMS * shown).any() or not right_order.all():
        raise NotProvedError(
            f"row {label} of {run.anatomy.model_class} differs from an early exit of the model: a probability is off "
            f"by {differences.max():.3g}"
        )
    return differences.amax(dim=1)

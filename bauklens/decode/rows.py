"""States -> the most probable tokens, a tile of rows at a time, in the model's precision or a lower that is certain."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import nn

from bauklens.decode import bfloat16
from bauklens.decode.bfloat16 import LowPrecisionHead
from bauklens.decode.measure import overlap
from bauklens.decode.own_row import Own, Weigh, own_of
from bauklens.decode.readout import Reading, Values
from bauklens.decode.unembed import Tile, Unembed, free_memory
from bauklens.errors import LensError, out_of_memory
from bauklens.model.anatomy import Anatomy
from bauklens.model.tail import Tail, replaying
from bauklens.progress import bar
from bauklens.result.measures import MEASURES

_TRIAL = 32
"""Rows that are tried in low precision first."""

_TRIED = 4
"""Of these, how many are compared with full precision."""

_LOGIT_BYTES = 128 << 20
"""Size of one tile's logits in float32; about one such tensor is alive at a time."""


@dataclass(frozen=True)
class Decoded:
    """The decoded rows.

    Attributes:
        values: what was read, (layer, position, ...), on the CPU: ``top_ids``, ``top_probs``, every measure that is one
            of logits, and ``target_logits``, ``target_probs`` and ``target_ranks`` where tokens were followed.
        last_logits: (vocabulary,), the logits of the last row at the last position, in the model's own precision.
        precision: the dtype of the logits: the model's own; or "bfloat16", where their best were scored again in it.
        redone: rows that bfloat16 could not be vouched for, and that were decoded again in the model's own.
    """

    values: Values
    last_logits: torch.Tensor
    precision: str
    redone: int


class _Piece(NamedTuple):
    """Some rows, decoded.

    Attributes:
        rows: (row,) int64, their numbers, layer by layer.
        values: what was read, (row, ...).
    """

    rows: torch.Tensor
    values: Values


class _Exact:
    """Rows decoded in the model's own precision.

    Attributes:
        precision: the dtype of the logits, as text.
        redone: rows that were decoded twice.
        waiting: rows that wait to be decoded in the model's own precision.
        limit: rows to decode at once.
        reading: what is read.
        last_logits: (vocabulary,), of the last row so far.
    """

    precision, redone, limit, waiting = "", 0, 0, 0
    weigh = None

    def __init__(self, unembed: Unembed, reading: Reading, offset: torch.Tensor | None) -> None:
        self.last_logits, self.reading = torch.empty(0), reading
        self._unembed, self._offset = unembed, offset

    def pieces(self, tile: Tile) -> Iterator[_Piece]:
        """The rows of a tile."""
        inputs, logits = self._unembed.inputs_and_logits(tile)
        logits = logits if self._offset is None else logits - self._offset
        self.precision = str(logits.dtype).removeprefix("torch.")
        self.last_logits = logits[-1, -1].clone()
        rows = self._unembed.rows(tile)
        yield _Piece(rows, self.reading.of(logits.flatten(0, 1), self._unembed.columns(rows), inputs))

    def rest(self) -> Iterator[_Piece]:
        """The rows that are still missing after all tiles: none."""
        yield from ()


class _Mixed:
    """Rows decoded in low precision; those that cannot be vouched for are gathered, and decoded in the model's own.

    Attributes: as of :class:`_Exact`.
    """

    precision, limit = "bfloat16", 0

    def __init__(self, unembed: Unembed, reading: Reading, trial: Tile) -> None:
        self.redone, self.reading = 0, reading
        self._trial, self._trial_rows = unembed.head_inputs(trial), unembed.rows(trial)
        self._last_input = torch.empty(0)
        self._unembed = unembed
        self._head = LowPrecisionHead(unembed.head, unembed.anatomy.vocabulary, unembed.post_ops.scale, self._trial)
        self._rows, self._inputs = torch.empty(0, dtype=torch.int64), torch.empty(0)  # of the rows that wait

    def pieces(self, tile: Tile) -> Iterator[_Piece]:
        """The rows of a tile that can be vouched for, and now and then some that waited."""
        rows, inputs = self._unembed.rows(tile), self._unembed.head_inputs(tile)
        found = self._head.read(inputs, self.reading, self._unembed.columns(rows))
        sure = found.certain
        yield _Piece(rows[sure], {name: value[sure] for name, value in found.values.items()})
        self._last_input = inputs[-1:].clone()
        self._rows = torch.cat([self._rows, rows[~sure]])
        self._inputs = torch.cat([self._inputs.to(inputs), inputs[~sure]])

    def weigh(self, probabilities: torch.Tensor) -> torch.Tensor:
        """As :meth:`bauklens.decode.bfloat16.LowPrecisionHead.mean_weights`."""
        return self._head.mean_weights(probabilities)

    @property
    def last_logits(self) -> torch.Tensor:
        """(vocabulary,), of the last row so far, in the model's own precision."""
        return self._unembed.after_inputs(self._last_input)[0].clone()

    @property
    def waiting(self) -> int:
        """Rows that wait."""
        return len(self._rows)

    def is_worth_it(self) -> bool:
        """Whether most rows of the trial can be vouched for, and a few of these are what they are in full precision."""
        found = self._head.read(self._trial, self.reading, self._unembed.columns(self._trial_rows))
        sure = found.certain.nonzero()[:, 0]
        if 2 * len(sure) < len(self._trial):
            return False
        some = sure[:: max(1, len(sure) // _TRIED)]
        exact = self._exactly(self._trial_rows[some], self._trial[some])
        return bool((found.values["top_probs"][some] - exact["top_probs"]).abs().max() <= bfloat16.TOLERANCE)

    def rest(self) -> Iterator[_Piece]:
        """The rows that wait."""
        while len(self._rows):
            some = slice(0, max(1, self.limit // 4))  # beside the logits in low precision, which are kept
            yield _Piece(self._rows[some], self._exactly(self._rows[some], self._inputs[some]))
            self.redone += len(self._rows[some])
            self._rows, self._inputs = self._rows[some.stop :], self._inputs[some.stop :]

    def _exactly(self, rows: torch.Tensor, inputs: torch.Tensor) -> Values:
        return self.reading.of(self._unembed.after_inputs(inputs), self._unembed.columns(rows), inputs)


def decode(
    model: nn.Module,
    anatomy: Anatomy,
    token_ids: torch.Tensor,
    states: torch.Tensor,
    positions: torch.Tensor,
    reading: Reading,
    *,
    norm: str | None = "own",
    final: torch.Tensor,
    precision: str = "auto",
    chunk_rows: int | None = None,
    labels: Sequence[str] | None = None,
    own_row: int | None = None,
) -> Decoded:
    """Decodes states to what is read off their logits.

    Args:
        token_ids: (1, prompt), the prompt's ids.
        states: (layer, position, hidden); or, where the model's states are not (position, hidden), whole states of the
            prompt, (layer, ...), which are decoded one after another.
        positions: (position,) int64 on the CPU, where in the prompt the states stand, or which of them count.
        reading: what to read; the reference that it needs is made here.
        norm, final: as for :func:`bauklens.model.tail.replaying`; final is (prompt, hidden).
        precision: ``"exact"``, the model's own; ``"auto"``, bfloat16 where that is faster, of the rows that can be
            vouched for (:mod:`bauklens.decode.bfloat16`).
        chunk_rows: most rows to decode at once; by default as many as make 128 MiB of logits. Where memory runs out, it
            is halved and the work goes on. A whole state is decoded at once.
        own_row: which of the layers is what the model itself says, if one is.
        labels: (layer,), what an error calls the rows; by default their numbers.

    Raises:
        LensError: logits are NaN or infinite, or memory runs out for a single row.
    """
    smallest = len(positions) if anatomy.whole else 1
    grid = (len(states), len(positions))
    found: Values = {}
    limit = chunk_rows or max(1, _LOGIT_BYTES // (4 * anatomy.vocabulary))
    everything = Tile(range(grid[0]), range(grid[1]))

    def tail_through(norm: str | None) -> AbstractContextManager[Tail]:
        to_head = anatomy.post_ops is not None
        return replaying(model, anatomy, norm, final, through=anatomy.norm, to_head=to_head)

    def unembedding(tail: Tail, states: torch.Tensor) -> Unembed:
        return Unembed(tail, anatomy, states, token_ids[0], positions)

    def own_through(tail: Tail, weigh: Weigh | None) -> Own:
        unembed = unembedding(tail, (final if anatomy.whole else final[positions.to(final.device)])[None])
        return own_of(unembed, reading, offset, max(1, limit // 4), weigh)  # fewer, beside other logits

    needs_reference = any(MEASURES[name].final for name in reading.measures)
    offset, own = None, None
    if norm == "final":
        with tail_through(norm) as tail:
            offset = unembedding(tail, states).constant_logits()  # left out, so that rows add up
    if needs_reference and norm != "own":
        with tail_through("own") as tail:
            reading = replace(reading, reference=own_through(tail, None).reference)
    with bar("Decoding", "row", total=everything.count) as rows_done, tail_through(norm) as tail:
        unembed = unembedding(tail, states)
        decoder: _Exact | _Mixed = _Exact(unembed, reading, offset)
        if precision == "auto" and _mixed_pays(unembed, everything.count, reading, offset):
            decoder = _tried(unembed, reading, everything.some(_TRIAL)) or decoder
        decoder.limit = limit
        if needs_reference and norm == "own":
            own = own_through(tail, decoder.weigh)
            decoder.reading = replace(reading, reference=own.reference)
        pending: list[Tile | None] = [None, everything]  # None stands for the rows that wait to the end
        if own is not None and own_row is not None:  # is decoded already
            pending = [None, *everything.without_layer(own_row)]

        def keep(piece: _Piece) -> None:
            if not piece.values["top_probs"].isfinite().all():
                raise _unfinite_logits(piece, positions, labels or [str(row) for row in range(grid[0])])
            _keep(found, piece, everything.count)
            rows_done.update(len(piece.rows))

        while pending:
            tile = pending.pop()
            if tile is not None and tile.count > (smallest if anatomy.whole else decoder.limit):
                pending += tile.halves()
                continue
            try:
                for piece in decoder.rest() if tile is None else decoder.pieces(tile):
                    keep(piece)
                if tile is not None and decoder.waiting > decoder.limit // 4:
                    pending.append(None)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                attempted = decoder.limit if tile is None else tile.count
                if attempted <= smallest:
                    rows = "a single layer" if anatomy.whole else "a single row"
                    raise LensError(f"out of memory on {states.device} for the logits of {rows}: {error}") from None
                decoder.limit = attempted // 2
                pending.append(tile)
                free_memory(error)
        if own is not None and own_row is not None:
            keep(_Piece(unembed.rows(everything.layer(own_row)), own.values))
        is_own = own is not None and own_row == grid[0] - 1
        last_logits = own.last_logits if own is not None and is_own else decoder.last_logits
    values = {name: value.view(*grid, *value.shape[1:]) for name, value in found.items()}
    if decoder.reading.reference is not None:
        own_ids = decoder.reading.reference.top_ids.cpu() if own_row is None else values["top_ids"][own_row]
        values["agreement"] = (values["top_ids"][..., 0] == own_ids[:, 0]).float()
        values["overlap"] = overlap(values["top_ids"], own_ids)
    precision = decoder.precision or str(last_logits.dtype).removeprefix("torch.")
    return Decoded(values, last_logits, precision, decoder.redone)


def _keep(found: Values, piece: _Piece, rows: int) -> None:
    """Puts what was read off some rows to its place among all."""
    for name, value in piece.values.items():
        if name not in found:
            found[name] = torch.empty(rows, *value.shape[1:], dtype=value.dtype)
        found[name][piece.rows] = value.cpu()


def _tried(unembed: Unembed, reading: Reading, trial: Tile) -> _Mixed | None:
    """Low precision, where a trial shows that it is worth it and there is memory for a second head."""
    try:
        low = _Mixed(unembed, reading, trial)
        return low if low.is_worth_it() else None
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        free_memory(error)
        return None


def _mixed_pays(unembed: Unembed, rows: int, reading: Reading, offset: torch.Tensor | None) -> bool:
    """Whether bfloat16 is faster here, its errors are those of a product alone, and nothing needs every logit."""
    anatomy = unembed.anatomy
    return (
        anatomy.post_ops is not None
        and anatomy.post_ops.cap is None
        and anatomy.post_ops.scale > 0
        and rows >= bfloat16.FEWEST_ROWS
        and anatomy.vocabulary >= bfloat16.FEWEST_TOKENS
        and reading.topk <= bfloat16.MOST_K
        and not any(MEASURES[name].exact for name in reading.measures)
        and not len(reading.targets)
        and offset is None
        and bfloat16.pays(unembed.states.device, unembed.head.weight.dtype)
    )


def _unfinite_logits(piece: _Piece, positions: torch.Tensor, labels: Sequence[str]) -> LensError:
    bad = (~piece.values["top_probs"].isfinite().all(dim=-1)).nonzero()[0, 0]
    row, column = divmod(int(piece.rows[bad]), len(positions))
    return LensError(
        f"the logits of row {labels[row]} at position {int(positions[column])} hold NaN or infinity "
        "(float16 overflows at 65,504: load the model with dtype='bfloat16' or 'float32')"
    )

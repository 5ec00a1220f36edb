"""States -> the most probable tokens, a tile of rows at a time, in the model's precision or a lower that is certain."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from tqdm.auto import tqdm

from bauklens import mixed
from bauklens.anatomy import Anatomy
from bauklens.errors import LensError, out_of_memory
from bauklens.measure import top_probabilities
from bauklens.mixed import LowPrecisionHead
from bauklens.replay import replaying
from bauklens.unembed import Tile, Unembed

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
        top_ids: (layer, position, k) int64, most probable first.
        top_probs: (layer, position, k) float32.
        last_logits: (vocabulary,), the logits of the last row at the last position, in the model's own precision.
        precision: the dtype of the logits: the model's own; or "bfloat16", where their best were scored again in it.
        redone: rows that bfloat16 could not be vouched for, and that were decoded again in the model's own.
    """

    top_ids: torch.Tensor
    top_probs: torch.Tensor
    last_logits: torch.Tensor
    precision: str
    redone: int


class _Piece(NamedTuple):
    """Some rows, decoded.

    Attributes:
        rows: (row,) int64, their numbers, layer by layer.
        ids, probabilities: (row, k).
    """

    rows: torch.Tensor
    ids: torch.Tensor
    probabilities: torch.Tensor


class _Exact:
    """Rows decoded in the model's own precision.

    Attributes:
        precision: the dtype of the logits, as text.
        redone: rows that were decoded twice.
        waiting: rows that wait to be decoded in the model's own precision.
        limit: rows to decode at once.
        last_logits: (vocabulary,), of the last row so far.
    """

    precision, redone, limit, waiting = "", 0, 0, 0

    def __init__(self, unembed: Unembed, topk: int, offset: torch.Tensor | None) -> None:
        self.last_logits = torch.empty(0)
        self._unembed, self._topk, self._offset = unembed, topk, offset

    def pieces(self, tile: Tile) -> Iterator[_Piece]:
        """The rows of a tile."""
        logits = self._unembed.logits(tile)
        logits = logits if self._offset is None else logits - self._offset
        self.precision = str(logits.dtype).removeprefix("torch.")
        self.last_logits = logits[-1, -1].clone()
        yield _Piece(self._unembed.rows(tile), *top_probabilities(logits.flatten(0, 1), self._topk))

    def rest(self) -> Iterator[_Piece]:
        """The rows that are still missing after all tiles: none."""
        yield from ()


class _Mixed:
    """Rows decoded in low precision; those that cannot be vouched for are gathered, and decoded in the model's own.

    Attributes: as of :class:`_Exact`.
    """

    precision, limit = "bfloat16", 0

    def __init__(self, unembed: Unembed, topk: int, trial: Tile) -> None:
        assert unembed.anatomy.post_ops is not None
        self.redone = 0
        self._trial = unembed.head_inputs(trial)
        self._last_input = torch.empty(0)
        self._unembed, self._topk = unembed, topk
        self._head = LowPrecisionHead(
            unembed.head, unembed.anatomy.vocabulary, unembed.anatomy.post_ops.scale, self._trial
        )
        self._rows, self._inputs = torch.empty(0, dtype=torch.int64), torch.empty(0)  # of the rows that wait

    def pieces(self, tile: Tile) -> Iterator[_Piece]:
        """The rows of a tile that can be vouched for, and now and then some that waited."""
        rows, inputs = self._unembed.rows(tile), self._unembed.head_inputs(tile)
        found = self._head.top(inputs, self._topk)
        yield _Piece(rows[found.certain], found.top_ids[found.certain], found.top_probs[found.certain])
        self._last_input = inputs[-1:].clone()
        waiting = torch.cat([self._inputs.to(inputs), inputs[~found.certain]])
        self._rows, self._inputs = torch.cat([self._rows, rows[~found.certain]]), waiting

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
        found = self._head.top(self._trial, self._topk)
        sure = found.certain.nonzero()[:, 0]
        if 2 * len(sure) < len(self._trial):
            return False
        some = sure[:: max(1, len(sure) // _TRIED)]
        _, probabilities = top_probabilities(self._unembed.after_inputs(self._trial[some]), self._topk)
        return bool((found.top_probs[some] - probabilities).abs().max() <= mixed.TOLERANCE)

    def rest(self) -> Iterator[_Piece]:
        """The rows that wait."""
        while len(self._rows):
            some = slice(0, max(1, self.limit // 4))  # beside the logits in low precision, which are kept
            yield _Piece(
                self._rows[some], *top_probabilities(self._unembed.after_inputs(self._inputs[some]), self._topk)
            )
            self.redone += len(self._rows[some])
            self._rows, self._inputs = self._rows[some.stop :], self._inputs[some.stop :]


def decode(
    model: nn.Module,
    anatomy: Anatomy,
    token_ids: torch.Tensor,
    states: torch.Tensor,
    positions: torch.Tensor,
    *,
    topk: int,
    norm: str | None = "own",
    final: torch.Tensor,
    precision: str = "auto",
    chunk_rows: int | None = None,
    labels: Sequence[str] | None = None,
) -> Decoded:
    """Decodes states to their most probable tokens.

    Args:
        token_ids: (1, prompt), the prompt's ids.
        states: (layer, position, hidden); or, where the model's states are not (position, hidden), whole states of the
            prompt, (layer, ...), which are decoded one after another.
        positions: (position,) int64 on the CPU, where in the prompt the states stand, or which of them count.
        topk: tokens to keep of each row.
        norm, final: as for :func:`bauklens.replay.replaying`; final is (prompt, hidden).
        precision: ``"exact"``, the model's own; ``"auto"``, bfloat16 where that is faster, of the rows that can be
            vouched for (:mod:`bauklens.mixed`).
        chunk_rows: most rows to decode at once; by default as many as make 128 MiB of logits. Where memory runs out, it
            is halved and the work goes on. A whole state is decoded at once.
        labels: (layer,), what an error calls the rows; by default their numbers.

    Raises:
        LensError: logits are NaN or infinite, or memory runs out for a single row.
    """
    smallest = len(positions) if anatomy.whole else 1
    grid = (len(states), len(positions))
    top_ids = torch.empty(grid[0] * grid[1], topk, dtype=torch.int64)
    top_probs = torch.empty(grid[0] * grid[1], topk, dtype=torch.float32)
    everything = Tile(range(grid[0]), range(grid[1]))
    pending: list[Tile | None] = [None, everything]  # None stands for the rows that wait to the end
    bar = tqdm(total=everything.count, desc="Decoding", unit="row", delay=2, leave=False, disable=None)
    to_head = anatomy.post_ops is not None
    with bar, replaying(model, anatomy, norm, final, through=anatomy.norm, to_head=to_head) as tail:
        unembed = Unembed(tail, anatomy, states, token_ids[0], positions)
        offset = unembed.constant_logits() if norm == "final" else None  # left out, so that rows add up
        decoder: _Exact | _Mixed = _Exact(unembed, topk, offset)
        if precision == "auto" and _mixed_pays(unembed, everything.count, topk, offset):
            decoder = _tried(unembed, topk, everything.some(_TRIAL)) or decoder
        decoder.limit = chunk_rows or max(1, _LOGIT_BYTES // (4 * anatomy.vocabulary))
        while pending:
            tile = pending.pop()
            if tile is not None and tile.count > (smallest if anatomy.whole else decoder.limit):
                pending += tile.halves()
                continue
            try:
                for piece in decoder.rest() if tile is None else decoder.pieces(tile):
                    if not piece.probabilities.isfinite().all():
                        raise _unfinite_logits(piece, positions, labels or [str(row) for row in range(grid[0])])
                    top_ids[piece.rows], top_probs[piece.rows] = piece.ids.cpu(), piece.probabilities.cpu()
                    bar.update(len(piece.rows))
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
                _free(error)
        last_logits = decoder.last_logits
    shape = (*grid, topk)
    return Decoded(top_ids.view(shape), top_probs.view(shape), last_logits, decoder.precision, decoder.redone)


def _tried(unembed: Unembed, topk: int, trial: Tile) -> _Mixed | None:
    """Low precision, where a trial shows that it is worth it and there is memory for a second head."""
    try:
        low = _Mixed(unembed, topk, trial)
        return low if low.is_worth_it() else None
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        _free(error)
        return None


def _mixed_pays(unembed: Unembed, rows: int, topk: int, offset: torch.Tensor | None) -> bool:
    """Whether bfloat16 is faster here, and its errors are those of a product alone."""
    anatomy = unembed.anatomy
    return (
        anatomy.post_ops is not None
        and anatomy.post_ops.cap is None
        and anatomy.post_ops.scale > 0
        and rows >= mixed.FEWEST_ROWS
        and anatomy.vocabulary >= mixed.FEWEST_TOKENS
        and topk <= mixed.MOST_K
        and offset is None
        and mixed.pays(unembed.states.device, unembed.head.weight.dtype)
    )


def _free(error: BaseException) -> None:
    """Lets go of what the failed attempt holds."""
    error.__traceback__ = None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _unfinite_logits(piece: _Piece, positions: torch.Tensor, labels: Sequence[str]) -> LensError:
    bad = (~piece.probabilities.isfinite().all(dim=-1)).nonzero()[0, 0]
    row, column = divmod(int(piece.rows[bad]), len(positions))
    return LensError(
        f"the logits of row {labels[row]} at position {int(positions[column])} hold NaN or infinity "
        "(float16 overflows at 65,504: load the model with dtype='bfloat16' or 'float32')"
    )

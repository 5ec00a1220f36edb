"""States -> logits -> the most probable tokens, by the model's own tail: only the logits of one tile of rows exist."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import nn
from tqdm.auto import tqdm

from bauklens import mixed
from bauklens.anatomy import Anatomy
from bauklens.errors import LensError, out_of_memory
from bauklens.measure import top_probabilities
from bauklens.mixed import LowPrecisionHead
from bauklens.replay import Tail, replaying

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


@dataclass(frozen=True)
class _Tile:
    """A rectangle of rows, layers x positions."""

    layers: range
    positions: range

    @property
    def count(self) -> int:
        return len(self.layers) * len(self.positions)

    @property
    def rows(self) -> slice:
        return slice(self.layers.start, self.layers.stop)

    @property
    def columns(self) -> slice:
        return slice(self.positions.start, self.positions.stop)

    def some(self, count: int) -> "_Tile":
        """About as many of its rows, of all layers, in the middle of the positions."""
        width = max(1, count // len(self.layers))
        start = max(0, (len(self.positions) - width) // 2)
        return _Tile(self.layers, self.positions[start : start + width])

    def halves(self) -> list["_Tile"]:
        """Two tiles that make up this one, the later first, so that the earlier is taken first from a stack."""
        if len(self.layers) > 1:
            middle = len(self.layers) // 2
            return [_Tile(self.layers[middle:], self.positions), _Tile(self.layers[:middle], self.positions)]
        middle = len(self.positions) // 2
        return [_Tile(self.layers, self.positions[middle:]), _Tile(self.layers, self.positions[:middle])]


class _Source:
    """The states to decode, and the three ways from a tile of them to logits.

    Args:
        states: (layer, position, hidden), or whole.
        token_ids: (prompt,).
        positions: (position,), where in the prompt the columns stand.
    """

    def __init__(
        self, tail: Tail, anatomy: Anatomy, states: torch.Tensor, token_ids: torch.Tensor, positions: torch.Tensor
    ) -> None:
        self.tail, self.anatomy, self.states = tail, anatomy, states
        self.token_ids, self.positions = token_ids, positions
        self._buffer = torch.empty(0)  # for the logits, as fresh memory costs as much as its use

    def logits(self, tile: _Tile) -> torch.Tensor:
        """(layer, position, vocabulary)."""
        if self.anatomy.whole:
            return self._whole_logits(self.states[tile.layers[0]], self.positions[tile.columns])
        return self._logits(self.states[tile.rows, tile.columns], self.positions[tile.columns])

    @property
    def head(self) -> nn.Linear:
        """The head, where its product is what decodes."""
        return cast("nn.Linear", self.tail.head)

    def rows(self, tile: _Tile) -> torch.Tensor:
        """(row,) int64, the numbers of a tile's rows, layer by layer."""
        layers, columns = torch.tensor(tile.layers), torch.tensor(tile.positions)
        return (layers[:, None] * len(self.positions) + columns).flatten()

    def constant_logits(self) -> torch.Tensor | None:
        """(1, 1, vocabulary), what the tail gives for nothing (the head's bias); None where that is nothing."""
        if self.anatomy.whole:
            logits = self._whole_logits(torch.zeros_like(self.states[0]), self.positions[:1])
        else:
            logits = self._logits(torch.zeros_like(self.states[:1, :1]), self.positions[:1])
        return logits.clone() if logits.any() else None

    def head_inputs(self, tile: _Tile) -> torch.Tensor:
        """(row, head width), layer by layer."""
        positions = self.positions[tile.columns]
        states = self.states[tile.rows, tile.columns]
        return self.tail.head_inputs(states, self.token_ids[positions], positions).flatten(0, 1)

    def after_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., head width) -> (..., vocabulary), which is good until this is called again."""
        assert self.anatomy.post_ops is not None
        rows, weight, bias = inputs.flatten(0, -2), self.head.weight, getattr(self.head, "bias", None)
        if self._buffer.dtype != inputs.dtype or len(self._buffer) < len(rows):
            self._buffer = inputs.new_empty(len(rows), len(weight))
        logits = self._buffer[: len(rows)]
        if bias is None:
            torch.mm(rows, weight.T, out=logits)
        else:
            torch.addmm(bias, rows, weight.T, out=logits)
        return self.anatomy.post_ops(logits.view(*inputs.shape[:-1], -1))[..., : self.anatomy.vocabulary]

    def _whole_logits(self, state: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return self.tail.whole_logits(state[None] if self.anatomy.plain else state, self.token_ids, positions)

    def _logits(self, states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        token_ids = self.token_ids[positions]
        if self.anatomy.post_ops is None:
            return self.tail.logits(states, token_ids, positions)
        return self.after_inputs(self.tail.head_inputs(states, token_ids, positions))


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

    def __init__(self, source: _Source, topk: int, offset: torch.Tensor | None) -> None:
        self.last_logits = torch.empty(0)
        self._source, self._topk, self._offset = source, topk, offset

    def pieces(self, tile: _Tile) -> Iterator[_Piece]:
        """The rows of a tile."""
        logits = self._source.logits(tile)
        logits = logits if self._offset is None else logits - self._offset
        self.precision = str(logits.dtype).removeprefix("torch.")
        self.last_logits = logits[-1, -1].clone()
        yield _Piece(self._source.rows(tile), *top_probabilities(logits.flatten(0, 1), self._topk))

    def rest(self) -> Iterator[_Piece]:
        """The rows that are still missing after all tiles: none."""
        yield from ()


class _Mixed:
    """Rows decoded in low precision; those that cannot be vouched for are gathered, and decoded in the model's own.

    Attributes: as of :class:`_Exact`.
    """

    precision, limit = "bfloat16", 0

    def __init__(self, source: _Source, topk: int, trial: _Tile) -> None:
        assert source.anatomy.post_ops is not None
        self.redone = 0
        self._trial = source.head_inputs(trial)
        self._last_input = torch.empty(0)
        self._source, self._topk = source, topk
        self._head = LowPrecisionHead(
            source.head, source.anatomy.vocabulary, source.anatomy.post_ops.scale, self._trial
        )
        self._rows, self._inputs = torch.empty(0, dtype=torch.int64), torch.empty(0)  # of the rows that wait

    def pieces(self, tile: _Tile) -> Iterator[_Piece]:
        """The rows of a tile that can be vouched for, and now and then some that waited."""
        rows, inputs = self._source.rows(tile), self._source.head_inputs(tile)
        found = self._head.top(inputs, self._topk)
        yield _Piece(rows[found.certain], found.top_ids[found.certain], found.top_probs[found.certain])
        self._last_input = inputs[-1:].clone()
        waiting = torch.cat([self._inputs.to(inputs), inputs[~found.certain]])
        self._rows, self._inputs = torch.cat([self._rows, rows[~found.certain]]), waiting

    @property
    def last_logits(self) -> torch.Tensor:
        """(vocabulary,), of the last row so far, in the model's own precision."""
        return self._source.after_inputs(self._last_input)[0].clone()

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
        _, probabilities = top_probabilities(self._source.after_inputs(self._trial[some]), self._topk)
        return bool((found.top_probs[some] - probabilities).abs().max() <= mixed.TOLERANCE)

    def rest(self) -> Iterator[_Piece]:
        """The rows that wait."""
        while len(self._rows):
            some = slice(0, max(1, self.limit // 4))  # beside the logits in low precision, which are kept
            yield _Piece(
                self._rows[some], *top_probabilities(self._source.after_inputs(self._inputs[some]), self._topk)
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
    everything = _Tile(range(grid[0]), range(grid[1]))
    pending: list[_Tile | None] = [None, everything]  # None stands for the rows that wait to the end
    bar = tqdm(total=everything.count, desc="Decoding", unit="row", delay=2, leave=False, disable=None)
    to_head = anatomy.post_ops is not None
    with bar, replaying(model, anatomy, norm, final, through=anatomy.norm, to_head=to_head) as tail:
        source = _Source(tail, anatomy, states, token_ids[0], positions)
        offset = source.constant_logits() if norm == "final" else None  # left out, so that rows add up
        decoder: _Exact | _Mixed = _Exact(source, topk, offset)
        if precision == "auto" and _mixed_pays(source, everything.count, topk, offset):
            decoder = _tried(source, topk, everything.some(_TRIAL)) or decoder
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


def _tried(source: _Source, topk: int, trial: _Tile) -> _Mixed | None:
    """Low precision, where a trial shows that it is worth it and there is memory for a second head."""
    try:
        low = _Mixed(source, topk, trial)
        return low if low.is_worth_it() else None
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        _free(error)
        return None


def _mixed_pays(source: _Source, rows: int, topk: int, offset: torch.Tensor | None) -> bool:
    """Whether bfloat16 is faster here, and its errors are those of a product alone."""
    anatomy = source.anatomy
    return (
        anatomy.post_ops is not None
        and anatomy.post_ops.cap is None
        and anatomy.post_ops.scale > 0
        and rows >= mixed.FEWEST_ROWS
        and anatomy.vocabulary >= mixed.FEWEST_TOKENS
        and topk <= mixed.MOST_K
        and offset is None
        and mixed.pays(source.states.device, source.head.weight.dtype)
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

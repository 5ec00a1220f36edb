"""States -> logits -> the most probable tokens, by the model's own tail: only the logits of one tile of rows exist."""

from dataclasses import dataclass

import torch
from torch import nn
from tqdm.auto import tqdm

from bauklens.anatomy import Anatomy
from bauklens.errors import LensError, out_of_memory
from bauklens.measure import top_probabilities
from bauklens.replay import Tail, replaying

_LOGIT_BYTES = 64 << 20
"""Size of one tile's logits in float32; a few such tensors are alive at a time."""


@dataclass(frozen=True)
class Decoded:
    """The decoded rows.

    Attributes:
        top_ids: (layer, position, k) int64, most probable first.
        top_probs: (layer, position, k) float32.
        last_logits: (vocabulary,), the logits of the last row at the last position.
    """

    top_ids: torch.Tensor
    top_probs: torch.Tensor
    last_logits: torch.Tensor


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

    def halves(self) -> list["_Tile"]:
        """Two tiles that make up this one, the later first, so that the earlier is taken first from a stack."""
        if len(self.layers) > 1:
            middle = len(self.layers) // 2
            return [_Tile(self.layers[middle:], self.positions), _Tile(self.layers[:middle], self.positions)]
        middle = len(self.positions) // 2
        return [_Tile(self.layers, self.positions[middle:]), _Tile(self.layers, self.positions[:middle])]


@dataclass(frozen=True)
class _Source:
    """The states to decode, and the three ways from a tile of them to logits.

    Attributes:
        token_ids: (prompt,).
        positions: (position,), where in the prompt the columns stand.
    """

    tail: Tail
    anatomy: Anatomy
    states: torch.Tensor
    token_ids: torch.Tensor
    positions: torch.Tensor

    def logits(self, tile: _Tile) -> torch.Tensor:
        """(layer, position, vocabulary)."""
        if self.anatomy.whole:
            return self._whole_logits(self.states[tile.layers[0]], self.positions[tile.columns])
        return self._logits(self.states[tile.rows, tile.columns], self.positions[tile.columns])

    def constant_logits(self) -> torch.Tensor:
        """(1, 1, vocabulary), what the tail gives for nothing (the head's bias)."""
        if self.anatomy.whole:
            return self._whole_logits(torch.zeros_like(self.states[0]), self.positions[:1])
        return self._logits(torch.zeros_like(self.states[:1, :1]), self.positions[:1])

    def _whole_logits(self, state: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return self.tail.whole_logits(state[None] if self.anatomy.plain else state, self.token_ids, positions)

    def _logits(self, states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        token_ids = self.token_ids[positions]
        if self.anatomy.post_ops is None:
            return self.tail.logits(states, token_ids, positions)
        logits = self.tail.head(self.tail.head_inputs(states, token_ids, positions))
        return self.anatomy.post_ops(logits)[..., : self.anatomy.vocabulary]


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
    tile_rows: int | None = None,
) -> Decoded:
    """Decodes states to their most probable tokens.

    Args:
        token_ids: (1, prompt), the prompt's ids.
        states: (layer, position, hidden); or, where the model's states are not (position, hidden), whole states of the
            prompt, (layer, ...), which are decoded one after another.
        positions: (position,) int64 on the CPU, where in the prompt the states stand, or which of them count.
        topk: tokens to keep of each row.
        norm, final: as for :func:`bauklens.replay.replaying`; final is (prompt, hidden).
        tile_rows: most rows to decode at once; by default as many as make 64 MiB of logits. Where memory runs out, the
            tile is halved and the work goes on. A whole state is one tile.

    Raises:
        LensError: logits are NaN or infinite, or memory runs out for a single row.
    """
    smallest = len(positions) if anatomy.whole else 1
    limit = smallest if anatomy.whole else max(1, tile_rows or _LOGIT_BYTES // (4 * anatomy.vocabulary))
    shape = (len(states), len(positions), topk)
    top_ids = torch.empty(shape, dtype=torch.int64)
    top_probs = torch.empty(shape, dtype=torch.float32)
    last_logits = torch.empty(0)
    pending = [_Tile(range(shape[0]), range(shape[1]))]
    bar = tqdm(total=shape[0] * shape[1], desc="Decoding", unit="row", delay=2, leave=False, disable=None)
    to_head = anatomy.post_ops is not None
    with bar, replaying(model, anatomy, norm, final, through=anatomy.norm, to_head=to_head) as tail:
        source = _Source(tail, anatomy, states, token_ids[0], positions)
        offset = source.constant_logits() if norm == "final" else 0.0  # left out, so that rows add up
        while pending:
            tile = pending.pop()
            if tile.count > limit:
                pending += tile.halves()
                continue
            try:
                logits = source.logits(tile) - offset
                ids, probabilities = top_probabilities(logits, topk)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if tile.count <= smallest:
                    rows = "a single layer" if anatomy.whole else "a single row"
                    raise LensError(f"out of memory on {states.device} for the logits of {rows}: {error}") from None
                limit = tile.count // 2
                pending.append(tile)
                _free(error)
                continue
            if not probabilities.isfinite().all():
                raise _unfinite_logits(probabilities, tile, positions)
            top_ids[tile.rows, tile.columns], top_probs[tile.rows, tile.columns] = ids.cpu(), probabilities.cpu()
            if not pending:
                last_logits = logits[-1, -1].clone()
            bar.update(tile.count)
            del logits  # before the next tile's are made
    return Decoded(top_ids, top_probs, last_logits)


def _free(error: BaseException) -> None:
    """Lets go of what the failed attempt holds."""
    error.__traceback__ = None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _unfinite_logits(probabilities: torch.Tensor, tile: _Tile, positions: torch.Tensor) -> LensError:
    row, place = (~probabilities.isfinite().all(dim=-1)).nonzero()[0].tolist()
    position = int(positions[tile.positions[place]])
    return LensError(
        f"the logits of row {tile.layers[row]} at position {position} hold NaN or infinity "
        "(float16 overflows at 65,504: load the model with dtype='bfloat16' or 'float32')"
    )

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
    def rows(self) -> int:
        return len(self.layers) * len(self.positions)

    def halves(self) -> list["_Tile"]:
        """Two tiles that make up this one, the later first, so that the earlier is taken first from a stack."""
        if len(self.layers) > 1:
            middle = len(self.layers) // 2
            return [_Tile(self.layers[middle:], self.positions), _Tile(self.layers[:middle], self.positions)]
        middle = len(self.positions) // 2
        return [_Tile(self.layers, self.positions[middle:]), _Tile(self.layers, self.positions[:middle])]


@dataclass(frozen=True)
class _Product:
    """The fast way: the model's own forward as far as the head's input, and the product with the head's weights."""

    tail: Tail
    anatomy: Anatomy

    def __call__(self, states: torch.Tensor, token_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(layer, position, hidden) -> (layer, position, vocabulary)."""
        assert self.anatomy.post_ops is not None
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
    smallest = 1 if anatomy.plain else len(positions)
    limit = max(smallest, tile_rows or _LOGIT_BYTES // (4 * anatomy.vocabulary)) if anatomy.plain else smallest
    shape = (len(states), len(positions), topk)
    top_ids = torch.empty(shape, dtype=torch.int64)
    top_probs = torch.empty(shape, dtype=torch.float32)
    last_logits = torch.empty(0)
    pending = [_Tile(range(shape[0]), range(shape[1]))]
    bar = tqdm(total=shape[0] * shape[1], desc="Decoding", unit="row", delay=2, leave=False, disable=None)
    by_product = anatomy.post_ops is not None
    with bar, replaying(model, anatomy, norm, final, through=anatomy.norm, to_head=by_product) as tail:
        decode_rows = _Product(tail, anatomy) if by_product else tail.logits
        offset = None
        if norm == "final":  # what the tail gives for nothing (the head's bias) is left out, so that rows add up
            offset = decode_rows(torch.zeros_like(states[:1, :1]), token_ids[0, positions[:1]], positions[:1])
        while pending:
            tile = pending.pop()
            if tile.rows > limit:
                pending += tile.halves()
                continue
            layers, places = (
                slice(tile.layers.start, tile.layers.stop),
                slice(tile.positions.start, tile.positions.stop),
            )
            where = positions[places]
            try:
                if anatomy.plain:
                    logits = decode_rows(states[layers, places], token_ids[0, where], where)
                else:
                    logits = tail.whole_logits(states[tile.layers[0]], token_ids[0], where)
                logits = logits if offset is None else logits - offset
                ids, probabilities = top_probabilities(logits, topk)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if tile.rows <= smallest:
                    rows = "a single row" if anatomy.plain else "a single layer"
                    raise LensError(f"out of memory on {states.device} for the logits of {rows}: {error}") from None
                limit = tile.rows // 2
                pending.append(tile)
                _free(error)
                continue
            if not probabilities.isfinite().all():
                raise _unfinite_logits(probabilities, tile, where)
            top_ids[layers, places], top_probs[layers, places] = ids.cpu(), probabilities.cpu()
            if not pending:
                last_logits = logits[-1, -1].clone()
            bar.update(tile.rows)
            del logits  # before the next tile's are made
    return Decoded(top_ids, top_probs, last_logits)


def _free(error: BaseException) -> None:
    """Lets go of what the failed attempt holds."""
    error.__traceback__ = None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _unfinite_logits(probabilities: torch.Tensor, tile: _Tile, positions: torch.Tensor) -> LensError:
    row, place = (~probabilities.isfinite().all(dim=-1)).nonzero()[0].tolist()
    return LensError(
        f"the logits of row {tile.layers[row]} at position {int(positions[place])} hold NaN or infinity "
        "(float16 overflows at 65,504: load the model with dtype='bfloat16' or 'float32')"
    )

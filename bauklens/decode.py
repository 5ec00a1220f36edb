"""States -> logits -> the most probable tokens, a tile of rows at a time, by the model's own tail.

The model's own forward is replayed with its blocks standing aside, so that its own code applies the final norm, the
head, and whatever comes after it (a soft-cap, a scale, a cast). Only the logits of one tile exist at a time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from bauklens.anatomy import Anatomy
from bauklens.calls import model_logits
from bauklens.errors import LensError, out_of_memory
from bauklens.measure import top_probabilities
from bauklens.trace import evaluating, swapped, with_state

_LOGIT_BYTES = 64 << 20
"""Size of one tile's logits in float32; a few such tensors are alive at a time."""

_EPSILON_NAMES = ("eps", "epsilon", "variance_epsilon")

_MOVED = 0.1
"""Of the largest normed value: a shift of all by one scale moves a LayerNorm by rounding, an RMSNorm by more."""


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


class Tail:
    """The model's own tail as a function of states; made by :func:`replaying`, and good while that lasts."""

    def __init__(self, model: nn.Module, anatomy: Anatomy) -> None:
        self.positions = torch.empty(0, dtype=torch.int64)
        self._model = model
        self._anatomy = anatomy
        self._states = torch.empty(0)

    def logits(self, states: torch.Tensor, token_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(layer, position, hidden) -> (layer, position, vocabulary).

        Args:
            states: the states to decode.
            token_ids: (position,), the prompt's ids at these positions: the replay is given them as its input.
            positions: (position,), where in the prompt the states stand.
        """
        self._states, self.positions = states, positions
        return model_logits(self._model, token_ids.expand(len(states), -1))

    def whole_logits(self, state: torch.Tensor, token_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """A state of any shape, of the whole prompt -> (1, position, vocabulary), at some of its positions.

        Args:
            token_ids: (prompt,), the prompt's ids.
        """
        self._states = state
        return model_logits(self._model, token_ids[None])[:, positions]

    def block_output(self) -> Any:
        """What a block that stands aside returns: a copy, as a model may change it in place."""
        return with_state(self._anatomy.block_output, self._states.clone(), self._anatomy.parts)


class _StandIn(nn.Module):
    """Takes a module's place and has its attributes, and calls a function instead of computing."""

    def __init__(self, module: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.__dict__.update(original=module, function=function)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["original"], name)

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        return self.function(*inputs, **keywords)


class FrozenNorm:
    """A final norm with the scale that it has at the last block's output, which makes it linear in the state.

    With ``s(x)`` the root mean square of x (of x less its mean in a LayerNorm, Ba et al. 2016, eq. 4; of x itself in an
    RMSNorm, Zhang and Sennrich 2019, eq. 4), a norm is ``N(x) = w x / s(x) + b``; this is ``w x / s(final)``, so that
    the rows of "embed" and of all deltas add up to that of the final state, less b.

    Args:
        norm: the model's own final norm.
        final: (prompt, hidden), the last block's output.

    Raises:
        LensError: the norm is neither, shown by two parts of the final state that do not add up to the whole.
    """

    def __init__(self, norm: nn.Module, final: torch.Tensor) -> None:
        self.norm = norm
        self.epsilon = next((getattr(norm, name) for name in _EPSILON_NAMES if hasattr(norm, name)), 0.0)
        self.centred = False
        shift = self.scale(final).to(final.dtype)
        moved = (norm(final + shift) - norm(final)).abs().max()
        self.centred = bool(moved <= _MOVED * (norm(final) - norm(torch.zeros_like(final))).abs().max())
        self.bias = norm(torch.zeros_like(final[:1]))  # (1, hidden)
        self.final_scale = self.scale(final)  # (prompt, 1)
        self._prove(final)

    def scale(self, states: torch.Tensor) -> torch.Tensor:
        """(..., hidden) -> (..., 1) float32."""
        states = states.float()
        if self.centred:
            states = states - states.mean(dim=-1, keepdim=True)
        return (states.square().mean(dim=-1, keepdim=True) + self.epsilon).sqrt()

    def __call__(self, states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(..., position, hidden) -> the same shape."""
        normed: torch.Tensor = self.norm(states) - self.bias
        return normed * (self.scale(states) / self.final_scale[positions]).to(normed)

    def _prove(self, final: torch.Tensor) -> None:
        everywhere = torch.arange(len(final), device=final.device)
        part = final.roll(1, dims=-1) / 2
        whole = self.norm(final)
        difference = self(part, everywhere) + self(final - part, everywhere) + self.bias - whole
        if not difference.abs().max() <= max(8 * torch.finfo(final.dtype).eps, 1e-5) * whole.abs().max():
            raise LensError(
                f"norm='final' needs a LayerNorm or an RMSNorm as final norm; found {type(self.norm).__name__}: "
                "pass norm='own'"
            )


@contextmanager
def replaying(model: nn.Module, anatomy: Anatomy, norm: str | None, final: torch.Tensor) -> Iterator[Tail]:
    """The model with its blocks standing aside, as a :class:`Tail`; the model is whole again afterwards.

    Args:
        norm: ``"own"``, the final norm as it is; ``"final"``, with the scale of the final state; None, the head alone.
        final: (position, hidden), the last block's output.

    Raises:
        LensError: ``norm="final"`` and the model's final norm is no LayerNorm or RMSNorm of states (position, hidden).
    """
    if norm == "final" and not anatomy.plain:
        raise LensError(
            f"norm='final' needs states of shape (position, hidden), and those of {anatomy.model_class} are not: "
            "pass norm='own'"
        )
    with evaluating(model):
        tail = Tail(model, anatomy)
        functions: dict[str, Callable[..., Any]] = {
            name: lambda *_, **__: tail.block_output() for name in anatomy.blocks
        }
        if norm is None:
            functions |= {name: lambda states, *_, **__: states for name in anatomy.norms}
        elif norm == "final" and anatomy.norms:
            frozen = FrozenNorm(_only_norm(model, anatomy), final)
            functions[anatomy.norms[0]] = lambda states: frozen(states, tail.positions)
        with swapped(model, {name: _StandIn(model.get_submodule(name), each) for name, each in functions.items()}):
            yield tail


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
        norm, final: as for :func:`replaying`; final is (prompt, hidden).
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
    with bar, replaying(model, anatomy, norm, final) as tail:
        offset = _constant_logits(tail, states, token_ids, positions) if norm == "final" else None
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
                    logits = tail.logits(states[layers, places], token_ids[0, where], where)
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


def _only_norm(model: nn.Module, anatomy: Anatomy) -> nn.Module:
    if len(anatomy.norms) > 1:
        raise LensError(
            f"norm='final' needs one final norm; found {', '.join(anatomy.norms)} in {anatomy.model_class}: "
            "pass norm='own'"
        )
    return model.get_submodule(anatomy.norms[0])


def _constant_logits(
    tail: Tail, states: torch.Tensor, token_ids: torch.Tensor, positions: torch.Tensor
) -> torch.Tensor:
    """(1, 1, vocabulary), what the tail gives for nothing (the head's bias): left out, so that rows add up."""
    where = positions[:1]
    return tail.logits(torch.zeros_like(states[:1, :1]), token_ids[0, where], where)


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

"""A tile of rows -> its logits: by the model's own forward, or by the product with its head where that is proved."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from bauklens.model.anatomy import Anatomy
from bauklens.model.post_ops import PostOps
from bauklens.model.tail import Tail

_BLOCK = 1024
"""Tokens of a float32 head that are multiplied at once on a CPU, so that their weights stay in its cache."""


@dataclass(frozen=True)
class Tile:
    """A rectangle of rows, layers x positions; rows are numbered layer by layer."""

    layers: range
    positions: range

    @property
    def count(self) -> int:
        """How many rows it has."""
        return len(self.layers) * len(self.positions)

    @property
    def rows(self) -> slice:
        """Its layers, of an array (layer, position, ...)."""
        return slice(self.layers.start, self.layers.stop)

    @property
    def columns(self) -> slice:
        """Its positions, of such an array."""
        return slice(self.positions.start, self.positions.stop)

    def some(self, count: int) -> "Tile":
        """About as many of its rows, of all layers, in the middle of the positions."""
        width = max(1, count // len(self.layers))
        start = max(0, (len(self.positions) - width) // 2)
        return Tile(self.layers, self.positions[start : start + width])

    def layer(self, row: int) -> "Tile":
        """One of its layers."""
        return Tile(self.layers[row : row + 1], self.positions)

    def without_layer(self, row: int) -> list["Tile"]:
        """What is left of it without one of its layers, the later part first."""
        parts = self.layers[row + 1 :], self.layers[:row]
        return [Tile(layers, self.positions) for layers in parts if layers]

    def halves(self) -> list["Tile"]:
        """Two tiles that make up this one, the later first, so that the earlier is taken first from a stack."""
        if len(self.layers) > 1:
            middle = len(self.layers) // 2
            return [Tile(self.layers[middle:], self.positions), Tile(self.layers[:middle], self.positions)]
        middle = len(self.positions) // 2
        return [Tile(self.layers, self.positions[middle:]), Tile(self.layers, self.positions[:middle])]


class Unembed:
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

    def logits(self, tile: Tile) -> torch.Tensor:
        """(layer, position, vocabulary)."""
        if self.anatomy.whole:
            return self._whole_logits(self.states[tile.layers[0]], self.positions[tile.columns])
        return self._logits(self.states[tile.rows, tile.columns], self.positions[tile.columns])

    def inputs_and_logits(self, tile: Tile) -> tuple[torch.Tensor | None, torch.Tensor]:
        """(row, head width), where the head's product is what decodes, and (layer, position, vocabulary)."""
        if self.anatomy.whole or self.anatomy.post_ops is None:
            return None, self.logits(tile)
        inputs = self.head_inputs(tile)
        return inputs, self.after_inputs(inputs).view(len(tile.layers), len(tile.positions), -1)

    @property
    def head(self) -> nn.Linear:
        """The head, where its product is what decodes."""
        return cast("nn.Linear", self.tail.head)

    @property
    def post_ops(self) -> PostOps:
        """What follows the head, where its product is what decodes."""
        assert self.anatomy.post_ops is not None
        return self.anatomy.post_ops

    @property
    def is_linear(self) -> bool:
        """Whether logits are a linear function of the head's input, to the rounding of float32."""
        post_ops = self.anatomy.post_ops
        return post_ops is not None and post_ops.cap is None and self.head.weight.dtype == torch.float32

    def rows(self, tile: Tile) -> torch.Tensor:
        """(row,) int64, the numbers of a tile's rows, layer by layer."""
        layers, columns = torch.tensor(tile.layers), torch.tensor(tile.positions)
        return (layers[:, None] * len(self.positions) + columns).flatten()

    def columns(self, rows: torch.Tensor) -> torch.Tensor:
        """(row,) int64, numbers of rows -> where among the positions they stand."""
        return rows % len(self.positions)

    def constant_logits(self) -> torch.Tensor | None:
        """(1, 1, vocabulary), what the tail gives for nothing (the head's bias); None where that is nothing."""
        if self.anatomy.whole:
            logits = self._whole_logits(torch.zeros_like(self.states[0]), self.positions[:1])
        else:
            logits = self._logits(torch.zeros_like(self.states[:1, :1]), self.positions[:1])
        logits = torch.where(logits.isfinite(), logits, 0)  # a token that is left out stays so
        return logits if logits.any() else None

    def head_inputs(self, tile: Tile) -> torch.Tensor:
        """(row, head width), layer by layer."""
        positions = self.positions[tile.columns]
        states = self.states[tile.rows, tile.columns]
        return self.tail.head_inputs(states, self.token_ids[positions], positions).flatten(0, 1)

    def after_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., head width) -> (..., vocabulary), which is good until this is called again."""
        rows, weight, bias = inputs.flatten(0, -2), self.head.weight, getattr(self.head, "bias", None)
        if self._buffer.dtype != inputs.dtype or len(self._buffer) < len(rows):
            self._buffer = inputs.new_empty(len(rows), len(weight))
        logits = self._buffer[: len(rows)]
        at_once = _BLOCK if inputs.device.type == "cpu" and inputs.dtype == torch.float32 else len(weight)
        for start in range(0, len(weight), at_once):
            some = slice(start, start + at_once)
            if bias is None:
                torch.mm(rows, weight[some].T, out=logits[:, some])
            else:
                torch.addmm(bias[some], rows, weight[some].T, out=logits[:, some])
        return self.post_ops(logits.view(*inputs.shape[:-1], -1))[..., : self.anatomy.vocabulary]

    def _whole_logits(self, state: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return self.tail.whole_logits(state[None] if self.anatomy.plain else state, self.token_ids, positions)

    def _logits(self, states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        token_ids = self.token_ids[positions]
        if self.anatomy.post_ops is None:
            return self.tail.logits(states, token_ids, positions)
        return self.after_inputs(self.tail.head_inputs(states, token_ids, positions))


def free_memory(error: BaseException) -> None:
    """Lets go of what an attempt holds that memory did not suffice for."""
    error.__traceback__ = None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

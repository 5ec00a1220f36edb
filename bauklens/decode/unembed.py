"""Computes the logits of rows: with the model's own forward, or by the product with its head if that is proved."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from bauklens.decode.decoder import LOGIT_LENS, Basis, Decoder
from bauklens.decode.tiles import Scattered, Some, Tile
from bauklens.model.anatomy import Anatomy
from bauklens.model.head_shard import HeadShard
from bauklens.model.post_ops import PostOps
from bauklens.model.tail import Tail
from bauklens.stream.heads import HeadStates
from bauklens.stream.passing import PassingStates

_BLOCK = 1024
"""How many tokens of a float32 head are multiplied at once on a CPU, so that their weights stay in its cache."""


@dataclass(frozen=True)
class Rows:
    """What is to be decoded.

    Attributes:
        stream: its name.
        states: (layer, position, hidden), of the whole prompt, as a tensor or an object that computes parts of one; or
            (layer, ...), if the model's have another shape.
        labels: (layer,), the labels of the rows.
        positions: (column,), which of the positions are columns of the table.
    """

    stream: str
    states: torch.Tensor | HeadStates | PassingStates
    labels: list[str]
    positions: list[int]

    @property
    def everything(self) -> Tile:
        """All of them."""
        return Tile(range(len(self.labels)), range(len(self.positions)))

    def at(self, layers: range, columns: range) -> torch.Tensor:
        """(layer, column, hidden), the states of some rows and columns; no copy if they are next to each other."""
        positions = self.positions[columns.start : columns.stop]
        start, stop = positions[0], positions[-1] + 1
        some = slice(start, stop) if positions == list(range(start, stop)) else positions
        if isinstance(self.states, torch.Tensor):
            return self.states[layers.start : layers.stop, some]
        return torch.stack([self.states.of(row, some) for row in layers])

    def whole(self, row: int) -> torch.Tensor:
        """(1, position, hidden) or (1, ...), one row at all positions of the prompt."""
        return self.states[row : row + 1] if isinstance(self.states, torch.Tensor) else self.states.of(row)[None]

    def cells(self, row: int, columns: torch.Tensor) -> torch.Tensor:
        """(column, hidden), one row at some columns, (column,) int64."""
        positions = torch.tensor(self.positions, device="cpu")[columns.cpu()].to(self.states.device)
        return self.states[row, positions] if isinstance(self.states, torch.Tensor) else self.states.of(row, positions)

    def read(self, tiles: Sequence[Tile], limit: int, visit: Callable[[range], None], stay: Collection[int]) -> None:
        """Calls a function with layers whose states are available: all at once, or some after others, in order.

        Args:
            tiles: the parts that are decoded.
            limit: rows to decode at once.
            stay: layers that remain available afterwards.
        """
        if not isinstance(self.states, PassingStates):
            visit(self.everything.layers)
            return
        pieces = [piece for tile in tiles for piece in tile.whole_layers(limit)]
        others = set(self.everything.layers).difference(*pieces)
        groups = sorted([*pieces, *(range(row, row + 1) for row in others)], key=lambda group: group.start)
        self.states.read(groups, visit, stay)


class Unembed:
    """The states to decode, and the ways from some of them to logits.

    Args:
        length: positions of a prompt; the states of several may be end to end.
        decoder: maps states to the final basis, before they enter the tail.

    Attributes:
        decoder: the decoder's name.
        precision: the dtype of the model's logits, as text; empty before the first are made.
    """

    def __init__(self, tail: Tail, anatomy: Anatomy, rows: Rows, length: int, decoder: Decoder = LOGIT_LENS) -> None:
        self.length, self.tail, self.anatomy, self.rows, self.precision = length, tail, anatomy, rows, ""
        self.decoder = decoder.name
        self._positions, self._basis = torch.tensor(rows.positions, device="cpu"), Basis(decoder, anatomy)
        self._factors = self._basis.factors(rows.labels)
        self._buffer = torch.empty(
            0, dtype=rows.states.dtype, device=rows.states.device
        )  # for the logits: new memory costs as much time as its use

    @property
    def shard(self) -> HeadShard | None:
        """The part of the head that this rank holds, if all logits here cover only its tokens."""
        return self.tail.head if isinstance(self.tail.head, HeadShard) else None

    @property
    def by_product(self) -> bool:
        """Whether states are decoded by the product with the head's weights."""
        return not self.anatomy.whole and self.anatomy.post_ops is not None

    @property
    def head(self) -> nn.Linear:
        """The head, if states are decoded by its product."""
        return cast("nn.Linear", self.tail.head)

    @property
    def post_ops(self) -> PostOps:
        """What follows the head, if states are decoded by its product."""
        assert self.anatomy.post_ops is not None
        return self.anatomy.post_ops

    @property
    def is_linear(self) -> bool:
        """Whether logits are a linear function of the head's input, to the rounding of float32."""
        return self._is_affine and (self._factors is None or self._scales_inputs)

    @property
    def _is_affine(self) -> bool:
        return self.by_product and self.post_ops.cap is None and self.head.weight.dtype == torch.float32

    @property
    def _scales_inputs(self) -> bool:
        """Whether a temperature can be applied to the head's input, as its logits are proportional to that."""
        return self._factors is not None and self._is_affine and getattr(self.head, "bias", None) is None

    def numbers(self, tile: Some) -> torch.Tensor:
        """(row,) int64, the numbers of a tile's rows, layer by layer."""
        return tile.numbers(len(self._positions))

    def scattered(self, tile: Some, places: torch.Tensor) -> Scattered:
        """Some rows of a tile, (row,) int64 of their places in it."""
        return Scattered(self.numbers(tile)[places])

    def columns(self, tile: Some) -> torch.Tensor:
        """(row,) int64, the places of a tile's rows among the positions."""
        return self.numbers(tile) % len(self._positions)

    def inputs_and_logits(self, tile: Some) -> tuple[torch.Tensor | None, torch.Tensor]:
        """(row, head width), if states are decoded by the head's product, and (row, vocabulary)."""
        inputs = self.head_inputs(tile) if self.by_product else None
        logits = self._replayed(tile) if inputs is None else self.after_inputs(inputs)
        self.precision = str(logits.dtype).removeprefix("torch.")
        return inputs, logits if self._scales_inputs else self._scaled(logits, tile)

    def logits(self, tile: Some) -> torch.Tensor:
        """(row, vocabulary)."""
        return self.inputs_and_logits(tile)[1]

    def constant_logits(self) -> torch.Tensor | None:
        """(1, vocabulary), the tail's output for zeros (the head's bias); None if that is zero."""
        states = self.rows.states
        shape = self.rows.whole(0).shape if self.anatomy.whole else (1, 1, self.anatomy.width)
        nothing = torch.zeros(shape, dtype=states.dtype, device=states.device)
        somewhere = self._positions[:1]
        logits = (
            self.after_inputs(self.tail.head_inputs(nothing, somewhere))
            if self.by_product
            else self.tail(nothing, somewhere)
        ).flatten(0, 1)
        logits = torch.where(logits.isfinite(), logits, 0)  # tokens that are left out stay out
        any_at_all = bool(logits.any())
        if self.shard is not None:
            any_at_all = self.shard.largest(float(any_at_all)) > 0
        return logits if any_at_all else None

    def exit(self, row: int, positions: torch.Tensor) -> torch.Tensor:
        """(position, vocabulary), a row's logits in an early exit of the model, each with its whole prompt."""
        label, states = self.rows.labels[row], self.rows.whole(row)
        if not self.anatomy.plain or states.shape[1] == self.length:
            logits = self.tail.exit(self._basis(states, [label]), positions)
        else:
            first, last = (int(position) // self.length for position in (positions.min(), positions.max()))
            prompts = states[0].view(-1, self.length, states.shape[2])[first : last + 1]
            logits = self.tail.exits(self._basis(prompts, [label] * len(prompts)), first * self.length, positions)
        return logits if self._factors is None else logits.float() * self._factors[row].to(logits.device)

    def head_inputs(self, tile: Some) -> torch.Tensor:
        """(row, head width), layer by layer; scaled if that gives the logits their temperatures."""
        inputs = self.tail.head_inputs(*self._entering(tile)).flatten(0, 1)
        return self._scaled(inputs, tile) if self._scales_inputs else inputs

    def after_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., head width) -> (..., vocabulary), which is valid until this is called again."""
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

    def _replayed(self, tile: Some) -> torch.Tensor:
        """(row, vocabulary), by the model's own forward to its end."""
        if self._basis.reduces and isinstance(tile, Tile):
            (row,) = tile.layers  # whole states are decoded one layer at a time
            label, states = self.rows.labels[row], self.rows.whole(row)
            if self._basis.maps(label):
                columns = self._positions[tile.positions.start : tile.positions.stop]
                return self.tail.after_reduction(self._basis.reduced(states, label), states, columns).flatten(0, 1)
        return self.tail(*self._entering(tile)).flatten(0, 1)

    def _scaled(self, values: torch.Tensor, tile: Some) -> torch.Tensor:
        """(row, any), logits or numbers that they are proportional to, divided by their rows' temperatures."""
        if self._factors is None:
            return values
        factors = self._factors[self.numbers(tile) // len(self._positions)]
        return values.float() * factors[:, None].to(values.device)

    def _entering(self, tile: Some) -> tuple[torch.Tensor, torch.Tensor]:
        """The states of a tile in the final basis, (layer, position, hidden), and their positions in the prompt.

        Scattered rows are (row, 1, hidden), as the tail treats each row by itself.
        """
        if isinstance(tile, Tile):
            some, across = slice(tile.layers.start, tile.layers.stop), slice(tile.positions.start, tile.positions.stop)
            if self.anatomy.whole:
                states = torch.cat([self.rows.whole(row) for row in tile.layers])
            else:
                states = self.rows.at(tile.layers, tile.positions)
            return self._basis(states, self.rows.labels[some]), self._positions[across]
        layers, columns = tile.rows // len(self._positions), tile.rows % len(self._positions)
        parts = [
            self._basis(self.rows.cells(layer, columns[layers == layer])[None], [self.rows.labels[layer]])[
                0
            ].clone()  # a decoder may return the same memory each time
            for layer in dict.fromkeys(layers.tolist())
        ]
        return torch.cat(parts)[:, None], self._positions[columns][:, None]

    def _mapped(self, layer: int, columns: torch.Tensor) -> torch.Tensor:
        """(column, hidden), the states of one row in the final basis."""
        return self._basis(self.rows.cells(layer, columns)[None], [self.rows.labels[layer]])[0]

"""The states of a forward pass, each written to its place when it is computed, so that none is stored twice."""

from collections.abc import Callable
from typing import Any

import torch

from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.block_output import state_of
from bauklens.model.inputs import Inputs

HandOn = Callable[[int, torch.Tensor], None]
"""Called with the number of a state and the state in its own shape, which the next one overwrites."""

_ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.03}
"""Relative to a state's size: more than batching changes a product, far less than a different expert would."""


class Kept:
    """Copies of the states.

    Args:
        names: the modules that return them, in order.
        inputs: what runs.
        hand_on: called with each state when it is computed; then only the last one is kept.

    Attributes:
        count: how many have been added.
        given: number of a block in the run -> the state that it was given, if that is not the last one added.
        editing: whether a function of the caller is running, which may call the model.
    """

    def __init__(self, names: tuple[str, ...], anatomy: Anatomy, inputs: Inputs, hand_on: HandOn | None = None) -> None:
        self._hand_on, self._room = hand_on, len(names) if hand_on is None else 1
        self.count, self.editing = 0, False
        self.given: dict[int, torch.Tensor] = {}
        self._names, self._anatomy = names, anatomy
        self._shape: tuple[int, ...] = (*inputs.ids.shape, anatomy.width) if anatomy.plain else ()
        self._states = torch.empty(0, dtype=torch.float32, device="cpu")
        self._embedded: torch.Tensor | None = None

    def embed(self, output: Any) -> None:
        """Keeps a copy of the embedding's output until block 0 begins, as the model may change it in between."""
        if not self.count and isinstance(output, torch.Tensor):
            self._embedded = output.detach().clone()

    def begin(self, state: torch.Tensor) -> None:
        """Keeps the input of block 0 as the first state: the embedding's output, if the two are equal.

        Args:
            state: the block's input, which is kept itself if the embedding returned anything else.
        """
        embedded, self._embedded = self._embedded, None
        self.add(state if embedded is None or not are_equal(embedded, state) else embedded)

    def add(self, state: torch.Tensor) -> None:
        """Keeps the next state.

        Raises:
            LensError: its shape differs from that of the others.
        """
        if not self.count:
            self._shape = self._shape or tuple(state.shape)
            last = state_of(self._anatomy.block_output, self._anatomy.parts)
            self._states = torch.empty(self._room, *self._shape, dtype=last.dtype, device=last.device)
        if self.count < len(self._names):
            if state.shape != self._shape:
                raise LensError(
                    f"{self._names[self.count]} returns a state of shape {tuple(state.shape)}; a lens needs "
                    f"{self._shape}"
                )
            place = min(self.count, self._room - 1)
            self._states[place] = state.detach()
            if self._hand_on is not None:
                self._hand_on(self.count, self._states[place])
        self.count += 1

    def enter(self, state: torch.Tensor) -> None:
        """Keeps the state that a block is given, if it differs from the last one added."""
        if 0 < self.count < len(self._names):
            before = self._states[min(self.count, self._room) - 1]
            if state.shape != before.shape or not torch.equal(state.to(before), before):
                self.given[self.count - 1] = state.detach().to(before.device, copy=True)

    def whole(self) -> torch.Tensor:
        """(name, *shape), or (1, *shape) if only the last is kept; on the device of the last block's output.

        Raises:
            LensError: there are more or fewer states than names.
        """
        if self.count != len(self._names):
            raise LensError(
                f"{self.count - 1} of the {len(self._names) - 1} blocks of {self._anatomy.model_class} ran on this "
                "prompt; a lens needs all of them"
            )
        return self._states


def are_equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two states are the same to the last bit, and have the same dtype and shape."""
    return one.dtype == other.dtype and one.device == other.device and torch.equal(one, other)


def are_alike(alone: torch.Tensor, together: torch.Tensor) -> bool:
    """Whether states (row, position, hidden) of a prompt agree in two runs, such as by itself and in a batch."""
    difference = (together.float() - alone.float()).norm(dim=-1)
    return bool((difference <= _ROUNDING.get(alone.dtype, 0.1) * alone.float().norm(dim=-1)).all())

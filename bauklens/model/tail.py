"""The model's own tail as a function of states: its forward, replayed with the blocks bypassed.

So its own code applies the final norm, the head, and everything after it (a soft-cap, a scale, a cast).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.before_blocks import BeforeBlocks
from bauklens.model.block_output import with_state
from bauklens.model.forward import last_logits_only, model_logits
from bauklens.model.frozen_norm import FrozenNorm
from bauklens.model.guard import evaluating, swapped
from bauklens.model.head_shard import HeadShard
from bauklens.model.inputs import Inputs
from bauklens.model.layout import Layout
from bauklens.model.memory import out_of_memory
from bauklens.model.proof import NotProvedError
from bauklens.model.stand_in import StandIn
from bauklens.model.walk import named_modules_of
from bauklens.signals import unbroken

Head = Callable[[torch.Tensor], torch.Tensor]
"""The head's input (layer, position, width) -> what replaces its logits (layer, position, any)."""


@dataclass(frozen=True)
class _Given:
    """One call of a tail: the states, their positions in the prompt, and what replaces the head, if anything."""

    states: torch.Tensor
    positions: torch.Tensor
    head: Head | None


class Tail:
    """The model's own tail as a function of states; made by :func:`replaying`, and valid while that lasts.

    Args:
        inputs: the prompt; the replay gets its ids at the positions of the states.
        through: the one module between a state and the head, instead of the model's own tail.
        whole: whether the states are those of all positions of the prompt, a layer at a time, in their own shape.
        shard: the part of the head that this rank holds, if it replaces the head.
    """

    def __init__(
        self,
        model: nn.Module,
        layout: Layout,
        inputs: Inputs,
        through: str | None,
        whole: bool,
        shard: HeadShard | None = None,
    ) -> None:
        self.head = model.get_submodule(layout.head) if shard is None else shard
        self._model, self._layout, self._inputs, self._whole = model, layout, inputs, whole
        self._through = None if through is None else model.get_submodule(through)
        self._given: _Given | None = None
        self._before = BeforeBlocks()

    def __call__(self, states: torch.Tensor, positions: torch.Tensor, *, head: Head | None = None) -> torch.Tensor:
        """(layer, position, hidden) -> the logits, (layer, position, vocabulary).

        Args:
            states: the states to decode; whole ones are (1, *shape).
            positions: (position,) int64, their places in the prompt, or (layer, position) if these differ from layer
                to layer; for a whole state, the positions that are wanted.
            head: what to call instead of the model's own head, if :func:`replaying` allows it.
        """
        if self._whole:
            return self._of_whole(states, head, {})[:, positions]
        if self._layout.single:
            return self._alone(states, positions, head)
        return self._logits(_Given(states, positions, head), self._inputs.at(positions, len(states)), {})

    def _alone(self, states: torch.Tensor, positions: torch.Tensor, head: Head | None) -> torch.Tensor:
        """Like a call, with each state as the only one of a prompt, as the model returns logits of one position."""
        cells = states.flatten(0, 1)[:, None]
        where = positions.expand(states.shape[:2]).reshape(-1, 1)

        def logits(some: slice) -> torch.Tensor:
            return self._logits(
                _Given(cells[some], where[some], head), self._inputs.at(where[some], len(where[some])), {}
            )

        try:
            found = logits(slice(None))
        except ValueError:  # a classifier without a padding token takes one prompt at a time
            found = torch.cat([logits(slice(cell, cell + 1)).clone() for cell in range(len(cells))])
        return found.reshape(*states.shape[:2], found.shape[-1])

    def exit(self, states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(position, vocabulary), the logits of some positions of a state of the whole prompt.

        Args:
            states: whole, (1, *shape).
            positions: (position,) int64; the logits of others are not computed, if the model can leave them out. If the
                model returns the logits of only one position, it must be that one.
        """
        if self._layout.single:
            return self._of_whole(states, None, {})[0]
        if self._through is None and last_logits_only(self._model):
            try:
                found = self._of_whole(states, None, {"logits_to_keep": positions.to(self._inputs.ids.device)})[0]
            except (RuntimeError, TypeError, ValueError, IndexError) as error:  # it takes only a number
                if out_of_memory(error):
                    raise
            else:
                if len(found) == len(positions):
                    return found
        return self._of_whole(states, None, {})[0, positions]

    def exits(self, states: torch.Tensor, start: int, positions: torch.Tensor) -> torch.Tensor:
        """(position, vocabulary), the logits of some positions of states of several prompts, which run as a batch.

        Args:
            states: (prompt, position, hidden).
            start: the position in the inputs at which the first of these prompts begins.
            positions: (position,) int64, in the inputs.
        """
        count, length = states.shape[:2]
        where = start + torch.arange(count * length, device="cpu").view(count, length)
        given, inputs = _Given(states, where, None), self._inputs.at(where, count)
        prompts, places = (positions - start) // length, (positions - start) % length
        if self._through is None and last_logits_only(self._model):
            kept, index = torch.unique(places, return_inverse=True)
            try:
                found = self._logits(given, inputs, {"logits_to_keep": kept.to(inputs.ids.device)})
            except (RuntimeError, TypeError, ValueError, IndexError) as error:  # it takes only a number
                if out_of_memory(error):
                    raise
            else:
                if found.shape[1] == len(kept):
                    return found[prompts, index]
        return self._logits(given, inputs, {})[prompts, places]

    def after_reduction(self, reduced: torch.Tensor, states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(1, position, vocabulary), from the final norm's input, if a model reduces several streams to one before it.

        Args:
            reduced: (position, width), at all positions of the prompt, as the final norm takes it.
            states: whole, (1, *shape); any values, because the reduced states replace them.
            positions: (position,) int64, those that are wanted.
        """
        norm = self._model.get_submodule(self._layout.tail[-2])
        return self._of_whole(states, lambda _: self.head(norm(reduced[None])), {})[:, positions]

    def reduced(self, states: torch.Tensor) -> torch.Tensor:
        """(position, width), the final norm's input for whole states, (1, *shape)."""
        seen: list[torch.Tensor] = []
        norm = self._model.get_submodule(self._layout.tail[-2])
        hook = norm.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
        try:
            self._of_whole(states, None, {})
        finally:
            hook.remove()
        if len(seen) != 1 or seen[0].shape[:2] != (1, self._inputs.count):
            raise NotProvedError("the final norm is not given one state per position")
        return seen[0][0]

    def _of_whole(self, states: torch.Tensor, head: Head | None, options: dict[str, Any]) -> torch.Tensor:
        """(1 or layer, position, vocabulary), from states of the whole prompt."""
        plain = self._layout.plain
        given = _Given(states if plain else states[0], torch.arange(self._inputs.count, device="cpu"), head)
        if not self._inputs.extra:
            return self._logits(given, self._inputs.at(given.positions, len(states) if plain else 1), options)
        with self._before_once():
            return self._logits(given, self._inputs, options)

    def _before_once(self) -> AbstractContextManager[Any]:
        """Runs the modules before the blocks only the first time."""
        if self._before.complete:
            functions = self._before.functions(self._model)
            return swapped(
                self._model, {name: StandIn(self._model.get_submodule(name), each) for name, each in functions.items()}
            )
        self._before.results.clear()
        return self._before.recording(self._model, self._layout.blocks[0])

    def _logits(self, given: _Given, inputs: Inputs, options: dict[str, Any]) -> torch.Tensor:
        if self._through is not None:
            given = replace(given, head=self._through_named(given.states, given.head))
        self._given = given
        try:
            return model_logits(self._model, inputs, **options)
        finally:
            self._given = None

    def head_inputs(self, states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """The head's input, (layer, position, head width); arguments as for a call."""
        seen = []

        def keep(inputs: torch.Tensor) -> torch.Tensor:
            seen.append(inputs)
            return inputs.new_empty((*inputs.shape[:-1], 0))  # only its input is needed

        self(states, positions, head=keep)
        found = seen[-1]
        if self._layout.single and found[..., 0].numel() == states[..., 0].numel():
            found = found.reshape(*states.shape[:2], -1)
        if found.shape[:-1] != states.shape[:2]:
            raise NotProvedError("the head is not given all states at once")
        return found

    def _through_named(self, states: torch.Tensor, head: Head | None) -> Head:
        """Applies the named module and then the head, and ignores the model's own tail."""
        assert self._through is not None
        logits = (head or self.head)(self._through(states))
        return lambda _: logits

    def block_output(self) -> Any:
        """The output of a bypassed block: a copy, because a model may change it in place."""
        assert self._given is not None
        return with_state(self._layout.block_output, self._given.states.clone(), self._layout.parts)

    def at_head(self, inputs: torch.Tensor, *rest: Any, **keywords: Any) -> Any:
        """The head's output."""
        assert self._given is not None
        return self.head(inputs, *rest, **keywords) if self._given.head is None else self._given.head(inputs)

    def frozen(self, norm: FrozenNorm, states: torch.Tensor) -> torch.Tensor:
        """The final norm's output with the scale of the final state."""
        assert self._given is not None
        return norm(states, self._given.positions)


@unbroken
def replaying(
    model: nn.Module,
    layout: Layout,
    inputs: Inputs,
    *,
    norm: str | None = "own",
    final: torch.Tensor | None = None,
    through: str | None = None,
    whole: bool = False,
    to_head: bool = False,
    in_place: bool = False,
    shard: HeadShard | None = None,
) -> Iterator[Tail]:
    """The model with its blocks bypassed, as a :class:`Tail`; the model is restored afterwards.

    Args:
        inputs: the prompt that the states belong to.
        norm: ``"own"``, the final norm as it is; ``"final"``, with the scale of the final state; None, only the head.
        final: (position, hidden), the last block's output; needed for ``norm="final"`` only.
        through, whole, shard: as for :class:`Tail`.
        to_head: whether calls may replace the head; if not, it is the model's own module.
        in_place: as for :func:`bauklens.model.guard.evaluating`.

    Raises:
        LensError: ``norm="final"``, but the model's final norm is not a LayerNorm or RMSNorm of states
            (position, hidden).
    """
    if norm == "final" and not layout.plain:
        raise LensError(
            f"norm='final' needs states of shape (position, hidden), but those of {layout.model_class} have another "
            "shape: pass norm='own'"
        )
    with evaluating(model, in_place=in_place) as own:
        tail = Tail(own, layout, inputs, through, whole, shard)
        functions: dict[str, Callable[..., Any]] = {
            name: lambda *_, **__: tail.block_output() for name in layout.blocks
        }
        if norm is None:
            functions |= {name: lambda states, *_, **__: states for name in layout.norms}
        elif norm == "final" and layout.norms:
            assert final is not None
            name = _only_norm(own, layout)
            frozen = FrozenNorm(own.get_submodule(name), final)
            functions[name] = lambda states: tail.frozen(frozen, states)
        if to_head or through is not None or shard is not None:
            functions[layout.head] = tail.at_head
        outer = {
            name: vars(module)["original"] for name, module in named_modules_of(own) if isinstance(module, StandIn)
        }
        stand_ins = {name: StandIn(own.get_submodule(name), each) for name, each in functions.items()}
        with swapped(own, outer | stand_ins):
            yield tail


def _only_norm(model: nn.Module, layout: Layout) -> str:
    """The name of the final norm; dropouts are ignored, as they do nothing in a lens."""
    norms = [name for name in layout.norms if not isinstance(model.get_submodule(name), nn.Dropout)]
    if len(norms) != 1:
        raise LensError(
            f"norm='final' needs one final norm; found {', '.join(norms) or 'none'} in {layout.model_class}: "
            "pass norm='own'"
        )
    return norms[0]

"""Changes states while a model runs, with hooks on the modules that write them, which are removed afterwards.

A spot is a block and what is changed there: the stream after the block (``"hidden"``; for "embed", the stream before
block 0), what its attention or its MLP writes into the stream, what one head of its attention writes (by its number),
or the stream between the two (``"mid"``). At each spot the changes act in the order in which they are given, each on
the result of the one before; those of heads act before those of their attention.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.block_output import state_of, with_state
from bauklens.model.forward import tensors_in
from bauklens.model.heads import HeadOutputs, Heads
from bauklens.model.sublayers import Sublayer, Sublayers
from bauklens.signals import unbroken
from bauklens.stream.changes import Acted, Clock, Spot
from bauklens.vocabulary import EMBED


@dataclass(frozen=True)
class Acting:
    """Changes, adapted to a model; :meth:`on` makes them act.

    Attributes:
        anatomy: the model's.
        acted: the changes, in their order.
        sublayers: those of every block, if a spot is at one.
        heads: (layer,), those of every block's attention, or why it has none, if a spot is at one.
        added: label of a layer and number of a head -> (batch, position, hidden), what the last forward pass added to
            the head's output.
    """

    anatomy: Anatomy
    acted: Sequence[Acted]
    sublayers: Sublayers | None = None
    heads: tuple[Heads | str, ...] = ()
    added: dict[tuple[str, int], torch.Tensor] = field(default_factory=dict, compare=False)

    @unbroken
    def on(self, running: nn.Module) -> Iterator[None]:
        """While this lasts, the model continues with the changed states.

        This works in generation too: cached positions are not run again, and the positions after them are counted.

        Args:
            running: the model, or what :func:`bauklens.model.guard.evaluating` yields.
        """
        with ExitStack() as hooks:
            clock = Clock()
            hooks.callback(running.register_forward_pre_hook(clock.begin, with_kwargs=True).remove)
            hooks.callback(running.register_forward_hook(self._require_numbers).remove)
            for hook in self._hooks(running, clock):
                hooks.callback(hook.remove)
            yield

    def _require_numbers(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        """Refuses logits that are NaN, which later blocks can produce from finite states."""
        said = "; ".join(each.said for each in self.acted if each.said)
        logits = getattr(output, "logits", None)
        if said and isinstance(logits, torch.Tensor) and logits[:, -1].isnan().any():
            raise LensError(f"the model's logits are NaN after {said:.300}; pass a smaller strength")

    def _hooks(self, running: nn.Module, clock: Clock) -> Iterator[Any]:
        spots: dict[Spot, list[Acted]] = {}
        for each in self.acted:
            spots.setdefault(each.spot, []).append(each)
        embedded = spots.pop(Spot(EMBED), None)
        if embedded:
            yield self._before_blocks(running, clock, embedded)
        numbers = {label: number for number, label in enumerate(self.anatomy.labels)}
        for number in sorted({numbers[spot.label] for spot in spots}):
            label = self.anatomy.labels[number]
            own = {spot.where: acted for spot, acted in spots.items() if spot.label == label}
            yield from _Block(self, running, clock, number, own).hooks()

    def _before_blocks(self, running: nn.Module, clock: Clock, acted: Sequence[Acted]) -> Any:
        parts, (take,) = self.anatomy.parts, self.anatomy.takes
        if self.anatomy.embedding is not None:

            def after(_module: nn.Module, _inputs: Any, output: Any) -> Any:
                return with_state(output, clock.changed(state_of(output), acted), parts)

            return running.get_submodule(self.anatomy.embedding).register_forward_hook(after)

        def before(_module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
            state = tensors_in(inputs, keywords)[take]
            return _replaced(inputs, keywords, state, clock.changed(state, acted))

        return running.get_submodule(self.anatomy.blocks[0]).register_forward_pre_hook(before, with_kwargs=True)


class _Block:
    """The hooks of one block.

    Args:
        number: the block's.
        own: what is changed at each of its spots.
    """

    def __init__(
        self, acting: Acting, running: nn.Module, clock: Clock, number: int, own: Mapping[str | int, Sequence[Acted]]
    ) -> None:
        self._anatomy, self._running, self._clock = acting.anatomy, running, clock
        self._name, self._own, self._parts = acting.anatomy.blocks[number], own, acting.anatomy.parts
        self._turn = acting.anatomy.blocks[:number].count(self._name)  # a block may run several times
        self._sublayers, self._added = acting.sublayers, acting.added
        self._label, self._number = acting.anatomy.labels[number], number
        self._by_head = sorted(where for where in own if isinstance(where, int))
        self._heads = acting.heads[number] if self._by_head else None
        self._joined: torch.Tensor | None = None  # what the output projection is given
        self._stream: torch.Tensor | None = None  # the stream that the running sublayer adds to
        self._written: list[torch.Tensor] = []

    def hooks(self) -> Iterator[Any]:
        block = self._running.get_submodule(self._name)
        yield block.register_forward_pre_hook(self._begin, with_kwargs=True)
        if set(self._own) - {"hidden"}:
            assert self._sublayers is not None
            if isinstance(self._heads, Heads):
                projection = self._running.get_submodule(self._heads.projection)
                yield projection.register_forward_pre_hook(self._join, with_kwargs=True)
            yield from self._of_sublayer(self._sublayers.attention[self._number], ("attention", "mid"))
            yield from self._of_sublayer(self._sublayers.mlp[self._number], ("mlp",))
        yield block.register_forward_hook(self._end)

    def _begin(self, _module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self._is_now = self._clock.count(self._name) == self._turn
        for head in self._by_head:
            self._added.pop((self._label, head), None)
        if set(self._own) - {"hidden"}:
            self._stream, self._written = tensors_in(inputs, keywords)[self._anatomy.takes[0]].clone(), []

    def _join(self, _module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if self._is_now:
            self._joined = tensors_in(inputs, keywords)[0]

    def _with_heads(self, attention: torch.Tensor) -> torch.Tensor:
        """What the attention writes after its heads are changed; the same tensor if nothing is changed."""
        assert isinstance(self._heads, Heads)
        assert self._joined is not None
        given = self._joined.reshape(*attention.shape[:-1], -1)
        outputs = HeadOutputs(self._running, self._heads, given)
        found = attention
        for head in self._by_head:
            part = outputs.of(head).to(attention)
            changed = self._clock.changed(part, self._own[head])
            if changed is not part:
                found = found + (changed - part)
                self._added[self._label, head] = changed - part
        return found

    def _end(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        if not self._is_now or "hidden" not in self._own:
            return None
        state = state_of(output, self._parts)
        return with_state(output, self._clock.changed(state, self._own["hidden"]), self._parts)

    def _of_sublayer(self, sublayer: Sublayer, wheres: tuple[str, ...]) -> Iterator[Any]:
        """Hooks on the modules of a sublayer: the last one to run adds the change of their sum."""
        for place, (name, scale) in enumerate(zip(sublayer.names, sublayer.scales, strict=True)):
            is_last = place == len(sublayer.names) - 1

            def hook(
                _module: nn.Module, _inputs: Any, output: Any, scale: float = scale, is_last: bool = is_last
            ) -> Any:
                return self._wrote(sublayer, wheres, output, scale, is_last) if self._is_now else None

            yield self._running.get_submodule(name).register_forward_hook(hook)

    def _wrote(self, sublayer: Sublayer, wheres: tuple[str, ...], output: Any, scale: float, is_last: bool) -> Any:
        stream, out = self._stream, state_of(output)
        assert stream is not None
        own = out.reshape(stream.shape)
        part = own - stream if sublayer.adds else scale * own
        self._written.append(part)
        if not is_last:
            return None
        whole = torch.stack(self._written).sum(dim=0) if self._written[1:] else part
        found = self._with_heads(whole) if self._by_head and wheres[0] == "attention" else whole
        if wheres[0] in self._own:
            found = self._clock.changed(found, self._own[wheres[0]])
        after = stream + found
        if "mid" in wheres and "mid" in self._own:
            mid = self._clock.changed(after, self._own["mid"])
            if mid is not after:
                moved = (mid != after).any(dim=-1, keepdim=True)  # elsewhere, subtraction would round
                found, after = torch.where(moved, mid - stream, found), mid
        self._written = []
        self._stream = after
        if found is whole:
            return None
        touched = (found != whole).any(dim=-1, keepdim=True)  # elsewhere, every digit is kept
        if sublayer.adds:
            changed = torch.where(touched, after, own)
        elif len(sublayer.names) == 1:
            changed = torch.where(touched, found / scale, own)
        else:
            changed = own + (found - whole) / scale
        return with_state(output, changed.reshape(out.shape).to(out))


def _replaced(
    inputs: tuple[Any, ...], keywords: dict[str, Any], old: torch.Tensor, new: torch.Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call's arguments with another tensor in the place of one."""
    if new is old:
        return inputs, keywords
    positional = tuple(new if each is old else each for each in inputs)
    return positional, {name: new if each is old else each for name, each in keywords.items()}

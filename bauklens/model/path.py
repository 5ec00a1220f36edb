"""Proof that blocks are on the way to the logits: each feeds the next, and the logits depend on the last."""

from contextlib import ExitStack, suppress
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from bauklens.model.block_output import state_of, with_state
from bauklens.model.forward import Call, model_logits, tensors_in
from bauklens.model.inputs import Inputs
from bauklens.model.layout import Layout
from bauklens.model.proof import NotProvedError
from bauklens.model.tail import Tail
from bauklens.model.tracedict import StopForward


def require_chain(model: nn.Module, layout: Layout, inputs: Inputs, calls: list[Call]) -> None:
    """Proves that the output of each block reaches the next one: unchanged, or so that a change of it shows there.

    Single layers, such as norms, must receive it unchanged. If they do not, most of a block is in other lists.

    Args:
        inputs: what was run.
        calls: the run, recorded with copies.

    Raises:
        NotProvedError: a block does not feed the next.
    """
    members = set(layout.blocks)
    ran = [call for call in calls if call.name in members]
    for number, (block, following) in enumerate(pairwise(ran)):
        returned = block.output if len(layout.parts) == 1 else None
        if any(returned is not None and _equal(each, returned) for each in following.inputs):
            continue
        has_parts = any(True for _ in model.get_submodule(following.name).children())
        given = _given_after_a_change(model, layout, inputs, number) if has_parts else following.inputs
        if len(given) == len(following.inputs) and all(map(_equal, given, following.inputs)):
            raise NotProvedError(
                f"{layout.blocks_path} is not the list of blocks of {layout.model_class}: {following.name} does not "
                f"use what {block.name} returns; pass blocks= with the name of the right list"
            )


def require_dependence(layout: Layout, tail: Tail, states: torch.Tensor, logits: torch.Tensor) -> None:
    """Proves that the logits at every position depend on the state there.

    Args:
        states: those of a single layer at all positions, as :class:`bauklens.model.tail.Tail` takes them.
        logits: (1, position, vocabulary), the tail's output for them.

    Raises:
        NotProvedError: they do not.
    """
    positions = torch.arange(logits.shape[1], device="cpu")
    moved = tail(disturbed(states), positions) != logits
    if not moved.any(dim=-1).all():
        raise NotProvedError(
            f"{layout.blocks_path} is not the list of blocks of {layout.model_class}: the logits do not depend on what "
            "they return; pass blocks= with the name of the right list"
        )


def require_places(layout: Layout, tail: Tail, states: torch.Tensor, logits: torch.Tensor) -> None:
    """Proves that a state that is longer than the prompt has the prompt's positions at its end.

    Args:
        states: (1, *shape), of the prompt.
        logits: (1, position, vocabulary), the tail's output for them.

    Raises:
        NotProvedError: a change at its last place does not change exactly the logits at the last position.
    """
    axis, count = 1 + layout.position_axis, logits.shape[1]
    if states.shape[axis] == layout.streams * count:
        return
    moved, last = states.clone(), states.shape[axis] - 1
    moved.select(axis, last).copy_(disturbed(states).select(axis, last))
    changed = (tail(moved, torch.arange(count, device="cpu")) != logits).any(dim=-1)[0]
    if not changed[-1] or changed[:-1].any():
        raise NotProvedError(
            f"the blocks of {layout.model_class} return states of {states.shape[axis]} places for the {count} "
            "positions of the prompt, but the positions are not the last of these places"
        )


def disturbed(state: torch.Tensor) -> torch.Tensor:
    """A state with noise of its own size added; the same noise each time."""
    noise = torch.randn(state.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu")
    size = state.float().square().mean().sqrt().clamp_min(1.0)
    return state + (noise.to(state.device) * size).to(state.dtype)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def _given_after_a_change(model: nn.Module, layout: Layout, inputs: Inputs, number: int) -> tuple[torch.Tensor, ...]:
    """The input of the block that runs after the one with this number, if the output of that one is changed."""
    returned = 0
    given: tuple[torch.Tensor, ...] = ()

    def before(_module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        nonlocal given
        if returned == number + 1:
            given = tuple(each.clone() for each in tensors_in(arguments, keywords))
            raise StopForward

    def after(_module: nn.Module, _arguments: tuple[Any, ...], output: Any) -> Any:
        nonlocal returned
        returned += 1
        if returned != number + 1:
            return output
        return with_state(output, disturbed(state_of(output, layout.parts)), layout.parts)

    with ExitStack() as hooks:
        for name in dict.fromkeys(layout.blocks):
            block = model.get_submodule(name)
            hooks.callback(block.register_forward_pre_hook(before, with_kwargs=True).remove)
            hooks.callback(block.register_forward_hook(after).remove)
        with suppress(StopForward):
            model_logits(model, inputs)
    return given

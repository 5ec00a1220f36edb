"""The states of a window with the graph of their gradients, from one forward pass that ends at the target."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from bauklens.decoders.fit.states import Fitted
from bauklens.model.block_output import state_of, with_state
from bauklens.model.forward import last_logits_only, model_logits, tensors_in
from bauklens.model.inputs import Inputs
from bauklens.signals import unbroken
from bauklens.vocabulary import EMBED


class _EndedError(Exception):
    """The target was reached, and what comes after it is not needed."""


@dataclass(frozen=True)
class Graph:
    """States that are connected by gradients.

    Attributes:
        sources: (layer,), each in the shape of the model's states; the first is a leaf.
        target: likewise.
        positions: those of their positions that count.
    """

    sources: list[torch.Tensor]
    target: torch.Tensor
    positions: slice


@unbroken
def states_only(model: nn.Module) -> Iterator[None]:
    """Gradients of states, and none of parameters, so that nothing is kept for them; afterwards all is as it was."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in wanted:
            parameter.requires_grad_(False)
        with torch.enable_grad():
            yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


def graph_of(
    model: nn.Module,
    fitted: Fitted,
    inputs: Inputs,
    *,
    leaf: torch.Tensor | None = None,
    prefix: "Prefix | None" = None,
) -> Graph:
    """Runs a window.

    Args:
        model: what :func:`bauklens.model.guard.evaluating` yields.
        leaf: what the model continues with instead of the state of the first layer.
        prefix: the positions that do not count, which ran already.
    """
    named, parts = (EMBED, *fitted.anatomy.labels), fitted.anatomy.parts
    first, found = named.index(fitted.layers[0]), {}

    def keep(place: int, output: Any) -> Any:
        state = state_of(output, parts)
        if place == first:
            state = state.detach().requires_grad_() if leaf is None else leaf
        found[place] = state
        return with_state(output, state, parts)

    run_to_target(model, fitted, inputs, keep, prefix)
    if prefix is None:
        fitted.require_positions(found[named.index(fitted.target)], inputs)
    sources = [found[named.index(label)] for label in fitted.layers]
    return Graph(sources, found[named.index(fitted.target)], counted(fitted, inputs, prefix))


def counted(fitted: Fitted, inputs: Inputs, prefix: "Prefix | None") -> slice:
    """The positions that count, among those that ran."""
    positions = fitted.positions(inputs)
    skipped = 0 if prefix is None else prefix.count
    return slice(positions.start - skipped, positions.stop - skipped)


def run_to_target(
    model: nn.Module,
    fitted: Fitted,
    inputs: Inputs,
    keep: Callable[[int, Any], Any],
    prefix: "Prefix | None",
) -> None:
    """Runs a window as far as the target.

    Args:
        keep: is called with the place of a layer, counted from 0 for the state before block 0, and with what holds its
            states, from the first layer that is fitted on; the model continues with what it returns.
    """
    named = (EMBED, *fitted.anatomy.labels)
    first, last, ran = named.index(fitted.layers[0]), named.index(fitted.target), 0

    def begin(_module: nn.Module, given: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if ran or first:
            return None
        tensors = tensors_in(given, keywords)
        taken = [tensors[place] for place in fitted.anatomy.takes]
        state = keep(0, torch.stack(taken) if taken[1:] else taken[0])
        instead = dict(zip(map(id, taken), state if taken[1:] else [state], strict=True))
        return tree_map_only(torch.Tensor, lambda each: instead.get(id(each), each), (given, keywords))

    def end(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        nonlocal ran
        ran += 1
        if ran >= first:
            output = keep(ran, output)
        if ran == last:
            raise _EndedError
        return output

    with ExitStack() as hooks:
        blocks = list(dict.fromkeys(fitted.anatomy.blocks))
        hooks.callback(model.get_submodule(blocks[0]).register_forward_pre_hook(begin, with_kwargs=True).remove)
        for name in blocks:
            hooks.callback(model.get_submodule(name).register_forward_hook(end).remove)
        try:
            if prefix is None:
                model_logits(model, inputs, **last_logits_only(model))
            else:
                prefix.run(model, inputs)
        except _EndedError:
            pass


_CACHES = ("cache", "past_key_values")
"""The names of models' argument for cached positions; the second is the older name."""


@dataclass(frozen=True)
class Prefix:
    """The cache of the positions at the beginning of a window, which no gradient reaches.

    Attributes:
        name: of the model's argument.
        cache: as the model returns it.
        count: how many positions it holds.
    """

    name: str
    cache: Any
    count: int

    @staticmethod
    def of(model: nn.Module, inputs: Inputs, count: int) -> "Prefix":
        """Runs them.

        Raises:
            ValueError: the model keeps no cache that can be passed to it again.
        """
        taken = inspect.signature(model.forward).parameters
        with torch.no_grad():
            output = model(input_ids=inputs.ids[:, :count], use_cache=True, return_dict=True, **last_logits_only(model))
        name = next((each for each in _CACHES if each in taken and output.get(each) is not None), None)
        if name is None:
            raise ValueError(f"{type(model).__name__} returns no cache that it takes")
        return Prefix(name, output[name], count)

    def run(self, model: nn.Module, inputs: Inputs) -> None:
        """Runs the rest of the window, less its last position; the cache is used up."""
        model(
            input_ids=inputs.ids[:, self.count : inputs.count - 1],
            use_cache=True,
            return_dict=True,
            **{self.name: self.cache},
            **last_logits_only(model),
        )


def without_gradient(model: nn.Module, fitted: Fitted, inputs: Inputs) -> str:
    """The innermost module that is given a state with a gradient and returns one without, in words; empty if none."""
    found: list[str] = []

    def look(name: str) -> Any:
        def after(module: nn.Module, given: tuple[Any, ...], keywords: Mapping[str, Any], output: Any) -> None:
            tensors = [each for each in (*given, *keywords.values()) if isinstance(each, torch.Tensor)]
            returned = state_of(output) if isinstance(output, (torch.Tensor, tuple, list)) and len(output) else None
            follows = any(each.requires_grad for each in tensors)
            if follows and returned is not None and returned.is_floating_point() and not returned.requires_grad:
                found.append(f"{name} ({type(module).__name__})")

        return after

    with ExitStack() as hooks:
        for name in fitted.anatomy.blocks:
            for inner, module in model.get_submodule(name).named_modules():
                whole = f"{name}.{inner}" if inner else name
                hooks.callback(module.register_forward_hook(look(whole), with_kwargs=True).remove)
        graph_of(model, fitted, inputs)
    return found[0] if found else ""

"""Modules before the blocks (such as an image encoder) run only once for a prompt that is replayed several times."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only


@dataclass
class _Begun:
    """A module that is running, and the number of results when it began."""

    name: str
    results: int


@dataclass
class BeforeBlocks:
    """The results of the outermost modules that end before the first block begins, in the order in which they ended.

    Attributes:
        results: (name, what it returned).
        complete: whether the first block has begun, so that no more follow.
    """

    results: list[tuple[str, Any]] = field(default_factory=list)
    complete: bool = False

    def recording(self, model: nn.Module, first_block: str) -> ExitStack:
        """Hooks that record a run of the model; closing removes them."""
        begun: list[_Begun] = []

        def begin_of(name: str) -> Callable[..., None]:
            def begin(*_: Any) -> None:
                self.complete = self.complete or name == first_block
                begun.append(_Begun(name, len(self.results)))

            return begin

        def end(_module: nn.Module, _inputs: Any, returned: Any) -> None:
            module = begun.pop()
            if not self.complete:
                self.results[module.results :] = [(module.name, _copy(returned))]

        hooks = ExitStack()
        for name, module in model.named_modules():
            if name:
                hooks.callback(module.register_forward_pre_hook(begin_of(name)).remove)
                hooks.callback(module.register_forward_hook(end).remove)
        return hooks

    def functions(self, model: nn.Module) -> dict[str, Callable[..., Any]]:
        """Module -> a function that replaces it: it returns the recorded results, call by call, and then runs it."""
        each: dict[str, list[Any]] = {}
        for name, returned in self.results:
            each.setdefault(name, []).append(returned)
        return {name: _repeating(model.get_submodule(name), returned) for name, returned in each.items()}


def _repeating(module: nn.Module, results: list[Any]) -> Callable[..., Any]:
    left = iter(results)

    def call(*inputs: Any, **keywords: Any) -> Any:
        try:
            return _copy(next(left))
        except StopIteration:
            return module(*inputs, **keywords)

    return call


def _copy(returned: Any) -> Any:
    """A copy of its tensors, as a model may change them in place."""
    return tree_map_only(torch.Tensor, torch.clone, returned)

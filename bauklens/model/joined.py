"""The tensors that attentions join before their output projections: the concatenated outputs of their heads."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from bauklens.model.forward import model_logits, tensors_in
from bauklens.model.inputs import Inputs

_JOINING = ("reshape", "view", "flatten")


class _Join(NamedTuple):
    """One tensor (..., heads, size) that was reshaped to (..., heads x size).

    Attributes:
        number: its number among the joins of its block, from 0.
        size: the length of one part.
        joined: a copy of the result.
    """

    number: int
    size: int
    joined: torch.Tensor


def sizes_joined(model: nn.Module, inputs: Inputs, projections: Mapping[str, str]) -> dict[str, int]:
    """The size of one head, for each projection whose input is the outputs of heads.

    It is found from the last join before the projection. If the joined tensor is not the projection's input to the last
    bit, because it is gated or normed in between, the model is run once more with zeros in place of the first head:
    these must be zeros in the input too, and the rest must not.

    Args:
        inputs: a few positions, which are run.
        projections: name of a module -> the block that it is in.
    """
    found = _seen(model, inputs, projections, {})
    sizes = {name: join.size for name, (join, given) in found.items() if torch.equal(join.joined.view_as(given), given)}
    others = {name: join for name, (join, _) in found.items() if name not in sizes}
    if others:
        zeroed = {(projections[name], join.number): join.size for name, join in others.items()}
        for name, (join, given) in _seen(model, inputs, {name: projections[name] for name in others}, zeroed).items():
            if not given[..., : join.size].any() and given[..., join.size :].any():
                sizes[name] = join.size
    return sizes


def _seen(
    model: nn.Module, inputs: Inputs, projections: Mapping[str, str], zeroed: Mapping[tuple[str, int], int]
) -> dict[str, tuple[_Join, torch.Tensor]]:
    """The last join before each projection, and the projection's input."""
    found: dict[str, tuple[_Join, torch.Tensor]] = {}
    watch = _Watch(zeroed)

    def before(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            (given, *_) = tensors_in(inputs, keywords)
            fitting = [join for join in watch.joins if join.joined.shape[-1] == given.shape[-1]]
            fitting = [join for join in fitting if join.joined.numel() == given.numel()]
            if fitting:
                found[name] = fitting[-1], given.clone()

        return hook

    with ExitStack() as hooks:
        for block in set(projections.values()):
            begins = model.get_submodule(block).register_forward_pre_hook(lambda *_, block=block: watch.begin(block))
            hooks.callback(begins.remove)
        for name in projections:
            hook = model.get_submodule(name).register_forward_pre_hook(before(name), with_kwargs=True)
            hooks.callback(hook.remove)
        with watch:
            model_logits(model, inputs)
    return found


class _Watch(TorchFunctionMode):
    """Records the joins in a block while it runs.

    Args:
        zeroed: (block, number of a join in it) -> how many of the first numbers of every vector are set to 0.

    Attributes:
        joins: the joins of the block that began last.
    """

    def __init__(self, zeroed: Mapping[tuple[str, int], int]) -> None:
        super().__init__()
        self.joins: list[_Join] = []
        self._zeroed, self._block = zeroed, ""

    def begin(self, block: str) -> None:
        """Notes that a block begins."""
        self._block, self.joins = block, []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") not in _JOINING or not _joins(args[0], output):
            return output
        size = self._zeroed.get((self._block, len(self.joins)))
        if size is not None:
            output = output.clone()
            output[..., :size] = 0
        self.joins.append(_Join(len(self.joins), args[0].shape[-1], output.clone()))
        return output


def _joins(given: Any, output: Any) -> bool:
    """Whether an operation concatenated several vectors."""
    if not (isinstance(given, torch.Tensor) and isinstance(output, torch.Tensor)) or min(given.ndim, output.ndim) < 2:
        return False
    size, whole = given.shape[-1], output.shape[-1]
    is_only = size == whole and given.ndim > output.ndim and given.shape[-2] == 1
    return is_only or (given.ndim > 2 and 0 < size < whole and whole % size == 0)

"""An MLP's Jacobian as a matrix for each position, which many gradients at once are multiplied by.

An MLP is ``W_out h(W_1 x, ...)`` with one or two projections in front and a function h of each of their numbers by
itself. Its Jacobian is ``M = W_out sum_i diag(s_i) W_i``, s_i the slopes of h. A gradient that runs back through it
takes a product with every projection, of the size of the hidden layer. To make M takes one such product, whatever the
number of gradients, and then each gradient takes one of the size of the state. So for as many gradients as a state has
numbers, M is less than half the work.

Such MLPs are not recognized by name: a module counts as one if M gives its gradients.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from bauklens.model.weights import is_plain

_ALLOWED = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.01}
"""Relative to a gradient: rounding, far less than anything that M leaves out."""

_AT_ONCE = 8
"""Positions whose M are made at once."""

_SHOWN = 8
"""Positions, the last ones, at which M is shown to be right."""


@dataclass
class ExplicitMlp:
    """A module whose Jacobian is made of its projections.

    Attributes:
        module: its dotted name.
        ins: the names of its projections in front.
        out: that of the one at its end.
        slopes: of each projection in front, (position, hidden), of the run that :meth:`watched` saw last.
    """

    module: str
    ins: list[str]
    out: str
    slopes: list[torch.Tensor] = field(default_factory=list)
    _weights: list[torch.Tensor] = field(default_factory=list, repr=False)

    @contextmanager
    def watched(self, model: nn.Module) -> Iterator[None]:
        """While this is open, a run of the module leaves its slopes, and no graph."""
        leaves: list[torch.Tensor] = []
        ins, out = [model.get_submodule(name) for name in self.ins], model.get_submodule(self.out)
        self._weights = [_weight(each) for each in (*ins, out)]

        def begin(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
            leaves.append(output.detach().requires_grad_())
            return leaves[-1]

        def end(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            found = torch.autograd.grad(inputs[0].sum(), leaves)
            self.slopes = [each.flatten(0, -2) for each in found]
            leaves.clear()
            return (inputs[0].detach(),)

        with ExitStack() as hooks:
            for each in ins:
                hooks.callback(each.register_forward_hook(begin).remove)
            hooks.callback(out.register_forward_pre_hook(end).remove)
            yield

    def pays(self, model: nn.Module, rows: int) -> bool:
        """Whether M is less work than running so many gradients back."""
        size, hidden = _weight(model.get_submodule(self.out)).shape
        return hidden * size + rows * size < (1 + len(self.ins)) * rows * hidden

    def back(self, gradients: torch.Tensor, positions: slice) -> torch.Tensor:
        """(row, position, size) of what it returns -> the same of what it is given; 0 outside of some positions."""
        found = torch.zeros_like(gradients)
        first, *others, out = self._weights
        for start in range(positions.start, positions.stop, _AT_ONCE):
            some = slice(start, min(start + _AT_ONCE, positions.stop))
            first_slope, *slopes = (each[some, :, None] for each in self.slopes)
            inner = first_slope * first  # (position, hidden, size)
            for slope, weight in zip(slopes, others, strict=True):
                inner.addcmul_(slope, weight)
            found[:, some] = torch.bmm(gradients[:, some].transpose(0, 1), out @ inner).transpose(0, 1)
        return found


def explicit_mlp(model: nn.Module, block: str, calls: Mapping[str, torch.Tensor]) -> ExplicitMlp | None:
    """The MLP of a block, if it has one whose Jacobian can be made of its projections.

    Args:
        block: its name.
        calls: what its modules were given that are given a single tensor, by their dotted names.
    """
    for inner, _ in model.get_submodule(block).named_modules():
        name = f"{block}.{inner}"
        given = calls.get(name)
        if given is None or not inner or given.ndim != 3 or len(given) != 1:
            continue
        found = _found(model, name)
        if found is not None and _is_right(found, model, given):
            return found
    return None


def _found(model: nn.Module, name: str) -> ExplicitMlp | None:
    """A module with two or three projections and no other parameters, as if it were an MLP."""
    parts = {
        f"{name}.{inner}": each
        for inner, each in model.get_submodule(name).named_modules()
        if list(each.parameters(recurse=False))
    }
    if len(parts) not in (2, 3) or name in parts or not all(_is_projection(each) for each in parts.values()):
        return None
    sizes = [_weight(each).shape for each in parts.values()]
    (target, hidden), (_, source) = sizes[-1], sizes[0]
    if target != source or any(size != (hidden, source) for size in sizes[:-1]):
        return None
    *ins, out = parts
    return ExplicitMlp(name, ins, out)


def _is_right(mlp: ExplicitMlp, model: nn.Module, given: torch.Tensor) -> bool:
    """Whether M gives the gradients of a run."""
    module = model.get_submodule(mlp.module)
    given = given[:, -_SHOWN:]
    leaf = given.detach().clone().requires_grad_()
    try:
        returned = module(leaf)
        generator = torch.Generator().manual_seed(0)
        cotangent = torch.randn(returned.shape, generator=generator, dtype=torch.float32, device="cpu").to(returned)
        (wanted,) = torch.autograd.grad(returned, leaf, cotangent)
        with mlp.watched(model):
            module(leaf.detach())
        found = mlp.back(cotangent, slice(0, given.shape[1]))
    except (RuntimeError, TypeError, AttributeError):
        return False
    allowed = _ALLOWED.get(wanted.dtype, 0.05)
    return bool(((found - wanted).norm(dim=-1) <= allowed * wanted.norm(dim=-1)).all())


def _is_projection(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    is_linear = type(module) is nn.Linear or type(module).__name__ == "Conv1D"
    return is_linear and is_plain(weight) and weight.ndim == 2


def _weight(projection: nn.Module) -> torch.Tensor:
    """(out, in); that of transformers' Conv1D is kept the other way."""
    weight = projection.get_parameter("weight")
    return weight if isinstance(projection, nn.Linear) else weight.T

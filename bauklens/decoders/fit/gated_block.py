"""The mean Jacobian of a block like Llama's: ``m = x + attention(norm(x))``, and then ``m + mlp(norm(m))``.

In the mean field, a block is the matrix ``(I + M) (I + A)``. A is the sum over heads of the attention that a position
gives away on average, times ``W_o W_v G N``, and M is ``W_d [E(f(g)) W_u + E(u f'(g)) W_g] G N``, with N the mean
Jacobian of the norm, G its gain, f the activation, g and u what the two projections of the MLP return. Attention
weights are taken as they are: their own dependence on the state is left out.

A block's structure is verified on the run that the matrix comes from: its parts have to add up to what it returns.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.weights import is_plain

_ALLOWED = 1e-3
"""Relative to what is compared: more than rounding in float32, far less than a missing part."""

Took = Callable[[torch.Tensor], None]
Passed = Callable[[torch.Tensor, torch.Tensor], None]


class GatedBlock:
    """A block whose parts have the names that Llama's have.

    Args:
        name: of the block, for errors.

    Raises:
        LensError: it has no such parts.
    """

    def __init__(self, name: str, block: nn.Module) -> None:
        self.name, self._block = name, block
        try:
            self._norms = [block.get_submodule(each) for each in ("input_layernorm", "post_attention_layernorm")]
            self._gains = [each.get_parameter("weight") for each in self._norms]
            attention, mlp = block.get_submodule("self_attn"), block.get_submodule("mlp")
            self._value, self._output = (_linear(attention, each) for each in ("v_proj", "o_proj"))
            self._gate, self._up, self._down = (_linear(mlp, each) for each in ("gate_proj", "up_proj", "down_proj"))
            self._activation = mlp.get_submodule("act_fn")
            self._size = int(vars(attention)["head_dim"])
        except (AttributeError, KeyError):
            raise LensError(
                f"{name} is not made of attention and a gated MLP like Llama's blocks, with weights that can be read"
            ) from None
        self._heads = self._output.in_features // self._size
        self._shared = self._heads // (self._value.out_features // self._size)

    @contextmanager
    def linearized(self, positions: slice, took: Took, passed: Passed | None = None) -> Iterator[None]:
        """While this is open, every run of the block gives its matrix, (width, width) float32.

        Args:
            positions: those that are averaged over; later ones are where attention may go to as well.
            took: is called with the matrix, as soon as the block has run.
            passed: is called then with what it was given, and what it returned.
        """
        kept: dict[str, torch.Tensor] = {}

        def given(_module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            kept["given"] = inputs[0] if inputs else keywords["hidden_states"]

        def as_leaf(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
            kept["values"] = output.detach().requires_grad_()
            return kept["values"]

        def mixed(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            kept["mixed"] = inputs[0]
            return (inputs[0].detach(),)

        def output_of(name: str) -> Callable[..., None]:
            return lambda _module, _inputs, output: kept.__setitem__(name, output)

        def returned(_module: nn.Module, _inputs: Any, output: Any) -> None:
            kept["returned"] = output if isinstance(output, torch.Tensor) else output[0]
            took(self._matrix(kept, positions))
            if passed is not None:
                passed(kept["given"], kept["returned"])
            kept.clear()

        hooks = [
            self._block.register_forward_pre_hook(given, with_kwargs=True),
            self._value.register_forward_hook(as_leaf),
            self._output.register_forward_pre_hook(mixed),
            self._block.register_forward_hook(returned),
        ]
        parts: dict[str, nn.Module] = {
            "attended": self._output,
            "gate": self._gate,
            "up": self._up,
            "written": self._down,
        }
        parts |= {"normed": self._norms[0], "normed after attention": self._norms[1]}
        hooks += [module.register_forward_hook(output_of(name)) for name, module in parts.items()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _matrix(self, kept: dict[str, torch.Tensor], positions: slice) -> torch.Tensor:
        middle = kept["given"] + kept["attended"]
        self._require("what it returns", middle + kept["written"], kept["returned"])
        attention = self._of_attention(kept, positions) @ self._of_norm(0, kept["given"], kept["normed"], positions)
        mlp = self._of_mlp(kept, positions) @ self._of_norm(1, middle, kept["normed after attention"], positions)
        identity = torch.eye(len(attention), device=attention.device, dtype=torch.float32)
        return (identity + mlp) @ (identity + attention)

    def _of_attention(self, kept: dict[str, torch.Tensor], positions: slice) -> torch.Tensor:
        """(width, width), the sum over heads of the attention given away, times ``W_o W_v``."""
        values, mixed = kept["values"], kept["mixed"]
        marked = torch.zeros(self._heads, self._size, device=mixed.device, dtype=torch.float32)
        for head in range(self._heads):  # heads that share values are told apart by their dimension
            marked[head, head % self._shared] = 1
        received = torch.zeros_like(mixed)
        received[:, positions] = marked.flatten()
        (given,) = torch.autograd.grad(mixed, values, received, retain_graph=True)
        groups = self._apart(given)[:, positions, :, : self._shared]
        mass = groups.mean(dim=(0, 1)).flatten()  # (head,)
        (everywhere,) = torch.autograd.grad(mixed, values, marked.flatten().expand_as(mixed))
        self._require("its attention", _projected(self._value, kept["normed"]), values)
        self._require("its attention", _projected(self._output, mixed), kept["attended"])
        self._require_linear(everywhere, values, mixed)
        value = self._apart(self._value.weight.T).repeat_interleave(self._shared, dim=1)  # (width, head, size)
        output = self._apart(self._output.weight)
        return torch.einsum("h,ohs,ihs->oi", mass, output, value)

    def _require_linear(self, given: torch.Tensor, values: torch.Tensor, mixed: torch.Tensor) -> None:
        """Shows that a head's output is its values, weighed; (prompt, position, ...)."""
        mass = self._apart(given)[..., : self._shared].flatten(-2)  # (prompt, position, head)
        each = self._apart(values.detach()).repeat_interleave(self._shared, dim=-2)
        weighed = torch.einsum("pth,pths->phs", mass, each)
        self._require("its attention", weighed.flatten(1), mixed.detach().sum(dim=1))

    def _apart(self, heads: torch.Tensor) -> torch.Tensor:
        """(..., heads x size) -> (..., head, size)."""
        return heads.reshape(*heads.shape[:-1], -1, self._size)

    def _of_mlp(self, kept: dict[str, torch.Tensor], positions: slice) -> torch.Tensor:
        gate, up = kept["gate"], kept["up"]
        normed = kept["normed after attention"]
        for projection, given, found in ((self._gate, normed, gate), (self._up, normed, up)):
            self._require("its MLP", _projected(projection, given), found)
        self._require("its MLP", _projected(self._down, self._activation(gate) * up), kept["written"])
        gate = gate[:, positions].flatten(0, 1).detach().requires_grad_()
        activated = self._activation(gate)
        (slope,) = torch.autograd.grad(activated.sum(), gate)
        of_up = activated.detach().mean(dim=0)
        of_gate = (up[:, positions].flatten(0, 1) * slope).mean(dim=0)
        inner: torch.Tensor = of_up[:, None] * self._up.weight + of_gate[:, None] * self._gate.weight
        return self._down.weight @ inner

    def _of_norm(self, which: int, states: torch.Tensor, normed: torch.Tensor, positions: slice) -> torch.Tensor:
        """(width, width), the gain times the mean Jacobian of an RMSNorm, ``I / r - x x' / (n r^3)``."""
        scale = states.double().square().mean(dim=-1, keepdim=True).add(_epsilon(self._norms[which])).sqrt()
        gain = self._gains[which]
        self._require("its norm", (states / scale).float() * gain, normed)
        rows, scales = states[:, positions].flatten(0, 1).double(), scale[:, positions].flatten(0, 1)
        projected = rows / scales**1.5
        mean = torch.eye(rows.shape[1], dtype=torch.float64, device=rows.device) * (1 / scales).mean()
        jacobian = (mean - projected.T @ projected / rows.numel()).float()
        return torch.mul(gain[:, None], jacobian)

    def _require(self, what: str, made: torch.Tensor, found: torch.Tensor) -> None:
        if not (made - found).norm() <= _ALLOWED * found.norm():
            raise LensError(f"{self.name} has no Jacobian in closed form: {what} is not what its parts give")


def _linear(module: nn.Module, name: str) -> nn.Linear:
    found = module.get_submodule(name)
    if type(found) is not nn.Linear or not is_plain(found.weight):
        raise AttributeError(name)
    return found


def _projected(projection: nn.Linear, given: torch.Tensor) -> torch.Tensor:
    """What its weights make of something, whatever the module itself does."""
    return nn.functional.linear(given, projection.weight, projection.bias)


def _epsilon(norm: nn.Module) -> float:
    return float(getattr(norm, "variance_epsilon", getattr(norm, "eps", 0.0)))

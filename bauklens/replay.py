"""The model's own tail as a function of states: its forward, replayed with the blocks standing aside.

So its own code applies the final norm, the head, and whatever comes after it (a soft-cap, a scale, a cast).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from bauklens.anatomy import Anatomy
from bauklens.calls import model_logits
from bauklens.errors import LensError
from bauklens.trace import evaluating, swapped, with_state

_EPSILON_NAMES = ("eps", "epsilon", "variance_epsilon")

_MOVED = 0.1
"""Of the largest normed value: a shift of all by one scale moves a LayerNorm by rounding, an RMSNorm by more."""


class Tail:
    """The model's own tail as a function of states; made by :func:`replaying`, and good while that lasts."""

    def __init__(self, model: nn.Module, anatomy: Anatomy) -> None:
        self.positions = torch.empty(0, dtype=torch.int64)
        self._model = model
        self._anatomy = anatomy
        self._states = torch.empty(0)

    def logits(self, states: torch.Tensor, token_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(layer, position, hidden) -> (layer, position, vocabulary).

        Args:
            states: the states to decode.
            token_ids: (position,), the prompt's ids at these positions: the replay is given them as its input.
            positions: (position,), where in the prompt the states stand.
        """
        self._states, self.positions = states, positions
        return model_logits(self._model, token_ids.expand(len(states), -1))

    def whole_logits(self, state: torch.Tensor, token_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """A state of any shape, of the whole prompt -> (1, position, vocabulary), at some of its positions.

        Args:
            token_ids: (prompt,), the prompt's ids.
        """
        self._states = state
        return model_logits(self._model, token_ids[None])[:, positions]

    def block_output(self) -> Any:
        """What a block that stands aside returns: a copy, as a model may change it in place."""
        return with_state(self._anatomy.block_output, self._states.clone(), self._anatomy.parts)


class _StandIn(nn.Module):
    """Takes a module's place and has its attributes, and calls a function instead of computing."""

    def __init__(self, module: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.__dict__.update(original=module, function=function)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["original"], name)

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        return self.function(*inputs, **keywords)


class FrozenNorm:
    """A final norm with the scale that it has at the last block's output, which makes it linear in the state.

    With ``s(x)`` the root mean square of x (of x less its mean in a LayerNorm, Ba et al. 2016, eq. 4; of x itself in an
    RMSNorm, Zhang and Sennrich 2019, eq. 4), a norm is ``N(x) = w x / s(x) + b``; this is ``w x / s(final)``, so that
    the rows of "embed" and of all deltas add up to that of the final state, less b.

    Args:
        norm: the model's own final norm.
        final: (prompt, hidden), the last block's output.

    Raises:
        LensError: the norm is neither, shown by two parts of the final state that do not add up to the whole.
    """

    def __init__(self, norm: nn.Module, final: torch.Tensor) -> None:
        self.norm = norm
        self.epsilon = next((getattr(norm, name) for name in _EPSILON_NAMES if hasattr(norm, name)), 0.0)
        self.centred = False
        shift = self.scale(final).to(final.dtype)
        moved = (norm(final + shift) - norm(final)).abs().max()
        self.centred = bool(moved <= _MOVED * (norm(final) - norm(torch.zeros_like(final))).abs().max())
        self.bias = norm(torch.zeros_like(final[:1]))  # (1, hidden)
        self.final_scale = self.scale(final)  # (prompt, 1)
        self._prove(final)

    def scale(self, states: torch.Tensor) -> torch.Tensor:
        """(..., hidden) -> (..., 1) float32."""
        states = states.float()
        if self.centred:
            states = states - states.mean(dim=-1, keepdim=True)
        return (states.square().mean(dim=-1, keepdim=True) + self.epsilon).sqrt()

    def __call__(self, states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(..., position, hidden) -> the same shape."""
        normed: torch.Tensor = self.norm(states) - self.bias
        return normed * (self.scale(states) / self.final_scale[positions]).to(normed)

    def _prove(self, final: torch.Tensor) -> None:
        everywhere = torch.arange(len(final), device=final.device)
        part = final.roll(1, dims=-1) / 2
        whole = self.norm(final)
        difference = self(part, everywhere) + self(final - part, everywhere) + self.bias - whole
        if not difference.abs().max() <= max(8 * torch.finfo(final.dtype).eps, 1e-5) * whole.abs().max():
            raise LensError(
                f"norm='final' needs a LayerNorm or an RMSNorm as final norm; found {type(self.norm).__name__}: "
                "pass norm='own'"
            )


@contextmanager
def replaying(model: nn.Module, anatomy: Anatomy, norm: str | None, final: torch.Tensor) -> Iterator[Tail]:
    """The model with its blocks standing aside, as a :class:`Tail`; the model is whole again afterwards.

    Args:
        norm: ``"own"``, the final norm as it is; ``"final"``, with the scale of the final state; None, the head alone.
        final: (position, hidden), the last block's output.

    Raises:
        LensError: ``norm="final"`` and the model's final norm is no LayerNorm or RMSNorm of states (position, hidden).
    """
    if norm == "final" and not anatomy.plain:
        raise LensError(
            f"norm='final' needs states of shape (position, hidden), and those of {anatomy.model_class} are not: "
            "pass norm='own'"
        )
    with evaluating(model):
        tail = Tail(model, anatomy)
        functions: dict[str, Callable[..., Any]] = {
            name: lambda *_, **__: tail.block_output() for name in anatomy.blocks
        }
        if norm is None:
            functions |= {name: lambda states, *_, **__: states for name in anatomy.norms}
        elif norm == "final" and anatomy.norms:
            frozen = FrozenNorm(_only_norm(model, anatomy), final)
            functions[anatomy.norms[0]] = lambda states: frozen(states, tail.positions)
        with swapped(model, {name: _StandIn(model.get_submodule(name), each) for name, each in functions.items()}):
            yield tail


def _only_norm(model: nn.Module, anatomy: Anatomy) -> nn.Module:
    if len(anatomy.norms) > 1:
        raise LensError(
            f"norm='final' needs one final norm; found {', '.join(anatomy.norms)} in {anatomy.model_class}: "
            "pass norm='own'"
        )
    return model.get_submodule(anatomy.norms[0])

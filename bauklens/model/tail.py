"""The model's own tail as a function of states: its forward, replayed with the blocks standing aside.

So its own code applies the final norm, the head, and whatever comes after it (a soft-cap, a scale, a cast).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.forward import model_logits
from bauklens.model.layout import Layout
from bauklens.model.tracing import evaluating, swapped, with_state

_EPSILON_NAMES = ("eps", "epsilon", "variance_epsilon")

_MOVED = 0.1
"""Of the largest normed value: a shift of all by one scale moves a LayerNorm by rounding, an RMSNorm by more."""


class Tail:
    """The model's own tail as a function of states; made by :func:`replaying`, and good while that lasts.

    Attributes:
        head: the model's own head.
        positions: where in the prompt the states at hand stand.
    """

    def __init__(self, model: nn.Module, layout: Layout) -> None:
        self.head = model.get_submodule(layout.head)
        self.positions = torch.empty(0, dtype=torch.int64)
        self._model = model
        self._layout = layout
        self._states = torch.empty(0)
        self._head_inputs = torch.empty(0)
        self._head_returns: torch.Tensor | None = None

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
        self._states, self.positions = state, torch.arange(len(token_ids))
        return model_logits(self._model, token_ids[None])[:, positions]

    def head_inputs(self, states: torch.Tensor, token_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(layer, position, hidden) -> (layer, position, head width), what the head is given; arguments as above."""
        self._head_returns = None
        self.logits(states, token_ids, positions)
        return self._head_inputs

    def after_head(self, logits: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
        """What the model makes of these as its head's logits, in the place of the states that were given last."""
        self._head_returns = logits
        return model_logits(self._model, token_ids.expand(len(logits), -1))

    def at_head(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the head returns where it stands aside: the logits at hand, or none, as its input is all that counts."""
        self._head_inputs = inputs
        return inputs.new_empty((*inputs.shape[:-1], 0)) if self._head_returns is None else self._head_returns

    def block_output(self) -> Any:
        """What a block that stands aside returns: a copy, as a model may change it in place."""
        return with_state(self._layout.block_output, self._states.clone(), self._layout.parts)


class _NamedTail(Tail):
    """A module that the caller names, the head, and what the model's own forward makes of the head's logits."""

    def __init__(self, model: nn.Module, layout: Layout, norm: str) -> None:
        super().__init__(model, layout)
        self._norm = model.get_submodule(norm)

    def logits(self, states: torch.Tensor, token_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return self.after_head(self.head(self.head_inputs(states, token_ids, positions)), token_ids)

    def whole_logits(self, state: torch.Tensor, token_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return self.logits(state, token_ids, torch.arange(len(token_ids)))[:, positions]

    def head_inputs(self, states: torch.Tensor, _token_ids: torch.Tensor, _positions: torch.Tensor) -> torch.Tensor:
        self._states = states
        inputs: torch.Tensor = self._norm(states)
        return inputs


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
def replaying(
    model: nn.Module,
    layout: Layout,
    norm: str | None,
    final: torch.Tensor,
    *,
    through: str | None = None,
    to_head: bool = False,
) -> Iterator[Tail]:
    """The model with its blocks standing aside, as a :class:`Tail`; the model is whole again afterwards.

    Args:
        norm: ``"own"``, the final norm as it is; ``"final"``, with the scale of the final state; None, the head alone.
        final: (position, hidden), the last block's output.
        through: the one module that stands between a state and the head, in the place of the model's own tail.
        to_head: the head stands aside as well: states go as far as its input.

    Raises:
        LensError: ``norm="final"`` and the model's final norm is no LayerNorm or RMSNorm of states (position, hidden).
    """
    if norm == "final" and not layout.plain:
        raise LensError(
            f"norm='final' needs states of shape (position, hidden), and those of {layout.model_class} are not: "
            "pass norm='own'"
        )
    with evaluating(model):
        tail = Tail(model, layout) if through is None else _NamedTail(model, layout, through)
        functions: dict[str, Callable[..., Any]] = {
            name: lambda *_, **__: tail.block_output() for name in layout.blocks
        }
        if norm is None:
            functions |= {name: lambda states, *_, **__: states for name in layout.norms}
        elif norm == "final" and layout.norms:
            frozen = FrozenNorm(_only_norm(model, layout), final)
            functions[layout.norms[0]] = lambda states: frozen(states, tail.positions)
        if to_head or through is not None:
            functions[layout.head] = lambda inputs, *_, **__: tail.at_head(inputs)
        with swapped(model, {name: _StandIn(model.get_submodule(name), each) for name, each in functions.items()}):
            yield tail


def _only_norm(model: nn.Module, layout: Layout) -> nn.Module:
    if len(layout.norms) > 1:
        raise LensError(
            f"norm='final' needs one final norm; found {', '.join(layout.norms)} in {layout.model_class}: "
            "pass norm='own'"
        )
    return model.get_submodule(layout.norms[0])

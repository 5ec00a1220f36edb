"""A final norm with the scale that it has for the last block's output, so that contributions add up."""

from collections.abc import Callable

import torch
from torch import nn

from bauklens.errors import LensError

_EPSILON_NAMES = ("eps", "epsilon", "variance_epsilon")

_USUAL_EPSILON = 1e-5

_MOVED = 0.1
"""Relative to the largest normed value: shifting all inputs by one scale moves a LayerNorm by rounding only."""


class FrozenNorm:
    """A final norm with the scale that it has at the last block's output, which makes it linear in the state.

    With ``s(x)`` the root mean square of x (of x less its mean in a LayerNorm, Ba et al. 2016, eq. 4; of x itself in an
    RMSNorm, Zhang and Sennrich 2019, eq. 4), a norm is ``N(x) = w x / s(x) + b``; this is ``w x / s(final)``, so that
    the rows of "embed" and of all deltas add up to that of the final state, less b.

    Args:
        norm: the model's own final norm.
        final: (prompt, hidden), the last block's output.
        without_hooks: whether its forward is called directly, because a hook on it is running.

    Raises:
        LensError: the norm is neither of these: two parts of the final state do not add up to the whole.
    """

    def __init__(self, norm: nn.Module, final: torch.Tensor, *, without_hooks: bool = False) -> None:
        self.norm: Callable[[torch.Tensor], torch.Tensor] = norm.forward if without_hooks else norm
        self._called = type(norm).__name__
        self.epsilon = next((getattr(norm, name) for name in _EPSILON_NAMES if hasattr(norm, name)), 0.0)
        self.centred = False
        shift = self.scale(final).to(final.dtype)
        moved = (self.norm(final + shift) - self.norm(final)).abs().max()
        self.centred = bool(moved <= _MOVED * (self.norm(final) - self.norm(torch.zeros_like(final))).abs().max())
        self.bias = self.norm(torch.zeros_like(final[:1]))  # (1, hidden)
        if not any(hasattr(norm, name) for name in _EPSILON_NAMES):
            self.epsilon = self._epsilon(final[:1])
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

    def _epsilon(self, state: torch.Tensor) -> float:
        """What a norm adds to the mean square, measured on a small state if only the norm's code contains it.

        With m the mean square and N the norm less its bias: ``|N(c x)|^2 / |N(x)|^2 = c^2 (m + e) / (c^2 m + e)``.
        """
        mean_square = float(self.scale(state).square())
        if not mean_square:
            return 0.0
        small = (_USUAL_EPSILON / mean_square) ** 0.5
        normed = (self.norm(small * state) - self.bias, self.norm(state) - self.bias)
        ratio = float(normed[0].float().square().sum() / normed[1].float().square().sum())
        found = small**2 * mean_square * (1 - ratio) / (ratio - small**2)
        return found if 0 < found < 1 else 0.0

    def _prove(self, final: torch.Tensor) -> None:
        everywhere = torch.arange(len(final), device=final.device)
        part = final.roll(1, dims=-1) / 2
        whole = self.norm(final)
        difference = self(part, everywhere) + self(final - part, everywhere) + self.bias - whole
        if not difference.abs().max() <= max(8 * torch.finfo(final.dtype).eps, 1e-5) * whole.abs().max():
            raise LensError(
                f"norm='final' needs a LayerNorm or RMSNorm as the final norm; found {self._called}: pass norm='own'"
            )

"""Multiplies by the head's weights directly, if they can be read and the model's later steps are known."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from bauklens.model.weights import is_plain

_DIGITS = 7
"""Significant digits of a scale or a cap that a float32 probe can guarantee."""

_SMALL, _LARGE = 1e-4, 3e4
"""Logits of a probe: from the linear part of tanh to its flat part, for any cap in use (5 to 50)."""


@dataclass(frozen=True)
class PostOps:
    """What a model does to its head's logits: ``cap tanh(scale x / cap)``, or ``scale x`` without a cap.

    The soft-cap is that of Gemma 2 (Gemma Team 2024, section 2); the scale that of Cohere and Granite.

    Attributes:
        scale, cap: as in the formula.
        float32: whether the model does this in float32, whatever the dtype of its head.
    """

    scale: float = 1.0
    cap: float | None = None
    float32: bool = False

    @property
    def changes_nothing(self) -> bool:
        """Whether the model returns its head's logits as they are, or in float32."""
        return self.scale == 1 and self.cap is None

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Any shape -> the same shape."""
        logits = logits.float() if self.float32 else logits
        logits = logits if self.scale == 1 else logits * self.scale
        return logits if self.cap is None else (logits / self.cap).tanh() * self.cap

    def __str__(self) -> str:
        scaled = "x" if self.scale == 1 else f"{self.scale:g} x"
        return scaled if self.cap is None else f"{self.cap:g} tanh({scaled} / {self.cap:g})"


def is_readable(head: nn.Module) -> bool:
    """Whether a head is only its weights: a Linear without hooks that is not wrapped, offloaded or quantized."""
    return (
        type(head) is nn.Linear
        and "forward" not in vars(head)  # accelerate replaces it if a module is offloaded or spread
        and not (head._forward_hooks or head._forward_pre_hooks or is_parametrized(head))
        and is_plain(head.weight)
    )


def probe_logits(like: torch.Tensor) -> torch.Tensor:
    """Numbers of both signs and all sizes, in the shape of the head's logits, in float32."""
    generator = torch.Generator().manual_seed(0)
    size, sign = torch.rand((2, *like.shape), generator=generator, dtype=torch.float32, device="cpu").to(like.device)
    size = _SMALL * (_LARGE / _SMALL) ** size
    return torch.where(sign < 0.5, -size, size)


def find_post_ops(
    probe: torch.Tensor, after_head: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype
) -> PostOps | None:
    """What a model does to each of its head's logits; None if it does anything else, such as leaving some out.

    Args:
        probe: as :func:`probe_logits` returns it.
        after_head: the head's logits (..., vocabulary) -> the model's, fewer if the head's vocabulary is padded.
        dtype: that of the head's logits.
    """
    found = _fitted(probe, after_head(probe))
    if found is None or found == PostOps() or dtype == torch.float32:
        return found
    probe = probe.to(dtype)
    returned = after_head(probe).float()
    ways = [replace(found, float32=float32) for float32 in (False, True)]
    return min(ways, key=lambda way: float((way(probe)[..., : returned.shape[-1]].float() - returned).abs().max()))


def _fitted(probe: torch.Tensor, returned: torch.Tensor) -> PostOps | None:
    if returned.shape[:-1] != probe.shape[:-1] or not 0 < returned.shape[-1] <= probe.shape[-1]:
        return None
    probe = probe[..., : returned.shape[-1]]
    if torch.equal(returned.float(), probe.to(returned.dtype).float()):
        return PostOps()
    near = probe.abs() < 10 * _SMALL
    scale = _rounded((returned.double() / probe.double())[near].median())
    for found in (PostOps(scale), PostOps(scale, _rounded(returned.abs().max()))):
        grain = 8 * torch.finfo(returned.dtype).eps
        if torch.allclose(found(probe.double()), returned.double(), rtol=grain, atol=0):
            return found
    return None


def _rounded(value: torch.Tensor) -> float:
    return float(f"{float(value):.{_DIGITS}g}")

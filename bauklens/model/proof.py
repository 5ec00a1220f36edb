"""Whether decoded logits equal the model's own, except for rounding."""

import torch

from bauklens.errors import LensError
from bauklens.model.layout import Layout

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 0.02, torch.float16: 0.005}
"""Relative to the spread of the logits: above the effect of rounding, far below that of a missed norm, scale or cap."""

_FEW = 8
"""Up to this many labels, the best may be as near to the median as rounding brings it."""

MASKED = 1e30
"""Logits below the negative of this mark tokens that a model leaves out; the same must be left out here."""


class NotProvedError(LensError):
    """The decoded result is not what the model says."""


def prove(
    layout: Layout,
    decoded: torch.Tensor,
    own: torch.Tensor,
    dtype: torch.dtype,
    *,
    allowed: torch.Tensor | None = None,
) -> float:
    """The largest difference between decoded logits and the model's own.

    Args:
        decoded, own: (..., vocabulary).
        dtype: that of the states.
        allowed: (...,), by how much they may differ, if :func:`allowed_difference` has already been called.

    Raises:
        NotProvedError: the difference is more than rounding, so nothing decoded in this way could be trusted.
    """
    own = own.float()
    decoded = decoded.to(own.device).float()
    if decoded.shape != own.shape:
        raise not_proved(layout, f"there are {decoded.shape[-1]:,} of them instead of {own.shape[-1]:,}")
    real = own.abs() < MASKED
    left_out_alike = torch.equal(real, decoded.abs() < MASKED) and torch.equal(own[~real].sign(), decoded[~real].sign())
    if not (left_out_alike and real.any()):
        raise not_proved(layout, "other tokens are left out")
    differences = torch.where(real, decoded - own, 0).abs().amax(dim=-1)
    allowed = allowed_difference(own, dtype) if allowed is None else allowed
    if not (differences <= allowed).all():
        worst = (differences - allowed).argmax()
        raise not_proved(
            layout,
            f"they differ by {differences.flatten()[worst]:.3g}, and rounding explains only "
            f"{allowed.flatten()[worst]:.3g}",
        )
    return float(differences.max())


def allowed_difference(own: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """By how much rounding may change a model's own logits: (..., vocabulary) float32 -> (...,).

    This is an estimate: a fraction of the distance from the median to the best logit, plus two units of rounding of the
    largest. For a few labels the median says little, so a fraction of the largest is used.

    Args:
        dtype: that of the states.
    """
    real = own.abs() < MASKED
    best, largest = torch.where(real, own, -torch.inf).amax(dim=-1), torch.where(real, own, 0).abs().amax(dim=-1)
    spread = best - torch.where(real, own, torch.nan).nanmedian(dim=-1).values
    spread = spread if own.shape[-1] > _FEW else torch.maximum(spread, largest)
    return 2 * torch.finfo(dtype).eps * largest + _TOLERANCE.get(dtype, 0.02) * spread


def not_proved(layout: Layout, difference: str) -> NotProvedError:
    """The error, with a description of how the decoded result differs from what the model says."""
    return NotProvedError(
        f"the lens of {layout.model_class} does not reproduce the model's own logits: {difference}; found blocks "
        f"{layout.blocks_path} and tail {', '.join(layout.tail)}: pass blocks=, norm= or head= with the right names"
    )

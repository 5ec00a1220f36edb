"""All kinds of edits, each made by the function of its name."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from bauklens.arguments import Layers, Positions
from bauklens.edits.edit import Edit
from bauklens.edits.from_runs import MeanAblate, Patch
from bauklens.edits.kinds import Ablate, AblateTop, Add, Steer, Swap, Zero
from bauklens.edits.setting import Token
from bauklens.errors import LensError
from bauklens.model.weights import whole

Where = str | int
"""What is changed, as for :class:`bauklens.edits.Edit`."""


def swap(
    decoder: Any,
    source: Token,
    target: Token,
    *,
    strength: float = 1.0,
    layers: Layers = None,
    positions: Positions | str = None,
    where: Where = "hidden",
) -> Edit:
    """Moves what a state says about one token to another: ``h + strength * c * (d_to - d_from)``.

    ``d`` is the unit direction of a token, ``J' N' (W[t] - mean W)``, with J the decoder's map at the layer, N' the
    Jacobian of the final norm at the mean of the prompt's final states, and W the head; ``c`` is the coordinate of h
    along ``d_from``.

    Args:
        decoder: as for :func:`bauklens.logit_lens`; None for the logit lens, which has no J.
        source: the token to remove, as a text, whose first token is used, or as an id.
        target: the token to put in its place.
        strength: how much to move; 0 changes nothing, to the last bit.
        layers: as for :class:`bauklens.edits.Edit`.
        positions: as for :class:`bauklens.edits.Edit`.
        where: as for :class:`bauklens.edits.Edit`.
    """
    return Edit(Swap(decoder, _number(strength), None, source, target), layers, positions, where)


def steer(
    decoder: Any,
    token: Token,
    *,
    strength: float = 1.0,
    layers: Layers = None,
    positions: Positions | str = None,
    where: Where = "hidden",
) -> Edit:
    """Adds a token's direction: ``h + strength * rms(h) * d``.

    The unit is the root mean square of the state's own coordinates, so that a strength means the same at every layer.

    Args:
        token: the token as a text, whose first token is used, or as an id.
        decoder: as for :func:`swap`.
        strength: as for :func:`swap`.
        layers: as for :class:`bauklens.edits.Edit`.
        positions: as for :class:`bauklens.edits.Edit`.
        where: as for :class:`bauklens.edits.Edit`.
    """
    return Edit(Steer(decoder, _number(strength), None, token), layers, positions, where)


def ablate(
    decoder: Any,
    tokens: Token | Iterable[Token],
    *,
    strength: float = 1.0,
    layers: Layers = None,
    positions: Positions | str = None,
    where: Where = "hidden",
) -> Edit:
    """Removes the span of the tokens' directions from a state: ``h - strength * Q Q' h``.

    Args:
        tokens: one or several, each a text or an id.
        decoder: as for :func:`swap`.
        strength: as for :func:`swap`.
        layers: as for :class:`bauklens.edits.Edit`.
        positions: as for :class:`bauklens.edits.Edit`.
        where: as for :class:`bauklens.edits.Edit`.
    """
    if isinstance(tokens, Mapping):
        raise LensError("an edit takes single tokens, not {name: [...]}: pass a list of texts or ids")
    given = (tokens,) if isinstance(tokens, (str, int)) else tuple(tokens)
    if not given:
        raise LensError("tokens to ablate are missing: pass at least one")
    return Edit(Ablate(decoder, _number(strength), None, given), layers, positions, where)


def ablate_top(
    decoder: Any,
    k: int = 10,
    *,
    strength: float = 1.0,
    layers: Layers = None,
    positions: Positions | str = None,
    where: Where = "hidden",
) -> Edit:
    """Like :func:`ablate`, but at each position with the k tokens that the decoder ranks highest there.

    Args:
        k: how many tokens.
        decoder: as for :func:`swap`.
        strength: as for :func:`swap`.
        layers: as for :class:`bauklens.edits.Edit`.
        positions: as for :class:`bauklens.edits.Edit`.
        where: as for :class:`bauklens.edits.Edit`.
    """
    return Edit(AblateTop(decoder, _number(strength), None, k), layers, positions, where)


def add(
    vector: Any,
    *,
    strength: float = 1.0,
    layers: Layers = None,
    positions: Positions | str = None,
    where: Where = "hidden",
) -> Edit:
    """Adds a vector, such as a probe's or a steering vector: ``h + strength * v``.

    Args:
        vector: (hidden,), a tensor, an array or numbers.
        strength: as for :func:`swap`.
        layers: as for :class:`bauklens.edits.Edit`.
        positions: as for :class:`bauklens.edits.Edit`.
        where: as for :class:`bauklens.edits.Edit`.

    Raises:
        LensError: it contains NaN or infinity, or is not one vector.
    """
    found = torch.as_tensor(whole(vector), dtype=torch.float32, device="cpu").detach()
    if found.dim() != 1 or not found.isfinite().all():
        raise LensError(f"the vector must be (hidden,), and finite; got shape {tuple(found.shape)}")
    return Edit(Add(found.clone(), _number(strength)), layers, positions, where)


def zero(where: Where = "hidden", *, layers: Layers = None, positions: Positions | str = None) -> Edit:
    """Replaces what is there with 0, such as what a sublayer writes.

    Args:
        where: as for :class:`bauklens.edits.Edit`.
        layers: as for :class:`bauklens.edits.Edit`.
        positions: as for :class:`bauklens.edits.Edit`.
    """
    return Edit(Zero(), layers, positions, where)


def mean_ablate(
    where: Where = "hidden",
    texts: Iterable[Any] | str | None = None,
    *,
    layers: Layers = None,
    positions: Positions | str = None,
) -> Edit:
    """Replaces what is there with its mean over the positions of some texts, leaving out the first position of each.

    Args:
        texts: prompts; None for the prompt itself.
        where: as for :class:`bauklens.edits.Edit`.
        layers: as for :class:`bauklens.edits.Edit`.
        positions: as for :class:`bauklens.edits.Edit`.
    """
    given = () if texts is None else (texts,) if isinstance(texts, str) else tuple(texts)
    return Edit(MeanAblate(given), layers, positions, where)


def patch(
    prompt: Any,
    *,
    align: Mapping[int, int] | None = None,
    layers: Layers = None,
    positions: Positions | str = None,
    where: Where = "hidden",
) -> Edit:
    """Replaces this prompt's states with those of another prompt (activation patching).

    Args:
        prompt: the other prompt, as for :func:`bauklens.logit_lens`.
        align: position here -> position there; None pairs equal positions of prompts of the same length.
        layers: as for :class:`bauklens.edits.Edit`.
        positions: as for :class:`bauklens.edits.Edit`.
        where: as for :class:`bauklens.edits.Edit`.
    """
    return Edit(Patch(prompt, align), layers, positions, where)


def _number(strength: Any) -> float:
    try:
        found = float(strength)
    except (TypeError, ValueError):
        raise LensError(f"strength must be a number; got {strength!r:.80}") from None
    if found - found != 0:
        raise LensError(f"strength is {found}: pass a finite number")
    return found

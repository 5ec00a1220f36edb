"""Whether what a decoder shows affects the model: adds tokens' directions to states, and measures the effect.

The direction of token t at layer l is ``J' u``, of unit norm. J is the decoder's linear part there, the identity for
the logit lens; ``u = G' (w_t - w)`` is the gradient of the logit of t, minus the mean logit: w_t are the head's rows, w
is their mean, and G is the linear part of the final norm: its gain, and for a LayerNorm its centring. So this is the
direction in which the decoder's logit of t rises fastest, apart from the norm's scale.

0.3 of the norm of a state is added to it along this direction, at the output of block l and the last position of a
prompt, and the model continues. The gain is how much log p of t rises there, in the model's own final row. The control
is a random direction of equal norm.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import nn

from bauklens.decode.decoder import LOGIT_LENS, Decoder
from bauklens.decoders.changed_states import Change, Passed, gains_of
from bauklens.decoders.learned import LearnedDecoder
from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.inputs import Inputs
from bauklens.model.memory import out_of_memory
from bauklens.model.resolving import resolve
from bauklens.model.tail import replaying
from bauklens.progress import bar
from bauklens.stream.states import trace_stream
from bauklens.stream.tracing import Tracing
from bauklens.vocabulary import EMBED

SHARE = 0.3
"""How much is added to a state, relative to its norm."""

TOKENS = 8
"""Whose directions are added, for each text."""


class Moved(NamedTuple):
    """The effect: sums of gains over tokens, and how many tokens these are.

    Attributes:
        gains, random: of each decoder, (text, layer) float64, nats; NaN if a layer has no direction.
        counts: (text, 1).
    """

    gains: list[np.ndarray]
    random: list[np.ndarray]
    counts: np.ndarray


def require_steerable(anatomy: Anatomy) -> None:
    """Rejects a model whose tokens have no directions, or whose states have more axes.

    Raises:
        LensError: its head is not a plain linear module, or its states are not (position, hidden).
    """
    if anatomy.post_ops is None or anatomy.whole or not anatomy.plain or anatomy.norm is not None:
        raise LensError(
            f"causal needs a head that is a plain linear module, and states (position, hidden), which "
            f"{anatomy.model_class} does not have: leave causal out"
        )
    if len(anatomy.norms) > 1:
        raise LensError(
            f"causal needs one final norm; found {', '.join(anatomy.norms)} in {anatomy.model_class}: leave causal out"
        )


def moved_by(
    asked: Sequence[tuple[Decoder, Sequence[str]]],
    model: nn.Module,
    prompts: Sequence[Inputs],
    frequency: np.ndarray,
    *,
    tokens: int,
    seed: int,
) -> Moved:
    """The gains of tokens by directions of decoders.

    Args:
        asked: decoders, and the labels of their layers.
        prompts: one prompt each, at whose last position states are changed.
        frequency: (vocabulary,), how often each token is drawn, in proportion; the model's own top token is left out.
        tokens: how many for each prompt, the same ones for all decoders.
        seed: draws tokens and random directions.

    Raises:
        LensError: a decoder cannot be differentiated; or memory runs out for a single state.
    """
    gains: list[list[np.ndarray]] = [[] for _ in asked]
    random: list[list[np.ndarray]] = [[] for _ in asked]
    counts = np.zeros((len(prompts), 1))
    for number, inputs in enumerate(bar("Steering", "text", list(prompts))):
        anatomy = resolve(model, inputs)
        prompt = Passed(model, anatomy, inputs, trace_stream(model, anatomy, inputs, Tracing(positions=-1)))
        chosen = _drawn(frequency, prompt.top, tokens, np.random.default_rng([seed, 1, number]))
        counts[number] = len(chosen)
        found = _sums(asked, prompt, chosen, [seed, 2, number])
        for place, (_, labels) in enumerate(asked):
            gains[place].append(np.array([found[place, label] for label in labels]))
            random[place].append(np.array([found[None, label] for label in labels]))
    return Moved([np.stack(each) for each in gains], [np.stack(each) for each in random], counts)


def _drawn(frequency: np.ndarray, top: int, count: int, random: np.random.Generator) -> list[int]:
    """Ids of tokens, as often as they occur in texts, without one of them."""
    shares = frequency.copy()
    shares[top] = 0
    total = shares.sum()
    return random.choice(len(shares), count, p=shares / total).tolist() if total else []


def _sums(
    asked: Sequence[tuple[Decoder, Sequence[str]]], prompt: Passed, chosen: list[int], seed: list[int]
) -> dict[tuple[int | None, str], float]:
    """(number of a decoder, or None for random directions; label) -> the sum of the gains of some tokens."""
    named = [EMBED, *prompt.anatomy.labels]
    labels = [label for label in named if any(label in own for _, own in asked)]
    towards = _logit_gradients(prompt, chosen)
    each: list[tuple[tuple[int | None, str], torch.Tensor]] = []
    for label in labels:
        row = named.index(label)
        state = prompt.stream.states[row, -1]
        random = np.random.default_rng([*seed, row]).normal(size=tuple(towards.shape)).astype(np.float32)
        own = [(place, decoder) for place, (decoder, mapped) in enumerate(asked) if label in mapped]
        directions: list[tuple[int | None, torch.Tensor]] = [(None, torch.from_numpy(random).to(towards))]
        directions += [(place, _pulled_back(decoder, label, state, towards)) for place, decoder in own]
        size = SHARE * torch.linalg.vector_norm(state.float())
        each += [((place, label), size * nn.functional.normalize(some, dim=-1)) for place, some in directions]
    found = dict.fromkeys((key for key, _ in each), float("nan"))
    works = [
        (key, added) for key, added in each if len(chosen) and added.any(dim=-1).all() and _is_seen(prompt, key[1])
    ]
    changes = [
        Change(named.index(key[1]), state, token)
        for key, added in works
        for state, token in zip(added, chosen, strict=True)
    ]
    gains = gains_of(prompt, changes).reshape(-1, max(1, len(chosen)))
    return found | {key: float(gain.sum()) for (key, _), gain in zip(works, gains, strict=True)}


def _is_seen(prompt: Passed, label: str) -> bool:
    """Whether a module returns the state of a row, so that it can be changed there."""
    return label != EMBED or prompt.anatomy.embedding is not None


def _logit_gradients(prompt: Passed, tokens: Sequence[int]) -> torch.Tensor:
    """(token, hidden) float32: of each token's logit less the mean logit, through head and norm, the scale as it is."""
    anatomy, final = prompt.anatomy, prompt.stream.states[-1]
    with (
        replaying(
            prompt.model,
            anatomy,
            prompt.inputs,
            norm="final" if anatomy.norms else "own",
            final=final,
            to_head=True,
            in_place=anatomy.in_place,
        ) as tail,
        torch.enable_grad(),
    ):
        weight = cast("nn.Linear", tail.head).weight.detach()[: anatomy.vocabulary]
        mean = weight.mean(dim=0, dtype=torch.float32)
        rows = weight[torch.tensor(tokens, dtype=torch.int64, device=weight.device)].float() - mean
        given = final[-1:].expand(len(rows), 1, -1).clone().requires_grad_()
        inputs = tail.head_inputs(given, torch.tensor([prompt.inputs.count - 1], device="cpu"))
        (found,) = torch.autograd.grad(inputs, given, rows[:, None].to(inputs))
    return found[:, 0].float()


def _pulled_back(decoder: Decoder, label: str, state: torch.Tensor, towards: torch.Tensor) -> torch.Tensor:
    """(token, hidden) float32, ``J' u`` of each row u; zeros if a learned decoder is a constant there.

    Raises:
        LensError: the decoder is a function that cannot be differentiated.
    """
    if decoder is LOGIT_LENS:
        return towards
    if isinstance(decoder, LearnedDecoder):
        weight = decoder.weight(label)
        back = torch.zeros_like(towards) if weight is None else towards @ weight.to(towards)
        return back + towards if decoder.is_residual else back
    with torch.enable_grad():
        given = state.expand(1, len(towards), -1).clone().requires_grad_()
        try:
            found = decoder(given, [label])
            (back,) = torch.autograd.grad(found, given, towards[None].to(found))
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, LensError) or out_of_memory(error):
                raise
            raise LensError(
                f"the decoder {decoder.name!r} cannot be differentiated, so tokens have no directions: leave "
                f"causal out ({error!s:.200})"
            ) from None
    return back[0].float()

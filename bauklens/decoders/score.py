"""How well decoders predict what the model itself says, layer by layer, on text that they were not fitted on."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from bauklens import __version__
from bauklens.arguments import Layers, checked_count, one_of, whole_number
from bauklens.decode.decoder import Decoder
from bauklens.decoders.causal import TOKENS, Moved
from bauklens.decoders.chosen import chosen_decoders, told_apart
from bauklens.decoders.intervals import Bounds, with_intervals
from bauklens.decoders.scored import Scored
from bauklens.decoders.texts import LENGTH, SKIP_FIRST, Windows
from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.in_hand import in_hand
from bauklens.model.inputs import Inputs
from bauklens.model.provenance import model_name
from bauklens.model.together import together
from bauklens.progress import bar
from bauklens.show.scored_measures import Interval
from bauklens.show.scores import Scores
from bauklens.vocabulary import ON_ERROR

_PARTS = ("kl", "agreement", "cross_entropy", "calibration")
"""What is measured of every row; the last is a sum for each bin."""


@together
def score_decoder(
    decoders: Any,
    model: nn.Module,
    tokenizer: Any,
    texts: Iterable[Any],
    *,
    layers: Layers = None,
    length: int = LENGTH,
    skip_first: int = SKIP_FIRST,
    tokens: int | None = None,
    causal: bool | int = False,
    seed: int = 0,
    on_error: str = "raise",
    results: str = "first",  # noqa: ARG001 - read by together()
) -> Scores:
    """Scores decoders on text that they were not fitted on, with 95 % bootstrap intervals over the texts.

    At every layer that a decoder maps, it measures the mean over all positions that count of

    - ``kl``: KL(final row || row), nats;
    - ``agreement``: whether the most probable token is the model's own, 0..1;
    - ``cross_entropy``: -log p of the text's next token, nats per token;
    - ``calibration``: the expected calibration error of the most probable token (Guo et al. 2017, eq. 3), 0..1: its
      probability puts a position in one of ten bins, (0, 0.1] to (0.9, 1]; in each, the mean probability is compared
      with how often that token is the next one of the text; the mean of the absolute differences, each bin weighted by
      its positions.

    If ``causal`` is asked for, it also measures (see :mod:`bauklens.decoders.causal`)

    - ``causal``: the mean gain in log p of a token when 0.3 of the state's norm is added along the decoder's direction
      for it, nats; ``causal_random``: the same along a random direction.

    Memory does not grow with the texts, except for a few sums for each text. Logits are in the model's own precision.

    Args:
        decoders: one, or several, as ``decoder`` of :func:`bauklens.logit_lens`.
        model: a causal language model.
        tokenizer: its tokenizer; may be None if the texts are token ids.
        texts: each a string, token ids, or a mapping with ``"text"`` or ``"input_ids"``; any iterable, read once.
        layers: labels of the layers to score; None means all that a decoder maps. For the logit lens, these are all but
            the last block.
        length: the maximum number of tokens in a window of text; a longer text gives several windows.
        skip_first: how many positions at the beginning of each window do not count; the last one does not either.
        tokens: stop reading texts once this many positions are scored; None means all texts.
        causal: whether to measure the causal gain, or for how many tokens in each text; True means 8.
        seed: the random seed for the resamples of the intervals, and for tokens and directions of the causal gain.
        on_error: ``"raise"`` an error if a text fails, or ``"skip"`` it.
        results: for a model spread over several ranks, which of them get the result: ``"first"`` or ``"all"``.

    Returns:
        The scores, including those of the model's own final row.

    Raises:
        LensError: a decoder does not fit the model, or maps none of the layers; no text is long enough; an argument is
            out of range; or ``causal`` does not work for this model.
    """
    one_of("on_error", on_error, ON_ERROR)
    length, skip_first = checked_count("length", length), whole_number("skip_first", skip_first)
    seed = whole_number("seed", seed)
    if skip_first < 0 or seed < 0:
        raise LensError("skip_first and seed must be 0 or more")
    moves = TOKENS if causal is True else 0 if causal is False else checked_count("causal", causal)
    tokens = None if tokens is None else checked_count("tokens", tokens)
    chosen = chosen_decoders(decoders)
    model, tokenizer = in_hand(model, tokenizer)
    skips = on_error == "skip"
    windows = Windows(model, tokenizer, texts, length=length, skip_first=skip_first, skip_errors=skips)
    scored = Scored(chosen, layers, skip_first, moves)
    with torch.inference_mode(False):
        with bar("Scoring", "window" if tokens is None else "token", total=tokens) as progress:
            for window in windows:
                scored.begin(model, window.inputs)
                try:
                    count = scored.add(model, window.inputs, window.text)
                except LensError as error:
                    if not skips:
                        raise LensError(f"text {window.text}: {error}") from None
                    windows.failed += 1
                    continue
                progress.update(1 if tokens is None else count)
                if tokens is not None and scored.positions >= tokens:
                    break
        if not scored.documents:
            if windows.failed:
                raise LensError(f"{windows.failed:,} of {windows.texts:,} texts failed, and none were left to score on")
            raise LensError(
                f"no text is long enough to be scored: a window needs {windows.shortest} tokens, and {windows.texts} "
                f"text{'s have' if windows.texts != 1 else ' has'} fewer"
            )
        about = {
            "length": windows.length,
            "skip_first": skip_first,
            "windows": windows.windows,
            "texts too short": windows.too_short,
            "texts failed": windows.failed,
            "seed": seed,
            "bauklens": __version__,
        }
        moved = scored.moved(model, seed) if moves else None
    about |= {"causal tokens": moves} if moves else {}
    return _scores(scored, moved, model_name(model), seed, about)


def quality_of(
    decoder: Decoder,
    model: nn.Module,
    texts: Iterable[Inputs],
    *,
    skip_first: int = SKIP_FIRST,
    every: int = 1,
    anatomy: Anatomy | None = None,
) -> dict[str, dict[str, float]]:
    """Label -> the mean KL divergence of the row to the model's own, in nats, and how often their top tokens agree.

    Args:
        texts: one prompt each.
        skip_first: how many positions at the beginning of each are left out; so is the last.
        every: 1 measures all the others, 2 every second one, and so on.
        anatomy: the model's anatomy, if it is not the one that is found by default.
    """
    scored = Scored([decoder], None, skip_first, 0, every, anatomy)
    for number, inputs in enumerate(bar("Scoring", "text", list(texts))):
        scored.begin(model, inputs, fits=True)
        scored.add(model, inputs, number)
    (labels,), (documents,) = scored.labels, scored.sums
    count = sum(each[0] for each in scored.counts)
    means = np.sum(documents, axis=0)[:, :2] / count
    return {label: {"kl": float(kl), "agreement": float(same)} for label, (kl, same) in zip(labels, means, strict=True)}


def _means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(resample, layer, part), (resample, 2) -> (resample, layer, measure)."""
    positions, known = counts[:, 0, None], counts[:, 1, None]
    error = np.abs(sums[..., 3:]).sum(axis=-1)
    return np.stack([sums[..., 0] / positions, sums[..., 1] / positions, sums[..., 2] / known, error / positions], -1)


def _scores(scored: Scored, moved: Moved | None, model: str, seed: int, about: Mapping[str, Any]) -> Scores:
    names = told_apart([each.name for each in scored.decoders])
    counts = np.stack(scored.counts)
    found = {name: _named(np.stack(each), counts, seed) for name, each in zip(names, scored.sums, strict=True)}
    if moved is not None:
        for name, gains, random in zip(names, moved.gains, moved.random, strict=True):
            found[name]["causal"] = with_intervals(gains, moved.counts, np.divide, seed)
            found[name]["causal_random"] = with_intervals(random, moved.counts, np.divide, seed)
    own = _named(np.stack(scored.own), counts, seed)
    ends = {
        end: {name: {measure: getattr(each, end) for measure, each in of.items()} for name, of in found.items()}
        for end in Bounds._fields
    }
    return Scores(
        model=model,
        layers={name: tuple(labels) for name, labels in zip(names, scored.labels, strict=True)},
        documents=len(scored.documents),
        tokens=int(counts[:, 0].sum()),
        own={measure: Interval(*(float(end[0]) for end in each)) for measure, each in own.items()},
        about=about,
        **ends,
    )


def _named(sums: np.ndarray, counts: np.ndarray, seed: int) -> dict[str, Bounds]:
    """Measure -> its values and the ends of their intervals, (layer,) each."""
    whole = with_intervals(sums, counts, _means, seed)
    return {name: Bounds(*(end[:, place].copy() for end in whole)) for place, name in enumerate(_PARTS)}

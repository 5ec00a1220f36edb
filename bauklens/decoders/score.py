"""How well decoders say what the model itself says, layer by layer, on text that they were not fitted on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from bauklens import __version__
from bauklens.arguments import Layers, checked_count, chosen_layers, one_of, whole_number
from bauklens.decode.decoder import Basis, Decoder
from bauklens.decode.reading import Reading
from bauklens.decode.rows import Way, decode
from bauklens.decode.unembed import Rows
from bauklens.decoders.causal import TOKENS, Moved, moved_by, require_steerable
from bauklens.decoders.chosen import chosen_decoders, told_apart
from bauklens.decoders.fits import require_fit
from bauklens.decoders.intervals import Bounds, with_intervals
from bauklens.decoders.texts import LENGTH, SKIP_FIRST, Windows
from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy, resolve
from bauklens.model.inputs import Inputs
from bauklens.model.provenance import model_name
from bauklens.model.unwrap import unwrapped
from bauklens.progress import bar
from bauklens.show.scores import Interval, Scores
from bauklens.stream.run import Run
from bauklens.stream.states import trace_stream
from bauklens.vocabulary import EMBED, ON_ERROR

_BINS = 10
"""Of equal width, of the top token's probability."""

_PARTS = ("kl", "agreement", "cross_entropy", "calibration")
"""What is measured of every row; the last is a sum for each bin."""


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
) -> Scores:
    """Scores decoders on text that they were not fitted on, with 95 % bootstrap intervals over the texts.

    At every layer that a decoder maps, the mean over all positions that count of

    - ``kl``: KL(final row || row), nats;
    - ``agreement``: whether the most probable token is the model's own, 0..1;
    - ``cross_entropy``: -log p of the text's next token, nats per token;
    - ``calibration``: the expected calibration error of the most probable token (Guo et al. 2017, eq. 3), 0..1: its
      probability puts a position in one of ten bins, (0, 0.1] to (0.9, 1]; in each, the mean probability is compared
      with how often that token is the next one of the text; the mean of the absolute differences, each bin weighted by
      its positions.

    And if ``causal`` is asked for, as :mod:`bauklens.decoders.causal` has it,

    - ``causal``: the mean gain in log p of a token when 0.3 of the state's norm is added along the decoder's direction
      for it, nats; ``causal_random``: the same along a random direction.

    Memory does not grow with the texts, but for a few sums for each text. Logits are in the model's own precision.

    Args:
        decoders: one, or several, as ``decoder`` of :func:`bauklens.logit_lens`.
        model: a causal language model.
        tokenizer: its tokenizer; may be None if the texts are token ids.
        texts: each a string, token ids, or a mapping with ``"text"`` or ``"input_ids"``; any iterable, read once.
        layers: labels of the layers to score; None means all that a decoder maps. Of the logit lens, these are all but
            the last block.
        length: the most tokens of a window of text; a longer text makes several.
        skip_first: positions at the beginning of each window that do not count; the last one does not either.
        tokens: no more texts are read when so many positions are scored; None means all texts.
        causal: whether to measure the causal gain, or of how many tokens in each text; True means 8.
        seed: of the resamples of the intervals, and of tokens and directions for the causal gain.
        on_error: ``"raise"`` an error if a text fails, or ``"skip"`` it.

    Returns:
        The scores, the model's own final row among them.

    Raises:
        LensError: a decoder does not fit the model, or maps none of the layers; no text is long enough; an argument is
            out of range; or ``causal`` is asked for where it has no meaning.
    """
    one_of("on_error", on_error, ON_ERROR)
    length, skip_first = checked_count("length", length), whole_number("skip_first", skip_first)
    seed = whole_number("seed", seed)
    if skip_first < 0 or seed < 0:
        raise LensError("skip_first and seed must be 0 or more")
    moves = TOKENS if causal is True else 0 if causal is False else checked_count("causal", causal)
    tokens = None if tokens is None else checked_count("tokens", tokens)
    chosen, model = chosen_decoders(decoders), unwrapped(model)
    skips = on_error == "skip"
    windows = Windows(model, tokenizer, texts, length=length, skip_first=skip_first, skip_errors=skips)
    scored = _Scored(chosen, layers, skip_first, moves)
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
                raise LensError(f"{windows.failed:,} of {windows.texts:,} texts failed, and none was left to score on")
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
        skip_first: so many positions at the beginning of each are left out, and so is the last.
        every: of the others, every first, second, third, ... is measured.
        anatomy: of the model, if it is not the one that is found without being told.
    """
    scored = _Scored([decoder], None, skip_first, 0, every, anatomy)
    for number, inputs in enumerate(bar("Scoring", "text", list(texts))):
        scored.begin(model, inputs, fits=True)
        scored.add(model, inputs, number)
    (labels,), (documents,) = scored.labels, scored.sums
    count = sum(each[0] for each in scored.counts)
    means = np.sum(documents, axis=0)[:, :2] / count
    return {label: {"kl": float(kl), "agreement": float(same)} for label, (kl, same) in zip(labels, means, strict=True)}


@dataclass
class _Scored:
    """Sums over the positions of each text.

    Attributes:
        every: of the positions that count, every first, second, third, ... is scored.
        anatomy: of the model, if it is known.
        documents: numbers of the texts that were read.
        labels: of each decoder, the layers at which it is scored.
        sums: of each decoder and text, (layer, part) float64: of KL, agreement and surprisal, and for each bin of the
            top token's probability, of how often it was the next one less its probability.
        own: likewise of the model itself, (1, part).
        counts: of each text, positions, and those whose next token has a logit.
        prefixes: of each text, its first window.
        frequency: (vocabulary,), how often each token comes in the texts, if causal gains are asked for.
    """

    decoders: Sequence[Decoder]
    layers: Layers
    skip_first: int
    moves: int
    every: int = 1
    anatomy: Anatomy | None = None
    documents: list[int] = field(default_factory=list)
    labels: list[list[str]] = field(default_factory=list)
    sums: list[list[np.ndarray]] = field(default_factory=list)
    own: list[np.ndarray] = field(default_factory=list)
    counts: list[np.ndarray] = field(default_factory=list)
    prefixes: list[Inputs] = field(default_factory=list)
    frequency: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def begin(self, model: nn.Module, inputs: Inputs, *, fits: bool = False) -> None:
        """Finds out which layers are scored, once, given any inputs.

        Args:
            fits: whether it is known that the decoders fit the model.
        """
        if self.labels:
            return
        anatomy = self.anatomy or resolve(model, inputs)
        if not fits:
            self._require(model, anatomy)
        self.labels = [self._of_layers(each, anatomy) for each in self.decoders]
        self.sums = [[] for _ in self.decoders]
        self.frequency = np.zeros(anatomy.vocabulary)

    @property
    def positions(self) -> int:
        """How many were scored."""
        return int(sum(each[0] for each in self.counts))

    def add(self, model: nn.Module, inputs: Inputs, text: int) -> int:
        """Runs a window of a text once, and adds what each decoder says of it; how many positions that are."""
        anatomy = self.anatomy or resolve(model, inputs)
        run = Run(model, None, None, inputs, anatomy, trace_stream(model, anatomy, inputs), inputs.count)
        positions = list(range(self.skip_first, inputs.count - 1, self.every))
        following = inputs.ids[0, 1:].cpu()[positions]
        following = torch.where(following < anatomy.vocabulary, following, -1)  # one that is never predicted
        found = [
            _sums(run, decoder, labels, positions, following)
            for decoder, labels in zip(self.decoders, self.labels, strict=True)
        ]
        if self.documents[-1:] != [text]:
            self.documents.append(text)
            self.counts.append(np.zeros(2))
            self.own.append(np.zeros_like(found[0][-1:]))
            self.prefixes += [inputs] if self.moves else []
            for documents, each in zip(self.sums, found, strict=True):
                documents.append(np.zeros_like(each[:-1]))
        known = following[following >= 0].numpy()
        self.counts[-1] += len(positions), len(known)
        self.own[-1] += found[0][-1:]
        for documents, each in zip(self.sums, found, strict=True):
            documents[-1] += each[:-1]
        if self.moves:
            np.add.at(self.frequency, known, 1)
        return len(positions)

    def moved(self, model: nn.Module, seed: int) -> Moved:
        """The causal gains of every text."""
        asked = list(zip(self.decoders, self.labels, strict=True))
        return moved_by(asked, model, self.prefixes, self.frequency, tokens=self.moves, seed=seed)

    def _require(self, model: nn.Module, anatomy: Anatomy) -> None:
        for decoder in self.decoders:
            taken = getattr(decoder, "stream", "hidden")
            if taken != "hidden":
                raise LensError(
                    f"the decoder {decoder.name!r} maps what the {taken} of a block adds: scores are of decoders that "
                    "map the stream after a block"
                )
            require_fit(decoder, model, anatomy, ["hidden"], "own")
        if self.moves:
            require_steerable(anatomy)

    def _of_layers(self, decoder: Decoder, anatomy: Anatomy) -> list[str]:
        named, basis = [EMBED, *anatomy.labels], Basis(decoder, anatomy)
        wanted = [named[row] for row in sorted(chosen_layers(named, self.layers))]
        found = [label for label in wanted if basis.maps(label)]
        if not found:
            raise LensError(f"the decoder {decoder.name!r} has a map for none of the layers {', '.join(wanted):.200}")
        return found


def _sums(
    run: Run, decoder: Decoder, labels: Sequence[str], positions: list[int], following: torch.Tensor
) -> np.ndarray:
    """(layer + 1, part) float64, of a decoder's layers and then of the model's own row."""
    named, last = [EMBED, *run.anatomy.labels], run.anatomy.labels[-1]
    rows = Rows(
        "hidden", run.stream.states[[named.index(label) for label in (*labels, last)]], [*labels, last], positions
    )
    reading = Reading(1, ("kl", "agreement", "surprisal"), following)
    values = decode(run, rows, reading, Way(precision="exact", decoder=decoder)).values
    kl, agreement, surprisal = (values[name].double().numpy() for name in reading.measures)
    known = following.numpy() >= 0
    probability = values["top_probs"][..., 0].double().numpy()
    apart = (values["top_ids"][..., 0] == following).numpy() - probability
    bins = np.clip(np.ceil(probability * _BINS) - 1, 0, _BINS - 1)
    each = [kl.sum(axis=1), agreement.sum(axis=1), surprisal[:, known].sum(axis=1)]
    each += [np.where(bins == number, apart, 0).sum(axis=1) for number in range(_BINS)]
    return np.stack(each, axis=1)


def _means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(resample, layer, part), (resample, 2) -> (resample, layer, measure)."""
    positions, known = counts[:, 0, None], counts[:, 1, None]
    error = np.abs(sums[..., 3:]).sum(axis=-1)
    return np.stack([sums[..., 0] / positions, sums[..., 1] / positions, sums[..., 2] / known, error / positions], -1)


def _scores(scored: _Scored, moved: Moved | None, model: str, seed: int, about: Mapping[str, Any]) -> Scores:
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

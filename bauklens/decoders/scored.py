"""What is added up while texts are scored: of each decoder and text, sums over positions."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from bauklens.arguments import Layers, chosen_layers
from bauklens.decode.decoder import Basis, Decoder
from bauklens.decode.reading import Reading
from bauklens.decode.rows import Way, decode
from bauklens.decode.unembed import Rows
from bauklens.decoders.causal import Moved, moved_by, require_steerable
from bauklens.decoders.fits import require_fit, require_text_model
from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import resolve
from bauklens.stream.run import Run
from bauklens.stream.states import trace_stream
from bauklens.vocabulary import EMBED

_BINS = 10
"""Of equal width, of the top token's probability."""


@dataclass
class Scored:
    """Sums over the positions of each text.

    Attributes:
        moves: tokens in each text whose causal gain is asked for.
        every: 1 scores every position that counts, 2 every second one, and so on.
        anatomy: of the model, if it is known.
        documents: numbers of the texts that were read.
        labels: of each decoder, the layers at which it is scored.
        sums: of each decoder and text, (layer, part) float64: of KL, agreement and surprisal, and for each bin of the
            top token's probability, of how often it was the next one, minus its probability.
        own: likewise of the model itself, (1, part).
        counts: of each text, positions, and those whose next token has a logit.
        prefixes: of each text, its first window.
        frequency: (vocabulary,), how often each token occurs in the texts, if causal gains are asked for.
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
        require_text_model(anatomy, "scoring")
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
        """Runs a window of a text once, and adds each decoder's sums; returns how many positions were added."""
        anatomy = self.anatomy or resolve(model, inputs)
        run = Run(model, None, None, inputs, anatomy, trace_stream(model, anatomy, inputs), inputs.count)
        positions = list(range(self.skip_first, inputs.count - 1, self.every))
        following = inputs.ids[0, 1:].cpu()[positions]
        following = torch.where(following < anatomy.vocabulary, following, -1)  # some input ids are never predicted
        found = [
            _sums_of(run, decoder, labels, positions, following)
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
                    f"the decoder {decoder.name!r} maps what the {taken} of a block adds: scores need decoders that "
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


def _sums_of(
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

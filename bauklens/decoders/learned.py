"""What every kind of learned decoder is: a map for each layer, in front of the model's own norm and head.

Layer l is the stream after block l; "embed" is the stream before block 0. A map takes a state there to the final basis,
that of the last block's output, which needs no map itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from typing_extensions import Self

from bauklens.arguments import listed
from bauklens.decoders.checked import (
    checked_about,
    checked_labels,
    checked_maps,
    checked_name,
    checked_quality,
    checked_temperatures,
)
from bauklens.errors import LensError
from bauklens.vocabulary import DECODER_KINDS

Maps = Mapping[Any, torch.Tensor]
"""The label of a layer, or its number -> a tensor."""


class LearnedDecoder:
    """A map for each layer: ``A h + b``, or ``h + A h + b`` if it is a residual one; and a temperature of the logits.

    Maps keep their dtype, and are multiplied in float32 on the device of the states.

    Args:
        weights: layer -> (target, source), A; a layer without one has the constant b.
        biases: layer -> (target,), b.
        temperatures: layer -> the positive number that the logits of that row are divided by, after whatever the model
            does to its logits.
        name: what results call this decoder.
        stream: what the maps take: ``"hidden"``, the stream after a block, or what its ``"attention"`` or ``"mlp"``
            adds to it.
        quality: layer -> ``{"kl": nats, "agreement": 0..1}``, measured on text that the maps were not fitted on: the
            mean KL divergence to the model's own prediction, and how often the most probable tokens are the same; and
            any other of :data:`bauklens.decoders.checked.QUALITIES`.
        about: what else is known about it, as plain values, such as ``"model"``, ``"method"``, ``"prompts"``,
            ``"tokens"``; ``"blocks"``, ``"target"`` and ``"fingerprint"`` identify the model that it was made for
            (:mod:`bauklens.decoders.fits`).

    Attributes:
        kind: one of :data:`bauklens.vocabulary.DECODER_KINDS`.
        layers: labels of the layers that it has a map for.
        width: size of a state that it takes.
        target: size of a state that it returns.

    Raises:
        LensError: maps differ in shape, or contain NaN or infinity; a layer is given twice; a temperature is not
            positive; ``about`` holds something other than plain values.
    """

    kind = ""
    is_residual = False
    parts: tuple[str, ...] = ("weights", "biases", "temperatures")

    def __init__(
        self,
        weights: Maps,
        biases: Maps | None = None,
        temperatures: Mapping[Any, float] | None = None,
        *,
        name: str | None = None,
        stream: str = "hidden",
        quality: Mapping[Any, Mapping[str, float]] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._weights = checked_maps("a map", checked_labels(weights), axes=2)
        self._biases = checked_maps("a bias", checked_labels(biases or {}), axes=1)
        self.layers = tuple(dict.fromkeys([*self._weights, *self._biases]))
        if not self.layers:
            raise LensError("a decoder needs a map for at least one layer")
        self.width, self.target = self._shape()
        self.temperatures = checked_temperatures(checked_labels(temperatures or {}), self.layers)
        self.quality = checked_quality(checked_labels(quality or {}), self.layers)
        self.name = checked_name(self.kind if name is None else name)
        if stream not in ("hidden", "attention", "mlp"):
            raise LensError(f"unknown stream {stream!r} of a decoder: pass 'hidden', 'attention' or 'mlp'")
        self.stream = stream
        self.about = checked_about(about or {})
        self.forced = False

    @classmethod
    def from_parts(cls, weights: Maps, biases: Maps, temperatures: Mapping[Any, float], **known: Any) -> Self:
        """A decoder of this kind, given all parts that any kind may have.

        Raises:
            LensError: this kind has no such part; and as when it is made.
        """
        for part, given in (("weights", weights), ("biases", biases), ("temperatures", temperatures)):
            if given and part not in cls.parts:
                raise LensError(f"a {DECODER_KINDS[cls.kind]} has no {part}")
        made = cls.__new__(cls)
        LearnedDecoder.__init__(made, weights, biases, temperatures, **known)
        return made

    def __call__(self, states: torch.Tensor, layers: Any) -> torch.Tensor:
        """(layer, position, source) -> (layer, position, target), float32; as :class:`bauklens.Decoder`."""
        wide = states.to(torch.promote_types(states.dtype, torch.float32))
        return torch.stack([self._mapped(state, label) for state, label in zip(wide, layers, strict=True)])

    def __repr__(self) -> str:
        what = DECODER_KINDS.get(self.kind, self.kind)
        count = f"{len(self.layers)} layer{'s' if self.layers[1:] else ''}"
        return f"<{what} {self.name!r}: {count}, width {self.width}>"

    @property
    def is_linear(self) -> bool:
        """Whether it has no constant part, so that it maps a sum to the sum of its parts' maps."""
        return not self._biases

    def weight(self, layer: int | str) -> torch.Tensor | None:
        """(target, source), A of a layer, in the dtype in which it is kept; None if the layer has only a constant.

        Raises:
            LensError: this layer has no map.
        """
        return self._weights.get(self._known(layer))

    def bias(self, layer: int | str) -> torch.Tensor | None:
        """(target,), b of a layer, or None.

        Raises:
            LensError: this layer has no map.
        """
        return self._biases.get(self._known(layer))

    def matrix(self, layer: int | str) -> torch.Tensor:
        """(target, source) float32, the linear part of the whole map: A, or I + A if it is residual.

        Raises:
            LensError: this layer has no map.
        """
        weight = self.weight(layer)
        if weight is not None and not self.is_residual:
            return weight.float()
        identity = torch.eye(self.target, self.width, dtype=torch.float32, device="cpu")
        if weight is not None:
            return weight.float() + identity
        return identity if self.is_residual else torch.zeros_like(identity)

    @staticmethod
    def merge(
        decoders: "Sequence[LearnedDecoder]",
        model: Any = None,
        tokenizer: Any = None,
        texts: Iterable[Any] | None = None,
        *,
        name: str | None = None,
    ) -> "LearnedDecoder":
        """Merges decoders that were fitted on different texts, by several processes or machines.

        The result is their mean. For Jacobian lenses, weighted by their prompts, that is the lens of all their texts.
        For the others, weighted by their tokens, it is close to a fit on all texts, but not the same.

        Args:
            decoders: decoders of one model and kind, with the same layers; each states how many prompts and tokens it
                was fitted on (``about``), as those of :func:`bauklens.fit_decoder` and the files of Jacobian lenses do.
            model: the model to measure the new quality with; without it, or without texts, the decoder has no quality.
            tokenizer: its tokenizer.
            texts: as for :func:`bauklens.fit_decoder`, but none that a part was fitted on.
            name: what results call the decoder; by default the name of the first.

        Raises:
            LensError: the decoders have different kinds, methods or models, or were fitted on the same texts; one does
                not state how many prompts or tokens it was fitted on; or the model is another one, or no text is long
                enough to measure on.
        """
        from bauklens.decoders.merging import merged

        return merged(decoders, model, tokenizer, texts, name)

    def with_quality(self, quality: Mapping[Any, Mapping[str, float]], about: Mapping[str, Any] | None = None) -> Self:
        """The same decoder with another quality instead of the previous one; it shares the maps.

        Args:
            quality: as when a decoder is made, such as :meth:`bauklens.show.scores.Scores.quality` returns.
            about: what else is known now, in addition to what was known before.

        Raises:
            LensError: a layer has no map, a value is out of range, or ``about`` holds something other than plain
                values.
        """
        made = copy(self)
        made.quality = checked_quality(checked_labels(quality), self.layers)
        made.about = checked_about({**self.about, **(about or {})})
        return made

    def save(self, path: str | Path) -> None:
        """Writes the decoder to a file, or a folder; an old file is replaced only when the new one is complete.

        Args:
            path: a ``.safetensors`` file, which keeps everything. For a Jacobian lens also a ``.pt`` file, in float16,
                which the reference implementation and TransformerLens can read; for a tuned lens also a folder, which
                tuned-lens can read.

        Raises:
            LensError: the path has another suffix, or cannot be written, or the format cannot hold this decoder.
        """
        from bauklens.decoders.loading import save

        save(self, path)

    def _mapped(self, state: torch.Tensor, label: str) -> torch.Tensor:
        """(position, source) -> (position, target)."""
        weight, bias = (
            None if each is None else each.to(state.device, state.dtype)
            for each in (self._weights.get(label), self._biases.get(label))
        )
        if weight is None:
            assert bias is not None
            return bias.expand(len(state), -1)
        found = state @ weight.T if bias is None else torch.addmm(bias, state, weight.T)
        return state + found if self.is_residual else found

    def _known(self, layer: int | str) -> str:
        if str(layer) not in self.layers:
            raise LensError(f"the decoder {self.name!r} has no map for layer {layer!r}: it has {listed(self.layers)}")
        return str(layer)

    def _shape(self) -> tuple[int, int]:
        sources = {int(weight.shape[1]) for weight in self._weights.values()}
        targets = {int(each.shape[0]) for each in (*self._weights.values(), *self._biases.values())}
        if len(sources) > 1 or len(targets) > 1:
            raise LensError("the maps of a decoder must all have one shape, (target, source), and biases (target,)")
        (target,) = targets
        (source,) = sources or {target}
        if self.is_residual and source != target:
            raise LensError(f"a residual map must be square; got {target} x {source}")
        return source, target


class Parts(NamedTuple):
    """The maps of a decoder, by the labels of their layers, as :meth:`LearnedDecoder.from_parts` takes them."""

    weights: dict[str, torch.Tensor]
    biases: dict[str, torch.Tensor]
    temperatures: dict[str, float]

    @staticmethod
    def of(decoder: LearnedDecoder, layers: Iterable[str] | None = None) -> "Parts":
        """Those of a decoder, or of some of its layers."""
        labels = decoder.layers if layers is None else tuple(layers)
        weights = {label: each for label in labels if (each := decoder.weight(label)) is not None}
        biases = {label: each for label in labels if (each := decoder.bias(label)) is not None}
        return Parts(weights, biases, {label: each for label, each in decoder.temperatures.items() if label in labels})

    def replaced(self, other: "Parts") -> "Parts":
        """The same parts, with those that are given instead of these."""
        return Parts(self.weights | other.weights, self.biases | other.biases, self.temperatures | other.temperatures)

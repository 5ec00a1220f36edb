"""Patchscope: what a model says about its own states, put into another prompt, beside the lens. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.optional import data_frame
from bauklens.result.frozen import frozen, frozen_array, frozen_floats, require
from bauklens.result.json_value import JsonValue
from bauklens.result.tokens import visible
from bauklens.vocabulary import LOGIT

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False, repr=False)
class Patchscope(JsonValue):
    """The continuations of a prompt into which a state of another prompt was put; see :func:`bauklens.patchscope`.

    Attributes:
        model: name of the model.
        prompt: the text whose states are read.
        position, token: the position that they come from, and the token there.
        into: the text that they are put into.
        into_position, into_token: the position that they are put into, and the token there.
        layers: (layer,), the labels of the layers that they come from.
        into_layers: (layer,), the layers that they are put into: after which block, or ``"embed"``, before block 0.
        texts: (layer,), the model's continuations.
        top_ids: (layer, k) int64, the most probable first tokens of the continuation, most probable first.
        top_probs: (layer, k) float32, their probabilities.
        lens_ids: (layer, k) int64, the tokens that the lens reads from the same states.
        lens_probs: (layer, k) float32, their probabilities.
        decoder: the name of the lens's decoder; ``"logit"`` for none.
        clean: the model's continuation if nothing is put in.
        vocabulary: id -> text, of the tokens above.
        notes: what a reader should know, as sentences.
        provenance: model, revision, dtype, device, package versions, date, and all arguments.
    """

    FORMAT = "bauklens.patchscope"
    CALLED = "a patchscope"

    model: str
    prompt: str
    position: int
    token: str
    into: str
    into_position: int
    into_token: str
    layers: tuple[str, ...]
    into_layers: tuple[str, ...]
    texts: tuple[str, ...]
    top_ids: np.ndarray
    top_probs: np.ndarray
    lens_ids: np.ndarray
    lens_probs: np.ndarray
    decoder: str
    clean: str
    vocabulary: Mapping[int, str]
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("layers", "into_layers", "texts", "notes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("top", "lens"):
            ids = frozen_array(f"{name}_ids", getattr(self, f"{name}_ids"), np.int64)
            object.__setattr__(self, f"{name}_ids", ids)
            probs = frozen_floats(f"{name}_probs", getattr(self, f"{name}_probs"), ids.shape)
            object.__setattr__(self, f"{name}_probs", probs)
            require(ids.ndim == 2 and len(ids) == len(self.layers) and ids.size > 0, f"{name}_ids does not match")
            require(set(ids.ravel().tolist()) <= self.vocabulary.keys(), "the vocabulary does not have every token")
        object.__setattr__(self, "vocabulary", MappingProxyType(dict(self.vocabulary)))
        object.__setattr__(self, "provenance", frozen(self.provenance))
        require(isinstance(self.provenance, Mapping), "provenance is not a mapping")
        named = ("model", "prompt", "token", "into", "into_token", "decoder", "clean")
        texts = [*(getattr(self, name) for name in named), *self.layers, *self.into_layers, *self.texts, *self.notes]
        require(all(isinstance(each, str) for each in (*texts, *self.vocabulary.values())), "a text is not a string")
        require(type(self.position) is int and type(self.into_position) is int, "a position is not a number")
        require(len(self.into_layers) == len(self.texts) == len(self.layers), "not every layer has a text")

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, layer: int | str) -> str:
        """The model's continuation with the state of one layer, given by its label or number."""
        if str(layer) not in self.layers:
            raise LensError(f"unknown layer {layer!r}: this patchscope has {', '.join(self.layers)}")
        return self.texts[self.layers.index(str(layer))]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Patchscope) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def to_frame(self) -> "pandas.DataFrame":
        """A data frame with one row per layer.

        Columns: layer, into layer, text; said (the most probable first token) and its probability; lens (what the lens
        reads from the state) and its probability.

        Raises:
            LensError: pandas is not installed.
        """
        return data_frame(
            {
                "layer": list(self.layers),
                "into layer": list(self.into_layers),
                "text": list(self.texts),
                "said": [self.vocabulary[each] for each in self.top_ids[:, 0].tolist()],
                "probability": self.top_probs[:, 0],
                "lens": [self.vocabulary[each] for each in self.lens_ids[:, 0].tolist()],
                "lens probability": self.lens_probs[:, 0],
            }
        )

    def to_html(self, path: str | Path | None = None, *, title: str | None = None) -> str:
        """One self-contained page; also written to a file, atomically, if a path is given."""
        from bauklens.show.patchscope_table import patchscope_page

        html = patchscope_page(self, title)
        if path is not None:
            write_atomically(path, html.encode("utf-8", "replace"))
        return html

    def _repr_html_(self) -> str:
        from bauklens.show.patchscope_table import patchscope_fragment

        return patchscope_fragment(self)

    @property
    def lens(self) -> str:
        """The name of the lens."""
        return "logit lens" if self.decoder == LOGIT else f"lens {self.decoder!r}"

    def __repr__(self) -> str:
        head = f"<Patchscope of {self.model}: {self.token!r}, position {self.position}, into {self.into!r}>"
        wide = max(len(each) for each in (*self.layers, "layer"))
        reads = [visible(self.vocabulary[each]) for each in self.lens_ids[:, 0].tolist()]
        across = max(len(each) for each in (*reads, self.lens))
        rows = zip(("layer", *self.layers), (self.lens, *reads), ("patchscope", *map(repr, self.texts)), strict=True)
        return "\n".join([head, *(f"{layer:>{wide}}  {read:{across}}  {text}" for layer, read, text in rows)])


Patchscope.__module__ = "bauklens"  # so that pickles load wherever the class is defined

"""Effects: what the states of one prompt do in another, layer by layer and position by position. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.arguments import checked_count
from bauklens.files import write_atomically
from bauklens.optional import data_frame
from bauklens.result.frozen import frozen, frozen_array, frozen_floats, require
from bauklens.result.json_value import JsonValue
from bauklens.result.tokens import visible
from bauklens.vocabulary import CORRUPTED, PROMPTS

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

EFFECTS = ("share", "effect", "difference")
"""What a figure of effects can show."""

_TEXTS = ("model", "clean", "corrupted", "into", "where")
_NUMBERS = ("clean_difference", "corrupted_difference")


@dataclass(frozen=True, eq=False, repr=False)
class Effects(JsonValue):
    """What changes when states of one prompt are put into another; see :func:`bauklens.trace_effect`.

    Attributes:
        model: name of the model.
        clean, corrupted: texts of the two prompts.
        into: ``"corrupted"`` or ``"clean"``: the prompt that is run, and into which states of the other are put.
        where: what is replaced: ``"hidden"``, ``"mid"``, ``"attention"``, ``"mlp"`` or ``"heads"``.
        target: texts of the clean answer and the corrupted answer; or the text of the one token that is followed.
        target_ids: their ids.
        layers: (layer,), the labels of the rows; of heads, such as ``"20.h3"``.
        positions: (position,) int64, positions of the prompt that is run.
        tokens: (position,), its tokens there.
        source_positions: (position,) int64, the positions of the other prompt that the states come from.
        source_tokens: (position,), its tokens there.
        difference: (layer, position) float32, the logit difference after the prompt that is run, with the state of the
            other prompt at that layer and position: the logit of the clean answer less that of the corrupted one. For
            one token, it is the log probability: its logit less ``log sum exp`` of all.
        clean_difference, corrupted_difference: the same for the two unchanged prompts.
        top_ids: (layer, position) int64, the most probable next token with that state.
        clean_top, corrupted_top: ids of the most probable next token of the two unchanged prompts.
        vocabulary: id -> text, of the tokens above.
        notes: what a reader should know, as sentences.
        provenance: model, revision, dtype, device, package versions, date, and all arguments.
    """

    FORMAT = "bauklens.effects"
    CALLED = "effects"

    model: str
    clean: str
    corrupted: str
    into: str
    where: str
    target: tuple[str, ...]
    target_ids: tuple[int, ...]
    layers: tuple[str, ...]
    positions: np.ndarray
    tokens: tuple[str, ...]
    source_positions: np.ndarray
    source_tokens: tuple[str, ...]
    difference: np.ndarray
    clean_difference: float
    corrupted_difference: float
    top_ids: np.ndarray
    clean_top: int
    corrupted_top: int
    vocabulary: Mapping[int, str]
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("target", "target_ids", "layers", "tokens", "source_tokens", "notes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        shape = len(self.layers), len(self.tokens)
        for name in ("positions", "source_positions", "top_ids"):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), np.int64))
        object.__setattr__(self, "difference", frozen_floats("difference", self.difference, shape))
        object.__setattr__(self, "vocabulary", MappingProxyType(dict(self.vocabulary)))
        object.__setattr__(self, "provenance", frozen(self.provenance))
        self._require_whole(shape)

    def _require_whole(self, shape: tuple[int, int]) -> None:
        """Refuses parts that do not fit each other."""
        require(isinstance(self.provenance, Mapping), "provenance is not a mapping")
        for name in _TEXTS:
            require(isinstance(getattr(self, name), str), f"{name} is not a text")
        for name in _NUMBERS:
            require(isinstance(getattr(self, name), float), f"{name} is not a number")
        texts = (*self.target, *self.layers, *self.tokens, *self.source_tokens, *self.notes, *self.vocabulary.values())
        require(all(isinstance(each, str) for each in texts), "a token, a layer or a note is not a text")
        require(all(shape), "the layers or the positions are empty")
        require(self.into in PROMPTS, f"into is {self.into!r:.80}, which is not one of {', '.join(PROMPTS)}")
        require(len(self.target) == len(self.target_ids) in (1, 2), "the target is not one token or two")
        require(all(type(each) is int for each in self.target_ids), "the target's tokens are not ids")
        require(len(self.source_tokens) == shape[1], "not every position has a source")
        for name in ("positions", "source_positions"):
            require(getattr(self, name).shape == shape[1:], f"{name} does not have a number for each position")
        require(self.top_ids.shape == shape, f"top_ids has shape {self.top_ids.shape}, which does not match {shape}")
        named = {*self.top_ids.ravel().tolist(), self.clean_top, self.corrupted_top}
        require(named <= self.vocabulary.keys(), "the vocabulary does not have every token")

    @cached_property
    def effect(self) -> np.ndarray:
        """(layer, position) float32, by how much the state changes the logit difference of the prompt that is run."""
        own = self.corrupted_difference if self.into == CORRUPTED else self.clean_difference
        return _read_only(self.difference - np.float32(own))

    @cached_property
    def share(self) -> np.ndarray:
        """(layer, position) float32: 0 is the corrupted prompt's logit difference, 1 the clean one's.

        ``(difference - corrupted_difference) / (clean_difference - corrupted_difference)``, whichever prompt is run.
        It can be below 0 and above 1, and is NaN if the two are the same.
        """
        gap = self.clean_difference - self.corrupted_difference
        values = (self.difference.astype(np.float64) - self.corrupted_difference) / (gap or np.nan)
        return _read_only(values.astype(np.float32) + np.float32(0))  # adding 0 turns -0 into 0

    @property
    def measured(self) -> str:
        """What :attr:`difference` is, in words."""
        if len(self.target) == 1:
            return f"log p of {visible(self.target[0])}"
        return f"logit of {visible(self.target[0])} less that of {visible(self.target[1])}"

    def largest(self, count: int = 5) -> "list[tuple[str, int, float]]":
        """The places with the largest effects: (layer, position, share), the largest first."""
        order = np.argsort(-np.abs(self.effect), axis=None, kind="stable")[:count]
        places = (np.unravel_index(each, self.effect.shape) for each in order)
        return [
            (self.layers[row], int(self.positions[column]), float(self.share[row, column])) for row, column in places
        ]

    def strongest(self, rows: int) -> "Effects":
        """The same with only the rows that have the largest effects, in their order; a note is added.

        Args:
            rows: how many at most.
        """
        if len(self.layers) <= checked_count("rows", rows):
            return self
        chosen = np.sort(np.argsort(-np.abs(self.effect).max(axis=1), kind="stable")[:rows])
        said = f"Of {len(self.layers)} rows, the {rows} with the largest effects."
        return replace(
            self,
            layers=tuple(self.layers[row] for row in chosen),
            difference=self.difference[chosen],
            top_ids=self.top_ids[chosen],
            notes=(*self.notes, said),
        )

    def to_frame(self) -> "pandas.DataFrame":
        """A data frame with one row per layer and position.

        Columns: layer, position, token, source position, source token, difference, effect, share, predicted (the most
        probable next token).

        Raises:
            LensError: pandas is not installed.
        """
        row, column = (index.ravel() for index in np.indices(self.difference.shape))
        return data_frame(
            {
                "layer": np.array(self.layers, dtype=object)[row],
                "position": self.positions[column],
                "token": np.array(self.tokens, dtype=object)[column],
                "source position": self.source_positions[column],
                "source token": np.array(self.source_tokens, dtype=object)[column],
                **{name: getattr(self, name).ravel() for name in ("difference", "effect", "share")},
                "predicted": [self.vocabulary[each] for each in self.top_ids.ravel().tolist()],
            }
        )

    def plot(self, measure: str = "share", *, title: str | None = None, cmap: str = "RdBu") -> "Figure":
        """A matplotlib heat map, layers up and positions across; 0 has the middle colour.

        Args:
            measure: ``"share"``, ``"effect"`` or ``"difference"``.
            title: a text above; None shows what was put into what.
            cmap: the name of a colormap of matplotlib.

        Raises:
            LensError: matplotlib is not installed, or the measure or colormap is unknown.
        """
        from bauklens.show.effects_figure import effects_figure

        return effects_figure(self, measure, title=title, cmap=cmap)

    def to_html(self, path: str | Path | None = None, *, title: str | None = None) -> str:
        """One self-contained page; also written to a file, atomically, if a path is given."""
        from bauklens.show.effects_table import effects_page

        html = effects_page(self, title)
        if path is not None:
            write_atomically(path, html.encode("utf-8", "replace"))
        return html

    def _repr_html_(self) -> str:
        from bauklens.show.effects_table import effects_fragment

        return effects_fragment(self)

    def __repr__(self) -> str:
        (layer, position, share), *_ = self.largest(1)
        most = f"most at layer {layer}, position {position}: share {share:.2f}"
        size = f"{len(self.layers)} layers x {len(self.tokens)} positions"
        return f"<Effects of {self.where} on {self.measured}, {self.model}: {size}, {most}>"


Effects.__module__ = "bauklens"  # so that pickles load wherever the class is defined


def _read_only(values: np.ndarray) -> np.ndarray:
    values.setflags(write=False)
    return values

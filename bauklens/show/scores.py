"""Scores: how well decoders predict what the model predicts, layer by layer, with intervals. Needs no torch."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.optional import data_frame
from bauklens.result.frozen import plain
from bauklens.show.rankings import ranking_fragment
from bauklens.show.scored_measures import ENDS, MEASURED, Interval
from bauklens.show.scores_figures import counted, interval_at, score_curves, score_page, score_ranking

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

FORMAT, VERSION = "bauklens.scores", 1


@dataclass(frozen=True, eq=False)
class Scores:
    """The measurements of :func:`bauklens.score_decoder`.

    Attributes:
        model: name of the model.
        layers: name of a decoder -> the labels of the layers at which it was scored.
        documents, tokens: the number of texts read, and of their tokens at which rows were compared.
        value, low, high: name of a decoder -> name of a measure, one of
            :data:`bauklens.show.scored_measures.MEASURED` -> (layer,) float64; the value, and the ends of its 95 %
            interval. The ends are NaN with fewer than two documents, and a value is NaN if there was nothing to measure
            it on.
        own: name of a measure -> its value for the model's own final row.
        about: how it was measured, as plain values.
    """

    model: str
    layers: Mapping[str, tuple[str, ...]]
    documents: int
    tokens: int
    value: Mapping[str, Mapping[str, np.ndarray]]
    low: Mapping[str, Mapping[str, np.ndarray]]
    high: Mapping[str, Mapping[str, np.ndarray]]
    own: Mapping[str, Interval]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("layers", "own", "about"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        for name in ENDS:
            each = {decoder: MappingProxyType(dict(found)) for decoder, found in getattr(self, name).items()}
            for array in chain.from_iterable(found.values() for found in each.values()):
                array.setflags(write=False)
            object.__setattr__(self, name, MappingProxyType(each))

    def __repr__(self) -> str:
        return f"<Scores of {', '.join(self.decoders)} on {self.model}: {counted(self)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        ends = ({name: dict(each) for name, each in getattr(self, end).items()} for end in ENDS)
        counts = self.documents, self.tokens
        return Scores, (self.model, dict(self.layers), *counts, *ends, dict(self.own), dict(self.about))

    @property
    def decoders(self) -> tuple[str, ...]:
        """The names of the decoders."""
        return tuple(self.layers)

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the measures."""
        return tuple(self.value[self.decoders[0]])

    def quality(self, decoder: str | None = None) -> dict[str, dict[str, float]]:
        """The score as a decoder keeps it: label -> name of a measure, or of an end of its interval -> number.

        Args:
            decoder: its name; it may be left out if there is only one.

        Returns:
            For :meth:`bauklens.decoders.LearnedDecoder.with_quality`. Values that are not finite are left out.

        Raises:
            LensError: the decoder is unknown, or there are several and none is named.
        """
        name = self._known(decoder)
        found: dict[str, dict[str, float]] = {}
        for row, label in enumerate(self.layers[name]):
            each = {
                f"{measure}{ending}": float(getattr(self, end)[name][measure][row])
                for measure in self.measures
                for end, ending in (("value", ""), ("low", "_low"), ("high", "_high"))
            }
            found[label] = {key: value for key, value in each.items() if math.isfinite(value)}
        return found

    def to_frame(self) -> "pandas.DataFrame":
        """A data frame with one row per decoder, layer and measure: decoder, layer, measure, value, low, high, unit.

        The model's own final row has the decoder ``""`` and the layer ``"final"``.
        """
        rows: list[tuple[Any, ...]] = [
            (decoder, layer, measure, *interval_at(self, decoder, measure, row), MEASURED[measure].unit)
            for decoder, layers in self.layers.items()
            for row, layer in enumerate(layers)
            for measure in self.measures
        ]
        rows += [("", "final", measure, *each, MEASURED[measure].unit) for measure, each in self.own.items()]
        names = ("decoder", "layer", "measure", "value", "low", "high", "unit")
        return data_frame({name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON: None for values that are not known."""
        decoders = [
            {
                "name": decoder,
                "layers": list(layers),
                "measures": {
                    measure: {end: plain(getattr(self, end)[decoder][measure]) for end in ENDS}
                    for measure in self.measures
                },
            }
            for decoder, layers in self.layers.items()
        ]
        return {
            "format": FORMAT,
            "version": VERSION,
            "model": self.model,
            "documents": self.documents,
            "tokens": self.tokens,
            "decoders": decoders,
            "final": {
                measure: {end: plain(float(x)) for end, x in zip(ENDS, each, strict=True)}
                for measure, each in self.own.items()
            },
            "about": plain(self.about),
        }

    def to_json(self) -> str:
        """The same as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False, ensure_ascii=False)

    def plot(self, measures: str | Iterable[str] | None = None) -> "Figure":
        """A matplotlib figure with one panel per measure: one line per decoder, with its 95 % interval as a band.

        A dotted line is the model's own final row; a dashed one the gain of random directions. The row "embed" is left
        out if there are others, as it dwarfs them.

        Args:
            measures: names; None means all.

        Raises:
            LensError: matplotlib is not installed, or a measure is unknown.
        """
        return score_curves(self, measures)

    def to_html(self, path: str | Path | None = None, *, title: str | None = None) -> str:
        """One self-contained page; also written to a file, atomically, if a path is given."""
        html = score_page(self, title)
        if path is not None:
            write_atomically(path, html.encode("utf-8", "replace"))
        return html

    def _repr_html_(self) -> str:
        return ranking_fragment(**self.ranking())

    def ranking(self) -> dict[str, Any]:
        """The arguments of :func:`bauklens.show.rankings.ranking_fragment`: one column per measure and decoder."""
        return score_ranking(self)

    def _known(self, decoder: str | None) -> str:
        if decoder is None and len(self.decoders) == 1:
            return self.decoders[0]
        if decoder is None or decoder not in self.layers:
            raise LensError(f"unknown decoder {decoder!r}: these scores are of {', '.join(self.decoders)}")
        return decoder


Scores.__module__ = "bauklens"  # so that pickles load wherever the class is defined

"""Scores: how well decoders say what the model says, layer by layer, with intervals. Needs no torch."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.optional import data_frame
from bauklens.result.frozen import plain
from bauklens.show.figures import new_figure
from bauklens.show.line_chart import Line, line_chart, style_of
from bauklens.show.numbers import readable_magnitude
from bauklens.show.page import ranking_fragment, scores_page
from bauklens.vocabulary import EMBED

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

FORMAT, VERSION = "bauklens.scores", 1


class Measured(NamedTuple):
    """What is measured of a decoder at a layer.

    Attributes:
        title: what tables and figures call it.
        unit: the unit of its values.
        about: what it is, in one line.
    """

    title: str
    unit: str
    about: str


MEASURED = {
    "kl": Measured("KL", "nats", "KL(final row || this row): how much worse this row predicts than the model itself"),
    "agreement": Measured("agreement", "0..1", "how often the most probable token is the model's own"),
    "cross_entropy": Measured("cross-entropy", "nats", "the mean of -log p of the next token of the text"),
    "calibration": Measured(
        "calibration error", "0..1", "how far the top token's probability is from how often it comes next"
    ),
    "causal": Measured(
        "causal gain", "nats", "the mean gain in log p of a token when its direction is added to the state"
    ),
    "causal_random": Measured("random gain", "nats", "the same for random directions of equal norm"),
}
"""The measures of scores, in the order of tables."""


class Interval(NamedTuple):
    """A value, and the ends of its 95 % interval; these are NaN with fewer than two documents."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Scores:
    """What :func:`bauklens.score_decoder` measured.

    Attributes:
        model: name of the model.
        layers: name of a decoder -> the labels of the layers at which it was scored.
        documents, tokens: how many texts were read, and at how many of their tokens rows were compared.
        value, low, high: name of a decoder -> name of a measure (:data:`MEASURED`) -> (layer,) float64; the value, and
            the ends of its 95 % interval. These are NaN with fewer than two documents, and a value is NaN if there was
            nothing to measure it on.
        own: name of a measure -> what the model's own final row has there.
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
        for name in _ENDS:
            each = {decoder: MappingProxyType(dict(found)) for decoder, found in getattr(self, name).items()}
            for array in chain.from_iterable(found.values() for found in each.values()):
                array.setflags(write=False)
            object.__setattr__(self, name, MappingProxyType(each))

    def __repr__(self) -> str:
        return f"<Scores of {', '.join(self.decoders)} on {self.model}: {self._counted}>"

    def __reduce__(self) -> tuple[Any, ...]:
        ends = ({name: dict(each) for name, each in getattr(self, end).items()} for end in _ENDS)
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

    @property
    def _counted(self) -> str:
        texts = f"{self.documents:,} text{'s' if self.documents != 1 else ''}"
        return f"{texts}, {self.tokens:,} tokens"

    def quality(self, decoder: str | None = None) -> dict[str, dict[str, float]]:
        """What a decoder can keep of its score: label -> name of a measure, or of an end of its interval -> number.

        Args:
            decoder: its name; it may be left out if there is one only.

        Returns:
            For :meth:`bauklens.decoders.LearnedDecoder.with_quality`. What is not finite is left out.

        Raises:
            LensError: there is no such decoder, or several and none is named.
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

        The model's own final row is that of the decoder ``""`` and the layer ``"final"``.
        """
        rows: list[tuple[Any, ...]] = [
            (decoder, layer, measure, *self._at(decoder, measure, row), MEASURED[measure].unit)
            for decoder, layers in self.layers.items()
            for row, layer in enumerate(layers)
            for measure in self.measures
        ]
        rows += [("", "final", measure, *each, MEASURED[measure].unit) for measure, each in self.own.items()]
        names = ("decoder", "layer", "measure", "value", "low", "high", "unit")
        return data_frame({name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON: None for what is not known."""
        decoders = [
            {
                "name": decoder,
                "layers": list(layers),
                "measures": {
                    measure: {end: plain(getattr(self, end)[decoder][measure]) for end in _ENDS}
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
                measure: {end: plain(float(x)) for end, x in zip(_ENDS, each, strict=True)}
                for measure, each in self.own.items()
            },
            "about": plain(self.about),
        }

    def to_json(self) -> str:
        """The same as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False, ensure_ascii=False)

    def plot(self, measures: str | Iterable[str] | None = None) -> "Figure":
        """A matplotlib figure with one panel per measure: a line for each decoder, with its 95 % interval as a band.

        A dotted line is the model's own final row; a dashed one the gain of random directions. The row "embed" is left
        out if there are others, as it dwarfs them.

        Args:
            measures: names; None means all.

        Raises:
            LensError: matplotlib is not installed, or there is no such measure.
        """
        known = self._drawn
        names = known if measures is None else [measures] if isinstance(measures, str) else list(measures)
        if not names:
            raise LensError("measures is empty: pass at least one, or None for all")
        for name in names:
            if name not in known:
                raise LensError(f"unknown measure {name!r}: these scores have {', '.join(known)}")
        layers = self._along_axis
        figure = new_figure(figsize=(7, 0.4 + 2.1 * len(names)))
        panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)
        for name, (panel,) in zip(names, panels, strict=True):
            self._draw(panel, name, layers)
        every = -(-len(layers) // 12)  # so that the labels have room
        ticks = range(0, len(layers), every)
        panels[-1, 0].set_xticks(list(ticks), [layers[tick] for tick in ticks], parse_math=False)
        panels[-1, 0].set_xlabel("layer")
        legend = figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        for label in legend.get_texts():
            label.set_parse_math(False)
        return figure

    def _draw(self, panel: Any, name: str, layers: Sequence[str]) -> None:
        measured, rows = MEASURED[name], range(len(layers))
        for decoder in self.decoders:
            value, low, high = (self._along(layers, decoder, name, end) for end in _ENDS)
            (line,) = panel.plot(rows, value, marker=".", label=decoder)
            panel.fill_between(rows, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
        if name == "causal":
            panel.plot(rows, self._random(layers), color="gray", linestyle="dashed")
        if name in self.own:
            panel.axhline(self.own[name].value, color="gray", linestyle="dotted")
        panel.set_ylabel(f"{measured.title}\n({measured.unit})")

    def to_html(self, path: str | Path | None = None, *, title: str | None = None) -> str:
        """One self-contained page; also written to a file, atomically, if a path is given."""
        names = [*self.decoders, "the model itself"]
        names += ["random directions"] if "causal_random" in self.measures else []
        last = len(self.decoders)
        key = [(name, style_of(place if place < last else last - place - 1)) for place, name in enumerate(names)]
        html = scores_page(title or f"Decoders of {self.model}, scored", key, self._charts(), self.ranking())
        if path is not None:
            write_atomically(path, html.encode("utf-8", "replace"))
        return html

    def _charts(self) -> list[dict[str, Any]]:
        """A chart for each measure."""
        layers, found = self._along_axis, []
        for measure in self._drawn:
            lines = [
                Line(
                    name,
                    self._along(layers, name, measure, "value"),
                    self._along(layers, name, measure, "low"),
                    self._along(layers, name, measure, "high"),
                    place,
                )
                for place, name in enumerate(self.decoders)
            ]
            nothing = np.full(len(layers), np.nan)
            if measure in self.own:
                own = np.full(len(layers), self.own[measure].value)
                lines.append(Line("the model itself", own, nothing, nothing, colour=-1))
            if measure == "causal":
                lines.append(Line("random directions", self._random(layers), nothing, nothing, colour=-2))
            measured = MEASURED[measure]
            chart = line_chart(f"{measured.title} ({measured.unit})", layers, lines)
            found.append(chart | {"about": measured.about})
        return found

    def _random(self, layers: Sequence[str]) -> np.ndarray:
        """(layer,), the gain of random directions, which is the same for all decoders that have a layer."""
        found = np.full(len(layers), np.nan)
        for decoder in self.decoders:
            found = np.fmax(found, self._along(layers, decoder, "causal_random", "value"))
        return found

    @property
    def _along_axis(self) -> list[str]:
        """The layers that are drawn: all but "embed", unless there is no other, as its KL dwarfs all others."""
        layers = _joined(list(self.layers.values()))
        return [layer for layer in layers if layer != EMBED] or layers

    def _along(self, layers: Sequence[str], decoder: str, measure: str, end: str) -> np.ndarray:
        """(layer,) of all layers, NaN at those that a decoder has no map for."""
        values = dict(zip(self.layers[decoder], getattr(self, end)[decoder][measure].tolist(), strict=True))
        return np.array([values.get(layer, math.nan) for layer in layers])

    @property
    def _drawn(self) -> list[str]:
        """The measures that have a panel of their own."""
        return [name for name in self.measures if name != "causal_random"]

    def _repr_html_(self) -> str:
        return ranking_fragment(**self.ranking())

    def ranking(self) -> dict[str, Any]:
        """The arguments of :func:`bauklens.show.page.ranking_fragment`: a column for each measure and decoder."""
        layers = _joined(list(self.layers.values()))
        pairs = [(measure, decoder) for measure in self.measures for decoder in self.decoders]
        largest = {measure: self._largest(measure.removesuffix("_random")) for measure in self.measures}
        rows = [
            (
                layer,
                [
                    _cell(
                        self._at(decoder, measure, self.layers[decoder].index(layer)),
                        largest[measure],
                        f"{decoder}, {MEASURED[measure].title}, layer {layer}",
                    )
                    if layer in self.layers[decoder]
                    else ("", 0.0, f"{decoder} has no map for layer {layer}")
                    for measure, decoder in pairs
                ],
            )
            for layer in layers
        ]
        rows.append(
            (
                "final",
                [
                    _cell(self.own[measure], largest[measure], f"the model itself, {MEASURED[measure].title}")
                    if measure in self.own
                    else ("", 0.0, "the model itself")
                    for measure, _ in pairs
                ],
            )
        )
        several = len(self.decoders) > 1
        columns = [
            f"{MEASURED[measure].title} ({MEASURED[measure].unit})" + (f": {decoder}" if several else "")
            for measure, decoder in pairs
        ]
        caption = f"{', '.join(self.decoders)} on {self.model}: {self._counted}"
        said = "; ".join(f"{MEASURED[name].title}: {MEASURED[name].about}" for name in self.measures)
        note = "Colour: relative to the measure's largest. Hover for the 95 % interval over texts. Last row: the model "
        note += f"itself. {said[:1].upper()}{said[1:]}."
        return {"caption": caption, "corner": "layer", "columns": columns, "rows": rows, "note": note}

    def _at(self, decoder: str, measure: str, row: int) -> Interval:
        return Interval(*(float(getattr(self, end)[decoder][measure][row]) for end in _ENDS))

    def _largest(self, measure: str) -> float:
        layers = self._along_axis
        values = np.concatenate([self._along(layers, decoder, measure, "value") for decoder in self.decoders])
        return float(np.abs(values[np.isfinite(values)]).max(initial=0)) or 1.0

    def _known(self, decoder: str | None) -> str:
        if decoder is None and len(self.decoders) == 1:
            return self.decoders[0]
        if decoder is None or decoder not in self.layers:
            raise LensError(f"unknown decoder {decoder!r}: these scores are of {', '.join(self.decoders)}")
        return decoder


Scores.__module__ = "bauklens"  # so that pickles load wherever the class is defined


_ENDS = ("value", "low", "high")


def _joined(several: Sequence[Sequence[str]]) -> list[str]:
    """The layers of all decoders, each once, in the order of a table."""
    return sorted(dict.fromkeys(chain.from_iterable(several)), key=lambda each: int(each) if each.isdecimal() else -1)


def _cell(interval: Interval, largest: float, of_what: str) -> tuple[str, float, str]:
    value, low, high = interval
    if not math.isfinite(value):
        return _said(value), 0.0, of_what
    ends = f", 95 % interval {_said(low)} .. {_said(high)}" if math.isfinite(low) else ""
    return _said(value), min(abs(value) / largest, 1.0), f"{of_what}{ends}"


def _said(value: float) -> str:
    if math.isnan(value):
        return "none"
    return readable_magnitude(value) if abs(value) >= 1000 else f"{value:.3g}"

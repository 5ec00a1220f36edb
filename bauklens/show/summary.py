"""Summary: the averages of many lenses, one row per layer. Needs no torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.optional import data_frame
from bauklens.result.frozen import plain
from bauklens.result.measures import known_measure
from bauklens.show.figures import new_figure
from bauklens.show.numbers import readable_magnitude
from bauklens.show.rankings import ranking_fragment, ranking_page
from bauklens.vocabulary import LOGIT

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

ACCURACY = "accuracy"
"""How often the most probable token is the next token of the text; ``agreement`` compares with the model instead."""


@dataclass(frozen=True, eq=False)
class Summary:
    """The mean, spread and count of every measure, for every layer, over all cells of many lenses.

    Attributes:
        model, stream, decoder: the model, stream and decoder of the lenses.
        layers: the labels of the rows.
        lenses, tokens: how many lenses were averaged, and how many positions of them.
        unmapped: the rows that the decoder has no map for, averaged as the logit lens shows them.
        skip_first: how many positions at the beginning of each prompt are left out.
        mean, spread, count: name of a measure -> (layer,) float64 or int64; the spread is the standard deviation over
            cells. ``"accuracy"``, measured against the text, is added to the measures of :data:`bauklens.MEASURES`.
            Cells without a value are left out (the last position of a text has no surprisal).
    """

    model: str
    stream: str
    layers: tuple[str, ...]
    lenses: int
    tokens: int
    mean: Mapping[str, np.ndarray]
    spread: Mapping[str, np.ndarray]
    count: Mapping[str, np.ndarray]
    decoder: str = LOGIT
    unmapped: tuple[str, ...] = ()
    skip_first: int = 0

    def __repr__(self) -> str:
        return f"<Summary of {self.lenses} lenses of {self.model}: {self.called}, {len(self.layers)} layers>"

    @property
    def called(self) -> str:
        """The stream, and the decoder if it is not the logit lens."""
        return self.stream if self.decoder == LOGIT else f"{self.stream} through {self.decoder}"

    @property
    def left_out(self) -> str:
        """Which positions are left out, as a sentence; empty if none is."""
        if self.skip_first > 1:
            return f"The first {self.skip_first:,} positions of each prompt are left out."
        return "Position 0 of each prompt is left out." if self.skip_first else ""

    def marked(self, row: int) -> str:
        """A row's label, with an asterisk where the decoder has no map for it."""
        layer = self.layers[row]
        return f"{layer}*" if layer in self.unmapped else layer

    def __reduce__(self) -> tuple[Any, ...]:
        plain_parts = [dict(value) if isinstance(value, Mapping) else value for value in vars(self).values()]
        return Summary, tuple(plain_parts)

    def to_frame(self) -> "pandas.DataFrame":
        """A data frame with one row per measure and layer: measure, layer, mean, spread, count, unit, decoder."""
        names = [name for name in self.mean for _ in self.layers]
        return data_frame(
            {
                "measure": names,
                "layer": list(self.layers) * len(self.mean),
                "mean": np.concatenate(list(self.mean.values())),
                "spread": np.concatenate(list(self.spread.values())),
                "count": np.concatenate(list(self.count.values())),
                "unit": [_unit(name) for name in names],
                "decoder": [self.decoder] * len(names),
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        parts = {name: {key: plain(value) for key, value in getattr(self, name).items()} for name in _STATISTICS}
        labels = {name: list(getattr(self, name)) for name in ("layers", "unmapped")}
        return {"format": "bauklens.summary", "version": 1} | vars(self) | labels | parts

    def plot(self, measures: Iterable[str] | None = None) -> "Figure":
        """A matplotlib figure with one panel per measure: the mean across layers, with a band of one spread.

        Args:
            measures: names; None means all.

        Raises:
            LensError: matplotlib is not installed, or the summary does not have one of the measures.
        """
        names = list(self.mean) if measures is None else [measures] if isinstance(measures, str) else list(measures)
        if not names:
            raise LensError("measures is empty: pass at least one, or None for all")
        for name in names:
            if name not in self.mean:
                raise LensError(f"unknown measure {name!r}: this summary has {', '.join(self.mean)}")
        figure = new_figure(figsize=(7, 1.9 * len(names)))
        panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)
        rows = range(len(self.layers))
        for name, (panel,) in zip(names, panels, strict=True):
            mean, spread = self.mean[name], self.spread[name]
            panel.fill_between(rows, mean - spread, mean + spread, alpha=0.2)
            panel.plot(rows, mean)
            panel.set_ylabel(f"{name}\n({_unit(name)})" if _unit(name) else name)
        every = -(-len(self.layers) // 10)  # so that the labels have room
        panels[-1, 0].set_xticks(rows[::every], self.layers[::every])
        panels[-1, 0].set_xlabel("layer")
        return figure

    def to_html(self, path: str | Path | None = None, *, title: str | None = None) -> str:
        """One self-contained page; also written to a file, atomically, if a path is given."""
        html = summaries_page([self], title=title)
        if path is not None:
            write_atomically(path, html.encode("utf-8", "replace"))
        return html

    def _repr_html_(self) -> str:
        return ranking_fragment(**self.ranking())

    def ranking(self) -> dict[str, Any]:
        """The arguments of :func:`bauklens.show.rankings.ranking_fragment`."""
        largest = {name: float(np.nanmax(np.abs(mean), initial=0)) or 1.0 for name, mean in self.mean.items()}
        rows = [
            (
                self.marked(row),
                [
                    (
                        _said(mean[row]),
                        0.0 if np.isnan(mean[row]) else float(abs(mean[row])) / largest[name],
                        f"{name}, layer {layer}: ± {_said(self.spread[name][row])}, {self.count[name][row]:,} cells",
                    )
                    for name, mean in self.mean.items()
                ],
            )
            for row, layer in enumerate(self.layers)
        ]
        titles = {name: name.replace("_", " ") for name in self.mean}
        columns = [f"{titles[name]} ({_unit(name)})" if _unit(name) else titles[name] for name in self.mean]
        caption = f"Means over {self.lenses:,} prompts ({self.tokens:,} tokens): {self.model}, {self.called}"
        note = "Colour: relative to the column's largest. Hover for the spread (standard deviation) and cell count."
        note += " *: the decoder has no map for this row, averaged as in the logit lens." if self.unmapped else ""
        note += f" {self.left_out}" if self.left_out else ""
        return {"caption": caption, "corner": "layer", "columns": columns, "rows": rows, "note": note}


def summaries_page(summaries: Sequence[Summary], *, title: str | None = None) -> str:
    """The HTML of a self-contained page with some summaries, one below the other."""
    first = summaries[0]
    return ranking_page(
        title or f"{first.lenses:,} prompts through {first.model}", [each.ranking() for each in summaries]
    )


Summary.__module__ = "bauklens"  # so that pickles load wherever the class is defined


_STATISTICS = ("mean", "spread", "count")


def _unit(name: str) -> str:
    known = known_measure(name)
    return "0..1" if name == ACCURACY else "" if known is None else known.unit


def _said(value: float) -> str:
    if np.isnan(value):
        return "none"
    return readable_magnitude(float(value)) if abs(value) >= 1000 else f"{value:.3g}"

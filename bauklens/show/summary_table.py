"""A Summary as a table: its cells, their hover texts, its notes."""

from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.result.averages import ACCURACY
from bauklens.result.measures import known_measure
from bauklens.show.numbers import readable_magnitude

if TYPE_CHECKING:
    from bauklens.show.summary import Summary


def summary_ranking(summary: "Summary") -> dict[str, Any]:
    """The arguments of :func:`bauklens.show.rankings.ranking_fragment`."""
    largest = {name: float(np.nanmax(np.abs(mean), initial=0)) or 1.0 for name, mean in summary.mean.items()}
    spans = {name: _spans(summary, name) for name in summary.mean}
    rows = [
        (
            summary.marked(row),
            [
                (
                    _said(mean[row]),
                    0.0 if np.isnan(mean[row]) else float(abs(mean[row])) / largest[name],
                    f"{name}, layer {layer}: ± {_said(summary.spread[name][row])}, "
                    f"{summary.count[name][row]:,} cells{spans[name][row]}",
                )
                for name, mean in summary.mean.items()
            ],
        )
        for row, layer in enumerate(summary.layers)
    ]
    titles = {name: name.replace("_", " ") for name in summary.mean}
    columns = [f"{titles[name]} ({unit_of(name)})" if unit_of(name) else titles[name] for name in summary.mean]
    caption = f"Means over {summary.lenses:,} prompts ({summary.tokens:,} tokens): {summary.model}, {summary.called}"
    note = "Colour: relative to the column's largest. Hover for the spread (standard deviation) and cell count"
    note += ", the median, and the span from the 5 % to the 95 % quantile." if summary.sketches else "."
    note += " *: the decoder has no map for this row, averaged as in the logit lens." if summary.unmapped else ""
    note += f" {summary.left_out}" if summary.left_out else ""
    return {"caption": caption, "corner": "layer", "columns": columns, "rows": rows, "note": note}


def unit_of(name: str) -> str:
    """The unit of a measure; empty if it has none or is unknown."""
    known = known_measure(name)
    return "0..1" if name == ACCURACY else "" if known is None else known.unit


def titled(name: str) -> str:
    """A measure with its unit, for the axis of a figure."""
    return f"{name} ({unit_of(name)})" if unit_of(name) else name


def _spans(summary: "Summary", name: str) -> list[str]:
    """The median and two quantiles of each row, for a hover text; empty if not known."""
    if name not in summary.sketches:
        return [""] * len(summary.layers)
    low, median, high = (summary.quantile(name, q).tolist() for q in (0.05, 0.5, 0.95))
    return [
        "" if np.isnan(each) else f"; median {_said(each)}, 5 % to 95 %: {_said(one)} to {_said(other)}"
        for one, each, other in zip(low, median, high, strict=True)
    ]


def _said(value: float) -> str:
    if np.isnan(value):
        return "none"
    return readable_magnitude(float(value)) if abs(value) >= 1000 else f"{value:.3g}"

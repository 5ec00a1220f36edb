"""Summaries as figures of matplotlib: means across layers, and a map of layers and checkpoints."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.arguments import one_of
from bauklens.errors import LensError
from bauklens.show.figures import Limits, colormap, new_figure, rising
from bauklens.show.summary_table import titled
from bauklens.vocabulary import EMBED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bauklens.show.summary import Summary

SPREAD, QUANTILES = "spread", "quantiles"
BANDS = (SPREAD, QUANTILES, None)
"""What a band around a line can show."""

_MOST_LABELS = 13
"""The label of an axis."""

_MOST_HUES = 10
"""The most lines with clearly different colours; more have colours from dark to light, in order."""

_LONGEST_LEGEND = 16
"""The most lines in a column of the legend."""

_LONGEST_NAME = 24
"""The most characters of a summary's name in a legend, or at an axis."""


def mean_curves(
    summaries: Mapping[str, "Summary"], measures: str | Iterable[str] | None, *, band: str | None, by: str = ""
) -> "Figure":
    """One panel per measure: the mean across layers, one line per summary, with a band if asked for.

    Args:
        summaries: name -> a summary, all with the same layers.
        measures: names; None means all of the first summary.
        band: one of :data:`BANDS`.
        by: what the names stand for, above the legend.

    Raises:
        LensError: matplotlib is not installed, the band is unknown, or a summary does not have one of the measures or
            its quantiles.
    """
    one_of("band", band, BANDS)
    first = next(iter(summaries.values()))
    names = list(first.mean) if measures is None else [measures] if isinstance(measures, str) else list(measures)
    if not names:
        raise LensError("measures is empty: pass at least one, or None for all")
    for name in names:
        for summary in summaries.values():
            summary.require_measure(name)
    several = len(summaries) > 1
    rows = [row for row, layer in enumerate(first.layers) if layer != EMBED or not several] or [0]
    height = max(1.9 * len(names), (3.2 if several else 2.6) if len(names) == 1 else 0)
    legend_columns = -(-len(summaries) // _LONGEST_LEGEND) if several else 0
    figure = new_figure(figsize=(6.5 + legend_columns * (0.6 + 0.08 * max(map(len, map(_cut, summaries)))), height))
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)
    for name, (panel,) in zip(names, panels, strict=True):
        for (label, summary), colour in zip(summaries.items(), _colours(len(summaries)), strict=True):
            _curve(panel, summary, name, rows, band, colour, _cut(label) if several else "")
        panel.set_ylabel(titled(name).replace(" (", "\n(", 1), parse_math=False)
    _thin_ticks(panels[-1, 0].set_xticks, [first.layers[row] for row in rows])
    panels[-1, 0].set_xlabel("layer")
    if several:
        _legend(figure, panels[0, 0], loc="outside right upper", ncols=legend_columns, title=by)
    elif band == QUANTILES:
        _legend(figure, panels[0, 0], loc="outside upper center", ncols=3)
    return figure


def _curve(
    panel: "Axes", summary: "Summary", name: str, rows: list[int], band: str | None, colour: Any, label: str
) -> None:
    """The line of a summary in a panel; without a given label, the line and its band are labelled by what they show."""
    places, mean = range(len(rows)), summary.mean[name][rows]
    panel.plot(places, mean, color=colour, label=label or "mean")
    shade = {"alpha": 0.2, "color": colour, "linewidth": 0}
    if band == SPREAD:
        spread = summary.spread[name][rows]
        panel.fill_between(places, mean - spread, mean + spread, **shade)
    elif band == QUANTILES:
        low, median, high = (summary.quantile(name, q)[rows] for q in (0.05, 0.5, 0.95))
        panel.plot(places, median, color=colour, linestyle="dashed", label=None if label else "median")
        panel.fill_between(places, low, high, label=None if label else "5 % to 95 % of cells", **shade)


def layer_map(
    summaries: Mapping[str, "Summary"],
    measure: str,
    *,
    q: float | None,
    by: str,
    cmap: str,
    limits: Limits | None,
) -> "Figure":
    """A heat map: one column per summary, one row per layer; the colour is a measure's mean, or a quantile.

    Args:
        summaries: name -> a summary, all with the same layers.
        measure: name of a measure.
        q: the quantile, 0 .. 1; None means the mean.
        by: what the names stand for.
        cmap: the name of a colormap of matplotlib.
        limits: the ends of the scale; None means the least and the largest value, of rows other than "embed".

    Raises:
        LensError: matplotlib is not installed, or does not have the colormap; a summary does not have the measure or
            its quantiles; or the limits are not two rising numbers.
    """
    for summary in summaries.values():
        summary.require_measure(measure)
    columns = [each.mean[measure] if q is None else each.quantile(measure, q) for each in summaries.values()]
    values = np.stack(columns, axis=1)
    layers = next(iter(summaries.values())).layers
    low, high = _ends(values, layers) if limits is None else rising(limits)
    shades = colormap(cmap)
    shown = min(len(columns), 60)
    figure = new_figure(figsize=(2.2 + max(3.0, 0.3 * shown), 1.4 + max(2.0, 0.16 * min(len(layers), 60))))
    axes = figure.subplots()
    drawn = axes.imshow(values, aspect="auto", origin="lower", cmap=shades, vmin=low, vmax=high, interpolation="none")
    known = values[np.isfinite(values)]
    beyond = bool((known < low).any()), bool((known > high).any())
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(beyond, "neither")
    what = "mean" if q is None else "median" if q == 0.5 else f"{100 * q:g} % quantile"
    figure.colorbar(drawn, extend=extend).set_label(f"{what} of {titled(measure)}", parse_math=False)
    _thin_ticks(
        axes.set_xticks, [_cut(name) for name in summaries], most=30, rotation=60, ha="right", rotation_mode="anchor"
    )
    _thin_ticks(axes.set_yticks, layers)
    axes.set_xlabel(by, parse_math=False)
    axes.set_ylabel("layer")
    return figure


def _ends(values: np.ndarray, layers: Sequence[str]) -> Limits:
    """The least and the largest value, (layer, summary), of rows other than "embed", which is often far beyond."""
    rows = [row for row, layer in enumerate(layers) if layer != EMBED] or [0]
    known = values[rows][np.isfinite(values[rows])]
    low, high = float(known.min(initial=np.inf)), float(known.max(initial=-np.inf))
    return (low, high) if low < high else (low - 1, low + 1) if np.isfinite(low) else (0.0, 1.0)


def _colours(count: int) -> Sequence[Any]:
    import matplotlib

    if count <= _MOST_HUES:
        return [f"C{place}" for place in range(count)]
    return list(matplotlib.colormaps["viridis"](np.linspace(0, 0.9, count)))


def _thin_ticks(set_ticks: Any, labels: Sequence[str], *, most: int = _MOST_LABELS, **options: Any) -> None:
    """Ticks with as many of the labels as fit."""
    ticks = range(0, len(labels), -(-len(labels) // most))
    set_ticks(list(ticks), [labels[tick] for tick in ticks], parse_math=False, **options)


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _legend(figure: "Figure", panel: "Axes", **options: Any) -> None:
    legend = figure.legend(*panel.get_legend_handles_labels(), frameon=False, **options)
    for text in (*legend.get_texts(), legend.get_title()):
        text.set_parse_math(False)

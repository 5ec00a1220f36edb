"""LensResult -> a race: the probabilities of concepts over the layers, with the crossings marked."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bauklens.result.racing import Lead, Race, race_of
from bauklens.result.result import LensResult
from bauklens.result.targets import Which
from bauklens.show.figures import named_column, new_figure, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DASHES = ("-", "--", ":", "-.")


def race(
    result: LensResult,
    concepts: Sequence[Which] | None = None,
    position: int | None = None,
    *,
    title: str | None = None,
) -> "Figure":
    """The probabilities of two or more concepts over the layers, at one position.

    A dot marks each crossing, between the two layers; a line and a label mark the last one, after which the lead no
    longer changes. Layers are drawn at equal distances.

    Args:
        concepts: targets, or sets of ``mass=``; None means all targets, or else all sets.
        position: a position in the table; negative ones count from the last column; None is the result's main one.
        title: a text above; None names the position.

    Raises:
        LensError: matplotlib is not installed, there are fewer than two concepts, or one is unknown.
    """
    found = race_of(result, concepts, position)
    layers = len(result.layers)
    figure = new_figure(figsize=(3.5 + 0.25 * layers, 4))
    axes = figure.subplots()
    names = [short(result, name) for name in found.names]
    for place, (name, values) in enumerate(zip(names, found.values, strict=True)):
        style = _DASHES[place % len(_DASHES)]
        axes.plot(range(layers), values, style, marker="o", markersize=3, label=name)
    for lead in found.changes:
        axes.plot(*_crossing(found, lead), "o", color="black", markersize=6, fillstyle="none", label="_crossing")
    known = found.values[np.isfinite(found.values)]
    axes.set_ylim(0, 1.15 * max(float(known.max(initial=0)), 1e-6))
    if found.changes:
        _mark(axes, found.changes[-1], names, result.layers)
    axes.set_xticks(range(layers), result.layers, rotation=60, parse_math=False)
    axes.set_xlabel("layer")
    axes.set_ylabel("probability")
    axes.set_title(title or named_column(result, found.column), parse_math=False)
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    for label in legend.get_texts():
        label.set_parse_math(False)
    return figure


def _mark(axes: "Axes", lead: Lead, names: Sequence[str], layers: Sequence[str]) -> None:
    """A line at the layer from which one concept stays ahead to the end, with its label."""
    axes.axvline(lead.row, color="black", linewidth=0.8, linestyle=":", label="_last")
    is_late = lead.row > len(layers) / 2
    axes.annotate(
        f"{names[lead.after]} ahead from {layers[lead.row]}",
        (lead.row, 0.98),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if is_late else 4, 0),
        textcoords="offset points",
        ha="right" if is_late else "left",
        va="top",
        fontsize=8,
        parse_math=False,
    )


def _crossing(race: Race, lead: Lead) -> tuple[float, float]:
    """The layer, as a fraction, and the probability at which the two lines of a change meet."""
    before, after = (race.values[place] for place in (lead.before, lead.after))
    gap, now = before[lead.row - 1] - after[lead.row - 1], before[lead.row] - after[lead.row]
    if not np.isfinite(gap) or gap < 0:  # a third token was ahead, or nothing is known here
        return lead.row, float(after[lead.row])
    part = float(gap / (gap - now))
    return lead.row - 1 + part, float(before[lead.row - 1] + part * (before[lead.row] - before[lead.row - 1]))

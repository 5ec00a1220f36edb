"""Effects -> a heat map of matplotlib. Needs no torch."""

from typing import TYPE_CHECKING

import numpy as np

from bauklens.arguments import one_of
from bauklens.result.effects import EFFECTS, Effects
from bauklens.show.effects_table import column_names, readable, row_called, what_was_done
from bauklens.show.figures import colormap, ink_on, new_figure
from bauklens.vocabulary import CLEAN, CORRUPTED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_COLUMNS = 120
"""The most columns for which names, and numbers in cells, are shown."""

_LONGEST = 24
"""Characters of a column's name."""


def effects_figure(
    effects: Effects, measure: str = "share", *, title: str | None = None, cmap: str = "RdBu"
) -> "Figure":
    """A heat map, layers up and positions across; the middle colour means no change.

    If there are more than 130 rows, only the 40 with the largest effects are drawn.

    The scale is as wide as the largest change on both sides; for a share, it includes at least the other prompt.

    Args:
        measure: one of :data:`bauklens.result.effects.EFFECTS`.
        title: a text above; None shows what was put into what.
        cmap: the name of a colormap of matplotlib.

    Raises:
        LensError: matplotlib is not installed, or the measure or colormap is unknown.
    """
    one_of("measure", measure, EFFECTS)
    effects = readable(effects)
    values: np.ndarray = getattr(effects, measure)
    middle, least = _middle(effects, measure)
    reach = float(np.nanmax(np.abs(values - middle), initial=least))
    rows, columns = values.shape
    shades = colormap(cmap)
    figure = new_figure(figsize=(2.2 + 0.62 * min(columns, _MOST_COLUMNS), 1.8 + 0.24 * rows))
    axes = figure.subplots()
    drawn = axes.imshow(values, aspect="auto", origin="lower", cmap=shades, vmin=middle - reach, vmax=middle + reach)
    figure.colorbar(drawn).set_label(_label(effects, measure), parse_math=False)
    named = range(0, columns, -(-columns // _MOST_COLUMNS))
    heads = [each if len(each) <= _LONGEST else f"{each[: _LONGEST - 1]}…" for each in column_names(effects)]
    axes.set_xticks(named, [heads[column] for column in named], rotation=60, ha="right", parse_math=False)
    axes.set_yticks(range(rows), effects.layers, parse_math=False)
    axes.set_xlabel(f"position of the {effects.into} prompt")
    axes.set_ylabel(row_called(effects))
    axes.set_title(what_was_done(effects) if title is None else title, parse_math=False)
    for row, column in np.ndindex(values.shape if columns <= _MOST_COLUMNS else (0, 0)):
        value = values[row, column]
        if abs(value - middle) >= 0.005 * reach:
            ink = ink_on(drawn.to_rgba(value))
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=7)
    return figure


def _middle(effects: Effects, measure: str) -> tuple[float, float]:
    """The value of the unchanged prompt that is run, and the least width of the scale."""
    own, other = effects.corrupted_difference, effects.clean_difference
    if effects.into == CLEAN:
        own, other = other, own
    if measure == "share":
        return float(effects.into == CLEAN), 1.0
    return (own if measure == "difference" else 0.0), abs(other - own)


def _label(effects: Effects, measure: str) -> str:
    if measure == "share":
        return f"share: 0 {CORRUPTED}, 1 {CLEAN}"
    return f"change of the {effects.measured}" if measure == "effect" else effects.measured

"""LensResult -> a heat map of matplotlib: layers up, positions across, the most probable token in each cell."""

from typing import TYPE_CHECKING

import numpy as np

from bauklens.errors import LensError
from bauklens.frame import require_pyplot
from bauklens.measures import MEASURES
from bauklens.result import LensResult
from bauklens.tokens import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST = 10
"""Characters of a token in a cell."""


def heat_map(result: LensResult, measure: str = "max_probability", *, tokens: bool = True) -> "Figure":
    """A heat map of one measure.

    Args:
        measure: one that the result has; or the text of a target, for its probability.
        tokens: whether the most probable token stands in each cell.

    Raises:
        LensError: matplotlib is not installed, or the result has no such measure or target.
    """
    values, label = _values(result, measure)
    rows, columns = values.shape
    figure, axes = require_pyplot().subplots(figsize=(1.5 + 0.75 * columns, 1.2 + 0.28 * rows), layout="constrained")
    drawn = axes.imshow(values, aspect="auto", origin="lower", cmap="viridis")
    figure.colorbar(drawn).set_label(label, parse_math=False)
    axes.set_xticks(
        range(columns), [_short(token) for token in result.tokens], rotation=60, ha="right", parse_math=False
    )
    axes.set_yticks(range(rows), result.layers, parse_math=False)
    axes.set_xlabel("position")
    axes.set_ylabel("layer")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for row, column in np.ndindex(values.shape) if tokens else ():
        token = _short(result.vocabulary[int(result.top_ids[row, column, 0])])
        ink = "black" if values[row, column] > middle else "white"
        axes.text(column, row, token, ha="center", va="center", color=ink, fontsize=7, parse_math=False)
    found: Figure = figure
    return found


def _values(result: LensResult, measure: str) -> tuple[np.ndarray, str]:
    if measure in result.measures:
        unit = MEASURES[measure].unit if measure in MEASURES else ""
        return result.measures[measure], f"{measure} ({unit})" if unit else measure
    if any(target.text == measure for target in result.targets):
        return result.target(measure).probability, f"probability of {visible(measure)}"
    known = ", ".join([*result.measures, *(repr(target.text) for target in result.targets)])
    raise LensError(f"unknown measure {measure!r}: this lens has {known}")


def _short(token: str) -> str:
    seen = visible(token)
    return seen if len(seen) <= _LONGEST else seen[: _LONGEST - 1] + "…"

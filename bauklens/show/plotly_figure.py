"""LensResult -> a figure of plotly: a heat map of layers and positions. Needs plotly."""

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.errors import LensError
from bauklens.optional import require_plotly
from bauklens.result.result import LensResult
from bauklens.result.targets import Which
from bauklens.show.figures import GENERATED, Limits, axis_head, inside_of, limits_of, rising, short, values_of
from bauklens.show.numbers import readable_probability

if TYPE_CHECKING:
    from plotly import graph_objects


def plotly_heat_map(
    result: LensResult,
    measure: Which = "max_probability",
    *,
    tokens: bool | str = True,
    title: str | None = None,
    colorscale: str = "Viridis",
    range: Limits | None = None,  # noqa: A002
    midpoint: float | None = None,
) -> "graph_objects.Figure":
    """The heat map as a plotly figure, with the top k on hover; further arguments as for :func:`heat_map`.

    Args:
        colorscale: the name of one of plotly's.
        range: the ends of the scale, the lower one first; None begins it at 0.
        midpoint: the value of the middle colour; the scale then extends equally far to both sides of it.

    Raises:
        LensError: plotly is not installed, the measure, target or colorscale is unknown, the range is not two rising
            numbers, or the midpoint is not a number or not in the middle of the range.
    """
    values, label = values_of(result, measure)
    low, high = limits_of(result, measure, values) if range is None else rising(range, "range")
    low, high = (low, high) if midpoint is None else _around(midpoint, (low, high), range is not None)
    inside = inside_of(result, values, tokens)
    objects = require_plotly()
    columns = [f"{position} {axis_head(result, column)}" for column, position in enumerate(result.positions)]
    drawn = objects.Heatmap(
        z=values,
        x=[_escaped(column) for column in columns],
        y=[_escaped(layer) for layer in result.layers],
        text=[[_escaped(each) for each in row] for row in inside],
        customdata=[[_hover(result, *place) for place in row] for row in _places(result)],
        texttemplate="%{text}",
        hovertemplate="%{customdata}<extra></extra>",
        colorscale=_plotly_scale(colorscale),
        zmin=low,
        zmax=high,
        colorbar={"title": {"text": _escaped(label)}},
    )
    several = {"title": {"text": _escaped(title)}} if title else {}
    generated = np.flatnonzero(result.generated)
    marks = {"shapes": [_plotly_line(float(generated[0]) - 0.5)]} if len(generated) else {}
    across = "position (after the line: generated)" if len(generated) else "position"
    axes = {"xaxis_title": across, "yaxis_title": "layer", "yaxis_type": "category", "xaxis_type": "category"}
    return objects.Figure(drawn).update_layout(**axes, **several, **marks, height=220 + 22 * len(result.layers))


def _around(midpoint: float, ends: tuple[float, float], is_fixed: bool) -> tuple[float, float]:
    """A scale with that value in its middle, which includes the ends.

    Raises:
        LensError: the value is not a number, or the caller gave the ends and it is not in their middle.
    """
    if isinstance(midpoint, bool) or not isinstance(midpoint, (int, float)) or not np.isfinite(midpoint):
        raise LensError(f"midpoint is {midpoint!r}: pass a number")
    low, high = ends
    if is_fixed and not np.isclose(midpoint, (low + high) / 2):
        raise LensError(f"midpoint {midpoint:g} is not in the middle of range {low:g} to {high:g}: pass one of the two")
    reach = max(high - midpoint, midpoint - low)
    return midpoint - reach, midpoint + reach


def _plotly_scale(name: str) -> str:
    from plotly import colors

    if not isinstance(name, str) or name.lower() not in colors.named_colorscales():
        raise LensError(f"unknown colorscale {name!r}: pass the name of one of plotly's, such as 'Viridis' or 'RdBu'")
    return name


def _plotly_line(x: float) -> dict[str, Any]:
    """A line from top to bottom."""
    line = {"color": GENERATED, "width": 2}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "xref": "x", "yref": "paper", "line": line}


def _escaped(text: str) -> str:
    """A text that plotly does not read as markup; it would show entities of quotation marks unchanged."""
    return html.escape(text, quote=False)


def _places(result: LensResult) -> list[list[tuple[int, int]]]:
    return [[(row, column) for column in range(len(result.positions))] for row in range(len(result.layers))]


def _hover(result: LensResult, row: int, column: int) -> str:
    """One cell's top k, in the subset of HTML that plotly reads."""
    lines = [f"layer {_escaped(result.layers[row])}, position {result.positions[column]}"]
    for token, probability in zip(result.top_ids[row, column].tolist(), result.top_probs[row, column], strict=True):
        lines.append(f"{readable_probability(float(probability))} {_escaped(short(result, result.vocabulary[token]))}")
    return "<br>".join(lines)

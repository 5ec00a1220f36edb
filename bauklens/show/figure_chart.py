"""Charts of a publication figure: rank and probability by layer at one position.

``viewer/figurechart.js`` draws the same.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bauklens.result.columns import column_head
from bauklens.result.result import LensResult
from bauklens.show.figure_colours import SHAPES, Colours
from bauklens.show.figure_drawing import BASELINE, CHARACTER, Drawing, Path, Words, cut_to, shape, units
from bauklens.show.figure_values import Pin, number, of_token
from bauklens.show.figures import leaders

if TYPE_CHECKING:
    from bauklens.show.figure_layout import Plan

HEIGHT = 13
"""The size of a chart, over the font size."""

DASHES = ((), (4, 1.5), (1.2, 1.2), (6, 1.5, 1.2, 1.5))
"""Strokes and gaps of lines, over twice their thickness; further lines start again with the first."""

_TOPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Possible ends of an axis of probabilities."""

_SIZE = 0.82


def charts(drawing: Drawing, result: LensResult, plan: "Plan", colours: Colours, at: tuple[float, float]) -> float:
    """Draws the charts from a place on, with a legend unless there are pins; returns the y below them."""
    column = plan.chart_column or 0
    x, y = at
    font, width = plan.font, plan.width - 2 * x
    lines, about = _lines(result, plan, column)
    name = plan.written(column_head(result, column))
    heading = f"{about} at position {int(result.positions[column])}, {cut_to(name, 24)}"
    size = _SIZE * font
    drawing.pieces.append(Words(x, y + 0.75 * font + BASELINE * size, heading, size, colours["ink"]))
    y += 2 * font
    half = (width - 2 * font) / 2
    most = max([10.0, *(float(np.nanmax(pin.rank[:, column], initial=1.0)) for pin in lines)])
    decades = max(1, math.ceil(math.log10(most) - 1e-9))

    def rank(value: float) -> float:
        return math.log10(max(value, 1.0)) / decades

    ticks = [(number(10.0**each), each / decades) for each in range(0, decades + 1, -(-decades // 4))]
    _chart(
        drawing,
        result,
        plan,
        colours,
        (x, y, half),
        "rank (log)",
        ticks,
        [(pin, _mapped(pin.rank[:, column], rank)) for pin in lines],
    )
    largest = max(0.0, *(float(np.nanmax(pin.probability[:, column], initial=0.0)) for pin in lines))
    full = min(top for top in _TOPS if top >= min(largest, 1.0))
    quarters = [(number(full * each / 4), 1 - each / 4) for each in range(5)]
    probability = [(pin, _mapped(pin.probability[:, column], lambda value: 1 - value / full)) for pin in lines]
    _chart(drawing, result, plan, colours, (x + half + 2 * font, y, half), "probability", quarters, probability)
    y += (HEIGHT + 2.6) * font
    return _names(drawing, plan, colours, lines, (x, y)) if not plan.pins else y


def _mapped(values: np.ndarray, place: Callable[[float], float]) -> list[float | None]:
    """The places of values, 0 at the top to 1; None if not known."""
    return [place(float(value)) if np.isfinite(value) else None for value in values]


def _lines(result: LensResult, plan: "Plan", column: int) -> tuple[list[Pin], str]:
    if plan.pins:
        return list(plan.pins), "The pins"
    tokens, count = leaders(result, column)
    some = f" ({len(tokens)} of {count})" if len(tokens) < count else ""
    return [of_token(result, token, place) for place, token in enumerate(tokens)], f"What leads in some layer{some},"


def _chart(
    drawing: Drawing,
    result: LensResult,
    plan: "Plan",
    colours: Colours,
    at: tuple[float, float, float],
    name: str,
    ticks: Sequence[tuple[str, float]],
    lines: Sequence[tuple[Pin, list[float | None]]],
) -> None:
    """One chart: ``ticks`` and the values of ``lines`` are 0 at the top to 1."""
    font, size = plan.font, _SIZE * plan.font
    x, top, width = at
    top += 1.4 * font
    left = x + (max(units(text) for text, _ in ticks) * CHARACTER + 0.7) * size
    right, height = x + width, (HEIGHT - 1.4) * font
    drawing.pieces.append(Words(x, top - 1.1 * font + BASELINE * size, name, size, colours["soft"]))
    for text, part in ticks:
        y = top + height * part
        drawing.pieces.append(Path([(left, y), (right, y)], colours["line"], 0.07 * font))
        drawing.pieces.append(Words(left - 0.4 * size, y + BASELINE * size, text, size, colours["soft"], "end", "mono"))
    count = len(result.layers)
    step = (right - left) / count
    longest = max(map(units, result.layers))
    often = max(1, math.ceil((longest + 1) * CHARACTER * size / step))
    for row in range(0, count, often):
        place = left + step * (row + 0.5)
        label = plan.written(result.layers[row])
        y = top + height + 0.9 * font + BASELINE * size
        drawing.pieces.append(Words(place, y, label, size, colours["soft"], "middle", "mono"))
    end = top + height + 2.1 * font + BASELINE * size
    drawing.pieces.append(Words((left + right) / 2, end, "layer", size, colours["soft"], "middle"))
    for pin, values in lines:
        colour, dash = colours.pins[pin.place], DASHES[pin.place % len(DASHES)]
        thick = 0.16 * font
        points: list[tuple[float, float]] = []
        for row, value in enumerate([*values, None]):
            if value is not None:
                points.append((left + step * (row + 0.5), top + height * value))
                continue
            if len(points) > 1:
                drawing.pieces.append(Path(points, colour, thick, [each * 2 * thick for each in dash]))
            drawing.pieces.extend(shape(SHAPES[pin.place], *point, 0.3 * font, colour) for point in points)
            points = []


def _names(drawing: Drawing, plan: "Plan", colours: Colours, lines: Sequence[Pin], at: tuple[float, float]) -> float:
    """Draws the names of the lines, one after another; returns the y below."""
    x, y = at
    left, font, size = x, plan.font, _SIZE * plan.font
    for pin in lines:
        text = cut_to(plan.written(pin.text), 24)
        wide = 1.1 * font + units(text) * CHARACTER * size + 1.2 * font
        if x > left and x + wide > plan.width - left:
            x, y = left, y + 1.5 * font
        drawing.pieces.append(
            shape(SHAPES[pin.place], x + 0.4 * font, y + 0.75 * font, 0.36 * font, colours.pins[pin.place])
        )
        drawing.pieces.append(
            Words(x + 1.1 * font, y + 0.75 * font + BASELINE * size, text, size, colours["soft"], family="mono")
        )
        x += wide
    return y + 1.5 * font

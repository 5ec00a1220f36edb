"""Line charts of a static page: places of lines, bands and ticks, drawn as SVG by a template. Needs no script."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WIDTH, HEIGHT, LEFT = 360, 190, 40
"""The size of a chart, and the place of its axis."""

_RIGHT, _TOP, _BOTTOM = 8, 8, 20

_COLOURS = 6
"""The colours that the stylesheet has for lines; later lines are dashed."""


@dataclass(frozen=True, eq=False)
class Line:
    """A line of a chart.

    Attributes:
        name: its name.
        values, low, high: (place,), the line and the ends of its band; NaN leaves a gap.
        colour: the number of a colour in the stylesheet, from 0; -1 and -2 are lines for reference only.
    """

    name: str
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    colour: int


def line_chart(title: str, names: Sequence[str], lines: Sequence[Line]) -> dict[str, Any]:
    """The arguments of the template ``line_charts.html`` for one chart, which the page also shows as a table.

    Args:
        names: (place,), the names of the places along the axis.
    """
    every = np.concatenate([np.concatenate([line.values, line.low, line.high]) for line in lines])
    every = every[np.isfinite(every)]
    step = _step(float(every.max(initial=0)) - float(every.min(initial=0)))
    least: float = step * math.floor(float(every.min(initial=0)) / step)
    most: float = step * math.ceil(float(every.max(initial=0)) / step)
    most = most if most > least else least + step

    def x(place: int) -> float:
        return LEFT + (WIDTH - LEFT - _RIGHT) * (place + 0.5) / len(names)

    def y(value: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (most - value) / (most - least)

    def points(places: Sequence[int], values: np.ndarray) -> str:
        return " ".join(f"{x(place):.1f},{y(float(values[place])):.1f}" for place in places)

    often = -(-len(names) // 8)
    return {
        "title": title,
        "rules": [(f"{y(value):.1f}", f"{value:.6g}") for value in np.arange(least, most + step / 2, step).round(9)],
        "ticks": [(f"{x(place):.1f}", names[place]) for place in range(0, len(names), often)],
        "lines": [
            {
                "name": line.name,
                "style": style_of(line.colour),
                "bands": [
                    f"{points(run, line.high)} {points(run[::-1], line.low)}"
                    for run in _runs(np.isfinite(line.low + line.high))
                ],
                "runs": [points(run, line.values) for run in _runs(np.isfinite(line.values))],
                "dots": []
                if line.colour < 0
                else [
                    (f"{x(place):.1f}", f"{y(float(line.values[place])):.1f}", _said(line, names[place], place))
                    for place in np.isfinite(line.values).nonzero()[0].tolist()
                ],
            }
            for line in lines
        ],
        "columns": [line.name for line in lines],
        "rows": [(name, [_value(line, place) for line in lines]) for place, name in enumerate(names)],
    }


def style_of(colour: int) -> str:
    """The style of a line."""
    if colour < 0:
        return f"--pin: var(--soft); stroke-dasharray: {'2 3' if colour == -1 else '7 3'}"
    dash = colour // _COLOURS
    return f"--pin: var(--pin-{colour % _COLOURS})" + (f"; stroke-dasharray: {3 * dash} 2" if dash else "")


def _said(line: Line, name: str, place: int) -> str:
    return f"{line.name}, {name}: {_value(line, place)}"


def _value(line: Line, place: int) -> str:
    if not np.isfinite(line.values[place]):
        return "none"
    ends = f" ({line.low[place]:.3g} .. {line.high[place]:.3g})" if np.isfinite(line.low[place]) else ""
    return f"{line.values[place]:.3g}{ends}"


def _step(spread: float) -> float:
    """A round number that fits into a spread three to seven times."""
    if not spread > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(spread / 3))
    return max(each * power for each in (1, 2, 5) if each * power <= spread / 3)


def _runs(known: np.ndarray) -> list[list[int]]:
    """The stretches of places that are known."""
    runs: list[list[int]] = []
    for place in known.nonzero()[0].tolist():
        if runs and runs[-1][-1] == place - 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs

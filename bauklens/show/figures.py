"""LensResult -> matplotlib and plotly figures: a heat map of layers and positions, and tokens across layers."""

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.arguments import one_of
from bauklens.errors import LensError
from bauklens.optional import require_plotly
from bauklens.result.columns import column_head, column_name, is_part
from bauklens.result.measures import MEASURES
from bauklens.result.result import LensResult
from bauklens.result.targets import Which, distinct_names, target_names
from bauklens.show.nouns import noun, spelling
from bauklens.show.numbers import readable_probability
from bauklens.show.scales import scale_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly import graph_objects

_LONGEST = 10
"""Characters of a token in a cell."""

_LONGEST_LABEL = 24
"""The same of a classifier's label, for which columns grow."""

_LONGEST_TITLE = 40
"""Characters of what a title says of a column."""

_DARK = 0.44
"""The part of the scale up to which its colours are so dark that only white text has a contrast of 4.5:1."""

_FROM_ONE = {"rank_of_next"}
"""Measures of which 1 is the least; of all others it is 0, or a negative number."""

_MOST_COLUMNS = 120
"""Columns of a heat map up to which each has its name, and each cell a text: more would not be a figure to look at."""

MOST_LEADERS = 8
"""How many tokens a figure follows across layers unasked."""

_LONGEST_LEGEND = 20
"""Lines of a legend's column."""

KINDS = ("heatmap", "trajectory", "picture")
INSIDE = (True, False, "numbers")


def new_figure(**options: Any) -> "Figure":
    """An empty figure of matplotlib that pyplot does not know; options as for ``matplotlib.figure.Figure``.

    Raises:
        LensError: matplotlib is not installed.
    """
    try:
        from bauklens.show.shown_figure import ShownFigure
    except ImportError:
        raise LensError("a plot needs matplotlib: pip install matplotlib") from None
    return ShownFigure(**options, layout="constrained")


def heat_map(result: LensResult, measure: Which = "max_probability", *, tokens: bool | str = True) -> "Figure":
    """A heat map of one measure.

    Args:
        measure: a measure of the result, or a target, by its text or id, for its probability.
        tokens: what the cells show: the most probable tokens (True), nothing (False), or ``"numbers"``. If there are
            more than 120 columns, they show nothing.

    Raises:
        LensError: matplotlib is not installed, or the result has no such measure or target.
    """
    values, label = _values(result, measure)
    low, high = _limits(result, measure, values)
    rows, columns = values.shape
    inside = _inside(result, values, tokens)
    longest = max((len(text) for row in inside for text in row), default=0)
    width = max(0.75, 0.15 + 0.06 * longest)  # inches of a column
    figure = new_figure(figsize=(1.5 + width * min(columns, _MOST_COLUMNS), 1.2 + 0.28 * rows))
    axes = figure.subplots()
    drawn = axes.imshow(values, aspect="auto", origin="lower", cmap="viridis", vmin=low, vmax=high)
    figure.colorbar(drawn).set_label(label, parse_math=False)
    named = range(0, columns, -(-columns // _MOST_COLUMNS))
    axes.set_xticks(named, [_head(result, column) for column in named], rotation=60, ha="right", parse_math=False)
    axes.set_yticks(range(rows), result.layers, parse_math=False)
    axes.set_xlabel("position")
    axes.set_ylabel("layer")
    middle = low + _DARK * (high - low)
    for row, column in np.ndindex(values.shape if columns <= _MOST_COLUMNS else (0, 0)):
        ink = "black" if values[row, column] > middle else "white"
        text = inside[row][column]
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=7, parse_math=False)
    return figure


def trajectory(result: LensResult, position: int | None = None) -> "Figure":
    """The probabilities of tokens across layers at one position: of all targets, or else of :func:`leaders`.

    A token that is not a target is drawn only where it is in the top k.

    Args:
        position: a position in the table; negative ones count from the last column; None is the result's main one.

    Raises:
        LensError: matplotlib is not installed, or the result does not have that position.
    """
    column = result.column_of(position)
    token_ids = [target.token_ids for target in result.targets]
    texts = [target.text for target in result.targets]
    lines = [target.probability[:, column] for target in result.targets]
    heading = ""
    if not lines:
        tokens, count = leaders(result, column)
        token_ids, texts = [(token,) for token in tokens], [result.vocabulary[token] for token in tokens]
        lines = [_where_known(result, token, column) for token in tokens]
        heading = f"{noun(result)}s that lead in some layer" + (
            f"\n({len(tokens)} of {count})" if len(tokens) < count else ""
        )
    layers = len(result.layers)
    figure = new_figure(figsize=(3.5 + 0.25 * layers, max(4, 0.6 + 0.22 * min(len(lines), _LONGEST_LEGEND))))
    axes = figure.subplots()
    for name, values in zip(distinct_names([short(result, text) for text in texts], token_ids), lines, strict=True):
        axes.plot(range(layers), values, marker="o", markersize=3, label=name)
    axes.set_xticks(range(layers), result.layers, rotation=60, parse_math=False)
    axes.set_ylim(0, 1)
    axes.set_xlabel("layer")
    axes.set_ylabel("probability")
    at = "at" if is_part(result, column) or noun(result) == "label" else "after"
    name = _cut(column_name(result, column), _LONGEST_TITLE)
    axes.set_title(f"{at} {name}, position {result.positions[column]}", parse_math=False)
    columns = -(-len(lines) // _LONGEST_LEGEND)
    legend = axes.legend(title=heading or None, loc="upper left", bbox_to_anchor=(1, 1), ncols=columns, frameon=False)
    for label in legend.get_texts():
        label.set_parse_math(False)
    return figure


def leaders(result: LensResult, column: int, most: int = MOST_LEADERS) -> tuple[list[int], int]:
    """What leads anywhere at a column: the tokens that are the most probable in some layer.

    Of many, the last layer's is kept, and those whose probabilities, in the layers in which they lead, add up to most.
    The viewer's charts follow the same ones (``leaders`` of ``bauklens/viewer/pins.js``).

    Returns:
        At most so many token ids, in the order in which they come to lead, and how many there are in all.
    """
    tops = result.top_ids[:, column, 0].tolist()
    weights = dict.fromkeys(tops, 0.0)
    for token, probability in zip(tops, result.top_probs[:, column, 0].tolist(), strict=True):
        weights[token] += probability
    others = sorted((token for token in reversed(weights) if token != tops[-1]), key=lambda token: -weights[token])
    kept = {tops[-1], *others[: most - 1]}
    return [token for token in weights if token in kept], len(weights)


def _where_known(result: LensResult, token: int, column: int) -> np.ndarray:
    """A token's probability in every layer at a column, (layer,); NaN where it is not in the top k."""
    is_it = result.top_ids[:, column] == token  # (layer, rank)
    found = (result.top_probs[:, column] * is_it).sum(axis=-1)
    return np.where(is_it.any(axis=-1), found, np.nan)


def plotly_heat_map(
    result: LensResult, measure: Which = "max_probability", *, tokens: bool | str = True
) -> "graph_objects.Figure":
    """The heat map as a plotly figure, with the top k on hover; arguments as for :func:`heat_map`.

    Raises:
        LensError: plotly is not installed, or the result has no such measure or target.
    """
    values, label = _values(result, measure)
    low, high = _limits(result, measure, values)
    inside = _inside(result, values, tokens)
    objects = require_plotly()
    columns = [f"{position} {_head(result, column)}" for column, position in enumerate(result.positions)]
    drawn = objects.Heatmap(
        z=values,
        x=[_escaped(column) for column in columns],
        y=list(result.layers),
        text=[[_escaped(each) for each in row] for row in inside],
        customdata=[[_hover(result, *place) for place in row] for row in _places(result)],
        texttemplate="%{text}",
        hovertemplate="%{customdata}<extra></extra>",
        colorscale="Viridis",
        zmin=low,
        zmax=high,
        colorbar={"title": {"text": _escaped(label)}},
    )
    axes = {"xaxis_title": "position", "yaxis_title": "layer", "yaxis_type": "category", "xaxis_type": "category"}
    return objects.Figure(drawn).update_layout(**axes, height=220 + 22 * len(result.layers))


def _escaped(text: str) -> str:
    """A text that plotly does not read as markup; entities of quotation marks it would show as they are."""
    return html.escape(text, quote=False)


def _places(result: LensResult) -> list[list[tuple[int, int]]]:
    return [[(row, column) for column in range(len(result.positions))] for row in range(len(result.layers))]


def _hover(result: LensResult, row: int, column: int) -> str:
    """One cell's top k, as the little HTML that plotly reads."""
    lines = [f"layer {_escaped(result.layers[row])}, position {result.positions[column]}"]
    for token, probability in zip(result.top_ids[row, column].tolist(), result.top_probs[row, column], strict=True):
        lines.append(f"{readable_probability(float(probability))} {_escaped(short(result, result.vocabulary[token]))}")
    return "<br>".join(lines)


def _inside(result: LensResult, values: np.ndarray, tokens: bool | str) -> list[list[str]]:
    """The text of every cell."""
    one_of("tokens", tokens, INSIDE)
    if tokens == "numbers":
        return [["" if np.isnan(each) else f"{each:.3g}" for each in row] for row in values]
    tops = result.top_ids[..., 0].tolist()
    return [[short(result, result.vocabulary[token]) if tokens else "" for token in row] for row in tops]


def _values(result: LensResult, measure: Which) -> tuple[np.ndarray, str]:
    if isinstance(measure, str) and measure in result.measures:
        if measure == "max_probability":
            return result.measures[measure], f"probability of the top {noun(result)}"
        unit = MEASURES[measure].unit if measure in MEASURES else ""
        return result.measures[measure], f"{measure} ({unit})" if unit else measure
    if isinstance(measure, str) and not any(target.text == measure for target in result.targets):
        known = ", ".join([*result.measures, *(repr(target.text) for target in result.targets)])
        raise LensError(f"unknown measure {measure!r}: this lens has {known}")
    target = result.target(measure)
    name = target_names(result.targets, spelling(result))[result.targets.index(target)]
    return target.probability, f"probability of {name}"


def _limits(result: LensResult, measure: Which, values: np.ndarray) -> tuple[float, float]:
    """The ends of the scale: it begins at 0, so that values that are nearly the same look so.

    A classifier's probabilities go to 1; all else goes to the largest value that is not far beyond the others, see
    :func:`bauklens.show.scales.scale_of`.
    """
    low, high = scale_of(result, values)
    if measure in _FROM_ONE:
        low, high = 1.0, float(values[np.isfinite(values)].max(initial=1))
    is_probability = measure == "max_probability" or measure not in result.measures
    if noun(result) == "label" and is_probability:
        return 0.0, 1.0
    return low, high if high > low else low + 1


def _head(result: LensResult, column: int) -> str:
    """What a column is called at an axis."""
    head = column_head(result, column)
    return head if is_part(result, column) else _cut(head, _LONGEST)


def short(result: LensResult, text: str) -> str:
    """What a model predicts as a figure shows it: at most ten characters of a token, and 24 of a label."""
    return _cut(spelling(result)(text), _LONGEST_LABEL if noun(result) == "label" else _LONGEST)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"

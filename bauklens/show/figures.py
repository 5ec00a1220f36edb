"""LensResult -> figures of matplotlib: a heat map of layers and positions, and tokens across layers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.arguments import one_of
from bauklens.errors import LensError
from bauklens.result.columns import column_head, column_name, is_part
from bauklens.result.measures import known_measure
from bauklens.result.result import LensResult
from bauklens.result.targets import Which, distinct_names, target_names
from bauklens.show.nouns import noun, spelling
from bauklens.show.scales import scale_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONGEST = 10
"""The most characters of a token in a cell."""

_LONGEST_LABEL = 24
"""The same for a classifier's label, for which columns grow."""

_LONGEST_TITLE = 40
"""The most characters of a column's name in a title."""

_EVEN = 0.179
"""The luminance on which black and white text can be read equally well, with a contrast of 4.6:1."""

GENERATED = "#1b6e2c"
"""The green that marks what was generated."""

Limits = tuple[float, float]
"""The ends of a scale, the lower one first."""

_FROM_ONE = {"rank_of_next"}
"""Measures whose least value is 1; for all others it is 0, or a negative number."""

_MOST_COLUMNS = 120
"""The most columns of a heat map with names, and texts in cells; more could not be read."""

MOST_LEADERS = 8
"""How many tokens a figure follows across layers by default."""

_LONGEST_LEGEND = 20
"""The most lines in a column of the legend."""

KINDS = ("heatmap", "trajectory", "race", "picture")
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


def heat_map(
    result: LensResult,
    measure: Which = "max_probability",
    *,
    tokens: bool | str = True,
    title: str | None = None,
    cmap: str = "viridis",
    limits: Limits | None = None,
) -> "Figure":
    """A heat map of one measure; a line, and green labels in italics, mark what was generated.

    Args:
        measure: a measure of the result, or a target, by its text or id, for its probability.
        tokens: what the cells show: the most probable tokens (True), nothing (False), or ``"numbers"``. If there are
            more than 120 columns, they show nothing.
        title: a text above the figure.
        cmap: the name of a colormap of matplotlib.
        limits: the ends of the scale, the lower one first; None begins it at 0.

    Raises:
        LensError: matplotlib is not installed, the result has no such measure or target, or matplotlib no such
            colormap, or the limits are not two rising numbers.
    """
    values, label = values_of(result, measure)
    low, high = limits_of(result, measure, values) if limits is None else rising(limits)
    rows, columns = values.shape
    inside = inside_of(result, values, tokens)
    longest = max((len(text) for row in inside for text in row), default=0)
    width = max(0.75, 0.15 + 0.06 * longest)  # inches of a column
    shades = colormap(cmap)
    figure = new_figure(figsize=(1.5 + width * min(columns, _MOST_COLUMNS), 1.2 + 0.28 * rows))
    axes = figure.subplots()
    drawn = axes.imshow(values, aspect="auto", origin="lower", cmap=shades, vmin=low, vmax=high)
    known = values[np.isfinite(values)]
    beyond = [bool(known.size) and float(known.min()) < low, bool(known.size) and float(known.max()) > high]
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((beyond[0], beyond[1]), "neither")
    figure.colorbar(drawn, extend=extend).set_label(label, parse_math=False)
    named = range(0, columns, -(-columns // _MOST_COLUMNS))
    axes.set_xticks(named, [axis_head(result, column) for column in named], rotation=60, ha="right", parse_math=False)
    axes.set_yticks(range(rows), result.layers, parse_math=False)
    axes.set_xlabel("position")
    axes.set_ylabel("layer")
    if title:
        axes.set_title(title, parse_math=False)
    _mark_generated(axes, result, named)
    for row, column in np.ndindex(values.shape if columns <= _MOST_COLUMNS else (0, 0)):
        ink = ink_on(drawn.to_rgba(values[row, column]))
        text = inside[row][column]
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=7, parse_math=False)
    return figure


def _mark_generated(axes: "Axes", result: LensResult, named: Sequence[int]) -> None:
    """A line before the first generated column, and the labels of these in green italics."""
    generated = np.flatnonzero(result.generated)
    if not len(generated):
        return
    axes.axvline(float(generated[0]) - 0.5, color=GENERATED, linewidth=2)
    for column, label in zip(named, axes.get_xticklabels(), strict=True):
        if result.generated[column]:
            label.set(color=GENERATED, fontstyle="italic")
    axes.set_xlabel("position (green, after the line: generated)")


def colormap(name: str) -> Any:
    """A colormap of matplotlib; raises a LensError if the name is unknown."""
    import matplotlib

    if name not in matplotlib.colormaps:
        raise LensError(f"unknown colormap {name!r}: pass the name of one of matplotlib's, such as 'viridis' or 'gray'")
    return matplotlib.colormaps[name]


def ink_on(colour: np.ndarray) -> str:
    """Black or white, whichever can be read better on a colour; (4,), red, green, blue and alpha, 0..1."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return "black" if float(np.dot([0.2126, 0.7152, 0.0722], linear)) > _EVEN else "white"


def rising(limits: Limits, name: str = "limits") -> tuple[float, float]:
    """The two ends of a scale.

    Raises:
        LensError: these are not two numbers, the lower one first.
    """
    try:
        low, high = (float(each) for each in limits)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not (np.isfinite([low, high]).all() and low < high):
        raise LensError(f"{name} is {limits!r}: pass two numbers, the lower one first")
    return low, high


def trajectory(result: LensResult, position: int | None = None, *, title: str | None = None) -> "Figure":
    """The probabilities of tokens across layers at one position: of all targets, or else of :func:`leaders`.

    A token that is not a target is drawn only in layers that have it in their top k.

    Args:
        position: a position in the table; negative ones count from the last column; None is the result's main one.
        title: a text above; None names the position.

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
    axes.set_title(title or named_column(result, column), parse_math=False)
    columns = -(-len(lines) // _LONGEST_LEGEND)
    legend = axes.legend(title=heading or None, loc="upper left", bbox_to_anchor=(1, 1), ncols=columns, frameon=False)
    for label in legend.get_texts():
        label.set_parse_math(False)
    return figure


def named_column(result: LensResult, column: int) -> str:
    """The title of a chart of one column."""
    at = "at" if is_part(result, column) or noun(result) == "label" else "after"
    name = _cut(column_name(result, column), _LONGEST_TITLE)
    return f"{at} {name}, position {result.positions[column]}"


def leaders(result: LensResult, column: int, most: int = MOST_LEADERS) -> tuple[list[int], int]:
    """The leaders at a column: the tokens that are the most probable in some layer.

    If there are many, the last layer's is kept, and those whose probabilities in the layers that they lead sum to most.
    The viewer's charts follow the same ones (``leaders`` of ``bauklens/viewer/pins.js``).

    Returns:
        At most ``most`` token ids, in the order in which they first lead, and how many there are in all.
    """
    tops = result.top_ids[:, column, 0].tolist()
    weights = dict.fromkeys(tops, 0.0)
    for token, probability in zip(tops, result.top_probs[:, column, 0].tolist(), strict=True):
        weights[token] += probability
    others = sorted((token for token in reversed(weights) if token != tops[-1]), key=lambda token: -weights[token])
    kept = {tops[-1], *others[: most - 1]}
    return [token for token in weights if token in kept], len(weights)


def _where_known(result: LensResult, token: int, column: int) -> np.ndarray:
    """A token's probability in every layer at a column, (layer,); NaN if it is not in the top k."""
    is_it = result.top_ids[:, column] == token  # (layer, rank)
    found = (result.top_probs[:, column] * is_it).sum(axis=-1)
    return np.where(is_it.any(axis=-1), found, np.nan)


def inside_of(result: LensResult, values: np.ndarray, tokens: bool | str) -> list[list[str]]:
    """The text of every cell."""
    one_of("tokens", tokens, INSIDE)
    if tokens == "numbers":
        return [["" if np.isnan(each) else f"{each:.3g}" for each in row] for row in values]
    tops = result.top_ids[..., 0].tolist()
    return [[short(result, result.vocabulary[token]) if tokens else "" for token in row] for row in tops]


def values_of(result: LensResult, measure: Which) -> tuple[np.ndarray, str]:
    """The values of a heat map, (layer, position), and their name.

    Raises:
        LensError: the result has no such measure or target.
    """
    if isinstance(measure, str) and measure in result.measures:
        if measure == "max_probability":
            return result.measures[measure], f"probability of the top {noun(result)}"
        known = known_measure(measure)
        return result.measures[measure], f"{measure} ({known.unit})" if known and known.unit else measure
    if isinstance(measure, str) and not result.is_followed(measure):
        names = ", ".join([*result.measures, *(repr(target.text) for target in result.targets)])
        raise LensError(f"unknown measure {measure!r}: this lens has {names}")
    target = result.target(measure)
    if target not in result.targets:  # a tracked token
        return target.probability, f"probability of {spelling(result)(target.text)}"
    name = target_names(result.targets, spelling(result))[result.targets.index(target)]
    return target.probability, f"probability of {name}"


def limits_of(result: LensResult, measure: Which, values: np.ndarray) -> tuple[float, float]:
    """The ends of the scale, which begins at 0, so that nearly equal values look nearly equal.

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


def axis_head(result: LensResult, column: int) -> str:
    """The name of a column at an axis."""
    head = column_head(result, column)
    return head if is_part(result, column) else _cut(head, _LONGEST)


def short(result: LensResult, text: str) -> str:
    """A prediction as a figure shows it: at most ten characters of a token, and 24 of a label."""
    return _cut(spelling(result)(text), _LONGEST_LABEL if noun(result) == "label" else _LONGEST)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"

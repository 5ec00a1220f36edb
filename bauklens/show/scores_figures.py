"""Scores as a table and charts of a page, and as a figure. Needs no torch."""

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.errors import LensError
from bauklens.show.figures import new_figure
from bauklens.show.line_chart import Line, line_chart, style_of
from bauklens.show.numbers import readable_magnitude
from bauklens.show.rankings import scores_page
from bauklens.show.scored_measures import ENDS, MEASURED, Interval
from bauklens.vocabulary import EMBED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bauklens.show.scores import Scores


def score_curves(scores: "Scores", measures: str | Iterable[str] | None = None) -> "Figure":
    """A matplotlib figure with one panel per measure: one line per decoder, with its 95 % interval as a band."""
    known = _drawn(scores)
    names = known if measures is None else [measures] if isinstance(measures, str) else list(measures)
    if not names:
        raise LensError("measures is empty: pass at least one, or None for all")
    for name in names:
        if name not in known:
            raise LensError(f"unknown measure {name!r}: these scores have {', '.join(known)}")
    layers = _along_axis(scores)
    figure = new_figure(figsize=(7, 0.4 + 2.1 * len(names)))
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)
    for name, (panel,) in zip(names, panels, strict=True):
        _draw(scores, panel, name, layers)
    every = -(-len(layers) // 12)  # so that the labels have room
    ticks = range(0, len(layers), every)
    panels[-1, 0].set_xticks(list(ticks), [layers[tick] for tick in ticks], parse_math=False)
    panels[-1, 0].set_xlabel("layer")
    legend = figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    for label in legend.get_texts():
        label.set_parse_math(False)
    return figure


def _draw(scores: "Scores", panel: Any, name: str, layers: Sequence[str]) -> None:
    measured, rows = MEASURED[name], range(len(layers))
    for decoder in scores.decoders:
        value, low, high = (_along(scores, layers, decoder, name, end) for end in ENDS)
        (line,) = panel.plot(rows, value, marker=".", label=decoder)
        panel.fill_between(rows, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
    if name == "causal":
        panel.plot(rows, _random(scores, layers), color="gray", linestyle="dashed")
    if name in scores.own:
        panel.axhline(scores.own[name].value, color="gray", linestyle="dotted")
    panel.set_ylabel(f"{measured.title}\n({measured.unit})")


def score_page(scores: "Scores", title: str | None = None) -> str:
    """One self-contained page."""
    names = [*scores.decoders, "the model itself"]
    names += ["random directions"] if "causal_random" in scores.measures else []
    last = len(scores.decoders)
    key = [(name, style_of(place if place < last else last - place - 1)) for place, name in enumerate(names)]
    return scores_page(title or f"Decoders of {scores.model}, scored", key, score_charts(scores), score_ranking(scores))


def score_charts(scores: "Scores") -> list[dict[str, Any]]:
    """One chart per measure."""
    layers, found = _along_axis(scores), []
    for measure in _drawn(scores):
        lines = [
            Line(
                name,
                _along(scores, layers, name, measure, "value"),
                _along(scores, layers, name, measure, "low"),
                _along(scores, layers, name, measure, "high"),
                place,
            )
            for place, name in enumerate(scores.decoders)
        ]
        nothing = np.full(len(layers), np.nan)
        if measure in scores.own:
            own = np.full(len(layers), scores.own[measure].value)
            lines.append(Line("the model itself", own, nothing, nothing, colour=-1))
        if measure == "causal":
            lines.append(Line("random directions", _random(scores, layers), nothing, nothing, colour=-2))
        measured = MEASURED[measure]
        chart = line_chart(f"{measured.title} ({measured.unit})", layers, lines)
        found.append(chart | {"about": measured.about})
    return found


def score_ranking(scores: "Scores") -> dict[str, Any]:
    """The arguments of :func:`bauklens.show.rankings.ranking_fragment`: one column per measure and decoder."""
    layers = _joined(list(scores.layers.values()))
    pairs = [(measure, decoder) for measure in scores.measures for decoder in scores.decoders]
    largest = {measure: _largest(scores, measure.removesuffix("_random")) for measure in scores.measures}
    rows = [
        (
            layer,
            [
                _cell(
                    interval_at(scores, decoder, measure, scores.layers[decoder].index(layer)),
                    largest[measure],
                    f"{decoder}, {MEASURED[measure].title}, layer {layer}",
                )
                if layer in scores.layers[decoder]
                else ("", 0.0, f"{decoder} has no map for layer {layer}")
                for measure, decoder in pairs
            ],
        )
        for layer in layers
    ]
    rows.append(
        (
            "final",
            [
                _cell(scores.own[measure], largest[measure], f"the model itself, {MEASURED[measure].title}")
                if measure in scores.own
                else ("", 0.0, "the model itself")
                for measure, _ in pairs
            ],
        )
    )
    several = len(scores.decoders) > 1
    columns = [
        f"{MEASURED[measure].title} ({MEASURED[measure].unit})" + (f": {decoder}" if several else "")
        for measure, decoder in pairs
    ]
    caption = f"{', '.join(scores.decoders)} on {scores.model}: {counted(scores)}"
    said = "; ".join(f"{MEASURED[name].title}: {MEASURED[name].about}" for name in scores.measures)
    note = "Colour: relative to the measure's largest. Hover for the 95 % interval over texts. Last row: the model "
    note += f"itself. {said[:1].upper()}{said[1:]}."
    return {"caption": caption, "corner": "layer", "columns": columns, "rows": rows, "note": note}


def interval_at(scores: "Scores", decoder: str, measure: str, row: int) -> Interval:
    """The value of a measure in one row (from 0) of a decoder, and the ends of its interval."""
    return Interval(*(float(getattr(scores, end)[decoder][measure][row]) for end in ENDS))


def counted(scores: "Scores") -> str:
    """The numbers of texts and tokens that were read, in words."""
    texts = f"{scores.documents:,} text{'s' if scores.documents != 1 else ''}"
    return f"{texts}, {scores.tokens:,} tokens"


def _random(scores: "Scores", layers: Sequence[str]) -> np.ndarray:
    """(layer,), the gain of random directions, which is the same for all decoders with that layer."""
    found = np.full(len(layers), np.nan)
    for decoder in scores.decoders:
        found = np.fmax(found, _along(scores, layers, decoder, "causal_random", "value"))
    return found


def _along_axis(scores: "Scores") -> list[str]:
    """The layers that are drawn: all except "embed", whose KL dwarfs all others, unless it is the only one."""
    layers = _joined(list(scores.layers.values()))
    return [layer for layer in layers if layer != EMBED] or layers


def _along(scores: "Scores", layers: Sequence[str], decoder: str, measure: str, end: str) -> np.ndarray:
    """(layer,) over all layers, NaN at those that a decoder has no map for."""
    values = dict(zip(scores.layers[decoder], getattr(scores, end)[decoder][measure].tolist(), strict=True))
    return np.array([values.get(layer, math.nan) for layer in layers])


def _drawn(scores: "Scores") -> list[str]:
    """The measures that have a panel of their own."""
    return [name for name in scores.measures if name != "causal_random"]


def _largest(scores: "Scores", measure: str) -> float:
    layers = _along_axis(scores)
    values = np.concatenate([_along(scores, layers, decoder, measure, "value") for decoder in scores.decoders])
    return float(np.abs(values[np.isfinite(values)]).max(initial=0)) or 1.0


def _joined(several: Sequence[Sequence[str]]) -> list[str]:
    """The layers of all decoders, each once, in the order of a table."""
    return sorted(dict.fromkeys(chain.from_iterable(several)), key=lambda each: int(each) if each.isdecimal() else -1)


def _cell(interval: Interval, largest: float, of_what: str) -> tuple[str, float, str]:
    value, low, high = interval
    if not math.isfinite(value):
        return _said(value), 0.0, of_what
    ends = f", 95 % interval {_said(low)} .. {_said(high)}" if math.isfinite(low) else ""
    return _said(value), min(abs(value) / largest, 1.0), f"{of_what}{ends}"


def _said(value: float) -> str:
    if math.isnan(value):
        return "none"
    return readable_magnitude(value) if abs(value) >= 1000 else f"{value:.3g}"

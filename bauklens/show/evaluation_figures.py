"""An evaluation as tables of a page, and as a figure. Needs no torch."""

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.result.tokens import visible
from bauklens.show.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bauklens.show.evaluated_items import EvaluatedItem, EvaluatedSet, EvaluatedWord
    from bauklens.show.evaluation import Evaluation

MEAN = "mean of sets"
"""The name of the row with the mean over the sets."""

_MOST_ITEMS = 1000
"""Of a set on a page."""

_MOST_LEFT_OUT = 40
"""How many different left-out words a note names."""

_LONGEST = 40
"""The most characters of a word."""

_LONGEST_PROMPT = 500
"""The most characters of a prompt in a hover text."""

_FARTHEST = 1000
"""The rank from which on a cell has no colour."""


def percent(value: float) -> str:
    """A share in percent; NaN is "none".

    >>> percent(0.4364), percent(math.nan)
    ('43.6', 'none')
    """
    return "none" if math.isnan(value) else f"{100 * value:.1f}"


def between(interval: np.ndarray) -> str:
    """An interval in percent, such as "31 to 56"; empty if there is none, because no item or every item is passed."""
    return (
        ""
        if np.isnan(interval).any() or interval[0] == interval[1]
        else f"{100 * interval[0]:.0f} to {100 * interval[1]:.0f}"
    )


def left_out_words(evaluation: "Evaluation") -> str:
    """How many words are left out, and which."""
    words = evaluation.left_out
    if not words:
        return ""
    counted = Counter(words)
    named = [f"{_short(word)} ({times:,} times)" if times > 1 else _short(word) for word, times in counted.items()]
    more = f" and {len(named) - _MOST_LEFT_OUT:,} more" if len(named) > _MOST_LEFT_OUT else ""
    count = f"{len(words):,} word{'s have' if words[1:] else ' has'} no token of {'their' if words[1:] else 'its'} own"
    return f"{count}, left out: {', '.join(named[:_MOST_LEFT_OUT])}{more}."


def pass_ranking(evaluation: "Evaluation") -> dict[str, Any]:
    """The arguments of the ranking: one row per set, one column per k and decoder."""
    columns = [(place, number) for place in range(len(evaluation.ks)) for number in range(len(evaluation.decoders))]
    names = [visible_name(each.name) for each in evaluation.sets]
    tables = [*evaluation.passed]
    if evaluation.sets[1:]:
        names, tables = [*names, MEAN], [*tables, evaluation.mean]
    intervals = [*evaluation.intervals[: len(evaluation.sets)], evaluation.intervals[-1]]
    rows = []
    for row, (name, table) in enumerate(zip(names, tables, strict=True)):
        cells = []
        for place, number in columns:
            value, range_ = table[number, place], between(intervals[row][number, place])
            about = f"pass@{evaluation.ks[place]} of {visible_name(evaluation.decoders[number])}, {name}"
            cells.append(
                (
                    percent(value),
                    0.0 if math.isnan(value) else float(value),
                    f"{about}; 95 % interval: {range_ or 'none'}",
                )
            )
        rows.append((name, cells))
    items = sum(len(each.items) for each in evaluation.sets)
    note = " ".join(
        filter(
            None,
            (
                "pass@k in %: the mean over items of the share of words whose rank is at most k.",
                *map(visible_name, evaluation.rules),
                left_out_words(evaluation),
                "Hover for the 95 % interval (bootstrap over items).",
            ),
        )
    )
    return {
        "caption": f"pass@k of {items:,} items: {visible_name(evaluation.model)}",
        "corner": "set",
        "columns": [
            f"@{evaluation.ks[place]} {visible_name(evaluation.decoders[number])}" for place, number in columns
        ],
        "rows": rows,
        "note": note,
    }


def set_ranking(evaluation: "Evaluation", several: "EvaluatedSet") -> dict[str, Any]:
    """The same for the items of a set: one row per word, one column per decoder."""
    rows: list[tuple[str, Any]] = []
    for place, item in enumerate(several.items[:_MOST_ITEMS], 1):
        rows += [(_label(place, item), _cells(evaluation, item, word)) for word in item.words]
    more = len(several.items) - _MOST_ITEMS
    note = "The best rank of each word, and in brackets the layer that has it. Hover over a token for the prompt."
    note += " A stronger colour means closer to rank 1; none from rank 1,000 on."
    return {
        "caption": f"{visible_name(several.name)}: {len(several.items):,} items",
        "corner": "item",
        "columns": ["read at", "word", *map(visible_name, evaluation.decoders)],
        "rows": rows,
        "note": note + (f" {more:,} further items are not shown." if more > 0 else ""),
    }


def curves(evaluation: "Evaluation") -> "Figure":
    """As :meth:`Evaluation.plot`."""
    most = max(100, *evaluation.ks)
    every = np.unique(np.round(np.geomspace(1, most, 60)).astype(int))
    passed = np.stack([evaluation.pass_at(int(k)) for k in every], axis=-1)  # (set, decoder, k)
    names, lines = [each.name for each in evaluation.sets], [*passed]
    points, intervals = [*evaluation.passed], [*evaluation.intervals[: len(names)]]
    if names[1:]:
        known = ~np.isnan(passed)
        mean = np.where(known, passed, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        names, lines = [*names, MEAN], [*lines, mean]
        points, intervals = [*points, evaluation.mean], [*intervals, evaluation.intervals[-1]]
    across = {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3}.get(len(names), 4)
    down = -(-len(names) // across)
    figure = new_figure(figsize=(1.2 + 3.2 * across, 0.9 + 2.4 * down))
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for panel, name, line, point, interval in zip(panels, names, lines, points, intervals, strict=False):
        for number, decoder in enumerate(evaluation.decoders):
            (drawn,) = panel.step(every, 100 * line[number], where="post")
            drawn.set_label(_as_label(decoder))
            low, high = np.abs(interval[number] - point[number][:, None]).T * 100
            panel.errorbar(
                evaluation.ks, 100 * point[number], (low, high), fmt="o", color=drawn.get_color(), ms=4, capsize=2
            )
        panel.set_title(name, parse_math=False, fontsize="medium")
        panel.set_xscale("log")
        panel.grid(alpha=0.3)
    ticks = sorted({*evaluation.ks, *(10**power for power in range(int(math.log10(most)) + 1))})
    for panel in panels[: len(names)]:
        panel.set_xticks(ticks, map(str, ticks))
        panel.minorticks_off()
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    for row in range(down):
        panels[row * across].set_ylabel("pass@k in %")
    for panel in panels[max(0, len(names) - across) : len(names)]:
        panel.set_xlabel("k")
        panel.tick_params(labelbottom=True)
    for text in panels[0].legend(fontsize="small").get_texts():
        text.set_parse_math(False)
    return figure


def visible_name(text: str) -> str:
    """A name with everything invisible written out, except spaces."""
    return visible(text).replace("␣", " ")


def _short(word: str) -> str:
    """The beginning of a word, in a note or a cell."""
    return visible_name(word if len(word) <= _LONGEST else f"{word[:_LONGEST]}…")


def _ending(prompt: str) -> str:
    """The end of a prompt; a lens is read near it."""
    return visible_name(prompt if len(prompt) <= _LONGEST_PROMPT else f"…{prompt[-_LONGEST_PROMPT:]}")


def _as_label(name: str) -> str:
    """A name as a label for matplotlib, which hides labels that begin with an underscore."""
    return f"\u200b{name}" if name.startswith("_") else name


def _label(place: int, item: "EvaluatedItem") -> str:
    return f"{place} {_short(item.name)}".strip()


def _cells(evaluation: "Evaluation", item: "EvaluatedItem", word: "EvaluatedWord") -> list[tuple[str, float, str]]:
    target = "" if item.target is None else f" | {_short(item.target)}"
    where = f"position {item.position} of: {_ending(item.prompt)}{target}"
    synonyms = ", ".join(map(_short, word.synonyms))
    tokens = ", ".join(map(visible, word.tokens)) or "none"
    by = " (first tokens)" if word.by == "first" else ""
    cells = [(visible(item.token), 0.0, where), (_short(word.text), 0.0, f"{synonyms}; tokens{by}: {tokens}")]
    for number, decoder in enumerate(evaluation.decoders):
        if not word.is_scored:
            cells.append(("left out", 0.0, f"{visible_name(decoder)}: it has no token of its own"))
            continue
        rank, layer = word.best_rank[number], word.best_layer[number]
        share = max(0.0, 1 - math.log(rank) / math.log(_FARTHEST))
        token = visible(word.best_token[number])
        cells.append((f"{rank:,} ({layer})", share, f"{visible_name(decoder)}: {token} at layer {layer}"))
    return cells

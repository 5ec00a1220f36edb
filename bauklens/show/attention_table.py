"""Attention as a table, for a notebook. Needs no torch."""

from bauklens.result.attention import Attention
from bauklens.result.tokens import visible
from bauklens.show.rankings import ranking_fragment

_MOST = 64
"""The most positions that a table shows."""


def attention_table(found: Attention) -> str:
    """The HTML of one cell's attention: one row per position, with its weight, and those of the heads if known."""
    shown = sorted(place for place, _, _ in found.top(_MOST))
    columns = [found.weights] if found.by_head is None else [found.weights, *found.by_head]
    first = "mean" if found.head is None else f"head {found.head}"
    names = [first, *(f"head {each}" for each in range(len(columns) - 1))]
    rows = [
        (f"{place} {visible(found.tokens[place])}", [_cell(float(each[place])) for each in columns]) for place in shown
    ]
    left = len(found.tokens) - len(shown)
    note = "The share of the attention that each position gets; a stronger colour means a larger share."
    note += f" {left:,} positions with smaller weights are left out." if left else ""
    return ranking_fragment(f"Attention of {found.of_what}", "position", names, rows, note)


def _cell(weight: float) -> tuple[str, float, str]:
    return f"{weight:.3f}", min(1.0, weight), ""

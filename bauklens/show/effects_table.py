"""Effects -> a static HTML table, coloured by how far each state moves the answer. Needs no torch."""

from typing import Any

import numpy as np
from markupsafe import Markup

from bauklens.result.effects import Effects
from bauklens.result.tokens import column_heads, printable, visible
from bauklens.show.bundle import page_style, table_style
from bauklens.show.sections import said
from bauklens.show.static_table import Cell, Column, Row, cell_text, css_number, rendered, templates
from bauklens.vocabulary import CLEAN, CORRUPTED, PROMPTS, STREAM_CAPTIONS

_MOST_ROWS = 130
"""The most rows that are all shown; models have fewer layers, but can have thousands of heads."""

_FEW_ROWS = 40
"""How many rows are shown if there are more."""

_MOST_CELLS = 20_000
"""The most cells of a table; a larger one shows only the last positions."""


def effects_fragment(effects: Effects) -> str:
    """The HTML of the table with its style, for a notebook."""
    template = templates().get_template("effects.html")
    return template.render(style=table_style(), effects=_shown(effects))


def effects_page(effects: Effects, title: str | None = None) -> str:
    """One self-contained page with the table and its provenance."""
    shown = _shown(effects)
    lines = [(name, getattr(effects, name)) for name in (CLEAN, CORRUPTED)]
    lines += [(name, said(value)) for name, value in effects.provenance.items()]
    return (
        templates()
        .get_template("effects_page.html")
        .render(
            title=title or f"{effects.clean} | {effects.corrupted}",
            style=page_style(),
            script_source="'none'",
            effects=shown,
            provenance=lines,
        )
    )


def readable(effects: Effects) -> Effects:
    """The same; if there are too many rows, only the few with the largest effects."""
    return effects if len(effects.layers) <= _MOST_ROWS else effects.strongest(_FEW_ROWS)


def row_called(effects: Effects) -> str:
    """The kind of thing that a row is."""
    return "head" if effects.where == "heads" else "layer"


def moved(effects: Effects) -> np.ndarray:
    """(layer, position), what part of the way from one prompt to the other each state moves the prompt that is run.

    It is above 0 towards the clean prompt, and below 0 away from it.
    """
    found: np.ndarray = effects.share - np.float32(effects.into == CLEAN)
    return found


def what_was_done(effects: Effects) -> str:
    """What was put into what, in words."""
    what = STREAM_CAPTIONS.get(effects.where, effects.where)
    return f"{what} of the {_other(effects)} prompt, put into the {effects.into} one"


def _other(effects: Effects) -> str:
    """The prompt from which states are taken."""
    return next(each for each in PROMPTS if each != effects.into)


def ends(effects: Effects) -> list[str]:
    """What follows the two unchanged prompts: one sentence each."""
    found = []
    for name, value, top in (
        (CLEAN, effects.clean_difference, effects.clean_top),
        (CORRUPTED, effects.corrupted_difference, effects.corrupted_top),
    ):
        share = "1" if name == CLEAN else "0"
        token = visible(effects.vocabulary[top])
        found.append(f"{name} ({share}): {printable(getattr(effects, name))} → {token}, {value:.2f}")
    return found


def column_names(effects: Effects) -> list[str]:
    """The name of each column: the token of the prompt that is run, and that of the other prompt if it differs."""
    own = [head for head, _ in column_heads(effects.tokens, effects.positions.tolist())]
    other = [head for head, _ in column_heads(effects.source_tokens, effects.source_positions.tolist())]
    return [
        visible(one) if one == two else f"{visible(one)} | {visible(two)}" for one, two in zip(own, other, strict=True)
    ]


def share_text(share: float) -> str:
    """A share in two decimals.

    >>> share_text(0.8273), share_text(-0.001)
    ('0.83', '0.00')
    """
    return f"{round(share, 2) + 0:.2f}"


def _shown(effects: Effects) -> dict[str, Any]:
    """The arguments of the template."""
    effects = readable(effects)
    count = max(1, _MOST_CELLS // len(effects.layers))
    first = max(0, len(effects.tokens) - count)
    left_out = f"Only the last {count:,} of {len(effects.tokens):,} positions are shown." if first else ""
    return {
        "caption": f"{what_was_done(effects)}: {effects.model}",
        "measured": effects.measured,
        "ends": ends(effects),
        "table": _table(effects, first),
        "row": row_called(effects),
        "notes": [note for note in (*effects.notes, left_out) if note],
        "own": "1" if effects.into == CLEAN else "0",
        "run": effects.into,
        "source": _other(effects),
        "differs": effects.tokens != effects.source_tokens,
        "answer": visible(effects.vocabulary[_own_top(effects)]),
    }


def _own_top(effects: Effects) -> int:
    return effects.corrupted_top if effects.into == CORRUPTED else effects.clean_top


def _table(effects: Effects, first: int) -> Markup:
    names, changes = column_names(effects), moved(effects)
    columns = [
        Column(int(effects.positions[place]), cell_text(names[place], str), generated=False)
        for place in range(first, len(names))
    ]
    rows = [
        Row(
            layer,
            layer,
            "",
            "",
            [_cell(effects, row, first + place, column, changes) for place, column in enumerate(columns)],
        )
        for row, layer in enumerate(effects.layers)
    ]
    return rendered(columns, rows, "token", brief=False, corner=row_called(effects))


def _cell(effects: Effects, row: int, place: int, column: Column, changes: np.ndarray) -> Cell:
    share, change = float(effects.share[row, place]), float(changes[row, place])
    top = int(effects.top_ids[row, place])
    lines = [
        f"{row_called(effects)} {effects.layers[row]}, position {column.position}: {column.token}",
        f"share {share:.3f}",
        f"{effects.measured}: {effects.difference[row, place]:.3f} ({effects.effect[row, place]:+.3f})",
        f"next token: {visible(effects.vocabulary[top])}",
    ]
    return Cell(
        text=share_text(share),
        probability=css_number(min(1.0, abs(change)) if np.isfinite(change) else 0.0),
        magnitude=css_number(float(top != _own_top(effects))),
        hover="\n".join(lines),
        position=column.position,
        kind="less" if change < 0 else "",
    )

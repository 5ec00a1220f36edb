"""What a look finds on its way -> the events for its page: tokens of columns, cells as they come, figures, answers."""

from collections.abc import Sequence
from typing import Any

from bauklens.decode.table import Cells
from bauklens.decode.unembed import Rows
from bauklens.live.events import Written
from bauklens.live.looking import COLUMNS, Looked
from bauklens.result.alignment import common
from bauklens.result.tokens import column_heads, token_texts, visible
from bauklens.show.page import figure

_FILLING = ("prompt", "generated", "table", "cells")
"""The event that fills in a table until its figure is there; later runs are for other things."""

_BEFORE = 3
"""How many columns before one may have a part of its character."""


def told(tokenizer: Any) -> Written:
    """Makes JSON of the events of one request."""
    return _Telling(tokenizer)


class _Telling:
    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._prompt: list[int] = []
        self._generated: list[int] = []
        self._first = 0
        self._drawn: Looked | None = None

    def __call__(self, name: str, value: Any) -> tuple[str, Any] | None:
        """An event for JSON; None if the page does not need it."""
        if name in _FILLING and self._drawn is not None:
            return None
        if name == "prompt":
            self._prompt, self._generated = value, []
            return name, {"tokens": self._heads(value)}
        if name == "generated":
            kept, self._generated = common(self._generated, value), value
            first = len(self._prompt)
            return name, {"tokens": self._heads_of(range(first, first + len(value))), "kept": kept}
        if name == "table":
            return self._table(value)
        if name == "cells":
            return self._cells(value)
        if name == "figure":
            return name, self._figure(value)
        if name == "done" and "figure" in value:
            return name, value | {"figure": self._figure(value["figure"])}
        return name, value

    def _heads(self, ids: list[int]) -> list[str]:
        texts = token_texts(self._tokenizer, ids)
        return [visible(head) for head, _ in column_heads([texts[each] for each in ids], range(len(ids)))]

    def _heads_of(self, positions: Sequence[int]) -> list[str]:
        """The heads of some columns of the text so far, which may be in the middle of a character."""
        begin = max(0, positions[0] - _BEFORE)
        heads = self._heads([*self._prompt, *self._generated][begin : positions[-1] + 1])
        return [heads[each - begin] for each in positions]

    def _table(self, rows: Rows) -> tuple[str, Any] | None:
        positions = list(rows.positions)
        self._first = max(0, len(positions) - COLUMNS)
        seen, known = positions[self._first :], len(self._prompt) + len(self._generated)
        heads = self._heads_of(seen) if seen[-1] < known else [*map(str, seen)]
        written = {"layers": list(rows.labels), "positions": seen, "tokens": heads}
        return "table", written | {"generated": len(self._prompt)}

    def _cells(self, cells: Cells) -> tuple[str, Any] | None:
        ids, shares = cells.top_ids[:, 0].tolist(), cells.top_probs[:, 0].tolist()
        texts = token_texts(self._tokenizer, ids)
        found = [
            [row, column - self._first, visible(texts[token])[:40], round(share, 3)]
            for row, column, token, share in zip(cells.rows, cells.columns, ids, shares, strict=True)
            if column >= self._first
        ]
        return ("cells", found) if found else None

    def _figure(self, looked: Looked) -> str | None:
        """The HTML of its table; None if the page has it already."""
        if self._drawn is looked:
            return None
        self._drawn = looked
        return figure(looked.shown)

"""Notes that are pinned to cells: from what a caller passes to the viewer's state and the static page."""

from collections.abc import Mapping, Sequence
from typing import Any

from bauklens.errors import LensError
from bauklens.result.result import LensResult
from bauklens.result.tokens import printable, visible
from bauklens.show.cells import Cell, cell_of
from bauklens.show.nouns import layer_called

MOST = 200
"""The most notes of a view."""

LONGEST = 500
"""The most characters of a note."""

Note = list[Any]
"""A layer's label, a position, and a text, as in the viewer's state."""


def checked_notes(results: Sequence[LensResult], wanted: "Mapping[Cell, str] | None") -> list[Note]:
    """The notes of a view.

    Raises:
        LensError: there are too many, one is not a text of 1..500 characters, or its cell is not in the table or is
            given twice.
    """
    if wanted is not None and not isinstance(wanted, Mapping):
        raise LensError(f'notes is a {type(wanted).__name__}: pass a dict, such as {{("27", -1): "it turns here"}}')
    wanted = wanted or {}
    if len(wanted) > MOST:
        raise LensError(f"there are {len(wanted)} notes: pass at most {MOST}")
    found: dict[tuple[str, int], str] = {}
    for cell, text in wanted.items():
        layer, position = cell_of(results, cell)
        if not isinstance(text, str) or not text.strip():
            raise LensError(f"the note on {cell!r} is {text!r}: pass a text")
        if len(text) > LONGEST:
            raise LensError(f"the note on {cell!r} has {len(text):,} characters: pass at most {LONGEST}")
        if (layer, position) in found:
            raise LensError(f"there are two notes on layer {layer} at position {position}: pass one")
        found[layer, position] = text
    return [[layer, position, text] for (layer, position), text in found.items()]


def with_notes(lens: LensResult, state: Mapping[str, Any]) -> dict[str, Any]:
    """A state from any source, with only those of its notes that are on cells of the table.

    The viewer reads a state in the same way, and checks the rest of it.
    """
    given = state.get("notes")
    found: list[Note] = []
    for each in given if isinstance(given, list) else ():
        layer, position, text = each if isinstance(each, list) and len(each) == 3 else (None, None, None)
        is_cell = isinstance(layer, str) and layer in lens.layers and type(position) is int
        if is_cell and position in lens.positions.tolist() and isinstance(text, str) and text.strip():
            found.append([layer, position, text[:LONGEST]])
    return {**state, "notes": found[:MOST]} if "notes" in state else dict(state)


def notes_on_cells(lens: LensResult, notes: Sequence[Note]) -> list[tuple[str, str]]:
    """Notes for a page without script: the cell of each, and its text."""
    positions = lens.positions.tolist()
    columns = lens.columns or [""] * len(positions)
    called = [printable(name) or visible(token) for name, token in zip(columns, lens.tokens, strict=True)]
    return [
        (f"{layer_called(layer)}, position {position}, {called[positions.index(position)]}", printable(text))
        for layer, position, text in notes
    ]

"""Which cells of a result show states that an edit changed. Needs no torch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.row_labels import block_of, head_label

if TYPE_CHECKING:
    from bauklens.result.result import LensResult

_ALL = ("hidden", "attention", "mlp", "mid")

_CHANGES = {
    "hidden": _ALL,
    "delta": _ALL,
    "mid": ("attention", "mid"),
    "attention": ("attention", "mid"),
    "mlp": ("mlp",),
}
"""A stream -> where an edit of a block changes the block's row in it; an edit of a head is one of its attention."""


def edited_cells(result: "LensResult") -> np.ndarray:
    """(layer, position) bool, whether the state of a cell was changed by an edit of its own layer and position.

    Later states, which only follow from the changed ones, do not count.
    """
    found = np.zeros(result.magnitude.shape, dtype=bool)
    for edit in _edits(result.provenance):
        rows = [_changes(edit, result.stream, label) for label in result.layers]
        found |= np.outer(rows, _columns(edit["positions"], result))
    return found


def _edits(provenance: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Edits that change something and whose place is known; a file may hold anything."""
    given = provenance.get("edits", ())
    for each in given if isinstance(given, (list, tuple)) else ():
        is_placed = isinstance(each, Mapping) and {"where", "layers", "positions"} <= each.keys()
        if is_placed and each.get("strength", 1) != 0:
            yield each


def _changes(edit: Mapping[str, Any], stream: str, label: str) -> bool:
    """Whether an edit acts on what a row of a stream shows."""
    layers, where = edit["layers"], edit["where"]
    block = block_of(label)
    if isinstance(layers, (list, tuple)) and block not in layers:
        return False
    if stream == "heads":
        return isinstance(where, int) and label == head_label(block, where)
    return ("attention" if isinstance(where, int) else where) in _CHANGES.get(stream, ())


def _columns(positions: Any, result: "LensResult") -> np.ndarray:
    """(position,) bool."""
    if positions is None:
        return np.ones(len(result.positions), dtype=bool)
    if isinstance(positions, str):
        generated = result.generated
        return {"prompt": ~generated, "new": generated}.get(positions, np.zeros(len(generated), dtype=bool))
    named = positions if isinstance(positions, (list, tuple)) else [positions]
    return np.isin(result.positions, [each for each in named if isinstance(each, int)])


def in_blocks(cells: np.ndarray) -> list[tuple[list[list[int]], list[list[int]]]]:
    """Chosen cells (layer, position) as blocks: rows and columns, both as runs of their first and last.

    >>> in_blocks(np.array([[True, True], [True, True], [False, True]]))
    [([[0, 1]], [[0, 1]]), ([[2, 2]], [[1, 1]])]
    """
    blocks: dict[bytes, list[int]] = {}
    for row in np.flatnonzero(cells.any(axis=1)).tolist():
        blocks.setdefault(cells[row].tobytes(), []).append(row)
    return [(_runs(rows), _runs(np.flatnonzero(cells[rows[0]]).tolist())) for rows in blocks.values()]


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for each in numbers:
        if found and each == found[-1][1] + 1:
            found[-1][1] = each
        else:
            found.append([each, each])
    return found

"""A cell of a table as a caller gives it -> the label of its layer and its position."""

from collections.abc import Sequence
from typing import Any

from bauklens.arguments import chosen_layers, is_whole_number
from bauklens.errors import LensError
from bauklens.result.result import LensResult

Cell = tuple[str | int, int]
"""A layer by its label or number, and a position; negative ones count from the last."""


def cell_of(results: Sequence[LensResult], wanted: Any) -> tuple[str, int]:
    """The label of the layer and the position of a cell, which one of the results has.

    Raises:
        LensError: it is not a layer and a position, or no result has it.
    """
    if not isinstance(wanted, (tuple, list)) or len(wanted) != 2:
        raise LensError(f'the cell {wanted!r} is not a layer and a position: pass both, such as ("27", -1)')
    layer, position = wanted
    if not isinstance(layer, str) and not is_whole_number(layer):
        raise LensError(f"the layer {layer!r} is neither a label nor a number")
    column = results[0].column_of(position)
    return _label(results, layer), int(results[0].positions[column])


def _label(results: Sequence[LensResult], layer: str | int) -> str:
    for place, result in enumerate(results):
        try:
            (row,) = chosen_layers(result.layers, layer)
        except LensError:
            if place == len(results) - 1:
                raise
        else:
            return result.layers[row]
    raise LensError("results is empty: pass at least one")

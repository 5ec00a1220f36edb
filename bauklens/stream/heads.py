"""The outputs of attention heads as rows of states, computed when they are read, so that few are in memory at once."""

from collections.abc import Sequence
from typing import Any

import torch

from bauklens.errors import LensError
from bauklens.model.heads import HeadOutputs, Heads
from bauklens.row_labels import head_label
from bauklens.stream.stream import Stream

Place = tuple[int, int | None]
"""The number of a block and that of a head; None is what the attention writes that belongs to no head."""


def head_places(labels: Sequence[str], heads: Sequence[Heads | str]) -> dict[str, Place]:
    """Labels of rows (``"20.h3"``, and ``"20.bias"`` if the block has one) -> block and head.

    Args:
        labels: (layer,), of all blocks.
        heads: (layer,), their heads, or the reason why a block has none; such blocks are left out.
    """
    found: dict[str, Place] = {}
    for block, (label, each) in enumerate(zip(labels, heads, strict=True)):
        if isinstance(each, Heads):
            which: list[int | None] = [*range(each.count), *([None] if each.biased else [])]
            found |= {head_label(label, head): (block, head) for head in which}
    return found


class HeadStates:
    """States of rows (row, position, hidden); any part of them can be read as a tensor.

    Args:
        stream: has what the heads and the attentions wrote.
        places: (row,).
    """

    def __init__(self, stream: Stream, places: Sequence[Place]) -> None:
        assert stream.written is not None
        self._outputs, self._attention, self._places = stream.heads, stream.written.attention, list(places)
        self.dtype, self.device = self._attention.dtype, self._attention.device

    def of(self, row: int, columns: Any = slice(None)) -> torch.Tensor:
        """(column, hidden), one row at some positions, given as an index."""
        block, head = self._places[row]
        return self._of_block(block).of(head, columns).to(self._attention)

    def require_sums(self, labels: Sequence[str], columns: Sequence[int]) -> None:
        """Proves that all heads of a block, and its bias, add up to what its attention writes.

        Args:
            labels: (layer,), of all blocks.
            columns: at which positions.

        Raises:
            LensError: they do not.
        """
        for block in dict.fromkeys(block for block, _ in self._places):
            if not self._of_block(block).add_up_to(self._attention[block], list(columns)):
                raise LensError(
                    f"the heads of layer {labels[block]} do not add up to what its attention writes, because an edit "
                    "or a hook changes it: pass stream='attention'"
                )

    def _of_block(self, block: int) -> HeadOutputs:
        found = self._outputs[block]
        assert found is not None
        return found

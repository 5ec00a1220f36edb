"""The ways to read rows: one protocol, and the exact way."""

from typing import Protocol

import torch

from bauklens.decode.reading import Reading, Values
from bauklens.decode.tiles import Some
from bauklens.decode.unembed import Unembed


class Readout(Protocol):
    """A way to read results from the logits of some rows."""

    @property
    def precision(self) -> str:
        """The dtype of the logits, as text; empty before the first read."""

    def read(self, tile: Some, reading: Reading) -> tuple[Values, torch.Tensor]:
        """Reads rows.

        Returns:
            The results, (row, ...), and (row,) bool, whether they are certain; other rows must be read exactly.
        """

    def mean_weights(self, probabilities: torch.Tensor) -> torch.Tensor:
        """(row, vocabulary) -> (row, head width), the mean of the head's weights, weighted by the probabilities."""


class Exact:
    """Every row in the model's own precision.

    Args:
        offset: (1, vocabulary), what is left out of all logits.
    """

    def __init__(self, unembed: Unembed, offset: torch.Tensor | None = None) -> None:
        self.unembed, self._offset = unembed, offset

    @property
    def precision(self) -> str:
        """See :attr:`Readout.precision`."""
        return self.unembed.precision

    def read(self, tile: Some, reading: Reading) -> tuple[Values, torch.Tensor]:
        """Reads rows, all of which are certain."""
        inputs, logits = self.logits(tile)
        values = reading.of(logits, self.unembed.columns(tile), inputs)
        return values, torch.ones(len(logits), dtype=torch.bool, device="cpu")

    def logits(self, tile: Some) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Like :meth:`bauklens.decode.unembed.Unembed.inputs_and_logits`, but without the offset."""
        inputs, logits = self.unembed.inputs_and_logits(tile)
        return inputs, logits if self._offset is None else logits - self._offset

    def mean_weights(self, probabilities: torch.Tensor) -> torch.Tensor:
        """See :meth:`Readout.mean_weights`."""
        return probabilities @ self.unembed.head.weight[: probabilities.shape[1]]

"""What maps a state to the final basis before the model's own tail decodes it."""

from collections.abc import Sequence
from typing import Protocol

import torch


class Decoder(Protocol):
    """A map of hidden states to the basis of the last block's output, applied a tile at a time."""

    @property
    def name(self) -> str:
        """What a result calls it."""

    def __call__(self, states: torch.Tensor, layers: Sequence[str]) -> torch.Tensor:
        """States in the final basis.

        Args:
            states: (layer, position, hidden).
            layers: (layer,), the labels of the rows: ``"embed"``, ``"0"``, ``"1"``, ...

        Returns:
            The same shape.
        """


class LogitLens:
    """The logit lens: a state as it is."""

    name = "logit"

    def __call__(self, states: torch.Tensor, layers: Sequence[str]) -> torch.Tensor:  # noqa: ARG002
        """The states themselves."""
        return states


LOGIT_LENS = LogitLens()

"""What was read of a table's rows, put together as it comes."""

from typing import Any

import torch

from bauklens.decode.reading import Values
from bauklens.decode.tiles import Some
from bauklens.decode.unembed import Rows
from bauklens.errors import LensError, NotFiniteError


class Table:
    """What was read of all rows, each put to its place as it comes."""

    def __init__(self, rows: Rows, rows_done: Any) -> None:
        self._rows, self._rows_done, self._found = rows, rows_done, Values()

    def keep(self, tile: Some, values: Values, certain: torch.Tensor | None = None) -> torch.Tensor:
        """Keeps what was read of some rows, (row, ...), if it is certain, and returns the numbers of the others.

        Raises:
            LensError: it is not finite.
        """
        numbers = tile.numbers(len(self._rows.positions))
        sure = torch.ones(len(numbers), dtype=torch.bool, device="cpu") if certain is None else certain.cpu()
        if not values["top_probs"].cpu()[sure].isfinite().all():
            raise self._unfinite(numbers[sure], values["top_probs"].cpu()[sure])
        for name, value in values.items():
            if name not in self._found:
                self._found[name] = torch.empty(
                    self._rows.everything.count, *value.shape[1:], dtype=value.dtype, device="cpu"
                )
            self._found[name][numbers[sure]] = value.cpu()[sure]
        self._rows_done.update(int(sure.sum()))
        return numbers[~sure]

    def values(self) -> Values:
        """Name -> (layer, position, ...)."""
        grid = len(self._rows.labels), len(self._rows.positions)
        return {name: value.view(*grid, *value.shape[1:]) for name, value in self._found.items()}

    def _unfinite(self, numbers: torch.Tensor, probabilities: torch.Tensor) -> LensError:
        bad = (~probabilities.isfinite().all(dim=-1)).nonzero()[0, 0]
        row, column = divmod(int(numbers[bad]), len(self._rows.positions))
        return NotFiniteError(
            f"the logits of row {self._rows.labels[row]} at position {self._rows.positions[column]} contain NaN or "
            "infinity (float16 overflows at 65,504: load the model with dtype='bfloat16' or 'float32')"
        )

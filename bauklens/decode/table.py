"""The results of a table's rows, collected as they are read."""

from dataclasses import dataclass
from typing import Any

import torch

from bauklens.decode.reading import Values
from bauklens.decode.tiles import Some, Tile
from bauklens.decode.unembed import Rows
from bauklens.errors import LensError, NotFiniteError
from bauklens.progress import is_watched, tell


@dataclass(frozen=True)
class Cells:
    """Some cells of a table, for a watcher of its progress.

    Attributes:
        rows: (cell,), the places of their rows.
        columns: (cell,), the places of their columns.
        top_ids: (cell, k) int64.
        top_probs: (cell, k) float32.
    """

    rows: list[int]
    columns: list[int]
    top_ids: torch.Tensor
    top_probs: torch.Tensor


class Table:
    """The results of all rows, each put in its place when it is read."""

    def __init__(self, rows: Rows, rows_done: Any) -> None:
        self._rows, self._rows_done, self._found = rows, rows_done, Values()
        tell("table", rows)

    def keep(self, tile: Some, values: Values, certain: torch.Tensor | None = None) -> torch.Tensor:
        """Keeps the results of some rows, (row, ...), if they are certain, and returns the numbers of the others.

        Raises:
            LensError: a result is not finite.
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
        self._show(numbers[sure], values, sure)
        return numbers[~sure]

    def show(self, row: int, columns: range, values: Values) -> None:
        """Shows a watcher the results of some columns of a row, which are all certain, before they are kept."""
        numbers = Tile(range(row, row + 1), columns).numbers(len(self._rows.positions))
        self._show(numbers, values, torch.ones(len(numbers), dtype=torch.bool, device="cpu"))

    def _show(self, numbers: torch.Tensor, values: Values, sure: torch.Tensor) -> None:
        if is_watched():
            rows, columns = numbers // len(self._rows.positions), numbers % len(self._rows.positions)
            ids, shares = (values[name].cpu()[sure] for name in ("top_ids", "top_probs"))
            if shares.isfinite().all():  # keep() raises an error for others
                tell("cells", Cells(rows.tolist(), columns.tolist(), ids, shares))

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

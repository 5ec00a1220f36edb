"""Rows of a table, some at a time: fewer if memory runs out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from bauklens.errors import LensError
from bauklens.model.memory import free_memory, out_of_memory

Found = TypeVar("Found")


@dataclass(frozen=True)
class Tile:
    """A rectangle of rows, layers x positions; rows are numbered layer by layer."""

    layers: range
    positions: range

    @property
    def count(self) -> int:
        """The number of its rows."""
        return len(self.layers) * len(self.positions)

    def numbers(self, columns: int) -> torch.Tensor:
        """(row,) int64, the numbers of its rows in a table with this many columns."""
        layers, positions = (torch.tensor(each, device="cpu") for each in (self.layers, self.positions))
        return (layers[:, None] * columns + positions).flatten()

    def some(self, count: int) -> "Tile":
        """About as many of its rows, of all layers, in the middle of the positions."""
        width = max(1, count // len(self.layers))
        start = max(0, (len(self.positions) - width) // 2)
        return Tile(self.layers, self.positions[start : start + width])

    def layer(self, row: int) -> "Tile":
        """One of its layers."""
        return Tile(self.layers[row : row + 1], self.positions)

    def column(self, place: int) -> "Tile":
        """One of its columns."""
        return Tile(self.layers, self.positions[place : place + 1])

    def without_layer(self, row: int) -> list["Tile"]:
        """The rest of it without one of its layers."""
        parts = self.layers[:row], self.layers[row + 1 :]
        return [Tile(layers, self.positions) for layers in parts if layers]

    def of_layers(self, layers: range) -> "Tile":
        """The part of it with some layers."""
        return Tile(range(max(self.layers.start, layers.start), min(self.layers.stop, layers.stop)), self.positions)

    def whole_layers(self, limit: int) -> list[range]:
        """Its layers, grouped as they are decoded at once, or one by one if a single layer exceeds the limit."""
        if self.count <= limit or len(self.layers) == 1:
            return [self.layers]
        return [each for half in self.halves() for each in half.whole_layers(limit)]

    def pieces(self, columns: int) -> list["Tile"]:
        """Tiles with a limited number of columns that make up this one."""
        starts = range(0, len(self.positions), columns)
        return [Tile(self.layers, self.positions[start : start + columns]) for start in starts]

    def halves(self) -> list["Tile"]:
        """Two tiles that make up this one, the earlier rows first."""
        if len(self.layers) > 1:
            middle = len(self.layers) // 2
            return [Tile(self.layers[:middle], self.positions), Tile(self.layers[middle:], self.positions)]
        middle = len(self.positions) // 2
        return [Tile(self.layers, self.positions[:middle]), Tile(self.layers, self.positions[middle:])]


@dataclass(frozen=True)
class Scattered:
    """Rows anywhere in a table, by their numbers, (row,) int64, in order."""

    rows: torch.Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", self.rows.sort().values)

    @property
    def count(self) -> int:
        """The number of rows."""
        return len(self.rows)

    def numbers(self, columns: int) -> torch.Tensor:  # noqa: ARG002
        """The numbers."""
        return self.rows

    def halves(self) -> list["Scattered"]:
        """Two parts that make up this one, the earlier rows first."""
        middle = len(self.rows) // 2
        return [Scattered(self.rows[:middle]), Scattered(self.rows[middle:])]


Some = Tile | Scattered
"""Some rows of a table."""


def beside(limit: int) -> int:
    """How many rows to decode at once while the logits of others are kept."""
    return max(1, limit // 8)


def in_tiles(
    tiles: Sequence[Some],
    read: Callable[[Some], Found],
    *,
    limit: int,
    smallest: int = 1,
    what: str = "for the logits of a single row",
) -> Iterator[tuple[Some, Found]]:
    """Reads tiles in order, in parts with a limited number of rows; if memory runs out, the parts are halved.

    Args:
        read: called with each part.
        limit: the most rows of a part.
        smallest: the number of rows that cannot be split.
        what: the text of an error after "out of memory".

    Yields:
        (part, its results).

    Raises:
        LensError: memory runs out for the smallest part.
    """
    pending = list(tiles)[::-1]
    while pending:
        tile = pending.pop()
        if tile.count > max(limit, smallest):
            pending += tile.halves()[::-1]
            continue
        try:
            found = read(tile)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if tile.count <= smallest:
                raise LensError(f"out of memory {what}: {error}") from None
            limit = tile.count // 2
            pending.append(tile)
            free_memory(error)
            continue
        yield tile, found
        del found

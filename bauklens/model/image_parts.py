"""The inputs and results of a layout of pictures, and what layouts have in common."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch


@dataclass(frozen=True)
class Part:
    """A picture, or a tile or view of it, as a grid of positions, row by row.

    Attributes:
        rows, columns: of the grid.
        image: the number of the picture, from 0; None if it is not known which one this is a part of.
        name: which part it is, such as ``"tile 2"``; empty for the whole picture.
        before, row_end, after: numbers of other positions: before the grid, at the end of each row, and after the grid.
        broken: whether other tokens may come between rows.
        frame: the number of its pixels among all pictures of ``pixel_values``; None if it covers the whole picture.
        shown: whether the whole picture, or these pixels, are what the grid covers.
    """

    rows: int
    columns: int
    image: int | None = 0
    name: str = ""
    before: int = 0
    row_end: int = 0
    after: int = 0
    broken: bool = False
    frame: int | None = None
    shown: bool = True

    @property
    def count(self) -> int:
        """The number of its positions."""
        return self.before + self.rows * (self.columns + self.row_end) + self.after


@dataclass(frozen=True)
class Given:
    """What a layout is found from.

    Attributes:
        config: of the model.
        extra: the inputs beside the ids.
        runs: the number of positions in each contiguous run.
        images: the number of pictures, if it is known.
        preceding: the token before each run, as text; empty without a tokenizer.
        between: the ids after each run, up to the next one; one id after the last.
    """

    config: Any
    extra: Mapping[str, Any]
    runs: Sequence[int]
    images: int | None = None
    preceding: Sequence[str] = ()
    between: Sequence[Sequence[int]] = ()

    @property
    def count(self) -> int:
        """The number of all positions."""
        return sum(self.runs)

    @property
    def vision(self) -> Any:
        """The configuration of the vision tower."""
        return getattr(self.config, "vision_config", None)

    def pixels(self, name: str = "pixel_values") -> tuple[int, int, int] | None:
        """The number of pictures in the pixels, and their height and width; None if pixels are not pictures."""
        value = self.extra.get(name)
        if not isinstance(value, torch.Tensor) or value.dim() < 4 or value.shape[-3] != 3:
            return None
        return math.prod(value.shape[:-3]), int(value.shape[-2]), int(value.shape[-1])

    def table(self, name: str) -> list[list[int]]:
        """An input of whole numbers, one row per picture; empty if it is missing."""
        value = self.extra.get(name)
        if not isinstance(value, torch.Tensor) or value.dim() not in (1, 2):
            return []
        return [list(map(int, row)) for row in value.reshape(len(value), -1).tolist()]


Layout = Callable[[Given], list[Part] | None]
"""What is given -> the parts of all pictures in the order of their positions, or None if they are not known."""


def numbered(given: Given, parts: list[Part], *, cut: bool) -> list[Part]:
    """Parts of pictures: one part per picture, or else views of one picture, or of unknown ones.

    Args:
        cut: whether a picture may be cut into several parts, so that the count of parts is not that of pictures.
    """
    if len(parts) in (1, given.images) or (given.images is None and not cut):
        return [replace(part, image=number) for number, part in enumerate(parts)]
    image = 0 if given.images == 1 else None
    return [replace(part, image=image, name=f"view {number}", shown=False) for number, part in enumerate(parts, 1)]


def frames(given: Given, count: int, part: Part, *, cut: bool = False) -> list[Part]:
    """Parts for several pictures in the pixels, each with the same grid."""
    parts = numbered(given, [part] * count, cut=cut)
    return [replace(each, frame=number, shown=True) for number, each in enumerate(parts)]


def side_of(value: Any) -> int:
    """A size that configurations give as one number, or as two equal ones; 0 if it is neither."""
    if isinstance(value, (list, tuple)):
        return value[0] if len(set(value)) == 1 and type(value[0]) is int else 0
    return value if type(value) is int else 0


def whole_root(count: int) -> int:
    """The square root, if it is a whole number; else 0."""
    root = math.isqrt(count)
    return root if root * root == count else 0


def patch_size(given: Given) -> int:
    """The side of a patch of the vision tower, in pixels; 0 if its configuration does not have it."""
    return side_of(getattr(given.vision, "patch_size", None))

"""A picture in a prompt, and which position of the prompt reads which part of it. Needs no torch."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bauklens.result.frozen import frozen_array, plain, require

KINDS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}
"""How the bytes of a file begin -> its kind."""

_LARGEST = 1 << 22
"""Bytes of one picture, at most."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A part of a prompt that is not text.

    Attributes:
        name: such as ``"image 1"``.
        grid: (row, column) int64, the position of the prompt that reads each patch; -1 if none does.
            Its shape is (0, 0) if it is not known which part a position reads.
        positions: (position,) int64, all positions that it fills.
        image: a PNG or JPEG file, for display; empty if only numbers were given.
    """

    name: str
    grid: np.ndarray
    positions: np.ndarray
    image: bytes = b""

    def __post_init__(self) -> None:
        require(isinstance(self.name, str) and bool(self.name), "a picture has no name")
        for name, axes in (("grid", 2), ("positions", 1)):
            value = frozen_array(f"the {name} of a picture", getattr(self, name), np.int64)
            value = value.reshape((0,) * axes) if not value.size else value
            value.setflags(write=False)
            require(value.ndim == axes, f"the {name} of a picture has {value.ndim} axes instead of {axes}")
            object.__setattr__(self, name, value)
        known = self.grid[self.grid >= 0]
        require(
            bool(np.isin(known, self.positions).all()), "the grid of a picture names positions that it does not fill"
        )
        require(len(np.unique(known)) == len(known), "the grid of a picture names a position twice")
        require(bool((self.positions >= 0).all()), "a position of a picture is negative")
        require(isinstance(self.image, bytes) and len(self.image) <= _LARGEST, "a picture has no bytes, or too many")
        require(not self.image or self.kind != "", "a picture is neither a PNG nor a JPEG file")

    @property
    def kind(self) -> str:
        """``"png"`` or ``"jpeg"``; empty without an image."""
        return next((kind for begins, kind in KINDS.items() if self.image.startswith(begins)), "")

    @property
    def url(self) -> str:
        """The image as a ``data:`` address; empty without an image."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.image).decode('ascii')}" if self.image else ""

    def label(self, position: int) -> str:
        """The name of a position, such as ``"image 1, row 3, column 5"``; rows and columns count from 1."""
        place = np.argwhere(self.grid == position)
        return f"{self.name}, row {place[0][0] + 1}, column {place[0][1] + 1}" if len(place) else self.name

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        image = base64.b64encode(self.image).decode("ascii")
        return {"name": self.name, "grid": plain(self.grid), "positions": plain(self.positions), "image": image}

    @staticmethod
    def from_dict(data: Any) -> "Picture":
        """Reads what :meth:`to_dict` wrote; raises a LensError if it is damaged."""
        if isinstance(data, Picture):
            return data
        require(isinstance(data, Mapping), "a picture is not a mapping")
        try:
            image = base64.b64decode(data.get("image", ""), validate=True)
        except (binascii.Error, TypeError, ValueError):
            image = b"?"
        return Picture(data.get("name", ""), data.get("grid", []), data.get("positions", []), image)


Picture.__module__ = "bauklens"  # so that pickles load wherever the class is defined


def column_labels(pictures: list[Picture] | tuple[Picture, ...], positions: list[int]) -> tuple[str, ...]:
    """(position,), the names of positions that read pictures; empty for those of text."""
    called = {int(position): picture.label(int(position)) for picture in pictures for position in picture.positions}
    return tuple(called.get(position, "") for position in positions)

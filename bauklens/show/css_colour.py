"""The colour of the classic look, as a caller gives it and as CSS reads it."""

import re
from collections.abc import Sequence
from typing import Any

from bauklens.errors import LensError

Colour = str | Sequence[int]
"""``#rgb`` or ``#rrggbb``, or red, green and blue in 0..255."""

_COLOUR = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})")


def css_colour(color: Any) -> str:
    """A colour as CSS; raises a LensError if it is not valid."""
    if isinstance(color, str) and _COLOUR.fullmatch(color):
        return color
    if isinstance(color, (list, tuple)) and len(color) == 3 and all(map(_is_byte, color)):
        return "rgb({:.0f} {:.0f} {:.0f})".format(*color)
    raise LensError(f"unknown colour {color!r}: pass '#rrggbb', or three numbers from 0 to 255")


def hex_colour(color: Any) -> str:
    """A colour as ``#rrggbb``; raises a LensError if it is not valid."""
    told = css_colour(color)
    if told.startswith("rgb"):
        return "#{:02x}{:02x}{:02x}".format(*map(int, re.findall(r"\d+", told)))
    return told.lower() if len(told) == 7 else "#" + "".join(2 * each for each in told[1:].lower())


def _is_byte(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 255

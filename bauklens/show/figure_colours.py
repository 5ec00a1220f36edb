"""Colours of publication figures: palettes for cells, and colours of pins. ``viewer/figurecolours.js`` has the same."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

PALETTES = ("default", "grey", "cividis", "viridis")
"""All run from one lightness to another, so they can be read in greyscale and by colour-blind readers."""

THEMES = ("light", "dark")

SHAPES = ("circle", "triangle", "square", "diamond", "star", "plus", "wedge", "cross")
"""The shape of each pin, as in the viewer."""

_PLAIN = {
    "light": {
        "paper": "#ffffff",
        "ink": "#0b0e13",
        "soft": "#565e6a",
        "line": "#d5d9df",
        "likely": "#4d94ff",
        "bar": "#c65d00",
        "unlikely": "#c3c8cf",
        "faint": "#a4abb5",
        "unread": "#eceef1",
        "token": "#fff4c2",
        "generated": "#d9f2dd",
        "part": "#e4e0f5",
    },
    "dark": {
        "paper": "#14171c",
        "ink": "#f4f6f9",
        "soft": "#a9b2be",
        "line": "#333942",
        "likely": "#1d5fd1",
        "bar": "#f0a04b",
        "unlikely": "#4a515b",
        "faint": "#6d7683",
        "unread": "#23272e",
        "token": "#3a3316",
        "generated": "#1c3a26",
        "part": "#2b2745",
    },
}
"""The colours of ``viewer/lens.css``."""

_GREY = {"light": ("#ffffff", "#8c8c8c"), "dark": ("#14171c", "#7a7a7a")}

_STEPS = {
    "cividis": "#00224e #123570 #3b496c #575d6d #707173 #8a8678 #a59c74 #c3b369 #e1cc55 #fee838",
    "viridis": "#440154 #482878 #3e4989 #31688e #26828e #1f9e89 #35b779 #6ece58 #b5de2b #fde725",
}
"""Ten colours of each map at equal distances."""

_PINS = {
    "light": "#b3261e #1b6e2c #7a3ea8 #8a5a00 #00697a #a1246b #2f4fb5 #5c5f1a",
    "dark": "#ff8a80 #7ddc8f #d3a4f5 #f2c14e #5fd4e6 #ff9ccf #a3b8ff #c8cc7a",
}
"""The colours of pins of ``viewer/lens.css``."""

_SAFE_PINS = {
    "light": "#9c3d00 #005a8c #8f3f71 #00664c #000000 #6b5b00 #4b3fae #4d4d4d",
    "dark": "#ff9a57 #56b4e9 #e79fc6 #3ccfa4 #ffffff #f0e442 #b0a8ff #c0c0c0",
}
"""Colours after Okabe and Ito, darker or lighter, so that they can be read."""

CLASSIC = "#3232ff"
"""The colour of the classic look at the largest magnitude, unless another is asked for."""

_CLASSIC_UNREAD = "#808080"


@dataclass(frozen=True)
class Colours:
    """The colours of a figure, as ``#rrggbb``.

    Attributes:
        palette: one of :data:`PALETTES`.
        theme: one of :data:`THEMES`.
        color: the colour of the classic look at the largest magnitude.
    """

    palette: str = "default"
    theme: str = "light"
    color: str = CLASSIC

    def __getitem__(self, name: str) -> str:
        return _PLAIN[self.theme][name]

    @cached_property
    def pins(self) -> list[str]:
        """The colour of each pin."""
        if self.palette == "grey":
            return [self["ink"]] * len(SHAPES)
        return (_PINS if self.palette == "default" else _SAFE_PINS)[self.theme].split()

    def background(self, part: float, unread: bool = False) -> str:
        """The background of a cell whose value is this far, 0..1, along the scale."""
        if self.palette == "default" or unread:
            return mixed(self["paper"], self["unlikely" if unread else "likely"], part)
        if self.palette == "grey":
            return mixed(*_GREY[self.theme], part)
        steps = _STEPS[self.palette].split()
        place = min(int(part * (len(steps) - 1)), len(steps) - 2)
        return mixed(steps[place], steps[place + 1], part * (len(steps) - 1) - place)

    def text(self, part: float, background: str, unread: bool = False) -> str:
        """The text of such a cell: its contrast to the background is 4.5:1 or more."""
        if self.palette == "default" or unread:
            return mixed(self["soft"], self["ink"], part)
        return max(("#000000", "#ffffff"), key=lambda ink: contrast(ink, background))

    def bar(self, ink: str, unread: bool = False) -> str:
        """The bar of a cell with a text of that colour."""
        return self["faint" if unread else "bar"] if self.palette == "default" or unread else ink

    def classic(self, probability: float, magnitude: float, unread: bool = False) -> tuple[str, str]:
        """Background and text of a cell of the classic look, on white paper in both themes, as on the page.

        Their contrast depends on the colour that the caller chose.
        """
        full = _CLASSIC_UNREAD if unread else self.color
        return blended("#ffffff", full, magnitude), blended("#ffffff", "#000000", probability)

    @cached_property
    def inside(self) -> "Colours":
        """The colours of pins in cells of the classic look."""
        return replace(self, theme="light")


def mixed(one: str, other: str, part: float) -> str:
    """A colour this far, 0..1, from one to another, in oklab, as CSS ``color-mix`` mixes it."""
    first, second = _oklab(one), _oklab(other)
    light, a, b = (start + (end - start) * part for start, end in zip(first, second, strict=True))
    return _hex(light, a, b)


def blended(one: str, other: str, part: float) -> str:
    """The same in sRGB."""
    pairs = zip(_bytes(one), _bytes(other), strict=True)
    return "#" + "".join(f"{math.floor(start + (end - start) * part + 0.5):02x}" for start, end in pairs)


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, 1..21."""
    lights = []
    for colour in (one, other):
        red, green, blue = _linear(colour)
        lights.append(0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)
    return max(lights) / min(lights)


def _bytes(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def _linear(colour: str) -> list[float]:
    parts = [each / 255 for each in _bytes(colour)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def _oklab(colour: str) -> tuple[float, float, float]:
    red, green, blue = _linear(colour)
    long = math.pow(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue, 1 / 3)
    middle = math.pow(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue, 1 / 3)
    short = math.pow(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue, 1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def _hex(light: float, a: float, b: float) -> str:
    long = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    parts = (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )
    return "#" + "".join(f"{_byte(part):02x}" for part in parts)


def _byte(part: float) -> int:
    part = min(1.0, max(0.0, part))
    seen = 12.92 * part if part <= 0.0031308 else 1.055 * math.pow(part, 1 / 2.4) - 0.055
    return math.floor(255 * seen + 0.5)

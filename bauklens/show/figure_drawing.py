"""A drawing: rectangles, texts, lines and shapes at places in points, and the SVG of it. Needs no matplotlib.

``viewer/figuredrawing.js`` writes the same SVG.
"""

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

CHARACTER = 0.602
"""The width of a character of DejaVu Sans Mono, over the font size."""

BASELINE = 0.36
"""How far below the middle of a text its baseline is, over the font size."""

FAMILIES = {
    "mono": "'DejaVu Sans Mono', Menlo, Consolas, monospace",
    "sans": "'DejaVu Sans', Verdana, sans-serif",
}
"""Fonts that are as wide as those of matplotlib."""

_WIDE = re.compile(
    "[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6"
    "\U0001f300-\U0001faff\U00020000-\U0003fffd]"
)

_SANS = (
    (_WIDE, 1.2),
    (re.compile(r"[fijlrtI.,:;'|!()\[\] ]"), 0.37),
    (re.compile("[mwMW@%…]"), 0.95),
    (re.compile("[A-HJ-LN-VX-Z]"), 0.72),
)
"""Kinds of characters, and how wide each is in DejaVu Sans, over the font size; all others are 0.62."""

_ILL_FORMED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass(frozen=True)
class Box:
    """A rectangle; ``stroke`` is the colour of its edge, empty for none."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    stroke: str = ""
    thick: float = 0.0


@dataclass(frozen=True)
class Words:
    """A text whose baseline is at y; ``anchor`` is ``"start"``, ``"middle"`` or ``"end"``."""

    x: float
    y: float
    text: str
    size: float
    fill: str
    anchor: str = "start"
    family: str = "sans"
    bold: bool = False
    italic: bool = False


@dataclass(frozen=True)
class Path:
    """A line through points; or, if it is filled, the area in it. ``dash`` is empty, or lengths of strokes and gaps."""

    points: Sequence[tuple[float, float]]
    stroke: str = ""
    thick: float = 0.0
    dash: Sequence[float] = ()
    fill: str = ""


Piece = Box | Words | Path


@dataclass
class Drawing:
    """Pieces in the order in which they are drawn.

    Attributes:
        width, height: in points, 72 to an inch; y runs down.
        paper: the background colour.
    """

    width: float
    height: float
    paper: str
    pieces: list[Piece] = field(default_factory=list)


def shape(name: str, x: float, y: float, radius: float, fill: str) -> Path:
    """One of the shapes of pins, as a filled path."""

    def ring(count: int, turn: float, radii: Sequence[float] = (1.0,)) -> list[tuple[float, float]]:
        angles = [2 * math.pi * (turn + place / count) for place in range(count)]
        sizes = [radius * radii[place % len(radii)] for place in range(count)]
        return [
            (x + size * math.sin(angle), y - size * math.cos(angle)) for angle, size in zip(angles, sizes, strict=True)
        ]

    arms = [(-1, 3), (1, 3), (1, 1), (3, 1), (3, -1), (1, -1), (1, -3), (-1, -3), (-1, -1), (-3, -1), (-3, 1), (-1, 1)]
    if name == "plus":
        return Path([(x + radius * one / 3, y + radius * other / 3) for one, other in arms], fill=fill)
    if name == "cross":
        scale = radius / 3.6
        return Path([(x + scale * (one - other), y + scale * (one + other)) for one, other in arms], fill=fill)
    points = {
        "circle": lambda: ring(24, 0, (0.85,)),
        "triangle": lambda: ring(3, 0),
        "wedge": lambda: ring(3, 0.5),
        "square": lambda: ring(4, 0.125),
        "diamond": lambda: ring(4, 0),
        "star": lambda: ring(10, 0, (1.15, 0.5)),
    }
    return Path(points[name](), fill=fill)


def units(text: str) -> int:
    """How many characters wide a text is; wide characters, such as Chinese and emoji, count twice."""
    return len(text) + len(_WIDE.findall(text))


def wide(text: str) -> float:
    """About how wide a text in DejaVu Sans is, over the font size."""
    rest = len(text)
    whole = 0.0
    for pattern, width in _SANS:
        found = len(pattern.findall(text))
        rest -= found
        whole += width * found
    return whole + 0.62 * rest


def cut_to(text: str, room: int) -> str:
    """A text cut to this many units, with a sign that there is more."""
    if units(text) <= room:
        return text
    kept, used = "", 0
    for each in text:
        used += units(each)
        if used > room - 1:
            break
        kept += each
    return f"{kept}…"


def wrapped(text: str, room: float, first: float | None = None) -> list[str]:
    """A text in DejaVu Sans as lines, broken at spaces; a longer word is cut.

    Args:
        room: how wide a line may be, over the font size.
        first: the same for the first line.
    """
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        is_narrow = not lines and first is not None
        more = f"{line} {word}" if line else _shortened(word, room)
        if wide(more) > (first if is_narrow and first is not None else room) and (line or is_narrow):
            lines.append(line)
            more = _shortened(word, room)
        line = more
    return [*lines, line]


def _shortened(word: str, room: float) -> str:
    """A word, cut if it is wider than that."""
    count = min(len(word), int(room / 0.37) + 1)
    cut = word
    while wide(cut) > room and count > 1:
        count -= 1
        cut = f"{word[:count]}…"
    return cut


def svg(drawing: Drawing, title: str) -> str:
    """A drawing as SVG, with points as units, and with real text."""
    size = f'width="{_number(drawing.width)}pt" height="{_number(drawing.height)}pt"'
    view = f'viewBox="0 0 {_number(drawing.width)} {_number(drawing.height)}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {view} xml:space="preserve">',
            f"<title>{_escaped(title)}</title>",
            _of_box(Box(0, 0, drawing.width, drawing.height, drawing.paper)),
            *map(_element, drawing.pieces),
            "</svg>\n",
        ]
    )


def _element(piece: Piece) -> str:
    if isinstance(piece, Box):
        return _of_box(piece)
    return _of_words(piece) if isinstance(piece, Words) else _of_path(piece)


def _of_box(box: Box) -> str:
    edge = f' stroke="{box.stroke}" stroke-width="{_number(box.thick)}"' if box.stroke else ""
    x, y, width, height = map(_number, (box.x, box.y, box.width, box.height))
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{box.fill or "none"}"{edge}/>'


def _of_words(words: Words) -> str:
    style = (' font-weight="bold"' if words.bold else "") + (' font-style="italic"' if words.italic else "")
    font = f'font-family="{FAMILIES[words.family]}" font-size="{_number(words.size)}"{style}'
    place = f'x="{_number(words.x)}" y="{_number(words.y)}" text-anchor="{words.anchor}"'
    return f'<text {place} fill="{words.fill}" {font}>{_escaped(words.text)}</text>'


def _of_path(path: Path) -> str:
    points = " ".join(f"{_number(x)},{_number(y)}" for x, y in path.points)
    if path.fill:
        return f'<polygon points="{points}" fill="{path.fill}"/>'
    dash = f' stroke-dasharray="{" ".join(map(_number, path.dash))}"' if path.dash else ""
    return (
        f'<polyline points="{points}" fill="none" stroke="{path.stroke}" stroke-width="{_number(path.thick)}"{dash}/>'
    )


def _number(value: float) -> str:
    """At most two decimals, rounded like the viewer."""
    return f"{math.floor(100 * value + 0.5) / 100:.2f}".rstrip("0").rstrip(".")


def _escaped(text: str) -> str:
    whole = text.encode("utf-8", "replace").decode()
    return html.escape(_ILL_FORMED.sub("", whole)).replace("&#x27;", "'")

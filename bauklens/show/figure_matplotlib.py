"""A drawing -> PDF and PNG by matplotlib. Needs matplotlib."""

import io
from functools import cache
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle
from matplotlib.transforms import Affine2D

from bauklens.show.figure_drawing import Box, Drawing, Path, Piece, Words

_FAMILIES = {"mono": ["DejaVu Sans Mono", "DejaVu Sans"], "sans": ["DejaVu Sans", "DejaVu Sans Mono"]}
"""Both come with matplotlib; the first ones in the user's settings follow."""


def drawn_by_matplotlib(drawing: Drawing, kind: str, dpi: float, title: str) -> bytes:
    """A drawing as a file, ``"pdf"`` or ``"png"``."""
    figure = Figure(figsize=(drawing.width / 72, drawing.height / 72), facecolor=drawing.paper)
    points = Affine2D().scale(1, -1).translate(0, drawing.height).scale(1 / 72) + figure.dpi_scale_trans
    for order, piece in enumerate(drawing.pieces):
        _add(figure, piece, points, order)
    metadata: dict[str, Any] = {"Title": title} | ({"CreationDate": None} if kind == "pdf" else {})
    made = io.BytesIO()
    with mpl.rc_context({"pdf.fonttype": 42, "savefig.bbox": None, "path.simplify": False}):
        figure.savefig(made, format=kind, dpi=dpi, metadata=metadata, facecolor=drawing.paper)
    return made.getvalue()


def _add(figure: Figure, piece: Piece, points: Any, order: int) -> None:
    drawn: Any
    if isinstance(piece, Words):
        style: dict[str, Any] = {
            "weight": "bold" if piece.bold else "normal",
            "style": "italic" if piece.italic else "normal",
        }
        font = FontProperties(family=_families(piece.family), size=piece.size, **style)
        place: dict[str, Any] = {
            "ha": {"start": "left", "middle": "center", "end": "right"}[piece.anchor],
            "va": "baseline",
        }
        figure.text(
            piece.x,
            piece.y,
            piece.text,
            color=piece.fill,
            fontproperties=font,
            transform=points,
            zorder=order,
            parse_math=False,
            **place,
        )
        return
    if isinstance(piece, Box):
        edge: dict[str, Any] = {"edgecolor": piece.stroke or "none", "linewidth": piece.thick, "joinstyle": "miter"}
        drawn = Rectangle((piece.x, piece.y), piece.width, piece.height, facecolor=piece.fill or "none", **edge)
    elif piece.fill:
        drawn = Polygon(list(piece.points), closed=True, facecolor=piece.fill, edgecolor="none")
    else:
        drawn = _line(piece)
    drawn.set(transform=points, zorder=order, antialiased=True)
    figure.add_artist(drawn)


def _line(path: Path) -> Line2D:
    x, y = zip(*path.points, strict=True)
    dashes: dict[str, Any] = {"dashes": [each / path.thick for each in path.dash]} if path.dash else {}
    return Line2D(x, y, color=path.stroke, linewidth=path.thick, solid_capstyle="butt", dash_capstyle="butt", **dashes)


def _families(family: str) -> list[str]:
    """The fonts of a text: DejaVu, and the user's own, if they are installed, for what DejaVu lacks."""
    known = {font.name for font in fontManager.ttflist}
    own = [name for name in mpl.rcParams["font.family"] if name in known]
    return [*dict.fromkeys([*_FAMILIES[family], *own])]


def written_out(text: str) -> str:
    """A text in which every character that no font has is written as ⟨U+4E2D⟩."""
    fonts = _families("mono")
    return "".join(each if each.isascii() or _has(tuple(fonts), each) else f"⟨U+{ord(each):04X}⟩" for each in text)


@cache
def _has(fonts: tuple[str, ...], character: str) -> bool:
    return any(ord(character) in _characters(font) for font in fonts)


@cache
def _characters(font: str) -> frozenset[int]:
    path = fontManager.findfont(FontProperties(family=[font]))
    return frozenset(get_font(path).get_charmap())

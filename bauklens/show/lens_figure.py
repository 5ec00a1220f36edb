"""LensFigure: a table as a figure for a publication, as SVG, PDF and PNG. Only PDF and PNG need matplotlib."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bauklens.arguments import Layers, Positions, chosen_layers, chosen_positions, one_of
from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.result.result import LensResult
from bauklens.result.targets import Which
from bauklens.result.tokens import printable
from bauklens.show.cells import Cell
from bauklens.show.css_colour import Colour, hex_colour
from bauklens.show.figure_colours import CLASSIC, PALETTES, THEMES, Colours
from bauklens.show.figure_drawing import cut_to, svg
from bauklens.show.figure_layout import Plan, drawing_of, room_for
from bauklens.show.figure_notes import figure_notes
from bauklens.show.figure_values import pins_of, scale_of
from bauklens.show.legends import unread_legend
from bauklens.show.nouns import noun

_KINDS = (".svg", ".pdf", ".png")

_WIDTHS, _FONTS, _DPI = (20, 2000), (3, 40), (20, 2400)
"""The least and the largest: millimetres, points, dots per inch."""


class LensFigure:
    """A table as a figure for a publication; a notebook shows it.

    Attributes:
        caption: a caption for it, whether or not it is drawn.
        width, height: in millimetres.
    """

    def __init__(self, result: LensResult, plan: Plan, colours: Colours, caption: str) -> None:
        self._result, self._plan, self._colours = result, plan, colours
        self.caption = caption
        self._drawing = drawing_of(result, plan, colours)
        self.width, self.height = (points / 72 * 25.4 for points in (self._drawing.width, self._drawing.height))

    def __repr__(self) -> str:
        return f"<LensFigure: {self.width:.0f} x {self.height:.0f} mm>"

    def svg(self) -> str:
        """The figure as SVG, with real text, in DejaVu Sans Mono or the reader's own fonts."""
        return svg(self._drawing, self.caption)

    def png(self, dpi: float = 300) -> bytes:
        """The figure as PNG.

        Args:
            dpi: dots per inch, 20..2400.

        Raises:
            LensError: matplotlib is not installed, or the dpi are out of range.
        """
        return self._drawn("png", _between("dpi", dpi, _DPI))

    def pdf(self) -> bytes:
        """The figure as PDF, with real text.

        Raises:
            LensError: matplotlib is not installed.
        """
        return self._drawn("pdf", 72)

    def save(self, path: str | Path, *, dpi: float = 300) -> None:
        """Writes the figure to a file.

        Args:
            path: the file to write, atomically; it ends in ``.svg``, ``.pdf`` or ``.png``.
            dpi: dots per inch for a PNG, 20..2400.

        Raises:
            LensError: the path ends in something else, matplotlib is not installed, or the dpi are out of range.
        """
        kind = Path(path).suffix.lower()
        if kind not in _KINDS:
            raise LensError(f"a figure is saved as {', '.join(_KINDS)}, and {str(path)!r} ends in none of them")
        made = self.png(dpi) if kind == ".png" else self.pdf() if kind == ".pdf" else self.svg().encode()
        write_atomically(path, made)

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_png_(self) -> bytes:
        return self.png(144)

    def _drawn(self, kind: str, dpi: float) -> bytes:
        try:
            from bauklens.show.figure_matplotlib import drawn_by_matplotlib, written_out
        except ImportError:
            raise LensError("a figure as PDF or PNG needs matplotlib: pip install matplotlib") from None
        plan = replace(self._plan, written=written_out)
        return drawn_by_matplotlib(drawing_of(self._result, plan, self._colours), kind, dpi, self.caption)


LensFigure.__module__ = "bauklens"


def lens_figure(
    result: LensResult,
    *,
    layers: Layers,
    positions: Positions,
    pins: Sequence[Which],
    colour: str,
    charts: bool,
    width: float,
    font_size: float,
    palette: str,
    theme: str,
    color: Colour | None,
    title: str | None,
    caption: "str | bool | None",
    notes: Mapping[Cell, str] | None,
) -> LensFigure:
    """The figure of a result; arguments as for :meth:`bauklens.LensResult.figure`.

    Raises:
        LensError: an argument is out of range, a pin or a cell is not known, or the columns do not fit.
    """
    one_of("palette", palette, PALETTES)
    one_of("theme", theme, THEMES)
    points = _between("width", width, _WIDTHS) / 25.4 * 72
    font = _between("font_size", font_size, _FONTS)
    found = pins_of(result, pins)
    scale = scale_of(result, colour, found)
    if colour == "classic" and palette != "default":
        raise LensError("the classic look has colours of its own: leave out palette")
    if colour != "classic" and color is not None:
        raise LensError(
            f"color={color!r} needs the classic look: pass colour='classic' too, or leave it out (colour= is what the "
            "background shows)"
        )
    rows = chosen_layers(result.layers, layers)
    columns, note = _columns(result, rows, positions, points, font)
    made = _caption(result, rows, columns)
    plan = Plan(
        rows=rows,
        columns=columns,
        pins=found,
        scale=scale,
        classic=colour == "classic",
        chart_column=_chart_column(result, columns) if charts else None,
        width=points,
        font=font,
        title=printable(title or ""),
        caption=made if caption is True else printable(caption or ""),
        notes=[*filter(None, (note, unread_legend(result.part(result.layers, columns)), _unmapped(result, rows)))],
        on_cells=figure_notes(result, notes, rows, columns),
        written=_as_it_is,
    )
    return LensFigure(result, plan, Colours(palette, theme, CLASSIC if color is None else hex_colour(color)), made)


def _as_it_is(text: str) -> str:
    return text


def _between(name: str, value: Any, ends: tuple[float, float]) -> float:
    low, high = ends
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise LensError(f"{name} is {value!r}: pass a number from {low:,} to {high:,}")
    return float(value)


def _columns(
    result: LensResult, rows: Sequence[int], wanted: Positions, width: float, font: float
) -> tuple[list[int], str]:
    """The columns of a figure, and a note if these are the last ones that fit."""
    count = len(result.positions)
    if wanted is None:
        room = max(1, room_for(result, rows, width, font))
        columns = list(range(max(0, count - room), count))
        return columns, f"the last {len(columns)} of {count} positions" if len(columns) < count else ""
    if isinstance(wanted, slice):
        return chosen_positions(count, wanted), ""
    each_wanted = [wanted] if not hasattr(wanted, "__iter__") else list(wanted)
    if not each_wanted:
        raise LensError("positions is empty: pass at least one, or None for all that fit")
    columns = [result.column_of(each) for each in each_wanted]
    if len(set(columns)) < len(columns):
        raise LensError("a position is given twice: pass it once")
    return columns, ""


def _chart_column(result: LensResult, columns: Sequence[int]) -> int:
    """The main position if it is shown, else the last one shown."""
    main = result.column_of(None)
    return main if main in columns else columns[-1]


def _unmapped(result: LensResult, rows: Sequence[int]) -> str:
    shown = {result.layers[row] for row in rows}
    return "*: the decoder has no map for this row, shown as in the logit lens" if shown & set(result.unmapped) else ""


def _caption(result: LensResult, rows: Sequence[int], columns: Sequence[int]) -> str:
    """What a figure shows, in sentences."""
    from bauklens.show.page import lens_caption

    prompt = cut_to(printable(result.prompt), 300)
    return (
        f"{lens_caption(result)}. Prompt: “{prompt}”. Each cell shows the most probable {noun(result)} at a layer "
        f"(row) and a position (column); {_some('layer', len(rows), len(result.layers))}, "
        f"{_some('position', len(columns), len(result.positions))}."
    )


def _some(name: str, count: int, of: int) -> str:
    names = f"{name}{'' if of == 1 else 's'}"
    return f"{count} of {of} {names}" if count < of else f"all {of} {names}" if of > 1 else f"one {name}"

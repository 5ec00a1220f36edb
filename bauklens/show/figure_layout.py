"""LensResult -> the drawing of a publication figure: the table, its legend, charts and a caption.

``viewer/figurelayout.js`` and ``viewer/figurecells.js`` draw the same, with the same constants: change both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bauklens.errors import LensError
from bauklens.result.columns import column_head, is_part, is_unread
from bauklens.result.result import LensResult
from bauklens.show.figure_chart import charts
from bauklens.show.figure_colours import SHAPES, Colours
from bauklens.show.figure_drawing import BASELINE, CHARACTER, Box, Drawing, Path, Words, cut_to, shape, units, wrapped
from bauklens.show.figure_legend import EDGE, Legend, draw_legend
from bauklens.show.figure_notes import FigureNote, corner_width, draw_corner, draw_notes
from bauklens.show.figure_values import Pin, Scale
from bauklens.show.legends import edited_legend
from bauklens.show.nouns import spelling

MARGIN = 3.0
"""Points around the figure."""

ROW, HEAD, GAP = 1.7, 2.8, 0.6
"""Heights of a row, and of the heads of columns, over the font size; points between cells."""

PAD, SMALL, LEAST = 0.25, 0.82, 0.72
"""Over the font size: room beside a text; a label; the smallest text that is set before a text is cut."""

LONGEST, SHORTEST = 16, 5
"""Characters of the widest and of the narrowest column."""


@dataclass(frozen=True)
class Plan:
    """What a figure shows.

    Attributes:
        rows, columns: places in the table.
        pins: tokens that are followed, in order.
        classic: whether cells have the classic look.
        chart_column: the column shown in the charts; None for no charts.
        width: the width of the figure, in points.
        font: the font size, in points.
        title, caption: texts above and below; empty for none.
        notes: sentences for the legend.
        on_cells: (row, column) -> the note on that cell.
        written: turns a text into what is drawn, such as without characters that no font has.
    """

    rows: Sequence[int]
    columns: Sequence[int]
    pins: Sequence[Pin]
    scale: Scale
    classic: bool
    chart_column: int | None
    width: float
    font: float
    title: str
    caption: str
    notes: Sequence[str]
    on_cells: Mapping[tuple[int, int], FigureNote]
    written: Callable[[str], str]


def room_for(result: LensResult, rows: Sequence[int], width: float, font: float) -> int:
    """How many columns a figure of this width, in points, can show."""
    narrowest = (SHORTEST * CHARACTER * LEAST + 2 * PAD) * font
    return max(0, int((width - 2 * MARGIN - _side(result, rows, font)) / narrowest))


def _side(result: LensResult, rows: Sequence[int], font: float) -> float:
    """The width of the labels of rows."""
    return (max(units(_label(result, row)) for row in rows) * CHARACTER * SMALL + 3 * PAD) * font


def _label(result: LensResult, row: int) -> str:
    layer = result.layers[row]
    return f"{layer}*" if layer in result.unmapped else layer


def drawing_of(result: LensResult, plan: Plan, colours: Colours) -> Drawing:
    """The whole figure.

    Raises:
        LensError: the columns do not fit into the width.
    """
    room = room_for(result, plan.rows, plan.width, plan.font)
    if len(plan.columns) > room:
        raise LensError(
            f"{len(plan.columns)} positions do not fit into {plan.width / 72 * 25.4:.0f} mm at {plan.font:g} pt, of "
            f"which {room} do: choose positions=, a larger width= or a smaller font_size="
        )
    drawing = Drawing(plan.width, 0.0, colours["paper"])
    y = MARGIN
    for line in wrapped(plan.written(plan.title), _room(plan, 1.3)) if plan.title else []:
        drawing.pieces.append(_sans(plan, MARGIN, y + 0.85 * plan.font, line, colours["ink"], 1.15, bold=True))
        y += 1.7 * plan.font
    y = _table(result, plan, colours, drawing, y)
    y = draw_legend(drawing, _legend(result, plan), colours, (MARGIN, y + 0.7 * plan.font), plan.font)
    if plan.chart_column is not None:
        y = charts(drawing, result, plan, colours, (MARGIN, y + 0.9 * plan.font))
    if plan.caption:
        y += 0.7 * plan.font
        for line in wrapped(plan.written(plan.caption), _room(plan, 1)):
            drawing.pieces.append(_sans(plan, MARGIN, y + 0.75 * plan.font, line, colours["ink"], 1))
            y += 1.4 * plan.font
    if plan.on_cells:
        there = (MARGIN, y + 0.7 * plan.font, plan.width - 2 * MARGIN)
        y = draw_notes(drawing, list(plan.on_cells.values()), colours, there, plan.font, plan.written)
    drawing.height = y + MARGIN
    return drawing


def _room(plan: Plan, size: float) -> float:
    """The width of a line of ordinary text, over its size."""
    return (plan.width - 2 * MARGIN) / (size * plan.font)


def _sans(plan: Plan, x: float, middle: float, text: str, fill: str, size: float, bold: bool = False) -> Words:
    return Words(x, middle + BASELINE * size * plan.font, text, size * plan.font, fill, bold=bold)


def _legend(result: LensResult, plan: Plan) -> Legend:
    edited = result.edited_cells[np.ix_(plan.rows, plan.columns)].any()
    return Legend(
        scale=plan.scale,
        classic=plan.classic,
        pins=[(pin.place, plan.written(pin.text)) for pin in plan.pins],
        framed=any(bool((pin.best[np.ix_(plan.rows, plan.columns)] == 1).any()) for pin in plan.pins),
        generated=bool(result.generated[list(plan.columns)].any()),
        edited=plan.written(edited_legend(result)) if edited else "",
        notes=plan.notes,
        width=plan.width - 2 * MARGIN,
    )


def _table(result: LensResult, plan: Plan, colours: Colours, drawing: Drawing, top: float) -> float:
    """Draws the heads and the cells; returns the y below them."""
    font, side = plan.font, _side(result, plan.rows, plan.font)
    texts = {
        token: plan.written(spelling(result)(result.vocabulary[token][:200]))
        for token in np.unique(result.top_ids[np.ix_(plan.rows, plan.columns)][..., 0]).tolist()
    }
    heads = [plan.written(column_head(result, column)) for column in plan.columns]
    widest = min(LONGEST, max(map(units, [*texts.values(), *heads])) + (2 if plan.pins else 0))
    left = MARGIN + side
    width = min((plan.width - MARGIN - left) / len(plan.columns), (max(widest, SHORTEST) * CHARACTER + 2 * PAD) * font)
    body = top + HEAD * font
    for place, column in enumerate(plan.columns):
        _head(drawing, result, plan, colours, column, heads[place], (left + width * place, top, width))
    for place, row in enumerate(plan.rows):
        y = body + ROW * font * place
        middle = y + (ROW * font - GAP) / 2 + BASELINE * SMALL * font
        label = plan.written(_label(result, row))
        drawing.pieces.append(
            Words(left - PAD * font, middle, label, SMALL * font, colours["soft"], anchor="end", family="mono")
        )
        for across, column in enumerate(plan.columns):
            box = (left + width * across, y, width - GAP, ROW * font - GAP)
            _cell(drawing, result, plan, colours, (row, column), texts, box)
    bottom = body + ROW * font * len(plan.rows)
    if plan.classic:  # the classic layout repeats the headings at the bottom
        for place, column in enumerate(plan.columns):
            _head(drawing, result, plan, colours, column, heads[place], (left + width * place, bottom, width))
        bottom += HEAD * font
    generated = [place for place, column in enumerate(plan.columns) if result.generated[column]]
    if generated:
        x = left + width * generated[0] - GAP / 2
        drawing.pieces.append(Path([(x, top), (x, bottom - GAP)], colours["ink"], 0.15 * font))
    return bottom


def _head(
    drawing: Drawing,
    result: LensResult,
    plan: Plan,
    colours: Colours,
    column: int,
    text: str,
    place: tuple[float, float, float],
) -> None:
    (x, y, width), font = place, plan.font
    generated = bool(result.generated[column])
    kind = "generated" if generated else "part" if is_part(result, column) else "token"
    kind = "unread" if is_unread(result, column) else kind
    drawing.pieces.append(Box(x, y, width - GAP, HEAD * font - GAP, colours[kind]))
    middle = x + (width - GAP) / 2
    small = 0.75 * font
    number = str(int(result.positions[column]))
    drawing.pieces.append(
        Words(middle, y + 0.75 * font + BASELINE * small, number, small, colours["soft"], "middle", "mono")
    )
    shown, size = fitted(text, width - GAP - 2 * PAD * font, font)
    baseline = y + 1.85 * font + BASELINE * size
    drawing.pieces.append(
        Words(middle, baseline, shown, size, colours["ink"], "middle", "mono", bold=True, italic=generated)
    )


def _cell(
    drawing: Drawing,
    result: LensResult,
    plan: Plan,
    colours: Colours,
    cell: tuple[int, int],
    texts: dict[int, str],
    box: tuple[float, float, float, float],
) -> None:
    (x, y, width, height), font, scale = box, plan.font, plan.scale
    unread = is_unread(result, cell[1])
    part = float(scale.parts[cell])
    none = part != part
    share = 0.0 if scale.bars is None else float(scale.bars[cell])
    if plan.classic:
        fill, ink = colours.classic(part, share, unread)
    else:
        fill = colours["paper"] if none else colours.background(part, unread)
        ink = colours["ink"] if none else colours.text(part, fill, unread)
    drawing.pieces.append(Box(x, y, width, height, fill))
    if none:
        drawing.pieces.append(Path([(x, y + height), (x + width, y)], colours["line"], 0.1 * font))
    if share > 0 and not plan.classic:
        thick = 0.2 * font
        drawing.pieces.append(Box(x, y + height - thick, share * width, thick, colours.bar(ink, unread)))
    mark, seen = marked(plan.pins, cell), colours.inside if plan.classic else colours
    if mark is not None and mark.best[cell] == 1:
        edge = 0.14 * font
        inner = (x + edge / 2, y + edge / 2, width - edge, height - edge)
        drawing.pieces.append(Box(*inner, "", seen.pins[mark.place], edge))
    if result.edited_cells[cell]:
        drawing.pieces.append(Box(x, y, EDGE * font, height, seen["ink"]))
    note = plan.on_cells.get(cell)
    if note is not None:
        draw_corner(drawing, note, seen, (x, y, width), font)
        width -= corner_width(note, font)
    aside = 0.0 if mark is None else 0.85 * font
    text, size = fitted(texts[int(result.top_ids[cell][0])], width - aside - 2 * PAD * font, font)
    start = x + (width - aside - units(text) * CHARACTER * size) / 2
    middle = y + height / 2
    if mark is not None:
        centre = (start + 0.35 * font, middle)
        drawing.pieces.append(shape("circle", *centre, 0.5 * font, seen["paper"]))
        drawing.pieces.append(shape(SHAPES[mark.place], *centre, 0.36 * font, seen.pins[mark.place]))
    place = x + (width + aside) / 2
    drawing.pieces.append(Words(place, middle + BASELINE * size - 0.05 * font, text, size, ink, "middle", "mono"))


def fitted(text: str, room: float, font: float) -> tuple[str, float]:
    """A text and its size, so that it fits into this many points: smaller if needed, and then cut."""
    need = units(text) * CHARACTER * font
    if need <= room:
        return text, font
    size = max(LEAST * font, font * room / need)
    return cut_to(text, max(1, int(room / (CHARACTER * size) + 0.001))), size


def marked(pins: Sequence[Pin], cell: tuple[int, int]) -> Pin | None:
    """The pin that a cell shows: the best of those in its top k."""
    found = [pin for pin in pins if pin.best[cell]]
    return min(found, key=lambda pin: int(pin.best[cell])) if found else None

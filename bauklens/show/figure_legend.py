"""The legend of a publication figure. ``viewer/figurelegend.js`` draws the same."""

from collections.abc import Sequence
from dataclasses import dataclass

from bauklens.show.figure_colours import SHAPES, Colours
from bauklens.show.figure_drawing import BASELINE, Box, Drawing, Words, shape, wide, wrapped
from bauklens.show.figure_values import Scale

SIZE = 0.9
"""The size of its texts, over the font size."""

EDGE = 0.25
"""The width of the mark of an edited cell, over the font size."""

_STEPS = 24
"""Steps of the strip of colours."""


@dataclass(frozen=True)
class Legend:
    """The contents of a legend.

    Attributes:
        pins: the place and the text of each.
        framed: whether a pin leads in a cell.
        generated: whether a column was generated.
        edited: what the edge of edited cells means; empty without edits.
        notes: further sentences.
        width: its width in points.
    """

    scale: Scale
    classic: bool
    pins: Sequence[tuple[int, str]]
    framed: bool
    generated: bool
    edited: str
    notes: Sequence[str]
    width: float


def draw_legend(drawing: Drawing, legend: Legend, colours: Colours, at: tuple[float, float], font: float) -> float:
    """Draws a legend from a place on; returns the y below it."""
    row = _Rows(drawing, colours, at, legend.width, font)
    if legend.classic:
        row.words(f"background: {legend.scale.bars_about}; text colour: {legend.scale.about}, 0 to 1")
    else:
        row.strip(legend.scale)
        if legend.scale.bars is not None:
            row.bar(legend.scale.bars_about)
    for place, text in legend.pins:
        row.pin(place, text)
    if legend.framed:
        row.words("framed: it leads" if len(legend.pins) == 1 else "framed: the pin leads")
    if legend.generated:
        row.words("italic, after the line: generated")
    if legend.edited:
        row.edge(legend.edited)
    for note in legend.notes:
        row.words(note)
    return row.y + 1.5 * font


class _Rows:
    """Draws items one after another, in as many lines as they need."""

    def __init__(self, drawing: Drawing, colours: Colours, at: tuple[float, float], width: float, font: float) -> None:
        self.drawing, self.colours, self.font = drawing, colours, font
        (self.left, self.y), self.width = at, width
        self.x = self.left
        self.em = SIZE * font

    def strip(self, scale: Scale) -> None:
        low, high = scale.ends
        length = 8 * self.font
        before, after = (wide(low) + 0.5) * self.em, (wide(high) + 1) * self.em
        x = self.begin(before + length + after + wide(scale.about) * self.em)
        self.text(x, low)
        step = length / _STEPS
        for place in range(_STEPS):
            fill = self.colours.background((place + 0.5) / _STEPS)
            box = Box(x + before + step * place, self.y + 0.3 * self.font, step + 0.2, 0.9 * self.font, fill)
            self.drawing.pieces.append(box)
        self.text(x + before + length + 0.5 * self.em, high)
        self.flow(x + before + length + 0.5 * self.em + after, scale.about)

    def bar(self, about: str) -> None:
        length = 3 * self.font
        x = self.begin(length + (wide(about) + 1) * self.em)
        fill = self.colours.bar(self.colours["ink"])
        self.drawing.pieces.append(Box(x, self.y + 0.65 * self.font, length, 0.2 * self.font, fill))
        self.flow(x + length + self.em, about)

    def pin(self, place: int, text: str) -> None:
        x = self.begin(1.1 * self.font + wide(text) * self.em)
        centre = (x + 0.4 * self.font, self.y + 0.75 * self.font)
        self.drawing.pieces.append(shape(SHAPES[place], *centre, 0.4 * self.font, self.colours.pins[place]))
        self.flow(x + 1.1 * self.font, text)

    def edge(self, about: str) -> None:
        x = self.begin((EDGE + 0.5) * self.font + wide(about) * self.em)
        box = Box(x, self.y + 0.3 * self.font, EDGE * self.font, 0.9 * self.font, self.colours["ink"])
        self.drawing.pieces.append(box)
        self.flow(x + (EDGE + 0.5) * self.font, about)

    def words(self, text: str) -> None:
        self.flow(self.begin(wide(text) * self.em), text)

    def begin(self, width: float) -> float:
        """The x of an item of that width: on this line if it fits, else on the next one."""
        if self.x > self.left and self.x + width > self.left + self.width:
            self.x, self.y = self.left, self.y + 1.5 * self.font
        return self.x

    def flow(self, x: float, text: str) -> None:
        """Draws a text from an x on; if it does not fit, it continues on the next lines."""
        lines = wrapped(text, self.width / self.em, (self.left + self.width - x) / self.em)
        for number, line in enumerate(lines):
            if number:
                x, self.y = self.left, self.y + 1.5 * self.font
            if line:
                self.text(x, line)
        self.x = x + (wide(lines[-1]) + 1.6) * self.em

    def text(self, x: float, text: str) -> None:
        size = SIZE * self.font
        y = self.y + 0.75 * self.font + BASELINE * size
        self.drawing.pieces.append(Words(x, y, text, size, self.colours["soft"]))

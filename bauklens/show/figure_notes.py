"""Notes on the cells of a publication figure: a number in the cell's corner, and a list below the caption.

``viewer/figurenotes.js`` draws the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bauklens.result.columns import column_name
from bauklens.result.result import LensResult
from bauklens.result.tokens import printable
from bauklens.show.cell_notes import checked_notes
from bauklens.show.cells import Cell
from bauklens.show.figure_colours import Colours
from bauklens.show.figure_drawing import BASELINE, CHARACTER, Box, Drawing, Words, wrapped
from bauklens.show.nouns import layer_called

_NUMBER, _TAB, _HIGH = 0.62, 0.3, 0.85
"""Over the font size: the size of a number in a corner, the room beside it, and the height of the corner."""

_LINE = 1.4
"""The size of the list, over the font size."""


@dataclass(frozen=True)
class FigureNote:
    """A note on a cell that the figure shows.

    Attributes:
        number: from 1, in the order of the figure's cells.
        told: the cell in words, and the note.
    """

    number: int
    told: str


def figure_notes(
    result: LensResult, wanted: Mapping[Cell, str] | None, rows: Sequence[int], columns: Sequence[int]
) -> dict[tuple[int, int], FigureNote]:
    """(row, column) -> the note on that cell, for the cells that a figure shows.

    Raises:
        LensError: a note is not a text of 1..500 characters, there are too many, or the table lacks a cell.
    """
    positions = result.positions.tolist()
    texts = {
        (result.layers.index(layer), positions.index(position)): text
        for layer, position, text in checked_notes([result], wanted)
    }
    shown = [(row, column) for row in rows for column in columns if (row, column) in texts]
    return {
        cell: FigureNote(number, f"{_called(result, *cell)}: {printable(texts[cell])}")
        for number, cell in enumerate(shown, 1)
    }


def _called(result: LensResult, row: int, column: int) -> str:
    layer = layer_called(result.layers[row])
    return f"{layer}, position {int(result.positions[column])}, {column_name(result, column)}"


def corner_width(note: FigureNote | None, font: float) -> float:
    """How much of a cell's width the number of its note takes, in points."""
    return 0.0 if note is None else (len(str(note.number)) * CHARACTER * _NUMBER + _TAB) * font


def draw_corner(
    drawing: Drawing, note: FigureNote, colours: Colours, cell: tuple[float, float, float], font: float
) -> None:
    """Draws the number of a note into the upper right corner of a cell, given as x, y and width."""
    x, y, width = cell
    tab = corner_width(note, font)
    drawing.pieces.append(Box(x + width - tab, y, tab, _HIGH * font, colours["ink"]))
    middle, baseline = x + width - tab / 2, y + _HIGH * font / 2 + BASELINE * _NUMBER * font
    number, size = str(note.number), _NUMBER * font
    drawing.pieces.append(Words(middle, baseline, number, size, colours["paper"], "middle", "mono", bold=True))


def draw_notes(
    drawing: Drawing,
    notes: Sequence[FigureNote],
    colours: Colours,
    place: tuple[float, float, float],
    font: float,
    written: Callable[[str], str],
) -> float:
    """Draws the list of notes; returns the y below it.

    Args:
        place: x, y and width.
        written: turns a text into what is drawn.
    """
    x, y, width = place
    side = (max((len(str(note.number)) for note in notes), default=0) * CHARACTER + 0.8) * font
    for note in notes:
        baseline = y + 0.75 * font + BASELINE * font
        number = Words(
            x + side - 0.6 * font, baseline, str(note.number), font, colours["ink"], "end", "mono", bold=True
        )
        drawing.pieces.append(number)
        for line in wrapped(written(note.told), (width - side) / font):
            drawing.pieces.append(Words(x + side, y + 0.75 * font + BASELINE * font, line, font, colours["ink"]))
            y += _LINE * font
    return y

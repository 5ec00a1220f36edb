"""What the columns of a result are called: tokens, or the parts of a picture that they read. Needs no torch."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bauklens.result.tokens import column_heads, printable, visible

if TYPE_CHECKING:
    from bauklens.result.result import LensResult

_PLACE = re.compile(r", row (\d+), column (\d+)$")

TIMES = "\u00d7"
"""Between the rows and the columns of a picture."""

_BETWEEN = 2
"""Columns that may lie between two of one picture and are folded with them: the ends of its rows."""


@dataclass(frozen=True)
class Band:
    """Columns that read one picture, one after another; a table can show them as one.

    Attributes:
        name: of the picture, such as ``"image 1"``.
        picture: its place among the pictures of the result.
        first: the first column, by its place in the table.
        last: the last column.
        size: its rows and columns, such as 24 and 24, or ``"32 positions"``.
    """

    name: str
    picture: int
    first: int
    last: int
    size: str

    @property
    def columns(self) -> range:
        """The places of the band's columns in the table."""
        return range(self.first, self.last + 1)


def is_part(result: "LensResult", column: int) -> bool:
    """Whether a column reads a part of a picture, or something else that is not a token."""
    return bool(result.columns) and bool(result.columns[column])


def is_unread(result: "LensResult", column: int) -> bool:
    """Whether the model returns logits of another position only, so that nothing of its own confirms a column."""
    only = result.check.get("only_position")
    return only is not None and int(result.positions[column]) != only


def column_name(result: "LensResult", column: int) -> str:
    """What a column is called, for display: what it reads, such as ``"image 1, row 3, column 5"``, or its token."""
    if is_part(result, column):
        return printable(result.columns[column])
    token, (_, whole) = visible(result.tokens[column]), _character(result, column)
    return f"{token}, part of {visible(whole)}" if whole else token


def column_head(result: "LensResult", column: int) -> str:
    """The same, as short as a column's head needs it: ``"3·5"`` for row 3, column 5 of a picture.

    A character of several tokens is shown over the first of them.
    """
    if not is_part(result, column):
        return visible(_character(result, column)[0])
    name = column_name(result, column)
    place = _PLACE.search(name)
    return f"{place[1]}·{place[2]}" if place else name


def _character(result: "LensResult", column: int) -> tuple[str, str]:
    """What a column's head shows, and the character that its token is a part of, which takes at most four tokens."""
    token = result.tokens[column]
    if "⟨" not in token:
        return token, ""
    first = max(0, column - 3)
    near = slice(first, column + 4)
    return column_heads(result.tokens[near], result.positions[near].tolist())[column - first]


def bands_of(result: "LensResult") -> list[Band]:
    """The pictures of a result as bands of columns, in the order of the table.

    A picture has several if something else lies between its columns. A single column is not a band.
    """
    of = {int(position): place for place, each in enumerate(result.pictures) for position in each.positions}
    pictures = [of.get(int(position)) for position in result.positions]
    bands = []
    for place, picture in enumerate(result.pictures):
        columns = [column for column, each in enumerate(pictures) if each == place]
        runs = _runs(columns, pictures)
        rows, across = picture.grid.shape
        whole = len(runs) == 1 and picture.grid.size > 0
        for run in runs:
            size = f"{rows} {TIMES} {across}" if whole else f"{len(run)} positions"
            if len(run) > 1:
                bands.append(Band(printable(picture.name), place, run[0], run[-1], size))
    return sorted(bands, key=lambda band: band.first)


def _runs(columns: Sequence[int], pictures: Sequence[int | None]) -> list[list[int]]:
    """Columns of one picture, split wherever more than the ends of its rows lies between them."""
    runs: list[list[int]] = []
    for column in columns:
        between = pictures[runs[-1][-1] + 1 : column] if runs else []
        if runs and len(between) <= _BETWEEN and not any(each is not None for each in between):
            runs[-1].append(column)
        else:
            runs.append([column])
    return runs

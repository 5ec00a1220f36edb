"""Which columns a static table shows separately, and which together as the band of a picture."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from bauklens.result.columns import Band, bands_of
from bauklens.result.result import LensResult

_Thing = TypeVar("_Thing", bound=Hashable)

MOST_SHOWN = 40
"""The most columns of pictures that a static table shows separately."""


def folded(result: LensResult) -> list[int | Band]:
    """The columns of a static table: places of columns, and bands if the pictures have too many columns."""
    bands = bands_of(result)
    if sum(len(band.columns) for band in bands) <= MOST_SHOWN:
        bands = []
    inside = {column: band for band in bands for column in band.columns}
    columns = range(len(result.positions))
    return [*dict.fromkeys(inside.get(column, column) for column in columns)]


def folded_in_words(shown: Sequence[int | Band]) -> str:
    """A sentence about what was folded; empty if nothing was."""
    bands = [each for each in shown if isinstance(each, Band)]
    if not bands:
        return ""
    count = sum(len(band.columns) for band in bands)
    what = f"{bands[0].name} is one column" if len(bands) == 1 else f"{bands[0].name} and others are one column each"
    return (
        f"Without JavaScript, {what} ({count:,} positions), which shows the most frequent prediction and how often it "
        "occurs; its colours are means. The viewer opens it."
    )


def commonest(things: Iterable[_Thing]) -> list[tuple[_Thing, int]]:
    """Each thing and how often it occurs, most often first; of equals, in their order."""
    return Counter(things).most_common()

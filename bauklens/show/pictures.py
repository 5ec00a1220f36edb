"""The pictures of results, in a page without script and for the viewer."""

from collections.abc import Sequence
from typing import Any

from bauklens.result.columns import TIMES
from bauklens.result.pictures import Picture
from bauklens.result.result import LensResult
from bauklens.result.tokens import printable
from bauklens.show.folding import commonest
from bauklens.show.nouns import noun, spelling

_WIDEST, _MOST_PATCHES = 16, 256
"""The most columns and patches of a picture shown as a table of tokens; those of a larger one are counted."""

_LISTED = 8

_LONGEST = 40
"""The most characters of a token in such a table."""


def pictures_of(lenses: Sequence[LensResult]) -> list[tuple[Picture, LensResult]]:
    """Each picture of some results once, with the first result that has it."""
    found: dict[Any, tuple[Picture, LensResult]] = {}
    for lens in lenses:
        for picture in lens.pictures:
            found.setdefault(_key(picture), (picture, lens))
    return list(found.values())


def _key(picture: Picture) -> Any:
    return picture.name, picture.grid.shape, picture.grid.tobytes(), picture.positions.tobytes(), picture.image


def payload(lens: LensResult, lenses: Sequence[LensResult]) -> list[dict[str, Any]]:
    """The pictures of a result for the viewer; ``image`` is the number of the ``<img data-image>`` that shows it."""
    order = [_key(picture) for picture, _ in pictures_of(lenses)]
    return [
        {
            "name": each.name,
            "shown": printable(each.name),
            "grid": each.grid.tolist(),
            "positions": each.positions.tolist(),
            "image": order.index(_key(each)) if each.image else None,
        }
        for each in lens.pictures
    ]


def static_pictures(lenses: Sequence[LensResult]) -> list[dict[str, Any]]:
    """The arguments of the template of pictures: each image, and the top tokens of the last row at its positions."""
    return [_static(picture, lens) for picture, lens in pictures_of(lenses)]


def _static(picture: Picture, lens: LensResult) -> dict[str, Any]:
    columns = {int(position): column for column, position in enumerate(lens.positions)}
    tops = {
        int(position): int(lens.top_ids[-1, columns[int(position)], 0])
        for position in picture.positions
        if int(position) in columns
    }
    probabilities = {position: float(lens.top_probs[-1, columns[position], 0]) for position in tops}
    texts = {token: _cut(spelling(lens)(lens.vocabulary[token])) for token in tops.values()}
    rows, across = picture.grid.shape
    is_small = 0 < across <= _WIDEST and rows * across <= _MOST_PATCHES
    grid = [
        [(texts[tops[position]], f"{probabilities[position]:.3f}") if position in tops else None for position in row]
        for row in picture.grid.tolist()
    ]
    counted = commonest(tops.values())
    more = len(counted) - _LISTED
    return {
        "name": printable(picture.name),
        "url": picture.url,
        "size": f"{rows} {TIMES} {across} patches" if rows else f"{len(picture.positions)} positions",
        "layer": lens.layers[-1],
        "noun": noun(lens),
        "grid": grid if is_small and tops else [],
        "counted": [(texts[token], count) for token, count in counted[:_LISTED]],
        "more": f"and {more:,} others" if more > 0 else "",
        "count": len(tops),
    }


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"

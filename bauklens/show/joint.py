"""The lenses of one viewer together: their names, which columns correspond, and how far apart they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from bauklens.result.comparison import Comparison
from bauklens.result.divergence import js_bound, js_distance
from bauklens.result.naming import short_names
from bauklens.result.result import LensResult
from bauklens.result.tokens import printable
from bauklens.show.legends import distance_legend

MOST_BESIDE = 6
"""The most lenses that a viewer shows side by side, and compares in pairs."""

_ATTRIBUTES = ("stream", "decoder", "model", "prompt", "edited", "norm")


@dataclass(frozen=True)
class Name:
    """The short name of a lens, and its full name."""

    short: str
    full: str


@dataclass(frozen=True)
class Joint:
    """What the viewer needs to know about several lenses together.

    Attributes:
        paired: whether their columns correspond to each other.
        linked: for each lens, the shared names of its columns: their positions in the first lens.
        axis: the names of all columns, in order, if some are only in one lens.
        between: for each lens, ``"OTHER NAME"`` -> a measure of it and another together, (layer, position of the lens).
        legends: for each lens, the number of another -> what the distance between them is.
        compared: whether they are the two of a comparison.
    """

    paired: bool
    linked: list[list[int]]
    axis: list[int]
    between: list[dict[str, np.ndarray]]
    legends: list[dict[str, str]]
    compared: bool = False

    def head(self, place: int) -> dict[str, Any]:
        """The part about one lens."""
        return {
            "paired": self.paired,
            "compared": self.compared,
            "linked": self.linked[place],
            "axis": self.axis,
            "between": [*self.between[place]],
            "legends": self.legends[place],
        }


def joint(lenses: Sequence[LensResult], comparison: Comparison | None = None) -> Joint:
    """How lenses relate to each other; those of a comparison are the two whole ones."""
    if comparison is not None:
        return _of_two(lenses, comparison)
    first = lenses[0]
    paired = all(np.array_equal(first.positions, each.positions) for each in lenses)
    paired = paired and all(set(first.layers) & set(each.layers) for each in lenses)
    between: list[dict[str, np.ndarray]] = [{} for _ in lenses]
    legends: list[dict[str, str]] = [{} for _ in lenses]
    if paired and len(lenses) <= MOST_BESIDE and len({lens.predicts for lens in lenses}) == 1:
        for (place, one), (there, other) in combinations(enumerate(lenses), 2):
            between[place][f"{there} distance"] = _apart(one, other)
            legends[place][str(there)] = distance_legend(False)
    return Joint(paired, [lens.positions.tolist() for lens in lenses], [], between, legends)


def _apart(one: LensResult, other: LensResult) -> np.ndarray:
    """The least distance in every cell of one lens; NaN in rows that the other does not have."""
    rows = [row for row, layer in enumerate(one.layers) if layer in other.layers]
    layers = [one.layers[row] for row in rows]
    columns = range(len(one.positions))
    distance = np.full(one.magnitude.shape, np.nan, dtype=np.float32)
    if rows:
        distance[rows] = js_distance(js_bound(one.part(layers, columns), other.part(layers, columns)))
    return distance


def _of_two(lenses: Sequence[LensResult], comparison: Comparison) -> Joint:
    one = lenses[0]
    alignment = comparison.alignment or [(place, place) for place in range(len(one.positions))]
    free = int(one.positions.max()) + 1
    axis = []
    linked: list[list[int]] = [[], []]
    for here, there in alignment:
        name = free if here is None else int(one.positions[here])
        free += here is None
        axis.append(name)
        for names, place in zip(linked, (here, there), strict=True):
            if place is not None:
                names.append(name)
    kept = [here for here, there in alignment if here is not None and there is not None]
    between = {}
    for measure, value in {"distance": comparison.distance, **comparison.measures}.items():
        between[f"1 {measure}"] = np.full(one.magnitude.shape, np.nan, dtype=np.float32)
        between[f"1 {measure}"][:, kept] = value
    legends = [{"1": distance_legend(comparison.distance_is_known)}, {}]
    gaps = any(None in pair for pair in alignment)
    return Joint(True, linked, axis if gaps else [], [between, {}], legends, compared=True)


def names_of(lenses: Sequence[LensResult]) -> list[Name]:
    """Names that distinguish lenses: all that they differ in, and a number if they differ in nothing."""
    differ = [name for name in _ATTRIBUTES if len({getattr(lens, name) for lens in lenses}) > 1]
    for name in differ:
        one = [str(getattr(lens, name)) for lens in lenses]
        if len(set(one)) == len(one):
            return _named(short_names(one, name), one)
    all_of_it = [", ".join(str(getattr(lens, name)) for name in differ) for lens in lenses]
    if len(set(all_of_it)) == len(lenses) > 1:
        return _named(all_of_it, all_of_it)
    numbered = [f"{lens.stream} {number}" for number, lens in enumerate(lenses, 1)]
    return _named(numbered, numbered)


def names_of_two(comparison: Comparison) -> list[Name]:
    """Names that distinguish the lenses of a comparison."""
    return _named(comparison.short_names, comparison.names)


def _named(short: Sequence[str], full: Sequence[str]) -> list[Name]:
    return [Name(printable(one), printable(whole)) for one, whole in zip(short, full, strict=True)]


def whole_lenses(comparison: Comparison) -> list[LensResult]:
    """The lenses of a comparison with all their columns, if these are known."""
    return [*(comparison.whole or (comparison.one, comparison.other))]

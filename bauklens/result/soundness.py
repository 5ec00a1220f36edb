"""Checks that the parts of a result make sense together. Needs no torch."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from bauklens.result.checked import require_sound_check
from bauklens.result.frozen import require
from bauklens.text_ids import is_unicode

if TYPE_CHECKING:
    from bauklens.result.result import LensResult


_TABLE = 1 << 20
"""Distinct ids in a range of this size are found with a table, which is much faster than sorting."""


def require_sound(result: "LensResult") -> None:
    """Refuses a result whose parts do not match, or that has impossible values; targets check themselves when made.

    Raises:
        LensError: the message names the part, and what is wrong with it.
    """
    _require_matching_shapes(result)
    _require_sense(result)


def require_unicode(what: str, names: Iterable[str]) -> None:
    """Refuses names that cannot be written as UTF-8; texts of tokens may be like that."""
    require(all(map(is_unicode, names)), f"the name of {what} is not valid Unicode: it contains half a surrogate pair")


def _distinct(ids: np.ndarray) -> list[int]:
    """Ids, each once."""
    lowest = int(ids.min())
    span = int(ids.max()) - lowest + 1
    if span > max(_TABLE, ids.size):
        return np.unique(ids).tolist()  # type: ignore[no-any-return]
    seen = np.zeros(span, bool)
    seen[ids - lowest] = True
    return (np.flatnonzero(seen) + lowest).tolist()  # type: ignore[no-any-return]


def _require_matching_shapes(result: "LensResult") -> None:
    grid = (len(result.layers), len(result.tokens))
    shapes = {
        "token_ids": result.token_ids.shape == grid[1:],
        "positions": result.positions.shape == grid[1:],
        "top_ids": result.top_ids.ndim == 3 and result.top_ids.shape[:2] == grid and result.top_ids.shape[2] > 0,
        "top_probs": result.top_probs.shape == result.top_ids.shape,
    }
    for name, right in shapes.items():
        found = getattr(result, name).shape
        require(right, f"{name} has shape {found}, which does not match {grid[0]} layers and {grid[1]} positions")


def _require_sense(result: "LensResult") -> None:
    require(min(len(result.layers), len(result.tokens)) > 0, "it has no cells")
    require(len(set(result.layers)) == len(result.layers), "a layer is given twice")
    require_unicode("a layer", result.layers)
    require(bool((result.positions >= 0).all()), "a position is negative")
    start = result.generated_from
    require(start is None or (type(start) is int and start > 0), "generated_from is not a position")
    require(bool(((result.top_probs >= 0) & (result.top_probs < 1.001)).all()), "a probability is outside 0..1")
    lengths = np.isfinite(result.magnitude) & (result.magnitude >= 0)
    unknown = result.magnitudes_are_unknown and "source" in result.provenance
    require(bool(lengths.all()) or unknown, "a magnitude is not a length")
    require_sound_check(result.check)
    kinds = set(map(type, result.vocabulary.values()))
    require(all(issubclass(each, str) for each in kinds), "the vocabulary contains values that are not text")
    tracked = [] if result.tracked is None else result.tracked.token_ids.tolist()
    missing = {*_distinct(result.top_ids), *tracked} - set(result.vocabulary)
    require(not missing, f"the vocabulary has no text for token id {min(missing, default=0)}")

"""The legend of a table: its colours, bars and marks."""

from collections.abc import Sequence

import numpy as np

from bauklens.result.columns import is_unread
from bauklens.result.result import LensResult
from bauklens.result.tokens import printable
from bauklens.show.numbers import readable_magnitude

_LONGEST = 100
"""The most characters about what was edited; a note below the table has the full text."""


def largest_magnitude(result: LensResult) -> float:
    """The largest magnitude from position 1 on, as position 0 dwarfs all others, unless it is the only one."""
    later = result.magnitude[:, result.positions >= 1]
    magnitudes = later if later.size else result.magnitude
    return float(np.nan_to_num(magnitudes).max(initial=0.0))


def quality_legend(result: LensResult) -> str:
    """What the bars at the layers and the marks of rows mean; empty if there are none."""
    said = []
    if "kl" in result.quality:
        largest = readable_magnitude(largest_known(result.quality["kl"]))
        said.append(f"bar at a layer: KL to the model’s own prediction on held-out text (full = {largest} nats)")
    if result.unmapped:
        said.append("*: the decoder has no map for this row, shown as in the logit lens")
    return "; ".join(said)


def unread_legend(*results: LensResult) -> str:
    """What grey columns mean, in one lens or in two that are compared; empty if there are none."""
    first = results[0]
    if not any(all(is_unread(result, column) for result in results) for column in range(len(first.positions))):
        return ""
    read = " or ".join(dict.fromkeys(str(result.check["only_position"]) for result in results))
    return f"grey: no output of the model confirms these columns, as its head reads only position {read}"


def edited_legend(result: LensResult) -> str:
    """What the edge of edited cells means; empty if the table has none."""
    return f"edited here: {_cut(printable(result.edited))}" if result.edited_cells.any() else ""


def both_edited_legend(results: Sequence[LensResult], names: Sequence[str]) -> str:
    """The same for two lenses that are compared."""
    edited = [name for result, name in zip(results, names, strict=True) if result.edited_cells.any()]
    return f"edited here: in {' and '.join(edited)}" if edited else ""


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def distance_legend(known: bool) -> str:
    """What the colour of a cell means in a comparison.

    Args:
        known: whether the distance is that of the full predictions, and not only a lower bound.
    """
    if known:
        return "Jensen-Shannon distance between the predictions: 0 the same, 1 nothing in common"
    return "least Jensen-Shannon distance that the known probabilities allow: 0 the same, 1 nothing in common"


def largest_known(values: np.ndarray) -> float:
    """The largest of some values that are 0 or more; 0 without values."""
    return float(values[np.isfinite(values)].max(initial=0.0))

"""How often the most probable token is the next one of the text. Needs no torch."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bauklens.result.result import LensResult


def accuracy(lens: "LensResult") -> np.ndarray:
    """(layer, position): whether the top token is the next one in the text; NaN if that is not known."""
    follows = np.append(lens.positions[1:] == lens.positions[:-1] + 1, False)
    following = np.append(lens.token_ids[1:], -1)
    return np.where(follows, lens.top_ids[..., 0] == following, np.nan)

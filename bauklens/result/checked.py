"""The outcome of a check, as a sentence, and whether it makes sense. Needs no torch."""

import sys
from collections.abc import Mapping
from typing import Any

from bauklens.result.frozen import require


def in_words(check: Mapping[str, Any], read_from: str | None) -> str:
    """The outcome of a check, as a sentence; a check that was read from a file is shown as a claim of that file."""
    difference, cells = check["max_abs_logit_difference"], check.get("cells")
    if difference is None and not cells:
        return "Not checked: the forward pass stopped after the last layer asked for, before the model's own logits."
    parts = []
    if difference is not None:
        only = check.get("only_position")
        where = _where(check.get("positions")) if only is None else f"at position {only}, the only one it returns"
        parts.append(f"decoding the last block's output gives the model's own logits {where}, {_within(difference)}")
    if cells:
        matching = "1 cell of another row matches" if cells == 1 else f"{cells:,} cells of other rows match"
        apart = _within(check["max_abs_probability_difference"])
        parts.append(f"{matching} an early exit of the model, with probabilities {apart}")
    if difference is None:
        parts.append("the last row is not checked, as the forward pass stopped after the last layer asked for")
    claimed = "" if read_from is None else f", as claimed by {read_from} and not repeated here"
    return f"Check{claimed}: {'; '.join(parts)}."


def _where(positions: int | None) -> str:
    if positions is None:
        return "at the prompt's last position"
    return "at the one position shown" if positions == 1 else f"at all {positions:,} positions shown"


def _within(difference: float) -> str:
    return f"to within {difference:.2g}" if difference else "to the last digit"


def require_sound_check(check: Mapping[str, Any]) -> None:
    """Refuses a check that no comparison can have as its outcome.

    Raises:
        LensError: a difference is not a finite number from 0 on, or a count not a whole one.
    """
    require("max_abs_logit_difference" in check, "check has no max_abs_logit_difference")
    for name in ("max_abs_logit_difference", "max_abs_probability_difference"):
        value = check.get(name)
        if value is not None:
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            sound = number and 0 <= value <= sys.float_info.max
            require(sound, f"check: {name} is {value!r:.40}: it must be a finite number from 0 on, or none")
    for name in ("positions", "cells", "only_position"):
        value = check.get(name, 0)
        require(type(value) is int and 0 <= value < 1 << 53, f"check: {name} is not a count")
    compared = check.get("cells", 0) == 0 or check.get("max_abs_probability_difference") is not None
    require(compared, "check: cells have no max_abs_probability_difference")

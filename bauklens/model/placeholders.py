"""Ids whose positions the model fills with something else: the patches of a picture, the frames of a sound."""

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from bauklens.errors import LensError

_NAMED = re.compile(
    r"(?P<what>image|img|video|audio|sound|speech|vision|media)\w*_token_(id|index)|"
    r"(?P<kind>image|video|audio)_token"
)
"""The names of such ids in configurations; those that mark the beginning or end of a picture are left out."""

_ENDS = re.compile(r"start|end|begin|bo[iav]|eo[iav]|pad|newline|break|col|row|global|thumbnail|sep")


def placeholders_of(model: nn.Module) -> dict[int, str]:
    """Id -> what fills its positions (``"image"``, ``"video"``, ``"audio"``), from the configuration."""
    config: Any = getattr(model, "config", None)
    known = {f"{what}_token_id": getattr(config, f"{what}_token_id", None) for what in ("image", "video", "audio")}
    found: dict[int, str] = {}
    for name, value in (vars(config) | known if config is not None else {}).items():
        match = _NAMED.fullmatch(name)
        if match and not _ENDS.search(name) and type(value) is int and value >= 0:
            what = match["what"] or match["kind"]
            found.setdefault(value, {"img": "image", "vision": "image", "media": "image"}.get(what, what))
    return found


def require_filled(model: nn.Module, ids: Iterable[int], extra: Iterable[str]) -> None:
    """Refuses placeholders if no input could fill their positions.

    Args:
        ids: the prompt's.
        extra: the names of the forward's other inputs, without those that have one value per position.

    Raises:
        LensError: there are placeholders, but no pictures, videos or sounds.
    """
    fills, given = placeholders_of(model), list(ids)
    found = [each for each in given if each in fills]
    if not found or any(True for _ in extra):
        return
    what = fills[found[0]]
    options = {"image": "images=", "audio": "audio=", "sound": "audio=", "speech": "audio="}
    beside = f", or the processor and {options[what]}" if what in options else ""
    count = f"{len(found)} {what} placeholders" if len(found) > 1 else f"one {what} placeholder"
    raise LensError(
        f"the prompt has {count} (token {found[0]}), but no {what} is given, so the model would read the "
        f"placeholder's own embedding: pass what its processor returns{beside}"
    )

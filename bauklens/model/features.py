"""Turns the output of a tokenizer or a processor into the ids of one prompt, and what goes with them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bauklens.errors import LensError

ALONG = (
    "attention_mask",
    "position_ids",
    "token_type_ids",
    "mm_token_type_ids",
    "image_embeds_position_mask",
    "image_attention_mask",
    "cross_attention_mask",
)
"""Inputs (prompt, position, ...) with one value per id."""

ALONG_DECODER = ("decoder_attention_mask", "decoder_position_ids")
"""The same for an encoder-decoder, with one value per id of its decoder; the others belong to its source."""


def features_of(given: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """The inputs of a forward pass as tensors on a device; floating-point numbers are in the model's dtype.

    Args:
        given: name -> tensor, array or (nested) list; None is left out, and so are texts.

    Raises:
        LensError: an input is for several prompts.
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        tensor = _tensor(str(name), value)
        if tensor is None:
            found[str(name)] = value
            continue
        found[str(name)] = tensor.to(device, dtype if tensor.is_floating_point() else None)
    count = _prompts(found)
    if count != 1:
        raise LensError(f"the inputs are for {count} prompts: pass a list with the inputs of each prompt")
    return found


def batch(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The inputs of each prompt of a batch, if all of them have one row per prompt; else the inputs as they are."""
    count = _prompts(given)
    each_has_rows = all(
        getattr(value, "ndim", 0) and len(value) == count for value in given.values() if value is not None
    )
    if count == 1 or not each_has_rows or any(str(name).startswith(("pixel_values", "image_")) for name in given):
        return [dict(given)]
    names = [name for name, value in given.items() if value is not None]
    return [{name: given[name][place : place + 1] for name in names} for place in range(count)]


def _prompts(given: Mapping[str, Any]) -> int:
    """The number of prompts in the ids."""
    ids = given.get("input_ids", given.get("decoder_input_ids"))
    return int(ids.shape[0]) if getattr(ids, "ndim", 0) == 2 else 1


def without_padding(
    ids: torch.Tensor, extra: dict[str, Any], mask: torch.Tensor | None, keyword: str = "input_ids"
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Ids (1, position) and what goes along with them, without the masked positions.

    A model reads a prompt as if it had no padding, so no padding is run.

    Args:
        keyword: the forward's name for the ids.

    Raises:
        LensError: the mask does not have one number per id, masks all of them, or masks some in the middle.
    """
    if mask is None:
        return ids, extra
    called = "decoder_attention_mask" if keyword == "decoder_input_ids" else "attention_mask"
    if not isinstance(mask, torch.Tensor):
        raise LensError(f"{called} is a {type(mask).__name__}: pass a tensor with a 1 or 0 for each id")
    if mask.dim() == 1:
        mask = mask[None]
    if mask.shape != ids.shape:
        raise LensError(f"{called} has shape {tuple(mask.shape)}, but the ids have shape {tuple(ids.shape)}")
    kept = mask[0].bool().nonzero()[:, 0]
    if not len(kept):
        raise LensError(f"{called} masks all positions of the prompt: keep at least one")
    start, stop = int(kept[0]), int(kept[-1]) + 1
    if stop - start != len(kept):
        raise LensError(f"{called} masks positions in the middle of the prompt: only padding at its ends can be masked")
    cut = {name: value[:, start:stop] if along(name, value, ids, keyword) else value for name, value in extra.items()}
    return ids[:, start:stop], cut


def along(name: str, value: Any, ids: torch.Tensor, keyword: str = "input_ids") -> bool:
    """Whether an input has one value per id.

    Args:
        keyword: the forward's name for the ids.
    """
    names = ALONG_DECODER if keyword == "decoder_input_ids" else ALONG
    return name in names and isinstance(value, torch.Tensor) and value.shape[:2] == ids.shape


def _tensor(name: str, value: Any) -> torch.Tensor | None:
    """A value as a tensor, if it is made of numbers."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, (str, bytes, Mapping, bool)):
        return None
    try:
        array = np.asarray([each.cpu().numpy() if isinstance(each, torch.Tensor) else each for each in value])
    except (TypeError, ValueError):
        return None
    if array.dtype.kind not in "iufb":
        raise LensError(f"{name} is not made of numbers: pass tensors, as return_tensors='pt' returns")
    return torch.from_numpy(array)

"""The hidden state in what a block returns, and a block's output with another state in it."""

from typing import Any

import torch

from bauklens.errors import LensError


def state_of(output: Any, parts: tuple[int, ...] = (0,)) -> torch.Tensor:
    """The hidden state in what a block returns: the tensor itself, or the first element of a tuple or list.

    Args:
        parts: which elements make up the state; several (the two streams of a Reformer) are stacked.

    Raises:
        LensError: a block's output does not contain such a tensor.
    """
    if isinstance(output, torch.Tensor):
        return output
    found = [output[part] for part in parts] if isinstance(output, (tuple, list)) else []
    if not found or not all(isinstance(each, torch.Tensor) for each in found):
        raise LensError(
            f"a block returned {type(output).__name__}; looked for a tensor, or a tuple that starts with one"
        )
    return found[0] if len(found) == 1 else torch.stack(found)


def with_state(output: Any, state: torch.Tensor, parts: tuple[int, ...] = (0,)) -> Any:
    """What a block returned, with another hidden state in it."""
    if isinstance(output, torch.Tensor):
        return state
    items = list(output)
    for part, each in zip(parts, [state] if len(parts) == 1 else state, strict=True):
        items[part] = each
    return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)

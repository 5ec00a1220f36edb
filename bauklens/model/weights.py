"""The weights of a module as numbers, if they can be read: those of a quantized module are packed."""

from typing import Any, TypeGuard

import torch
from torch import nn

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""The dtypes that products are computed in; float8 is only stored."""


def is_plain(weight: Any) -> TypeGuard[torch.Tensor]:
    """Whether something is a dense tensor of numbers in memory: not quantized, spread over devices or offloaded.

    A quantized weight may be a subclass that claims to be float32 (torchao, quanto), or whole numbers (bitsandbytes).
    """
    return (
        type(weight) in (torch.Tensor, nn.Parameter)
        and weight.dtype in _DTYPES
        and weight.layout == torch.strided
        and not weight.is_meta
    )


def weights_of(module: nn.Module) -> torch.Tensor | None:
    """A module's ``weight`` as plain numbers, dequantized if the tensor supports it; None if it cannot be read.

    The module may still compute with other numbers: some modules round their inputs as well.
    """
    weight: Any = getattr(module, "weight", None)
    if is_plain(weight):
        return weight
    try:
        weight = weight.dequantize()
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return None
    return weight if is_plain(weight) else None


def has_packed(model: nn.Module) -> bool:
    """Whether some weights are packed, so that the numbers kept are not the weights themselves.

    They are parameters, buffers (GPTQ, AWQ), or behind a method (torch.ao).
    """
    kept = [*model.parameters(), *(buffer for buffer in model.buffers() if buffer.ndim == 2)]
    return any(map(_is_packed, kept)) or any(callable(getattr(module, "weight", None)) for module in model.modules())


def _is_packed(tensor: torch.Tensor) -> bool:
    return tensor.ndim > 1 and not (tensor.is_meta or is_plain(tensor) or tensor.dtype in (torch.bool, torch.int64))


def tensors_in(parameter: torch.Tensor) -> list[torch.Tensor]:
    """The tensors that hold a parameter's numbers: itself, or the parts of a quantized one."""
    if not hasattr(parameter, "__tensor_flatten__"):
        return [parameter.detach()]
    names, _ = parameter.__tensor_flatten__()
    parts = [getattr(parameter, name) for name in names]  # a mesh among them, if it is spread over ranks
    return [each for part in parts if isinstance(part, torch.Tensor) for each in tensors_in(part)]


def whole(value: Any) -> Any:
    """A tensor whose parts are on several ranks, put together on each of them; anything else as it is."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value

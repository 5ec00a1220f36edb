"""Makes a model compute its attention step by step ("eager") for a while, so that the weights can be read.

The caller's configuration is not changed: the modules that run get copies of it, and their own back afterwards.
"""

import copy
from collections.abc import Iterator
from typing import Any

from torch import nn

from bauklens.signals import unbroken

EAGER = "eager"

_KEPT_IN = "_attn_implementation_internal"
"""The attribute of transformers' configurations that selects how attention is computed."""

_CACHED_IN = "_attn_implementation"
"""The name of some modules' own copy of it."""


@unbroken
def computing_attention_eagerly(running: nn.Module) -> Iterator[None]:
    """While this lasts, attention is computed in the way that yields its weights.

    Args:
        running: the model, or what :func:`bauklens.model.guard.evaluating` yields.
    """
    copies: dict[int, Any] = {}
    before: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for module in running.modules():
            held = vars(module)
            for name, value in list(held.items()):
                other = EAGER if name == _CACHED_IN and isinstance(value, str) else _eager(value, copies)
                if other is not value:
                    before.append((held, name, value))
                    held[name] = other
        yield
    finally:
        for held, name, value in before:
            held[name] = value


def implementation_of(model: nn.Module) -> str | None:
    """How a model computes its attention, by its name in the configuration; None if there is none."""
    found = getattr(getattr(model, "config", None), _KEPT_IN, None)
    return found if isinstance(found, str) else None


def _eager(value: Any, copies: dict[int, Any]) -> Any:
    """A copy of a configuration, and of those in it, that asks for eager attention; any other value as it is."""
    if isinstance(value, (nn.Module, type)) or _KEPT_IN not in getattr(value, "__dict__", ()):
        return value
    if id(value) not in copies:
        copies[id(value)] = own = copy.copy(value)
        held = vars(own)
        held[_KEPT_IN] = EAGER
        for name, part in list(held.items()):
            held[name] = _eager(part, copies)
    return copies[id(value)]

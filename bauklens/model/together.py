"""Functions for models that may be spread over ranks: called alike on all ranks, with the result on the first."""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from functools import wraps
from os import PathLike
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import torch
from torch import nn

from bauklens.arguments import one_of
from bauklens.errors import LensError
from bauklens.model.in_hand import in_hand
from bauklens.model.ranks import Ranks, ranks_of
from bauklens.progress import silence
from bauklens.vocabulary import RESULTS

_P = ParamSpec("_P")
_T = TypeVar("_T")

_SAMPLED = 1 << 16
"""About how many numbers of a tensor are used to tell it from another."""

_DEEPEST = 5
"""The most levels of nested objects of this package."""

_inside: ContextVar[bool] = ContextVar("inside", default=False)
"""Whether a function is running that has already made sure that all ranks run the same."""


def together(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Makes sure that all ranks of a model call a function alike, and returns its result only on the first rank.

    Nothing changes for a model in a single process. The function has a parameter ``model`` and may have ``results``:
    ``"first"`` returns None on all ranks but the first, ``"all"`` returns the result on each.
    """
    return cast("Callable[_P, _T]", _called(function, first_only=True))


def on_all_ranks(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """The same for a function whose result is needed later, such as a decoder: every rank receives it."""
    return cast("Callable[_P, _T]", _called(function, first_only=False))


def _called(function: Callable[..., Any], *, first_only: bool) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        one_of("results", options.get("results", "first"), RESULTS)
        ranks, given = (None, {}) if _inside.get() else _ranks_in(signature, args, options)
        if ranks is None:
            return function(*args, **options)
        results = given.get("results", "first")
        ranks.require_alike(f"{function.__name__}()", {name: described(each) for name, each in given.items()})
        outside = _inside.set(True)
        try:
            if ranks.is_first:
                found = function(*args, **options)
            else:
                with silence():
                    found = function(*args, **options)
        finally:
            _inside.reset(outside)
        return None if first_only and results == "first" and not ranks.is_first else found

    return called


def _ranks_in(
    signature: inspect.Signature, args: tuple[Any, ...], options: Mapping[str, Any]
) -> tuple[Ranks | None, dict[str, Any]]:
    """The ranks of the model that a function is called with, and its other arguments."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None, {}
    try:
        given = signature.bind(*args, **options).arguments
    except TypeError:  # the function's own message is best
        return None, {}
    for each in signature.parameters.values():
        if each.kind is inspect.Parameter.VAR_KEYWORD:
            given |= given.pop(each.name, {})
    ranks = [_ranks_of(given.pop("model", None)), _ranks_of(given.get("other"))]  # compare_models has a second model
    return next((each for each in ranks if each is not None), None), dict(given)


def _ranks_of(model: Any) -> Ranks | None:
    with suppress(LensError):  # the function itself raises it too
        model, _ = in_hand(model, None)
    return ranks_of(model) if isinstance(model, nn.Module) else None


def described(value: Any, depth: int = 0) -> str:
    """A text that is the same for the same value in another process.

    For objects from outside this package it is only their kind, and for large tensors only some of their numbers.

    Args:
        depth: how many objects contain it.
    """
    if isinstance(value, (str, PathLike)):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, slice, range)):
        return repr(value)
    if isinstance(value, np.generic):
        return described(value.item(), depth)
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(described(each, depth) for each in value))}}}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{described(name)}: {described(each, depth)}" for name, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        parts = [described(each, depth) for each in value]
        return " ".join(parts) if all(type(each) is int for each in value) else f"[{', '.join(parts)}]"
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return _of_numbers(value)
    kind = type(value)
    if kind.__module__.startswith("bauklens.") and depth < _DEEPEST:  # an edit, or a decoder
        held = vars(value) if hasattr(value, "__dict__") else {}
        return f"{kind.__qualname__} {described(held, depth + 1)}"
    return str(getattr(value, "__qualname__", kind.__qualname__))


def _of_numbers(value: torch.Tensor | np.ndarray) -> str:
    if isinstance(value, torch.Tensor) and type(value) not in (torch.Tensor, nn.Parameter):  # for example a part of one
        return f"{type(value).__name__} {tuple(value.shape)}"
    flat = value.reshape(-1)
    flat = flat[:: max(1, len(flat) // _SAMPLED)]
    array = flat if isinstance(flat, np.ndarray) else flat.detach().cpu().double().numpy()
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:12]
    return f"{type(value).__name__} {tuple(value.shape)} {digest}"

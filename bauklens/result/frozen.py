"""The values of a result, frozen, and as plain values for JSON."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from bauklens.errors import LensError


def require(right: bool, what: str) -> None:
    """Raises a LensError that says what is wrong, unless this is right."""
    if not right:
        raise LensError(what)


def frozen_array(name: str, value: Any, dtype: type) -> np.ndarray:
    """Numbers as a read-only array; they must be whole numbers if the dtype is an integer type."""
    array = np.array(value)
    whole = np.issubdtype(dtype, np.integer)
    require(
        bool(np.issubdtype(array.dtype, np.integer if whole else np.number)),
        f"{name} contains values that are not numbers",
    )
    array = array.astype(dtype)
    array.setflags(write=False)
    return array


def frozen_floats(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of a given shape as a read-only float32 array; None becomes NaN, which means no value."""
    try:
        array = np.array(value, dtype=np.float32)
    except (TypeError, ValueError):
        raise LensError(f"{name} contains values that are not numbers") from None
    require(array.shape == shape, f"{name} has shape {array.shape}, which does not match {shape}")
    array.setflags(write=False)
    return array


def frozen(value: Any) -> Any:
    """Mappings and lists, however deeply nested, as read-only mappings and tuples."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: frozen(item) for key, item in value.items()})
    return tuple(map(frozen, value)) if isinstance(value, (list, tuple)) else value


def plain(value: Any) -> Any:
    """The opposite, ready for JSON: a float32 as the shortest number that reads back as the same, NaN as None.

    JSON has no number for infinity, so that is the text "Infinity" or "-Infinity".
    """
    if isinstance(value, np.ndarray):
        shortest = value.astype(str).astype(np.float64) if value.dtype == np.float32 else value
        return shortest.tolist() if np.isfinite(shortest).all() else _named(shortest.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(each) for each in value] if isinstance(value, tuple) else value


def _named(value: Any) -> Any:
    """Lists of numbers, however deeply nested, with the values that JSON cannot write as None or as texts."""
    if isinstance(value, list):
        return [_named(each) for each in value]
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")

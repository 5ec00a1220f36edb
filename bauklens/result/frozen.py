"""The values of a result, frozen, and as plain values for JSON."""

import math
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from bauklens.errors import LensError
from bauklens.reading_files import DEEPEST

_DEEPEST = DEEPEST - 10
"""How deeply values may be nested, so that a file that holds them among others can be read."""


def require(right: bool, what: str) -> None:
    """Raises a LensError that says what is wrong, unless this is right."""
    if not right:
        raise LensError(what)


def frozen_array(name: str, value: Any, dtype: type) -> np.ndarray:
    """Numbers as a read-only array; they must be whole numbers if the dtype is an integer type."""
    try:
        array = np.array(value)
        array = array if array.size else array.astype(dtype)  # an empty list has no type of its own
    except (TypeError, ValueError, OverflowError):
        raise LensError(f"{name} is not an array of numbers") from None
    whole = np.issubdtype(dtype, np.integer)
    require(
        bool(np.issubdtype(array.dtype, np.integer if whole else np.number)),
        f"{name} contains values that are not numbers",
    )
    with np.errstate(over="ignore", invalid="ignore"):
        exact: np.ndarray = array.astype(dtype, copy=False)
    if whole and exact is not array:
        require(bool((exact == array).all()), f"{name} contains numbers beyond {np.dtype(dtype).name}")
    exact.setflags(write=False)
    return exact


def frozen_floats(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of a given shape as a read-only float32 array; None becomes NaN, which means no value."""
    try:
        with np.errstate(over="ignore"):  # values beyond float32 become infinite
            array = np.array(value, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        raise LensError(f"{name} contains values that are not numbers") from None
    require(array.shape == shape, f"{name} has shape {array.shape}, which does not match {shape}")
    array.setflags(write=False)
    return array


def frozen(value: Any, room: int = _DEEPEST) -> Any:
    """Mappings and lists, nested to a depth of so many, as read-only mappings and tuples.

    Raises:
        LensError: they are nested more deeply, or hold a whole number that is beyond a float's largest.
    """
    if isinstance(value, (Mapping, list, tuple)):
        require(room > 0, f"a value is nested more than {_DEEPEST} deep")
        if isinstance(value, Mapping):
            return MappingProxyType(
                {key: item if type(item) is str else frozen(item, room - 1) for key, item in value.items()}
            )
        return tuple(frozen(item, room - 1) for item in value)
    require(not isinstance(value, int) or abs(value) <= sys.float_info.max, "a number has too many digits")
    return value


def plain(value: Any) -> Any:
    """The opposite, ready for JSON: a float32 as the shortest number that reads back as the same, NaN as None.

    JSON has no number for infinity, so that is the text "Infinity" or "-Infinity".
    """
    if isinstance(value, float):
        return _named(value)
    if isinstance(value, np.ndarray):
        shortest = value.astype(str).astype(np.float64) if value.dtype == np.float32 else value
        return shortest.tolist() if np.isfinite(shortest).all() else _named(shortest.tolist())
    if isinstance(value, Mapping):
        return {str(key): item if type(item) is str else plain(item) for key, item in value.items()}
    return [plain(each) for each in value] if isinstance(value, tuple) else value


def _named(value: Any) -> Any:
    """Lists of numbers, however deeply nested, with the values that JSON cannot write as None or as texts."""
    if isinstance(value, list):
        return [_named(each) for each in value]
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")

"""What a result holds, frozen, and as plain values for JSON."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from bauklens.errors import LensError


def require(right: bool, what: str) -> None:
    """Raises what is wrong as a LensError, where it is."""
    if not right:
        raise LensError(what)


def frozen_array(name: str, value: Any, dtype: type) -> np.ndarray:
    """Numbers as an array that cannot be written to; whole ones where the dtype is of whole numbers."""
    array = np.array(value)
    whole = np.issubdtype(dtype, np.integer)
    require(bool(np.issubdtype(array.dtype, np.integer if whole else np.number)), f"{name} holds what is no number")
    array = array.astype(dtype)
    array.setflags(write=False)
    return array


def frozen_floats(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of a shape as float32 that cannot be written to; None stands for NaN, and so for none."""
    try:
        array = np.array(value, dtype=np.float32)
    except (TypeError, ValueError):
        raise LensError(f"{name} holds what is no number") from None
    require(array.shape == shape, f"{name} has shape {array.shape}, which does not match {shape}")
    array.setflags(write=False)
    return array


def frozen(value: Any) -> Any:
    """Mappings and lists, however deep, as mappings and tuples that cannot be written to."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: frozen(item) for key, item in value.items()})
    return tuple(map(frozen, value)) if isinstance(value, (list, tuple)) else value


def plain(value: Any) -> Any:
    """The opposite, ready for JSON: a float32 as the shortest number that reads back as the same, NaN as None.

    Infinity, for which JSON has no number, is a text: "Infinity" or "-Infinity".
    """
    if isinstance(value, np.ndarray):
        shortest = value.astype(str).astype(np.float64) if value.dtype == np.float32 else value
        return shortest.tolist() if np.isfinite(shortest).all() else _named(shortest.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(each) for each in value] if isinstance(value, tuple) else value


def _named(value: Any) -> Any:
    """Lists of numbers, however deep, with what JSON has no number for by name."""
    if isinstance(value, list):
        return [_named(each) for each in value]
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")

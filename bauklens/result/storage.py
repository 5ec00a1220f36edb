"""A result's plain data <-> a file: .json, or .safetensors with the arrays as they are and the rest in its header."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as arrays_of
from safetensors.numpy import save as bytes_of

from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.reading_files import parse_json, read_bytes

FORMAT = "bauklens.lens"

ORDER = "bauklens.order"
"""The key in a ``.safetensors`` header under which its arrays are named in order, which the file does not keep."""


def as_json(data: dict[str, Any]) -> str:
    """One line of JSON; half a surrogate pair becomes an escape when it is encoded with ``backslashreplace``."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write(path: Path, data: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Writes a file in the format of its suffix; an old file is replaced only when the new one is complete.

    Args:
        data: everything, as plain lists and numbers.
        arrays: the entries of ``data`` that are arrays; ``"a/b"`` is entry b of a.

    Raises:
        LensError: the suffix is another one, or the path cannot be written.
    """
    if path.suffix == ".json":
        write_atomically(path, as_json(data).encode("utf-8", "backslashreplace"))
    elif path.suffix == ".safetensors":
        rest = {name: _without_arrays(name, value, arrays) for name, value in data.items() if name not in arrays}
        rest = {name: value for name, value in rest.items() if value != {} or data[name] == {}}
        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        metadata = {FORMAT: json.dumps(rest), ORDER: json.dumps(list(whole))}
        write_atomically(path, bytes_of(whole, metadata=metadata))
    else:
        raise LensError(f"a result is saved as a .safetensors or .json file; got {path.name!r}")


def _without_arrays(name: str, value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """An entry without the entries in it that are arrays."""
    if not isinstance(value, dict):
        return value
    return {part: each for part, each in value.items() if f"{name}/{part}" not in arrays}


def read(path: Path, largest: int) -> Any:
    """The plain data in a file, whose format is recognized by its content.

    Args:
        largest: the most bytes that the file may have.

    Raises:
        LensError: the file cannot be read, is larger, or has neither format.
    """
    raw = read_bytes(path, largest)
    try:
        return parse_json(raw) if raw.lstrip()[:1] == b"{" else _from_safetensors(raw)
    except LensError as error:
        raise LensError(f"it is damaged, or not a lens result: {error}") from None
    except (ValueError, KeyError, TypeError, SafetensorError, MemoryError):
        raise LensError("it is damaged, or not a lens result") from None


def _from_safetensors(raw: bytes) -> dict[str, Any]:
    header_size = int.from_bytes(raw[:8], "little")
    header = parse_json(raw[8 : 8 + header_size])
    rest = parse_json(header["__metadata__"][FORMAT])
    if not isinstance(rest, dict):
        raise LensError("its header describes no lens")
    arrays = arrays_of(raw)
    for name in _in_order(arrays, header["__metadata__"].get(ORDER)):
        array = arrays[name]
        whole, _, part = name.partition("/")
        parts = rest.setdefault(whole, {}) if part else rest
        if not isinstance(parts, dict) or (part or whole) in parts:
            raise LensError(f"its header does not fit its array {name!r:.80}")
        parts[part or whole] = array
    return rest


def _in_order(names: Iterable[str], order: Any) -> list[str]:
    """Names of arrays as a file lists them; those that it does not list come last."""
    listed = parse_json(order) if isinstance(order, str) else []
    known = listed if isinstance(listed, list) else []
    places = {name: place for place, name in enumerate(known) if isinstance(name, str)}
    return sorted(names, key=lambda name: (places.get(name, len(places)), name))

"""A result's plain data <-> a file: .json, or .safetensors with the arrays as they are and the rest in its header."""

import json
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as bytes_of
from safetensors.numpy import save_file

from bauklens.errors import LensError
from bauklens.files import is_replaced, replacing, require_writable, write_atomically
from bauklens.reading_files import parse_json, read_bytes

FORMAT = "bauklens.lens"

ORDER = "bauklens.order"
"""The key in a ``.safetensors`` header under which its arrays are named in order, which the file does not keep."""

_FIRST = 64
"""How many bytes are read to recognize a format: the size of a header, or a ``{`` after some white space."""

_FAILURES = (
    *(OSError, ValueError, KeyError, TypeError, SafetensorError, MemoryError),
    *(AttributeError, ImportError, RuntimeError),  # NumPy lacks some dtypes, such as float8
)
"""The exceptions that reading a damaged file raises."""


def as_json(data: dict[str, Any]) -> str:
    """One line of JSON; half a surrogate pair becomes an escape when it is encoded with ``backslashreplace``."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write(path: Path, without: Callable[[Collection[str]], dict[str, Any]], arrays: dict[str, np.ndarray]) -> None:
    """Writes a file in the format of its suffix; an old file is replaced only when the new one is complete.

    Args:
        without: everything but the entries of these names, as plain lists and numbers.
        arrays: the entries that are arrays; ``"a/b"`` is entry b of a.

    Raises:
        LensError: the suffix is another one, or the path cannot be written.
    """
    if path.suffix == ".json":
        write_atomically(path, as_json(without(())).encode("utf-8", "backslashreplace"))
    elif path.suffix == ".safetensors":
        require_writable(path)
        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        metadata = {FORMAT: json.dumps(without(arrays)), ORDER: json.dumps(list(whole))}
        if not is_replaced(path):
            write_atomically(path, bytes_of(whole, metadata=metadata))
            return
        with replacing(path) as beside:
            try:
                save_file(whole, beside, metadata=metadata)
            except SafetensorError as error:
                raise LensError(f"cannot write {path}: {error!s:.200}") from None
    else:
        raise LensError(f"a result is saved as a .safetensors or .json file; got {path.name!r}")


def read(path: Path, largest: int) -> Any:
    """The plain data in a file, whose format is recognized by its content.

    Args:
        largest: the most bytes that the file may have.

    Raises:
        LensError: the file cannot be read, is larger, or has neither format.
    """
    begins = read_bytes(path, largest, most=_FIRST).lstrip()[:1]
    raw = read_bytes(path, largest) if begins in (b"{", b"") else None
    try:
        return _from_safetensors(path) if raw is None else parse_json(raw)
    except LensError as error:
        raise LensError(f"it is damaged, or not a lens result: {error}") from None
    except _FAILURES:
        raise LensError("it is damaged, or not a lens result") from None


def _from_safetensors(path: Path) -> dict[str, Any]:
    """The arrays are read-only, so that a result can keep them without a copy."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    rest = parse_json(metadata[FORMAT])
    if not isinstance(rest, dict):
        raise LensError("its header does not describe a lens")
    for name in _in_order(arrays, metadata.get(ORDER)):
        array = arrays[name]
        array.setflags(write=False)
        whole, _, part = name.partition("/")
        parts = rest.setdefault(whole, {}) if part else rest
        if not isinstance(parts, dict) or (part or whole) in parts:
            raise LensError(f"its header does not fit its array {name!r:.80}")
        parts[part or whole] = array
    return rest


def _in_order(names: Iterable[str], order: Any) -> list[str]:
    """Names of arrays in the order of the file's list; unlisted ones come last."""
    listed = parse_json(order) if isinstance(order, str) else []
    known = listed if isinstance(listed, list) else []
    places = {name: place for place, name in enumerate(known) if isinstance(name, str)}
    return sorted(names, key=lambda name: (places.get(name, len(places)), name))

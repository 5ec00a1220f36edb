"""Reads files from untrusted sources: only regular files, up to a size, and JSON up to a depth."""

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any, BinaryIO

from bauklens.errors import LensError

LARGEST_FILE = 10**9
"""The most bytes that are read from a file."""

DEEPEST = 100
"""The most levels of nested lists and objects that are read."""

STANDARD_INPUT = "-"

_PART = 1 << 20
"""Bytes read at once."""

_NO_MEMORY = "it is too large for the memory of this machine"


def read_bytes(path: str | Path, largest: int = LARGEST_FILE, most: int | None = None) -> bytes:
    """The content of a regular file; anything else, such as a pipe or a device, is refused.

    Args:
        largest: the most bytes that it may have.
        most: how many of its bytes are read, from the first on; all if None.

    Raises:
        LensError: the file is not there, is not a regular file, is larger, or cannot be read; the message does not name
            it.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # do not wait for the writer of a pipe
    except OSError as error:
        raise LensError(str(error.strerror)) from None
    except ValueError as error:  # the name has a NUL
        raise LensError(str(error)) from None
    found = os.fstat(opened)
    if not stat.S_ISREG(found.st_mode):
        os.close(opened)
        raise LensError("it is a folder" if stat.S_ISDIR(found.st_mode) else "it is not a regular file")
    with os.fdopen(opened, "rb") as file:
        if found.st_size > largest:
            raise LensError(_too_large(largest))
        return _content(file, largest) if most is None else _first(file, most)


def require_regular(path: str | Path) -> None:
    """Refuses anything but a regular file; opening a pipe or a device could hang.

    Raises:
        LensError: the file does not exist, or is not a regular file; the message does not name it.
    """
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise LensError(str(error.strerror)) from None
    except ValueError as error:  # the name has a NUL
        raise LensError(str(error)) from None
    if not stat.S_ISREG(mode):
        raise LensError("it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file")


def read_text(path: str | Path) -> str:
    """The text of a regular file in UTF-8, or of standard input if the path is ``-``, with lines that end with ``\\n``.

    A byte order mark is left out.

    Raises:
        LensError: it cannot be read, as for :func:`read_bytes`, or is not UTF-8; the message does not name it.
    """
    if is_pipe(path):
        raise LensError("it is a pipe: pass - to read standard input")
    if str(path) == STANDARD_INPUT:
        if sys.stdin is None:
            raise LensError("standard input is closed")
        raw = _content(sys.stdin.buffer, LARGEST_FILE)
    else:
        raw = read_bytes(path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise LensError("it is not UTF-8 text") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def is_pipe(path: str | Path) -> bool:
    """Whether there is a pipe at a path."""
    try:
        return Path(path).is_fifo()
    except (OSError, ValueError):  # no path can have this name
        return False


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        LensError: it is not JSON, is nested more than :data:`DEEPEST` deep, or has a number with more digits than
            Python reads.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise LensError(f"it is not JSON ({error.msg})") from None
    except UnicodeDecodeError:
        raise LensError("it is not JSON in UTF-8") from None
    except RecursionError:
        raise LensError(f"it is nested more than {DEEPEST} deep") from None
    except ValueError:
        raise LensError("it has a number with too many digits") from None
    except MemoryError:
        raise LensError(_NO_MEMORY) from None
    _require_shallow(value)
    return value


def _require_shallow(value: Any) -> None:
    """Refuses JSON that is nested deeper than :data:`DEEPEST`."""
    level = [value]
    for _ in range(DEEPEST):
        holders = [
            each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list))
        ]
        level = [inner for holder in holders for inner in holder if isinstance(inner, (dict, list))]
        if not level:
            return
    raise LensError(f"it is nested more than {DEEPEST} deep")


def _first(file: BinaryIO, most: int) -> bytes:
    """The first bytes of a file, or all if it has fewer."""
    try:
        return file.read(most)
    except OSError as error:
        raise LensError(str(error.strerror)) from None


def _content(file: BinaryIO, largest: int) -> bytes:
    """The rest of a file, which may be endless."""
    parts, size = [], 0
    try:
        while part := file.read(_PART):
            parts.append(part)
            size += len(part)
            if size > largest:
                raise LensError(_too_large(largest))
        return b"".join(parts)
    except OSError as error:
        raise LensError(str(error.strerror)) from None
    except MemoryError:
        raise LensError(_NO_MEMORY) from None


def _too_large(largest: int) -> str:
    return f"it is larger than {largest / 1e9:.3g} GB: pass a smaller file, or in Python load(path, largest=...)"

"""Writing files: a file is replaced only when the new one is complete; and whether a text is the path of a file."""

import os
import tempfile
from pathlib import Path

from bauklens.errors import LensError


def is_there(path: str | Path) -> bool:
    """Whether there is a file or folder of this name; a text that no path can be is none.

    >>> is_there("x" * 10_000), is_there("a\\0b"), is_there("/")
    (False, False, True)
    """
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # longer than any file's name, say, or with a NUL
        return False


def require_writable(path: str | Path) -> Path:
    """Checks, before any long work, that a file can be written.

    Raises:
        LensError: the path is a folder, or its folder does not exist or cannot be written.
    """
    path = Path(path)
    if "\0" in str(path):
        raise LensError(f"cannot write {str(path)!r}: there is a NUL in its name")
    try:
        path.exists()
    except OSError as error:
        raise LensError(f"cannot write {path}: {error.strerror}") from None
    if path.is_dir():
        raise LensError(f"cannot write {path}: it is a folder; pass the name of a file")
    if not path.parent.is_dir():
        raise LensError(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise LensError(f"cannot write {path}: permission denied")
    return path


def write_atomically(path: str | Path, content: bytes) -> None:
    """Writes a file next to its destination and moves it there, so that readers see the old file or all of the new one.

    Raises:
        LensError: the path cannot be written.
    """
    path = require_writable(path)
    beside = None
    try:
        if path.exists() and not path.is_file():  # a device or a pipe stays what it is
            path.write_bytes(content)
            return
        path = path.resolve()
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".bauklens-", delete=False) as file:
            beside = Path(file.name)
            file.write(content)
        beside.chmod(path.stat().st_mode if path.exists() else 0o666 & ~_umask())
        beside.replace(path)
    except OSError as error:
        raise LensError(f"cannot write {path}: {error.strerror}") from None
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

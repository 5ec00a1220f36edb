"""Writing files: a file is replaced only when the new one is complete; and whether a text is the path of a file."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bauklens.errors import LensError


def is_there(path: str | Path) -> bool:
    """Whether a file or folder of this name exists; False for a text that cannot be a path.

    >>> is_there("x" * 10_000), is_there("a\\0b"), is_there("/")
    (False, False, True)
    """
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # for example a name that is too long, or has a NUL
        return False


def path_of(path: str | os.PathLike[str]) -> Path:
    """The value as a path; raises a LensError if it is not one."""
    if not isinstance(path, (str, os.PathLike)):
        raise LensError(f"a file's path must be text; got {path!r:.80}")
    return Path(path)


def is_file(path: str | Path) -> bool:
    """Whether something of this name exists that is not a folder."""
    return is_there(path) and not Path(path).is_dir()


def require_writable(path: str | Path) -> Path:
    """Checks that a file can be written, before any long work.

    Raises:
        LensError: the path is a folder or a loop of links, or its folder does not exist or cannot be written.
    """
    path = path_of(path)
    if "\0" in str(path):
        raise LensError(f"cannot write {str(path)!r}: its name contains a NUL character")
    mode = _mode_of(path)
    if mode is not None and stat.S_ISDIR(mode):
        raise LensError(f"cannot write {path}: it is a folder; pass the name of a file")
    if not path.parent.is_dir():
        raise LensError(f"cannot write {path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK) or (mode is not None and not os.access(path, os.W_OK)):
        raise LensError(f"cannot write {path}: permission denied")
    return path


def write_atomically(path: str | Path, content: bytes) -> None:
    """Writes a file next to its destination and moves it there, so that readers see the old file or all of the new one.

    The new file is on the disk before the old one is removed. It keeps the old one's permissions; without an old
    file, it gets the system's default. Devices and pipes are written to directly; a pipe without a reader is refused.

    Raises:
        LensError: the path cannot be written.
    """
    path = require_writable(path)
    if is_replaced(path):
        with replacing(path) as beside:
            beside.write_bytes(content)
        return
    try:
        _write_to_device(path, content)
    except OSError as error:
        raise LensError(f"cannot write {path}: {error.strerror}") from None


def is_replaced(path: Path) -> bool:
    """Whether a new file replaces what is at a path; False for a device or a pipe, which is written to directly."""
    mode = _mode_of(path)
    return mode is None or stat.S_ISREG(mode)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields the path of a new, empty file, which replaces another one when this ends without an error.

    It is on the disk before the old file is removed, and keeps its permissions; without an old file, it gets the
    system's default.

    Raises:
        LensError: the path cannot be written.
    """
    path = require_writable(path)
    mode = _mode_of(path)
    path = path.resolve()
    beside = path.with_name(f".bauklens-{secrets.token_hex(8)}")
    try:
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        own = beside.stat().st_mode
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.chmod(stat.S_IMODE(own if mode is None else mode))  # the writer may have created the file again
        beside.replace(path)
    except OSError as error:
        raise LensError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        beside.unlink(missing_ok=True)


def _mode_of(path: Path) -> int | None:
    """Kind and permissions of what is at a path; None if there is nothing."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LensError(f"cannot write {path}: {error.strerror}") from None


def _write_to_device(path: Path, content: bytes) -> None:
    """Writes to a device or a pipe; opening a pipe without a reader is an error, as it would wait otherwise."""
    device = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.set_blocking(device, True)
    with os.fdopen(device, "wb") as file:
        file.write(content)

"""Holds back what libraries print on standard error until it is known whether the command fails."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_STANDARD_ERROR = 2


@contextmanager
def standard_error_held_back() -> Iterator[Callable[[], None]]:
    """Holds back what any library in any language prints on standard error, and prints it at the end.

    On a terminal, what Python itself prints, such as progress bars, is seen at once.

    Yields:
        A function that drops what was held back so far.
    """
    try:
        held = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        shown = os.dup(_STANDARD_ERROR)
    except OSError:  # no temporary file can be made, or standard error is closed
        yield lambda: None
        return
    before = sys.stderr
    on_terminal = before is not None and before.isatty()  # ask now: below, its descriptor becomes that of the file
    with held, os.fdopen(shown, "w", buffering=1, errors="backslashreplace") as terminal:
        os.dup2(held.fileno(), _STANDARD_ERROR)
        if on_terminal:
            sys.stderr = terminal
        try:
            yield lambda: _forget(held.fileno())
        finally:
            _flush(before)
            _flush(sys.stderr)
            sys.stderr = before
            os.dup2(shown, _STANDARD_ERROR)
            held.seek(0)
            with os.fdopen(os.dup(_STANDARD_ERROR), "wb") as printed:
                shutil.copyfileobj(held, printed)


def _forget(held: int) -> None:
    _flush(sys.stderr)
    os.ftruncate(held, 0)
    os.lseek(held, 0, os.SEEK_SET)


def _flush(stream: object) -> None:
    if hasattr(stream, "flush"):
        stream.flush()

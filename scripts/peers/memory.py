"""How much memory a process has used, as Linux reports it."""

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MMAP_THRESHOLD, _SMALL = -3, 1 << 17  # M_MMAP_THRESHOLD of mallopt(3), and its value when a process starts


def peak_bytes(case: Callable[[], object]) -> int | None:
    """The most memory that a case has beyond what there is before it; None if the system does not tell."""
    before = held_bytes()
    try:
        _CLEAR.write_text("5", encoding="ascii")  # resets the peak, proc(5)
    except OSError:
        return None
    case()
    return None if before is None else _bytes("VmHWM") - before


def give_back() -> None:
    """Makes the allocator return large blocks to the system as soon as they are freed.

    Otherwise, it keeps blocks of up to 32 MB, and chance decides how many of them it cannot reuse: the peak of
    the same call then differs by hundreds of megabytes. It makes calls slower, so nothing is timed afterwards.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _SMALL)


def held_bytes() -> int | None:
    """The memory of this process, without what could be returned."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # otherwise a case reuses what the one before it left, which would not count
        return _bytes("VmRSS")
    except (OSError, AttributeError):
        return None


def free_bytes() -> int | None:
    """The machine's free memory."""
    try:
        return _bytes("MemAvailable", Path("/proc/meminfo"))
    except OSError:
        return None


def _bytes(name: str, path: Path = _STATUS) -> int:
    lines = path.read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

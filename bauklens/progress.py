"""Progress on long work: on a terminal, after two seconds; and never where that is not wanted."""

from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm

_hidden = False


def hide_bars() -> None:
    """Shows none from now on."""
    global _hidden
    _hidden = True


def bar(what: str, unit: str, items: Iterable[Any] | None = None, *, total: int | None = None) -> "tqdm[Any]":
    """A progress bar of tqdm, of items or of a total; one of a single item is never shown."""
    hidden = True if _hidden or total == 1 else None  # None: where this is no terminal
    return tqdm(items, total=total, desc=what, unit=unit, delay=2, leave=False, disable=hidden)

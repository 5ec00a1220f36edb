"""Progress bars for long work: on a terminal, after two seconds, unless they are turned off."""

from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm

_hidden = False


def hide_bars() -> None:
    """Turns progress bars off from now on."""
    global _hidden
    _hidden = True


def bar(what: str, unit: str, items: Iterable[Any] | None = None, *, total: int | None = None) -> "tqdm[Any]":
    """A tqdm progress bar over items or up to a total; a bar for a single item is never shown."""
    hidden = True if _hidden or total == 1 else None  # None: hidden unless this is a terminal
    return tqdm(items, total=total, desc=what, unit=unit, delay=2, leave=False, disable=hidden)

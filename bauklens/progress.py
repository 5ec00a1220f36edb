"""Progress bars for long work: on a terminal, after two seconds, unless they are turned off."""

from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm

from bauklens.signals import finished

_hidden = False


def hide_bars() -> None:
    """Turns progress bars off from now on."""
    global _hidden
    _hidden = True


class _Bar(tqdm):  # type: ignore[type-arg]
    """An interrupt waits until the lock is given back that all bars of a program share, those of the caller too."""

    def update(self, n: float | None = 1) -> bool | None:
        return finished(super().update, n)

    def close(self) -> None:
        finished(super().close)


def bar(what: str, unit: str, items: Iterable[Any] | None = None, *, total: int | None = None) -> "tqdm[Any]":
    """A tqdm progress bar over items or up to a total; a bar for a single item is never shown."""
    hidden = True if _hidden or total == 1 else None  # None: hidden unless this is a terminal
    return finished(_Bar, items, total=total, desc=what, unit=unit, delay=2, leave=False, disable=hidden)

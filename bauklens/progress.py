"""Progress of long work: bars on a terminal, after two seconds, unless they are turned off; and calls to a watcher."""

import logging
import sys
import warnings
from collections.abc import Iterable, Iterator, Sized
from contextvars import ContextVar
from typing import Any, Protocol

from tqdm.auto import tqdm

from bauklens.signals import finished, unbroken

_hidden = False


class Watcher(Protocol):
    """Is called as work progresses, in the thread that does the work. To stop the work, it raises an error."""

    def progressed(self, what: str, unit: str, done: int, total: int | None) -> None:
        """Receives how many of the total are done, as a bar shows it."""

    def found(self, what: str, value: Any) -> None:
        """Receives a part of a result before the whole is complete."""


_watcher: ContextVar[Watcher | None] = ContextVar("_watcher", default=None)


@unbroken
def watched(by: Watcher) -> Iterator[None]:
    """While this lasts, a watcher is told of the work in this thread."""
    before = _watcher.set(by)
    try:
        yield
    finally:
        _watcher.reset(before)


def is_watched() -> bool:
    """Whether a watcher is told of the work in this thread."""
    return _watcher.get() is not None


def tell(what: str, value: Any) -> None:
    """Passes a part of a result to the watcher, if there is one."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher.found(what, value)


def hide_bars() -> None:
    """Turns progress bars off from now on."""
    global _hidden
    _hidden = True


@unbroken
def silence() -> Iterator[None]:
    """While this lasts, progress bars, messages and warnings are off, because another process shows them."""
    global _hidden
    log = logging.getLogger("bauklens")
    before, level, _hidden = _hidden, log.level, True
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _hidden = before
        log.setLevel(level)


class bar:  # noqa: N801 - used like a function
    """A progress bar over items or up to a total; not shown for a single item, or if there is a watcher.

    An interrupt waits until the bar has released tqdm's lock, which all bars of a program share.
    """

    def __init__(
        self, what: str, unit: str, items: Iterable[Any] = (), *, total: int | None = None, hidden: bool = False
    ) -> None:
        self._items = items
        self._bar: tqdm[Any] | None = None
        total = len(items) if total is None and isinstance(items, Sized) and items else total
        self._what, self._unit, self._done, self._total = what, unit, 0, total
        self._tell_watcher()
        if not (_hidden or hidden or is_watched()) and total != 1 and sys.stderr is not None and sys.stderr.isatty():
            shape = None if total else f"{{desc}}: {{n_fmt}} {unit}s [{{elapsed}}, {{rate_fmt}}]"
            self._bar = finished(tqdm, total=total, desc=what, unit=unit, delay=2, leave=False, bar_format=shape)

    def update(self, count: int = 1) -> None:
        """Adds to the number of items that are done."""
        self._done += count
        self._tell_watcher()
        if self._bar is not None:
            finished(self._bar.update, count)

    def tell(self, text: str) -> None:
        """Shows a text at the end of the bar."""
        if self._bar is not None:
            finished(self._bar.set_postfix_str, text, refresh=False)

    def _tell_watcher(self) -> None:
        watcher = _watcher.get()
        if watcher is not None:
            watcher.progressed(self._what, self._unit, self._done, self._total)

    def __iter__(self) -> Iterator[Any]:
        with self:
            for each in self._items:
                yield each
                self.update(1)

    def __enter__(self) -> "bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            finished(self._bar.close)

"""Progress bars for long work: on a terminal, after two seconds, unless they are turned off."""

import logging
import sys
import warnings
from collections.abc import Iterable, Iterator, Sized
from typing import Any

from tqdm.auto import tqdm

from bauklens.signals import finished, unbroken

_hidden = False


def hide_bars() -> None:
    """Turns progress bars off from now on."""
    global _hidden
    _hidden = True


@unbroken
def silence() -> Iterator[None]:
    """Turns progress bars, messages and warnings off meanwhile, as another process shows them."""
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
    """A progress bar over items or up to a total; a bar for a single item is never shown.

    An interrupt waits until the bar has given back tqdm's lock, which all bars of a program share.
    """

    def __init__(
        self, what: str, unit: str, items: Iterable[Any] = (), *, total: int | None = None, hidden: bool = False
    ) -> None:
        self._items = items
        self._bar: tqdm[Any] | None = None
        if not (_hidden or hidden) and total != 1 and sys.stderr is not None and sys.stderr.isatty():
            total = len(items) if total is None and isinstance(items, Sized) else total
            shape = None if total else f"{{desc}}: {{n_fmt}} {unit}s [{{elapsed}}, {{rate_fmt}}]"
            self._bar = finished(tqdm, total=total, desc=what, unit=unit, delay=2, leave=False, bar_format=shape)

    def update(self, count: int = 1) -> None:
        """So many more are done."""
        if self._bar is not None:
            finished(self._bar.update, count)

    def tell(self, text: str) -> None:
        """Shows a text at the end of the bar."""
        if self._bar is not None:
            finished(self._bar.set_postfix_str, text, refresh=False)

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

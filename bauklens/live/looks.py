"""The looks of a server's pages, the newest of them, so that they can be saved and gone on from."""

import secrets
from collections import OrderedDict
from threading import Lock

from bauklens.live.looking import Looked

MOST_KEPT = 64
"""Looks."""

MOST_CELLS = 4_000_000
"""Cells of all of them together, of about 60 bytes each."""


class Looks:
    """The newest looks, by names that nobody can guess."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Looked] = OrderedDict()
        self._lock = Lock()

    def add(self, looked: Looked) -> str:
        """Keeps a look, and lets go of the oldest ones if there are too many; its name."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._kept[name] = looked
            while len(self._kept) > 1 and (len(self._kept) > MOST_KEPT or self._cells > MOST_CELLS):
                self._kept.popitem(last=False)
        return name

    def named(self, name: str) -> Looked | None:
        """The look of a name; None if it is not there, or not any more."""
        with self._lock:
            return self._kept.get(name)

    @property
    def _cells(self) -> int:
        return sum(each.clean.magnitude.size * (1 if each.shown is each.clean else 3) for each in self._kept.values())

"""The newest looks of a server's pages, so that pages can save them and continue from them."""

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import is_dataclass
from threading import Lock
from typing import Any

import numpy as np

from bauklens.live.looking import Looked

MOST_KEPT = 64
"""Looks."""

MOST_BYTES = 256 << 20
"""The most bytes of all their tables together."""


class Looks:
    """The newest looks, under names that cannot be guessed."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Looked, int]] = OrderedDict()
        self._lock = Lock()

    def add(self, looked: Looked) -> str:
        """Keeps a look, drops the oldest ones if there are too many, and returns its name."""
        name, size = secrets.token_urlsafe(12), bytes_of(looked, set())
        with self._lock:
            self._kept[name] = looked, size
            while len(self._kept) > 1 and (len(self._kept) > MOST_KEPT or self._bytes > MOST_BYTES):
                self._kept.popitem(last=False)
        return name

    def named(self, name: str) -> Looked | None:
        """The look of this name; None if it is unknown or no longer kept."""
        with self._lock:
            return self._kept.get(name, (None, 0))[0]

    @property
    def _bytes(self) -> int:
        return sum(size for _, size in self._kept.values())


def bytes_of(value: Any, counted: set[int]) -> int:
    """The bytes of all arrays in a result, each counted once."""
    if id(value) in counted or isinstance(value, str):
        return 0
    counted.add(id(value))
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(bytes_of(each, counted) for each in value.values())
    if isinstance(value, (list, tuple)):
        return sum(bytes_of(each, counted) for each in value)
    return sum(bytes_of(each, counted) for each in vars(value).values()) if is_dataclass(value) else 0

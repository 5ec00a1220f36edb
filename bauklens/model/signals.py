"""Signals that wait: what must be done to its end is not ended by Ctrl-C."""

import signal
from collections.abc import Callable
from threading import current_thread, main_thread
from types import FrameType, TracebackType
from typing import Any

_Handler = Callable[[int, FrameType | None], Any]

_WAITING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGALRM") if hasattr(signal, name)]
"""What stops a program or a part of it: Ctrl-C, a scheduler, a time limit."""


class signals_waiting:  # noqa: N801 - used like a function
    """In the main thread, where Python handles signals, those that end things are handled when this ends."""

    def __init__(self) -> None:
        self._handlers: dict[int, _Handler] = {}
        self._came: list[tuple[int, FrameType | None]] = []

    def __enter__(self) -> None:
        if current_thread() is not main_thread():
            return
        for number in _WAITING:
            handler = signal.getsignal(number)
            if callable(handler) and not isinstance(handler, signal.Handlers):
                self._handlers[number] = handler
        try:
            for number in self._handlers:
                signal.signal(number, self._note)
        except BaseException:  # of another signal, whose handler was still there
            self._restore()
            raise

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        try:
            self._restore()
        finally:
            self._restore()
        for number, frame in self._came:
            self._handlers[number](number, frame)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came.append((number, frame))

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

"""Signals that wait: a clean-up runs to its end, however often Ctrl-C is pressed.

Python can handle a signal between any two instructions of the main thread. So an interrupt can stop a ``finally`` block
half-way, or the exit of a context manager before its first line. While a manager of :func:`unbroken` is open, this
module's handler replaces the caller's. It looks at the stack. If such a manager is being entered or left, the signal
waits until that is done. If not, the caller's handler is called at once.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from threading import current_thread, main_thread
from types import FrameType, TracebackType
from typing import Any, ParamSpec, TypeVar

_T = TypeVar("_T")
_P = ParamSpec("_P")
_Handler = Callable[[int, FrameType | None], Any]

_WAITING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGALRM") if hasattr(signal, name)]
"""What ends a program or a part of it: Ctrl-C, a scheduler, a time limit."""

_POLLED = 0.1
"""Seconds that a lock is waited for before the signals that came meanwhile are handled."""

_came: dict[int, _Handler] = {}
"""The signals that wait, each with the handler that will be called."""


def unbroken(function: Callable[_P, Iterator[_T]]) -> Callable[_P, AbstractContextManager[_T]]:
    """Like :func:`contextlib.contextmanager`, but no signal is handled while the manager is being entered or left.

    A manager that opens one of these must be one too: otherwise an interrupt at its exit leaves the inner one open.
    """
    managed = contextmanager(function)

    @wraps(function)
    def manager(*args: _P.args, **options: _P.kwargs) -> AbstractContextManager[_T]:
        return _Unbroken(managed(*args, **options))

    return manager


def finished(function: Callable[..., _T], *args: Any, **options: Any) -> _T:
    """Calls a function and returns what it returns. Signals are handled when it has finished."""
    handlers = _Handlers()
    try:
        handlers.begin()
        return function(*args, **options)
    finally:
        handlers.end()


def take(lock: Any) -> None:
    """Takes a lock within a manager of :func:`unbroken`. Signals are handled while it waits, and not once it has it."""
    while not lock.acquire(timeout=_POLLED):
        _handle()


class _Unbroken(AbstractContextManager[_T]):
    def __init__(self, managed: AbstractContextManager[_T]) -> None:
        self._managed, self._handlers = managed, _Handlers()

    def __enter__(self) -> _T:
        try:
            self._handlers.begin()
            value = self._managed.__enter__()
            try:
                _handle_unless_inside_another()
            except BaseException:
                self._managed.__exit__(*sys.exc_info())
                raise
        except BaseException:
            self._handlers.end()
            raise
        return value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return self._managed.__exit__(kind, error, trace)
        finally:
            self._handlers.end()


_QUIET = {_Unbroken.__enter__.__code__, _Unbroken.__exit__.__code__, finished.__code__}
"""The functions that no signal may interrupt."""


class _Handlers:
    """Replaces the handlers of the caller until its end, unless another of this class already has."""

    def __init__(self) -> None:
        self._before: dict[int, _Handler] = {}

    def begin(self) -> None:
        if current_thread() is not main_thread():
            return
        for number in _WAITING:
            handler = signal.getsignal(number)
            if callable(handler) and not isinstance(handler, _Handlers):
                _came.pop(number, None)
                self._before[number] = handler
                signal.signal(number, self)

    def end(self) -> None:
        try:
            self._give_back()
        finally:
            self._give_back()
        _handle_unless_inside_another()

    def _give_back(self) -> None:
        for number, handler in reversed(self._before.items()):  # Ctrl-C, the most likely, comes last
            if signal.getsignal(number) is self:
                signal.signal(number, handler)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        handler = self._before[number]
        if _quiet(frame):
            _came[number] = handler
        else:
            handler(number, frame)


def _handle_unless_inside_another() -> None:
    if _came and _quiet(sys._getframe()) == 1:
        _handle()


def _handle() -> None:
    if _came and current_thread() is main_thread():
        came = list(_came.items())
        _came.clear()
        _handle_each(came)


def _handle_each(came: list[tuple[int, _Handler]]) -> None:
    if came:
        (number, handler), *others = came
        try:
            handler(number, sys._getframe())
        finally:
            _handle_each(others)


def _quiet(frame: FrameType | None) -> int:
    """How many functions on the stack no signal may interrupt."""
    count = 0
    while frame is not None:
        count += frame.f_code in _QUIET
        frame = frame.f_back
    return count

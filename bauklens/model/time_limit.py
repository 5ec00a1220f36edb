"""Runs a function that may never end, such as a chat template from an untrusted source."""

import sys
import time
from collections.abc import Callable
from threading import Thread
from typing import Any


class TookTooLongError(Exception):
    """The function did not end in time."""


def within(seconds: float, function: Callable[[], Any]) -> Any:
    """The result of a function that runs in its own thread, and is stopped at its next line when its time is up.

    Args:
        seconds: how long it may run.

    Raises:
        TookTooLongError: it did not end in time.
        Exception: what the function raises.
    """
    end = time.monotonic() + seconds
    returned: list[Any] = []
    raised: list[BaseException] = []

    def stop_late(*_: Any) -> Callable[..., Any]:
        if time.monotonic() > end:
            raise TookTooLongError
        return stop_late

    def run() -> None:
        sys.settrace(stop_late)
        try:
            returned.append(function())
        except BaseException as error:
            raised.append(error)
        finally:
            sys.settrace(None)

    thread = Thread(target=run, name="within", daemon=True)
    thread.start()
    thread.join(seconds + 1)
    if raised:
        raise raised[0]
    if not returned:
        raise TookTooLongError
    return returned[0]

"""The progress of a job -> server-sent events of an answer, which ends with the job; closing the page cancels it."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.types import Receive, Scope, Send

from bauklens.live.worker import Job, Tell

LAST = ("end", "stopped", "failed")
"""The events that end a job."""

MOST_BEHIND = 200
"""If more events wait to be sent, the page does not get every step."""

STEP = 0.05
"""The least number of seconds between two steps that a page gets."""

Written = Callable[[str, Any], "tuple[str, Any] | None"]
"""An event and its value -> the same for JSON; None if it is not for the page."""


class Events:
    """The answer to a request: the events of a job.

    Args:
        begin: adds the job, which reports to the function that it is given, from any thread.
        written: makes JSON of an event, in the thread that reports it.
    """

    def __init__(self, begin: Callable[[Tell], Job], written: Written) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self._written, self._last_step = written, 0.0
        self._job = begin(self._tell)

    def _tell(self, name: str, value: Any) -> None:
        if name == "progress":
            now = time.monotonic()
            if now - self._last_step < STEP or self._events.qsize() > MOST_BEHIND:
                return
            self._last_step = now
        found = self._written(name, value)
        if found is not None:
            text = json.dumps(found[1], allow_nan=False, separators=(",", ":"))
            with suppress(RuntimeError):  # the server has ended
                self._loop.call_soon_threadsafe(self._events.put_nowait, (found[0], text))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI has it
        """Sends the events until the job has ended or the page is gone."""
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            name = ""
            while name not in LAST:
                event = asyncio.ensure_future(self._events.get())
                await asyncio.wait({event, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not event.done():
                    event.cancel()
                    return
                name, text = event.result()
                body = f"event: {name}\ndata: {text}\n\n".encode()
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._job.cancel()
            gone.cancel()


_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]


async def _disconnected(receive: Receive) -> None:
    """Returns when the page that asked is closed."""
    while (await receive())["type"] != "http.disconnect":
        pass

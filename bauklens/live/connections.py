"""Idle connections: they are closed, as each takes one of the few files that a program may open."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS = 10.0
"""How long the head of a request may take, from the connection or from the first byte of it."""

BODY_SECONDS = 30.0
"""How long its body may take."""


class Connection(H11Protocol):
    """uvicorn's protocol, but with time limits."""

    _waits: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client has connected, and may send a request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """A part of a request has arrived; once its head is complete, it is answered."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """A client has disconnected."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _unsupported_upgrade_warning(self) -> None:
        """Any page in a browser can ask for a websocket; it gets none, and nothing is logged."""

    def _wait(self) -> None:
        if self._waits is None:
            self._waits = self.loop.call_later(SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waits is not None:
            self._waits.cancel()
            self._waits = None

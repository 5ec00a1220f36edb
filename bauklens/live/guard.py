"""Who may ask: only the server's own page, with the token that the server printed. All others get a one-line error.

A page of another site can make a browser send requests here, and a name of its own can be made to lead here (DNS
rebinding). So ``Host`` must be one of this server's names, ``Origin`` must be this server, and every request except
that for the page itself needs the token, which no other site's script can read.
"""

import hmac
import logging
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bauklens.live.worker import told_of

MOST_BYTES = 1 << 20
"""The largest body of a request."""

OPEN = ("/", "/favicon.ico")
"""Available without the token: the page, which contains nothing about the model."""

log = logging.getLogger(__name__)


class Guard:
    """Refuses requests that do not come from the server's own page.

    Args:
        hosts: the host names of the server.
        token: the token that every request must have in ``Authorization: Bearer ...``.
        policy: the content security policy of every answer.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], token: str, policy: str) -> None:
        self._app, self._hosts, self._token = app, frozenset(hosts), token
        self._headers = {
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "no-referrer",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "cache-control": "no-store",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses a request, or passes it to the app."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        has_begun = False

        async def guarded(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    *((name.encode(), value.encode()) for name, value in self._headers.items()),
                ]
            await send(message)

        refused = self._refused(scope)
        if refused is not None:
            await PlainTextResponse(refused[1], refused[0])(scope, receive, guarded)
            return
        try:
            await self._app(scope, _limited(receive), guarded)
        except ClientDisconnect:  # it left in the middle of its body
            return
        except Exception as error:  # a tokenizer may raise anything
            log.warning("a request failed", exc_info=True)
            if not has_begun:
                await PlainTextResponse(told_of(error), 500)(scope, receive, guarded)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request is refused: a status and a sentence; None if it is not."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if _name_in(host) not in self._hosts:
            return 421, "this server does not have that host name: open the address that bauklens serve printed"
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return 403, "the request comes from another page: open the address that bauklens serve printed"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and scope["path"] not in OPEN:
            return 403, "the request comes from another page: open the address that bauklens serve printed"
        if scope["path"] in OPEN and scope["method"] in ("GET", "HEAD"):
            return None
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            return (
                401,
                "the token is missing or wrong: open the address that bauklens serve printed, with everything after #",
            )
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 12 or int(length) > MOST_BYTES:
            return 413, f"the request is too large: send at most {MOST_BYTES >> 10:,} kB"
        return None


class TooLargeError(Exception):
    """A body is longer than allowed."""


def _limited(receive: Receive) -> Receive:
    """Receives a body of at most this many bytes, whatever its header claims."""
    count = 0

    async def limited() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > MOST_BYTES:
            raise TooLargeError
        return message

    return limited


def _name_in(host: str) -> str:
    """The name in a ``Host`` header, without the port.

    >>> _name_in("localhost:8765"), _name_in("[::1]:8765"), _name_in("evil.example")
    ('localhost', '::1', 'evil.example')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()

"""Who may ask: the address bar's own page, with the token that the server printed. Everything else gets one line.

A page of another site can make a browser send requests here, and a name of its own can be made to lead here (DNS
rebinding). So the name in ``Host`` must be one that this server is called by, ``Origin`` must be this server, and every
request but that for the page itself needs the token, which no other site's script can read.
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
"""Of a request's body."""

OPEN = ("/", "/favicon.ico")
"""What is there without the token: the page, which knows nothing."""

log = logging.getLogger(__name__)


class Guard:
    """Refuses what does not come from the server's own page.

    Args:
        hosts: the names that the server is called by.
        token: what every request must have in ``Authorization: Bearer ...``.
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
        """Answers a request, or hands it on."""
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
        except ClientDisconnect:  # in the middle of its body
            return
        except Exception as error:  # of a tokenizer, which anyone can have made
            log.warning("a request failed", exc_info=True)
            if not has_begun:
                await PlainTextResponse(told_of(error), 500)(scope, receive, guarded)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request is not answered: a status and a sentence; None if it is."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if _name_in(host) not in self._hosts:
            return 421, "this server is not called by that name: open the address that bauklens serve printed"
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return 403, "another page asks: open the address that bauklens serve printed"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and scope["path"] not in OPEN:
            return 403, "another page asks: open the address that bauklens serve printed"
        if scope["path"] in OPEN and scope["method"] in ("GET", "HEAD"):
            return None
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            return 401, "the token is missing or wrong: open the address that bauklens serve printed, with all of its #"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 12 or int(length) > MOST_BYTES:
            return 413, f"the request is too large: send at most {MOST_BYTES >> 10:,} kB"
        return None


class TooLargeError(Exception):
    """A body goes on longer than it may."""


def _limited(receive: Receive) -> Receive:
    """What receives a body of at most so many bytes, whatever its header said."""
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

"""serve(): a page on the user's own machine to type to a model, look into it, change it, and look again."""

import asyncio
import secrets
import socket
import webbrowser
from importlib import import_module
from os import PathLike
from threading import Event, Thread
from typing import Any

from torch import nn
from typing_extensions import Self

from bauklens.decoders.chosen import chosen_decoders, is_several
from bauklens.errors import LensError
from bauklens.live.hosts import LOOPBACK, address_of, listener_at, names_of
from bauklens.live.looking import Looking
from bauklens.live.worker import Worker
from bauklens.model.provenance import model_name

HOST = "127.0.0.1"
"""This machine; others cannot reach it."""

_ENDS_WITHIN = 3.0
"""How long the thread that runs the model has to notice that the server ends, in seconds."""


class Live:
    """A running server, made by :func:`bauklens.serve`.

    Attributes:
        url: the address to open, with the access token after the ``#``.
    """

    def __init__(self, server: Any, listener: socket.socket, url: str, worker: Worker) -> None:
        self.url = url
        self._server, self._listener, self._worker = server, listener, worker
        self._ended = Event()
        self._thread = Thread(target=self._run, name="bauklens-server", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            asyncio.run(self._server.serve(sockets=[self._listener]))
        finally:
            self._listener.close()
            self._ended.set()
            self._worker.close(0)

    def wait(self) -> None:
        """Runs the model in this thread, and returns when the server has ended; an interrupt ends it."""
        try:
            self._worker.run()
        finally:
            self.stop()

    def stop(self) -> None:
        """Ends the server and whatever it runs; the model is left unchanged."""
        self._worker.close(_ENDS_WITHIN)
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(_ENDS_WITHIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Live page at {self.url}>" if not self._ended.is_set() else "<Live page, stopped>"

    def _repr_html_(self) -> str:
        if self._ended.is_set():
            return "<p>The live page was stopped.</p>"
        address = self.url.partition("#")[0]
        return f'<p>The live page: <a href="{self.url}" target="_blank" rel="noopener">{address}</a></p>'


def serve(
    model: nn.Module,
    tokenizer: Any = None,
    *,
    decoders: Any = None,
    host: str = HOST,
    port: int = 0,
    token: str | None = None,
    name: str | None = None,
    seconds: float | None = None,
    open_page: bool = False,
) -> Live:
    """Serves a page for typing to a model, looking into it through lenses, changing it, and looking again.

    It returns at once; the model runs in its own thread, one request after another, and is left unchanged. Only
    requests with the token are answered, and only this machine can reach the page, unless ``host`` is set.

    Args:
        model: as for :func:`bauklens.logit_lens`.
        tokenizer: its tokenizer.
        decoders: what :func:`bauklens.logit_lens` takes as ``decoder``, or a list of these. None takes the quick
            decoder that was fitted on this page before, if any.
        host: the address to listen on. If other machines can reach it, anyone with the token can run the model, over a
            connection that is not encrypted.
        port: the port to listen on; 0 takes a free one.
        token: the access token; None makes a random one. It is required if the host is not this machine.
        name: the model's name on the page, and the one that the shown Python and commands load.
        seconds: how long one request may take; by default 600.
        open_page: whether to open the page in a browser.

    Returns:
        The server: ``.url``, ``.stop()``; in a ``with`` statement it stops at the end.

    Raises:
        LensError: starlette and uvicorn are missing, the port is taken, or the page cannot show this model.
    """
    require_installed()
    import uvicorn

    from bauklens.live.app import SECONDS, Serving, application
    from bauklens.live.connections import Connection
    from bauklens.live.fitting import Quick

    if host not in LOOPBACK and not token:
        raise LensError(
            f"host={host!r} can be reached from other machines: pass token= as well, a text that is hard to guess"
        )
    token = secrets.token_urlsafe(24) if token is None else _checked_token(token)
    given = list(decoders) if is_several(decoders) else [decoders]
    named = [str(each) if isinstance(each, (str, PathLike)) else "" for each in given]
    looking = Looking.at(model, tokenizer, zip(chosen_decoders(given), named, strict=True))
    quick = Quick()
    if decoders is None:
        quick.take(looking)
    listener = listener_at(host, port)
    serving = Serving(looking, name or model_name(model), quick, SECONDS if seconds is None else seconds)
    found = listener.getsockname()[1]
    config = uvicorn.Config(
        application(serving, names_of(host), token),
        log_level="warning",
        access_log=False,
        lifespan="off",
        http=Connection,
        ws="none",
        timeout_graceful_shutdown=1,
        server_header=False,
        h11_max_incomplete_event_size=64 << 10,
    )
    url = f"http://{address_of(host)}:{found}/#token={token}"
    live = Live(uvicorn.Server(config), listener, url, serving.worker)
    if open_page:
        webbrowser.open(url)
    return live


def require_installed() -> None:
    """Refuses to serve without the required packages, before a model is loaded.

    Raises:
        LensError: one is missing.
    """
    try:
        import_module("starlette")
        import_module("uvicorn")
    except ImportError:
        raise LensError("the live page needs starlette and uvicorn: pip install 'bauklens[serve]'") from None


def _checked_token(token: str) -> str:
    if not isinstance(token, str) or not token.replace("-", "").replace("_", "").isalnum() or not token.isascii():
        raise LensError("token must be letters, digits, - and _, as it goes into an address")
    if len(token) < 8:
        raise LensError("token is shorter than 8 characters: pass one that is hard to guess")
    return token

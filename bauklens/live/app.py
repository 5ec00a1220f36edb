"""The server's addresses: the page, facts about the model, and the page's requests."""

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from bauklens.errors import LensError
from bauklens.live.again import as_command, as_python
from bauklens.live.apart import Apart
from bauklens.live.asked import Asked
from bauklens.live.connections import BODY_SECONDS
from bauklens.live.events import Events
from bauklens.live.fitting import Quick
from bauklens.live.guard import Guard, TooLargeError
from bauklens.live.looking import Looked, Looking
from bauklens.live.looks import Looks
from bauklens.live.page import live_page, policy
from bauklens.live.told import told
from bauklens.live.worker import BusyError, Job, Tell, Worker
from bauklens.reading_files import parse_json
from bauklens.result.tokens import token_texts, visible
from bauklens.show.cell_notes import with_notes
from bauklens.show.page import page
from bauklens.vocabulary import EMBED, LOGIT, STREAM_CAPTIONS

SECONDS = 600.0
"""How long one request may take, by default."""


@dataclass(frozen=True)
class Serving:
    """The parts of a server.

    Attributes:
        name: the name of the model, as for ``load``.
        seconds: how long one request may take.
    """

    looking: Looking
    name: str
    quick: Quick
    seconds: float = SECONDS
    worker: Worker = field(default_factory=Worker)
    looks: Looks = field(default_factory=Looks)


def application(serving: Serving, hosts: tuple[str, ...], token: str) -> ASGIApp:
    """The server.

    Args:
        hosts: its host names.
        token: the token that a page must know.
    """
    pages = _Pages(serving)
    routes = [
        Route("/", pages.page),
        Route("/favicon.ico", _nothing),
        Route("/about", pages.about),
        Route("/tokens", pages.tokens, methods=["POST"]),
        Route("/look", pages.look, methods=["POST"]),
        Route("/fit", pages.fit, methods=["POST"]),
        Route("/save", pages.save, methods=["POST"]),
    ]
    handlers: dict[Any, Any] = {LensError: _refused, BusyError: _busy, TooLargeError: _too_large}
    guard = Middleware(Guard, hosts=hosts, token=token, policy=policy())
    return Starlette(routes=routes, middleware=[guard], exception_handlers=handlers)


class _Pages:
    def __init__(self, serving: Serving) -> None:
        self._serving, self._apart = serving, Apart()

    async def page(self, request: Request) -> Response:
        came_from = request.headers.get("sec-fetch-site", "none")
        return HTMLResponse(live_page(linked=came_from in ("cross-site", "same-site")))

    async def about(self, _: Request) -> Response:
        looking = self._serving.looking
        return JSONResponse(
            {
                "model": self._serving.name,
                "decoders": [[LOGIT, "logit lens"], *([name, looking.called(name)] for name in looking.decoders)],
                "streams": {name: STREAM_CAPTIONS[name] for name in looking.streams},
                "layers": [EMBED, *looking.anatomy.labels],
                "mapped": {name: looking.mapped(name) for name in looking.decoders},
                "chats": bool(getattr(looking.tokenizer, "chat_template", None)),
                "fit": self._serving.quick.offer(looking),
            }
        )

    async def tokens(self, request: Request) -> Response:
        asked, looking = Asked.of(await _json(request)), self._serving.looking

        def tokens() -> list[tuple[int, str, bool]]:
            ids = looking.tokens(asked)
            texts = token_texts(looking.tokenizer, ids)
            special = set(getattr(looking.tokenizer, "all_special_ids", ()))
            return [(each, visible(texts[each]), each in special) for each in ids]

        return JSONResponse({"tokens": await self._apart.do(tokens)})

    async def look(self, request: Request) -> Events:
        data, serving = await _json(request), self._serving
        given = Asked.of(data)

        def work(job: Job) -> None:
            asked = serving.looking.in_texts(given)
            looked = serving.looking.look(asked, job)
            name = serving.looks.add(looked)
            job.found("done", {"name": name, **self._again(asked)} | ({} if asked.change else {"figure": looked}))

        return Events(self._begins(data, work), told(serving.looking.tokenizer))

    async def fit(self, request: Request) -> Events:
        data, serving = await _json(request), self._serving

        def work(job: Job) -> None:
            job.found("fitted", serving.quick.fit(serving.looking))

        return Events(self._begins(data, work), told(serving.looking.tokenizer))

    async def save(self, request: Request) -> Response:
        data = await _json(request)
        looked = self._serving.looks.named(str(data.get("name"))[:80])
        if looked is None:
            return PlainTextResponse("this look is no longer kept: press Look again, then save", 410)
        shown, state = looked.shown, None
        if data.get("form") == "json":
            return await self._apart.do(lambda: JSONResponse(shown.to_dict()))
        if isinstance(data.get("state"), dict):
            state = _state(looked, data["state"])
        return await self._apart.do(lambda: HTMLResponse(page([shown], state=state).encode("utf-8", "replace")))

    def _begins(self, data: Any, work: Callable[[Job], None]) -> Callable[[Tell], Job]:
        given = data.get("page")
        of = given[:80] if isinstance(given, str) and given else secrets.token_hex()

        def begin(tell: Tell) -> Job:
            job = Job(of, work, tell, self._serving.seconds)
            before = self._serving.worker.add(job)
            tell("queued", before)
            return job

        return begin

    def _again(self, asked: Asked) -> dict[str, str]:
        given = asked, self._serving.name, self._serving.looking.sources
        return {"python": as_python(*given, self._serving.looking.aligned(asked)), "command": as_command(*given)}


def _state(looked: Looked, given: dict[str, Any]) -> dict[str, Any]:
    """The state of a viewer, checked so that a page may contain it."""
    try:
        json.dumps(given, allow_nan=False)
    except ValueError:
        raise LensError("the state is not JSON: it has a number that is not finite") from None
    return with_notes(looked.clean, given)


async def _json(request: Request) -> Any:
    try:
        body = await asyncio.wait_for(request.body(), BODY_SECONDS)
    except asyncio.TimeoutError:
        raise LensError(f"the request did not arrive within {BODY_SECONDS:.0f} seconds") from None
    try:
        data = parse_json(body)
    except LensError:
        raise LensError("the request is not JSON") from None
    if not isinstance(data, dict):
        raise LensError("the request must be a JSON object")
    return data


async def _nothing(_: Request) -> Response:
    return Response(status_code=204)


async def _refused(_: Request, error: LensError) -> Response:
    return PlainTextResponse(str(error), 400)


async def _busy(_: Request, __: Exception) -> Response:
    return PlainTextResponse("many other requests are waiting: try again in a minute", 429)


async def _too_large(_: Request, __: Exception) -> Response:
    return PlainTextResponse("the request is too large: send at most 1,024 kB", 413)

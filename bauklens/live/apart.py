"""Long work without the model: done beside the server's loop, which continues to serve all other pages."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TypeVar

_T = TypeVar("_T")

MOST_AT_ONCE = 4
"""How many threads of a server do such work."""


class Apart:
    """Does work in threads that do not keep the program from ending, unlike those of the loop itself."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(MOST_AT_ONCE)

    async def do(self, work: Callable[[], _T]) -> _T:
        """Returns or raises what the work does."""
        async with self._places:
            loop = asyncio.get_running_loop()
            ended: asyncio.Future[None] = loop.create_future()
            returned: list[_T] = []
            raised: list[BaseException] = []

            def end() -> None:
                if not ended.done():  # the one who waited may be gone
                    ended.set_result(None)

            def run() -> None:
                try:
                    returned.append(work())
                except BaseException as error:
                    raised.append(error)
                with suppress(RuntimeError):  # the server has ended
                    loop.call_soon_threadsafe(end)

            Thread(target=run, name="bauklens-apart", daemon=True).start()
            await ended
        for error in raised:
            raise error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}")
        return returned[0]

"""A text that is being generated: its new columns are shown from time to time, long before it is finished."""

import time
from collections.abc import Callable
from typing import Any

from bauklens.errors import LensError
from bauklens.live.worker import Job
from bauklens.result.alignment import common

SHARE = 1 / 3
"""The share of the time that looks may have taken when the next one begins: each reads the whole text so far."""


class Growing:
    """Watches a generation for a job, and looks at its new columns.

    Args:
        job: receives everything.
        prompt: the ids of the prompt.
        look: shows some columns of the text so far; its arguments are the ids and the positions.
    """

    def __init__(self, job: Job, prompt: list[int], look: Callable[[list[int], range], None]) -> None:
        self._job, self._prompt, self._look = job, prompt, look
        self._begun, self._spent = time.monotonic(), 0.0
        self._seen = prompt  # the text of which all columns have been shown
        self._is_looking = False

    def progressed(self, what: str, unit: str, done: int, total: int | None) -> None:
        """Passes on the progress of the generation, but not of looks."""
        if self._is_looking:
            self._job.require_wanted()
        else:
            self._job.progressed(what, unit, done, total)

    def found(self, what: str, value: Any) -> None:
        """Passes on what was found; after a new token, it may look at the columns that are new since the last look.

        A beam search may change its mind about earlier tokens; columns from the first changed token on are new as well.
        """
        self._job.found(what, value)
        if what == "generated":
            ids = [*self._prompt, *value]
            self._seen = ids[: common(self._seen, ids)]
            columns = range(len(self._seen), len(ids))
            if columns and self._spent <= SHARE * (time.monotonic() - self._begun):
                self._grown(ids, columns)

    def _grown(self, ids: list[int], columns: range) -> None:
        begun, self._is_looking = time.monotonic(), True
        try:
            self._look(ids, columns)
            self._seen = ids
            self._spent += time.monotonic() - begun
        except LensError:  # the finished text will fail in the same way, or not at all
            self._spent = float("inf")
        finally:
            self._is_looking = False

"""One thread that does what pages ask for, one job after another, and can be stopped."""

import logging
import time
from collections import deque
from collections.abc import Callable
from threading import Condition, Event, Thread, current_thread, main_thread
from typing import Any

from bauklens.errors import LensError
from bauklens.progress import watched

Tell = Callable[[str, Any], None]
"""Called with an event and its value, from any thread."""

MOST_WAITING = 64
"""The most requests that may wait at once."""

_BETWEEN = 0.1
"""The least number of seconds between two reports of a step's progress: sending one takes time from the work."""

log = logging.getLogger(__name__)


class BusyError(Exception):
    """The most requests are waiting already."""


class Stopped(BaseException):
    """The work is no longer wanted. Like an interrupt, this is not an error, and only the worker may catch it."""


class Job:
    """A job for a page.

    Args:
        page: the page that asks.
        work: does the job; its argument is the job itself.
        tell: is called with each event.
        seconds: how long the work may take.
    """

    def __init__(self, page: str, work: Callable[["Job"], None], tell: Tell, seconds: float) -> None:
        self.page, self.work, self.tell = page, work, tell
        self._seconds, self._end = seconds, float("inf")
        self._told = 0.0
        self._unwanted = Event()

    def cancel(self) -> None:
        """Cancels the job: it does not begin, or stops at its next step."""
        self._unwanted.set()

    @property
    def is_wanted(self) -> bool:
        """Whether it has not been cancelled."""
        return not self._unwanted.is_set()

    def begin(self) -> None:
        """Starts counting its time."""
        self._end = time.monotonic() + self._seconds

    def require_wanted(self) -> None:
        """Stops the work if it was cancelled, or if it has taken too long.

        Raises:
            Stopped: it was cancelled.
            LensError: its time is up.
        """
        if not self.is_wanted:
            raise Stopped
        if time.monotonic() > self._end:
            raise LensError(
                f"this took longer than {self._seconds:,.0f} seconds: ask for less, or serve with --seconds"
            )

    def progressed(self, what: str, unit: str, done: int, total: int | None) -> None:
        """Called by the work at each of its steps."""
        self.require_wanted()
        now = time.monotonic()
        if done == 0 or done == total or now > self._told + _BETWEEN:
            self._told = now
            self.tell("progress", {"what": what, "unit": unit, "done": done, "total": total})

    def found(self, what: str, value: Any) -> None:
        """Called by the work with each part of its result."""
        self.require_wanted()
        self.tell(what, value)


class Worker:
    """The thread and the jobs that wait for it: at most one per page, first come, first served."""

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._changed = Condition()
        self._is_closed = False
        self._thread = self._runner = Thread(target=self._run, name="bauklens-live", daemon=True)
        self._thread.start()

    def run(self) -> None:
        """Does the work in the calling thread from now on, until :meth:`close`.

        OpenMP keeps a pool for every thread that runs torch, and with more of them than CPUs it puts them to sleep
        after each operation: a short forward pass takes 1.2 times as long in a thread beside the one that loaded it.
        """
        with self._changed:
            self._runner = current_thread()
            self._changed.notify_all()
        self._thread.join()
        self._run()

    def add(self, job: Job) -> int:
        """Puts a job at the end of the queue; an earlier job of the same page is cancelled.

        Returns:
            How many jobs are before it.

        Raises:
            BusyError: too many jobs wait.
        """
        with self._changed:
            for other in [*self._waiting, *([self._running] if self._running else [])]:
                if other.page == job.page:
                    other.cancel()
            self._let_go()
            if len(self._waiting) >= MOST_WAITING or self._is_closed:
                raise BusyError
            self._waiting.append(job)
            self._changed.notify_all()
            return len(self._waiting) - 1 + (self._running is not None)

    def close(self, seconds: float) -> None:
        """Cancels everything, and waits until nothing runs, but no longer than the given time."""
        with self._changed:
            self._is_closed = True
            for job in [*self._waiting, *([self._running] if self._running else [])]:
                job.cancel()
            self._let_go()
            self._changed.notify_all()
            if self._runner is not current_thread():
                self._changed.wait_for(lambda: self._running is None, seconds)

    def _let_go(self) -> None:
        """Reports to the waiting jobs that were cancelled, so that each answer ends."""
        for job in self._waiting:
            if not job.is_wanted:
                job.tell("stopped", None)
        self._waiting = deque(each for each in self._waiting if each.is_wanted)

    def _run(self) -> None:
        while job := self._next():
            _do(job)

    def _next(self) -> Job | None:
        """The next job, once there is one; None if another thread takes over, or at the end."""
        with self._changed:
            self._running = None
            self._changed.notify_all()
            while not self._waiting and self._goes_on():
                self._changed.wait()
            if self._goes_on():
                self._running = self._waiting.popleft()
            return self._running

    def _goes_on(self) -> bool:
        return not self._is_closed and self._runner is current_thread()


def _do(job: Job) -> None:
    """Does a job, and reports how it ended; whatever it raises, the thread continues."""
    try:
        job.require_wanted()
        job.begin()
        with watched(job):
            job.work(job)
        job.tell("end", None)
    except Stopped:
        job.tell("stopped", None)
    except LensError as error:
        job.tell("failed", str(error))
    except MemoryError:
        job.tell("failed", "out of memory: ask for less")
    except BaseException as error:  # whatever a model raises, even SystemExit, must not affect the next page
        if isinstance(error, KeyboardInterrupt) and current_thread() is main_thread():
            job.tell("stopped", None)
            raise
        log.warning("a request failed", exc_info=True)
        job.tell("failed", told_of(error))


def told_of(error: BaseException) -> str:
    """One line for an error of a model or a tokenizer, whose text can fail as well."""
    try:
        return str(LensError(f"{type(error).__name__}: {error!s:.300}".removesuffix(": ")))
    except Exception:
        return type(error).__name__

"""Which windows of a corpus a decoder is fitted on, and which are kept apart to choose by and to score it on."""

import hashlib
from collections.abc import Iterator
from itertools import islice

from bauklens.decoders.texts import Window
from bauklens.errors import LensError

_SEGMENT = 8
"""Windows of a long text that are kept apart together, as neighbours are alike; what is too many is left out."""

_OF_EACH, _TO_CHOOSE, _TO_SCORE = 5, 1, 3
"""Of every five segments, counted from 0, one is kept apart to choose by and one to score on, until they are enough."""


class Corpus:
    """Windows, some to fit on, and some between them that are kept apart.

    Args:
        windows: all of them.
        skip_first: positions at the beginning of a window that do not count, and nor does the last.
        choosing, scoring: how many windows are enough to choose by, and to score on.

    Attributes:
        chosen, scored: those kept apart so far.
        fitted, tokens: windows, and positions that count, that :meth:`batch` has returned so far.
        digest: SHA-256 of the ids of all windows up to there, those kept apart among them.
    """

    def __init__(self, windows: Iterator[Window], *, skip_first: int, choosing: int, scoring: int) -> None:
        self.chosen: list[Window] = []
        self.scored: list[Window] = []
        self.fitted, self.tokens, self.digest = 0, 0, hashlib.sha256().hexdigest()
        self._skip_first = skip_first
        self._windows, self._choosing, self._scoring = windows, choosing, scoring
        self._segment, self._of = -1, (-1, -1)
        self._kept: list[Window] | None = None
        self._digest = hashlib.sha256()
        self._to_fit = self._all_to_fit()
        self._ahead: Window | None = None

    def batch(self, at_once: int, tokens: int) -> list[Window]:
        """The next windows, all of one length; an empty list if no text is left.

        Args:
            at_once: how many at most.
            tokens: it ends with the window that brings its positions to so many.
        """
        found: list[Window] = []
        begin = last = self._mark()
        while len(found) < at_once and last[1] - begin[1] < tokens:
            if self._ahead is None:
                self._ahead = next(self._to_fit, None)
            if self._ahead is None or (found and self._ahead.inputs.count != found[0].inputs.count):
                break
            window, self._ahead = self._ahead, None
            found.append(window)
            last = (last[0] + 1, last[1] + self._counted(window), self._digest.hexdigest())
        self._hand_over(last)
        return found

    def skip(self, fitted: int, digest: str) -> None:
        """Continues after so many windows to fit on.

        Raises:
            LensError: the windows up to there are not those that have this digest.
        """
        last = self._mark()
        for window in islice(self._to_fit, fitted):
            last = (last[0] + 1, last[1] + self._counted(window), self._digest.hexdigest())
        self._hand_over(last)
        if (self.fitted, self.digest) != (fitted, digest):
            raise LensError(
                "the texts are not those that the checkpoint was begun with: pass the same, in the same order, or "
                "another name for the checkpoint"
            )

    def fill(self) -> None:
        """Keeps the windows that follow apart, until there are enough, or no more."""
        while len(self.chosen) < self._choosing or len(self.scored) < self._scoring:
            window = next(self._windows, None)
            if window is None:
                return
            wanting = [self._choosing - len(self.chosen), self._scoring - len(self.scored)]
            (self.chosen if wanting[0] > wanting[1] else self.scored).append(window)

    def _mark(self) -> tuple[int, int, str]:
        return self.fitted, self.tokens, self.digest

    def _hand_over(self, mark: tuple[int, int, str]) -> None:
        self.fitted, self.tokens, self.digest = mark

    def _counted(self, window: Window) -> int:
        """How many of its positions count."""
        return window.inputs.count - 1 - self._skip_first

    def _all_to_fit(self) -> Iterator[Window]:
        for window in self._windows:
            self._read(window)
            if self._kept is None:
                yield window
            elif len(self._kept) < (self._choosing if self._kept is self.chosen else self._scoring):
                self._kept.append(window)

    def _read(self, window: Window) -> None:
        """Counts a window, and decides at the first of a segment whether that segment is kept apart."""
        self._digest.update(window.inputs.ids.cpu().numpy().tobytes())
        of = (window.text, window.place // _SEGMENT)
        if of != self._of:
            self._of, self._segment = of, self._segment + 1
            place = self._segment % _OF_EACH
            to_choose = place == _TO_CHOOSE and len(self.chosen) < self._choosing
            to_score = place == _TO_SCORE and len(self.scored) < self._scoring
            self._kept = self.chosen if to_choose else self.scored if to_score else None

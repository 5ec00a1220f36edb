"""The source of a fit's windows: the caller's texts, or texts that the model writes; read again if necessary."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from torch import nn

from bauklens.decoders.fit.own_texts import own_windows
from bauklens.decoders.fit.wanted import Wanted
from bauklens.decoders.texts import Window, Windows
from bauklens.errors import LensError
from bauklens.model.inputs import Inputs, context_length


class Source:
    """The windows of texts.

    Args:
        texts: as for :func:`bauklens.fit_decoder`.

    Attributes:
        windows: the texts that were read last; None if the model writes them.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, texts: Iterable[Any] | None, wanted: Wanted) -> None:
        self._model, self._tokenizer, self._texts, self._wanted = model, tokenizer, texts, wanted
        self.windows: Windows | None = None
        self._begun: Iterator[Window] | None = None

    @property
    def own(self) -> bool:
        """Whether the model writes the texts itself."""
        return self._texts is None

    @property
    def once(self) -> bool:
        """Whether the texts can be read only once."""
        if self._texts is None:
            return False
        return getattr(self._texts, "is_read_once", False) is True or iter(self._texts) is self._texts

    def first(self) -> Inputs:
        """The first window, which the next :meth:`all` begins with.

        Raises:
            LensError: there is none.
        """
        windows = self._anew()
        window = next(windows, None)
        if window is None:
            raise self.too_short()
        self._begun = chain([window], windows)
        return window.inputs

    def all(self) -> Iterator[Window]:
        """All windows, from the first."""
        begun, self._begun = self._begun, None
        return self._anew() if begun is None else begun

    def too_short(self) -> LensError:
        """The error to raise if there are too few windows."""
        assert self.windows is not None
        read = f"{self.windows.texts:,} text{'s' if self.windows.texts != 1 else ''}"
        if not self.windows.texts:
            return LensError("texts is empty: pass at least one")
        if self.windows.failed:
            return LensError(f"{self.windows.failed:,} of {read} failed, and none were left to fit on")
        return LensError(
            f"{self.windows.too_short:,} of {read} too short: fewer than {self.windows.shortest} tokens, of which the "
            f"first {self._wanted.skip_first} and the last are left out; pass longer texts, or a smaller skip_first"
        )

    def _anew(self) -> Iterator[Window]:
        wanted = self._wanted
        if self._texts is None:
            context = context_length(self._model)
            length = wanted.length if context is None else min(wanted.length, context)
            if length < wanted.skip_first + 2:
                raise LensError(f"length is {length}: pass more than skip_first + 1, {wanted.skip_first + 1}")
            return own_windows(self._model, length, seed=wanted.seed)
        self.windows = Windows(
            self._model,
            self._tokenizer,
            self._texts,
            length=wanted.length,
            skip_first=wanted.skip_first,
            skip_errors=wanted.skip,
        )
        return self.windows

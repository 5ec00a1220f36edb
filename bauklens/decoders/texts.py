"""Texts, one after another -> windows of tokens that a model is run on.

A text that is longer than a window gives several windows; each begins with the token that begins a text, if the
tokenizer adds one. A window that is too short to have a position that counts is skipped.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from bauklens.errors import LensError
from bauklens.model.encoding import encode
from bauklens.model.inputs import Inputs, context_length
from bauklens.text_ids import ids_of

LENGTH = 128
"""Tokens of a window."""

SKIP_FIRST = 16
"""Positions at the beginning that are left out: attention rests there, and states are unlike others."""


@dataclass(frozen=True, eq=False)
class Window:
    """Some tokens of a text.

    Attributes:
        inputs: (1, position).
        text: the number of the text, from 1.
        place: the number of the window in its text, from 0.
    """

    inputs: Inputs
    text: int
    place: int


class Windows:
    """An iterator over the windows of texts, which reads a text only when its first window is wanted.

    Args:
        model: it limits a window's length and the ids.
        tokenizer: may be None if all texts are token ids.
        texts: each a string, token ids, or a mapping with ``"text"`` or ``"input_ids"``, as the rows of a dataset are.
        length: the maximum number of tokens in a window; fewer if the model's context is shorter.
        skip_first: how many positions at the beginning do not count, and nor does the last; a window needs at least two
            more tokens.
        skip_errors: whether to skip texts that fail.

    Attributes:
        texts, windows: how many were read so far.
        too_short: texts without a window that is long enough, so far.
        failed: texts that were skipped because they failed, so far.

    Raises:
        LensError: ``texts`` is not a collection of texts, or no position would count; while iterating, an item is not a
            text, or is not valid; the error contains its number.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        texts: Iterable[Any],
        *,
        length: int = LENGTH,
        skip_first: int = SKIP_FIRST,
        skip_errors: bool = False,
    ) -> None:
        if isinstance(texts, (str, bytes, Mapping)) or not isinstance(texts, Iterable):
            raise LensError(f"texts must be several: pass a list, a generator or a dataset; got {type(texts).__name__}")
        context = context_length(model)
        self.length = length if context is None else min(length, context)
        self.shortest = skip_first + 2
        if self.length < self.shortest:
            raise LensError(
                f"a window of {self.length} tokens has no position that counts: the first {skip_first} and the last "
                "are left out; pass a larger length or a smaller skip_first"
            )
        self.texts = self.windows = self.too_short = self.failed = 0
        self._model, self._tokenizer, self._skip_errors = model, tokenizer, skip_errors
        self._found = self._all(texts)

    def __iter__(self) -> Iterator[Window]:
        return self

    def __next__(self) -> Window:
        return next(self._found)

    def _all(self, texts: Iterable[Any]) -> Iterator[Window]:
        for number, text in enumerate(texts, 1):
            self.texts = number
            try:
                parts = self._parts(text)
            except LensError as error:
                if not self._skip_errors:
                    raise LensError(f"text {number}: {error}") from None
                self.failed += 1
                continue
            self.too_short += not parts
            for place, part in enumerate(parts):
                self.windows += 1
                yield Window(part, number, place)

    def _parts(self, text: Any) -> list[Inputs]:
        """The windows of a text; each is checked as a prompt is."""
        ids, begins = self._ids(text)
        own = self.length - len(begins)
        cut = [begins + ids[start : start + own] for start in range(0, len(ids), own)]
        return [encode(self._model, None, part) for part in cut if len(part) >= self.shortest]

    def _ids(self, text: Any) -> tuple[list[int], list[int]]:
        """The token ids of a text, without the token that begins a text, and that token, if any."""
        if isinstance(text, Mapping):
            text = _of_row(text)
        if not isinstance(text, str):
            plain = text.tolist() if hasattr(text, "tolist") else text
            if not isinstance(plain, (list, tuple)):
                raise LensError(f"a text must be a string or token ids; got {type(text).__name__}")
            ids = list(plain[0]) if len(plain) == 1 and isinstance(plain[0], (list, tuple)) else list(plain)
            if any(isinstance(each, (list, tuple)) for each in ids):
                raise LensError("a text must be a string or token ids; got a list of lists")
        elif self._tokenizer is None:
            raise LensError("a text needs a tokenizer: pass one, or texts as lists of token ids")
        else:
            ids = list(ids_of(self._tokenizer, "it", text, special=True)) if text else []
        begins = getattr(self._tokenizer, "bos_token_id", None)
        return (ids[1:], [begins]) if ids and begins is not None and ids[0] == begins else (ids, [])


def _of_row(row: Mapping[str, Any]) -> Any:
    for name in ("text", "input_ids"):
        if name in row:
            return row[name]
    found = ", ".join(map(repr, list(row)[:10]))
    raise LensError(f"looked for 'text' or 'input_ids' in a row, and found {found:.200}: pass its texts instead")

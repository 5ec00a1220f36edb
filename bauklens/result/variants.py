"""Variants: the forms of a word that are single tokens of a tokenizer. Needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, overload

from bauklens.result.tokens import visible


@dataclass(frozen=True, repr=False)
class Variants(Sequence[str]):
    """The forms of a word that are one token each, as a sequence of texts: what ``targets={"dog": ...}`` takes.

    Attributes:
        word: the word that was asked for.
        texts: the forms that are one token, each token once.
        token_ids: their tokens.
        several: the forms that are not a single token, and are left out.
    """

    word: str
    texts: tuple[str, ...]
    token_ids: tuple[int, ...]
    several: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...

    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        return self.texts[place]

    def _lines(self) -> list[tuple[str, Sequence[str]]]:
        return [("one token", self.texts), ("several tokens, left out", self.several)]

    def __repr__(self) -> str:
        lines = [f"{name}: {', '.join(map(repr, texts)) or 'none'}" for name, texts in self._lines()]
        return "\n".join([f"<Variants of {self.word!r}>", *lines])

    def _repr_html_(self) -> str:
        rows: list[Any] = [(name, ", ".join(map(visible, texts)) or "none") for name, texts in self._lines()]
        cells = "".join(f"<tr><th>{name}</th><td>{escape(texts)}</td></tr>" for name, texts in rows)
        return f"<p>Forms of {escape(visible(self.word))}</p><table>{cells}</table>"


Variants.__module__ = "bauklens"  # so that pickles load wherever the class is defined

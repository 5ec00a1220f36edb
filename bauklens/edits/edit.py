"""An edit as a value: what is done to the states of which layers, at which positions. It acts once it is bound to a
model (:mod:`bauklens.edits.bound`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from bauklens.arguments import Layers, Positions, as_lists, is_whole_number, one_of
from bauklens.edits.setting import Setting, Site
from bauklens.errors import LensError
from bauklens.result.edited import in_words
from bauklens.stream.changes import Change
from bauklens.vocabulary import WHERES

_HEAD = re.compile(r"head (\d+)")

PROMPT, NEW = "prompt", "new"
"""Positions by name: all of the prompt, and all that are generated."""


class Kind(Protocol):
    """What is done to states."""

    @property
    def decoder(self) -> Any:
        """The decoder whose directions it takes, as the caller named it; None if it takes none, or the logit lens's."""

    @property
    def takes_directions(self) -> bool:
        """Whether it uses directions of tokens, and so acts only at layers that the decoder has a map for."""

    def at(self, setting: Setting, site: Site) -> Change:
        """The change at one layer."""

    def only_at(self, count: int) -> list[int] | None:
        """The positions of a prompt of that many tokens that it can change; None if it can change all."""

    def described(self, setting: Setting | None) -> dict[str, Any]:
        """Its description as plain values; with the tokens that are meant if it is bound to a model."""

    @property
    def can_be_random(self) -> bool:
        """Whether it takes directions that random ones can replace, as a control."""

    def randomized(self, seed: int) -> "Kind":
        """The same with random directions of the same number and length, or as it is if it takes none."""


@dataclass(frozen=True)
class Edit:
    """One edit, made by the functions of :mod:`bauklens.edits`; the sum of several is an :class:`Edits`.

    Attributes:
        kind: what is done.
        layers: labels of layers, as for :func:`bauklens.logit_lens`; None means every block that the decoder has a map
            for, or every block if none is needed.
        positions: positions of the prompt, as for :func:`bauklens.logit_lens`; ``"prompt"``, all of these; ``"new"``,
            the generated ones; None means all, including the generated ones.
        where: what is changed: the stream after the block (``"hidden"``), between its attention and its MLP
            (``"mid"``), or what its ``"attention"`` or ``"mlp"`` writes; or what a head of its attention writes, by
            its number from 0, or ``"head 3"``.

    Raises:
        LensError: one of these has a wrong type or value.
    """

    kind: Kind
    layers: Layers = None
    positions: Positions | str = None
    where: str | int = "hidden"

    def __post_init__(self) -> None:
        object.__setattr__(self, "where", _place(self.where))
        if isinstance(self.positions, str):
            one_of("positions", self.positions, (PROMPT, NEW))
        for name in ("layers", "positions"):
            value = getattr(self, name)
            if not isinstance(value, (slice, str)):
                object.__setattr__(self, name, _frozen(as_lists(value)))

    def __add__(self, other: "Edit | Edits") -> "Edits":
        return Edits((self, *edits_in(other)))

    def __iter__(self) -> "Iterator[Edit]":
        yield self

    def __str__(self) -> str:
        return in_words(self.described())

    def described(self, setting: Setting | None = None) -> dict[str, Any]:
        """What is done, as plain values that a result's provenance keeps."""
        placed = {"where": self.where, "layers": self.layers, "positions": self.positions}
        return {**self.kind.described(setting), **{name: _plain(value) for name, value in placed.items()}}

    def randomized(self, seed: int) -> "Edit":
        """The same with random directions, as a control."""
        return replace(self, kind=self.kind.randomized(seed))


@dataclass(frozen=True)
class Edits:
    """Several edits, applied in this order if they overlap.

    Attributes:
        parts: the edits.
    """

    parts: tuple[Edit, ...]

    def __add__(self, other: "Edit | Edits") -> "Edits":
        return Edits((*self.parts, *edits_in(other)))

    def __iter__(self) -> Iterator[Edit]:
        return iter(self.parts)

    def __str__(self) -> str:
        return "; ".join(map(str, self.parts))

    @property
    def can_be_random(self) -> bool:
        """Whether any of them takes directions that random ones can replace."""
        return any(part.kind.can_be_random for part in self.parts)

    def randomized(self, seed: int) -> "Edits":
        """The same with random directions, as a control; those that take no directions stay as they are."""
        return Edits(tuple(part.randomized(seed + 1_000 * place) for place, part in enumerate(self.parts)))


def edits_in(given: Any) -> tuple[Edit, ...]:
    """The edits that a caller passes: one, a sum, or a list of them.

    Raises:
        LensError: something else is among them.
    """
    if isinstance(given, Edit):
        return (given,)
    if isinstance(given, (Edits, list, tuple)) and all(isinstance(each, (Edit, Edits)) for each in given):
        return tuple(part for each in given for part in each)
    raise LensError(f"edits must be made by bauklens.edits, such as edits.zero('mlp', layers=3); got {given!r:.80}")


def _place(where: Any) -> str | int:
    """What is changed: one of those with a name, or the number of a head."""
    head = _HEAD.fullmatch(where) if isinstance(where, str) else None
    if head:
        return int(head[1])
    if isinstance(where, str) and where in WHERES:
        return where
    if is_whole_number(where) and where >= 0:
        return int(where)
    named = ", ".join(map(repr, WHERES))
    raise LensError(f"unknown where {where!r}: pass one of {named}, or the number of an attention head, from 0")


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, slice):
        return f"{'' if value.start is None else value.start}:{'' if value.stop is None else value.stop}"
    return list(value) if isinstance(value, tuple) else value

"""A prompt as ids and as text, since some tools take only one of them, and a tool's answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

TOPK = 5
"""How many tokens each way returns for every row."""


@dataclass(frozen=True)
class Prompt:
    """The same tokens twice.

    Attributes:
        ids: the tokens.
        text: a text that the tokenizer turns into these ids, if it exists.
    """

    ids: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class Told:
    """The answer of a tool.

    Attributes:
        layers: the rows: ``"embed"``, ``"0"``, ``"1"``, ...
        top_ids: (layer, position, k), the most probable tokens.
        top_probs: (layer, position, k) their probabilities.
    """

    layers: Sequence[str]
    top_ids: np.ndarray[Any, Any]
    top_probs: np.ndarray[Any, Any]


class Reader(Protocol):
    """One way. Its arguments are (model, tokenizer, path of the Jacobian lens)."""

    def read(self, prompt: Prompt) -> Any:
        """The timed part: everything up to top-k and probabilities of every row."""

    def told(self, found: Any) -> Told | None:
        """The result of ``read`` in a common form, which is not timed; None if it has no layers."""


def stacked(layers: Sequence[str], rows: Sequence[tuple[Any, Any]]) -> Told:
    """Makes an answer from (ids, probabilities) of each layer, each (position, k) or (1, position, k)."""
    ids, probabilities = ([row[side].reshape(-1, TOPK).numpy() for row in rows] for side in (0, 1))
    return Told(layers, np.stack(ids), np.stack(probabilities))


def prompt_of(tokenizer: Any, text: str, tokens: int, tries: int = 200) -> Prompt:
    """This many tokens from near the beginning of a text; if possible, tokens that survive decoding and encoding."""
    ids = tokenizer(text)["input_ids"]
    ids = ids * (1 + (tokens + tries) // len(ids))
    for start in range(tries):
        piece = ids[start : start + tokens]
        found = Prompt(tuple(piece), tokenizer.decode(piece))
        if tokenizer(found.text)["input_ids"] == piece:
            return found
    piece = ids[:tokens]
    return Prompt(tuple(piece), tokenizer.decode(piece))

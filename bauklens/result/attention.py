"""Attention: from which positions the attention of one block takes information, at one position. Needs no torch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bauklens.arguments import checked_count
from bauklens.errors import LensError
from bauklens.optional import data_frame
from bauklens.result.frozen import require
from bauklens.result.tokens import visible

if TYPE_CHECKING:
    import pandas

_TOLD = 5
"""Positions that a representation names."""


@dataclass(frozen=True, eq=False, repr=False)
class Attention:
    """From which positions the attention of one block takes information; see :func:`bauklens.attention`.

    Attributes:
        layer: the block's label.
        position: the position that it looks from.
        head: the number of the head; None is the mean over heads.
        tokens: (source,), the prompt's tokens, from position 0 on.
        weights: (source,) float32, the share of each position; they add up to 1, or less if a head of the model can
            attend to nothing.
        by_head: (head, source) float32, the same for each head; None if only the mean was kept.
    """

    layer: str
    position: int
    head: int | None
    tokens: tuple[str, ...]
    weights: np.ndarray
    by_head: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", tuple(self.tokens))
        for name in ("weights", "by_head"):
            value = getattr(self, name)
            if value is not None:
                value = np.array(value, np.float32)
                require(value.shape[-1] == len(self.tokens), f"{name} does not have a weight for each token")
                value.setflags(write=False)
                object.__setattr__(self, name, value)

    @property
    def heads(self) -> int | None:
        """How many heads are known; None if only the mean is."""
        return None if self.by_head is None else len(self.by_head)

    def top(self, k: int = _TOLD) -> list[tuple[int, str, float]]:
        """The positions with the largest weights: position, token and weight.

        Args:
            k: how many.
        """
        order = np.argsort(-self.weights, kind="stable")[: checked_count("k", k)].tolist()
        return [(place, self.tokens[place], float(self.weights[place])) for place in order]

    def to_frame(self) -> "pandas.DataFrame":
        """One row per position: position, token, weight; and ``head 0``, ..., if the heads are known."""
        each = {} if self.by_head is None else {f"head {number}": row for number, row in enumerate(self.by_head)}
        named = {"position": np.arange(len(self.tokens)), "token": list(self.tokens), "weight": self.weights}
        return data_frame({**named, **each})

    @property
    def of_what(self) -> str:
        """Layer, head and position of this attention, in words."""
        head = "the mean over heads" if self.head is None else f"head {self.head}"
        return f"layer {self.layer}, {head}, at position {self.position}"

    def __repr__(self) -> str:
        told = ", ".join(f"{weight:.2f} at {place} {visible(token)}" for place, token, weight in self.top())
        return f"<Attention of {self.of_what}: {told}{', ...' if len(self.tokens) > _TOLD else ''}>"

    def _repr_html_(self) -> str:
        from bauklens.show.attention_table import attention_table

        return attention_table(self)


Attention.__module__ = "bauklens"  # so that pickles load wherever the class is defined


def attention_of(
    layer: str, position: int, head: int | None, tokens: tuple[str, ...], mean: np.ndarray, by_head: np.ndarray | None
) -> Attention:
    """The attention of one cell: of one head, or the mean.

    Args:
        mean: (source,).
        by_head: (head, source), if it is known.

    Raises:
        LensError: the head does not exist, or the heads are not known.
    """
    if head is None:
        return Attention(layer, position, None, tokens, mean, by_head)
    if by_head is None:
        raise LensError("only the mean over heads was kept: pass attention='heads' to logit_lens for each of them")
    if isinstance(head, bool) or not isinstance(head, (int, np.integer)) or not 0 <= head < len(by_head):
        raise LensError(f"unknown head {head!r}: layer {layer} has the heads 0 .. {len(by_head) - 1}")
    return Attention(layer, position, int(head), tokens, by_head[int(head)], by_head)

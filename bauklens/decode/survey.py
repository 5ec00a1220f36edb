"""What one look at logits in low precision gives, and the ways to make such logits: one protocol."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from bauklens.decode.remembered_heads import Remembered

DRAWN = 64
"""Tokens that are drawn from the rest of a row."""


@dataclass(frozen=True)
class Wanted:
    """What is looked for.

    Attributes:
        count: how many tokens of each row are to be scored again.
        weighted: whether powers times logits are summed as well.
        kept: whether the logits themselves are needed.
    """

    count: int
    weighted: bool
    kept: bool


@dataclass(frozen=True)
class Survey:
    """What one look at the logits of some rows gives; these are in bits, less what is expected of the largest.

    Attributes:
        expected: (row, 1), about the largest logit, which is left out of every other number here.
        found: (row, token) float32, the logits of the tokens that are to be scored again.
        ids: (row, token) int64, these tokens.
        lowest: (row,) float32, what no other token's logit lies above, as far as :meth:`Product.above` goes.
        mass: (row,) float32, the sum of the powers of two of all others, less the excess; NaN if that is not known.
        weighted: (row,), the sum of these times the logits less the excess; None if it is not asked for.
        excess: (row, 1), taken from all logits, so that their powers are finite.
        bounds: (row, 1) twice, between which the logits lie, but for the lowest.
        drawn_ids: (row, draw) int64, tokens that are drawn from the others, each as often as its power has it.
        drawn: (row, draw) float32, their logits.
        is_drawn: (row, draw) bool, whether there was anything to draw.
        logits: (row, padded vocabulary) bfloat16, those to be scored again very low; None if they are not kept.
            Good until the next look.
    """

    expected: torch.Tensor
    found: torch.Tensor
    ids: torch.Tensor
    lowest: torch.Tensor
    mass: torch.Tensor
    weighted: torch.Tensor | None
    excess: torch.Tensor
    bounds: tuple[torch.Tensor, torch.Tensor]
    drawn_ids: torch.Tensor
    drawn: torch.Tensor
    is_drawn: torch.Tensor
    logits: torch.Tensor | None


class Product(Protocol):
    """A head's product with its inputs, in low precision."""

    @property
    def name(self) -> str:
        """The numbers that are multiplied."""

    @property
    def head(self) -> Remembered[Any]:
        """The converted head."""

    @property
    def mean(self) -> torch.Tensor:
        """(width,), what is left out of all tokens' weights."""

    def survey(self, inputs: torch.Tensor, common: torch.Tensor, wanted: Wanted) -> Survey:
        """Looks at the logits of some rows.

        Args:
            inputs: (row, width) float32, the head's, scaled.
            common: (row, 1), their product with the mean.
            wanted: what is looked for.
        """

    def above(self, inputs: torch.Tensor, seen: Survey, score: torch.Tensor) -> torch.Tensor:
        """(row,) float64 bits, less what is expected: no token that is not scored again lies as high in truth.

        Args:
            inputs: (row, width), as they were.
            seen: what was found.
            score: (row,) bits, less what is expected: a token's own, computed in float32, that it is compared with.
        """

    def mean_weights(self, probabilities: torch.Tensor) -> torch.Tensor:
        """(row, vocabulary) -> (row, width), the weights' mean, less what is left out, each as probable as it is."""


def places(device: torch.device) -> torch.Tensor:
    """(2, draw), above 0 and below 1, where to draw: one place in each part of the mass; the same for every row."""
    generator = torch.Generator().manual_seed(0)
    chance = 0.01 + 0.98 * torch.rand(2, DRAWN, generator=generator, dtype=torch.float32, device="cpu")
    chance[0] = (torch.arange(DRAWN, device="cpu") + chance[0]) / DRAWN
    return chance.to(device)

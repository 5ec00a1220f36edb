"""The results of one pass over logits in low precision, and the protocol of the ways to compute such logits."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from bauklens.decode.remembered_heads import Remembered

DRAWN = 64
"""How many tokens are drawn from the rest of a row."""


@dataclass(frozen=True)
class Wanted:
    """What is looked for.

    Attributes:
        count: how many tokens of each row to score again.
        weighted: whether powers times logits are summed as well.
        kept: whether the logits themselves are needed.
    """

    count: int
    weighted: bool
    kept: bool


@dataclass(frozen=True)
class Survey:
    """The results of one pass over the logits of some rows; these are in bits, less the expected largest logit.

    Attributes:
        expected: (row, 1), about the largest logit, which is subtracted from every other number here.
        found: (row, token) float32, the logits of the tokens that are to be scored again.
        ids: (row, token) int64, these tokens.
        lowest: (row,) float32, an upper bound of all other tokens' logits, to the precision of :meth:`Product.above`.
        mass: (row,) float32, the sum of the powers of two of all others, less the excess; NaN if that is not known.
        weighted: (row,), the sum of these times the logits less the excess; None if it was not requested.
        excess: (row, 1), subtracted from all logits, so that their powers are finite.
        bounds: (row, 1) twice, between which the logits lie, except for the lowest.
        drawn_ids: (row, draw) int64, tokens that are drawn from the others, in proportion to their powers.
        drawn: (row, draw) float32, their logits.
        is_drawn: (row, draw) bool, whether there was anything to draw.
        logits: (row, padded vocabulary) bfloat16, those to be scored again are far below; None if they are not kept.
            Valid until the next pass.
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
        """The format of the numbers that are multiplied."""

    @property
    def head(self) -> Remembered[Any]:
        """The converted head."""

    @property
    def mean(self) -> torch.Tensor:
        """(width,), what is subtracted from all tokens' weights."""

    def survey(self, inputs: torch.Tensor, common: torch.Tensor, wanted: Wanted) -> Survey:
        """Reads the logits of some rows.

        Args:
            inputs: (row, width) float32, the head's, scaled.
            common: (row, 1), their product with the mean.
            wanted: what to look for.
        """

    def above(self, inputs: torch.Tensor, seen: Survey, score: torch.Tensor) -> torch.Tensor:
        """(row,) float64 bits, less the expected logit: the true logits of tokens that are not scored again are lower.

        Args:
            inputs: (row, width), the same as before.
            seen: the results of the pass.
            score: (row,) bits, less the expected logit: a token's own, computed in float32, for comparison.
        """

    def mean_weights(self, probabilities: torch.Tensor) -> torch.Tensor:
        """(row, vocabulary) -> (row, width), the weights' mean, less what is subtracted, weighted by probabilities."""


def places(device: torch.device) -> torch.Tensor:
    """(2, draw), above 0 and below 1, the places to draw: one in each part of the mass; the same for every row."""
    generator = torch.Generator().manual_seed(0)
    chance = 0.01 + 0.98 * torch.rand(2, DRAWN, generator=generator, dtype=torch.float32, device="cpu")
    chance[0] = (torch.arange(DRAWN, device="cpu") + chance[0]) / DRAWN
    return chance.to(device)

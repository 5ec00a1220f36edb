"""Ranks of tracked tokens among logits in bfloat16, and which of them are proved."""

from dataclasses import dataclass

import torch

from bauklens.decode import compiled
from bauklens.decode.ranking import Counting, Ranks, sure_up_to
from bauklens.decode.rounding import BITS

_BINS = 1 << 12
"""The number of bins for the other tokens: bins narrower than bfloat16's own errors would be useless."""


@dataclass(frozen=True)
class Again:
    """Tokens of each row that are scored again in full precision.

    Attributes:
        ids: (row, candidate).
        scores: (row, candidate) nats, less what all logits have in common.
    """

    ids: torch.Tensor
    scores: torch.Tensor

    def scores_of(self, ids: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """(row, token), the scores of tokens (token,) that are among them, and the given ones for all others."""
        in_order, order = self.ids.sort(dim=-1)
        wanted = ids.expand(len(in_order), -1).contiguous()
        places = torch.searchsorted(in_order, wanted).clamp_max(in_order.shape[1] - 1)
        scores = self.scores.gather(1, order.gather(1, places))
        return torch.where(in_order.gather(1, places) == wanted, scores, others)


@dataclass(frozen=True)
class Low:
    """Logits in bfloat16, in bits, less what is expected of the largest.

    Attributes:
        logits: (row, padded vocabulary); those that are scored again are overwritten by a number below all others.
        expected: (row, 1) bits.
        proved: (row, 1) bits; every token above this is scored again.
        bounds: (row, 1) bits each, between which the logits are counted; lower ones count as the lowest.
    """

    logits: torch.Tensor
    expected: torch.Tensor
    proved: torch.Tensor
    bounds: tuple[torch.Tensor, torch.Tensor]

    def ranks(self, ids: torch.Tensor, own: torch.Tensor, again: Again, counting: Counting) -> Ranks:
        """Ranks tokens.

        A token is compared with those that are scored again, and counted among the rest in bfloat16. If it is above the
        upper bound of the rest, its rank is exact; otherwise it is an estimate.

        Args:
            ids: (token,).
            own: (row, token) nats, their logits in full precision.
            again: those that are scored again.
        """
        if compiled.ready(self.logits):
            scale = (BITS, self.expected)
            return sure_up_to(*compiled.rank_among(self.logits, ids, own, again.ids, again.scores, self.proved, scale))
        own = again.scores_of(ids, own)  # as scored again, if it is: rounding must not put a token above itself
        bits = BITS * own - self.expected
        best_first = again.scores.sort(dim=-1, descending=True).values
        among = torch.searchsorted(-best_first, -own).int()
        above, beside = counting.counted(self.logits, bits, bins=_BINS, bounds=self.bounds)
        itself = (self.logits[:, ids].float() > bits).int()
        rest = (above + beside // 2 - itself).clamp_min(0)
        sure = bits > self.proved
        return sure_up_to(1 + among + torch.where(sure, 0, rest), sure)

"""The Jensen-Shannon divergence of rows from what the model itself says, computed from logits in any precision.

With p what the model says and q a row, ``JS = (sum p log p + sum q log q - sum (p + q) log((p + q) / 2)) / 2``. The
first sum is known, and the rest is summed token by token. There an error e of the log of q counts for
``q log(2q / (p + q)) e / 2``, so that an error that all logits share counts for no more than 0.35 of itself.
"""

import math
from dataclasses import dataclass

import torch

from bauklens.decode import compiled, compiled_pass
from bauklens.decode.measure import in_cache

_LEAST = -126.0
"""Bits: powers of lower numbers add nothing, and many CPUs are slow with smaller results."""


@dataclass(frozen=True)
class Logs:
    """How logits become the logs of probabilities, in bits: ``(logit - less) * factor - normalizer``.

    Attributes:
        less, normalizer: (row, 1).
        factor: bits for each unit of the logits.
    """

    less: torch.Tensor
    factor: float
    normalizer: torch.Tensor

    def of(self, logits: torch.Tensor, some: slice) -> torch.Tensor:
        """(row, any) float32, for some rows."""
        logs = logits[some].float() - self.less[some]
        return logs.mul_(self.factor).sub_(self.normalizer[some])


def compared(logits: torch.Tensor, logs: Logs, own: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """The sum that JS needs: (row,) float64 bits, ``sum q log q - (p + q) log((p + q) / 2)``.

    Args:
        logits: (row, vocabulary or more); numbers beyond the vocabulary are ignored.
        logs: how they become logs of q.
        own: (column, vocabulary) float32, p.
        columns: (row,) int64, the column of each row.
    """
    if compiled.ready(logits):
        return compiled_pass.compare(logits, torch.cat([logs.less, logs.normalizer], dim=1), logs.factor, own, columns)
    sums = torch.empty(len(logits), dtype=torch.float64, device=logits.device)
    for some in in_cache(logits):
        sums[some] = terms(logs.of(logits[:, : own.shape[1]], some), own[columns[some]]).double()
    return sums


def terms(logs: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Logs of q in bits and p, (row, token) each -> (row,), the sum over these tokens."""
    logs = logs.clamp_min(_LEAST)
    powers = logs.exp2()
    of_rows = torch.linalg.vecdot(powers, logs)
    both = powers.add_(own)
    total: torch.Tensor = of_rows + both.sum(dim=-1) - torch.linalg.vecdot(both, both.log2().clamp_min_(_LEAST))
    return total


def js_of(sums: torch.Tensor, own_entropy: torch.Tensor) -> torch.Tensor:
    """(row,) float32 nats, 0 .. log 2, from the sums (row,) in bits and H(p), (row,) nats."""
    return ((math.log(2) * sums - own_entropy) / 2).clamp_min(0).float()

"""One pass over all logits of some rows: the largest, the log of the softmax's denominator, and the mean logit."""

from dataclasses import dataclass

import torch

from bauklens.decode import compiled, compiled_pass
from bauklens.decode.largest import GROUP, top_of

LOWEST = -1e30
"""The lowest logit, less the largest of its row, before it is multiplied: a token that is left out has -inf."""

_MOST = 128
"""The most top tokens that compiled code finds one by one."""


@dataclass(frozen=True)
class Looked:
    """The results of one pass over the logits of some rows.

    Attributes:
        top: (row, token), the largest logits, largest first.
        ids: (row, token) int64, their ids.
        total: (row,) float32, the sum of exp(logit - largest) over all logits.
        mean: (row,) float32 nats, the mean of the logits under their own softmax, less the largest; None if it was not
            requested.
    """

    top: torch.Tensor
    ids: torch.Tensor
    total: torch.Tensor
    mean: torch.Tensor | None

    @property
    def normalizer(self) -> torch.Tensor:
        """(row,) float32 nats, log sum exp of all logits, less the largest."""
        return self.total.log()

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """(row, any) -> (row, any) float32, the probabilities of some logits of each row."""
        return (logits.float() - self.top[:, :1].float()).exp_().div_(self.total[:, None])


class Scratch:
    """Memory that is reused for a few rows at a time, because new memory costs as much as the work in it."""

    def __init__(self) -> None:
        self._buffers: dict[int, torch.Tensor] = {}

    def like(self, logits: torch.Tensor, place: int) -> torch.Tensor:
        """One of several float32 tensors in the shape of some rows' logits, with undefined content."""
        if place not in self._buffers:
            self._buffers[place] = torch.empty(logits.shape, dtype=torch.float32, device=logits.device)
        return self._buffers[place][: len(logits)]


def look(logits: torch.Tensor, count: int, scratch: Scratch, *, mean: bool) -> Looked:
    """Reads rows: in compiled code if it is available, else with torch's operators, which need several passes.

    Args:
        logits: (row, vocabulary), any float dtype; everything is computed in float32.
        count: how many of the largest to find.
        mean: whether to find the mean logit.
    """
    groups = logits.shape[1] // GROUP
    if logits.dtype == torch.float32 and count <= min(_MOST, groups // 4) and compiled.ready(logits):
        top, ids, sums = compiled_pass.summarize(logits, count, groups)
        below = (sums[:, 1] / sums[:, 0]).float() if mean else None
        return Looked(top, ids, sums[:, 0].float(), below)
    probabilities = torch.softmax(logits, dim=-1, dtype=torch.float32, out=scratch.like(logits, 0))
    top, ids = top_of(logits, count)  # not of probabilities: those of most tokens may be 0 in float32
    one = probabilities.sum(dim=-1)  # only five digits are right: softmax adds in single precision
    total = one / probabilities.gather(1, ids[:, :1])[:, 0]
    if not mean:
        return Looked(top, ids, total, None)
    less = torch.sub(logits, top[:, :1].float(), out=scratch.like(logits, 1)).clamp_min_(LOWEST)
    return Looked(top, ids, total, less.mul_(probabilities).sum(dim=-1) / one)

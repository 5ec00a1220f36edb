"""The head's product in low precision, the best tokens scored again in full, and for each row whether that is right.

What a row shows needs full precision only at its top. So all logits are computed in bfloat16, the best of them again
with the model's own weights, and the rest serves the normalizer alone: the errors seen on the tokens that were computed
twice say how far off it can be.
"""

import time
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from bauklens.measure import in_cache

TOLERANCE = 1e-3
"""Of every probability that is vouched for, in 0..1."""

FEWEST_ROWS = 512
"""Rows from which on the conversion of the weights pays."""

FEWEST_TOKENS = 8_192
"""Vocabulary from which on its groups are many more than the candidates."""

MOST_K = 32
"""The largest top-k whose candidates are few enough."""

_CANDIDATES = 64
"""The fewest tokens of a row to score again; four times k where that is more."""

_SAMPLE = 256
"""Tokens, the same in every row, that tell where its logits lie."""

_ABOVE = 3.5
"""Standard deviations above the mean of a sample at which the top of a row is expected."""

_FARTHEST = 60.0
"""The largest logit above that place whose exponential is safe; where one lies higher, all are taken less the rest."""

_GROUP = 64
"""Logits of which only the largest is looked at first."""

_SAFETY = 2.0
"""Times the error seen: what the normalizer's may be at most; at most 0.92 times was seen in 3,968 rows."""

_MARGIN = 4.0
"""Times the error seen: how far above the best token that was not scored again the k-th must stand."""


@dataclass(frozen=True)
class Vouched:
    """What was computed of some rows.

    Attributes:
        top_ids: (row, k) int64, most probable first.
        top_probs: (row, k) float32.
        certain: (row,) bool; where it is False nothing is said, and the row is to be decoded exactly.
    """

    top_ids: torch.Tensor
    top_probs: torch.Tensor
    certain: torch.Tensor


@cache
def pays(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a bfloat16 product is so much faster than one in this dtype that it pays; measured once, in a few ms.

    On a CPU alone: on other devices no one has run this yet.
    """
    if device.type != "cpu" or dtype != torch.float32:
        return False
    left, right = torch.ones(256, 512), torch.ones(4096, 512)
    return _seconds(left, right) > 1.5 * _seconds(left.bfloat16(), right.bfloat16())


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        left @ right.T
        taken.append(time.perf_counter() - started)
    return min(taken)


class LowPrecisionHead:
    """A head's weights in bfloat16, beside its own.

    Args:
        head: the head.
        vocabulary: tokens that count; further rows of a padded head are left out.
        scale: what the model multiplies its head's logits by.
    """

    def __init__(self, head: nn.Linear, vocabulary: int, scale: float) -> None:
        self._weight, self._scale = head.weight[:vocabulary], scale
        self._bias = head.bias[:vocabulary] if head.bias is not None else head.weight.new_zeros(vocabulary)
        self._low = _with_bias(self._weight, self._bias)
        norms = torch.linalg.vector_norm(self._weight, dim=-1)
        self._norms, self._largest_norm = norms, norms.max()
        generator = torch.Generator().manual_seed(0)
        self._sample = torch.randperm(vocabulary, generator=generator)[:_SAMPLE]
        self._buffer = self._low.new_empty(0, len(self._low))  # for the logits, as fresh memory costs as much as use

    def top(self, inputs: torch.Tensor, k: int) -> Vouched:
        """The k most probable tokens of the head's inputs (row, width), softmax over the vocabulary."""
        inputs = inputs * self._scale
        expected = self._expected_top(inputs)  # (row, 1)
        logits = self._logits(inputs, expected)  # (row, padded vocabulary) bfloat16, less what is expected
        found, ids = _largest(logits, max(_CANDIDATES, 4 * k))
        excess = (found[:, :1].float() - _FARTHEST).clamp_min(0).bfloat16().float()  # (row, 1)
        total = _sum_of_exponentials(logits, excess)
        exact = self._exact(inputs, ids)  # (row, candidate)

        errors = found.float() + expected - exact
        rest = (total - _sum_of_exponentials(found, excess)).clamp_min(0)
        lower = errors[:, errors.shape[1] // 2 :].mean(dim=-1)  # what the tokens below have in common with these
        best = exact.amax(dim=-1)
        weights = (exact - best[:, None]).exp()
        rest = rest * (expected[:, 0] + excess[:, 0] - lower - best).exp()
        normalizer = weights.sum(dim=-1) + rest

        top = weights.topk(k, dim=-1)
        probabilities = top.values / normalizer[:, None]
        seen = errors.square().mean(dim=-1).sqrt()
        relative = (errors / self._norms[ids].clamp_min(1e-30)).square().mean(dim=-1).sqrt()
        doubt = _SAFETY * seen * probabilities[:, 0] * rest / normalizer
        margin = exact.gather(1, top.indices[:, -1:])[:, 0] - (found[:, -1].float() + expected[:, 0])
        certain = (
            (doubt <= TOLERANCE)
            & (margin >= _MARGIN * torch.maximum(seen, relative * self._largest_norm))
            & normalizer.isfinite()
        )
        return Vouched(ids.gather(1, top.indices), probabilities, certain)

    def _expected_top(self, inputs: torch.Tensor) -> torch.Tensor:
        """(row, width) -> (row, 1): about where a row's largest logits lie, as a number that bfloat16 holds.

        Subtracted within the product, it keeps them where bfloat16 is fine: GPT-2's lie around -100.
        """
        logits = nn.functional.linear(inputs, self._weight[self._sample], self._bias[self._sample])
        expected = logits.mean(dim=-1, keepdim=True) + _ABOVE * logits.std(dim=-1, keepdim=True)
        return expected.bfloat16().float()

    def _logits(self, inputs: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        ones = torch.ones_like(expected)
        extended = torch.cat([inputs, -expected, ones, ones, ones], dim=-1)
        if len(self._buffer) < len(inputs):
            self._buffer = self._low.new_empty(len(inputs), len(self._low))
        return torch.mm(extended.bfloat16(), self._low.T, out=self._buffer[: len(inputs)])

    def _exact(self, inputs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """The logits of some tokens of each row, (row, width) and (row, candidate) -> (row, candidate) float32."""
        distinct, places = torch.unique(ids, return_inverse=True)
        if 4 * len(distinct) <= ids.numel():
            scores = inputs @ self._weight[distinct].T
            return scores.gather(1, places) + self._bias[ids]
        return torch.bmm(self._weight[ids], inputs[:, :, None])[..., 0] + self._bias[ids]


def _with_bias(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """(padded vocabulary, width + 4) bfloat16: further columns for what is expected and for the bias.

    The bias stands in three parts, so that nothing of it is lost; tokens that pad the last group have none but -inf.
    """
    vocabulary, width = weight.shape
    padded = -(-vocabulary // _GROUP) * _GROUP
    low = torch.empty(padded, width + 4, dtype=torch.bfloat16, device=weight.device)
    low[:vocabulary, :width] = weight
    low[vocabulary:] = 0
    low[:, width] = 1
    for column in range(width + 1, width + 4):
        low[:vocabulary, column] = bias
        bias = bias - low[:vocabulary, column].float()
    low[vocabulary:, width + 1] = -torch.inf
    return low


def _largest(logits: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest logits of each row, largest first, and their ids; among the groups whose largest are largest."""
    groups = logits.view(len(logits), _GROUP, -1)  # (row, member, group)
    chosen = groups.amax(dim=1).topk(count, dim=-1, sorted=False).indices  # (row, count)
    members = groups.gather(2, chosen[:, None].expand(-1, _GROUP, -1)).flatten(1)
    found = members.topk(count, dim=-1)
    member, place = found.indices // count, found.indices % count
    return found.values, member * groups.shape[2] + chosen.gather(1, place)


def _sum_of_exponentials(logits: torch.Tensor, excess: torch.Tensor) -> torch.Tensor:
    """(row, token) bfloat16 less (row, 1) -> (row,) float32; a few rows at a time, so that they stay in cache."""
    sums, exponentials = torch.empty(len(logits)), torch.empty(0)
    for some in in_cache(logits):
        rows = logits[some] - excess[some].bfloat16() if excess[some].any() else logits[some]
        exponentials.resize_(rows.shape)
        sums[some] = torch.exp(rows, out=exponentials).sum(dim=-1)
    return sums

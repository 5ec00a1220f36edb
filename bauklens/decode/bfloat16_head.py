"""The head's product in low precision, the best tokens scored again in full, and for each row whether that is right.

What a row shows needs full precision only at its top. So all logits are computed in bfloat16, the best of them again
with the model's own weights, and the rest serves the normalizer alone. That no other token is among the top k is
proved, by the largest error that rounding can make; how far off the normalizer is, is estimated, by the errors seen on
the tokens that were computed twice: the best, and a sample of all.
"""

import math

import torch
from torch import nn

from bauklens.decode.measure import entropy, in_cache, surprisal
from bauklens.decode.reading import Reading, Values

TOLERANCE = 1e-3
"""Of every probability that is vouched for, in 0..1."""

NATS = 0.02
"""Of the log of every normalizer that is vouched for, and so of surprisal, KL and (about) entropy."""

_CANDIDATES = 64
"""The fewest tokens of a row to score again; four times k where that is more."""

_SAMPLE = 256
"""Tokens, about so many, all over the vocabulary, that tell where logits lie, and how far off the rest of them are."""

_FARTHEST = 86.0
"""Bits: the largest logit above the sample's whose power is safe; where one lies higher, all are taken lower."""

_LEAST = 1e30
"""How far below a logit of -inf, which adds nothing, is taken to lie where it is multiplied by that."""

_GROUP = 32
"""Logits of which only the largest is looked at first."""

_BITS = math.log2(math.e)
"""A nat in bits: logits in low precision are powers of two, whose exponential is three times as fast on a CPU."""

_SAFETY = 2.0
"""Times the error seen: what the normalizer's may be at most."""

_MUCH = 6.0
"""Standard deviations that the mean of a row's logits lies from 0 where their common part is to be left out."""

_HALF_UNIT = 2.0**-9
"""Rounding to bfloat16 changes a number by at most this part of it."""

_ADDED = 2.0**-24
"""Adding in float32 changes a sum by at most this part of the sum of sizes, for each number added."""

_AT_ONCE = 1024
"""Rows of the head that are converted at once, so that they stay in cache."""

_SCORE_BYTES = 64 << 20
"""Weights that are gathered at once to score tokens again."""


class LowPrecisionHead:
    """A head's weights in bfloat16, beside its own.

    Args:
        head: the head.
        vocabulary: tokens that count; further rows of a padded head are left out.
        scale: what the model multiplies its head's logits by.
        inputs: (row, width), a few of the head's, which tell whether its logits have much in common.
    """

    def __init__(self, head: nn.Linear, vocabulary: int, scale: float, inputs: torch.Tensor) -> None:
        weight, bias = head.weight[:vocabulary], getattr(head, "bias", None)
        self._weight, self._scale = weight, scale
        self._bias = weight.new_zeros(vocabulary) if bias is None else scale * bias[:vocabulary]
        self._sample = slice(0, vocabulary, max(1, vocabulary // _SAMPLE))  # a copy of a stride is quick
        self._mean = (
            weight.mean(dim=0) if self._have_much_in_common(inputs * scale) else weight.new_zeros(weight.shape[1])
        )
        self._low, self._longest = _centred_with_bias(weight, self._mean, _BITS * self._bias)
        self._has_gaps = len(self._low) > vocabulary or not bool(self._bias.isfinite().all())
        self._buffer = self._low.new_empty(0, len(self._low))  # for the logits, as fresh memory costs as much as use

    def _have_much_in_common(self, inputs: torch.Tensor) -> bool:
        """Whether the logits lie far from 0 together, as GPT-2's around -100, or the weights do.

        Bfloat16 is coarse beside that; where it is not so, what the weights' rounding has in common is better kept so.
        """
        weights = self._weight[self._sample]
        logits = nn.functional.linear(inputs, weights)
        far = (logits.mean(dim=-1).abs() > _MUCH * logits.std(dim=-1)).float().mean() > 0.5
        centred, as_they_are = (_largest_magnitudes(weights, each) for each in (weights.mean(dim=0), 0 * weights[0]))
        return bool(far or 2 * centred.sum() < as_they_are.sum())

    def read(self, inputs: torch.Tensor, reading: Reading, columns: torch.Tensor) -> tuple[Values, torch.Tensor]:
        """Reads rows.

        Args:
            inputs: (row, width), the head's.
            reading: what to read; nothing that needs every logit in full precision.
            columns: (row,), where in the table the rows are.

        Returns:
            What was read, (row, ...), and (row,) bool, whether it is certain.
        """
        own_inputs, inputs = inputs, inputs * self._scale
        common = inputs @ self._mean[:, None]  # (row, 1)
        sample = nn.functional.linear(inputs, self._weight[self._sample], self._bias[self._sample]) - common
        expected = (_BITS * sample.amax(dim=-1, keepdim=True)).bfloat16().float()  # about the top, to be finest there
        logits = self._logits(inputs, expected)  # (row, padded vocabulary) bfloat16, bits, less what is expected
        found, ids = _largest(logits, max(_CANDIDATES, 4 * reading.topk))
        excess = (found[:, :1].float() - _FARTHEST).clamp_min(0).bfloat16().float()  # (row, 1)
        exact = self._exact(inputs, ids) - common  # (row, candidate)

        errors = (found.float() + expected) / _BITS - exact
        lower = errors[:, errors.shape[1] // 2 :].mean(dim=-1)  # what the tokens below have in common with these
        gaps = self._has_gaps if "entropy" in reading.measures else None
        rest = _sums(logits, excess, gaps) - _sums(found, excess, gaps)  # (1 or 2, row)
        best = exact.amax(dim=-1)
        weights = (exact - best[:, None]).exp()
        shift = (expected + excess)[:, 0] / _BITS - lower - best  # of a low logit and its excess -> nats below the best
        rest = rest * shift.exp()
        normalizer = weights.sum(dim=-1) + rest[0].clamp_min(0)

        top = exact.topk(reading.topk, dim=-1)
        probabilities = weights.gather(1, top.indices) / normalizer[:, None]
        values = {"top_ids": ids.gather(1, top.indices), "top_probs": probabilities}
        largest = best + common[:, 0]
        if "max_logit" in reading.measures:
            values["max_logit"] = largest
        if "entropy" in reading.measures:
            weighted = torch.linalg.vecdot(weights, (exact - best[:, None]).clamp_min(-_LEAST))
            mean = (weighted + rest[1] / _BITS + shift * rest[0]) / normalizer  # of the logits, less the best
            values["entropy"] = entropy(normalizer.log(), mean)
        if "surprisal" in reading.measures:
            values["surprisal"] = surprisal(normalizer.log() + largest, self._following(inputs, reading, columns))
        if reading.has_linear_kl:
            values["kl"] = reading.kl(normalizer.log() + largest, own_inputs, columns.to(inputs.device))

        of_sample = (logits[:, self._sample].float() + expected) / _BITS - sample - lower[:, None]
        seen = torch.maximum(errors.square().mean(dim=-1).sqrt(), _weighted_error(of_sample, sample) / _SAFETY)
        doubt = _SAFETY * seen * rest[0] / normalizer  # nats
        lowest = found[:, -1].float()
        margin = _BITS * exact.gather(1, top.indices[:, -1:])[:, 0] - (lowest + expected[:, 0])
        certain = (
            (doubt <= (TOLERANCE / probabilities[:, 0]).clamp_max(NATS))
            & (margin > self._largest_error(inputs, expected, lowest))
            & (found[:, 0] >= -_FARTHEST)
            & normalizer.isfinite()
        )
        return values, certain

    def mean_weights(self, probabilities: torch.Tensor) -> torch.Tensor:
        """(row, vocabulary) -> (row, width), the mean of the head's weights, each token's as probable as it is."""
        vocabulary, width = self._weight.shape
        mean = (probabilities.bfloat16() @ self._low[:vocabulary, :width]).float()
        return mean + probabilities.sum(dim=-1, keepdim=True) * self._mean

    def _following(self, inputs: torch.Tensor, reading: Reading, columns: torch.Tensor) -> torch.Tensor:
        """(row,), the logits of the tokens that follow in the text; NaN where none does."""
        ids = reading.next_ids.to(inputs.device)[columns.to(inputs.device)]
        weights = self._weight[ids.clamp_min(0)]
        logits: torch.Tensor = torch.linalg.vecdot(inputs, weights) + self._bias[ids.clamp_min(0)]
        return logits.masked_fill(ids < 0, torch.nan)

    def _largest_error(self, inputs: torch.Tensor, expected: torch.Tensor, lowest: torch.Tensor) -> torch.Tensor:
        """(row,) bits, how far off any token's logit can be at most, where it is about ``lowest``.

        With x and w rounded to x' and w', ``|x . w - x' . w'| <= |x - x'| |w| + |x'| |w - w'|`` (Cauchy and Schwarz),
        and ``|w - w'|`` is at most a half unit of ``|w|``; to which comes what rounding does to the sum.
        """
        exact = _BITS * inputs
        rounded = exact.bfloat16().float()
        lost, size = (torch.linalg.vector_norm(each, dim=-1) for each in (exact - rounded, rounded))
        product: torch.Tensor = (lost + (_HALF_UNIT + _ADDED * inputs.shape[1]) * size) * self._longest
        return 1.01 * product + _HALF_UNIT * (lowest.abs() + 1e-3 * expected[:, 0].abs())

    def _logits(self, inputs: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        ones = torch.ones_like(expected)
        extended = torch.cat([_BITS * inputs, -expected, ones, ones, ones], dim=-1)
        if len(self._buffer) < len(inputs):
            self._buffer = self._low.new_empty(len(inputs), len(self._low))
        return torch.mm(extended.bfloat16(), self._low.T, out=self._buffer[: len(inputs)])

    def _exact(self, inputs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """The logits of some tokens of each row, (row, width) and (row, candidate) -> (row, candidate) float32.

        Where the rows share tokens, every row is scored with all of them.
        """
        scores = torch.empty(ids.shape, dtype=inputs.dtype, device=inputs.device)
        count = max(1, _SCORE_BYTES // (4 * ids.shape[1] * inputs.shape[1]))
        for start in range(0, len(ids), count):
            some = slice(start, start + count)
            distinct, places = torch.unique(ids[some], return_inverse=True)
            if 4 * len(distinct) <= places.numel():
                scores[some] = (inputs[some] @ self._weight[distinct].T).gather(1, places)
            else:
                scores[some] = torch.bmm(self._weight[ids[some]], inputs[some, :, None])[..., 0]
        return scores + self._bias[ids]


def _largest_magnitudes(weights: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """(row, width), (width,) -> (width,), how far from the mean the weights of each dimension lie at most."""
    return torch.maximum(weights.amax(dim=0) - mean, mean - weights.amin(dim=0))


def _weighted_error(errors: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """(row,), the root mean square of errors (row, token), each weighed as its logit says; a masked one by nothing."""
    weights = logits.softmax(dim=-1)
    return torch.where(weights > 0, weights * errors.square(), 0).sum(dim=-1).sqrt()


def _centred_with_bias(weight: torch.Tensor, mean: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, float]:
    """A head's weights in bfloat16, (padded vocabulary, width + 4), and the largest L2 norm of a token's.

    They are less what they have in common; then comes what is expected, and the bias in three parts, so that nothing of
    it is lost; tokens that pad the last group have none but -inf.
    """
    vocabulary, width = weight.shape
    padded = -(-vocabulary // _GROUP) * _GROUP
    low = torch.empty(padded, width + 4, dtype=torch.bfloat16, device=weight.device)
    longest = weight.new_zeros(())
    is_centred = bool(mean.any())
    for start in range(0, vocabulary, _AT_ONCE):
        some = slice(start, min(start + _AT_ONCE, vocabulary))
        centred = weight[some] - mean if is_centred else weight[some]
        low[some, :width] = centred
        longest = torch.maximum(longest, torch.linalg.vector_norm(centred, dim=-1).amax())
    low[vocabulary:] = 0
    low[:, width] = 1
    for column in range(width + 1, width + 4):
        low[:vocabulary, column] = bias
        part = low[:vocabulary, column].float()
        bias = torch.where(part.isfinite(), bias - part, 0)
    low[vocabulary:, width + 1] = -torch.inf
    return low, float(longest)


def _largest(logits: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest logits of each row, largest first, and their ids; among the groups whose largest are largest."""
    groups = logits.view(len(logits), _GROUP, -1)  # (row, member, group)
    chosen = groups.amax(dim=1).topk(count, dim=-1, sorted=False).indices  # (row, count)
    members = groups.gather(2, chosen[:, None].expand(-1, _GROUP, -1)).flatten(1)
    found = members.topk(count, dim=-1)
    member, place = found.indices // count, found.indices % count
    return found.values, member * groups.shape[2] + chosen.gather(1, place)


def _sums(logits: torch.Tensor, excess: torch.Tensor, has_gaps: bool | None) -> torch.Tensor:
    """(row, token) bits in bfloat16, less (row, 1) -> (1, row) float32, the powers of two; and (2, row), times bits.

    A few rows at a time, so that they stay in cache.

    Args:
        has_gaps: whether some logits may be -inf, which add nothing; None where only the powers are asked for.
    """
    sums = torch.empty(1 if has_gaps is None else 2, len(logits), dtype=torch.float32, device=logits.device)
    wide, powers = (torch.empty(0, dtype=torch.float32, device=logits.device) for _ in range(2))
    for some in in_cache(logits):
        rows = logits[some] - excess[some].bfloat16() if excess[some].any() else logits[some]
        wide.resize_(rows.shape).copy_(rows)
        torch.exp2(wide, out=powers.resize_(rows.shape))
        sums[0, some] = powers.sum(dim=-1)
        if has_gaps is not None:
            wide = wide.clamp_min_(-_LEAST) if has_gaps else wide
            sums[1, some] = wide.mul_(powers).sum(dim=-1)
    return sums

"""A head's weights rounded to bfloat16, and the largest error of a logit that this can cause. A proof, not an estimate.

A bfloat16 has 8 significant bits: between 2^e and 2^(e+1) its neighbours are 2^(e-7) apart, so that rounding to the
nearest moves a number by at most 2^(e-8), which is at most **2^-8 of it**, before or after.

Logits are taken in bits, without what they have in common, and without a number E that is about the largest of them.
For one row, with y its input in bits, w a token's weights, m what the weights have in common, c = w - m, b the token's
bias in bits, and y', c' what y and c are rounded to, in truth a token has t = y . c + b - E. Computed is

    L = what is rounded of the sum of all y'_i c'_i, -E, and b in three parts.

A token that is not scored again has L <= l, the lowest of those that are. Be k the score, computed in float32, of the
last token of the top k. The token is not among the top k if t < k, for which it suffices that k - l is more than what
follows in all. Norms are L2; s >= |y|; N >= |c|, R >= |c - c'|, and B >= b for every token; P = s (N + R).

1.  ``2^-8 |l|``: L is the sum rounded to the nearest, and rounding keeps the order, so that the sum lies above l by at
    most half of what lies between l and the bfloat16 above it.
2.  ``|y - y'| N + |y'| R``, as ``y . c - y' . c' = (y - y') . c + y' . (c - c')``, by Cauchy and Schwarz. The norms are
    those of what this row and these weights lose in truth, which is less than 2^-8 of them.
3.  The sum is one of n + 4 products, each exact in float32, as 8 and 8 bits make 16. Adding them, in whatever order,
    loses at most (n + 4) 2^-23 of the sum of their sizes, which is at most P + |E| + 1.01 |b| (Higham, *Accuracy and
    Stability of Numerical Algorithms*, 2nd ed., section 4.2). 2^-23, and not 2^-24, as some CPUs do not round to the
    nearest inside.
4.  b is not bounded below (a token may be masked by -1e4). But if t >= k, then b >= k - P + E, so that
    |b| <= B + |k| + P + |E|.
5.  k itself is computed: a product of n weights in float32, less y . m. This loses at most (n + 1) 2^-24 of the sum of
    sizes, s |w| + |b|, where |w| <= N + |m|, and |b| is bounded as before; and as much of s |m|.
6.  What else is rounded in float32, each time by 2^-24 of s N, s |m|, |b|, |E| or |k|: the scale of the logits, bits,
    c, the bias in three parts, k - l; and N and R themselves, by n 2^-24, but 2 takes only 2^-8 of them. Less than 12
    times in all.

All of 3 to 6 together is at most ``8 (n + 16) 2^-24 (P + s |m| + |E| + |k| + B)``: in units of (n + 16) 2^-24, 3 is at
most 2 (2 P + 2.02 |E| + 1.01 |k| + 1.01 B), 5 at most (2 P + 3 s |m| + |E| + |k| + B), and 6 at most
(P + s |m| + |E| + |k| + B), 7.04 in all; 8 is for the products of such parts, as long as n is at most 2^17.

7.  What is smaller than 2^-126 may be taken for 0, by a CPU or in the squares of a norm: of each of n products that is
    at most 2^-126 (N + s + 1), and the square roots of n lost squares are at most 2^-63 sqrt(n), for N and R.

It is assumed that float32 products are added in float32, as they are unless someone calls
``torch.set_float32_matmul_precision`` for less. What is not finite makes the bound so too, and the row is not certain.
"""

import math
from dataclasses import dataclass

import torch

GROUP = 32
"""The vocabulary is padded to a multiple of this, for sums and maxima over groups of tokens."""

BITS = math.log2(math.e)
"""A nat in bits: logits in low precision are powers of two, whose exponential is three times as fast on a CPU."""

_UNIT = 2.0**-8
"""Rounding to bfloat16 changes a number by at most this part of it."""

_ADDED = 2.0**-24
"""Rounding to float32 changes a number by at most this part of it."""

_TINY = 2.0**-126
"""The smallest number that a CPU surely keeps."""

LOST_SQUARE = 2.0**-63
"""The largest number whose square it may not keep."""

_AT_ONCE = 1024
"""Rows of the head that are converted at once, so that they stay in cache."""


@dataclass(frozen=True)
class RoundedHead:
    """A head's weights in bfloat16, less what they have in common.

    Attributes:
        weights: (padded vocabulary, width + 4) bfloat16; after the weights comes what E is multiplied by, and the bias,
            in bits, in three parts, so that nothing of it is lost. Tokens that pad the last group have a bias of -inf.
        length: N, the largest norm of a token's weights.
        lost: R, the largest norm of what these have lost.
        mean: (width,) float32, m, what they have in common.
        mean_length: |m|, its norm.
        largest_bias: B, the largest bias, in bits, at least 0.
    """

    weights: torch.Tensor
    length: float
    lost: float
    mean: torch.Tensor
    mean_length: float
    largest_bias: float

    def extended(self, inputs: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        """(row, width), (row, 1) -> (row, width + 4) bfloat16, whose product with the weights are logits in bits.

        Args:
            inputs: the head's, scaled.
            expected: E, what is left out of every logit, a bfloat16 number.
        """
        ones = torch.ones_like(expected)
        return torch.cat([BITS * inputs, -expected, ones, ones, ones], dim=-1).bfloat16()

    def largest_error(
        self, inputs: torch.Tensor, expected: torch.Tensor, lowest: torch.Tensor, score: torch.Tensor
    ) -> torch.Tensor:
        """(row,) float64, bits: how far a token that is not scored again can lie above what was computed.

        Args:
            inputs: (row, width), the head's, scaled.
            expected: (row,), E.
            lowest: (row,), l, which is no less than any logit in bfloat16 that is not scored again.
            score: (row,), k, of the last token of the top k.
        """
        count = inputs.shape[1]
        exact = (BITS * inputs).double()
        rounded = exact.bfloat16().double()
        off, size = (torch.linalg.vector_norm(each, dim=-1) for each in (exact - rounded, rounded))
        length, lost = (each + LOST_SQUARE * count**0.5 for each in (self.length, self.lost))
        sizes = expected.double().abs() + score.double().abs() + self.largest_bias
        rest = beside(count, size + off, length + lost, self.mean_length, sizes)
        error: torch.Tensor = _UNIT * lowest.double().abs() + off * length + size * lost + rest
        return error


def beside(count: int, size: torch.Tensor, length: float, mean_length: float, others: torch.Tensor) -> torch.Tensor:
    """(row,) float64, bits: the numbers of items 3 to 7.

    Args:
        count: n.
        size: (row,), s.
        length: N + R.
        mean_length: |m|.
        others: (row,), |E| + |k| + B.
    """
    sizes = size * (length + mean_length) + others
    return 8 * (count + 16) * _ADDED * sizes + 2 * count * _TINY * (length + size + 1)


def rounded_head(weight: torch.Tensor, mean: torch.Tensor, bias: torch.Tensor) -> RoundedHead:
    """Rounds a head's weights.

    Args:
        weight: (vocabulary, width).
        mean: (width,), what is left out of each token's weights.
        bias: (vocabulary,), in bits.
    """
    vocabulary, width = weight.shape
    padded = -(-vocabulary // GROUP) * GROUP
    low = torch.empty(padded, width + 4, dtype=torch.bfloat16, device=weight.device)
    length, lost = weight.new_zeros(()), weight.new_zeros(())
    is_centred, buffer = bool(mean.any()), weight.new_empty(_AT_ONCE, width)
    for start in range(0, vocabulary, _AT_ONCE):
        some = slice(start, min(start + _AT_ONCE, vocabulary))
        centred = weight[some] - mean if is_centred else weight[some]
        low[some, :width] = centred
        length = torch.maximum(length, torch.linalg.vector_norm(centred, dim=-1).amax())
        off = buffer[: len(centred)].copy_(low[some, :width])
        lost = torch.maximum(lost, torch.linalg.vector_norm(off.sub_(centred), dim=-1).amax())
    low[vocabulary:] = 0
    low[:, width] = 1
    rest = bias
    for column in range(width + 1, width + 4):
        low[:vocabulary, column] = rest
        part = low[:vocabulary, column].float()
        rest = torch.where(part.isfinite(), rest - part, 0)
    low[vocabulary:, width + 1] = -torch.inf
    mean_length = torch.linalg.vector_norm(mean, dtype=torch.float64)
    return RoundedHead(low, float(length), float(lost), mean, float(mean_length), float(bias.amax().clamp_min(0)))

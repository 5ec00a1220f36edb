"""A head's weights in int8, and how far below its true value this can put a logit at most. A proof, not an estimate.

Rows and weights are rotated first, so that no dimension dominates: one large number makes the steps of all others
coarse (Ashkboos et al. 2024, QuaRot). H has blocks of a Hadamard matrix of size b on its diagonal, all of whose numbers
are 1 or -1, so that H'H = b exactly, and ``y . c = (H y) . (H c) / b``; dimensions are padded with zeros to a multiple
of 64.

For one row, with y its input in bits, w a token's weights, m the mean of all tokens' weights, c = w - m, and b_v the
token's bias in bits, in truth a token has t = y . c + b_v. Be Y = H y and C = H c as computed, Q = p q the row in
int8 (q, whole numbers) times its step p, and D = s d the weights likewise. Computed is

    x = p (s / b) (q . d) + b_v.

The product q . d is a whole number below 2^31 and exact. Norms are L2. With E = Y - Q and F = C - D, which are known,
and u and v the errors in the computation of Y and C,

    b y . c = (Q + E + u) . (D + F + v),  so  b |y . c - Q . D / b| <= (|E| + |u|) (|C| + |v|) + |Q| (|F| + |v|).

1.  A number of Y is a sum of b numbers of y with their signs, so that it is off by at most b 2^-23 times the sum of
    their sizes, which is at most sqrt(b) times their norm (Higham 2002, section 4.2; 2^-23 and not 2^-24, as some CPUs
    do not round to the nearest inside). Over a block, and so over all, ``|u| <= b^1.5 2^-23 |Y|``, and so for C.
2.  For each token, with r any number above 0, ``(|E| + |u|) |C| + |Q| |F| <= h (r |C| + |F|)`` if h is the larger of
    (|E| + |u|) / r and |Q|. So a row has one number, h, and a token one, **g = (r (|C| + |v|) + |F| + |v|) / b**. What
    r is changes only how much is given away; it is about |F| / |C|, as rows and weights lose about the same part.
3.  Norms, steps, h and g are computed in float32, each number by no more than n + 32 roundings of 2^-24 of it, n being
    the width: ``1 + (n + 32) 2^-22`` times h is surely enough.
4.  What else is rounded in float32 is what item 6 of :mod:`bauklens.decode.rounding` counts: the scale of the logits,
    bits, c, p s / b, q . d (once, if it has more than 24 bits), x, and x + h g, less the highest; and the score k that
    it is compared with is computed as item 5 there says. With its names and E = 0 all of that is at most
    ``8 (n + 16) 2^-24 (P + s |m| + |k| + B)``, and what is smaller than 2^-126 as in item 7. As no number of E is more
    than half a step, and the largest of Y is 127 of them, ``|Q| <= |Y| (1 + sqrt(n) / 254)``, which s is to cover.

So no token whose x + h g is at most l lies above l + the numbers of item 4. Candidates are those tokens whose x + h g
are largest, and l the least of theirs. Cauchy and Schwarz give away a factor of about sqrt(n), so that a token's logit
is some twenty times closer to the truth than its margin says.
"""

from dataclasses import dataclass

import torch

from bauklens.decode.rounding import LOST_SQUARE, beside

_STEPS = 127
"""The largest whole number of int8 whose negative is one too."""

_FILLED = 64
"""Dimensions are filled up to a multiple of this."""

_MOST = 256
"""The largest block that is rotated."""

_LEAST = 2.0**-100
"""The smallest step, so that it can be divided by."""

_AT_ONCE = 1024
"""Rows of the head that are converted at once, so that they stay in cache."""


@dataclass(frozen=True)
class QuantizedHead:
    """A head's weights in int8, rotated, less their mean.

    Attributes:
        weights: (vocabulary, filled width) int8, d.
        scales: (vocabulary,) float32, s / b.
        margins: (vocabulary,) float32, g.
        largest_scale: of the scales.
        ratio: r.
        bias: (vocabulary,) float32 bits; empty if there is none.
        mean: (width,) float32, m.
        length: N + R, the largest norm of a token's weights, less the mean, and of what they lose.
        mean_length: |m|.
        largest_bias: B, the largest bias, in bits, at least 0.
    """

    weights: torch.Tensor
    scales: torch.Tensor
    margins: torch.Tensor
    largest_scale: float
    ratio: float
    bias: torch.Tensor
    mean: torch.Tensor
    length: float
    mean_length: float
    largest_bias: float

    def quantized(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rows in int8: q (row, filled width), p (row,) and h (row,) float32.

        Args:
            inputs: (row, width), in bits.
        """
        width = self.weights.shape[1]
        turned = _turned(inputs, width)
        whole, step = _whole(turned)
        size, used, lost = (_norm(each) for each in (turned, whole * step, turned - whole * step))
        lost = lost + _turning(width) * size
        margin = torch.maximum(lost / self.ratio, used) * (1 + (width + 32) * 2.0**-22)
        products = step[:, 0] * self.largest_scale * width * _STEPS**2  # no product is larger; it must be finite
        return whole.to(torch.int8), step[:, 0], torch.where(products.isfinite(), margin, torch.inf)

    def beside(self, inputs: torch.Tensor, score: torch.Tensor) -> torch.Tensor:
        """(row,) float64, bits: the numbers of item 4.

        Args:
            inputs: (row, width), in bits.
            score: (row,), k.
        """
        count = self.weights.shape[1]
        size = torch.linalg.vector_norm(inputs, dim=-1, dtype=torch.float64) * (1 + count**0.5 / (2 * _STEPS))
        return beside(count, size, self.length, self.mean_length, score.double().abs() + self.largest_bias)

    @property
    def block(self) -> int:
        """b."""
        return _block(self.weights.shape[1])


def quantized_head(weight: torch.Tensor, bias: torch.Tensor) -> QuantizedHead | None:
    """Rounds a head's weights; None if they or the bias cannot be: NaN or infinite, or a bias of plus infinity.

    Args:
        weight: (vocabulary, width) float32.
        bias: (vocabulary,) float32, in bits.
    """
    vocabulary, width = weight.shape
    filled, mean = -(-width // _FILLED) * _FILLED, weight.mean(dim=0)
    numbers = torch.empty(vocabulary, filled, dtype=torch.int8, device=weight.device)
    scales, sizes, lost = (weight.new_empty(vocabulary) for _ in range(3))
    for start in range(0, vocabulary, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        turned = _turned(weight[some] - mean, filled)
        whole, step = _whole(turned)
        numbers[some], scales[some] = whole.to(torch.int8), step[:, 0]
        sizes[some], lost[some] = _norm(turned), _norm(turned.sub_(whole.mul_(step)))
    block, turning = _block(filled), _turning(filled)
    ratio = float((lost / sizes.clamp_min(_LEAST)).median()) or 1.0
    margins = (ratio * (1 + turning) * sizes + lost + turning * sizes) / block
    largest_bias = float(bias.amax().clamp_min(0))
    if not (bool(margins.isfinite().all()) and largest_bias < float("inf") and not bool(bias.isnan().any())):
        return None
    return QuantizedHead(
        weights=numbers,
        scales=scales / block,
        margins=margins,
        largest_scale=float(scales.amax()) / block,
        ratio=ratio,
        bias=bias.clone() if bool(bias.any()) else bias[:0],
        mean=mean,
        length=float((sizes * (1 + turning) + lost).amax()) / block**0.5,
        mean_length=float(torch.linalg.vector_norm(mean, dtype=torch.float64)),
        largest_bias=largest_bias,
    )


def turned_back(turned: torch.Tensor, width: int) -> torch.Tensor:
    """(row, filled width) -> (row, width): the numbers before the rotation."""
    block = _block(turned.shape[1])
    blocks = turned.view(len(turned), -1, block) @ _hadamard(block, turned) / block
    return blocks.flatten(1)[:, :width]


def _turned(rows: torch.Tensor, filled: int) -> torch.Tensor:
    """(row, width) -> (row, filled width), H times each row."""
    block = _block(filled)
    rows = torch.nn.functional.pad(rows, (0, filled - rows.shape[1]))
    return (rows.view(len(rows), -1, block) @ _hadamard(block, rows)).flatten(1)


def _whole(turned: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole numbers, as float32, and the step size of each row, (row, 1)."""
    step = (turned.abs().amax(dim=-1, keepdim=True) / _STEPS).clamp_min(_LEAST)
    return (turned / step).round_().clamp_(-_STEPS, _STEPS), step


def _norm(rows: torch.Tensor) -> torch.Tensor:
    """(row, width) -> (row,), the L2 norms, plus what they may lack because squares are too small for float32."""
    norms: torch.Tensor = torch.linalg.vector_norm(rows, dim=-1) + LOST_SQUARE * rows.shape[1] ** 0.5
    return norms


def _block(filled: int) -> int:
    """The largest power of two that divides the width, up to a limit."""
    return min(filled & -filled, _MOST)


def _turning(filled: int) -> float:
    """The largest part of a row's norm that the rotation loses."""
    return float(_block(filled) ** 1.5 * 2.0**-23)


def _hadamard(size: int, like: torch.Tensor) -> torch.Tensor:
    """(size, size), of 1 and -1, symmetric (Sylvester 1867)."""
    matrix = torch.ones(1, 1, dtype=like.dtype, device=like.device)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], dim=1), torch.cat([matrix, -matrix], dim=1)])
    return matrix

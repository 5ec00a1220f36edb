"""Logits in bfloat16: the head is rounded to it, and logits near the expected largest one are the most accurate."""

import torch
from torch import nn

from bauklens.decode.remembered_heads import remembered
from bauklens.decode.rest import survey
from bauklens.decode.rounding import BITS, RoundedHead, rounded_head
from bauklens.decode.survey import Survey, Wanted, places

_SAMPLE = 256
"""About how many tokens, from all over the vocabulary, are used to estimate the size of logits."""

_MUCH = 6.0
"""If the mean of a row's logits is this many standard deviations from 0, their common part is left out."""


class Bfloat16Product:
    """A product in bfloat16.

    Args:
        owner: the tensor that holds the weights.
        weight: (vocabulary, width) float32, its first rows.
        bias: (vocabulary,) float32, nats.
        inputs: (row, width), a few scaled ones, which show whether logits have much in common.
    """

    name = "bfloat16"

    def __init__(self, owner: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, inputs: torch.Tensor) -> None:
        sample = slice(0, len(weight), max(1, len(weight) // _SAMPLE))  # a strided sample is cheap to copy
        self._sample, self._sample_bias = weight[sample], bias[sample]
        centred = _have_much_in_common(self._sample, inputs)

        def made() -> RoundedHead:
            mean = weight.mean(dim=0) if centred else weight.new_zeros(weight.shape[1])
            return rounded_head(weight, mean, BITS * bias)

        self.head = remembered(owner, weight, bias, f"bfloat16 {centred}", made)
        self._rounded = self.head.converted
        self._has_gaps = len(self._rounded.weights) > len(weight) or not bool(bias.isfinite().all())
        self._places = places(weight.device)
        self._buffer = self._rounded.weights.new_empty(0, len(self._rounded.weights))  # new memory is slow

    @property
    def mean(self) -> torch.Tensor:
        """See :attr:`bauklens.decode.survey.Product.mean`."""
        return self._rounded.mean

    def survey(self, inputs: torch.Tensor, common: torch.Tensor, wanted: Wanted) -> Survey:
        """See :meth:`bauklens.decode.survey.Product.survey`."""
        low = self._rounded.weights
        if len(self._buffer) < len(inputs):
            self._buffer = low.new_empty(len(inputs), len(low))
        expected = self._expected(inputs, common)
        logits = torch.mm(self._rounded.extended(inputs, expected), low.T, out=self._buffer[: len(inputs)])
        return survey(logits, expected, wanted, self._places, has_gaps=self._has_gaps)

    def above(self, inputs: torch.Tensor, seen: Survey, score: torch.Tensor) -> torch.Tensor:
        """See :meth:`bauklens.decode.survey.Product.above`."""
        error = self._rounded.largest_error(inputs, seen.expected[:, 0], seen.lowest, score)
        return seen.lowest.double() + error

    def mean_weights(self, probabilities: torch.Tensor) -> torch.Tensor:
        """See :meth:`bauklens.decode.survey.Product.mean_weights`."""
        vocabulary, width = probabilities.shape[1], len(self.mean)
        return (probabilities.bfloat16() @ self._rounded.weights[:vocabulary, :width]).float()

    def _expected(self, inputs: torch.Tensor, common: torch.Tensor) -> torch.Tensor:
        """(row, 1) bits, a bfloat16 number near the largest logit, so that bfloat16 is most precise there."""
        sample = nn.functional.linear(inputs, self._sample, self._sample_bias) - common
        return (BITS * sample.amax(dim=-1, keepdim=True)).bfloat16().float()


def _have_much_in_common(weights: torch.Tensor, inputs: torch.Tensor) -> bool:
    """Whether all logits are far from 0, like GPT-2's, which are around -100, or all weights are.

    Bfloat16 is too coarse for that. Otherwise the common part is kept, because its rounding errors are common too.
    """
    logits = nn.functional.linear(inputs, weights)
    far = (logits.mean(dim=-1).abs() > _MUCH * logits.std(dim=-1)).float().mean() > 0.5
    centred, as_they_are = (_largest_magnitudes(weights, each) for each in (weights.mean(dim=0), 0 * weights[0]))
    return bool(far or 2 * centred.sum() < as_they_are.sum())


def _largest_magnitudes(weights: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """(row, width), (width,) -> (width,), the largest distance of the weights of each dimension from the mean."""
    return torch.maximum(weights.amax(dim=0) - mean, mean - weights.amin(dim=0))

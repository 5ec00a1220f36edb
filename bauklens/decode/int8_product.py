"""Logits from int8: half the work of bfloat16 on a CPU that multiplies it in hardware, and about as accurate."""

from threading import get_ident
from typing import cast

import torch

from bauklens.decode import compiled, compiled_pass
from bauklens.decode.cpu import bfloat16_features, int8_product
from bauklens.decode.quantizing import QuantizedHead, quantized_head, turned_back
from bauklens.decode.remembered_heads import Remembered, remembered
from bauklens.decode.rest import LEAST, drawn_of
from bauklens.decode.rounding import BITS
from bauklens.decode.survey import Survey, Wanted, places

_AT_ONCE = 128
"""Rows that a thread multiplies at once, so that the products are still in cache when they are read."""

_BUFFER_BYTES = 128 << 20
"""The most products of all threads together; with many threads, each multiplies fewer rows."""

_CONVERTED = 8_192
"""Tokens whose weights are converted back at once."""

WIDEST = 1 << 16
"""The widest rows whose products are below 2^31."""


class Int8Product:
    """A product in int8; made by :func:`product_of`.

    Args:
        head: the converted head.
    """

    name = "int8"

    def __init__(self, head: Remembered[QuantizedHead]) -> None:
        self.head, self._head = head, head.converted
        self._places, weights = places(self._head.weights.device), self._head.weights
        self._buffers: dict[int, torch.Tensor] = {}  # new memory costs as much time as its use
        self._kept = torch.empty(0, len(weights), dtype=torch.bfloat16, device=weights.device)

    @property
    def mean(self) -> torch.Tensor:
        """See :attr:`bauklens.decode.survey.Product.mean`."""
        return self._head.mean

    def survey(self, inputs: torch.Tensor, common: torch.Tensor, wanted: Wanted) -> Survey:  # noqa: ARG002
        """See :meth:`bauklens.decode.survey.Product.survey`."""
        head = self._head
        whole, steps, row_margins = head.quantized(BITS * inputs)
        into = compiled_pass.Surveyed.of(len(inputs), wanted.count, self._places.shape[1])
        if wanted.kept and len(self._kept) < len(inputs):
            self._kept = self._kept.new_empty(len(inputs), len(head.weights))
        kept = self._kept[: len(inputs) if wanted.kept else 0]
        of_tokens = head.scales, head.margins, head.bias
        at_once = max(1, min(_AT_ONCE, _BUFFER_BYTES // (4 * len(head.weights) * torch.get_num_threads())))

        def read(rows: slice) -> None:
            buffer = self._buffer_here(at_once)
            for start in range(rows.start, rows.stop, at_once):
                some = slice(start, min(start + at_once, rows.stop))
                products = buffer[: some.stop - start]
                int8_product(whole[some], head.weights, products)
                of_rows = products, steps[some], row_margins[some]
                compiled_pass.survey_int8(of_rows, of_tokens, self._places, -LEAST, into.rows(some), kept[some])

        compiled.side_by_side(read, len(inputs))
        drawn_ids, is_drawn = drawn_of(into.drawn_ids)
        mass, weighted, high, lowest, middle = into.sums.unbind(dim=1)
        return Survey(
            expected=high[:, None],
            found=into.found,
            ids=into.ids,
            lowest=lowest,
            mass=mass,
            weighted=weighted if wanted.weighted else None,
            excess=torch.zeros_like(high)[:, None],
            bounds=(3 * middle[:, None], torch.zeros_like(high)[:, None]),
            drawn_ids=drawn_ids,
            drawn=into.drawn,
            is_drawn=is_drawn,
            logits=kept if wanted.kept else None,
        )

    def _buffer_here(self, rows: int) -> torch.Tensor:
        """(row, token) int32, the products of this thread."""
        weights, buffer = self._head.weights, self._buffers.get(get_ident())
        if buffer is None or len(buffer) != rows:
            buffer = torch.empty(rows, len(weights), dtype=torch.int32, device=weights.device)
            self._buffers[get_ident()] = buffer
        return buffer

    def above(self, inputs: torch.Tensor, seen: Survey, score: torch.Tensor) -> torch.Tensor:
        """See :meth:`bauklens.decode.survey.Product.above`."""
        absolute = score.double() + seen.expected[:, 0].double()
        return seen.lowest.double() + self._head.beside(BITS * inputs, absolute)

    def mean_weights(self, probabilities: torch.Tensor) -> torch.Tensor:
        """As :meth:`bauklens.decode.survey.Product.mean_weights`: int8 is exact in bfloat16, and in float32."""
        head, width = self._head, len(self.mean)
        dtype = torch.bfloat16 if bfloat16_features() else torch.float32
        total = probabilities.new_zeros(len(probabilities), head.weights.shape[1])
        for start in range(0, probabilities.shape[1], _CONVERTED):
            some = slice(start, start + _CONVERTED)
            shares = (probabilities[:, some] * head.scales[some]).to(dtype)
            total += (shares @ head.weights[some].to(dtype)).float()
        return turned_back(total * head.block, width)


def product_of(owner: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> Int8Product | None:
    """A product in int8, or None if the head cannot be rounded to it.

    Args:
        owner: the tensor that holds the weights.
        weight: (vocabulary, width) float32, its first rows.
        bias: (vocabulary,) float32, nats.
    """
    bits = BITS * bias
    head = remembered(owner, weight, bits, "int8", lambda: quantized_head(weight, bits))
    return None if head.converted is None else Int8Product(cast("Remembered[QuantizedHead]", head))

"""Heads in low precision, remembered as long as their weights do not change.

Converting a head takes longer than decoding a short prompt, so the result is kept until the head is gone. Weights can
be changed without leaving a mark (``weight.data.mul_(2)``). So before a converted head is used again, the product of
all weights with a fixed random vector is compared with the earlier one, bit for bit, and so is the bias: one pass over
the weights, a fraction of the time that converting them takes. A change that leaves every product the same, to the last
bit of float32, moves logits only by the rounding of float32, unless someone made it for that vector.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch.utils.weak import WeakIdKeyDictionary

Converted = TypeVar("Converted")


@dataclass
class Remembered(Generic[Converted]):
    """A converted head.

    Attributes:
        converted: the converted head.
        products, bias: what shows that the weights are still the same.
        is_right: whether rows that were read with it have been compared with full precision.
        uncertain: kind of rows -> the share of them that was not certain the last time.
    """

    converted: Converted
    products: torch.Tensor
    bias: torch.Tensor
    is_right: bool = False
    uncertain: dict[Hashable, float] = field(default_factory=dict)


_known = WeakIdKeyDictionary()
"""The tensor that holds the weights -> (vocabulary, kind) -> what is remembered."""


def remembered(
    owner: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, kind: str, made: Callable[[], Converted]
) -> Remembered[Converted]:
    """A converted head, made now or before.

    Args:
        owner: the tensor that holds the weights as long as the head exists.
        weight: (vocabulary, width) float32, its first rows.
        bias: (vocabulary,) float32.
        kind: the format that it is converted to.
        made: converts it.
    """
    products = weight @ _vector(weight)
    by_kind: dict[tuple[int, str], Remembered[Converted]] = _known.get(owner, {})  # type: ignore[no-untyped-call]
    known = by_kind.pop((len(weight), kind), None)
    if known is None or not (torch.equal(known.products, products) and torch.equal(known.bias, bias)):
        del known  # first, so that memory never holds two
        known = Remembered(made(), products, bias.clone())
    by_kind[len(weight), kind] = known
    _known[owner] = by_kind
    return known


def _vector(weight: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(weight.shape[1], generator=generator, dtype=torch.float32, device="cpu").to(weight)

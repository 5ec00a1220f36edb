"""Heads in low precision, remembered as long as their weights do not change.

To convert a head takes longer than to decode a short prompt, so the result is kept until the head is gone. Weights may
be changed in ways that leave no mark (``weight.data.mul_(2)``). So before a converted head is used again, the product
of all weights with a fixed random vector is compared with what it was, bit for bit, and the bias with itself: one look
at the weights, a fraction of the time that converting them takes. A change that leaves every product as it was, to the
last bit of float32, moves logits by no more than float32 rounds, unless someone made it for that vector.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch.utils.weak import WeakIdKeyDictionary

Converted = TypeVar("Converted")


@dataclass(frozen=True)
class _Known:
    """A converted head, and what tells that the weights are still the same."""

    products: torch.Tensor
    bias: torch.Tensor
    converted: Any


_known = WeakIdKeyDictionary()
"""The tensor that holds the weights -> (vocabulary, kind) -> what is known."""


def remembered(
    owner: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, kind: str, made: Callable[[], Converted]
) -> tuple[Converted, bool]:
    """A converted head, made now or before.

    Args:
        owner: the tensor that holds the weights as long as there is the head.
        weight: (vocabulary, width) float32, its first rows.
        bias: (vocabulary,) float32.
        kind: what it is converted to.
        made: converts it.

    Returns:
        It, and whether it is new.
    """
    products = weight @ _vector(weight)
    by_kind: dict[tuple[int, str], _Known] = _known.get(owner, {})  # type: ignore[no-untyped-call]
    known = by_kind.pop((len(weight), kind), None)
    is_new = known is None or not (torch.equal(known.products, products) and torch.equal(known.bias, bias))
    if known is None or is_new:
        del known  # first, so that there are never two
        known = _Known(products, bias.clone(), made())
    by_kind[len(weight), kind] = known
    _known[owner] = by_kind
    converted: Converted = known.converted
    return converted, is_new


def forget(owner: torch.Tensor) -> None:
    """Forgets a head: what was made of it did not do."""
    _known.pop(owner, None)  # type: ignore[no-untyped-call]


def _vector(weight: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(weight.shape[1], generator=generator, dtype=torch.float32, device="cpu").to(weight)

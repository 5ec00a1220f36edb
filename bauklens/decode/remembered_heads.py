"""Heads rounded to bfloat16, remembered as long as their weights do not change.

To round a head takes longer than to decode a short prompt, so the result is kept, half as large as the head itself,
until the head is gone. Weights may be changed in ways that leave no mark (``weight.data.mul_(2)``). So before a rounded
head is used again, the product of all weights with a fixed random vector is compared with what it was, bit for bit,
and the bias with itself: one look at the weights, a quarter of the time that rounding takes. A change that leaves every
product as it was, to the last bit of float32, moves no logit by more than what float32 rounds.
"""

from dataclasses import dataclass

import torch
from torch.utils.weak import WeakIdKeyDictionary

from bauklens.decode.rounding import RoundedHead, rounded_head


@dataclass(frozen=True)
class _Known:
    """A rounded head, and what tells that it is still the same."""

    products: torch.Tensor
    bias: torch.Tensor
    rounded: RoundedHead


_Key = tuple[int, bool]

_known = WeakIdKeyDictionary()  # the parameter that holds the weights -> _Key -> _Known


def remembered(owner: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, centred: bool) -> RoundedHead:
    """A head in bfloat16, rounded now or before.

    Args:
        owner: the tensor that holds the weights as long as there is the head.
        weight: (vocabulary, width) float32, its first rows.
        bias: (vocabulary,) float32, in bits.
        centred: whether to leave out what all weights have in common.
    """
    products = weight @ _vector(weight)
    by_kind: dict[_Key, _Known] = _known.setdefault(owner, {})
    key = (len(weight), centred)
    known = by_kind.get(key)
    if known is None or not (torch.equal(known.products, products) and torch.equal(known.bias, bias)):
        by_kind.pop(key, None)  # first, so that there are never three
        mean = weight.mean(dim=0) if centred else weight.new_zeros(weight.shape[1])
        known = by_kind[key] = _Known(products, bias.clone(), rounded_head(weight, mean, bias))
    return known.rounded


def _vector(weight: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(weight.shape[1], generator=generator, dtype=torch.float32, device="cpu").to(weight)

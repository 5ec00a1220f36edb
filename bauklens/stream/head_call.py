"""The head's input in a forward pass, and checksums of its output, which show whether the output was changed."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from bauklens.model.anatomy import Anatomy
from bauklens.signals import unbroken

_ROWS = 16
"""Rows whose checksums are computed at once. More would take more memory."""


@dataclass(frozen=True)
class HeadCall:
    """One call of the head, at the positions whose logits the model returned.

    Attributes:
        inputs: (position, head width), or (prompt, position, head width) for a batch.
        checksums: (position,) or (prompt, position), of the logits.
    """

    inputs: torch.Tensor
    checksums: torch.Tensor

    def of(self, place: Any) -> "HeadCall":
        """The call at some positions."""
        return HeadCall(self.inputs[place], self.checksums[place])


@unbroken
def calls_of_head(head: nn.Module, anatomy: Anatomy, calls: list[tuple[HeadCall, torch.Tensor]]) -> Iterator[None]:
    """Records the input and output of the model's head, if its logits are what the model returns."""

    def keep(_module: nn.Module, inputs: tuple[Any, ...], logits: torch.Tensor) -> None:
        if len(inputs) == 1 and not calls:
            checksums = checksums_of(logits[..., : anatomy.vocabulary])
            calls.append((HeadCall(inputs[0].clone(), checksums), logits))

    if anatomy.whole or anatomy.post_ops is None or not anatomy.post_ops.changes_nothing:
        yield
        return
    hook = head.register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()


def checksums_of(logits: torch.Tensor) -> torch.Tensor:
    """(..., vocabulary) -> (...) int32, a checksum of each row, which changes if any of its logits does in float32.

    The bits of each logit are read as a whole number and multiplied by an odd number, which each process draws at
    random; the checksum is the sum. One changed logit always changes it. If several change, the chance that it stays
    the same is one in billions.
    """
    numbers = _numbers(logits.shape[-1], logits.device)
    rows = torch.split(logits.flatten(0, -2), _ROWS)
    sums = [(some.float().view(torch.int32) * numbers).sum(dim=-1, dtype=torch.int32) for some in rows]
    return torch.cat(sums).view(logits.shape[:-1])


@lru_cache(maxsize=4)
def _numbers(count: int, device: torch.device) -> torch.Tensor:
    generator = torch.Generator().manual_seed(secrets.randbits(63))
    drawn = torch.randint(-(2**31), 2**31, (count,), generator=generator, dtype=torch.int32, device="cpu")
    return drawn.bitwise_or(1).to(device)

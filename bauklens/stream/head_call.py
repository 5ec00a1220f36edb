"""What the head was given in a forward pass, and checksums of what it returned, which show whether that was changed."""

import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

_ROWS = 16
"""Rows whose checksums are computed at once, so that little memory is taken."""


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
        """Some of it."""
        return HeadCall(self.inputs[place], self.checksums[place])


def checksums_of(logits: torch.Tensor) -> torch.Tensor:
    """(..., vocabulary) -> (...) int32; logits of which any bit is another have another one.

    It is the sum of their bits as float32, read as whole numbers, times odd numbers that each process draws anew: a
    single change is always seen, and several but for one chance in billions.
    """
    numbers = _numbers(logits.shape[-1], logits.device)
    rows = torch.split(logits.flatten(0, -2), _ROWS)
    sums = [(some.float().view(torch.int32) * numbers).sum(dim=-1, dtype=torch.int32) for some in rows]
    return torch.cat(sums).view(logits.shape[:-1])


@lru_cache(maxsize=4)
def _numbers(count: int, device: torch.device) -> torch.Tensor:
    generator = torch.Generator().manual_seed(secrets.randbits(63))
    return torch.randint(-(2**31), 2**31, (count,), generator=generator, dtype=torch.int32).bitwise_or(1).to(device)

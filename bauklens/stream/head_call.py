"""What the head was given in a forward pass, and checksums of what it returned, which show whether that was changed."""

import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

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
        """Some of it."""
        return HeadCall(self.inputs[place], self.checksums[place])


def checksums_of(logits: torch.Tensor) -> torch.Tensor:
    """(..., vocabulary) -> (...) int32, a checksum of each row, which changes if any of its logits does in float32.

    The bits of each logit are read as a whole number and multiplied by an odd number, which each process draws anew;
    the checksum is the sum. One changed logit always changes it. If several change, it stays the same by chance once
    in billions.
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

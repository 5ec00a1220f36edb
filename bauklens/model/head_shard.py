"""The part of a head that one rank holds, if the head is split by tokens over ranks (tensor parallelism)."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.nn.utils.parametrize import is_parametrized

from bauklens.errors import LensError
from bauklens.model.guard import has_hooks
from bauklens.model.memory import out_of_memory
from bauklens.model.weights import is_plain

_T = TypeVar("_T")

_SAME = 64
"""By how many roundings the sum of a state's numbers may differ between ranks."""


class HeadShard(nn.Module):
    """A head for the tokens that this rank holds, called like the whole head: states -> the logits of these tokens.

    Attributes:
        weight: (own token, width).
        bias: (own token,), or None.
        first: the id of the first own token.
        vocabulary: how many tokens the model has.
        most: the most tokens that a rank holds.
        size: the number of ranks.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, vocabulary: int, most: int, mesh: Any) -> None:
        super().__init__()
        self.size: int = mesh.size()
        self.most, self.vocabulary = most, vocabulary
        self.first: int = mesh.get_local_rank() * most
        own = min(most, vocabulary - self.first)
        self.weight, self.bias = weight[:own], None if bias is None else bias[:own]
        self._group = mesh.get_group()

    @property
    def device(self) -> torch.device:
        """The device that the ranks use to communicate."""
        return torch.device(self.weight.device)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., width) -> (..., own token)."""
        logits: torch.Tensor = nn.functional.linear(inputs, self.weight, self.bias)
        return logits

    def part(self, logits: torch.Tensor) -> torch.Tensor:
        """(..., vocabulary) -> (..., own token)."""
        return logits[..., self.first : self.first + len(self.weight)]

    def places(self, ids: torch.Tensor) -> torch.Tensor:
        """(any,) ids -> (fewer,), the places among its own tokens of those that this rank holds."""
        return self.held_by(ids, self.first // self.most) - self.first

    def held_by(self, ids: torch.Tensor, rank: int) -> torch.Tensor:
        """(any,) ids -> (fewer,), the ids that a rank holds."""
        return ids[ids // self.most == rank]

    def gathered(self, own: torch.Tensor) -> torch.Tensor:
        """(...) from each rank -> (rank, ...), the same on all ranks."""
        own = own.contiguous()
        found = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(found, own, group=self._group)
        return torch.stack(found)

    def largest(self, own: float) -> float:
        """The largest of one number per rank; NaN if one of them is NaN."""
        numbers = torch.tensor([own], dtype=torch.float64, device=self.device)
        return float(self.gathered(numbers).max())

    def require_same(self, inputs: torch.Tensor) -> None:
        """Refuses rows, (row, width), that differ between ranks, because their logits would be mixed.

        Raises:
            LensError: on all ranks, if those of one rank differ by more than rounding.
        """
        sums = [each.sum(dim=-1, dtype=torch.float64) for each in (inputs, inputs.abs())]
        found, sizes = self.gathered(torch.stack(sums)).unbind(dim=1)  # (rank, row) each
        allowed = _SAME * torch.finfo(inputs.dtype).eps / inputs.shape[-1] ** 0.5
        if (found.amax(dim=0) - found.amin(dim=0) > allowed * sizes.amax(dim=0)).any():
            raise LensError(
                "the ranks of this model have different states: one of your functions (edit_output=, a decoder, a "
                "hook) returned something different on each; if it is random, use the same seed on every rank"
            )

    def whole(self, own: torch.Tensor) -> torch.Tensor:
        """(..., own token) -> (..., vocabulary); for a few rows, as a lens never needs it for many."""
        padded = nn.functional.pad(own, (0, self.most - own.shape[-1]))
        return torch.cat(list(self.gathered(padded)), dim=-1)[..., : self.vocabulary]

    def alike(self, function: Callable[[], _T]) -> _T:
        """Calls a function on each rank; if memory runs out on one rank, all raise an error.

        Raises:
            MemoryError: memory ran out on another rank.
        """
        found, failed = None, None
        try:
            found = function()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            failed = error
        if self.largest(float(failed is not None)):
            raise failed or MemoryError("another rank ran out of memory")
        return found  # type: ignore[return-value]


def require_gathered(head: nn.Module, model_class: str, count: int) -> None:
    """Refuses a model that returns on each rank only the logits of that rank's tokens.

    Args:
        count: for how many tokens it returns logits.

    Raises:
        LensError: the logits are those of a part of the head.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    from torch.distributed.tensor import DTensor

    weight = getattr(head, "weight", None)
    if isinstance(weight, DTensor) and len(weight.to_local()) == count < len(weight):
        raise LensError(
            f"{model_class} returns the logits of {count:,} of its {len(weight):,} tokens on each rank, because its "
            "head is split and they are not gathered: load it with a plan that gathers them ('colwise_gather_output')"
        )


def shard_of(head: nn.Module, vocabulary: int) -> HeadShard | None:
    """The part of a head that this rank holds; None if the head is not split, or not by tokens.

    Args:
        vocabulary: the number of real tokens; further rows of a padded head are left out.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or type(head) is not nn.Linear:
        return None
    from torch.distributed.tensor import DTensor, Shard

    kept: list[Any] = [each for each in (head.weight, head.bias) if each is not None]
    if has_hooks(head) or is_parametrized(head) or not all(isinstance(each, DTensor) for each in kept):
        return None
    mesh = kept[0].device_mesh
    if mesh.ndim != 1 or any(each.device_mesh != mesh or each.placements != (Shard(0),) for each in kept):
        return None
    weight, *bias = (each.to_local().detach() for each in kept)
    most = -(-len(head.weight) // mesh.size())  # as DTensor splits it
    if not is_plain(weight) or most * (mesh.size() - 1) >= vocabulary:  # some rank would hold only padding
        return None
    return HeadShard(weight, bias[0] if bias else None, vocabulary, most, mesh)

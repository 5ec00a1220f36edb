"""Logits in bfloat16, in bits: the largest of each row, and sums over the rest with tokens drawn from it.

The vocabulary is looked at in groups: a token's id is ``member * groups + group``. One pass gives the largest logit and
the mass of each group, and only the groups that may hold one of the largest are looked into.
"""

from dataclasses import dataclass

import torch

from bauklens.decode.measure import in_cache
from bauklens.decode.rounding import GROUP

FARTHEST = 86.0
"""Bits: the largest logit whose power is safe; where one lies higher, all of its row are taken lower."""

LEAST = 1e30
"""How far below the others a logit lies that adds nothing."""


@dataclass(frozen=True)
class Groups:
    """What one pass over logits gives.

    Attributes:
        largest: (row, group) float32, the largest logit.
        masses: (row, group) float32, the sum of the powers of two of the logits, less the excess.
        excess: (row, 1), taken from all logits, so that their powers are finite.
        weighted: (row,), the sum of all powers times their logits less the excess; None if it is not asked for.
    """

    largest: torch.Tensor
    masses: torch.Tensor
    excess: torch.Tensor
    weighted: torch.Tensor | None


@dataclass(frozen=True)
class Rest:
    """All tokens of each row but the largest.

    Attributes:
        mass: (row,) float32, the sum of their powers of two, less the excess.
        weighted: (row,), the sum of these times the logits less the excess; None if it is not asked for.
        ids: (row, draw) int64, tokens that are drawn from it, each as often as its power has it.
        logits: (row, draw) float32, theirs.
        is_drawn: (row, draw) bool, whether there was anything to draw.
    """

    mass: torch.Tensor
    weighted: torch.Tensor | None
    ids: torch.Tensor
    logits: torch.Tensor
    is_drawn: torch.Tensor


def grouped(logits: torch.Tensor, *, weighted: bool, has_gaps: bool) -> Groups:
    """One pass over logits, a few rows at a time, so that they stay in cache.

    Args:
        logits: (row, padded vocabulary) bfloat16.
        weighted: whether to sum powers times logits as well.
        has_gaps: whether logits may be -inf.
    """
    count, padded = logits.shape
    largest = torch.empty(count, padded // GROUP, dtype=torch.float32, device=logits.device)
    masses, excess, total = torch.empty_like(largest), largest.new_empty(count, 1), largest.new_empty(count)
    wide, powers = largest.new_empty(0), largest.new_empty(0)
    for some in in_cache(logits):
        wide.resize_(logits[some].shape).copy_(logits[some])
        torch.amax(_in_groups(wide), dim=1, out=largest[some])
        excess[some] = (largest[some].amax(dim=-1, keepdim=True) - FARTHEST).clamp_min(0)
        wide = wide.sub_(excess[some]) if excess[some].any() else wide
        torch.exp2(wide, out=powers.resize_(wide.shape))
        torch.sum(_in_groups(powers), dim=1, out=masses[some])
        if weighted:
            wide = wide.clamp_min_(-LEAST) if has_gaps else wide
            total[some] = wide.mul_(powers).sum(dim=-1)
    return Groups(largest, masses, excess, total if weighted else None)


def largest(logits: torch.Tensor, groups: Groups, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest logits of each row, largest first, and their ids; among the groups whose largest are largest."""
    chosen = groups.largest.topk(count, dim=-1, sorted=False).indices  # (row, count)
    members = _in_groups(logits).gather(2, chosen[:, None].expand(-1, GROUP, -1)).flatten(1)
    found = members.topk(count, dim=-1)
    member, place = found.indices // count, found.indices % count
    return found.values, member * groups.largest.shape[1] + chosen.gather(1, place)


def rest_of(logits: torch.Tensor, groups: Groups, found: torch.Tensor, ids: torch.Tensor, places: torch.Tensor) -> Rest:
    """What is left without the largest.

    Args:
        logits: (row, padded vocabulary); those of the largest are overwritten.
        groups: of these logits; the mass of the largest is taken away from it.
        found, ids: (row, token), the largest.
        places: (2, draw), 0..1: where to draw, along the mass of the groups, and inside each group.
    """
    count, padded = logits.shape
    number = padded // GROUP
    powers = (found.float() - groups.excess).exp2()
    masses = groups.masses.scatter_add_(1, ids % number, -powers).clamp_min_(0)
    weighted = groups.weighted
    if weighted is not None:
        below = (found.float() - groups.excess).clamp_min(-LEAST)
        weighted = weighted - (powers * below).sum(dim=-1)
    starts = padded * torch.arange(count, device=logits.device)[:, None]
    logits.view(-1).index_fill_(0, (starts + ids).flatten(), -LEAST)  # faster than scatter_, which copies all

    along = masses.cumsum(dim=-1)
    group = torch.searchsorted(along, places[0] * along[:, -1:]).clamp_max(number - 1)  # (row, draw)
    members = _in_groups(logits).gather(2, group[:, None].expand(-1, GROUP, -1)).float()  # (row, member, draw)
    inside = (members - groups.excess[:, None]).exp2().cumsum(dim=1)
    member = (inside < places[1] * inside[:, -1:]).sum(dim=1)
    drawn = members.gather(1, member[:, None])[:, 0]
    return Rest(masses.sum(dim=-1), weighted, member * number + group, drawn, inside[:, -1] > 0)


def _in_groups(logits: torch.Tensor) -> torch.Tensor:
    """(row, padded vocabulary) -> (row, member, group)."""
    return logits.view(len(logits), GROUP, -1)

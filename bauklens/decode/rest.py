"""Logits in bfloat16: the largest of each row, and sums over the rest with tokens drawn from it."""

from dataclasses import dataclass

import torch

from bauklens.decode.measure import in_cache
from bauklens.decode.rounding import GROUP

LEAST = 1e30
"""How far below the others a logit lies that adds nothing."""


def largest(logits: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest logits of each row, largest first, and their ids; among the groups whose largest are largest."""
    groups = logits.view(len(logits), GROUP, -1)  # (row, member, group)
    chosen = groups.amax(dim=1).topk(count, dim=-1, sorted=False).indices  # (row, count)
    members = groups.gather(2, chosen[:, None].expand(-1, GROUP, -1)).flatten(1)
    found = members.topk(count, dim=-1)
    member, place = found.indices // count, found.indices % count
    return found.values, member * groups.shape[2] + chosen.gather(1, place)


@dataclass(frozen=True)
class Rest:
    """All tokens of each row but the largest.

    Attributes:
        mass: (row,) float32, the sum of their powers of two.
        weighted: (row,), the sum of these times the logits, in bits; None if it is not asked for.
        drawn_ids: (row, draw) int64, tokens that are drawn from it, each as often as its power has it.
        drawn: (row, draw) float32, their logits in bits; about -LEAST if the rest has no mass.
    """

    mass: torch.Tensor
    weighted: torch.Tensor | None
    drawn_ids: torch.Tensor
    drawn: torch.Tensor


def rest_of(
    logits: torch.Tensor,
    without: torch.Tensor,
    excess: torch.Tensor,
    places: torch.Tensor,
    *,
    has_weighted: bool,
    has_gaps: bool,
) -> Rest:
    """Sums over logits, a few rows at a time, so that they stay in cache.

    Args:
        logits: (row, padded vocabulary), bits, bfloat16; those of the largest are overwritten.
        without: (row, token) int64, the largest.
        excess: (row, 1), taken from all logits, so that their powers are finite.
        places: (2, draw), 0..1: where to draw, along the mass of the groups and inside each group.
        has_weighted: whether to sum powers times logits as well.
        has_gaps: whether logits may be -inf.
    """
    count, padded = logits.shape
    starts = padded * torch.arange(count, device=logits.device)[:, None]
    logits.view(-1).index_fill_(0, (starts + without).flatten(), -LEAST)  # much faster than scatter_
    masses = torch.empty(count, padded // GROUP, dtype=torch.float32, device=logits.device)  # (row, group)
    weighted = masses.new_empty(count)
    wide, powers = masses.new_empty(0), masses.new_empty(0)
    for some in in_cache(logits):
        rows = logits[some] - excess[some].bfloat16() if excess[some].any() else logits[some]
        wide.resize_(rows.shape).copy_(rows)
        torch.exp2(wide, out=powers.resize_(rows.shape))
        torch.sum(powers.view(len(rows), GROUP, -1), dim=1, out=masses[some])
        if has_weighted:
            wide = wide.clamp_min_(-LEAST) if has_gaps else wide
            weighted[some] = wide.mul_(powers).sum(dim=-1)
    along = masses.cumsum(dim=-1)
    group = torch.searchsorted(along, places[0] * along[:, -1:]).clamp_max(masses.shape[1] - 1)  # (row, draw)
    members = logits.view(count, GROUP, -1).gather(2, group[:, None].expand(-1, GROUP, -1)).float()
    inside = (members - excess[:, None]).exp2().cumsum(dim=1)  # (row, member, draw)
    member = (inside < places[1] * inside[:, -1:]).sum(dim=1)
    drawn = members.gather(1, member[:, None])[:, 0].clamp_min(-LEAST)
    return Rest(masses.sum(dim=-1), weighted if has_weighted else None, member * masses.shape[1] + group, drawn)

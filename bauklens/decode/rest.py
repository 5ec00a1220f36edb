"""Logits in bfloat16, in bits: the largest of each row, and sums over the rest with tokens drawn from it.

The vocabulary is split into groups: a token's id is ``member * groups + group``. One pass gives the largest logit and
the mass of each group, and only the groups that may hold one of the largest are searched. If numba is installed, all of
this is one pass in compiled code (:mod:`bauklens.decode.pass_kernels`).
"""

from dataclasses import dataclass

import torch

from bauklens.decode import compiled, compiled_pass
from bauklens.decode.measure import in_cache
from bauklens.decode.rounding import GROUP
from bauklens.decode.survey import Survey, Wanted

FARTHEST = 86.0
"""Bits: the largest logit whose power is safe; if one is higher, all logits of its row are lowered."""

LEAST = 1e30
"""A logit this far below the others adds nothing."""


@dataclass(frozen=True)
class _Groups:
    """The results of one pass over logits.

    Attributes:
        largest: (row, group) float32, the largest logit.
        masses: (row, group) float32, the sum of the powers of two of the logits, less the excess.
        excess: (row, 1), subtracted from all logits, so that their powers are finite.
        weighted: (row,), the sum of all powers times their logits less the excess; None if it was not requested.
    """

    largest: torch.Tensor
    masses: torch.Tensor
    excess: torch.Tensor
    weighted: torch.Tensor | None


def survey(
    logits: torch.Tensor, expected: torch.Tensor, wanted: Wanted, places: torch.Tensor, *, has_gaps: bool
) -> Survey:
    """Reads rows: in compiled code if it is available, else with torch's operators, which need several passes.

    Both find the same logits, and the same sums except for rounding, but they may choose different tokens with the same
    logit.

    Args:
        logits: (row, padded vocabulary) bfloat16; those of the largest are overwritten.
        expected: (row, 1), what is left out of them.
        wanted: what is looked for.
        places: (2, draw), 0..1, the places to draw: along the mass of the groups, and inside each group.
        has_gaps: whether logits may be -inf.
    """
    if compiled.ready(logits):
        into = compiled_pass.Surveyed.of(len(logits), wanted.count, places.shape[1])
        compiled_pass.survey(logits, places, -LEAST, into)
        found, ids, drawn = into.found, into.ids, into.drawn
        mass, of_rest, *others = into.sums.unbind(dim=1)
        excess, high, middle = (each[:, None] for each in others)
        weighted, drawn_ids, is_drawn = of_rest if wanted.weighted else None, *drawn_of(into.drawn_ids)
    else:
        groups = _grouped(logits, weighted=wanted.weighted, has_gaps=has_gaps)
        found, ids = _largest(logits, groups, wanted.count)
        middle, high = groups.largest.amin(dim=-1, keepdim=True), groups.largest.amax(dim=-1, keepdim=True)
        mass, weighted, drawn_ids, drawn, is_drawn = _rest(logits, groups, found, ids, places)
        excess = groups.excess
    mass = mass.masked_fill(found[:, 0] < -FARTHEST, torch.nan)  # all powers may underflow to 0
    bounds = middle - 2 * (high - middle), high
    kept = logits if wanted.kept else None
    return Survey(expected, found, ids, found[:, -1], mass, weighted, excess, bounds, drawn_ids, drawn, is_drawn, kept)


def drawn_of(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids drawn in compiled code, -1 for nothing -> ids that can be looked up, and whether each was drawn."""
    return ids.clamp_min(0), ids >= 0


def _grouped(logits: torch.Tensor, *, weighted: bool, has_gaps: bool) -> _Groups:
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
    return _Groups(largest, masses, excess, total if weighted else None)


def _largest(logits: torch.Tensor, groups: _Groups, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest logits of each row, largest first, and their ids; from the groups with the largest maxima."""
    chosen = groups.largest.topk(count, dim=-1, sorted=False).indices  # (row, count)
    members = _in_groups(logits).gather(2, chosen[:, None].expand(-1, GROUP, -1)).flatten(1)
    found = members.topk(count, dim=-1)
    member, place = found.indices // count, found.indices % count
    return found.values.float(), member * groups.largest.shape[1] + chosen.gather(1, place)


def _rest(
    logits: torch.Tensor, groups: _Groups, found: torch.Tensor, ids: torch.Tensor, places: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The rest without the largest, whose logits are overwritten: mass, weighted, drawn_ids, drawn, is_drawn."""
    count, padded = logits.shape
    number = padded // GROUP
    powers = (found - groups.excess).exp2()
    masses = groups.masses.scatter_add_(1, ids % number, -powers).clamp_min_(0)
    weighted = groups.weighted
    if weighted is not None:
        below = (found - groups.excess).clamp_min(-LEAST)
        weighted = weighted - (powers * below).sum(dim=-1)
    starts = padded * torch.arange(count, device=logits.device)[:, None]
    logits.view(-1).index_fill_(0, (starts + ids).flatten(), -LEAST)  # faster than scatter_, which copies all

    along = masses.cumsum(dim=-1)
    group = torch.searchsorted(along, places[0] * along[:, -1:]).clamp_max(number - 1)  # (row, draw)
    members = _in_groups(logits).gather(2, group[:, None].expand(-1, GROUP, -1)).float()  # (row, member, draw)
    inside = (members - groups.excess[:, None]).exp2().cumsum(dim=1)
    member = (inside < places[1] * inside[:, -1:]).sum(dim=1)
    drawn = members.gather(1, member[:, None])[:, 0]
    return masses.sum(dim=-1), weighted, member * number + group, drawn, inside[:, -1] > 0


def _in_groups(logits: torch.Tensor) -> torch.Tensor:
    """(row, padded vocabulary) -> (row, member, group)."""
    return logits.view(len(logits), GROUP, -1)

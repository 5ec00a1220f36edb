"""Ranks of many tokens among logits that are split over the ranks of a model: each counts its own."""

from collections.abc import Callable

import torch

from bauklens.decode.ranking import BINS, COMPARED, SURE, WITHIN, Counting, Ranks, best_of, lowest, sure_up_to
from bauklens.model.head_shard import HeadShard


def ranks_in_shards(shard: HeadShard, logits: torch.Tensor, values: torch.Tensor, top: torch.Tensor) -> Ranks:
    """Ranks logits among all of each row, like :meth:`bauklens.decode.ranking.Counting.ranks`; the same on all ranks.

    Args:
        logits: (row, own token).
        values: (row, token), the logits of some tokens, which any rank may hold.
        top: (row, k), the largest logits of each row, largest first.
    """
    values, counting = values.to(logits.dtype), Counting()
    if logits.element_size() == 2:
        (above,) = _summed(shard, lambda: [counting.above(logits, values)])
        return sure_up_to(above + 1, torch.ones_like(above, dtype=torch.bool))
    bounds = lowest(values), top[:, :1].to(logits.dtype)
    above, beside = _summed(shard, lambda: list(counting.counted(logits, values, bins=BINS, bounds=bounds)))
    ranks, sure = best_of(1 + above + (beside - 1).clamp_min(0) // 2, beside <= 1, values, top.to(values.dtype))
    doubtful = ~sure & ((beside // 2 > WITHIN * ranks) | (ranks <= SURE + beside))
    many = doubtful.sum(dim=-1) > COMPARED
    doubtful[many] = True
    rows, tokens = doubtful.nonzero(as_tuple=True)
    if len(rows):
        (larger,) = _summed(shard, lambda: [_larger(logits, values, many, rows, tokens)])
        ranks[rows, tokens], sure[rows, tokens] = 1 + larger[:, 0], True
    return sure_up_to(ranks, sure)


def _summed(shard: HeadShard, count: Callable[[], list[torch.Tensor]]) -> list[torch.Tensor]:
    """What each rank counts, (row, any) each, added up."""
    own = shard.alike(count)
    summed = shard.gathered(torch.stack(own).to(torch.int32)).sum(dim=0, dtype=torch.int32)
    return list(summed)


def _larger(
    logits: torch.Tensor, values: torch.Tensor, many: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor
) -> torch.Tensor:
    """(place, 1), how many logits of a row are larger than one of its values, for some places.

    Args:
        many: (row,), whether all values of a row are asked for.
        rows, tokens: (place,), which.
    """
    found = torch.zeros(values.shape, dtype=torch.int32, device=logits.device)
    in_order = logits[many].sort(dim=-1).values
    found[many] = (logits.shape[1] - torch.searchsorted(in_order, values[many], right=True)).int()
    few = ~many[rows]
    for row, token in zip(rows[few].tolist(), tokens[few].tolist(), strict=True):
        found[row, token] = (logits[row] > values[row, token]).sum(dtype=torch.int32)
    return found[rows, tokens][:, None]

"""The checks of a table, if each of several ranks has the logits of only some tokens; all ranks get the same result."""

import torch

from bauklens.decode.look import LOWEST
from bauklens.model.anatomy import Anatomy
from bauklens.model.head_shard import HeadShard
from bauklens.model.proof import MASKED, NotProvedError, allowed_difference, not_proved
from bauklens.stream.run import Run


def prove_in_shards(
    shard: HeadShard, anatomy: Anatomy, decoded: torch.Tensor, own: torch.Tensor, dtype: torch.dtype
) -> float:
    """Like :func:`bauklens.model.proof.prove`, for logits (row, own token).

    Raises:
        NotProvedError: on all ranks, if they differ on one by more than rounding.
    """
    decoded, own = decoded.to(own.device).float(), own.float()
    real, alike = own.abs() < MASKED, torch.equal(own.abs() < MASKED, decoded.abs() < MASKED)
    alike = alike and torch.equal(own[~real].sign(), decoded[~real].sign())
    differences = torch.where(real, decoded - own, 0).abs().amax(dim=-1)
    allowed = _allowed(shard, own, dtype)
    over = float((differences - allowed).max()) if alike else torch.inf
    over, largest = (shard.largest(each) for each in (over, float(differences.max())))
    if over == torch.inf:
        raise not_proved(anatomy, "other tokens are left out")
    if not over <= 0:
        raise not_proved(anatomy, f"they differ by {largest:.3g}, which is {over:.3g} more than rounding explains")
    return largest


def differences_in_shards(
    shard: HeadShard, run: Run, label: str, logits: torch.Tensor, ids: torch.Tensor, shown: torch.Tensor
) -> torch.Tensor:
    """(cell,), the largest difference of a probability that each of some cells of a row shows.

    Args:
        label: the row's.
        logits: (cell, own token), those of an early exit.
        ids, shown: (cell, k), the tokens and their probabilities, the most probable first.

    Raises:
        NotProvedError: on all ranks, if they differ by more than rounding.
    """
    allowed = _allowed(shard, logits.float(), run.final.dtype)[:, None].cpu()
    logits = logits.float().cpu()
    largest = logits.amax(dim=-1, keepdim=True).clamp_min(LOWEST)
    parts = shard.gathered(torch.cat([largest, (logits - largest).exp().sum(dim=-1, keepdim=True)], 1).to(shard.device))
    of_parts, sums = parts.cpu().double().unbind(dim=2)
    normalizer = (of_parts + sums.log()).logsumexp(dim=0)
    count = min(ids.shape[1], logits.shape[1])
    best = torch.nn.functional.pad(logits.topk(count).values, (0, ids.shape[1] - count), value=-torch.inf)
    place = ids - shard.first
    mine = (place >= 0) & (place < logits.shape[1])
    own = logits.gather(1, torch.where(mine, place, 0)).masked_fill(~mine, -torch.inf)
    tops, owns = shard.gathered(torch.stack([best, own]).to(shard.device)).cpu().unbind(dim=1)
    own = owns.amax(dim=0)
    in_order = tops.movedim(0, 1).flatten(1).topk(ids.shape[1]).values
    differences = ((own.double() - normalizer[:, None]).exp() - shown).abs()
    if not normalizer.isfinite().all():
        raise NotProvedError(f"the logits of row {label} are not finite in an early exit")
    if (differences > 2 * allowed).any() or not (in_order - own <= 2 * allowed).all():
        raise NotProvedError(
            f"row {label} of {run.anatomy.model_class} differs from an early exit of the model: a probability is off "
            f"by {differences.max():.3g}"
        )
    return differences.amax(dim=1)


def _allowed(shard: HeadShard, own: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(row,), from :func:`bauklens.model.proof.allowed_difference`, for the part for which it is largest."""
    part = allowed_difference(own, dtype)
    return shard.gathered(part).amax(dim=0)

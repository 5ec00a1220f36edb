"""Ranks of many tokens of every row, from one pass over the row's logits.

To compare every token with every logit would take as many passes as there are tokens. Instead a row's logits are
counted in narrow bins, and a token's rank is 1 + how many logits lie in higher bins + how many of its own bin are
greater. That last number is known if nothing else lies in its bin; otherwise half of the others are taken, and the rank
is not sure, but off by no more than that. If that is more than :data:`WITHIN` of some token's rank, the row is sorted
instead. Logits of two bytes are counted one bin for each number that there is, so that every rank is sure.
"""

from dataclasses import dataclass

import torch

BINS = 1 << 16
"""Bins of logits of four bytes or more, between a row's lowest and its highest."""

_CODES = 1 << 16
"""Bins of logits of two bytes: one for each."""

_AT_ONCE = 8
"""Rows that are counted at once on a CPU, so that they and their bins stay in its cache."""

SURE = 64
"""The largest logits of a row, so many, are in their order, so that ranks up to this one are sure."""

WITHIN = 0.02
"""The part of a rank that it is off by at most."""

LEAST = 1e29
"""How far below 0 a logit lies that is left out."""


@dataclass(frozen=True)
class Ranks:
    """The ranks of some tokens.

    Attributes:
        ranks: (row, token) int32, from 1; tokens with the very same logit share the better rank.
        exact_to: (row,) int32, up to which rank they are sure.
    """

    ranks: torch.Tensor
    exact_to: torch.Tensor


class Counting:
    """Counts logits in bins, some rows after others, in the same memory, as fresh memory costs as much as its use."""

    def __init__(self) -> None:
        self._buffers: dict[str, torch.Tensor] = {}

    def ranks(self, logits: torch.Tensor, ids: torch.Tensor, top: torch.Tensor) -> Ranks:
        """Ranks tokens among all of each row.

        Args:
            logits: (row, vocabulary).
            ids: (token,) int64.
            top: (row, k), the largest logits of each row; a token that is among them has a sure rank.
        """
        own = logits[:, ids]
        if logits.element_size() == 2:
            above, _ = self._tally(_code(logits), _code(own).long(), _CODES)
            return sure_up_to(above + 1, torch.ones_like(above, dtype=torch.bool))
        above, beside = self.counted(logits, own, bins=BINS)
        off = (beside - 1).clamp_min(0).div(2, rounding_mode="floor")
        ranks, sure = best_of(above + 1 + off, beside <= 1, own, top)
        coarse = ((beside // 2 > WITHIN * ranks) & ~sure).any(dim=-1)
        if coarse.any():
            ranks[coarse], sure[coarse] = _sorted_ranks(logits[coarse], own[coarse]), True
        return sure_up_to(ranks, sure)

    def counted(
        self,
        logits: torch.Tensor,
        values: torch.Tensor,
        *,
        bins: int,
        bounds: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """How many logits lie in higher bins than values, and how many in the same; (row, token) int32 each.

        Args:
            logits: (row, vocabulary); those below -:data:`LEAST` lie in the lowest bin.
            values: (row, token).
            bins: how many.
            bounds: (row, 1) each, the lower end of the lowest bin and the upper end of the highest; by default those of
                all logits.
        """
        at_once = _AT_ONCE if logits.device.type == "cpu" else max(1, len(logits))
        parts = []
        for start in range(0, len(logits), at_once):
            some = slice(start, start + at_once)
            ends = None if bounds is None else (bounds[0][some], bounds[1][some])
            parts.append(self._counted(logits[some], values[some], bins, ends))
        above, beside = (torch.cat(each) for each in zip(*parts, strict=True))
        return above, beside

    def _counted(
        self,
        logits: torch.Tensor,
        values: torch.Tensor,
        bins: int,
        bounds: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        wide = self._buffer("wide", logits.shape, torch.float32, logits.device).copy_(logits)
        low, high = _bounds(wide) if bounds is None else bounds
        scale = (bins - 1) / (high - low).clamp_min(torch.finfo(torch.float32).tiny)
        of_values = values.float().sub(low).mul_(scale).int().clamp_(0, bins - 1).long()
        narrow = self._buffer("narrow", logits.shape, torch.int32, logits.device)
        narrow.copy_(wide.sub_(low).mul_(scale)).clamp_(0, bins - 1)
        return self._tally(narrow, of_values, bins)

    def _tally(self, bins: torch.Tensor, of_values: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        places = self._buffer("places", bins.shape, torch.int64, bins.device).copy_(bins)
        ones = self._buffer("ones", bins.shape, torch.int32, bins.device)
        tally = self._buffer("tally", torch.Size((len(bins), count)), torch.int32, bins.device).zero_()
        tally.scatter_add_(1, places, ones)
        up_to = tally.cumsum(dim=-1, dtype=torch.int32).gather(1, of_values)
        return bins.shape[1] - up_to, tally.gather(1, of_values)

    def _buffer(self, name: str, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        known = self._buffers.get(name)
        if known is None or len(known) < shape[0]:
            make = torch.ones if name == "ones" else torch.empty
            self._buffers[name] = known = make(shape, dtype=dtype, device=device)
        return known[: shape[0]]


def _sorted_ranks(logits: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """(row, token) int32, exactly, from the sorted logits of each row."""
    in_order = logits.sort(dim=-1).values
    return (1 + logits.shape[1] - torch.searchsorted(in_order, own, right=True)).int()


def best_of(
    ranks: torch.Tensor, sure: torch.Tensor, own: torch.Tensor, top: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ranks, with those of tokens that are among the largest by comparison with these: sure.

    Args:
        ranks, sure, own: (row, token), and whether each rank is sure, and the tokens' logits.
        top: (row, k), the largest logits of each row, largest first.
    """
    is_top = own >= top[:, -1:]
    among = 1 + torch.searchsorted(-top, -own).int()
    return torch.where(is_top, among, ranks), sure | is_top


def sure_up_to(ranks: torch.Tensor, sure: torch.Tensor) -> Ranks:
    """Ranks, and up to which one all are sure: those below the first that is not."""
    most = torch.iinfo(torch.int32).max
    first = torch.where(sure, most, ranks).amin(dim=-1)
    return Ranks(ranks.int(), torch.where(first == most, most, first - 1).int())


def _bounds(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(row, 1) each, the lowest logit that is not left out, and the highest."""
    low, high = logits.amin(dim=-1, keepdim=True), logits.amax(dim=-1, keepdim=True)
    if (low < -LEAST).any():
        low = torch.where(logits < -LEAST, high, logits).amin(dim=-1, keepdim=True)
    return low, high


def _code(logits: torch.Tensor) -> torch.Tensor:
    """Numbers of two bytes -> 0 .. 65,535 (int32), in their order; -0 counts as 0."""
    bits = (logits + 0).view(torch.int16)
    return (bits ^ ((bits >> 15) & 0x7FFF)).int() + (_CODES >> 1)

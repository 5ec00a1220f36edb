"""Ranks of many tokens of every row, from one pass over the row's logits.

Comparing every token with every logit would take one pass per token. Instead a row's logits are counted in narrow bins,
and a token's rank is 1 + the number of logits in higher bins + the number of greater ones in its own bin. That last
number is known if the bin holds nothing else; otherwise half of the others are counted, and the rank is not exact, but
off by at most that much. If that is more than :data:`WITHIN` of the rank, the token is compared with every logit after
all. Logits of two bytes have one bin for each possible number, so that every rank is exact. If numba is installed, the
same is done in compiled code (:mod:`bauklens.decode.compiled`).
"""

from dataclasses import dataclass

import torch

from bauklens.decode import compiled

BINS = 1 << 14
"""Bins of logits of four bytes or more, between the lowest tracked token's and the row's highest."""

_CODES = 1 << 16
"""Bins of logits of two bytes: one for each."""

_AT_ONCE = 8
"""How many rows are counted at once on a CPU, so that they and their bins stay in its cache."""

COMPARED = 16
"""The most tokens of a row that are compared with every logit; with more, sorting the row is faster, and exact."""

SURE = 64
"""How many of the largest logits of a row are sorted, so that ranks up to this one are exact."""

WITHIN = 0.02
"""The largest relative error of a rank."""

LEAST = 1e29
"""A logit this far below 0 is left out."""


@dataclass(frozen=True)
class Ranks:
    """The ranks of some tokens.

    Attributes:
        ranks: (row, token) int32, from 1; tokens with exactly the same logit share the better rank.
        exact_to: (row,) int32, up to which rank they are exact.
    """

    ranks: torch.Tensor
    exact_to: torch.Tensor


class Counting:
    """Counts logits in bins, some rows at a time, in the same memory, because new memory costs as much as the work."""

    def __init__(self) -> None:
        self._buffers: dict[str, torch.Tensor] = {}

    def ranks(self, logits: torch.Tensor, ids: torch.Tensor, top: torch.Tensor) -> Ranks:
        """Ranks tokens among all of each row.

        Args:
            logits: (row, vocabulary).
            ids: (token,) int64.
            top: (row, k), the largest logits of each row, largest first; a token that is among them has an exact rank.
        """
        own = logits[:, ids]
        if logits.element_size() == 2:
            above = self.above(logits, own)
            return sure_up_to(above + 1, torch.ones_like(above, dtype=torch.bool))
        low, high = bounds = (lowest(own), top[:, :1])
        if logits.dtype == torch.float32 and compiled.ready(logits):
            return sure_up_to(*compiled.rank(logits, own, top, BINS, low, _scale(BINS, low, high), WITHIN, COMPARED))
        above, beside = self.counted(logits, own, bins=BINS, bounds=bounds)
        ranks, sure = best_of(1 + above + (beside - 1).clamp_min(0) // 2, beside <= 1, own, top)
        doubtful = ~sure & (beside // 2 > WITHIN * ranks)
        many = doubtful.sum(dim=-1) > COMPARED
        if many.any():
            ranks[many], sure[many] = _sorted_ranks(logits[many], own[many]), True
        rows, tokens = (doubtful & ~many[:, None]).nonzero(as_tuple=True)
        for row, token in zip(*(torch.split(each, _at_once(logits)) for each in (rows, tokens)), strict=True):
            ranks[row, token] = 1 + (logits[row] > own[row, token][:, None]).sum(dim=-1, dtype=torch.int32)
            sure[row, token] = True
        return sure_up_to(ranks, sure)

    def above(self, logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """How many logits of two bytes are greater than values, exactly: (row, token) int32.

        Args:
            logits: (row, vocabulary).
            values: (row, token), in the same dtype.
        """
        if logits.dtype == torch.bfloat16 and compiled.ready(logits):
            return compiled.count(logits, values.float())[0]
        return self._tally(_code(logits), _code(values), _CODES)[0]

    def counted(
        self, logits: torch.Tensor, values: torch.Tensor, *, bins: int, bounds: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """How many logits lie in higher bins than values, and how many in the same; (row, token) int32 each.

        Args:
            logits: (row, vocabulary).
            values: (row, token).
            bins: how many, at most 32,768.
            bounds: (row, 1) each, the lower end of the lowest bin and the upper end of the highest; logits beyond them
                are counted in these bins.
        """
        if logits.dtype == torch.bfloat16 and compiled.ready(logits):
            return compiled.count(logits, values.float())
        some = _at_once(logits)
        rows = zip(*(torch.split(each, some) for each in (logits, values, *bounds)), strict=True)
        parts = [self._counted(some_logits, some_values, bins, ends) for some_logits, some_values, *ends in rows]
        above, beside = (torch.cat(each) for each in zip(*parts, strict=True))
        return above, beside

    def _counted(
        self, logits: torch.Tensor, values: torch.Tensor, bins: int, bounds: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        low, high = bounds
        scale = _scale(bins, low, high)
        of_values = values.float().sub(low).mul_(scale).clamp_(0, bins - 1)
        of_logits = self._buffer("wide", logits.shape, torch.float32, logits.device)
        of_logits.copy_(logits).sub_(low).mul_(scale).clamp_(0, bins - 1)
        narrow = self._buffer("narrow", logits.shape, torch.int16, logits.device).copy_(of_logits)
        return self._tally(narrow.clamp_(0, bins - 1), of_values.short().clamp_(0, bins - 1), bins)  # NaN is any number

    def _tally(self, bins: torch.Tensor, of_values: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        places = self._buffer("places", bins.shape, torch.int64, bins.device).copy_(bins)
        ones = self._buffer("ones", bins.shape, torch.int32, bins.device)
        tally = self._buffer("tally", torch.Size((len(bins), count)), torch.int32, bins.device).zero_()
        tally.scatter_add_(1, places, ones)
        of_values = of_values.long()
        up_to = tally.cumsum(dim=-1, dtype=torch.int32).gather(1, of_values)
        return bins.shape[1] - up_to, tally.gather(1, of_values)

    def _buffer(self, name: str, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        known = self._buffers.get(name)
        if known is None or len(known) < shape[0]:
            make = torch.ones if name == "ones" else torch.empty
            self._buffers[name] = known = make(shape, dtype=dtype, device=device)
        return known[: shape[0]]


def _scale(bins: int, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """(row, 1), bins for each nat between two ends."""
    return (bins - 1) / (high - low).clamp_min(torch.finfo(torch.float32).tiny)


def _at_once(logits: torch.Tensor) -> int:
    return _AT_ONCE if logits.device.type == "cpu" else max(1, len(logits))


def _sorted_ranks(logits: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """(row, token) int32, exact ranks from the sorted logits of each row."""
    in_order = logits.sort(dim=-1).values
    return (1 + logits.shape[1] - torch.searchsorted(in_order, own, right=True)).int()


def best_of(
    ranks: torch.Tensor, sure: torch.Tensor, own: torch.Tensor, top: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ranks in which those of tokens among the largest come from comparing them with these, and so are exact."""
    is_top = own >= top[:, -1:]
    among = 1 + torch.searchsorted(-top, -own).int()
    return torch.where(is_top, among, ranks), sure | is_top


def sure_up_to(ranks: torch.Tensor, sure: torch.Tensor) -> Ranks:
    """Ranks, and the one up to which all are exact: below the first that is not."""
    most = torch.iinfo(torch.int32).max
    first = torch.where(sure, most, ranks).amin(dim=-1)
    return Ranks(ranks.int(), torch.where(first == most, most, first - 1).int())


def lowest(own: torch.Tensor) -> torch.Tensor:
    """(row, 1), the lowest of the tokens' logits that is not left out; 0 if all are."""
    low = torch.where(own < -LEAST, torch.inf, own).amin(dim=-1, keepdim=True)
    return torch.where(low == torch.inf, 0, low)


def _code(logits: torch.Tensor) -> torch.Tensor:
    """Numbers of two bytes -> 0 .. 65,535 (int32), in their order; -0 counts as 0."""
    bits = (logits + 0).view(torch.int16)
    return (bits ^ ((bits >> 15) & 0x7FFF)).int() + (_CODES >> 1)

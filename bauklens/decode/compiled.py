"""Looking at logits, and counting among them, in compiled code, if numba is installed.

It gives what torch's operators give, but for rounding (:mod:`bauklens.decode.rest`, :mod:`bauklens.decode.ranking`).
Among logits in bfloat16, ranks that are proved are the same, and the others are estimated more finely. Numba takes most
of a second to start, so a process that reads little does without.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import ModuleType

import numpy as np
import torch

READ_BEFORE = 4_096
"""Rows that a process looks at with torch's operators before it starts numba."""

_rows_seen = 0


def ready(logits: torch.Tensor) -> bool:
    """Whether compiled code is used for these rows, (row, any); they count among those of the process."""
    global _rows_seen
    _rows_seen += len(logits)
    can = logits.device.type == "cpu" and logits.dtype in (torch.float32, torch.bfloat16) and logits.stride(-1) == 1
    return can and _rows_seen > READ_BEFORE and _kernels() is not None


def survey(
    logits: torch.Tensor, count: int, places: torch.Tensor, lowest: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The largest logits of each row, sums over the rest, and tokens that are drawn from it.

    Args:
        logits: (row, padded vocabulary) bfloat16, for which :func:`ready` has said so.
        count: how many of the largest to find.
        places: (2, draw) float32, where to draw.
        lowest: what the largest become.

    Returns:
        ``found``, ``ids``, ``sums``, ``drawn_ids`` and ``drawn`` of
        :func:`bauklens.decode.pass_kernels.survey`.
    """
    from bauklens.decode import pass_kernels

    rows, draws = len(logits), places.shape[1]
    found, sums, drawn = (torch.empty(rows, number, dtype=torch.float32, device="cpu") for number in (count, 5, draws))
    ids, drawn_ids = (torch.empty(rows, number, dtype=torch.int64, device="cpu") for number in (count, draws))
    bits, where = _bits(logits), _array(places)
    lowest_bits = _bits(torch.full((1,), lowest, dtype=torch.bfloat16, device="cpu"))[0]
    results = [each.numpy() for each in (found, ids, sums, drawn_ids, drawn)]

    def run(some: slice) -> None:
        pass_kernels.survey(bits[some], where, lowest_bits, *(each[some] for each in results))

    _side_by_side(run, rows)
    return found, ids, sums, drawn_ids, drawn


def score(inputs: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The logits of some tokens of each row: (row, width) float32 and (row, token) int64 -> (row, token) float32.

    Args:
        inputs: for which :func:`ready` has said so.
        weights: (vocabulary, width) float32.
        bias: (vocabulary,) float32.
    """
    from bauklens.decode import pass_kernels

    scores = torch.empty(ids.shape, dtype=torch.float32, device="cpu")
    rows, into, of_tokens = (_array(inputs), _array(ids)), scores.numpy(), (weights.detach().numpy(), _array(bias))

    def run(some: slice) -> None:
        pass_kernels.score(rows[0][some], *of_tokens, rows[1][some], into[some])

    _side_by_side(run, len(inputs))
    return scores


def summarize(logits: torch.Tensor, count: int, groups: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The largest logits of each row, and sums over all of them.

    Args:
        logits: (row, vocabulary) float32, for which :func:`ready` has said so.
        count: how many of the largest to find; fewer than the groups.

    Returns:
        ``found``, ``ids`` and ``sums`` of :func:`bauklens.decode.pass_kernels.summarize`.
    """
    from bauklens.decode import pass_kernels

    found = torch.empty(len(logits), count, dtype=torch.float32, device="cpu")
    ids, sums = torch.empty_like(found, dtype=torch.int64), found.new_empty(len(logits), 2, dtype=torch.float64)
    array, results = logits.detach().numpy(), [each.numpy() for each in (found, ids, sums)]

    def run(some: slice) -> None:
        pass_kernels.summarize(array[some], groups, *(each[some] for each in results))

    _side_by_side(run, len(logits))
    return found, ids, sums


def count(logits: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How many logits lie in higher cells than values, and how many in the same; (row, token) int32 each.

    The cell of a value is the greatest number of bfloat16 that is not greater than it.

    Args:
        logits: (row, vocabulary) bfloat16, for which :func:`ready` has said so.
        values: (row, token) float32.
    """
    above = torch.empty(values.shape, dtype=torch.int32, device=values.device)
    beside = torch.empty_like(above)
    arrays = [_bits(logits), _array(values.contiguous().view(torch.int32)), above.numpy(), beside.numpy()]
    _side_by_side(lambda some: _counting().count(*(each[some] for each in arrays)), len(logits))
    return above, beside


def rank_among(
    logits: torch.Tensor,
    ids: torch.Tensor,
    values: torch.Tensor,
    others: torch.Tensor,
    scores: torch.Tensor,
    proved: torch.Tensor,
    bits: tuple[float, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ranks tokens by their float32 numbers, among others that have these too, and the rest in bfloat16.

    Args:
        logits: (row, vocabulary) bfloat16, for which :func:`ready` has said so; of the others they are very low.
        ids: (token,) int64.
        values: (row, token) float32, the tokens' own; tokens that are among the others take theirs.
        others: (row, candidate) int64, their ids.
        scores: (row, candidate) float32.
        proved: (row, 1) float32, above which none of the rest lies, on the scale of the logits.
        bits: by which numbers come to that scale: times the first, less the second, (row, 1).

    Returns:
        (row, token) int32, from 1; and bool, whether a rank is proved.
    """
    factor, less = bits
    scale = torch.cat([torch.full_like(less, factor), less], dim=1).float()
    ranks = torch.empty(values.shape, dtype=torch.int32, device=values.device)
    sure = torch.empty(values.shape, dtype=torch.bool, device=values.device)
    numbers = _array(ids)
    by_row = [_bits(logits), *(_array(each) for each in (values.float(), others, scores.float(), proved[:, 0].float()))]
    by_row += [_array(scale), ranks.numpy(), sure.numpy()]

    def run(some: slice) -> None:
        first, *rest = (each[some] for each in by_row)
        _counting().rank_among(first, numbers, *rest)

    _side_by_side(run, len(logits))
    return ranks, sure


def rank(
    logits: torch.Tensor,
    values: torch.Tensor,
    top: torch.Tensor,
    bins: int,
    low: torch.Tensor,
    scale: torch.Tensor,
    within: float,
    few: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ranks values among all logits: (row, token) int32, from 1, and bool, whether a rank is exact.

    Args:
        logits: (row, vocabulary) float32, for which :func:`ready` has said so.
        values: (row, token), some of its logits.
        top: (row, k), its largest logits, largest first.
        bins: how many, at most 32,768, a multiple of 128.
        low: (row, 1), the lower end of the lowest bin; what lies beyond an end is counted in its bin.
        scale: (row, 1), bins for each nat.
        within: the part of a rank that it may be off by; if it could be more, a value is compared with every logit.
        few: if more values of a row than that are compared so, all are.
    """
    ranks = torch.empty(values.shape, dtype=torch.int32, device=values.device)
    sure = torch.empty(values.shape, dtype=torch.bool, device=values.device)
    arrays = [_array(each) for each in (logits, values, top, low[:, 0], scale[:, 0])]
    found = [ranks.numpy(), sure.numpy()]

    def run(some: slice) -> None:
        _counting().rank(*(each[some] for each in arrays), bins, within, few, *(each[some] for each in found))

    _side_by_side(run, len(logits))
    return ranks, sure


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _bits(logits: torch.Tensor) -> np.ndarray:
    """Bfloat16 as uint16."""
    return logits.detach().view(torch.int16).numpy().view(np.uint16)


def _counting() -> ModuleType:
    kernels = _kernels()
    assert kernels is not None
    return kernels


def _side_by_side(run: Callable[[slice], None], rows: int) -> None:
    """Runs a kernel on slices of rows, as many at once as torch has threads."""
    step = -(-rows // torch.get_num_threads())
    slices = [slice(start, start + step) for start in range(0, rows, step)] if rows else []
    if len(slices) == 1:
        run(slices[0])
        return
    for done in [_pool(torch.get_num_threads()).submit(run, some) for some in slices]:
        done.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="bauklens-count")


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


@cache
def _kernels() -> ModuleType | None:
    try:
        from numba import config

        from bauklens.decode import kernels

        if getattr(config, "DISABLE_JIT", 0):  # by who debugs; loops would take hours
            return None
        kernels.count(*(np.zeros((1, 1), dtype) for dtype in (np.uint16, np.int32, np.int32, np.int32)))
    except Exception:  # numba is not there, or does not work with this Python, numpy, processor or folder
        return None
    return kernels

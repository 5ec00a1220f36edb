"""Compiled code, if numba is installed: when it is used, and how it counts among logits.

Except for rounding, it gives the results of torch's operators (:mod:`bauklens.decode.ranking`). Among logits in
bfloat16, ranks that are proved are the same, and the others are estimated more finely. Numba takes most of a second to
start, so a process that reads little does not use it.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from threading import Barrier, local
from types import ModuleType

import numpy as np
import torch

from bauklens.progress import bar

READ_BEFORE = 4_096
"""How many rows a process reads with torch's operators before it starts numba."""

_rows_seen, _at_once = 0, False

_here = local()
"""Whether this thread is of a pool."""


def ready(logits: torch.Tensor) -> bool:
    """Whether compiled code is used for these rows, (row, any); they are added to the count of the process."""
    can = logits.device.type == "cpu" and logits.dtype in (torch.float32, torch.bfloat16) and logits.stride(-1) == 1
    return can and starts(len(logits))


def starts(rows: int) -> bool:
    """Whether compiled code is used for this many more rows; they are added to the count of the process."""
    global _rows_seen
    _rows_seen += rows
    return (_at_once or _rows_seen > READ_BEFORE) and _kernels() is not None


@contextmanager
def at_once() -> Iterator[None]:
    """Uses compiled code from the first row on, so that results do not depend on what was read before."""
    global _at_once
    before, _at_once = _at_once, True
    try:
        yield
    finally:
        _at_once = before


def count(logits: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How many logits lie in higher cells than values, and how many in the same; (row, token) int32 each.

    The cell of a value is the greatest number of bfloat16 that is not greater than it.

    Args:
        logits: (row, vocabulary) bfloat16, for which :func:`ready` has said so.
        values: (row, token) float32.
    """
    above = torch.empty(values.shape, dtype=torch.int32, device=values.device)
    beside = torch.empty_like(above)
    arrays = [bits_of(logits), array_of(values.contiguous().view(torch.int32)), above.numpy(), beside.numpy()]
    side_by_side(lambda some: _counting().count(*(each[some] for each in arrays)), len(logits))
    return above, beside


def above(logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """How many logits of a row are greater than each of some of its logits: (row, token) int32.

    Args:
        logits: (row, vocabulary) float32 or bfloat16, for which :func:`ready` has said so.
        values: (row, token), in the same dtype.
    """
    if logits.dtype == torch.bfloat16:
        return count(logits, values.float())[0]
    counts = torch.empty(values.shape, dtype=torch.int32, device=values.device)
    arrays = [logits.detach().numpy(), array_of(values), counts.numpy()]
    side_by_side(lambda some: _counting().above(*(each[some] for each in arrays)), len(logits))
    return counts


def rank_among(
    logits: torch.Tensor,
    ids: torch.Tensor,
    values: torch.Tensor,
    others: torch.Tensor,
    scores: torch.Tensor,
    proved: torch.Tensor,
    bits: tuple[float, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ranks tokens by their float32 numbers, among others that also have float32 numbers, and the rest in bfloat16.

    Args:
        logits: (row, vocabulary) bfloat16, for which :func:`ready` has said so; others are far below.
        ids: (token,) int64.
        values: (row, token) float32, those of the tokens; a token that is among the others takes its score instead.
        others: (row, candidate) int64, their ids.
        scores: (row, candidate) float32.
        proved: (row, 1) float32, above which none of the rest lies, on the scale of the logits.
        bits: how numbers are brought to that scale: times the first, less the second, (row, 1).

    Returns:
        (row, token) int32, from 1; and bool, whether a rank is proved.
    """
    factor, less = bits
    scale = torch.cat([torch.full_like(less, factor), less], dim=1).float()
    ranks = torch.empty(values.shape, dtype=torch.int32, device=values.device)
    sure = torch.empty(values.shape, dtype=torch.bool, device=values.device)
    numbers = array_of(ids)
    by_row = [
        bits_of(logits),
        *(array_of(each) for each in (values.float(), others, scores.float(), proved[:, 0].float())),
    ]
    by_row += [array_of(scale), ranks.numpy(), sure.numpy()]

    def run(some: slice) -> None:
        first, *rest = (each[some] for each in by_row)
        _counting().rank_among(first, numbers, *rest)

    side_by_side(run, len(logits))
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
    arrays = [array_of(each) for each in (logits, values, top, low[:, 0], scale[:, 0])]
    found = [ranks.numpy(), sure.numpy()]

    def run(some: slice) -> None:
        _counting().rank(*(each[some] for each in arrays), bins, within, few, *(each[some] for each in found))

    side_by_side(run, len(logits))
    return ranks, sure


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """The same numbers, next to each other."""
    return tensor.detach().contiguous().numpy()


def bits_of(logits: torch.Tensor) -> np.ndarray:
    """Bfloat16 as uint16."""
    return logits.detach().view(torch.int16).numpy().view(np.uint16)


def _counting() -> ModuleType:
    kernels = _kernels()
    assert kernels is not None
    return kernels


def side_by_side(run: Callable[[slice], None], rows: int) -> None:
    """Runs a function on slices of rows, as many at once as torch has threads; inside it, torch has one thread.

    A slice that is divided again runs as one: its thread would wait for those that wait for it.
    """
    threads = 1 if getattr(_here, "is_of_pool", False) else torch.get_num_threads()
    step = -(-rows // threads)
    slices = [slice(start, min(start + step, rows)) for start in range(0, rows, step)] if rows else []
    if len(slices) == 1:
        run(slices[0])
        return
    is_inference = torch.is_inference_mode_enabled()

    def run_here(some: slice) -> None:
        with torch.inference_mode(is_inference), torch.no_grad():
            run(some)

    for done in [_pool(threads).submit(run_here, some) for some in slices]:
        done.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that each compute by themselves: those of torch's own operators would wait for each other.

    The number that is set in one of them also applies to threads that torch meets later, until it is set again.
    """
    pool = ThreadPoolExecutor(threads, "bauklens-rows", _compute_alone)
    started = Barrier(threads)
    for done in [pool.submit(started.wait) for _ in range(threads)]:
        done.result()
    torch.set_num_threads(threads)
    return pool


def _compute_alone() -> None:
    _here.is_of_pool = True
    torch.set_num_threads(1)
    torch.get_num_threads()  # torch reads the global setting when a thread first calls it, which is now


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


@cache
def _kernels() -> ModuleType | None:
    try:
        from numba import config

        from bauklens.decode import compiled_pass, kernels

        if getattr(config, "DISABLE_JIT", 0):  # set for debugging: plain Python loops would take hours
            return None
        loops = [partial(_counted, kernels), *compiled_pass.runs()]
        for run in bar("Compiling loops, once on this machine", "loop", loops):
            run()
    except Exception:  # numba is not there, or does not work with this Python, numpy, processor or folder
        return None
    return kernels


def _counted(kernels: ModuleType) -> None:
    kernels.count(*(np.zeros((1, 1), dtype) for dtype in (np.uint16, np.int32, np.int32, np.int32)))

"""What the time of a lens is spent on: each part by itself, without the parts that it calls."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from threading import get_ident
from typing import Any
from unittest import mock

import torch
from torch import nn

PRODUCTS, ONE_PASS = "products", "one pass over the logits"
FORWARD, OWN_LOGITS, REST = "forward pass", "the model's own logits, in float32", "all else, in Python"

_FUNCTIONS = {
    "look at the model and the prompt": ("lens.prompts.prompted", "lens.prompts.planned"),
    "copy the modules to run": ("model.guard.shell_of", "model.tail.named_modules_of", "model.guard.named_modules_of"),
    FORWARD: ("stream.passes.run_traced",),
    "see that the head is the one converted": ("decode.remembered_heads.remembered",),
    "read the model's own row, for KL": ("decode.rows.own_of",),
    "compare the last row": ("decode.check.OwnDifferences.add", "decode.rows.own_difference"),
    "compare other cells": ("decode.rows.compared_cells",),
    PRODUCTS: ("decode.int8_product.Int8Product.survey", "decode.bfloat16_product.Bfloat16Product.survey"),
    ONE_PASS: ("decode.compiled_pass.survey_int8", "decode.compiled_pass.survey"),
    "score the best again": ("decode.compiled_pass.score",),
    "decode rows again, in float32": ("decode.readout.Exact.read",),
    "sizes and cosines of states": ("decode.rows.OfStates.read",),
    "make the result": ("lens.run.result_of",),
}
"""Part -> its functions, in the modules that call them."""


class _Clock:
    """Adds up time by part. A part that runs within another one counts only once, for itself.

    Products and the pass over their results run side by side in several threads: their time is divided in proportion to
    the time of these threads.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running, self._since, self._thread = [REST], time.perf_counter(), get_ident()
        self._aside: list[float] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        if get_ident() != self._thread:
            started = time.perf_counter()
            yield
            self._aside.append(time.perf_counter() - started)
            return
        self._turn(name)
        try:
            yield
        finally:
            self._turn(None)

    def finish(self, threads: int) -> dict[str, float]:
        """Part -> seconds.

        Args:
            threads: the threads that ran side by side.
        """
        self._turn(REST)
        apart = sum(self._aside) / threads
        self.seconds[PRODUCTS] = self.seconds.get(PRODUCTS, 0.0) - apart
        self.seconds[ONE_PASS] = self.seconds.get(ONE_PASS, 0.0) + apart
        return self.seconds

    def _turn(self, name: str | None) -> None:
        now = time.perf_counter()
        self.seconds[self._running[-1]] = self.seconds.get(self._running[-1], 0.0) + now - self._since
        self._since = now
        if name is None:
            self._running.pop()
        else:
            self._running.append(name)


def parts_of(case: Callable[[], object], head: torch.Tensor, rounds: int) -> dict[str, float]:
    """The medians of the seconds of each part of a case.

    Args:
        head: the weights of the model's head, which distinguish its own logits from its other products.
    """
    found = [_once(case, head) for _ in range(max(1, rounds))]
    return {name: statistics.median(each.get(name, 0.0) for each in found) for name in (*_FUNCTIONS, OWN_LOGITS, REST)}


def _once(case: Callable[[], object], head: torch.Tensor) -> dict[str, float]:
    with ExitStack() as patches:
        holders = {
            (name, path): _holder(f"bauklens.{path}".split(".")) for name, paths in _FUNCTIONS.items() for path in paths
        }
        clock = _Clock()
        for (name, path), holder in holders.items():
            last = path.rsplit(".", 1)[-1]
            patches.enter_context(mock.patch.object(holder, last, _timed(clock, name, getattr(holder, last))))
        patches.enter_context(mock.patch.object(nn.Linear, "forward", _timed_head(clock, head)))
        case()
        return clock.finish(torch.get_num_threads())


def _holder(path: Sequence[str]) -> Any:
    """The module or class that an attribute belongs to."""
    if path[-2][0].isupper():
        return getattr(import_module(".".join(path[:-2])), path[-2])
    return import_module(".".join(path[:-1]))


def _timed(clock: _Clock, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*given: Any, **named: Any) -> Any:
        with clock.part(name):
            return function(*given, **named)

    return run


def _timed_head(clock: _Clock, head: torch.Tensor) -> Callable[..., Any]:
    own = nn.Linear.forward

    def forward(self: nn.Linear, states: torch.Tensor) -> torch.Tensor:
        if self.weight.data_ptr() != head.data_ptr():
            return own(self, states)
        with clock.part(OWN_LOGITS):
            return own(self, states)

    return forward


def of_parts(runs: Sequence[dict[str, Any]], case: str, floor: str) -> str:
    """The section of docs/PERFORMANCE.md.

    Args:
        case, floor: the case that the parts belong to, and the one that they are compared with.
    """
    measured = [run for run in runs if "parts" in run]
    if not measured:
        return ""
    names = list(measured[0]["parts"])
    columns = [[in_floors(run, name, case, floor) for name in names] for run in measured]
    each_row = zip(names, zip(*columns, strict=True), strict=True)
    rows = [
        ["", *(f"{run['model']}, {run['tokens']:,}" for run in measured)],
        ["---", *["---:"] * len(measured)],
        *([name, *(f"{each:.3f}" for each in row)] for name, row in each_row),
        ["all", *(f"{sum(each):.3f}" for each in columns)],
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return (
        "## Where the time goes\n\n"
        "The parts of a lens with its measures, in floors: they add up to its figure above. A part that is "
        "called by another one counts only once, for itself. The floor has a forward pass without the model's own "
        "logits, and the products.\n\n"
        f"{table}\n"
    )


def in_floors(run: dict[str, Any], part: str, case: str, floor: str) -> float:
    """The time of a part as a multiple of the floor."""
    seconds, parts = run["seconds"], run["parts"]
    return float(parts[part] / sum(parts.values()) * seconds[case] / seconds[floor])

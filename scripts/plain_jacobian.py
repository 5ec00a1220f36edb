"""The published estimator of a window's Jacobian, written plainly, for comparison with the package's own."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from bauklens.decoders.texts import SKIP_FIRST
from bauklens.model.block_output import state_of, with_state
from bauklens.model.inputs import Inputs

ROWS, COPIES = 32, 8
"""How many rows of a Jacobian are computed, and how many copies of the window a batch has: the rows at once."""


@dataclass(frozen=True)
class Timed:
    """The first rows of a Jacobian, and how long all of them would take.

    Attributes:
        rows: (layer, row, width).
        copies: copies of the window in a batch: the rows at once.
    """

    rows: torch.Tensor
    copies: int
    seconds: float


@dataclass(frozen=True)
class PlainJacobian:
    """The published estimator, written plainly: a forward pass of copies of a window, and backward passes through it.

    Attributes:
        blocks: names of the modules.
        parts: as for :func:`bauklens.model.block_output.state_of`.
    """

    model: Any
    blocks: Sequence[str]
    parts: tuple[int, ...]
    inputs: Inputs

    def timed(self) -> Timed:
        """The rows that are timed, and the seconds of all, the backward passes scaled by their number."""
        kept = {name: each.requires_grad for name, each in self.model.named_parameters()}
        self.model.requires_grad_(False)
        try:
            with torch.enable_grad():
                return self._timed()
        finally:
            for name, each in self.model.named_parameters():
                each.requires_grad_(kept[name])

    def _timed(self) -> Timed:
        with stopped() as forward:
            states = self._states()
        *sources, target = states
        width, copies = target.shape[-1], len(target)
        counted = slice(SKIP_FIRST, self.inputs.count - 1)
        rows = []
        starts = range(0, min(ROWS, width), copies)
        with stopped() as backward:
            for start in starts:
                cotangent = torch.zeros_like(target)
                for copy in range(min(copies, width - start)):
                    cotangent[copy, counted, start + copy] = 1
                grads = torch.autograd.grad(target, sources, cotangent, retain_graph=True)
                rows.append(torch.stack([grad[:, counted].mean(dim=1) for grad in grads]).float().cpu())
        seconds = forward[0] + backward[0] / len(starts) * -(-width // copies)
        return Timed(torch.cat(rows, dim=1)[:, :width], copies, seconds)

    def _states(self) -> list[torch.Tensor]:
        """The output of every block, (copy, position, width), the first as a leaf."""
        states: list[torch.Tensor] = []

        def ended(_module: Any, _given: Any, output: Any) -> Any:
            state = state_of(output, self.parts)
            if not states:
                state = state.detach().requires_grad_()
                output = with_state(output, state, self.parts)
            states.append(state)
            return output

        with ExitStack() as hooks:
            for name in self.blocks:
                hook = self.model.get_submodule(name).register_forward_hook(ended)
                hooks.callback(hook.remove)
            self.model(self.inputs.ids.expand(COPIES, -1), use_cache=False)
        return states


@contextmanager
def stopped() -> Iterator[list[float]]:
    """A list that gets the seconds when the context ends."""
    started = time.perf_counter()
    taken: list[float] = []
    yield taken
    taken.append(time.perf_counter() - started)

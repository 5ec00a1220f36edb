"""States that are passed on and not kept, because all of them together would take much memory.

The model runs once for its own logits, its last state, and the states of all layers at a few positions. It runs again
when the states are read, and passes on each as soon as its block has run. The states at the few positions, and the
whole last state, show whether the second run gives the same.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from bauklens.arguments import chosen_positions
from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.block_output import state_of
from bauklens.model.forward import last_logits_only
from bauklens.model.inputs import Inputs
from bauklens.model.memory import explaining_out_of_memory
from bauklens.stream.kept import HandOn, are_alike
from bauklens.stream.passes import forward_pass
from bauklens.stream.stream import Stream, require_finite
from bauklens.stream.tracing import Tracing, run_traced

MOST_KEPT = 2 << 30
"""The most bytes of states that are kept, unless the caller says otherwise. Larger ones are passed on."""

_MIDDLE = 32
"""How many columns in the middle of a table have their states kept in the first run."""


class PassingStates:
    """States (row, position, hidden). Only a few rows and columns are in memory at a time.

    Args:
        again: runs the model once more and hands on the states.
        last: (position, hidden), the last state, which stays in memory.
        sample: (state, column, hidden), the states at some columns, which stay in memory.
        columns: (column,), the positions of the sample.
        places: (row,), the number of each row's state, in order; by default each state has a row.
    """

    def __init__(
        self,
        again: Callable[[HandOn], None],
        last: torch.Tensor,
        sample: torch.Tensor,
        columns: list[int],
        places: list[int] | None = None,
    ) -> None:
        self._again, self._last, self._sample, self._columns = again, last, sample, columns
        self._places = list(range(len(sample))) if places is None else places
        self._at_hand = {len(sample) - 1: last}
        self.dtype, self.device = sample.dtype, sample.device

    def rows(self, places: list[int]) -> "PassingStates":
        """Some of the states, in order."""
        return PassingStates(self._again, self._last, self._sample, self._columns, places)

    def of(self, row: int, columns: Any = slice(None)) -> torch.Tensor:
        """(column, hidden), one row at some positions, given as an index: any of a row that is being read."""
        place = self._places[row]
        if place in self._at_hand:
            return self._at_hand[place][columns]
        index = columns.cpu() if isinstance(columns, torch.Tensor) else columns
        wanted = torch.arange(len(self._last), device="cpu")[index].tolist()
        return self._sample[place, [self._columns.index(each) for each in wanted]]

    def read(self, groups: Sequence[range], visit: Callable[[range], None], stay: Collection[int] = ()) -> None:
        """Runs the model again, and passes on rows as they are computed.

        Args:
            groups: rows that are read together, one group after another, in order.
            visit: called with each group when all of its rows are available.
            stay: rows that remain available.

        Raises:
            LensError: the model's states differ from those before.
        """
        rows, pending = {place: row for row, place in enumerate(self._places)}, deque(groups)

        def take(number: int, states: torch.Tensor) -> None:
            row, state = rows.get(number), states[0]
            self._require_same(number, state)
            if row is None or not pending:
                return
            group = pending[0]
            self._at_hand[number] = state.clone()
            if row == group[-1]:
                visit(pending.popleft())
                gone = {self._places[each] for each in group if each not in stay}
                for place in gone - {len(self._sample) - 1}:
                    del self._at_hand[place]

        self._again(take)

    def _require_same(self, number: int, state: torch.Tensor) -> None:
        is_last = number == len(self._sample) - 1
        same = are_alike(self._last, state) if is_last else are_alike(self._sample[number], state[self._columns])
        if not same:
            raise LensError(
                "the states differ when the model runs again, because of noise or an edit that keeps its own state, "
                "for example: pass keep_states=True"
            )


def are_passed_on(anatomy: Anatomy, inputs: Inputs, tracing: Tracing) -> bool:
    """Whether the states of a prompt are passed on and not kept."""
    if tracing.keep_states is not None:
        return not tracing.keep_states
    last = state_of(anatomy.block_output, anatomy.parts)
    states = 1 + len(anatomy.blocks[: tracing.blocks])
    return states * inputs.count * anatomy.width * last.element_size() > MOST_KEPT


def passing_stream(model: nn.Module, anatomy: Anatomy, inputs: Inputs, tracing: Tracing) -> Stream:
    """The stream of a prompt, with its last state only; the others come when they are read.

    Args:
        tracing: of states that are (position, hidden), and of no sublayers.
    """
    positions = chosen_positions(inputs.count, tracing.positions)
    columns = _columns(positions)
    few: list[torch.Tensor] = []

    def sample(number: int, states: torch.Tensor) -> None:
        require_finite(states, anatomy, number)
        if not number:
            few.clear()  # from a pass that ran out of memory
        few.append(states[0, columns])

    def again(hand_on: HandOn) -> None:
        few_logits = {} if anatomy.hooked else last_logits_only(model)
        with explaining_out_of_memory(inputs.count):
            run_traced(model, anatomy, inputs, replace(tracing, hand_on=hand_on), few_logits)

    once = replace(tracing, hand_on=sample)
    passed, _ = forward_pass(model, anatomy, inputs, once, [inputs.count], {})
    last = passed.kept.whole()[:, 0]
    return Stream(
        last,
        None if passed.logits is None else passed.logits[0],
        None if passed.head is None else passed.head.of(0),
        shard=passed.shard,
        passing=PassingStates(again, last[0], torch.stack(few), columns),
    )


def _columns(positions: list[int]) -> list[int]:
    """The positions whose states are always available: those of the columns in the middle, and the last."""
    start = max(0, (len(positions) - _MIDDLE) // 2)
    return sorted({*positions[start : start + _MIDDLE], positions[-1]})

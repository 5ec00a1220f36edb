"""Measures of the states themselves, not of their logits: their size and their direction."""

from collections.abc import Collection

import torch

from bauklens.decode.measure import cosine, magnitude, whole_magnitude
from bauklens.decode.reading import Values
from bauklens.decode.unembed import Rows
from bauklens.stream.run import Run


class OfStates:
    """The measures of a table's states, one layer at a time, because a copy of all states would double the memory.

    Args:
        run: the run that the states come from.
        measures: those that are wanted. Cosines need states that are (position, hidden).
    """

    def __init__(self, run: Run, rows: Rows, measures: Collection[str]) -> None:
        self._run, self._rows = run, rows
        cosines = ("cosine_to_final", "cosine_to_previous")
        self._found: dict[str, list[torch.Tensor]] = {name: [] for name in cosines if name in measures}
        self._found["magnitude"] = []
        self._before: torch.Tensor | None = None

    def read(self, layers: range) -> None:
        """Reads some layers; all of them must be read, in order."""
        if not self._run.anatomy.plain:
            return
        columns = self._rows.everything.positions
        for row in layers:
            state = self._rows.at(range(row, row + 1), columns)[0]
            self._found["magnitude"].append(magnitude(state).cpu())
            if "cosine_to_final" in self._found:
                self._found["cosine_to_final"].append(cosine(state, self._run.final[self._rows.positions]).cpu())
            if "cosine_to_previous" in self._found:
                none = torch.full_like(state[:, 0], torch.nan, dtype=torch.float32)
                self._found["cosine_to_previous"].append(
                    (none if self._before is None else cosine(state, self._before)).cpu()
                )
                self._before = state.clone()

    def values(self) -> Values:
        """Name -> (layer, position) float32, on the CPU."""
        anatomy, count = self._run.anatomy, self._run.inputs.count
        if anatomy.plain:
            return {name: torch.stack(each) for name, each in self._found.items()}
        assert isinstance(self._rows.states, torch.Tensor)
        every = whole_magnitude(self._rows.states, anatomy.position_axis, count, anatomy.streams)
        return {"magnitude": every[:, self._rows.positions].cpu()}

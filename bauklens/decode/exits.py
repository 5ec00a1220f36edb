"""What the model itself says: its own logits at every position, and those of an early exit."""

import torch

from bauklens.model.tail import replaying
from bauklens.stream.head_call import HeadCall
from bauklens.stream.run import Run


class OwnLogits:
    """The model's own logits at some positions of a prompt that it ran to its end.

    They are those of the forward pass. If it kept only the last few, as all would take too much memory, the others are
    those of an early exit after the last block.
    """

    def __init__(self, run: Run, positions: list[int]) -> None:
        self._run, self._positions = run, torch.tensor(positions, device="cpu")

    @property
    def _kept(self) -> torch.Tensor:
        assert self._run.stream.logits is not None
        return self._run.stream.logits

    def head(self, columns: range) -> HeadCall | None:
        """The head's call in the forward pass, at some columns, if its logits are the model's."""
        call = self._run.stream.head
        places = self._positions[columns.start : columns.stop] - (self._run.inputs.count - len(self._kept))
        return None if call is None or (places < 0).any() else call.of(places.to(call.checksums.device))

    def at(self, columns: range) -> torch.Tensor:
        """(column, vocabulary)."""
        kept = self._kept
        places = self._positions[columns.start : columns.stop]
        first = self._run.inputs.count - len(kept)
        if (places >= first).all():
            return _picked(kept, places - first)
        anatomy = self._run.anatomy
        with replaying(
            self._run.model, anatomy, self._run.inputs, through=anatomy.norm, whole=True, in_place=anatomy.in_place
        ) as tail:
            found = tail.exit(self._run.final[None], places).clone()
        last = (places >= first).nonzero()[:, 0]
        found[last] = kept[(places[last] - first).to(kept.device)].to(found)
        return found


def _picked(logits: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Some rows; no copy if they are next to each other."""
    start, stop = int(places[0]), int(places[-1]) + 1
    if places.tolist() == list(range(start, stop)):
        return logits[start:stop]
    return logits[places.to(logits.device)]

"""What the model itself says: its own logits at every position, and those of an early exit."""

from dataclasses import dataclass

import torch

from bauklens.model.head_shard import HeadShard
from bauklens.model.read_position import position_read
from bauklens.model.tail import replaying
from bauklens.stream.head_call import HeadCall, calls_of_head
from bauklens.stream.run import Run


@dataclass(frozen=True)
class Said:
    """What the model says at some columns.

    Attributes:
        logits: (column, vocabulary).
        call: the call of the head that returned them, if they are its output.
    """

    logits: torch.Tensor
    call: HeadCall | None = None

    def of(self, some: slice) -> "Said":
        """The same at some columns."""
        return Said(self.logits[some], None if self.call is None else self.call.of(some))


class OwnLogits:
    """The model's own logits at some positions of a prompt that it ran to its end; for a shard, only its tokens.

    They are those of the forward pass. If the pass kept only the last few, because all would take too much memory, the
    others come from an early exit after the last block. If the model returns the logits of only one position, the
    others are read like that one.
    """

    def __init__(self, run: Run, positions: list[int], shard: HeadShard | None = None) -> None:
        self._shard = shard
        self._run, self._positions = run, torch.tensor(positions, device="cpu")
        self._places = _places_of_kept(run, self._positions)

    def at(self, columns: range) -> Said:
        """What the model says at some columns, one after another."""
        kept, call = self._run.stream.logits, self._run.stream.head
        assert kept is not None
        some = slice(columns.start, columns.stop)
        places, positions = self._places[some], self._positions[some]
        known = places >= 0
        if known.all():
            return Said(
                self._in_shards(_picked(kept, places)), None if call is None else call.of(places.to(kept.device))
            )
        said = self._exit(positions)
        if known.any():  # the logits of the forward pass itself
            said.logits[known.to(kept.device)] = self._in_shards(kept[places[known].to(kept.device)]).to(said.logits)
        return said

    def _exit(self, positions: torch.Tensor) -> Said:
        """What the model says at some positions, from its own tail after the last block."""
        anatomy, calls = self._run.anatomy, list[tuple[HeadCall, torch.Tensor]]()
        final = self._run.final[None]
        with replaying(
            self._run.model,
            anatomy,
            self._run.inputs,
            through=anatomy.norm,
            whole=not anatomy.single,
            in_place=anatomy.in_place,
            shard=self._shard,
        ) as tail:
            if anatomy.single:
                return Said(tail(final[:, positions], positions)[0].clone())
            with calls_of_head(tail.head, anatomy, calls):
                logits = tail.exit(final, positions).clone()
        call = calls[0][0].of(0) if len(calls) == 1 else None
        return Said(logits, call if call is not None and call.checksums.shape == logits.shape[:-1] else None)

    def _in_shards(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits that were kept, for the tokens that are wanted: those of a shard, or all."""
        kept = self._run.stream.shard
        if kept is None:
            return logits if self._shard is None else self._shard.part(logits)
        return kept.whole(logits) if self._shard is None else logits


def own_positions(run: Run) -> range:
    """The positions of the logits that a forward pass to the end has kept; for several prompts, those of the first."""
    assert run.stream.logits is not None
    if run.anatomy.single:
        position = position_read(run.model, run.inputs, run.anatomy.reads)
        return range(position, position + 1)
    return range(run.length - len(run.stream.logits) // run.together, run.length)


def _places_of_kept(run: Run, positions: torch.Tensor) -> torch.Tensor:
    """(column,) int64, the places of some positions among the logits that were kept; -1 if they were not kept."""
    kept = own_positions(run)
    prompts, places = positions // run.length, positions % run.length
    known = (places >= kept.start) & (places < kept.stop)
    return torch.where(known, prompts * len(kept) + places - kept.start, -1)


def _picked(logits: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Some rows; no copy if they are next to each other."""
    start, stop = int(places[0]), int(places[-1]) + 1
    if places.tolist() == list(range(start, stop)):
        return logits[start:stop]
    return logits[places.to(logits.device)]

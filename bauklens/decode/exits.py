"""What the model itself says: its own logits at every position, and those of an early exit."""

import torch

from bauklens.model.head_shard import HeadShard
from bauklens.model.read_position import position_read
from bauklens.model.tail import replaying
from bauklens.stream.head_call import HeadCall
from bauklens.stream.run import Run


class OwnLogits:
    """The model's own logits at some positions of a prompt that it ran to its end; of a shard's tokens, if it is given.

    They are those of the forward pass. If it kept only the last few, as all would take too much memory, the others are
    those of an early exit after the last block. If the model returns the logits of one position only, the others are
    read as that one is.
    """

    def __init__(self, run: Run, positions: list[int], shard: HeadShard | None = None) -> None:
        self._shard = shard
        self._run, self._positions = run, torch.tensor(positions, device="cpu")
        self._first = own_positions(run)[0]  # of those whose logits were kept

    @property
    def _kept(self) -> torch.Tensor:
        assert self._run.stream.logits is not None
        return self._run.stream.logits

    def head(self, columns: range) -> HeadCall | None:
        """The head's call in the forward pass, at some columns, if its logits are the model's."""
        call = self._run.stream.head
        places = self._places(columns)
        return None if call is None or not self._are_kept(places).all() else call.of(places.to(call.checksums.device))

    def at(self, columns: range) -> torch.Tensor:
        """(column, vocabulary)."""
        kept, places = self._kept, self._places(columns)
        known = self._are_kept(places)
        if known.all():
            return self._in_shards(_picked(kept, places))
        anatomy, positions = self._run.anatomy, places + self._first
        with replaying(
            self._run.model,
            anatomy,
            self._run.inputs,
            through=anatomy.norm,
            whole=not anatomy.alone,
            in_place=anatomy.in_place,
            shard=self._shard,
        ) as tail:
            final = self._run.final[None]
            found = (tail(final[:, positions], positions)[0] if anatomy.alone else tail.exit(final, positions)).clone()
        if known.any():
            found[known.to(found.device)] = self._in_shards(kept[places[known].to(kept.device)]).to(found)
        return found

    def _in_shards(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits that were kept, of the tokens that are wanted: those of a shard, or all."""
        kept = self._run.stream.shard
        if kept is None:
            return logits if self._shard is None else self._shard.part(logits)
        return kept.whole(logits) if self._shard is None else logits

    def _places(self, columns: range) -> torch.Tensor:
        """(column,) int64, where among the logits that were kept those of some columns are."""
        return self._positions[columns.start : columns.stop] - self._first

    def _are_kept(self, places: torch.Tensor) -> torch.Tensor:
        return (places >= 0) & (places < len(self._kept))


def own_positions(run: Run) -> range:
    """The positions of the logits that a forward pass to the end has kept."""
    assert run.stream.logits is not None
    if run.anatomy.alone:
        position = position_read(run.model, run.inputs, run.anatomy.reads)
        return range(position, position + 1)
    return range(run.inputs.count - len(run.stream.logits), run.inputs.count)


def _picked(logits: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Some rows; no copy if they are next to each other."""
    start, stop = int(places[0]), int(places[-1]) + 1
    if places.tolist() == list(range(start, stop)):
        return logits[start:stop]
    return logits[places.to(logits.device)]

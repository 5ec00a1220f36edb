"""The results of one forward pass of a prompt: hidden states, deltas, and what else was requested."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from bauklens.errors import NotFiniteError
from bauklens.model.anatomy import Anatomy
from bauklens.model.head_shard import HeadShard
from bauklens.model.heads import HeadOutputs
from bauklens.model.sublayers import Written
from bauklens.stream.head_call import HeadCall
from bauklens.vocabulary import EMBED

if TYPE_CHECKING:
    from bauklens.stream.passing import PassingStates


@dataclass(frozen=True)
class Stream:
    """The results of one forward pass of a prompt.

    Attributes:
        states: (1 + layer, position, hidden), the input of block 0 and then the output of every block that ran, in the
            model's dtype, on the device of the last block's output. If the model's states are not
            (1, position, hidden), they keep their own shape: (1 + layer, ...). If the states were passed on, this is
            only the last one.
        logits: (position, vocabulary), the model's own, at all positions or at the last ones, if no others are wanted
            or they would take too much memory; at one, if the model returns no others; None if the pass ended before
            the logits.
        head: the head's call at the same positions, if its logits are the model's.
        written: what the sublayers wrote, if requested.
        heads: (layer,), what each head of a block's attention wrote, if requested and if its heads can be told apart.
        given: number of a block in the run -> its input, if inputs were requested and this one differs from the output
            of the block before, because the model computes something between blocks.
        shard: the part of the head that these logits belong to, if it is split over several ranks.
        passing: all states, which are computed again when they are read, if they were passed on.
    """

    states: torch.Tensor
    logits: torch.Tensor | None
    head: HeadCall | None = None
    written: Written | None = None
    heads: tuple[HeadOutputs | None, ...] = ()
    given: Mapping[int, torch.Tensor] = field(default_factory=lambda: MappingProxyType({}))
    shard: HeadShard | None = None
    passing: "PassingStates | None" = None

    def named(self, name: str) -> torch.Tensor:
        """``"hidden"``, ``"delta"``, or one of what the sublayers wrote: ``"attention"``, ``"mid"``, ``"mlp"``."""
        if name in ("hidden", "delta"):
            return self.states if name == "hidden" else self.deltas
        assert self.written is not None
        return {"attention": self.written.attention, "mid": self.written.mid, "mlp": self.written.mlp}[name]

    @property
    def deltas(self) -> torch.Tensor:
        """(layer, position, hidden) or (layer, ...), each block's output minus its input."""
        deltas = self.states.diff(dim=0)
        for block, state in self.given.items():
            deltas[block] = self.states[block + 1] - state
        return deltas


def require_finite(states: torch.Tensor, anatomy: Anatomy, first: int = 0) -> None:
    """Raises an error that names the first place at which a state (1 + layer, ...) is NaN or infinite.

    Args:
        first: the number of the first of these states.

    Raises:
        NotFiniteError: a state is NaN or infinite.
    """
    if states.sum(dtype=torch.float32).isfinite():  # allocates nothing; if the sum overflows, look more closely
        return
    names = (EMBED, *(f"layer {label}" for label in anatomy.labels))
    bad = ~states.isfinite().all(dim=-1)  # (1 + layer, position), or more axes
    if bad.any():
        row, *place = bad.nonzero()[0].tolist()
        position = place[0] if len(place) == 1 else tuple(place)
        overflow = " (float16 overflows at 65,504: load the model with dtype='bfloat16' or 'float32')"
        raise NotFiniteError(
            f"the hidden state of {names[first + row]} at position {position} contains NaN or infinity"
            + (overflow if states.dtype == torch.float16 else "")
        )

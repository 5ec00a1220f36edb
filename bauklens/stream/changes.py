"""Changes of states, the places where they act, and the clock that tells which positions a forward pass runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn

from bauklens.errors import LensError

Change = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""States (batch, position, hidden) float32, and their positions (position,) int64 -> what is there instead."""

Columns = Callable[[torch.Tensor], torch.Tensor]
"""Positions (position,) int64 -> which of them are changed, (position,) bool."""


class Spot(NamedTuple):
    """The place at which states are changed.

    Attributes:
        label: the row's.
        where: ``"hidden"``, ``"attention"``, ``"mlp"``, ``"mid"``, or the number of a head.
    """

    label: str
    where: str | int = "hidden"


class Acted(NamedTuple):
    """One change at one spot: of the states at some positions.

    Attributes:
        said: its name in an error; if it is empty, NaN and infinity are allowed.
    """

    spot: Spot
    columns: Columns
    change: Change
    said: str = ""


@dataclass
class Clock:
    """The position at which a forward pass begins, and how often each module has run in it.

    Attributes:
        start: the first position.
        calls: the module's name -> how often it has run in this pass.
        cache: what the model keeps of earlier positions, and receives again when a text continues.
        seen: how many positions the model has received with this cache.
    """

    start: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    cache: Any = None
    seen: int = 0

    def begin(self, _module: nn.Module, inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        """Notes that a forward pass begins."""
        self.calls = {}
        cache = next((each for each in keywords.values() if _is_cache(each)), None)
        self.start = _length(cache) or (self.seen if cache is not None and cache is self.cache else 0)
        given = (keywords.get(name) for name in ("input_ids", "decoder_input_ids", "inputs_embeds"))
        first = next((each for each in (*inputs, *given) if isinstance(each, torch.Tensor)), None)
        self.cache, self.seen = cache, self.start + (0 if first is None else first.shape[1])

    def count(self, name: str) -> int:
        """How often a module has run in this pass before this call."""
        found = self.calls.get(name, 0)
        self.calls[name] = found + 1
        return found

    def changed(self, state: torch.Tensor, acted: Sequence[Acted]) -> torch.Tensor:
        """The changed state (batch, position, hidden); the same tensor if nothing is changed."""
        positions = torch.arange(self.start, self.start + state.shape[1], device=state.device)
        whole = state
        for _, columns, change, said in acted:
            some = columns(positions).nonzero()[:, 0]
            if not len(some):
                continue
            own = whole[:, some].float()
            found = change(own, positions[some])
            if found is own:
                continue
            found = found.to(whole)  # it may overflow in this dtype
            if said and not found.isfinite().all() and own.isfinite().all():
                raise LensError(f"NaN or infinity after {said}; pass a smaller strength")
            whole = whole.clone() if whole is state else whole
            whole[:, some] = found
        return whole


def _length(cache: Any) -> int:
    """How many positions a cache holds; 0 if it does not tell, like that of a state-space model."""
    if not hasattr(cache, "get_seq_length"):
        return 0
    try:
        return int(cache.get_seq_length())
    except ValueError:
        return 0


def _is_cache(value: Any) -> bool:
    """Whether a value is a cache from which a model continues: one of transformers, or the tuples of older models."""
    if isinstance(value, (tuple, list)) and value and isinstance(value[0], (tuple, list)):
        raise LensError("edits cannot follow generation with a cache of tuples: pass use_cache=False")
    return "Cache" in type(value).__name__

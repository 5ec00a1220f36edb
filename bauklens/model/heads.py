"""The heads of every block's attention, found by running the model, and what each of them writes into the stream.

The output projection of an attention takes the concatenated outputs of its heads. It is linear except for its bias, so
its output is the sum of its outputs for each head, plus the bias.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.forward import Call
from bauklens.model.frozen_norm import FrozenNorm
from bauklens.model.inputs import Inputs, text_config
from bauklens.model.joined import sizes_joined
from bauklens.model.layout import Layout
from bauklens.model.ranks import ranks_of
from bauklens.model.run_errors import FAILURES
from bauklens.model.sublayers import Sublayer, Sublayers, fits
from bauklens.model.weights import has_packed

_GRAINS = 4
"""How many roundings of the dtype each term of a sum may be off by."""


@dataclass(frozen=True)
class Heads:
    """The heads of one block's attention.

    Attributes:
        projection: the module whose input is the concatenated outputs of the heads, and whose output is written.
        count: the number of heads.
        norm: the module that the block applies to that output before adding it; None if there is none.
        scale: the factor that the block applies before adding.
        biased: whether something is written that belongs to no head: the bias of the projection or of the norm.
    """

    projection: str
    count: int
    norm: str | None
    scale: float
    biased: bool


class HeadOutputs:
    """What each head of one attention writes at some positions, computed on demand.

    Args:
        model: the model, or its shell, whose modules are kept.
        given: (..., position, heads x size), the projection's input.
        added: number of a head -> (..., position, hidden), what an edit adds to the head's output.
    """

    def __init__(
        self, model: nn.Module, heads: Heads, given: torch.Tensor, added: Mapping[int, torch.Tensor] | None = None
    ) -> None:
        self.heads, self.given, self._added = heads, given, added or {}
        self._projection = model.get_submodule(heads.projection)
        self._norm = None if heads.norm is None else model.get_submodule(heads.norm)

    @torch.no_grad()
    def of(self, head: int | None, columns: Any = slice(None)) -> torch.Tensor:
        """(..., position, hidden), what a head writes; for None, what belongs to no head.

        Args:
            columns: which positions, as an index.
        """
        if head is None:
            part = self._nothing.expand(*self.given[..., columns, :].shape[:-1], -1)
        else:
            size = self.given.shape[-1] // self.heads.count
            own = slice(head * size, (head + 1) * size)
            given = self.given[..., columns, :]
            masked = torch.zeros_like(given)
            masked[..., own] = given[..., own]
            part = self._projection.forward(masked) - self._nothing
        if self._frozen is not None:
            where = self._numbers[..., columns].flatten()
            part = self._frozen(part.flatten(0, -2), where).view(part.shape)
            part = part + self._frozen.bias if head is None else part
        part = part if self.heads.scale == 1 else part * self.heads.scale
        return part if head is None or head not in self._added else part + self._added[head][..., columns, :].to(part)

    @torch.no_grad()
    def all_of(self, columns: Any) -> torch.Tensor:
        """(head + 1, position, hidden), what every head writes at a few positions, and last what belongs to none.

        The projection is called once. This is only for the input of one prompt, (position, heads x size).

        Args:
            columns: which positions, as an index.
        """
        given, count = self.given[columns], self.heads.count
        size = given.shape[-1] // count
        masked = given.new_zeros(count, *given.shape)
        for head in range(count):
            own = slice(head * size, (head + 1) * size)
            masked[head, :, own] = given[:, own]
        parts = self._projection.forward(masked.flatten(0, 1)) - self._nothing
        parts = torch.cat([parts, self._nothing.expand(len(given), -1)])
        if self._frozen is not None:
            parts = self._frozen(parts, self._numbers[columns].repeat(count + 1))
            parts[count * len(given) :] += self._frozen.bias
        parts = (parts if self.heads.scale == 1 else parts * self.heads.scale).view(count + 1, len(given), -1)
        for head, change in self._added.items():
            parts[head] += change[columns].to(parts)
        return parts

    @property
    def _numbers(self) -> torch.Tensor:
        """(..., position), the numbers of all positions."""
        shape = self.given.shape[:-1]
        return torch.arange(shape.numel(), device=self.given.device).view(shape)

    @cached_property
    def _nothing(self) -> torch.Tensor:
        """(hidden,), the projection's output for zeros: its bias."""
        found: torch.Tensor = self._projection.forward(torch.zeros_like(self.given.flatten(0, -2)[:1]))
        return found[0]

    @cached_property
    def _frozen(self) -> FrozenNorm | None:
        """The norm with the scale that it has at each position."""
        if self._norm is None:
            return None
        output = self._projection.forward(self.given).flatten(0, -2)
        return FrozenNorm(self._norm, output, without_hooks=True)

    @torch.no_grad()
    def add_up_to(self, attention: torch.Tensor, columns: Any = slice(None), parts: torch.Tensor | None = None) -> bool:
        """Whether the heads' outputs, and what belongs to none, add up to the attention's output, to rounding.

        Args:
            attention: (..., position, hidden), at all positions.
            columns: which positions, as an index.
            parts: what :meth:`all_of` found there, if it has been called.
        """
        whole = attention[..., columns, :].float()
        found, largest = torch.zeros_like(whole), whole.abs()
        for change in self._added.values():
            largest = torch.maximum(largest, change[..., columns, :].to(whole).abs())
        for head in (None, *range(self.heads.count)):
            part = (self.of(head, columns) if parts is None else parts[-1 if head is None else head]).to(whole)
            found, largest = found + part, torch.maximum(largest, part.abs())
        allowed = (_GRAINS + self.heads.count) * torch.finfo(attention.dtype).eps * largest.amax(dim=-1)
        return bool(((found - whole).abs().amax(dim=-1) <= allowed + 1e-9).all())


def find_heads(
    model: nn.Module, layout: Layout, sublayers: Sublayers, inputs: Inputs, calls: list[Call]
) -> tuple[Heads | str, ...]:
    """The heads of every block, or a sentence that explains why those of a block cannot be told apart.

    Their number is found from the attention itself (:mod:`bauklens.model.joined`). It is proved that the heads and the
    bias add up to what the attention writes.

    Args:
        inputs: what was run.
        calls: the run, recorded with copies.
    """
    places = [
        _Place(model, layout, block, sublayer, calls)
        for block, sublayer in zip(layout.blocks, sublayers.attention, strict=True)
    ]
    candidates = {call.name: place.block for place in places for call in place.candidates}
    sizes = sizes_joined(model, inputs, candidates)
    whole = heads_over_ranks(model)
    return tuple(_all_of(place.heads(sizes), whole, place.block) for place in places)


def heads_over_ranks(model: nn.Module) -> int | None:
    """The total number of an attention's heads, if the model is spread over ranks, which may each have fewer."""
    return None if ranks_of(model) is None else getattr(text_config(model), "num_attention_heads", None)


def _all_of(found: Heads | str, whole: int | None, block: str) -> Heads | str:
    """The heads, if this rank has all of them; else a sentence."""
    if isinstance(found, str) or whole is None or found.count == whole:
        return found
    return f"each rank has {found.count} of the {whole} attention heads of {block}"


class _Place:
    """One block's attention, in a recorded run."""

    def __init__(self, model: nn.Module, layout: Layout, block: str, sublayer: Sublayer, calls: list[Call]) -> None:
        self.block = block
        self._model, self._sublayer = model, sublayer
        whole = next(call for call in calls if call.name == block)
        self._before = whole.inputs[layout.takes[0]]
        self._writer = next(call for call in calls if call.name == sublayer.names[0])
        self._inside = [call for call in calls if whole.began < call.began and call.ended <= self._writer.ended]
        self.candidates = [] if sublayer.names[1:] else list(self._candidates())

    def heads(self, sizes: dict[str, int]) -> Heads | str:
        """The heads, given the head size of each candidate."""
        if self._sublayer.names[1:]:
            return f"{self._sublayer} are added up in {self.block}, so no single module projects all heads"
        for call in self.candidates:
            if call.name not in sizes:
                continue
            found = self._proved(call, sizes[call.name])
            if found is not None:
                return found
        return f"what {self._sublayer} writes is not the output of a projection of concatenated heads"

    def _candidates(self) -> Iterator[Call]:
        """The modules with a matrix that may be the projection, the outermost first."""
        for call in sorted(self._inside, key=lambda call: -call.ended):
            is_one = len(call.inputs) == 1 and call.output is not None and fits(call.output, self._before.shape)
            if is_one and _has_matrix(self._model.get_submodule(call.name)) and self._leads_on(call) is not None:
                yield call

    def _leads_on(self, call: Call) -> bool | None:
        """Whether a module's output goes through a norm; None if it does not lead to what the attention writes."""
        output = self._as_state(call.output)
        if self._sublayer.adds:
            part = self._wrote
            return False if torch.allclose(part, output, rtol=0, atol=self._rounding) else None
        if torch.equal(self._as_state(self._writer.output), output):
            return False
        through = [each for each in self._writer.inputs[:1] if fits(each, self._before.shape)]
        return True if any(torch.equal(self._as_state(each), output) for each in through) else None

    def _proved(self, call: Call, size: int) -> Heads | None:
        """The heads of a projection, if they and the bias add up to what the attention writes."""
        through = self._leads_on(call)
        scale = 1.0 if self._sublayer.adds else self._sublayer.scales[0]
        given = call.inputs[0].reshape(*self._before.shape[:-1], -1)
        norm = self._sublayer.names[0] if through else None
        count = given.shape[-1] // size
        try:
            written = HeadOutputs(self._model, Heads(call.name, count, norm, scale, True), given)
            biased = bool(written.of(None).any())
            return Heads(call.name, count, norm, scale, biased) if written.add_up_to(self._wrote) else None
        except (LensError, *FAILURES):  # not a norm, or one with more arguments
            return None

    @property
    def _wrote(self) -> torch.Tensor:
        """(1, position, hidden), what the attention writes."""
        output = self._as_state(self._writer.output)
        return output - self._before if self._sublayer.adds else output * self._sublayer.scales[0]

    @property
    def _rounding(self) -> float:
        return _GRAINS * torch.finfo(self._before.dtype).eps * float(self._before.abs().max())

    def _as_state(self, output: torch.Tensor | None) -> torch.Tensor:
        assert output is not None
        return output.reshape(self._before.shape)


def _has_matrix(module: nn.Module) -> bool:
    return any(parameter.ndim > 1 for parameter in module.parameters()) or has_packed(module)

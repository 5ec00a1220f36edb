"""What the attention and the MLP of every block write into the stream, found by running, and proved by adding up."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from bauklens.anatomy import Anatomy
from bauklens.calls import Call, record
from bauklens.errors import LensError
from bauklens.trace import evaluating

_PROBE = 8

_DEEPEST = 3
"""Levels below a block at which a sublayer is looked for."""

_GRAINS = 4
"""Rounding of one dtype that a sum of three may show."""

_LEAST = 1e-3
"""A module that is added with less than this is not added at all."""


@dataclass(frozen=True)
class Sublayer:
    """A module whose output is, times a scale, what a sublayer writes.

    Attributes:
        name: dotted name of the module: the sublayer itself, or the norm that the block applies to its output.
        scale: what the block multiplies the output by before it adds it.
        adds: the module is given the stream and returns it with its own part added, as in Bloom; its part is then the
            difference.
    """

    name: str
    scale: float
    adds: bool


@dataclass(frozen=True)
class Sublayers:
    """The two sublayers of every block.

    Attributes:
        attention, mlp: (layer,), the first (attention, or another mixer) and the second (MLP, or mixture of experts).
        sequential: whether the second is given the stream that the first has written into, so that there is a ``mid``.
    """

    attention: tuple[Sublayer, ...]
    mlp: tuple[Sublayer, ...]
    sequential: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The modules to trace."""
        return tuple(each.name for each in (*self.attention, *self.mlp))


def find_sublayers(model: nn.Module, anatomy: Anatomy, token_ids: torch.Tensor) -> Sublayers:
    """Finds, in every block, the two modules whose outputs make up what the block adds.

    Args:
        token_ids: (1, position); the first few are run.

    Raises:
        LensError: a block has no two such modules.
    """
    if not anatomy.plain or len(set(anatomy.blocks)) < len(anatomy.blocks):
        raise LensError(
            f"{anatomy.model_class} has no single stream of (position, hidden): pass stream='hidden' or 'delta'"
        )
    with evaluating(model):
        calls, _ = record(model, token_ids[:, :_PROBE], copies=True)
    members = set(anatomy.blocks)
    pairs = [_pair_in(anatomy, call, calls) for call in calls if call.name in members]
    return Sublayers(
        attention=tuple(first for first, _, _ in pairs),
        mlp=tuple(second for _, second, _ in pairs),
        sequential=all(sequential for _, _, sequential in pairs),
    )


@dataclass(frozen=True)
class Written:
    """What the sublayers of every block wrote, and the stream between them, each (layer, position, hidden)."""

    attention: torch.Tensor
    mid: torch.Tensor
    mlp: torch.Tensor


def written(sublayers: Sublayers, outputs: dict[str, torch.Tensor], states: torch.Tensor) -> Written:
    """Makes of the outputs of the sublayers what each of them wrote, and proves it.

    Args:
        outputs: module name -> (1, position, hidden), what each sublayer returned.
        states: (1 + layer, position, hidden), the stream before block 0 and after every block.

    Raises:
        LensError: before + attention + mlp is not after, somewhere.
    """
    before, after = states[:-1], states[1:]
    mid, attention = _added(sublayers.attention, outputs, before)
    end, mlp = _added(sublayers.mlp, outputs, mid)
    largest = torch.stack([each.abs().amax(dim=-1) for each in (before, attention, mlp, after)]).amax(dim=0)
    wrong = (end - after).abs().amax(dim=-1) > _GRAINS * torch.finfo(states.dtype).eps * largest  # (layer, position)
    if wrong.any():
        layer, position = wrong.nonzero()[0].tolist()
        raise LensError(
            f"what {sublayers.attention[layer].name} and {sublayers.mlp[layer].name} write does not add up to what the "
            f"block adds at position {position}: pass stream='hidden' or 'delta'"
        )
    return Written(attention, mid, mlp)


def _added(
    sublayers: tuple[Sublayer, ...], outputs: dict[str, torch.Tensor], stream: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The stream after a sublayer of every block, and what the sublayer wrote into it."""
    parts = []
    for sublayer, state in zip(sublayers, stream, strict=True):
        output = outputs[sublayer.name].reshape(state.shape)
        parts.append(output - state if sublayer.adds else sublayer.scale * output)
    wrote = torch.stack(parts)  # (layer, position, hidden)
    return stream + wrote, wrote


def _pair_in(anatomy: Anatomy, block: Call, calls: list[Call]) -> tuple[Sublayer, Sublayer, bool]:
    before, after = block.given[anatomy.takes[0]], block.returned
    inside = list(_writers(block, calls, after.shape))
    for first, second in _in_order_of_depth(inside):
        pair = _as_writes(first, second, before, after) or _as_adders(first, second, before, after)
        if pair is not None:
            mid = first.returned if pair[0].adds else before + pair[0].scale * first.returned
            return *pair, _is_given(mid, first, calls, block)
    raise LensError(
        f"{block.name} of {anatomy.model_class} has no attention and MLP whose outputs add up to what it adds: "
        f"looked at {', '.join(call.name.removeprefix(block.name + '.') for call in inside)}; "
        "pass stream='hidden' or 'delta'"
    )


def _writers(block: Call, calls: list[Call], shape: torch.Size) -> Iterator[Call]:
    """The calls inside a block that return as much as a state, in its shape, in the order in which they ended."""
    for call in sorted(calls, key=lambda call: call.ended):
        depth = call.name.count(".") - block.name.count(".")
        inside = block.began < call.began and call.ended < block.ended
        if inside and depth <= _DEEPEST and call.returned is not None and fits(call.returned, shape):
            yield replace(call, returned=call.returned.reshape(shape))


def fits(output: torch.Tensor, shape: tuple[int, ...]) -> bool:
    """Whether an output is a state, or one with batch and position flattened (the MLP of OPT)."""
    return output.shape[-1:] == shape[-1:] and output.numel() == math.prod(shape)


def _in_order_of_depth(inside: list[Call]) -> list[tuple[Call, Call]]:
    """Every two of the calls, the first ended before the second; the outermost pairs first."""
    pairs = [(first, second) for place, second in enumerate(inside) for first in inside[:place]]
    return sorted(pairs, key=lambda pair: pair[0].name.count(".") + pair[1].name.count("."))


def _as_writes(
    first: Call, second: Call, before: torch.Tensor, after: torch.Tensor
) -> tuple[Sublayer, Sublayer] | None:
    """after = before + a first + b second, with a and b by least squares."""
    parts = torch.stack([first.returned.flatten(), second.returned.flatten()], dim=1).double()  # (place, 2)
    added = (after.double() - before.double()).flatten()
    gram = parts.T @ parts
    if torch.linalg.matrix_rank(gram, hermitian=True) < 2:
        return None
    scales = torch.linalg.solve(gram, parts.T @ added)
    if not _close(parts @ scales, added, after) or scales.abs().min() < _LEAST:
        return None
    grain = 4 * torch.finfo(after.dtype).eps
    a, b = (1.0 if abs(scale - 1) < grain else scale for scale in scales.tolist())
    return Sublayer(first.name, a, adds=False), Sublayer(second.name, b, adds=False)


def _as_adders(
    first: Call, second: Call, before: torch.Tensor, after: torch.Tensor
) -> tuple[Sublayer, Sublayer] | None:
    """The first is given the stream before the block, among others, and the second what the first returned."""
    mid = first.returned
    goes_on = _is_among(before, first.given) and _is_among(mid, second.given) and torch.equal(second.returned, after)
    if not goes_on or len(first.given) < 2 or len(second.given) < 2 or torch.equal(mid, before):
        return None
    return Sublayer(first.name, 1.0, adds=True), Sublayer(second.name, 1.0, adds=True)


def _close(found: torch.Tensor, expected: torch.Tensor, after: torch.Tensor) -> bool:
    tolerance = 4 * torch.finfo(after.dtype).eps * float(after.abs().max())
    return bool((found - expected).abs().max() <= max(tolerance, 1e-9))


def _is_among(tensor: torch.Tensor, given: tuple[Any, ...]) -> bool:
    return any(each.shape == tensor.shape and torch.equal(each, tensor) for each in given)


def _is_given(mid: torch.Tensor, first: Call, calls: list[Call], block: Call) -> bool:
    """Whether a module of the block that begins after the first sublayer is given the stream between the two."""
    later = [call for call in calls if first.ended < call.began and call.ended < block.ended]
    tensors = [each for call in later for each in call.given if each.shape == mid.shape]
    return any(_close(each.double(), mid.double(), mid) for each in tensors)

"""What the attention and the MLP of every block write into the stream, found by running and proved by adding up."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import torch

from bauklens.errors import LensError
from bauklens.model.forward import Call
from bauklens.model.layout import Layout

_DEEPEST = 3
"""How many levels below a block are searched for a sublayer."""

_MODULES = (2, 3)
"""Modules that make up what a block adds: one for each sublayer, or two for one of them."""

_GRAINS = 4
"""How many roundings of the dtype a sum may be off by."""

_DIGITS = 7
"""The most significant digits that a scale is rounded to, if it then fits equally well."""

_AS_GOOD = 1.5
"""How many times larger the error of a simpler scale may be than that of the best ones."""

_LEAST = 1e-3
"""A module with a smaller scale than this is not added at all."""


@dataclass(frozen=True)
class Sublayer:
    """The modules whose outputs, times their scales, are what a sublayer writes.

    Attributes:
        names: dotted names: the sublayer itself, or the norm that the block applies to its output; two if a block
            adds up two of a kind (the experts of a mixture and a shared one, a state space model and an attention).
        scales: the factor that the block applies to each output before adding it.
        adds: whether the single module takes the stream and returns it with its own part added, as in Bloom; its part
            is then the difference.
    """

    names: tuple[str, ...]
    scales: tuple[float, ...]
    adds: bool = False

    def __str__(self) -> str:
        return " + ".join(self.names)


@dataclass(frozen=True)
class Sublayers:
    """The two sublayers of every block.

    Attributes:
        attention, mlp: (layer,), the first (attention, or another mixer) and the second (MLP, or mixture of experts).
        sequential: whether the second reads the stream that the first has written into, so that there is a ``mid``.
    """

    attention: tuple[Sublayer, ...]
    mlp: tuple[Sublayer, ...]
    sequential: bool

    def first(self, blocks: int | None) -> "Sublayers":
        """The sublayers of the first few blocks."""
        return Sublayers(self.attention[:blocks], self.mlp[:blocks], self.sequential)

    @property
    def names(self) -> tuple[str, ...]:
        """The modules to trace."""
        return tuple(name for each in (*self.attention, *self.mlp) for name in each.names)


def find_sublayers(layout: Layout, calls: list[Call]) -> Sublayers:
    """Finds the modules in every block whose outputs make up what the block adds.

    Args:
        calls: a run recorded with copies.

    Raises:
        LensError: a block has no such modules.
    """
    if not layout.plain or len(set(layout.blocks)) < len(layout.blocks):
        raise LensError(
            f"{layout.model_class} has no single stream of (position, hidden): pass stream='hidden' or 'delta'"
        )
    members = set(layout.blocks)
    pairs = [_pair_in(layout, call, calls) for call in calls if call.name in members]
    return Sublayers(
        attention=tuple(pair.first for pair in pairs),
        mlp=tuple(pair.second for pair in pairs),
        sequential=all(pair.sequential for pair in pairs),
    )


@dataclass(frozen=True)
class Written:
    """What the sublayers of every block wrote, and the stream between them, each (layer, position, hidden)."""

    attention: torch.Tensor
    mid: torch.Tensor
    mlp: torch.Tensor


def written(sublayers: Sublayers, outputs: dict[str, torch.Tensor], states: torch.Tensor) -> Written:
    """Computes what each sublayer wrote from its outputs, and proves that it adds up.

    Args:
        outputs: module name -> (1, position, hidden), what each sublayer returned.
        states: (1 + layer, position, hidden), the stream before block 0 and after every block.

    Raises:
        LensError: somewhere, before + attention + mlp is not equal to after.
    """
    before, after = states[:-1], states[1:]
    mid, attention = _added(sublayers.attention, outputs, before)
    end, mlp = _added(sublayers.mlp, outputs, mid)
    largest = torch.stack([each.abs().amax(dim=-1) for each in (before, attention, mlp, after)]).amax(dim=0)
    wrong = (end - after).abs().amax(dim=-1) > _GRAINS * torch.finfo(states.dtype).eps * largest  # (layer, position)
    if wrong.any():
        layer, position = wrong.nonzero()[0].tolist()
        raise LensError(
            f"what {sublayers.attention[layer]} and {sublayers.mlp[layer]} write does not add up to what the "
            f"block adds at position {position}: pass stream='hidden' or 'delta'"
        )
    return Written(attention, mid, mlp)


def _added(
    sublayers: tuple[Sublayer, ...], outputs: dict[str, torch.Tensor], stream: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The stream after a sublayer of every block, and what the sublayer wrote into it."""
    parts = []
    for sublayer, state in zip(sublayers, stream, strict=True):
        whole = torch.zeros_like(state)
        for name, scale in zip(sublayer.names, sublayer.scales, strict=True):
            whole = whole + scale * outputs[name].reshape(state.shape)
        parts.append(whole - state if sublayer.adds else whole)
    wrote = torch.stack(parts)  # (layer, position, hidden)
    return stream + wrote, wrote


class _Pair(NamedTuple):
    """The two sublayers of one block."""

    first: Sublayer
    second: Sublayer
    sequential: bool


class _Writer(NamedTuple):
    """A call inside a block, and its output in the shape of a state."""

    call: Call
    output: torch.Tensor


def _pair_in(layout: Layout, block: Call, calls: list[Call]) -> _Pair:
    before, after = block.inputs[layout.takes[0]], block.output
    assert after is not None
    inside = list(_writers(block, calls, after.shape))
    for count in _MODULES:
        for writers in sorted(combinations(inside, count), key=_depth):
            scales = _scales(writers, before, after)
            if scales is not None:
                return _split(writers, scales, before, calls, block)
            if count == 2 and _hand_on(writers[0], writers[1], before, after):
                first, second = (Sublayer((each.call.name,), (1.0,), adds=True) for each in writers)
                return _Pair(first, second, _is_given(writers[0].output, writers[0], calls, block))
    raise LensError(
        f"{block.name} of {layout.model_class} has no attention and MLP whose outputs add up to what it adds: "
        f"looked at {', '.join(each.call.name.removeprefix(block.name + '.') for each in inside)}; "
        "pass stream='hidden' or 'delta'"
    )


def _writers(block: Call, calls: list[Call], shape: torch.Size) -> Iterator[_Writer]:
    """The calls inside a block whose output has the size of a state, in its shape, in the order in which they ended."""
    for call in sorted(calls, key=lambda call: call.ended):
        depth = call.name.count(".") - block.name.count(".")
        inside = block.began < call.began and call.ended < block.ended
        if inside and depth <= _DEEPEST and call.output is not None and fits(call.output, shape):
            yield _Writer(call, call.output.reshape(shape))


def fits(output: torch.Tensor, shape: tuple[int, ...]) -> bool:
    """Whether an output is a state, or one with batch and position flattened (the MLP of OPT)."""
    return output.shape[-1:] == shape[-1:] and output.numel() == math.prod(shape)


def _depth(writers: tuple[_Writer, ...]) -> int:
    return sum(each.call.name.count(".") for each in writers)


def _split(
    writers: tuple[_Writer, ...], scales: tuple[float, ...], before: torch.Tensor, calls: list[Call], block: Call
) -> _Pair:
    """Splits the modules into two sublayers: the second begins where a module reads what the first has written.

    If no module does, only the first module is the first sublayer.
    """
    for place in range(1, len(writers)):
        mid = before + sum(scale * each.output for scale, each in zip(scales[:place], writers[:place], strict=True))
        if _is_given(mid, writers[place - 1], calls, block):
            return _Pair(*_sublayers(writers, scales, place), sequential=True)
    return _Pair(*_sublayers(writers, scales, 1), sequential=False)


def _sublayers(writers: tuple[_Writer, ...], scales: tuple[float, ...], place: int) -> tuple[Sublayer, Sublayer]:
    names = tuple(each.call.name for each in writers)
    return Sublayer(names[:place], scales[:place]), Sublayer(names[place:], scales[place:])


def _scales(writers: tuple[_Writer, ...], before: torch.Tensor, after: torch.Tensor) -> tuple[float, ...] | None:
    """The scales, by least squares, with which the outputs add up to after - before; None if they do not."""
    outputs = torch.stack([each.output.flatten() for each in writers], dim=1).double()  # (place, module)
    added = (after.double() - before.double()).flatten()
    gram = outputs.T @ outputs
    if torch.linalg.matrix_rank(gram, hermitian=True) < len(writers):
        return None
    scales = torch.linalg.solve(gram, outputs.T @ added)
    if not _close(outputs @ scales, added, after) or scales.abs().min() < _LEAST:
        return None
    best = (outputs @ scales - added).abs().max()
    rounding = torch.finfo(after.dtype).eps * after.abs().max().double()  # the rounding of two additions
    for place in range(len(scales)):
        for digits in range(1, _DIGITS + 1):  # multipliers are written with few digits, and rounding hides the rest
            simpler = scales.clone()
            simpler[place] = float(f"{float(scales[place]):.{digits}g}")
            if (outputs @ simpler - added).abs().max() <= torch.maximum(_AS_GOOD * best, rounding):
                scales = simpler
                break
    return tuple(scales.tolist())


def _hand_on(first: _Writer, second: _Writer, before: torch.Tensor, after: torch.Tensor) -> bool:
    """Whether the first reads the stream before the block, among others, and the second reads the first's output."""
    mid = first.output
    goes_on = _is_among(before, first.call) and _is_among(mid, second.call) and torch.equal(second.output, after)
    return goes_on and len(first.call.inputs) > 1 and len(second.call.inputs) > 1 and not torch.equal(mid, before)


def _close(found: torch.Tensor, expected: torch.Tensor, after: torch.Tensor) -> bool:
    tolerance = 4 * torch.finfo(after.dtype).eps * float(after.abs().max())
    return bool((found - expected).abs().max() <= max(tolerance, 1e-9))


def _is_among(tensor: torch.Tensor, call: Call) -> bool:
    return any(each.shape == tensor.shape and torch.equal(each, tensor) for each in call.inputs)


def _is_given(mid: torch.Tensor, first: _Writer, calls: list[Call], block: Call) -> bool:
    """Whether a module of the block that begins after the first sublayer reads the stream between the two."""
    later = [call for call in calls if first.call.ended < call.began and call.ended < block.ended]
    tensors = [each for call in later for each in call.inputs if each.shape == mid.shape]
    return any(_close(each.double(), mid.double(), mid) for each in tensors)

"""The parts of a decoder, checked: labels of layers, maps, temperatures, qualities."""

import json
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from bauklens.arguments import is_whole_number
from bauklens.errors import LensError
from bauklens.result.frozen import frozen, plain
from bauklens.text_ids import is_unicode
from bauklens.vocabulary import EMBED

_LARGEST = 1e30
"""Of a KL divergence, so that float32 holds it."""

_MEASURES = {
    "kl": (0.0, _LARGEST),
    "agreement": (0.0, 1.0),
    "cross_entropy": (0.0, _LARGEST),
    "calibration": (0.0, 1.0),
    "causal": (-_LARGEST, _LARGEST),
    "causal_random": (-_LARGEST, _LARGEST),
}

QUALITIES = {f"{name}{end}": limits for name, limits in _MEASURES.items() for end in ("", "_low", "_high")}
"""What may be known about a layer -> its least and largest value: KL to the final row in nats; how often the most
probable token is the model's, 0..1; and whatever else :func:`bauklens.score_decoder` measures. ``<name>_low`` and
``<name>_high`` are the ends of its 95 % interval.
"""

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Of maps; those of eight bits and fewer have no arithmetic."""

_MOST, _LONGEST = 10**9, 200
"""Beyond the number of any layer, and the characters of the longest label."""


def checked_labels(values: Any) -> dict[str, Any]:
    """Layers by their labels, in the order of a table.

    Raises:
        LensError: this is not a mapping; a layer is neither a number from 0 nor a label, or is given twice.
    """
    if not isinstance(values, Mapping):
        raise LensError(f"the maps of a decoder must be a mapping of layers; got {type(values).__name__}")
    found: dict[str, Any] = {}
    for layer, value in values.items():
        label = _label(layer)
        if label in found:
            raise LensError(f"a decoder has two maps for layer {label}")
        found[label] = value
    return dict(sorted(found.items(), key=lambda item: _place(item[0])))


def _label(layer: Any) -> str:
    if isinstance(layer, str) and len(layer) <= _LONGEST:
        return layer
    if is_whole_number(layer) and 0 <= layer < _MOST:
        return str(int(layer))
    is_huge = isinstance(layer, int) and abs(layer) >= _MOST  # Python refuses to write an int with too many digits
    what = "a huge number" if is_huge else f"{layer!r:.80}"
    raise LensError(f"a decoder has a map for {what}, which is not a layer: 'embed', 0, 1, ...")


def _place(label: str) -> float:
    if label == EMBED:
        return -1
    return int(label) if label.isascii() and label.isdecimal() and len(label) < 10 else math.inf


def checked_maps(what: str, maps: Mapping[str, Any], *, axes: int) -> dict[str, torch.Tensor]:
    """Tensors of so many axes, detached.

    Raises:
        LensError: one is not a tensor of numbers with that many axes, holds fewer numbers than its shape, or has NaN or
            infinity.
    """
    found = {}
    for label, tensor in maps.items():
        if not isinstance(tensor, torch.Tensor) or tensor.dtype not in _DTYPES or tensor.layout != torch.strided:
            got = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise LensError(
                f"{what} of a decoder must be a tensor of floating-point numbers of 16 bits or more; that of layer "
                f"{label} is {got}"
            )
        shape = tuple(tensor.shape)
        if tensor.ndim != axes or not tensor.numel():
            wanted = "(target, source)" if axes == 2 else "(target,)"
            raise LensError(f"{what} of a decoder has the shape {wanted}; that of layer {label} has {shape}")
        if tensor.is_meta or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise LensError(f"{what} of layer {label} should be {shape}, but holds fewer numbers")
        if not tensor.isfinite().all():
            raise LensError(f"{what} of layer {label} contains NaN or infinity")
        found[label] = tensor.detach()
    return found


def checked_temperatures(values: Mapping[str, Any], layers: Sequence[str]) -> Mapping[str, float]:
    """Positive numbers of known layers; a LensError otherwise."""
    for label, value in values.items():
        if label not in layers:
            raise LensError(f"layer {label} has a temperature, but no map")
        if not _is_float(value) or not value > 0:
            raise LensError(f"the temperature of layer {label} is {value!r:.80}: it must be a positive number")
    return MappingProxyType({label: float(value) for label, value in values.items()})


def checked_quality(values: Mapping[str, Any], layers: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
    """Qualities of known layers; a LensError otherwise. A layer with none of :data:`QUALITIES` is left out."""
    found = {}
    for label, each in values.items():
        if label not in layers:
            raise LensError(f"layer {label} has a quality, but no map")
        if not isinstance(each, Mapping):
            raise LensError(f"the quality of layer {label} is not a mapping of names to numbers")
        for name, (least, most) in QUALITIES.items():
            if name in each and not (_is_float(each[name]) and least <= each[name] <= most):
                wanted = "a number" if least else "a number of 0 or more" if most > 1 else "a number from 0 to 1"
                raise LensError(f"the {name} of layer {label} is {each[name]!r:.80}: it must be {wanted}")
        found[label] = MappingProxyType({name: float(each[name]) for name in QUALITIES if name in each})
    return MappingProxyType({label: each for label, each in found.items() if each})


def checked_name(value: Any) -> str:
    """The name of a decoder; a LensError if it is not text."""
    if not isinstance(value, str) or not value or not is_unicode(value):
        raise LensError("the name of a decoder must be text")
    return value


def checked_about(values: Any) -> Mapping[str, Any]:
    """What else is known about a decoder, which results keep: plain values by their names; a LensError otherwise."""
    try:
        kept: Mapping[str, Any] = frozen(dict(values))
        json.dumps(plain(kept))
    except (TypeError, ValueError, RecursionError):
        raise LensError("about= of a decoder must hold plain values: texts, numbers, lists") from None
    return kept


def _is_float(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300

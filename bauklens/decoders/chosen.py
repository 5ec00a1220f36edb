"""What a caller passes as ``decoder=`` -> decoders: None, a name, a file, a decoder, a function, or a list of these."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from numbers import Real
from typing import Any

import torch

from bauklens.decode.decoder import LOGIT_LENS, Decoder
from bauklens.decoders.checked import checked_about, checked_quality
from bauklens.decoders.loading import load_decoder
from bauklens.errors import LensError
from bauklens.text_ids import is_unicode
from bauklens.vocabulary import LOGIT


class FunctionDecoder:
    """A caller's function ``(states, layers) -> states`` as a decoder of all layers."""

    kind = "function"
    layers = None

    def __init__(self, function: Callable[[torch.Tensor, Sequence[str]], torch.Tensor]) -> None:
        self._function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        self.is_linear = bool(getattr(function, "is_linear", False))

    def __call__(self, states: torch.Tensor, layers: Sequence[str]) -> torch.Tensor:
        """What the function returns."""
        return self._function(states, layers)


def chosen_decoders(given: Any, *, force: bool = False) -> list[Decoder]:
    """The decoders that are asked for.

    Args:
        force: for those that are named, as for :func:`bauklens.load_decoder`.

    Raises:
        LensError: one is not a decoder, cannot be read, or is given twice.
    """
    if isinstance(given, (Mapping, torch.Tensor)):
        raise LensError(
            f"decoder is a {type(given).__name__}: pass it with its layers and kind, such as "
            "JacobianLens({10: matrix})"
        )
    several = list(given) if is_several(given) else [given]
    if not several:
        raise LensError("decoder is empty: pass at least one, or None for the logit lens")
    found = [_decoder(each, force) for each in several]
    for place, each in enumerate(found):
        if any(each is other for other in found[:place]) or any(_same(several[place], it) for it in several[:place]):
            raise LensError(f"the decoder {each.name!r} is given twice: pass it once")
    return found


def _same(one: Any, other: Any) -> bool:
    """Whether two are one function, or one path or name."""
    paths = all(isinstance(each, (str, os.PathLike)) for each in (one, other))
    return os.path.normpath(one) == os.path.normpath(other) if paths else one is other


def told_apart(names: Sequence[str]) -> list[str]:
    """Names of decoders, numbered from the second on that has the same name.

    >>> told_apart(["demo", "logit", "demo"])
    ['demo', 'logit', 'demo (2)']
    """
    found: list[str] = []
    for name in names:
        called, number = name, 1
        while called in found:
            number += 1
            called = f"{name} ({number})"
        found.append(called)
    return found


def is_several(given: Any) -> bool:
    """Whether this is a list of decoders, each of which gives a result."""
    return isinstance(given, Iterable) and not isinstance(given, (str, os.PathLike)) and not callable(given)


def _decoder(given: Any, force: bool) -> Decoder:
    if given is None or given is LOGIT_LENS or (isinstance(given, str) and given == LOGIT):
        return LOGIT_LENS
    if isinstance(given, (str, os.PathLike)):
        return _well_made(load_decoder(given, force=force))
    if isinstance(given, type):
        raise LensError(f"{given.__name__} is a class: pass a decoder of it, such as {given.__name__}({{10: matrix}})")
    if not callable(given):
        raise LensError(
            f"unknown decoder {given!r:.80}: pass 'logit', a file, a decoder, or a function (states, layers) -> states"
        )
    return _well_made(given if isinstance(given, Decoder) else FunctionDecoder(given))


def _well_made(decoder: Decoder) -> Decoder:
    """A decoder of any class, if its attributes can be used as they are; a LensError otherwise.

    For example, a label that is a number would not match any table row, and its map or temperature would be silently
    ignored.
    """
    if not isinstance(decoder.name, str) or not decoder.name or not is_unicode(decoder.name):
        raise LensError(f"the name of a decoder must be text; got {decoder.name!r:.80}")
    if decoder.name == LOGIT:
        raise LensError("a decoder has the name 'logit', which is the logit lens: give it, or its file, another name")
    named, layers = f"the decoder {decoder.name!r}", decoder.layers
    is_list = isinstance(layers, (Sequence, Set)) and not isinstance(layers, str)
    if layers is not None and not (is_list and all(isinstance(each, str) for each in layers)):
        raise LensError(f"layers of {named} must be None, or a list of text labels such as 'embed' and '0'")
    temperatures = getattr(decoder, "temperatures", None)
    if temperatures is not None and not (isinstance(temperatures, Mapping) and all(map(_warms, temperatures.items()))):
        raise LensError(f"temperatures of {named} must map text labels such as '0' to positive numbers")
    quality, about = getattr(decoder, "quality", None), getattr(decoder, "about", None)
    if not all(each is None or isinstance(each, Mapping) for each in (quality, about)):
        raise LensError(f"quality and about of {named} must be mappings")
    checked_quality(quality or {}, list(quality or {}))
    checked_about(about or {})
    return decoder


def _warms(item: tuple[Any, Any]) -> bool:
    """Whether this is a label and a temperature."""
    label, value = item
    return isinstance(label, str) and isinstance(value, Real) and 0 < float(value) < 1e300

"""What a caller passes as ``decoder=`` -> decoders: None, a name, a file, a decoder, a function, or a list of these."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from bauklens.decode.decoder import LOGIT_LENS, Decoder
from bauklens.decoders.loading import load_decoder
from bauklens.errors import LensError
from bauklens.text_ids import is_unicode
from bauklens.vocabulary import LOGIT


class FunctionDecoder:
    """A function ``(states, layers) -> states`` of the caller's as a decoder of all layers."""

    kind = "function"
    layers = None

    def __init__(self, function: Callable[[torch.Tensor, Sequence[str]], torch.Tensor]) -> None:
        self._function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        self.is_linear = bool(getattr(function, "is_linear", False))

    def __call__(self, states: torch.Tensor, layers: Sequence[str]) -> torch.Tensor:
        """What the function returns."""
        return self._function(states, layers)


def chosen_decoders(given: Any) -> list[Decoder]:
    """The decoders that are asked for.

    Raises:
        LensError: one is not a decoder, cannot be read, or is given twice.
    """
    several = list(given) if is_several(given) else [given]
    if not several:
        raise LensError("decoder is empty: pass at least one, or None for the logit lens")
    found = [_decoder(each) for each in several]
    for place, each in enumerate(found):
        if any(each is other for other in found[:place]) or any(_same(several[place], it) for it in several[:place]):
            raise LensError(f"the decoder {each.name!r} is given twice: pass it once")
    return found


def _same(one: Any, other: Any) -> bool:
    """Whether two are one function, or one path or name."""
    paths = all(isinstance(each, (str, os.PathLike)) for each in (one, other))
    return os.fspath(one) == os.fspath(other) if paths else one is other


def is_several(given: Any) -> bool:
    """Whether a list of decoders is passed, of which each gives a result."""
    return isinstance(given, Iterable) and not isinstance(given, (str, os.PathLike)) and not callable(given)


def _decoder(given: Any) -> Decoder:
    if given is None or given is LOGIT_LENS or (isinstance(given, str) and given == LOGIT):
        return LOGIT_LENS
    if isinstance(given, (str, os.PathLike)):
        return load_decoder(given)
    if not callable(given) or isinstance(given, type):
        raise LensError(
            f"unknown decoder {given!r:.80}: pass 'logit', a file, a decoder, or a function (states, layers) -> states"
        )
    if not isinstance(given, Decoder):
        return FunctionDecoder(given)
    if not isinstance(given.name, str) or not given.name or not is_unicode(given.name):
        raise LensError(f"the name of a decoder must be text; got {given.name!r:.80}")
    return given

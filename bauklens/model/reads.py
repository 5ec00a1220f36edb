"""What a model of transformers reads beside text, according to its forward and its configuration."""

import inspect
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.vocabulary import MEANT

_NAMES = {
    "images": re.compile(r"pixel|image|patch|vision|video"),
    "sounds": re.compile(r"audio|speech|sound|codec|codebook|input_features|input_values"),
}
"""The names of the inputs and settings of a model that reads such things."""


def reads_no(what: str, model: nn.Module) -> bool:
    """Whether a model is known to read no images or sounds; nothing is known about classes outside transformers.

    Args:
        what: ``"images"`` or ``"sounds"``.
    """
    if not type(model).__module__.startswith("transformers."):
        return False
    config: Any = getattr(model, "config", None)
    named = [*_forward(model), *vars(config or object), getattr(model, "main_input_name", "")]
    return not any(_NAMES[what].search(name) for name in named)


def require_source(model: nn.Module, given: Mapping[str, Any]) -> None:
    """Refuses an encoder-decoder that reads no text, if the input of its encoder is missing.

    Args:
        given: the inputs of its forward.

    Raises:
        LensError: a sound or an image is missing.
    """
    source, taken = getattr(model, "main_input_name", "input_ids"), _forward(model)
    if not type(model).__module__.startswith("transformers.") or source == "input_ids" or "input_ids" in taken:
        return
    of_sound = [name for name in taken if _NAMES["sounds"].search(name) and not name.endswith("mask")]
    names = of_sound or [source]
    if any(given.get(name) is not None for name in (*names, source, "encoder_outputs", "inputs_embeds")):
        return
    thing, option = ("a sound", "audio=") if of_sound else ("an image", "images=")
    said = f"{type(model).__name__} reads {thing}, but none is given"
    if "input_ids" in given:
        said = f"{type(model).__name__} reads {thing} and no text, but a text is given"
    raise LensError(
        f"{said}: pass {option} and the processor in the tokenizer's place, or {names[0]}= as the processor returns "
        "it; what the decoder has written goes in text_target="
    )


def require_taken(model: nn.Module, given: Mapping[str, Any]) -> None:
    """Refuses inputs that a forward does not name and that look like a misspelt option of a lens.

    Args:
        given: tensors and arrays by their keyword.

    Raises:
        LensError: such an input is given.
    """
    taken, own = _forward(model), not type(model).__module__.startswith("transformers.")
    for name in given:
        if name in MEANT and name not in taken and not (own and _takes_any(model)):
            raise LensError(f"{type(model).__name__} takes no input {name}: {MEANT[name]}")
    if own:
        return
    for name, value in given.items():
        if name not in taken and isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() > 2:
            near = get_close_matches(name, taken, n=1)
            instead = f"did you mean {near[0]}=?" if near else "leave it out, or load a model that does"
            raise LensError(f"{type(model).__name__} does not read {name}: {instead}")


def _takes_any(model: nn.Module) -> bool:
    parameters = inspect.signature(type(model).forward).parameters.values()
    return any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)


def _forward(model: nn.Module) -> list[str]:
    """The names of the inputs of a model's forward."""
    return [name for name in inspect.signature(type(model).forward).parameters if name != "self"]

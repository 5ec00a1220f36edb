"""Finds the logits in a forward's output, and whether they stand for tokens or labels."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.walk import named_modules_of

DECODER_IDS = "decoder_input_ids"
"""The forward's name for the ids of a decoder, if there is an encoder too."""

_LABELLED = ("ForSequenceClassification", "ForTokenClassification")
"""The last part of the names of transformers' classes whose logits stand for labels."""


def labels_of(model: nn.Module) -> tuple[str, ...] | None:
    """The names of a classifier's labels; None for a model that predicts tokens."""
    if not type(model).__name__.endswith(_LABELLED):
        return None
    config: Any = getattr(model, "config", None)
    names = getattr(config, "id2label", None) or {}
    count = getattr(config, "num_labels", len(names))
    return tuple(str(names.get(number, f"LABEL_{number}")) for number in range(count))


def require_readable(model: nn.Module, keyword: str) -> None:
    """Refuses a model that is known to predict neither tokens nor labels at its own positions.

    Args:
        keyword: its forward's name for the ids.

    Raises:
        LensError: the model has another kind of head, or takes other ids.
    """
    kind: Any = type(model)
    if is_encoder_decoder(model) and keyword != DECODER_IDS and labels_of(model) is None:
        raise LensError(
            f"{kind.__name__} is an encoder-decoder, whose lens needs a source and what the decoder has written, but "
            "only texts are read here: pass a causal language model"
        )
    if is_encoder_decoder(model) and keyword != DECODER_IDS:
        raise LensError(
            f"{kind.__name__} is an encoder-decoder with a classifier, which reads what its decoder makes of the whole "
            "text; a lens needs one without a decoder (such as BERT's), or a model that predicts tokens"
        )
    forward_of = next(base for base in kind.__mro__ if "forward" in vars(base)).__module__
    if not forward_of.startswith("transformers.") or labels_of(model) is not None:
        return
    if getattr(model, "base_model", None) is not model and not kind.can_generate():
        raise LensError(
            f"{kind.__name__} has another kind of head, or none that predicts the next token; a lens needs one that "
            f"predicts tokens or labels: load it with {_with_head(model)}"
        )


def is_encoder_decoder(model: nn.Module) -> bool:
    """Whether a model writes a text of its own, beside its input."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def require_flag(model: nn.Module) -> None:
    """Refuses an encoder-decoder whose configuration no longer says so; transformers would run it as something else.

    Raises:
        LensError: the configuration does not say so.
    """
    config: Any = getattr(model, "config", None)
    known = bool(getattr(type(config), "is_encoder_decoder", False)) and not is_encoder_decoder(model)
    if not known or DECODER_IDS not in inspect.signature(type(model).forward).parameters:
        return
    if any(name.rpartition(".")[2] == "decoder" for name, _ in named_modules_of(model)):  # T5Gemma may have none
        raise LensError(
            f"{type(model).__name__} is an encoder-decoder, but its configuration has is_encoder_decoder=False, which "
            "happens if T5EncoderModel, for example, shares it: set model.config.is_encoder_decoder = True"
        )


def found_logits(model: nn.Module, output: Any, where: Callable[[Any], Any] | None) -> torch.Tensor:
    """(prompt, position, vocabulary), the logits in the output of a forward pass; a model may return only one position.

    Args:
        where: the caller's own way to find them; None takes only what is called ``logits``.

    Raises:
        LensError: the output does not contain logits.
    """
    found = _named(model, output) if where is None else _by(where, output, type(model).__name__)
    found = _gathered(found)
    if isinstance(found, torch.Tensor) and found.dim() == 2:
        found = found[:, None]
    if not isinstance(found, torch.Tensor) or found.dim() != 3:
        raise LensError(
            f"{type(model).__name__} does not return logits for each position, or for one; a lens needs a causal "
            "language model, or another that predicts tokens or labels"
        )
    return found


def _gathered(found: Any) -> Any:
    """Logits that torch spreads over ranks, put together."""
    return found.full_tensor() if hasattr(found, "full_tensor") else found


def require_each(model: nn.Module, logits: torch.Tensor, count: int, where: Callable[[Any], Any] | None) -> None:
    """Refuses logits of only one position, unless they stand for labels or the caller has said where they are.

    Args:
        logits: (1, position, vocabulary), as they were found.
        count: positions of the prompt.
    """
    if logits.shape[1] == 1 < count and where is None and labels_of(model) is None:
        raise LensError(
            f"{type(model).__name__} returns the logits of only one of {count} positions: to read every position in "
            "the same way, pass logits=lambda output: output.logits"
        )


def _named(model: nn.Module, output: Any) -> Any:
    """The part of the output that is called logits."""
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if found is not None:
        return found
    kind = type(model).__name__
    if hasattr(output, "last_hidden_state"):
        raise LensError(f"{kind} has no head: load it with {_with_head(model)}, so that it returns logits")
    example = "output[0]" if isinstance(output, (tuple, list)) else "output"
    raise LensError(
        f"{kind} returns a {type(output).__name__} in which nothing is called logits: pass a function that finds them, "
        f"such as logits=lambda output: {example}"
    )


def _with_head(model: nn.Module) -> str:
    """The classes that load this type of model with a head, in words."""
    default = "AutoModelForCausalLM"
    if not type(model).__module__.startswith("transformers."):
        return default
    from bauklens.model.model_class import heads_of  # the model is one of transformers, so this import is free

    heads = heads_of(type(model))
    if not heads:
        return default
    named = [f"{name} ({auto})" for auto, name in heads]
    return named[0] if not named[1:] else f"{', '.join(named[:-1])} or {named[-1]}"


def _by(where: Callable[[Any], Any], output: Any, kind: str) -> Any:
    try:
        return where(output)
    except Exception as error:  # the caller's own function may raise anything
        raise LensError(f"logits= fails on the output of {kind}: {type(error).__name__} {error}") from None

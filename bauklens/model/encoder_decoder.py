"""The inputs of an encoder-decoder: the encoder's output for a source, and what the decoder has written so far."""

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.forward import model_logits
from bauklens.model.guard import evaluating
from bauklens.model.inputs import ENCODED, Inputs, input_device
from bauklens.model.logits import DECODER_IDS
from bauklens.model.memory import out_of_memory
from bauklens.model.proof import allowed_difference
from bauklens.model.shell import original

log = logging.getLogger(__name__)


def written_by(model: nn.Module, tokenizer: Any, source: Mapping[str, Any], written: Any) -> dict[str, Any]:
    """The inputs of a decoder: :data:`DECODER_IDS`, the source, and the encoder's output for it.

    Args:
        source: the inputs of the encoder.
        written: what the decoder has written: a text, or a tensor of ids (1, position); None: only its start token.

    Raises:
        LensError: the encoder does not run on the source; or the decoder's start token is unknown.
    """
    given = dict(source)
    ids = given.pop(DECODER_IDS, None)
    if ids is None:
        ids = _ids(model, tokenizer, written)
    given[DECODER_IDS] = ids.to(input_device(model))
    if ENCODED not in given and _encodes_apart(model, given):
        encoded = _encoded(model, given)
        return given if encoded is None else {**given, ENCODED: encoded}
    return given


_apart: WeakKeyDictionary[nn.Module, dict[tuple[str, ...], bool]] = WeakKeyDictionary()
"""Model -> the names of inputs -> whether its encoder gives the same result when it runs by itself; found once."""


def _encodes_apart(model: nn.Module, given: Mapping[str, Any]) -> bool:
    """Whether a forward pass gives the same logits from the output of an encoder that ran by itself."""
    known, names = _apart.setdefault(original(model), {}), tuple(sorted(given))
    if names not in known:
        found = _gives_the_same(model, given)
        if found is None:  # another prompt may run it
            return False
        known[names] = found
    return known[names]


def _gives_the_same(model: nn.Module, given: Mapping[str, Any]) -> bool | None:
    """Whether it does; None if the model does not run on these inputs at all."""
    encoded = _encoded(model, given)
    extra = {name: value for name, value in given.items() if name != DECODER_IDS}
    with evaluating(model) as own:
        try:
            own_logits = model_logits(own, Inputs(given[DECODER_IDS], extra, DECODER_IDS)).clone()
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            log.debug("the model does not run on this source", exc_info=error)
            return None
        if encoded is None:
            return False
        try:
            found = model_logits(own, Inputs(given[DECODER_IDS], extra | {ENCODED: encoded}, DECODER_IDS))
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            log.debug("the model does not take what its encoder returned", exc_info=error)
            return False
    dtype = next((each.dtype for each in model.parameters() if each.is_floating_point()), torch.float32)
    allowed = allowed_difference(own_logits.float(), dtype)[..., None]
    return bool(((found - own_logits).abs() <= allowed).all())


def start_token(model: nn.Module) -> int:
    """The id of a decoder's start token.

    Raises:
        LensError: the model does not name one.
    """
    for config in (getattr(model, "generation_config", None), getattr(model, "config", None)):
        for name in ("decoder_start_token_id", "bos_token_id"):
            found = getattr(config, name, None)
            if isinstance(found, (list, tuple)) and found:
                found = found[0]
            if isinstance(found, int):
                return found
    raise LensError(
        f"{type(model).__name__} does not name the start token of its decoder: pass decoder_input_ids with the ids "
        "that the decoder has written"
    )


def missing_start(model: nn.Module, ids: Sequence[int]) -> int | None:
    """The decoder's start token, if it is known and missing from what the decoder has written; else None.

    Args:
        ids: the decoder's ids.
    """
    configs = getattr(model, "generation_config", None), getattr(model, "config", None)
    named = [start for each in configs if isinstance(start := getattr(each, "decoder_start_token_id", None), int)]
    if not named or set(named) & set(ids):
        return None
    shifted = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if shifted is not None:  # mBART starts with the language, with which its labels end
        labels = torch.tensor([[*ids]], device=input_device(model))
        try:
            first = int(shifted(labels=labels)[0, 0])
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):  # it may lack a padding token
            return None
        if first not in named:
            return None
    return named[0]


def _end_token(model: nn.Module, tokenizer: Any) -> int | None:
    """The id that ends a text, according to the tokenizer or the model."""
    named = (getattr(tokenizer, "eos_token_id", None), getattr(getattr(model, "config", None), "eos_token_id", None))
    return next((each for each in named if isinstance(each, int)), None)


def _ids(model: nn.Module, tokenizer: Any, written: Any) -> torch.Tensor:
    """(1, position), beginning with the decoder's start token; the end token of a text is left out."""
    start = start_token(model)
    if written is None or (isinstance(written, str) and not written):
        return torch.tensor([[start]], device="cpu")
    if not isinstance(written, str):
        return written  # type: ignore[no-any-return]
    if tokenizer is None:
        raise LensError("the decoder's text needs a tokenizer: pass one, or pass the text as token ids")
    labels = torch.tensor([tokenizer(text_target=written)["input_ids"]], device="cpu")
    ends = _end_token(model, tokenizer)
    if hasattr(model, "prepare_decoder_input_ids_from_labels"):
        if ends is not None and ends not in labels[0, -2:]:  # the last label, which is left out, must be the end token
            labels = torch.cat([labels, torch.tensor([[ends]], device="cpu")], dim=1)
        return model.prepare_decoder_input_ids_from_labels(labels=labels)  # type: ignore[operator,no-any-return]
    end = getattr(tokenizer, "eos_token_id", None)
    labels = labels[:, :-1] if labels[0, -1] == end else labels
    return labels if labels[0, 0] == start else torch.cat([torch.tensor([[start]], device="cpu"), labels], dim=1)


def _encoded(model: nn.Module, source: Mapping[str, Any]) -> Any:
    """The encoder's output; None if the model transforms a source before it is encoded."""
    with evaluating(model) as own:
        encoder: nn.Module = own.get_encoder()  # type: ignore[operator]
        parameters = inspect.signature(type(encoder).forward).parameters
        takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        given = {name: value for name, value in source.items() if takes_any or name in parameters}
        given = {name: value for name, value in given.items() if not name.startswith("decoder_")}
        if not given:
            raise LensError(
                f"{type(model).__name__} needs a source to read: pass a text, ids, or what its processor returns"
            )
        try:
            return encoder(**given, return_dict=True)
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            if out_of_memory(error):
                raise
            log.debug("the encoder does not run by itself", exc_info=error)
            return None

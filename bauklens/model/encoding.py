"""Turns a prompt into the model's inputs, and checks them before anything runs."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.encoder_decoder import written_by
from bauklens.model.features import along, features_of, without_padding
from bauklens.model.guard import hooked_modules
from bauklens.model.inputs import Inputs, exceeded_context, input_device, input_embeddings, part_embeddings
from bauklens.model.logits import DECODER_IDS, is_encoder_decoder, labels_of, require_flag
from bauklens.model.placeholders import placeholders_of, require_filled
from bauklens.model.prompt_notes import outside_vocabulary
from bauklens.model.ranks import ranks_of
from bauklens.model.reads import require_source, require_taken
from bauklens.model.unwrap import not_a_model
from bauklens.model.walk import modules_of
from bauklens.model.weights import is_plain
from bauklens.text_ids import ids_of, some_ids_of

Prompt = Any
"""A string, a list of token ids, a tensor or array of them, of shape (position,) or (1, position), or a mapping of the
inputs of the model's forward, as a tokenizer or a processor returns it."""


def encode(
    model: nn.Module,
    tokenizer: Any,
    prompt: Prompt,
    *,
    written: Any = None,
    extra: Mapping[str, Any] | None = None,
    logits: Callable[[Any], Any] | None = None,
) -> Inputs:
    """Turns a prompt into the model's inputs: ids, as the tokenizer makes them by default, and what goes with them.

    Args:
        model: a model whose forward takes token ids; its vocabulary and context limit them.
        tokenizer: a transformers tokenizer; may be None if the prompt is token ids.
        prompt: a string, a list of ids, a tensor of ids of shape (position,) or (1, position), or a mapping of inputs.
            For an encoder-decoder it is the source.
        written: what the decoder of an encoder-decoder has written, as a text or ids.
        extra: further inputs of the forward.
        logits: finds the logits in the forward's output; None looks for them.

    Returns:
        The inputs of one prompt, on the device of the model's embedding.

    Raises:
        LensError: the model is not one whose forward takes token ids, or has no weights yet; or the prompt is empty, is
            longer than the model's context, contains an id outside the vocabulary or the placeholder of a picture that
            is missing, or is text and no tokenizer was passed.
    """
    if not isinstance(model, nn.Module) or input_embeddings(model) is None:
        raise not_a_model(model)
    _require_weights(model)
    given = dict(extra or {})
    if isinstance(prompt, Mapping):
        given |= prompt
    elif prompt is not None or not (given or is_encoder_decoder(model)):
        given["input_ids"] = _token_ids(tokenizer, prompt)
    dtype = next((each.dtype for each in model.parameters() if each.is_floating_point()), torch.float32)
    given = _of_one_run(features_of(given, input_device(model), dtype))
    require_taken(model, given)
    require_flag(model)
    if is_encoder_decoder(model) and labels_of(model) is None:
        inputs = _of_a_source(model, tokenizer, given, written)
    elif written is None:
        inputs = _inputs(model, given)
    else:
        raise LensError(
            "text_target is what the decoder of an encoder-decoder has written, but "
            f"{type(model).__name__} is not an encoder-decoder: pass the whole text as the prompt"
        )
    _require_all_blocks(model)
    checked = replace(_checked(model, tokenizer, inputs), logits=logits)
    ranks = ranks_of(model)
    if ranks is not None:
        ids = " ".join(map(str, checked.ids.flatten().tolist()))
        ranks.require_alike("the model", {"prompt": ids, "hooked modules": hooked_modules(model)})
    return checked


def _require_all_blocks(model: nn.Module) -> None:
    """Refuses a model that is split into pipeline stages.

    Raises:
        LensError: this rank has only some of its blocks.
    """
    if getattr(model, "_pp_stage", None) is not None:
        raise LensError(
            f"{type(model).__name__} is split into pipeline stages (pp_size), so each rank has only some of its "
            "blocks: load it with tp_size=, fsdp_size= or device_map= instead"
        )


def _of_a_source(model: nn.Module, tokenizer: Any, given: dict[str, Any], written: Any) -> Inputs:
    """For an encoder-decoder: what its decoder has written, beside a source."""
    _require_one_text(given, written)
    require_source(model, given)
    for name in {"input_ids", DECODER_IDS} & set(given):
        given[name] = _token_ids(None, given[name]).to(input_device(model))
    if getattr(given.get("attention_mask"), "ndim", 0) == 1:
        given["attention_mask"] = given["attention_mask"][None]
    if written is not None and not isinstance(written, str):
        written = _token_ids(None, written)
    return _written_inputs(written_by(model, tokenizer, given, written))


def _of_one_run(given: dict[str, Any]) -> dict[str, Any]:
    """Refuses a cache from an earlier run, because each of several runs would change it.

    Raises:
        LensError: the inputs contain a cache.
    """
    for name in ("past_key_values", "cache_params"):
        if name in given:
            raise LensError(f"{name} holds the cache of an earlier run: leave it out, and pass all ids of the text")
    return given


def _require_one_text(given: Mapping[str, Any], written: Any) -> None:
    """Refuses a decoder's text that is given in two ways, or as labels.

    Raises:
        LensError: it is given so.
    """
    if written is not None and DECODER_IDS in given:
        raise LensError(f"text_target and {DECODER_IDS} both give what the decoder has written: pass only one of them")
    if "labels" in given:
        raise LensError(f"labels are not used: pass text_target= or {DECODER_IDS}= with what the decoder has written")


def _written_inputs(given: dict[str, Any]) -> Inputs:
    """For an encoder-decoder: the ids of its decoder, without padding."""
    ids, mask = _token_ids(None, given.pop(DECODER_IDS)), given.pop("decoder_attention_mask", None)
    ids, extra = without_padding(ids, given, mask, DECODER_IDS)
    return Inputs(ids, extra, DECODER_IDS)


def _inputs(model: nn.Module, given: dict[str, Any]) -> Inputs:
    """For a model without its own encoder: ids without padding."""
    given.pop("labels", None)  # for the loss, which a lens does not need
    ids = given.pop("input_ids", None)
    if ids is None:
        raise LensError(f"the inputs contain no input_ids: got {', '.join(given) or 'nothing'}")
    mask = given.pop("attention_mask", None)
    ids, extra = without_padding(_token_ids(None, ids), given, mask)
    apart = [name for name, value in extra.items() if not along(name, value, ids)]
    require_filled(model, ids[0].tolist(), [name for name in apart if _may_fill(extra[name])])
    if apart and mask is not None:  # some models place the patches of a picture only if they are given a mask
        extra = {"attention_mask": torch.ones_like(ids), **extra}
    if not apart:
        return Inputs(ids, extra, _keyword(model))
    return Inputs(ids, extra, _keyword(model), frozenset(placeholders_of(model)), of_text=_of_text(model))


def _may_fill(value: Any) -> bool:
    """Whether an input may be pictures or sounds: not whole numbers, such as sizes and positions."""
    return not isinstance(value, torch.Tensor) or value.is_floating_point() or value.dtype == torch.uint8


def _of_text(model: nn.Module) -> dict[str, int]:
    """The values of inputs along the positions for text that follows pictures.

    In PaliGemma a prompt is seen in both directions, unless it is marked as what is to be written.
    """
    written = getattr(getattr(model, "config", None), "model_type", "") == "paligemma"
    return {"token_type_ids": int(written), "mm_token_type_ids": 0, "image_embeds_position_mask": 0}


def _keyword(model: nn.Module) -> str:
    """The forward's name for the ids: ``input_ids``, or else its first input."""
    parameters = inspect.signature(type(model).forward).parameters
    named = [each.name for each in parameters.values() if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    return "input_ids" if takes_any or "input_ids" in parameters or len(named) < 2 else named[1]  # the first is self


def _checked(model: nn.Module, tokenizer: Any, inputs: Inputs) -> Inputs:
    count, ids = inputs.count, inputs.ids
    if count == 0:
        raise LensError("the prompt is empty: pass at least one token")
    context = exceeded_context(model, count)
    if context is not None:
        raise LensError(
            f"the prompt has {count:,} tokens, but the model's context is {context:,}: pass a shorter prompt"
        )
    own = part_embeddings(model, "get_decoder") if inputs.keyword == DECODER_IDS else None
    _require_known(own or input_embeddings(model), tokenizer, ids, inputs.placeholders)
    source = inputs.extra.get("input_ids") if inputs.keyword == DECODER_IDS else None
    if source is not None:
        _require_known(part_embeddings(model, "get_encoder"), tokenizer, source)
    return inputs


def _require_known(
    embeddings: nn.Module | None, tokenizer: Any, ids: torch.Tensor, placeholders: Collection[int] = ()
) -> None:
    """Refuses ids (1, position) that an embedding does not have, other than placeholders."""
    weight = getattr(embeddings, "weight", None)
    rows = len(weight) if isinstance(weight, torch.Tensor) else None
    vocabulary = rows if is_plain(weight) else getattr(embeddings, "num_embeddings", rows)  # packed rows are not tokens
    outside = [
        each
        for each in ids[0].tolist()
        if (each < 0 or (vocabulary and each >= vocabulary)) and each not in placeholders
    ]
    if outside:
        raise LensError(outside_vocabulary(tokenizer, outside[0], vocabulary))


def _require_weights(model: nn.Module) -> None:
    """Refuses a model with weights on ``meta``, unless a hook of accelerate loads them when they are needed."""
    modules = modules_of(model)
    if not any(each is not None and each.is_meta for module in modules for each in module._parameters.values()):
        return
    if not any(hasattr(module, "_hf_hook") for module in modules):
        empty = next(name for name, parameter in model.named_parameters() if parameter.is_meta)
        raise LensError(
            f"the model has no weights yet: {empty} is on the device meta; load them with load() or from_pretrained"
        )


def _token_ids(tokenizer: Any, prompt: Prompt) -> torch.Tensor:
    if isinstance(prompt, str):
        if not prompt and (tokenizer is None or not len(ids_of(tokenizer, "the prompt", prompt, special=True))):
            raise LensError("the prompt is empty: pass at least one token")
        if tokenizer is None:
            raise LensError("a text prompt needs a tokenizer: pass one, or a list of token ids as the prompt")
        prompt = some_ids_of(tokenizer, "the prompt", prompt, special=True)
    try:
        if isinstance(prompt, (list, tuple)) and any(isinstance(each, bool) for each in prompt):
            raise TypeError  # torch takes True for 1
        token_ids = torch.as_tensor(prompt, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise LensError(
            f"a prompt must be a string, a list of token ids, or a 1-D tensor; got {prompt!r:.80}"
        ) from None
    if token_ids.dim() == 2 and token_ids.shape[0] == 1:
        token_ids = token_ids[0]
    if token_ids.dim() != 1 or (token_ids.numel() and (token_ids.is_floating_point() or token_ids.dtype == torch.bool)):
        raise LensError(
            f"a prompt must be a string, a list of token ids, or a 1-D tensor of them; "
            f"got shape {tuple(token_ids.shape)} of {token_ids.dtype}"
        )
    return token_ids.long()[None]  # (1, position)

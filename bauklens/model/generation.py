"""What a model goes on to say: a prompt or a chat -> its ids, and the ids of what is generated after them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from bauklens.arguments import checked_count, whole_number
from bauklens.errors import LensError
from bauklens.model.guard import evaluating
from bauklens.model.inputs import Inputs, context_length


def chat_ids(tokenizer: Any, messages: Any) -> list[int]:
    """The ids of a chat, written as the tokenizer's own template has it, up to where the model's answer begins.

    Args:
        tokenizer: one with a chat template.
        messages: ``[{"role": "user", "content": "..."}, ...]``.

    Raises:
        LensError: the tokenizer has no template, or the messages are not of this kind, or not what the template takes.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise LensError(
            "messages need a tokenizer with a chat template: pass a prompt, or the tokenizer of a chat model"
        )
    _require_messages(messages)
    try:
        text = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
    except Exception as error:  # the template's own, written by anyone
        raise LensError(f"the tokenizer's chat template does not take these messages: {error}") from None
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def continued(
    model: nn.Module,
    tokenizer: Any,
    inputs: Inputs,
    max_new_tokens: int,
    *,
    seed: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Inputs:
    """A prompt, and after it what the model generates; greedily unless the options say otherwise.

    Args:
        inputs: one prompt.
        max_new_tokens: the most tokens to generate; fewer where the model ends its text.
        seed: of what is drawn, where tokens are sampled; the caller's random state is as it was afterwards.
        options: as transformers' ``generate`` takes them, such as ``do_sample=True`` and ``temperature=0.7``.

    Raises:
        LensError: the text would be longer than the model's context, or the model does not generate, or not so.
    """
    count = checked_count("max_new_tokens", max_new_tokens)
    context = context_length(model)
    if context is not None and inputs.count + count > context:
        raise LensError(
            f"the prompt has {inputs.count:,} tokens and max_new_tokens is {count:,}, and the model's context is "
            f"{context:,}: pass a smaller max_new_tokens"
        )
    if not hasattr(model, "generate"):
        raise LensError(f"{type(model).__name__} does not generate: pass the finished text as the prompt")
    given = {"do_sample": False, "pad_token_id": _padding(model, tokenizer)} | dict(options or {})
    devices = [inputs.ids.device] if inputs.ids.device.type == "cuda" else []
    with evaluating(model), torch.random.fork_rng(devices):
        if seed is not None:
            torch.manual_seed(whole_number("seed", seed))
        try:
            found = model.generate(  # type: ignore[operator]
                input_ids=inputs.ids,
                attention_mask=torch.ones_like(inputs.ids),
                max_new_tokens=count,
                **inputs.extra,
                **given,
            )
        except (ValueError, TypeError) as error:
            raise LensError(f"{type(model).__name__} does not generate with {_said(options)}: {error}") from None
    if not isinstance(found, torch.Tensor) or found.shape[0] != 1:
        raise LensError("a lens is of one text: leave out num_return_sequences and return_dict_in_generate")
    return replace(inputs, ids=found)


def _padding(model: nn.Module, tokenizer: Any) -> int:
    """What generate is given for padding, of which there is none with one prompt; it only warns where there is none."""
    known = [getattr(tokenizer, "pad_token_id", None), getattr(getattr(model, "config", None), "pad_token_id", None)]
    return next((each for each in known if isinstance(each, int)), 0)


def _require_messages(messages: Any) -> None:
    right = isinstance(messages, Sequence) and not isinstance(messages, str) and len(messages) > 0
    if not right or not all(isinstance(each, Mapping) and {"role", "content"} <= set(each) for each in messages):
        raise LensError(
            f'messages is a list of at least one {{"role": "user", "content": "..."}}; got {messages!r:.80}'
        )


def _said(options: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in (options or {}).items()) or "its own settings"

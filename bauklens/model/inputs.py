"""A prompt -> what the model is given, checked before anything runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.unwrap import not_a_model
from bauklens.text_ids import some_ids_of

Prompt = Any
"""A string, a list of token ids, or a tensor or array of them, of shape (position,) or (1, position)."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a forward pass is given.

    Attributes:
        ids: (prompt, position) int64, token ids; of one prompt (1, position).
        extra: name -> tensor, whatever else the model's forward needs.
    """

    ids: torch.Tensor
    extra: Mapping[str, torch.Tensor] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def count(self) -> int:
        """How many positions there are."""
        return self.ids.shape[1]

    def first(self, count: int) -> "Inputs":
        """The first few positions."""
        return replace(self, ids=self.ids[:, :count])

    def at(self, positions: torch.Tensor, times: int = 1) -> "Inputs":
        """Some of one prompt's positions, (position,) or (times, position) int64, as a batch of so many."""
        return replace(self, ids=self.ids[0, positions.to(self.ids.device)].expand(times, -1))

    def repeated(self, times: int) -> "Inputs":
        """The prompt several times over, one after another."""
        return replace(self, ids=self.ids.repeat(1, times))

    def followed_by(self, ids: torch.Tensor) -> "Inputs":
        """One prompt with more ids, (position,), at its end."""
        return replace(self, ids=torch.cat([self.ids[0], ids])[None])


def encode(model: nn.Module, tokenizer: Any, prompt: Prompt) -> Inputs:
    """Turns a prompt into token ids as the tokenizer does by default, including special tokens.

    Args:
        model: a causal language model; its vocabulary and context limit the ids.
        tokenizer: a transformers tokenizer; may be None if the prompt is token ids.
        prompt: a string, a list of ids, or a tensor of ids of shape (position,) or (1, position).

    Returns:
        Ids (1, position), on the device of the model's embedding.

    Raises:
        LensError: the model is not a transformers model, or has no weights yet; or the prompt is empty, is longer than
            the model's context, contains an id outside the vocabulary, or is text and no tokenizer was passed.
    """
    if not isinstance(model, nn.Module) or not hasattr(model, "get_input_embeddings"):
        raise not_a_model(model)
    _require_weights(model)
    token_ids = _token_ids(tokenizer, prompt)
    count = token_ids.shape[1]
    if count == 0:
        raise LensError("the prompt is empty: pass at least one token")
    context = context_length(model)
    if context is not None and count > context:
        raise LensError(
            f"the prompt has {count:,} tokens, but the model's context is {context:,}: pass a shorter prompt"
        )
    embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
    vocabulary = embeddings.weight.shape[0] if hasattr(embeddings, "weight") else None
    outside = [each for each in token_ids[0].tolist() if each < 0 or (vocabulary and each >= vocabulary)]
    if outside:
        raise LensError(f"token id {outside[0]} is not in the model's vocabulary of {vocabulary:,}")
    return Inputs(token_ids.to(input_device(model)))


def context_length(model: nn.Module) -> int | None:
    """The longest prompt, in tokens, that the model's configuration allows; None if it names no limit."""
    length = getattr(text_config(model), "max_position_embeddings", None)
    return length if isinstance(length, int) and length > 0 else None


def text_config(model: nn.Module) -> Any:
    """The configuration of the model's text decoder; None if the model has no configuration."""
    config: Any = getattr(model, "config", None)
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config


def input_device(model: nn.Module) -> torch.device:
    """Where the token ids go: the embedding's device, or the CPU if accelerate keeps its weights on ``meta``."""
    weight = next(iter(model.get_input_embeddings().parameters()), None)  # type: ignore[operator]
    return torch.device("cpu") if weight is None or weight.is_meta else weight.device


def _require_weights(model: nn.Module) -> None:
    """Refuses a model with weights on ``meta``, unless a hook of accelerate brings them in when they are needed."""
    empty = next((name for name, parameter in model.named_parameters() if parameter.is_meta), None)
    if empty is not None and not any(hasattr(module, "_hf_hook") for module in model.modules()):
        raise LensError(
            f"the model has no weights yet: {empty} is on the device meta; load them, as load() or from_pretrained does"
        )


def _token_ids(tokenizer: Any, prompt: Prompt) -> torch.Tensor:
    if isinstance(prompt, str):
        if not prompt:
            raise LensError("the prompt is empty: pass at least one token")
        if tokenizer is None:
            raise LensError("a text prompt needs a tokenizer: pass one, or a list of token ids as the prompt")
        prompt = some_ids_of(tokenizer, "the prompt", prompt, special=True)
    if isinstance(prompt, Mapping):
        raise LensError("a prompt must be a string or token ids; got a mapping: pass its ['input_ids']")
    try:
        if isinstance(prompt, (list, tuple)) and any(isinstance(each, bool) for each in prompt):
            raise TypeError  # torch takes True for 1
        token_ids = torch.as_tensor(prompt)
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

"""The inputs of a forward pass, and what a model declares about them."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from bauklens.model.context import exceeded, made_for
from bauklens.model.features import along


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of a forward pass.

    Attributes:
        ids: (prompt, position) int64, token ids; for one prompt (1, position).
        extra: name -> what else the model's forward needs: pictures, or an encoder's output.
        keyword: the forward's name for the ids; ``"decoder_input_ids"`` in an encoder-decoder.
        placeholders: ids of positions that the extra inputs fill, such as those of a picture.
        logits: finds the logits in the forward's output; None: :func:`bauklens.model.forward.logits_of`.
        of_text: inputs along the positions -> their value at a position of generated text; by default that of the last
            position.
    """

    ids: torch.Tensor
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    keyword: str = "input_ids"
    placeholders: frozenset[int] = frozenset()
    logits: Callable[[Any], torch.Tensor] | None = None
    of_text: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def count(self) -> int:
        """The number of positions."""
        return self.ids.shape[1]

    @property
    def given(self) -> dict[str, Any]:
        """The keywords of a forward pass."""
        encoded = {ENCODED: deepcopy(self.extra[ENCODED])} if ENCODED in self.extra else {}  # some models change it
        return {self.keyword: self.ids, **self.extra, **encoded}

    @property
    def kind(self) -> tuple[str, ...]:
        """The names of the inputs: other modules may run for other inputs."""
        return (self.keyword, *sorted(self.extra))

    @property
    def filled(self) -> torch.Tensor:
        """(position,) bool, whether a position of one prompt is filled by an extra input."""
        marked: torch.Tensor | None = self.extra.get("image_embeds_position_mask")
        if marked is not None:
            return marked[0].bool()
        return torch.isin(
            self.ids[0], torch.tensor(sorted(self.placeholders), dtype=torch.int64, device=self.ids.device)
        )

    def first(self, count: int) -> "Inputs":
        """The first few positions; or all, if the extra inputs may fill some of those that would be left out."""
        filled = self.filled
        apart = [name for name, value in self.extra.items() if not self._along(name, value)]
        may_fill = bool(apart) and not self._source and not filled.any()
        if count >= self.count or may_fill or filled[count:].any():
            return self
        cut = {name: value[:, :count] if self._along(name, value) else value for name, value in self.extra.items()}
        return replace(self, ids=self.ids[:, :count], extra=cut)

    def at(self, positions: torch.Tensor, times: int = 1) -> "Inputs":
        """Some of one prompt's positions, (position,) or (times, position) int64, as a batch of that shape.

        This is for blocks that do nothing: an encoder's source is the only extra input that is kept, and positions
        that a picture fills get another id.
        """
        filled, ids = self.filled, self.ids[0]
        if filled.any() and not filled.all():
            ids = torch.where(filled, ids[~filled][0], ids)
        ids = ids[positions.to(ids.device)].expand(times, -1)
        return replace(self, ids=ids, extra={name: _repeated(value, len(ids)) for name, value in self._source.items()})

    @property
    def _source(self) -> Mapping[str, Any]:
        """The source that an encoder-decoder reads."""
        if ENCODED not in self.extra:
            return {}
        return {name: value for name, value in self.extra.items() if not self._along(name, value)}

    def _along(self, name: str, value: Any) -> bool:
        return along(name, value, self.ids, self.keyword)

    def repeated(self, times: int) -> "Inputs":
        """The prompt repeated several times; an encoder's source is the only extra input that is kept."""
        return replace(self, ids=self.ids.repeat(1, times), extra=self._source)

    @property
    def is_repeatable(self) -> bool:
        """Whether an encoder's source is the only extra input, if there is any."""
        return not self.extra or bool(self._source)

    def followed_by(self, ids: torch.Tensor) -> "Inputs":
        """One prompt with more ids, (position,), at its end."""
        given = {name: torch.zeros_like(self.ids) for name, number in self.of_text.items() if number} | dict(self.extra)
        extra = {
            name: _longer(name, value, len(ids), self.of_text.get(name)) if self._along(name, value) else value
            for name, value in given.items()
        }
        return replace(self, ids=torch.cat([self.ids[0], ids])[None], extra=extra)


ENCODED = "encoder_outputs"
"""The name of an encoder's output, as transformers' encoder-decoders take it."""


def _repeated(source: Any, times: int) -> Any:
    """A part of a source, or the encoder's output for it, for a batch of prompts; no copy."""
    return tree_map_only(torch.Tensor, lambda each: each.expand(times, *each.shape[1:]), source)


def _longer(name: str, value: torch.Tensor, count: int, of_text: int | None) -> torch.Tensor:
    """Extends values along the positions of a prompt: position numbers count on, other values stay the same.

    Args:
        of_text: the value at positions of text, if it is not that of the last position.
    """
    last = value[:, -1:].expand(-1, count, *value.shape[2:])
    if of_text is not None:
        last = torch.full_like(last, of_text)
    more = torch.arange(1, count + 1, device=value.device) if name.endswith("position_ids") else 0
    return torch.cat([value, last + more], dim=1)


def context_length(model: nn.Module) -> int | None:
    """The longest text, in tokens, that the model was made for; None if its configuration does not have it."""
    return made_for(text_config(model))


def exceeded_context(model: nn.Module, count: int) -> int | None:
    """The context of a model that cannot run a text of this many tokens; None if it can."""
    return exceeded(model, text_config(model), count)


def text_config(model: nn.Module) -> Any:
    """The configuration of the model's text decoder; None if the model has no configuration."""
    config: Any = getattr(model, "config", None)
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config


def input_device(model: nn.Module) -> torch.device:
    """The device for token ids: the embedding's device, or the CPU if accelerate keeps its weights on ``meta``."""
    weight = next((input_embeddings(model) or model).parameters(), None)
    return torch.device("cpu") if weight is None or weight.is_meta else weight.device


def input_embeddings(model: nn.Module) -> nn.Module | None:
    """The module that turns token ids into states: the one that the model declares, or else its first embedding."""
    declared = _declared(model, "get_input_embeddings")
    if declared is not None:
        return declared
    return next((module for module in model.modules() if isinstance(module, nn.Embedding)), None)


def part_embeddings(model: nn.Module, part: str) -> nn.Module | None:
    """The embedding of one part of an encoder-decoder, if that part declares one.

    Args:
        part: ``"get_encoder"`` or ``"get_decoder"``.
    """
    found = _declared(model, part)
    return None if found is None else _declared(found, "get_input_embeddings")


def output_embeddings(model: nn.Module) -> nn.Module | None:
    """The head that the model declares, if it declares one."""
    return _declared(model, "get_output_embeddings")


def _declared(model: nn.Module, method: str) -> nn.Module | None:
    try:
        found = getattr(model, method, lambda: None)()
    except (NotImplementedError, AttributeError):
        return None
    return found if isinstance(found, nn.Module) else None

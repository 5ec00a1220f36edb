"""How long a text may be: the context that a model was made for, and the length beyond which it cannot run."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import torch
from torch import nn

_LENGTHS = ("max_position_embeddings", "max_target_positions")
"""The names of the context in configurations, in the order in which they are tried."""

_SCALED = ("linear", "dynamic", "yarn", "longrope", "llama3")
"""Kinds of rotary embedding whose factor determines how far they reach."""

_SPARE = 8
"""The most rows that a table of positions has beyond the context, for padding (OPT has 2)."""

_LONGEST = 1 << 40


def made_for(config: Any) -> int | None:
    """The longest text, in tokens, that a model was made for, from its configuration; None if that has no length.

    If rotary embeddings are scaled, the context is the original one times the factor, or the one that the configuration
    names if that is longer, as it then has the factor in it already.

    Args:
        config: of the model's text decoder; None if it has none.
    """
    named = _named(config)
    return None if named is None else max([named, *_scaled(config, named)])


def exceeded(model: nn.Module, config: Any, count: int) -> int | None:
    """The context of a model whose table of positions is too short for a text of this many tokens; else None.

    Computed positions have no limit: a text beyond the context runs.
    """
    named = _named(config)
    if named is None or count <= named - _SPARE:
        return None
    if getattr(model, "ends_with_its_context", False):
        return named if count > named else None
    lengths = [length for length in _tables(model, named) if count > length]
    return min(lengths, default=None)


def _named(config: Any) -> int | None:
    return next((length for length in (getattr(config, name, None) for name in _LENGTHS) if _is_length(length)), None)


def _is_length(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _scaled(config: Any, named: int) -> Iterator[int]:
    """The contexts that scaled rotary embeddings reach."""
    several = _rotary(config)
    for kind, rotary in several:
        factor, original = rotary.get("factor"), rotary.get("original_max_position_embeddings")
        if kind == "linear" and len(several) > 1:  # Gemma 3 gives the context of its global layers
            continue
        if not _is_length(original):
            original = getattr(config, "original_max_position_embeddings", None)
        original = original if _is_length(original) else named
        if isinstance(factor, (int, float)) and math.isfinite(factor) and 1 <= factor * original <= _LONGEST:
            yield int(factor * original)


def _rotary(config: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """(kind, parameters) of the scaled rotary embeddings, and of those of other layers, if they differ.

    transformers before 5 calls them ``rope_scaling``, with the base of local layers beside it.
    """
    given = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
    if not isinstance(given, Mapping):
        return []
    nested = [each for each in given.values() if isinstance(each, Mapping)]
    found = [(each.get("rope_type", each.get("type")), each) for each in nested or [given]]
    if hasattr(config, "rope_local_base_freq"):
        found.append(("default", {}))
    return found if any(kind in _SCALED for kind, _ in found) else []


def _tables(model: nn.Module, context: int) -> Iterator[int]:
    """How many positions there are in each table of positions, learned or computed beforehand.

    It is an embedding other than that of the tokens, or a tensor that is named after positions. The rows up to that of
    the padding belong to no position (RoBERTa).
    """
    long = range(context, context + _SPARE + 1)
    tokens = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None  # type: ignore[operator]
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            if module is not tokens and module.num_embeddings in long:
                padding = module.padding_idx
                yield min(context, module.num_embeddings - (0 if padding is None else padding + 1))
        elif any("pos" in name and any(size in long for size in value.shape[:-1]) for name, value in _tensors(module)):
            yield context


def _tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """A module's own tensors by name, including those that it holds as plain attributes."""
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)
    yield from ((name, value) for name, value in vars(module).items() if isinstance(value, torch.Tensor))

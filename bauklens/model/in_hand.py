"""Turns a model and a tokenizer in any supported form into those that a lens runs."""

from typing import Any

from bauklens.model.tokenizers_in_hand import tokenizer_of
from bauklens.model.unwrap import is_of, unwrapped


def in_hand(model: Any, tokenizer: Any) -> tuple[Any, Any]:
    """A model without its wrapper, and its tokenizer.

    Args:
        model: as :func:`bauklens.model.unwrap.unwrapped` takes it; a pipeline or a Trainer of transformers brings its
            own tokenizer, if None is given.
        tokenizer: as :func:`bauklens.model.tokenizers_in_hand.tokenizer_of` takes it.

    Raises:
        LensError: see these two functions.
    """
    return unwrapped(model), tokenizer_of(brought(model) if tokenizer is None else tokenizer)


def brought(model: Any) -> Any:
    """The processor or tokenizer that a pipeline or a Trainer of transformers holds; None for anything else."""
    if is_of(model, "transformers", "Pipeline"):
        return getattr(model, "processor", None) or model.tokenizer
    if is_of(model, "transformers", "Trainer"):
        return getattr(model, "processing_class", None) or getattr(model, "tokenizer", None)
    return None

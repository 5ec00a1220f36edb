"""Loads a model's tokenizer, or the processor of a model that takes images or audio."""

import logging
from pathlib import Path
from typing import Any

from transformers import AutoProcessor, AutoTokenizer

from bauklens.model.model_class import takes_more_than_text

log = logging.getLogger(__name__)

_FAILURES = (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError)
"""What transformers raises if a folder has no tokenizer, or no processor."""

_FEW = 10_000
"""How many tokens are checked to find out whether any of them is a word."""


def tokenizer_for(model: Any, source: str, where: dict[str, Any]) -> Any:
    """The processor of a model that takes images or audio, else the tokenizer; None, with a warning, if neither loads.

    Args:
        source: the folder or hub id.
        where: the options of ``from_pretrained`` that locate files.
    """
    found = _processor(source, where) if takes_more_than_text(model) else None
    if found is None:
        found = own_tokenizer(source, where, required=not Path(source).is_dir())
    if found is None:
        log.warning("%s has no tokenizer that can be loaded: pass prompts as token ids", source)
    return found


def own_tokenizer(source: str, where: dict[str, Any], *, required: bool = False) -> Any:
    """The tokenizer, or None if there is none; for a subfolder without one, the tokenizer of the whole folder.

    Args:
        required: whether to raise transformers' error if there is none.
    """
    whole = {key: value for key, value in where.items() if key != "subfolder"}
    for options in [where, whole] if where.get("subfolder") else [where]:
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
        except _FAILURES as error:
            if required and not options.get("subfolder"):
                raise
            log.debug("no tokenizer in %s", source, exc_info=error)
            continue
        if _has_words(tokenizer):
            return tokenizer
    return None


def _has_words(tokenizer: Any) -> bool:
    """Whether a tokenizer has more than special tokens and a space; transformers 5 makes such ones without files."""
    if not tokenizer.vocab_size or tokenizer.vocab_size > _FEW:
        return bool(tokenizer.vocab_size)
    try:
        known = set(tokenizer.get_vocab())
    except (NotImplementedError, AttributeError):
        return True
    return bool(known - set(tokenizer.all_special_tokens) - set(getattr(tokenizer, "added_tokens_encoder", ())) - {"▁"})


def _processor(source: str, where: dict[str, Any]) -> Any:
    """The processor, if there is one that can be loaded and holds a tokenizer."""
    try:
        processor = AutoProcessor.from_pretrained(source, **where)
    except _FAILURES as error:
        log.warning("%s has no processor that can be loaded, so it takes text only: %s", source, error)
        return None
    tokenizer = getattr(processor, "tokenizer", None)
    return processor if tokenizer is not None and _has_words(tokenizer) else None

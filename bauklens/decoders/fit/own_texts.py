"""Texts that a model writes itself, for fits without given texts."""

from collections.abc import Iterator
from itertools import count

import torch
from torch import nn

from bauklens.decoders.texts import Window
from bauklens.errors import LensError
from bauklens.model.generation import random_state_kept
from bauklens.model.guard import evaluating
from bauklens.model.inputs import Inputs, input_device, text_config
from bauklens.progress import bar

AT_ONCE = 32
"""Texts that are written at once."""

_APART, _SEEDS = 1_000_003, 1 << 63
"""How far the seeds of two series of texts are apart, and how many seeds there are."""

_PLAINLY = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}
"""Options of ``generate``, so that texts are as probable as the model has them, whatever its own settings."""


def own_texts(model: nn.Module, texts: int, length: int, *, seed: int = 0, what: str = "Writing texts") -> Inputs:
    """So many texts of one length in tokens, sampled from a model at temperature 1.

    Args:
        length: tokens of each, including the one that begins a text.
        seed: the seed of the sampling; the caller's random state is restored afterwards.
        what: the progress bar's name.

    Raises:
        LensError: the model cannot generate, or names no token that begins a text.
    """
    if not hasattr(model, "generate"):
        raise LensError(f"{type(model).__name__} cannot generate: pass texts")
    begins, device = _beginning(model), input_device(model)
    ids = torch.full((texts, 1), begins, dtype=torch.int64, device=device)
    with (
        evaluating(model) as own,
        random_state_kept(device),
        bar(what, "token", total=length - 1) as written,
    ):

        def count_token(_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            written.update()
            return scores

        torch.manual_seed(seed % _SEEDS)
        found = own.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pad_token_id=begins,
            min_new_tokens=length - 1,
            max_new_tokens=length - 1,
            logits_processor=[count_token],
            **_PLAINLY,
        )
    return Inputs(found)


def own_windows(model: nn.Module, length: int, *, seed: int = 0) -> Iterator[Window]:
    """Texts of one length that a model writes, so many at once, without an end."""
    for batch in count():
        texts = own_texts(model, AT_ONCE, length, seed=seed * _APART + batch)
        for place, ids in enumerate(texts.ids):
            yield Window(Inputs(ids[None]), 1 + batch * AT_ONCE + place, 0)


def _beginning(model: nn.Module) -> int:
    for name in ("bos_token_id", "eos_token_id"):
        found = getattr(text_config(model), name, None)
        found = found[0] if isinstance(found, (list, tuple)) and found else found
        if isinstance(found, int):
            return found
    raise LensError("the model's configuration has no token that begins a text (bos_token_id): pass texts")

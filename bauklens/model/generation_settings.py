"""A model's own generation settings that make it generate a token other than the most probable one."""

from collections.abc import Mapping
from typing import Any

from torch import nn

_NEUTRAL: Mapping[str, Any] = {
    "repetition_penalty": 1,
    "encoder_repetition_penalty": 1,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "sequence_bias": None,
    "min_length": 0,
    "min_new_tokens": 0,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "forced_decoder_ids": None,
    "suppress_tokens": [],
    "begin_suppress_tokens": [],
    "exponential_decay_length_penalty": None,
    "guidance_scale": 1,
    "watermarking_config": None,
    "num_beams": 1,
    "num_beam_groups": 1,
    "diversity_penalty": 0,
    "penalty_alpha": 0,
    "dola_layers": None,
}
"""Settings that change what is generated without sampling -> the value that has no effect."""

_OF_SAMPLING: Mapping[str, Any] = {
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "min_p": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}
"""Settings of sampling -> the value for which transformers does not warn if nothing is sampled."""

_LONGEST = 60


def own_settings(model: nn.Module, options: Mapping[str, Any]) -> dict[str, Any]:
    """The model's own generation settings that change what it generates, other than those that the caller passes.

    Args:
        options: those that the caller passes to ``generate``.
    """
    passed = options.get("generation_config")
    sources = [each for each in (passed, getattr(model, "generation_config", None)) if each is not None]
    found = {name: _first(sources, name) for name in _NEUTRAL if name not in options}
    return {name: _plain(value) for name, value in found.items() if _matters(name, value)}


def unsampled(model: nn.Module, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that turn off a model's sampling settings, about which transformers would warn without sampling."""
    config = getattr(model, "generation_config", None)
    if options.get("do_sample") or "generation_config" in options:
        return {}
    return {
        name: neutral
        for name, neutral in _OF_SAMPLING.items()
        if name not in options and getattr(config, name, None) not in (None, neutral)
    }


def generation_notes(model: nn.Module, options: Mapping[str, Any]) -> list[str]:
    """Why generated tokens may differ from the most probable ones; empty if they do not."""
    own = own_settings(model, options)
    asked = {name: _plain(value) for name, value in options.items() if _matters(name, value) or name == "do_sample"}
    asked = {} if not options.get("do_sample") and set(asked) <= {"do_sample"} else asked
    if options.get("do_sample"):
        asked |= {name: _plain(options[name]) for name in _OF_SAMPLING if name in options}
    said = [("the model's generation settings", own), ("the options of generate", asked)]
    parts = [f"{whose}: {_listed(settings)}" for whose, settings in said if settings]
    if not parts:
        return []
    whole = "; ".join(parts)
    return [f"{whole[0].upper()}{whole[1:]}. A generated token may therefore differ from the most probable one."]


def _first(sources: list[Any], name: str) -> Any:
    return next((value for each in sources if (value := getattr(each, name, None)) is not None), None)


def _matters(name: str, value: Any) -> bool:
    if name not in _NEUTRAL or value is None:
        return False
    return bool(value != _NEUTRAL[name]) and not (isinstance(value, (list, tuple, Mapping)) and not value)


def _plain(value: Any) -> Any:
    """A setting as JSON can hold it."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else str(value)


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_cut(str(value))}" for name, value in settings.items())


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

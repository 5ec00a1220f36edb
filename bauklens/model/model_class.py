"""Finds the class of transformers that loads a model with the head that its weights were saved with."""

from collections.abc import Iterable, Mapping
from typing import Any

import transformers
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from bauklens.errors import LensError

_AUTO: Mapping[str, str] = {
    "AutoModelForCausalLM": "MODEL_FOR_CAUSAL_LM_MAPPING",
    "AutoModelForImageTextToText": "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING",
    "AutoModelForMultimodalLM": "MODEL_FOR_MULTIMODAL_LM_MAPPING",
    "AutoModelForSeq2SeqLM": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
    "AutoModelForSpeechSeq2Seq": "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING",
    "AutoModelForSequenceClassification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
    "AutoModelForTokenClassification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING",
}
"""The classes that load models with a head for tokens or labels, and the lists of what each of them loads."""

_SOURCES = ("AutoModelForSeq2SeqLM", "AutoModelForSpeechSeq2Seq")
_OF_TASKS = {"SEQ_CLS": AutoModelForSequenceClassification, "TOKEN_CLS": AutoModelForTokenClassification}


def class_for(source: str, config: Any, *, own_code: bool = False, task: str | None = None) -> Any:
    """The class whose ``from_pretrained`` loads a model.

    The configuration names the class that was saved. If transformers does not have that class, or it has no head for
    tokens or labels, it is the first kind of model that transformers lists for this type: causal, image and text to
    text, ...; for an encoder-decoder, those with a source come first.

    Args:
        source: the model's name in errors.
        config: its configuration.
        own_code: whether code that comes with the model may run.
        task: the task that an adapter of PEFT was trained for, if it determines the head.

    Raises:
        LensError: transformers has no class with such a head for this type.
    """
    remote = getattr(config, "auto_map", None) or {}
    if own_code and remote:
        named = next((name for name in (*_AUTO, "AutoModel") if name in remote), None)
        if named is not None and hasattr(transformers, named):
            return getattr(transformers, named)
    if task in _OF_TASKS:
        return _OF_TASKS[task]
    kinds = dict(_kinds(config))
    for architecture in getattr(config, "architectures", None) or ():
        for auto, classes in kinds.items():
            if any(each.__name__ == architecture for each in classes):
                return getattr(transformers, auto)
        for auto in kinds:
            if architecture in _names(auto):
                return getattr(transformers, architecture)
    if not kinds:
        raise LensError(
            f"{source} is a {getattr(config, 'model_type', 'model')}, for which transformers has no head for tokens or "
            "labels: pass a language model, with or without images, an encoder-decoder, or a classifier"
        )
    first = _SOURCES if getattr(config, "is_encoder_decoder", False) else ()
    return getattr(transformers, next((name for name in first if name in kinds), next(iter(kinds))))


def heads_of(model_class: Any) -> list[tuple[str, str]]:
    """The classes with a head for a model's type that a lens supports, as (what loads them, their name).

    Args:
        model_class: the class of a model without a head, or with another kind of head.
    """
    config = getattr(model_class, "config_class", None)
    if config is None:
        return []
    apart = ("AutoModelForSequenceClassification",) if getattr(config, "is_encoder_decoder", False) else ()
    found: dict[str, str] = {}
    for auto in _AUTO:
        for each in _classes(auto, config):
            if auto not in apart and each is not model_class:
                found.setdefault(each.__name__, auto)
    return [(auto, name) for name, auto in found.items()]


def takes_more_than_text(model: Any) -> bool:
    """Whether a model is of a kind that takes images, video or audio."""
    kinds = ("AutoModelForImageTextToText", "AutoModelForMultimodalLM", "AutoModelForSpeechSeq2Seq")
    known = any(type(model).__name__ in _names(name) for name in kinds)
    return known or getattr(model, "main_input_name", "input_ids") != "input_ids"


def _kinds(config: Any) -> Iterable[tuple[str, tuple[type, ...]]]:
    """The classes that load a configuration of this type, with the model class that each returns."""
    for auto in _AUTO:
        found = _classes(auto, type(config))
        if found:
            yield auto, found


def _classes(auto: str, config: type) -> tuple[type, ...]:
    """The model classes that one of these returns for a type of configuration."""
    found = _mapping(auto).get(config, ())
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


def _names(auto: str) -> set[str]:
    """The names of all model classes that one of these returns."""
    named = getattr(_mapping(auto), "_model_mapping", {}).values()
    return {name for each in named for name in ([each] if isinstance(each, str) else each)}


def _mapping(auto: str) -> Any:
    return getattr(transformers, _AUTO[auto], {}) if hasattr(transformers, auto) else {}

"""Every encoder-decoder and speech-to-text type of transformers, built tiny, and the inputs to call each with.

Some of these types are language models that read audio at placeholders in their ids, with no encoder of text and no
cross-attention: ``DECODER_ONLY``. A type with another source is ``"seamless_m4t@speech"``.
"""

import json
from pathlib import Path

import torch
import transformers
from transformers import CONFIG_MAPPING
from transformers.models.auto import modeling_auto

from tests.tiny import randomised

SPECS = json.loads((Path(__file__).parent / "data" / "tiny_encoder_decoders.json").read_text(encoding="utf-8"))
"""Name -> ``overrides`` of its configuration; the shapes of ``values`` (random floats) and ``masks`` (ones) among its
inputs; other ``arguments``; ``codebooks``, if an id is several; and for those of ``DECODER_ONLY`` the ``audio_id`` that
marks audio in the ids, and how many of these there are (``audio_tokens``)."""

TEXT = modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
SPEECH = modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES

CANNOT_BE_BUILT = {}
"""Type -> why."""

DECODER_ONLY = {name for name, spec in SPECS.items() if "audio_tokens" in spec}
SPOKEN = {name for name, spec in SPECS.items() if "values" in spec} - DECODER_ONLY
"""Encoder-decoders whose source is audio."""

VOCABULARY = 99
SOURCE = [5, 6, 7, 8, 9, 10, 2]
TARGET = [11, 12, 13, 14, 15, 16, 17, 18]


def build(name):
    """A fresh tiny model with random weights."""
    kind, _, source = name.partition("@")
    config = CONFIG_MAPPING[kind](**SPECS[name]["overrides"])
    torch.manual_seed(0)
    mapping = TEXT if kind in TEXT and source != "speech" else SPEECH
    model = randomised(getattr(transformers, mapping[kind])(config))
    assert sum(parameter.numel() for parameter in model.parameters()) < 3_000_000
    return model


def inputs_of(name):
    """A batch of one: the source (ids or audio) and ``decoder_input_ids`` (1, position); or ids with audio in them.

    For the types with ``codebooks`` ids have a third axis, of these.
    """
    spec = SPECS[name]
    random = torch.Generator().manual_seed(1)
    inputs = {key: torch.randn(shape, generator=random) for key, shape in spec.get("values", {}).items()}
    inputs |= {key: torch.ones(shape, dtype=torch.long) for key, shape in spec.get("masks", {}).items()}
    inputs |= spec.get("arguments", {})
    target = torch.tensor([TARGET])
    if "codebooks" in spec:
        target = (target[..., None] + torch.arange(spec["codebooks"])) % 13 + 2
    if name in DECODER_ONLY:
        audio = torch.full((1, spec["audio_tokens"]), spec["audio_id"])
        return inputs | {"input_ids": torch.cat([audio, target], dim=1) if audio.numel() else target}
    source = {} if name in SPOKEN else {"input_ids": torch.tensor([SOURCE])}
    return inputs | source | {"decoder_input_ids": target}

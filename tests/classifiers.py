"""Every sequence and token classification type of transformers, built tiny, and the inputs to call each with.

A name is a type and its task, as ``"bert sequence"``; with another way to pool it is ``"modernbert@mean sequence"``.
"""

import json
from pathlib import Path

import torch
import transformers
from transformers import CONFIG_MAPPING
from transformers.models.auto import modeling_auto

from tests.tiny import randomised

_DATA = Path(__file__).parent / "data"
_CAUSAL, _SEQ2SEQ, SPECS = (
    json.loads((_DATA / f"tiny_{kind}.json").read_text(encoding="utf-8"))
    for kind in ("causal_lms", "encoder_decoders", "classifiers")
)
"""Type -> ``overrides`` of its configuration. ``SPECS`` has only what the others have not: types without a language
model, with the ``extra`` inputs that they need; and other ways to pool, with the type (``base``) that they change."""

MAPPINGS = {
    "sequence": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "token": modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
}

CANNOT_BE_BUILT = {"layoutlmv2": "its picture encoder is a model of detectron2, which is not on PyPI"}
"""Type -> why."""

SETS_USE_CACHE = {"t5gemma", "t5gemma2"}
"""Their forward hands on ``use_cache=False`` itself: to pass it too is a TypeError."""

ID2LABEL = {0: "joy", 1: "anger", 2: "fear", 3: "trust", 4: "none"}
IDS = [5, 6, 7, 8, 9, 10, 2]
"""No padding (0); the last is the end of the text, at which BART and its kin read."""

NAMES = [
    f"{kind} {task}"
    for task, mapping in MAPPINGS.items()
    for kind in [*mapping, *(name for name, spec in SPECS.items() if spec.get("base") in mapping)]
    if kind not in CANNOT_BE_BUILT
]


def overrides_of(kind):
    """What a type's configuration is built from; every other default is kept."""
    own = SPECS.get(kind, {})
    base = own.get("base", kind)
    for specs in (SPECS, _SEQ2SEQ, _CAUSAL):
        if base in specs:
            return specs[base]["overrides"] | own.get("overrides", {})
    raise KeyError(f"none of the tiny models' files has {base!r}")


def base_of(kind):
    return SPECS.get(kind, {}).get("base", kind)


def build(name):
    """A fresh tiny classifier of five labels."""
    kind, task = name.split()
    overrides = {key: value for key, value in overrides_of(kind).items() if key != "is_decoder"}
    config = CONFIG_MAPPING[base_of(kind)](**overrides, id2label=ID2LABEL)
    torch.manual_seed(0)
    model = randomised(getattr(transformers, MAPPINGS[task][base_of(kind)])(config))
    assert sum(parameter.numel() for parameter in model.parameters()) < 3_000_000
    return model


def inputs_of(name):
    """A batch of one: ``input_ids`` (1, position), and the boxes and pictures without which a type cannot run."""
    extra = SPECS.get(base_of(name.split()[0]), {}).get("extra", [])
    made = {
        "bbox": torch.tensor([[[place, 2 * place, place + 9, 2 * place + 5] for place in range(len(IDS))]]),
        "pixel_values": torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)),
    }
    return {"input_ids": torch.tensor([IDS]), **{key: made[key] for key in extra}}


def keywords_of(name):
    """What else to call it with, so that it returns an output by names and keeps no cache."""
    return {"return_dict": True} | ({} if base_of(name.split()[0]) in SETS_USE_CACHE else {"use_cache": False})

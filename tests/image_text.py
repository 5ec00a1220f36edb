"""Tiny models of transformers that read images and text, from configurations, and a prompt with one image for each.

``data/tiny_image_text_models.json`` holds, by name: ``base_model_type`` and ``overrides`` of the configuration;
``kind``; ``input_ids``, the placeholders of the image expanded; ``tensors``, the other inputs, of which those named in
``image`` are the pixels; ``image_positions``; and ``grids``: the image's positions row by row, one grid for each view
of it, or none if they are queries without a place. The kinds:

- ``placeholders``: the embeddings of placeholder tokens are replaced by the image's.
- ``prefix``: the image's embeddings go before those of ``input_ids``, and the logits are of both.
- ``cross-attention``: no position is the image's; blocks look at it. ``depends_from`` is the first position that can.
- ``encoder-decoder``: the image goes to an encoder, and the logits are of ``decoder_input_ids``.
"""

import json
from pathlib import Path

import pytest
import torch
import transformers
from torch import nn
from transformers import CONFIG_MAPPING
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from tests.tiny import randomised

SPECS = json.loads((Path(__file__).parent / "data" / "tiny_image_text_models.json").read_text(encoding="utf-8"))

NOT_HERE = {
    "evolla": "what it reads besides text is a protein",
    "mistral4": "its class is a causal language model that takes no image",
    "pi0": "it gives the actions of a robot, not tokens",
}
"""The types of the mapping that have no entry in ``SPECS``, and why."""

FAILS = {"llama4": "has no attribute 'image_outputs'"}
"""Every forward pass raises, and what the error says: in transformers 5.24 it asks an output for what that lacks."""


class Patches(nn.Module):
    """What Gemma 3n is given for a vision tower: its own is a model of timm, which needs torchvision."""

    def __init__(self):
        super().__init__()
        self.project = nn.Conv2d(3, 32, kernel_size=4, stride=4)

    def forward(self, pixel_values, **_):
        return BaseModelOutputWithPooling(last_hidden_state=self.project(pixel_values))


def build(name):
    """The tiny model of a name, every weight random, in eval mode."""
    spec = SPECS[name]
    kind = spec["base_model_type"]
    config = CONFIG_MAPPING[kind](**json.loads(json.dumps(spec["overrides"])))
    model_class = getattr(transformers, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES[kind])
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        if spec.get("patch") == "gemma3n_vision":
            whole = transformers.AutoModel.from_config
            patch.setattr(
                transformers.AutoModel,
                "from_config",
                lambda config, **given: Patches() if config.model_type == "gemma3n_vision" else whole(config, **given),
            )
        model = randomised(model_class(config))
    assert sum(parameter.numel() for parameter in model.parameters()) < 3_000_000
    return model


def inputs_of(name, seed=0):
    """What the model's forward takes: a batch of one prompt with one image, whose pixels the seed decides."""
    spec = SPECS[name]
    generator = torch.Generator().manual_seed(seed)
    inputs = {"input_ids": torch.tensor([spec["input_ids"]])} if "input_ids" in spec else {}
    return inputs | {key: _tensor(value, generator) for key, value in spec["tensors"].items()}


def _tensor(value, generator):
    """A tensor of the file: given in full, random pixels of a shape, or random patches after their row and column."""
    if isinstance(value, list):
        return torch.tensor(value)
    if "shape" in value:
        return torch.randn(value["shape"], generator=generator)
    batch, rows, columns, size = value["patches"]
    places = torch.cartesian_prod(torch.arange(1.0, rows + 1), torch.arange(1.0, columns + 1)).expand(batch, -1, -1)
    return torch.cat([places, torch.randn(batch, rows * columns, size, generator=generator)], dim=-1)


def length_of_logits(name):
    """Of how many positions the logits are."""
    spec = SPECS[name]
    if spec["kind"] == "encoder-decoder":
        return len(spec["tensors"]["decoder_input_ids"][0])
    return len(spec["input_ids"]) + (len(spec["image_positions"]) if spec["kind"] == "prefix" else 0)


def depends_from(name):
    """The first position at which other pixels must give other logits."""
    spec = SPECS[name]
    if spec["kind"] == "encoder-decoder":
        return 0
    return spec.get("depends_from", max(spec["image_positions"], default=-1) + 1)

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

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AyaVisionProcessor,
    CLIPImageProcessor,
    Gemma3ImageProcessor,
    Gemma3Processor,
    GotOcr2ImageProcessor,
    Idefics3ImageProcessor,
    Idefics3Processor,
    InternVLProcessor,
    LlavaProcessor,
    MllamaImageProcessor,
    MllamaProcessor,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen3VLProcessor,
    SiglipImageProcessor,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from tests.tiny import randomised, tiny_tokenizer

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


def build(name, changes=None):
    """The tiny model of a name, every weight random, in eval mode; ``changes`` to its overrides, nested as they are."""
    spec = SPECS[name]
    kind = spec["base_model_type"]
    config = CONFIG_MAPPING[kind](**_changed(spec["overrides"], changes or {}))
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


def _changed(overrides, changes):
    """A deep copy of nested dicts, with the changes."""
    changed = json.loads(json.dumps(overrides))
    for key, value in changes.items():
        changed[key] = _changed(changed.get(key, {}), value) if isinstance(value, dict) else value
    return changed


def inputs_of(name, seed=0):
    """What the model's forward takes: a batch of one prompt with one image, whose pixels the seed decides."""
    spec = SPECS[name]
    generator = torch.Generator().manual_seed(seed)
    inputs = {"input_ids": torch.tensor([spec["input_ids"]])} if "input_ids" in spec else {}
    return inputs | {key: _tensor(value, generator) for key, value in spec["tensors"].items()}


def _tensor(value, generator):
    """A tensor of the file: given in full, ones, random pixels of a shape, or random patches after row and column."""
    if isinstance(value, list):
        return torch.tensor(value)
    if "ones" in value:
        return torch.ones(value["ones"], dtype=torch.long)
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


PROMPTS = {
    "llava": "the tower <image> in the city",
    "qwen2_5_vl": "the tower <|vision_start|><|image_pad|><|vision_end|> in the city",
    "qwen3_vl": "the tower <|vision_start|><|image_pad|><|vision_end|> in the city",
    "gemma3": "the tower <start_of_image> in the city",
    "idefics3": "the tower <image> in the city",
    "internvl": "the tower <IMG_CONTEXT> in the city",
    "mllama": "the tower <|image|> in the city",
    "paligemma": "<image>the tower in the city",
}
"""By family, what its processor is given as text, with one image; these families have a real processor here."""


def picture(seed=0, width=24, height=16):
    """An image of random colours."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def _square(side):
    return {"height": side, "width": side}


def tokenizer_with(*others, **named):
    """The tiny tokenizer with special tokens: those that a processor asks for by name, and others."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer().backend_tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens=named,
    )
    tokenizer.add_tokens(list(others), special_tokens=True)
    return tokenizer


def _llava():
    images = CLIPImageProcessor(size={"shortest_edge": 8}, crop_size=_square(8))
    return LlavaProcessor(
        images,
        tokenizer_with("<image>"),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


class _WithoutVideo:
    """For processors that have a part for videos too: transformers makes none without torchvision, and none is used."""

    def check_argument_for_proper_class(self, argument_name, argument):
        if argument_name == "video_processor":
            return None
        return super().check_argument_for_proper_class(argument_name, argument)


class _Qwen25Processor(_WithoutVideo, Qwen2_5_VLProcessor):
    pass


class _Qwen3Processor(_WithoutVideo, Qwen3VLProcessor):
    pass


class _InternVLImageProcessor(_WithoutVideo, InternVLProcessor):
    pass


def _qwen(processor):
    size = {"shortest_edge": 64, "longest_edge": 4096}
    images = Qwen2VLImageProcessor(patch_size=4, temporal_patch_size=2, merge_size=2, size=size)
    return processor(images, tokenizer_with("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"))


def _gemma3():
    tokens = tokenizer_with(boi_token="<start_of_image>", image_token="<image_soft_token>", eoi_token="<end_of_image>")
    return Gemma3Processor(Gemma3ImageProcessor(size=_square(16)), tokens, image_seq_length=4)


def _idefics3():
    images = Idefics3ImageProcessor(size={"longest_edge": 32}, max_image_size={"longest_edge": 16})
    tiles = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
    return Idefics3Processor(images, tokenizer_with("<global-img>", *tiles), image_seq_len=4)


def _internvl():
    tokens = tokenizer_with(
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    images = GotOcr2ImageProcessor(size=_square(16), crop_to_patches=True, min_patches=1, max_patches=2)
    return _InternVLImageProcessor(images, tokens, image_seq_length=4)


def _aya_vision():
    around = ("<|START_OF_IMG|>", "<|END_OF_IMG|>", "TILE_1", "TILE_2", "TILE_GLOBAL")
    images = GotOcr2ImageProcessor(size=_square(16), crop_to_patches=True, min_patches=1, max_patches=2)
    tokens = tokenizer_with("<image>", "<|IMG_PATCH|>", *around)
    return AyaVisionProcessor(images, tokens, patch_size=4, img_size=16, downsample_factor=2)


def _mllama():
    images = MllamaImageProcessor(size=_square(8), max_image_tiles=2)
    return MllamaProcessor(images, tokenizer_with("<|python_tag|>", "<|image|>"))


def _paligemma():
    images = SiglipImageProcessor(size=_square(8))
    images.image_seq_length = 4
    return PaliGemmaProcessor(images, tokenizer_with())


_QWEN = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
_GEMMA = {
    "boi_token_index": "<start_of_image>",
    "image_token_index": "<image_soft_token>",
    "eoi_token_index": "<end_of_image>",
}
_PROCESSORS = {
    "llava": (_llava, {"image_token_index": "<image>"}),
    "qwen2_5_vl": (lambda: _qwen(_Qwen25Processor), _QWEN),
    "qwen3_vl": (lambda: _qwen(_Qwen3Processor), _QWEN),
    "gemma3": (_gemma3, _GEMMA),
    "idefics3": (_idefics3, {"image_token_id": "<image>"}),
    "internvl": (_internvl, {"image_token_id": "<IMG_CONTEXT>"}),
    "aya_vision": (_aya_vision, {"image_token_index": "<|IMG_PATCH|>"}),
    "mllama": (_mllama, {"image_token_index": "<|image|>"}),
    "paligemma": (_paligemma, {"image_token_index": "<image>"}),
}
"""By family: what makes its processor, and the tokens of which its configuration keeps the ids."""


def processor_of(family):
    """A processor of transformers for the tiny model of a family, with a tokenizer made on the spot."""
    return _PROCESSORS[family][0]()


def build_for(family, tokenizer):
    """The tiny model of a family with the vocabulary of its processor's tokenizer."""
    text = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text |= {"pad_token_id": tokenizer.pad_token_id, "vocab_size": len(tokenizer)}
    if family == "mllama":  # its image token has an embedding but no logit, as in the published models
        text["vocab_size"] -= 1
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _PROCESSORS[family][1].items()}
    return build(family, {"text_config": text} | ids)

"""Every type of transformers that reads images beside text, that is an encoder-decoder, or that is a classifier.

Each is built tiny, and each row is compared with a full forward pass. The end of a run says how many were exact.
"""

from types import SimpleNamespace

import pytest
import torch

import bauklens
from bauklens.model.encoding import encode
from bauklens.model.resolving import resolve
from tests import classifiers, encoder_decoders, image_text
from tests.early_exit import early_exit

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # hundreds of models

IMAGES_WITHOUT_A_LENS = {
    "diffusion_gemma": "its decoder reads the cache of its encoder, and a lens runs without one",
    "git": "the positions of the image are not among its ids",
    "inkling2": "what follows its last block reads the states of several blocks",
    "inkling2_loop": "what follows its last block reads the states of several blocks",
    **image_text.FAILS,
}

ENCODER_DECODERS_WITHOUT_A_LENS = {
    "dia": "each of its positions is several ids",
    "kyutai_speech_to_text": "each of its positions is several ids",
}

READ_BY_A_DECODER = "the head reads what a decoder makes of the whole text"
SEVERAL = "the head reads the states of several positions"
NO_PLACE = "its states are not one for each position"
FOUR_LISTS = "its layers are spread over four lists, none of which returns the stream"

CLASSIFIERS_WITHOUT_A_LENS = {
    **{
        f"{kind} sequence": READ_BY_A_DECODER
        for kind in ("bart", "bigbird_pegasus", "mbart", "mt5", "mvp", "plbart", "t5", "t5gemma", "t5gemma2", "umt5")
    },
    **{f"{kind} token": READ_BY_A_DECODER for kind in ("t5gemma", "t5gemma2", "umt5")},
    **{
        f"{kind} sequence": SEVERAL
        for kind in (
            "eurobert",
            "eurobert@mean",
            "modernbert@mean",
            "modernvbert@mean",
            "ultrabert@mean",
            "ultravbert@mean",
        )
    },
    **dict.fromkeys(
        (
            *("canine sequence", "funnel sequence", "layoutlmv3 sequence", "layoutlmv3 token"),
            *("longformer sequence", "longformer token", "perceiver sequence", "reformer sequence", "xlnet sequence"),
        ),
        NO_PLACE,
    ),
    **{f"{kind} {task}": FOUR_LISTS for kind in ("flaubert", "xlm") for task in ("sequence", "token")},
    "squeezebert sequence": "its blocks are not called as modules",
    "squeezebert token": "its blocks are not called as modules",
}

HOLDS = {
    *("cohere_compass", "cosmos3_omni", "granite4_vision", "granite_docling", "idefics"),
    *("qwen3_omni_moe_thinker", "qwen3_vl", "qwen3_vl_moe"),
}
"""They add something between two blocks, so that a block is given more than the state before it."""

IMAGES = SimpleNamespace(
    names=[*image_text.SPECS],
    refused=IMAGES_WITHOUT_A_LENS,
    build=image_text.build,
    inputs_of=image_text.inputs_of,
    keywords_of=lambda _: {"use_cache": False, "return_dict": True},
    types=len(image_text.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
    kind=lambda name: image_text.SPECS[name]["base_model_type"],
    called="image-text-to-text",
)

ENCODER_DECODERS = SimpleNamespace(
    names=[*encoder_decoders.SPECS],
    refused=ENCODER_DECODERS_WITHOUT_A_LENS,
    build=encoder_decoders.build,
    inputs_of=encoder_decoders.inputs_of,
    keywords_of=lambda _: {"use_cache": False, "return_dict": True},
    types=len({*encoder_decoders.TEXT, *encoder_decoders.SPEECH}),
    kind=lambda name: name.partition("@")[0],
    called="seq2seq and speech-to-text",
)

CLASSIFIERS = SimpleNamespace(
    names=classifiers.NAMES,
    refused=CLASSIFIERS_WITHOUT_A_LENS,
    build=classifiers.build,
    inputs_of=classifiers.inputs_of,
    keywords_of=classifiers.keywords_of,
    types=sum(map(len, classifiers.MAPPINGS.values())),
    kind=lambda name: f"{classifiers.base_of(name.split()[0])} {name.split()[1]}",
    called="sequence and token classification",
)

MAPPINGS = {"image": IMAGES, "seq2seq": ENCODER_DECODERS, "classifier": CLASSIFIERS}


def cases(*, refused):
    return [
        pytest.param(mapping, name, id=f"{kind}-{name}")
        for kind, mapping in MAPPINGS.items()
        for name in mapping.names
        if (name in mapping.refused) == refused
    ]


@pytest.mark.parametrize(("mapping", "name"), cases(refused=False))
def test_every_row_is_exact(mapping, name, record_property):
    model, given = mapping.build(name), mapping.inputs_of(name)
    anatomy = resolve(model, encode(model, None, given))
    lens = bauklens.logit_lens(model, None, given, topk=anatomy.vocabulary, precision="exact")
    assert lens.layers == ("embed", *anatomy.labels)
    for row, layer in enumerate(lens.layers):
        expected = early_exit(
            model,
            anatomy,
            row,
            {**given, **mapping.keywords_of(name)},
            hold=name in HOLDS and row < len(lens.layers) - 1,
        )
        ids, probabilities = torch.from_numpy(lens.top_ids[row].copy()), torch.from_numpy(lens.top_probs[row].copy())
        if expected.dim() == 1:  # of one position
            only = lens.check["only_position"]
            expected, ids, probabilities = expected[None], ids[only : only + 1], probabilities[only : only + 1]
        found = torch.zeros_like(expected).scatter(1, ids, probabilities)
        assert torch.allclose(found, expected, atol=1e-4), f"row {layer}"
    assert lens.check["max_abs_logit_difference"] < 1e-3
    record_property(f"exact, of {mapping.types} types ({mapping.called})", mapping.kind(name))


@pytest.mark.parametrize(("mapping", "name"), cases(refused=True))
def test_what_has_no_lens_is_refused(mapping, name):
    with pytest.raises(bauklens.LensError):
        bauklens.logit_lens(mapping.build(name), None, mapping.inputs_of(name))


def test_most_types_that_read_images_have_a_lens():
    without = {*image_text.NOT_HERE, *IMAGES_WITHOUT_A_LENS}
    assert 1 - len(without) / IMAGES.types >= 0.9

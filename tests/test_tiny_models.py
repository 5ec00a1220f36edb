"""The tiny encoder-decoders and classifiers run, and none of transformers' types is left out without a reason."""

import pytest
import torch

from tests import classifiers, encoder_decoders

pytestmark = pytest.mark.slow  # hundreds of models


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", encoder_decoders.SPECS)
def test_an_encoder_decoder_gives_logits_for_each_position_of_the_target(name):
    inputs = encoder_decoders.inputs_of(name)
    target = inputs.get("decoder_input_ids", inputs.get("input_ids"))
    with torch.no_grad():
        logits = encoder_decoders.build(name)(**inputs, use_cache=False, return_dict=True).logits
    channels = encoder_decoders.SPECS[name].get("codebooks", 1) if "decoder_input_ids" in inputs else 1
    assert logits.shape == (channels, target.shape[1], encoder_decoders.VOCABULARY)
    assert torch.isfinite(logits).all()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", classifiers.NAMES)
def test_a_classifier_gives_a_logit_for_each_label(name):
    model = classifiers.build(name)
    with torch.no_grad():
        logits = model(**classifiers.inputs_of(name), **classifiers.keywords_of(name)).logits
    positions = () if name.endswith("sequence") else (len(classifiers.IDS),)
    assert logits.shape == (1, *positions, len(classifiers.ID2LABEL))
    assert torch.isfinite(logits).all()
    assert model.config.id2label == classifiers.ID2LABEL


@pytest.mark.parametrize("name", ["bart", "whisper", "bert sequence", "layoutlmv3 token"])
def test_a_tiny_model_is_the_same_each_time(name):
    source, keywords = (classifiers, classifiers.keywords_of(name)) if " " in name else (encoder_decoders, {})
    first, second = (source.build(name)(**source.inputs_of(name), **keywords).logits for _ in range(2))
    assert torch.equal(first, second)


def test_every_encoder_decoder_type_is_in_the_list():
    kinds = {name.partition("@")[0] for name in encoder_decoders.SPECS}
    assert kinds == (encoder_decoders.TEXT.keys() | encoder_decoders.SPEECH.keys()) - set(
        encoder_decoders.CANNOT_BE_BUILT
    )


def test_every_classifier_type_is_in_the_list():
    """Each can be built from one of three files, or a reason says why not."""
    for task, mapping in classifiers.MAPPINGS.items():
        kinds = {name.split()[0] for name in classifiers.NAMES if name.endswith(task)}
        assert mapping.keys() - kinds == mapping.keys() & set(classifiers.CANNOT_BE_BUILT)
        assert all(classifiers.overrides_of(kind) for kind in kinds)


@pytest.mark.parametrize("kind", classifiers.CANNOT_BE_BUILT)
def test_what_cannot_be_built(kind):
    with pytest.raises(ImportError, match="detectron2"):
        classifiers.build(f"{kind} sequence")

"""No encoder-decoder or classifier of transformers is left out without a reason; test_every_model.py runs them."""

import pytest
import torch

from tests import classifiers, encoder_decoders


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

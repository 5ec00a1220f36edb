"""Every type of transformers that reads images and text, built tiny: its logits are finite and depend on the image."""

import pytest
import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from tests.image_text import (
    FAILS,
    NOT_HERE,
    PROMPTS,
    SPECS,
    build,
    build_for,
    depends_from,
    inputs_of,
    length_of_logits,
    picture,
    processor_of,
)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # a hundred models

FULL_VIEW = {"paligemma"}
"""Every position of the prompt sees every other, also those after it."""


def logits_of(model, inputs):
    with torch.no_grad():
        return model(**inputs, use_cache=False, return_dict=True).logits


@pytest.mark.parametrize("name", [name for name in SPECS if name not in FAILS])
def test_logits_are_finite_and_depend_on_the_image(name):
    model = build(name)
    logits = logits_of(model, inputs_of(name))
    assert logits.shape[:2] == (1, length_of_logits(name))
    assert torch.isfinite(logits).all()
    assert torch.equal(logits, logits_of(model, inputs_of(name)))
    moved = (logits - logits_of(model, inputs_of(name, seed=1))).abs().amax(dim=-1)[0]
    assert (moved[depends_from(name) :] > 1e-3).all()
    if SPECS[name]["kind"] in ("placeholders", "cross-attention") and name not in FULL_VIEW:
        first = min(SPECS[name]["image_positions"], default=depends_from(name))
        assert (moved[:first] < 1e-4).all()


@pytest.mark.parametrize("name", FAILS)
def test_what_fails(name):
    with pytest.raises(AttributeError, match=FAILS[name]):
        logits_of(build(name), inputs_of(name))


def test_images_have_their_positions_between_text():
    for name, spec in SPECS.items():
        positions = spec["image_positions"]
        for grid in spec["grids"]:
            assert {len(row) for row in grid} == {len(grid[0])}, name
            cells = [position for row in grid for position in row]
            assert cells == sorted(set(cells)), name
            assert set(cells) <= set(positions), name
        if spec["kind"] == "placeholders":
            ids = spec["input_ids"]
            (placeholder,) = {ids[position] for position in positions}
            assert positions == [position for position, each in enumerate(ids) if each == placeholder], name
            assert 0 < positions[0] <= positions[-1] < len(ids) - 1, name


def test_every_type_is_in_the_list():
    assert set(SPECS) | set(NOT_HERE) == set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    assert not set(SPECS) & set(NOT_HERE)


PLACEHOLDERS = {
    "llava": 2 * 2,
    "qwen2_5_vl": 2 * 3,
    "qwen3_vl": 2 * 3,
    "gemma3": 2 * 2,
    "idefics3": (2 * 2 + 1) * 2 * 2,
    "internvl": (2 + 1) * 2 * 2,
    "mllama": 1,
    "paligemma": 2 * 2,
}
"""Of a picture of 16 x 24: rows and columns; idefics3 and internvl cut it into tiles and add the whole."""


@pytest.mark.parametrize("family", PROMPTS)
def test_a_real_processor_runs_the_model(family):
    processor = processor_of(family)
    model = build_for(family, processor.tokenizer)

    def read(seed):
        inputs = processor(text=PROMPTS[family], images=[picture(seed)], return_tensors="pt")
        return inputs["input_ids"][0], logits_of(model, {key: each for key, each in inputs.items() if key != "labels"})

    ids, logits = read(0)
    assert logits.shape == (1, len(ids), model.config.get_text_config().vocab_size)
    assert torch.isfinite(logits).all()
    places = (ids == model.config.image_token_id).nonzero().flatten()
    assert len(places) == PLACEHOLDERS[family]
    other_ids, other = read(1)
    assert torch.equal(ids, other_ids)
    assert ((logits - other).abs().amax(dim=-1)[0][places[-1] + 1 :] > 1e-3).all()

"""Every causal language model type of transformers, built tiny: each row against a full forward pass."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import bauklens
from bauklens.lens.inspection import describe
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import resolve
from tests.early_exit import early_exit
from tests.tiny import randomised

pytestmark = pytest.mark.slow  # hundreds of models

SPECS = json.loads((Path(__file__).parent / "data" / "tiny_causal_lms.json").read_text(encoding="utf-8"))
"""Name -> ``base_model_type``, ``overrides`` of its configuration, and where needed the classes to use."""

PROMPT = list(range(5, 13))

CANNOT_RUN_ALONE = {"gemma4_assistant", "gemma4_unified_assistant"}
"""They read the cache of another model."""

NO_LENS = {"xlm", "inkling2_text", "inkling2_loop_text"}
"""xlm: its layers are spread over four lists, none of which returns the stream. The other two: what follows their last
block reads the states of several blocks."""

MORE_BETWEEN_BLOCKS = {"blt", "blt@decoder", "dory", "hrm_text"}
"""Their forward adds something between two blocks, so that a block is given more than the state before it."""


NEEDS_FLOAT32 = {"inkling2_text", "inkling2_loop_text", "xlstm"}
"""Their own code mixes float32 with other dtypes and fails."""

MIXED = {"mamba2"}
"""Its blocks return float32 whatever the model's dtype; here its embedding is decoded in float32 as well."""

TYPES = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - CANNOT_RUN_ALONE


def build(name):
    spec = SPECS[name]
    config_class = getattr(transformers, spec.get("config_class", ""), None) or CONFIG_MAPPING[spec["base_model_type"]]
    model_class = getattr(transformers, spec.get("model_class", ""), None)
    config = config_class(**spec["overrides"])
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        if spec.get("patch") == "gemma3n_stub_vision":
            whole = transformers.AutoModel.from_config
            patch.setattr(
                transformers.AutoModel,
                "from_config",
                lambda config, **given: (
                    nn.Identity() if config.model_type == "gemma3n_vision" else whole(config, **given)
                ),
            )
        model = randomised(model_class(config) if model_class else AutoModelForCausalLM.from_config(config))
    assert sum(parameter.numel() for parameter in model.parameters()) < 3_000_000
    return model


def assert_every_row(model, anatomy, name, *, atol):
    lens = bauklens.logit_lens(model, None, PROMPT, topk=anatomy.vocabulary)
    assert lens.layers == ("embed", *anatomy.labels)
    codebooks = getattr(model.config, "num_codebooks", 1)
    given = {"input_ids": torch.tensor([PROMPT] * codebooks), "use_cache": False}
    for row, layer in enumerate(lens.layers):
        expected = early_exit(model, anatomy, row, given, hold=name in MORE_BETWEEN_BLOCKS)
        found = torch.zeros_like(expected).scatter(
            1, torch.from_numpy(lens.top_ids[row].copy()), torch.from_numpy(lens.top_probs[row].copy())
        )
        assert torch.allclose(found, expected, atol=atol), f"row {layer}"


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", [name for name in SPECS if name not in NO_LENS | NEEDS_FLOAT32])
def test_every_row_is_exact_in_half_precision(name, dtype):
    model = build(name).to(dtype)
    anatomy = resolve(model, Inputs(torch.tensor([PROMPT])))
    assert_every_row(model, anatomy, name, atol=0.05 if name in MIXED else 1e-3)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", sorted(NEEDS_FLOAT32))
def test_what_does_not_run_in_half_precision(name):
    with pytest.raises(RuntimeError, match="same dtype"):
        build(name).to(torch.bfloat16)(input_ids=torch.tensor([PROMPT]), use_cache=False)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", [name for name in SPECS if name not in NO_LENS])
def test_every_row_is_exact(name, record_property):
    model = build(name)
    anatomy = resolve(model, Inputs(torch.tensor([PROMPT])))
    assert_every_row(model, anatomy, name, atol=1e-4)
    assert len(anatomy.blocks) >= 2
    said = dict(describe(model, None, ""))
    assert said["blocks"].startswith(f"{len(anatomy.blocks)} (")
    assert float(said["check"].rpartition(" ")[2]) < 1e-3
    kind = SPECS[name]["base_model_type"]
    record_property(f"exact, of {len(TYPES)} types", kind)
    if anatomy.post_ops is not None:
        record_property("of these by the head's product", kind)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("name", "labels"), [("mllama", ("0", "2")), ("hrm_text", tuple("012345")), ("dory", tuple("0123"))]
)
def test_a_row_is_called_by_its_blocks_place_in_the_list_or_in_the_run(name, labels):
    """mllama passes over its second block on text; hrm_text runs its three twice; dory the second of its three"""
    anatomy = resolve(build(name), Inputs(torch.tensor([PROMPT])))
    assert anatomy.labels == labels


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", sorted(NO_LENS))
def test_what_has_no_lens_is_refused(name):
    with pytest.raises(bauklens.LensError, match="does not reproduce the model's own logits"):
        bauklens.logit_lens(build(name), None, PROMPT)


def test_every_type_is_in_the_list():
    """Each is run above, exact or refused; the end of the run says how many were exact."""
    assert {spec["base_model_type"] for spec in SPECS.values()} == TYPES

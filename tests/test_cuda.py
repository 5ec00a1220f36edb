"""What only a CUDA device shows; without one these tests are skipped."""

from pathlib import Path

import numpy as np
import pytest
import torch

import bauklens
from tests.tiny import PROMPT, tiny_model

pytestmark = pytest.mark.cuda


def test_a_lens_on_cuda_is_that_on_the_cpu(model):
    here = bauklens.logit_lens(model, None, PROMPT, precision="exact")
    there = bauklens.logit_lens(model.to("cuda"), None, PROMPT)
    assert there.layers == here.layers
    assert np.array_equal(there.top_ids[..., 0], here.top_ids[..., 0])
    assert np.allclose(there.top_probs, here.top_probs, atol=1e-4)
    for name in set(here.measures) & set(there.measures):
        assert np.allclose(there.measures[name], here.measures[name], atol=1e-3, equal_nan=True), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_16_bits_has_its_own_logits_in_its_last_row(dtype):
    model = tiny_model("gpt2", dtype).to("cuda")
    lens = bauklens.logit_lens(model, None, PROMPT)
    with torch.inference_mode():
        logits = model(torch.tensor([PROMPT], device="cuda")).logits[0].float()
    own = logits.softmax(dim=-1).topk(lens.top_probs.shape[-1]).values.cpu().numpy()
    assert np.allclose(lens.top_probs[-1], own, atol=2e-2)


def test_hidden_states_stay_on_the_device(gpt2):
    assert bauklens.get_hidden_states(gpt2.to("cuda"), None, PROMPT).device.type == "cuda"


@pytest.fixture
def scripts(monkeypatch):
    """Makes scripts import each other, as they do when they are run."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "scripts")


@pytest.mark.usefixtures("scripts")
def test_if_cuda_runs_out_of_memory_tiles_are_halved_and_the_answer_is_the_same():
    from gpu_checks import memory_runs_out

    found = memory_runs_out(torch.device("cuda"))
    assert found.outcome == "ok", found.line


@pytest.mark.usefixtures("scripts")
def test_a_model_over_two_gpus_has_the_table_of_one():
    from gpu_checks import two_gpus

    found = two_gpus()
    if found.outcome == "left out":
        pytest.skip(f"needs two GPUs: {found.line}")
    assert found.outcome == "ok", found.line

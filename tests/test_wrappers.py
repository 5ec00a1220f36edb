"""Models that real torch.compile, DataParallel, PEFT and NNsight have wrapped."""

import nnsight
import numpy as np
import peft
import pytest
import torch

import bauklens
from bauklens.model.unwrap import unwrapped
from tests.tiny import PROMPT, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("default")


def with_adapter():
    config = peft.LoraConfig(r=2, target_modules=["c_attn"], task_type="CAUSAL_LM", init_lora_weights=False)
    torch.manual_seed(1)
    return peft.get_peft_model(tiny_model("gpt2"), config).eval()


WRAPPERS = {
    "compile": torch.compile,
    "DataParallel": torch.nn.DataParallel,
    "NNsight": lambda model: nnsight.LanguageModel(model, tokenizer=tiny_tokenizer()),
    "both": lambda model: torch.compile(torch.nn.DataParallel(model)),
}


@pytest.mark.slow  # torch.compile
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_model_gives_what_the_bare_one_gives(wrap):
    bare = bauklens.logit_lens(tiny_model("gpt2"), None, PROMPT)
    states = bauklens.get_hidden_states(tiny_model("gpt2"), None, PROMPT)
    wrapped = wrap(tiny_model("gpt2"))
    lens = bauklens.logit_lens(wrapped, None, PROMPT)
    assert np.array_equal(lens.top_ids, bare.top_ids)
    assert np.array_equal(lens.top_probs, bare.top_probs)
    assert lens.provenance["model class"] == "GPT2LMHeadModel"
    assert torch.equal(bauklens.get_hidden_states(wrapped, None, PROMPT), states)
    assert np.array_equal(bauklens.show_logit_lens(wrapped, None, PROMPT).top_ids, bare.top_ids[1:])


def test_an_adapter_acts():
    model = with_adapter()
    lens = bauklens.logit_lens(model, None, PROMPT)
    with torch.no_grad():
        own = model(input_ids=torch.tensor([PROMPT])).logits[0].softmax(-1).topk(5)
    plain = bauklens.logit_lens(tiny_model("gpt2"), None, PROMPT)
    assert np.array_equal(lens.top_ids[-1], own.indices)
    assert np.allclose(lens.top_probs[-1], own.values, atol=1e-5)
    assert not np.allclose(lens.top_probs[-1], plain.top_probs[-1], atol=1e-3)


@pytest.mark.parametrize("wrap", [torch.nn.DataParallel, torch.compile])
@pytest.mark.filterwarnings("default")
def test_hooks_of_a_wrapper_would_not_act(wrap):
    wrapped = wrap(tiny_model("gpt2"))
    wrapped.register_forward_hook(lambda module, inputs, output: None)
    with pytest.raises(bauklens.LensError, match="has hooks, which have no effect on the GPT2LMHeadModel inside"):
        bauklens.logit_lens(wrapped, None, PROMPT)


@pytest.mark.filterwarnings("default")
def test_an_adapter_that_the_prompt_invokes_is_refused():
    config = peft.LoraConfig(
        r=2, task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False, alora_invocation_tokens=[5, 5]
    )
    with pytest.raises(bauklens.LensError, match="acts only after the prompt invokes it"):
        bauklens.logit_lens(peft.get_peft_model(tiny_model("llama"), config), None, PROMPT)


def test_tokens_before_the_prompt_are_refused():
    config = peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    model = peft.get_peft_model(tiny_model("gpt2"), config)
    with pytest.raises(bauklens.LensError, match="puts its own tokens before the prompt"):
        bauklens.logit_lens(model, None, PROMPT)


@pytest.mark.parametrize("model", [None, "gpt2", torch.nn.Linear(2, 2)])
def test_what_is_no_wrapper_is_handed_back(model):
    assert unwrapped(model) is model

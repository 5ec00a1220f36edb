"""The demo model with its real weights."""

import numpy as np
import torch

import bauklens

PROMPT = "The Eiffel Tower is located in the city of"


def test_paris_arrives(eiffel):
    """The published figures: 0.70 at the end, and the lead from block 27 on (shared facts of this project)."""
    paris = next(token_id for token_id, text in eiffel.vocabulary.items() if text == " Paris")
    leads = [layer for row, layer in enumerate(eiffel.layers) if eiffel.top_ids[row, -1, 0] == paris]
    assert leads == ["27", "28", "29"]
    assert round(float(eiffel.top_probs[-1, -1, 0]), 2) == 0.70
    assert eiffel.layers[0] == "embed"
    assert len(eiffel.layers) == 31
    assert eiffel.model == "SmolLM2-135M-Instruct"


def test_the_last_row_is_the_models_own_output(demo, eiffel):
    model, tokenizer = demo
    own = model(torch.tensor([tokenizer(PROMPT)["input_ids"]])).logits[0].softmax(-1).topk(5)
    assert np.array_equal(eiffel.top_ids[-1], own.indices)
    assert np.allclose(eiffel.top_probs[-1], own.values, atol=1e-4)
    assert eiffel.check["max_abs_logit_difference"] < 1e-3


def test_every_row_against_transformers_own_hidden_states(demo, eiffel):
    """transformers keeps the same states; its last one is already past the final norm."""
    model, tokenizer = demo
    states = model(torch.tensor([tokenizer(PROMPT)["input_ids"]]), output_hidden_states=True).hidden_states
    for row, state in enumerate(states[:-1]):
        top = model.lm_head(model.model.norm(state))[0].softmax(-1).topk(5)
        assert np.allclose(eiffel.top_probs[row], top.values, atol=1e-4)
        assert np.allclose(eiffel.magnitude[row], state[0].norm(dim=-1), rtol=1e-4)


def test_deltas_add_up(demo):
    model, tokenizer = demo
    states = bauklens.get_hidden_states(model, tokenizer, PROMPT)
    deltas = bauklens.get_hidden_state_deltas(model, tokenizer, PROMPT)
    embedded = model.model.embed_tokens(torch.tensor([tokenizer(PROMPT)["input_ids"]]))
    assert torch.allclose(embedded + deltas.sum(0), states[-1], atol=0.05)
    assert states.abs().max() > 100  # the tolerance is small beside the states


def test_half_precision(demo):
    model, tokenizer = bauklens.load("demo", device="cpu", dtype="bfloat16")
    lens = bauklens.logit_lens(model, tokenizer, PROMPT)
    assert lens.provenance["dtype"] == "bfloat16"
    assert lens.vocabulary[int(lens.top_ids[-1, -1, 0])] == " Paris"

"""Neurons and nearest tokens, against products written out by hand."""

import accelerate
import numpy as np
import pytest
import torch
from transformers import MixtralConfig

import bauklens
from bauklens import LensError, nearest_tokens, top_neurons
from bauklens.lens.inspection import describe
from bauklens.show.ranking import NearestTokens
from tests.made import HOSTILE
from tests.tiny import (
    LAYERS,
    PROMPT,
    TEXT,
    VOCABULARY,
    block_list,
    pass_output_through,
    tiny_model,
    with_random_weights,
)

SECOND = {"gpt2": "mlp.c_proj", "gptj": "mlp.fc_out", "llama": "mlp.down_proj", "gemma2": "mlp.down_proj", "opt": "fc2"}


def by_hand(model, name, layer, position):
    """The inner activations at a place, and the rows (neuron, hidden) of the second projection."""
    projection = block_list(model)[layer].get_submodule(SECOND[name])
    seen = []
    hook = projection.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    with torch.no_grad():
        model(input_ids=torch.tensor([PROMPT]))
    hook.remove()
    rows = projection.weight if name == "gpt2" else projection.weight.T
    return seen[0].reshape(len(PROMPT), -1)[position], rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", SECOND)
def test_neurons_are_those_that_write_most(name, dtype):
    model = tiny_model(name, dtype)
    inner, rows = by_hand(model, name, 1, 4)
    found = top_neurons(model, None, PROMPT, layer=1, position=4, k=7)
    expected = (inner.float().abs() * rows.float().norm(dim=-1)).topk(7)
    assert np.array_equal(found.neurons, expected.indices)
    assert np.allclose(found.contributions, expected.values, rtol=1e-5)
    assert np.array_equal(found.activations, inner[expected.indices].float())
    assert (found.layer, found.position, found.token) == ("1", 4, f"<{PROMPT[4]}>")
    promoted = model.get_output_embeddings()(rows[expected.indices]).float().topk(5)
    assert np.allclose(found.promoted_logits, promoted.values, rtol=1e-2 if dtype == torch.bfloat16 else 1e-4)


def test_all_neurons_together_are_what_the_mlp_writes():
    model = tiny_model("llama")
    inner, rows = by_hand(model, "llama", 2, 9)
    found = top_neurons(model, None, PROMPT, layer=-1, position=-1, k=48)
    written = torch.from_numpy(found.activations) @ rows[torch.from_numpy(found.neurons)]
    mlp = bauklens.get_hidden_state_deltas(model, None, PROMPT)[2, 0, 9]
    attention = bauklens.logit_lens(model, None, PROMPT, stream="attention")
    assert torch.allclose(written, inner @ rows, atol=1e-5)
    assert attention.magnitude[2, 9] == pytest.approx(float((mlp - written).norm()), rel=1e-4)


def test_neurons_show_themselves(gpt2, tokenizer):
    found = top_neurons(gpt2, tokenizer, TEXT, layer=0, position=1, k=3)
    frame = found.to_frame()
    assert list(frame.columns) == ["rank", "neuron", "activation", "contribution", "promotes", "promotes_ids"]
    assert frame["neuron"].tolist() == found.neurons.tolist()
    html = found._repr_html_()
    assert html.count("<tr>") == 4
    assert all(f'<th scope="row">{neuron}</th>' in html for neuron in found.neurons)
    assert repr(found) == f"<TopNeurons of {found.model}: layer 0, position 1 ({found.token!r}), 3 neurons>"


class TestNoNeurons:
    def test_a_mixture_of_experts(self):
        config = MixtralConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_local_experts=4,
            vocab_size=320,
        )
        with pytest.raises(LensError, match="does not come from a single projection"):
            top_neurons(with_random_weights(config), None, PROMPT, layer=0, position=0)

    def test_offloaded_weights(self):
        model = accelerate.cpu_offload(tiny_model("gpt2"), execution_device=torch.device("cpu"))
        with pytest.raises(LensError, match=r"the weights of transformer\.h\.0\.mlp\.c_proj \(Conv1D\) cannot be read"):
            top_neurons(model, None, PROMPT, layer=0, position=0)
        with pytest.raises(LensError, match=r"cannot be read .* pass metric='head'"):
            nearest_tokens(model, None, PROMPT, metric="cosine")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"layer": 3, "position": 0}, r"unknown layer 3: this lens has 0 \.\. 2"),
            ({"layer": 0, "position": 10}, "unknown position 10"),
            ({"layer": 0, "position": 0, "k": 0}, r"k is 0: pass a number from 1 to 128"),
        ],
    )
    def test_bad_input(self, gpt2, arguments, message):
        with pytest.raises(LensError, match=message):
            top_neurons(gpt2, None, PROMPT, **arguments)


@pytest.mark.parametrize("metric", ["head", "cosine"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "bloom", "opt_350m"])
def test_nearest_tokens(name, metric):
    model = tiny_model(name)
    embedded = model.get_input_embeddings()(torch.tensor(PROMPT))
    rows = model.get_output_embeddings().weight
    if metric == "cosine":
        embedded, rows = (each / each.norm(dim=-1, keepdim=True) for each in (embedded, rows))
    expected = (embedded @ rows.T).topk(6)
    found = nearest_tokens(model, None, PROMPT, 6, metric=metric)
    assert np.array_equal(found.top_ids, expected.indices)
    assert np.allclose(found.scores, expected.values, rtol=1e-4)


@pytest.fixture
def padded():
    """A model that leaves out the last twenty numbers that its head returns; these are the largest."""
    model = tiny_model("llama")
    with torch.no_grad():
        model.lm_head.weight[-20:] = model.model.embed_tokens.weight[PROMPT + PROMPT] * 100

    def leave_out(module, inputs, output):
        output.logits = output.logits[..., :-20]

    pass_output_through(model, leave_out)
    return model


@pytest.mark.parametrize("metric", ["head", "cosine"])
def test_the_nearest_tokens_are_tokens_if_the_head_is_padded(padded, metric):
    assert nearest_tokens(padded, None, PROMPT, 6, metric=metric).top_ids.max() < VOCABULARY - 20
    every = nearest_tokens(padded, None, PROMPT, VOCABULARY - 20, metric=metric).top_ids
    assert (np.sort(every) == np.arange(VOCABULARY - 20)).all()


def test_what_neurons_promote_are_tokens_if_the_head_is_padded(padded):
    found = top_neurons(padded, None, PROMPT, layer=1, position=4, k=48)
    assert found.promoted_ids.max() < VOCABULARY - 20


def test_nearest_tokens_show_themselves(gpt2, tokenizer):
    found = nearest_tokens(gpt2, tokenizer, "the city", k=3, metric="cosine")
    frame = found.to_frame()
    assert list(frame.columns) == ["position", "token", "rank", "nearest", "nearest_id", "score"]
    assert frame["token"].tolist() == ["the"] * 3 + [" city"] * 3
    assert found.scores[0, 0] == pytest.approx(1)  # GPT-2's embeddings are tied: a token is nearest to itself
    assert found._repr_html_().count("<tr>") == 4
    assert repr(found) == f"<NearestTokens of {found.model}, by cosine: 2 positions, top 3>"


def test_a_ranking_of_hostile_texts_breaks_nothing():
    found = NearestTokens(
        HOSTILE[0], "head", tuple(HOSTILE[:2]), np.array([[0, 1], [2, 3]]), np.ones((2, 2)), dict(enumerate(HOSTILE))
    )
    html = found._repr_html_()
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("<td") == 4


def test_nearest_tokens_of_an_unknown_metric(gpt2):
    with pytest.raises(LensError, match="unknown metric 'euclid': pass one of 'head', 'cosine'"):
        nearest_tokens(gpt2, None, PROMPT, metric="euclid")


@pytest.mark.parametrize(("name", "tied"), [("gpt2", "tied"), ("llama", "not tied")])
def test_inspect_says_whether_embeddings_are_tied(name, tied):
    assert dict(describe(tiny_model(name), None, ""))["embeddings"].startswith(tied)

"""What the four notebooks do that this package comes from, each a call or two, on the demo model."""

import nnsight
import numpy as np
import pytest
import torch

import bauklens

PROMPT = "Q: What is the capital of France?\nA: Paris\nQ: What is the capital of Poland?\nA:"


def test_early_decoding_by_layer(demo):
    """The top 5 at the last position after every layer and sublayer, what the MLP adds, and its neurons."""
    model, tokenizer = demo
    streams = ["hidden", "mid", "attention", "mlp"]
    lenses = bauklens.logit_lens(model, tokenizer, PROMPT, stream=streams, positions=-1, targets=[" Warsaw"])
    assert [lens.top_ids.shape for lens in lenses] == [(31, 1, 5), *[(30, 1, 5)] * 3]
    text = tokenizer.decode(model.generate(torch.tensor([tokenizer(PROMPT)["input_ids"]]), max_new_tokens=1)[0, -1])
    assert lenses[0].vocabulary[int(lenses[0].top_ids[-1, 0, 0])] == text
    added = lenses[0].target(" Warsaw").logit[1:] - lenses[1].target(" Warsaw").logit  # after the block less between
    assert added.shape == (30, 1)
    assert len(bauklens.top_neurons(model, tokenizer, PROMPT, layer=20, position=-1, k=4).neurons) == 4


def test_logit_lens_with_baukit(demo):
    """Greedy text, hidden states and deltas, and the grid of either."""
    model, tokenizer = demo
    lens = bauklens.logit_lens(model, tokenizer, "The Space Needle is located in", max_new_tokens=10)
    assert lens.generated.sum() == 10
    states = bauklens.get_hidden_states(model, tokenizer, lens.token_ids.tolist())
    assert states.shape == (30, 1, len(lens.tokens), 576)
    deltas = bauklens.get_hidden_state_deltas
    shown = bauklens.show_logit_lens(model, tokenizer, "The Space Needle is located in", hs=deltas)
    assert "<table" in bauklens.LensResult._repr_html_(shown)
    followed = bauklens.logit_lens(
        model, tokenizer, "The Space Needle is located in", stream="delta", targets=[" Seattle"]
    )
    rank = followed.target(" Seattle").rank
    assert rank.shape == followed.magnitude.shape
    assert followed.first_layer(" Seattle", rank=int(rank[:, -1].min())) is not None


def test_logits_and_embeddings(demo):
    """Two prompts at once, the nearest tokens of each embedding, and whether the embeddings are tied."""
    model, tokenizer = demo
    one, other = bauklens.logit_lens(model, tokenizer, [" This weekend I plan to", " Water boils at"])
    assert (len(one.tokens), len(other.tokens)) == (5, 3)
    nearest = bauklens.nearest_tokens(model, tokenizer, " This weekend I plan to", k=10)
    assert nearest.vocabulary[int(nearest.top_ids[-1, 0])] == " to"
    first_and_last = bauklens.logit_lens(model, tokenizer, " This weekend I plan to", norm=None, layers=["embed", -1])
    assert first_and_last.layers == ("embed", "29")
    assert np.array_equal(first_and_last.top_ids[0, :, 0], nearest.top_ids[:, 0])
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_logit_lens_practice(demo):
    """Every generated token decoded at every layer, as a heat map; and NNsight's model, which agrees."""
    model, tokenizer = demo
    lens = bauklens.logit_lens(model, tokenizer, "Water boils at", max_new_tokens=5)
    frame = lens.to_frame()
    own = frame[(frame["rank"] == 1) & frame["generated"]]
    assert len(own) == 31 * 5
    figure = lens.plot()
    assert np.array_equal(figure.axes[0].images[0].get_array(), lens.top_probs[..., 0])
    assert len(figure.axes[0].texts) == lens.magnitude.size
    with pytest.raises(bauklens.LensError, match="unknown measure 'loss': this lens has"):
        lens.plot("loss")
    wrapped = nnsight.NNsight(bauklens.load("demo", device="cpu")[0])  # one of its own, which stays wrapped
    again = bauklens.logit_lens(wrapped, tokenizer, lens.token_ids.tolist())
    assert np.array_equal(again.top_ids[..., 0], lens.top_ids[..., 0])

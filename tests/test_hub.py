"""Figures that others published, on models of the hub: run with --hub where it can be reached."""

import pytest

import bauklens

pytestmark = pytest.mark.hub


def test_early_decoding_of_gpt2_medium():
    """Top 5 at the last position after the first layers, as a notebook on early decoding printed them."""
    model, tokenizer = bauklens.load("gpt2-medium")
    prompt = "Q: What is the capital of France?\nA: Paris\nQ: What is the capital of Poland?\nA:"
    lens = bauklens.logit_lens(model, tokenizer, prompt, positions=-1)
    published = {
        "embed": [(" unden", 0.9470), (" nodd", 0.0220), (" enthusi", 0.0115), (":", 0.0051), (" neighb", 0.0050)],
        "0": [(" (", 0.0232), (" [", 0.0184), (" The", 0.0128), (":", 0.0092), (",", 0.0089)],
        "1": [(" A", 0.0196), (" The", 0.0166), (" (", 0.0140), (" [", 0.0101), (" Is", 0.0076)],
        "2": [(" A", 0.0269), (" [", 0.0186), (" (", 0.0174), (" The", 0.0138), (" At", 0.0116)],
        "3": [(" A", 0.0393), (" [", 0.0229), (" (", 0.0203), (" Act", 0.0182), (" At", 0.0178)],
    }
    for layer, expected in published.items():
        row = lens.layers.index(layer)
        texts = [lens.vocabulary[each] for each in lens.top_ids[row, 0].tolist()]
        assert texts == [text for text, _ in expected]
        assert lens.top_probs[row, 0].tolist() == pytest.approx([each for _, each in expected], abs=2e-4)
    assert lens.vocabulary[int(lens.top_ids[-1, 0, 0])] == " Warsaw"


def test_seattle_is_written_at_layer_29_of_gpt2_xl():
    """The GPT-2-XL notebook: decoding the deltas, " Seattle" is the top token at layer 29, position 4."""
    model, tokenizer = bauklens.load("gpt2-xl")
    lens = bauklens.logit_lens(model, tokenizer, ". The Space Needle is located in", stream="delta")
    assert lens.vocabulary[int(lens.top_ids[lens.layers.index("29"), 4, 0])] == " Seattle"

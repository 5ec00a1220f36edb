"""Two lenses side by side."""

import copy
import json

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

import bauklens
from bauklens import LensError, compare, compare_models
from tests.made import HOSTILE, made
from tests.tiny import LAYERS, PROMPT, TEXT, VOCABULARY, tiny_model


@pytest.fixture
def changed(gpt2):
    """The same model with one MLP that writes more, as fine-tuning might have it."""
    other = copy.deepcopy(gpt2)
    other.transformer.h[1].mlp.c_proj.weight.mul_(1.5)
    return other


def test_two_prompts_are_brought_together_by_their_tokens(gpt2):
    one = [1, 2, 3, 4, 5, 6]
    other = [1, 2, 9, 4, 8, 8, 5, 6]
    found = compare(*bauklens.logit_lens(gpt2, None, [one, other]))
    assert found.one.positions.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.other.positions.tolist() == [0, 1, 2, 3, 6, 7]
    assert found.left_out == ((), (4, 5))
    assert np.array_equal(found.one.token_ids == found.other.token_ids, [True, True, False, True, True, True])
    assert (found.measures["agreement"][:, :2] == 1).all()  # what came before is the same
    assert (found.measures["overlap"][:, :2] == 1).all()


def test_measures_are_of_the_cells(gpt2, changed):
    one, other = (bauklens.logit_lens(model, None, PROMPT) for model in (gpt2, changed))
    found = compare(one, other)
    assert np.array_equal(found.measures["agreement"], one.top_ids[..., 0] == other.top_ids[..., 0])
    shared = [
        [len(set(a) & set(b)) / 5 for a, b in zip(*rows, strict=True)]
        for rows in zip(one.top_ids.tolist(), other.top_ids.tolist(), strict=True)
    ]
    assert np.allclose(found.measures["overlap"], shared)
    assert np.allclose(found.difference("entropy"), other.measures["entropy"] - one.measures["entropy"])
    with pytest.raises(LensError, match="unknown measure 'kld': both lenses have"):
        found.difference("kld")


def test_differences_of_infinite_measures_are_without_a_warning():
    values = np.float32([np.inf, 3e38, 1, np.nan])
    one, other = (made(1, 4, measures={"kl": sign * values[None]}) for sign in (-1, 1))
    with np.errstate(all="raise"):
        assert compare(one, one).difference("kl").tolist()[0][1:3] == [0, 0]
        assert np.isnan(compare(one, one).to_frame()["kl difference"][[0, 3]]).all()
        assert compare(one, other).difference("kl")[0, :3].tolist() == [np.inf, np.inf, 2]


@pytest.mark.parametrize(
    "arguments", [{}, {"stream": "delta"}, {"layers": [0, 2], "positions": [1, -1]}, {"chunk_rows": 3}]
)
def test_two_models_are_as_far_apart_as_their_full_logits(gpt2, changed, arguments):
    """Against scipy, on the logits of every token."""
    found = compare_models(gpt2, changed, None, PROMPT, **arguments)
    rows = []
    for model in (gpt2, changed):
        lens = bauklens.logit_lens(model, None, PROMPT, targets=range(VOCABULARY), **arguments)
        rows.append(softmax(np.stack([target.logit for target in lens.targets], axis=-1).astype(np.float64), axis=-1))
    p, q = rows
    assert np.allclose(found.measures["kl"], rel_entr(p, q).sum(-1), atol=2e-5, rtol=1e-5)
    mean = (p + q) / 2
    assert np.allclose(found.measures["js"], (rel_entr(p, mean) + rel_entr(q, mean)).sum(-1) / 2, atol=1e-5)


def test_two_models_are_alike_up_to_where_they_differ(gpt2, changed):
    found = compare_models(gpt2, changed, None, PROMPT)
    assert np.allclose(found.measures["kl"][:2], 0, atol=1e-6)
    assert (found.measures["kl"][2:] > 1e-6).all()


def test_models_decoded_whole_by_the_replay():
    """A soft-cap, and hooks outside of the blocks."""
    one = tiny_model("gemma2")
    other = copy.deepcopy(one)
    other.model.layers[2].post_feedforward_layernorm.weight.add_(3)
    plain = compare_models(one, other, None, PROMPT)
    one.lm_head.register_forward_hook(lambda module, inputs, output: None)
    assert np.allclose(compare_models(one, other, None, PROMPT).measures["kl"], plain.measures["kl"], atol=1e-5)
    assert (plain.measures["kl"][-1] > 1e-4).any()


def test_two_streams(gpt2):
    found = compare(*bauklens.logit_lens(gpt2, None, PROMPT, stream=["hidden", "delta"]))
    assert found.one.layers == tuple(map(str, range(LAYERS)))
    assert found.names == ("hidden", "delta")


def test_it_draws_and_writes_like_any_other(gpt2, tokenizer, changed, tmp_path):
    found = compare_models(gpt2, changed, tokenizer, TEXT)
    bauklens.save_report([found, ("alone", found.one)], tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text("utf-8")
    assert html.count('<figure class="bauklens') == 2
    assert "<b>bold</b>" not in html
    assert "Jensen-Shannon distance between the predictions" in found._repr_html_()
    frame = found.to_frame()
    assert len(frame) == found.one.magnitude.size
    assert {"kl", "js", "agreement", "entropy difference", "predicted one", "token other"} <= set(frame.columns)
    assert json.loads(json.dumps(found.to_dict()))["one"]["format"] == "bauklens.lens"


def test_hostile_tokens():
    lens = made(texts=HOSTILE, columns=len(HOSTILE))
    html = compare(lens, lens).to_html()
    assert "<script>window" not in html
    assert "<img" not in html


def test_what_does_not_match_is_one_clear_error(gpt2):
    lens = bauklens.logit_lens(gpt2, None, PROMPT)
    with pytest.raises(LensError, match="no token in common"):
        compare(bauklens.logit_lens(gpt2, None, [5, 6]), bauklens.logit_lens(gpt2, None, [8]))
    with pytest.raises(LensError, match="the layers do not match"):
        compare(lens, bauklens.logit_lens(gpt2, None, PROMPT, layers=[0, 1]))
    with pytest.raises(LensError, match=r"the tokenizers do not match: token \d+ is"):
        compare(made(), made(texts=["a", " x", "c\n", "é"]))
    with pytest.raises(LensError, match=r"compare\(\) needs two LensResults; got str"):
        compare(lens, "lens")


def test_models_that_cannot_be_compared(gpt2):
    with pytest.raises(LensError, match="share modules"):
        compare_models(gpt2, gpt2, None, PROMPT)
    with pytest.raises(LensError, match="takes one stream: pass its name"):
        compare_models(gpt2, tiny_model("gpt2"), None, PROMPT, stream=["hidden", "delta"])
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        compare_models(gpt2, tiny_model("gpt2"), None, PROMPT, depth=3)


def test_the_models_are_as_they_were(gpt2, changed):
    before = gpt2(input_ids=torch.tensor([PROMPT])).logits
    compare_models(gpt2, changed, None, PROMPT)
    assert torch.equal(gpt2(input_ids=torch.tensor([PROMPT])).logits, before)


@pytest.mark.parametrize("stream", ["hidden", "delta"])
def test_at_the_final_scale_it_is_that_of_the_rows_shown(stream):
    """GPT-J's head has a bias, which those rows leave out."""
    one, other = tiny_model("gptj"), tiny_model("gptj", seed=1)
    found = compare_models(one, other, None, PROMPT, norm="final", stream=stream, targets=range(VOCABULARY))
    logits = [
        np.stack([target.logit for target in lens.targets], axis=-1).astype(np.float64)
        for lens in (found.one, found.other)
    ]
    p, q = (softmax(each, axis=-1) for each in logits)
    assert np.allclose(found.measures["kl"], rel_entr(p, q).sum(-1), atol=1e-4, rtol=1e-4)


def test_whole_words_in_two_models(gpt2, changed, tokenizer):
    found = compare_models(gpt2, changed, tokenizer, TEXT, targets=["xyz"])
    for model, lens in ((gpt2, found.one), (changed, found.other)):
        alone = bauklens.logit_lens(model, tokenizer, TEXT, targets=["xyz"]).target("xyz")
        assert np.allclose(lens.target("xyz").probability, alone.probability, atol=1e-6)


def test_nothing_is_generated(gpt2, changed):
    with pytest.raises(TypeError, match="unexpected keyword argument 'max_new_tokens'"):
        compare_models(gpt2, changed, None, PROMPT, max_new_tokens=3)

"""Every row of models that do odd things is that of an early exit at every position, or there is no table."""

import numpy as np
import pytest
import torch
from transformers import BigBirdConfig, BigBirdForCausalLM

import bauklens
from bauklens.decode import check
from tests import odd_models

PROMPT = [5, 90, 17, 60, 8, 33, 71, 2, 90, 44, 12, 9, 3, 3, 90, 28, 51, 6, 77, 40]
ASKED = [{}, {"positions": [5, 9, 19]}, {"positions": slice(3, None), "chunk_rows": 4}, {"layers": ["embed", 1, 3]}]

BESIDE = [odd_models.Probes, odd_models.Drafts, odd_models.Closure, odd_models.Between]
AFTER = [
    odd_models.Convolution,
    odd_models.Later,
    odd_models.Early,
    odd_models.First,
    odd_models.Alike,
    odd_models.Temperature,
    odd_models.Special,
    odd_models.Touched,
    odd_models.Given,
    odd_models.Reused,
    odd_models.Crowded,
    odd_models.Pieces,
    odd_models.Whole,
    odd_models.Quantized,
]


def early_exits(model, prompt):
    """(1 + layer, position, vocabulary), probabilities where the later blocks hand on the state before them."""
    ids, rows = torch.tensor([prompt]), []
    for stop in range(1 + len(model.layers)):
        state = []

        def hand_on(module, given, output, stop=stop, state=state):
            state.append(given[0] if stop == 0 else output)  # of the first of these; the others hand on the same
            return state[0]

        hooks = [block.register_forward_hook(hand_on) for block in list(model.layers)[max(0, stop - 1) :]]
        rows.append(model(input_ids=ids).logits[0].softmax(-1))
        for hook in hooks:
            hook.remove()
    return torch.stack(rows).numpy()


def assert_right(lens, expected):
    for row, layer in enumerate(lens.layers):
        full = expected[0 if layer == "embed" else int(layer) + 1][lens.positions]
        shown = np.take_along_axis(full, lens.top_ids[row], axis=1)
        assert np.allclose(shown, lens.top_probs[row], atol=1e-5), layer
        assert np.allclose(shown, -np.sort(-full, axis=1)[:, : lens.topk], atol=1e-5), layer


@pytest.mark.parametrize("kind", BESIDE + AFTER, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("first", [None, PROMPT[:1]], ids=["at once", "after a single token"])
def test_rows_are_those_of_an_early_exit(kind, first):
    model, expected = kind(), early_exits(kind(), PROMPT)
    if first is not None:
        bauklens.logit_lens(model, None, first)
    for asked in ASKED:
        lens = bauklens.logit_lens(model, None, PROMPT, **asked)
        assert_right(lens, expected)
        assert "Not checked" not in lens.checked


@pytest.mark.parametrize("kind", [odd_models.Touched, odd_models.Given], ids=lambda kind: kind.__name__)
def test_a_change_at_one_place_is_seen_where_no_product_is_measured(kind, monkeypatch):
    monkeypatch.setattr(check, "TOKENS", 2)
    model = kind()
    bauklens.logit_lens(model, None, PROMPT[:8])
    assert_right(bauklens.logit_lens(model, None, PROMPT), early_exits(model, PROMPT))


@pytest.mark.parametrize("kind", [odd_models.Experts, odd_models.FirstMask], ids=lambda kind: kind.__name__)
def test_a_prompt_in_a_list_gives_what_it_gives_alone(kind):
    model = kind()
    prompts = [PROMPT[:14], PROMPT[2:16], PROMPT[4:17], PROMPT[:16], PROMPT[5:]]
    for lens, prompt in zip(bauklens.logit_lens(model, None, prompts), prompts, strict=True):
        assert_right(lens, early_exits(model, prompt))


def test_blocks_that_nothing_can_stand_in_for_are_refused():
    with pytest.raises(bauklens.LensError):
        bauklens.logit_lens(odd_models.Stages(), None, PROMPT)


def test_a_list_that_only_looks_like_blocks_is_refused_if_it_is_named():
    with pytest.raises(bauklens.LensError, match="is not the list of blocks"):
        bauklens.logit_lens(odd_models.Drafts(), None, PROMPT, blocks="drafts")
    with pytest.raises(bauklens.LensError, match="is not the list of blocks"):
        bauklens.logit_lens(odd_models.Probes(), None, PROMPT, blocks="probes")


def test_a_model_that_rebuilds_itself_and_has_hooks_is_left_as_it_was():
    """BigBird has other attention for short prompts from its first one on, in modules and in its settings."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    model = BigBirdForCausalLM(BigBirdConfig(**sizes, num_attention_heads=2, is_decoder=True)).eval()
    plain = bauklens.logit_lens(model, None, PROMPT, max_new_tokens=2)
    calls = []
    model.register_forward_hook(lambda *_: calls.append(0))
    before = str(model), model.bert.attention_type
    assert np.array_equal(bauklens.logit_lens(model, None, PROMPT, max_new_tokens=2).top_ids, plain.top_ids)
    assert calls
    assert (str(model), model.bert.attention_type) == before
    assert model(torch.tensor([PROMPT])).logits.shape[1] == len(PROMPT)

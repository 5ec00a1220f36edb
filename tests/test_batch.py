"""Several prompts at once: each as if it were alone."""

import numpy as np
import pytest
import torch

import bauklens
from bauklens import LensError
from bauklens.lens import run
from tests.tiny import PROMPT, TEXT, pass_output_through, tiny_model

PROMPTS = [PROMPT, PROMPT[:4], PROMPT[2:9], [5], PROMPT[::-1], PROMPT[:5] * 4]


def assert_alike(one, other):
    assert np.array_equal(one.token_ids, other.token_ids)
    assert np.allclose(one.top_probs, other.top_probs, atol=1e-5)
    assert np.allclose(one.magnitude, other.magnitude, rtol=1e-4)
    apart = np.abs(one.top_probs[..., :-1] - one.top_probs[..., 1:]).min(-1) > 1e-5
    assert np.array_equal(one.top_ids[apart][..., 0], other.top_ids[apart][..., 0])


@pytest.mark.parametrize("stream", ["hidden", "delta"])
def test_rows_that_are_decoded_together_are_those_of_each_alone(model, stream, decodings):
    """With everything that can be asked for: nothing of one prompt is read for another."""
    options = {
        "track": 0,
        "stream": stream,
        "positions": slice(-3, None),
        "measures": "all",
        "targets": [5, {"few": [7, 9]}],
        "mass": {"low": range(30)},
    }
    prompts = [each for each in PROMPTS if len(each) > 2]
    alone = [bauklens.logit_lens(model, None, each, **options) for each in prompts]
    decodings.clear()
    together = bauklens.logit_lens(model, None, prompts, **options)
    assert decodings == [2, 2]  # the longest runs by itself
    for one, other in zip(alone, together, strict=True):
        assert_alike(one, other)
        assert other.check["positions"] == one.check["positions"]
        assert other.check["cells"] == one.check["cells"]
        assert abs(other.check["max_abs_logit_difference"] - one.check["max_abs_logit_difference"]) < 1e-4
        assert other.provenance["decoding"]["rows"] == one.provenance["decoding"]["rows"]
        for name, value in one.measures.items():
            assert np.allclose(other.measures[name], value, atol=1e-4, rtol=1e-4, equal_nan=True), name
        for expected, found in zip(one.targets, other.targets, strict=True):
            assert np.allclose(found.probability, expected.probability, atol=1e-5)


def test_more_prompts_than_the_context_has_positions_are_decoded_together(gpt2, decodings):
    """Their rows are decoded, and exit early, no more positions at once than the model can be given."""
    prompts = [PROMPT[place % 3 :] for place in range(20)]
    assert sum(map(len, prompts)) > gpt2.config.n_positions
    lenses = bauklens.logit_lens(gpt2, None, prompts, track=0)
    assert decodings == [20]
    for prompt, lens in zip(prompts, lenses, strict=True):
        assert_alike(bauklens.logit_lens(gpt2, None, prompt), lens)


@pytest.mark.parametrize("layers", [[2, 0], [1, 0, "embed"], ["embed"], -1])
def test_layers_in_any_order_are_decoded_together(gpt2, decodings, layers):
    prompts = [PROMPT[:5], PROMPT[3:8]]
    lenses = bauklens.logit_lens(gpt2, None, prompts, layers=layers, track=0)
    assert decodings == [2]
    for prompt, lens in zip(prompts, lenses, strict=True):
        alone = bauklens.logit_lens(gpt2, None, prompt, layers=layers)
        assert lens.layers == alone.layers
        assert_alike(alone, lens)


@pytest.fixture
def decodings(monkeypatch):
    """How many prompts were decoded at once, each time that several were."""
    counts, own = [], run.decode_parts

    def counted(together, rows, reading, way, parts, tracking=None):
        found = own(together, rows, reading, way, parts, tracking)
        counts.append(len(parts))
        return found

    monkeypatch.setattr(run, "decode_parts", counted)
    return counts


@pytest.mark.parametrize("stream", ["hidden", "delta", "attention"])
def test_each_is_as_if_it_were_alone(model, stream):
    if stream == "attention" and type(model).__name__ in ("BloomForCausalLM", "OPTForCausalLM"):
        pytest.skip("its blocks norm the stream themselves: no sublayers are found")
    together = bauklens.logit_lens(model, None, PROMPTS, stream=stream)
    assert len(together) == len(PROMPTS)
    for prompt, lens in zip(PROMPTS, together, strict=True):
        assert_alike(bauklens.logit_lens(model, None, prompt, stream=stream), lens)
        assert lens.check["max_abs_logit_difference"] < 1e-3


def test_those_of_about_the_same_length_run_together(gpt2):
    ran = []
    pass_output_through(gpt2.transformer.h[0], lambda module, inputs, output: ran.append(tuple(inputs[0].shape[:2])))
    bauklens.logit_lens(gpt2, None, PROMPT)  # which finds the blocks, in passes of its own
    ran.clear()
    bauklens.logit_lens(gpt2, None, PROMPTS)
    alone, others = [(1, 1), (1, 7)], [(2, 4), (3, 10), (1, 20)]
    assert sorted(ran) == sorted([*others, *alone])  # the shortest of each batch is also run by itself


def test_where_a_hook_of_the_caller_may_look_each_runs_alone(gpt2):
    sizes = []
    gpt2.lm_head.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    bauklens.logit_lens(gpt2, None, PROMPTS)
    assert set(sizes) == {1}


def test_several_texts_of_a_tokenizer_without_padding(gpt2, tokenizer):
    assert tokenizer.pad_token_id is None
    texts = [TEXT, "the city", "in the tower of the sea"]
    for text, lens in zip(texts, bauklens.logit_lens(gpt2, tokenizer, texts), strict=True):
        assert lens.prompt == text
        assert_alike(bauklens.logit_lens(gpt2, tokenizer, text), lens)


def test_padding_on_the_left_would_be_wrong(gpt2):
    """GPT-2 counts its positions and does not ask the mask: why prompts are padded on the right."""
    short = torch.tensor([PROMPT[:4]])
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), short], dim=1)
    mask = (torch.arange(7) >= 3).long()[None]
    with torch.no_grad():
        own, left = gpt2(short).logits[0, -1], gpt2(padded, attention_mask=mask).logits[0, -1]
    assert not torch.allclose(own, left, atol=1e-3)
    lens = bauklens.logit_lens(gpt2, None, [PROMPT[:4], PROMPT[:7]], topk=1)[0]
    assert lens.top_ids[-1, -1, 0] == own.argmax()


def test_several_streams_of_several_prompts(gpt2):
    lenses = bauklens.logit_lens(gpt2, None, PROMPTS[:2], stream=["hidden", "delta"])
    assert [[each.stream for each in pair] for pair in lenses] == [["hidden", "delta"]] * 2


def test_with_what_is_generated_targets_and_measures(gpt2, tokenizer):
    arguments = {"max_new_tokens": 3, "targets": [" the", "xyz"], "measures": "all"}
    texts = ["the city", "in the tower of the sea"]
    for text, lens in zip(texts, bauklens.logit_lens(gpt2, tokenizer, texts, **arguments), strict=True):
        alone = bauklens.logit_lens(gpt2, tokenizer, text, **arguments)
        assert_alike(alone, lens)
        assert lens.generated_from == alone.generated_from
        for name, value in alone.measures.items():
            assert np.allclose(lens.measures[name], value, atol=1e-4, rtol=1e-4, equal_nan=True), name
        assert np.allclose(lens.target("xyz").probability, alone.target("xyz").probability, atol=1e-5)


@pytest.mark.long
def test_on_the_demo_model(demo):
    texts = ["The Eiffel Tower is located in the city of", "Water boils at", "The capital of Poland is", "1, 2, 3, 4,"]
    for text, lens in zip(texts, bauklens.logit_lens(*demo, texts), strict=True):
        assert_alike(bauklens.logit_lens(*demo, text), lens)


@pytest.mark.parametrize(
    ("bad", "message"),
    [([], "the prompt is empty"), ([1] * 65, "the prompt has 65 tokens, but the model's context is 64")],
)
def test_a_bad_prompt_is_named_by_its_number_and_the_others_unharmed(gpt2, bad, message):
    prompts = [PROMPT, bad, PROMPT[:3]]
    with pytest.raises(LensError, match=f"prompt 2: {message}"):
        bauklens.logit_lens(gpt2, None, prompts)
    first, none, last = bauklens.logit_lens(gpt2, None, prompts, on_error="skip")
    assert none is None
    assert_alike(bauklens.logit_lens(gpt2, None, PROMPT), first)
    assert_alike(bauklens.logit_lens(gpt2, None, PROMPT[:3]), last)


def test_all_of_them_bad(gpt2):
    assert bauklens.logit_lens(gpt2, None, [[], []], on_error="skip") == [None, None]


def test_a_state_that_is_not_finite_harms_no_other():
    model = tiny_model("llama")
    model.model.embed_tokens.weight[9] = torch.nan
    lenses = bauklens.logit_lens(model, None, [[5, 7, 8], [9, 5, 8], [8, 7, 5]], on_error="skip")
    assert [lens is None for lens in lenses] == [False, True, False]
    with pytest.raises(LensError, match="prompt 2: the hidden state of embed at position 0 contains NaN"):
        bauklens.logit_lens(model, None, [[5, 7, 8], [9, 5, 8], [8, 7, 5]])


def test_where_memory_runs_out_fewer_run_together(gpt2):
    sizes, forward = [], gpt2.transformer.forward

    def no_more_than_two(input_ids, **keywords):
        sizes.append(len(input_ids))
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return forward(input_ids, **keywords)

    gpt2.transformer.forward = no_more_than_two
    prompts = [PROMPT] * 5
    lenses = bauklens.logit_lens(gpt2, None, prompts)
    assert max(sizes) > 2
    assert len(lenses) == 5


def test_an_unknown_on_error(gpt2):
    with pytest.raises(LensError, match="unknown on_error 'ignore'"):
        bauklens.logit_lens(gpt2, None, [PROMPT], on_error="ignore")


def test_the_model_is_as_it_was():
    model = tiny_model("llama")
    bauklens.logit_lens(model, None, PROMPTS)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("place", ["transformer.h.1", "transformer.h.1.mlp"])
def test_a_hook_that_steers_acts_on_each_as_if_it_were_alone(gpt2, place):
    def steer(module, inputs, output):
        state = (output[0] if isinstance(output, tuple) else output).clone()
        state[:1, -1] += 3
        return (state, *output[1:]) if isinstance(output, tuple) else state

    gpt2.get_submodule(place).register_forward_hook(steer)
    prompts = [PROMPT, PROMPT[:8], PROMPT[::-1]]
    for prompt, lens in zip(prompts, bauklens.logit_lens(gpt2, None, prompts), strict=True):
        assert_alike(bauklens.logit_lens(gpt2, None, prompt), lens)


@pytest.mark.parametrize("arguments", [{"layers": 99}, {"targets": [9999]}, {"norm": "none.such"}])
def test_what_is_no_prompts_fault_is_not_skipped(gpt2, arguments):
    with pytest.raises(LensError, match=r"unknown layer|is not a token id|unknown norm"):
        bauklens.logit_lens(gpt2, None, [PROMPT, PROMPT[:3]], on_error="skip", **arguments)

"""Decoding in low precision: what is vouched for is what the exact way gives, and what is not is decoded by that."""

from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPTJConfig, LlamaConfig

import bauklens
from bauklens.decode import low_head, low_precision
from bauklens.decode.cpu import bfloat16_features
from bauklens.decode.low_head import LowPrecisionHead
from bauklens.decode.reading import Reading
from bauklens.result.measures import DEFAULT

WIDTH, VOCABULARY, ROWS = 64, 10_001, 300
NEAR_TIE = 1e-5
OTHERWISE = {("bfloat16", "one giant row"): "float32", ("int8", "past 1e4"): "bfloat16"}
"""For some heads, another precision than the one asked for: there, rounding is so large that no row is certain."""


def random_head(bias=False, scale=1.0):
    torch.manual_seed(0)
    head = nn.Linear(WIDTH, VOCABULARY, bias=bias)
    head.weight.data.normal_(0, scale)
    if bias:
        head.bias.data.normal_(0, 2)
    return head.requires_grad_(False)


def common_offset(head):
    """Every logit is about -100 for the inputs below, as in GPT-2."""
    head.weight += torch.nn.functional.normalize(torch.ones(WIDTH), dim=0) * -12.5


def two_best(head):
    head.weight[17] = head.weight[9_000] = 3 * head.weight[17]


def flat(head):
    head.weight *= 1e-3


def dominant(head):
    head.weight[5] = torch.ones(WIDTH) * 3


def huge(head):
    head.weight *= 3e3


def one_giant(head):
    """A token whose row is a hundred times as long as any other: its error is as much larger."""
    head.weight[77] *= 100


def left_out(head):
    head.bias[100:5_000] = -torch.inf


def finite_mask(head):
    head.bias[100:5_000] = torch.finfo(torch.float32).min


HEADS = {
    "plain": lambda head: None,
    "common offset": common_offset,
    "two equal best": two_best,
    "flat": flat,
    "dominant": dominant,
    "past 1e4": huge,
    "one giant row": one_giant,
    "left out": left_out,
    "masked": finite_mask,
}


def states(seed=1):
    torch.manual_seed(seed)
    return torch.randn(ROWS, WIDTH) * torch.logspace(-1, 0.4, ROWS)[:, None] + 0.8


def read(head, inputs, k):
    return head.read(inputs, Reading(k), torch.zeros(len(inputs), dtype=torch.int64))


def assert_same(ids, probabilities, logits, k):
    """The same tokens as in full precision, but for near ties, and probabilities to 1e-3."""
    exact = logits.double().softmax(-1)
    assert_same_of(exact, exact.topk(k), ids, probabilities, k)


def assert_same_of(exact, top, ids, probabilities, k):
    assert (probabilities - top.values).abs().max() <= low_head.TOLERANCE
    swapped = exact.gather(1, ids) - top.values
    assert swapped.abs().max() < NEAR_TIE
    assert all(len(set(row)) == k for row in ids.tolist())


@pytest.mark.parametrize("k", [pytest.param(1, marks=pytest.mark.slow), 5, pytest.param(32, marks=pytest.mark.slow)])
@pytest.mark.parametrize("scale", [0.15, 1.0], ids=["uncertain", "sure"])
@pytest.mark.parametrize("change", HEADS)
def test_what_is_vouched_for_is_right(numbers, change, scale, k):
    head = random_head(bias=True, scale=scale)
    HEADS[change](head)
    inputs = states()
    found = read(LowPrecisionHead(head, VOCABULARY, 1.0, inputs, numbers), inputs, k)
    logits = head(inputs)
    found, sure = found
    if sure.any():
        assert_same(found["top_ids"][sure], found["top_probs"][sure], logits[sure], k)


@pytest.mark.parametrize("change", ["plain", "common offset", "two equal best", "dominant"])
def test_most_rows_are_vouched_for(numbers, change):
    head = random_head(bias=True)
    HEADS[change](head)
    assert read(LowPrecisionHead(head, VOCABULARY, 1.0, states(), numbers), states(), 5)[1].float().mean() > 0.6


@pytest.mark.parametrize("bias", [False, True])
def test_the_scale_and_the_padding_of_a_head_count(numbers, bias):
    head = random_head(bias)
    found = read(LowPrecisionHead(head, 9_000, 0.25, states(), numbers), states(), 3)
    found, sure = found
    assert sure.float().mean() > 0.5
    assert_same(found["top_ids"][sure], found["top_probs"][sure], 0.25 * head(states())[sure, :9_000], 3)


def head_of(weight):
    head = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    head.weight = nn.Parameter(weight, requires_grad=False)
    return head


def assert_what_is_vouched_for_is_right(numbers, head, inputs, k):
    found = read(LowPrecisionHead(head, head.out_features, 1.0, inputs, numbers), inputs, k)
    found, sure = found
    if sure.any():
        assert_same(found["top_ids"][sure], found["top_probs"][sure], head(inputs)[sure], k)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("length", [30, 100])
def test_errors_that_the_rest_has_in_common_and_the_best_have_not(numbers, length, k):
    """All tokens but 200 share a long component that the inputs do not see; its rounding moves them together."""
    torch.manual_seed(0)
    weight = torch.randn(VOCABULARY, WIDTH) * 0.3
    inputs = torch.randn(ROWS, WIDTH)
    shared = nn.functional.normalize(torch.randn(WIDTH), dim=0)
    inputs -= (inputs @ shared)[:, None] * shared
    weight[200:] += length * shared
    assert_what_is_vouched_for_is_right(numbers, head_of(weight), inputs, k)


@pytest.mark.parametrize("size", [30, 300, 1000])
def test_a_token_that_two_large_inputs_decide(numbers, size):
    """It is the best by half a logit, and rounding of two activations hides it."""
    torch.manual_seed(0)
    weight = torch.randn(VOCABULARY, WIDTH) * 0.3
    weight[:, :2] = 0
    weight[77] = 0
    weight[77, 0], weight[77, 1] = 1.5, -1.5
    inputs = torch.randn(ROWS, WIDTH)
    best = inputs[:, 2:] @ weight[:, 2:].T
    inputs[:, 1] = size + torch.rand(ROWS)
    inputs[:, 0] = inputs[:, 1] + (best.amax(dim=-1) + 0.5) / 1.5
    assert_what_is_vouched_for_is_right(numbers, head_of(weight), inputs, 1)
    assert_what_is_vouched_for_is_right(numbers, head_of(weight), inputs, 5)


def test_a_rest_far_below_what_was_expected(numbers):
    """A sample that lies far above the rest, or far below, hides none of it."""
    torch.manual_seed(0)
    head = random_head(bias=True, scale=0.05)
    head.bias[torch.randperm(VOCABULARY)[:1000]] -= 97
    assert_what_is_vouched_for_is_right(numbers, head, states(), 5)


@pytest.mark.parametrize("mask", [-torch.inf, torch.finfo(torch.float32).min, -1e4])
def test_masked_tokens_do_not_keep_rows_from_being_vouched_for(numbers, mask):
    head = random_head(bias=True)
    head.bias[100:600] = mask
    found = read(LowPrecisionHead(head, VOCABULARY, 1.0, states(), numbers), states(), 5)
    assert found[1].float().mean() > 0.7
    assert_what_is_vouched_for_is_right(numbers, head, states(), 5)


def test_the_callers_default_dtype_changes_nothing(numbers):
    head, inputs = random_head(), states()
    plain = read(LowPrecisionHead(head, VOCABULARY, 1.0, inputs, numbers), inputs, 5)
    torch.set_default_dtype(torch.bfloat16)
    try:
        other = read(LowPrecisionHead(head, VOCABULARY, 1.0, inputs, numbers), inputs, 5)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(plain[0]["top_probs"], other[0]["top_probs"])


def test_states_that_are_not_finite_are_not_vouched_for(numbers):
    inputs = states()
    inputs[7] = torch.nan
    inputs[8] = torch.inf
    certain = read(LowPrecisionHead(random_head(), VOCABULARY, 1.0, states(), numbers), inputs, 3)[1]
    assert not certain[[7, 8]].any()
    assert certain.any()


def test_it_is_not_for_a_model_that_is_not_float32():
    assert not low_precision.pays(torch.device("cpu"), torch.bfloat16)
    assert not low_precision.pays(torch.device("cpu"), torch.float64)
    assert low_precision.pays(torch.device("cpu"), torch.float32) in (True, False)


MODELS = {
    "llama": lambda: LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=96,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
    ),
    "gptj": lambda: GPTJConfig(n_embd=WIDTH, n_layer=6, n_head=4, rotary_dim=4, n_positions=128, vocab_size=VOCABULARY),
}
PROMPT = [(7 * each) % VOCABULARY for each in range(3, 63)]


def wide_model(name, change):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(MODELS[name]()).eval().requires_grad_(False)
    head = model.get_output_embeddings()
    head.weight.normal_(0, 0.4)
    if head.bias is not None:
        head.bias.normal_()
    if change in HEADS and (head.bias is not None or change not in ("left out", "masked")):
        HEADS[change](head)
    return model


@pytest.fixture
def always_pays(monkeypatch):
    """Bfloat16, if int8 is not, is chosen whether or not this machine multiplies it faster."""
    monkeypatch.setattr(low_precision, "pays", lambda device, dtype: True)
    monkeypatch.setattr(low_precision, "FEWEST_ROWS", 100)


class TestALens:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", MODELS)
    @pytest.mark.parametrize("change", HEADS)
    def test_auto_against_exact_against_plain(self, numbers, always_pays, name, change):
        model = wide_model(name, change)
        if change == "past 1e4":
            assert model(input_ids=torch.tensor([PROMPT])).logits.abs().max() > 1e4
        auto = bauklens.logit_lens(model, None, PROMPT)
        exact = bauklens.logit_lens(model, None, PROMPT, precision="exact")
        numbers = OTHERWISE.get((numbers, change), numbers)
        assert auto.provenance["decoding"]["precision"] == numbers
        assert exact.provenance["decoding"]["precision"] == "float32"
        said = f"Decoded in {numbers}: the top 5 of each row are proved to be those of float32; probabilities are "
        assert auto.decoded.startswith("" if numbers == "float32" else said)
        assert set(auto.measures) == set(exact.measures) == {*DEFAULT}
        for measure in ("entropy", "kl", "surprisal"):
            assert np.allclose(
                auto.measures[measure], exact.measures[measure], atol=2 * low_head.NATS, rtol=1e-5, equal_nan=True
            )
        assert auto.decoded in auto.to_html()
        assert exact.decoded == ""
        assert auto.check["max_abs_logit_difference"] < 0.05
        norm = model.base_model.norm if name == "llama" else model.transformer.ln_f
        hidden = bauklens.get_hidden_states(model, None, PROMPT)[:, 0]
        logits = model.get_output_embeddings()(norm(hidden)).flatten(0, 1)
        for lens in (auto, exact):
            ids = torch.tensor(lens.top_ids[1:].copy()).flatten(0, 1)
            probabilities = torch.tensor(lens.top_probs[1:].copy()).flatten(0, 1)
            assert_same(ids, probabilities, logits, 5)

    def test_rows_in_doubt_are_decoded_again(self, numbers, always_pays, monkeypatch):
        model = wide_model("llama", "plain")
        exact = bauklens.logit_lens(model, None, PROMPT, precision="exact")
        monkeypatch.setattr(low_head, "TOLERANCE", -1.0)
        monkeypatch.setattr(low_precision, "is_worth_it", lambda *_: True)
        again = bauklens.logit_lens(model, None, PROMPT, chunk_rows=50)
        assert again.provenance["decoding"] == {
            "precision": numbers,
            "by": "product",
            "rows": 420,
            "decoded again": 354,  # the last column was decoded in float32 first
        }
        assert again.top_ids.shape[1] == 60  # the final row is decoded in float32 anyway
        assert np.array_equal(exact.top_ids, again.top_ids)
        assert np.allclose(exact.top_probs, again.top_probs, atol=1e-6)

    @pytest.mark.slow
    @pytest.mark.parametrize("rows", [1, 7, 100])
    def test_chunks_of_any_size_give_the_same(self, always_pays, rows):
        model = wide_model("gptj", "plain")
        whole = bauklens.logit_lens(model, None, PROMPT)
        parts = bauklens.logit_lens(model, None, PROMPT, chunk_rows=rows)
        assert np.array_equal(whole.top_ids, parts.top_ids)
        assert np.allclose(whole.top_probs, parts.top_probs, atol=low_head.TOLERANCE)

    @pytest.mark.parametrize(
        "arguments",
        [{"positions": [3]}, {"topk": 33}, {"norm": "final", "stream": "delta"}],
        ids=["few rows", "many tokens", "a bias to leave out"],
    )
    def test_where_it_does_not_pay_it_is_exact(self, always_pays, arguments):
        lens = bauklens.logit_lens(wide_model("gptj", "plain"), None, PROMPT, **arguments)
        assert lens.provenance["decoding"]["precision"] == "float32"

    def test_where_most_rows_are_in_doubt_it_is_exact(self, always_pays, monkeypatch):
        monkeypatch.setattr(low_head, "TOLERANCE", -1.0)
        lens = bauklens.logit_lens(wide_model("llama", "plain"), None, PROMPT)
        assert lens.provenance["decoding"] == {"precision": "float32", "by": "product", "rows": 420, "decoded again": 0}

    def test_a_trial_is_made_once_for_a_kind_of_rows_and_again_after_doubt(self, numbers, always_pays, monkeypatch):
        model, tried = wide_model("llama", "plain"), []
        read = LowPrecisionHead.read

        def recorded(self, inputs, *rest):
            tried.append(len(inputs))
            return read(self, inputs, *rest)

        monkeypatch.setattr(LowPrecisionHead, "read", recorded)

        def is_tried(**options):
            tried.clear()
            assert bauklens.logit_lens(model, None, PROMPT, **options).provenance["decoding"]["precision"] == numbers
            return tried[0] < 100

        assert [is_tried(), is_tried(), is_tried(stream="delta"), is_tried()] == [True, False, True, False]
        with monkeypatch.context() as doubting:
            doubting.setattr(low_head, "TOLERANCE", -1.0)
            assert not is_tried()
        assert [is_tried(), is_tried()] == [True, False]

    def test_where_a_trial_is_not_right_it_is_exact(self, always_pays, monkeypatch):
        top = LowPrecisionHead.read

        def off(self, inputs, *rest):
            values, certain = top(self, inputs, *rest)
            return values | {"top_probs": values["top_probs"] + 0.01}, certain

        monkeypatch.setattr(LowPrecisionHead, "read", off)
        lens = bauklens.logit_lens(wide_model("llama", "plain"), None, PROMPT)
        assert lens.provenance["decoding"]["precision"] == "float32"

    def test_where_memory_runs_out_the_chunk_is_halved(self, always_pays, monkeypatch):
        model = wide_model("llama", "plain")
        whole = bauklens.logit_lens(model, None, PROMPT)
        top, sizes = LowPrecisionHead.read, []

        def no_more_than_forty(self, inputs, *rest):
            sizes.append(len(inputs))
            if len(inputs) > 40:
                raise MemoryError
            return top(self, inputs, *rest)

        monkeypatch.setattr(LowPrecisionHead, "read", no_more_than_forty)
        monkeypatch.setattr(low_precision, "is_worth_it", lambda *_: True)
        parts = bauklens.logit_lens(model, None, PROMPT)
        assert max(sizes) > 40
        assert np.array_equal(whole.top_ids, parts.top_ids)

    def test_where_there_is_no_memory_for_a_second_head_it_is_exact(self, always_pays, monkeypatch):
        def no_memory(self, *given):
            raise MemoryError

        monkeypatch.setattr(LowPrecisionHead, "__init__", no_memory)
        lens = bauklens.logit_lens(wide_model("llama", "plain"), None, PROMPT)
        assert lens.provenance["decoding"]["precision"] == "float32"

    def test_memory_for_no_row_is_one_clear_error(self, always_pays, monkeypatch):
        def none_at_all(self, inputs, *rest):
            raise MemoryError

        monkeypatch.setattr(LowPrecisionHead, "read", none_at_all)
        monkeypatch.setattr(low_precision, "is_worth_it", lambda *_: True)
        with pytest.raises(bauklens.LensError, match="out of memory on cpu for the logits of a single row"):
            bauklens.logit_lens(wide_model("llama", "plain"), None, PROMPT)

    def test_memory_for_the_rows_in_doubt(self, always_pays, monkeypatch):
        model = wide_model("llama", "plain")
        exact = bauklens.logit_lens(model, None, PROMPT, precision="exact")
        monkeypatch.setattr(low_head, "TOLERANCE", -1.0)
        monkeypatch.setattr(low_precision, "is_worth_it", lambda *_: True)
        of = Reading.of

        def no_more_than_ten(self, logits, *rest):
            if len(logits) > 10:
                raise torch.OutOfMemoryError("out of memory")
            return of(self, logits, *rest)

        monkeypatch.setattr(Reading, "of", no_more_than_ten)
        again = bauklens.logit_lens(model, None, PROMPT)
        assert np.array_equal(exact.top_ids, again.top_ids)
        assert again.provenance["decoding"]["decoded again"] == 354


def with_adapter_on_the_head():
    config = peft.LoraConfig(r=2, target_modules=["lm_head"], task_type="CAUSAL_LM", init_lora_weights=False)
    torch.manual_seed(1)
    return peft.get_peft_model(wide_model("llama", "plain"), config).eval().get_base_model()


def quantized():
    model = wide_model("llama", "plain")
    (model.lm_head,) = torch.ao.quantization.quantize_dynamic(nn.Sequential(model.lm_head), {nn.Linear})
    return model


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("make", [with_adapter_on_the_head, quantized])
def test_a_head_whose_weights_are_not_all_it_is_goes_by_the_module(always_pays, make):
    model = make()
    lens = bauklens.logit_lens(model, None, PROMPT)
    assert lens.provenance["decoding"]["precision"] == "float32"
    with torch.no_grad():
        # a quantized head goes by the largest number of all positions, and so by which are asked for
        own = model(input_ids=torch.tensor([PROMPT]), use_cache=False).logits[0, -1].softmax(-1)
    assert np.allclose(lens.top_probs[-1, -1], own.topk(5).values, atol=1e-5)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"precision": "fast"}, "unknown precision 'fast': pass one of 'auto', 'exact'"),
        ({"chunk_rows": 0}, "chunk_rows is 0: pass 1 or more"),
        ({"chunk_rows": 2.5}, "chunk_rows is 2.5: pass a whole number"),
    ],
)
def test_bad_arguments(argument, message):
    with pytest.raises(bauklens.LensError, match=message):
        bauklens.logit_lens(wide_model("llama", "plain"), None, PROMPT, **argument)


@pytest.mark.long
def test_the_demo_model_on_a_page_of_text(numbers, always_pays, demo):
    """Against the exact way and against a plain softmax of every logit, at every place."""
    model, tokenizer = demo
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    prompt = tokenizer(text)["input_ids"][: 200 if bfloat16_features() else 48]  # in software it takes minutes
    auto = bauklens.logit_lens(model, tokenizer, prompt)
    exact = bauklens.logit_lens(model, tokenizer, prompt, precision="exact")
    assert auto.provenance["decoding"]["precision"] == numbers
    assert auto.provenance["decoding"]["decoded again"] < 0.2 * auto.provenance["decoding"]["rows"]
    hidden = bauklens.get_hidden_states(model, tokenizer, prompt)[:, 0]
    for row, state in enumerate(hidden, 1):
        true = model.lm_head(model.model.norm(state)).double().softmax(-1)
        top = true.topk(5)
        for lens in (auto, exact):
            ids, probabilities = torch.tensor(lens.top_ids[row].copy()), torch.tensor(lens.top_probs[row].copy())
            assert_same_of(true, top, ids, probabilities, 5)

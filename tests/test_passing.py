"""Lenses that do not keep hidden states: each row is read as soon as its block has run, and is the same."""

import accelerate
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

import bauklens
from bauklens import edits
from bauklens.decode import low_precision
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import resolve
from bauklens.stream import passing
from bauklens.stream.states import trace_stream
from bauklens.stream.tracing import Tracing
from tests import encoder_decoders, test_coverage
from tests.tiny import PROMPT, block_list, pass_output_through, tiny_model, tiny_tokenizer

TEXT = (PROMPT * 5)[:48]


def both(model, prompt=TEXT, **options):
    """The lens with all states kept, and without."""
    kept = bauklens.logit_lens(model, None, prompt, **options)
    return kept, bauklens.logit_lens(model, None, prompt, keep_states=False, **options)


def assert_same(one, other, within=0.0):
    """All numbers of two lenses."""
    assert one.layers == other.layers
    assert np.array_equal(one.top_ids, other.top_ids)
    assert np.abs(one.top_probs - other.top_probs).max() <= within
    assert np.abs(one.magnitude / other.magnitude - 1).max() <= within
    assert one.measures.keys() == other.measures.keys()
    for name, values in one.measures.items():
        np.testing.assert_allclose(other.measures[name], values, rtol=0, atol=100 * within, err_msg=name)
    for ours, theirs in zip(one.targets, other.targets, strict=True):
        assert np.abs(ours.probability - theirs.probability).max() <= within
        assert np.array_equal(ours.rank, theirs.rank)
    if one.tracked is not None:
        assert np.array_equal(one.tracked.rank, other.tracked.rank)
    assert {name: one.check[name] for name in ("positions", "cells")} == {
        name: other.check[name] for name in ("positions", "cells")
    }


OPTIONS = {
    "as it is": {},
    "every measure": {"measures": "all"},
    "no measure": {"measures": [], "track": 0},
    "some layers": {"layers": ["embed", 1]},
    "one layer": {"layers": 0, "measures": []},
    "the last layer": {"layers": -1},
    "the last position": {"positions": -1},
    "some positions": {"positions": [40, 3, 11]},
    "the final norm's scale": {"norm": "final"},
    "no norm": {"norm": None},
    "tokens followed": {"targets": [5, 44, 301]},
    "a set": {"mass": {"low": range(100)}},
    "few rows at once": {"chunk_rows": 7},
    "an edit": {"edits": edits.steer("logit", 44, layers=1, strength=2.0)},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_it_is_the_same_to_the_last_bit(options):
    assert_same(*both(tiny_model("llama"), precision="exact", **options))


@pytest.mark.parametrize("name", ["gpt2", "gptj", "gemma2", "opt"])
def test_so_it_is_for_other_models(name):
    assert_same(*both(tiny_model(name)))


def test_a_decoder_and_the_logit_lens_beside_it():
    model = tiny_model("llama")
    shift = torch.linspace(-1, 1, model.config.hidden_size)

    def shifted(states, layers):
        return states + shift

    kept, passed = both(model, decoder=["logit", shifted])
    for one, other in zip(kept, passed, strict=True):
        assert_same(one, other)


def test_in_low_precision(numbers, monkeypatch):
    monkeypatch.setattr(low_precision, "pays", lambda device, dtype: True)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=12_000,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    model.lm_head.weight.normal_(0, 0.4)
    kept, passed = both(model, [each * 7 % 12_000 for each in range(3, 203)])
    assert kept.provenance["decoding"] == passed.provenance["decoding"]
    assert passed.provenance["decoding"]["precision"] == numbers
    assert_same(kept, passed, within=1e-5)


def test_only_the_last_state_is_kept_and_each_other_is_let_go_when_it_was_read():
    """Never more than one state beside those that the check looks at, whatever the number of layers."""
    model = tiny_model("llama")
    anatomy = resolve(model, Inputs(torch.tensor([TEXT])))
    stream = trace_stream(model, anatomy, Inputs(torch.tensor([TEXT])), Tracing(keep_states=False))
    assert stream.states.shape == (1, len(TEXT), model.config.hidden_size)
    assert stream.passing is not None
    held = []

    def visit(rows):
        held.append([row for row in range(4) if is_at_hand(stream.passing, row)])

    stream.passing.read([range(row, row + 1) for row in range(4)], visit, stay=[1])
    assert held == [[0, 3], [1, 3], [1, 2, 3], [1, 3]]


def is_at_hand(states, row):
    """Whether a state can be read at all positions, and not only at those of the sample."""
    try:
        return len(states.of(row)) == len(TEXT)
    except ValueError:
        return False


def test_large_states_are_passed_on_by_themselves(monkeypatch):
    model = tiny_model("gpt2")
    passed = []
    real = passing.passing_stream
    monkeypatch.setattr("bauklens.stream.states.passing_stream", lambda *given: passed.append(1) or real(*given))
    kept = bauklens.logit_lens(model, None, TEXT)
    assert not passed
    monkeypatch.setattr(passing, "MOST_KEPT", 4 * len(TEXT) * model.config.n_embd)
    assert_same(kept, bauklens.logit_lens(model, None, TEXT))
    assert passed
    bauklens.logit_lens(model, None, TEXT, keep_states=True)
    assert len(passed) == 1
    both_streams = bauklens.logit_lens(model, None, TEXT, stream=["hidden", "delta"])
    assert [each.stream for each in both_streams] == ["hidden", "delta"]
    bauklens.compare_models(model, tiny_model("gpt2", seed=1), None, TEXT)
    assert len(passed) == 1


def test_lists_and_generated_text():
    model = tiny_model("llama")
    prompts = [TEXT, TEXT[:20], TEXT[5:]]
    for one, other in zip(*both(model, prompts), strict=True):
        assert_same(one, other, within=1e-5)
    assert_same(*both(model, PROMPT, max_new_tokens=4))


def test_an_encoder_decoder():
    model = encoder_decoders.build("t5")
    assert_same(*both(model, encoder_decoders.SOURCE, text_target=encoder_decoders.TARGET))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"stream": "delta"}, "the stream 'delta' is computed from what blocks take and return"),
        ({"stream": ["hidden", "mlp"]}, "the stream 'mlp' is computed"),
        ({"attention": True}, "attention= uses the states again"),
        ({"edit_output": lambda output, layer: None}, r"edit_output would act twice \(pass edits= instead\)"),
        ({"layers": [1, 0]}, "layers= are not in the order of the model"),
    ],
)
def test_what_needs_all_states(options, reason):
    with pytest.raises(
        bauklens.LensError, match=f"keep_states=False does not work here, because {reason}.*: leave it out"
    ):
        bauklens.logit_lens(tiny_model("llama"), None, TEXT, keep_states=False, **options)
    bauklens.logit_lens(tiny_model("llama"), None, TEXT, **options)


def test_whole_words_need_them():
    with pytest.raises(bauklens.LensError, match=r"followed in longer texts \(pass words='first'\): leave it out"):
        bauklens.logit_lens(tiny_model("llama"), tiny_tokenizer(), "ab cd", targets="abc abc", keep_states=False)


def test_states_of_another_shape_are_kept():
    with pytest.raises(
        bauklens.LensError, match=r"because the states of \w+ are not \(position, hidden\): leave it out"
    ):
        bauklens.logit_lens(test_coverage.build("cpmant"), None, PROMPT, keep_states=False)


def test_hooks_of_the_caller_need_them():
    model = tiny_model("llama")
    block_list(model)[0].register_forward_hook(lambda *given: None)
    with pytest.raises(bauklens.LensError, match="have your own hooks"):
        bauklens.logit_lens(model, None, TEXT, keep_states=False)


def test_neither_true_nor_false():
    with pytest.raises(bauklens.LensError, match="unknown keep_states 'no': pass one of None, True, False"):
        bauklens.logit_lens(tiny_model("llama"), None, TEXT, keep_states="no")


def test_a_model_that_does_something_else_the_second_time_is_refused():
    model = tiny_model("llama")
    pass_output_through(block_list(model)[1], noisy)
    with pytest.raises(
        bauklens.LensError,
        match="because of noise or an edit that keeps its own state, for example: pass keep_states=True",
    ):
        bauklens.logit_lens(model, None, TEXT, keep_states=False)


def noisy(_module, _inputs, output):
    states = output[0] if isinstance(output, tuple) else output
    noise = states * (1 + 0.01 * torch.rand_like(states))
    return (noise, *output[1:]) if isinstance(output, tuple) else noise


def test_one_position_that_is_another_the_second_time_is_found_in_the_last_state():
    model = tiny_model("llama")

    def noisy_there(_module, _inputs, output):
        states = output[0] if isinstance(output, tuple) else output
        states[:, 45] += torch.rand_like(states[:, 45])

    pass_output_through(block_list(model)[-1], noisy_there)
    with pytest.raises(bauklens.LensError, match="the states differ when the model runs again"):
        bauklens.logit_lens(model, None, TEXT, keep_states=False)


@pytest.mark.parametrize("offload", [accelerate.cpu_offload, None], ids=["offloaded", "half"])
def test_offloaded_models_and_half_precision(offload):
    model = tiny_model("gpt2", torch.bfloat16 if offload is None else torch.float32)
    plain = bauklens.logit_lens(model, None, TEXT)
    if offload is not None:
        model = offload(model, execution_device=torch.device("cpu"))
    assert_same(plain, bauklens.logit_lens(model, None, TEXT, keep_states=False), within=1e-6)


def test_a_state_that_is_not_finite_is_named():
    model = tiny_model("llama")
    with torch.no_grad():
        block_list(model)[1].mlp.down_proj.weight[0] = float("nan")
    with pytest.raises(bauklens.LensError, match="the hidden state of layer 1 at position 0 contains NaN"):
        bauklens.logit_lens(model, None, TEXT, keep_states=False)


def test_memory_for_the_logits_of_the_last_position_only():
    """The first pass runs out of memory for its logits, and is run again without most of them."""
    model = tiny_model("llama")
    plain = bauklens.logit_lens(model, None, TEXT)

    def no_more_than_32_rows(module, inputs, output):
        if output.shape[0] * output.shape[1] > 32:
            raise torch.OutOfMemoryError("CUDA out of memory")

    pass_output_through(model.lm_head, no_more_than_32_rows)
    lens = bauklens.logit_lens(model, None, TEXT, keep_states=False)
    assert lens.check["positions"] == len(TEXT)
    assert np.array_equal(plain.top_ids, lens.top_ids)

"""Attention, MLP and the stream between them: found by running, against hooks set by hand; and edits."""

import numpy as np
import pytest
import torch
from transformers import GraniteConfig, MambaConfig

import bauklens
from bauklens import LensError, logit_lens
from bauklens.model.encoding import encode
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import resolve, sublayers_of
from bauklens.stream.states import trace_stream
from bauklens.stream.tracing import Tracing
from tests.test_coverage import NO_LENS, SPECS, build
from tests.test_coverage import PROMPT as COVERAGE_PROMPT
from tests.tiny import LAYERS, PROMPT, block_list, hook_count, tiny_model, with_random_weights

WRITES = {
    "gpt2": ("attn", "mlp"),
    "gptj": ("attn", "mlp"),
    "llama": ("self_attn", "mlp"),
    "gemma2": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "opt": ("self_attn", "fc2"),
}
"""What a block adds to the stream, told by hand from each model's own code."""

WITHOUT_SUBLAYERS = set(
    """
    bart beam blenderbot-small bloom@postln blt blt@decoder cpmant deepseek_v4 doge dory falcon_mamba gemma3n
    gemma3n_text gpt_neox_japanese hrm_text hy_v4 longcat_flash mamba mamba2 marian minimax moshi mvp nemotron_h
    openai-gpt opt@350m plbart prophetnet qwen4_exp qwen4_exp_text qwen4_exp_text@ple reformer rwkv trocr xlnet
    zamba zamba2
    """.split()  # noqa: SIM905
)
"""Of the coverage list, those whose blocks are not a mixer and an MLP that add up to what the block adds."""


def traced(model, prompt=PROMPT, **options):
    inputs = Inputs(torch.tensor([prompt]))
    anatomy = resolve(model, inputs)
    tracing = Tracing(sublayers=sublayers_of(model, anatomy, inputs), **options)
    return trace_stream(model, anatomy, inputs, tracing), anatomy


def by_hand(model, name):
    """What the module ``name`` of every block returns, (layer, position, hidden)."""
    seen = []
    hooks = [
        block.get_submodule(name).register_forward_hook(
            lambda module, inputs, output: seen.append((output if torch.is_tensor(output) else output[0]).clone())
        )
        for block in block_list(model)
    ]
    with torch.no_grad():
        model(input_ids=torch.tensor([PROMPT]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return torch.stack([each.reshape(len(PROMPT), -1) for each in seen])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", WRITES)
def test_what_is_written_is_what_the_modules_return(name, dtype):
    model = tiny_model(name, dtype)
    stream, _ = traced(model)
    attention, mlp = (by_hand(model, module) for module in WRITES[name])
    assert torch.equal(stream.written.attention, attention)
    assert torch.equal(stream.written.mlp, mlp)


@pytest.mark.parametrize("name", [*WRITES, "bloom"])
def test_before_and_what_is_written_is_after(name):
    stream, _ = traced(tiny_model(name))
    before, after = stream.states[:-1], stream.states[1:]
    assert torch.allclose(before + stream.written.attention + stream.written.mlp, after, atol=1e-5)
    assert torch.allclose(before + stream.written.attention, stream.written.mid, atol=1e-5)
    assert stream.written.attention.abs().max() > 0.1
    assert stream.written.mlp.abs().max() > 0.1


def test_bloom_hands_the_stream_through_its_sublayers():
    model = tiny_model("bloom")
    stream, _ = traced(model)
    assert torch.allclose(stream.written.mid, by_hand(model, "self_attention"), atol=1e-5)


def test_a_scale_on_what_is_added_is_found():
    config = GraniteConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=320,
        residual_multiplier=0.22,
    )
    model = with_random_weights(config)
    stream, _ = traced(model)
    assert torch.allclose(stream.written.mlp, 0.22 * by_hand(model, "mlp"), atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", sorted(set(SPECS) - NO_LENS))
def test_two_sublayers_add_up_or_the_error_says_so(name, record_property):
    model = build(name)
    if name in WITHOUT_SUBLAYERS:
        with pytest.raises(LensError, match="pass stream='hidden' or 'delta'"):
            traced(model, COVERAGE_PROMPT)
        return
    stream, _ = traced(model, COVERAGE_PROMPT)
    total = stream.states[:-1] + stream.written.attention + stream.written.mlp
    assert torch.allclose(total, stream.states[1:], atol=1e-3)
    record_property("types with two sublayers", SPECS[name]["base_model_type"])


class TestLens:
    @pytest.mark.parametrize("name", [*WRITES, "bloom"])
    def test_streams_are_decoded_like_any_states(self, name):
        model = tiny_model(name)
        stream, anatomy = traced(model)
        for which in ("attention", "mlp"):
            lens = logit_lens(model, None, PROMPT, stream=which)
            shown = bauklens.show_logit_lens(model, None, PROMPT, hs=stream.named(which)[:, None])
            assert lens.layers == anatomy.labels
            assert lens.stream == which
            assert np.array_equal(lens.top_ids, shown.top_ids)
            assert np.allclose(lens.magnitude, stream.named(which).norm(dim=-1), rtol=1e-5)

    def test_several_streams_are_one_forward_pass(self):
        model = tiny_model("llama")
        names = ["hidden", "delta", "attention", "mlp", "mid"]
        alone = [logit_lens(model, None, PROMPT, stream=name, layers=[0, -1], positions=-1) for name in names]
        ran = []
        model.model.layers[0].register_forward_hook(lambda *_: ran.append(1))
        inputs = Inputs(torch.tensor([PROMPT]))
        sublayers_of(model, resolve(model, inputs), inputs)
        ran.clear()
        together = logit_lens(model, None, PROMPT, stream=names, layers=[0, -1], positions=-1)
        assert len(ran) == 1
        for one, other in zip(alone, together, strict=True):
            assert one.stream == other.stream
            assert np.array_equal(one.top_ids, other.top_ids)
            assert np.array_equal(one.magnitude, other.magnitude)

    def test_parallel_blocks_have_no_mid(self):
        with pytest.raises(LensError, match=r"give attention and MLP the same state, so they have no stream 'mid'"):
            logit_lens(tiny_model("gptj"), None, PROMPT, stream="mid")

    def test_a_block_without_an_mlp_says_so(self):
        config = MambaConfig(hidden_size=32, num_hidden_layers=LAYERS, vocab_size=320, state_size=4)
        with pytest.raises(LensError, match=r"backbone\.layers\.0 of MambaForCausalLM has no attention and MLP"):
            logit_lens(with_random_weights(config), None, PROMPT, stream="attention")

    def test_a_sum_that_fails_is_refused(self):
        """A hook that changes what the block returns, after its sublayers are added, leaves no two that add up."""
        model = tiny_model("llama")
        model.model.layers[1].register_forward_hook(lambda module, inputs, output: output.sin())
        with pytest.raises(LensError, match=r"model\.layers\.1 of LlamaForCausalLM has no attention and MLP"):
            logit_lens(model, None, PROMPT, stream="mlp")

    def test_a_sum_that_fails_later_in_the_prompt_is_refused(self):
        model = tiny_model("llama")

        def at_position_9(module, inputs, output):
            if output.shape[1] > 9:
                output = output.clone()
                output[:, 9] *= 2
            return output

        model.model.layers[1].register_forward_hook(at_position_9)
        with pytest.raises(
            LensError, match=r"layers\.1\.self_attn and .*layers\.1\.mlp write does not add up.*position 9"
        ):
            logit_lens(model, None, PROMPT, stream="mlp")


class TestEdits:
    def test_an_edit_is_what_the_model_goes_on_with(self, model):
        """Ablating a block by hand, with a hook, and by edit_output is the same; the check is against the edited."""
        name = resolve(model, Inputs(torch.tensor([PROMPT]))).blocks[1]

        def double(output, layer):
            if layer != name:
                return None
            return output * 2 if torch.is_tensor(output) else (output[0] * 2, *output[1:])

        edited = logit_lens(model, None, PROMPT, edit_output=double)
        plain = logit_lens(model, None, PROMPT)
        hook = model.get_submodule(name).register_forward_hook(lambda module, inputs, output: double(output, name))
        by_hook = logit_lens(model, None, PROMPT)
        hook.remove()
        assert np.array_equal(edited.top_ids, by_hook.top_ids)
        assert np.allclose(edited.top_probs, by_hook.top_probs, atol=1e-6)
        assert edited.check["max_abs_logit_difference"] < 1e-4
        assert np.array_equal(edited.top_ids[:2], plain.top_ids[:2])
        assert not np.allclose(edited.top_probs[2:], plain.top_probs[2:], atol=1e-4)
        assert "double" in edited.provenance["arguments"]["edit_output"]

    def test_an_edit_that_fails_leaves_the_model_as_it_was(self, gpt2):
        with pytest.raises(ZeroDivisionError):
            logit_lens(gpt2, None, PROMPT, edit_output=lambda output, layer: 1 / 0)
        assert hook_count(gpt2) == 0


def test_a_scale_that_rounding_hides_is_the_simplest_that_fits(demo):
    """The stream is a thousand times as large as what some sublayers write: a scale near 1 would look as good."""
    model, tokenizer = demo
    inputs = encode(model, tokenizer, "Q: What is the capital of Poland?")
    found = sublayers_of(model, resolve(model, inputs), inputs)
    assert {scale for each in (*found.attention, *found.mlp) for scale in each.scales} == {1.0}

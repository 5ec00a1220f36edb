"""What each attention head writes: found by running, beside weights and hooks read by hand."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GPT2Config, MixtralConfig, Qwen3NextConfig
from transformers.pytorch_utils import Conv1D

import bauklens
from bauklens import JacobianLens, LensError, LensResult, logit_lens
from bauklens.model.heads import HeadOutputs, Heads
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import heads_of, resolve
from tests.test_coverage import NO_LENS, SPECS, build
from tests.test_coverage import PROMPT as COVERAGE_PROMPT
from tests.test_sublayers import WITHOUT_SUBLAYERS
from tests.tiny import (
    LAYERS,
    PROMPT,
    TEXT,
    VOCABULARY,
    WIDTH,
    hook_count,
    tiny_model,
    tiny_tokenizer,
    with_random_weights,
)

HEADS = 4
NO_HEADS = set(
    """
    bert bert-generation big_bird camembert data2vec-text electra electra@proj ernie falcon_h1 git inkling_text
    inkling_text@unpadded jetmoe rembert roberta roc_bert roformer xlm-roberta zaya
    """.split()  # noqa: SIM905
)
"""Of those with two sublayers, the ones without heads that can be told apart: the stream is normed after the attention
is added, a convolution or a scale of the stream follows, or each expert has its own projection."""

OTHER_COUNTS = {"diffllama": 2, "xlstm": 4}
"""Heads that the configuration counts otherwise: pairs whose difference is one head; it has another name for them."""


def mixtral():
    return with_random_weights(
        MixtralConfig(
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=2,
            intermediate_size=24,
            num_local_experts=4,
            vocab_size=VOCABULARY,
            max_position_embeddings=64,
        )
    )


MODELS = {name: lambda name=name: tiny_model(name) for name in ("gpt2", "gptj", "llama", "gemma2", "opt", "bloom")} | {
    "mixtral": mixtral
}
PROJECTIONS = {
    "gpt2": "attn.c_proj",
    "gptj": "attn.out_proj",
    "llama": "self_attn.o_proj",
    "gemma2": "self_attn.o_proj",
    "opt": "self_attn.out_proj",
    "bloom": "self_attention.dense",
    "mixtral": "self_attn.o_proj",
}
"""Told by hand from each model's own code."""


def found_heads(model, prompt=PROMPT):
    inputs = Inputs(torch.tensor([prompt]))
    return heads_of(model, resolve(model, inputs), inputs)


def seen(model, names, prompt=PROMPT):
    """Name -> what a module is given and what it returns, in one run."""
    found = {}

    def hook_of(name):
        def hook(module, inputs, output):
            found[name] = (inputs[0].clone(), (output if torch.is_tensor(output) else output[0]).clone())

        return hook

    handles = [model.get_submodule(name).register_forward_hook(hook_of(name)) for name in names]
    codebooks = getattr(model.config, "num_codebooks", 1)
    with torch.no_grad():
        model(input_ids=torch.tensor([prompt] * codebooks), use_cache=False)
    for handle in handles:
        handle.remove()
    return found


def by_hand(module, given, head, count):
    """What a projection makes of one head, by its weights."""
    weight = module.weight.float()
    rows = weight if isinstance(module, Conv1D) else weight.T  # (width, hidden)
    size = rows.shape[0] // count
    some = slice(head * size, (head + 1) * size)
    return given[..., some] @ rows[some]


@pytest.mark.parametrize("name", MODELS)
def test_the_projection_and_the_number_of_heads_are_found(name):
    found = found_heads(MODELS[name]())
    assert [each.projection.partition(".0.")[2] for each in found[:1]] == [PROJECTIONS[name]]
    assert {each.count for each in found} == {HEADS}
    assert len(found) == LAYERS
    assert {each.norm is not None for each in found} == {name == "gemma2"}
    assert {each.biased for each in found} == {name in ("gpt2", "opt", "bloom")}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_what_a_head_writes_is_its_part_of_the_product(name, dtype):
    model = MODELS[name]().to(dtype)
    for heads in found_heads(model):
        names = [heads.projection] if heads.norm is None else [heads.projection, heads.norm]
        run = seen(model, names)
        given, returned = run[heads.projection]
        written, total = HeadOutputs(model, heads, given), 0
        for head in range(HEADS):
            right = by_hand(model.get_submodule(heads.projection), given.float(), head, HEADS)
            if heads.norm is not None:  # an RMSNorm of Gemma 2: its weight is around 0
                norm = model.get_submodule(heads.norm)
                scale = (returned.float().square().mean(dim=-1, keepdim=True) + norm.eps).sqrt()
                right = right / scale * (1 + norm.weight.float())
            found = written.of(head)
            total = total + found.float()
            grain = 1e-5 if dtype == torch.float32 else 0.05
            assert torch.allclose(found.float(), right, atol=grain * right.abs().max())
        whole = run[heads.norm or heads.projection][1]
        bias = whole.float() - total
        assert torch.allclose(written.of(None).float().expand_as(bias), bias, atol=grain * whole.abs().max())
        assert torch.allclose(written.of(1, [2, -1]), written.of(1)[:, [2, -1]], atol=grain)
        apart = torch.cat([written.of(head, [2, -1]) for head in (*range(HEADS), None)])
        at_once = HeadOutputs(model, heads, given.flatten(0, -2)).all_of([2, -1])
        assert torch.allclose(at_once, apart, atol=grain * whole.float().abs().max())
        assert written.add_up_to(whole)
        assert not written.add_up_to(whole * 1.01 if dtype == torch.float32 else whole * 1.5)


def test_a_gated_attention_is_told_from_a_mixer_that_has_none():
    """Qwen3-Next: a gate follows the heads in every second block here; the others are linear attention with a norm."""
    config = Qwen3NextConfig(
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        vocab_size=VOCABULARY,
        num_experts=0,
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        layer_types=["linear_attention", "full_attention"],
    )
    model = with_random_weights(config)
    assert {each.count for each in found_heads(model) if isinstance(each, Heads)} == {HEADS}
    assert isinstance(found_heads(model)[1], Heads)


def test_one_head_is_a_head():
    config = GPT2Config(n_embd=WIDTH, n_layer=2, n_head=1, n_positions=64, vocab_size=VOCABULARY)
    assert [each.count for each in found_heads(with_random_weights(config))] == [1, 1]


def test_nothing_is_left_on_the_model():
    model = tiny_model("llama")
    found_heads(model)
    assert hook_count(model) == 0


def test_what_has_no_heads_says_so():
    model = build("jetmoe")
    with pytest.raises(LensError, match=r"is not the output of a projection.*pass stream='attention'") as found:
        found_heads(model, COVERAGE_PROMPT)
    assert "\n" not in str(found.value)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", sorted(set(SPECS) - NO_LENS - WITHOUT_SUBLAYERS))
def test_heads_of_every_type_or_the_error_says_why(name, record_property):
    model = build(name).requires_grad_(False)
    if name in NO_HEADS:
        with pytest.raises(LensError, match="pass stream='attention'"):
            found_heads(model, COVERAGE_PROMPT)
        return
    found = [each for each in found_heads(model, COVERAGE_PROMPT) if isinstance(each, Heads)]
    count = OTHER_COUNTS.get(name) or model.config.get_text_config().num_attention_heads
    assert {each.count for each in found} == {count}
    run = seen(model, [each.projection for each in found], COVERAGE_PROMPT)
    for heads in found:
        given, _ = run[heads.projection]
        written, module = HeadOutputs(model, heads, given), model.get_submodule(heads.projection)
        if heads.norm is None:
            for head in range(count):
                right = heads.scale * by_hand(module, given, head, count)
                assert torch.allclose(written.of(head), right, atol=1e-5)
    record_property("types with heads", SPECS[name]["base_model_type"])


class TestLens:
    @pytest.mark.parametrize("name", MODELS)
    def test_a_row_is_what_a_head_writes(self, name):
        model = MODELS[name]()
        lens = logit_lens(model, None, PROMPT, stream="heads")
        biases = ["bias"] if name in ("gpt2", "opt", "bloom") else []
        assert list(lens.layers) == [
            f"{layer}.{each}" for layer in range(LAYERS) for each in ("h0", "h1", "h2", "h3", *biases)
        ]
        heads = found_heads(model)[1]
        given, _ = seen(model, [heads.projection])[heads.projection]
        states = torch.stack([HeadOutputs(model, heads, given).of(head)[0] for head in range(HEADS)])
        shown = bauklens.show_logit_lens(model, None, PROMPT, hs=states[:, None])
        some = logit_lens(model, None, PROMPT, stream="heads", layers=[f"1.h{head}" for head in range(HEADS)])
        assert np.array_equal(some.top_ids, shown.top_ids)
        assert np.allclose(some.top_probs, shown.top_probs, atol=1e-6)
        assert np.allclose(some.magnitude, states.norm(dim=-1), rtol=1e-4)
        rows = [lens.layers.index(label) for label in some.layers]
        assert np.array_equal(lens.top_ids[rows], some.top_ids)

    def test_with_the_final_norm_heads_add_up_to_their_attention(self):
        model = tiny_model("gpt2")
        heads, attention = logit_lens(model, None, PROMPT, stream=["heads", "attention"], norm="final", targets=[44])
        found = heads.target(44).logit.reshape(LAYERS, HEADS + 1, len(PROMPT)).sum(axis=1)
        assert np.allclose(found, attention.target(44).logit, atol=1e-4)

    def test_a_number_is_all_heads_of_a_layer_and_a_label_is_one(self):
        model = tiny_model("llama")

        def rows(layers):
            return logit_lens(model, None, PROMPT, stream="heads", layers=layers, positions=-1).layers

        assert rows(1) == ("1.h0", "1.h1", "1.h2", "1.h3")
        assert rows(["2.h1", "0"]) == ("2.h1", "0.h0", "0.h1", "0.h2", "0.h3")
        assert rows(-1) == ("2.h0", "2.h1", "2.h2", "2.h3")
        both = logit_lens(model, None, PROMPT, stream=["hidden", "heads"], layers=[0], positions=[2, 5])
        assert [each.layers for each in both] == [("0",), ("0.h0", "0.h1", "0.h2", "0.h3")]
        for wrong, said in (("0.h4", "unknown layer '0.h4'"), (7, "unknown layer 7"), (["0", "0.h1"], "given twice")):
            with pytest.raises(LensError, match=said):
                rows(wrong)

    def test_the_pass_ends_after_the_last_layer_that_is_needed(self):
        lens = logit_lens(tiny_model("llama"), None, PROMPT, stream="heads", layers=["1.h1"])
        assert (lens.layers, lens.check["positions"]) == (("1.h1",), 0)

    def test_a_block_without_heads_has_no_rows(self):
        model = build("jamba")
        lens = logit_lens(model, None, COVERAGE_PROMPT, stream="heads")
        assert lens.layers == ("1.h0", "1.h1", "1.h2", "1.h3")
        with pytest.raises(LensError, match="the heads of layer 2 cannot be told apart"):
            logit_lens(model, None, COVERAGE_PROMPT, stream="heads", layers=-1)

    def test_a_jacobian_lens_maps_them_as_their_layer(self):
        model = tiny_model("llama")
        matrix = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(1))
        lens = JacobianLens({0: matrix})
        found = logit_lens(model, None, PROMPT, stream="heads", decoder=lens, layers=[0])
        heads = found_heads(model)[0]
        given, _ = seen(model, [heads.projection])[heads.projection]
        states = torch.stack([HeadOutputs(model, heads, given).of(head)[0] @ matrix.T for head in range(HEADS)])
        shown = bauklens.show_logit_lens(model, None, PROMPT, hs=states[:, None])
        assert np.array_equal(found.top_ids, shown.top_ids)

    def test_they_are_never_in_memory_at_once(self):
        """No tensor of states has as many numbers as half of what all heads write together."""
        model, prompt, sizes = tiny_model("llama"), PROMPT * 6, []

        class Sizes(TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                output = func(*args, **(kwargs or {}))
                if torch.is_tensor(output) and output.ndim and output.shape[-1] == WIDTH:
                    sizes.append(output.numel())
                return output

        with Sizes():
            lens = logit_lens(model, None, prompt, stream="heads", chunk_rows=8, precision="exact")
        assert max(sizes) < len(lens.layers) * len(prompt) * WIDTH / 2

    def test_it_is_kept_and_shown(self, tmp_path):
        lens = logit_lens(tiny_model("gpt2"), None, PROMPT, stream="heads")
        lens.save(tmp_path / "heads.json")
        assert LensResult.load(tmp_path / "heads.json").layers == lens.layers
        assert "Attention heads" in lens.to_html()
        assert "2.h3" in lens.to_html()
        assert set(lens.to_frame()["layer"]) == set(lens.layers)

    def test_a_whole_word_is_followed(self):
        model = tiny_model("llama")
        lens = logit_lens(model, tiny_tokenizer(), TEXT, stream="heads", layers=["1.h2"], targets=["the tower in"])
        assert np.isfinite(lens.targets[0].probability).all()

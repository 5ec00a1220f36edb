"""Fitting a Jacobian lens in closed form: blocks as matrices, against autograd; texts that a model writes itself."""

import pytest
import torch

from bauklens import LensError
from bauklens.decoders.fit.gated_block import GatedBlock
from bauklens.decoders.fit.mean_field import mean_field_jacobians
from bauklens.decoders.fit.own_texts import own_texts
from bauklens.decoders.texts import SKIP_FIRST
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import resolve
from tests.tiny import LAYERS, PROMPT, WIDTH, hook_count, pass_output_through, tiny_model

LONG = Inputs(torch.tensor([PROMPT * 3, PROMPT[::-1] * 3]))
ONE = Inputs(LONG.ids[:1])


def matrices(model, inputs, positions):
    """The matrix of every block in a run, by its number."""
    found = []
    with torch.enable_grad():
        blocks = [GatedBlock(f"block {number}", block) for number, block in enumerate(model.model.layers)]
        opened = [block.linearized(positions, found.append) for block in blocks]
        for each in opened:
            each.__enter__()
        model(inputs.ids, use_cache=False)
        for each in opened:
            each.__exit__(None, None, None)
    return found


def test_at_a_single_position_a_block_is_its_jacobian():
    """There the attention has one place to look at, and a mean over one position is that position."""
    model = tiny_model("llama")
    states = []
    for block in model.model.layers:
        block.register_forward_pre_hook(lambda _, inputs, keywords: states.append((inputs, keywords)), with_kwargs=True)
    found = matrices(model, Inputs(torch.tensor([PROMPT[:1]])), slice(0, 1))
    assert len(found) == LAYERS
    for block, matrix, (inputs, keywords) in zip(model.model.layers, found, list(states), strict=True):

        def run(state, block=block, inputs=inputs, keywords=keywords):
            output = block(state[None, None], *inputs[1:], **keywords)
            return (output if isinstance(output, torch.Tensor) else output[0])[0, 0]

        exact = torch.autograd.functional.jacobian(run, inputs[0][0, 0].detach())
        assert torch.allclose(matrix, exact, atol=1e-5, rtol=1e-4)


def test_a_layer_is_the_product_of_the_blocks_after_it():
    model = tiny_model("llama")
    found = mean_field_jacobians(model, resolve(model, ONE), LONG)
    first, second, third = matrices(model, LONG, slice(SKIP_FIRST, LONG.count - 1))
    assert list(found) == ["1", "0", "embed"]
    assert first.shape == (WIDTH, WIDTH)
    assert torch.allclose(found["1"], third, atol=1e-5)
    assert torch.allclose(found["0"], third @ second, atol=1e-4)
    assert torch.allclose(found["embed"], third @ second @ first, atol=1e-3)


def test_attention_given_to_later_positions_counts():
    """What a position gives away is added up over all that look at it, so that a longer text gives more away."""
    model = tiny_model("llama")
    found = [matrices(model, LONG, slice(0, end))[0] for end in (1, LONG.count)]
    assert not torch.allclose(*found, atol=0.05)


@pytest.mark.parametrize("name", ["gpt2", "gptj", "bloom"])
def test_blocks_of_another_kind_are_refused(name):
    model = tiny_model(name)
    with pytest.raises(LensError, match="is not made of attention and a gated MLP"):
        mean_field_jacobians(model, resolve(model, ONE), LONG)


@pytest.mark.parametrize("name", ["gemma2"])
def test_blocks_with_more_norms_are_refused_by_what_they_return(name):
    model = tiny_model(name)
    with pytest.raises(LensError, match="has no Jacobian in closed form: what it returns is not what its parts give"):
        mean_field_jacobians(model, resolve(model, ONE), LONG)


@pytest.mark.parametrize(
    "part", ["mlp.gate_proj", "mlp.down_proj", "self_attn.v_proj", "self_attn.o_proj", "input_layernorm"]
)
def test_a_part_that_does_more_than_its_weights_is_refused_and_no_hook_is_left(part):
    model = tiny_model("llama")
    pass_output_through(model.model.layers[1].get_submodule(part), lambda _, inputs, output: 2 * output)
    before = hook_count(model)
    with pytest.raises(LensError, match=r"layers.1 has no Jacobian in closed form: its (MLP|attention|norm)"):
        mean_field_jacobians(model, resolve(model, ONE), LONG)
    assert hook_count(model) == before


def test_texts_are_the_same_for_a_seed_and_leave_the_random_state(gpt2):
    gpt2.lm_head.weight.mul_(0.02)  # so that many tokens are probable
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (own_texts(gpt2, 3, 20, seed=seed).ids for seed in (1, 1, 2))
    assert one.shape == (3, 20)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert (one[:, 0] == gpt2.config.bos_token_id).all()
    assert len({tuple(text) for text in one.tolist()}) == 3
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_without_a_token_that_begins_a_text_is_refused(gpt2):
    gpt2.config.bos_token_id = gpt2.config.eos_token_id = None
    with pytest.raises(LensError, match="has no token that begins a text"):
        own_texts(gpt2, 1, 4)

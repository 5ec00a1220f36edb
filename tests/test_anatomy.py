"""How a tail is decoded: by the head's product where that is proved, by the replay where not, never wrongly."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import CohereConfig, GraniteConfig, MixtralConfig

import bauklens
from bauklens.model.inputs import Inputs
from bauklens.model.layout import runs_in_order
from bauklens.model.post_ops import PostOps, find_post_ops, is_readable, probe_logits
from bauklens.model.resolving import resolve, sublayers_of
from tests.tiny import LAYERS, PROMPT, VOCABULARY, block_list, pass_output_through, tiny_model, with_random_weights

IDS = torch.tensor([PROMPT])

_SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (lambda: GraniteConfig(**_SMALL, logits_scaling=8.0), PostOps(scale=0.125)),
        (lambda: CohereConfig(**_SMALL, logit_scale=0.0625), PostOps(scale=0.0625)),
    ],
    ids=["granite divides", "cohere multiplies"],
)
def test_a_scale_is_found_by_running(config, expected, dtype):
    found = resolve(with_random_weights(config(), dtype), Inputs(IDS))
    assert found.post_ops == expected
    assert found.proof < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_soft_cap_is_found_by_running(dtype):
    model = tiny_model("gemma2", dtype)
    found = resolve(model, Inputs(IDS))
    assert found.post_ops == PostOps(cap=5.0)
    assert "5 tanh(x / 5)" in found.decoding
    assert sublayers_of(model, found, Inputs(IDS)).attention[0].names == ("model.layers.0.post_attention_layernorm",)


class TestPostOps:
    PROBE = probe_logits(torch.empty(1, 8, 500))

    def found(self, after_head, dtype=torch.float32):
        return find_post_ops(self.PROBE, after_head, dtype)

    def test_nothing(self):
        assert self.found(lambda x: x) == PostOps()
        assert self.found(lambda x: x[..., :480].half().float()) is None
        assert self.found(lambda x: x[..., :480].clone()) == PostOps()

    @pytest.mark.parametrize(("scale", "cap"), [(1, 30), (0.25, 50), (4, 5), (1 / 3, 15)])
    def test_scale_and_cap_in_any_order(self, scale, cap):
        before = self.found(lambda x: cap * torch.tanh(x * scale / cap))
        after = self.found(lambda x: scale * cap * torch.tanh(x / cap))
        assert before == PostOps(pytest.approx(scale, rel=1e-5), cap)
        assert after == PostOps(pytest.approx(scale, rel=1e-5), pytest.approx(scale * cap, rel=1e-5))

    def test_in_which_dtype(self):
        def capped(x):
            return 30 * torch.tanh(x / 30)

        assert self.found(capped, torch.bfloat16) == PostOps(cap=30)
        assert self.found(lambda x: capped(x.float()), torch.bfloat16) == PostOps(cap=30, float32=True)

    @pytest.mark.parametrize(
        "other",
        [
            lambda x: x.log_softmax(-1),
            lambda x: x + 1,
            lambda x: x.masked_fill(torch.arange(x.shape[-1]) == 77, -torch.inf),
            lambda x: x.roll(1, -1),
            torch.relu,
            lambda x: x[:, :1],
        ],
        ids=["log softmax", "offset", "a token left out", "rolled", "relu", "fewer positions"],
    )
    def test_anything_else_is_not_taken_for_it(self, other):
        assert self.found(other) is None


class TestTheWay:
    """What is decoded by the replay agrees with what is decoded by the product."""

    def assert_replayed_alike(self, model, plain):
        lens = bauklens.logit_lens(model, None, PROMPT)
        assert resolve(model, Inputs(IDS)).post_ops is None
        assert np.array_equal(lens.top_ids, plain.top_ids)
        assert np.allclose(lens.top_probs, plain.top_probs, atol=1e-6)

    @pytest.mark.parametrize("name", ["gpt2", "gemma2", "opt_350m"])
    def test_a_head_that_is_not_its_weights_alone(self, name):
        model = tiny_model(name)
        plain = bauklens.logit_lens(model, None, PROMPT)
        assert resolve(model, Inputs(IDS)).post_ops is not None
        forward = model.lm_head.forward
        pass_output_through(model.lm_head, lambda module, inputs, output: None)
        self.assert_replayed_alike(model, plain)
        del model.lm_head.forward
        assert model.lm_head.forward == forward
        assert resolve(model, Inputs(IDS)).post_ops is not None

    def test_a_hook_on_the_head_acts(self):
        model = tiny_model("llama")
        bauklens.logit_lens(model, None, PROMPT)
        model.lm_head.register_forward_hook(lambda module, inputs, output: output.flip(-1))
        lens = bauklens.logit_lens(model, None, PROMPT)
        with torch.no_grad():
            own = model(input_ids=IDS).logits[0]
        assert np.array_equal(lens.top_ids[-1], own.topk(5).indices)

    def test_a_model_that_leaves_tokens_out(self):
        model = tiny_model("llama")
        forward = model.forward

        def without_the_best(**given):
            output = forward(**given)
            output.logits[..., 100:] = -torch.inf
            return output

        model.forward = without_the_best
        lens = bauklens.logit_lens(model, None, PROMPT)
        assert resolve(model, Inputs(IDS)).post_ops is None
        assert lens.top_ids.max() < 100

    def test_a_scale_that_changes_unseen(self):
        """Another than was found at first is seen by the check and replayed, and found the next time."""
        model = with_random_weights(CohereConfig(**_SMALL, logit_scale=0.0625))
        bauklens.logit_lens(model, None, PROMPT)
        model.logit_scale = 0.5
        lens = bauklens.logit_lens(model, None, PROMPT)
        with torch.no_grad():
            own = model(input_ids=IDS).logits[0]
        assert np.allclose(lens.top_probs[-1], own.softmax(-1).topk(5).values, atol=1e-6)
        assert resolve(model, Inputs(IDS)).post_ops == PostOps(scale=0.5)

    def test_what_counts_as_weights_alone(self):
        linear = torch.nn.Linear(4, 9)
        assert is_readable(linear)
        assert not is_readable(linear.to("meta"))
        assert not is_readable(torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 9)))
        assert not is_readable(torch.nn.Sequential(torch.nn.Linear(4, 9)))


class TestANamedNorm:
    def test_the_models_own(self, gpt2):
        plain = bauklens.logit_lens(gpt2, None, PROMPT)
        named = bauklens.logit_lens(gpt2, None, PROMPT, norm="transformer.ln_f")
        assert np.array_equal(plain.top_ids, named.top_ids)
        assert np.allclose(plain.top_probs, named.top_probs, atol=1e-6)
        assert named.norm == "transformer.ln_f"

    @pytest.mark.parametrize(
        ("norm", "message"),
        [
            ("transformer.h.0.ln_1", r"does not reproduce the model's own logits.*pass blocks=, norm= or head="),
            (
                "transformer.lnf",
                r"unknown norm 'transformer\.lnf': pass 'own', 'final' or None, or .*, 'transformer\.ln_f'",
            ),
            (
                "transformer.h.0.mlp.c_fc",
                r"norm='transformer\.h\.0\.mlp\.c_fc' does not turn a state into logits",
            ),
            ("transformer.h.0.attn", "does not turn a state into logits"),
            (5, "unknown norm 5: pass 'own', 'final' or None, or the name of a module"),
        ],
    )
    def test_another(self, gpt2, norm, message):
        with pytest.raises(bauklens.LensError, match=message):
            bauklens.logit_lens(gpt2, None, PROMPT, norm=norm)


def full_probabilities(model, row):
    """Of a full forward pass in which the blocks from the ``row``-th on hand on what they were given."""

    def hand_on(module, inputs, output):  # blocks return tuples in transformers 4
        return (inputs[0], *output[1:]) if isinstance(output, tuple) else inputs[0]

    hooks = [block.register_forward_hook(hand_on) for block in list(block_list(model))[row:]]
    with torch.no_grad():
        logits = model(input_ids=IDS, use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    return logits.softmax(-1)


HOOKS = {
    "last position": lambda output: output[:, -1].mul_(-1),
    "third position": lambda output: output[:, 2].mul_(-1),
    "first of the batch": lambda output: output[0].mul_(-1),
    "a late position": lambda output: output[:, 9].mul_(-1),
}
ASKED = [{"positions": 3}, {"positions": slice(1, None)}, {"layers": [0, 1]}, {}, {"positions": [9, 2]}]


def looping(names, rounds):
    """Every order in which some of them in a row run so many times over."""
    places = [(start, end) for end in range(1, len(names) + 1) for start in range(end)]
    return [names[:start] + names[start:end] * rounds + names[end:] for start, end in places]


LOOPS = [ran for rounds in (1, 2, 3) for ran in looping(list("abcd"), rounds)]


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=9) | st.sampled_from(LOOPS))
def test_blocks_run_in_order_but_for_a_loop(ran):
    names = sorted(set(ran))
    expected = any(ran in looping(names, rounds) for rounds in range(1, len(ran) + 1))
    assert runs_in_order(ran, names) == expected


class TestHooksOfTheCaller:
    """They see what they see in a forward pass: a batch of one, and all positions, whatever is asked for."""

    @pytest.mark.parametrize("where", ["transformer.ln_f", "lm_head", "transformer.drop", "transformer.h.1", ""])
    @pytest.mark.parametrize("hook", HOOKS)
    def test_they_act_where_they_would(self, gpt2, where, hook):
        def act(module, inputs, output):
            output = output[0] if type(output) is tuple else output  # as blocks return in transformers 4
            HOOKS[hook](getattr(output, "logits", output))

        gpt2.get_submodule(where).register_forward_hook(act)
        expected = [full_probabilities(gpt2, row) for row in range(1 + LAYERS)]
        for asked in ASKED:
            lens = bauklens.logit_lens(gpt2, None, PROMPT, topk=VOCABULARY, **asked)
            for row, layer in enumerate(lens.layers):
                whole = expected[0 if layer == "embed" else int(layer) + 1][lens.positions.tolist()]
                found = torch.zeros_like(whole).scatter(
                    1, torch.from_numpy(lens.top_ids[row].copy()), torch.from_numpy(lens.top_probs[row].copy())
                )
                assert torch.allclose(found, whole, atol=1e-5), (asked, layer)
            assert lens.magnitude.shape == (len(lens.layers), len(lens.positions))

    def test_other_streams(self, gpt2):
        plain = bauklens.logit_lens(gpt2, None, PROMPT, stream="delta", norm="final", positions=[2, 5])
        gpt2.lm_head.register_forward_hook(lambda module, inputs, output: None)
        hooked = bauklens.logit_lens(gpt2, None, PROMPT, stream="delta", norm="final", positions=[2, 5])
        assert np.array_equal(plain.top_ids, hooked.top_ids)
        assert np.allclose(plain.magnitude, hooked.magnitude)
        assert np.allclose(plain.top_probs, hooked.top_probs, atol=1e-6)


class TestWhatChangesBetweenCalls:
    def test_the_dtype(self):
        model = tiny_model("gemma2")
        bauklens.logit_lens(model, None, PROMPT)
        lens = bauklens.logit_lens(model.to(torch.bfloat16), None, PROMPT)
        assert np.array_equal(
            lens.top_ids, bauklens.logit_lens(tiny_model("gemma2", torch.bfloat16), None, PROMPT).top_ids
        )

    @pytest.mark.parametrize("cap", [None, 2.0, 80.0])
    def test_the_configuration_of_a_cap(self, cap):
        model = tiny_model("gemma2")
        bauklens.logit_lens(model, None, PROMPT)
        model.config.final_logit_softcapping = cap
        assert resolve(model, Inputs(IDS)).post_ops == PostOps(cap=cap)

    def test_a_forward_that_leaves_tokens_out(self):
        model = tiny_model("llama")
        bauklens.logit_lens(model, None, PROMPT)

        def leave_out(module, inputs, output):
            output.logits[..., 77] = -torch.inf

        pass_output_through(model, leave_out)
        assert not (bauklens.logit_lens(model, None, PROMPT).top_ids == 77).any()


def test_one_block_in_several_places():
    model = tiny_model("llama")
    block = model.model.layers[0]
    model.model.layers = torch.nn.ModuleList([block, block, block])
    lens = bauklens.logit_lens(model, None, PROMPT)
    assert lens.layers == ("embed", "0", "1", "2")
    with torch.no_grad():
        own = model(input_ids=IDS, use_cache=False).logits[0].softmax(-1)
    assert np.array_equal(lens.top_ids[-1], own.topk(5).indices)
    assert all(each is block for each in model.model.layers)


def test_a_double_model(gpt2):
    lens = bauklens.logit_lens(gpt2.double(), None, PROMPT)
    assert lens.check["max_abs_logit_difference"] < 1e-9
    assert lens.magnitude.dtype == np.float32


def test_a_loss_of_the_experts_is_left_out():
    config = MixtralConfig(**_SMALL, num_local_experts=2, output_router_logits=True)
    lens = bauklens.logit_lens(with_random_weights(config), None, PROMPT)
    assert lens.check["max_abs_logit_difference"] < 1e-4


@pytest.mark.filterwarnings("default")
@pytest.mark.slow
def test_a_forward_compiled_in_place_is_run_as_written(gpt2):
    plain = bauklens.logit_lens(gpt2, None, PROMPT)
    gpt2.compile()
    lens = bauklens.logit_lens(gpt2, None, PROMPT)
    assert np.array_equal(plain.top_ids, lens.top_ids)

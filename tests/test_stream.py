"""Hidden states and deltas against hooks set by hand, and a model that is left as it was."""

import numpy as np
import pytest
import torch
from markupsafe import escape

import bauklens
from bauklens.model import tracedict, tracing
from bauklens.model.block_output import state_of
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import resolve
from bauklens.stream import kept
from bauklens.stream.states import trace_stream, trace_streams
from bauklens.stream.tracing import Tracing
from tests import NAMES
from tests.odd_models import Again, BlockInPlace, InPlace, Shifted, Skipping, Twice
from tests.tiny import LAYERS, PROMPT, TEXT, WIDTH, block_list, first_input, hook_count, tiny_model


def by_hand(model, token_ids):
    """The input of block 0 and the output of every block, seen by plain hooks."""
    seen = []
    blocks = block_list(model)
    hooks = [
        blocks[0].register_forward_pre_hook(
            lambda module, inputs, keywords: seen.append(first_input(inputs, keywords).clone()), with_kwargs=True
        )
    ]
    for block in blocks:
        hooks.append(
            block.register_forward_hook(
                lambda module, inputs, output: seen.append((output if torch.is_tensor(output) else output[0]).clone())
            )
        )
    with torch.no_grad():
        logits = model(input_ids=token_ids, use_cache=False).logits
    for hook in hooks:
        hook.remove()
    return torch.stack(seen), logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_states_are_what_the_blocks_return(name, dtype):
    model = tiny_model(name, dtype)
    expected, _ = by_hand(model, torch.tensor([PROMPT]))
    states = bauklens.get_hidden_states(model, None, PROMPT)
    deltas = bauklens.get_hidden_state_deltas(model, None, PROMPT)
    assert states.shape == deltas.shape == (LAYERS, 1, len(PROMPT), WIDTH)
    assert states.dtype == deltas.dtype == dtype
    assert torch.equal(states, expected[1:])
    assert torch.equal(deltas, expected[1:] - expected[:-1])


@pytest.mark.parametrize("name", ["gpt2", "gptj"])
def test_the_first_delta_starts_from_what_the_embedding_dropout_hands_over(name):
    model = tiny_model(name)
    dropped = []
    hook = model.transformer.drop.register_forward_hook(lambda module, inputs, output: dropped.append(output.clone()))
    states, deltas = (
        get(model, None, PROMPT) for get in (bauklens.get_hidden_states, bauklens.get_hidden_state_deltas)
    )
    hook.remove()
    assert resolve(model, Inputs(torch.tensor([PROMPT]))).embedding == "transformer.drop"
    assert torch.equal(deltas[0], states[0] - dropped[-1])


class TestTheInputOfBlock0:
    """The row "embed": what TraceDict sees the embedding return, or, if block 0 is given another state, that one."""

    IDS = torch.tensor([[7, 30, 44, 5, 5, 11, 26, 9, 77, 13]])

    def stream(self, model, **tracing):
        inputs = Inputs(self.IDS)
        anatomy = resolve(model, inputs)
        return anatomy, trace_stream(model, anatomy, inputs, Tracing(**tracing))

    def given(self, model):
        """What block 0 is given, seen by a plain hook."""
        seen = []
        hook = model.layers[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
        with torch.no_grad():
            model(self.IDS)
        hook.remove()
        return seen[0][0]

    @pytest.fixture(params=[tracing.TraceDict, tracedict.TraceDict], ids=["baukit's if installed", "ours"])
    def traced(self, request, monkeypatch):
        """What was seen by TraceDict: (name, output) in order."""
        seen = []

        class Spy(request.param):
            def __init__(self, module, layers, *, edit_output, **options):
                def spied(output, layer):
                    seen.append((layer, output))
                    return edit_output(output, layer)

                super().__init__(module, layers, edit_output=spied, **options)

        monkeypatch.setattr("bauklens.stream.tracing.TraceDict", Spy)
        return seen

    @pytest.fixture
    def proofs(self, monkeypatch):
        """Whether what the embedding returned was equal to what block 0 was given, each time they were compared."""
        said = []

        def compared(one, other, plain=kept.are_equal):
            said.append(plain(one, other))
            return said[-1]

        monkeypatch.setattr(kept, "are_equal", compared)
        return said

    @pytest.mark.parametrize(
        ("name", "embedding"),
        [("gpt2", "transformer.drop"), ("gptj", "transformer.drop"), ("llama", "model.embed_tokens"), ("opt", None)],
    )
    def test_is_seen_by_tracedict_if_a_module_returns_it(self, traced, proofs, name, embedding):
        anatomy, stream = self.stream(tiny_model(name))
        assert anatomy.embedding == embedding
        assert [layer for layer, _ in traced] == [*([embedding] if embedding else []), *anatomy.blocks]
        assert proofs == [True] * (embedding is not None)
        if embedding:
            assert torch.equal(stream.states[0], traced[0][1][0])

    def test_a_pass_that_ends_early_sees_it_too(self, traced, gpt2):
        _, stream = self.stream(gpt2, blocks=1)
        assert [layer for layer, _ in traced] == ["transformer.drop", "transformer.h.0"]
        assert torch.equal(stream.states[0], traced[0][1][0])

    @pytest.mark.parametrize(("kind", "equal"), [(InPlace, False), (Twice, False), (Shifted, False), (Again, True)])
    def test_is_what_block_0_is_given_whatever_the_embedding_returned(self, traced, proofs, kind, equal):
        model = kind()
        anatomy, stream = self.stream(model)
        assert anatomy.embedding == "embed"
        assert "embed" in dict(traced)
        assert proofs == [equal]
        assert torch.equal(stream.states[0], self.given(model))

    def test_is_safe_from_a_block_that_changes_it_in_place(self, traced):
        model = BlockInPlace()
        expected = model.embed(self.IDS)[0]
        assert torch.equal(self.stream(model)[1].states[0], expected)

    def test_a_hook_of_the_callers_on_block_0_counts(self, traced, gpt2):
        plain = self.stream(gpt2)[1].states[0]
        gpt2.transformer.h[0].register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1, *inputs[1:]))
        assert torch.equal(self.stream(gpt2)[1].states[0], plain + 1)

    def test_edit_output_is_called_for_blocks_only(self, traced, gpt2):
        called = []
        self.stream(gpt2, edit_output=lambda output, layer: called.append(layer))
        assert called == [f"transformer.h.{layer}" for layer in range(LAYERS)]

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_an_error_in_the_embedding_leaves_no_hook(self, traced, gpt2, error):
        def fail(module, inputs):
            raise error

        resolve(gpt2, Inputs(self.IDS))
        hook = gpt2.transformer.drop.register_forward_pre_hook(fail)
        with pytest.raises(error):
            self.stream(gpt2)
        hook.remove()
        assert hook_count(gpt2) == 0

    def test_batches_have_it_too(self, traced, gpt2):
        anatomy = resolve(gpt2, Inputs(self.IDS))
        prompts = [Inputs(self.IDS), Inputs(self.IDS[:, :4])]
        long, short = trace_streams(gpt2, anatomy, prompts)
        assert torch.equal(long.states[0], traced[0][1][0])
        assert torch.equal(short.states[0], long.states[0, :4])


def test_a_block_that_does_not_run_is_one_clear_error_if_the_pass_is_to_end_there():
    """baukit's TraceDict fails on leaving a pass that it was to stop and did not."""
    model, inputs = Skipping(), Inputs(TestTheInputOfBlock0.IDS)
    anatomy = resolve(model, inputs)
    with pytest.raises(bauklens.LensError, match="1 of the 2 blocks of Skipping ran"):
        trace_stream(model, anatomy, inputs, Tracing(blocks=2))


def test_embedding_and_deltas_add_up_to_the_last_state(model):
    inputs = Inputs(torch.tensor([PROMPT]))
    stream = trace_stream(model, resolve(model, inputs), inputs)
    assert torch.allclose(stream.states[0] + stream.deltas.sum(0), stream.states[-1], atol=1e-5)


def test_a_delta_is_a_blocks_output_minus_its_own_input():
    """Also in a model that works between its blocks."""
    model = tiny_model("llama")

    class Between(type(model.model.layers[1])):
        def __call__(self, hidden_states, *rest, **keywords):
            return super().__call__(hidden_states * 2 + 1, *rest, **keywords)

    model.model.layers[1].__class__ = Between
    given, returned = [], []
    for block in model.model.layers:
        block.register_forward_pre_hook(lambda _, inputs, keywords: given.append(inputs[0]), with_kwargs=True)
        block.register_forward_hook(lambda _, inputs, output: returned.append(state_of(output)))
    with torch.no_grad():
        model(input_ids=torch.tensor([PROMPT]))
    deltas = bauklens.get_hidden_state_deltas(model, None, PROMPT)
    for block in range(LAYERS):
        assert torch.equal(deltas[block], returned[block] - given[block])
    lens = bauklens.logit_lens(model, None, PROMPT, stream="delta")
    assert np.allclose(lens.magnitude, deltas[:, 0].norm(dim=-1), rtol=1e-5)


def test_tracing_changes_no_logits(model):
    token_ids = torch.tensor([PROMPT])
    _, plain = by_hand(model, token_ids)
    inputs = Inputs(token_ids)
    traced = trace_stream(model, resolve(model, inputs), inputs)
    _, after = by_hand(model, token_ids)
    assert torch.equal(traced.logits, plain[0])
    assert torch.equal(plain, after)
    assert hook_count(model) == 0


def test_a_text_is_read_by_the_tokenizer(gpt2, tokenizer):
    token_ids = tokenizer(TEXT)["input_ids"]
    assert torch.equal(
        bauklens.get_hidden_states(gpt2, tokenizer, TEXT), bauklens.get_hidden_states(gpt2, None, token_ids)
    )
    assert torch.equal(
        bauklens.get_hidden_states(gpt2, tokenizer, TEXT),
        bauklens.get_hidden_states(gpt2, None, torch.tensor(token_ids)),
    )


def test_a_hook_of_the_callers_is_seen(gpt2):
    plain = bauklens.get_hidden_states(gpt2, None, PROMPT)
    gpt2.transformer.h[1].mlp.register_forward_hook(lambda module, inputs, output: output + 1)
    edited = bauklens.get_hidden_states(gpt2, None, PROMPT)
    assert torch.equal(edited[0], plain[0])
    assert torch.allclose(edited[1], plain[1] + 1)


class TestLeavesTheModelAsItWas:
    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_after_an_error(self, model, error):
        def fail(*_):
            raise error

        resolve(model, Inputs(torch.tensor([PROMPT])))
        hook = block_list(model)[1].register_forward_hook(fail)
        with pytest.raises(error):
            bauklens.get_hidden_states(model, None, PROMPT)
        hook.remove()
        assert hook_count(model) == 0

    def test_after_an_error_of_the_first_run(self, gpt2):
        hook = gpt2.transformer.h[1].register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bauklens.get_hidden_states(gpt2, None, PROMPT)
        hook.remove()
        assert hook_count(gpt2) == 0

    def test_mode_and_gradients(self, gpt2):
        gpt2.train().requires_grad_(True)
        gpt2.transformer.h[0].eval()
        modes = {name: module.training for name, module in gpt2.named_modules()}
        first, second = (bauklens.get_hidden_states(gpt2, None, PROMPT) for _ in range(2))
        assert torch.equal(first, second)  # dropout was off
        assert not first.requires_grad
        assert {name: module.training for name, module in gpt2.named_modules()} == modes
        assert all(parameter.requires_grad for parameter in gpt2.parameters())


def test_an_overflow_is_named_by_layer_and_position():
    model = tiny_model("llama", torch.float16)
    model.model.layers[1].mlp.down_proj.weight.fill_(60000)
    with pytest.raises(
        bauklens.LensError, match=r"layer 1 at position \d contains NaN or infinity \(float16 overflows"
    ):
        bauklens.get_hidden_states(model, None, PROMPT)


@pytest.mark.parametrize("known", [True, False])
def test_memory_that_runs_out_in_the_forward_pass_is_one_clear_error(gpt2, known):
    full = []

    def no_memory(*_):
        if full:
            raise torch.OutOfMemoryError("CUDA out of memory")

    gpt2.transformer.h[1].mlp.register_forward_pre_hook(no_memory)
    if known:
        resolve(gpt2, Inputs(torch.tensor([PROMPT])))
    full.append(True)
    with pytest.raises(bauklens.LensError, match="out of memory in the forward pass of 10 tokens: pass a"):
        bauklens.get_hidden_states(gpt2, None, PROMPT)


def test_a_nan_in_the_embedding_is_named():
    model = tiny_model("llama")
    model.model.embed_tokens.weight[44] = torch.nan
    with pytest.raises(bauklens.LensError, match=r"embed at position 2 contains NaN or infinity$"):
        bauklens.get_hidden_states(model, None, PROMPT)


class TestOnlyTheBlocksThatAreNeeded:
    def ran(self, model, **arguments):
        """Which blocks ran, and the lens."""
        seen = []
        bauklens.logit_lens(model, None, PROMPT)
        for place, block in enumerate(block_list(model)):
            block.register_forward_pre_hook(lambda module, inputs, place=place: seen.append(place))
        resolve(model, Inputs(torch.tensor([PROMPT])))
        seen.clear()
        lens = bauklens.logit_lens(model, None, PROMPT, **arguments)
        return seen, lens

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ({"layers": 0}, [0]),
            ({"layers": "embed"}, [0]),
            ({"layers": [1, 0]}, [0, 1]),
            ({"layers": 0, "stream": "delta"}, [0]),
            ({"layers": 1, "stream": "mlp"}, [0, 1]),
        ],
    )
    def test_the_pass_ends_after_them_and_the_result_says_so(self, arguments, expected):
        seen, lens = self.ran(tiny_model("llama"), **arguments)
        assert seen[: len(expected)] == expected
        assert max(seen[: len(expected)]) == max(expected)
        whole = bauklens.logit_lens(tiny_model("llama"), None, PROMPT, stream=lens.stream)
        rows = [whole.layers.index(layer) for layer in lens.layers]
        assert np.array_equal(lens.top_ids, whole.top_ids[rows])
        assert np.allclose(lens.top_probs, whole.top_probs[rows], atol=1e-6)
        assert lens.check["max_abs_logit_difference"] is None
        assert lens.check["cells"] > 0
        assert lens.checked.endswith(
            "the last row is not checked, as the forward pass stopped after the last layer asked for."
        )
        assert escape(lens.checked) in lens.to_html()
        assert type(lens).from_dict(lens.to_dict()).check == lens.check

    @pytest.mark.parametrize("arguments", [{"layers": -1}, {}, {"layers": 0, "norm": "final"}, {"positions": -1}])
    def test_otherwise_all_run(self, arguments):
        _, lens = self.ran(tiny_model("llama"), **arguments)
        assert lens.check["max_abs_logit_difference"] < 1e-4

    def test_no_hook_is_left(self, gpt2):
        bauklens.logit_lens(gpt2, None, PROMPT, layers=0)
        assert hook_count(gpt2) == 0

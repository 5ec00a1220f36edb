"""The lens against full forward passes, and against plain computations."""

import copy
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import accelerate
import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    GPT2ForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

import bauklens
from bauklens.decode.measure import magnitude
from bauklens.decode.reading import Reading
from bauklens.decode.rows import Way, decode
from bauklens.decode.unembed import Rows
from bauklens.lens.run import run
from bauklens.model.block_output import state_of, with_state
from bauklens.model.forward import last_logits_only
from bauklens.model.frozen_norm import FrozenNorm
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import resolve
from bauklens.stream import passes
from tests import NAMES
from tests.tiny import (
    CONFIGS,
    LAYERS,
    PROMPT,
    TEXT,
    VOCABULARY,
    block_list,
    first_input,
    hook_count,
    pass_output_through,
    tiny_model,
)


def all_rows(states):
    """States of every position of the prompt, as rows to decode."""
    return Rows("given", states, [str(layer) for layer in range(len(states))], list(range(len(PROMPT))))


def full_logits(model, layer, states=None):
    """Logits of a whole forward pass in which every block after ``layer`` hands on what it was given.

    With ``states`` the blocks hand on these instead.
    """

    def hand_on(module, inputs, keywords, output):
        state = first_input(inputs, keywords) if states is None else states
        return state if torch.is_tensor(output) else (state, *output[1:])

    with ExitStack() as hooks, torch.no_grad():
        for block in list(block_list(model))[layer + 1 :]:
            hooks.callback(block.register_forward_hook(hand_on, with_kwargs=True).remove)
        return model(input_ids=torch.tensor([PROMPT]), use_cache=False).logits[0].float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_that_of_a_forward_pass_whose_later_blocks_hand_on_their_input(name, dtype):
    model = tiny_model(name, dtype)
    lens = bauklens.logit_lens(model, None, PROMPT, topk=VOCABULARY)
    assert lens.layers == ("embed", "0", "1", "2")
    for row in range(1 + LAYERS):
        expected = torch.softmax(full_logits(model, row - 1), dim=-1)
        probabilities = torch.zeros_like(expected).scatter(
            1, torch.from_numpy(lens.top_ids[row].copy()), torch.from_numpy(lens.top_probs[row].copy())
        )
        assert torch.allclose(probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stream", ["hidden", "delta"])
def test_the_last_row_is_the_models_own_output(name, dtype, stream):
    model = tiny_model(name, dtype)
    lens = bauklens.logit_lens(model, None, PROMPT, stream=stream)
    own = full_logits(model, LAYERS)
    assert lens.check["max_abs_logit_difference"] <= (1e-4 if dtype == torch.float32 else 0.03 * own.abs().max())
    if stream == "hidden":
        top = torch.softmax(own, dim=-1).topk(5)
        assert np.allclose(lens.top_probs[-1], top.values, atol=1e-5)
        if dtype == torch.float32:
            assert np.array_equal(lens.top_ids[-1], top.indices)


def test_a_missed_soft_cap_would_show():
    model = tiny_model("gemma2")
    states = run(model, None, PROMPT).final
    with torch.no_grad():
        uncapped = model.lm_head(model.model.norm(states))
    assert uncapped.abs().max() > 3 * model.config.final_logit_softcapping
    assert full_logits(model, LAYERS).abs().max() <= model.config.final_logit_softcapping


def test_a_tail_that_is_not_the_models_own_is_refused(gpt2):
    """A hook on the norm that acts on the first pass only makes the lens and the model disagree."""
    ran = run(gpt2, None, PROMPT)
    times = []

    def once(module, inputs, output):
        times.append(1)
        return output * 5 if len(times) == 1 else output

    gpt2.transformer.ln_f.register_forward_hook(once)
    with pytest.raises(
        bauklens.LensError, match=r"does not reproduce the model's own logits.*transformer\.h.*ln_f, lm_head"
    ):
        bauklens.logit_lens(gpt2, None, PROMPT)
    assert ran.anatomy.norms == ("transformer.ln_f",)


@pytest.mark.parametrize("name", NAMES)
def test_deltas_through_the_norm(name):
    model = tiny_model(name)
    deltas = bauklens.get_hidden_state_deltas(model, None, PROMPT)
    lens = bauklens.logit_lens(model, None, PROMPT, stream="delta", topk=3)
    assert lens.layers == ("0", "1", "2")
    for layer in range(LAYERS):
        expected = torch.softmax(full_logits(model, -1, states=deltas[layer]), dim=-1).topk(3)
        assert np.allclose(lens.top_probs[layer], expected.values, atol=1e-5)
        assert np.array_equal(lens.top_ids[layer], expected.indices)
    assert np.allclose(lens.magnitude, deltas[:, 0].norm(dim=-1), rtol=1e-5)


def test_without_a_norm_the_head_alone_decodes(gpt2):
    lens = bauklens.logit_lens(gpt2, None, PROMPT, norm=None, topk=4)
    states = bauklens.get_hidden_states(gpt2, None, PROMPT)[:, 0]
    expected = torch.softmax(states @ gpt2.lm_head.weight.T, dim=-1).topk(4)
    assert np.array_equal(lens.top_ids[1:], expected.indices)
    assert np.allclose(lens.top_probs[1:], expected.values, atol=1e-5)


def rows_of_logits(ran, states, norm):
    """Decoded logits of every row, recovered whole through a top-k as wide as the vocabulary, up to a constant."""
    decoded = decode(ran, all_rows(states), Reading(VOCABULARY), Way(norm))
    logits = torch.empty(*decoded.values["top_probs"].shape).scatter(
        -1, decoded.values["top_ids"], decoded.values["top_probs"].double().log().float()
    )
    return logits - logits.mean(dim=-1, keepdim=True)


@pytest.mark.parametrize("name", ["gpt2", "gptj", "llama", "opt", "bloom"])
def test_at_the_final_scale_the_contributions_add_up_to_the_logits(name):
    model = tiny_model(name)
    model.get_output_embeddings().weight.div_(12)  # no probability may vanish here
    ran = run(model, None, PROMPT)
    parts = torch.cat([ran.stream.states[:1], ran.stream.deltas])
    contributions = rows_of_logits(ran, parts, "final").sum(0)
    constant = full_logits(model, -1, states=torch.zeros(1, len(PROMPT), parts.shape[-1]))
    own = full_logits(model, LAYERS) - constant
    assert torch.allclose(contributions, own - own.mean(dim=-1, keepdim=True), atol=1e-3)


@pytest.mark.parametrize("name", ["gpt2", "gptj", "llama"])
@pytest.mark.parametrize(
    "arguments", [{"layers": 1, "positions": 4}, {"chunk_rows": 1}, {"chunk_rows": 2, "positions": 4}]
)
def test_at_the_final_scale_few_rows_are_those_of_the_whole(name, arguments):
    """The head's bias is told once, and kept while the rows are decoded."""
    model = tiny_model(name)
    whole = bauklens.logit_lens(model, None, PROMPT, stream="delta", norm="final")
    part = bauklens.logit_lens(model, None, PROMPT, stream="delta", norm="final", **arguments)
    rows = [whole.layers.index(layer) for layer in part.layers]
    assert np.array_equal(part.top_ids, whole.top_ids[rows][:, part.positions.tolist()])
    assert np.allclose(part.top_probs, whole.top_probs[rows][:, part.positions.tolist()], atol=1e-6)


def test_a_norm_that_is_no_norm_cannot_be_frozen(gpt2):
    gpt2.transformer.ln_f.register_forward_hook(lambda module, inputs, output: output.tanh())
    with pytest.raises(bauklens.LensError, match="norm='final' needs a LayerNorm or RMSNorm"):
        bauklens.logit_lens(gpt2, None, PROMPT, stream="delta", norm="final")
    assert isinstance(gpt2.transformer.h[0], type(tiny_model("gpt2").transformer.h[0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("weight", [0.02, 30])
def test_a_norm_of_any_weight_is_frozen_as_what_it_is(name, dtype, weight):
    model = tiny_model(name)
    norm = model.model.norm if name == "llama" else model.transformer.ln_f
    norm.weight.fill_(weight)
    model.to(dtype)
    frozen = FrozenNorm(norm, run(model, None, PROMPT).final + 0.5)
    assert frozen.centred == (name == "gpt2")


def test_at_the_final_scale_each_position_has_its_own(model):
    whole = bauklens.logit_lens(model, None, PROMPT, stream="delta", norm="final")
    part = bauklens.logit_lens(model, None, PROMPT, stream="delta", norm="final", positions=[7, 2])
    assert np.array_equal(part.top_ids, whole.top_ids[:, [7, 2]])
    assert np.allclose(part.top_probs, whole.top_probs[:, [7, 2]], atol=1e-6)


class TestTheCheck:
    @pytest.fixture
    def llama(self):
        return tiny_model("llama")

    @staticmethod
    def pass_replays_through(model, function):
        """Has the head hand over ``function(output)`` where block 0 did not run before, as in a replay."""
        ran = []
        pass_output_through(model.model.layers[0], lambda *_: ran.append(1))
        pass_output_through(
            model.lm_head, lambda module, inputs, output: None if ran and ran.pop() else function(output)
        )

    @pytest.mark.parametrize("column", [slice(None), slice(-1, None), slice(0, 1)], ids=["all", "last", "first"])
    def test_it_is_the_largest_difference_of_all_logits(self, llama, column):
        """A head that moves the logits of a replay, and not those of the model's own pass, is what it finds."""

        def move(output):
            output[..., column] += 0.01

        run(llama, None, PROMPT)
        self.pass_replays_through(llama, move)
        lens = bauklens.logit_lens(llama, None, PROMPT)
        assert lens.check["max_abs_logit_difference"] == pytest.approx(0.01, abs=1e-3)

    @pytest.mark.parametrize("mask", [-torch.inf, torch.finfo(torch.float32).min])
    def test_tokens_that_the_model_leaves_out_hide_nothing(self, llama, mask):
        def leave_out(module, inputs, output):
            output[..., 5] = mask

        forward = llama.lm_head.forward
        pass_output_through(llama.lm_head, leave_out)
        assert bauklens.logit_lens(llama, None, PROMPT).check["max_abs_logit_difference"] < 1e-3
        llama.lm_head.forward = forward
        self.pass_replays_through(llama, lambda output: leave_out(None, None, output.mul_(0.9)))
        with pytest.raises(bauklens.LensError, match="does not reproduce the model's own logits"):
            bauklens.logit_lens(llama, None, PROMPT)

    def test_a_common_offset_hides_nothing(self, llama):
        pass_output_through(llama.lm_head, lambda module, inputs, output: output.sub_(1e4))
        self.pass_replays_through(llama, lambda output: (output + 1e4) * 0.9 - 1e4)
        with pytest.raises(bauklens.LensError, match="does not reproduce the model's own logits"):
            bauklens.logit_lens(llama, None, PROMPT)


class TestAModelThatChanges:
    def test_a_block_more_or_less_is_seen(self):
        model = tiny_model("llama")
        bauklens.logit_lens(model, None, PROMPT)
        model.model.layers.append(copy.deepcopy(model.model.layers[0]))
        model.config.num_hidden_layers = LAYERS + 1
        lens = bauklens.logit_lens(model, None, PROMPT)
        assert lens.layers == ("embed", "0", "1", "2", "3")
        assert np.allclose(lens.top_probs[-1], torch.softmax(full_logits(model, 9), -1).topk(5).values, atol=1e-5)
        del model.model.layers[0]
        assert bauklens.logit_lens(model, None, PROMPT).layers == ("embed", "0", "1", "2")

    @pytest.mark.parametrize("size", [305, 400])
    def test_another_vocabulary_is_seen(self, size):
        model = tiny_model("llama")
        bauklens.logit_lens(model, None, PROMPT)
        model.resize_token_embeddings(size, mean_resizing=False)
        assert bauklens.logit_lens(model, None, PROMPT, topk=size).topk == size


@pytest.mark.slow
def test_threads_wait_for_each_other():
    model = tiny_model("llama")
    prompts = [PROMPT[n:] + PROMPT[:n] for n in range(8)] * 10
    alone = [bauklens.logit_lens(model, None, prompt) for prompt in prompts]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda prompt: bauklens.logit_lens(model, None, prompt), prompts))
    assert all(np.array_equal(one.top_ids, other.top_ids) for one, other in zip(alone, together, strict=True))
    assert hook_count(model) == 0
    assert len({type(block) for block in block_list(model)} & {type(b) for b in block_list(tiny_model("llama"))}) == 1


def triple(module, inputs):
    inputs[0].mul_(3)


class TestInPlace:
    """What a model changes in place was kept as it was handed over."""

    def test_the_input_of_block_0(self, gpt2):
        plain = run(gpt2, None, PROMPT).stream.states
        gpt2.transformer.h[0].ln_1.register_forward_pre_hook(triple)
        assert torch.equal(run(gpt2, None, PROMPT).stream.states[0], plain[0])

    def test_the_output_of_a_block(self, gpt2):
        plain = run(gpt2, None, PROMPT).stream.states
        gpt2.transformer.h[1].register_forward_pre_hook(triple)
        assert torch.equal(run(gpt2, None, PROMPT).stream.states[1], plain[1])

    def test_the_state_that_is_decoded(self, gpt2):
        ran = run(gpt2, None, PROMPT)
        before = ran.stream.states.clone()
        gpt2.transformer.ln_f.register_forward_pre_hook(triple)
        decode(ran, all_rows(ran.stream.states), Reading(1))
        assert torch.equal(ran.stream.states, before)


def test_a_magnitude_does_not_overflow():
    assert magnitude(torch.full((1, 32), 30_000.0, dtype=torch.float16)).item() == pytest.approx(169_706, rel=1e-3)


class TestWhatIsAskedFor:
    def test_layers_and_positions_are_those_of_the_whole(self, model):
        whole = bauklens.logit_lens(model, None, PROMPT)
        part = bauklens.logit_lens(model, None, PROMPT, layers=["embed", 2, -2], positions=[3, -1])
        assert part.layers == ("embed", "2", "1")
        assert part.positions.tolist() == [3, 9]
        assert part.token_ids.tolist() == [PROMPT[3], PROMPT[9]]
        assert np.array_equal(part.top_ids, whole.top_ids[[0, 3, 2]][:, [3, 9]])
        assert np.allclose(part.top_probs, whole.top_probs[[0, 3, 2]][:, [3, 9]], atol=1e-6)
        assert np.array_equal(part.magnitude, whole.magnitude[[0, 3, 2]][:, [3, 9]])
        assert part.check["max_abs_logit_difference"] < 1e-4

    def test_one_of_each(self, gpt2):
        lens = bauklens.logit_lens(gpt2, None, PROMPT, layers=1, positions=-1, topk=1)
        assert lens.top_ids.shape == (1, 1, 1)

    def test_a_slice_of_positions(self, gpt2):
        assert bauklens.logit_lens(gpt2, None, PROMPT, positions=slice(-3, None)).positions.tolist() == [7, 8, 9]

    def test_a_prompt_of_one_token(self, model):
        lens = bauklens.logit_lens(model, None, [5])
        assert lens.magnitude.shape == (1 + LAYERS, 1)
        assert "<table" in lens.to_html()

    def test_the_prompt_may_be_text_ids_or_a_tensor(self, gpt2, tokenizer):
        token_ids = tokenizer(TEXT)["input_ids"]
        lenses = [bauklens.logit_lens(gpt2, tokenizer, each) for each in (TEXT, token_ids, torch.tensor(token_ids))]
        assert lenses[0].prompt == lenses[1].prompt == TEXT
        assert all(np.array_equal(lenses[0].top_probs, each.top_probs) for each in lenses)

    def test_tokens_have_their_texts_or_their_ids(self, gpt2, tokenizer):
        lens = bauklens.logit_lens(gpt2, tokenizer, "the city")
        assert lens.tokens == ("the", " city")
        assert bauklens.logit_lens(gpt2, tokenizer, "z a Z").tokens == ("z", " a", " ", "Z")
        assert bauklens.logit_lens(gpt2, None, [7, 8]).tokens == ("<7>", "<8>")

    @pytest.mark.parametrize("name", ["x" * 10_000, "a\0b"])
    def test_a_models_name_may_be_what_no_file_can_be_called(self, gpt2, name):
        gpt2.config._name_or_path = name
        assert bauklens.logit_lens(gpt2, None, PROMPT, topk=1).model == name

    def test_provenance_says_everything(self, gpt2):
        lens = bauklens.logit_lens(gpt2, None, PROMPT, layers=(layer for layer in range(2)), topk=2)
        assert lens.provenance["dtype"] == "float32"
        assert lens.provenance["device"] == "cpu"
        assert lens.provenance["decoding"] == {"precision": "float32", "by": "product", "rows": 20, "decoded again": 0}
        assert lens.provenance["packages"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
        assert lens.provenance["arguments"] == {
            "stream": "hidden",
            "topk": 2,
            "layers": ("0", "1"),
            "positions": None,
            "norm": "own",
            "decoder": "logit",
            "missing": "skip",
            "precision": "auto",
            "chunk_rows": None,
            "measures": None,
            "targets": None,
            "words": "whole",
            "mass": None,
            "track": 256,
            "attention": False,
            "template": None,
            "text_target": None,
            "max_new_tokens": 0,
            "seed": None,
            "edit_output": None,
            "blocks": None,
            "head": None,
        }


def replayed(ran):
    """The same, decoded by the model's own forward to its end."""
    return replace(ran, anatomy=replace(ran.anatomy, post_ops=None))


class TestMemory:
    @pytest.mark.parametrize("rows", [1, 3, 7, 1000])
    def test_tiles_of_any_size_give_the_same(self, model, rows):
        ran = run(model, None, PROMPT)
        each = all_rows(ran.stream.states)
        whole, tiled = (decode(ran, each, Reading(5), Way(chunk_rows=most)) for most in (None, rows))
        assert torch.equal(whole.values["top_ids"], tiled.values["top_ids"])
        assert torch.allclose(whole.values["top_probs"], tiled.values["top_probs"], atol=1e-6)

    def test_only_one_tile_of_logits_exists_at_a_time(self, gpt2):
        ran = run(gpt2, None, PROMPT)
        shapes = []
        gpt2.lm_head.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
        decode(replayed(ran), all_rows(ran.stream.states), Reading(1), Way(chunk_rows=8))
        table, last_row, exits = 4 * len(PROMPT), len(PROMPT), 2 * (6 if last_logits_only(gpt2) else len(PROMPT))
        assert sum(shape[0] * shape[1] for shape in shapes) == table + last_row + exits
        assert max(shape[0] * shape[1] for shape in shapes) <= max(8, exits // 2)

    def test_one_tile_is_gone_before_the_next_is_made(self, gpt2):
        ran = run(gpt2, None, PROMPT)
        made, alive = [], []

        def watch(module, inputs, output):
            alive.append(sum(each() is not None for each in made))
            made.append(weakref.ref(output))

        gpt2.lm_head.register_forward_hook(watch)
        decode(replayed(ran), all_rows(ran.stream.states), Reading(1), Way(chunk_rows=8))
        assert len(alive) > 4
        assert not any(alive)

    def test_where_memory_runs_out_the_tile_is_halved_and_the_answer_is_the_same(self, gpt2):
        ran = run(gpt2, None, PROMPT)
        each = all_rows(ran.stream.states)
        plain = decode(replayed(ran), each, Reading(5))
        sizes = []

        def no_more_than_ten_rows(module, inputs, output):
            rows = inputs[0].shape[0] * inputs[0].shape[1]
            sizes.append(rows)
            if rows > 10:
                raise torch.OutOfMemoryError("CUDA out of memory")

        pass_output_through(gpt2.lm_head, no_more_than_ten_rows)
        fewer = decode(replayed(ran), each, Reading(5))
        assert max(sizes) == 40
        assert torch.equal(plain.values["top_ids"], fewer.values["top_ids"])
        assert torch.allclose(plain.values["top_probs"], fewer.values["top_probs"], atol=1e-6)

    def test_memory_for_no_row_at_all_is_one_clear_error(self, gpt2):
        resolve(gpt2, Inputs(torch.tensor([PROMPT])))
        ran = run(gpt2, None, PROMPT)

        def none_at_all(module, inputs):
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

        gpt2.lm_head.register_forward_pre_hook(none_at_all)
        with pytest.raises(bauklens.LensError, match="out of memory on cpu for the logits of a single row"):
            decode(replayed(ran), all_rows(ran.stream.states), Reading(1))
        assert isinstance(gpt2.transformer.h[0], type(tiny_model("gpt2").transformer.h[0]))

    def test_the_forward_pass_asks_for_the_last_logits_only_if_all_are_too_many(self, monkeypatch):
        model = tiny_model("llama")
        shapes = []
        pass_output_through(model.lm_head, lambda module, inputs, output: shapes.append(tuple(output.shape)))
        resolve(model, Inputs(torch.tensor([PROMPT])))
        shapes.clear()
        plain = bauklens.logit_lens(model, None, PROMPT)
        assert shapes[0] == (1, len(PROMPT), VOCABULARY)
        monkeypatch.setattr(passes, "ALONE_BYTES", 4 * VOCABULARY * (len(PROMPT) - 1))
        shapes.clear()
        lens = bauklens.logit_lens(model, None, PROMPT)
        assert shapes[0] == (1, 1, VOCABULARY)
        assert lens.check["positions"] == len(PROMPT)
        assert np.array_equal(plain.top_ids, lens.top_ids)
        assert np.allclose(plain.top_probs, lens.top_probs, atol=1e-6)

    @pytest.mark.parametrize(
        ("read", "rows"),
        [
            (lambda model: bauklens.get_hidden_states(model, None, PROMPT), 1),
            (lambda model: bauklens.get_hidden_state_deltas(model, None, PROMPT), 1),
            (lambda model: bauklens.logit_lens(model, None, PROMPT, positions=-1), 1),
            (lambda model: bauklens.logit_lens(model, None, PROMPT, positions=[-2, len(PROMPT) - 1]), 2),
            (lambda model: bauklens.logit_lens(model, None, PROMPT, positions=slice(3, None)), len(PROMPT) - 3),
        ],
        ids=["states", "deltas", "last", "two", "from 3"],
    )
    def test_the_forward_pass_makes_no_logits_that_nobody_looks_at(self, read, rows):
        model = tiny_model("llama")
        shapes = []
        resolve(model, Inputs(torch.tensor([PROMPT])))
        read(model)
        pass_output_through(model.lm_head, lambda module, inputs, output: shapes.append(tuple(output.shape)))
        resolve(model, Inputs(torch.tensor([PROMPT])))
        shapes.clear()
        read(model)
        assert shapes[0] == (1, rows, VOCABULARY)

    def test_prompts_that_run_together_are_decoded_together_without_the_other_logits(self):
        """Of different lengths, so that some of what is kept is of positions that nobody asked for."""
        model, prompts = tiny_model("llama"), [PROMPT, PROMPT[:-1], PROMPT[1:], PROMPT]
        alone = [bauklens.logit_lens(model, None, prompt, positions=-1) for prompt in prompts]
        shapes = []
        pass_output_through(model.lm_head, lambda module, inputs, output: shapes.append(tuple(output.shape)))
        together = list(bauklens.lenses(prompts, model, positions=-1))
        assert (len(prompts), 2, VOCABULARY) in shapes
        assert not any(shape[:2] == (len(prompts), len(PROMPT)) for shape in shapes)
        for one, other in zip(alone, together, strict=True):
            assert np.array_equal(one.top_ids, other.top_ids)
            assert np.allclose(one.top_probs, other.top_probs, atol=1e-6)
            assert other.check["positions"] == 1

    def test_memory_for_the_logits_of_the_last_position_alone(self):
        """The forward pass is run again, and what it does not hand over is decoded."""
        model, prompt = tiny_model("llama"), PROMPT * 5
        plain = bauklens.logit_lens(model, None, prompt)

        def no_more_than_32_rows(module, inputs, output):
            if output.shape[0] * output.shape[1] > 32:
                raise torch.OutOfMemoryError("CUDA out of memory")

        pass_output_through(model.lm_head, no_more_than_32_rows)
        lens = bauklens.logit_lens(model, None, prompt)
        assert lens.check["positions"] == len(prompt)
        assert np.array_equal(plain.top_ids, lens.top_ids)


class TestAccelerate:
    @pytest.mark.parametrize("name", NAMES)
    def test_a_model_offloaded_to_memory(self, name):
        plain = bauklens.logit_lens(tiny_model(name), None, PROMPT)
        model = accelerate.cpu_offload(tiny_model(name), execution_device=torch.device("cpu"))
        assert block_list(model)[0].state_dict().popitem()[1].is_meta
        lens = bauklens.logit_lens(model, None, PROMPT)
        assert np.array_equal(plain.top_ids, lens.top_ids)
        assert np.allclose(plain.top_probs, lens.top_probs, atol=1e-6)

    def test_a_model_offloaded_to_disk_every_norm(self, tmp_path):
        plain = tiny_model("llama")
        model = accelerate.disk_offload(tiny_model("llama"), str(tmp_path), execution_device=torch.device("cpu"))
        assert model.lm_head.weight.is_meta
        for norm in ("own", "final", None):
            expected, lens = (
                bauklens.logit_lens(each, None, PROMPT, stream="delta", norm=norm) for each in (plain, model)
            )
            assert np.array_equal(expected.top_ids, lens.top_ids)
            assert np.allclose(expected.top_probs, lens.top_probs, atol=1e-6)


class TestBadInput:
    @pytest.mark.parametrize(
        ("prompt", "message"),
        [
            ([], "the prompt is empty"),
            (list(range(65)), "65 tokens, but the model's context is 64"),
            ([1, 320], "token id 320 is not in the model's vocabulary of 320"),
            ([-1], "token id -1 is not in"),
            ("text", "needs a tokenizer"),
            ([1.5], "a prompt must be a string"),
            (torch.zeros(2, 3, dtype=torch.long), r"got shape \(2, 3\)"),
            (torch.tensor([True, False]), "torch.bool"),
            ([True, False], r"got \[True, False\]"),
            (None, "a prompt must be a string"),
            ([[]], "prompt 1: the prompt is empty"),
            (["a"], "prompt 1: a text prompt needs a tokenizer"),
            ([PROMPT, [1, 320]], "prompt 2: token id 320 is not in"),
            ([PROMPT, [1.5]], "prompt 2: a prompt must be a string"),
            ([True, 5], r"a prompt must be a string, a list of token ids, .*; got \[True, 5\]"),
            ({"tokens": [1]}, "the inputs contain no input_ids: got tokens"),
        ],
    )
    def test_prompts(self, gpt2, prompt, message):
        with pytest.raises(bauklens.LensError, match=message):
            bauklens.logit_lens(gpt2, None, prompt)

    @pytest.mark.parametrize(("prompt", "message"), [("", "the prompt is empty"), ("a\udc80", "not valid Unicode")])
    def test_texts(self, gpt2, tokenizer, prompt, message):
        with pytest.raises(bauklens.LensError, match=message):
            bauklens.logit_lens(gpt2, tokenizer, prompt)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"topk": 0}, r"topk is 0: pass a number from 1 to 320"),
            ({"topk": 321}, r"topk is 321: pass a number from 1 to 320"),
            ({"topk": 2.5}, "topk is 2.5: pass a whole number"),
            ({"topk": True}, "topk is True: pass a whole number"),
            ({"topk": torch.tensor(True)}, r"topk is tensor\(True\): pass a whole number"),
            ({"chunk_rows": True}, "chunk_rows is True: pass a whole number"),
            ({"max_new_tokens": True}, "max_new_tokens is True: pass a whole number"),
            ({"max_new_tokens": 1, "seed": True}, "seed is True: pass a whole number"),
            ({"positions": [True, False]}, "position is True: pass a whole number"),
            ({"positions": [False] * 9 + [np.True_]}, "position is False: pass a whole number"),
            ({"positions": torch.tensor([True, False])}, "position is True: pass a whole number"),
            ({"positions": [torch.tensor(True)]}, r"position is tensor\(True\): pass a whole number"),
            ({"layers": [True]}, "unknown layer True"),
            ({"layers": torch.tensor([True, False])}, "unknown layer True"),
            ({"layers": [3]}, r"unknown layer 3: this lens has 'embed', 0 .. 2"),
            ({"layers": [-4]}, "unknown layer -4"),
            ({"layers": "emb"}, "unknown layer 'emb'"),
            ({"layers": "embed", "stream": "delta"}, r"unknown layer 'embed': this lens has 0 .. 2"),
            ({"layers": []}, "layers is empty"),
            ({"layers": torch.tensor(3)}, "unknown layer 3"),
            ({"layers": torch.tensor([0, 3])}, "unknown layer 3"),
            ({"positions": np.array(10)}, "unknown position 10"),
            ({"layers": [2, -1]}, "layer 2 is given twice: pass it once"),
            ({"positions": [0, -10]}, "position 0 is given twice: pass it once"),
            ({"positions": [10]}, r"unknown position 10: the prompt has 10 tokens, at positions 0 .. 9"),
            ({"positions": -11}, "unknown position -11"),
            ({"positions": "a"}, "position is 'a': pass a whole number"),
            ({"positions": []}, "positions is empty"),
            ({"stream": "hiden"}, "unknown stream 'hiden': pass one of 'hidden', 'delta', 'attention'"),
            ({"stream": []}, "stream is empty: pass at least one of hidden"),
            ({"norm": "none"}, "unknown norm 'none': pass 'own', 'final' or None, or the name of a module"),
        ],
    )
    def test_arguments(self, gpt2, arguments, message):
        with pytest.raises(bauklens.LensError, match=message):
            bauklens.logit_lens(gpt2, None, PROMPT, **arguments)
        assert hook_count(gpt2) == 0

    @pytest.mark.parametrize("model", ["gpt2", None, torch.nn.Linear(2, 2)])
    def test_what_is_no_model(self, model):
        with pytest.raises(bauklens.LensError, match="pass the model that load"):
            bauklens.logit_lens(model, None, PROMPT)

    def test_a_model_without_a_head(self):
        headless = AutoModel.from_config(CONFIGS["gpt2"]())
        named = r"load it with GPT2LMHeadModel \(AutoModelForCausalLM\), GPT2ForSequenceClassification"
        with pytest.raises(bauklens.LensError, match=f"GPT2Model has no head: {named}"):
            bauklens.logit_lens(headless, None, PROMPT)

    def test_an_encoder_decoder(self):
        model = T5ForConditionalGeneration(
            T5Config(vocab_size=99, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0)
        )
        assert bauklens.logit_lens(model.eval(), None, [1, 2, 3]).token_ids.tolist() == [
            0
        ]  # what its decoder starts with

    def test_a_masked_language_model(self):
        config = BertConfig(
            hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=320
        )
        named = ".* BertLMHeadModel .*, BertForSequenceClassification .* or BertForTokenClassification"
        with pytest.raises(bauklens.LensError, match=f"BertForMaskedLM has another kind of head, {named}"):
            bauklens.logit_lens(BertForMaskedLM(config).eval(), None, PROMPT)

    def test_a_classification_head(self):
        config = CONFIGS["gpt2"]()
        config.pad_token_id = 0
        lens = bauklens.logit_lens(GPT2ForSequenceClassification(config).eval(), None, PROMPT)
        assert lens.predicts == "labels"
        assert lens.topk == 2  # it has no more labels

    def test_logits_that_are_not_finite(self, gpt2):
        run(gpt2, None, PROMPT)
        gpt2.lm_head.register_forward_hook(lambda module, inputs, output: output * torch.nan)
        with pytest.raises(bauklens.LensError, match="the logits of row 2 at position 0 contain NaN or infinity"):
            bauklens.logit_lens(gpt2, None, PROMPT)
        with pytest.raises(bauklens.LensError, match="the logits of row 2 at position 7 contain NaN or infinity"):
            bauklens.logit_lens(gpt2, None, PROMPT, layers=2, positions=7)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
    def test_an_interrupt_while_decoding_leaves_the_model_whole(self, gpt2, error):
        blocks = list(block_list(gpt2))
        ran = run(gpt2, None, PROMPT)

        def stop(module, inputs):
            raise error

        hook = gpt2.lm_head.register_forward_pre_hook(stop)
        with pytest.raises(error):
            decode(replayed(ran), all_rows(ran.stream.states), Reading(1))
        hook.remove()
        assert list(block_list(gpt2)) == blocks
        assert hook_count(gpt2) == 0


class NamedBlocks(torch.nn.Module):
    """A list of three blocks whose names are no numbers."""

    def __init__(self, blocks):
        super().__init__()
        self.one, self.two, self.three = blocks

    def __getitem__(self, some):
        return list(self.children())[some]


class TestNamedModules:
    def test_naming_what_is_found_changes_nothing(self, model):
        found = resolve(model, Inputs(torch.tensor([PROMPT])))
        plain = bauklens.logit_lens(model, None, PROMPT)
        named = bauklens.logit_lens(model, None, PROMPT, blocks=found.blocks_path, head=found.head)
        assert np.array_equal(plain.top_ids, named.top_ids)
        assert named.provenance["arguments"]["head"] == found.head

    def test_other_blocks_are_used(self):
        """A list of two of the blocks is a lens of these two."""
        model = tiny_model("llama")
        model.some = torch.nn.ModuleList(model.model.layers[1:])
        model.model.layers = torch.nn.ModuleList([model.model.layers[0], *model.some])
        lens = bauklens.logit_lens(model, None, PROMPT, blocks="some")
        whole = bauklens.logit_lens(model, None, PROMPT, blocks="model.layers")
        assert lens.layers == ("embed", "1", "2")
        assert lens.notes == ()  # they have run, under their other names
        assert np.array_equal(lens.top_ids, whole.top_ids[1:])

    def test_blocks_whose_names_are_no_numbers(self):
        model = tiny_model("llama")
        plain = bauklens.logit_lens(model, None, PROMPT)
        model.model.layers = NamedBlocks(model.model.layers)

        def lens(layers, **arguments):
            return bauklens.logit_lens(model, None, PROMPT, blocks="model.layers", layers=layers, **arguments)

        assert lens(None).layers == ("embed", "one", "two", "three")
        assert lens([-1, "embed", -3, "two"]).layers == ("three", "embed", "one", "two")
        assert np.array_equal(lens(-2).top_ids[0], plain.top_ids[2])
        for layer in (-4, 0, "four"):
            message = f"unknown layer {layer!r}: this lens has 'embed', 'one' .. 'three'"
            with pytest.raises(bauklens.LensError, match=message):
                lens(layer)
        with pytest.raises(bauklens.LensError, match=r"unknown layer 'embed': this lens has 'one' \.\. 'three'"):
            lens("embed", stream="delta")

    @pytest.mark.parametrize(
        ("named", "message"),
        [
            (
                {"blocks": "transformer.hh"},
                r"GPT2LMHeadModel has no module 'transformer\.hh'; the nearest: transformer\.h",
            ),
            ({"blocks": "lm_head"}, "blocks='lm_head' contains no modules"),
            ({"head": "lm_heads"}, r"has no module 'lm_heads'; the nearest: lm_head"),
            ({"head": "transformer.wte"}, r"runs no module 'transformer\.wte' after its last block"),
        ],
    )
    def test_names_of_nothing(self, gpt2, named, message):
        with pytest.raises(bauklens.LensError, match=message):
            bauklens.logit_lens(gpt2, None, PROMPT, **named)

    def test_an_empty_list(self, gpt2):
        gpt2.empty = torch.nn.ModuleList()
        gpt2.unused = torch.nn.ModuleList([torch.nn.Linear(2, 2)])
        with pytest.raises(bauklens.LensError, match="blocks='empty' contains no modules"):
            bauklens.logit_lens(gpt2, None, PROMPT, blocks="empty")
        with pytest.raises(bauklens.LensError, match="blocks='unused' contains modules, but none of them ran"):
            bauklens.logit_lens(gpt2, None, PROMPT, blocks="unused")

    def test_blocks_that_are_not_the_last_thing_before_the_tail_fail_the_check(self, gpt2):
        gpt2.norms = torch.nn.ModuleList([block.ln_2 for block in gpt2.transformer.h])
        with pytest.raises(bauklens.LensError):
            bauklens.logit_lens(gpt2, None, PROMPT, blocks="norms")


def test_an_anatomy_is_remembered_and_does_not_keep_its_model_alive():
    import gc

    model = tiny_model("gpt2")
    first = resolve(model, Inputs(torch.tensor([PROMPT])))
    assert resolve(model, Inputs(torch.tensor([PROMPT]))) is first
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_hook_of_the_callers_on_a_block_acts_once(gpt2):
    """The blocks stand aside while a state is decoded, so that a hook on one cannot change the state again."""
    hook = lambda module, inputs, output: with_state(output, state_of(output) * 2)  # noqa: E731
    gpt2.transformer.h[2].register_forward_hook(hook)
    lens = bauklens.logit_lens(gpt2, None, PROMPT)
    own = torch.softmax(full_logits(gpt2, LAYERS), dim=-1).topk(5)
    assert np.allclose(lens.top_probs[-1], own.values, atol=1e-5)


@pytest.mark.parametrize("empty", ["whole", "one block"])
@pytest.mark.parametrize("max_new_tokens", [0, 2])
def test_a_model_without_weights_is_one_clear_error(empty, max_new_tokens):
    model = copy.deepcopy(tiny_model("gpt2"))
    (model if empty == "whole" else model.transformer.h[1]).to("meta")
    with pytest.raises(bauklens.LensError, match=r"the model has no weights yet: \S+ is on the device meta; load them"):
        bauklens.logit_lens(model, None, PROMPT, max_new_tokens=max_new_tokens)


CALLS = [
    lambda model: model(input_ids=torch.tensor([PROMPT[::-1]])),
    lambda model: bauklens.logit_lens(model, None, PROMPT[::-1]),
    lambda model: bauklens.get_hidden_states(model, None, PROMPT[::-1]),
]


class TestCallingTheModelWithinALens:
    """Another prompt is run within edit_output."""

    @pytest.fixture
    def lens(self):
        def look(model, call, layers):
            called = []

            def edit(output, layer):
                if not called:
                    called.append(layer)
                    call(model)

            return bauklens.logit_lens(model, None, PROMPT, edit_output=edit, layers=layers)

        return look

    @pytest.mark.parametrize("layers", [None, [0, 1]], ids=["to the end", "some layers"])
    @pytest.mark.parametrize("call", CALLS, ids=["model", "lens", "states"])
    def test_it_does_not_come_into_the_table(self, lens, call, layers):
        model = tiny_model("llama")
        found = lens(model, call, layers)
        assert np.array_equal(found.top_ids, bauklens.logit_lens(model, None, PROMPT, layers=layers).top_ids)

    @pytest.mark.parametrize("layers", [None, [0, 1]], ids=["to the end", "some layers"])
    @pytest.mark.parametrize("call", CALLS, ids=["model", "lens", "states"])
    def test_it_is_refused_if_the_model_is_read_in_place(self, lens, call, layers):
        model = tiny_model("llama")
        model.model.norm.register_forward_hook(lambda module, given, output: None)
        with pytest.raises(bauklens.LensError, match="edit_output called the model"):
            lens(model, call, layers)
        assert hook_count(model) == 1

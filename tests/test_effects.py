"""trace_effect(): against a plain loop of forward passes with plain hooks, and what is made of its result."""

import io
import json
import pickle
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console
from transformers import MambaConfig, MixtralConfig

import bauklens
from bauklens import Effects, LensError, trace_effect
from bauklens.cli import main
from bauklens.show.effects_terminal import print_effects
from tests.tiny import (
    LAYERS,
    PROMPT,
    WIDTH,
    block_list,
    hook_count,
    pass_output_through,
    tiny_model,
    tiny_tokenizer,
    with_random_weights,
)

KINDS = ["gpt2", "gptj", "llama", "gemma2", "bloom", "mixtral"]
CLEAN, CORRUPTED = PROMPT, [*PROMPT[:4], 200, *PROMPT[5:]]
ANSWERS = [44, 118]


def of_kind(kind, dtype=torch.float32):
    if kind != "mixtral":
        return tiny_model(kind, dtype)
    config = MixtralConfig(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=24,
        num_local_experts=4,
        vocab_size=320,
        max_position_embeddings=64,
    )
    return with_random_weights(config, dtype)


@pytest.fixture(params=KINDS)
def model(request):
    """A tiny model, with its kind as an attribute."""
    found = of_kind(request.param)
    found.kind = request.param
    return found


def writers(model, where, layer):
    """The module that writes a sublayer's part, and whether it returns it added to the stream that it is given."""
    block = block_list(model)[layer]
    names = {
        "gpt2": ("attn", "mlp"),
        "gptj": ("attn", "mlp"),
        "llama": ("self_attn", "mlp"),
        "gemma2": ("post_attention_layernorm", "post_feedforward_layernorm"),
        "bloom": ("self_attention", "mlp"),
        "mixtral": ("self_attn", "mlp" if hasattr(block, "mlp") else "block_sparse_moe"),
    }[model.kind]
    return getattr(block, names[where == "mlp"])


@contextmanager
def after(module, function):
    """While this lasts, a module returns ``function(inputs, state)`` in its state's place."""

    def hook(_module, inputs, keywords, output):
        state = output if torch.is_tensor(output) else output[0]
        changed = function((*inputs, *keywords.values()), state)
        return changed if torch.is_tensor(output) else (changed, *output[1:])

    handle = module.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def part(model, inputs, state):
    """What a sublayer writes: Bloom's modules return it with the stream added, which they are given second."""
    return state - inputs[1] if model.kind == "bloom" else state


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -1].float()


def by_hand(model, run, source, where, layer, here, there):
    """The logits with one state of another prompt, by two plain forward passes with plain hooks."""
    kept = []

    def keep(inputs, state):
        kept.append(state if where == "hidden" else part(model, inputs, state))
        return state

    def put(inputs, state):
        own = state if where == "hidden" else part(model, inputs, state)
        changed = state.clone()
        changed[:, here] += kept[0][:, there] - own[:, here]
        return changed

    module = block_list(model)[layer] if where == "hidden" else writers(model, where, layer)
    with after(module, keep):
        logits(model, source)
    with after(module, put):
        return logits(model, run)


def difference(found):
    return float(found[ANSWERS[0]] - found[ANSWERS[1]])


def assert_by_hand(model, effects, run, source, where):
    for row, layer in enumerate(effects.layers):
        for column, (here, there) in enumerate(zip(effects.positions, effects.source_positions, strict=True)):
            if layer != "embed":
                right = by_hand(model, run, source, where, int(layer), int(here), int(there))
                assert effects.difference[row, column] == pytest.approx(difference(right), abs=2e-4)
                assert effects.top_ids[row, column] == right.argmax()


@pytest.mark.parametrize("where", ["hidden", "attention", "mlp"])
def test_every_place_is_that_of_a_plain_loop(model, where):
    effects = trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS, where=where, positions=[3, 4, 7, -1])
    assert effects.layers == (("embed",) if where == "hidden" else ()) + ("0", "1", "2")
    assert effects.positions.tolist() == [3, 4, 7, 9]
    assert_by_hand(model, effects, CORRUPTED, CLEAN, where)
    assert np.ptp(effects.difference[:, 1:]) > 0.01  # something happens


def test_the_other_way(model):
    effects = trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS, into="clean", layers=["embed", 1], positions=[4, 8])
    assert_by_hand(model, effects, CLEAN, CORRUPTED, "hidden")
    own = difference(logits(model, CLEAN))
    assert np.allclose(effects.effect, effects.difference - own, atol=1e-4)
    assert effects.tokens[0] == "<5>"
    assert effects.source_tokens[0] == "<200>"


def test_shares_run_from_the_corrupted_prompt_to_the_clean_one(model):
    clean, corrupted = (difference(logits(model, ids)) for ids in (CLEAN, CORRUPTED))
    effects = trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS)
    assert effects.clean_difference == pytest.approx(clean, abs=1e-4)
    assert effects.corrupted_difference == pytest.approx(corrupted, abs=1e-4)
    share = (effects.difference - effects.corrupted_difference) / (
        effects.clean_difference - effects.corrupted_difference
    )
    assert np.allclose(effects.share, share, atol=1e-5)
    assert effects.share[-1, -1] == pytest.approx(1, abs=1e-2)  # all that the last block says at the last position
    assert np.abs(effects.effect[:, :4]).max() < 1e-4  # what comes before the first token that differs is the same
    assert effects.share[0, 4] == pytest.approx(1, abs=1e-2)  # the token itself


def test_the_middle_of_a_block():
    model = of_kind("llama")
    middle = trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS, where="mid", layers=[1])
    kept = {}

    def keep(inputs, state, name):
        kept[name] = state
        return state

    block = block_list(model)[1]
    with after(block, lambda _, state: keep(_, state, "out")), after(block.mlp, lambda _, s: keep(_, s, "mlp")):
        logits(model, CLEAN)
    clean = kept["out"] - kept["mlp"]
    with after(block, lambda _, state: keep(_, state, "out")), after(block.mlp, lambda _, s: keep(_, s, "mlp")):
        logits(model, CORRUPTED)
    wrong = kept["out"] - kept["mlp"]

    def move(_inputs, state):  # the attention's output carries the move of the stream after it
        changed = state.clone()
        changed[:, 6] += clean[:, 6] - wrong[:, 6]
        return changed

    with after(block.self_attn, move):
        right = logits(model, CORRUPTED)
    assert middle.difference[0, 6] == pytest.approx(difference(right), abs=2e-4)


def test_log_probability_of_one_token(model):
    corrupted = [*PROMPT[:8], 200, PROMPT[9]]
    effects = trace_effect(model, None, CLEAN, corrupted, 44, layers=[1], positions=[-1])
    right = by_hand(model, corrupted, CLEAN, "hidden", 1, 9, 9).log_softmax(dim=-1)[44]
    assert effects.difference.tolist() == [[pytest.approx(float(right), abs=2e-4)]]
    assert effects.measured == "log p of <44>"


def test_the_answers_are_by_default_what_follows_the_prompts():
    model = of_kind("gpt2")
    other = next(
        [*PROMPT[:-1], token]
        for token in range(3, 300)
        if logits(model, [*PROMPT[:-1], token]).argmax() != logits(model, PROMPT).argmax()
    )
    effects = trace_effect(model, None, PROMPT, other)
    assert effects.target_ids == (int(logits(model, PROMPT).argmax()), int(logits(model, other).argmax()))
    assert (effects.clean_top, effects.corrupted_top) == effects.target_ids


PROJECTIONS = {
    "gpt2": "attn.c_proj",
    "gptj": "attn.out_proj",
    "llama": "self_attn.o_proj",
    "mixtral": "self_attn.o_proj",
}


@pytest.mark.parametrize("kind", PROJECTIONS)
def test_heads_are_those_of_a_plain_loop(kind):
    """What the projection is given of one head is that of the other prompt."""
    model = of_kind(kind)
    effects = trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS, where="heads", layers=[1, "2.h3"], positions=[4, -1])
    assert effects.layers == ("1.h0", "1.h1", "1.h2", "1.h3", "2.h3")
    for row, label in enumerate(effects.layers):
        layer, head = (int(each) for each in label.split(".h"))
        module = block_list(model)[layer].get_submodule(PROJECTIONS[kind])
        for column, position in enumerate((4, 9)):
            kept, some = [], slice(WIDTH // 4 * head, WIDTH // 4 * (head + 1))

            def keep(_module, inputs):
                kept.append(inputs[0].detach())  # noqa: B023

            def put(_module, inputs):
                changed = inputs[0].clone()
                changed[:, position, some] = kept[0][:, position, some]  # noqa: B023
                return (changed,)

            for hook, ids in ((keep, CLEAN), (put, CORRUPTED)):
                handle = module.register_forward_pre_hook(hook)
                right = logits(model, ids)
                handle.remove()
            assert effects.difference[row, column] == pytest.approx(difference(right), abs=2e-4)
    assert np.ptp(effects.difference[:, 1]) > 1e-3
    assert Effects.from_dict(effects.to_dict()).layers == effects.layers
    assert "Attention heads of the clean prompt" in effects.to_html()
    assert 'class="corner">head</th>' in effects.to_html()


def test_of_very_many_rows_the_strongest_are_shown():
    model = of_kind("llama")
    found = trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS, where="heads")
    few = found.strongest(5)
    assert len(few.layers) == 5
    assert list(few.layers) == [each for each in found.layers if each in few.layers]
    size = np.abs(found.effect).max(axis=1)
    assert sorted(np.abs(few.effect).max(axis=1)) == sorted(size)[-5:]
    assert few.notes == (*found.notes, "Of 12 rows, the 5 with the largest effects.")
    assert found.strongest(12) is found
    many = replace(
        found,
        layers=[f"{row}.h0" for row in range(180)],
        difference=np.tile(found.difference, (15, 1)),
        top_ids=np.tile(found.top_ids, (15, 1)),
    )
    printed = io.StringIO()
    print_effects(many, Console(file=printed, width=200))
    assert printed.getvalue().count(".h0") == many.to_html().count('scope="row"') == 40
    assert len(many.plot().axes[0].get_yticklabels()) == 40
    assert "Of 180 rows, the 40 with the largest effects." in printed.getvalue()
    assert len(many.to_frame()) == 180 * len(CLEAN)


def test_a_head_among_layers_says_what_to_pass():
    with pytest.raises(LensError, match=r"'1.h3' is a head: pass where='heads'"):
        trace_effect(of_kind("llama"), None, CLEAN, CORRUPTED, ANSWERS, layers=[0, "1.h3"])


def test_heads_through_a_norm_are_patched_at_its_scale():
    """All heads of a layer, one by one, move the logits about as their attention does."""
    model = of_kind("gemma2")
    found = trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS, where="heads", layers=[1], positions=[7])
    assert len(found.layers) == 4
    assert np.abs(found.effect).max() > 1e-4
    assert not hook_count(model)


def test_heads_that_cannot_be_told_apart_are_refused():
    model = with_random_weights(MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=320, state_size=4))
    with pytest.raises(LensError, match="attention"):
        trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS, where="heads")


@pytest.mark.parametrize(("into", "run", "source"), [("corrupted", 1, 0), ("clean", 0, 1)])
def test_prompts_of_different_length_are_aligned(model, into, run, source):
    prompts = [CLEAN, [9, 31, *CORRUPTED]]
    align = {position + 2: position for position in (3, 4, 9)}
    effects = trace_effect(model, None, *prompts, ANSWERS, align=align, into=into, layers=["embed", 0, -1])
    here, there = ([5, 6, 11], [3, 4, 9])
    assert effects.positions.tolist() == (here if into == "corrupted" else there)
    assert effects.source_positions.tolist() == (there if into == "corrupted" else here)
    assert_by_hand(model, effects, prompts[run], prompts[source], "hidden")


def counted(model):
    """Counts what a model is given: (copies, positions) of each forward pass."""
    given = []
    forward = model.forward

    def counting(*inputs, **keywords):
        ids = keywords.get("input_ids", inputs[0] if inputs else None)
        given.append(tuple(ids.shape))
        return forward(*inputs, **keywords)

    counting.__signature__ = __import__("inspect").signature(forward)
    model.forward = counting
    return given


def test_only_places_that_differ_are_run_and_after_what_comes_before_them():
    model = of_kind("llama")
    trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS)  # the model is known from here on
    given = counted(model)
    trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS)
    given.clear()  # the first time it has another forward
    effects = trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS)
    batches = [shape for shape in given if shape[0] > 1]
    places = LAYERS * 6 + 1  # of six positions; and the embedding of the token itself
    assert effects.difference.size == (LAYERS + 1) * len(PROMPT)
    assert sum(copies - 1 for copies, _ in batches) == places  # and one more in each
    assert batches[0] == (places + 1, 6)
    assert (1, 4) in given


@pytest.mark.parametrize("kind", ["llama", "mixtral"])
@pytest.mark.parametrize("where", ["hidden", "attention"])
def test_a_batch_of_one_is_a_batch_of_many(kind, where):
    model = of_kind(kind)
    many = trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS, where=where)
    handle = model.get_input_embeddings().register_forward_hook(lambda *_: None)
    given = counted(model)
    one = trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS, where=where)
    handle.remove()
    assert {copies for copies, _ in given} == {1}  # a hook of the caller may look for that
    assert np.allclose(one.difference, many.difference, atol=1e-4)
    assert np.array_equal(one.top_ids, many.top_ids)


def replaced_forward(model, function):
    """The model with a function around its forward, which keeps its signature."""
    forward = model.forward

    def other(*inputs, **keywords):
        return function(forward, *inputs, **keywords)

    other.__signature__ = __import__("inspect").signature(forward)
    model.forward = other


def raising_with_a_cache(forward, *inputs, **keywords):
    if keywords.get("past_key_values") is not None:
        raise TypeError("there is no cache")
    return forward(*inputs, **keywords)


def wrong_with_a_cache(forward, *inputs, **keywords):
    found = forward(*inputs, **keywords)
    if keywords.get("past_key_values") is not None:
        found.logits = found.logits * 1.1
    return found


def other_in_a_batch(forward, *inputs, **keywords):
    found = forward(*inputs, **keywords)
    found.logits = found.logits * (1 + 0.1 * (found.logits.shape[0] > 1))
    return found


@pytest.mark.parametrize("change", [raising_with_a_cache, wrong_with_a_cache, other_in_a_batch])
def test_what_is_not_proved_is_run_in_another_way(change):
    right = trace_effect(of_kind("llama"), None, CLEAN, CORRUPTED, ANSWERS)
    model = of_kind("llama")
    replaced_forward(model, change)
    found = trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS)
    assert np.allclose(found.difference, right.difference, atol=1e-4)


@pytest.mark.parametrize("most", [5, 0])
def test_fewer_copies_where_memory_runs_out(most):
    model, seen = of_kind("llama"), []

    def scarce(forward, *inputs, **keywords):
        copies = keywords["input_ids"].shape[0]
        seen.append(copies)
        if copies > most and (most or len(seen) > 12):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(*inputs, **keywords)

    right = trace_effect(of_kind("llama"), None, CLEAN, CORRUPTED, ANSWERS)
    replaced_forward(model, scarce)
    if most:
        found = trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS)
        assert np.allclose(found.difference, right.difference, atol=1e-4)
        assert max(seen) > most
        return
    for _ in range(4):
        with pytest.raises(LensError, match="out of memory") as failed:
            trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS)
        assert "\n" not in str(failed.value)
    assert not hook_count(model)


def test_in_bfloat16():
    effects = trace_effect(of_kind("llama", torch.bfloat16), None, CLEAN, CORRUPTED, ANSWERS)
    assert np.isfinite(effects.difference).all()
    assert effects.provenance["dtype"] == "bfloat16"


def test_the_model_is_left_as_it_was(model):
    before = {name: each.clone() for name, each in model.state_dict().items()}
    plain = logits(model, PROMPT)
    for where in ("hidden", "attention", "mlp"):
        trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS, where=where, layers=[1])
    assert torch.equal(logits(model, PROMPT), plain)
    assert all(torch.equal(model.state_dict()[name], each) for name, each in before.items())
    assert not hook_count(model)


def test_nan_is_told_with_its_place():
    model = of_kind("llama")

    def spoiled(_module, _inputs, output):
        found = output.clone()
        if len(found) > 4:
            found[2] = float("nan")
        return found

    pass_output_through(model.lm_head, spoiled)
    with pytest.raises(LensError, match="NaN or infinite with the other prompt's hidden at layer 1, position 4"):
        trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS)
    assert not hook_count(model)


@pytest.mark.parametrize(
    ("prompts", "options", "said"),
    [
        ((CLEAN, CORRUPTED[:-1]), {}, "the clean prompt has 10 tokens and the corrupted one 9: pass align= with pairs"),
        ((CLEAN, CLEAN), {}, "follows both prompts: pass target="),
        ((CLEAN, CLEAN), {"target": ANSWERS}, "do not differ in '<44>' and '<118>'"),
        ((CLEAN, CORRUPTED), {"target": [1, 2, 3]}, "target has 3 tokens"),
        ((CLEAN, CORRUPTED), {"target": []}, "target has 0 tokens"),
        ((CLEAN, CORRUPTED), {"target": [44, 44]}, "given twice"),
        ((CLEAN, CORRUPTED), {"target": {"a": [1, 2]}}, "target is a set"),
        ((CLEAN, CORRUPTED), {"target": 4000}, "4000 is not a token id"),
        ((CLEAN, CORRUPTED), {"target": ANSWERS, "layers": 7}, "unknown layer 7"),
        ((CLEAN, CORRUPTED), {"target": ANSWERS, "where": "mlp", "layers": "embed"}, "unknown layer 'embed'"),
        ((CLEAN, CORRUPTED), {"target": ANSWERS, "positions": 40}, "position 40"),
        ((CLEAN, CORRUPTED), {"target": ANSWERS, "where": "head"}, "unknown where 'head'"),
        ((CLEAN, CORRUPTED), {"target": ANSWERS, "into": "both"}, "unknown into 'both'"),
        ((CLEAN, CORRUPTED), {"target": ANSWERS, "align": [1, 2]}, "align must be"),
        ((CLEAN, CORRUPTED), {"target": ANSWERS, "align": {40: 1}}, "position 40"),
        ((CLEAN, CORRUPTED), {"target": ANSWERS, "align": {4: 4}, "positions": 5}, "position 5 has no counterpart"),
        ((CLEAN, CORRUPTED), {"target": ANSWERS, "align": {4: 4, 5: 4}, "into": "clean"}, "twice"),
        (([], CORRUPTED), {}, "empty"),
        ((CLEAN, "text"), {}, "tokenizer"),
    ],
)
def test_what_cannot_be_is_one_line(prompts, options, said):
    model = of_kind("llama")
    with pytest.raises(LensError, match=said.replace("=", "[=]")) as found:
        trace_effect(model, None, *prompts, **options)
    assert "\n" not in str(found.value)
    assert not hook_count(model)


def test_there_is_no_middle_in_parallel_blocks():
    with pytest.raises(LensError, match="no 'mid'"):
        trace_effect(of_kind("gptj"), None, CLEAN, CORRUPTED, ANSWERS, where="mid")


def test_blocks_without_sublayers_have_hidden_states_only():
    config = MambaConfig(hidden_size=WIDTH, num_hidden_layers=2, state_size=4, vocab_size=320)
    model = with_random_weights(config)
    with pytest.raises(LensError, match=r"no attention and MLP .* pass where='hidden'"):
        trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS, where="mlp")
    effects = trace_effect(model, None, CLEAN, CORRUPTED, ANSWERS, layers=[0], positions=[4, 9])
    assert effects.difference.tolist() == [
        [pytest.approx(difference(right), abs=2e-4) for right in mamba_by_hand(model, 0, [4, 9])]
    ]


def mamba_by_hand(model, layer, positions):
    """The logits with one state of the clean prompt after a block of Mamba."""
    kept, found = [], []
    block = model.backbone.layers[layer]
    with after(block, lambda _, state: kept.append(state.clone()) or state):
        logits(model, CLEAN)
    for position in positions:

        def put(_inputs, state, position=position):
            changed = state.clone()
            changed[:, position] = kept[0][:, position]
            return changed

        with after(block, put):
            found.append(logits(model, CORRUPTED))
    return found


@pytest.fixture
def effects():
    """Effects as of two texts, with a token that a page must escape."""
    shares = np.array([[0, 0.9, 0.2, 0], [0, 0.7, -0.5, 0.1], [0, 0.1, -1.4, 0.6], [0, 0, 0, 1]])
    return Effects(
        model="tiny",
        clean="The tower & city",
        corrupted="The <b>bridge</b>",
        into="corrupted",
        where="hidden",
        target=(" Paris", " Rome"),
        target_ids=(7, 8),
        layers=("embed", "0", "1", "2"),
        positions=[0, 1, 2, 5],
        tokens=("The", " <b>", " of", " is"),
        source_positions=[0, 1, 2, 4],
        source_tokens=("The", " tower", " of", " is"),
        difference=10 * shares - 6,
        clean_difference=4.0,
        corrupted_difference=-6.0,
        top_ids=np.where(shares > 0.5, 7, 8),
        clean_top=7,
        corrupted_top=8,
        vocabulary={7: " Paris", 8: " Rome"},
        notes=("A note.",),
        provenance={"model": "tiny", "arguments": {"layers": [0, 1]}},
    )


def test_the_frame_has_a_row_for_each_place(effects):
    frame = effects.to_frame()
    assert len(frame) == effects.difference.size == 16
    assert list(frame.columns) == [
        "layer",
        "position",
        "token",
        "source position",
        "source token",
        "difference",
        "effect",
        "share",
        "predicted",
    ]
    last = frame.iloc[-1]
    assert last["layer"] == "2"
    assert last["share"] == pytest.approx(effects.share[-1, -1])
    assert last["source token"] == effects.source_tokens[-1]


def test_it_is_saved_and_loaded(effects, tmp_path):
    effects.save(tmp_path / "effects.json")
    for other in (
        Effects.load(tmp_path / "effects.json"),
        Effects.from_dict(json.loads(effects.to_json())),
        pickle.loads(pickle.dumps(effects)),
    ):
        assert other.to_dict() == effects.to_dict()
        assert np.array_equal(other.share, effects.share)
    assert b"cbauklens.r" not in pickle.dumps(effects, protocol=0)
    with pytest.raises(LensError, match="saved as a"):
        effects.save(tmp_path / "effects.csv")
    with pytest.raises((ValueError, AttributeError)):
        effects.difference[0, 0] = 1
    assert "share" in repr(effects)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "bauklens.lens"}, "not effects: looked"),
        ({"version": 2}, "version 2"),
        ({"difference": [[1.0]]}, "difference has shape"),
        ({"top_ids": [[1]]}, "top_ids has shape"),
        ({"top_ids": None}, "top_ids"),
        ({"positions": [1]}, "positions does not have"),
        ({"vocabulary": {}}, "vocabulary does not have every token"),
        ({"vocabulary": []}, "damaged"),
        ({"into": "other"}, "into is"),
        ({"target_ids": [1]}, "not one token or two"),
        ({"target_ids": [1, "a"]}, "not ids"),
        ({"clean_difference": None}, "damaged"),
        ({"tokens": 3}, "damaged"),
        ({"provenance": ["model"]}, "provenance is not a mapping"),
        ({"layers": [], "difference": [], "top_ids": []}, "difference has shape"),
        ({"model": 3}, "model is not a text"),
        ({"clean_top": "a"}, "vocabulary"),
    ],
)
def test_damaged_files_are_refused_in_one_line(effects, tmp_path, change, said):
    path = tmp_path / "effects.json"
    path.write_text(json.dumps(effects.to_dict() | change))
    with pytest.raises(LensError, match=said) as found:
        Effects.load(path)
    assert str(found.value).startswith(f"cannot read {path}: ")
    assert "\n" not in str(found.value)
    for name in effects.to_dict():
        if name not in ("notes", "provenance"):
            with pytest.raises(LensError):
                Effects.from_dict({key: value for key, value in effects.to_dict().items() if key != name})


def test_the_heat_map(effects):
    figure = effects.plot()
    axes = figure.axes[0]
    image = axes.get_images()[0]
    assert np.allclose(image.get_array(), effects.share)
    low, high = image.get_clim()
    assert low == -high
    assert high >= 1
    assert [label.get_text() for label in axes.get_yticklabels()] == list(effects.layers)
    assert effects.plot("effect").axes[0].get_images()[0].get_clim()[0] < 0
    low, high = effects.plot("difference").axes[0].get_images()[0].get_clim()
    assert (low + high) / 2 == pytest.approx(effects.corrupted_difference, abs=1e-4)
    with pytest.raises(LensError, match="unknown measure"):
        effects.plot("shares")
    with pytest.raises(LensError, match="unknown colormap"):
        effects.plot(cmap="nothing")


def test_the_terminal_shows_the_columns_with_the_largest_effects(effects):
    said = []
    for width in (200, 24):
        console = Console(width=width, force_terminal=True)
        with console.capture() as captured:
            print_effects(effects, console)
        said.append(captured.get())
    assert "embed" in said[0]
    assert "positions, those" not in said[0]
    assert "largest" in said[1]


def test_forced_colours_tell_towards_from_away(opening, effects):
    page, _, _ = opening(effects.to_html())
    page.emulate_media(forced_colors="active")
    drawn = page.locator(".scale s").evaluate_all("all => all.map((each) => getComputedStyle(each).backgroundImage)")
    away = page.locator(".scale s.less").evaluate_all(
        "all => all.map((each) => getComputedStyle(each).backgroundImage)"
    )
    assert all("repeating" in each for each in away)
    assert sum("repeating" in each for each in drawn) == len(away) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_every_share_in_two_colours(opening, effects, scheme):
    page, asked, complaints = opening(effects.to_html(title="a <b> title"), scheme=scheme)
    assert not asked
    assert not complaints
    assert page.locator("h1").inner_text() == "a <b> title"
    cells = page.locator("td")
    assert cells.count() == effects.share.size
    assert [float(text) for text in cells.all_inner_texts()] == pytest.approx(effects.share.ravel().tolist(), abs=0.006)
    seen = page.evaluate(
        """() => [...document.querySelectorAll("td")].map((cell) => {
             const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
             const rgb = (colour) => {
               canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
               return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); };
             const light = (colour) => rgb(colour).map((part) => part / 255)
               .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
               .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0.05);
             const style = getComputedStyle(cell);
             const pair = [light(style.color), light(style.backgroundColor)].sort((a, b) => b - a);
             return { share: Number(cell.innerText), paper: rgb(style.backgroundColor), contrast: pair[0] / pair[1] };
           })"""
    )
    assert min(each["contrast"] for each in seen) >= 4.5
    towards = [each["paper"] for each in seen if each["share"] > 0.3]
    away = [each["paper"] for each in seen if each["share"] < -0.3]
    assert towards
    assert away
    assert all(blue > red for red, _, blue in towards)
    assert all(red > blue for red, _, blue in away)


def test_a_notebook_shows_the_same_table(effects):
    html = effects._repr_html_()
    assert "<style>" in html
    assert "<script" not in html
    assert html.count("<td") == effects.share.size


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a tiny model and its tokenizer, in which the command runs."""
    tiny_model("gpt2").save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMAND = ("effect", "the tower is", "the city is", "--model", "model", "--target", " the", "--target", " city")


def test_the_command_writes_every_kind_of_file(folder):
    names = ["out.html", "out.csv", "out.json", "out.png"]
    ran = CliRunner().invoke(main, [*COMMAND, *(word for name in names for word in ("-o", name)), "--where", "mlp"])
    assert ran.exit_code == 0, ran.output
    assert "MLP contributions of the clean prompt, put into the corrupted one" in ran.stdout
    assert all(f"wrote {name}" in ran.stderr for name in names)
    found = Effects.load(folder / "out.json")
    assert found.where == "mlp"
    assert found.target == (" the", " city")
    assert len((folder / "out.csv").read_text().splitlines()) == 1 + found.share.size
    assert (folder / "out.html").read_text().startswith("<!doctype html>")
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_json_with_its_options(folder):
    words = ["--into", "clean", "--layer", "1", "--layer", "embed", "--position", "-1", "--align", "0=0", "--align"]
    ran = CliRunner().invoke(main, [*COMMAND, *words, "-1=-1", "--json", "-"])
    assert ran.exit_code == 0, ran.output
    found = Effects.from_dict(json.loads(ran.stdout))
    assert found.layers == ("1", "embed")
    assert found.into == "clean"
    assert len(found.positions) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "out.txt"), "effects are written as one of .html, .csv, .json"),
        (("--align", "x"), "--align takes N=M"),
        (("--json", "-", "--csv", "-"), "JSON and CSV cannot both go to standard output"),
        (("-o", "nowhere/out.html"), "does not exist"),
        (("--target", "x"), "target has 3 tokens"),
        (("--layer", "9"), "unknown layer '9'"),
    ],
)
def test_the_command_refuses_in_one_line(folder, words, said):
    ran = CliRunner().invoke(main, [*COMMAND, *words])
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1


def test_the_subject_and_then_the_last_token_bring_the_answer_back(demo):
    """The example of the docs."""
    effects = bauklens.trace_effect(
        *demo,
        "The Eiffel Tower is located in the city of",
        "The Colosseum is located in the city of",
        layers=[3, 15, 25],
        positions=[2, 3, 9],
    )
    assert effects.target == (" Paris", " Rome")
    early, middle, late = effects.share.tolist()
    assert early[0] > 0.8  # "iffel" in the place of "osse"
    assert middle[0] > 0.6
    assert max(early[2], middle[2]) < 0.05  # nothing yet at the last position
    assert late[2] > 0.75
    assert max(map(abs, late[:2])) < 0.05  # and nothing any more at the subject

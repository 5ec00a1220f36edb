"""Edits of what single attention heads write, beside plain hooks on what their output projection is given."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

import bauklens
from bauklens import LensError, edits, logit_lens
from bauklens.model.heads import HeadOutputs
from tests.test_coverage import PROMPT as COVERAGE_PROMPT
from tests.test_coverage import build
from tests.test_edits import answer, assert_same, direction, logits
from tests.test_heads import HEADS, MODELS, found_heads
from tests.tiny import PROMPT, VOCABULARY, WIDTH, hook_count, tiny_model

ONE, OTHER, LAYER, HEAD = 44, 118, 1, 2


@pytest.fixture(params=MODELS)
def model(request):
    """A tiny model, with its kind as an attribute."""
    found = MODELS[request.param]()
    found.kind = request.param
    found.norm_name = {"gpt2": "transformer.ln_f", "gptj": "transformer.ln_f", "bloom": "transformer.ln_f"}.get(
        request.param, "model.decoder.final_layer_norm" if request.param == "opt" else "model.norm"
    )
    return found


@contextmanager
def changed_head(model, change, layer=LAYER, head=HEAD):
    """The model with a function on what a head writes, (batch, position, hidden): what comes after it is moved."""
    heads = found_heads(model)[layer]
    seen = []

    def before(_, inputs):
        seen[:] = [inputs[0].clone()]

    def after(_, __, output):
        part = HeadOutputs(model, heads, seen[0]).of(head)
        state = output if torch.is_tensor(output) else output[0]
        state = state + (change(part) - part)
        return state if torch.is_tensor(output) else (state, *output[1:])

    handles = [
        model.get_submodule(heads.projection).register_forward_pre_hook(before),
        model.get_submodule(heads.norm or heads.projection).register_forward_hook(after),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def test_a_head_is_taken_away(model):
    heads = found_heads(model)[LAYER]
    size = 32 // HEADS

    def without(_, inputs):
        given = inputs[0].clone()
        given[..., HEAD * size : (HEAD + 1) * size] = 0
        return (given, *inputs[1:])

    if model.kind == "gemma2":  # the norm after it keeps the scale that it has with the head
        with changed_head(model, torch.zeros_like):
            right = logits(model)
    else:
        handle = model.get_submodule(heads.projection).register_forward_pre_hook(without)
        right = logits(model)
        handle.remove()
    assert_same(answer(model, edits.zero(HEAD, layers=LAYER)), right)
    assert_same(answer(model, edits.zero(f"head {HEAD}", layers=LAYER)), right)
    assert not np.allclose(right.softmax(dim=-1), logits(model).softmax(dim=-1), atol=1e-3)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_all_heads_and_the_bias_are_the_attention(name):
    model = tiny_model(name)
    every = sum((edits.zero(head, layers=LAYER) for head in range(1, HEADS)), edits.zero(0, layers=LAYER))
    lens = logit_lens(model, None, PROMPT, stream=["heads", "attention"], edits=every)
    assert np.all(lens[0].magnitude[[lens[0].layers.index(f"{LAYER}.h{head}") for head in range(HEADS)]] < 1e-5)
    bias = lens[0].magnitude[lens[0].layers.index(f"{LAYER}.bias")] if name == "gpt2" else 0
    assert np.allclose(lens[1].magnitude[LAYER], bias, atol=1e-4)


def test_a_vector_is_added_to_a_head_at_some_positions(model):
    vector = torch.randn(WIDTH, generator=torch.Generator().manual_seed(0))
    edit = edits.add(vector, layers=LAYER, where=HEAD, positions=[2, -1])
    assert_same(
        answer(model, edit),
        torch.tensor(answer(model, edits.add(vector, layers=LAYER, where="attention", positions=[2, -1]))).log(),
    )
    clean, edited = (logit_lens(model, None, PROMPT, stream="heads", layers=LAYER, edits=each) for each in (None, edit))
    differs = ~np.isclose(clean.magnitude, edited.magnitude, rtol=1e-5)
    assert np.argwhere(differs).tolist() == [[HEAD, 2], [HEAD, len(PROMPT) - 1]]


def test_what_another_prompt_has_there(model):
    other, kept = [*PROMPT[:4], 200, *PROMPT[5:]], []
    heads = found_heads(model)[LAYER]
    handle = model.get_submodule(heads.projection).register_forward_pre_hook(
        lambda _, inputs: kept.append(inputs[0].clone())
    )
    logits(model, other)
    handle.remove()
    there = HeadOutputs(model, heads, kept[0]).of(HEAD)

    def change(part):
        part = part.clone()
        part[:, 4] = there[:, 4]
        return part

    with changed_head(model, change):
        right = logits(model)
    assert_same(answer(model, edits.patch(other, layers=LAYER, positions=4, where=HEAD)), right)


def test_its_mean(model):
    with changed_head(model, lambda part: part[:, 1:].mean(dim=1, keepdim=True).expand_as(part)):
        right = logits(model)
    assert_same(answer(model, edits.mean_ablate(HEAD, layers=LAYER)), right)


def test_directions_in_what_a_head_writes(model):
    one, other = direction(model, ONE), direction(model, OTHER)
    with changed_head(model, lambda part: part + (part @ one)[..., None] * (other - one)):
        right = logits(model)
    assert_same(answer(model, edits.swap(None, ONE, OTHER, layers=LAYER, where=HEAD)), right)
    with changed_head(model, lambda part: part - (part @ one)[..., None] * one):
        right = logits(model)
    assert_same(answer(model, edits.ablate(None, ONE, layers=LAYER, where=HEAD)), right)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_strength_zero_changes_nothing_to_the_last_bit(dtype):
    model = tiny_model("gemma2", dtype)
    nothing = edits.add([0.5] * WIDTH, strength=0, where=0) + edits.swap(None, ONE, OTHER, strength=0, where=1)
    plain, edited = (logit_lens(model, None, PROMPT, topk=VOCABULARY, edits=each) for each in (None, nothing))
    assert np.array_equal(edited.top_probs, plain.top_probs)


def test_generation_goes_on_with_the_edit(model):
    with changed_head(model, torch.zeros_like):
        right = model.generate(torch.tensor([PROMPT]), max_new_tokens=5, do_sample=False, pad_token_id=0)[0].tolist()
    lens = logit_lens(model, None, PROMPT, stream="heads", edits=edits.zero(HEAD, layers=LAYER), max_new_tokens=5)
    assert lens.token_ids.tolist() == right
    assert np.all(lens.magnitude[lens.layers.index(f"{LAYER}.h{HEAD}")] == 0)
    assert hook_count(model) == 0


def test_every_layer_that_has_the_head():
    model = build("jamba")
    lens = logit_lens(model, None, COVERAGE_PROMPT, edits=edits.zero(3))
    assert list(lens.provenance["edits"][0]["layers"]) == ["1"]
    assert lens.provenance["edits"][0]["where"] == 3
    assert "head 3" in str(edits.zero(3, layers=1))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: edits.zero(4, layers=1), r"unknown head 4: layer 1 has the heads 0 \.\. 3"),
        (lambda: edits.zero(9), r"unknown head 9: layer 0 has the heads 0 \.\. 3"),
        (lambda: edits.zero(-1), "unknown where -1: pass one of .* or the number of an attention head"),
        (lambda: edits.zero(True), "unknown where True"),
        (lambda: edits.zero("head x"), "unknown where 'head x'"),
    ],
)
def test_what_cannot_be_is_one_line(make, said):
    with pytest.raises(LensError, match=said) as found:
        logit_lens(tiny_model("llama"), None, PROMPT, edits=make())
    assert "\n" not in str(found.value)


def test_heads_of_an_attention_that_an_edit_changes_are_refused():
    with pytest.raises(LensError, match="the heads of layer 1 do not add up to what its attention writes"):
        logit_lens(tiny_model("llama"), None, PROMPT, stream="heads", edits=edits.zero("attention", layers=1))


def test_an_intervention_takes_heads():
    found = bauklens.intervene(tiny_model("llama"), None, PROMPT, edits.swap(None, ONE, OTHER, where=1), controls=2)
    assert found.controls == 2

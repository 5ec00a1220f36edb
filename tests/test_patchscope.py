"""Patchscopes against a naive loop: one layer after another, by a plain hook, without a cache."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

import bauklens
from bauklens import JacobianLens, LensError, Patchscope
from tests.by_hand import matrices, states_of
from tests.tiny import LAYERS, PROMPT, TEXT, WIDTH, block_list, first_input, hook_count, randomised, tiny_model

INTO = [3, 9, 44, 260, 7, 18]


def naive(model, label, state, place, count):
    """The logits at the last position, and what comes after that, with a state put in after a block."""

    def put(output):
        whole = output if torch.is_tensor(output) else output[0]
        whole[0, place] = state

    def before(module, inputs, keywords):
        put(first_input(inputs, keywords))

    def after(module, inputs, output):
        put(output)

    blocks = block_list(model)
    if label == "embed":
        hook = blocks[0].register_forward_pre_hook(before, with_kwargs=True)
    else:
        hook = blocks[int(label)].register_forward_hook(after)
    ids, first = list(INTO), None
    with torch.no_grad():
        for _ in range(count):
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            first = logits if first is None else first
            ids.append(int(logits.argmax()))
            if ids[-1] == model.generation_config.eos_token_id:
                break
    hook.remove()
    return first, ids[len(INTO) :]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def model(request):
    return tiny_model(request.param)


@pytest.mark.parametrize(("place", "into_layer"), [(5, None), (2, None), (-1, 1), (3, "embed")])
def test_it_is_what_a_naive_loop_gives(model, place, into_layer):
    found = bauklens.patchscope(
        model, None, PROMPT, position=4, into=INTO, into_position=place, into_layer=into_layer, max_new_tokens=4
    )
    assert found.layers == ("embed", *map(str, range(LAYERS)))
    states = states_of(model)[:, 4]
    for row, label in enumerate(found.layers):
        at = label if into_layer is None else str(into_layer)
        logits, ids = naive(model, at, states[row], place % len(INTO), 4)
        assert found.into_layers[row] == at
        assert found.texts[row] == "".join(f"<{each}>" for each in ids)
        top = logits.softmax(-1).topk(5)
        assert np.array_equal(found.top_ids[row], top.indices)
        assert np.allclose(found.top_probs[row], top.values, atol=1e-5)
    assert hook_count(model) == 0


@pytest.fixture(scope="module")
def llama():
    return tiny_model("llama")


def test_a_model_whose_cache_has_no_length():
    torch.manual_seed(0)
    model = randomised(MambaForCausalLM(MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=320, state_size=8)))
    found = bauklens.patchscope(model, None, PROMPT, into=INTO, into_position=2, max_new_tokens=3)
    states = bauklens.get_hidden_states(model, None, PROMPT)[:, 0, -1]
    for label, state in zip(found.layers[1:], states, strict=True):
        _, ids = naive(model, label, state, 2, 3)
        assert found[label] == "".join(f"<{each}>" for each in ids)


def test_the_lens_beside_it_reads_the_same_states(llama):
    decoder = JacobianLens({label: matrices()[label] for label in ("0", "1")})
    found = bauklens.patchscope(llama, None, PROMPT, layer=["embed", 1, -1], into=INTO, decoder=decoder, topk=3)
    lens = bauklens.logit_lens(
        llama, None, PROMPT, positions=-1, layers=["embed", 1, -1], decoder=decoder, missing="plain", topk=3
    )
    assert np.array_equal(found.lens_ids, lens.top_ids[:, 0])
    assert np.allclose(found.lens_probs, lens.top_probs[:, 0])
    assert found.notes == ("The decoder has no map for embed, read as in the logit lens.",)
    assert found.lens == f"lens {decoder.name!r}"


def test_a_model_with_hooks_is_run_copy_by_copy(gpt2):
    plain = bauklens.patchscope(gpt2, None, PROMPT, into=INTO, max_new_tokens=3)
    batches = []
    hook = gpt2.register_forward_pre_hook(lambda module, inputs, keywords: batches.append(keywords), with_kwargs=True)
    try:
        hooked = bauklens.patchscope(gpt2, None, PROMPT, into=INTO, max_new_tokens=3)
    finally:
        hook.remove()
    assert hooked.texts == plain.texts
    assert {len(each["input_ids"]) for each in batches if "input_ids" in each} == {1}


@pytest.fixture(scope="module")
def scope():
    return bauklens.patchscope(tiny_model("gpt2"), None, PROMPT, into=INTO, max_new_tokens=3)


def test_it_is_a_value(scope, tmp_path):
    scope.save(tmp_path / "scope.json")
    assert Patchscope.load(tmp_path / "scope.json") == scope == pickle.loads(pickle.dumps(scope))
    assert scope != replace(scope, clean="other")
    assert len(scope) == 1 + LAYERS
    assert scope[1] == scope["1"] == scope.texts[2]
    frame = scope.to_frame()
    assert list(frame["layer"]) == list(scope.layers)
    assert list(frame["text"]) == list(scope.texts)
    assert np.allclose(frame["lens probability"], scope.lens_probs[:, 0])
    with pytest.raises(ValueError, match="read-only"):
        scope.top_probs[0, 0] = 0
    for part in (scope.texts[1], "patchscope", "logit lens"):
        assert part in repr(scope)
    html = scope.to_html(tmp_path / "scope.html", title="A scope")
    assert (tmp_path / "scope.html").read_text(encoding="utf-8") == html
    assert "<title>A scope" in html
    assert scope._repr_html_().count("<tr") == 2 + LAYERS
    assert scope.provenance["arguments"]["max_new_tokens"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not a patchscope: looked"),
        ({"version": 2}, "a patchscope of version 2"),
        ({"texts": ["a"]}, "not every layer has a text"),
        ({"top_ids": [[1]]}, "top_"),
        ({"vocabulary": {}}, "the vocabulary does not have every token"),
        ({"position": "4"}, "a position is not a number"),
        ({"provenance": 5}, "provenance is not a mapping"),
    ],
)
def test_damaged_files_are_refused(scope, change, message):
    with pytest.raises(LensError, match=message):
        Patchscope.from_dict(scope.to_dict() | change)
    less = scope.to_dict()
    del less["texts"]
    with pytest.raises(LensError, match="a patchscope without texts"):
        Patchscope.from_dict(less)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layer": 9}, "unknown layer 9"),
        ({"into_layer": "9"}, "unknown layer '9'"),
        ({"into_layer": [0, 1]}, r"into_layer is \[0, 1\]: pass one layer"),
        ({"position": 10}, "unknown position 10"),
        ({"position": [1, 2]}, r"position is \[1, 2\]: pass a whole number"),
        ({"into_position": None}, "into_position is None: pass a whole number"),
        ({"into_position": -7}, "unknown position -7"),
        ({"into": []}, "the prompt is empty|no tokens|empty"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": 99}, "the model's context is"),
        ({"topk": 0}, "topk is 0"),
        ({"decoder": ["logit", JacobianLens({"1": torch.eye(WIDTH)})]}, "patchscope takes one decoder"),
    ],
)
def test_bad_input_is_refused_in_one_line(gpt2, given, message):
    with pytest.raises(LensError, match=message) as caught:
        bauklens.patchscope(gpt2, None, PROMPT, **{"into": INTO, **given})
    assert "\n" not in str(caught.value)
    assert hook_count(gpt2) == 0


@pytest.mark.slow
def test_a_prompt_of_identity_has_the_model_name_the_token(demo):
    found = bauklens.patchscope(*demo, "My dog", layer=[4, 8], max_new_tokens=3)
    assert [text.startswith(" -> dog") for text in found.texts] == [True, True]
    assert (found.token, found.into_token) == (" dog", " x")
    assert "dog" not in found.clean


def test_texts_are_read_with_the_tokenizer(gpt2, tokenizer):
    found = bauklens.patchscope(gpt2, tokenizer, TEXT, into="the tower is in", max_new_tokens=2)
    assert (found.prompt, found.into) == (TEXT, "the tower is in")

"""Sets of tokens followed together, against a plain softmax over the whole vocabulary."""

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console

import bauklens
from bauklens import LensError, LensResult
from bauklens.show.terminal import print_decoders, print_position
from tests.made import made, unpacked
from tests.tiny import PROMPT, TEXT, VOCABULARY, tiny_model

SETS = {"one": [5, 301, 0, 44], "other": [7, 118], "alone": [9]}


def full_logits(model, ids=PROMPT, **arguments):
    """(layer, position, vocabulary) float64, as every token followed by itself has them."""
    lens = bauklens.logit_lens(model, None, ids, targets=range(VOCABULARY), measures=[], **arguments)
    return np.stack([target.logit for target in lens.targets], axis=-1).astype(np.float64)


def of_a_set(logits, members):
    """Its probability, logit and rank, by the book."""
    members = sorted(set(members))
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    probability = shifted[..., members].sum(-1) / shifted.sum(-1)
    logit = np.log(shifted[..., members].sum(-1)) + logits.max(-1)
    outside = np.delete(logits, members, axis=-1)
    rank = 1 + (outside > logits[..., members].max(-1, keepdims=True)).sum(-1)
    return probability, logit, rank


def require_right(lens, logits, sets=SETS, atol=1e-6):
    for name, members in sets.items():
        probability, logit, rank = of_a_set(logits, members)
        target = lens.target(name)
        assert (target.part, target.token_ids) == ("set", tuple(members))
        assert np.allclose(target.probability, probability, atol=atol)
        seen = np.isfinite(logit)
        assert np.allclose(target.logit[seen], logit[seen], atol=1e-4)
        assert np.array_equal(target.rank, rank)


@pytest.mark.parametrize("stream", ["hidden", "delta"])
def test_a_set_is_the_sum_of_its_members(model, stream):
    lens = bauklens.logit_lens(model, None, PROMPT, stream=stream, targets=SETS)
    require_right(lens, full_logits(model, stream=stream))


def test_the_last_row_is_the_models_own(model):
    with torch.no_grad():
        own = model(input_ids=torch.tensor([PROMPT])).logits[0].softmax(-1)
    lens = bauklens.logit_lens(model, None, PROMPT, targets=SETS)
    for name, members in SETS.items():
        assert np.allclose(lens.target(name).probability[-1], own[:, members].sum(-1), atol=1e-5)


def test_a_model_in_bfloat16():
    model = tiny_model("llama").bfloat16()
    require_right(bauklens.logit_lens(model, None, PROMPT, targets=SETS), full_logits(model), atol=1e-5)


def test_its_logit_is_that_of_a_token_of_its_probability(gpt2):
    """So that the softmax over the set and the tokens outside it gives its probability."""
    lens = bauklens.logit_lens(gpt2, None, PROMPT, targets=SETS)
    logits = full_logits(gpt2)
    for name, members in SETS.items():
        outside = np.exp(np.delete(logits, members, axis=-1)).sum(-1)
        own = np.exp(lens.target(name).logit.astype(np.float64))
        assert np.allclose(own / (own + outside), lens.target(name).probability, atol=1e-6)


def test_a_set_of_one_is_that_token(gpt2):
    lens = bauklens.logit_lens(gpt2, None, PROMPT, targets=[9, {"alone": [9], "all": range(VOCABULARY)}])
    token, alone, everything = lens.targets
    assert lens.target(9) is token
    for name in ("probability", "logit", "rank"):
        assert np.array_equal(getattr(alone, name), getattr(token, name))
    assert np.allclose(everything.probability, 1)
    assert (everything.probability <= 1).all()
    assert (everything.rank == 1).all()


def test_texts_and_ids_and_other_targets(gpt2, tokenizer):
    (the,) = tokenizer(" the")["input_ids"]
    lens = bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=[" of", {"en": [" the", 5], "fr": {7, 8}}, 12])
    assert [target.part for target in lens.targets] == ["token", "set", "set", "token"]
    assert lens.target("en").token_ids == (the, 5)
    assert sorted(lens.target("fr").token_ids) == [7, 8]
    both = bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=[the, 5])
    summed = both.target(the).probability + both.target(5).probability
    assert np.allclose(lens.target("en").probability, summed, atol=1e-6)


@pytest.mark.parametrize(
    "members",
    [
        np.array([5, 7]),
        torch.tensor([5, 7]),
        (5, 7),
        range(5, 9, 2),
        [np.int64(5), torch.tensor(7)],
        frozenset([5, 7]),
        dict.fromkeys([5, 7]).keys(),
    ],
)
def test_any_collection_will_do(gpt2, members):
    lens = bauklens.logit_lens(gpt2, None, PROMPT, targets={"x": members})
    assert sorted(lens.target("x").token_ids) == [5, 7]
    assert sorted(lens.provenance["arguments"]["targets"]["x"]) == [5, 7]


def test_what_runs_out_is_read_once(gpt2):
    found = bauklens.logit_lens(gpt2, None, [PROMPT, PROMPT[:4]], targets={"x": (each for each in (5, 7))})
    assert [lens.target("x").token_ids for lens in found] == [(5, 7), (5, 7)]
    models = tiny_model("gpt2"), tiny_model("gpt2")
    compared = bauklens.compare_models(*models, None, PROMPT, targets={"x": (each for each in (5, 7))})
    assert np.array_equal(compared.one.target("x").rank, compared.other.target("x").rank)


def test_a_member_that_is_given_twice_counts_once(gpt2, tokenizer):
    (the,) = tokenizer(" the")["input_ids"]
    lens = bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=[{"en": [the, " the", 5]}])
    assert lens.target("en").token_ids == (the, 5)
    assert lens.target("en").note == "In the set 'en', the token of ' the' is given more than once and counts once."
    once = bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=[{"en": [the, 5]}])
    assert np.array_equal(lens.target("en").probability, once.target("en").probability)
    assert once.target("en").note == ""


def test_a_text_of_several_tokens_is_its_first_token_if_that_is_asked_for(gpt2, tokenizer):
    ids = tokenizer("xyz")["input_ids"]
    lens = bauklens.logit_lens(gpt2, tokenizer, TEXT, targets={"en": ["xyz", " the"]}, words="first")
    target = lens.target("en")
    assert target.token_ids == (ids[0], *tokenizer(" the")["input_ids"])
    assert target.note == "In the set 'en', 'xyz' is followed by its first token."


def test_sets_may_overlap_and_a_word_may_have_the_tokens_of_one(gpt2, tokenizer):
    ids = tokenizer("xyz")["input_ids"]
    sets = {"a": ids, "b": [*ids, 5]}
    lens = bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=["xyz", sets])
    word = lens.target("xyz")
    assert lens.target(tuple(ids)) is word
    alone = bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=["xyz"]).target("xyz")
    assert np.array_equal(word.probability, alone.probability)
    require_right(lens, full_logits(gpt2, tokenizer(TEXT)["input_ids"]), sets)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"en": []}, "the set 'en' is empty: pass at least one text or token id"),
        ({"en": [""]}, "in the set 'en', '' is empty: pass a text or a token id"),
        ({"en": [320]}, "in the set 'en', 320 is not a token id: the model's vocabulary has 320 tokens"),
        ({"en": [-1]}, "in the set 'en', -1 is not a token id"),
        ({"en": [1.5]}, "or {name: [...]} for a set of these; got 1.5"),
        ({"en": [True]}, "a target must be a text or a token id"),
        ({"en": [[5, 6]]}, "a target must be a text or a token id"),
        ({"en": None}, "the set 'en' must be a list of texts and token ids; got None"),
        ({"en": 5}, "the set 'en' must be a list of texts and token ids; got 5"),
        ({"en": b"the"}, "the set 'en' must be a list of texts and token ids; got b'the'"),
        ({"en": {"fr": [5]}}, "the set 'en' must be a list of texts and token ids"),
        ({5: [5]}, "the name of a set of targets must be a text that is not blank; got 5"),
        ({" ": [5]}, "must be a text that is not blank; got ' '"),
        ({"en": ["xyz", 5]}, "but a set holds single tokens: pass words='first' for the first of them"),
        ([{"en": [5]}, {"en": [6]}], "the name 'en' of a set is given to another target as well: pass another name"),
        ([" the", {" the": [6]}], "the name ' the' of a set is given to another target as well"),
        ([[5, 6]], "or {name: [...]} for a set of these; got [5, 6]"),
    ],
)
def test_bad_sets_are_one_clear_error(gpt2, tokenizer, targets, message):
    with pytest.raises(LensError) as error:
        bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=targets)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_no_sets_are_no_targets(gpt2):
    assert bauklens.logit_lens(gpt2, None, PROMPT, targets={}).targets == ()


def test_a_text_that_is_one_token_with_a_space_says_so(demo):
    _, tokenizer = demo
    word = next(
        each for each in ("Seattle", "Eiffel", "Warsaw") if len(tokenizer(each)["input_ids"]) > 1
        and len(tokenizer(" " + each)["input_ids"]) == 1
    )  # fmt: skip
    with pytest.raises(LensError, match=f"' {word}', with a space before it, is one; or pass words='first'"):
        bauklens.logit_lens(*demo, "The city of", targets={"towns": [word]}, layers=[-1])


def test_it_is_exact_though_the_rest_may_not_be(demo):
    """Of a table that is large enough for bfloat16; against the model's own softmax at its last row."""
    model, tokenizer = demo
    text = "The Eiffel Tower is located in the city of" * 3
    names = [" Paris", " Rome", " London", " Berlin"]
    lens = bauklens.logit_lens(model, tokenizer, text, targets={"towns": names})
    assert lens.provenance["decoding"]["precision"] == "float32"
    ids = [tokenizer(name)["input_ids"][0] for name in names]
    with torch.no_grad():
        own = model(**tokenizer(text, return_tensors="pt")).logits[0].double().softmax(-1)
    assert np.allclose(lens.target("towns").probability[-1], own[:, ids].sum(-1), atol=1e-5)


def test_differences_and_first_layers(gpt2):
    lens = bauklens.logit_lens(gpt2, None, PROMPT, targets=SETS)
    difference = lens.logit_difference("one", "other")
    assert np.array_equal(difference, lens.target("one").logit - lens.target("other").logit)
    ranks = lens.target("one").rank[:, -1]
    best = int(ranks.min())
    assert lens.first_layer("one", rank=best) == lens.layers[int(ranks.argmin())]
    assert best == 1 or lens.first_layer("one", rank=best - 1) is None
    with pytest.raises(LensError, match="was not followed"):
        lens.target((7, 118))


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_they_are_saved_and_loaded(gpt2, tmp_path, suffix):
    lens = bauklens.logit_lens(gpt2, None, PROMPT, targets=SETS)
    lens.save(tmp_path / f"lens{suffix}")
    loaded = LensResult.load(tmp_path / f"lens{suffix}")
    assert loaded == lens
    assert loaded.target("one").token_ids == (5, 301, 0, 44)
    assert loaded.provenance["arguments"]["targets"] == {name: tuple(members) for name, members in SETS.items()}


def test_other_tools_are_given_no_token_that_a_set_is_not(gpt2):
    lens = bauklens.logit_lens(gpt2, None, PROMPT, targets=[{"alone": [9]}, 12])
    followed = lens.to_logitlenskit()["tracked"]
    assert all("alone" not in each for each in followed)
    assert LensResult.from_logitlenskit(json.loads(json.dumps(lens.to_logitlenskit()))).target("alone").part == "set"


def test_a_token_is_not_called_like_a_set_of_it_alone():
    grid = np.full((3, 4), 0.5)
    values = {"probability": grid, "logit": grid, "rank": grid + 1}
    lens = made(targets=[{"text": "towns", "token_ids": [70], "part": "set", "note": ""} | values])
    vocabulary = unpacked(lens.to_html())["vocabulary"]
    assert 70 not in vocabulary["ids"]
    assert "towns" not in vocabulary["texts"]


def test_frames_data_sets_comparisons_and_summaries(gpt2):
    lens = bauklens.logit_lens(gpt2, None, PROMPT, targets=SETS)
    frame = lens.to_frame()
    cell = frame[(frame["layer"] == "1") & (frame["position"] == 3)].iloc[0]
    row = lens.layers.index("1")
    assert cell["probability of one"] == lens.target("one").probability[row, 3]
    assert {"logit of other", "rank of alone"} <= set(frame.columns)
    assert lens.to_xarray()["target"].values.tolist() == ["one", "other", "alone"]
    compared = bauklens.compare(lens, bauklens.logit_lens(gpt2, None, PROMPT[:6], targets=SETS))
    assert np.array_equal(compared.one.target("one").rank, lens.target("one").rank[:, :6])
    assert bauklens.summarize([lens]).lenses == 1


def test_figures_and_a_terminal_name_them(gpt2):
    lens = bauklens.logit_lens(gpt2, None, PROMPT, targets=SETS)
    lines = lens.plot(kind="trajectory").axes[0].lines
    assert [line.get_label() for line in lines] == ["one", "other", "alone"]
    assert np.allclose(lines[0].get_ydata(), lens.target("one").probability[:, -1])
    assert lens.plot("one").axes[1].get_ylabel() == "probability of one"
    console = Console(file=io.StringIO(), width=120)
    print_position(lens, 3, console)
    print_decoders([lens, lens], 3, console)
    said = console.file.getvalue()
    assert "one" in said
    assert "first layer at which" in said

"""Tokens and words followed through all layers."""

import io
import re

import numpy as np
import pytest
import torch
from rich.console import Console

import bauklens
from bauklens import LensError, LensResult, Target
from bauklens.show.terminal import print_position
from tests.made import made
from tests.tiny import LAYERS, PROMPT, TEXT, VOCABULARY, tiny_model

PROMPT_OF_THE_DEMO = "The Eiffel Tower is located in the city of"


@pytest.mark.parametrize("stream", ["hidden", "delta"])
def test_probability_logit_and_rank_are_those_of_full_logits(model, stream):
    """In and out of the top k."""
    lens = bauklens.logit_lens(model, None, PROMPT, stream=stream, targets=[5, 301, 0])
    whole = bauklens.logit_lens(model, None, PROMPT, stream=stream, topk=VOCABULARY, precision="exact")
    for target in lens.targets:
        (token_id,) = target.token_ids
        place = (whole.top_ids == token_id).argmax(-1)
        probability = np.take_along_axis(whole.top_probs, place[..., None], -1)[..., 0]
        assert np.allclose(target.probability, probability, atol=1e-6)
        higher = (whole.top_probs > probability[..., None]).sum(-1)
        assert (target.rank >= 1 + higher).all()  # more only among probabilities that vanish in float32
        visible = probability > 1e-30
        assert (target.rank[visible] == 1 + higher[visible]).mean() > 0.97


def test_logits_are_the_models_own_at_the_end(model):
    with torch.no_grad():
        own = model(input_ids=torch.tensor([PROMPT])).logits[0]
    lens = bauklens.logit_lens(model, None, PROMPT, targets=range(0, VOCABULARY, 40))
    for target in lens.targets:
        assert np.allclose(target.logit[-1], own[:, target.token_ids[0]], atol=1e-3)
    difference = lens.logit_difference(0, 40)
    assert np.array_equal(difference, lens.target(0).logit - lens.target(40).logit)


def test_where_a_token_takes_the_lead(demo):
    lens = bauklens.logit_lens(*demo, PROMPT_OF_THE_DEMO, targets=[" Paris", " London"])
    assert lens.first_layer(" Paris") == "27"
    assert lens.target(" Paris").rank[lens.layers.index("26"), -1] > 1
    assert lens.target(" Paris").probability[-1, -1] == pytest.approx(0.70, abs=0.01)
    assert lens.first_layer(" Paris", rank=100) in lens.layers[: lens.layers.index("27")]
    assert lens.first_layer(" London") is None
    assert lens.first_layer(" Paris", position=0) is None
    assert lens.logit_difference(" Paris", " London")[-1, -1] > 0


def test_what_it_follows_is_exact_though_the_rest_may_not_be(demo):
    lens = bauklens.logit_lens(*demo, PROMPT_OF_THE_DEMO * 3, targets=[" Paris"])
    assert lens.provenance["decoding"]["precision"] == "float32"


def test_a_word_of_several_tokens_is_their_product(demo):
    """Against the model run on the text and the word, by hand."""
    model, tokenizer = demo
    word = " Neuschwanstein"
    ids = tokenizer(word)["input_ids"]
    assert len(ids) > 1
    prompt = tokenizer(PROMPT_OF_THE_DEMO)["input_ids"]
    lens = bauklens.logit_lens(model, tokenizer, PROMPT_OF_THE_DEMO, targets=[word, " Paris"])
    target = lens.target(word)
    assert (target.part, target.token_ids) == ("whole", tuple(ids))
    for position in (0, 4, len(prompt) - 1):
        text = torch.tensor([prompt[: position + 1] + ids])
        with torch.no_grad():
            probabilities = model(input_ids=text).logits[0].softmax(-1)
        expected = np.prod([float(probabilities[position + place, each]) for place, each in enumerate(ids)])
        assert target.probability[-1, position] == pytest.approx(expected, rel=1e-3)
    assert np.isnan(target.logit).all()
    assert np.isnan(target.rank).all()
    first = bauklens.logit_lens(model, tokenizer, PROMPT_OF_THE_DEMO, targets=[word], words="first").target(word)
    assert first.part == "first"
    assert (first.probability >= target.probability).all()
    assert (first.rank[-1] >= 1).all()


@pytest.mark.parametrize(
    "arguments", [{"stream": "delta"}, {"layers": [0, 2], "positions": [3, -1]}, {"norm": "final"}]
)
def test_a_word_in_other_streams_and_parts(gpt2, tokenizer, arguments):
    whole = bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=["xyz"], **arguments).target("xyz")
    first = bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=["xyz"], words="first", **arguments).target("xyz")
    assert whole.probability.shape == first.probability.shape
    assert (whole.probability <= first.probability + 1e-9).all()
    assert np.isfinite(whole.probability).all()


def test_a_text_that_is_one_token_with_a_space_says_so(demo):
    _, tokenizer = demo
    word = next(
        each
        for each in ("Seattle", "Eiffel", "Warsaw", "London")
        if len(tokenizer(each)["input_ids"]) > 1 and len(tokenizer(" " + each)["input_ids"]) == 1
    )
    with pytest.warns(UserWarning, match=f"' {word}', with a space before it, is one"):
        lens = bauklens.logit_lens(*demo, PROMPT_OF_THE_DEMO, targets=[word], words="first", layers=[-1])
    assert "is one" in lens.target(word).note


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([""], "the target '' is empty"),
        ([" the", " the"], "' the' is given twice"),
        ([5, 5], "is given twice"),
        ([320], r"320 is not a token id: the model's vocabulary has 320"),
        ([-1], "-1 is not a token id"),
        ([True], "a text or a token id"),
        (True, "a text or a token id"),
        ([np.True_], "a text or a token id"),
        ([torch.tensor(True)], "a text or a token id"),
        (torch.tensor([True, False]), "a text or a token id"),
        (torch.tensor([1.5]), "a text or a token id"),
        ([1.5], "a text or a token id"),
        ([None], "a text or a token id"),
    ],
)
def test_bad_targets_are_one_clear_error(gpt2, tokenizer, targets, message):
    with pytest.raises(LensError, match=message):
        bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=targets)


def test_a_text_needs_a_tokenizer(gpt2):
    with pytest.raises(LensError, match="needs a tokenizer"):
        bauklens.logit_lens(gpt2, None, PROMPT, targets=[" the"])


def test_a_word_that_goes_beyond_the_context(gpt2, tokenizer):
    with pytest.raises(LensError, match=r"66 tokens, but the model's context is 64: pass words='first'"):
        bauklens.logit_lens(gpt2, tokenizer, [7] * 64, targets=["xyz"])


def test_what_was_not_followed_is_one_clear_error(gpt2, tokenizer):
    lens = bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=[" the"])
    with pytest.raises(LensError, match=r"' of' was not followed \(followed: ' the', and \d+ tracked tokens\): pass"):
        lens.first_layer(" of")
    with pytest.raises(LensError, match="position 400 is not in this table"):
        lens.first_layer(" the", position=400)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_they_are_saved_and_loaded(gpt2, tokenizer, tmp_path, suffix):
    lens = bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=[" the", "xyz", 3])
    lens.save(tmp_path / f"lens{suffix}")
    loaded = LensResult.load(tmp_path / f"lens{suffix}")
    assert loaded == lens
    assert np.array_equal(loaded.target(" the").logit, lens.target(" the").logit)
    assert loaded.target("xyz").part == "whole"


def test_the_frame_has_them(gpt2, tokenizer):
    frame = bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=[" the"], topk=2).to_frame()
    assert {"probability of  the", "logit of  the", "rank of  the", "entropy", "kl"} <= set(frame.columns)
    assert len(frame["layer"].unique()) == LAYERS + 1


def alike(*texts):
    """A lens that follows tokens 10, 11, ... of these texts, each with a probability of its own."""
    rows = [np.full((3, 4), 0.1 * (number + 1), np.float32) for number in range(len(texts))]
    return made(
        targets=[
            Target(text, (10 + number,), "token", "", probability=row, logit=row, rank=row)
            for number, (text, row) in enumerate(zip(texts, rows, strict=True))
        ]
    )


def columns_of(lens):
    return [name for name in lens.to_frame().columns if name.startswith("probability of")]


class TestTargetsOfOneText:
    def test_each_has_columns_of_its_own(self):
        lens = alike(" the", " of", " the")
        assert columns_of(lens) == ["probability of  the [10]", "probability of  of", "probability of  the [12]"]
        first = lens.to_frame().iloc[0]
        assert first["probability of  the [10]"] == pytest.approx(0.1)
        assert first["probability of  the [12]"] == pytest.approx(0.3)

    def test_a_text_that_reads_like_one_with_its_id(self):
        assert columns_of(alike("a", "a", "a [10]")) == [
            "probability of a [10]",
            "probability of a [11]",
            "probability of a [10] [12]",
        ]

    def test_a_text_of_several_tokens_and_the_id_of_one(self, gpt2, tokenizer):
        lens = bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=["<319>", 319])
        word, token = lens.targets
        assert word.text == token.text == "<319>"
        ids = " ".join(map(str, word.token_ids))
        assert columns_of(lens) == [f"probability of <319> [{ids}]", "probability of <319> [319]"]
        assert lens.target(319) is token
        assert lens.target(word.token_ids) is word

    def test_a_data_set_tells_them_apart(self):
        data = alike(" the", " of", " the").to_xarray()
        assert data["target"].values.tolist() == [" the [10]", " of", " the [12]"]
        assert float(data["target_probability"].sel(target=" the [12]")[0, 0]) == pytest.approx(0.3)

    def test_a_figure_tells_them_apart(self):
        lens = alike("a long text of one", "a long text of another", "b")
        legend = lens.plot(kind="trajectory").axes[0].get_legend()
        assert [text.get_text() for text in legend.get_texts()] == ["a␣long␣te… [10]", "a␣long␣te… [11]", "b"]
        bar = alike(" the", " the").plot(11).axes[1]
        assert bar.get_ylabel() == "probability of ␣the [11]"

    def test_a_terminal_tells_them_apart(self):
        console = Console(file=io.StringIO(), width=100)
        print_position(alike("a", "a"), 0, console)
        assert re.search(r"layer +a \[10\] +a \[11\]", console.file.getvalue())

    def test_a_text_alone_is_not_enough_to_ask_for_one(self):
        lens = alike(" the", " of", " the")
        assert lens.target(12).token_ids == (12,)
        assert lens.target(" of").token_ids == (11,)
        for ask in (lens.target, lens.first_layer, lens.plot):
            with pytest.raises(LensError, match="' the' is the text of 2 targets: pass the id of one of them, 10, 12"):
                ask(" the")


def test_true_is_no_id_no_position_and_no_rank(gpt2):
    lens = bauklens.logit_lens(gpt2, None, PROMPT, targets=[1])
    for ask in (lambda: lens.target(True), lambda: lens.target((True,)), lambda: lens.logit_difference(1, np.True_)):
        with pytest.raises(LensError, match="was not followed"):
            ask()
    with pytest.raises(LensError, match="position True is not in this table"):
        lens.first_layer(1, position=True)
    with pytest.raises(LensError, match="rank is True: pass a whole number"):
        lens.first_layer(1, rank=True)
    assert lens.first_layer(1, position=torch.tensor(4)) == lens.first_layer(1, position=np.int64(4))


def test_a_figure_of_what_was_not_followed(gpt2, tokenizer):
    lens = bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=[" the"], track=0)
    with pytest.raises(LensError, match="5 was not followed"):
        lens.plot(5)


def test_the_caller_may_pass_one_alone():
    model = tiny_model("gpt2")
    for one in (7, np.int64(7), np.array(7), torch.tensor(7), torch.tensor([7])):
        assert bauklens.logit_lens(model, None, PROMPT, targets=one).targets[0].token_ids == (7,)


def test_a_word_and_an_edit_do_not_go_together(gpt2, tokenizer):
    with pytest.raises(LensError, match="an edit would act elsewhere: pass words='first'"):
        bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=["xyz"], edit_output=lambda output, layer: None)


def test_a_whole_word_has_no_rank(gpt2, tokenizer):
    lens = bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=["xyz", " the"])
    with pytest.raises(LensError, match="has no rank or logit: pass words='first'"):
        lens.first_layer("xyz")
    with pytest.raises(LensError, match="has no rank or logit: pass words='first'"):
        lens.logit_difference("xyz", " the")


def test_dollars_are_no_formula(gpt2, tokenizer):
    import dataclasses

    lens = bauklens.logit_lens(gpt2, tokenizer, TEXT, targets=[r"$\frac$"], words="first")
    lens = dataclasses.replace(lens, tokens=("$$", *lens.tokens[1:]))
    for measure in ("entropy", r"$\frac$"):
        figure = lens.plot(measure)
        picture = io.BytesIO()
        figure.savefig(picture)
        assert picture.tell() > 1000
        assert figure.axes[0].get_xticklabels()[0].get_text() == "$$"


def test_a_target_has_a_short_repr(gpt2, tokenizer):
    lens = bauklens.logit_lens(gpt2, tokenizer, "the city", targets=[" city", {"places": [" city", "the"]}])
    layers, positions = lens.magnitude.shape
    assert [repr(each) for each in lens.targets] == [
        f"<Target ' city' (token): {layers} layers x {positions} positions>",
        f"<Target 'places' (set, 2 tokens): {layers} layers x {positions} positions>",
    ]

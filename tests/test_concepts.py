"""Concepts: the forms of a word, vocabularies by script, and shares of probability, against a plain softmax."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import bauklens
from bauklens import LensError, LensResult
from bauklens.decode import low_precision
from bauklens.decode.low_head import LowPrecisionHead
from bauklens.decode.reading import Reading
from tests.made import made
from tests.test_mixed import HEADS, random_head, states
from tests.test_mixed import VOCABULARY as MANY
from tests.test_target_sets import full_logits
from tests.tiny import LAYERS, PROMPT, TEXT, VOCABULARY, tiny_model, tiny_tokenizer

SETS = {"low": range(100), "some": [5, 301, 5, 44], "one": [9], "all": np.arange(VOCABULARY)}


def shares(logits):
    """Name -> (layer, position), by the book."""
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return {name: shifted[..., sorted(set(ids))].sum(-1) / shifted.sum(-1) for name, ids in SETS.items()}


def require_shares(lens, logits, atol=1e-6):
    assert list(lens.mass) == list(SETS)
    for name, share in shares(logits).items():
        assert np.allclose(lens.mass[name], share, atol=atol)
        assert lens.mass[name] is lens.measures[f"mass:{name}"]
        assert (lens.mass[name] <= 1).all()


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "opt_350m"])
def test_mass_is_the_sum_of_the_probabilities(name):
    model = tiny_model(name)
    require_shares(bauklens.logit_lens(model, None, PROMPT, mass=SETS), full_logits(model))


def test_a_set_goes_before_a_tracked_token_of_its_name(gpt2, tokenizer):
    lens = bauklens.logit_lens(gpt2, tokenizer, TEXT, mass={"a": range(64), "b": range(64, VOCABULARY)})
    tracked = {lens.vocabulary[each] for each in lens.tracked.token_ids.tolist()}
    assert {"a", "b"} & tracked
    ahead = lens.mass["a"][:, -1] > lens.mass["b"][:, -1]
    changes = [lens.layers[row] for row in range(1, len(ahead)) if ahead[row] != ahead[row - 1]]
    assert lens.crossing("a", "b") == lens.crossing("mass:a", "mass:b") == (changes[-1] if changes else None)
    (axes,) = lens.plot(kind="race", concepts=["a", "b"]).axes
    drawn = [line.get_ydata() for line in axes.lines]
    for name in ("a", "b"):
        assert any(len(each) == len(lens.layers) and np.allclose(each, lens.mass[name][:, -1]) for each in drawn)


def test_mass_of_other_streams_and_of_one_position(gpt2):
    lens = bauklens.logit_lens(gpt2, None, PROMPT, mass=SETS, stream="delta", positions=-1)
    require_shares(lens, full_logits(gpt2, stream="delta", positions=-1))


def test_mass_of_a_model_in_bfloat16():
    model = tiny_model("llama").bfloat16()
    require_shares(bauklens.logit_lens(model, None, PROMPT, mass=SETS), full_logits(model), atol=1e-5)


@pytest.mark.parametrize("scale", [0.15, 1.0])
@pytest.mark.parametrize("change", ["plain", "common offset", "left out", "past 1e4"])
def test_mass_read_in_bfloat16(change, scale):
    head = random_head(bias=True, scale=scale)
    HEADS[change](head)
    torch.manual_seed(0)
    sets = [torch.arange(5_000), torch.randperm(MANY)[:3_000], torch.tensor([17]), torch.arange(MANY)]
    inputs = states()
    columns = torch.zeros(len(inputs), dtype=torch.int64)
    found, sure = LowPrecisionHead(head, MANY, 1.0, inputs).read(inputs, Reading(5, mass=sets), columns)
    exact = head(inputs).double().softmax(-1)
    wanted = torch.stack([exact[:, ids].sum(-1) for ids in sets], dim=1)
    assert sure.any()
    assert (found["mass"] - wanted)[sure].abs().max() < 1e-3


@pytest.mark.slow
def test_a_lens_in_bfloat16_has_the_mass_of_one_in_full_precision(demo, monkeypatch):
    monkeypatch.setattr(low_precision, "pays", lambda *_: True)
    monkeypatch.setattr(low_precision, "FEWEST_ROWS", 1)
    options = {
        "mass": {"low": range(9_000), "some": range(0, 40_000, 7)},
        "measures": [],
        "track": 0,
        "positions": slice(1, 6),
    }
    low, exact = (bauklens.logit_lens(*demo, TEXT, precision=each, **options) for each in ("auto", "exact"))
    assert low.provenance["decoding"]["precision"] == "bfloat16"
    assert 2 * low.provenance["decoding"]["decoded again"] < low.magnitude.size
    for name in exact.mass:
        assert np.abs(low.mass[name] - exact.mass[name]).max() < 5e-3
        assert exact.mass[name].max() > 0.1
    assert "shares of sets of tokens within about 0.005" in low.decoded
    assert "shares" not in exact.decoded


def test_files_frames_and_figures_have_it(gpt2, tmp_path):
    lens = bauklens.logit_lens(gpt2, None, PROMPT, mass=SETS, topk=2)
    for suffix in ("json", "safetensors"):
        lens.save(tmp_path / f"lens.{suffix}")
        read = LensResult.load(tmp_path / f"lens.{suffix}")
        assert read == lens
        assert np.array_equal(read.mass["some"], lens.mass["some"])
    frame = lens.to_frame()
    assert np.array_equal(frame["mass:low"][::2].to_numpy().reshape(lens.magnitude.shape), lens.mass["low"])
    assert lens.to_xarray()["mass:low"].attrs["units"] == "0..1"
    assert np.array_equal(lens.plot("mass:low").axes[0].images[0].get_array(), lens.mass["low"])
    assert "mass:low" in lens.view(colour="mass:low").to_html()
    assert "mass:low" in lens.figure(colour="mass:low").svg()
    told = lens.provenance["arguments"]["mass"]
    assert {name: each["tokens"] for name, each in told.items()} == {"low": 100, "some": 3, "one": 1, "all": 320}
    assert bauklens.logit_lens(gpt2, None, PROMPT).mass == {}


def test_summaries_average_it(gpt2):
    lenses = bauklens.logit_lens(gpt2, None, [PROMPT, PROMPT[:5]], mass=SETS)
    summary = bauklens.summarize(lenses)
    cells = np.concatenate([lens.mass["low"][:, 1:] for lens in lenses], axis=1)
    assert np.allclose(summary.mean["mass:low"], cells.mean(axis=1))
    assert set(summary.to_frame().query("measure == 'mass:low'")["unit"]) == {"0..1"}
    assert "mass:low" in summary.to_html()
    both = bauklens.summarize([PROMPT, PROMPT[:5]], gpt2, None, mass=SETS)
    assert np.allclose(both.mean["mass:low"], summary.mean["mass:low"], atol=1e-6)


def test_beside_whole_words_and_other_lenses(gpt2, tokenizer):
    lens = bauklens.logit_lens(gpt2, tokenizer, TEXT, mass=SETS, targets=["xyz"], positions=-1)
    plain = bauklens.logit_lens(gpt2, tokenizer, TEXT, mass=SETS, positions=-1)
    assert np.allclose(lens.mass["low"], plain.mass["low"], atol=1e-6)
    hidden, delta = bauklens.logit_lens(gpt2, None, PROMPT, mass=SETS, stream=["hidden", "delta"])
    assert hidden.mass["low"].shape[0] == 1 + LAYERS
    assert delta.mass["low"].shape[0] == LAYERS
    assert np.array_equal(hidden.part(["1"], [3]).mass["low"], hidden.mass["low"][2:3, 3:4])


@pytest.mark.parametrize(
    ("mass", "message"),
    [
        ({"a": []}, "mass['a'] is empty"),
        ({"a": [5, VOCABULARY]}, f"mass['a'] has {VOCABULARY}, which is not a token id: the model's vocabulary has"),
        ({"a": [-1]}, "mass['a'] has -1, which is not a token id"),
        ({"a": [True]}, "mass['a'] must hold token ids; got True"),
        ({"a": np.array([True, False])}, "mass['a'] must hold token ids; got True"),
        ({"a": [1.0]}, "mass['a'] must hold token ids; got 1.0"),
        ({"a": [" dog"]}, "mass['a'] must hold token ids; got ' dog': texts go to targets="),
        ({"a": "dog"}, "mass['a'] must be a list of token ids; got 'dog'"),
        ({"a": 5}, "mass['a'] must be a list of token ids; got 5"),
        ({"": [5]}, "the name of a set of mass= must be a text that is not blank"),
        ({}, "mass must be {name: token ids}"),
        ([5], "mass must be {name: token ids}"),
    ],
)
def test_what_is_no_set_of_ids_is_refused(gpt2, mass, message):
    with pytest.raises(LensError) as caught:
        bauklens.logit_lens(gpt2, None, PROMPT, mass=mass)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_variants_are_the_forms_that_are_one_token(demo):
    model, tokenizer = demo
    found = bauklens.variants(tokenizer, " dog", ["chien", "Hund"])
    assert {" dog", "dog", " Dog", " dogs", "dogs"} <= set(found)
    assert {" DOG", "chien", " Hund"} <= set(found.several)
    assert all(tokenizer(text)["input_ids"] == [token] for text, token in zip(found, found.token_ids, strict=True))
    assert all(len(tokenizer(text)["input_ids"]) > 1 for text in found.several)
    assert len(set(found.token_ids)) == len(found) == len(found[:])
    lens = bauklens.logit_lens(model, tokenizer, "The puppy grew up to be a big", targets={"dog": found}, positions=-1)
    assert lens.target("dog").token_ids == found.token_ids
    assert lens.target("dog").probability[-1, 0] > 0.02
    assert "several tokens, left out: ' DOG'" in repr(found)
    assert "␣dog" in found._repr_html_()


@pytest.mark.parametrize(("word", "plural"), [("box", " boxes"), ("city", " cities"), ("day", " days")])
def test_the_plural_is_english(demo, word, plural):
    assert plural in bauklens.variants(demo[1], word)


def test_words_that_have_no_variants_are_refused(demo):
    with pytest.raises(LensError, match="no form of 'xqzvw' is a single token"):
        bauklens.variants(demo[1], "xqzvw")
    for wrong in (" ", 5, None):
        with pytest.raises(LensError, match="variants needs words that are not blank"):
            bauklens.variants(demo[1], wrong)
    with pytest.raises(LensError, match="variants needs words that are not blank; got 7"):
        bauklens.variants(demo[1], "dog", [7])
    with pytest.raises(LensError, match="needs a tokenizer"):
        bauklens.variants(None, "dog")


def test_every_token_has_one_script(demo):
    model, tokenizer = demo
    scripts = bauklens.scripts_of(tokenizer)
    ids = np.concatenate(list(scripts.values()))
    assert sorted(ids.tolist()) == list(range(len(tokenizer)))
    assert next(iter(scripts)) == "Latin"
    for script, text in {"Latin": " dog", "Han": "的", "Cyrillic": "ж", "Numbers": "7", "Spaces": " "}.items():
        assert tokenizer(text)["input_ids"][0] in scripts[script]
    assert tokenizer.eos_token_id in scripts["Special"]
    lens = bauklens.logit_lens(model, tokenizer, "One, two,", mass=scripts, positions=-1, layers=[-1])
    assert np.allclose(sum(lens.mass.values()), 1, atol=1e-5)


def test_byte_tokens_are_apart_and_the_vocabulary_can_be_smaller():
    scripts = bauklens.scripts_of(tiny_tokenizer(), 200)
    assert max(map(max, scripts.values())) < 200
    assert set(scripts) == {"Bytes", "Latin", "Symbols", "Spaces", "Numbers"}
    with pytest.raises(LensError, match="needs a tokenizer"):
        bauklens.scripts_of(None)
    with pytest.raises(LensError, match="vocabulary is 0"):
        bauklens.scripts_of(tiny_tokenizer(), 0)


def racing(*lines):
    """A result of one column with targets that have these probabilities by layer, and the same as masses."""
    layers = len(lines[0])
    columns = [np.array(each, np.float32)[:, None] for each in lines]
    parts = {"logit": columns[0], "rank": np.ones((layers, 1))}
    sets = [bauklens.Target(f"c{n}", (n,), "set", "", probability=each, **parts) for n, each in enumerate(columns)]
    masses = {f"mass:m{n}": each for n, each in enumerate(columns)}
    return replace(made(layers, 1, 1), targets=sets, measures=masses)


@pytest.mark.parametrize(
    ("lines", "layer"),
    [
        ([(0.1, 0.2, 0.3, 0.4), (0.2, 0.3, 0.2, 0.1)], 2),
        ([(0.1, 0.4, 0.1, 0.4), (0.2, 0.2, 0.2, 0.2)], 3),
        ([(0.3, 0.3, 0.3, 0.3), (0.2, 0.3, 0.3, 0.2)], None),
        ([(0.0, 0.0, 0.3, 0.3), (0.0, 0.2, 0.3, 0.4)], None),
        ([(0.0, 0.0, 0.3, 0.5), (0.0, 0.2, 0.3, 0.4)], 3),
        ([(0.3, np.nan, 0.1, 0.1), (0.2, 0.9, 0.2, 0.2)], 2),
    ],
)
def test_the_crossing_is_where_the_lead_changes_for_the_last_time(lines, layer):
    result = racing(*lines)
    wanted = None if layer is None else result.layers[layer]
    assert result.crossing("c0", "c1") == result.crossing("c1", "c0", position=-1) == wanted
    assert result.crossing("mass:m0", "m1") == wanted


def test_a_race_marks_its_crossings():
    result = racing((0.1, 0.4, 0.1, 0.4), (0.2, 0.2, 0.3, 0.2), (0.0, 0.0, 0.0, 0.6))
    axes = result.plot(kind="race", title="A race").axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["c0", "c1", "c2"]
    assert np.allclose(axes.lines[2].get_ydata(), [0, 0, 0, 0.6])
    marks = [line.get_xydata()[0] for line in axes.lines if line.get_label() == "_crossing"]
    assert np.allclose(marks[:2], [[1 / 3, 0.2], [1.5, 0.25]])
    assert len(marks) == 3
    (last,) = axes.texts
    assert last.get_text() == f"c2 ahead from {result.layers[3]}"
    assert axes.get_title() == "A race"
    two = result.plot(kind="race", concepts=["m0", "m1"]).axes[0]
    assert [line.get_label() for line in two.lines[:2]] == ["m0", "m1"]


def test_a_race_of_a_lens(gpt2):
    lens = bauklens.logit_lens(gpt2, None, PROMPT, targets=[9, 44], mass=SETS)
    (one, other), axes = lens.targets, lens.plot(kind="race").axes[0]
    assert np.array_equal(axes.lines[0].get_ydata(), one.probability[:, -1])
    ahead = one.probability[:, -1] > other.probability[:, -1]
    changes = np.flatnonzero(ahead[1:] != ahead[:-1])
    assert lens.crossing(9, 44) == (lens.layers[1 + changes[-1]] if len(changes) else None)
    assert axes.get_title() == "after <13>, position 9"


def test_races_that_cannot_be_are_refused():
    result = racing((0.1, 0.4), (0.2, 0.2))
    for wrong, message in (
        (["c0"], "a race needs two concepts or more; got 1"),
        (["c0", "c0"], "'c0' is given twice"),
        (["m0", "mass:m0"], "'mass:m0' is given twice"),
        (["c0", "c9"], "'c9' was not followed"),
        ("c0", "a race needs two concepts or more; got 1"),
    ):
        with pytest.raises(LensError, match=message):
            result.plot(kind="race", concepts=wrong)
    with pytest.raises(LensError, match="concepts apply to a race, not to kind='heatmap'"):
        result.plot(concepts=["c0", "c1"])
    with pytest.raises(LensError, match="a race needs two concepts or more; got 0"):
        made(2, 1, 1).plot(kind="race")

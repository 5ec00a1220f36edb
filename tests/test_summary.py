"""Averages over many lenses, against numpy on all of their cells at once."""

import gc
import json
import tracemalloc

import numpy as np
import pytest

import bauklens
from bauklens import LensError, summarize
from bauklens.show.averages_terminal import print_summary
from tests.made import HOSTILE, made
from tests.tiny import LAYERS, PROMPT, tiny_model

PROMPTS = [PROMPT, PROMPT[:4], PROMPT[2:9], [5], PROMPT[::-1], PROMPT[:5] * 4]


@pytest.fixture
def lenses(gpt2):
    return bauklens.logit_lens(gpt2, None, PROMPTS, measures="all")


@pytest.mark.parametrize("skipped", [0, 1, 4])
def test_mean_spread_and_count_are_those_of_all_cells_but_the_first(lenses, skipped):
    summary = summarize(lenses, skip_first=skipped)
    assert summary.skip_first == skipped
    assert (summary.lenses, summary.tokens) == (len(PROMPTS), sum(max(0, len(each) - skipped) for each in PROMPTS))
    for name in lenses[0].measures:
        cells = np.concatenate([lens.measures[name][:, skipped:] for lens in lenses], axis=1).astype(np.float64)
        count = np.isfinite(cells).sum(axis=1)
        assert np.array_equal(summary.count[name], count)
        some = count > 0
        assert np.allclose(summary.mean[name][some], np.nanmean(cells[some], axis=1))
        assert np.allclose(summary.spread[name][some], np.nanstd(cells[some], axis=1))
        assert np.isnan(summary.mean[name][~some]).all()


def test_accuracy_is_against_the_text_and_agreement_against_the_model(lenses):
    summary = summarize(lenses, skip_first=0)
    right = np.concatenate([lens.measures["rank_of_next"][:, :-1] == 1 for lens in lenses], axis=1)
    assert np.allclose(summary.mean["accuracy"], right.mean(axis=1), atol=0.021)  # two alike share rank 1
    assert summary.count["accuracy"][0] == sum(len(prompt) - 1 for prompt in PROMPTS)
    assert summary.mean["agreement"][-1] == 1


def test_the_order_does_not_matter(lenses):
    one, other = summarize(lenses), summarize(lenses[::-1])
    for name in one.mean:
        assert np.allclose(one.mean[name], other.mean[name], equal_nan=True)
        assert np.allclose(one.spread[name], other.spread[name], equal_nan=True, atol=1e-6)


def test_position_0_is_left_out_unless_it_is_asked_for(lenses, capsys):
    assert summarize(lenses).skip_first == 1
    assert "Position 0 of each prompt is left out." in summarize(lenses).to_html()
    assert "left out" not in summarize(lenses, skip_first=0).to_html()
    print_summary(summarize(lenses, skip_first=3))
    assert "The first 3 positions of each prompt are left out." in capsys.readouterr().out
    with pytest.raises(LensError, match="every position is among the first 99, which are left out: pass skip_first=0"):
        summarize(lenses, skip_first=99)
    with pytest.raises(LensError, match="skip_first is -1: pass 0 or more"):
        summarize(lenses, skip_first=-1)


def test_a_large_offset_costs_no_digits():
    base = np.random.default_rng(0).normal(size=(2, 3, 40))
    lenses = [made(3, 40, measures={"entropy": 1e4 + each}) for each in base]
    cells = np.concatenate([lens.measures["entropy"] for lens in lenses], axis=1).astype(np.float64)
    assert np.allclose(summarize(lenses, skip_first=0).spread["entropy"], cells.std(axis=1), rtol=1e-9)


def test_prompts_are_run_and_forgotten(gpt2, lenses):
    summary = summarize((prompt for prompt in PROMPTS), gpt2, None, measures="all")
    expected = summarize(lenses)
    for name in expected.mean:
        assert np.allclose(summary.mean[name], expected.mean[name], atol=1e-4, equal_nan=True)


def test_bad_prompts_are_passed_over_where_that_is_asked_for(gpt2):
    assert summarize([PROMPT, [], PROMPT], gpt2, None, on_error="skip").lenses == 2
    with pytest.raises(LensError, match="prompt 2: the prompt is empty"):
        summarize([PROMPT, [], PROMPT], gpt2, None)


@pytest.mark.slow
def test_memory_is_flat_from_the_tenth_prompt_on():
    """Of 260 prompts; what Python and numpy hold is traced, and no lens outlives its turn."""
    model = tiny_model("gpt2")
    held = []

    def prompts():
        for number in range(260):
            if number % 60 == 16:
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
            yield [1 + (number * 7 + place) % 300 for place in range(12 + number % 20)]

    tracemalloc.start()
    try:
        assert summarize(prompts(), model, None).lenses == 260
    finally:
        tracemalloc.stop()
    assert max(held[1:]) - held[0] < 180_000, held


def test_the_frame_the_dictionary_and_the_page(lenses, tmp_path):
    summary = summarize(lenses)
    frame = summary.to_frame()
    assert list(frame.columns) == ["measure", "layer", "mean", "spread", "count", "unit", "decoder"]
    assert len(frame) == len(summary.mean) * (LAYERS + 1)
    assert frame.loc[frame["measure"] == "kl", "unit"].eq("nats").all()
    data = summary.to_dict()
    assert json.loads(json.dumps(data)) == data
    html = summary.to_html(tmp_path / "summary.html", title="<b>bold</b>")
    assert (tmp_path / "summary.html").read_text("utf-8") == html
    assert "&lt;b&gt;bold" in html
    assert "<script" not in html
    assert "cosine to previous" in summary._repr_html_()


def test_hostile_names(lenses):
    summary = summarize([made(model=HOSTILE[0]), made(model=HOSTILE[0])])
    assert HOSTILE[0] not in summary.to_html()


def test_the_plot(lenses):
    summary = summarize(lenses)
    figure = summary.plot(["entropy", "accuracy"])
    (entropy, accuracy) = figure.axes
    assert np.allclose(entropy.lines[0].get_ydata(), summary.mean["entropy"])
    assert accuracy.get_ylabel().startswith("accuracy")
    with pytest.raises(LensError, match="unknown measure 'kld'"):
        summary.plot(["kld"])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "nothing to summarize"),
        (["a prompt"], r"prompts need a model: summarize\(prompts, model, tokenizer\)"),
        ([made(3), made(4)], "all lenses must have the same model, stream, decoder and layers"),
        ([made(), made(stream="delta")], "all lenses must have the same model, stream, decoder and layers"),
    ],
)
def test_what_does_not_add_up_is_one_clear_error(items, message):
    with pytest.raises(LensError, match=message):
        summarize(items)


def test_a_bad_prompt_is_named_by_its_number_in_all(gpt2, tokenizer):
    with pytest.raises(LensError, match="prompt 19: the prompt is empty"):
        summarize(["the city"] * 18 + [""], gpt2, tokenizer)


@pytest.mark.parametrize(
    ("items", "options", "message"),
    [
        (PROMPT, {}, r"summarize\(\) takes prompts, each a text or a list of token ids; got 7"),
        ([PROMPT], {"stream": ["delta"]}, r"summarize\(\) takes one stream"),
    ],
)
def test_what_is_not_many_prompts(gpt2, items, options, message):
    with pytest.raises(LensError, match=message):
        summarize(items, gpt2, None, **options)


def test_it_can_be_pickled(lenses):
    import pickle

    summary = summarize(lenses)
    again = pickle.loads(pickle.dumps(summary))
    assert again.to_dict() == summary.to_dict()
    assert again != summary

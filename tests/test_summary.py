"""Averages over many lenses, against numpy on all of their cells at once."""

import gc
import json
import random
import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bauklens
from bauklens import LensError, Summaries, Summary, summarize
from bauklens.result.quantiles import FURTHEST, LARGEST, ONE, RELATIVE_ERROR, SMALLEST, Sketch, Tally, bin_of, value_of
from bauklens.show.averages_terminal import print_summary
from bauklens.show.running import Running
from tests.fuzz import mutated
from tests.made import HOSTILE, made
from tests.tiny import LAYERS, PROMPT, tiny_model

PROMPTS = [PROMPT, PROMPT[:4], PROMPT[2:9], [5], PROMPT[::-1], PROMPT[:5] * 4]


@pytest.fixture(scope="module")
def lenses():
    return bauklens.logit_lens(tiny_model("gpt2"), None, PROMPTS, measures="all")


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
def test_memory_is_flat_once_the_bins_of_quantiles_are_there():
    """Of 260 prompts, 64 of them over and over; what Python and numpy hold is traced, and no lens outlives its turn."""
    model = tiny_model("gpt2")
    held = []

    def prompts():
        for number in range(260):
            if number % 60 == 16:
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
            number %= 64  # as many as are read at once: after these there is no new bin
            yield [1 + (number * 7 + place) % 300 for place in range(12 + number % 20)]

    tracemalloc.start()
    try:
        assert summarize(prompts(), model, None).lenses == 260
    finally:
        tracemalloc.stop()
    assert max(held[2:]) - held[1] < 80_000, held


def test_the_frame_the_dictionary_and_the_page(lenses, tmp_path):
    summary = summarize(lenses)
    frame = summary.to_frame()
    assert list(frame.columns) == [
        "measure",
        "layer",
        "mean",
        "spread",
        "count",
        *("q05", "q50", "q95"),
        "unit",
        "decoder",
    ]
    entropy = frame.query("measure == 'entropy'")
    assert entropy["q95"].tolist() == summary.quantile("entropy", 0.95).tolist()
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


def test_columns_give_what_lenses_give(lenses):
    """Cells in any order, as the row groups of a file may have them."""
    whole = summarize(lenses, skip_first=0)
    first = lenses[0]
    running = Running(first.model, first.stream, first.layers)
    draw = np.random.default_rng(0)
    for lens in lenses:
        names = [name for name in whole.mean if name != "accuracy"]
        row = np.repeat(np.arange(len(lens.layers)), len(lens.positions)).astype(np.int32)
        order = draw.permutation(len(row))
        columns = {name: lens.measures[name].ravel()[order] for name in names}
        running.add_columns(row[order], columns, lenses=1, tokens=len(lens.positions))
    found = running.summary()
    assert (found.lenses, found.tokens, found.layers) == (whole.lenses, whole.tokens, whole.layers)
    for name in found.mean:
        assert_same_statistics(found, whole, name)


def test_any_column_of_numbers_can_be_averaged():
    running = Running("m", "hidden", ["embed", "0"])
    row, values = np.array([0, 1, 1, 0, 1, 1], np.uint8), np.array([0.25, np.nan, 0.5, np.inf, 1e300, -1e39])
    running.add_columns(row, {" Paris": values, "right": values == 0.5}, lenses=1, tokens=2)
    found = running.summary()
    assert found.mean[" Paris"].tolist() == [0.25, 0.5]
    assert found.count[" Paris"].tolist() == [1, 1]
    assert found.mean["right"].tolist() == [0, 0.25]
    assert (found.lenses, found.tokens) == (1, 2)


@pytest.mark.parametrize(
    ("row", "values", "message"),
    [
        ([0, 2], [1.0, 2.0], "there are 2 rows; got one of number 0 or 2"),
        ([0, -1], [1.0, 2.0], "there are 2 rows; got one of number -1 or 0"),
        ([0, 1], [1.0], r"entropy has shape \(1,\), but the rows have shape \(2,\)"),
    ],
)
def test_columns_that_do_not_fit(row, values, message):
    running = Running("m", "hidden", ["embed", "0"])
    with pytest.raises(LensError, match=message):
        running.add_columns(np.array(row), {"entropy": np.array(values)}, lenses=1, tokens=1)


def assert_same_statistics(one, other, name):
    assert np.array_equal(one.count[name], other.count[name])
    assert np.allclose(one.mean[name], other.mean[name], rtol=1e-12, atol=1e-30, equal_nan=True)
    assert np.allclose(one.spread[name], other.spread[name], rtol=1e-9, atol=1e-12, equal_nan=True)
    for part in ("row", "bin", "count"):
        assert np.array_equal(getattr(one.sketches[name], part), getattr(other.sketches[name], part))


class TestQuantiles:
    """Against numpy on all values at once."""

    ODD = (0.0, -0.0, 1.0, -1.0, SMALLEST, SMALLEST / 2, LARGEST, -LARGEST, 1e-45, np.inf, -np.inf, np.nan)

    def sketched(self, rows, row, values):
        running = Running("m", "hidden", [str(each) for each in range(rows)])
        running.add_columns(row, {"entropy": values}, lenses=1, tokens=1)
        return running.summary()

    @settings(deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 2), st.one_of(st.floats(width=32), st.sampled_from(ODD))), max_size=60),
        st.floats(0, 1),
    )
    def test_they_are_within_the_error_that_is_stated(self, cells, q):
        row = np.array([each for each, _ in cells], int)
        values = np.array([each for _, each in cells], np.float32)
        found = self.sketched(3, row, values).quantile("entropy", q)
        for each in range(3):
            known = np.sort(values[(row == each) & np.isfinite(values)]).astype(np.float64)
            if not len(known):
                assert np.isnan(found[each])
                continue
            exact = known[int(np.floor(q * (len(known) - 1)))]
            assert abs(found[each] - exact) <= RELATIVE_ERROR * 1.000001 * abs(exact) + SMALLEST

    def test_they_are_those_of_numpy(self):
        values = np.random.default_rng(0).gamma(2, size=(4, 999)).astype(np.float32)
        found = self.sketched(4, np.repeat(np.arange(4), 999), values.ravel())
        for q in (0, 0.05, 0.5, 0.95, 1):
            exact = np.quantile(values, q, axis=1, method="lower")
            assert np.allclose(found.quantile("entropy", q), exact, rtol=RELATIVE_ERROR * 1.000001)

    def test_every_number_is_near_the_value_of_its_bin(self):
        """At both ends of bins, too, and in order."""
        ends = np.exp(np.linspace(np.log(SMALLEST), np.log(LARGEST), 300_001))
        values = np.concatenate([-ends[::-1], [0.0], ends])
        bins = bin_of(values)
        assert (np.diff(bins) >= 0).all()
        assert (np.abs(value_of(bins) - values) <= RELATIVE_ERROR * 1.000001 * np.abs(values)).all()
        assert (bins.min(), bins.max()) == (-FURTHEST, FURTHEST)

    def test_0_and_1_are_exact(self):
        assert value_of(np.array([-ONE, 0, ONE])).tolist() == [-1, 0, 1]
        assert bin_of(np.array([-1.0, -1e-40, 0.0, 1.0])).tolist() == [-ONE, 0, 0, ONE]
        summary = self.sketched(1, np.zeros(4, int), np.array([0, 1, 1, 1], np.float32))
        assert summary.quantile("entropy", 0).tolist() == [0]
        assert summary.quantile("entropy", 0.5).tolist() == [1]

    @settings(deadline=None)
    @given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40), st.integers(0, 40))
    def test_parts_in_any_order_give_the_same_sketch(self, values, cut):
        values = np.array(values, np.float64)
        row = np.arange(len(values)) % 3
        whole, parts, other = Tally(3), Tally(3), Tally(3)
        whole.add(row, values)
        other.add(row[:cut], values[:cut])
        parts.add(row[cut:][::-1], values[cut:][::-1])
        parts.add_sketch(other.sketch())
        one, both = whole.sketch(), parts.sketch()
        assert one.total.sum() == len(values)
        for name in ("row", "bin", "count"):
            assert np.array_equal(getattr(one, name), getattr(both, name))

    def test_memory_does_not_grow_with_the_number_of_values(self):
        draw, tally, held = np.random.default_rng(0), Tally(2), []
        tracemalloc.start()
        try:
            for _ in range(200):
                tally.add(np.zeros(5_000, int), draw.random(5_000) + 0.5)
                held.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        assert tally.sketch().total.tolist() == [1_000_000, 0]
        assert len(tally.sketch().bin) < 60  # of numbers from 0.5 to 1.5
        assert max(held[100:]) - min(held[100:]) < 100_000

    @pytest.mark.parametrize("q", [-0.1, 1.1, "half", None, True, float("nan")])
    def test_what_is_no_quantile(self, q, lenses):
        with pytest.raises(LensError, match=r"pass a number from 0 to 1; 0\.5 is the median"):
            summarize(lenses).quantile("entropy", q)

    def test_of_a_measure_that_is_not_there(self, lenses):
        with pytest.raises(LensError, match="unknown measure 'kld': this summary has accuracy, "):
            summarize(lenses).quantile("kld", 0.5)

    def test_a_table_says_them_on_hover(self):
        html = self.sketched(1, np.zeros(101, int), np.arange(101) / 100).to_html()
        assert "101 cells; median 0.497, 5 % to 95 %: 0.0498 to 0.942" in html


class TestMerging:
    @settings(deadline=None, max_examples=40)
    @given(st.permutations(range(6)), st.lists(st.integers(0, 6), max_size=3), st.data())
    def test_parts_give_what_one_run_gives(self, order, cuts, data):
        draw = np.random.default_rng(data.draw(st.integers(0, 99)))
        scale = data.draw(st.sampled_from([1e-6, 1.0, 1e6]))
        lenses = [made(measures={"entropy": scale * draw.normal(3, size=(3, 4))}) for _ in range(6)]
        lenses[2] = made(measures={"entropy": np.full((3, 4), np.nan)})
        whole = summarize(lenses)
        ends = [0, *sorted(cuts), 6]
        groups = [order[start:end] for start, end in pairwise(ends) if end > start]
        parts = [summarize([lenses[each] for each in group]) for group in groups]
        for merged in (Summary.merge(*parts), parts[0].merge(*parts[1:])):
            assert (merged.lenses, merged.tokens, merged.skip_first) == (6, 18, 1)
            assert list(merged.mean) == list(whole.mean)
            for name in whole.mean:
                assert_same_statistics(merged, whole, name)

    def test_of_real_lenses(self, lenses):
        whole, merged = summarize(lenses), summarize(lenses[:2]).merge(summarize(lenses[2:3]), summarize(lenses[4:]))
        # lenses[3] has one position only, which is left out
        assert (merged.lenses, merged.tokens) == (whole.lenses - 1, whole.tokens)
        for name in whole.mean:
            assert_same_statistics(merged, whole, name)

    @pytest.mark.parametrize(
        ("changes", "name"),
        [
            ({"model": "another"}, "model"),
            ({"stream": "delta"}, "stream"),
            ({"decoder": "jacobian"}, "decoder"),
            ({"layers": ("embed", "0", "2")}, "layers"),
            ({"skip_first": 0}, "skip_first"),
            ({"unmapped": ("0",)}, "unmapped"),
        ],
    )
    def test_parts_of_something_else_are_refused(self, changes, name):
        summary = summarize([made()])
        with pytest.raises(LensError, match=f"parts must have the same {name} to be merged: part 2 has ") as raised:
            summary.merge(replace(summary, **changes))
        assert "\n" not in str(raised.value)

    def test_what_is_no_summary(self, lenses):
        with pytest.raises(LensError, match=r"merge\(\) takes summaries; got \["):
            summarize(lenses).merge([summarize(lenses)])

    def test_with_a_part_without_quantiles_there_are_none(self, lenses):
        summary = summarize(lenses)
        merged = summary.merge(replace(summary, sketches={}))
        assert merged.mean["kl"] == pytest.approx(summary.mean["kl"])
        assert not merged.sketches


class TestFiles:
    def test_a_summary_comes_back_as_it_was(self, lenses, tmp_path):
        summary = summarize(lenses)
        summary.save(tmp_path / "summary.json")
        again = Summary.load(tmp_path / "summary.json")
        assert again.to_dict() == summary.to_dict()
        for name in summary.mean:
            assert_same_statistics(again, summary, name)
            assert np.array_equal(again.mean[name], summary.mean[name], equal_nan=True)
            assert np.array_equal(again.spread[name], summary.spread[name], equal_nan=True)
        assert again.merge(summary).lenses == 2 * summary.lenses

    def test_a_file_of_version_1_has_no_quantiles(self, lenses, tmp_path):
        data = summarize(lenses).to_dict()
        del data["sketches"]
        (tmp_path / "old.json").write_text(json.dumps(data | {"version": 1}))
        old = Summary.load(tmp_path / "old.json")
        assert np.array_equal(old.mean["kl"], summarize(lenses).mean["kl"])
        assert old.to_frame()["q50"].isna().all()
        assert "median" not in old.to_html()
        with pytest.raises(LensError, match="no quantiles of kl: older versions of bauklens did not keep them"):
            old.quantile("kl", 0.5)

    def test_only_json_is_written(self, lenses, tmp_path):
        with pytest.raises(LensError, match=r"a summary must be saved as a .json file; got 'summary.csv'"):
            summarize(lenses).save(tmp_path / "summary.csv")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"format": "bauklens.lens"}, "not a summary: looked for format 'bauklens.summary'"),
            ({"version": 3}, "a summary of version 3; this bauklens reads version 2"),
            ({"layers": []}, "it has no layers"),
            ({"layers": [1, 2, 3]}, "not a text"),
            ({"layers": "abc"}, "layers is not a list"),
            ({"model": None}, "not a text"),
            ({"unmapped": ["7"]}, "unmapped names a layer that does not exist"),
            ({"lenses": -1}, "lenses is not a whole number from 0 on"),
            ({"tokens": 1.5}, "tokens is not a whole number from 0 on"),
            ({"tokens": 2**64}, "tokens is not a whole number from 0 on"),
            ({"mean": []}, "damaged"),
            ({"mean": {}}, "it has no measures"),
            ({"mean": {"kl": [1, 2, 3]}}, "mean, spread and count do not match"),
            ({"mean": {"accuracy": [1, 2]}}, "the mean of 'accuracy' does not have a number for each layer"),
            ({"mean": {"accuracy": [1, "x", 2]}}, "the mean of 'accuracy' contains values that are not numbers"),
            ({"mean": {"accuracy": [1e300, 0, 0]}}, "the mean of 'accuracy' has an impossible number"),
            ({"spread": {"accuracy": [-1, 0, 0]}}, "the spread of 'accuracy' has an impossible number"),
            ({"count": {"accuracy": [1.5, 0, 0]}}, "the count of 'accuracy'"),
            ({"sketches": {"kl": {}}}, "the sketch of 'kl' belongs to an unknown measure"),
            ({"sketches": {"accuracy": {}}}, "the sketch of 'accuracy'"),
            ({"sketches": {"accuracy": 7}}, "the sketch of 'accuracy'"),
            ({"sketches": []}, "damaged"),
        ],
    )
    def test_a_damaged_one_is_one_line(self, changes, message, tmp_path):
        data = summarize([made()]).to_dict() | changes
        path = tmp_path / "summary.json"
        path.write_text(json.dumps(data))
        with pytest.raises(LensError, match=message) as raised:
            Summary.load(path)
        assert str(raised.value).startswith(f"cannot read {path}: ")
        assert "\n" not in str(raised.value)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"row": [0, 0]}, "do not have one number for each bin"),
            ({"row": [[0, 0, 1]]}, "do not have one number for each bin"),
            ({"row": [0, 0, 2]}, "a bin belongs to a row that does not exist"),
            ({"row": [-1, 0, 1]}, "a bin belongs to a row that does not exist"),
            ({"bin": [5, 5, 5]}, "its bins are not in order"),
            ({"bin": [5, 4, 5]}, "its bins are not in order"),
            ({"bin": [5, FURTHEST + 1, 5]}, "a bin is not from -8,804 to 8,804"),
            ({"bin": [-(2**63), 5, 5]}, "a bin is not from -8,804 to 8,804"),
            ({"count": [1, 0, 1]}, "a count is not above 0"),
            ({"count": [2**62, 2**62, 2**62]}, "its counts are too large"),
            ({"count": [2**64, 1, 1]}, "count contains values that are not numbers"),
            ({"count": ["a", 1, 1]}, "count contains values that are not numbers"),
        ],
    )
    def test_a_damaged_sketch(self, changes, message):
        parts = {"row": [0, 0, 1], "bin": [4, 5, 5], "count": [1, 2, 1]}
        assert Sketch(2, **parts).total.tolist() == [3, 1]
        with pytest.raises(LensError, match=message):
            Sketch(2, **parts | changes)

    def test_a_sketch_of_other_cells_is_refused(self):
        data = summarize([made()]).to_dict()
        data["count"]["accuracy"][0] += 1
        with pytest.raises(LensError, match="the sketch of 'accuracy' does not count the right number of cells"):
            Summary.from_dict(data)


@pytest.mark.parametrize("kind", [Summary, Summaries])
def test_damaged_files_by_the_hundred(kind, tmp_path):
    """Each loads and can be shown, merged and saved again, or is one line."""
    whole = summarize([made(measures={"kl": np.random.default_rng(0).gamma(2, size=(3, 4))})])
    data = json.loads((whole if kind is Summary else Summaries({"a": whole, "b": whole})).to_json())
    path, loaded, refused = tmp_path / "file.json", 0, []
    for seed in range(250):
        path.write_bytes(json.dumps(mutated(data, random.Random(seed))).encode("utf-8", "surrogatepass"))
        try:
            found = kind.load(path)
        except LensError as error:
            refused.append(str(error))
            continue
        loaded += 1
        found.to_html()
        found.to_frame()
        for each in [found] if kind is Summary else found.values():
            each.merge(each)
        found.save(tmp_path / "again.json")
        assert kind.load(tmp_path / "again.json").to_dict() == found.to_dict()
    assert loaded > 10
    assert not [message for message in refused if "\n" in message]


class TestSummaries:
    @pytest.fixture
    def summaries(self, lenses):
        return Summaries({"step 0": summarize(lenses[:2]), "step 10": summarize(lenses[2:])}, by="checkpoint")

    def test_it_is_a_mapping_in_order(self, summaries):
        assert list(summaries) == ["step 0", "step 10"]
        assert len(summaries) == 2
        assert summaries["step 0"].lenses == 2
        assert repr(summaries) == "<Summaries of 2, by checkpoint: step 0, step 10>"
        with pytest.raises(TypeError):
            summaries.each["new"] = summaries["step 0"]

    def test_a_column_says_which(self, summaries):
        frame = summaries.to_frame()
        assert frame.columns[0] == "checkpoint"
        assert len(frame) == sum(len(each.to_frame()) for each in summaries.values())
        chosen = frame.query("checkpoint == 'step 10' and measure == 'kl'")["mean"]
        assert np.array_equal(chosen, summaries["step 10"].mean["kl"])
        with pytest.raises(LensError, match="by is 'layer', which is a column already"):
            Summaries(summaries.each, by="layer").to_frame()

    def test_files_and_pickles(self, summaries, tmp_path):
        import pickle

        summaries.save(tmp_path / "all.json")
        for again in (Summaries.load(tmp_path / "all.json"), pickle.loads(pickle.dumps(summaries))):
            assert again.to_dict() == summaries.to_dict()
            assert (list(again), again.by) == (list(summaries), "checkpoint")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"format": "bauklens.summary"}, "not summaries: looked for format 'bauklens.summaries'"),
            ({"each": {}}, "summaries is empty"),
            ({"each": [1]}, "summaries is empty"),
            ({"each": {"a": {"format": "x"}}}, "checkpoint 'a': not a summary"),
            ({"by": 7}, "by is not a text"),
        ],
    )
    def test_a_damaged_file(self, summaries, changes, message, tmp_path):
        (tmp_path / "all.json").write_text(json.dumps(summaries.to_dict() | changes))
        with pytest.raises(LensError, match=message):
            Summaries.load(tmp_path / "all.json")

    @pytest.mark.parametrize(("changes", "name"), [({"stream": "delta"}, "stream"), ({"skip_first": 0}, "skip_first")])
    def test_what_cannot_be_compared_is_refused(self, changes, name):
        summary = summarize([made()])
        with pytest.raises(LensError, match=f"summaries must have the same {name}: 'b' has "):
            Summaries({"a": summary, "b": replace(summary, **changes)})

    def test_a_line_for_each(self, summaries):
        (panel,) = summaries.plot("kl").axes
        assert [line.get_label() for line in panel.lines] == list(summaries)
        for line, summary in zip(panel.lines, summaries.values(), strict=True):
            assert np.allclose(line.get_ydata(), summary.mean["kl"][1:])  # without "embed"
        (panel,) = summaries.plot("kl", band="quantiles").axes
        assert len(panel.lines) == 4  # and the medians
        many = Summaries({f"{number}": summaries["step 0"] for number in range(40)})
        assert len({tuple(line.get_color()) for line in many.plot("kl").axes[0].lines}) == 40

    def test_the_map_of_layers_and_checkpoints(self, summaries):
        axes, bar = summaries.heatmap("kl").axes
        (image,) = axes.images
        drawn = image.get_array()
        assert drawn.shape == (LAYERS + 1, 2)
        assert np.allclose(drawn[:, 1], summaries["step 10"].mean["kl"])
        assert bar.get_ylabel() == "mean of kl (nats)"
        assert [label.get_text() for label in axes.get_xticklabels()] == list(summaries)
        assert axes.get_xlabel() == "checkpoint"
        assert image.get_clim() == (drawn[1:].min(), drawn[1:].max())
        axes, bar = summaries.heatmap("kl", q=0.5, limits=(0, 2)).axes
        assert np.allclose(axes.images[0].get_array()[:, 0], summaries["step 0"].quantile("kl", 0.5))
        assert bar.get_ylabel() == "median of kl (nats)"
        assert axes.images[0].get_clim() == (0, 2)
        with pytest.raises(LensError, match="unknown measure 'kld'"):
            summaries.heatmap("kld")

    def test_a_page_has_a_table_for_each(self, summaries, tmp_path):
        html = summaries.to_html(tmp_path / "all.html", title="Two")
        assert (tmp_path / "all.html").read_text("utf-8") == html
        assert html.count("<table") == 2
        assert "step 10. Means over " in html
        hostile = Summaries(dict.fromkeys(HOSTILE[:8], summaries["step 0"]), by=HOSTILE[0])
        assert HOSTILE[0] not in hostile.to_html()
        hostile.plot("kl").savefig(tmp_path / "plot.png")
        hostile.heatmap("kl").savefig(tmp_path / "map.png")


def test_bands(lenses):
    summary = summarize(lenses)
    (panel,) = summary.plot("kl", band="quantiles").axes
    mean, median = panel.lines
    assert np.allclose(median.get_ydata(), summary.quantile("kl", 0.5))
    assert mean.get_label() == "mean"
    corners = panel.collections[0].get_paths()[0].vertices[:, 1]
    assert set(summary.quantile("kl", 0.95)) <= set(corners)
    (panel,) = summary.plot("kl", band=None).axes
    assert not panel.collections
    with pytest.raises(LensError, match="unknown band 'all': pass one of 'spread', 'quantiles', None"):
        summary.plot(band="all")

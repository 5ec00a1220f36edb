"""Scores of decoders, against plain torch and numpy, and what is made of them: tables, pages, figures, files."""

import io
import json
import pickle
import re

import numpy as np
import pytest
import torch
from playwright.sync_api import expect
from rich.console import Console

import bauklens
from bauklens import JacobianLens, LensError, MeanLens, RidgeLens, load_decoder, score_decoder
from bauklens.decode.decoder import LOGIT_LENS
from bauklens.decoders.causal import moved_by
from bauklens.decoders.intervals import with_intervals
from bauklens.decoders.score import quality_of
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import resolve
from bauklens.show.averages_terminal import print_scores
from bauklens.show.scored_measures import Interval
from bauklens.show.scores import Scores
from tests import NAMES
from tests.by_hand import MAPPED, TAILS, logits_of, matrices, states_of, vectors
from tests.made import HOSTILE
from tests.processes import python
from tests.tiny import VOCABULARY, WIDTH, block_list, hook_count, tiny_model

SKIP, LENGTH = 3, 12
TEMPERATURES = {"embed": 0.5, "0": 1.7, "1": 0.8}


def texts_of(count=3, length=30, seed=0):
    """Lists of random ids; the last is shorter."""
    random = np.random.default_rng(seed)
    return [random.integers(3, VOCABULARY, length - 7 * (number == count - 1)).tolist() for number in range(count)]


def ridge(**known):
    return RidgeLens(matrices(), vectors(), TEMPERATURES, **known)


def scored(model, decoders="logit", texts=None, **options):
    return score_decoder(
        decoders,
        model,
        None,
        texts_of() if texts is None else texts,
        **{"length": LENGTH, "skip_first": SKIP} | options,
    )


def windows_of(text):
    cut = [text[start : start + LENGTH] for start in range(0, len(text), LENGTH)]
    return [part for part in cut if len(part) >= SKIP + 2]


def ridge_of(states):
    """(row, position, hidden) through the ridge lens; the last row stays as it is."""
    mapped = states.double().clone()
    for row, label in enumerate(MAPPED):
        mapped[row] = states[row].double() @ matrices()[label].double().T + vectors()[label].double()
    return mapped


def error_by_bins(probability, right):
    """The expected calibration error, written out."""
    total = 0.0
    for number in range(10):
        inside = (probability > number / 10) & (probability <= (number + 1) / 10)
        if inside.any():
            total += inside.mean() * abs(probability[inside].mean() - right[inside].mean())
    return total


def by_hand(name, model, mapping, temperatures=()):
    """Name of a measure -> (row,), over all windows of all texts; the last row is the model's own."""
    cells = {"kl": [], "agreement": [], "cross_entropy": [], "probability": [], "right": []}
    for window in [window for text in texts_of() for window in windows_of(text)]:
        logits = logits_of(name, model, mapping(states_of(model, window)), temperatures)[:, SKIP:-1]
        logs, following = logits.log_softmax(-1), torch.tensor(window)[SKIP + 1 :]
        own, tops = logs[-1], logits.argmax(-1)
        cells["kl"].append((own.exp() * (own - logs)).sum(-1))
        cells["agreement"].append((tops == tops[-1]).double())
        cells["cross_entropy"].append(-logs.gather(-1, following.expand(len(logs), -1)[..., None])[..., 0])
        cells["probability"].append(logs.exp().amax(-1))
        cells["right"].append((tops == following).double())
    whole = {measure: torch.cat(parts, dim=1).numpy() for measure, parts in cells.items()}
    found = {measure: whole[measure].mean(axis=1) for measure in ("kl", "agreement", "cross_entropy")}
    pairs = zip(whole["probability"], whole["right"], strict=True)
    return found | {"calibration": np.array([error_by_bins(*pair) for pair in pairs])}


@pytest.mark.parametrize("name", TAILS)
def test_the_scores_of_a_layer_are_those_of_plain_torch(name):
    model = tiny_model(name)
    scores = scored(model, ["logit", ridge()])
    for called, expected in (
        ("logit", by_hand(name, model, lambda states: states)),
        ("ridge", by_hand(name, model, ridge_of, TEMPERATURES)),
    ):
        assert scores.layers[called] == MAPPED
        for measure, values in expected.items():
            ties = 0.02 if (name, measure) == ("gemma2", "agreement") else 0.0  # logits that float32 caps alike
            allowed = ties + 2e-5 * max(1, np.abs(values).max())
            assert np.abs(scores.value[called][measure] - values[:-1]).max() <= allowed
            assert abs(scores.own[measure].value - values[-1]) <= allowed
    assert scores.documents == 3
    assert scores.tokens == sum(len(window) - SKIP - 1 for text in texts_of() for window in windows_of(text))


def test_several_decoders_are_scored_as_each_is_alone():
    model = tiny_model("llama")
    together = scored(model, ["logit", ridge(), JacobianLens(matrices(2))], causal=2)
    for decoder, name in (("logit", "logit"), (ridge(), "ridge"), (JacobianLens(matrices(2)), "jacobian")):
        alone = scored(model, decoder, causal=2)
        for measure in alone.measures:
            for end in ("value", "low", "high"):
                one, other = getattr(together, end)[name][measure], getattr(alone, end)[name][measure]
                assert np.allclose(one, other, atol=1e-5, equal_nan=True)
        assert np.allclose(list(alone.own.values()), list(together.own.values()), atol=1e-5)


def test_one_forward_pass_serves_all_decoders():
    model, passes = tiny_model("gpt2"), []
    model.transformer.h[0].register_forward_hook(lambda *_: passes.append(1))
    scored(model)  # the model is looked at once
    for decoders in ("logit", ["logit", ridge()]):
        passes.clear()
        scored(model, decoders)
        assert len(passes) == sum(len(windows_of(text)) for text in texts_of())


def test_the_model_is_left_as_it_was():
    model = tiny_model("gpt2").train()
    scored(model, ["logit", ridge()], causal=1)
    assert model.training
    assert hook_count(model) == 0
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())


def test_only_the_layers_that_are_asked_for_and_mapped_are_scored():
    model, jacobian = tiny_model("gpt2"), JacobianLens({1: torch.eye(WIDTH)})
    scores = scored(model, ["logit", jacobian], layers=[0, -2])
    assert dict(scores.layers) == {"logit": ("0", "1"), "jacobian": ("1",)}
    for measure in scores.measures:
        assert scores.value["logit"][measure][1] == pytest.approx(scores.value["jacobian"][measure][0], abs=1e-5)
    with pytest.raises(LensError, match="the decoder 'jacobian' has a map for none of the layers 0"):
        scored(model, jacobian, layers=0)


def test_what_was_measured_before_is_measured_still():
    model, texts = tiny_model("gpt2"), [Inputs(torch.tensor([text])) for text in texts_of()]
    whole = scored(model, ridge(), length=64, skip_first=16)
    for row, label in enumerate(MAPPED):
        quality = quality_of(ridge(), model, texts)[label]
        assert quality == pytest.approx({name: whole.value["ridge"][name][row] for name in ("kl", "agreement")})


def test_texts_may_be_rows_of_a_data_set_and_a_generator():
    model = tiny_model("gpt2")
    rows = ({"input_ids": text} for text in texts_of())
    assert scored(model, texts=rows).to_dict() == scored(model).to_dict()


def test_texts_that_fail_or_are_too_short_are_told():
    model = tiny_model("gpt2")
    wrong = [texts_of()[0], [5, 6, 7, 10**6, 8, 9], [5, 6], texts_of()[1]]
    with pytest.raises(LensError, match="text 2: token id 1000000 is not in the model's vocabulary"):
        scored(model, texts=wrong)
    scores = scored(model, texts=wrong, on_error="skip")
    assert scores.documents == 2
    assert (scores.about["texts failed"], scores.about["texts too short"]) == (1, 1)
    with pytest.raises(LensError, match="no text is long enough to be scored: a window needs 5 tokens, and 1 text has"):
        scored(model, texts=[[5, 6]])
    with pytest.raises(LensError, match="2 of 2 texts failed, and none were left to score on"):
        scored(model, texts=[None, [10**6] * 9], on_error="skip")
    for options, message in (
        ({"seed": -1}, "skip_first and seed must be 0 or more"),
        ({"length": 0}, "length is 0: pass 1 or more"),
        ({"causal": -2}, "causal is -2: pass 1 or more"),
        ({"on_error": "ignore"}, "unknown on_error 'ignore'"),
        ({"layers": [9]}, "unknown layer 9"),
    ):
        with pytest.raises(LensError, match=re.escape(message)):
            scored(model, **options)
    attention = JacobianLens(matrices(), stream="attention")
    with pytest.raises(LensError, match="maps what the attention of a block adds: scores need decoders that map the"):
        scored(model, attention)
    with pytest.raises(LensError, match="maps states of width 8"):
        scored(model, JacobianLens({0: torch.eye(8)}))


# Intervals


def test_an_interval_is_that_of_resampled_documents_and_always_the_same():
    random = np.random.default_rng(5)
    sums, counts = random.gamma(2.0, size=(12, 3)), random.integers(5, 20, size=(12, 1)).astype(float)
    found = with_intervals(sums, counts, np.divide, seed=3)
    assert np.allclose(found.value, sums.sum(axis=0) / counts.sum())
    drawn = np.random.default_rng(11).integers(0, 12, size=(20_000, 12))
    resampled = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    spread = found.high - found.low
    for end, percent in ((found.low, 2.5), (found.high, 97.5)):
        assert (np.abs(end - np.percentile(resampled, percent, axis=0)) <= 0.06 * spread).all()
    again, other = (with_intervals(sums, counts, np.divide, seed=seed) for seed in (3, 4))
    assert np.array_equal(found.low, again.low)
    assert np.array_equal(found.high, again.high)
    assert not np.array_equal(found.low, other.low)


def test_intervals_contain_the_value_and_one_text_has_none():
    model = tiny_model("gpt2")
    for scores, known in ((scored(model, causal=2), True), (scored(model, texts=texts_of()[:1], causal=2), False)):
        for measure in scores.measures:
            value, low, high = (getattr(scores, end)["logit"][measure] for end in ("value", "low", "high"))
            assert np.isfinite(value).all()
            if known:
                assert (low <= value).all()
                assert (value <= high).all()
                assert (low < high).any()
            else:
                assert np.isnan(low).all()
                assert np.isnan(high).all()
    assert np.isnan(scores.own["kl"].low)
    assert all(set(each) == set(scores.measures) for each in scores.quality().values())


def test_many_documents_are_resampled_some_at_a_time():
    sums = np.random.default_rng(0).normal(5, 1, size=(30_000, 1))
    found = with_intervals(sums, np.ones((30_000, 1)), np.divide, seed=0)
    assert found.high - found.low == pytest.approx(2 * 1.96 / 30_000**0.5, rel=0.1)


# The causal gain


def normed_part(name, model, vector):
    """The final norm's linear part, transposed, by hand."""
    if name == "llama":
        return model.model.norm.weight * vector
    scaled = model.transformer.ln_f.weight * vector
    return scaled - scaled.mean()


def gain_by_hand(name, model, prompt, label, direction, token):
    """By how much log p of a token rises when 0.3 of the norm of the last state is added along a direction."""
    row = MAPPED.index(label)
    state = states_of(model, prompt)[row, -1]
    added = 0.3 * state.norm() * direction / direction.norm()

    def change(module, inputs, output):
        states = output if torch.is_tensor(output) else output[0]
        states[0, -1] += added
        return output

    embedding = model.transformer.drop if name == "gpt2" else model.model.embed_tokens
    changed = embedding if label == "embed" else block_list(model)[row - 1]
    with torch.no_grad():
        before = model(torch.tensor([prompt]), use_cache=False).logits[0, -1].log_softmax(-1)[token]
        hook = changed.register_forward_hook(change)
        try:
            after = model(torch.tensor([prompt]), use_cache=False).logits[0, -1].log_softmax(-1)[token]
        finally:
            hook.remove()
    return float(after - before)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_causal_gain_is_that_of_a_state_that_is_changed_by_hand(name):
    model, token = tiny_model(name), 5
    prompts = [[*text[:6], *[token] * 6] for text in texts_of()]
    assert all(int(model(torch.tensor([prompt])).logits[0, -1].argmax()) != token for prompt in prompts)
    scores = scored(model, ["logit", ridge(), MeanLens(vectors())], prompts, skip_first=6, causal=1)
    weight = model.lm_head.weight
    towards = normed_part(name, model, weight[token] - weight.mean(dim=0))
    for row, label in enumerate(MAPPED):
        for called, direction in (("logit", towards), ("ridge", matrices()[label].T @ towards)):
            gains = [gain_by_hand(name, model, prompt, label, direction, token) for prompt in prompts]
            assert scores.value[called]["causal"][row] == pytest.approx(np.mean(gains), abs=1e-4)
    assert np.isnan(scores.value["mean"]["causal"]).all()  # a constant has no directions
    at_random = [scores.value[each]["causal_random"] for each in scores.decoders]
    assert np.array_equal(at_random[0], at_random[1])
    assert np.array_equal(at_random[0], at_random[2])


@pytest.mark.parametrize("name", NAMES)
def test_cached_keys_and_values_give_the_gains_of_whole_prompts(name):
    model = tiny_model(name)
    prompts = [Inputs(torch.tensor([text])) for text in texts_of()]
    asked, frequency = [(LOGIT_LENS, MAPPED)], np.ones(VOCABULARY)
    with torch.no_grad():
        cached = moved_by(asked, model, prompts, frequency, tokens=3, seed=0)
        model.register_forward_hook(lambda *_: None)  # a hook of the caller's: prompts are run whole, one by one
        whole = moved_by(asked, model, prompts, frequency, tokens=3, seed=0)
    assert np.allclose(cached.gains[0], whole.gains[0], atol=1e-3, equal_nan=True)
    assert np.allclose(cached.random[0], whole.random[0], atol=1e-3, equal_nan=True)
    assert np.isfinite(cached.gains[0][:, 1:]).all()


def test_the_top_token_is_never_drawn_and_the_seed_draws():
    model = tiny_model("gpt2")
    prompt = Inputs(torch.tensor([texts_of()[0]]))
    top = int(model(prompt.ids).logits[0, -1].argmax())
    only = np.zeros(VOCABULARY)
    only[top] = 1
    with torch.no_grad():
        found = moved_by([(LOGIT_LENS, ("0",))], model, [prompt], only, tokens=4, seed=0)
    assert found.counts == 0
    assert np.isnan(found.gains[0]).all()
    one, again, other = (scored(model, causal=3, seed=seed).value["logit"]["causal"] for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_functions_are_differentiated_or_refused():
    model = tiny_model("llama")

    def doubled(states, layers):
        return torch.stack([state @ matrices()[layer].T for state, layer in zip(states, layers, strict=True)])

    def cut(states, layers):
        return doubled(states, layers).detach()

    def far(states, layers):
        return torch.from_numpy(doubled(states, layers).numpy())

    jacobian = JacobianLens(matrices())
    scores = scored(model, [doubled, jacobian], causal=2)
    assert np.allclose(scores.value["doubled"]["causal"], scores.value["jacobian"]["causal"], atol=1e-4)
    for function in (cut, far):
        with pytest.raises(LensError, match=f"the decoder '{function.__name__}' .*cannot be differentiated"):
            scored(model, function, causal=2)


def test_a_model_whose_head_is_no_plain_linear_module_is_refused():
    model = tiny_model("gpt2")
    model.lm_head.register_forward_hook(lambda *_: None)
    assert resolve(model, Inputs(torch.tensor([texts_of()[0]]))).post_ops is None
    with pytest.raises(LensError, match="causal needs a head that is a plain linear module"):
        scored(model, causal=True)
    assert scored(model).documents == 3


def test_scores_are_made_in_inference_mode_too():
    model = tiny_model("llama")
    with torch.inference_mode():
        inside = scored(model, ["logit", ridge()], causal=2)
    assert inside.to_dict() == scored(model, ["logit", ridge()], causal=2).to_dict()


# Tables, pages, figures, files


def made(decoders=("logit", "ridge"), causal=True):
    """Scores of made-up numbers; the second decoder has no map for "embed"."""
    random = np.random.default_rng(0)
    layers = {name: ("embed", "0", "1")[place:] for place, name in enumerate(decoders)}
    names = ["kl", "agreement", "cross_entropy", "calibration", *(["causal", "causal_random"] if causal else [])]
    value = {name: {each: random.random(len(own)) for each in names} for name, own in layers.items()}
    low = {name: {each: array - 0.1 for each, array in found.items()} for name, found in value.items()}
    high = {name: {each: array + 0.1 for each, array in found.items()} for name, found in value.items()}
    own = {each: Interval(0.5, 0.4, 0.6) for each in names[:4]}
    return Scores("tiny", layers, 4, 1234, value, low, high, own, {"seed": 0})


def test_the_frame_has_a_row_for_each_decoder_layer_and_measure():
    scores = made()
    frame = scores.to_frame()
    assert list(frame.columns) == ["decoder", "layer", "measure", "value", "low", "high", "unit"]
    assert len(frame) == 5 * 6 + 4
    row = frame[(frame.decoder == "ridge") & (frame.layer == "1") & (frame.measure == "kl")].iloc[0]
    assert row.value == scores.value["ridge"]["kl"][1]
    assert row.high == scores.high["ridge"]["kl"][1]
    assert set(frame[frame.layer == "final"].decoder) == {""}


def test_json_has_everything_and_none_for_what_is_not_known():
    scores = made()
    told = json.loads(scores.to_json())
    assert (told["format"], told["version"]) == ("bauklens.scores", 1)
    assert told["decoders"][1]["layers"] == ["0", "1"]
    assert told["decoders"][1]["measures"]["kl"]["value"] == scores.value["ridge"]["kl"].tolist()
    assert told["final"]["kl"] == {"value": 0.5, "low": 0.4, "high": 0.6}
    assert json.loads(scored(tiny_model("gpt2"), texts=texts_of()[:1]).to_json())["final"]["kl"]["low"] is None


def test_scores_are_frozen_and_survive_a_pickle():
    scores = made()
    with pytest.raises((TypeError, ValueError, AttributeError)):
        scores.value["ridge"]["kl"][0] = 1
    with pytest.raises(TypeError):
        scores.layers["other"] = ()
    assert pickle.loads(pickle.dumps(scores)).to_json() == scores.to_json()
    assert repr(scores) == "<Scores of logit, ridge on tiny: 4 texts, 1,234 tokens>"


def test_a_figure_has_a_panel_for_each_measure_and_a_line_for_each_decoder():
    scores = made()
    figure = scores.plot()
    assert [axes.get_ylabel().partition("\n")[0] for axes in figure.axes] == [
        "KL",
        "agreement",
        "cross-entropy",
        "calibration error",
        "causal gain",
    ]
    assert np.array_equal(figure.axes[0].lines[1].get_ydata(), scores.value["ridge"]["kl"])
    assert np.array_equal(figure.axes[0].lines[0].get_ydata(), scores.value["logit"]["kl"][1:])  # without "embed"
    assert len(scores.plot("kl").axes) == 1
    for wrong, message in (([], "measures is empty"), (["causal_random"], "unknown measure 'causal_random'")):
        with pytest.raises(LensError, match=message):
            scores.plot(wrong)
    assert made(["logit"], causal=False).plot(["kl"]).axes[0].lines


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_asks_for_nothing_and_fits_a_narrow_window(opening, tmp_path, scheme):
    hostile = HOSTILE if isinstance(HOSTILE, str) else "".join(HOSTILE)
    scores = made(["logit", hostile])
    path = tmp_path / "scores.html"
    html = scores.to_html(path)
    assert path.read_bytes() == html.encode("utf-8", "replace")
    page, asked, complaints = opening(html, scheme=scheme, width=480)
    assert not asked
    assert not complaints
    expect(page.locator(".charts .chart")).to_have_count(5)
    expect(page.locator("table.ranking tbody tr")).to_have_count(4)
    expect(page.locator("b", has_text="bold")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= 480
    assert "95 % interval" in page.locator("table.ranking td").nth(0).get_attribute("title")


def test_a_notebook_shows_a_table():
    html = made(["<b>one</b>"])._repr_html_()
    assert "<b>one</b>" not in html
    assert "&lt;b&gt;one" in html


def test_a_narrow_terminal_has_a_table_for_each_measure_and_cuts_nothing():
    scores = made(("logit", "ridge", "jacobian"))
    values = {text for _, cells in scores.ranking()["rows"] for text, _, _ in cells if text}
    for width, tables in ((60, len(scores.measures)), (300, 1)):
        file = io.StringIO()
        print_scores(scores, Console(file=file, width=width, force_terminal=True, color_system=None))
        printed = file.getvalue()
        assert printed.count("final") == tables
        assert "…" not in printed
        assert values <= set(printed.split())
        assert max(map(len, printed.splitlines()[1:])) <= width


def test_scores_are_kept_in_a_decoders_own_file(tmp_path):
    model, path = tiny_model("gpt2"), tmp_path / "ridge.safetensors"
    ridge(about={"method": "ridge"}).save(path)
    decoder = load_decoder(path)
    scores = scored(model, decoder, causal=2)
    decoder.with_quality(scores.quality(), {"quality": "on 3 texts"}).save(path)
    assert not decoder.quality
    again = load_decoder(path)
    assert again.kind == "ridge"
    assert again.temperatures == decoder.temperatures
    assert dict(again.about) == {"method": "ridge", "quality": "on 3 texts"}
    for row, label in enumerate(MAPPED):
        assert again.quality[label]["kl"] == scores.value["ridge"]["kl"][row]
        assert again.quality[label]["causal_low"] == scores.low["ridge"]["causal"][row]
        assert torch.equal(again.matrix(label), decoder.matrix(label))
    lens = bauklens.logit_lens(model, None, texts_of()[0], decoder=again)
    assert lens.quality["calibration"][0] == pytest.approx(scores.value["ridge"]["calibration"][0])
    assert np.isnan(lens.quality["kl"][-1])
    assert "KL to the model" in bauklens.show.page([lens])


def test_qualities_are_checked_and_unknown_ones_ignored():
    decoder = ridge()
    kept = decoder.with_quality({0: {"kl": 1.5, "causal": -0.5, "mood": 7}})
    assert dict(kept.quality["0"]) == {"kl": 1.5, "causal": -0.5}
    for wrong, message in (
        ({0: {"calibration": 1.5}}, "the calibration of layer 0 is 1.5: it must be a number from 0 to 1"),
        ({0: {"causal": float("nan")}}, "the causal of layer 0 is nan: it must be a number"),
        ({0: {"kl_low": -1}}, "the kl_low of layer 0 is -1: it must be a number of 0 or more"),
        ({7: {"kl": 1}}, "layer 7 has a quality, but no map"),
    ):
        with pytest.raises(LensError, match=re.escape(message)):
            decoder.with_quality(wrong)
    with pytest.raises(LensError, match="unknown decoder 'x': these scores are of logit, ridge"):
        made().quality("x")


# The command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from tests.tiny import tiny_tokenizer

    folder = tmp_path_factory.mktemp("models") / "tiny-gpt2"
    tiny_model("gpt2").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def command(tmp_path, folder):
    def run(*arguments, stdin=""):
        options = ["--model", str(folder), "--length", "24", "--skip-first", "3"]
        return python("-m", "bauklens", "score", *options, *arguments, cwd=tmp_path, stdin=stdin)

    return run


BOOK = "the tower in the city of the sea\n" * 400


@pytest.mark.slow
def test_the_command_prints_writes_and_stores(command, tmp_path):
    ridge(name="mine").save(tmp_path / "mine.safetensors")
    (tmp_path / "book.txt").write_text(BOOK)
    ran = command(
        *("--decoder", "logit", "--decoder", "mine.safetensors", "--texts", "book.txt", "--layer", "0", "--causal"),
        *("--store", "-o", "page.html", "--json", "scores.json", "--csv", "scores.csv", "--plot", "scores.png"),
    )
    assert ran.returncode == 0, ran.stderr
    assert "logit, mine on tiny-gpt2: 2 texts" in ran.stdout
    assert "KL (nats): mine" in ran.stdout
    told = json.loads((tmp_path / "scores.json").read_text())
    kept = load_decoder(tmp_path / "mine.safetensors")
    assert list(kept.quality) == ["0"]
    assert kept.quality["0"]["kl"] == told["decoders"][1]["measures"]["kl"]["value"][0]
    assert kept.about["quality"] == f"on 2 texts, {told['tokens']:,} tokens of book.txt"
    assert "<polyline" in (tmp_path / "page.html").read_text()
    assert (tmp_path / "scores.csv").read_text().startswith("decoder,layer,measure,value")
    assert (tmp_path / "scores.png").read_bytes().startswith(b"\x89PNG")


def test_it_stops_when_so_many_tokens_are_scored():
    model, texts = tiny_model("gpt2"), texts_of(6, LENGTH)
    some = scored(model, texts=texts, tokens=2 * (LENGTH - 1 - SKIP) - 1)
    assert some.documents == 2
    assert np.array_equal(some.value["logit"]["kl"], scored(model, texts=texts[:2]).value["logit"]["kl"])
    with pytest.raises(LensError, match="tokens is 'many': pass a whole number"):
        scored(model, texts=texts, tokens="many")


@pytest.mark.slow
def test_the_command_reads_standard_input_and_prints_json(command):
    ran = command("--decoder", "logit", "--texts", "-", "--json", "-", stdin=BOOK)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["documents"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--texts", "none.txt"], "cannot read none.txt: No such file or directory"),
        (["--texts", "book.txt", "--store"], "--store needs a decoder in a .safetensors file; the logit lens has none"),
        (
            ["--texts", "book.txt", "--decoder", "demo", "--store"],
            "--store takes decoders in .safetensors files on this machine; got demo",
        ),
        (["--texts", "book.txt", "--plot", "a.gif2"], "cannot draw a.gif2: its name must end with one of"),
        (["--texts", "book.txt", "--layer", "17"], "unknown layer '17'"),
        (["--texts", "book.txt", "--json", "-", "--csv", "-"], "JSON and CSV cannot both go to standard output"),
    ],
)
def test_what_the_command_cannot_do_is_one_line(command, tmp_path, arguments, message):
    (tmp_path / "book.txt").write_text(BOOK)
    ran = command("--decoder", "logit", *arguments)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert message in ran.stderr

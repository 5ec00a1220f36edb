"""The measures of a lens, against a plain computation on full logits."""

import json
import math

import numpy as np
import pytest
import torch
from torch import cosine_similarity as cosine

import bauklens
from bauklens import MEASURES, LensError, LensResult
from bauklens.result.measures import DEFAULT
from tests.tiny import LAYERS, PROMPT, TEXT, VOCABULARY, pass_output_through, tiny_model, with_random_weights

LENGTH = len(PROMPT)


def full_logits(model, token_ids, **arguments):
    """(layer, position, vocabulary): every token followed, in and out of the top k."""
    lens = bauklens.logit_lens(model, None, token_ids, measures=[], targets=range(VOCABULARY), **arguments)
    return torch.tensor(np.stack([target.logit for target in lens.targets], axis=-1))


def assert_as(lens, wanted):
    """The lens's measures are these; what the top token is shows only where no two are alike."""
    alone = wanted.pop("alone")
    for name, value in wanted.items():
        found = np.array(lens.measures[name])
        if name in ("agreement", "overlap"):
            found, value = found[alone], value[alone]
        assert np.allclose(found, value, atol=2e-5, rtol=1e-5, equal_nan=True), name


def spread(one):
    """H(p) in nats, straight from the definition, of log p in double precision."""
    return torch.special.entr(one.exp()).sum(-1)


def divergence(one, other):
    """KL(p || q) in nats, likewise."""
    return (one.exp() * (one - other)).sum(-1)


def mean_of(one, other):
    """Log of the mean of two predictions."""
    return torch.logaddexp(one, other) - math.log(2)


def shared(one, other):
    return (one[..., :, None] == other[..., None, :]).any(-1).float().mean(-1)


def expected(logits, own, token_ids, positions):
    """Name -> (layer, position), of everything that is a function of logits alone."""
    following = torch.tensor([*token_ids, 0])[torch.tensor(positions) + 1].expand(len(logits), -1)
    last = torch.tensor([position == len(token_ids) - 1 for position in positions])
    k = 5
    model, row = own.double().log_softmax(-1).expand(logits.shape), logits.double().log_softmax(-1)
    mean, own = mean_of(model, row), own.expand_as(logits)
    alone = [(each.topk(k + 1).values.diff(dim=-1) < 0).all(dim=-1) for each in (logits, own)]
    return {
        "alone": alone[0] & alone[1],
        "max_probability": row.exp().amax(-1),
        "entropy": spread(row),
        "kl": divergence(model, row),
        "js": (divergence(model, mean) + divergence(row, mean)) / 2,
        "surprisal": -row.gather(-1, following[..., None])[..., 0].masked_fill(last, torch.nan),
        "rank_of_next": (1.0 + (logits > logits.gather(-1, following[..., None])).sum(-1)).masked_fill(last, torch.nan),
        "agreement": (logits.argmax(-1) == own.argmax(-1)).float(),
        "overlap": shared(logits.topk(k).indices, own.topk(k).indices),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("stream", ["hidden", "delta"])
def test_every_measure_of_every_model(model, dtype, stream):
    model = model.to(dtype)
    lens = bauklens.logit_lens(model, None, PROMPT, stream=stream, measures="all")
    own = full_logits(model, PROMPT)[-1:]
    wanted = expected(full_logits(model, PROMPT, stream=stream), own, PROMPT, range(LENGTH))
    assert set(lens.measures) == set(MEASURES)
    assert_as(lens, wanted)
    assert np.array_equal(lens.measures["magnitude"], lens.magnitude)


@pytest.mark.parametrize("arguments", [{"norm": "final"}, {"norm": None}, {"positions": [0, 3, -1]}, {"chunk_rows": 1}])
@pytest.mark.parametrize("name", ["gptj", "gemma2", "bloom"])
def test_whatever_the_norm_the_positions_and_the_chunk(name, arguments):
    """Set against what the model itself says, whatever the rows go through."""
    model = tiny_model(name)
    lens = bauklens.logit_lens(model, None, PROMPT, measures="all", **arguments)
    positions = lens.positions.tolist()
    own = full_logits(model, PROMPT)[-1:, positions]
    wanted = expected(full_logits(model, PROMPT, **arguments), own, PROMPT, positions)
    assert_as(lens, wanted)


@pytest.mark.filterwarnings("ignore:The `use_cache` argument:FutureWarning")  # of xlnet in transformers 4
def test_a_model_whose_states_are_decoded_whole():
    from transformers import XLNetConfig

    config = XLNetConfig(vocab_size=VOCABULARY, d_model=32, n_layer=3, n_head=4, d_inner=48)
    model = with_random_weights(config)
    lens = bauklens.logit_lens(model, None, PROMPT, measures="all")
    wanted = expected(full_logits(model, PROMPT), full_logits(model, PROMPT)[-1:], PROMPT, range(LENGTH))
    assert_as(lens, wanted)
    assert not {"cosine_to_final", "cosine_to_previous"} & set(lens.measures)


def test_cosines_are_of_the_states(gpt2):
    lens = bauklens.logit_lens(gpt2, None, PROMPT)
    states = bauklens.get_hidden_states(gpt2, None, PROMPT)[:, 0]
    to_final, to_previous = cosine(states, states[-1:], dim=-1), cosine(states[1:], states[:-1], dim=-1)
    assert np.allclose(lens.measures["cosine_to_final"][1:], to_final, atol=1e-6)
    assert np.allclose(lens.measures["cosine_to_previous"][2:], to_previous, atol=1e-6)
    assert np.isnan(lens.measures["cosine_to_previous"][0]).all()


def test_the_last_row_is_the_model_itself(gpt2):
    measures = bauklens.logit_lens(gpt2, None, PROMPT, measures="all").measures
    assert np.allclose(measures["kl"][-1], 0, atol=1e-5)
    assert np.allclose(measures["js"][-1], 0, atol=1e-6)
    assert (measures["agreement"][-1] == 1).all()
    assert (measures["overlap"][-1] == 1).all()
    assert np.allclose(measures["cosine_to_final"][-1], 1)


def test_without_the_models_own_logits_nothing_is_set_against_them(gpt2):
    lens = bauklens.logit_lens(gpt2, None, PROMPT, layers=[0])
    assert set(lens.measures) == {name for name in DEFAULT if not MEASURES[name].final}
    assert lens.check["max_abs_logit_difference"] is None


def test_what_needs_the_models_own_logits_runs_to_the_end(gpt2):
    whole = bauklens.logit_lens(gpt2, None, PROMPT)
    lens = bauklens.logit_lens(gpt2, None, PROMPT, layers=[0], measures=["kl", "agreement"])
    assert set(lens.measures) == {"kl", "agreement", "magnitude", "max_probability"}
    assert np.allclose(lens.measures["kl"][0], whole.measures["kl"][1], atol=1e-5)
    assert lens.check["max_abs_logit_difference"] is not None


def test_none_at_all(gpt2):
    assert set(bauklens.logit_lens(gpt2, None, PROMPT, measures=[]).measures) == {"magnitude", "max_probability"}


@pytest.mark.parametrize("wanted", ["kld", ["entropy", "kld"], 7, [None]])
def test_an_unknown_measure_is_one_clear_error(gpt2, wanted):
    with pytest.raises(LensError, match=r"(unknown measure|measures is).*pass"):
        bauklens.logit_lens(gpt2, None, PROMPT, measures=wanted)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_they_are_saved_and_loaded(gpt2, tokenizer, tmp_path, suffix):
    lens = bauklens.logit_lens(gpt2, tokenizer, TEXT, measures="all", targets=[" the"])
    lens.save(tmp_path / f"lens{suffix}")
    loaded = LensResult.load(tmp_path / f"lens{suffix}")
    assert loaded == lens
    for name, value in lens.measures.items():
        assert np.array_equal(loaded.measures[name], value, equal_nan=True)
        assert loaded.measures[name].dtype == np.float32
    assert np.isnan(loaded.measures["surprisal"][:, -1]).all()


def test_infinity_survives_json(gpt2):
    lens = bauklens.logit_lens(gpt2, None, PROMPT)
    odd = lens.measures["surprisal"].copy()
    odd[0, 0], odd[1, 0] = math.inf, -math.inf
    data = lens.to_dict() | {"measures": {"surprisal": odd.tolist()}}
    changed = LensResult.from_dict(data)
    assert LensResult.from_dict(json.loads(changed.to_json())) == changed
    assert changed.to_dict()["measures"]["surprisal"][0][0] == "Infinity"


@pytest.mark.parametrize(
    "measures", [{"entropy": [[1.0]]}, {"entropy": "many"}, {"entropy": [["x"]]}, ["entropy"]], ids=str
)
def test_damaged_measures_are_one_clear_error(gpt2, measures):
    data = bauklens.logit_lens(gpt2, None, PROMPT, layers=[-1]).to_dict()
    with pytest.raises(LensError):
        LensResult.from_dict(data | {"measures": measures})


def test_the_documented_json(gpt2):
    data = bauklens.logit_lens(gpt2, None, PROMPT).to_dict()
    assert set(data["measures"]) == {*DEFAULT} - {"magnitude", "max_probability"}
    assert len(data["measures"]["kl"]) == LAYERS + 1
    assert data["measures"]["surprisal"][0][-1] is None
    del data["measures"], data["targets"]
    old = LensResult.from_dict(data)
    assert set(old.measures) == {"magnitude", "max_probability"}
    assert old.targets == ()


@pytest.mark.long
def test_a_page_of_text_on_the_demo_model(demo):
    """Against full logits of the model's own norm and head, to 1e-5."""
    model, tokenizer = demo
    page = (bauklens.__doc__ + bauklens.logit_lens.__doc__)[:600]
    token_ids = tokenizer(page)["input_ids"]
    lens = bauklens.logit_lens(model, tokenizer, page, precision="exact", measures="all")
    states = bauklens.get_hidden_states(model, tokenizer, page)[:, 0]
    with torch.no_grad():
        embedded = model.get_input_embeddings()(torch.tensor([token_ids]))
        final = model.lm_head(model.model.norm(states[-1])).double()
        for row, state in list(enumerate([embedded[0], *states]))[::6]:
            logits = model.lm_head(model.model.norm(state)).double()[None]
            for name, value in expected(logits, final[None], token_ids, range(len(token_ids))).items():
                if name != "alone":
                    found = lens.measures[name][row]
                    assert np.allclose(found, value[0], atol=1e-5, rtol=1e-6, equal_nan=True), (name, row)


@pytest.mark.parametrize("name", ["llama", "gemma2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_final_row_agrees_with_itself_where_tokens_tie(name, dtype):
    model = tiny_model(name, dtype)
    model.lm_head.weight.data.div_(4)
    torch.manual_seed(0)
    measures = bauklens.logit_lens(model, None, torch.randint(0, VOCABULARY, (60,))).measures
    assert (measures["agreement"][-1] == 1).all()
    assert (measures["overlap"][-1] == 1).all()


def test_a_head_that_leaves_tokens_out_at_the_final_scale():
    model = tiny_model("gptj")
    model.lm_head.bias.data[[5, 77]] = -torch.inf
    lens = bauklens.logit_lens(model, None, PROMPT, norm="final")
    assert not {5, 77} & set(lens.top_ids.ravel().tolist())


def test_a_token_that_the_model_never_predicts_has_no_surprisal(gpt2):
    plain = bauklens.logit_lens(gpt2, None, PROMPT, measures="all")

    def leave_out(module, inputs, output):
        output.logits = output.logits[..., : max(PROMPT)]

    pass_output_through(gpt2, leave_out)
    before = PROMPT.index(max(PROMPT)) - 1
    lens = bauklens.logit_lens(gpt2, None, PROMPT, measures="all")
    for name in ("surprisal", "rank_of_next"):
        known = np.isfinite(plain.measures[name])
        known[:, before] = False
        assert (np.isfinite(lens.measures[name]) == known).all()


def test_names_in_an_array(gpt2):
    lens = bauklens.logit_lens(gpt2, None, PROMPT, measures=np.array(["kl", "js"]))
    assert {"kl", "js"} <= set(lens.measures)


@pytest.mark.parametrize("layers", [[-1], [-1, 0], ["embed", -1, 1]])
def test_the_final_row_is_the_same_wherever_it_stands_and_alone(gpt2, layers):
    whole = bauklens.logit_lens(gpt2, None, PROMPT, measures="all", targets=[3])
    some = bauklens.logit_lens(gpt2, None, PROMPT, measures="all", targets=[3], layers=layers)
    row, place = whole.layers.index(whole.layers[-1]), some.layers.index(whole.layers[-1])
    assert np.array_equal(some.top_ids[place], whole.top_ids[row])
    assert np.array_equal(some.top_probs[place], whole.top_probs[row])
    for name, values in whole.measures.items():
        if name != "cosine_to_previous":
            assert np.allclose(some.measures[name][place], values[row], atol=1e-6, equal_nan=True), name
    assert not some.measures["kl"][place].any()
    assert np.array_equal(some.targets[0].rank[place], whole.targets[0].rank[row])
    assert some.provenance["decoding"]["precision"] == "float32"
    assert some.check["max_abs_logit_difference"] < 1e-4

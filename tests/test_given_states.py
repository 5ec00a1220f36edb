"""Vectors that come from elsewhere, read through a model's norm and head, beside plain torch."""

import numpy as np
import pytest
import torch

import bauklens
from bauklens import JacobianLens, LensError, LensResult
from tests.by_hand import TAILS, matrices
from tests.tiny import VOCABULARY, WIDTH, tiny_model


@pytest.fixture(scope="module")
def llama():
    return tiny_model("llama")


def vectors(rows=3):
    torch.manual_seed(5)
    return torch.randn(rows, WIDTH)


def require_read(result, logits):
    top = logits.float().softmax(-1).topk(result.topk)
    assert np.array_equal(result.top_ids[:, 0], top.indices)
    assert np.allclose(result.top_probs[:, 0], top.values, atol=1e-5)


@pytest.mark.parametrize("name", [*TAILS])
def test_vectors_are_read_through_the_models_norm_and_head(name):
    model, states = tiny_model(name), vectors()
    result = bauklens.decode_states(model, None, states, ["probe", "feature", "1.h0"], topk=4)
    require_read(result, TAILS[name](model, states))
    assert (result.stream, result.layers) == ("given", ("probe", "feature", "1.h0"))
    assert result.check["max_abs_logit_difference"] is not None
    assert np.allclose(result.magnitude[:, 0], states.norm(dim=-1))
    assert LensResult.from_dict(result.to_dict()) == result
    assert list(result.to_frame()["layer"][::4]) == ["probe", "feature", "1.h0"]
    assert "probe" in result.to_html()


def test_without_a_norm_and_with_targets(gpt2, tokenizer):
    states = vectors()
    result = bauklens.decode_states(gpt2, tokenizer, states, norm=None, targets=[9, {"set": [1, 2]}])
    logits = states @ gpt2.lm_head.weight.T
    require_read(result, logits)
    assert np.allclose(result.target("set").probability[:, 0], logits.softmax(-1)[:, 1:3].sum(-1), atol=1e-6)
    assert result.layers == ("0", "1", "2")


@pytest.mark.parametrize(
    "states", [vectors(1), vectors(1)[0], vectors(1).numpy(), vectors(1).double().numpy(), vectors(1).tolist()]
)
def test_any_numbers_will_do(gpt2, states):
    plain = bauklens.decode_states(gpt2, None, vectors(1))
    assert np.allclose(bauklens.decode_states(gpt2, None, states).top_probs, plain.top_probs, atol=1e-6)


def test_a_model_in_bfloat16():
    model = tiny_model("llama").bfloat16()
    require_read(bauklens.decode_states(model, None, vectors(), topk=1), TAILS["llama"](model, vectors().bfloat16()))


def test_the_layer_says_which_map_is_used(llama):
    maps, states = matrices(), vectors()
    decoder, tail = JacobianLens(maps), TAILS["llama"]
    one = bauklens.decode_states(llama, None, states, decoder=decoder, layer=1)
    require_read(one, tail(llama, states @ maps["1"].T))
    assert one.notes[-1].startswith("Each row is a given vector, read as a state of layer 1.")
    mixed = bauklens.decode_states(llama, None, states, decoder=decoder, layer=["embed", 1, -1])
    mapped = torch.stack([maps["embed"] @ states[0], maps["1"] @ states[1], states[2]])
    require_read(mixed, tail(llama, mapped))
    require_read(bauklens.decode_states(llama, None, states, layer=1), tail(llama, states))
    last = bauklens.decode_states(llama, None, states, decoder=decoder, layer="2")
    require_read(last, tail(llama, states))


def test_the_rows_of_a_lens_are_read_as_the_lens_reads_them(llama):
    decoder = JacobianLens(matrices())
    states = bauklens.get_hidden_states(llama, None, [5, 7, 9])[:, 0, -1]
    lens = bauklens.logit_lens(llama, None, [5, 7, 9], decoder=decoder, positions=-1, layers=[0, 1, 2])
    result = bauklens.decode_states(llama, None, states, decoder=decoder, layer=[0, 1, 2], topk=5)
    assert np.array_equal(result.top_ids, lens.top_ids)
    assert np.allclose(result.top_probs, lens.top_probs, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"states": torch.ones(3, WIDTH + 1)}, rf"of shape \(row, {WIDTH}\), .* got shape \(3, {WIDTH + 1}\)"),
        ({"states": torch.ones(2, 3, WIDTH)}, r"got shape \(2, 3, 32\)"),
        ({"states": torch.ones(0, WIDTH)}, r"got shape \(0, 32\)"),
        ({"states": torch.ones(2, WIDTH).bool()}, "got Tensor"),
        ({"states": "vector"}, "got str"),
        ({"states": None}, "got NoneType"),
        ({"states": torch.full((2, WIDTH), torch.nan)}, "row 0 of the states contains NaN or infinity"),
        ({"labels": ["a"]}, "there are 3 rows of states and 1 labels"),
        ({"labels": ["a", "b", "a"]}, "the label 'a' is given twice"),
        ({"labels": [1, 2, 3]}, "labels must be texts"),
        ({"decoder": JacobianLens({"1": torch.eye(WIDTH)})}, "pass layer=, the layer of the vectors"),
        ({"decoder": JacobianLens({"1": torch.eye(WIDTH)}), "layer": 0}, "has no map for layer 0"),
        ({"layer": 9}, "unknown layer 9"),
        ({"layer": [0, 1]}, "there are 3 rows of states and 2 layers"),
        ({"layer": [None, 0, 1]}, "layer is None: pass one layer"),
        ({"layer": [[0, 1], 0, 1]}, r"layer is \[0, 1\]: pass one layer"),
        ({"decoder": [None, "demo"]}, "decode_states takes one decoder"),
        ({"norm": "final"}, "unknown norm 'final'"),
        ({"topk": 0}, "topk is 0"),
        ({"targets": VOCABULARY}, "is not a token id"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(llama, given, message):
    with pytest.raises(LensError, match=message) as caught:
        bauklens.decode_states(llama, None, **{"states": vectors(), **given})
    assert "\n" not in str(caught.value)

"""A quantized model's lens is what hooks, its own norm and its own head give; what cannot be read is one clear line."""

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip(
    "torchao", reason="scripts/test_quantized runs these: the libraries write to every command's output"
)

import bauklens
from bauklens import LensError
from bauklens.lens.inspection import describe
from bauklens.model.post_ops import is_readable
from bauklens.model.weights import has_packed
from tests.quantized import CONFIGS, WAYS, plain_model, quantized_model
from tests.tiny import block_list

PROMPT = [7, 301, 44, 5, 5, 118, 260, 9, 77, 13]
PROMPTS = [PROMPT, [5, 6, 7, 8, 9, 10, 11], [300, 2, 1, 4, 4, 4, 9, 8, 7, 6]]
TEXTS = [[(7 * text + 3 * place * place) % 320 for place in range(40)] for text in range(12)]
PACKED = [way for way in WAYS if way.split()[0] in ("torchao", "bitsandbytes")]

pytestmark = pytest.mark.filterwarnings("default")  # the libraries' own, of what torch will drop


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


@pytest.fixture(params=CONFIGS)
def model(request, way):
    return quantized_model(request.param, way)


def final_norm(model):
    return model.base_model.norm if hasattr(model.base_model, "norm") else model.base_model.ln_f


def states_of(model, prompt=PROMPT):
    """Stream -> (layer, position, hidden), by hooks."""
    found = {name: [] for name in ("before", "attention", "mlp", "hidden")}

    def keep(name):
        return lambda _module, _inputs, output: found[name].append(
            (output[0] if isinstance(output, tuple) else output).clone()
        )

    hooks = []
    for block in block_list(model):
        attention = block.self_attn if hasattr(block, "self_attn") else block.attn
        hooks += [attention.register_forward_hook(keep("attention")), block.mlp.register_forward_hook(keep("mlp"))]
        hooks.append(block.register_forward_pre_hook(lambda _module, inputs: found["before"].append(inputs[0].clone())))
        hooks.append(block.register_forward_hook(keep("hidden")))
    with torch.no_grad():
        model(input_ids=torch.tensor([prompt]), use_cache=False)
    for hook in hooks:
        hook.remove()
    found = {name: torch.cat(each) for name, each in found.items()}
    found |= {"delta": found["hidden"] - found["before"], "mid": found["before"] + found["attention"]}
    return found


def probabilities(model, states, norm=None):
    """(layer, position, vocabulary), by the model's own modules."""
    with torch.no_grad():
        return torch.stack([model.lm_head((norm or final_norm(model))(each[None]))[0] for each in states]).softmax(-1)


def assert_shows(lens, expected, atol=1e-5):
    """The last rows of a lens, beside which it may have that of the embedding."""
    ids, shown = lens.top_ids[-len(expected) :], lens.top_probs[-len(expected) :]
    assert np.allclose(np.take_along_axis(expected.numpy(), ids, -1), shown, atol=atol)
    assert np.allclose(expected.sort(descending=True).values[..., : ids.shape[-1]], shown, atol=atol)


def tried(call):
    """What it returns, and None; or None, and the one line that says why not."""
    try:
        return call(), None
    except LensError as error:
        return None, str(error)


def test_every_stream(model):
    states = states_of(model)
    streams = ["hidden", "delta", "attention", "mlp", "mid"]
    for name, lens in zip(streams, bauklens.logit_lens(model, None, PROMPT, stream=streams), strict=True):
        assert lens.provenance["decoding"]["by"].startswith("replay")
        assert lens.provenance["decoding"]["precision"] == "float32"
        assert_shows(lens, probabilities(model, states[name]))


def test_its_head_is_not_read_as_weights(model):
    assert not is_readable(model.lm_head)


@pytest.mark.slow
def test_prompts_measures_targets_and_norms(model):
    for prompt, lens in zip(PROMPTS, bauklens.logit_lens(model, None, PROMPTS), strict=True):
        assert_shows(lens, probabilities(model, states_of(model, prompt)["hidden"]))
    states = states_of(model)["hidden"]
    expected = probabilities(model, states)
    lens = bauklens.logit_lens(model, None, PROMPT, measures=["entropy", "kl", "js"], targets=[7, 44])
    logs = expected.clamp_min(1e-30).log()
    assert np.allclose(lens.measures["entropy"][1:], -(expected * logs).sum(-1), atol=1e-4)
    assert np.allclose(lens.measures["kl"][1:], (expected[-1] * (logs[-1] - logs)).sum(-1), atol=1e-4)
    followed = np.stack([each.probability for each in lens.targets], axis=-1)
    assert np.allclose(followed[1:], expected[..., [7, 44]], atol=1e-5)
    assert_shows(bauklens.logit_lens(model, None, PROMPT, norm=None), probabilities(model, states, nn.Identity()))


@pytest.mark.slow
def test_the_norm_at_its_final_scale(model, way):
    norm, states = final_norm(model), states_of(model)["hidden"]
    spread = states - states.mean(-1, keepdim=True) if isinstance(norm, nn.LayerNorm) else states
    epsilon = norm.eps if isinstance(norm, nn.LayerNorm) else norm.variance_epsilon
    scale = (spread.square().mean(-1, keepdim=True) + epsilon).sqrt()
    with torch.no_grad():
        frozen = (norm(states) - norm(torch.zeros_like(states))) * scale / scale[-1]
        expected = torch.stack([model.lm_head(each[None])[0] for each in frozen]).softmax(-1)
    rounds = "too" in way or "rounds" in way  # so that a last digit of the norm can make a whole step
    assert_shows(bauklens.logit_lens(model, None, PROMPT, norm="final"), expected, 0.05 if rounds else 1e-5)


@pytest.mark.slow
def test_an_edit(model):
    def halved(output, _layer):
        return (output[0] / 2, *output[1:]) if isinstance(output, tuple) else output / 2

    lens = bauklens.logit_lens(model, None, PROMPT, edit_output=halved)
    hooks = [block.register_forward_hook(lambda _m, _i, output: halved(output, 0)) for block in block_list(model)]
    expected = probabilities(model, states_of(model)["hidden"])
    for hook in hooks:
        hook.remove()
    assert_shows(lens, expected)


@pytest.mark.slow
def test_what_it_generates_and_what_inspect_says(model):
    lens = bauklens.logit_lens(model, None, PROMPT, max_new_tokens=3)
    with torch.no_grad():
        own = model.generate(torch.tensor([PROMPT]), max_new_tokens=3, do_sample=False, pad_token_id=0)[0].tolist()
    assert lens.token_ids.tolist() == own
    said = dict(describe(model, None, ""))
    assert said["decoding"] == "through the model's own forward, to the logits"
    assert said["parameters"].endswith("packed") == has_packed(model)


def test_its_neurons_are_right_or_one_clear_line(model):
    mlp, writes = block_list(model)[1].mlp, []
    projection = mlp.down_proj if hasattr(mlp, "down_proj") else mlp.c_proj
    hook = projection.register_forward_hook(lambda _m, inputs, output: writes.append((inputs[0], output)))
    with torch.no_grad():
        model(input_ids=torch.tensor([PROMPT]), use_cache=False)
    hook.remove()
    found, refusal = tried(lambda: bauklens.top_neurons(model, None, PROMPT, layer=1, position=-1, k=64))
    if refusal:
        name = "model.layers.1.mlp.down_proj" if hasattr(mlp, "down_proj") else "transformer.h.1.mlp.c_proj"
        assert f"the weights of {name} ({type(projection).__name__}) cannot be read" in refusal
        return
    given, written = writes[0][0][0, -1], writes[0][1][0, -1]
    with torch.no_grad():
        alone = torch.diag(given)  # each neuron by itself
        each = projection(alone) - projection(torch.zeros_like(alone))
    assert torch.allclose(each.sum(0) + projection(torch.zeros_like(alone))[0], written, atol=1e-4)
    assert np.allclose(found.contributions, each.norm(dim=-1)[torch.tensor(found.neurons)], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_the_nearest_tokens(model):
    found = bauklens.nearest_tokens(model, None, PROMPT)
    with torch.no_grad():
        own = model.lm_head(model.get_input_embeddings()(torch.tensor([PROMPT])))[0].topk(10)
    assert np.allclose(found.scores, own.values, rtol=1e-4, atol=1e-4)
    found, refusal = tried(lambda: bauklens.nearest_tokens(model, None, PROMPT, metric="cosine"))
    assert found is not None or "the weights of lm_head" in refusal


@pytest.mark.parametrize("way", [way for way in WAYS if way.startswith("torchao")])
def test_a_model_that_is_quantized_between_two_lenses(way):
    model = plain_model("llama")
    assert bauklens.logit_lens(model, None, PROMPT).provenance["decoding"]["by"] == "product"
    WAYS[way](model)
    assert_shows(bauklens.logit_lens(model, None, PROMPT), probabilities(model, states_of(model)["hidden"]))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ridge", "tuned", "jacobian", "jacobian-mean-field"])
def test_a_fit_works_or_says_why_not(way, method):
    model = quantized_model("llama", way)
    asked = {"tokens": 120, "length": 32, "skip_first": 2} | ({"steps": 2} if method == "tuned" else {})
    decoder, refusal = tried(lambda: bauklens.fit_decoder(model, None, TEXTS, method=method, **asked))
    if refusal:
        assert method != "ridge"
        assert "\n" not in refusal
        return
    lens = bauklens.logit_lens(model, None, PROMPT, decoder=decoder)
    row, bias = lens.layers.index("0"), decoder.bias("0")
    mapped = states_of(model)["hidden"][0] @ decoder.matrix("0").T + (0 if bias is None else bias.float())
    with torch.no_grad():
        logits = model.lm_head(final_norm(model)(mapped[None]))[0] / decoder.temperatures.get("0", 1.0)
    rounds = "too" in way or "rounds" in way or way.startswith(("torch.ao", "compressed-tensors"))
    shown = np.take_along_axis(logits.softmax(-1).numpy(), lens.top_ids[row], -1)
    assert np.allclose(shown, lens.top_probs[row], atol=0.05 if rounds else 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["torchao int8, activations too", "torchao int4, activations too"])
def test_a_jacobian_of_half_its_parts_is_refused_in_bfloat16_too(way):
    """Where differences are rounding, and show nothing."""
    model = WAYS[way](plain_model("llama").bfloat16())
    with pytest.raises(LensError, match=r"not those of its forward pass: .* \(Linear\) passes none on"):
        bauklens.fit_decoder(model, None, TEXTS, tokens=120, length=32, skip_first=2)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["a packed module", "compressed-tensors W4A16", *PACKED])
def test_a_decoder_goes_from_a_model_to_its_quantized_self_and_back(way, tmp_path):
    asked = {"method": "ridge", "tokens": 120, "length": 32, "skip_first": 2}
    plain, model = plain_model("llama"), quantized_model("llama", way)
    for fitted, read in ((plain, model), (model, plain)):
        bauklens.fit_decoder(fitted, None, TEXTS, **asked).save(tmp_path / "decoder.safetensors")
        decoder = bauklens.load_decoder(tmp_path / "decoder.safetensors")
        assert bauklens.logit_lens(read, None, PROMPT, decoder=decoder).layers

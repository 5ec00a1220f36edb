"""No result depends on ``torch.set_default_dtype`` and ``torch.set_default_device``."""

import ast
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import bauklens
from tests.tiny import tiny_model

PACKAGE = Path(bauklens.__file__).parent
PROMPT = [7, 301, 44, 5, 5, 118, 260, 9, 77, 13]
TEXTS = [[(7 * text + 3 * place * place) % 320 for place in range(40)] for text in range(12)]
STREAMS = ["hidden", "delta", "attention", "mlp", "mid"]

FACTORIES = {"arange", "as_tensor", "empty", "eye", "full", "linspace", "normal", "ones", "rand", "randint", "randn"}
FACTORIES |= {"randperm", "scalar_tensor", "tensor", "zeros"}
FLOATS = {"empty", "eye", "full", "linspace", "normal", "ones", "rand", "randn", "scalar_tensor", "zeros"}


@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


DEFAULTS = {
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "float64": lambda: default_dtype(torch.float64),
    "meta": lambda: default_device("meta"),  # a tensor that is made there has no numbers
}


@pytest.fixture(params=DEFAULTS)
def other_default(request):
    return DEFAULTS[request.param]


def assert_same(one, other):
    one, other = one.to_dict(), other.to_dict()
    for told in (one, other):
        del told["provenance"]["date"]
    assert one == other


def test_every_tensor_is_made_with_a_dtype_and_a_device():
    unsaid, seen = [], 0
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if ast.unparse(node.func.value) != "torch" or node.func.attr not in FACTORIES:
                continue
            seen += 1
            given = {each.arg for each in node.keywords}
            needed = {"device"} | ({"dtype"} if node.func.attr in FLOATS else set())
            if not needed <= given:
                unsaid.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: torch.{node.func.attr}")
    assert seen > 50
    assert not unsaid


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_a_lens(other_default, name, dtype):
    model = tiny_model(name, dtype)
    asked = {"stream": STREAMS, "measures": list(bauklens.MEASURES), "targets": [7, 44]}
    expected = bauklens.logit_lens(model, None, PROMPT, **asked)
    several = bauklens.logit_lens(model, None, [PROMPT, PROMPT[:6]])
    final = bauklens.logit_lens(model, None, PROMPT, norm="final")
    with other_default():
        for one, other in zip(expected, bauklens.logit_lens(model, None, PROMPT, **asked), strict=True):
            assert_same(one, other)
        for one, other in zip(several, bauklens.logit_lens(model, None, [PROMPT, PROMPT[:6]]), strict=True):
            assert_same(one, other)
        assert_same(final, bauklens.logit_lens(model, None, PROMPT, norm="final"))


def test_two_models_neurons_and_tokens(other_default):
    model, other = tiny_model("llama"), tiny_model("llama", seed=1)

    def found():
        neurons = bauklens.top_neurons(model, None, PROMPT, layer=1, position=-1)
        tokens = bauklens.nearest_tokens(model, None, PROMPT, metric="cosine")
        apart = bauklens.compare_models(model, other, None, PROMPT)
        return neurons.contributions, tokens.scores, *apart.measures.values()

    expected = found()
    with other_default():
        assert all(np.array_equal(one, other) for one, other in zip(expected, found(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["jacobian", "jacobian-mean-field", "ridge", "tuned"])
@pytest.mark.parametrize("default", ["bfloat16", "meta"])
def test_a_fit_and_its_lens(default, method, tmp_path):
    model = tiny_model("llama")
    asked = {"method": method, "tokens": 200, "length": 32, "skip_first": 2}
    asked |= {"steps": 4} if method == "tuned" else {}
    expected = bauklens.fit_decoder(model, None, TEXTS, **asked)
    lens = bauklens.logit_lens(model, None, PROMPT, decoder=expected)
    scores = bauklens.score_decoder(expected, model, None, TEXTS[:4], causal=2)
    with DEFAULTS[default]():
        decoder = bauklens.fit_decoder(model, None, TEXTS, checkpoint=tmp_path / "fit.safetensors", **asked)
        decoder.save(tmp_path / "decoder.safetensors")
        loaded = bauklens.load_decoder(tmp_path / "decoder.safetensors")
        again = bauklens.logit_lens(model, None, PROMPT, decoder=loaded)
        scored = bauklens.score_decoder(decoder, model, None, TEXTS[:4], causal=2)
    for label in expected.layers:
        assert torch.equal(expected.matrix(label), decoder.matrix(label))
        assert decoder.matrix(label).dtype == torch.float32
    assert np.array_equal(lens.top_probs, again.top_probs)
    for name, values in scores.value[expected.name].items():
        assert np.array_equal(values, scored.value[decoder.name][name], equal_nan=True)


def test_a_map_is_float32_whatever_is_the_default(other_default):
    decoder = bauklens.TunedLens({"0": torch.ones(4, 4)}, {"0": torch.ones(4)})
    with other_default():
        assert torch.equal(decoder.matrix(0), torch.ones(4, 4, device="cpu", dtype=torch.float32).add(eye(4)))


def eye(size):
    return torch.eye(size, dtype=torch.float32, device="cpu")

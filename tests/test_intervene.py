"""What a model says after edits and their controls: all at once as one after another."""

import sys

import numpy as np
import pytest
import torch

import bauklens
from bauklens import LensError, edits
from bauklens.edits import side_by_side
from tests.tiny import PROMPT, WIDTH, pass_output_through, tiny_model

ONE, OTHER = 44, 118
KINDS = {
    "swap": lambda **at: edits.swap(None, ONE, OTHER, **at),
    "steer": lambda **at: edits.steer(None, ONE, **at),
    "ablate": lambda **at: edits.ablate(None, [ONE, OTHER], **at),
    "ablate top": lambda **at: edits.ablate_top(None, k=3, **at),
    "add": lambda **at: edits.add(torch.linspace(-1, 1, WIDTH), **at),
    "a sum": lambda **at: edits.swap(None, ONE, OTHER, **at) + edits.steer(None, ONE, strength=0.5, layers=2),
    "nothing": lambda **at: edits.steer(None, ONE, strength=0, **at),
}
PLACES = {
    "hidden": {"layers": [0, 1]},
    "embed": {"layers": ["embed"]},
    "mlp at some positions": {"layers": 1, "where": "mlp", "positions": [2, -1]},
    "attention": {"layers": 1, "where": "attention"},
    "mid": {"layers": 1, "where": "mid"},
    "a head": {"layers": 1, "where": 2},
}


@pytest.fixture
def llama():
    return tiny_model("llama")


def controls_of(model, edit, count, seed=0, prompt=PROMPT):
    """(control, target), and (control,): probabilities of some tokens, and the most probable ones."""
    found = bauklens.intervene(model, None, prompt, edit, targets=[ONE, OTHER, 7], controls=count, seed=seed)
    return found.probability["control"][:, 0], found.top["control"][:, 0]


def assert_as_one_after_another(model, edit, count):
    """A control that is the only one has no other to run beside."""
    each = [controls_of(model, edit, 1, seed=number) for number in range(count)]
    together = controls_of(model, edit, count)
    probabilities, tops = (np.concatenate(found) for found in zip(*each, strict=True))
    assert np.allclose(together[0], probabilities, rtol=1e-4, atol=1e-8)
    assert np.array_equal(together[1], tops)
    return together[0]


def batches_of(model, change=lambda output: None):
    """The sizes of the batches that the model runs from now on; what its first MLP gives to a batch can be changed."""
    sizes = []

    def see(_module, _inputs, output):
        if output.dim() == 3 and output.shape[1] == len(PROMPT):
            sizes.append(len(output))
        return change(output)

    pass_output_through(model.model.layers[0].mlp.down_proj, see)
    return sizes


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_controls_at_once_are_those_one_after_another(llama, kind, place):
    at = PLACES[place]
    if place == "embed" and kind == "ablate top":
        at = {"layers": [0]}
    found = assert_as_one_after_another(llama, KINDS[kind](**at), 4)
    assert (len(np.unique(found, axis=0)) == 1) == (kind == "nothing")


@pytest.mark.parametrize("name", ["gpt2", "gptj", "gemma2", "bloom"])
def test_of_any_model(name):
    assert_as_one_after_another(tiny_model(name), KINDS["swap"](layers=[0, 2]), 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_in_any_dtype(dtype):
    model = tiny_model("llama", dtype)
    each = [controls_of(model, KINDS["steer"](layers=1), 1, seed=number)[0] for number in range(3)]
    together = controls_of(model, KINDS["steer"](layers=1), 3)[0]
    assert np.allclose(together, np.concatenate(each), rtol=0.1 if dtype == torch.bfloat16 else 1e-9)


def test_they_run_in_one_forward_pass_with_a_copy_that_is_left_as_it_is(llama):
    controls_of(llama, KINDS["swap"](layers=1), 2)  # its parts have been found
    sizes = batches_of(llama)
    controls_of(llama, KINDS["swap"](layers=1), 6)
    assert sizes.count(7) == 1
    assert set(sizes) == {1, 7}


def test_a_long_prompt_has_fewer_copies_at_once(llama, monkeypatch):
    sizes = batches_of(llama)
    monkeypatch.setattr(side_by_side, "POSITIONS", 4 * len(PROMPT))
    controls_of(llama, KINDS["swap"](layers=1), 7)
    assert [size for size in sizes if size > 1] == [4, 4]  # and one by itself


@pytest.mark.parametrize("error", [None, RuntimeError("a single prompt, please"), IndexError("no")])
def test_a_model_that_runs_batches_otherwise_runs_one_after_another(llama, error):
    """As experts do that take only so many tokens, or code that was written for one prompt."""
    expected = controls_of(llama, KINDS["swap"](layers=1), 3)

    def change(output):
        if len(output) > 1 and error:
            raise error
        return 1.5 * output if len(output) > 1 else output

    sizes = batches_of(llama, change)
    found = controls_of(llama, KINDS["swap"](layers=1), 3)
    assert np.allclose(found[0], expected[0], rtol=1e-5)
    assert [size for size in sizes if size > 1] == [4]


def test_when_memory_runs_out_there_are_half_as_many_copies(llama):
    expected = controls_of(llama, KINDS["swap"](layers=1), 6)

    def change(output):
        if len(output) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return output

    sizes = batches_of(llama, change)
    assert np.allclose(controls_of(llama, KINDS["swap"](layers=1), 6)[0], expected[0], rtol=1e-4)
    assert [size for size in sizes if size > 1] == [7, 4, 4]


def test_a_hook_of_the_caller_sees_one_prompt_at_a_time(llama):
    sizes = []
    block = llama.model.layers[0]
    handle = block.mlp.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    expected = controls_of(llama, KINDS["swap"](layers=1), 3)
    handle.remove()
    assert set(sizes) == {1}
    assert np.allclose(controls_of(llama, KINDS["swap"](layers=1), 3)[0], expected[0], rtol=1e-4)


def test_a_control_that_breaks_the_model_is_named(llama):
    with pytest.raises(LensError, match=r"an edit at layer 1: steer.*pass a smaller strength"):
        controls_of(llama, edits.steer(None, ONE, strength=1e39, layers=1), 3)


@pytest.mark.parametrize("controls", [0, 1, 7])
@pytest.mark.parametrize("wanted", [3, -1])
def test_a_result_is_shown_as_pandas_would_show_it_but_without_it(controls, wanted, monkeypatch):
    drawn = np.random.default_rng(controls)
    top = {"clean": np.array([1, 2]), "edited": np.array([3, 3]), "control": drawn.integers(1, 4, (controls, 2))}
    found = bauklens.Intervention(
        "made",
        ("a", "b"),
        ([], []),
        ((" x", " <y>"),) * 2,
        np.array([wanted, wanted]),
        top,
        {"clean": np.full((2, 2), 0.5), "edited": drawn.random((2, 2)), "control": drawn.random((controls, 2, 2))},
        {1: "a", 2: "b", 3: "c"},
    )
    table = found.summary().round(3).to_string()
    assert found.to_frame().shape == (2 * (2 + controls), 5)
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert repr(found).partition("\n")[2] == table
    assert "<th>p(&#39; &lt;y&gt;&#39;)</th>" in found._repr_html_()
    with pytest.raises(bauklens.LensError, match="pip install pandas"):
        found.summary()

"""One contract for our TraceDict and, where it can be imported, baukit's; and the three defects that ours has not."""

import subprocess
import sys
from collections import namedtuple
from contextlib import suppress

import pytest
import torch
from torch import nn

from bauklens.model import guard, tracedict, tracing
from tests.tiny import PROMPT, block_list, hook_count, tiny_model

try:
    from baukit import TraceDict as BaukitTraceDict
except Exception as error:  # baukit fails to import in many ways
    BaukitTraceDict = None
    REASON = f"baukit does not import here: {error!r}"
else:
    REASON = ""

Pair = namedtuple("Pair", "state rest")


@pytest.fixture(
    params=[
        pytest.param(tracedict.TraceDict, id="ours"),
        pytest.param(BaukitTraceDict, id="baukit", marks=pytest.mark.skipif(BaukitTraceDict is None, reason=REASON)),
    ]
)
def trace_dict(request):
    return request.param


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2))


def test_outputs_are_those_of_the_modules_in_the_order_asked_for(trace_dict, layers):
    given = torch.ones(1, 3)
    with trace_dict(layers, ["2", "0", "2"]) as seen:
        returned = layers(given)
    assert list(seen) == ["2", "0"]
    assert seen["2"].output is returned
    assert torch.equal(seen["0"].output, layers[0](given))
    assert hook_count(layers) == 0


def test_inputs_are_kept_where_asked_for(trace_dict, layers):
    given = torch.ones(1, 3)
    with trace_dict(layers, ["0", "1"], retain_output=False, retain_input={"0": True}) as seen:
        layers(given)
    assert seen["0"].input is given
    assert not hasattr(seen["0"], "output")
    assert not hasattr(seen["1"], "input")


@pytest.mark.parametrize(
    "edit",
    [
        lambda output, layer: output + int(layer),
        lambda layer, output: output + int(layer),
        lambda returned, name: returned + int(name),
        lambda output, layer, inputs: output + int(layer) * len(inputs),
    ],
    ids=["by name", "other order", "other names", "with inputs"],
)
def test_an_edit_is_what_the_model_goes_on_with_and_what_is_kept(trace_dict, layers, edit):
    plain = layers(torch.ones(1, 3))
    with trace_dict(layers, ["2"], edit_output=edit) as seen:
        edited = layers(torch.ones(1, 3))
    assert torch.allclose(edited, plain + 2)
    assert torch.equal(seen["2"].output, edited)


def test_clone_and_detach(trace_dict, layers):
    with trace_dict(layers, ["0"], clone=True, detach=True) as seen:
        layers(torch.ones(1, 3))
    assert not seen["0"].output.requires_grad
    assert seen["0"].output.grad_fn is None


def test_retained_gradients(trace_dict, layers):
    with trace_dict(layers, ["0"], retain_grad=True) as seen:
        layers(torch.ones(1, 3)).sum().backward()
    assert torch.allclose(seen["0"].output.grad, (layers[1].weight.T @ layers[2].weight.sum(0))[None])


def test_stop_ends_the_forward_pass_after_the_last_layer_named(trace_dict, layers):
    ran = []
    layers[2].register_forward_hook(lambda *_: ran.append("2"))
    with trace_dict(layers, ["0", "1"], stop=True) as seen:
        layers(torch.ones(1, 3))
        ran.append("went on")
    assert ran == []
    assert torch.equal(seen["1"].output, layers[1](layers[0](torch.ones(1, 3))))


def test_hooks_are_gone_after_an_error(trace_dict, layers):
    with pytest.raises(RuntimeError), trace_dict(layers, ["0", "1"]):
        layers(torch.ones(1, 7))
    assert hook_count(layers) == 0


def test_an_unknown_name_is_a_lookup_error(trace_dict, layers):
    with pytest.raises(LookupError, match="nine"):
        trace_dict(layers, ["nine"])


def test_a_real_model(trace_dict):
    model = tiny_model("gptj")
    names = [f"transformer.h.{layer}" for layer in range(3)]
    with torch.no_grad():
        plain = model(torch.tensor([PROMPT])).logits
        with trace_dict(model, ["transformer.drop", *names]) as seen:
            traced = model(torch.tensor([PROMPT])).logits
    assert torch.equal(plain, traced)
    assert seen["transformer.drop"].output.shape == (1, len(PROMPT), 32)
    outputs = [seen[name].output for name in names]  # a tuple each until transformers 5.24
    assert all((each[0] if isinstance(each, tuple) else each).shape == (1, len(PROMPT), 32) for each in outputs)


class TestOurs:
    def test_hooks_are_set_on_entry_and_an_unknown_name_leaves_none(self, layers):
        with pytest.raises(LookupError, match="the nearest: "):
            tracedict.TraceDict(layers, ["0", "1", "22"])
        seen = tracedict.TraceDict(layers, ["0", "1"])
        assert hook_count(layers) == 0
        with seen:
            assert hook_count(layers) == 2
        assert hook_count(layers) == 0

    def test_stop_without_a_stop_leaves_quietly(self, layers):
        with tracedict.TraceDict(layers, ["0"], stop=True) as seen:
            pass
        assert not hasattr(seen["0"], "output")

    def test_an_edit_may_take_anything(self, layers):
        given = []
        with tracedict.TraceDict(layers, ["0"], edit_output=lambda *values, layer: given.append((layer, *values))):
            layers[0](torch.ones(1, 3))
        assert given[0][0] == "0"
        assert len(given[0]) == 3

    def test_a_real_error_is_not_swallowed_by_stop(self, layers):
        with pytest.raises(ZeroDivisionError), tracedict.TraceDict(layers, ["0"], stop=True):
            1 / 0  # noqa: B018

    def test_named_tuples_and_none_are_detached(self):
        class Named(nn.Module):
            def forward(self, state):
                return Pair(state * 2, {"inner": [state, None]})

        model = nn.Sequential(Named())
        with tracedict.TraceDict(model, ["0"], detach=True, clone=True) as seen:
            returned = model(torch.ones(2, requires_grad=True))
        kept = seen["0"].output
        assert isinstance(kept, Pair)
        assert kept.rest["inner"][1] is None
        assert torch.equal(kept.state, returned.state)
        assert not kept.state.requires_grad
        assert returned.state.requires_grad


@pytest.mark.skipif(BaukitTraceDict is None, reason=REASON)
class TestBaukits:
    """Where it differs from ours, which our code has to allow for."""

    def test_hooks_are_set_in_the_constructor_and_an_unknown_name_leaves_the_earlier_ones(self, layers):
        with pytest.raises(LookupError):
            BaukitTraceDict(layers, ["0", "1", "22"])
        assert hook_count(layers) == 2

    def test_stop_without_a_stop_is_a_type_error(self, layers):
        with pytest.raises(TypeError, match="issubclass"), BaukitTraceDict(layers, ["0"], stop=True):
            pass
        assert hook_count(layers) == 0

    def test_a_module_has_the_first_of_its_names_only(self, layers):
        layers.append(layers[0])
        with pytest.raises(LookupError):
            BaukitTraceDict(layers, ["3"])

    def test_named_tuples_cannot_be_detached(self):
        class Named(nn.Module):
            def forward(self, state):
                return Pair(state, state)

        model = nn.Sequential(Named())
        with pytest.raises(TypeError), BaukitTraceDict(model, ["0"], detach=True):
            model(torch.ones(2))
        assert hook_count(model) == 0


@pytest.mark.slow  # it starts a process
@pytest.mark.parametrize("failure", ["RuntimeError('operator torchvision::nms does not exist')", "ImportError('no')"])
def test_ours_is_used_where_baukit_fails_to_import_and_a_debug_line_says_so(tmp_path, failure):
    (tmp_path / "baukit.py").write_text(f"raise {failure}")
    program = (
        f"import sys, logging; sys.path.insert(0, {str(tmp_path)!r}); logging.basicConfig(level='DEBUG')\n"
        "import bauklens, bauklens.model.tracedict; assert bauklens.TraceDict is bauklens.model.tracedict.TraceDict"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [line for line in ran.stderr.splitlines() if "bauklens.model.tracing" in line] == [
        f"DEBUG:bauklens.model.tracing:tracing with bauklens' own TraceDict, as baukit does not import: {failure}"
    ]


@pytest.mark.slow  # it starts a process
def test_baukits_is_used_where_it_imports_and_a_debug_line_says_so(tmp_path):
    (tmp_path / "baukit.py").write_text("class TraceDict: pass")
    program = (
        f"import sys, logging; sys.path.insert(0, {str(tmp_path)!r}); logging.basicConfig(level='DEBUG')\n"
        "import baukit, bauklens; assert bauklens.TraceDict is baukit.TraceDict"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "DEBUG:bauklens.model.tracing:tracing with baukit's TraceDict" in ran.stderr.splitlines()


@pytest.mark.skipif(BaukitTraceDict is None, reason=REASON)
def test_the_real_baukits_is_used():
    assert tracing.TraceDict is BaukitTraceDict


def test_swapped_modules_are_back_after_an_interrupt(gpt2):
    before = list(block_list(gpt2))
    with suppress(KeyboardInterrupt), guard.swapped(gpt2, {"transformer.h.1": nn.Identity()}):
        assert isinstance(gpt2.transformer.h[1], nn.Identity)
        raise KeyboardInterrupt
    assert list(block_list(gpt2)) == before


def test_evaluating_gives_every_module_its_mode_back(gpt2):
    gpt2.train()
    gpt2.transformer.drop.eval()
    for in_place in (False, True):
        with guard.evaluating(gpt2, in_place=in_place) as running:
            assert (running is gpt2) == in_place
            assert not any(module.training for module in running.modules())
            assert gpt2.training == (not in_place)
            assert not torch.is_grad_enabled()
    assert gpt2.training
    assert not gpt2.transformer.drop.training
    assert torch.is_grad_enabled()

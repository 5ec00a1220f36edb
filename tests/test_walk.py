"""Every module of a model, as torch itself finds them."""

import pytest
from torch import nn

from bauklens.model.walk import modules_of, named_modules_of
from tests.tiny import tiny_model


def shared():
    one = nn.Linear(2, 2)
    return nn.ModuleDict({"a": nn.Sequential(one, nn.ReLU(), one), "b": one, "c": nn.ModuleList([nn.ModuleList()])})


@pytest.mark.parametrize("model", [nn.ReLU(), shared(), tiny_model("llama"), tiny_model("gpt2")])
def test_they_are_those_of_torch_in_its_order(model):
    assert named_modules_of(model) == list(model.named_modules())
    assert modules_of(model) == list(model.modules())
    assert named_modules_of(model, under_each_name=True) == list(model.named_modules(remove_duplicate=False))


def test_a_place_that_is_empty():
    model = nn.Sequential(nn.ReLU(), nn.ReLU())
    model.register_module("nothing", None)
    assert named_modules_of(model) == list(model.named_modules())

"""The Jensen-Shannon divergence of rows in every precision, beside float64."""

from itertools import product

import numpy as np
import pytest
import torch

import bauklens
from bauklens.decode import compiled
from bauklens.decode.cpu import has_int8
from bauklens.decode.low_head import NATS, LowPrecisionHead
from bauklens.decode.reading import Reading, Reference
from tests.test_rounding import FAMILIES, in_float64, made

ROWS, VOCABULARY = 9, 5_003


@pytest.fixture(params=["torch", "numba"], autouse=True)
def summed_with(request, monkeypatch):
    monkeypatch.setattr(compiled, "READ_BEFORE", -1 if request.param == "numba" else 10**9)
    return request.param


def in_double(own, rows):
    """(row,), straight from the definition, of logits."""
    p, q = own.double().softmax(-1), rows.double().softmax(-1)
    mean = (p + q) / 2
    return (torch.special.xlogy(p, p / mean) + torch.special.xlogy(q, q / mean)).nan_to_num(0).sum(-1) / 2


def logits(spread, apart):
    """What the model says, and rows that are further and further from it."""
    generator = torch.Generator().manual_seed(0)
    own = spread * torch.randn(ROWS, VOCABULARY, generator=generator)
    return own, own + apart * torch.linspace(0, 1, ROWS)[:, None] * torch.randn(own.shape, generator=generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("spread", "apart"), [(3, 3), (0.2, 0.1), (30, 100), (0, 0)])
def test_it_is_that_of_float64(spread, apart, dtype):
    own, rows = logits(spread, apart)
    rows = rows.to(dtype) - 100
    columns = torch.arange(ROWS).flip(0)
    found = Reading(5, ("js",), reference=Reference.elementwise(own)).of(rows, columns)["js"]
    assert (found.double() - in_double(own[columns], rows)).abs().max() < 2e-6
    assert (found >= 0).all()


def test_tokens_that_one_or_both_leave_out():
    own, rows = logits(2, 2)
    own[:, 100:2_000], rows[:, 1_000:3_000] = -torch.inf, -torch.inf
    own[0, 7:], rows[1, :-9] = -torch.inf, -torch.inf
    own[2, 1:], rows[2, 0] = -torch.inf, -torch.inf
    found = Reading(5, ("js",), reference=Reference.elementwise(own)).of(rows, torch.arange(ROWS))["js"]
    assert (found.double() - in_double(own, rows)).abs().max() < 2e-6
    assert found[2].item() == pytest.approx(np.log(2), abs=1e-6)  # nothing in common


@pytest.mark.parametrize("family", FAMILIES)
def test_in_low_precision_it_is_as_near_as_is_said(family, summed_with):
    every = ["bfloat16", "int8"] if summed_with == "numba" and has_int8() else ["bfloat16"]
    for seed, numbers in product(range(4), every):
        head, inputs, scale = made(family, seed)
        exact, _ = in_float64(head, inputs, scale)
        columns = torch.arange(len(inputs)).roll(1 + seed)
        own = exact.float() if seed % 2 else exact.float().flip(1)  # like the rows, or nothing like them
        reading = Reading(5, ("js",), reference=Reference.elementwise(own))
        low = LowPrecisionHead(head, head.out_features, scale, inputs, numbers)
        found, certain = low.read(inputs, reading, columns)
        off = (found["js"].double() - in_double(own[columns], exact)).abs()
        assert (off[certain] < NATS).all()


def test_with_it_a_page_of_text_is_still_decoded_in_low_precision(demo, summed_with):
    model, tokenizer = demo
    prompt = tokenizer("The Danube flows through ten countries, more than any other river in the world. " * 2)
    ids = prompt["input_ids"][:32]
    auto, exact = (
        bauklens.logit_lens(model, tokenizer, ids, precision=each, measures=["js", "kl"], track=0)
        for each in ("auto", "exact")
    )
    if summed_with == "numba" and has_int8():
        assert auto.provenance["decoding"]["precision"] == "int8"
    assert np.abs(auto.measures["js"] - exact.measures["js"]).max() < NATS
    assert np.abs(auto.measures["js"] - exact.measures["js"]).mean() < 0.001
    ranked = bauklens.logit_lens(model, tokenizer, ids, measures=["js", "rank_of_next"], track=0)
    assert ranked.provenance["decoding"]["precision"] == "float32"

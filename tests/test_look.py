"""One look at all logits of a row, in compiled code and with torch's operators, beside float64."""

import pytest
import torch

from bauklens.decode import compiled
from bauklens.decode.look import Scratch, look
from bauklens.decode.measure import rank_of


@pytest.fixture(params=["torch", "numba"], autouse=True)
def looked_at_with(request, monkeypatch):
    monkeypatch.setattr(compiled, "READ_BEFORE", -1 if request.param == "numba" else 10**9)


def logits_of(kind, vocabulary=5_003):
    logits = torch.randn(9, vocabulary, generator=torch.Generator().manual_seed(0)) * 4
    if kind == "far from 0":
        logits -= 300
    if kind == "far apart":
        logits *= 100
    if kind == "left out":
        logits[:, 100:3_000] = -torch.inf
    if kind == "few left":
        logits[:, 3:] = -torch.inf
    if kind == "all the same":
        logits[:] = 2.5
    return logits


KINDS = ["plain", "far from 0", "far apart", "left out", "few left", "all the same"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 5, 64])
def test_what_is_found(kind, count):
    logits = logits_of(kind)
    seen = look(logits, count, Scratch(), mean=True)
    best = logits.topk(count).values
    assert torch.equal(seen.top, best)
    assert torch.equal(logits.gather(1, seen.ids), best)
    assert all(len(set(row)) == count for row in seen.ids.tolist())
    below = logits.double() - logits.double().amax(dim=-1, keepdim=True)
    total = below.exp().sum(dim=-1)
    assert torch.allclose(seen.total.double(), total, rtol=2e-6)
    mean = (below.clamp_min(-1e30) * below.exp()).sum(dim=-1) / total
    assert torch.allclose(seen.mean.double(), mean, rtol=1e-5, atol=1e-5)
    assert torch.allclose(seen.probabilities(logits).double(), logits.double().softmax(-1), rtol=3e-6, atol=1e-30)


@pytest.mark.parametrize("spoiled", [torch.nan, torch.inf])
def test_a_row_that_is_not_finite_says_so(spoiled):
    logits = logits_of("plain")
    logits[4, 4_999] = spoiled
    logits[6] = -torch.inf
    seen = look(logits, 5, Scratch(), mean=True)
    shown = seen.probabilities(seen.top)
    assert not shown[[4, 6]].isfinite().all(dim=-1).any()
    assert shown[[0, 1, 2, 3, 5, 7, 8]].isfinite().all()


@pytest.mark.parametrize("vocabulary", [1_280, 1_281, 1_343])
def test_any_vocabulary(vocabulary):
    logits = logits_of("plain", vocabulary)
    seen = look(logits, 5, Scratch(), mean=False)
    assert torch.equal(seen.ids, logits.topk(5).indices)
    assert seen.mean is None
    assert torch.allclose(seen.normalizer + logits.amax(dim=-1), logits.logsumexp(dim=-1), rtol=1e-6)


def test_logits_of_two_bytes():
    logits = logits_of("plain").bfloat16()
    seen = look(logits, 5, Scratch(), mean=True)
    assert torch.allclose(seen.probabilities(logits), logits.float().softmax(-1), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [1, 8])
def test_ranks_are_those_of_comparing_every_logit(kind, dtype, tokens):
    logits = logits_of(kind).to(dtype)
    chosen = logits[:, 7 : 7 + 500 * tokens : 500]
    above = (logits[:, None] > chosen[:, :, None]).sum(dim=-1)
    assert torch.equal(rank_of(logits, chosen), 1 + above.float())


def test_ranks_in_a_part_of_every_row():
    logits = logits_of("plain")
    part = logits[:, :4_999]
    assert torch.equal(rank_of(part, part[:, :3]), rank_of(part.clone(), part[:, :3]))

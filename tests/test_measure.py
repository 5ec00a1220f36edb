"""Measures against scipy on full logits."""

import math

import numpy as np
import pytest
import torch
from scipy import spatial, special, stats

from bauklens.decode import measure
from bauklens.decode.reading import Reading, Reference
from bauklens.result.agreement import agreement, overlap

ROWS, VOCABULARY = 40, 500


def logits(seed, dtype=torch.float32):
    """Rows from flat to certain, around a large common offset."""
    torch.manual_seed(seed)
    return (torch.randn(ROWS, VOCABULARY) * torch.logspace(-3, 1.2, ROWS)[:, None] - 100).to(dtype)


def with_tokens_left_out(seed):
    found = logits(seed)
    found[:, 100:140] = -torch.inf
    return found


KINDS = {
    "float32": logits,
    "bfloat16": lambda seed: logits(seed, torch.bfloat16),
    "tokens left out": with_tokens_left_out,
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def pair(request):
    return request.param(1), request.param(2)


def plain(found):
    return special.softmax(found.double().numpy(), axis=-1)


def read(found, *measures, own=None, next_ids=None):
    """What is read off logits, set against those of the model itself."""
    columns = torch.arange(len(found))
    reference = None if own is None else Reference.elementwise(own)
    next_ids = torch.empty(0, dtype=torch.int64) if next_ids is None else next_ids
    return Reading(1, measures, next_ids, reference=reference).of(found, columns)


def test_entropy(pair):
    found = read(pair[0], "entropy")["entropy"]
    assert np.allclose(found, stats.entropy(plain(pair[0]), axis=-1), atol=1e-5)


def test_entropy_is_0_for_one_certain_token_and_the_logarithm_of_all_for_any():
    certain = torch.zeros(1, VOCABULARY)
    certain[0, 7] = 200
    assert read(certain, "entropy")["entropy"].item() == pytest.approx(0, abs=1e-6)
    flat = read(torch.zeros(1, VOCABULARY), "entropy")["entropy"]
    assert flat.item() == pytest.approx(math.log(VOCABULARY), rel=1e-6)


def test_kl(pair):
    one, other = pair
    expected = stats.entropy(plain(one), plain(other), axis=-1)
    assert np.allclose(read(other, "kl", own=one)["kl"], expected, atol=2e-5, rtol=1e-4)
    assert np.allclose(read(one, "kl", own=one)["kl"], 0, atol=2e-5)


def test_kl_to_what_leaves_out_a_token_that_is_said_is_huge():
    assert (read(with_tokens_left_out(1), "kl", own=logits(1))["kl"] > 1e20).all()


def test_js(pair):
    one, other = pair
    expected = spatial.distance.jensenshannon(plain(one), plain(other), axis=-1) ** 2
    assert np.allclose(read(other, "js", own=one)["js"], expected, atol=1e-5)
    assert np.allclose(read(one, "js", own=other)["js"], expected, atol=1e-5)


def test_surprisal_is_the_cross_entropy(pair):
    token_ids = torch.arange(ROWS)
    expected = torch.nn.functional.cross_entropy(pair[0].double(), token_ids, reduction="none")
    assert np.allclose(read(pair[0], "surprisal", next_ids=token_ids)["surprisal"], expected, atol=1e-4)


def test_rank():
    torch.manual_seed(1)
    found = torch.stack([torch.randperm(VOCABULARY) for _ in range(ROWS)]).float()
    order = found.argsort(dim=-1, descending=True)
    for rank in (1, 2, 77, VOCABULARY):
        assert (read(found, "rank_of_next", next_ids=order[:, rank - 1])["rank_of_next"] == rank).all()
    tied = torch.tensor([[3.0, 5.0, 5.0, 1.0]])
    assert measure.rank_of(tied, tied).tolist() == [[3, 1, 1, 4]]


def spread_out(dtype):
    """Distinct logits a nat or so apart, down to 300 below the largest: most probabilities are 0 in float32."""
    torch.manual_seed(4)
    steps = torch.linspace(-150, 150, 240).to(dtype)
    return torch.stack([steps[torch.randperm(len(steps))] for _ in range(ROWS)])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("left_out", [False, True])
def test_the_top_k_is_in_order_where_probabilities_are_0(dtype, left_out):
    found = spread_out(dtype)
    found[:, 20:90] = -torch.inf if left_out else found[:, 20:90]
    read_off = Reading(150).of(found, torch.arange(ROWS))
    expected = found.double().topk(150)
    assert torch.equal(found.double().gather(1, read_off["top_ids"]), expected.values)
    assert (read_off["top_probs"][:, -1] == 0).all()
    assert np.allclose(read_off["top_probs"], found.double().softmax(-1).gather(1, expected.indices), atol=1e-6)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_a_row_that_is_not_finite_has_no_probabilities(wrong):
    found = spread_out(torch.float32)
    found[3, 7] = wrong
    finite = Reading(5).of(found, torch.arange(ROWS))["top_probs"].isfinite().all(dim=-1)
    assert finite.tolist() == [row != 3 for row in range(ROWS)]


def test_overlap_and_agreement():
    one = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    other = np.array([[3, 1, 2], [4, 9, 8], [1, 2, 3]])
    assert overlap(one, other).tolist() == pytest.approx([1, 1 / 3, 0])
    assert agreement(one, other).tolist() == [0, 1, 0]


def test_cosine():
    states, others = torch.randn(5, 16), torch.randn(5, 16)
    expected = [1 - spatial.distance.cosine(*each) for each in zip(states.double(), others.double(), strict=True)]
    assert np.allclose(measure.cosine(states, others), expected, atol=1e-6)
    assert measure.cosine(torch.zeros(1, 16), states[:1]).item() == 0

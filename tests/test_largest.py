"""The largest logits of each row, beside those that torch finds."""

import pytest
import torch

from bauklens.decode.largest import GROUP, top_of


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("vocabulary", [7, GROUP, 4 * GROUP + 1, 40 * GROUP, 50_257])
@pytest.mark.parametrize("k", [1, 7, 10, 64])
def test_they_are_those_of_torch(vocabulary, k, dtype):
    k = min(k, vocabulary)
    logits = torch.randn(5, vocabulary, generator=torch.Generator().manual_seed(k)).to(dtype)
    values, ids = top_of(logits, k)
    assert torch.equal(values, logits.topk(k).values)
    assert torch.equal(logits.gather(1, ids), values)
    assert all(len(set(row)) == k for row in ids.tolist())


def test_wherever_they_are():
    logits = torch.arange(50_257.0).repeat(3, 1)
    for row, order in enumerate((torch.arange(50_257), torch.arange(50_257).flip(0), torch.randperm(50_257))):
        logits[row] = order.float()
    values, ids = top_of(logits, 64)
    assert values.tolist() == [[float(50_256 - place) for place in range(64)]] * 3
    assert torch.equal(logits.gather(1, ids), values)


def test_tokens_that_are_left_out_come_last():
    logits = torch.full((2, 5_000), -torch.inf)
    logits[0, 4_999], logits[1, [0, 77]] = 1.0, torch.tensor([2.0, 3.0])
    values, ids = top_of(logits, 3)
    assert ids[:, 0].tolist() == [4_999, 77]
    assert values[0, 1:].tolist() == [-torch.inf, -torch.inf]
    assert ids[1, 1] == 0

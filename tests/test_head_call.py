"""The head's call in a forward pass, which saves most of the comparison with the model's own logits."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bauklens.decode.check import own_difference
from bauklens.decode.exits import OwnLogits
from bauklens.decode.rows import Way, unembedding
from bauklens.decode.unembed import Rows, Unembed
from bauklens.lens.run import run
from bauklens.stream.head_call import checksums_of
from tests.tiny import PROMPT, tiny_model

LOGITS = torch.randn(2, 20, 97, generator=torch.Generator().manual_seed(0))


@given(place=st.tuples(st.integers(0, 1), st.integers(0, 19), st.integers(0, 96)), bit=st.integers(0, 30))
def test_any_changed_bit_changes_the_checksum_of_its_row_alone(place, bit):
    other = LOGITS.clone()
    other.view(torch.int32)[place] ^= 1 << bit
    changed = (checksums_of(other) != checksums_of(LOGITS)).nonzero().tolist()
    assert changed == [list(place[:2])]


def test_two_logits_that_change_places_change_it():
    other = LOGITS.clone()
    other[..., [3, 50]] = other[..., [50, 3]]
    assert (checksums_of(other) != checksums_of(LOGITS)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_is_the_same_for_some_rows_and_in_float32(dtype):
    logits = LOGITS.to(dtype)
    whole = checksums_of(logits)
    assert torch.equal(checksums_of(logits[1, 3:18]), whole[1, 3:18])
    assert torch.equal(checksums_of(logits[0, [2, 5, 11]]), whole[0, [2, 5, 11]])
    assert torch.equal(checksums_of(logits.float()), whole)


def difference(ran, positions=None):
    """Of the last row, and how many rows of the head's product it took."""
    rows = Rows("hidden", ran.stream.states[-1:], ["last"], positions or list(range(ran.inputs.count)))
    products = []
    real = Unembed.after_inputs

    def counted(self, inputs):
        products.append(inputs.shape[:-1].numel())
        return real(self, inputs)

    with unembedding(ran, rows, Way()) as unembed, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Unembed, "after_inputs", counted)
        found = own_difference(unembed, rows.everything, OwnLogits(ran, rows.positions), 100)
    return found, sum(products)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gptj", "opt"])
@pytest.mark.parametrize("positions", [None, [1, 4, 5]], ids=["all", "some"])
def test_parts_give_the_difference_that_the_whole_product_gives(kind, positions):
    ran = run(tiny_model(kind), None, PROMPT)
    by_parts, few = difference(ran, positions)
    whole, all_rows = difference(replace(ran, stream=replace(ran.stream, head=None)), positions)
    assert (few, all_rows) == (1, len(positions or PROMPT))
    assert by_parts == pytest.approx(whole, abs=1e-5)


def test_a_model_that_makes_more_of_its_logits_is_compared_whole():
    ran = run(tiny_model("gemma2"), None, PROMPT)
    assert ran.stream.head is None
    assert difference(ran)[0] < 1e-5


@pytest.mark.parametrize("what", ["inputs", "checksums"])
def test_if_a_part_is_another_all_is_compared(what):
    ran = run(tiny_model("llama"), None, PROMPT)
    changed = getattr(ran.stream.head, what).clone()
    changed[2] += 1
    other = replace(ran.stream.head, **{what: changed})
    found, rows = difference(replace(ran, stream=replace(ran.stream, head=other)))
    assert rows == len(PROMPT)
    assert found < 1e-5

"""The seams of decoding: tiles of rows, what maps states before the tail, and the tail as one function."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import bauklens
from bauklens.decode import low_precision
from bauklens.decode.decoder import LOGIT_LENS
from bauklens.decode.reading import Reading
from bauklens.decode.rows import Way, decode
from bauklens.decode.tiles import Scattered, Tile, in_tiles
from bauklens.decode.unembed import Rows
from bauklens.lens.run import run
from bauklens.model.tail import replaying
from bauklens.vocabulary import LOGIT
from tests.tiny import PROMPT, hook_count, tiny_model

sizes = st.integers(1, 9)


class TestTiles:
    @given(layers=sizes, positions=sizes, limit=st.integers(1, 100))
    def test_every_row_is_read_once_and_in_order_of_layers(self, layers, positions, limit):
        read = list(in_tiles([Tile(range(layers), range(positions))], lambda tile: tile.count, limit=limit))
        assert all(count == tile.count <= limit for tile, count in read)
        numbers = torch.cat([tile.numbers(positions) for tile, _ in read])
        assert numbers.sort().values.tolist() == list(range(layers * positions))
        assert all(one.layers.start <= other.layers.start for (one, _), (other, _) in pairwise(read))

    @given(layers=sizes, positions=sizes, most=st.integers(1, 30))
    def test_if_memory_runs_out_tiles_are_halved_and_stay_so(self, layers, positions, most):
        tried = []

        def read(tile):
            tried.append(tile.count)
            if tile.count > most:
                raise MemoryError
            return tile.count

        done = [tile for tile, _ in in_tiles([Tile(range(layers), range(positions))], read, limit=1000)]
        assert sum(tile.count for tile in done) == layers * positions
        failed = [count for count in tried if count > most]
        assert failed == sorted(failed, reverse=True)
        assert len(set(failed)) == len(failed)

    @pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
    def test_without_memory_for_a_single_row_it_says_what_for(self, error):
        def read(tile):
            raise error

        with pytest.raises(bauklens.LensError, match="out of memory for the logits of a single row"):
            list(in_tiles([Tile(range(2), range(3))], read, limit=4))

    def test_any_other_error_is_its_own(self):
        with pytest.raises(RuntimeError, match="shapes"):
            list(
                in_tiles(
                    [Tile(range(2), range(3))], lambda tile: (_ for _ in ()).throw(RuntimeError("shapes")), limit=9
                )
            )

    @given(st.lists(st.integers(0, 99), min_size=1, unique=True), st.integers(1, 20))
    def test_scattered_rows_are_read_in_their_order(self, rows, limit):
        read = [tile for tile, _ in in_tiles([Scattered(torch.tensor(rows))], lambda tile: None, limit=limit)]
        assert torch.cat([tile.numbers(10) for tile in read]).tolist() == sorted(rows)
        assert all(tile.count <= limit for tile in read)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("left_out", [False, True])
def test_the_order_is_that_of_the_logits_where_probabilities_are_nothing(dtype, left_out):
    """Of logits that lie hundreds of nats apart, all probabilities but the first are 0 in float32."""
    logits = 1000 * torch.randn(6, 400, generator=torch.Generator().manual_seed(0)).to(dtype)
    if left_out:
        logits[:, ::3] = -torch.inf
    values = Reading(20).of(logits, torch.arange(6))
    assert (values["top_probs"] == 0).any()
    shown = logits.gather(1, values["top_ids"]).double()
    assert torch.equal(shown, logits.double().topk(20).values)


class Turned:
    """A decoder that is another for every layer, and notes what it is given."""

    name = "turned"
    layers = None

    def __init__(self, width):
        torch.manual_seed(3)
        self.maps = {str(layer): torch.randn(width, width) / width**0.5 for layer in range(9)}
        self.shapes = []

    def __call__(self, states, layers):
        assert len(layers) == len(states)
        self.shapes.append(tuple(states.shape[:2]))
        return torch.stack([state @ self.maps[layer] for state, layer in zip(states, layers, strict=True)])


def all_rows(states):
    return Rows("given", states, [str(layer) for layer in range(len(states))], list(range(states.shape[1])))


class TestDecoder:
    def test_the_logit_lens_is_one(self):
        assert LOGIT_LENS.name == LOGIT

    def test_it_is_given_a_tile_at_a_time_and_its_states_are_what_is_decoded(self, model):
        ran = run(model, None, PROMPT)
        states = ran.stream.states
        turned = Turned(states.shape[-1])
        found = decode(ran, all_rows(states), Reading(5), Way(decoder=turned, chunk_rows=7))
        tiles, exits = turned.shapes[:-2], turned.shapes[-2:]
        assert max(layers * positions for layers, positions in tiles) <= 7
        mapped = len(states) - 1  # the row that is called as the last block is the model's own
        assert sum(layers * positions for layers, positions in tiles) == mapped * states.shape[1]
        assert exits == [(1, states.shape[1])] * 2
        before = states.clone()
        for row, label in enumerate(all_rows(states).labels):
            if label != ran.anatomy.labels[-1]:
                before[row] = states[row] @ turned.maps[label]
        plain = decode(ran, all_rows(before), Reading(5))
        assert torch.equal(found.values["top_ids"], plain.values["top_ids"])
        assert torch.allclose(found.values["top_probs"], plain.values["top_probs"], atol=1e-5)

    def test_rows_that_are_decoded_again_go_through_it_as_well(self, gpt2, monkeypatch):
        """Every other row is uncertain, whatever bfloat16 makes of it."""
        monkeypatch.setattr(low_precision, "pays", lambda device, dtype: True)
        monkeypatch.setattr(low_precision, "FEWEST_ROWS", 1)
        monkeypatch.setattr(low_precision, "FEWEST_TOKENS", 1)
        monkeypatch.setattr(low_precision, "is_worth_it", lambda *_: True)
        monkeypatch.setattr(low_precision.LowPrecision, "read", half_of_the_rows)
        ran = run(gpt2, None, PROMPT)
        turned = Turned(ran.stream.states.shape[-1])
        rows = all_rows(ran.stream.states)
        mixed = decode(ran, rows, Reading(5), Way(decoder=turned))
        exact = decode(ran, rows, Reading(5), Way(decoder=turned, precision="exact"))
        assert mixed.redone == len(PROMPT) * 4 // 2
        assert torch.equal(mixed.values["top_ids"], exact.values["top_ids"])
        assert torch.allclose(mixed.values["top_probs"], exact.values["top_probs"], atol=1e-6)


def half_of_the_rows(low, tile, reading):
    unembed = low.unembed
    numbers = unembed.numbers(tile)
    values = reading.of(unembed.logits(tile), unembed.columns(tile))
    certain = numbers % 2 == 0
    return {name: torch.where(certain.view(-1, 1), value, 0) for name, value in values.items()}, certain


class TestTail:
    def test_it_is_one_call_whose_head_may_be_another(self, model):
        ran = run(model, None, PROMPT)
        everywhere = torch.arange(len(PROMPT))
        with replaying(model, ran.anatomy, ran.inputs, to_head=True) as tail:
            whole = tail(ran.stream.states, everywhere)
            inputs = tail.head_inputs(ran.stream.states, everywhere)
            assert whole.shape == (*ran.stream.states.shape[:2], ran.anatomy.vocabulary)
            assert torch.allclose(tail(ran.stream.states, everywhere, head=tail.head), whole, atol=1e-5)
            assert inputs.shape[:2] == whole.shape[:2]
            some = torch.tensor([7, 2])
            assert torch.allclose(tail(ran.stream.states[:, some], some), whole[:, some], atol=1e-5)
        assert hook_count(model) == 0

    def test_rows_of_different_positions_may_come_together(self):
        model = tiny_model("gpt2")
        ran = run(model, None, PROMPT)
        layers, positions = torch.tensor([0, 3, 1]), torch.tensor([5, 5, 9])
        for norm in ("own", "final", None):
            with replaying(model, ran.anatomy, ran.inputs, norm=norm, final=ran.final) as tail:
                whole = tail(ran.stream.states, torch.arange(len(PROMPT)))
                apart = tail(ran.stream.states[layers, positions][:, None], positions[:, None])
            assert torch.allclose(apart[:, 0], whole[layers, positions], atol=1e-4)


@pytest.mark.parametrize("rows", [8, 17, 30])
def test_the_model_s_own_row_is_in_order_in_parts_of_any_size(gpt2, rows):
    """Its last columns are read first."""
    whole, parts = (bauklens.logit_lens(gpt2, None, PROMPT, measures="all", chunk_rows=each) for each in (None, rows))
    assert np.array_equal(whole.top_ids, parts.top_ids)
    assert np.allclose(whole.top_probs, parts.top_probs, atol=1e-6)
    for name, values in whole.measures.items():
        assert np.allclose(values, parts.measures[name], atol=1e-3, equal_nan=True), name

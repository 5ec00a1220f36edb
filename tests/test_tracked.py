"""Tokens that are tracked: their log-probability and rank in every cell, from the ordinary pass."""

import base64
import faulthandler
import json
import multiprocessing
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import bauklens
from bauklens import LensError, LensResult, Tracked
from bauklens.decode import compiled, low_precision
from bauklens.decode.cpu import has_int8
from bauklens.decode.low_ranks import Again, Low
from bauklens.decode.ranking import SURE, Counting
from bauklens.decode.rounding import BITS
from bauklens.decode.tracking import Tracking
from bauklens.result import tracked as tracked_module
from bauklens.show.bundle import VIEWER
from bauklens.show.tracked_payload import LIMIT, coded, tracked_payload
from tests.made import made
from tests.tiny import PROMPT, TEXT, VOCABULARY, tiny_model, tiny_tokenizer

PROMPT_OF_THE_DEMO = "The Eiffel Tower is located in the city of"


def logits_of(kind, rows=30, vocabulary=5_000):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, vocabulary, generator=generator) * 2.5
    if kind == "far apart":
        logits *= 50
    if kind == "left out":
        logits[:, 100:2_000] = -torch.inf
    if kind == "the same":
        logits[:] = logits.round()
    if kind == "all the same":
        logits[:] = 1.0
    if kind == "one far above":
        logits[:, 7] = 300
    return logits


@pytest.fixture(params=["torch", "numba"])
def counted_by(request, monkeypatch):
    """What ranks are counted with; numba otherwise starts once much has been read."""
    monkeypatch.setattr(compiled, "READ_BEFORE", -1 if request.param == "numba" else 10**9)


@pytest.mark.usefixtures("counted_by")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["plain", "far apart", "left out", "the same", "all the same", "one far above"])
def test_ranks_are_those_of_counting_each_token(kind, dtype):
    logits = logits_of(kind).to(dtype)
    ids = torch.randperm(logits.shape[1], generator=torch.Generator().manual_seed(1))[:200]
    ids[:2] = torch.tensor([7, 150])
    found = Counting().ranks(logits, ids, logits.topk(SURE).values)
    right = 1 + torch.stack([(logits > logits[:, token, None]).sum(dim=-1) for token in ids], dim=1)
    sure = found.ranks <= found.exact_to[:, None]
    assert torch.equal(found.ranks[sure].long(), right[sure])
    assert (found.exact_to >= SURE).all() or kind == "all the same"
    if dtype.itemsize == 2:
        assert torch.equal(found.ranks.long(), right)
    elif kind in ("plain", "one far above"):
        off = (found.ranks - right).abs() / right
        assert off.max() < (0.02 if kind == "plain" else 0.2)


@pytest.mark.parametrize("rows", [1, 2, 3, 30])
@pytest.mark.parametrize("kind", ["plain", "far apart", "left out", "the same", "all the same", "one far above"])
def test_compiled_code_finds_what_torch_does(kind, rows, monkeypatch):
    logits = logits_of(kind, rows)
    ids = torch.randperm(logits.shape[1], generator=torch.Generator().manual_seed(1))[:200]
    top = logits.topk(SURE).values
    found = []
    for read_before in (-1, 10**9):
        monkeypatch.setattr(compiled, "READ_BEFORE", read_before)
        assert compiled.ready(logits) == (read_before < 0)
        found.append(Counting().ranks(logits, ids, top))
    fast, right = found
    assert torch.equal(fast.exact_to, right.exact_to)
    assert torch.equal(fast.ranks, right.ranks)


def test_compiled_code_counts_numbers_of_two_bytes_beside_any_value(monkeypatch):
    monkeypatch.setattr(compiled, "READ_BEFORE", -1)
    every = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    logits = every[~every.isnan()].repeat(2, 1)
    values = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 1.0, -1.0, 1.001, -1.001, 3e38, -3e38, torch.inf, -torch.inf])
    assert compiled.ready(logits)
    above, beside = compiled.count(logits, values.repeat(2, 1))
    for place, value in enumerate(values):
        assert above[0, place] == above[1, place] == (logits[0].float() > value).sum()
    assert beside[0, :5].tolist() == [2, 2, 2, 1, 1]  # 0 and -0 are the same; 1e-45 is next to them


def test_nan_is_counted_within_the_table(monkeypatch):
    """Rows with NaN are refused later; until then nothing beyond the table may be read."""
    monkeypatch.setattr(compiled, "READ_BEFORE", -1)
    nan = torch.tensor([0x7FFFFFFF, -1, 0x7FC00000, -0x400000], dtype=torch.int32).view(torch.float32)
    assert nan.isnan().all()
    logits = torch.zeros(1, 8).bfloat16()
    assert compiled.ready(logits)
    above, beside = compiled.count(logits, nan[None])
    assert above.tolist() == [[0, 8, 0, 8]]  # above all, or below all
    assert beside.tolist() == [[0, 0, 0, 0]]
    others, proved = torch.zeros(1, 1, dtype=torch.int64), torch.full((1, 1), torch.inf)
    scale = (1.0, torch.zeros(1, 1))
    ranks, sure = compiled.rank_among(logits, torch.arange(1, 5), nan[None], others, torch.zeros(1, 1), proved, scale)
    assert not sure.any()
    assert ((ranks >= 1) & (ranks <= 9)).all()


def test_a_process_that_reads_little_does_not_start_numba(tmp_path):
    code = """
import sys, torch
from bauklens.decode import compiled
small = torch.zeros(compiled.READ_BEFORE, 8)
print(compiled.ready(small), "numba" in sys.modules, compiled.ready(small), "numba" in sys.modules)
print(compiled.ready(small.double()), compiled.ready(small.half()), compiled.ready(small.T))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert said.split() == ["False", "False", "True", "True", "False", "False", "False"]


def test_without_compiled_loops_torch_counts(tmp_path):
    """Who debugs numba's own functions has them run as Python, which would take hours here."""
    code = """
import torch
from bauklens.decode import compiled
compiled.READ_BEFORE = -1
print(compiled.ready(torch.zeros(2, 8)))
"""
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert ran.stdout.split() == ["False"], ran.stderr


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_of_this_process_has_threads_of_its_own(monkeypatch, request):
    """The threads of a process are not in its children, which would wait for them for ever."""
    monkeypatch.setattr(compiled, "READ_BEFORE", -1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    request.addfinalizer(lambda: torch.set_num_threads(before))
    logits, ids = logits_of("plain"), torch.arange(20)
    top = logits.topk(SURE).values
    assert compiled.ready(logits)
    compiled.rank(logits, logits[:, ids], top, 128, torch.zeros(30, 1), torch.ones(30, 1), 0.0, 0)
    right = (1 + torch.stack([(logits > logits[:, token, None]).sum(dim=-1) for token in ids], dim=1)).tolist()
    low, scale = torch.zeros(30, 1), torch.ones(30, 1)

    def rank_again():
        faulthandler.dump_traceback_later(20, exit=True)
        ranks, _ = compiled.rank(logits, logits[:, ids], top, 128, low, scale, 0.0, 0)  # without torch's own threads
        sys.exit(0 if ranks.tolist() == right else 3)

    child = multiprocessing.get_context("fork").Process(target=rank_again)
    child.start()
    child.join()
    assert child.exitcode == 0


def test_memory_of_one_table_serves_smaller_ones():
    counting = Counting()
    for rows in (8, 3, 8, 1):
        logits = logits_of("plain", rows)
        ids = torch.arange(20)
        found = counting.ranks(logits, ids, logits.topk(SURE).values)
        fresh = Counting().ranks(logits, ids, logits.topk(SURE).values)
        assert torch.equal(found.ranks, fresh.ranks)
        assert torch.equal(found.exact_to, fresh.exact_to)


@pytest.mark.parametrize("options", [{}, {"stream": "delta"}, {"norm": "final"}, {"norm": None}, {"layers": [0, 1]}])
def test_in_every_cell_they_are_those_of_full_logits(model, options):
    lens = bauklens.logit_lens(model, None, PROMPT, track=200, **options)
    whole = bauklens.logit_lens(model, None, PROMPT, topk=VOCABULARY, precision="exact", track=0, **options)
    assert len(lens.tracked) > 10
    _require_equal(lens, whole)


def _require_equal(lens, whole):
    """Tokens whose probabilities are the same or vanish in float32 have no place that could be compared."""
    apart = []
    for place, token in enumerate(lens.tracked.token_ids):
        found = (whole.top_ids == token).argmax(-1)[..., None]
        probability = np.take_along_axis(whole.top_probs, found, -1)[..., 0]
        visible = probability > 1e-30
        logs = lens.tracked.log_probability[place].astype(float)[visible]
        assert np.allclose(logs, np.log(probability[visible]), rtol=2e-3, atol=2e-3)
        distinct = (whole.top_probs == probability[..., None]).sum(-1) == 1
        right = 1 + (whole.top_probs > probability[..., None]).sum(-1)
        off = np.abs(lens.tracked.rank[place].astype(int) - right)
        assert off[visible & distinct].max(initial=0) <= 10  # near ties, in a row of which half share a value
        apart.append(off[visible & distinct & (right <= lens.tracked.exact_to)])
    apart = np.concatenate(apart)
    assert len(apart) > 50
    assert (apart == 0).mean() > 0.98  # but for near ties


def test_it_tracks_what_a_reader_will_ask_for(model):
    lens = bauklens.logit_lens(model, None, PROMPT)
    kept = lens.tracked.token_ids.tolist()
    assert kept[:5] == lens.top_ids[-1, -1].tolist()
    assert {*lens.top_ids[-1].ravel(), *PROMPT, *lens.top_ids[:, -1].ravel()} <= set(kept)
    near = bauklens.logit_lens(model, None, PROMPT, topk=16, positions=[-1], track=0).top_ids
    assert set(near[:-1].ravel()) <= set(kept)
    assert len(kept) == len(set(kept))
    few = bauklens.logit_lens(model, None, PROMPT, track=7).tracked.token_ids.tolist()
    assert few[:5] == kept[:5]
    assert len(few) == 7


def test_of_few_tokens_all_are_tracked(model):
    lens = bauklens.logit_lens(model, None, PROMPT, track=VOCABULARY)
    assert lens.tracked.token_ids.tolist() == list(range(VOCABULARY))


def test_what_a_set_holds_comes_first(model):
    lens = bauklens.logit_lens(model, None, PROMPT, targets={"some": [311, 312]}, track=4)
    assert lens.tracked.token_ids[:2].tolist() == [311, 312]


def test_in_the_order_of_their_importance():
    own, last = torch.tensor([[5, 6], [1, 2]]), torch.tensor([[8, 9], [7, 1]])
    found = Tracking(99, (3,), (4, 5, 400)).tokens(300, own, last)
    assert found == (3, 1, 2, 7, 8, 5, 4, 9, 6)  # of last: 7 and 8, then 1 and 9
    assert Tracking(99, (), (4,)).tokens(300, None, None) == (4,)
    assert Tracking(0).tokens(300, own, last) == ()


@pytest.mark.parametrize("options", [{"chunk_rows": 1}, {"chunk_rows": 2}, {"positions": [3]}, {"positions": [-1, 0]}])
def test_in_parts_they_are_the_same(model, options):
    whole = bauklens.logit_lens(model, None, PROMPT, track=VOCABULARY)
    part = bauklens.logit_lens(model, None, PROMPT, **options)
    columns = [whole.positions.tolist().index(position) for position in part.positions]
    for token in part.tracked.token_ids:
        one, other = part.tracked.place(token), whole.tracked.place(token)
        ranks = whole.tracked.rank[other][:, columns].astype(int)
        assert (np.abs(part.tracked.rank[one] - ranks) <= 0.04 * ranks).all()  # either is within 2 % of the truth
        logs = whole.tracked.log_probability[other][:, columns]
        assert np.allclose(part.tracked.log_probability[one], logs, rtol=4e-3, atol=4e-3)


def test_lenses_beside_each_other_track_the_same(model):
    lenses = bauklens.logit_lens(model, None, PROMPT, stream=["hidden", "delta"])
    one, other = (set(lens.tracked.token_ids.tolist()) for lens in lenses)
    assert one <= other


def test_a_token_that_is_scored_again_has_that_score_and_no_other():
    """So that it is not counted above itself, if its logit was added in another order."""
    again = Again(torch.tensor([[9, 2, 7], [3, 7, 5]]), torch.tensor([[5.0, 4.0, 3.0], [6.0, 2.5, 1.0]]))
    found = again.scores_of(torch.tensor([7, 1, 9]), torch.tensor([[2.9, 0.5, 4.9], [2.4, 0.25, 8.0]]))
    assert found.tolist() == [[3.0, 0.5, 5.0], [2.5, 0.25, 8.0]]


@pytest.mark.parametrize(("counted_by", "most_off"), [("torch", 40), ("numba", 12)], indirect=["counted_by"])
def test_ranks_among_logits_in_bfloat16(counted_by, most_off):
    """The 64 largest are scored again; what is proved is right, and the rest as near as logits of two bytes are."""
    generator = torch.Generator().manual_seed(3)
    true = torch.randn(12, 5_000, generator=generator) * 4
    expected = (BITS * true.amax(dim=-1, keepdim=True)).bfloat16().float()
    low = (BITS * true - expected).bfloat16()
    found = low.float().topk(64)
    logits = low.scatter(1, found.indices, -1e30)
    proved = found.values[:, -1:] + 0.2
    ids = torch.cat([found.indices[0, :20], torch.arange(0, 5_000, 31)])
    bounds = low.float().amin(dim=-1, keepdim=True), low.float().amax(dim=-1, keepdim=True)
    again = Again(found.indices, true.gather(1, found.indices))
    own = true[:, ids] + 1e-6 * torch.randn(12, len(ids), generator=generator)  # as float32 adds otherwise
    ranked = Low(logits, expected, proved, bounds).ranks(ids, own, again, Counting())
    right = 1 + (true[:, None, :] > true[:, ids, None]).sum(dim=-1)
    sure = ranked.ranks <= ranked.exact_to[:, None]
    assert sure.sum() > 30
    assert torch.equal(ranked.ranks[sure].long(), right[sure])
    off = ranked.ranks - right
    assert (off.abs() <= 3 + 0.02 * right).all()
    assert off.abs().max() <= most_off
    assert abs(off.float().mean()) < 0.3  # neither too high nor too low, as by counting a token above itself


@pytest.mark.parametrize("common", [150.0, -150.0])
def test_numbers_of_one_cell_count_as_spread_evenly(common, monkeypatch):
    """So far from 0, hundreds of logits are the same in bfloat16."""
    monkeypatch.setattr(compiled, "READ_BEFORE", -1)
    true = common + torch.randn(4, 5_000, generator=torch.Generator().manual_seed(5)) * 4
    low = true.bfloat16()
    assert low[0].unique().numel() < 60
    ids = torch.arange(0, 5_000, 17)
    proved, first = torch.full((4, 1), torch.inf), torch.zeros(4, 1, dtype=torch.int64)
    low[:, 0] = -1e30  # the one that is scored again
    assert compiled.ready(low)
    scores, scale = true[:, :1], (1.0, torch.zeros(4, 1))
    ranks, _ = compiled.rank_among(low, ids, true[:, ids], first, scores, proved, scale)
    right = 1 + (true[:, None, :] > true[:, ids, None]).sum(dim=-1)
    assert (ranks - right).abs().max() < 40
    assert (ranks - right).float().abs().mean() < 8


@pytest.mark.slow
@pytest.mark.usefixtures("counted_by")
def test_of_logits_in_bfloat16_those_that_are_said_to_be_exact_are(demo, monkeypatch):
    monkeypatch.setattr(low_precision, "pays", lambda device, dtype: True)
    model, tokenizer = demo
    prompt = " ".join([PROMPT_OF_THE_DEMO] * 3)
    lens = bauklens.logit_lens(model, tokenizer, prompt)
    assert lens.provenance["decoding"]["precision"] == ("int8" if has_int8() and compiled.starts(0) else "bfloat16")
    sample = lens.tracked.token_ids[::10].tolist()
    exact = bauklens.logit_lens(model, tokenizer, prompt, targets=sample, track=0)
    assert exact.provenance["decoding"]["precision"] == "float32"
    apart = []
    for token in sample:
        found, right = lens.target(token), exact.target(token)
        sure = right.rank <= lens.tracked.exact_to
        assert (np.abs(found.rank - right.rank)[sure] <= 1).all()  # a near tie may fall either way
        apart.append(np.abs(found.rank - right.rank) / right.rank)
        assert np.allclose(found.probability, right.probability, atol=2e-3)
    apart = np.concatenate([each.ravel() for each in apart])
    assert np.quantile(apart, 0.99) < 0.05
    assert apart.mean() < 0.01


def test_a_tracked_token_is_found_like_a_target(model):
    tokenizer = tiny_tokenizer()
    lens = bauklens.logit_lens(model, tokenizer, TEXT)
    exact = bauklens.logit_lens(model, tokenizer, TEXT, targets=lens.tracked.token_ids[:9].tolist(), track=0)
    for right in exact.targets:
        found = lens.target(right.token_ids[0])
        assert found.part == "token"
        assert "tracked" in found.note
        assert (np.abs(found.rank - right.rank) <= 0.021 * right.rank).all()
        assert np.allclose(found.probability, right.probability, rtol=0.02, atol=1e-5)
        close = np.abs(right.logit) < 20
        assert np.allclose(found.logit[close], right.logit[close], atol=0.1)
    answer = lens.vocabulary[int(lens.top_ids[-1, -1, 0])]
    named = [token for token in lens.tracked.token_ids.tolist() if lens.vocabulary[token] == answer]
    if len(named) == 1:
        assert lens.first_layer(answer) in lens.layers
    followed = {token for each in exact.targets for token in each.token_ids}
    other = next(token for token in range(VOCABULARY) if token not in lens.tracked.token_ids)
    with pytest.raises(LensError, match=r"was not followed \(followed: none, and \d+ tracked tokens\)"):
        lens.target(other)
    assert followed


def test_of_a_text_of_several_tracked_tokens_the_id_is_asked_for(model):
    lens = bauklens.logit_lens(model, tiny_tokenizer(), TEXT)
    one, other = lens.tracked.token_ids[:2].tolist()
    same = LensResult.from_dict(
        lens.to_dict() | {"vocabulary": dict(lens.vocabulary) | {one: "one text", other: "one text"}}
    )
    with pytest.raises(LensError, match="'one text' is the text of 2 tokens: pass the id of one of them"):
        same.target("one text")
    assert same.target(other).token_ids == (other,)


@pytest.mark.parametrize("track", [-1, 1.5, "all", None, True])
def test_a_number_of_tokens_is_asked_for(track):
    with pytest.raises(LensError, match="track is"):
        bauklens.logit_lens(tiny_model("gpt2"), None, PROMPT, track=track)


def test_none_are_tracked_if_none_are_wanted(model):
    assert bauklens.logit_lens(model, None, PROMPT, track=0).tracked is None


def test_no_more_than_the_budget_has_room_for(monkeypatch):
    model = tiny_model("gpt2")
    monkeypatch.setattr(tracked_module, "BUDGET", 4 * 4 * len(PROMPT) * 12)
    assert len(bauklens.logit_lens(model, None, PROMPT).tracked) == 12
    several = bauklens.logit_lens(model, None, [PROMPT, PROMPT[:5]], stream=["hidden", "delta"])
    assert [None if each.tracked is None else len(each.tracked) for each in several[0]] == [3, 4]
    assert bauklens.logit_lens(model, None, [PROMPT] * 13)[0].tracked is None


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_it_is_saved_and_read(model, tmp_path, suffix):
    lens = bauklens.logit_lens(model, None, PROMPT)
    lens.save(tmp_path / f"lens{suffix}")
    again = LensResult.load(tmp_path / f"lens{suffix}")
    assert again == lens
    assert again.tracked.rank.dtype == lens.tracked.rank.dtype
    assert np.array_equal(again.tracked.rank, lens.tracked.rank)
    assert np.array_equal(again.tracked.log_probability, lens.tracked.log_probability)
    assert np.array_equal(again.tracked.exact_to, lens.tracked.exact_to)
    assert pickle.loads(pickle.dumps(lens)) == lens
    with pytest.raises(ValueError, match="read-only"):
        again.tracked.rank[0] = 1


def test_large_ranks_need_four_bytes(tmp_path):
    ids = np.arange(2)
    ranks = np.array([[[1, 70_000]], [[2, 3]]], dtype=np.uint32)
    tracked = Tracked(ids, -np.ones((2, 1, 2), dtype=np.float16), ranks, np.full((1, 2), 64, dtype=np.uint32))
    again = Tracked.from_dict(json.loads(json.dumps(tracked.to_dict())), (1, 2))
    assert np.array_equal(again.rank, ranks)
    assert again.rank.dtype == np.uint32


def test_a_part_has_the_values_of_its_cells(model):
    lens = bauklens.logit_lens(model, None, PROMPT)
    part = lens.part(lens.layers[1:3], [0, 4])
    assert np.array_equal(part.tracked.rank, lens.tracked.rank[:, 1:3][:, :, [0, 4]])
    assert part.tracked.token_ids.tolist() == lens.tracked.token_ids.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": "AAAA"}, "tracked rank is not base64"),
        ({"rank": 7}, "tracked rank is not base64"),
        ({"log_probability": "!"}, "tracked log_probability is not base64"),
        ({"rank_bytes": 3}, "tracked rank_bytes is neither 2 nor 4"),
        ({"exact_to": 64}, "tracked exact_to is not base64"),
        ({"exact_to": "AAAA"}, "tracked exact_to is not base64"),
        ({"token_ids": [1, 1]}, "tracked"),
        ({"token_ids": "x"}, "tracked token_ids"),
        ({"token_ids": [[1], [2]]}, "tracked"),
    ],
)
def test_damage_is_one_line(change, message):
    lens = bauklens.logit_lens(tiny_model("gpt2"), None, PROMPT, track=2)
    data = lens.to_dict()
    with pytest.raises(LensError, match=message):
        LensResult.from_dict(data | {"tracked": data["tracked"] | change})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("log_probability", 2.0**-24, "log_probability is above 0"),
        ("log_probability", np.inf, "log_probability is above 0"),
        ("log_probability", np.nan, "is not a number"),
        ("log_probability", -np.nan, "is not a number"),
        ("rank", 0, "a tracked rank is 0"),
        ("log_probability", -np.inf, None),
        ("log_probability", -0.0, None),
        ("log_probability", 0.0, None),
        ("log_probability", -(2.0**-24), None),
        ("rank", 65_535, None),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_a_file(tmp_path, name, value, message):
    arrays = {
        "log_probability": np.full((2, 1, 2), -1, dtype=np.float16),
        "rank": np.full((2, 1, 2), 3, dtype=np.uint16),
        "exact_to": np.full((1, 2), 64, dtype=np.uint32),
    }
    lens = made(1, 2, tracked=Tracked(np.arange(2), **arrays))
    lens.save(tmp_path / "lens.safetensors")
    arrays[name][1, 0, 1] = value
    with safe_open(tmp_path / "lens.safetensors", "numpy") as file:
        header = file.metadata()
    changed = load_file(tmp_path / "lens.safetensors") | {f"tracked/{name}": arrays[name]}
    save_file(changed, tmp_path / "lens.safetensors", metadata=header)
    if message is None:
        again = getattr(LensResult.load(tmp_path / "lens.safetensors").tracked, name)
        assert again.tobytes() == arrays[name].tobytes()
    else:
        with pytest.raises(LensError, match=message):
            LensResult.load(tmp_path / "lens.safetensors")


@pytest.mark.parametrize(
    ("tracked", "message"),
    [
        ([1], "tracked is not a mapping"),
        ({"token_ids": [9_999], "rank": "AQABAAEAAQA=", "log_probability": "AAAAAAAAAAA="}, "is not base64"),
    ],
)
def test_so_is_what_is_none(tracked, message):
    data = bauklens.logit_lens(tiny_model("gpt2"), None, PROMPT, track=2).to_dict()
    with pytest.raises(LensError, match=message):
        LensResult.from_dict(data | {"tracked": tracked})


def test_a_token_without_a_text_is_refused():
    data = bauklens.logit_lens(tiny_model("gpt2"), None, PROMPT, track=2).to_dict()
    other = data["tracked"] | {"token_ids": [318, 319]}
    vocabulary = {token: text for token, text in data["vocabulary"].items() if token not in ("318", "319")}
    with pytest.raises(LensError, match="the vocabulary has no text for token id 318"):
        LensResult.from_dict(data | {"tracked": other, "vocabulary": vocabulary})


class TestInAPage:
    def test_codes_of_ranks_are_within_three_percent(self):
        ranks = np.arange(1, 2_000)
        codes = coded(ranks).astype(float)
        assert (codes[ranks > LIMIT] == 0).all()
        decoded = np.where(codes <= 16, codes, np.round(16 * 2 ** ((codes - 16) / 12)))
        known = ranks <= LIMIT
        assert np.array_equal(decoded[:16], ranks[:16])
        assert (np.abs(decoded - ranks)[known] <= np.maximum(0.5, 0.03 * ranks[known]) + 0.5).all()

    def test_few_values_are_held_as_they_are(self, model):
        lens = bauklens.logit_lens(model, None, PROMPT)
        places = {token: place for place, token in enumerate(lens.tracked.token_ids.tolist())}
        found = tracked_payload(lens.tracked, places)
        assert found.head["exact"] == len(lens.tracked)
        assert found.head["left"] == 0
        assert found.head["places"] == list(range(len(lens.tracked)))
        assert found.arrays["tracked ranks"].size == lens.tracked.rank.size
        assert np.array_equal(found.arrays["tracked logs"].view(np.float16), lens.tracked.log_probability.ravel())

    @pytest.mark.parametrize("brief", [True, False])
    @pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
    def test_the_viewer_reads_the_ranks_that_were_written(self, opening, dtype, brief):
        random = np.random.default_rng(0)
        logs = -random.integers(0, 6, (9, 4, 5)).astype(np.float16)  # with many of the same
        ranks = np.exp(random.uniform(0, np.log(np.iinfo(dtype).max), logs.shape)).astype(dtype)
        tracked = Tracked(np.arange(9), logs, ranks, np.full((4, 5), 900, dtype=np.uint32))
        found = tracked_payload(tracked, {token: token + 2 for token in range(9)}, brief=brief)
        assert set(found.arrays["tracked sure"].tolist()) == {127 if brief else 900}
        module = base64.b64encode((VIEWER / "tracked.js").read_bytes()).decode()
        read = """async ([module, head, logs, ranks, kind]) => {
          const { trackedOf } = await import(`data:text/javascript;base64,${module}`);
          const known = trackedOf(head, { logs: Uint16Array.from(logs), ranks: globalThis[kind].from(ranks) }, 4, 5);
          return Array.from({ length: 9 }, (_, token) => [...known.of(token + 2).rank]);
        }"""
        arrays = [found.arrays[name].tolist() for name in ("tracked logs", "tracked ranks")]
        kind = f"{found.arrays['tracked ranks'].dtype.name.replace('uint', 'Uint')}Array"
        page, _, _ = opening("<!doctype html>")
        decoded = np.array(page.evaluate(read, [module, found.head, *arrays, kind])).reshape(ranks.shape)
        off = np.abs(decoded - ranks) / ranks
        assert (off[ranks < 128] == 0).all()
        assert off.max() < (0.0079 if brief else 1e-6)  # float32 of ranks

    def test_of_many_the_first_are_then_ranks_and_the_last_are_left_out(self, model, monkeypatch):
        lens = bauklens.logit_lens(model, None, PROMPT)
        cells = lens.tracked.rank[0].size
        places = {token: place for place, token in enumerate(lens.tracked.token_ids.tolist())}
        monkeypatch.setattr("bauklens.show.tracked_payload.MOST_EXACT", 3 * cells + 1)
        monkeypatch.setattr("bauklens.show.tracked_payload.MOST_COARSE", 7 * cells)
        found = tracked_payload(lens.tracked, places)
        assert found.head["exact"] == 3
        assert found.head["places"] == list(range(10))
        assert found.head["left"] == len(lens.tracked) - 10
        assert found.arrays["tracked ranks"].size == 3 * cells
        by_position = coded(lens.tracked.rank[3:10]).transpose(0, 2, 1)
        assert np.array_equal(found.arrays["tracked codes"], by_position.ravel())
        assert found.arrays["tracked codes"].dtype == np.uint8

    def test_no_more_are_held_as_they_are_than_can_be_put_in_order(self, opening):
        count = (1 << 16) + 2
        logs = -np.ones((count, 1, 1), dtype=np.float16)
        ranks = np.arange(1, count + 1, dtype=np.uint32).reshape(-1, 1, 1)
        tracked = Tracked(np.arange(count), logs, ranks, np.full((1, 1), count, dtype=np.uint32))
        found = tracked_payload(tracked, {token: token for token in range(count)})
        module = base64.b64encode((VIEWER / "tracked.js").read_bytes()).decode()
        read = """async ([module, head, logs, ranks, codes]) => {
          const { trackedOf } = await import(`data:text/javascript;base64,${module}`);
          const exact = { logs: Uint16Array.from(logs), ranks: Uint32Array.from(ranks) };
          const known = trackedOf(head, { ...exact, codes: Uint8Array.from(codes) }, 1, 1);
          return [0, 1, 2, 65535, 65536].map((token) => String(known.of(token).rank[0]));
        }"""
        arrays = [found.arrays[f"tracked {name}"].tolist() for name in ("logs", "ranks", "codes")]
        page, _, _ = opening("<!doctype html>")
        assert page.evaluate(read, [module, found.head, *arrays]) == ["1", "2", "3", "65536", "NaN"]

    def test_beside_very_many_numbers_fewer_are_held_and_none_exactly(self, model, monkeypatch):
        lens = bauklens.logit_lens(model, None, PROMPT)
        cells = lens.tracked.rank[0].size
        places = {token: place for place, token in enumerate(lens.tracked.token_ids.tolist())}
        monkeypatch.setattr("bauklens.show.tracked_payload.MOST_COARSE", 11 * cells)
        found = tracked_payload(lens.tracked, places, beside=2 * cells)
        assert found.head["exact"] == 0
        assert found.head["places"] == [0, 1, 2]
        assert set(found.arrays) == {"tracked codes"}
        assert not tracked_payload(lens.tracked, places, beside=3 * cells).head["places"]

    def test_a_result_without_them_has_none(self, model):
        assert tracked_payload(bauklens.logit_lens(model, None, PROMPT, track=0).tracked, {}).head is None

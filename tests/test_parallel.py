"""Models that are spread over the processes of torch.distributed: what one process finds is what all of them find."""

import pickle
from inspect import signature

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    LlamaConfig,
    MixtralConfig,
    PhiConfig,
)

import bauklens
from bauklens import edits
from tests.processes import FORKS, ROOT, python
from tests.spread import IDS, MODELS, PATIENCE, TEXTS, arrays, others, outcome, tables
from tests.tiny import LAYERS, VOCABULARY, randomised

LLAMA = {
    "hidden_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "vocab_size": VOCABULARY,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
CONFIGS = {
    "llama": lambda: LlamaConfig(**LLAMA),
    "tied": lambda: LlamaConfig(**LLAMA, tie_word_embeddings=True),
    "gemma2": lambda: Gemma2Config(**LLAMA, head_dim=8, sliding_window=4, final_logit_softcapping=5.0),
    "cohere": lambda: CohereConfig(**LLAMA, logit_scale=0.25, pad_token_id=0, bos_token_id=1, eos_token_id=2),
    "phi": lambda: PhiConfig(**LLAMA),
    "mixtral": lambda: MixtralConfig(**LLAMA, num_local_experts=4, num_experts_per_tok=2),
}
assert tuple(CONFIGS) == MODELS


def reason_to_skip():
    if not FORKS:
        return "starts its processes by fork, as on Linux"
    if not torch.distributed.is_available():
        return "this torch has no distributed"
    try:
        from transformers.distributed import DistributedConfig
    except ImportError:
        return "this version of transformers has no DistributedConfig"
    given = signature(DistributedConfig).parameters
    return "" if "tp_size" in given else "this version of transformers has no DistributedConfig(tp_size=...)"


pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip()),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("spread")
    for name, config in CONFIGS.items():
        torch.manual_seed(0)
        model = randomised(AutoModelForCausalLM.from_config(config())).requires_grad_(False)
        model.get_output_embeddings().weight.div_(6)  # so that no two tokens are as likely to the last digit
        model.save_pretrained(made / name)
    return made


@pytest.fixture(scope="module")
def alone(folder):
    """What one process finds."""
    found = {"tables": {}, "others": {}}
    for name in MODELS:
        model, _ = bauklens.load(folder / name, device="cpu")
        found["tables"] |= {(name, what): arrays(ask()) for what, ask in tables(model, name)}
        if name == "llama":
            found["others"] = {what: outcome(ask) for what, ask in others(model)}
    return found


@pytest.fixture(scope="module", params=[2, 3])
def spread(request, folder):
    """What each rank found, in order, and what each said."""
    ended = python(ROOT / "tests" / "spread.py", request.param, folder)
    said = [(folder / f"{rank}.txt").read_text() for rank in range(request.param)]
    assert ended.returncode == 0, "\n".join([ended.stderr, *said])
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(request.param)], said


def require_alike(found, own):
    """That a table is what one process has: the same tokens, and numbers but for rounding."""
    assert not isinstance(found, str), found
    assert found.keys() == own.keys()
    for name, values in own.items():
        if name.endswith("by"):
            continue
        given = found[name]
        assert given.shape == values.shape, name
        if name.endswith("tracked ranks"):  # of tokens that are as likely, rounding says which is first
            assert (np.abs(given.astype(int) - values) <= 1 + 0.02 * values).all(), name
        elif values.dtype.kind in "iu":
            assert (given == values).all(), name
        else:
            within = 1e-5 if "probabilit" in name or "mass:" in name else 1e-4
            np.testing.assert_allclose(given, values, atol=within, rtol=1e-6, err_msg=name)


def test_every_rank_has_the_table_of_one_process(spread, alone):
    ranks, _ = spread
    for found in ranks:
        for key in found["tables"]:
            require_alike(found["tables"][key], alone["tables"][key])
            ways = {each for name, each in found["tables"][key].items() if name.endswith("by")}
            assert ways == {"product in shards"}, (key, ways)


def test_what_ranks_find_is_the_same_to_the_last_bit(spread):
    (first, *others), _ = spread
    for key, own in first["tables"].items():
        for found in others:
            for name, values in own.items():
                np.testing.assert_array_equal(found["tables"][key][name], values, err_msg=f"{key} {name}")


def test_no_rank_has_all_logits_of_a_row(spread):
    for found in spread[0]:
        assert found["rows"] < 48  # positions of the prompt


def test_ranks_tell_each_other_less_than_200_bytes_a_row(spread):
    for found in spread[0]:
        assert 40 < found["bytes"] < 200


def test_ranks_that_ask_for_different_things_are_all_told_so_at_once(spread):
    said = {
        "prompts": "prompt of logit_lens(): 10 tokens on rank 0 and 10 tokens on rank 1, first different at position "
        "3 (5 and 9)",
        "lengths": "4 tokens on rank 0 and 5 tokens on rank 1, first different at position 4 (none and 5)",
        "options": "topk of logit_lens(): '5' on rank 0 and '6' on rank 1",
        "edits": "edits of logit_lens(): ",
        "decoders": "decoder of logit_lens(): ",
        "functions": "'attention()' on rank 0 and 'logit_lens()' on rank 1",
        "states": "prompt of the model: 4 tokens on rank 0 and 5 tokens on rank 1",
        "numbers of numpy": "topk of logit_lens(): '5' on rank 0 and '6' on rank 1",
        "many": "topk of lenses(): '5' on rank 0 and '6' on rank 1",
        "numbers of prompts": "number of prompts of the model: '3' on rank 0 and '4' on rank 1",
        "hooks": "hooked modules of the model: 'none' on rank 0 and 'model.layers.1' on rank 1",
    }
    for found in spread[0]:
        for what, text in said.items():
            error, seconds = found[what]
            assert error.startswith("LensError: the ranks of this model were asked for different things: ")
            assert text in error
            assert "\n" not in error
            assert seconds < 5


def test_a_rank_that_calls_by_itself_is_told_so_after_a_while(spread, alone):
    ranks, _ = spread
    error, seconds = ranks[0]["alone"]
    others = "rank 1" if len(ranks) == 2 else "ranks 1, 2"
    assert error.startswith(f"LensError: logit_lens() was called on rank 0, but not on {others} within 1 seconds")
    assert PATIENCE <= seconds < PATIENCE + 10
    for found in ranks:  # and the next call of all of them is fine
        require_alike(found["again"], alone["tables"]["llama", "defaults"])


def test_options_may_be_given_in_another_order(spread, alone):
    for found in spread[0]:
        assert not isinstance(found["in another order"], str), found["in another order"]


def test_ranks_without_a_seed_draw_the_same_tokens(spread, folder):
    ranks, _ = spread
    ids, _, text = ranks[0]["drawn"]
    model, _ = bauklens.load(folder / "llama", device="cpu")
    own = arrays(bauklens.logit_lens(model, None, ids))
    for found in ranks:
        assert found["drawn"][0] == ids
        assert found["drawn"][2] == text
        np.testing.assert_array_equal(found["drawn"][1]["ids"], own["ids"])
        np.testing.assert_allclose(found["drawn"][1]["probabilities"], own["probabilities"], atol=1e-5)


def test_functions_that_give_each_rank_something_else_are_refused(spread):
    for found in spread[0]:
        for said in found["with noise"]:
            assert str(said).startswith("LensError: the ranks of this model have different states")


def test_a_spread_model_is_compared_with_an_ordinary_one_in_either_order(spread):
    for rank, found in enumerate(spread[0]):
        is_none, apart = found["compared"]
        assert is_none == [rank > 0] * 2
        assert max(apart) < 1e-5


def test_rows_of_a_head_that_is_split_are_states_like_others(spread, folder):
    model, _ = bauklens.load(folder / "llama", device="cpu")
    rows = model.lm_head.weight
    own = arrays(bauklens.decode_states(model, None, rows[:2]))
    added = arrays(bauklens.logit_lens(model, None, IDS, edits=edits.add(rows[5], layers=1)))
    for found in spread[0]:
        require_alike(found["rows of the head"], own)
        require_alike(found["row of the head added"], added)


def test_all_ranks_are_told_if_the_first_cannot_write_a_sweep(spread):
    for found in spread[0]:
        for what, text in {"other": "was begun with", "full": "is full: free some space"}.items():
            said, seconds = found["failed sweeps"][what]
            assert said.startswith("LensError: "), said
            assert text in said
            assert seconds < 20
        assert found["failed sweeps"]["resumed"][0] == 3


def test_results_are_handed_to_the_first_rank(spread):
    ranks, _ = spread
    assert [found["first"] for found in ranks] == [False] + [True] * (len(ranks) - 1)


def test_memory_that_runs_out_on_one_rank_makes_all_take_fewer_rows(spread, alone):
    for found in spread[0]:
        require_alike(found["short of memory"], alone["tables"]["llama", "defaults"])


def test_the_model_is_left_as_it_was(spread):
    assert {found["own"] for found in spread[0]} == {(VOCABULARY, "Linear")}


def test_only_the_first_rank_says_something(spread):
    _, (first, *others) = spread
    assert "gemma2 has no tokenizer" in first
    for said in others:
        assert "gemma2" not in said
        assert (
            said.count("Loading weights") == said.count("Loading weights: 100%") * 2 <= 4
        )  # of two that are not spread


def test_other_functions_are_right_or_say_in_one_line_that_they_are_not(spread, alone):
    refused = {
        "nearest by cosine": "split over ranks",
        "neurons": "split over ranks",
        "contributions": "its head is split over ranks",
        "heads": "of the 6 attention heads of model.layers.0",
        "attention of a lens": "of the 6 attention heads",
        "attention": "of the 6 attention heads",
        "effect of heads": "of the 6 attention heads",
        "edit of a token": "split over ranks",
    }
    for found in spread[0]:
        for what, given in found["others"].items():
            own = alone["others"][what]
            assert not isinstance(own, str), own
            if what in refused:
                assert given.startswith("LensError: "), (what, given)
                assert refused[what] in given
                assert "\n" not in given
            else:
                np.testing.assert_allclose(given, own, atol=2e-4, rtol=1e-4, err_msg=what)


def test_heads_that_are_not_split_by_tokens_are_decoded_by_the_model_itself(spread, alone):
    for found in spread[0]:
        require_alike(found["by rows"], alone["tables"]["llama", "defaults"])
        assert found["by rows"]["by"] == "replay"
        require_alike(found["sharded"], alone["tables"]["llama", "defaults"])


def test_hooks_that_split_a_model_are_not_the_caller_s(spread, alone):
    for found in spread[0]:
        require_alike(found["by torch"], alone["tables"]["llama", "defaults"])
        assert found["by torch"]["by"] == "product in shards"


def test_what_would_make_a_wrong_table_is_refused(spread):
    for found in spread[0]:
        assert "tokens on each rank, because its head is split and they are not gathered" in found["apart"]
        assert "is split into pipeline stages (pp_size)" in found["stages"]


def test_experts_of_their_own_and_sharded_weights(spread, alone):
    ranks, _ = spread
    if len(ranks) != 2:
        return
    for found in ranks:
        require_alike(found["experts"], alone["tables"]["mixtral", "everything"])
        for what, given in found["sharded others"].items():
            own = alone["others"][what]
            if isinstance(given, str):
                assert given.startswith("LensError: "), (what, given)
                assert "\n" not in given
            else:
                np.testing.assert_allclose(given, own, atol=2e-4, rtol=1e-4, err_msg=what)


def test_the_ranks_of_a_model_sweep_as_one_worker(spread, folder, tmp_path):
    ranks, _ = spread
    model, _ = bauklens.load(folder / "llama", device="cpu")
    alone = bauklens.sweep(TEXTS, tmp_path / "alone", model, per=3, measures="all").to_frame()
    for shards, runs, _ in (found["swept"] for found in ranks):
        assert shards == 3
        assert [(run["worker"], run["workers"], run["prompts"]) for run in runs] == [(0, 1, 8)]
    own = bauklens.open_sweep(folder / f"swept-{len(ranks)}")
    assert list(own.runs) == ranks[0]["swept"][1]
    found = own.to_frame()
    assert found.layer.tolist() == alone.layer.tolist()
    assert np.array_equal(np.stack(found.top_ids), np.stack(alone.top_ids))
    assert np.allclose(found.kl, alone.kl, atol=1e-4)

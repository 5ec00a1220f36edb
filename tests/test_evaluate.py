"""pass@k of intermediate concepts, against hooks, the model's own norm and head, and counting by hand."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import bauklens
from bauklens import Evaluation, JacobianLens, LensError, evaluate
from bauklens.cli import main
from bauklens.decoders.evaluation_sets import item_sets
from bauklens.decoders.word_tokens import NUMBERS, OPERATIONS, forms_of
from bauklens.show.evaluated_items import EvaluatedItem, EvaluatedSet, EvaluatedWord
from tests.by_hand import matrices
from tests.made import HOSTILE
from tests.tiny import LAYERS, VOCABULARY, block_list, tiny_model

PUBLISHED = Path(__file__).parent / "data" / "lens-evals"

ITEMS = [
    {"name": "tower", "prompt": "the city is the ", "target": "tower", "intermediates": ["city", "the"]},
    {"prompt": "is in the tower", "intermediates": ["a", ["sea", "of", "in"]]},
    {"prompt": "a city of the", "target": " tower", "intermediates": ["a"]},
]
"""Each word of these, but "sea", is a token of the tiny tokenizer; none of a space and a word is a token for all."""


@pytest.fixture(scope="module")
def tokenizer():
    """Byte-level BPE with a few whole words, with a space before them, capitalized, or neither."""
    whole = [
        " the",
        " city",
        " tower",
        " is",
        " in",
        " of",
        " Paris",
        " twelve",
        "the",
        "The",
        "city",
        "in",
        "is",
        "twelve",
    ]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces, merges = dict.fromkeys(alphabet), []
    for word in (each.replace(" ", "\u0120") for each in whole):
        for end in range(2, len(word) + 1):
            if word[:end] not in pieces:
                pieces[word[:end]] = None
                merges.append((word[: end - 1], word[end - 1]))
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    assert len(vocabulary) <= VOCABULARY
    made = Tokenizer(models.BPE(vocabulary, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made)


@pytest.fixture(scope="module")
def gpt2():
    return tiny_model("gpt2")


class Slow:
    """A tokenizer without offsets."""

    is_fast = False

    def __init__(self, tokenizer):
        self.wrapped = tokenizer

    def __call__(self, text, **options):
        assert "return_offsets_mapping" not in options
        return self.wrapped(text, **options)

    def __getattr__(self, name):
        return getattr(self.wrapped, name)


def by_hand(model, ids, layers, maps=None):
    """(layer, vocabulary), what the model's own norm and head make of the last position after some blocks."""
    kept, hooks = {}, []
    for number, block in enumerate(block_list(model)):
        hooks.append(
            block.register_forward_hook(
                lambda module, inputs, output, number=number: kept.__setitem__(
                    number, (output[0] if isinstance(output, tuple) else output).detach()
                )
            )
        )
    with torch.no_grad():
        model(torch.tensor([ids]))
        for hook in hooks:
            hook.remove()
        states = torch.stack([kept[layer].reshape(len(ids), -1)[-1] for layer in layers])
        if maps is not None:
            states = torch.stack([maps[str(layer)] @ state for layer, state in zip(layers, states, strict=True)])
        inner = model.base_model
        norm = inner.ln_f if hasattr(inner, "ln_f") else inner.norm
        return model.get_output_embeddings()(norm(states))


def single_tokens(tokenizer, *words):
    """The ids of the forms of words that are one token."""
    found = []
    for word in words:
        for text in (word, f" {word}", word.capitalize(), f" {word.capitalize()}"):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            found += ids if len(ids) == 1 else []
    return found


def ranks_by_hand(logits, ids):
    """The best rank over layers and tokens, and the first layer that has it."""
    ranks = torch.stack([(logits > logits[:, each, None]).sum(dim=1) + 1 for each in ids], dim=1).min(dim=1).values
    return int(ranks.min()), int(ranks.argmin())


class TestRanks:
    @pytest.mark.parametrize("name", ["gpt2", "gptj", "llama"])
    def test_they_are_those_of_the_models_own_norm_and_head(self, name, tokenizer):
        model = tiny_model(name)
        found = evaluate("logit", model, tokenizer, ITEMS)
        ids = [tokenizer("the city is the")["input_ids"], tokenizer("is in the tower")["input_ids"]]
        ids.append(tokenizer("a city of the")["input_ids"])
        words = [[["city"], ["the"]], [["a"], ["sea", "of", "in"]], [["a"]]]
        shares = []
        for item, own, each in zip(found.sets[0].items, ids, words, strict=True):
            logits = by_hand(model, own, range(LAYERS - 1))
            expected = [ranks_by_hand(logits, single_tokens(tokenizer, *synonyms)) for synonyms in each]
            assert [(word.best_rank[0], int(word.best_layer[0])) for word in item.words] == expected
            shares.append([np.mean([rank <= k for rank, _ in expected]) for k in found.ks])
        assert np.allclose(found.passed[0, 0], np.mean(shares, axis=0))

    def test_a_learned_map_comes_before_the_norm(self, gpt2, tokenizer):
        maps = {label: matrix for label, matrix in matrices().items() if label != "embed"}
        found = evaluate(JacobianLens(maps), gpt2, tokenizer, ITEMS[1:2])
        logits = by_hand(gpt2, tokenizer("is in the tower")["input_ids"], range(LAYERS - 1), maps)
        expected = ranks_by_hand(logits, single_tokens(tokenizer, "a"))
        word = found.sets[0].items[0].words[0]
        assert (word.best_rank[0], int(word.best_layer[0])) == expected

    def test_the_last_row_counts_only_if_it_is_asked_for(self, gpt2, tokenizer):
        assert evaluate("logit", gpt2, tokenizer, ITEMS).layers == ("0", "1")
        found = evaluate("logit", gpt2, tokenizer, ITEMS[1:2], layers=-1)
        with torch.no_grad():
            own = gpt2(torch.tensor([tokenizer("is in the tower")["input_ids"]])).logits[0, -1:]
        assert found.layers == (str(LAYERS - 1),)
        assert found.sets[0].items[0].words[0].best_rank[0] == ranks_by_hand(own, single_tokens(tokenizer, "a"))[0]

    def test_a_list_of_decoders_equals_single_runs(self, gpt2, tokenizer):
        maps = {label: matrix for label, matrix in matrices().items() if label != "embed"}
        chosen = [None, JacobianLens(maps), lambda states, layers: states.flip(-1)]
        together = evaluate(chosen, gpt2, tokenizer, ITEMS)
        for number, decoder in enumerate(chosen):
            alone = evaluate(decoder, gpt2, tokenizer, ITEMS)
            assert np.array_equal(alone.passed[:, 0], together.passed[:, number])
            for one, both in zip(alone.sets[0].items, together.sets[0].items, strict=True):
                for word, other in zip(one.words, both.words, strict=True):
                    assert word.best_rank == (other.best_rank[number],)

    def test_only_layers_that_every_decoder_maps_are_read_unless_some_are_named(self, gpt2, tokenizer):
        one = JacobianLens({1: torch.eye(gpt2.config.n_embd)})
        found = evaluate(["logit", one], gpt2, tokenizer, ITEMS)
        assert (found.layers, found.layers_without_map) == (("1",), ("0",))
        assert "Not every decoder has a map for 0." in " ".join(found.rules)
        with pytest.raises(LensError, match="decoder 'jacobian' has no map for layer 0: pass layers"):
            evaluate(["logit", one], gpt2, tokenizer, ITEMS, layers=[0, 1])
        embed = JacobianLens({"embed": torch.eye(gpt2.config.n_embd)})
        with pytest.raises(LensError, match="no layer but the last has a map under every decoder"):
            evaluate(embed, gpt2, tokenizer, ITEMS)

    def test_the_model_is_left_as_it_was(self, gpt2, tokenizer):
        before = {name: value.clone() for name, value in gpt2.state_dict().items()}
        evaluate(["logit"], gpt2, tokenizer, ITEMS)
        assert not any(module._forward_hooks for module in gpt2.modules())
        assert all(torch.equal(value, before[name]) for name, value in gpt2.state_dict().items())


class TestPosition:
    def test_a_space_at_the_end_is_left_to_the_targets_token(self, gpt2, tokenizer):
        (item,) = evaluate("logit", gpt2, tokenizer, ITEMS[:1]).sets[0].items
        assert (item.token, item.position, item.rule) == (" the", 3, "before target")
        assert len(tokenizer("the city is the ")["input_ids"]) == 5

    def test_a_space_that_the_target_cannot_take_in_is_read(self, gpt2, tokenizer):
        (item,) = evaluate("logit", gpt2, tokenizer, [ITEMS[0] | {"target": "sea"}]).sets[0].items
        assert (item.token, item.position) == (" ", 4)

    def test_a_tokenizer_without_offsets_reads_at_the_same_token(self, gpt2, tokenizer):
        fast, slow = (evaluate("logit", gpt2, each, ITEMS) for each in (tokenizer, Slow(tokenizer)))
        assert slow.sets == fast.sets

    def test_without_a_target_it_is_the_last_token(self, gpt2, tokenizer):
        item = evaluate("logit", gpt2, tokenizer, ITEMS).sets[0].items[1]
        assert (item.token, item.position, item.rule) == (" tower", 3, "last")

    def test_the_last_token_or_newline_on_request(self, gpt2, tokenizer):
        (item,) = evaluate("logit", gpt2, tokenizer, ITEMS[:1], read="last").sets[0].items
        assert (item.token, item.position, item.rule) == (" ", 4, "last")
        couplet = {"prompt": "the city\nis the\nsea", "intermediates": ["the"]}
        (item,) = evaluate("logit", gpt2, tokenizer, [couplet], read="last newline").sets[0].items
        assert (item.token, item.rule) == ("\n", "last newline")
        assert item.position == len(tokenizer("the city\nis the\n")["input_ids"]) - 1
        with pytest.raises(LensError, match="items, item 1 \\('tower'\\): no token of the prompt contains a newline"):
            evaluate("logit", gpt2, tokenizer, ITEMS[:1], read="last newline")

    def test_items_files_and_published_names_have_rules_of_their_own(self, gpt2, tokenizer):
        couplet = {"prompt": "the city\nis the", "intermediates": ["the"]}
        sets = {
            "lens-eval-poetry": [couplet],
            "own": [couplet | {"read": "last newline"}, couplet],
            "file": {"items": [couplet], "read": "last newline"},
        }
        found = evaluate("logit", gpt2, tokenizer, sets)
        rules = [[item.rule for item in each.items] for each in found.sets]
        assert rules == [["last newline"], ["last newline", "last"], ["last newline"]]
        found = evaluate("logit", gpt2, tokenizer, sets, read={"own": "last"})
        assert [item.rule for item in found.sets[1].items] == ["last", "last"]
        assert found.sets[0].items[0].rule == "last newline"

    def test_a_chat_is_formatted_with_the_template(self, gpt2, tokenizer):
        chat = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
        chat.chat_template = "{% for each in messages %}{{ each.role }}: {{ each.content }}\n{% endfor %}is "
        item = {"prompt": [{"role": "user", "content": "the city"}], "target": "in", "intermediates": ["the"]}
        (found,) = evaluate("logit", gpt2, chat, [item]).sets[0].items
        assert found.prompt == "user: the city\nis "
        assert found.token == "is"
        with pytest.raises(LensError, match="item 1: messages need a tokenizer with a chat template"):
            evaluate("logit", gpt2, tokenizer, [item])


class TestWords:
    def test_synonyms_are_one_concept_with_the_best_of_their_ranks(self, gpt2, tokenizer):
        prompt = "is in the tower"
        each = [{"prompt": prompt, "intermediates": ["of", "in"]}, {"prompt": prompt, "intermediates": [["of", "in"]]}]
        apart, together = evaluate("logit", gpt2, tokenizer, each).sets[0].items
        assert len(together.words) == 1
        assert together.words[0].best_rank[0] == min(word.best_rank[0] for word in apart.words)

    def test_words_are_tried_with_and_without_a_space_and_capitalized(self, gpt2, tokenizer):
        item = {"prompt": "is", "intermediates": ["the", "city", "paris"]}
        (found,) = evaluate("logit", gpt2, tokenizer, [item]).sets[0].items
        assert [word.tokens for word in found.words] == [("the", " the", "The"), ("city", " city"), (" Paris",)]

    def test_words_without_a_token_are_reported_and_left_out(self, gpt2, tokenizer):
        items = [{"prompt": "is", "intermediates": ["the", "sea"]}, {"prompt": "is", "intermediates": ["sea"]}]
        found = evaluate("logit", gpt2, tokenizer, items)
        alone = evaluate("logit", gpt2, tokenizer, [{"prompt": "is", "intermediates": ["the"]}])
        assert found.left_out == ("sea", "sea")
        assert np.array_equal(found.passed, alone.passed)
        assert "2 words have no token of their own, left out: sea (2 times)." in found.to_html()
        first = evaluate("logit", gpt2, tokenizer, items, words="first")
        assert first.left_out == ()
        word = first.sets[0].items[1].words[0]
        assert (word.by, word.tokens) == ("first", ("s", "S"))  # not the space of " sea"

    def test_a_set_without_any_word_has_no_score(self, gpt2, tokenizer):
        none = [{"prompt": "is", "intermediates": ["sea"]}]
        found = evaluate("logit", gpt2, tokenizer, {"none": none, "some": ITEMS})
        assert np.isnan(found.passed[0]).all()
        assert np.isnan(found.intervals[0]).all()
        assert np.array_equal(found.mean, found.passed[1])
        alone = evaluate("logit", gpt2, tokenizer, none)
        assert np.isnan(alone.mean).all()
        assert "none" in alone.to_html()
        alone.plot()

    def test_numbers_and_operations_have_further_forms(self, gpt2, tokenizer):
        assert forms_of("12", "arithmetic") == ("12", "twelve")
        assert forms_of("Twelve", "arithmetic") == ("Twelve", "12")
        assert "+" in forms_of("addition", "arithmetic")
        assert forms_of("addition", "plain") == ("addition",)
        item = [{"prompt": "is", "intermediates": ["12", "addition"]}]
        assert evaluate("logit", gpt2, tokenizer, item).left_out == ("12", "addition")
        found = evaluate("logit", gpt2, tokenizer, item, forms="arithmetic").sets[0].items[0]
        assert [word.tokens for word in found.words] == [("twelve", " twelve"), ("+",)]
        published = evaluate("logit", gpt2, tokenizer, {"lens-eval-order-ops": item})
        assert published.sets[0].items[0].words == found.words
        plain = evaluate("logit", gpt2, tokenizer, {"lens-eval-order-ops": item}, forms="plain")
        assert plain.left_out == ("12", "addition")

    def test_an_unknown_token_is_no_word(self, gpt2):
        words = Tokenizer(models.WordLevel({"?": 0, "the": 1, "city": 2}, unk_token="?"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        made = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?")
        found = evaluate("logit", gpt2, made, [{"prompt": "the", "intermediates": ["city", "sea"]}], words="first")
        assert found.left_out == ("sea",)

    def test_the_page_tells_the_forms(self):
        guide = (Path(__file__).parent.parent / "docs" / "guide" / "evaluating.md").read_text("utf-8")
        for name, forms in OPERATIONS.items():
            assert f"| {name} | {' '.join(f'`{each}`' for each in forms)} |" in guide
        assert len(NUMBERS) == 29


class TestItems:
    @pytest.mark.parametrize(
        ("items", "message"),
        [
            (7, "items must be a file, or a list of items; got int"),
            ([], "items is empty"),
            ({"items": []}, "items: it has no items"),
            ({"x": 3}, "x: looked for a list of items; got int"),
            (ITEMS[0], "items is a single item: pass a list"),
            ([3], "items, item 1: looked for an object with a prompt; got int"),
            ([{"intermediates": ["a"]}], 'item 1: it has no "prompt"'),
            ([{"prompt": "a", "name": "n"}], "item 1 \\('n'\\): it has no \"intermediates\""),
            ([{"prompt": "a", "intermediates": []}], '"intermediates" is empty'),
            ([{"prompt": "a", "intermediates": "word"}], '"intermediates" must be a list of words; got str'),
            ([{"prompt": "a", "intermediates": [3]}], "a word must be text; got int"),
            ([{"prompt": "a", "intermediates": [[]]}], "a word has an empty list of synonyms"),
            ([{"prompt": "a", "intermediates": [[["a"]]]}], "a word must be text; got list"),
            ([{"prompt": "a", "intermediates": [" "]}], "a word is empty"),
            ([{"prompt": "a", "intermediates": ["\ud800"]}], "a word is not valid Unicode"),
            ([{"prompt": "", "intermediates": ["a"]}], '"prompt" is empty'),
            ([{"prompt": [], "intermediates": ["a"]}], '"prompt" is empty'),
            ([{"prompt": float("nan"), "intermediates": ["a"]}], '"prompt" must be text; got float'),
            ([{"prompt": [3], "intermediates": ["a"]}], "a chat must be a list of"),
            ([{"prompt": "a", "intermediates": ["a"], "target": ""}], '"target" is empty: leave it out'),
            ([{"prompt": "a", "intermediates": ["a"], "target": float("nan")}], '"target" must be text; got float'),
            ([{"prompt": "a", "intermediates": ["a"], "read": "first"}], "unknown \"read\" 'first': pass one of"),
            ({"items": [{"prompt": "a", "intermediates": ["a"]}], "forms": []}, 'unknown "forms" list: pass one of'),
            ([ITEMS[1], ITEMS[1] | {"prompt": "a " * 300}], "items, item 2: the prompt has .* context is 64"),
        ],
    )
    def test_a_bad_one_is_named_in_one_line(self, gpt2, tokenizer, items, message):
        with pytest.raises(LensError, match=message) as raised:
            evaluate("logit", gpt2, tokenizer, items)
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 400

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"\xff\xfe{", "cannot read .*: it is not UTF-8 text"),
            (b"{", "cannot read .*: it is not JSON"),
            (b"[" * 100_000, "nested more than 100 deep"),
            (b'[{"prompt": NaN, "intermediates": ["a"]}]', 'set, item 1: "prompt" must be text; got float'),
            (b'{"prompts": []}', 'set: looked for a list of items, .* it has no "items"'),
            (b'"text"', "set: looked for a list of items; got str"),
        ],
    )
    def test_a_bad_file_is_one_line(self, tmp_path, content, message):
        (tmp_path / "set.json").write_bytes(content)
        with pytest.raises(LensError, match=message) as raised:
            item_sets(tmp_path / "set.json")
        assert "\n" not in str(raised.value)

    def test_a_byte_order_mark_is_passed_over(self, tmp_path):
        (tmp_path / "set.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(ITEMS).encode())
        assert item_sets(tmp_path / "set.json") == item_sets({"set": ITEMS})

    def test_a_huge_target_and_a_huge_word_do_no_harm(self, gpt2, tokenizer):
        huge = ITEMS[0] | {"target": "tower " * 20_000, "intermediates": ["the", "x" * 20_000]}
        found, usual = evaluate("logit", gpt2, tokenizer, [huge]), evaluate("logit", gpt2, tokenizer, ITEMS[:1])
        assert found.sets[0].items[0].position == usual.sets[0].items[0].position
        assert found.left_out == ("x" * 20_000,)
        assert len(found.to_html()) < 50_000

    def test_several_sets_are_named_by_their_files(self, tmp_path, gpt2, tokenizer):
        for name in ("one", "two"):
            (tmp_path / f"{name}.json").write_text(json.dumps({"items": ITEMS}))
        paths = [tmp_path / "one.json", tmp_path / "two.json"]
        assert [each.name for each in evaluate("logit", gpt2, tokenizer, paths).sets] == ["one", "two"]
        with pytest.raises(LensError, match="two sets are called 'one'"):
            item_sets([paths[0], paths[0]])

    def test_the_published_sets_are_read(self):
        sets = item_sets(sorted(PUBLISHED.glob("*.json")))
        assert [each.name for each in sets] == ["association", "multihop", "order-ops"]
        assert [len(each.items) for each in sets] == [102, 93, 55]
        assert [each.forms for each in sets] == ["plain", "plain", "arithmetic"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"k": []}, "k is empty"),
            ({"k": 0}, "k is 0: pass a number of 1 or more"),
            ({"k": 10**400}, "k is larger than 1,000,000,000"),
            ({"k": "ten"}, "k is 'ten': pass a whole number"),
            ({"words": "whole"}, "unknown words 'whole': pass one of 'single', 'first'"),
            ({"read": "first"}, "unknown read 'first'"),
            ({"read": {"other": "last"}}, "unknown set 'other': pass one of 'items'"),
            ({"forms": 3}, "unknown forms '3'"),
            ({"layers": 9}, "unknown layer 9"),
        ],
    )
    def test_bad_options_are_one_line(self, gpt2, tokenizer, options, message):
        with pytest.raises(LensError, match=message):
            evaluate("logit", gpt2, tokenizer, ITEMS, **options)

    def test_a_missing_tokenizer_is_told(self, gpt2):
        with pytest.raises(LensError, match="needs a tokenizer: call evaluate"):
            evaluate("logit", gpt2, None, ITEMS)


def made_word(*ranks, text="word"):
    return EvaluatedWord(
        (text,),
        "single" if ranks else "none",
        (1,) * bool(ranks),
        ("t",) * bool(ranks),
        ranks,
        ("0",) * len(ranks),
        ("t",) * len(ranks),
    )


def made_evaluation(ranks, decoders=("logit", "demo"), ks=(1, 5, 10), text="word"):
    """One set; ``ranks`` are items, each a list of words, each a rank for each decoder."""
    items = [
        EvaluatedItem(
            "", "a prompt", "x", "before target", 2, 5, " t", tuple(made_word(*word, text=text) for word in item)
        )
        for item in ranks
    ]
    several = EvaluatedSet("set", "before target", "plain", tuple(items))
    return Evaluation("made", decoders, ("0", "1"), ks, "single", (several,))


class TestResult:
    RANKS = (((1, 3), (6, 1)), ((2, 2),), ((11, 9), (1, 1), (20, 5)), ((),))

    def test_pass_is_the_mean_over_items_of_the_share_of_words(self):
        found = made_evaluation(self.RANKS)
        assert np.allclose(found.passed[0, 0], [(1 / 2 + 0 + 1 / 3) / 3, (1 / 2 + 1 + 1 / 3) / 3, (1 + 1 + 1 / 3) / 3])
        assert np.allclose(found.pass_at(9)[0, 1], 1)
        assert len(found.sets[0].scored) == 3

    def test_the_mean_counts_every_set_once(self):
        found = made_evaluation(self.RANKS)
        (one,) = found.sets
        other = replace(one, name="other", items=one.items[:1])
        both = replace(found, sets=(one, other))
        assert np.allclose(both.mean, (both.passed[0] + both.passed[1]) / 2)
        frame = both.to_frame()
        assert list(frame["set"].unique()) == ["set", "other", "mean of sets"]
        assert len(frame) == 3 * 2 * 3
        assert np.allclose(frame.loc[frame["set"] == "mean of sets", "pass"], both.mean.ravel())

    def test_intervals_are_those_of_a_bootstrap_over_items(self):
        random = np.random.default_rng(3)
        hits = random.random(80) < 0.3
        found = made_evaluation([[(1 if hit else 50,)] for hit in hits], decoders=("logit",), ks=(1,))
        means = [random.choice(hits, 80).mean() for _ in range(4000)]
        assert np.allclose(found.intervals[0, 0, 0], np.percentile(means, [2.5, 97.5]), atol=0.02)
        assert np.array_equal(
            found.intervals, made_evaluation([[(1 if hit else 50,)] for hit in hits], ("logit",), (1,)).intervals
        )

    def test_it_is_the_same_after_json_a_file_and_a_pickle(self, gpt2, tokenizer, tmp_path):
        found = evaluate(
            ["logit", lambda states, layers: -states],
            gpt2,
            tokenizer,
            [*ITEMS, {"prompt": "is", "intermediates": ["sea"]}],
        )
        data = json.loads(found.to_json())
        assert (data["format"], data["version"]) == ("bauklens.evaluation", 1)
        assert np.allclose(data["pass"], found.passed)
        found.save(tmp_path / "found.json")
        for again in (
            Evaluation.from_dict(data),
            Evaluation.load(tmp_path / "found.json"),
            pickle.loads(pickle.dumps(found)),
        ):
            assert again.sets == found.sets
            assert again.to_dict() == found.to_dict()
        with pytest.raises(LensError, match=r"saved as a .json file"):
            found.save(tmp_path / "found.html")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda data: data.update(format="x"), "not an evaluation: looked for format"),
            (lambda data: data.update(version=2), "has version 2; this bauklens reads version 1"),
            (lambda data: data.pop("ks"), "has no 'ks'"),
            (lambda data: data.update(ks=[0]), "looked for a number from 1 to"),
            (lambda data: data.update(ks=[5, 1]), "not ascending"),
            (lambda data: data.update(sets=[]), "is empty"),
            (lambda data: data.update(decoders=["a", "a"]), "the same name"),
            (lambda data: data.update(sets=[3]), "a set is not a mapping"),
            (lambda data: data["sets"][0]["items"][0].update(position=-1), "the 'position' of an item"),
            (lambda data: data["sets"][0]["items"][0]["words"][0].update(best_rank=[1]), "one rank, layer and token"),
            (lambda data: data["sets"][0]["items"][0]["words"][0].update(best_rank=[1, float("nan")]), "whole number"),
            (lambda data: data["sets"][0]["items"][0]["words"][0].update(best_layer=["0", "7"]), "was not read"),
            (lambda data: data["sets"][0]["items"][0]["words"][0].update(synonyms=[]), "has no text"),
        ],
    )
    def test_damaged_data_is_one_line(self, change, message):
        data = json.loads(made_evaluation(self.RANKS).to_json())
        change(data)
        with pytest.raises(LensError, match=message) as raised:
            Evaluation.from_dict(data)
        assert "\n" not in str(raised.value)

    def test_the_frame_of_items_has_every_word_under_every_decoder(self):
        frame = made_evaluation(self.RANKS).items_frame()
        assert len(frame) == 7 * 2
        assert frame["best_rank"].dropna().tolist() == [1, 3, 6, 1, 2, 2, 11, 9, 1, 1, 20, 5]
        assert frame["best_rank"].isna().sum() == 2

    @pytest.mark.parametrize("text", HOSTILE)
    def test_no_text_is_markup(self, text):
        found = replace(made_evaluation(self.RANKS, text=text), model=text, decoders=(text, f"{text}2"))
        named = replace(
            found,
            sets=(
                replace(
                    found.sets[0],
                    name=text,
                    items=tuple(
                        replace(item, prompt=text, token=text, target=text, name=text) for item in found.sets[0].items
                    ),
                ),
            ),
        )
        for html in (named.to_html(title=text), named._repr_html_()):
            for tag in ("<script", "<img", "<h1>out"):
                assert tag not in html
        named.plot()

    def test_the_plot_has_a_panel_for_each_set_and_the_mean(self):
        found = made_evaluation(self.RANKS)
        (panel,) = found.plot().axes
        line = panel.lines[0]
        assert np.allclose(np.interp(10, line.get_xdata(), line.get_ydata()), 100 * found.passed[0, 0, 2], atol=0.1)
        both = replace(found, sets=(found.sets[0], replace(found.sets[0], name="other")))
        assert [each.get_title() for each in both.plot().axes if each.get_visible()] == ["set", "other", "mean of sets"]


class TestCommand:
    @pytest.fixture
    def files(self, tmp_path, gpt2, tokenizer, monkeypatch):
        gpt2.save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
        (tmp_path / "set.json").write_text(json.dumps({"items": ITEMS}))
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def run(self, *words):
        return CliRunner().invoke(main, ["evaluate", *words, "--model", "model"])

    def test_it_prints_a_table_and_writes_files(self, files):
        written = ("-o", "page.html", "--json", "found.json", "--csv", "found.csv", "--plot", "found.png")
        ran = self.run("set.json", *written, "--k", "1", "--k", "50")
        assert ran.exit_code == 0, ran.output
        found = Evaluation.load("found.json")
        assert found.ks == (1, 50)
        assert f"{100 * found.passed[0, 0, 1]:.1f}" in ran.output
        assert "Best rank over 2 layers: 0, 1." in ran.output
        assert (files / "found.png").read_bytes().startswith(b"\x89PNG")
        assert "tower" in (files / "page.html").read_text("utf-8")
        assert (files / "found.csv").read_text("utf-8").startswith("set,decoder,k,pass")

    def test_json_goes_to_standard_output(self, files):
        ran = self.run("set.json", "--json", "-", "--layer", "1", "--read", "last", "--words", "first")
        data = json.loads(ran.stdout)
        assert (data["layers"], data["words"], data["sets"][0]["read"]) == (["1"], "first", "last")

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["none.json"], "cannot read none.json: No such file"),
            (["set.json", "set.json"], "two sets are called 'set'"),
            (["set.json", "--plot", "x.txt"], "a plot is written as one of .png, .svg, .pdf"),
            (["set.json", "--json", "-", "--csv", "-"], "cannot both go to standard output"),
            (["set.json", "-o", "none/page.html"], "the folder none does not exist"),
        ],
    )
    def test_what_is_wrong_is_told_before_the_model_loads(self, tmp_path, monkeypatch, words, message):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "set.json").write_text(json.dumps(ITEMS))
        ran = CliRunner().invoke(main, ["evaluate", *words, "--model", "there-is-no-such-model"])
        assert ran.exit_code == 2
        assert message in ran.output
        assert ran.output.strip().count("\n") == 0


def test_the_published_figures_of_the_logit_lens_on_the_demo_model(demo):
    """Order-ops has 55 items; the figures were measured apart, in plain torch."""
    found = evaluate("logit", *demo, PUBLISHED / "lens-eval-order-ops.json", layers=[*range(2, 29, 3), 28])
    assert [f"{100 * each:.1f}" for each in found.passed[0, 0]] == ["10.9", "20.9", "43.6"]
    assert found.left_out == ("24",)
    assert bauklens.evaluate is evaluate

"""Token ids -> texts, and texts in which everything can be seen."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import bauklens
from bauklens import LensError
from bauklens.result.tokens import CONTINUED, column_heads, token_texts, visible
from bauklens.text_ids import ids_of
from tests.tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def sentencepiece():
    """A tokenizer of SentencePiece's shape, as Llama's: ▁ for a space, <0x..> for a byte."""
    pieces = ["<unk>", "▁the", "▁", "the", "é", "<0xE2>", "<0x80>", "▁▁a", "Ġ"]
    tokenizer = Tokenizer(models.BPE({piece: n for n, piece in enumerate(pieces)}, [], byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def test_texts_of_byte_level_tokens_join_to_the_text(tokenizer):
    text = "the city of “naïve” 日本\n\tsea 👩"
    token_ids = tokenizer(text)["input_ids"]
    texts = token_texts(tokenizer, token_ids)
    raw = b"".join(
        bytes.fromhex(part) if n % 2 else part.encode()
        for token_id in token_ids
        for n, part in enumerate(texts[token_id].replace("⟨", "\0").replace("⟩", "\0").split("\0"))
    )
    assert raw.decode() == text


def test_half_a_character_shows_its_bytes(tokenizer):
    token_ids = tokenizer("“")["input_ids"]
    assert [token_texts(tokenizer, [each])[each] for each in token_ids] == ["⟨E2⟩", "⟨80⟩", "⟨9C⟩"]


def test_sentencepiece_tokens_keep_their_space_and_their_bytes(sentencepiece):
    texts = token_texts(sentencepiece, range(9))
    assert [texts[each] for each in range(1, 9)] == [" the", " ", "the", "é", "⟨E2⟩", "⟨80⟩", "  a", "Ġ"]


HEADS = {
    "whole": (["I", " like", "é"], [0, 1, 2], ["I", " like", "é"], ["", "", ""]),
    "two tokens": ([" ⟨F0⟩⟨9F⟩⟨98⟩", "⟨80⟩", " a"], [0, 1, 2], [" 😀", CONTINUED, " a"], ["😀", "😀", ""]),
    "a byte each": (["⟨E2⟩", "⟨80⟩", "⟨9C⟩"], [4, 5, 6], ["“", CONTINUED, CONTINUED], ["“"] * 3),
    "one ends as one begins": (
        ["⟨C3⟩", "⟨A9⟩⟨C3⟩", "⟨A8⟩x"],
        [0, 1, 2],
        ["é", f"{CONTINUED}è", f"{CONTINUED}x"],
        ["é", "éè", "è"],
    ),
    "the rest is not shown": (["⟨F0⟩⟨9F⟩", "⟨A5⟩"], [0, 1], ["⟨F0⟩⟨9F⟩", "⟨A5⟩"], ["", ""]),
    "it began before": (["⟨A5⟩", "⟨A8⟩"], [0, 1], ["⟨A5⟩", "⟨A8⟩"], ["", ""]),
    "a position between is not shown": (["⟨C3⟩", "⟨A9⟩"], [0, 2], ["⟨C3⟩", "⟨A9⟩"], ["", ""]),
    "in another order": (["⟨C3⟩", "⟨A9⟩"], [1, 0], ["⟨C3⟩", "⟨A9⟩"], ["", ""]),
    "half a surrogate pair": (["⟨ED⟩", "⟨A0⟩", "⟨80⟩"], [0, 1, 2], ["⟨ED⟩", "⟨A0⟩", "⟨80⟩"], ["", "", ""]),
    "a text that looks like bytes": (["⟨C3⟩⟨A9⟩", "⟨7A⟩⟨U+2⟩"], [0, 1], ["⟨C3⟩⟨A9⟩", "⟨7A⟩⟨U+2⟩"], ["", ""]),
    "nothing": (["", "⟨C3⟩", "", "⟨A9⟩"], [0, 1, 2, 3], ["", "é", "", CONTINUED], ["", "é", "", "é"]),
}


@pytest.mark.parametrize(("tokens", "positions", "heads", "wholes"), HEADS.values(), ids=HEADS)
def test_a_character_of_several_tokens_is_shown_over_the_first(tokens, positions, heads, wholes):
    assert column_heads(tokens, positions) == list(zip(heads, wholes, strict=True))


@given(st.text(max_size=12))
def test_the_heads_of_a_text_join_to_it(text):
    tokenizer = tiny_tokenizer()
    token_ids = tokenizer(text)["input_ids"]
    tokens = [token_texts(tokenizer, [each])[each] for each in token_ids]
    heads = [head for head, _ in column_heads(tokens, range(len(tokens)))]
    if CONTINUED not in text and "⟨" not in text:
        assert "".join(heads).replace(CONTINUED, "") == text


def test_many_columns_take_no_longer_each():
    tokens = ["⟨E2⟩", "⟨80⟩", "⟨9C⟩"] * 20_000
    assert column_heads(tokens, range(len(tokens)))[-3:] == [("“", "“"), (CONTINUED, "“"), (CONTINUED, "“")]


def test_demo_tokens(demo):
    _, tokenizer = demo
    text = "The Eiffel Tower\n  is “here”"
    token_ids = tokenizer(text)["input_ids"]
    texts = token_texts(tokenizer, token_ids)
    assert texts[token_ids[-1]]
    assert "".join(texts[each] for each in token_ids).startswith("The Eiffel Tower\n  is ")


def test_ids_without_a_text_read_as_ids(tokenizer):
    assert token_texts(tokenizer, [100_000]) == {100_000: "<100000>"}
    assert token_texts(None, [7, 7]) == {7: "<7>"}


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (" Paris", "␣Paris"),
        ("\n\t\r", "↵⇥␍"),
        ("⟨E2⟩", "⟨E2⟩"),
        ("\x00\x1b", "⟨U+0000⟩⟨U+001B⟩"),
        ("a\u202eb\u200d", "a⟨U+202E⟩b⟨U+200D⟩"),
        ("\u0301", "◌\u0301"),
        ("\udc80", "⟨U+DC80⟩"),
        ("\u3164\u2800\ufe0f", "⟨U+3164⟩⟨U+2800⟩⟨U+FE0F⟩"),
        ("", ""),
    ],
)
def test_visible(text, seen):
    assert visible(text) == seen


@given(st.text())
def test_nothing_is_invisible(text):
    shown = visible(text)
    assert not any(unicodedata.category(each) in {"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"} for each in shown)
    assert bool(shown) == bool(text)


class TestTokenizersOfAnyone:
    """What a tokenizer raises is one clear error, also a panic, which is no Exception."""

    @pytest.fixture
    def panicking(self):
        """One whose pattern gives up on a long run of a letter: the library in Rust panics then."""
        given = json.loads(tiny_tokenizer().backend_tokenizer.to_str())
        given["pre_tokenizer"] = {
            "type": "Split",
            "pattern": {"Regex": "(x+x+)+y"},
            "behavior": "Isolated",
            "invert": False,
        }
        return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(given)))

    def test_a_pattern_that_panics(self, panicking, gpt2):
        for asked in ({"prompt": "x" * 50}, {"prompt": "the", "targets": ["x" * 50]}):
            with pytest.raises(LensError, match=r"the tokenizer fails on the (prompt|target 'x+'): PanicException"):
                bauklens.logit_lens(gpt2, panicking, **asked)
        assert bauklens.logit_lens(gpt2, panicking, "the").tokens

    def test_an_interrupt_stays_one(self):
        def tokenizer(*_, **__):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ids_of(tokenizer, "the prompt", "x", special=True)

    def test_half_a_surrogate_pair_as_a_target(self, gpt2, tokenizer):
        with pytest.raises(LensError, match=r"the target '\\udcfe' is not valid Unicode"):
            bauklens.logit_lens(gpt2, tokenizer, "the", targets=["\udcfe"])

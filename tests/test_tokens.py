"""Token ids -> texts, and texts in which everything can be seen."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bauklens.result.tokens import token_texts, visible


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

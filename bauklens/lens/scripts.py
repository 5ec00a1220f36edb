"""scripts_of(): a vocabulary sorted by script, whose parts ``mass=`` takes."""

import re
import unicodedata
from functools import cache
from typing import Any

import numpy as np

from bauklens.arguments import checked_count
from bauklens.errors import LensError
from bauklens.model.tokenizers_in_hand import tokenizer_of
from bauklens.result.tokens import token_texts

BYTES, SPECIAL, SPACES, NUMBERS, SYMBOLS = "Bytes", "Special", "Spaces", "Numbers", "Symbols"
MIXED, OTHER = "Mixed", "Other"

_BYTE = re.compile(r"⟨[89A-F][0-9A-F]⟩|<0x[0-9A-Fa-f]{2}>")
"""A byte that is not a character by itself, as it is written in the texts of tokens."""

_SCRIPTS = {
    *("LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN", "HEBREW", "ARABIC", "SYRIAC", "THAANA", "NKO", "ETHIOPIC"),
    *("DEVANAGARI", "BENGALI", "GURMUKHI", "GUJARATI", "ORIYA", "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA"),
    *("THAI", "LAO", "TIBETAN", "MYANMAR", "KHMER", "MONGOLIAN", "JAVANESE", "BALINESE", "SUNDANESE", "HANGUL"),
    *("HIRAGANA", "KATAKANA", "BOPOMOFO", "YI", "CHEROKEE", "TIFINAGH", "GLAGOLITIC", "COPTIC", "GOTHIC", "RUNIC"),
    *("OGHAM", "CUNEIFORM"),
}
"""Scripts by the first word of the names of their letters; those of all others are counted together."""

_CALLED = {"CJK": "Han", "IDEOGRAPHIC": "Han", "CANADIAN": "Canadian Aboriginal", "EGYPTIAN": "Egyptian Hieroglyphs"}
"""First words of such names -> the script's own name, if that is another."""

_FORMS = {"FULLWIDTH", "HALFWIDTH", "COMBINING"}
"""First words of the names of characters that describe the form of a letter."""

_NO_SCRIPT = {"MATHEMATICAL", "DOUBLE-STRUCK", "BLACK-LETTER", "SCRIPT", "MICRO", "MODIFIER", "KATAKANA-HIRAGANA"}
"""First words of the names of letters that belong to no script, or to several."""


def scripts_of(tokenizer: Any, vocabulary: int | None = None) -> dict[str, np.ndarray]:
    """Sorts a vocabulary by the script of its tokens, according to the Unicode names of their letters.

    ``logit_lens(..., mass={"Latin": scripts["Latin"], "Han": scripts["Han"]})`` then shows in which script a model
    is about to write at each layer. A script is not a language: English and French share the Latin one.

    Args:
        tokenizer: as for :func:`bauklens.logit_lens`.
        vocabulary: how many tokens the model has, if its head has fewer than the tokenizer; None takes all.

    Returns:
        Script -> (token,) int64, the ids of its tokens, ascending; the largest script first. ``"Latin"``, ``"Han"``,
        ``"Cyrillic"``, ...; ``"Other"``, rare scripts together; and apart from these ``"Mixed"`` (letters of several
        scripts, as Japanese often has), ``"Numbers"``, ``"Symbols"`` (punctuation and all else), ``"Spaces"``,
        ``"Bytes"`` (parts of characters) and ``"Special"`` (special tokens). Every token is in one of them.

    Raises:
        LensError: the tokenizer is None, or its vocabulary cannot be listed.
    """
    if tokenizer is None:
        raise LensError("scripts_of needs a tokenizer: pass one")
    tokenizer = tokenizer_of(tokenizer)
    count = _count(tokenizer)
    if vocabulary is not None:
        count = min(count, checked_count("vocabulary", vocabulary))
    special = {*getattr(tokenizer, "all_special_ids", ()), *getattr(tokenizer, "added_tokens_decoder", ())}
    texts = token_texts(tokenizer, range(count))
    sorted_ids: dict[str, list[int]] = {}
    for token_id, text in texts.items():
        if text == f"<{token_id}>":  # an id without a token
            continue
        sorted_ids.setdefault(SPECIAL if token_id in special else script_of(text), []).append(token_id)
    found = {name: np.array(ids, dtype=np.int64) for name, ids in sorted_ids.items()}
    return dict(sorted(found.items(), key=lambda each: -len(each[1])))


def script_of(text: str) -> str:
    """The script of a token's letters, or its category if it has none.

    >>> [script_of(each) for each in (" dog", "狗", "собака", " 12", "...", "  ", "⟨E4⟩⟨BD⟩", "dog狗")]
    ['Latin', 'Han', 'Cyrillic', 'Numbers', 'Symbols', 'Spaces', 'Bytes', 'Mixed']
    """
    if _BYTE.search(text):
        return BYTES
    if not text.strip():
        return SPACES
    scripts = {script for script in map(_script, text) if script}
    if scripts:
        return scripts.pop() if len(scripts) == 1 else MIXED
    return NUMBERS if any(unicodedata.category(each)[0] == "N" for each in text) else SYMBOLS


@cache
def _script(character: str) -> str:
    """The script of a letter or of a mark on one; empty if it has none of its own."""
    category, words = unicodedata.category(character), unicodedata.name(character, "").split()
    if category[0] not in "LM" or not words:
        return ""
    first = words[1] if words[0] in _FORMS and len(words) > 1 else words[0]
    if first in _SCRIPTS or first in _CALLED:
        return _CALLED.get(first, first.title())
    return OTHER if category in ("Lu", "Ll", "Lt", "Lo") and first not in _NO_SCRIPT else ""


def _count(tokenizer: Any) -> int:
    """One more than the largest id."""
    try:
        return len(tokenizer)
    except TypeError:
        known = getattr(tokenizer, "vocab_size", None)
    if isinstance(known, int):
        return known
    raise LensError(f"the tokenizer, a {type(tokenizer).__name__}, does not report its number of tokens: pass another")

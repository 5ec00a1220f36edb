"""variants(): the forms of a word that are single tokens, to be followed as one concept."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from bauklens.errors import LensError
from bauklens.model.tokenizers_in_hand import tokenizer_of
from bauklens.result.variants import Variants
from bauklens.text_ids import ids_of

_HISSING = re.compile(r"(s|x|z|ch|sh)$", re.IGNORECASE)
_CONSONANT_Y = re.compile(r"(?<=[^aeiou\W])y$", re.IGNORECASE)


def variants(tokenizer: Any, word: str, translations: Iterable[str] = ()) -> Variants:
    """Proposes the forms of a word that are one token each: with and without a space, in each case, and in the plural.

    A concept is spread over such tokens: ``logit_lens(..., targets={"dog": variants(tokenizer, " dog")})`` follows them
    together. The plural is formed as in English ("dogs", "boxes", "cities"); other forms can be added to the list.

    Args:
        tokenizer: as for :func:`bauklens.logit_lens`.
        word: the word; a space before it makes no difference.
        translations: the word in other languages, and synonyms, which are tried with and without a space and in each
            case, but not in the plural.

    Returns:
        The forms, which can be passed as the members of a target; ``several`` lists the forms that are not a single
        token.

    Raises:
        LensError: the word or a translation is not a text or is blank, or no form is a single token.
    """
    tokenizer = tokenizer_of(tokenizer)
    if tokenizer is None:
        raise LensError("variants needs a tokenizer: pass one")
    others = [translations] if isinstance(translations, str) else list(translations)
    for each in (word, *others):
        if not isinstance(each, str) or not each.strip():
            raise LensError(f"variants needs words that are not blank; got {each!r:.80}")
    single: dict[int, str] = {}
    several: list[str] = []
    for form in _forms(word.strip(), [each.strip() for each in others]):
        ids = tuple(ids_of(tokenizer, f"the form {form!r}", form, special=False))
        if len(ids) == 1 and ids[0] != getattr(tokenizer, "unk_token_id", None):
            single.setdefault(int(ids[0]), form)
        else:
            several.append(form)
    if not single:
        tried = ", ".join(map(repr, several[:8]))
        raise LensError(
            f"no form of {word!r} is a single token of this tokenizer (tried {tried}): pass another word, or the word "
            "itself as a target with words='first'"
        )
    return Variants(word, tuple(single.values()), tuple(single), tuple(several))


def _forms(word: str, translations: list[str]) -> list[str]:
    """Every form that is tried, each once."""
    words = [word, _plural(word), *translations]
    return list(dict.fromkeys(f"{space}{each}" for one in words for each in _cases(one) for space in (" ", "")))


def _cases(word: str) -> Iterator[str]:
    """As it is, in lower case, with a capital, and in capitals."""
    yield from (word, word.lower(), word[:1].upper() + word[1:], word.upper())


def _plural(word: str) -> str:
    """The English plural, by its rules."""
    if _HISSING.search(word):
        return f"{word}es"
    return _CONSONANT_Y.sub("ie", word) + "s"

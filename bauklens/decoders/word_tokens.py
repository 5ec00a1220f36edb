"""The words of a concept -> the tokens that count as it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bauklens.result.tokens import token_texts
from bauklens.text_ids import ids_of

_UNITS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_TENS = (*("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred"),)

NUMBERS = {str(number): word for number, word in enumerate(_UNITS)} | {
    str(10 * number): word for number, word in enumerate(_TENS, 3)
}
"""Digits -> the word, 0 .. 20 and 30, 40, .. 100."""

OPERATIONS = {
    "addition": ("+", "addition", "add", "plus"),
    "subtraction": ("-", "subtraction", "subtract", "minus"),
    "multiplication": ("*", "\N{MULTIPLICATION SIGN}", "multiplication", "multiply", "times"),
    "division": ("/", "÷", "division", "divide", "divided"),
    "squared": ("²", "^", "squared", "square"),
    "mod": ("%", "mod", "modulo"),
}
"""The name of an operation -> its symbols and words."""


def forms_of(word: str, forms: str) -> tuple[str, ...]:
    """What is counted as a word: itself, and with ``"arithmetic"`` the other forms of a number or an operation.

    >>> forms_of("12", "arithmetic"), forms_of("twelve", "arithmetic"), forms_of("12", "plain")
    (('12', 'twelve'), ('twelve', '12'), ('12',))
    """
    if forms != "arithmetic":
        return (word,)
    digits = [digit for digit, name in NUMBERS.items() if name == word.lower()]
    further = [NUMBERS[word]] if word in NUMBERS else digits
    return tuple(dict.fromkeys([word, *further, *OPERATIONS.get(word.lower(), ())]))


def variants_of(text: str) -> tuple[str, ...]:
    """A text as it can appear in running text: with and without a space before it, as it is and capitalized.

    >>> variants_of("red")
    ('red', ' red', 'Red', ' Red')
    """
    capitalized = text[:1].upper() + text[1:]
    return tuple(dict.fromkeys([text, f" {text}", capitalized, f" {capitalized}"]))


@dataclass
class WordTokens:
    """The tokens of words; each text is looked up once.

    Args:
        tokenizer: a transformers tokenizer.
        vocabulary: how many tokens have a logit.
    """

    tokenizer: Any
    vocabulary: int
    _known: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def single(self, texts: Iterable[str]) -> tuple[int, ...]:
        """The ids of all variants of texts that are one token each."""
        found = [ids[0] for text in texts for each in variants_of(text) if len(ids := self._ids(each)) == 1]
        return tuple(dict.fromkeys(found))

    def first(self, texts: Iterable[str]) -> tuple[int, ...]:
        """The ids of the first tokens of all variants; one that is nothing but a space is left out."""
        found = [ids[0] for text in texts for each in variants_of(text) if (ids := self._ids(each))]
        blank = [each for each, text in token_texts(self.tokenizer, found).items() if not text.strip()]
        return tuple(each for each in dict.fromkeys(found) if each not in blank)

    def _ids(self, text: str) -> tuple[int, ...]:
        """The tokens of a text; none if they cannot be predicted."""
        if text not in self._known:
            ids = tuple(ids_of(self.tokenizer, f"the word {text!r:.80}", text, special=False))
            unknown = getattr(self.tokenizer, "unk_token_id", None)
            usable = ids and max(ids) < self.vocabulary and (unknown is None or unknown not in ids)
            self._known[text] = ids if usable else ()
        return self._known[text]

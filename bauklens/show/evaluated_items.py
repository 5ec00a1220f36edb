"""The words, prompts and sets of an evaluation, with the ranks that were found. Needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluatedWord:
    """An intermediate concept of an item.

    Attributes:
        synonyms: the words that may express it; the first is its name.
        by: ``"single"``, if its tokens are whole words; ``"first"``, the first tokens of its words; ``"none"``, it
            has no token, and is left out.
        token_ids: the tokens that count for it.
        tokens: their texts.
        best_rank: (decoder,), the best rank over the layers and tokens, from 1; empty if it is left out.
        best_layer: (decoder,), the first layer that has that rank.
        best_token: (decoder,), the text of the token that has it.
    """

    synonyms: tuple[str, ...]
    by: str
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    best_rank: tuple[int, ...]
    best_layer: tuple[str, ...]
    best_token: tuple[str, ...]

    @property
    def text(self) -> str:
        """Its name: the first of its words."""
        return self.synonyms[0]

    @property
    def is_scored(self) -> bool:
        """Whether it has a rank."""
        return bool(self.best_rank)


@dataclass(frozen=True)
class EvaluatedItem:
    """One prompt of a set.

    Attributes:
        name: its name in the set; may be empty.
        prompt: its text; a chat as the chat template formats it.
        target: the text that follows it; None if not given.
        rule: how the position was found, one of :data:`bauklens.vocabulary.READ_RULES`.
        position: the position at which the lens was read, from 0, in the tokens of the prompt and its target.
        token_id, token: the token at that position.
        words: its intermediate concepts.
    """

    name: str
    prompt: str
    target: str | None
    rule: str
    position: int
    token_id: int
    token: str
    words: tuple[EvaluatedWord, ...]

    @property
    def scored(self) -> tuple[EvaluatedWord, ...]:
        """The words that have a rank."""
        return tuple(word for word in self.words if word.is_scored)


@dataclass(frozen=True)
class EvaluatedSet:
    """The items of a set.

    Attributes:
        read: the rule for items without one of their own, one of :data:`bauklens.vocabulary.READ_RULES`.
        forms: one of :data:`bauklens.vocabulary.FORMS`.
    """

    name: str
    read: str
    forms: str
    items: tuple[EvaluatedItem, ...]

    @property
    def scored(self) -> tuple[EvaluatedItem, ...]:
        """The items that have at least one word with a rank."""
        return tuple(item for item in self.items if item.scored)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The words that are left out, once for each item that has them."""
        return tuple(word.text for item in self.items for word in item.words if not word.is_scored)


for _each in (EvaluatedWord, EvaluatedItem, EvaluatedSet):
    _each.__module__ = "bauklens"  # so that pickles load wherever the classes are defined

"""Tokens, words and sets of tokens that are followed through all layers, in or out of the top k. Needs no torch."""

import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bauklens.arguments import as_lists, is_whole_number, one_of
from bauklens.errors import LensError
from bauklens.result.frozen import frozen_floats, plain, require
from bauklens.result.labels import LabelNames
from bauklens.result.tokens import token_texts
from bauklens.text_ids import ids_of
from bauklens.vocabulary import WORDS

Which = str | int | tuple[int, ...]
"""Names a followed target: its text, the name of its set, its token's id, or the ids of its word's tokens."""

SET = "set"
"""The ``part`` of a target that is a set of tokens."""

_PARTS = ("token", *WORDS, SET)

_TOLD = 5
"""Members of a set that a note or an error names one by one."""


@dataclass(frozen=True)
class Wanted:
    """A target as the caller asked for it.

    Attributes:
        text: the text that was asked for, or the text of the token whose id was; for a set, its name.
        token_ids: its tokens; for a set, its members, each once.
        part: ``"token"`` for a single token; ``"whole"`` or ``"first"`` for a text of several; ``"set"`` for a set of
            tokens.
        note: something to know about it, as a sentence; usually empty.
    """

    text: str
    token_ids: tuple[int, ...]
    part: str
    note: str

    @property
    def scored(self) -> tuple[int, ...]:
        """The tokens that are read in every cell: all members of a set, else its first token."""
        return self.token_ids if self.part == SET else self.token_ids[:1]

    @property
    def is_token(self) -> bool:
        """Whether it is a single token, and not a word or set that has a single one."""
        return self.part == "token" and len(self.token_ids) == 1


@dataclass(frozen=True, eq=False, repr=False)
class Target(Wanted):
    """A target and its values in every cell.

    Attributes:
        probability: (layer, position) float32, 0..1; for a whole word, the product of its tokens' probabilities, each
            given the tokens before it; for a set, the sum of its members'.
        logit: (layer, position) float32, of the token, or of the word's first token; NaN for a whole word; for a set,
            ``log sum exp`` of its members' logits, which is the logit of a single token with the same probability.
        rank: (layer, position) float32, 1 + how many tokens are more probable; NaN for a whole word; for a set, the
            rank of its most probable member, so that a set has rank 1 if the most probable token is in it.
    """

    probability: np.ndarray
    logit: np.ndarray
    rank: np.ndarray

    def __repr__(self) -> str:
        layers, positions = self.probability.shape
        size = f", {len(self.token_ids)} tokens" if len(self.token_ids) > 1 else ""
        return f"<Target {self.text!r} ({self.part}{size}): {layers} layers x {positions} positions>"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {name: plain(value) for name, value in vars(self).items()}

    @staticmethod
    def from_dict(data: Any, shape: tuple[int, ...]) -> "Target":
        """Reads what :meth:`to_dict` wrote; raises a LensError if it is damaged."""
        if isinstance(data, Target):
            data = vars(data)
        require(isinstance(data, Mapping), "a target is not a mapping")
        text, part, token_ids = data.get("text"), data.get("part"), data.get("token_ids", ())
        require(isinstance(text, str) and part in _PARTS, "a target has no text, or its part is unknown")
        require(all(type(each) is int for each in token_ids), "a target's tokens are not ids")
        arrays = {
            name: frozen_floats(f"the {name} of a target", data.get(name), shape)
            for name in ("probability", "logit", "rank")
        }
        return Target(text, tuple(token_ids), part, str(data.get("note", "")), **arrays)


Target.__module__ = "bauklens"  # so that pickles load wherever the class is defined


def distinct_names(texts: Sequence[str], token_ids: Iterable[Sequence[int]]) -> list[str]:
    """Texts as they are, and those that several tokens or words share with their ids.

    >>> distinct_names(["a", "b", "b"], [(1,), (2,), (3, 4)])
    ['a', 'b [2]', 'b [3 4]']
    """
    with_ids = [f"{text} [{' '.join(map(str, ids))}]" for text, ids in zip(texts, token_ids, strict=True)]
    names = [full if texts.count(text) > 1 else text for text, full in zip(texts, with_ids, strict=True)]
    return names if len(set(names)) == len(names) else with_ids


def target_names(targets: Sequence[Wanted], written: Callable[[str], str] = str) -> list[str]:
    """The names of targets in a table: their texts as written there, with ids if several share one."""
    return distinct_names([written(each.text) for each in targets], [each.token_ids for each in targets])


def wanted_targets(tokenizer: Any, vocabulary: int, targets: Any, words: str) -> list[Wanted]:
    """The tokens of every target.

    Args:
        vocabulary: how many tokens the model has.
        targets: texts, token ids, and mappings of names to sets of these; or one of them.
        words: for a text of several tokens, ``"whole"`` or ``"first"``; in a set, such a text needs ``"first"``.

    Raises:
        LensError: a target is empty, cannot be written in this model's tokens, is given twice, or is not a text, an id
            or a set of them; or a set has the name of another target.
    """
    one_of("words", words, WORDS)
    if targets is None:
        return []
    targets = as_lists(targets)
    found: list[Wanted] = []
    for each in targets if isinstance(targets, list) else [targets]:
        if isinstance(each, Mapping):
            found += [_wanted_set(tokenizer, vocabulary, name, members, words) for name, members in each.items()]
        else:
            found.append(_wanted(tokenizer, vocabulary, each, words))
    for number, each in enumerate(found):
        for other in found[:number]:
            _require_apart(each, other)
    return found


def _require_apart(one: Wanted, other: Wanted) -> None:
    if SET not in (one.part, other.part):
        if one.token_ids == other.token_ids:
            raise LensError(f"the target {one.text!r} is given twice: pass each target once")
    elif one.text == other.text:
        raise LensError(f"the name {one.text!r} of a set is given to another target as well: pass another name")


def _wanted(tokenizer: Any, vocabulary: int, target: Any, words: str) -> Wanted:
    text, token_ids = _tokens_of(tokenizer, vocabulary, "the target", target)
    if len(token_ids) == 1:
        return Wanted(text, token_ids, "token", "")
    note = ""
    if len(_ids(tokenizer, f" {text}")) == 1:
        note = f"{text!r} is {len(token_ids)} tokens, but {f' {text}'!r}, with a space before it, is one."
        warnings.warn(note, stacklevel=4)
    return Wanted(text, token_ids, words, note)


def _wanted_set(tokenizer: Any, vocabulary: int, name: Any, members: Any, words: str) -> Wanted:
    """A set of tokens: a member that is given twice counts once."""
    if not isinstance(name, str) or not name.strip():
        raise LensError(f"the name of a set of targets must be a text that is not blank; got {name!r:.80}")
    members = [members] if isinstance(members, str) else members
    if not isinstance(members, list):
        raise LensError(f"the set {name!r} must be a list of texts and token ids; got {members!r:.80}")
    if not members:
        raise LensError(f"the set {name!r} is empty: pass at least one text or token id")
    found = [_tokens_of(tokenizer, vocabulary, f"in the set {name!r},", member) for member in members]
    several = [text for text, token_ids in found if len(token_ids) > 1]
    if several and words != "first":
        spaced = f" {several[0]}"
        hint = f"{spaced!r}, with a space before it, is one; or " if len(_ids(tokenizer, spaced)) == 1 else ""
        raise LensError(
            f"{several[0]!r} in the set {name!r} is {len(_ids(tokenizer, several[0]))} tokens, but a set holds single "
            f"tokens: {hint}pass words='first' for the first of them"
        )
    token_ids = [each[0] for _, each in found]
    texts = dict(zip(token_ids, (text for text, _ in found), strict=True))
    twice = [text for token_id, text in texts.items() if token_ids.count(token_id) > 1]
    notes = []
    if several:
        notes.append(f"in the set {name!r}, {_some(several)} is followed by its first token")
    if twice:
        notes.append(f"in the set {name!r}, the token of {_some(twice)} is given more than once and counts once")
    note = "; ".join(notes)
    return Wanted(name, tuple(texts), SET, f"{note[0].upper()}{note[1:]}." if note else "")


def _some(texts: Sequence[str]) -> str:
    """The first few of some texts, for a note."""
    more = f" and {len(texts) - _TOLD:,} more" if len(texts) > _TOLD else ""
    return ", ".join(map(repr, texts[:_TOLD])) + more


def _tokens_of(tokenizer: Any, vocabulary: int, what: str, target: Any) -> tuple[str, tuple[int, ...]]:
    """The text of a target, and its tokens.

    Args:
        what: the words before the target in an error, such as ``"the target"``.

    Raises:
        LensError: it is neither a text nor an id of this model, or is empty.
    """
    if not isinstance(target, str):
        if not is_whole_number(target):
            raise LensError(
                f"a target must be a text or a token id, or {{name: [...]}} for a set of these; got {target!r:.80}"
            )
        token_id = operator.index(target)
        if not 0 <= token_id < vocabulary:
            if isinstance(tokenizer, LabelNames):
                raise LensError(f"{what} {token_id} is not a label: the model has {vocabulary:,}, from 0 on")
            raise LensError(f"{what} {token_id} is not a token id: the model's vocabulary has {vocabulary:,} tokens")
        return token_texts(tokenizer, [token_id])[token_id], (token_id,)
    if not target:
        raise LensError(f"{what} '' is empty: pass a text or a token id")
    if tokenizer is None:
        raise LensError(f"{what} {target!r} needs a tokenizer: pass one, or the token's id")
    token_ids = _ids(tokenizer, target)
    if not token_ids or max(token_ids) >= vocabulary or getattr(tokenizer, "unk_token_id", None) in token_ids:
        raise LensError(f"{what} {target!r} cannot be written in this model's tokens")
    return target, token_ids


def _ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(ids_of(tokenizer, f"the target {text!r}", text, special=False))

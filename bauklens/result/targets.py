"""Tokens and words that are followed through all layers, in or out of the top k. Needs no torch."""

import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bauklens.arguments import is_whole_number, one_of
from bauklens.errors import LensError
from bauklens.result.frozen import frozen_floats, plain, require
from bauklens.result.tokens import token_texts
from bauklens.text_ids import ids_of
from bauklens.vocabulary import WORDS

Which = str | int | tuple[int, ...]
"""A target that was followed: its text, its token's id, or the ids of its tokens."""


@dataclass(frozen=True)
class Wanted:
    """A target as it was asked for.

    Attributes:
        text: the text that was asked for, or the text of the token whose id was.
        token_ids: its tokens.
        part: ``"token"`` for a single token; ``"whole"`` or ``"first"`` for a text of several.
        note: something to know about it, as a sentence; usually empty.
    """

    text: str
    token_ids: tuple[int, ...]
    part: str
    note: str


@dataclass(frozen=True, eq=False)
class Target(Wanted):
    """A target and its values in every cell.

    Attributes:
        probability: (layer, position) float32, 0..1; for a whole word, the product of its tokens' probabilities, each
            given the tokens before it.
        logit: (layer, position) float32, of the token, or of the word's first token; NaN for a whole word.
        rank: (layer, position) float32, 1 + how many tokens are more probable; NaN for a whole word.
    """

    probability: np.ndarray
    logit: np.ndarray
    rank: np.ndarray

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
        require(isinstance(text, str) and part in ("token", *WORDS), "a target has no text, or its part is unknown")
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
    """What targets are called in a table: their texts as they are written there, with ids if several share one."""
    return distinct_names([written(each.text) for each in targets], [each.token_ids for each in targets])


def wanted_targets(tokenizer: Any, vocabulary: int, targets: Any, words: str) -> list[Wanted]:
    """The tokens of every target.

    Args:
        vocabulary: how many tokens the model has.
        targets: texts and token ids.
        words: for a text of several tokens, ``"whole"`` or ``"first"``.

    Raises:
        LensError: a target is empty, cannot be written in this model's tokens, is given twice, or is neither a text nor
            an id.
    """
    one_of("words", words, WORDS)
    if targets is None:
        return []
    if isinstance(targets, Mapping):
        raise LensError("targets is a mapping: pass a list of texts and token ids")
    targets = targets.tolist() if hasattr(targets, "tolist") else targets
    if isinstance(targets, str) or not isinstance(targets, Iterable):
        targets = [targets]
    found = [_wanted(tokenizer, vocabulary, each, words) for each in targets]
    for number, each in enumerate(found):
        if any(each.token_ids == other.token_ids for other in found[:number]):
            raise LensError(f"the target {each.text!r} is given twice: pass each target once")
    return found


def _wanted(tokenizer: Any, vocabulary: int, target: Any, words: str) -> Wanted:
    if not isinstance(target, str):
        if not is_whole_number(target):
            raise LensError(f"a target must be a text or a token id; got {target!r:.80}")
        token_id = operator.index(target)
        if not 0 <= token_id < vocabulary:
            raise LensError(
                f"the target {token_id} is not a token id: the model's vocabulary has {vocabulary:,} tokens"
            )
        return Wanted(token_texts(tokenizer, [token_id])[token_id], (token_id,), "token", "")
    if not target:
        raise LensError("a target is empty: pass a text or a token id")
    if tokenizer is None:
        raise LensError(f"the target {target!r} needs a tokenizer: pass one, or the token's id")
    token_ids = _ids(tokenizer, target)
    if not token_ids or max(token_ids) >= vocabulary or getattr(tokenizer, "unk_token_id", None) in token_ids:
        raise LensError(f"the target {target!r} cannot be written in this model's tokens")
    if len(token_ids) == 1:
        return Wanted(target, token_ids, "token", "")
    note = ""
    if len(_ids(tokenizer, f" {target}")) == 1:
        note = f"{target!r} is {len(token_ids)} tokens, but {f' {target}'!r}, with a space before it, is one."
        warnings.warn(note, stacklevel=4)
    return Wanted(target, token_ids, words, note)


def _ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(ids_of(tokenizer, f"the target {text!r}", text, special=False))

"""Notes about a prompt that may surprise its user: its special tokens, its length, its ids. Needs no torch."""

from collections.abc import Sequence
from typing import Any

from bauklens.errors import LensError
from bauklens.text_ids import ids_of

_PROBE = "a"
"""A text that any tokenizer knows; the special tokens that are added around it are added around every text."""


def prompt_notes(tokenizer: Any, ids: Sequence[int], *, begins: int | None, is_text: bool) -> list[str]:
    """Sentences about special tokens of a prompt that a user may not want there; empty if there are none.

    Args:
        tokenizer: the tokenizer, or None.
        ids: those of the prompt.
        begins: the id that begins a text, from the model's configuration.
        is_text: whether the prompt is a text, around which the tokenizer wrote its special tokens.
    """
    before, after = _added(tokenizer)
    known = getattr(tokenizer, "bos_token_id", None) if tokenizer is not None else begins
    firsts = [before, [known]] if isinstance(known, int) else [before]
    repeated = next((first for first in firsts if first and _count_at_start(ids, first) > 1), None)
    notes = []
    if repeated is not None:
        count = _count_at_start(ids, repeated)
        how_often = "twice" if count == 2 else f"{count} times"
        reason = ", because the text has it and the tokenizer adds it" if is_text and repeated == before else ""
        notes.append(
            f"The prompt begins with {_named(tokenizer, repeated)} {how_often}{reason}: "
            + ("pass the text without it, or a chat as messages." if reason else "it is usually there once.")
        )
    if after and len(ids) > len(after) and list(ids[-len(after) :]) == after:
        ended = f"{'The tokenizer ends the prompt' if is_text else 'The prompt ends'} with {_named(tokenizer, after)}"
        notes.append(
            f"{ended}, so the model reads a finished text: to see how it would go on, pass token ids without it."
        )
    return notes


def start_notes(tokenizer: Any, missing: int | None) -> list[str]:
    """A note about a text that lacks the start token of an encoder-decoder's decoder.

    Args:
        missing: that token; None if it is not missing.
    """
    if missing is None:
        return []
    piece = _piece(tokenizer, missing)
    called = f"token {missing}" if piece is None else f"{piece[:80]} (token {missing})"
    return [
        f"What the decoder has written lacks {called}, with which it starts every text: put that first, or pass a "
        "text, to which it is added."
    ]


def context_notes(context: int | None, count: int) -> list[str]:
    """A note about a text of this many tokens that runs, although it is longer than the context."""
    if context is None or count <= context:
        return []
    return [
        f"The text has {count:,} tokens, but the model was made for at most {context:,}: its predictions beyond that "
        "may be poor."
    ]


def outside_vocabulary(tokenizer: Any, token_id: int, vocabulary: int | None) -> str:
    """A text about an id for which a model has no embedding."""
    piece = _piece(tokenizer, token_id)
    said = f"token id {token_id} is not in the model's vocabulary of {vocabulary:,}"
    if piece is None:
        return said
    return (
        f"{said}: it is {piece!r:.80}, which the tokenizer has and the model lacks; call "
        "model.resize_token_embeddings(len(tokenizer)), or pass the tokenizer of this model"
    )


def _added(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids that a tokenizer writes before and after every text."""
    if tokenizer is None:
        return [], []
    try:
        plain, whole = (list(ids_of(tokenizer, "a text", _PROBE, special=special)) for special in (False, True))
    except (LensError, TypeError):
        return [], []
    for start in range(len(whole) - len(plain) + 1) if plain else ():
        if whole[start : start + len(plain)] == plain:
            return whole[:start], whole[start + len(plain) :]
    return [], []


def _count_at_start(ids: Sequence[int], first: Sequence[int]) -> int:
    """How often a sequence begins with another."""
    size, count = len(first), 0
    while list(ids[count * size : (count + 1) * size]) == list(first):
        count += 1
    return count


def _named(tokenizer: Any, ids: Sequence[int]) -> str:
    return "".join(_piece(tokenizer, each) or f"token {each}" for each in ids)[:80]


def _piece(tokenizer: Any, token_id: int) -> str | None:
    """The text of a token in the vocabulary; None if the tokenizer does not have it."""
    try:
        piece = tokenizer.convert_ids_to_tokens(token_id)
    except Exception:  # None, or a tokenizer that raises anything
        return None
    return piece if isinstance(piece, str) else None

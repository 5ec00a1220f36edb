"""The position of a prompt at which an evaluation reads the lens, and what the model is given for that."""

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from bauklens.decoders.evaluation_sets import Item
from bauklens.errors import LensError
from bauklens.model.generation import chat_text
from bauklens.result.tokens import token_texts
from bauklens.text_ids import ids_of, is_panic, some_ids_of


@dataclass(frozen=True)
class Reading:
    """What a model is given, up to the token at which a lens is read.

    Attributes:
        text: the whole prompt; of a chat, as the tokenizer's chat template formats it.
        ids: the tokens up to and including the one that is read; later tokens cannot change it.
        rule: the rule that was followed.
    """

    text: str
    ids: tuple[int, ...]
    rule: str


def reading_of(item: Item, tokenizer: Any, rule: str) -> Reading:
    """The tokens of an item's prompt up to where it is read.

    Args:
        rule: one of :data:`bauklens.vocabulary.READ_RULES`. Without a target, ``"before target"`` is ``"last"``.

    Raises:
        LensError: the tokenizer fails, or the prompt has no such token.
    """
    special = isinstance(item.prompt, str)  # a chat template writes its own special tokens
    text = item.prompt if isinstance(item.prompt, str) else chat_text(tokenizer, item.prompt)
    if rule == "before target" and item.target is not None:
        ids = _before(tokenizer, text, item.target, special)
        return Reading(text, ids, rule)
    ids = tuple(some_ids_of(tokenizer, "the prompt", text, special=special))
    if rule != "last newline":
        return Reading(text, ids, "last")
    texts = token_texts(tokenizer, ids)
    found = [place for place, each in enumerate(ids) if "\n" in texts[each]]
    if not found:
        raise LensError("no token of the prompt contains a newline: pass read='last', or 'before target'")
    return Reading(text, ids[: found[-1] + 1], rule)


def _before(tokenizer: Any, text: str, target: str, special: bool) -> tuple[int, ...]:
    """The tokens before the first one that contains a part of the target, if the target follows the text.

    A prompt that ends in a space is read before that space if the target's token takes it in.
    """
    whole = f"{text}{target}"
    if getattr(tokenizer, "is_fast", False):
        ids, ends = _with_ends(tokenizer, whole, special)
        first = next((place for place, end in enumerate(ends) if end > len(text)), None)
    else:
        ids = tuple(ids_of(tokenizer, "the prompt and its target", whole, special=special))
        alone = ids_of(tokenizer, "the prompt", text, special=special)
        first = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ids, alone, strict=False)))
        first = first if first < len(ids) else None
    if first is None:
        raise LensError(f"the target {target!r:.80} has no token")
    if first == 0:
        raise LensError(f"no token comes before the target {target!r:.80}")
    return ids[:first]


def _with_ends(tokenizer: Any, text: str, special: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids of a text, and the character after each token; 0 for special tokens that were added."""
    try:
        found = tokenizer(text, verbose=False, add_special_tokens=special, return_offsets_mapping=True)
    except BaseException as error:
        if isinstance(error, Exception) or is_panic(error):
            name = type(error).__name__
            raise LensError(f"the tokenizer fails on the prompt and its target: {name} {error}") from None
        raise
    return tuple(found["input_ids"]), tuple(end for _, end in found["offset_mapping"])

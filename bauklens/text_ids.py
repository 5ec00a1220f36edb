"""Turns a text into token ids with a tokenizer from any source. Needs no torch."""

from typing import Any

from bauklens.errors import LensError


def ids_of(tokenizer: Any, what: str, text: str, *, special: bool) -> Any:
    """The token ids of a text.

    Args:
        tokenizer: a transformers tokenizer.
        what: the name of the text in an error.
        special: whether the tokenizer adds its special tokens, as it does by default.

    Raises:
        LensError: the text is not valid Unicode, or the tokenizer fails on it.
    """
    if not is_unicode(text):
        raise LensError(f"{what} is not valid Unicode: it contains half a surrogate pair")
    options = {} if special else {"add_special_tokens": False}
    try:
        return tokenizer(text, verbose=False, **options)["input_ids"]
    except BaseException as error:
        if not isinstance(error, LensError) and (isinstance(error, Exception) or is_panic(error)):
            raise LensError(f"the tokenizer fails on {what}: {type(error).__name__} {error}") from None
        raise


def some_ids_of(tokenizer: Any, what: str, text: str, *, special: bool) -> Any:
    """Like :func:`ids_of`, but returns at least one id.

    Raises:
        LensError: also if the tokenizer returns no ids for the text.
    """
    found = ids_of(tokenizer, what, text, special=special)
    if len(found) == 0:
        size = getattr(tokenizer, "vocab_size", None)
        knows = f", a {type(tokenizer).__name__} of {size:,} tokens," if isinstance(size, int) else ""
        raise LensError(
            f"the tokenizer{knows} returns no token ids for {what}: pass the model's own tokenizer, or token ids"
        )
    return found


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: it contains no half of a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_panic(error: BaseException) -> bool:
    """Whether an exception is a panic of a library written in Rust."""
    return type(error).__name__ == "PanicException"

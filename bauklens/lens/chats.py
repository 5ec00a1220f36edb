"""A chat's name: its last message, as the prompt's text begins with markup of the template. Needs no torch."""

from collections.abc import Mapping, Sequence
from typing import Any


def last_message(messages: Sequence[Mapping[str, Any]]) -> str:
    """The text of the user's last message; if the user says nothing, of the last that has one; empty if none has.

    >>> last_message([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}])
    'Hi'
    """
    texts = [(each.get("role"), _text(each.get("content"))) for each in messages]
    of_user = [text for role, text in texts if role == "user" and text]
    return next(reversed(of_user or [text for _, text in texts if text]), "")


def _text(content: Any) -> str:
    """The text of a message, whose content is one or a list of parts."""
    parts = content if isinstance(content, (list, tuple)) else [content]
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    return " ".join(text.strip() for text in texts if isinstance(text, str)).strip()

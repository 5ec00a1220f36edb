"""Keeps a few plain values of another tool's notes about a decoder, however deep or wide the notes are."""

from collections.abc import Mapping
from typing import Any

from bauklens.text_ids import is_unicode

_LONGEST = 500
"""Characters of a text that is kept."""

_MOST = 64
"""Values that are kept."""


def plain_values(notes: Any) -> dict[str, Any]:
    """Texts and numbers of a mapping by their names; what is nested or not finite is left out."""
    if not isinstance(notes, Mapping):
        return {}
    found: dict[str, Any] = {}
    for name, value in notes.items():
        if len(found) == _MOST:
            break
        if isinstance(name, str) and is_unicode(name) and _is_plain(value):
            found[name[:_LONGEST]] = value[:_LONGEST] if isinstance(value, str) else value
    return found


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return is_unicode(value)
    return isinstance(value, bool) or (isinstance(value, (int, float)) and abs(value) < 1e300)

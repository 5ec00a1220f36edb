"""The parts of a chat's messages: which of them are pictures, sounds or videos."""

from collections.abc import Mapping, Sequence
from typing import Any

_KINDS = {
    **dict.fromkeys(("image", "image_url", "input_image"), "image"),
    **dict.fromkeys(("audio", "audio_url", "input_audio"), "audio"),
    **dict.fromkeys(("video", "video_url", "input_video"), "video"),
}
"""Names of the parts of a message that are not texts -> what they are."""


def has_pictures(messages: Any) -> bool:
    """Whether a chat has parts that are pictures or sounds."""
    return bool(kinds_in(messages))


def kinds_in(messages: Any) -> set[str]:
    """The kinds of those parts."""
    return {kind for each in parts_of(messages) for part in each if (kind := kind_of(part)) is not None}


def parts_of(messages: Any) -> list[list[Any]]:
    """The parts of each message; none for messages that are texts."""
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        return []
    contents = [each.get("content") if isinstance(each, Mapping) else None for each in messages]
    return [list(each) if isinstance(each, (list, tuple)) else [] for each in contents]


def kind_of(part: Any) -> str | None:
    """``"image"``, ``"audio"`` or ``"video"``, by the name that chat templates or API clients use; else None."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    return _KINDS.get(kind) if isinstance(kind, str) else None


def with_places(chat: list[Any], count: int) -> list[Any]:
    """A chat with places for pictures at the beginning of the first user's message."""
    first = next((number for number, each in enumerate(chat) if each.get("role") == "user"), 0)
    content = chat[first].get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    return [
        {**each, "content": [{"type": "image"}] * count + parts} if number == first else each
        for number, each in enumerate(chat)
    ]

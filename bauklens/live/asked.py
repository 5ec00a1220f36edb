"""A page's request, checked: it may come from anywhere, and cannot name a file, a path or code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bauklens.errors import LensError
from bauklens.vocabulary import LOGIT, STREAMS

LONGEST = 200_000
"""The most characters of a prompt or a chat."""

MOST_NEW = 256
"""The most tokens to generate."""

MOST_TOP = 50
"""The most tokens of a cell."""

MOST_FOLLOWED = 16
"""The most targets, sets, and tokens of a set."""

MOST_MESSAGES = 200
"""The most messages of a chat."""

DOING = ("swap", "strengthen", "remove", "patch")
"""The ways to change states."""

_ROLES = ("system", "user", "assistant")

Token = str | int
"""A token, by its id or its text; if the text has several tokens, the first."""


@dataclass(frozen=True)
class Change:
    """A change of states.

    Attributes:
        do: one of :data:`DOING`.
        token: the token that is swapped, strengthened or removed.
        into: the token that it is swapped for.
        layers: their labels; None for all.
        positions: the positions to change; None for all.
        strength: the strength of the change.
    """

    do: str
    token: Token | None = None
    into: Token | None = None
    layers: tuple[str, ...] | None = None
    positions: tuple[int, ...] | None = None
    strength: float = 1.0


@dataclass(frozen=True)
class Asked:
    """A look at a prompt.

    Attributes:
        prompt: a text; empty if there is a chat.
        messages: a chat, its messages as (role, content).
        decoder: the name of a decoder that the server has.
        sets: names of sets of tokens to follow, with their members.
        new_tokens: how many tokens to generate.
        replaced: (position, token), tokens that replace those of the prompt.
        change: the change of states.
        other: the prompt whose states are patched in.
    """

    prompt: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    decoder: str = LOGIT
    stream: str = "hidden"
    topk: int = 5
    targets: tuple[Token, ...] = ()
    sets: tuple[tuple[str, tuple[Token, ...]], ...] = ()
    new_tokens: int = 0
    replaced: tuple[tuple[int, Token], ...] = ()
    change: Change | None = None
    other: str = ""

    @classmethod
    def of(cls, data: Any) -> "Asked":
        """A look from what a page sent.

        Raises:
            LensError: something is missing, of another type, or too much.
        """
        given = _Given(data, "the request")
        change = given.get("change")
        asked = cls(
            prompt=given.text("prompt", LONGEST),
            messages=tuple(_message(each) for each in given.items("messages", MOST_MESSAGES)),
            decoder=given.text("decoder", 200) or LOGIT,
            stream=given.one_of("stream", tuple(STREAMS)),
            topk=given.count("topk", 1, MOST_TOP, 5),
            targets=tuple(_token(each) for each in given.items("targets", MOST_FOLLOWED)),
            sets=tuple(_set(each) for each in given.items("sets", MOST_FOLLOWED)),
            new_tokens=given.count("new_tokens", 0, MOST_NEW, 0),
            replaced=tuple(_replaced(each) for each in given.items("replaced", MOST_FOLLOWED)),
            change=None if change is None else _change(change),
            other=given.text("other", LONGEST),
        )
        if bool(asked.prompt) == bool(asked.messages):
            raise LensError("the prompt is empty: type a text" if not asked.prompt else "pass a prompt or a chat")
        if sum(len(content) for _, content in asked.messages) > LONGEST:
            raise LensError(f"the chat is longer than {LONGEST:,} characters: shorten it")
        if asked.change is not None and asked.change.do == "patch" and not asked.other:
            raise LensError("the other prompt is empty: type the prompt to patch from")
        return asked

    @property
    def of_other(self) -> "Asked":
        """The same look at the other prompt; in a chat, it replaces the user's last message."""
        if not self.messages:
            return replace(self, prompt=self.other, change=None)
        said = [place for place, (role, _) in enumerate(self.messages) if role == "user"] or [len(self.messages) - 1]
        messages = list(self.messages)
        messages[said[-1]] = (messages[said[-1]][0], self.other)
        return replace(self, messages=tuple(messages), change=None)

    @property
    def chat(self) -> list[dict[str, str]] | None:
        """The messages in the form for templates; None for a plain prompt."""
        return [{"role": role, "content": content} for role, content in self.messages] or None


class _Given:
    """A mapping from outside, whose values are read one by one."""

    def __init__(self, data: Any, what: str) -> None:
        if not isinstance(data, Mapping):
            raise LensError(f"{what} must be a JSON object; got {type(data).__name__}")
        self._data, self._what = data, what

    def get(self, name: str) -> Any:
        return self._data.get(name)

    def text(self, name: str, longest: int) -> str:
        found = self._data.get(name)
        if found is None:
            return ""
        if not isinstance(found, str):
            raise LensError(f"{name} must be a text; got {type(found).__name__}")
        if len(found) > longest:
            raise LensError(f"{name} has {len(found):,} characters: shorten it to {longest:,}")
        return _unicode(name, found)

    def one_of(self, name: str, known: Sequence[str]) -> str:
        found = self._data.get(name)
        if found is None:
            return known[0]
        if found not in known:
            raise LensError(f"{name} is {found!r:.80}: pass one of {', '.join(known)}")
        return str(found)

    def count(self, name: str, least: int, most: int, usual: int) -> int:
        found = self._data.get(name)
        if found is None:
            return usual
        if not _is_whole(found) or not least <= found <= most:
            raise LensError(f"{name} must be a whole number from {least} to {most}; got {found!r:.80}")
        return int(found)

    def items(self, name: str, most: int) -> list[Any]:
        found = self._data.get(name)
        if found is None:
            return []
        if not isinstance(found, list):
            raise LensError(f"{name} must be a list; got {type(found).__name__}")
        if len(found) > most:
            raise LensError(f"{name} has {len(found)} items: pass at most {most}")
        return found


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _unicode(name: str, text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise LensError(f"{name} is not valid Unicode: it has half of a surrogate pair") from None
    return text


def _token(data: Any) -> Token:
    if _is_whole(data) and 0 <= data < 1 << 31:
        return int(data)
    if isinstance(data, str) and 0 < len(data) <= 1_000:
        return _unicode("a token", data)
    raise LensError(f"a token is a text or an id; got {data!r:.80}")


def _message(data: Any) -> tuple[str, str]:
    given = _Given(data, "a message")
    return given.one_of("role", _ROLES), given.text("content", LONGEST)


def _set(data: Any) -> tuple[str, tuple[Token, ...]]:
    given = _Given(data, "a set")
    members = tuple(_token(each) for each in given.items("tokens", MOST_FOLLOWED))
    name = given.text("name", 80)
    if not name or not members:
        raise LensError("a set needs a name and tokens, such as capitals = Paris, Rome")
    return name, members


def _replaced(data: Any) -> tuple[int, Token]:
    if not isinstance(data, list) or len(data) != 2 or not _is_whole(data[0]):
        raise LensError(f"a replacement is a position and a token; got {data!r:.80}")
    return int(data[0]), _token(data[1])


def _change(data: Any) -> Change:
    given = _Given(data, "a change")
    do = given.one_of("do", DOING)
    layers, positions = given.get("layers"), given.get("positions")
    if layers is not None:
        layers = tuple(str(each)[:40] for each in given.items("layers", 10_000))
    if positions is not None:
        positions = tuple(given.items("positions", 10_000))
        if not all(_is_whole(each) for each in positions):
            raise LensError("positions of a change must be whole numbers")
    strength = given.get("strength")
    strength = 1.0 if strength is None else strength
    if isinstance(strength, bool) or not isinstance(strength, (int, float)) or not -1000 <= strength <= 1000:
        raise LensError(f"strength must be a number from -1000 to 1000; got {strength!r:.80}")
    token = None if do == "patch" else _token(given.get("token"))
    into = _token(given.get("into")) if do == "swap" else None
    return Change(do, token, into, layers, positions, float(strength))

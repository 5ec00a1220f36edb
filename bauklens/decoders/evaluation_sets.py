"""Sets of prompts with the intermediate concepts that a lens should show: files and values, checked."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bauklens.arguments import one_of
from bauklens.errors import LensError
from bauklens.files import path_of
from bauklens.reading_files import STANDARD_INPUT, parse_json, read_text
from bauklens.text_ids import is_unicode
from bauklens.vocabulary import FORMS, READ_RULES

Prompt = str | tuple[Mapping[str, str], ...]
"""A text, or the messages of a chat."""

PUBLISHED = {
    "lens-eval-poetry": {"read": "last newline"},
    "lens-eval-order-ops": {"forms": "arithmetic"},
}
"""The conventions of the published sets that differ from the others', by the names of their files."""

_PREFIX = "lens-eval-"
"""What the names of the published files begin with, and the names of their sets do not."""

_CALLED = "items"
"""The name of a set that has none."""


@dataclass(frozen=True)
class Item:
    """A prompt and the concepts that a lens should show.

    Attributes:
        name: its name in the set; empty if it has no name.
        intermediates: synonyms of each concept, at least one.
        target: what follows the prompt, which is not scored; None if that is not known.
        read: its own rule, one of :data:`bauklens.vocabulary.READ_RULES`; None means that of its set.
    """

    name: str
    prompt: Prompt
    intermediates: tuple[tuple[str, ...], ...]
    target: str | None = None
    read: str | None = None


@dataclass(frozen=True)
class ItemSet:
    """Several items.

    Attributes:
        read: one of :data:`bauklens.vocabulary.READ_RULES`.
        forms: one of :data:`bauklens.vocabulary.FORMS`.
    """

    name: str
    items: tuple[Item, ...]
    read: str = "before target"
    forms: str = "plain"

    def called(self, number: int) -> str:
        """An item in words, by its number from 0."""
        name = self.items[number].name
        return f"{self.name}, item {number + 1}" + (f" ({name!r:.80})" if name else "")


def item_sets(given: Any, *, read: Any = None, forms: Any = None) -> list[ItemSet]:
    """The sets that a caller means.

    Args:
        given: a JSON file; several; a list of items, or ``{"items": [...]}``; a mapping of names to any of these; or
            sets.
        read: a rule for all sets, or a mapping of names of sets to rules; None means each set's own.
        forms: likewise.

    Raises:
        LensError: a file cannot be read; no set is given, or a set has no items; an item is malformed.
    """
    found = [_set(name, each) for name, each in _named(given)]
    if not found:
        raise LensError("items is empty: pass a file, or a list of {'prompt': ..., 'intermediates': [...]}")
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise LensError(f"two sets are called {name!r:.80}: pass a mapping of names to files")
    ours, theirs = _of_sets("read", read, READ_RULES, names), _of_sets("forms", forms, FORMS, names)
    return [
        replace(each, read=ours.get(each.name, each.read), forms=theirs.get(each.name, each.forms))
        if each.name in ours or each.name in theirs
        else each
        for each in (_without_own_rules(each) if each.name in ours else each for each in found)
    ]


def _without_own_rules(several: ItemSet) -> ItemSet:
    """A set with the caller's rule of where to read."""
    return replace(several, items=tuple(replace(each, read=None) for each in several.items))


def _of_sets(what: str, given: Any, known: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """The name of a set -> what the caller passed for it."""
    if given is None:
        return {}
    asked = given if isinstance(given, Mapping) else dict.fromkeys(names, given)
    for name, value in asked.items():
        one_of("set", name, names)
        one_of(what, value if isinstance(value, str) else repr(value)[:80], tuple(known))
    return dict(asked)


def _named(given: Any) -> Iterator[tuple[str | None, Any]]:
    """(name, content) of each set; the name of a file is its own."""
    if _is_path(given):
        yield None, given
    elif isinstance(given, Mapping):
        if "prompt" in given:
            raise LensError("items is a single item: pass a list of them")
        if isinstance(given.get("items"), (list, tuple)):
            yield None, given
            return
        for name, content in given.items():
            if not isinstance(name, str) or not name or not is_unicode(name):
                raise LensError(f"the name of a set must be text; got {name!r:.80}")
            yield name, content
    elif isinstance(given, Iterable):
        several = list(given)
        if several and (all(map(_is_path, several)) or all(isinstance(each, ItemSet) for each in several)):
            yield from ((None, each) for each in several)
        elif several:
            yield None, several
    else:
        raise LensError(f"items must be a file, or a list of items; got {type(given).__name__}")


def _is_path(given: Any) -> bool:
    return isinstance(given, (str, os.PathLike))


def _set(name: str | None, given: Any) -> ItemSet:
    if isinstance(given, ItemSet):
        return given
    content, called = given, name or _CALLED
    conventions: Mapping[str, str] = PUBLISHED.get(called, {})
    if _is_path(given):
        path = path_of(given)
        stem = "standard input" if str(path) == STANDARD_INPUT else path.stem
        content, called = _read(path), name or stem.removeprefix(_PREFIX) or stem
        conventions = PUBLISHED.get(stem, conventions)
    if isinstance(content, Mapping):
        own = {key: content[key] for key in ("read", "forms") if key in content}
        for key, known in (("read", READ_RULES), ("forms", FORMS)):
            if key in own:
                _require(isinstance(own[key], str) and own[key] in known, called, _unknown(key, own[key], known))
        conventions = {**conventions, **own}
        _require("items" in content, called, 'looked for a list of items, or {"items": [...]}; it has no "items"')
        content = content["items"]
    if isinstance(content, (str, bytes, Mapping)) or not isinstance(content, Iterable):
        raise LensError(f"{called}: looked for a list of items; got {type(content).__name__}")
    entries = list(content)
    _require(bool(entries), called, "it has no items")
    items = tuple(_item(f"{called}, item {number}", entry) for number, entry in enumerate(entries, 1))
    return ItemSet(called, items, **conventions)


def _read(path: Path) -> Any:
    try:
        return parse_json(read_text(path))
    except LensError as error:
        raise LensError(f"cannot read {path}: {error}") from None


def _item(called: str, entry: Any) -> Item:
    _require(isinstance(entry, Mapping), called, f"looked for an object with a prompt; got {type(entry).__name__}")
    name = entry.get("name")
    name = name if isinstance(name, str) and is_unicode(name) else ""
    called += f" ({name!r:.80})" if name else ""
    for key in ("prompt", "intermediates"):
        _require(key in entry, called, f'it has no "{key}"')
    intermediates = entry["intermediates"]
    is_list = isinstance(intermediates, (list, tuple))
    _require(is_list, called, f'"intermediates" must be a list of words; got {type(intermediates).__name__}')
    _require(len(intermediates) > 0, called, '"intermediates" is empty: pass at least one word')
    target = entry.get("target")
    if target is not None:
        _require_text(called, '"target"', target)
        _require(target != "", called, '"target" is empty: leave it out, to read at the last token of the prompt')
    read = entry.get("read")
    known = read is None or (isinstance(read, str) and read in READ_RULES)
    _require(known, called, _unknown("read", read, READ_RULES))
    return Item(
        name, _prompt(called, entry["prompt"]), tuple(_word(called, each) for each in intermediates), target, read
    )


def _prompt(called: str, prompt: Any) -> Prompt:
    if isinstance(prompt, (list, tuple)):
        for message in prompt:
            right = isinstance(message, Mapping) and {"role", "content"} <= set(message)
            _require(right, called, 'a chat must be a list of {"role": "user", "content": "..."}')
            for key in ("role", "content"):
                _require_text(called, f'the "{key}" of a message', message[key])
        _require(len(prompt) > 0, called, '"prompt" is empty')
        return tuple({"role": each["role"], "content": each["content"]} for each in prompt)
    _require_text(called, '"prompt"', prompt)
    _require(prompt != "", called, '"prompt" is empty')
    return str(prompt)


def _word(called: str, given: Any) -> tuple[str, ...]:
    """The synonyms of a concept."""
    synonyms = given if isinstance(given, (list, tuple)) else [given]
    _require(len(synonyms) > 0, called, "a word has an empty list of synonyms")
    for each in synonyms:
        _require_text(called, "a word", each)
        _require(bool(each.strip()), called, "a word is empty")
    return tuple(dict.fromkeys(each.strip() for each in synonyms))


def _require_text(called: str, what: str, value: Any) -> None:
    _require(isinstance(value, str), called, f"{what} must be text; got {type(value).__name__}")
    _require(is_unicode(value), called, f"{what} is not valid Unicode: it contains half a surrogate pair")


def _require(right: bool, called: str, what: str) -> None:
    if not right:
        raise LensError(f"{called}: {what}")


def _unknown(what: str, value: Any, known: Iterable[str]) -> str:
    said = f"{value!r:.80}" if isinstance(value, (str, int, float)) else type(value).__name__
    return f'unknown "{what}" {said}: pass one of {", ".join(map(repr, known))}'

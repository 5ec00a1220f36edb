"""The plain values of an evaluation, from any source -> an evaluation, checked. Needs no torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from bauklens.arguments import is_whole_number
from bauklens.errors import LensError
from bauklens.result.frozen import require
from bauklens.show.evaluated_items import EvaluatedItem, EvaluatedSet, EvaluatedWord
from bauklens.show.evaluation import FORMAT, VERSION, Evaluation
from bauklens.vocabulary import FORMS, READ_RULES, SPELLED

Made = TypeVar("Made")

_MOST = 10**9
"""A number larger than any rank, position or token id."""


def evaluation_of(data: Any) -> Evaluation:
    """Reads what :meth:`Evaluation.to_dict` wrote.

    Raises:
        LensError: the format or version is another one, or a part is missing or damaged.
    """
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        raise LensError(f"this is not an evaluation: looked for format {FORMAT!r}")
    if data.get("version") != VERSION:
        raise LensError(
            f"this evaluation has version {data.get('version')!r:.80}; this bauklens reads version {VERSION}"
        )
    checks: dict[str, Callable[[Any], Any]] = {
        "model": _text,
        "decoders": _texts,
        "layers": _texts,
        "ks": lambda value: _numbers(value, least=1),
        "words": lambda value: _one_of(value, SPELLED),
        "sets": lambda value: tuple(map(_set, _list(value))),
        "layers_without_map": _texts,
        "made_for": lambda value: {_text(name): _text(each) for name, each in _mapping(value).items()},
        "provenance": _mapping,
    }
    found = _made(Evaluation, data, checks, "this evaluation")
    require(bool(found.decoders and found.sets and found.ks and found.layers), "this evaluation is empty")
    require(len(set(found.decoders)) == len(found.decoders), "two decoders of this evaluation have the same name")
    require(list(found.ks) == sorted(set(found.ks)), "the ks of this evaluation are not ascending")
    for several in found.sets:
        for item in several.items:
            for word in item.words:
                _require_whole(word, found)
    return found


def _require_whole(word: EvaluatedWord, found: Evaluation) -> None:
    """Refuses a word whose parts do not fit each other, or the decoders."""
    count = 0 if word.by == "none" else len(found.decoders)
    each = (word.best_rank, word.best_layer, word.best_token)
    require(all(len(one) == count for one in each), "a word does not have one rank, layer and token for each decoder")
    require(len(word.tokens) == len(word.token_ids), "a word does not have a text for each token")
    require(bool(word.synonyms), "a word of this evaluation has no text")
    require(set(word.best_layer) <= set(found.layers), "a word is best at a layer that was not read")


def _set(data: Any) -> EvaluatedSet:
    return _made(
        EvaluatedSet,
        data,
        {
            "name": _text,
            "read": lambda value: _one_of(value, READ_RULES),
            "forms": lambda value: _one_of(value, FORMS),
            "items": lambda value: tuple(map(_item, _list(value))),
        },
        "a set",
    )


def _item(data: Any) -> EvaluatedItem:
    return _made(
        EvaluatedItem,
        data,
        {
            "name": _text,
            "prompt": _text,
            "target": lambda value: None if value is None else _text(value),
            "rule": lambda value: _one_of(value, READ_RULES),
            "position": lambda value: _number(value, least=0),
            "token_id": lambda value: _number(value, least=0),
            "token": _text,
            "words": lambda value: tuple(map(_word, _list(value))),
        },
        "an item",
    )


def _word(data: Any) -> EvaluatedWord:
    return _made(
        EvaluatedWord,
        data,
        {
            "synonyms": _texts,
            "by": lambda value: _one_of(value, (*SPELLED, "none")),
            "token_ids": lambda value: _numbers(value, least=0),
            "tokens": _texts,
            "best_rank": lambda value: _numbers(value, least=1),
            "best_layer": _texts,
            "best_token": _texts,
        },
        "a word",
    )


def _made(kind: type[Made], data: Any, checks: Mapping[str, Callable[[Any], Any]], what: str) -> Made:
    """A data class from its fields, each of them checked."""
    require(isinstance(data, Mapping), f"{what} is not a mapping")
    values = {}
    for each in fields(kind):  # type: ignore[arg-type]
        if each.name in data:
            try:
                values[each.name] = checks[each.name](data[each.name])
            except LensError as error:
                raise LensError(
                    f"the {each.name!r} of {what}: {error}" if what != "this evaluation" else error
                ) from None
        else:
            needed = each.default is each.default_factory is MISSING
            require(not needed, f"{what} has no {each.name!r}")
    return kind(**values)


def _list(value: Any) -> Sequence[Any]:
    require(isinstance(value, (list, tuple)), f"looked for a list; got {type(value).__name__}")
    listed: Sequence[Any] = value
    return listed


def _mapping(value: Any) -> Mapping[str, Any]:
    require(isinstance(value, Mapping), f"looked for a mapping; got {type(value).__name__}")
    mapping: Mapping[str, Any] = value
    return mapping


def _text(value: Any) -> str:
    require(isinstance(value, str), f"looked for text; got {type(value).__name__}")
    return str(value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))


def _number(value: Any, *, least: int) -> int:
    require(is_whole_number(value), f"looked for a whole number; got {type(value).__name__}")
    require(least <= value <= _MOST, f"looked for a number from {least} to {_MOST:,}")
    return int(value)


def _numbers(value: Any, *, least: int) -> tuple[int, ...]:
    return tuple(_number(each, least=least) for each in _list(value))


def _one_of(value: Any, known: Any) -> str:
    is_known = isinstance(value, str) and value in known
    require(is_known, f"looked for one of {', '.join(map(repr, known))}")
    return str(value)

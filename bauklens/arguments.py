"""Turns what a caller asks for into rows, columns and tokens, or raises an error of one line that lists what exists."""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, TypeGuard

from bauklens.errors import LensError
from bauklens.row_labels import block_of

Layers = int | str | Iterable[int | str] | None
Positions = int | slice | Iterable[int] | None

Edit = Callable[[Any, str], Any]
"""``fn(output, layer)``: what a block returns and its name -> what the model continues with."""


def one_of(name: str, value: Any, known: Sequence[Any]) -> None:
    """Raises a LensError if a value is not one of the known ones.

    >>> one_of("stream", "hiden", ("hidden", "delta"))
    Traceback (most recent call last):
    bauklens.errors.LensError: unknown stream 'hiden': pass one of 'hidden', 'delta'
    """
    if value not in known:
        raise LensError(f"unknown {name} {value!r}: pass one of {', '.join(map(repr, known))}")


def as_lists(wanted: Any) -> Any:
    """The value with every collection except mappings as a list, so that it can be read twice and written to a file.

    >>> as_lists({"en": range(3), "fr": " le"})
    {'en': [0, 1, 2], 'fr': ' le'}
    """
    if hasattr(wanted, "tolist"):
        return wanted.tolist()
    if isinstance(wanted, Mapping):
        return {name: as_lists(members) for name, members in wanted.items()}
    if isinstance(wanted, (str, bytes)) or not isinstance(wanted, Iterable):
        return wanted
    return [as_lists(each) for each in (sorted(wanted, key=str) if isinstance(wanted, Set) else wanted)]


def chosen_layers(labels: Sequence[str], wanted: Layers, idle: Sequence[str] = ()) -> list[int]:
    """Indices of the rows wanted, by label, as text or number; negative numbers count blocks from the last.

    A block whose rows are those of its attention heads means all of them.

    Args:
        labels: what the rows are called.
        wanted: None means all.
        idle: labels of blocks that did not run, and so have no row.

    >>> chosen_layers(["embed", "0", "1"], ["embed", -1])
    [0, 2]
    >>> chosen_layers(["0.h0", "0.h1", "1.h0", "1.h1"], ["1", "0.h1"])
    [2, 3, 1]
    """
    if wanted is None:
        return list(range(len(labels)))
    wanted = wanted.tolist() if hasattr(wanted, "tolist") else wanted
    each_wanted = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else list(wanted)
    if not each_wanted:
        raise LensError("layers is empty: pass at least one, or None for all")
    return _distinct("layer", [row for each in each_wanted for row in _rows(labels, each, idle)], labels)


def chosen_positions(count: int, wanted: Positions) -> list[int]:
    """The positions wanted in a prompt of ``count`` tokens; negative ones count from the last.

    >>> chosen_positions(4, [0, -1])
    [0, 3]
    """
    if wanted is None:
        return list(range(count))
    if isinstance(wanted, slice):
        wanted = range(count)[wanted]
    wanted = wanted.tolist() if hasattr(wanted, "tolist") else wanted
    chosen = []
    for each in wanted if isinstance(wanted, Iterable) else [wanted]:
        position = whole_number("position", each)
        if not -count <= position < count:
            raise LensError(
                f"unknown position {position}: the prompt has {count} tokens, at positions 0 .. {count - 1}"
            )
        chosen.append(position % count)
    if not chosen:
        raise LensError("positions is empty: pass at least one, or None for all")
    return _distinct("position", chosen, range(count))


def one_layer(labels: Sequence[str], name: str, wanted: Any, idle: Sequence[str] = ()) -> int:
    """The index of the one row wanted.

    >>> one_layer(["embed", "0", "1"], "into_layer", -1)
    2
    """
    if wanted is not None:
        row, *others = chosen_layers(labels, wanted, idle)
        if not others:
            return row
    raise LensError(f"{name} is {wanted!r:.80}: pass one layer, as a number or label")


def one_position(count: int, wanted: Any, name: str = "position") -> int:
    """The one position wanted in a prompt of ``count`` tokens.

    >>> one_position(4, -1)
    3
    """
    return chosen_positions(count, whole_number(name, wanted))[0]


def checked_topk(topk: Any, most: int, name: str = "topk") -> int:
    """The number of things to keep, checked to be in 1 .. most."""
    count = whole_number(name, topk)
    if not 1 <= count <= most:
        raise LensError(f"{name} is {count}: pass a number from 1 to {most:,}")
    return count


def checked_count(name: str, value: Any, *, least: int = 1) -> int:
    """The number of things, checked to be at least ``least``."""
    count = whole_number(name, value)
    if count < least:
        raise LensError(f"{name} is {count}: pass {least} or more")
    return count


def _distinct(name: str, chosen: list[int], labels: Sequence[Any]) -> list[int]:
    twice = [each for each in chosen if chosen.count(each) > 1]
    if twice:
        raise LensError(f"{name} {labels[twice[0]]} is given twice: pass it once")
    return chosen


def _rows(labels: Sequence[str], wanted: int | str, idle: Sequence[str]) -> list[int]:
    """The row of a label, or all rows of a block's attention heads."""
    blocks = list(dict.fromkeys(block_of(label) for label in labels if label != "embed"))
    text = str(wanted)
    if text not in labels and text.startswith("-") and text[1:].isdecimal() and 1 <= int(text[1:]) <= len(blocks):
        text = blocks[-int(text[1:])]
    if text in labels:
        return [labels.index(text)]
    if text in blocks:
        return [row for row, label in enumerate(labels) if block_of(label) == text]
    if text in idle:
        raise LensError(f"block {text} did not run on this prompt, so it has no row: this lens has {_listed(labels)}")
    raise LensError(f"unknown layer {wanted!r}: this lens has {_listed(labels)}")


def _listed(labels: Sequence[str]) -> str:
    """Rows in words: only the ends of a run of blocks, and only the first and last of blocks that are not numbered.

    >>> _listed(["embed", "0", "1", "2"])
    "'embed', 0 .. 2"
    """
    blocks = [label for label in labels if label != "embed"]
    before = ["'embed'"] if "embed" in labels else []
    if all(label.isdecimal() for label in blocks):
        return ", ".join(before + ([listed(blocks)] if blocks else []))
    return ", ".join([*before, f"{blocks[0]!r} .. {blocks[-1]!r}"])


def whole_number(name: str, value: Any) -> int:
    """A whole number from Python, numpy or torch, as an int."""
    if not is_whole_number(value):
        raise LensError(f"{name} is {value!r}: pass a whole number")
    return int(operator.index(value))


def is_whole_number(value: Any) -> TypeGuard[int]:
    """Whether a value is a whole number from Python, numpy or torch; True and False are not, though they equal 1 and 0.

    >>> [is_whole_number(each) for each in (1, 1.0, "1", True)]
    [True, False, False, False]
    """
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def listed(labels: Any) -> str:
    """Layers in words: only the ends of a run of numbers.

    >>> listed(["embed", "0", "1", "2", "5"])
    'embed, 0 .. 2, 5'
    """
    runs: list[list[str]] = []
    for label in labels:
        follows = runs and label.isdecimal() and runs[-1][-1].isdecimal() and int(label) == int(runs[-1][-1]) + 1
        if follows:
            runs[-1].append(label)
        else:
            runs.append([label])
    return ", ".join(f"{run[0]} .. {run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs)

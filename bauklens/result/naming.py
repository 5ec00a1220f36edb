"""Short names for lenses: what they differ in; for two prompts, the words that differ. Needs no torch."""

import re
from collections.abc import Sequence

from bauklens.result.alignment import aligned

LONGEST = 24
"""Characters of a short name."""

_STRIPPED = ".,;:!?"
_MORE = " … "
_DECODER = re.compile(r" \([^()]*\)$")
"""The decoder of an edit, which a short name leaves out."""


def short_names(names: Sequence[str], attribute: str) -> list[str]:
    """Short names, as unlike each other as the full ones.

    >>> short_names(["Then Mary left", "Then John left"], "prompt")
    ['Mary', 'John']

    Args:
        names: the full names.
        attribute: the attribute of a result that they are: ``"prompt"``, ``"model"``, ``"decoder"``, ...
    """
    if attribute == "prompt" and len(names) == 2:
        short = _differing(names[0].split(), names[1].split())
    elif attribute == "model":
        short = [name.rpartition("/")[2] or name for name in names]
    elif attribute == "edited":
        short = [name if "; " in name else _DECODER.sub("", name) for name in names]
    else:
        short = [" ".join(name.split()) for name in names]
    if len(set(short)) < len(names):
        short = [" ".join(name.split()) for name in names]
    if len(set(map(_cut, short))) < len(names):
        short = _from_where_they_differ(short)
    found = [_cut(name) for name in short]
    return found if len(set(found)) == len(names) else [*names]


def _differing(one: list[str], other: list[str]) -> list[str]:
    """The words of each that the other does not have there; for one that only lacks words, the words it lacks."""
    pairs = aligned(one, other)
    plain, texts = [], []
    for side, words in enumerate((one, other)):
        stretches: list[list[str]] = [[]]
        for pair in pairs:
            if None not in pair and one[pair[0] or 0] == other[pair[1] or 0]:
                stretches.append([])
            elif pair[side] is not None:
                stretches[-1].append(words[pair[side] or 0])
        said = [" ".join(each) for each in stretches if each]
        bare = dict.fromkeys(text.strip(_STRIPPED) or text for text in said)  # without repetitions
        plain.append(_MORE.join(bare))
        texts.append(_MORE.join(said))
    if all(plain) and plain[0] != plain[1]:
        return plain
    return [text or f"without “{other}”" for text, other in zip(texts, texts[::-1], strict=True)]


def _from_where_they_differ(names: list[str]) -> list[str]:
    """The same without the common beginning, except for the word in which they begin to differ."""
    same = 0
    while all(len(name) > same for name in names) and len({name[same] for name in names}) == 1:
        same += 1
    start = max(names[0].rfind(" ", 0, same) + 1, same - LONGEST // 2)
    return [f"…{name[start:]}" if start else name for name in names]


def _cut(name: str) -> str:
    """Cut at the end of a word, if one is close to the limit."""
    if len(name) <= LONGEST:
        return name
    end = name.rfind(" ", LONGEST // 2, LONGEST)
    return f"{name[: end if end > 0 else LONGEST - 1].rstrip(_STRIPPED + ' …')}…"

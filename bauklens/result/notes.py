"""What a user should know about a prompt, a model or a result, as sentences under the table. Needs no torch."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bauklens.result.result import LensResult


def joint_notes(named: Iterable[tuple[str, "LensResult"]]) -> Sequence[tuple[str, str]]:
    """The notes of several results, each once.

    Args:
        named: what each result is called, and the result.

    Returns:
        (names of the results that have it, note); no names if all have it.
    """
    results = list(named)
    having: dict[str, list[str]] = {}
    for name, result in results:
        for note in dict.fromkeys(result.notes):
            having.setdefault(note, []).append(name)
    return [("" if len(names) == len(results) else ", ".join(names), note) for note, names in having.items()]

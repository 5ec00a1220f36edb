"""The sections of a report: which results share a viewer, their names, and their provenance."""

from collections.abc import Mapping
from typing import Any

from bauklens.result.comparison import Comparison
from bauklens.result.result import LensResult

Shown = LensResult | Comparison
"""The results that a figure can show."""


def heading_of(result: Shown) -> str:
    """The name of a result: its prompt, or the last message of a chat."""
    if isinstance(result, Comparison):
        return " | ".join(dict.fromkeys(heading_of(lens) for lens in (result.one, result.other)))
    asked = getattr(result, "provenance", {}).get("arguments")
    said = asked.get("last_message") if isinstance(asked, Mapping) else None
    return str(said or getattr(result, "prompt", "") or "".join(getattr(result, "tokens", ())))


def together(titled: "tuple[str, Shown]") -> Any:
    """A key that is equal for results that share a viewer: their heading and their tokens."""
    heading, result = titled
    if isinstance(result, Comparison):
        return heading, id(result)
    return heading, result.model, result.token_ids.tobytes(), result.positions.tobytes()


def provenance_of(result: Shown) -> list[list[tuple[str, str]]]:
    """Names and values for each lens of a result."""
    if isinstance(result, Comparison):
        return [*provenance_of(result.one), *provenance_of(result.other)]
    lines = [("prompt", result.prompt)]
    for name, value in result.provenance.items():
        lines.append((name, said(value)))
    return [lines]


def said(value: Any) -> str:
    """A value of a provenance as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {said(item)}" for key, item in value.items())
    if isinstance(value, tuple):
        return ", ".join(map(said, value))
    return "none" if value is None else str(value)

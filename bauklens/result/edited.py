"""Edits in words, of the plain values that a result keeps of them. Needs no torch."""

from collections.abc import Iterable, Mapping
from typing import Any

CLEAN = "clean"
"""What a result without edits is called beside one with edits."""

_PLACED = ("edit", "where", "layers", "positions")

_WHERE = {"hidden": "the stream after", "mid": "the stream in the middle of", "attention": "what the attention of"}
_WHERE |= {"mlp": "what the MLP of"}

_POSITIONS = {None: "every position", "prompt": "every position of the prompt", "new": "every new position"}


def in_words(described: Mapping[str, Any]) -> str:
    """An edit as one line.

    >>> in_words({"edit": "zero", "where": "mlp", "layers": ["3"], "positions": None})
    'zero: what the MLP of layer 3 writes, at every position'
    """
    where, layers = described["where"], _listed(described["layers"])
    named = "every block" if layers is None else f"layer{'s' if layers[1:] else ''} {_runs(layers)}"
    place = f"{_WHERE.get(where, f'what head {where} of')} {named}{' writes' if where not in ('hidden', 'mid') else ''}"
    positions = described["positions"]
    if positions is None or isinstance(positions, str):
        at = _POSITIONS.get(positions, f"positions {positions}")
    else:
        chosen = _listed(positions) or []
        at = f"position{'s' if chosen[1:] else ''} {', '.join(chosen)}"
    return f"{short(described)}: {place}, at {at}"


def short(described: Mapping[str, Any]) -> str:
    """What an edit does, without its place.

    >>> short({"edit": "swap", "from": " Paris", "to": " Rome", "decoder": "demo", "strength": 2.0})
    "swap ' Paris' → ' Rome' (demo, strength 2)"
    """
    known = dict(described)
    what = str(known.pop("edit"))
    if "from" in known:
        what += f" {known.pop('from')!r} → {known.pop('to')!r}"
    for name in ("token", "tokens", "prompt", "k"):
        value = known.pop(name, None)
        if value is not None:
            what += f" {', '.join(map(repr, _listed_values(value)))}"
    told = [str(known.pop("decoder"))] if "decoder" in known else []
    strength = known.pop("strength", 1)
    told += [] if strength == 1 or not isinstance(strength, (int, float)) else [f"strength {strength:g}"]
    rest = {name: value for name, value in known.items() if name not in _PLACED and not name.endswith(" ids")}
    told += [f"{name} {value}" for name, value in rest.items() if value is not None]
    return f"{what} ({', '.join(told)})" if told else what


def edited(provenance: Mapping[str, Any]) -> str:
    """What was done to the model of a result, in short; ``"clean"`` if nothing was."""
    found = provenance.get("edits", ())
    known = (
        [each for each in found if isinstance(each, Mapping) and "edit" in each]
        if isinstance(found, tuple | list)
        else []
    )
    return "; ".join(map(short, known)) or CLEAN


def _listed(value: Any) -> list[str] | None:
    if value is None:
        return None
    return [str(each) for each in ([value] if isinstance(value, (int, str)) else value)]


def _listed_values(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _runs(labels: list[str]) -> str:
    """Labels, with each run of consecutive ones as its first and last.

    >>> _runs(["embed", "3", "4", "5", "9"])
    'embed, 3 to 5, 9'
    """
    found: list[list[str]] = []
    for label in labels:
        last = found[-1][-1] if found else ""
        follows = label.isdecimal() and last.isdecimal() and int(label) == int(last) + 1
        if follows:
            found[-1].append(label)
        else:
            found.append([label])
    said = [f"{run[0]} to {run[-1]}" if run[2:] else ", ".join(run) for run in found]
    return ", ".join(said)

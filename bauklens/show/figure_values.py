"""What the cells of a publication figure show: pins, and numbers 0..1 for colours.

``viewer/figurevalues.js`` computes the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bauklens.errors import LensError
from bauklens.result.measures import known_measure
from bauklens.result.result import LensResult
from bauklens.result.targets import Target, Which, target_names
from bauklens.show.figure_colours import SHAPES
from bauklens.show.figure_drawing import cut_to
from bauklens.show.legends import largest_magnitude
from bauklens.show.nouns import noun, spelling
from bauklens.show.pinnable import followed_as, in_some_top, is_single

OWN = ("both", "classic", "probability", "token", "rank", "logprob")
"""Colours that are not measures; the last three show the first pin."""

LONGEST = 30
"""The most characters of a pin's name."""

_OF_PIN = OWN[3:]
_RANKS = ("rank", "rank_of_next")


@dataclass(frozen=True, eq=False)
class Pin:
    """A token that a figure follows.

    Attributes:
        text: its text as shown.
        place: its place among the pins, which gives it a shape and a colour.
        probability, rank: (layer, position), NaN in cells for which they are not known.
        best: (layer, position) int64, its rank if it is in the cell's top k, else 0.
        is_known: whether it is known in every cell.
    """

    text: str
    place: int
    probability: np.ndarray
    rank: np.ndarray
    best: np.ndarray
    is_known: bool


@dataclass(frozen=True, eq=False)
class Scale:
    """The colours of cells.

    Attributes:
        parts: (layer, position), 0..1 along the scale, NaN in cells without a value.
        bars: (layer, position), 0..1, how long the bar of each cell is; None for no bars.
        about: what the scale shows, for the legend.
        ends: the names of its ends.
        bars_about: what the bars show.
    """

    parts: np.ndarray
    bars: np.ndarray | None
    about: str
    ends: tuple[str, str]
    bars_about: str = ""


def pins_of(result: LensResult, wanted: Sequence[Which]) -> list[Pin]:
    """The pins of a figure.

    Raises:
        LensError: one is not known, or is given twice, or there are too many.
    """
    if isinstance(wanted, (str, int)):
        wanted = [wanted]
    if len(wanted) > len(SHAPES):
        raise LensError(f"there are {len(wanted)} pins: pass at most {len(SHAPES)}, as each has its own shape")
    pins = [_pin(result, which, place) for place, which in enumerate(wanted)]
    known = [_known_as(result, which) for which in wanted]
    twice = [pin.text for place, pin in enumerate(pins) if known[place] in known[:place]]
    if twice:
        raise LensError(f"the pin {twice[0]!r} is given twice: pass it once")
    return pins


def _known_as(result: LensResult, which: Which) -> tuple[str, tuple[int, ...]]:
    """Identifies a pin, whether it is given by its text or by its ids; a set is identified by its name."""
    target = followed_as(result, which)
    if target is None:
        return "", (in_some_top(result, which),)
    return ("", target.token_ids) if is_single(target) else (f"{target.part} {target.text}", target.token_ids)


def _pin(result: LensResult, which: Which, place: int) -> Pin:
    target = followed_as(result, which)
    if target is not None and not is_single(target):
        best = np.where(target.rank <= result.topk, np.nan_to_num(target.rank), 0).astype(np.int64)
        name = target_names(result.targets, spelling(result))[result.targets.index(target)]
        return Pin(cut_to(name, LONGEST), place, target.probability, target.rank, best, True)
    token = target.token_ids[0] if target is not None else in_some_top(result, which)
    return of_token(result, token, place, target)


def of_token(result: LensResult, token: int, place: int, target: Target | None = None) -> Pin:
    """A token, given by its id, as a pin; in cells with it in their top k, its values are those of the table.

    Equally probable tokens share the better rank, as far as it is known.
    """
    if target is None:
        target = followed_as(result, token)
    empty = np.full(result.magnitude.shape, np.nan, np.float32)
    probability, rank = (empty, empty) if target is None else (target.probability, target.rank)
    is_it = result.top_ids == token  # (layer, position, rank)
    best = np.where(is_it.any(axis=-1), is_it.argmax(axis=-1) + 1, 0)
    if target is None or target not in result.targets:
        held = (result.top_probs * is_it).sum(axis=-1)
        exact_to = 0 if result.tracked is None else result.tracked.exact_to
        is_shared = (rank < best) & (rank <= exact_to)
        probability, rank = np.where(best, held, probability), np.where((best > 0) & ~is_shared, best, rank)
    text = spelling(result)(result.vocabulary.get(token, "" if target is None else target.text))
    return Pin(cut_to(text, LONGEST), place, probability, rank, best, target is not None)


def scale_of(result: LensResult, colour: str, pins: Sequence[Pin]) -> Scale:
    """What the colours of cells mean.

    Raises:
        LensError: the colour is not known, or needs a pin.
    """
    measures = [name for name in result.measures if name not in (*OWN, "max_probability")]
    if colour not in OWN and colour not in measures:
        raise LensError(f"unknown colour {colour!r}: pass one of {', '.join(map(repr, (*OWN, *measures)))}")
    if colour in _OF_PIN and not pins:
        raise LensError(f"colour={colour!r} needs a pin: pass pins=[...]")
    top = f"probability of the top {noun(result)}"
    if colour in ("both", "classic"):
        largest = largest_magnitude(result) or 1.0
        bars = (
            None
            if result.magnitudes_are_unknown
            else np.minimum(np.nan_to_num(result.magnitude).astype(np.float64) / largest, 1.0)
        )
        after = "" if int(result.positions[-1]) < 1 else ", the largest after position 0"
        full = f"magnitude (full = {number(largest)}{after})"
        return Scale(result.top_probs[..., 0], bars, top, ("0", "1"), full)
    if colour in ("probability", "token"):
        values, name = (
            (result.top_probs[..., 0], top)
            if colour == "probability"
            else (pins[0].probability, f"probability of {pins[0].text}")
        )
        return Scale(values, None, f"{name}{_missing(values)}", ("0", "1"))
    values, about, unit = _measured(result, colour, pins)
    known = values[1:] if result.layers[0] == "embed" and len(values) > 1 else values
    low, high = (_least(known), 0.0) if colour == "logprob" else (min(0.0, _least(known)), _most(known))
    about += f", nats{_missing(values)}" if unit == "nats" else _missing(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        if colour in _RANKS:
            last = max(_most(values), 2.0)
            parts = 1 - np.log(values.astype(np.float64)) / math.log(last)
            return Scale(np.clip(parts, 0, 1), None, f"{about}, logarithmic", (number(last), "1"))
        parts = (values.astype(np.float64) - low) / (high - low or 1)
    if _most(values) > high:
        about += f" (embed reaches {number(_most(values))}, shown as full)"
    return Scale(np.clip(parts, 0, 1), None, about, (number(low), number(high)))


def _measured(result: LensResult, colour: str, pins: Sequence[Pin]) -> tuple[np.ndarray, str, str]:
    if colour == "rank":
        return pins[0].rank, f"rank of {pins[0].text}", ""
    if colour == "logprob":
        with np.errstate(divide="ignore"):
            return np.log(pins[0].probability), f"log probability of {pins[0].text}", "nats"
    known = known_measure(colour)
    return result.measures[colour], colour.replace("_", " "), "" if known is None else known.unit


def _missing(values: np.ndarray) -> str:
    return "; a stroke: not known" if np.isnan(values).any() else ""


def _least(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.min()) if known.size else 0.0


def _most(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.max()) if known.size else 0.0


def number(value: float) -> str:
    """Four digits, as in the viewer.

    >>> number(24_812.4), number(3.25), number(0.00002)
    ('24,812', '3.25', '2e-5')
    """
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if value and abs(value) < 0.001:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) < 1 else f"{value:.4g}"

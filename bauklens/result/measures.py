"""The measures that a result may have: what each describes, its unit, and what it needs. Needs no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bauklens.errors import LensError


@dataclass(frozen=True)
class Measure:
    """A measure: one number per cell.

    Attributes:
        unit: the unit of its values; empty if they have none.
        about: what it measures, in one line.
        final: whether it needs the model's own prediction at that position, and so a complete forward pass.
        exact: whether it is exact in every result, even if logits are decoded in low precision.
        of_text: whether it is about the next token of the text, which a classifier does not predict.
    """

    unit: str
    about: str
    final: bool = False
    exact: bool = False
    of_text: bool = False


Measure.__module__ = "bauklens"  # so that pickles load wherever the class is defined


MEASURES = {
    "max_probability": Measure("0..1", "the probability of the row's most probable token"),
    "max_logit": Measure("", "the logit of the row's most probable token"),
    "magnitude": Measure("", "the L2 norm of the state"),
    "entropy": Measure("nats", "how spread out the prediction is: 0 if one token is certain, at most log(vocabulary)"),
    "kl": Measure(
        "nats", "KL(final row || this row): how much worse this row predicts than the model itself", final=True
    ),
    "js": Measure("nats", "Jensen-Shannon divergence from the final row, 0 .. log 2", final=True),
    "surprisal": Measure("nats", "-log p of the next token of the text; none at its last position", of_text=True),
    "rank_of_next": Measure(
        "", "the rank of the next token of the text, from 1; none at its last position", exact=True, of_text=True
    ),
    "agreement": Measure("0 or 1", "whether the most probable token is the same as in the final row", final=True),
    "overlap": Measure("0..1", "the fraction of the top k that is also in the final row's top k", final=True),
    "cosine_to_final": Measure("-1..1", "the cosine between the state and the state after the last block", final=True),
    "cosine_to_previous": Measure(
        "-1..1", "the cosine between the state and that of the row before; none in the first row"
    ),
}
"""All measures."""

MASS = "mass:"
"""The prefix of measures that are the probability of a set of tokens; the set's name follows."""

_MORE = ("js", "rank_of_next")
"""The measures that need their own pass over the logits."""

DEFAULT = tuple(name for name in MEASURES if name not in _MORE)
"""The measures of every result: they need only the pass over the logits that the table takes anyway."""


def known_measure(name: str) -> Measure | None:
    """The measure of this name: one of :data:`MEASURES`, or the mass of a set; None for any other name."""
    if name.startswith(MASS):
        return Measure("0..1", f"the probability of all tokens of {name.removeprefix(MASS)!r} together")
    return MEASURES.get(name)


def chosen_measures(wanted: Any, *, complete: bool) -> tuple[str, ...]:
    """The names of the requested measures, in the order of :data:`MEASURES`.

    Args:
        wanted: names; None means the default ones, ``"all"`` all of them.
        complete: whether the forward pass runs to the model's own logits; if not, the default leaves out the measures
            that need them.

    Raises:
        LensError: a measure is unknown.
    """
    if wanted is None:
        return tuple(name for name in DEFAULT if complete or not MEASURES[name].final)
    if isinstance(wanted, str):
        wanted = MEASURES if wanted == "all" else [wanted]
    if not isinstance(wanted, Iterable):
        raise LensError(f"measures is {wanted!r}: pass a list of names, 'all', or None")
    names: Sequence[Any] = list(wanted)
    for name in names:
        if name not in MEASURES:
            raise LensError(f"unknown measure {name!r}: pass any of {', '.join(MEASURES)}, or 'all'")
    return tuple(name for name in MEASURES if name in names)

"""The measures that a result may hold: what each says of a cell, its unit, and what it needs. Needs no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bauklens.errors import LensError


@dataclass(frozen=True)
class Measure:
    """One number for each cell.

    Attributes:
        unit: of its values; empty where they are a number of tokens or a plain ratio.
        about: what it says, in a line.
        final: whether it needs the model's own prediction at that position, and so a forward pass to the end.
        exact: whether it needs every logit in the model's own precision.
    """

    unit: str
    about: str
    final: bool = False
    exact: bool = False


Measure.__module__ = "bauklens"  # so that what was pickled is found wherever the class stands


MEASURES = {
    "max_probability": Measure("0..1", "the probability of the row's most probable token"),
    "max_logit": Measure("", "the logit of the row's most probable token"),
    "magnitude": Measure("", "the L2 norm of the state"),
    "entropy": Measure("nats", "how spread the prediction is: 0 where one token is certain, log(vocabulary) at most"),
    "kl": Measure("nats", "KL(final row || this row): what is lost by this row in the model's place", final=True),
    "js": Measure("nats", "Jensen-Shannon divergence from the final row, 0 .. log 2", final=True, exact=True),
    "surprisal": Measure("nats", "-log p of the token that follows; none at the text's last position"),
    "rank_of_next": Measure("", "the rank of the token that follows, from 1; none at the last position", exact=True),
    "agreement": Measure("0 or 1", "whether the most probable token is the final row's", final=True),
    "overlap": Measure("0..1", "the part of the top k that is in the final row's top k", final=True),
    "cosine_to_final": Measure("-1..1", "the cosine of the state with the state after the last block", final=True),
    "cosine_to_previous": Measure(
        "-1..1", "the cosine of the state with that of the row before; none in the first row"
    ),
}
"""Every measure that there is."""

DEFAULT = tuple(name for name, measure in MEASURES.items() if not measure.exact)
"""Those of every result: all that need no more than the pass over the logits that the table takes anyway."""


def chosen_measures(wanted: Any, *, complete: bool) -> tuple[str, ...]:
    """The names of the measures that are asked for, in the order of :data:`MEASURES`.

    Args:
        wanted: names; None is the default, ``"all"`` every one.
        complete: whether the forward pass runs to the model's own logits; where not, the default leaves out what
            needs them.

    Raises:
        LensError: there is no such measure.
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
            raise LensError(f"unknown measure {name!r}: pass some of {', '.join(MEASURES)}, or 'all'")
    return tuple(name for name in MEASURES if name in names)

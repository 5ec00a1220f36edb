"""The measures of decoders, and a value with its interval. Needs no torch."""

from typing import NamedTuple

ENDS = ("value", "low", "high")
"""The parts of each measure: the value, and the ends of its 95 % interval."""


class Measured(NamedTuple):
    """A measure of a decoder at a layer.

    Attributes:
        title: its name in tables and figures.
        unit: the unit of its values.
        about: its meaning, in one line.
    """

    title: str
    unit: str
    about: str


MEASURED = {
    "kl": Measured("KL", "nats", "KL(final row || this row): how much worse this row predicts than the model itself"),
    "agreement": Measured("agreement", "0..1", "how often the most probable token is the model's own"),
    "cross_entropy": Measured("cross-entropy", "nats", "the mean of -log p of the next token of the text"),
    "calibration": Measured(
        "calibration error", "0..1", "how far the top token's probability is from how often it comes next"
    ),
    "causal": Measured(
        "causal gain", "nats", "the mean gain in log p of a token when its direction is added to the state"
    ),
    "causal_random": Measured("random gain", "nats", "the same for random directions of equal norm"),
}
"""The measures of scores, in the order of tables."""


class Interval(NamedTuple):
    """A value, and the ends of its 95 % interval; these are NaN with fewer than two documents."""

    value: float
    low: float
    high: float

"""The kinds of learned decoders: Jacobian, tuned and ridge lenses, and a constant."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bauklens.decoders.learned import LearnedDecoder, Maps


class JacobianLens(LearnedDecoder):
    """The Jacobian lens: ``J h``, J the mean Jacobian of the final state with respect to the state of a layer.

    It shows what a state tends to make the model say, also later in the text ("Verbalizable Representations Form a
    Global Workspace in Language Models", 2026).

    Args:
        jacobians: layer -> (target, source), J.
        **known: ``name``, ``stream``, ``quality`` and ``about``, as for :class:`LearnedDecoder`.
    """

    kind = "jacobian"
    parts = ("weights",)

    def __init__(self, jacobians: Maps, **known: Any) -> None:
        super().__init__(jacobians, **known)


class TunedLens(LearnedDecoder):
    """The tuned lens: ``h + W h + b``, trained for the final prediction (Belrose et al. 2023).

    Args:
        weights: layer -> (hidden, hidden), W.
        biases: layer -> (hidden,), b.
        temperatures: layer -> what the logits are divided by; the published lens has none.
        **known: ``name``, ``quality`` and ``about``, as for :class:`LearnedDecoder`.
    """

    kind = "tuned"
    is_residual = True

    def __init__(
        self,
        weights: Maps,
        biases: Maps | None = None,
        temperatures: Mapping[Any, float] | None = None,
        **known: Any,
    ) -> None:
        super().__init__(weights, biases, temperatures, **known)


class RidgeLens(LearnedDecoder):
    """The ridge lens: ``A h + b``, the least squares fit of the final state, and a temperature for each layer.

    Its other arguments are those of :class:`LearnedDecoder`.

    Args:
        weights: layer -> (hidden, hidden), A.
        biases: layer -> (hidden,), b.
        temperatures: layer -> what the logits are divided by.
    """

    kind = "ridge"


class MeanLens(LearnedDecoder):
    """A constant for each layer, whatever the state is: a baseline for scores.

    Args:
        means: layer -> (hidden,), such as the mean final state.
        **known: ``name``, ``quality`` and ``about``, as for :class:`LearnedDecoder`.
    """

    kind = "mean"
    parts = ("biases",)

    def __init__(self, means: Maps, **known: Any) -> None:
        super().__init__({}, means, **known)


KINDS: Mapping[str, type[LearnedDecoder]] = MappingProxyType(
    {each.kind: each for each in (JacobianLens, TunedLens, RidgeLens, MeanLens)}
)
"""The kinds by the names that files have for them."""

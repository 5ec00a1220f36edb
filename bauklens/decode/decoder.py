"""Decoders map a state to the final basis before the model's own tail decodes it; here they are applied to a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from bauklens.errors import LensError
from bauklens.model.layout import Layout
from bauklens.row_labels import block_of


@runtime_checkable
class Decoder(Protocol):
    """A map of hidden states to the basis of the last block's output, applied a few rows at a time.

    A decoder may have more attributes, which are then used. ``temperatures``: label -> the positive number that the
    logits of that row are divided by. ``stream``: ``"attention"`` or ``"mlp"``, if it maps what these add to the stream
    instead of states. ``is_linear``: whether the map of a sum is the sum of the maps, so that it can be applied to what
    a layer adds. ``about``: a mapping of plain values that a result's provenance keeps.
    """

    @property
    def name(self) -> str:
        """Its name in a result."""

    @property
    def layers(self) -> Sequence[str] | None:
        """The labels of the rows that it has a map for; None means all. The last block's needs none."""

    def __call__(self, states: torch.Tensor, layers: Sequence[str]) -> torch.Tensor:
        """States in the final basis.

        Args:
            states: (layer, position, hidden). Their positions in the prompt are not passed: each state is mapped by
                itself.
            layers: (layer,), the labels of the rows: ``"embed"``, ``"0"``, ``"1"``, ...

        Returns:
            The same shape, any float dtype.
        """


class LogitLens:
    """The logit lens: a state as it is."""

    name = "logit"
    layers = None
    is_linear = True

    def __call__(self, states: torch.Tensor, layers: Sequence[str]) -> torch.Tensor:  # noqa: ARG002
        """The states themselves."""
        return states


LOGIT_LENS = LogitLens()


@dataclass(frozen=True)
class Basis:
    """A decoder, adapted to a model: which of its rows are mapped, and how.

    The last block's output is already in the final basis, so its row is the model's own with any decoder. What the last
    block's attention or MLP adds is mapped by a decoder that was made for that (``stream``). The rows of attention
    heads are mapped like their block.
    """

    decoder: Decoder
    layout: Layout

    def maps(self, label: str) -> bool:
        """Whether a row with this label is mapped."""
        known = self.decoder.layers
        return not self._is_final(label) and (known is None or block_of(label) in known)

    def covers(self, label: str) -> bool:
        """Whether this decoder supports a row with this label: it is mapped, or is the last block's."""
        return self._is_final(label) or self.maps(label)

    def _is_final(self, label: str) -> bool:
        """Whether this decoder's input at a label is already in the final basis."""
        return block_of(label) == self.layout.labels[-1] and getattr(self.decoder, "stream", "hidden") == "hidden"

    def __call__(self, states: torch.Tensor, labels: Sequence[str]) -> torch.Tensor:
        """States in the final basis; those that are not mapped stay as they are.

        Args:
            states: (layer, position, hidden), or (layer, ...) in the shape of the model's states.
            labels: (layer,).

        Raises:
            LensError: the decoder did not return states of this shape, or returned NaN or infinity.
        """
        places = [place for place, label in enumerate(labels) if self.maps(label)]
        if self.decoder is LOGIT_LENS or not places:
            return states
        if len(places) == len(labels):
            return self._mapped(states, labels)
        found = states.clone()
        found[places] = self._mapped(states[places], [labels[place] for place in places])
        return found

    @property
    def reduces(self) -> bool:
        """Whether a state of several streams is mapped to a single one, which the final norm takes."""
        sizes = [getattr(self.decoder, name, None) for name in ("width", "target")]
        return not self.layout.plain and sizes[0] != sizes[1]

    def reduced(self, states: torch.Tensor, label: str) -> torch.Tensor:
        """(position, target) of a row's whole states, (1, *shape), if the decoder reduces and maps this row."""
        apart = states.movedim(1 + self.layout.position_axis, 1).flatten(2)
        shape = (*apart.shape[:2], getattr(self.decoder, "target", 0))
        return self._checked(apart, [label], shape)[0]

    def factors(self, labels: Sequence[str]) -> torch.Tensor | None:
        """(layer,) float32, the factor for the logits of each row; None if all are 1."""
        temperatures: Mapping[str, float] = getattr(self.decoder, "temperatures", None) or {}
        found = [1 / temperatures.get(block_of(label), 1.0) if self.maps(label) else 1.0 for label in labels]
        return None if set(found) <= {1.0} else torch.tensor(found, dtype=torch.float32, device="cpu")

    def _mapped(self, states: torch.Tensor, labels: Sequence[str]) -> torch.Tensor:
        if self.layout.plain:
            return self._checked(states, labels)
        axis = 1 + self.layout.position_axis
        apart = states.movedim(axis, 1)  # (layer, position, ...)
        found = self._checked(apart.flatten(2), labels)
        return found.view(apart.shape).movedim(1, axis)

    def _checked(
        self, states: torch.Tensor, labels: Sequence[str], shape: tuple[int, ...] | None = None
    ) -> torch.Tensor:
        found = self.decoder(states.clone(), list(map(block_of, labels)))  # a copy, which it may change in place
        shape = tuple(states.shape) if shape is None else shape
        if not isinstance(found, torch.Tensor) or tuple(found.shape) != shape or not found.is_floating_point():
            got = f"shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else type(found).__name__
            raise LensError(f"the decoder {self.decoder.name!r} must return states of shape {shape}; got {got}")
        found = found.detach().to(states)
        if not found.isfinite().all():
            bad = (~found.isfinite()).flatten(1).any(dim=1).nonzero()[0, 0]
            raise LensError(
                f"the decoder {self.decoder.name!r} returns NaN or infinity for row {labels[int(bad)]}"
                + (" (float16 overflows at 65,504)" if states.dtype == torch.float16 else "")
            )
        return found

"""What a decoder is fitted on: the states of a few windows at the positions that count."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from bauklens.arguments import Layers, chosen_layers
from bauklens.decoders.fits import state_size
from bauklens.decoders.learned import LearnedDecoder
from bauklens.decoders.score import quality_of
from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.block_output import state_of
from bauklens.model.inputs import Inputs, input_device
from bauklens.stream.states import trace_streams
from bauklens.stream.stream import require_finite
from bauklens.stream.tracing import Tracing
from bauklens.vocabulary import EMBED


@dataclass(frozen=True)
class Fitted:
    """A model, and for which of its layers a decoder is fitted.

    Attributes:
        layers: their labels, in the order of the run; ``"embed"`` may be the first.
        target: the label of the layer whose states the others are mapped to.
        skip_first: how many positions at the beginning of a window are left out; so is the last.
    """

    model: nn.Module
    anatomy: Anatomy
    layers: tuple[str, ...]
    target: str
    skip_first: int

    @property
    def size(self) -> int:
        """Of a state at one position."""
        return state_size(self.anatomy)

    def positions(self, inputs: Inputs) -> slice:
        """Those that count."""
        return slice(self.skip_first, inputs.count - 1)

    def require_positions(self, state: torch.Tensor, inputs: Inputs) -> None:
        """Rejects states with more or fewer positions than a window has tokens, as it is not known which are which.

        Args:
            state: in the model's own shape.
        """
        found = state.shape[self.anatomy.position_axis]
        if found != inputs.count:
            raise LensError(
                f"the states of {self.anatomy.model_class} have {found:,} positions for {inputs.count:,} tokens, but a "
                "decoder is fitted on one for each token: use the logit lens for this model"
            )

    @property
    def last(self) -> str:
        """The label of the last block, whose output the model's own tail takes."""
        return self.anatomy.labels[-1]

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's states."""
        return state_of(self.anatomy.block_output, self.anatomy.parts).dtype

    @property
    def device(self) -> torch.device:
        """Of the ids."""
        return input_device(self.model)

    def states(self, batch: Sequence[Inputs], labels: Sequence[str]) -> torch.Tensor:
        """What a forward pass leaves at the positions that count.

        Args:
            batch: windows of one length.
            labels: of layers.

        Returns:
            (layer, row, size), the windows one after another.

        Raises:
            NotFiniteError: a state is NaN or infinite.
        LensError: memory runs out.
        """
        named = (EMBED, *self.anatomy.labels)
        places = [named.index(label) for label in labels]
        tracing = Tracing(blocks=max(1, *places))
        together = [batch] if self.anatomy.plain else [[each] for each in batch]
        streams = [each for some in together for each in trace_streams(self.model, self.anatomy, some, tracing)]
        found = []
        for inputs, stream in zip(batch, streams, strict=True):
            require_finite(stream.states, self.anatomy)
            if not self.anatomy.plain:
                self.require_positions(stream.states[0], inputs)
            states = stream.states if self.anatomy.plain else self._flat(stream.states)
            found.append(states[places, self.positions(inputs)])
        return torch.cat(found, dim=1)

    def quality(self, decoder: LearnedDecoder, windows: Sequence[Inputs]) -> dict[str, dict[str, float]]:
        """As :func:`bauklens.decoders.score.quality_of`, at every second position, as neighbours are alike."""
        return quality_of(decoder, self.model, windows, skip_first=self.skip_first, every=2, anatomy=self.anatomy)

    def _flat(self, states: torch.Tensor) -> torch.Tensor:
        """(layer, position, size), of states in the model's own shape."""
        return states.movedim(1 + self.anatomy.position_axis, 1).flatten(2)


def fitted_layers(anatomy: Anatomy, layers: Layers, target_layer: int | str | None) -> tuple[str, ...]:
    """Labels of the layers to fit, and of the target, which is the last.

    Raises:
        LensError: a layer does not exist, or does not come before the target; or states are of several streams that
            cannot be told apart by position.
    """
    if not anatomy.plain and anatomy.streams != 1:
        raise LensError(
            f"a decoder maps one state per position, but {anatomy.model_class} has {anatomy.streams}: it has no decoder"
        )
    labels = anatomy.labels
    (target,) = chosen_layers(labels, -1 if target_layer is None else target_layer)
    if target == 0 and layers is None:
        raise LensError(f"no layer comes before the target {labels[0]}: pass layers='embed'")
    named = (EMBED, *labels)
    chosen = chosen_layers(named, list(labels[:target]) if layers is None else layers)
    late = [named[place] for place in chosen if place > target]
    if late:
        raise LensError(f"layer {late[0]} does not come before the target {labels[target]}: pass earlier layers")
    return (*(named[place] for place in sorted(chosen)), labels[target])

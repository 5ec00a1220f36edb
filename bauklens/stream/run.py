"""One run of one prompt through one model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bauklens.model.anatomy import Anatomy
from bauklens.model.encoding import Prompt
from bauklens.model.inputs import Inputs
from bauklens.stream.stream import Stream

if TYPE_CHECKING:
    from bauklens.result.pictures import Picture


@dataclass(frozen=True, eq=False)
class Run:
    """A model, its inputs, and the results of its forward pass.

    Attributes:
        tokenizer: the model's; None if the prompt was ids.
        prompt: as the caller gave it.
        prompted: positions of the prompt; the rest was generated.
        notes: what a reader should know about the prompt, the model or the run, as sentences.
        pictures: those of the prompt.
        edits: the changes made while the model ran, each as plain values.
        together: how many prompts these are, end to end, each padded to the same length.
    """

    model: nn.Module
    tokenizer: Any
    prompt: Prompt
    inputs: Inputs
    anatomy: Anatomy
    stream: Stream
    prompted: int
    notes: tuple[str, ...] = ()
    pictures: "tuple[Picture, ...]" = ()
    edits: Sequence[Mapping[str, Any]] = ()
    together: int = 1

    @property
    def length(self) -> int:
        """Positions of each prompt, with its padding."""
        return self.inputs.count // self.together

    @property
    def final(self) -> torch.Tensor:
        """(position, hidden), or whole in its own shape: the output of the last block that ran."""
        return self.stream.states[-1]

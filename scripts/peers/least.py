"""The least work of every way, as in scripts/benchmark.py."""

from typing import Any

import torch

from peers.prompts import Prompt


class Forward:
    """Runs only the model."""

    def __init__(self, model: Any, *_: Any) -> None:
        self.model = model

    def read(self, prompt: Prompt) -> object:
        """A forward pass with the logits of the last position."""
        return self.model(input_ids=torch.tensor([prompt.ids]), logits_to_keep=1)

    def told(self, found: object) -> None:
        """It has no layers to return."""


class Floor(Forward):
    """Plus one bfloat16 product with the unembedding per layer, results discarded."""

    def __init__(self, model: Any, *_: Any) -> None:
        super().__init__(model)
        self.low = model.get_output_embeddings().weight.to(torch.bfloat16)
        self.rows = 1 + model.config.get_text_config().num_hidden_layers

    def read(self, prompt: Prompt) -> object:
        """The forward pass and the products."""
        super().read(prompt)
        states = torch.zeros(len(prompt.ids), self.low.shape[1], dtype=torch.bfloat16)
        logits = torch.empty(len(prompt.ids), len(self.low), dtype=torch.bfloat16)
        for _ in range(self.rows):
            torch.mm(states, self.low.T, out=logits)
        return logits

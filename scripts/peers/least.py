"""What no way can do without, as scripts/benchmark.py has it."""

from typing import Any

import torch

from peers.prompts import Prompt


class Forward:
    """The model alone."""

    def __init__(self, model: Any, *_: Any) -> None:
        self.model = model

    def read(self, prompt: Prompt) -> object:
        """A forward pass with the logits of the last position."""
        return self.model(input_ids=torch.tensor([prompt.ids]), logits_to_keep=1)

    def told(self, found: object) -> None:
        """It says nothing about layers."""


class Floor(Forward):
    """And one product with the unembedding for every layer, in bfloat16, whose results are not read."""

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

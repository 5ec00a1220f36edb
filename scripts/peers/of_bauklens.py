"""bauklens."""

from typing import Any

import torch

import bauklens
from peers.prompts import TOPK, Prompt, Told


class Measures:
    """With its default measures; tracked tokens, which no other tool has, are off."""

    options: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, model: Any, tokenizer: Any, _: str) -> None:
        self.model, self.tokenizer = model, tokenizer

    def read(self, prompt: Prompt) -> bauklens.LensResult:
        """One call."""
        ids = torch.tensor(prompt.ids)
        given = {"topk": TOPK, "track": 0, **self.options}
        found: bauklens.LensResult = bauklens.logit_lens(self.model, self.tokenizer, ids, **given)
        return found

    def told(self, found: bauklens.LensResult) -> Told:
        """Its own arrays."""
        return Told(found.layers, found.top_ids, found.top_probs)


class TopK(Measures):
    """Only what all other tools return."""

    options = {"measures": []}  # noqa: RUF012


class Through(Measures):
    """Through the Jacobian lens; the last block has no map."""

    def __init__(self, model: Any, tokenizer: Any, lens: str) -> None:
        super().__init__(model, tokenizer, lens)
        layers = range(model.config.get_text_config().num_hidden_layers)
        self.options = {"decoder": bauklens.load_decoder(lens, force=True), "missing": "plain", "layers": layers}

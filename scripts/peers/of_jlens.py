"""The reference code of the Jacobian lens, as its README applies a lens, with all layers and positions."""

from typing import Any

import jlens

from peers.prompts import TOPK, Prompt, Told, stacked


class Apply:
    """``JacobianLens.apply``; no token is put before the prompt, as in the other ways."""

    def __init__(self, model: Any, tokenizer: Any, lens: str) -> None:
        self.model = jlens.from_hf(model, tokenizer, force_bos=False)
        self.lens = jlens.JacobianLens.load(lens)

    def read(self, prompt: Prompt) -> Any:
        """It takes a text, and returns the logits of each layer and those of the model."""
        logits, last, _ = self.lens.apply(self.model, prompt.text, max_seq_len=len(prompt.ids))
        return {layer: each.softmax(dim=-1).topk(TOPK) for layer, each in [*logits.items(), (len(logits), last)]}

    def told(self, found: Any) -> Told:
        """Row i is what block i returns."""
        return stacked([str(layer) for layer in found], [(ids, values) for values, ids in found.values()])

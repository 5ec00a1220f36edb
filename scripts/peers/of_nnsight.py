"""NNsight: the recipe of docs/patterns/logit-lens.md in its repository."""

from typing import Any

import torch
from nnsight import LanguageModel

from peers.prompts import TOPK, Prompt, Told, stacked


class Recipe:
    """Its "Top-k per layer", with every position instead of the last and a softmax for the probabilities."""

    def __init__(self, model: Any, tokenizer: Any, _: str) -> None:
        inner = model.base_model
        path = next(name for name in ("layers", "h") if hasattr(inner, name))
        norm = next(name for name in ("norm", "ln_f") if hasattr(inner, name))
        self.model = LanguageModel(model, tokenizer=tokenizer)
        base = getattr(self.model, model.base_model_prefix)
        self.blocks, self.norm = getattr(base, path), getattr(base, norm)

    def read(self, prompt: Prompt) -> Any:
        """All layers in one trace."""
        rows = []
        with self.model.trace(torch.tensor([prompt.ids])):
            for block in self.blocks:
                hidden = block.output
                logits = self.model.lm_head(self.norm(hidden))
                top = logits.softmax(dim=-1).topk(TOPK, dim=-1)
                rows.append((top.indices.save(), top.values.save()))
        return rows

    def told(self, found: Any) -> Told:
        """Row i is what block i returns."""
        return stacked([*map(str, range(len(found)))], found)

"""TransformerLens: its bridge and its logit_lens, as in the docstring of that module."""

from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.tools.analysis import logit_lens

from peers.prompts import TOPK, Prompt, Told, stacked


class OneCall:
    """Its one call, with all positions instead of the last."""

    def __init__(self, model: Any, tokenizer: Any, _: str) -> None:
        name = model.config.name_or_path
        self.bridge = TransformerBridge.boot_transformers(name, hf_model=model, tokenizer=tokenizer, device="cpu")

    def read(self, prompt: Prompt) -> Any:
        """Probabilities of the top k; it computes the entropy too, always."""
        ids = torch.tensor([prompt.ids])
        return logit_lens(self.bridge, ids, positions=None, top_k=TOPK, return_type="probs")

    def told(self, found: Any) -> Told:
        """Its rows are named after the input of a block."""
        layers = ["embed", *map(str, range(len(found.labels) - 1))]
        return stacked(layers, list(zip(found.readout.top_ids, found.values, strict=True)))

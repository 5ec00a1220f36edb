"""nnterp: its own logit_lens reads only the last position, so this is its documented way for any state."""

from typing import Any

from nnterp import StandardizedTransformer

from peers.prompts import TOPK, Prompt, Told, stacked


class EachLayer:
    """All layers in one trace."""

    def __init__(self, model: Any, tokenizer: Any, _: str) -> None:
        self.model = StandardizedTransformer(model, tokenizer=tokenizer)

    def read(self, prompt: Prompt) -> Any:
        """``project_on_vocab`` of what each block returns."""
        rows = []
        with self.model.trace(list(prompt.ids)):
            for layer in range(self.model.num_layers):
                logits = self.model.project_on_vocab(self.model.layers_output[layer])
                top = logits.softmax(-1).topk(TOPK, dim=-1)
                rows.append((top.indices.save(), top.values.save()))
        return rows

    def told(self, found: Any) -> Told:
        """Row i is what block i returns."""
        return stacked([*map(str, range(len(found)))], found)

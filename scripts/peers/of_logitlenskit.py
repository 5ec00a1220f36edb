"""LogitLensKit: its collector, on this machine instead of a remote one."""

from typing import Any

import numpy as np
from logitlenskit import collect_logit_lens
from nnterp import StandardizedTransformer

from peers.prompts import TOPK, Prompt, Told


class Collect:
    """Its one call, which also follows every token that is in the top k of any layer, at each position."""

    def __init__(self, model: Any, tokenizer: Any, _: str) -> None:
        self.model = StandardizedTransformer(model, tokenizer=tokenizer)

    def read(self, prompt: Prompt) -> Any:
        """It takes a text."""
        return collect_logit_lens(prompt.text, self.model, k=TOPK, remote=False)

    def told(self, found: Any) -> Told:
        """Its probabilities are those of the tokens that it follows, in the order of their ids."""
        ids = found["topk"].numpy()
        probabilities = np.empty(ids.shape, dtype=np.float32)
        for position, (followed, values) in enumerate(zip(found["tracked"], found["probs"], strict=True)):
            columns = np.searchsorted(followed.numpy(), ids[:, position])
            probabilities[:, position] = np.take_along_axis(values.numpy(), columns, axis=1)
        return Told([str(layer) for layer in found["layers"]], ids, probabilities)

"""tuned-lens: its LogitLens, used as its own PredictionTrajectory uses it, and that itself."""

import sys
from typing import Any

import torch

sys.modules["transformer_lens"] = None  # type: ignore[assignment]  # it asks version 4 for a class that is gone

from tuned_lens.nn.lenses import LogitLens  # noqa: E402
from tuned_lens.plotting import PredictionTrajectory  # noqa: E402

from peers.prompts import TOPK, Prompt, Told, stacked  # noqa: E402


class EachLayer:
    """A layer at a time, of which only the top k are kept."""

    def __init__(self, model: Any, tokenizer: Any, _: str) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.lens = LogitLens.from_model(model)

    def read(self, prompt: Prompt) -> Any:
        """The last row is the model's own output."""
        found = self.model(torch.tensor([prompt.ids]), output_hidden_states=True)
        rows = [self.top(self.lens(state, place)) for place, state in enumerate(found.hidden_states[:-1])]
        return [*rows, self.top(found.logits)]

    def told(self, found: Any) -> Told:
        """Row i is what goes into block i."""
        layers = ["embed", *map(str, range(len(found) - 1))]
        return stacked(layers, [(ids, probabilities) for probabilities, ids in found])

    @staticmethod
    def top(logits: Any) -> Any:
        """(probabilities, ids)."""
        return logits.softmax(dim=-1).topk(TOPK)


class Trajectory(EachLayer):
    """The object that its figures are drawn from, which keeps everything."""

    def read(self, prompt: Prompt) -> Any:
        """The top k of its log probabilities, on which it has no public method."""
        whole = PredictionTrajectory.from_lens_and_model(self.lens, self.model, prompt.ids, self.tokenizer)
        return [(row.exp(), ids) for row, ids in zip(*torch.from_numpy(whole.log_probs).topk(TOPK), strict=True)]

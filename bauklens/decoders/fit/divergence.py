"""The KL divergence of many predictions from the model's own, with its gradient, in few passes over the logits."""

from dataclasses import dataclass

import torch

LEFT_OUT = -1e15
"""For the logit of a token that is left out, -inf, so that its square is a number."""


@dataclass(frozen=True)
class Own:
    """What the model itself says.

    Attributes:
        probabilities: (row, vocabulary).
        negentropies: (row,), the sum of p log p.
    """

    probabilities: torch.Tensor
    negentropies: torch.Tensor

    @staticmethod
    def of(logits: torch.Tensor) -> "Own":
        """That of logits, (row, vocabulary)."""
        logits = logits.clamp_min(LEFT_OUT)
        probabilities = torch.softmax(logits, dim=-1)
        return Own(probabilities, torch.linalg.vecdot(probabilities, logits) - torch.logsumexp(logits, dim=-1))

    def kl(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean over rows of ``KL(p || softmax(logits))``, and its gradient ``(softmax(logits) - p) / rows``.

        Args:
            logits: (row, vocabulary), finite.
        """
        said = torch.softmax(logits, dim=-1)
        top, token = logits.max(dim=-1, keepdim=True)
        log_sum = (top - said.gather(-1, token).log())[:, 0]
        divergences = self.negentropies - torch.linalg.vecdot(self.probabilities, logits) + log_sum
        return divergences.mean(), said.sub_(self.probabilities).div_(len(said))

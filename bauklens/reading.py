"""What is read off the logits of each row: its top k, its measures, and tokens that are followed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch

from bauklens.measure import in_cache

Values = dict[str, torch.Tensor]
"""Name -> (row, ...), whatever was read off some rows."""

_LOWEST = -1e30
"""Of a logit, less the largest of its row, where it is to be multiplied: a token that is left out has -inf."""


@dataclass(frozen=True)
class Reference:
    """What the model itself says at every column.

    Attributes:
        top_ids: (column, k).
        entropy: (column,), nats.
        probabilities: (column, vocabulary) float32; None where they are not needed as such.
        weights: (column, head width) float64, the mean of the head's weights, each token's as probable as it is: as a
            row's logits are linear in the head's input x, their mean is ``x . weights + constant``.
        constant: (column,).
    """

    top_ids: torch.Tensor
    entropy: torch.Tensor
    probabilities: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    constant: torch.Tensor | None = None


@dataclass(frozen=True)
class Reading:
    """What to read.

    Attributes:
        topk: tokens to keep of each row.
        measures: names of :data:`bauklens.measures.MEASURES`; those that are not of logits are passed over.
        next_ids: (column,) int64, the token that follows in the text; -1 where none does.
        targets: ids of tokens to follow.
        reference: what the model itself says; None where no measure needs it.
    """

    topk: int
    measures: Collection[str] = ()
    next_ids: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    targets: Sequence[int] = ()
    reference: Reference | None = None

    def of(self, logits: torch.Tensor, columns: torch.Tensor, inputs: torch.Tensor | None = None) -> Values:
        """Reads rows.

        Args:
            logits: (row, vocabulary), any float dtype; all is computed in float32.
            columns: (row,) int64, where in the table the rows stand.
            inputs: (row, head width), where the reference has weights.

        Returns:
            ``top_ids`` (row, k) int64, ``top_probs`` (row, k) float32, every measure (row,) float32, and where there
            are targets ``target_logits``, ``target_probs`` and ``target_ranks`` (row, target) float32.
        """
        parts = [
            self._of(logits[some], columns[some], None if inputs is None else inputs[some]) for some in in_cache(logits)
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _of(self, logits: torch.Tensor, columns: torch.Tensor, inputs: torch.Tensor | None) -> Values:
        probabilities = torch.softmax(logits, dim=-1, dtype=torch.float32)
        top = probabilities.topk(self.topk, dim=-1)
        values = {"top_ids": top.indices, "top_probs": top.values}
        largest = logits.gather(1, top.indices[:, :1]).float()  # (row, 1)
        total = probabilities.sum(dim=-1)  # 1 to five digits alone, as softmax adds in single precision
        normalizer = total.log() - top.values[:, 0].log()  # log sum exp of the logits, less the largest of them
        values |= self.of_normalizer(normalizer, largest[:, 0], columns, inputs)
        columns = columns.to(logits.device)
        if "max_logit" in self.measures:
            values["max_logit"] = largest[:, 0]
        if "entropy" in self.measures or self._elementwise:
            below = (logits.float() - largest).clamp_min_(_LOWEST)
            if "entropy" in self.measures:
                values["entropy"] = normalizer - torch.linalg.vecdot(probabilities, below) / total
            if self._elementwise:
                values |= self._beside_reference(probabilities / total[:, None], below, normalizer, columns)
        if self.next_ids.numel() and {"surprisal", "rank_of_next"} & set(self.measures):
            values |= self._next(logits, largest[:, 0] + normalizer, columns)
        if len(self.targets):
            ids = torch.tensor(self.targets, device=logits.device)
            chosen = logits[:, ids]  # (row, target)
            values["target_logits"] = chosen.float()
            values["target_probs"] = probabilities[:, ids]
            values["target_ranks"] = _ranks(logits, chosen)
        return values

    def of_normalizer(
        self, normalizer: torch.Tensor, largest: torch.Tensor, columns: torch.Tensor, inputs: torch.Tensor | None
    ) -> Values:
        """The KL of rows of which the normalizer is known, where the reference has weights.

        ``KL(p || q) = sum p log p - sum p log q = -H(p) + log Z(q) - sum p logits(q)``.

        Args:
            normalizer: (row,), the log of the sum of the exponentials of the logits, each less ``largest``.
            largest: (row,).
        """
        reference = self.reference
        if "kl" not in self.measures or reference is None or reference.weights is None:
            return {}
        assert inputs is not None
        assert reference.constant is not None
        columns = columns.to(inputs.device)
        expected = torch.linalg.vecdot(inputs.double(), reference.weights[columns]) + reference.constant[columns]
        return {"kl": (normalizer + (largest - expected) - reference.entropy[columns]).clamp_min(0).float()}

    @property
    def _elementwise(self) -> bool:
        return self.reference is not None and self.reference.probabilities is not None

    def _beside_reference(
        self, probabilities: torch.Tensor, below: torch.Tensor, normalizer: torch.Tensor, columns: torch.Tensor
    ) -> Values:
        assert self.reference is not None
        assert self.reference.probabilities is not None
        own, entropy = self.reference.probabilities[columns], self.reference.entropy[columns]
        values = {}
        if "kl" in self.measures and self.reference.weights is None:
            values["kl"] = (normalizer - torch.linalg.vecdot(own, below) - entropy).clamp_min(0)
        if "js" in self.measures:
            spread = normalizer - torch.linalg.vecdot(probabilities, below)
            mean = torch.special.entr((own + probabilities) / 2).sum(dim=-1)
            values["js"] = (mean - (spread + entropy) / 2).clamp_min(0)
        return values

    def _next(self, logits: torch.Tensor, normalizer: torch.Tensor, columns: torch.Tensor) -> Values:
        following = self.next_ids.to(logits.device)[columns]
        none = following < 0
        own = logits.gather(1, following.clamp_min(0)[:, None])
        values = {}
        if "surprisal" in self.measures:
            values["surprisal"] = (normalizer - own[:, 0].float()).masked_fill(none, torch.nan)
        if "rank_of_next" in self.measures:
            values["rank_of_next"] = _ranks(logits, own)[:, 0].masked_fill(none, torch.nan)
        return values


def _ranks(logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """(row, vocabulary), (row, token) -> (row, token) float32: 1 + how many are more probable."""
    each = [(logits > chosen[:, place, None]).sum(dim=-1) for place in range(chosen.shape[1])]
    return 1 + torch.stack(each, dim=1).float()

"""Reads results from the logits of each row: its top k, its measures, and tokens that are followed."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch

from bauklens.decode.divergence import Logs, compared, js_of
from bauklens.decode.look import LOWEST, Looked, Scratch, look
from bauklens.decode.measure import entropy, in_cache, kl_divergence, rank_of, surprisal
from bauklens.decode.ranking import SURE, Counting
from bauklens.decode.rounding import BITS

Values = dict[str, torch.Tensor]
"""Name -> (row, ...), the results of some rows."""


@dataclass(frozen=True)
class Mean:
    """The mean logits of some tokens of every column, as a function of the head's input x: ``x . weights + constant``.

    Attributes:
        weights: (column, head width) float64, the mean of the head's weights, weighted by the tokens' probabilities.
        constant: (column,).
    """

    weights: torch.Tensor
    constant: torch.Tensor

    def of(self, inputs: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """(row, head width), (row,) -> (row,) float64."""
        logits: torch.Tensor = torch.linalg.vecdot(inputs.double(), self.weights[columns]) + self.constant[columns]
        return logits


@dataclass(frozen=True)
class Reference:
    """What the model itself says at every column.

    Attributes:
        entropy: (column,), nats.
        probabilities: (column, vocabulary) float32; None if they are not needed as such.
        most_ids, most_probs: (column, token), the most probable tokens, if logits are linear in the head's input.
        most, rest: a state's mean logit under the model's own prediction: for those tokens, and for all others.
    """

    entropy: torch.Tensor
    probabilities: torch.Tensor | None = None
    most_ids: torch.Tensor | None = None
    most_probs: torch.Tensor | None = None
    most: Mean | None = None
    rest: Mean | None = None

    @staticmethod
    def elementwise(logits: torch.Tensor) -> "Reference":
        """What KL and JS of other rows need, from the logits that these are compared with, (column, vocabulary)."""
        values = Reading(1, ("entropy",)).of(logits, torch.arange(len(logits), device="cpu"))
        return Reference(values["entropy"], probabilities_of(logits))

    def mean_logits(
        self, inputs: torch.Tensor, columns: torch.Tensor, logits: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(row,) float64, the mean of rows' logits, weighted by the model's own probabilities.

        Args:
            inputs: (row, head width).
            columns: (row,).
            logits: (row, vocabulary), if they are available: then their mean is exact to the last digit.
        """
        assert self.rest is not None
        assert self.most is not None
        if logits is None:
            return self.rest.of(inputs, columns) + self.most.of(inputs, columns)
        assert self.most_ids is not None
        assert self.most_probs is not None
        most = logits.gather(1, self.most_ids[columns]).double()
        mean: torch.Tensor = torch.linalg.vecdot(self.most_probs[columns].double(), most)
        return self.rest.of(inputs, columns) + mean


@dataclass(frozen=True)
class Reading:
    """What to read.

    Attributes:
        topk: tokens to keep for each row.
        measures: names of :data:`bauklens.result.measures.MEASURES`; those that do not use logits are ignored.
        next_ids: (column,) int64, the token that follows in the text; -1 if none does, or if it has no logit.
        targets: the ids of tokens to follow, one or more per target; several are followed together, as a set.
        reference: what the model itself says; None if no measure needs it.
        tracked: the ids of tokens whose log-probabilities and ranks are read too.
        mass: the ids of the tokens of each set whose probability is summed, (token,) int64, each once.
    """

    topk: int
    measures: Collection[str] = ()
    next_ids: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64, device="cpu"))
    targets: Sequence[Sequence[int]] = ()
    reference: Reference | None = None
    tracked: Sequence[int] = ()
    mass: Sequence[torch.Tensor] = ()

    def with_measure(self, name: str) -> "Reading":
        """The same, with one more measure."""
        return self if name in self.measures else replace(self, measures=(*self.measures, name))

    def only_tracked(self, tokens: Sequence[int]) -> "Reading":
        """The same number of top tokens, some tracked tokens, and nothing else."""
        nothing = self.next_ids[:0]
        return replace(self, measures=(), next_ids=nothing, targets=(), reference=None, tracked=tokens, mass=())

    def nearest(self, logits: torch.Tensor, count: int) -> torch.Tensor:
        """(row, count), the ids of the top tokens of each row."""
        return logits.topk(count, dim=-1).indices

    def of(self, logits: torch.Tensor, columns: torch.Tensor, inputs: torch.Tensor | None = None) -> Values:
        """Reads rows.

        Args:
            logits: (row, vocabulary), any float dtype; everything is computed in float32.
            columns: (row,) int64, the columns of the rows in the table.
            inputs: (row, head width), if the reference has weights.

        Returns:
            ``top_ids`` (row, k) int64, ``top_probs`` (row, k) float32, every measure (row,) float32, and, if there are
            targets, ``target_logits``, ``target_probs`` and ``target_ranks`` (row, target) float32: for a set, log
            sum exp of its members' logits, the sum of their probabilities, and the rank of the best of them. If
            tokens are tracked, ``tracked_logs`` (row, token) float16, the logs of their probabilities,
            ``tracked_ranks`` (row, token) int32 and ``tracked_sure`` (row,) int32, up to which rank these are exact.
            If there are sets whose mass is wanted, ``mass`` (row, set) float32, the sum of their probabilities.
        """
        scratch = Scratch()
        parts = [
            self._of(logits[some], columns[some], None if inputs is None else inputs[some], scratch)
            for some in in_cache(logits)
        ]
        values = {name: torch.cat([part.values[name] for part in parts]) for name in parts[0].values}
        if len(self.tracked):  # for all rows at once: switching to other threads is slow
            top, normalizer = (torch.cat(each) for each in zip(*(part[1:] for part in parts), strict=True))
            values |= self._tracked(logits, top, normalizer)
        return values

    def _of(
        self, logits: torch.Tensor, columns: torch.Tensor, inputs: torch.Tensor | None, scratch: Scratch
    ) -> "_Some":
        most = min(logits.shape[1], max(self.topk, SURE)) if len(self.tracked) else self.topk
        seen = look(logits, most, scratch, mean="entropy" in self.measures)
        largest = seen.top[:, 0].float()
        top = seen.top[:, : self.topk]
        values = {"top_ids": seen.ids[:, : self.topk], "top_probs": seen.probabilities(top)}
        columns = columns.to(logits.device)
        if inputs is not None and self.has_linear_kl:
            values["kl"] = self.kl(seen.normalizer + largest, inputs, columns, logits)
        if "max_logit" in self.measures:
            values["max_logit"] = largest
        if self.next_ids.numel() and {"surprisal", "rank_of_next"} & set(self.measures):
            values |= self._next(logits, largest + seen.normalizer, columns)
        if len(self.targets):
            values |= self._followed(logits, seen)
        if len(self.mass):
            sets = [seen.probabilities(logits[:, ids.to(logits.device)]).sum(dim=-1) for ids in self.mass]
            values["mass"] = torch.stack(sets, dim=1).clamp_max(1)
        if seen.mean is not None and "entropy" in self.measures:
            values["entropy"] = entropy(seen.normalizer, seen.mean)
        if self._elementwise:
            values |= self._compared_elementwise(logits, columns, seen, scratch)
        return _Some(values, seen.top, (largest + seen.normalizer)[:, None])

    def _compared_elementwise(
        self, logits: torch.Tensor, columns: torch.Tensor, seen: Looked, scratch: Scratch
    ) -> Values:
        """KL and JS between rows and what the model itself says, token by token."""
        assert self.reference is not None
        assert self.reference.probabilities is not None
        own, own_entropy = self.reference.probabilities, self.reference.entropy[columns]
        largest = seen.top[:, :1].float()
        values = {}
        if "kl" in self.measures and not self.has_linear_kl:
            below = torch.sub(logits, largest, out=scratch.like(logits, 1)).clamp_min_(LOWEST)
            values["kl"] = kl_divergence(own_entropy, seen.normalizer, torch.linalg.vecdot(own[columns], below))
        if self.has_js:
            logs = Logs(largest, BITS, BITS * seen.normalizer[:, None])
            values["js"] = js_of(compared(logits, logs, own, columns), own_entropy)
        return values

    @property
    def has_js(self) -> bool:
        """Whether JS is wanted, and its reference is available."""
        return "js" in self.measures and self._elementwise

    @property
    def has_linear_kl(self) -> bool:
        """Whether KL is wanted, and :meth:`kl` can compute it."""
        return "kl" in self.measures and self.reference is not None and self.reference.rest is not None

    def kl(
        self, normalizer: torch.Tensor, inputs: torch.Tensor, columns: torch.Tensor, logits: torch.Tensor | None = None
    ) -> torch.Tensor:
        """KL(final row || row) from the mean of the row's logits, which is linear in the head's input: (row,), nats.

        Args:
            normalizer: (row,), log sum exp of the rows' logits.
            inputs, columns, logits: as for :meth:`Reference.mean_logits`.
        """
        assert self.reference is not None
        mean = self.reference.mean_logits(inputs, columns, logits)
        return kl_divergence(self.reference.entropy[columns], normalizer, mean).float()

    @property
    def _elementwise(self) -> bool:
        return self.reference is not None and self.reference.probabilities is not None

    def _own_probabilities(self, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The model's own probabilities at each row's column, (row, vocabulary), and their entropy, (row,)."""
        assert self.reference is not None
        assert self.reference.probabilities is not None
        return self.reference.probabilities[columns], self.reference.entropy[columns]

    def _followed(self, logits: torch.Tensor, seen: Looked) -> Values:
        """The results of the targets; for a single token, log sum exp is its own logit, to the last digit."""
        sizes = [len(ids) for ids in self.targets]
        members = torch.tensor([token for ids in self.targets for token in ids], device=logits.device)
        own = logits[:, members]
        logs, probabilities = own.float(), seen.probabilities(own)
        if max(sizes) > 1:
            own, logs = _of_each(torch.amax, own, sizes), _of_each(torch.logsumexp, logs, sizes)
            probabilities = _of_each(torch.sum, probabilities, sizes)
        return {
            "target_logits": logs,
            "target_probs": probabilities.clamp_max(1),
            "target_ranks": rank_of(logits, own),
        }

    def _tracked(self, logits: torch.Tensor, top: torch.Tensor, normalizer: torch.Tensor) -> Values:
        ids = torch.tensor(self.tracked, device=logits.device)
        ranked = Counting().ranks(logits, ids, top)
        return {
            "tracked_logs": (logits[:, ids].float() - normalizer).clamp_max(0).half(),
            "tracked_ranks": ranked.ranks,
            "tracked_sure": ranked.exact_to,
        }

    def _next(self, logits: torch.Tensor, normalizer: torch.Tensor, columns: torch.Tensor) -> Values:
        following = self.next_ids.to(logits.device)[columns]
        none = following < 0
        own = logits.gather(1, following.clamp_min(0)[:, None])
        values = {}
        if "surprisal" in self.measures:
            values["surprisal"] = surprisal(normalizer, own[:, 0].float()).masked_fill(none, torch.nan)
        if "rank_of_next" in self.measures:
            values["rank_of_next"] = rank_of(logits, own)[:, 0].masked_fill(none, torch.nan)
        return values


class _Some(NamedTuple):
    """The results of a few rows; their largest logits (row, k), largest first, and the logs of Z (row, 1)."""

    values: Values
    top: torch.Tensor
    normalizer: torch.Tensor


def _of_each(combined: Callable[..., torch.Tensor], members: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """(row, member), the results of the members of several sets, one after another -> (row, set)."""
    return torch.stack([combined(each, dim=-1) for each in torch.split(members, sizes, dim=1)], dim=1)


def probabilities_of(logits: torch.Tensor) -> torch.Tensor:
    """(row, vocabulary) -> the same, float32; they add up to 1, which those of softmax do only to five digits."""
    found = torch.softmax(logits, dim=-1, dtype=torch.float32)
    return found.div_(found.sum(dim=-1, keepdim=True))

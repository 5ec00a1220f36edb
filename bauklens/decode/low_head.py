"""A head's product in low precision, the best tokens scored again in full, and for each row whether that is certain.

Only the top of a row needs full precision. So all logits are computed in int8 or bfloat16, the best of them again with
the model's own weights, and the rest is used only for the normalizer. It is proved that no other token is among the
top k (:mod:`bauklens.decode.quantizing`, :mod:`bauklens.decode.rounding`), and these are in the order of their logits
in full precision. The normalizer is corrected with some tokens that are drawn from the rest, each with its own
probability, and computed twice. The remaining error of the normalizer, and so of every probability, is **estimated**
from the errors of all tokens that are computed twice.
"""

from collections.abc import Hashable, Sequence

import torch
from torch import nn

from bauklens.decode import compiled, compiled_pass
from bauklens.decode.bfloat16_product import Bfloat16Product
from bauklens.decode.divergence import Logs, compared, js_of, terms
from bauklens.decode.int8_product import product_of
from bauklens.decode.low_ranks import Again, Low
from bauklens.decode.measure import entropy, in_cache, surprisal
from bauklens.decode.ranking import Counting
from bauklens.decode.reading import Reading, Values
from bauklens.decode.rest import LEAST
from bauklens.decode.rounding import BITS
from bauklens.decode.survey import DRAWN, Product, Survey, Wanted

TOLERANCE = 1e-3
"""The largest error of a probability, in 0..1, in a row that is certain, as far as it can be estimated."""

NATS = 0.02
"""The same for the log of the normalizer, and so for surprisal, KL and (about) entropy."""

_CANDIDATES = 64
"""The fewest tokens of a row to score again; four times k if that is more."""

_CANDIDATES_TO_RANK = 128
"""Likewise, if tokens are ranked: among these, and the others whose logits are far lower, ranks are exact."""

_SAFETY = 3.0
"""How many standard errors of the mean over drawn tokens the log of the rest's mass may be off by."""

_BITS_APART = 128.0
"""The largest distance of logits from the number subtracted from them, for those whose powers are not 0."""

_SCORE_BYTES = 64 << 20
"""Weights that are gathered at once to score tokens again."""


class LowPrecisionHead:
    """A head in low precision, beside its own.

    Args:
        head: the head.
        vocabulary: the number of real tokens; further rows of a padded head are left out.
        scale: the factor that the model applies to its head's logits.
        inputs: (row, width), a few of the head's, which show whether its logits have much in common.
        numbers: the format: ``"int8"``, which needs compiled code, or ``"bfloat16"``.
    """

    def __init__(
        self, head: nn.Linear, vocabulary: int, scale: float, inputs: torch.Tensor, numbers: str = "bfloat16"
    ) -> None:
        weight, bias = head.weight[:vocabulary], getattr(head, "bias", None)
        self._weight, self._scale = weight, scale
        self._bias = weight.new_zeros(vocabulary) if bias is None else scale * bias[:vocabulary]
        low = product_of(head.weight, weight, self._bias) if numbers == "int8" else None
        self._product: Product = low or Bfloat16Product(head.weight, weight, self._bias, inputs * scale)
        self._counting = Counting()

    @property
    def precision(self) -> str:
        """The format of the numbers that are multiplied."""
        return self._product.name

    @property
    def is_right(self) -> bool:
        """Whether rows that were read with this head, now or before, have been compared with full precision."""
        return self._product.head.is_right

    @is_right.setter
    def is_right(self, is_right: bool) -> None:
        self._product.head.is_right = is_right

    @property
    def uncertain(self) -> dict[Hashable, float]:
        """Kind of rows -> the share of them that was not certain the last time."""
        return self._product.head.uncertain

    def read(self, inputs: torch.Tensor, reading: Reading, columns: torch.Tensor) -> tuple[Values, torch.Tensor]:
        """Reads rows.

        Args:
            inputs: (row, width), the head's.
            reading: what to read; nothing that needs every logit in full precision.
            columns: (row,), the columns of the rows in the table.

        Returns:
            The results, (row, ...), and (row,) bool, whether they are certain.
        """
        own_inputs, inputs = inputs, inputs * self._scale
        common = inputs @ self._product.mean[:, None]  # (row, 1)
        count = max(_CANDIDATES_TO_RANK if len(reading.tracked) else _CANDIDATES, 4 * reading.topk)
        kept = bool(len(reading.tracked) or len(reading.mass) or reading.has_js)
        seen = self._product.survey(inputs, common, Wanted(count, "entropy" in reading.measures, kept))
        ids, expected = seen.ids, seen.expected
        scores = self._exact(inputs, torch.cat([ids, seen.drawn_ids], dim=1)) - common
        exact = scores[:, :count]  # (row, candidate)
        off = torch.where(seen.is_drawn, (seen.drawn + expected) / BITS - scores[:, count:], 0)  # (row, draw) nats
        lower = -(-off).exp().mean(dim=-1).log()  # nats: by how much the rest is too large

        best = exact.amax(dim=-1)
        weights = (exact - best[:, None]).exp()
        shift = (expected + seen.excess)[:, 0] / BITS - lower - best  # the rest, relative to the best
        mass = seen.mass * shift.exp()
        normalizer = weights.sum(dim=-1) + mass

        top = exact.topk(reading.topk, dim=-1)
        probabilities = weights.gather(1, top.indices) / normalizer[:, None]
        values = {"top_ids": ids.gather(1, top.indices), "top_probs": probabilities}
        max_logit = best + common[:, 0]
        if "max_logit" in reading.measures:
            values["max_logit"] = max_logit
        if seen.weighted is not None:
            weighted = torch.linalg.vecdot(weights, (exact - best[:, None]).clamp_min(-LEAST))
            most = _BITS_APART * seen.mass  # the shift must not enlarge what rounding leaves of a sum of 0
            of_rest = seen.weighted.clamp(-most, most) * shift.exp() / BITS + shift * mass
            values["entropy"] = entropy(normalizer.log(), (weighted + of_rest) / normalizer)  # relative to the best
        if "surprisal" in reading.measures:
            values["surprisal"] = surprisal(normalizer.log() + max_logit, self._following(inputs, reading, columns))
        if reading.has_linear_kl:
            values["kl"] = reading.kl(normalizer.log() + max_logit, own_inputs, columns.to(inputs.device))

        if reading.has_js:
            values["js"] = self._js(reading, seen, columns, shift - normalizer.log(), weights / normalizer[:, None])

        if len(reading.mass):
            assert seen.logits is not None
            of_rest = _sums(seen.logits, seen.excess, reading.mass) * shift.exp()[:, None]
            of_best = torch.stack(
                [(weights * _held(each, ids, seen.logits)).sum(dim=-1) for each in reading.mass], dim=1
            )
            values["mass"] = ((of_best + of_rest) / normalizer[:, None]).clamp_max(1)

        if len(reading.tracked):
            assert seen.logits is not None
            largest = torch.maximum(BITS * best - expected[:, 0], seen.lowest.abs())
            above = self._product.above(inputs, seen, largest)[:, None]
            low = Low(seen.logits, expected, above, seen.bounds)
            values |= self._tracked(inputs, reading, low, Again(ids, exact), common, (best + normalizer.log())[:, None])
        errors = (seen.found + expected) / BITS - exact
        error = torch.maximum(*(each.square().mean(dim=-1).sqrt() for each in (errors, off)))
        doubt = _SAFETY * error / DRAWN**0.5 * mass / normalizer  # nats
        score = BITS * top.values[:, -1] - expected[:, 0]
        certain = (
            (doubt <= (TOLERANCE / probabilities[:, 0]).clamp_max(NATS))
            & (score > self._product.above(inputs, seen, score))
            & normalizer.isfinite()
        )
        return values, certain

    def _js(
        self, reading: Reading, seen: Survey, columns: torch.Tensor, shift: torch.Tensor, best: torch.Tensor
    ) -> torch.Tensor:
        """JS of rows, (row,), with what the model itself says.

        Args:
            shift: (row,) nats, from a low logit and its excess to the log of the probability.
            best: (row, candidate), the probabilities of tokens that are scored again; among the low logits they are 0.
        """
        assert reading.reference is not None
        assert reading.reference.probabilities is not None
        assert seen.logits is not None
        own, columns = reading.reference.probabilities, columns.to(seen.logits.device)
        logs = Logs(seen.excess, 1.0, -BITS * shift[:, None])
        sums = compared(seen.logits, logs, own, columns)
        of_best = own[columns[:, None], seen.ids]
        nothing = torch.full_like(best, -torch.inf)
        sums = sums + (terms(best.log2(), of_best) - terms(nothing, of_best)).double()
        return js_of(sums, reading.reference.entropy[columns])

    def _tracked(
        self,
        inputs: torch.Tensor,
        reading: Reading,
        low: Low,
        again: Again,
        common: torch.Tensor,
        normalizer: torch.Tensor,
    ) -> Values:
        """The results of tracked tokens: their logits are computed in full precision, and counted among the others'.

        Args:
            again: the candidates.
            common: (row, 1), what all logits have in common.
            normalizer: (row, 1), log sum exp of all logits, less that.
        """
        ids = torch.tensor(reading.tracked, device=inputs.device)
        own = inputs @ self._weight[ids].T + self._bias[ids] - common
        ranked = low.ranks(ids, own, again, self._counting)
        logs = (own - normalizer).clamp_max(0).half()
        return {"tracked_logs": logs, "tracked_ranks": ranked.ranks, "tracked_sure": ranked.exact_to}

    def mean_weights(self, probabilities: torch.Tensor) -> torch.Tensor:
        """(row, vocabulary) -> (row, width), the mean of the head's weights, weighted by the tokens' probabilities."""
        common = probabilities.sum(dim=-1, keepdim=True) * self._product.mean
        return self._product.mean_weights(probabilities) + common

    def _following(self, inputs: torch.Tensor, reading: Reading, columns: torch.Tensor) -> torch.Tensor:
        """(row,), the logits of the tokens that follow in the text; NaN if none does."""
        ids = reading.next_ids.to(inputs.device)[columns.to(inputs.device)]
        weights = self._weight[ids.clamp_min(0)]
        logits: torch.Tensor = torch.linalg.vecdot(inputs, weights) + self._bias[ids.clamp_min(0)]
        return logits.masked_fill(ids < 0, torch.nan)

    def _exact(self, inputs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """The logits of some tokens of each row, (row, width) and (row, candidate) -> (row, candidate) float32.

        If the rows share tokens, every row is scored with all of them.
        """
        if compiled.ready(inputs):
            return compiled_pass.score(inputs, self._weight, self._bias, ids)
        scores = torch.empty(ids.shape, dtype=inputs.dtype, device=inputs.device)
        count = max(1, _SCORE_BYTES // (4 * ids.shape[1] * inputs.shape[1]))
        for start in range(0, len(ids), count):
            some = slice(start, start + count)
            distinct, places = torch.unique(ids[some], return_inverse=True)
            if 4 * len(distinct) <= places.numel():
                scores[some] = (inputs[some] @ self._weight[distinct].T).gather(1, places)
            else:
                scores[some] = torch.bmm(self._weight[ids[some]], inputs[some, :, None])[..., 0]
        return scores + self._bias[ids]


def _sums(logits: torch.Tensor, excess: torch.Tensor, sets: Sequence[torch.Tensor]) -> torch.Tensor:
    """(row, set) float32, the sums of the powers of two of some tokens' logits, less the excess."""
    sums = torch.empty(len(logits), len(sets), dtype=torch.float32, device=logits.device)
    for some in in_cache(logits):
        for place, ids in enumerate(sets):
            each = logits[some].index_select(1, ids.to(logits.device)).float()
            sums[some, place] = each.sub_(excess[some]).exp2_().sum(dim=-1)
    return sums


def _held(members: torch.Tensor, ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Which of some tokens, (row, candidate), are in a set."""
    held = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
    held[members.to(held.device)] = True
    return held[ids]

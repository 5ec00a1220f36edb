"""Reads rows whose logits are split over the ranks of a model: each has those of its own tokens.

No rank ever has all logits of a row. Each computes those of its tokens, and tells the others a few numbers of each row:
its k best tokens, the largest logit, and sums over all others relative to that, as in an online softmax (Milakov and
Gimelshein 2018). The merged results are the same on all ranks, to the last bit, so that they decide alike. Ranks of
tokens take a second pass: first all ranks learn a token's logit, and then each counts how many of its own are larger.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from bauklens.decode.largest import top_of
from bauklens.decode.look import LOWEST
from bauklens.decode.measure import entropy, in_cache, js_divergence, kl_divergence, rank_of, surprisal
from bauklens.decode.reading import Reading, Reference, Values
from bauklens.decode.readout import Exact
from bauklens.decode.sharded_ranks import ranks_in_shards
from bauklens.decode.tiles import Some
from bauklens.model.head_shard import HeadShard


class InShards(Exact):
    """Every row in the model's own precision, each rank with the part of the head that it holds."""

    def read(self, tile: Some, reading: Reading) -> tuple[Values, torch.Tensor]:
        """See :meth:`bauklens.decode.readout.Readout.read`."""
        _, logits = self.logits(tile)
        values = reading.of(logits, self.unembed.columns(tile))
        return values, torch.ones(len(logits), dtype=torch.bool, device="cpu")

    def logits(self, tile: Some) -> tuple[torch.Tensor | None, torch.Tensor]:
        """The logits of own tokens; if memory runs out on one rank, all raise an error."""
        assert self.unembed.shard is not None
        inputs, logits = self.unembed.shard.alike(partial(super().logits, tile))
        if inputs is not None:
            self.unembed.shard.require_same(inputs)
        return inputs, logits


@dataclass(frozen=True)
class ShardedReading(Reading):
    """Like :class:`Reading`, for logits (row, own token), on all ranks at once.

    Attributes:
        shard: the part of the head that this rank holds.
    """

    shard: HeadShard | None = None

    @property
    def _shard(self) -> HeadShard:
        assert self.shard is not None
        return self.shard

    def of(self, logits: torch.Tensor, columns: torch.Tensor, inputs: torch.Tensor | None = None) -> Values:  # noqa: ARG002
        """Reads rows; returns the same as :meth:`Reading.of`, on all ranks."""
        columns, slices = columns.to(logits.device), list(in_cache(logits))
        own = self._shard.alike(lambda: _joined([self._told(logits[some], columns[some]) for some in slices]))
        merged = self._merged(self._gathered(own))
        values, chosen = merged.values | self._of_columns(merged, columns), self._chosen(merged)

        def compared(some: slice) -> Values:
            return self._compared(logits[some], columns[some], chosen[some], merged.of(some))

        if chosen.shape[1] or self._has_js:
            own = self._shard.alike(lambda: _joined([compared(some) for some in slices]))
            counted = {name: each.double().sum(dim=0) for name, each in self._gathered(own).items()}
            values |= self._after_count(counted, merged, columns)
        if len(self.tracked):
            ranked = ranks_in_shards(self._shard, logits, merged.tracked, merged.top)
            logs = merged.tracked - (merged.largest + merged.normalizer)[:, None]
            values |= {"tracked_ranks": ranked.ranks, "tracked_sure": ranked.exact_to}
            values["tracked_logs"] = logs.clamp_max(0).half()
        return {name: value.float() if value.dtype == torch.float64 else value for name, value in values.items()}

    def nearest(self, logits: torch.Tensor, count: int) -> torch.Tensor:
        """See :meth:`Reading.nearest`."""
        return replace(self.only_tracked(()), topk=count).of(logits, torch.arange(len(logits), device="cpu"))["top_ids"]

    def reference_of(self, logits: torch.Tensor, columns: torch.Tensor) -> Reference:
        """The reference for other rows, from the model's own logits: the probabilities of own tokens at each column.

        Args:
            logits: (column, own token).
            columns: (column,), their places in the table.
        """
        values = replace(self.only_tracked(()), topk=1, measures=("entropy", "max_logit")).of(logits, columns)
        elementwise = {"kl", "js"} & set(self.measures)
        if not elementwise:
            return Reference(values["entropy"])

        def probabilities() -> torch.Tensor:
            below = logits.float() - values["max_logit"][:, None]
            return below.exp_().mul_(values["top_probs"][:, :1])

        return Reference(values["entropy"], self._shard.alike(probabilities))

    @property
    def _has_js(self) -> bool:
        return "js" in self.measures and self._elementwise

    def _told(self, logits: torch.Tensor, columns: torch.Tensor) -> Values:
        """What this rank tells the others about its part of some rows, (row, any) each."""
        largest = logits.amax(dim=-1, keepdim=True).float().clamp_min(LOWEST)
        below = (logits - largest).clamp_min_(LOWEST)
        weights = below.exp()
        values = {"largest": largest, "sum": weights.sum(dim=-1, keepdim=True)}
        values |= self._best(logits)
        if "entropy" in self.measures or self._has_js:
            values["weighted"] = torch.linalg.vecdot(weights, below)[:, None]
        if self._elementwise and "kl" in self.measures:
            own, _ = self._own_probabilities(columns)
            values["kl"] = torch.stack([torch.linalg.vecdot(own, below.float()), own.sum(dim=-1)], dim=1)
        following = self._following(columns)
        if following is not None:
            place = following - self._shard.first
            mine = (place >= 0) & (place < logits.shape[1])
            found = logits.gather(1, torch.where(mine, place, 0)[:, None])
            values["next"] = found.masked_fill(~mine[:, None], -torch.inf)
        for name, sets in (("target", self.targets), ("mass", self.mass)):
            places = [self._places(ids, logits.device) for ids in sets]
            if len(places):
                values[f"{name} sum"] = torch.stack([weights[:, each].sum(dim=-1) for each in places], dim=1)
            if len(places) and name == "target":
                values["target best"] = torch.stack([_best_of(logits[:, each]) for each in places], dim=1)
                each_log = [logits[:, each].float().logsumexp(dim=-1) for each in places]
                values["target log"] = torch.stack(each_log, dim=1)
        if len(self.tracked):
            values["tracked"] = self._tracked_logits(logits)
        return values

    def _best(self, logits: torch.Tensor) -> Values:
        """The best of the own tokens: their logits and ids."""
        count = min(self.topk, logits.shape[1])
        found, places = top_of(logits, count)
        missing = (0, self.topk - count)
        return {
            "top": torch.nn.functional.pad(found, missing, value=-torch.inf),
            "ids": torch.nn.functional.pad(places + self._shard.first, missing, value=self._shard.first),
        }

    def _tracked_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """(row, most), the logits of the tracked tokens that are its own, padded at the end."""
        held = self._held()
        places = held[self._shard.first // self._shard.most].to(logits.device) - self._shard.first
        most = max(map(len, held))
        return torch.nn.functional.pad(logits[:, places], (0, most - len(places)))

    def _held(self) -> list[torch.Tensor]:
        """The tracked tokens of each rank."""
        ids = torch.tensor(self.tracked, dtype=torch.int64, device="cpu")
        return [self._shard.held_by(ids, rank) for rank in range(self._shard.size)]

    def _places(self, ids: Sequence[int] | torch.Tensor, device: torch.device) -> torch.Tensor:
        return self._shard.places(torch.as_tensor(ids, dtype=torch.int64, device="cpu")).to(device)

    def _following(self, columns: torch.Tensor) -> torch.Tensor | None:
        """(row,), the tokens that follow, if a measure needs them."""
        if not self.next_ids.numel() or not {"surprisal", "rank_of_next"} & set(self.measures):
            return None
        return self.next_ids.to(columns.device)[columns]

    def _gathered(self, own: Values) -> Values:
        """(row, any) each -> (rank, row, any), in one message; ids are exact in float32 up to 16 million."""
        wide = any(each.dtype == torch.float64 for each in own.values())
        sent = torch.cat([each.to(torch.float64 if wide else torch.float32) for each in own.values()], dim=1)
        parts = torch.split(self._shard.gathered(sent), [each.shape[1] for each in own.values()], dim=2)
        return dict(zip(own, parts, strict=True))

    def _merged(self, parts: Values) -> "_Merged":
        """Merges the parts of all ranks, (rank, row, any)."""
        largest = parts["largest"].amax(dim=0)[:, 0]  # (row,)
        shift = parts["largest"][..., 0].double() - largest.double()  # (rank, row)
        scale, sums = shift.exp(), parts["sum"][..., 0].double()
        total = (scale * sums).sum(dim=0)
        normalizer, own_mean = total.log(), None
        found = parts["top"].movedim(0, 1).flatten(1).topk(self.topk, dim=-1)
        ids = parts["ids"].movedim(0, 1).flatten(1).gather(1, found.indices).long()
        probabilities = (found.values.double() - largest.double()[:, None]).exp() / total[:, None]
        values: Values = {"top_ids": ids, "top_probs": probabilities}
        if "max_logit" in self.measures:
            values["max_logit"] = largest
        spread = normalizer
        if "weighted" in parts:
            weighted = (scale * (parts["weighted"][..., 0].double() + sums * shift)).sum(dim=0)
            spread = entropy(normalizer, weighted / total)
        if "entropy" in self.measures:
            values["entropy"] = spread
        if "kl" in parts:
            mean, mass = parts["kl"].double().unbind(dim=2)
            own_mean = torch.where(mass > 0, mean + mass * shift, 0).sum(dim=0)
        if "target log" in parts:
            values["target_logits"] = parts["target log"].logsumexp(dim=0)
        for name, called in (("target sum", "target_probs"), ("mass sum", "mass")):
            if name in parts:
                summed = (scale[..., None] * parts[name].double()).sum(dim=0)
                values[called] = (summed / total[:, None]).clamp_max(1)
        tracked = largest.new_empty(len(largest), len(self.tracked))
        if len(self.tracked):
            place = {token: number for number, token in enumerate(self.tracked)}
            for part, held in zip(parts["tracked"], self._held(), strict=True):
                tracked[:, [place[token] for token in held.tolist()]] = part[:, : len(held)].to(tracked.dtype)
        best = parts["target best"].amax(dim=0) if "target best" in parts else largest.new_empty(len(largest), 0)
        following = parts["next"].amax(dim=0) if "next" in parts else largest.new_empty(len(largest), 0)
        return _Merged(values, found.values, largest.double(), normalizer, spread, own_mean, best, following, tracked)

    def _of_columns(self, merged: "_Merged", columns: torch.Tensor) -> Values:
        """What is read beside what a row's column has: what the model says there, and the token that follows."""
        values, following = Values(), self._following(columns)
        if merged.own_mean is not None:
            assert self.reference is not None
            own_entropy = self.reference.entropy[columns].double()
            values["kl"] = kl_divergence(own_entropy, merged.normalizer, merged.own_mean)
        if following is not None and "surprisal" in self.measures:
            found = surprisal(merged.largest + merged.normalizer, merged.following[:, 0].double())
            values["surprisal"] = found.masked_fill(following < 0, torch.nan)
        return values

    def _chosen(self, merged: "_Merged") -> torch.Tensor:
        """(row, any), the logits whose ranks are wanted."""
        return torch.cat([merged.best, *([merged.following] if "rank_of_next" in self.measures else [])], dim=1)

    def _compared(self, logits: torch.Tensor, columns: torch.Tensor, chosen: torch.Tensor, merged: "_Merged") -> Values:
        """How many of the own logits of some rows are larger than others, and the part of JS from own tokens."""
        values = {}
        if chosen.shape[1]:
            values["chosen"] = rank_of(logits, chosen) - 1
        if self._has_js:
            own, _ = self._own_probabilities(columns)
            below = logits.float() - merged.largest[:, None].float()
            mean = (below.exp_() * merged.values["top_probs"][:, :1].float() + own) / 2
            values["js"] = torch.linalg.vecdot(mean, mean.log().clamp_min_(LOWEST))[:, None]
        return values

    def _after_count(self, counted: Values, merged: "_Merged", columns: torch.Tensor) -> Values:
        """Ranks, from the numbers of larger logits, (row, any), and JS."""
        values, following = Values(), self._following(columns)
        if "chosen" in counted:
            ranks = (1 + counted["chosen"]).float()
            if len(self.targets):
                values["target_ranks"] = ranks[:, : len(self.targets)]
            if following is not None and "rank_of_next" in self.measures:
                values["rank_of_next"] = ranks[:, -1].masked_fill(following < 0, torch.nan)
        if "js" in counted:
            assert self.reference is not None
            own_entropy = self.reference.entropy[columns].double()
            values["js"] = js_divergence(-counted["js"][:, 0], merged.entropy, own_entropy)
        return values


@dataclass(frozen=True)
class _Merged:
    """The merged parts: values that are complete, and what the second pass needs.

    Attributes:
        top: (row, k), the largest logits, largest first.
        largest, normalizer: (row,), the largest logit, and log sum exp of all less that.
        entropy: (row,).
        own_mean: (row,), the mean of the logits less the largest, weighted by the model's own probabilities.
        best: (row, target), following: (row, 1 or 0), tracked: (row, token), logits.
    """

    values: Values
    top: torch.Tensor
    largest: torch.Tensor
    normalizer: torch.Tensor
    entropy: torch.Tensor
    own_mean: torch.Tensor | None
    best: torch.Tensor
    following: torch.Tensor
    tracked: torch.Tensor

    def of(self, some: slice) -> "_Merged":
        """What is needed to compare the logits of some rows."""
        values = {"top_probs": self.values["top_probs"][some]}
        return replace(self, values=values, largest=self.largest[some])


def _joined(parts: list[Values]) -> Values:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _best_of(logits: torch.Tensor) -> torch.Tensor:
    """(row, any) -> (row,), the largest; -inf if there are none."""
    none = logits.new_full((len(logits), 1), -torch.inf)
    return torch.cat([logits, none], dim=1).amax(dim=-1)

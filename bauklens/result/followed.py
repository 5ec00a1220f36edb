"""What a result knows of tokens that were followed: a part of :class:`bauklens.LensResult`."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from bauklens.arguments import checked_count, is_whole_number
from bauklens.errors import LensError
from bauklens.result.measures import MASS
from bauklens.result.racing import race_of
from bauklens.result.targets import SET, Target, Which
from bauklens.result.tracked import Tracked


class Followed:
    """The methods that look up targets and tracked tokens."""

    vocabulary: Mapping[int, str]
    measures: Mapping[str, np.ndarray]
    top_probs: np.ndarray
    layers: tuple[str, ...]
    column_of: Callable[[int | None], int]
    targets: Sequence[Target]
    tracked: Tracked | None

    def target(self, which: Which) -> Target:
        """One of the targets, by its text, its token's id, or the ids of its tokens; a set only by its name.

        A token that is not a target but was tracked also has values, to fewer digits; its note states how many.

        Raises:
            LensError: it is neither among the targets nor tracked, or several have that text.
        """
        if isinstance(which, str):
            found = [each for each in self.targets if each.text == which]
        else:
            token_ids = which if isinstance(which, tuple) else (which,)
            found = [
                each
                for each in self.targets
                if each.part != SET and each.token_ids == token_ids and all(map(is_whole_number, token_ids))
            ]
        if len(found) > 1:
            told = ", ".join(str(each.token_ids[0] if each.part == "token" else each.token_ids) for each in found)
            raise LensError(f"{which!r} is the text of {len(found)} targets: pass the id of one of them, {told}")
        if found:
            return found[0]
        tracked = self._tracked(which)
        if tracked is not None:
            return tracked
        known = ", ".join(repr(each.text) for each in self.targets) or "none"
        also = f", and {len(self.tracked):,} tracked tokens" if self.tracked is not None else ""
        raise LensError(
            f"{which!r} was not followed (followed: {known}{also}): pass it in logit_lens(..., targets=[...])"
        )

    @property
    def mass(self) -> Mapping[str, np.ndarray]:
        """Name of a set of ``mass=`` -> (layer, position) float32, the probability of all its tokens together, 0..1."""
        found = {name: value for name, value in self.measures.items() if name.startswith(MASS)}
        return MappingProxyType({name.removeprefix(MASS): value for name, value in found.items()})

    def is_followed(self, text: str) -> bool:
        """Whether a target or a tracked token has this text."""
        tracked = [] if self.tracked is None else self.tracked.token_ids.tolist()
        return text in {*(each.text for each in self.targets), *(self.vocabulary[token] for token in tracked)}

    def _tracked(self, which: Which) -> Target | None:
        """A tracked token as a target; None if it was not tracked."""
        if self.tracked is None:
            return None
        if isinstance(which, str):
            ids = [token for token in self.tracked.token_ids.tolist() if self.vocabulary[token] == which]
            if len(ids) > 1:
                raise LensError(f"{which!r} is the text of {len(ids)} tokens: pass the id of one of them, {ids}")
        else:
            ids = list(which) if isinstance(which, tuple) else [which]
        place = self.tracked.place(ids[0]) if len(ids) == 1 and is_whole_number(ids[0]) else None
        if place is None:
            return None
        logs = self.tracked.log_probability[place].astype(np.float32)
        return Target(
            self.vocabulary[ids[0]],
            (int(ids[0]),),
            "token",
            f"tracked: to three digits; ranks are exact up to {self.tracked.exact_to.min():,}, in most cells further",
            probability=np.exp(logs),
            logit=logs + self._normalizer(),
            rank=self.tracked.rank[place].astype(np.float32),
        )

    def _normalizer(self) -> np.ndarray:
        """(layer, position), log sum exp of the logits; NaN if the largest logits are not known."""
        largest = self.measures.get("max_logit")
        with np.errstate(divide="ignore"):
            logs: np.ndarray = np.log(self.top_probs[..., 0])
        return np.full_like(logs, np.nan) if largest is None else largest - logs

    def logit_difference(self, one: Which, other: Which) -> np.ndarray:
        """How much higher one target's logit is than the other's, (layer, position) float32."""
        difference: np.ndarray = self._single(one).logit - self._single(other).logit
        return difference

    def first_layer(self, which: Which, *, rank: int = 1, position: int | None = None) -> str | None:
        """The first layer at which a target has this rank or a better one; None if it never has.

        Args:
            which: a target, as in :meth:`target`.
            rank: the rank to reach, from 1.
            position: a position in the table; negative ones count from the last column; None is :attr:`main_position`.
        """
        ranks = self._single(which).rank[:, self.column_of(position)]
        reached = np.flatnonzero(ranks <= checked_count("rank", rank))
        return self.layers[reached[0]] if len(reached) else None

    def crossing(self: Any, one: Which, other: Which, *, position: int | None = None) -> str | None:
        """The layer at which the lead changes for the last time: from there on, the final leader is more probable.

        Args:
            one: a target as in :meth:`target`, or a set of ``mass=``, by its name.
            other: another.
            position: a position in the table; negative ones count from the last column; None is :attr:`main_position`.

        Returns:
            The label of a layer; None if one of them is ahead throughout. Early layers often cross at tiny
            probabilities: :meth:`plot` with ``kind="race"`` shows all crossings.

        Raises:
            LensError: one of them is unknown, or they are the same.
        """
        changes = race_of(self, [one, other], position).changes
        return self.layers[changes[-1].row] if changes else None

    def _single(self, which: Which) -> Target:
        found = self.target(which)
        if found.part == "whole":
            raise LensError(
                f"{found.text!r} is {len(found.token_ids)} tokens and has no rank or logit: pass words='first'"
            )
        return found

"""Contributions: how much each part of a model adds to the logit of a token. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bauklens.arguments import checked_count
from bauklens.files import write_atomically
from bauklens.optional import data_frame
from bauklens.result.frozen import frozen, frozen_floats, require
from bauklens.result.json_value import JsonValue

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

SUBLAYERS = ("attention", "mlp")


class Contribution(NamedTuple):
    """What one part of the model adds to a logit.

    Attributes:
        part: ``"embed"``; ``"20.h3"``, a head; ``"20.bias"``, what the attention writes that belongs to no head;
            ``"20.attention"``, if its heads cannot be told apart; ``"20.mlp"``; ``"20"``, a whole block without two
            sublayers; ``"before 20"``, what the model does between blocks; ``"bias"``, the constants of the final norm
            and the head.
        kind: ``"embed"``, ``"head"``, ``"bias"``, ``"attention"``, ``"mlp"``, ``"block"`` or ``"between"``; or
            ``"neuron"``, which is included in the part of its MLP, and called ``"20.n57"``.
        layer: the block's label; empty for parts outside blocks.
        value: how much it adds to the logit.
    """

    part: str
    kind: str
    layer: str
    value: float


@dataclass(frozen=True, eq=False, repr=False)
class Contributions(JsonValue):
    """What the parts of a model add to the logit of a token at one position, or to the difference of two.

    The scale of the final norm at that position is kept fixed, so the values and ``rounding`` add up to the logit.

    Attributes:
        model: its name.
        position, token: the position that is read, and the prompt's token there.
        targets: the text of the token; or two texts, if it is the difference, the first less the second.
        target_ids: their ids.
        parts, kinds, layers: (part,), as in :class:`Contribution`, in the order of the model.
        values: (part,) float32, what each adds.
        logit: what they add up to: the logit, or the difference, before a soft-cap.
        model_logit: what the model returns: the same, except for a soft-cap.
        rounding: the logit less the sum of the values.
        notes: what a reader should know, as sentences.
        neurons: the neurons that add or take away most, the largest first, if they were asked for; what they add is in
            the values of their MLPs.
        provenance: how it was made, as plain values.
    """

    FORMAT = "bauklens.contributions"
    CALLED = "contributions"

    model: str
    position: int
    token: str
    targets: tuple[str, ...]
    target_ids: tuple[int, ...]
    parts: tuple[str, ...]
    kinds: tuple[str, ...]
    layers: tuple[str, ...]
    values: np.ndarray
    logit: float
    model_logit: float
    rounding: float
    notes: tuple[str, ...] = ()
    neurons: tuple[Contribution, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("targets", "target_ids", "parts", "kinds", "layers", "notes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "neurons", tuple(Contribution(*each) for each in self.neurons))
        object.__setattr__(self, "values", frozen_floats("values", self.values, (len(self.parts),)))
        object.__setattr__(self, "provenance", frozen(self.provenance))
        require(isinstance(self.provenance, Mapping), "provenance is not a mapping")
        texts = (self.model, self.token, *self.targets, *self.parts, *self.kinds, *self.layers, *self.notes)
        require(all(isinstance(each, str) for each in texts), "a token, a part or a note is not a text")
        require(len(self.kinds) == len(self.layers) == len(self.parts) > 0, "not every part has a kind and a layer")
        require(len(self.targets) == len(self.target_ids) in (1, 2), "the target is not one token or two")
        named = [(*each[:3], isinstance(each.value, float)) for each in self.neurons]
        require(all(isinstance(each, (str, bool)) for row in named for each in row), "a neuron's name is not a text")
        require(all(row[-1] for row in named), "what a neuron adds is not a number")
        require(type(self.position) is int, "the position is not a number")
        require(all(type(each) is int for each in self.target_ids), "the target's tokens are not ids")

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, part: str) -> float:
        """What the part of this name adds."""
        return float(self.values[self.parts.index(part)]) if part in self.parts else self._unknown(part)

    def ranked(self, k: int | None = None) -> list[Contribution]:
        """The parts that add or take away most, the largest first.

        Args:
            k: how many; None means all.
        """
        order = np.argsort(-np.abs(self.values), kind="stable")
        order = order if k is None else order[: checked_count("k", k)]
        rows = zip(self.parts, self.kinds, self.layers, self.values.tolist(), strict=True)
        each = [Contribution(*row) for row in rows]
        return [each[place] for place in order]

    def by_sublayer(self) -> "Contributions":
        """The same, with the heads and the bias of each attention as one part."""
        rows: dict[str, tuple[str, str, float]] = {}
        for part, kind, layer, value in zip(self.parts, self.kinds, self.layers, self.values.tolist(), strict=True):
            of_attention = kind == "head" or (kind == "bias" and layer)
            name, kind = (f"{layer}.attention", "attention") if of_attention else (part, kind)
            rows[name] = (kind, layer, rows.get(name, (kind, layer, 0.0))[2] + value)
        kinds, layers, values = zip(*rows.values(), strict=True)
        return replace(self, parts=tuple(rows), kinds=kinds, layers=layers, values=np.array(values))

    def to_frame(self) -> "pandas.DataFrame":
        """One row per part, in the order of the model: part, kind, layer, value, rank (from 1, by size)."""
        rank = np.empty(len(self), int)
        rank[np.argsort(-np.abs(self.values), kind="stable")] = np.arange(len(self)) + 1
        named = {"part": list(self.parts), "kind": list(self.kinds), "layer": list(self.layers)}
        return data_frame({**named, "value": self.values, "rank": rank})

    def plot(self, k: int = 20) -> "Figure":
        """A matplotlib figure: a bar for each of the k largest parts, and one for all others together.

        Raises:
            LensError: matplotlib is not installed.
        """
        from bauklens.show.contribution_views import contribution_bars

        return contribution_bars(self, checked_count("k", k))

    def to_html(self, path: str | Path | None = None, *, k: int = 40) -> str:
        """One self-contained page with the k largest parts; also written to a file, atomically, if a path is given."""
        from bauklens.show.contribution_views import contribution_page

        html = contribution_page(self, checked_count("k", k))
        if path is not None:
            write_atomically(path, html.encode("utf-8", "replace"))
        return html

    @property
    def of_what(self) -> str:
        """What the parts add up to, in words."""
        return " - ".join(f"logit of {text!r}" for text in self.targets)

    def __repr__(self) -> str:
        top = ", ".join(f"{each.part} {each.value:+.3g}" for each in self.ranked(5))
        there = f"position {self.position} ({self.token!r})"
        return f"<Contributions of {self.model} to {self.of_what}, {self.logit:.4g} at {there}: {top}, ...>"

    def _repr_html_(self) -> str:
        from bauklens.show.contribution_views import contribution_table

        return contribution_table(self)

    def _unknown(self, part: str) -> float:
        raise KeyError(f"unknown part {part!r}: the parts are {self.parts[0]!r} .. {self.parts[-1]!r}")


Contributions.__module__ = "bauklens"  # so that pickles load wherever the class is defined

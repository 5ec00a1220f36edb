"""compare(): two lenses side by side, lined up by their tokens. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.optional import data_frame
from bauklens.result.agreement import agreement, overlap
from bauklens.result.alignment import Pair, aligned
from bauklens.result.divergence import js_bound, js_distance
from bauklens.result.frozen import frozen_floats, plain
from bauklens.result.naming import short_names
from bauklens.result.result import LensResult

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Two lenses on the same grid.

    Attributes:
        one, other: the two lenses, at the layers and positions compared.
        left_out: the positions of each that have no counterpart in the other.
        measures: name -> (layer, position) float32: ``"agreement"``, whether the most probable tokens are the same;
            ``"overlap"``, the fraction of one top k that is also in the other; and ``"js_bound"``, a lower bound on
            their Jensen-Shannon divergence from all known probabilities, in nats, 0 to log 2. Two models have, instead
            of the bound, ``"js"``, the divergence itself, and ``"kl"``, KL(one || other), both in nats.
        whole: the two lenses at all their positions; empty if only the positions compared are known.
        alignment: for every column, the place in each of the whole lenses, None if it has no counterpart there.
    """

    one: LensResult
    other: LensResult
    left_out: tuple[tuple[int, ...], tuple[int, ...]]
    measures: Mapping[str, np.ndarray] = field(default_factory=dict)
    whole: tuple[LensResult, ...] = ()
    alignment: tuple[Pair, ...] = ()

    def __post_init__(self) -> None:
        grid = self.one.magnitude.shape
        measures = {name: frozen_floats(name, value, grid) for name, value in self.measures.items()}
        object.__setattr__(self, "measures", MappingProxyType(measures))

    def __repr__(self) -> str:
        rows, columns = self.one.magnitude.shape
        return f"<Comparison of {self.names[0]} and {self.names[1]}: {rows} layers x {columns} positions>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Comparison, (
            self.one,
            self.other,
            self.left_out,
            dict(self.measures),
            self.whole,
            self.alignment,
        )

    @property
    def names(self) -> tuple[str, str]:
        """Names for the two lenses: the first of model, stream, decoder, prompt and norm in which they differ."""
        return self._named[1:]

    @property
    def short_names(self) -> tuple[str, str]:
        """The same, short: for two prompts, only the words in which they differ."""
        attribute, *names = self._named
        one, other = short_names(names, attribute)
        return one, other

    @property
    def _named(self) -> tuple[str, str, str]:
        for attribute in ("model", "stream", "decoder", "prompt", "edited", "norm"):
            one, other = (getattr(each, attribute) for each in (self.one, self.other))
            if one != other:
                return attribute, str(one), str(other)
        return "", "one", "other"

    @property
    def distance_is_known(self) -> bool:
        """Whether :attr:`distance` is that of the full predictions, and not only a lower bound."""
        return "js" in self.measures

    @cached_property
    def distance(self) -> np.ndarray:
        """The Jensen-Shannon distance between the two predictions, (layer, position) float32.

        It is 0 if they are the same and 1 if they have nothing in common: the square root of their Jensen-Shannon
        divergence in bits, or of the lower bound on it.
        """
        return js_distance(self.measures["js" if self.distance_is_known else "js_bound"])

    def difference(self, measure: str) -> np.ndarray:
        """How much larger a measure is in the other lens: (layer, position) float32.

        Raises:
            LensError: one of the lenses does not have this measure.
        """
        known = [name for name in self.one.measures if name in self.other.measures]
        if measure not in known:
            raise LensError(f"unknown measure {measure!r}: both lenses have {', '.join(known)}")
        with np.errstate(over="ignore", invalid="ignore"):  # infinity minus infinity is not a number
            larger: np.ndarray = self.other.measures[measure] - self.one.measures[measure]
        return larger

    def to_frame(self) -> "pandas.DataFrame":
        """A data frame with one row per layer and position.

        Columns: layer; position, token, most probable token and its probability in each lens; every measure of the
        comparison; and ``X difference`` (other minus one) for every measure that both lenses have.
        """
        layer, column = (index.ravel() for index in np.indices(self.one.magnitude.shape))
        columns: dict[str, Any] = {"layer": np.array(self.one.layers, dtype=object)[layer]}
        for name, lens in (("one", self.one), ("other", self.other)):
            top = lens.top_ids[..., 0].ravel().tolist()
            columns |= {
                f"position {name}": lens.positions[column],
                f"token {name}": np.array(lens.tokens, dtype=object)[column],
                **({f"column {name}": np.array(lens.columns, dtype=object)[column]} if lens.columns else {}),
                f"predicted {name}": [lens.vocabulary[each] for each in top],
                f"probability {name}": lens.top_probs[..., 0].ravel(),
            }
        columns |= {name: value.ravel() for name, value in self.measures.items()}
        for name in self.one.measures:
            if name in self.other.measures:
                columns[f"{name} difference"] = self.difference(name).ravel()
        return data_frame(columns)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON: both lenses and the measures."""
        return {
            "format": "bauklens.comparison",
            "version": 1,
            "one": self.one.to_dict(),
            "other": self.other.to_dict(),
            "left_out": [list(each) for each in self.left_out],
            "measures": {name: plain(value) for name, value in self.measures.items()},
        }

    def to_html(self, path: str | Path | None = None, *, title: str | None = None) -> str:
        """One self-contained page; also written to a file, atomically, if a path is given."""
        from bauklens.show.page import page

        html = page([self], title=title)
        if path is not None:
            write_atomically(path, html.encode("utf-8", "replace"))
        return html

    def _repr_html_(self) -> str:
        from bauklens.show.page import fragment

        return fragment(self)


Comparison.__module__ = "bauklens"  # so that pickles load wherever the class is defined


def compare(one: LensResult, other: LensResult) -> Comparison:
    """Sets two lenses side by side: those of two prompts, two streams, or two models with the same tokenizer.

    Positions are lined up by their tokens: equal tokens, and stretches of different tokens that have the same length.
    In pages, every other position is a column that only one of the two has.

    Raises:
        LensError: one is not a LensResult; the layers or tokenizers do not match; or the prompts share no token.
    """
    for each in (one, other):
        if not isinstance(each, LensResult):
            raise LensError(f"compare() needs two LensResults; got {type(each).__name__}")
    layers = [layer for layer in one.layers if layer in other.layers]
    if (set(one.layers) ^ set(other.layers)) - {"embed"} or not layers:
        raise LensError(
            f"the layers do not match: {one.layers[0]} .. {one.layers[-1]} and {other.layers[0]} .. {other.layers[-1]}"
        )
    for token_id in one.vocabulary.keys() & other.vocabulary.keys():
        texts = one.vocabulary[token_id], other.vocabulary[token_id]
        if texts[0] != texts[1]:
            raise LensError(
                f"the tokenizers do not match: token {token_id} is {texts[0]!r} in one and {texts[1]!r} in the other"
            )
    alignment = aligned(one.token_ids.tolist(), other.token_ids.tolist())
    pairs = [(here, there) for here, there in alignment if here is not None and there is not None]
    if not any(one.token_ids[here] == other.token_ids[there] for here, there in pairs):
        raise LensError("the two prompts have no token in common")
    whole = _part(one, layers, [*range(len(one.positions))]), _part(other, layers, [*range(len(other.positions))])
    columns = [[pair[side] for pair in pairs] for side in (0, 1)]
    left_out = tuple(
        tuple(int(position) for column, position in enumerate(lens.positions) if column not in kept)
        for lens, kept in zip(whole, map(set, columns), strict=True)
    )
    one, other = (_part(lens, layers, each) for lens, each in zip(whole, columns, strict=True))
    tops = one.top_ids, other.top_ids
    measures = {"agreement": agreement(*tops), "overlap": overlap(*tops), "js_bound": js_bound(one, other)}
    return Comparison(one, other, (left_out[0], left_out[1]), measures, whole, tuple(alignment))


def _part(lens: LensResult, layers: list[str], columns: list[int]) -> LensResult:
    """The part of a lens; the lens itself if that is all of it."""
    is_whole = tuple(layers) == lens.layers and columns == [*range(len(lens.positions))]
    return lens if is_whole else lens.part(layers, columns)

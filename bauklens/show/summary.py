"""Summary: the averages of many lenses, one row per layer. Needs no torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.arguments import is_whole_number
from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.optional import data_frame
from bauklens.result.averages import Averages
from bauklens.result.frozen import frozen_array, require
from bauklens.result.json_value import JsonValue
from bauklens.result.quantiles import Sketch
from bauklens.show.rankings import ranking_fragment, ranking_page
from bauklens.show.summary_figures import SPREAD, mean_curves
from bauklens.show.summary_table import summary_ranking, unit_of
from bauklens.vocabulary import LOGIT

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

QUANTILES = {"q05": 0.05, "q50": 0.5, "q95": 0.95}
"""The quantiles that a data frame has."""

_STATISTICS = ("mean", "spread", "count")
_SAME = ("model", "stream", "decoder", "layers", "unmapped", "skip_first")
_MOST = 1e39
"""Beyond the largest float32, the type of measures."""


@dataclass(frozen=True, eq=False, repr=False)
class Summary(JsonValue):
    """The mean, spread, count and quantiles of every measure, for every layer, over all cells of many lenses.

    Attributes:
        model, stream, decoder: the model, stream and decoder of the lenses.
        layers: the labels of the rows.
        lenses, tokens: how many lenses were averaged, and how many positions of them.
        unmapped: the rows that the decoder has no map for, averaged as in the logit lens.
        skip_first: how many positions at the beginning of each prompt are left out.
        mean, spread, count: name of a measure -> (layer,) float64 or int64; the spread is the standard deviation over
            cells. ``"accuracy"``, measured against the text, is added to the measures of :data:`bauklens.MEASURES`.
            Cells without a value are left out (the last position of a text has no surprisal).
        sketches: name of a measure -> the data behind :meth:`quantile`; a measure from an older file has none.
    """

    FORMAT = "bauklens.summary"
    VERSION = 2
    CALLED = "a summary"

    model: str
    stream: str
    layers: tuple[str, ...]
    lenses: int
    tokens: int
    mean: Mapping[str, np.ndarray]
    spread: Mapping[str, np.ndarray]
    count: Mapping[str, np.ndarray]
    decoder: str = LOGIT
    unmapped: tuple[str, ...] = ()
    skip_first: int = 0
    sketches: Mapping[str, Sketch] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("layers", "unmapped"):
            require(isinstance(getattr(self, name), (list, tuple)), f"{name} is not a list")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        texts = (self.model, self.stream, self.decoder, *self.layers, *self.unmapped)
        require(all(isinstance(each, str) for each in texts), "the model, stream, decoder or a layer is not a text")
        require(len(self.layers) > 0, "it has no layers")
        require({*self.unmapped} <= {*self.layers}, "unmapped names a layer that does not exist")
        for name in ("lenses", "tokens", "skip_first"):
            value = getattr(self, name)
            require(is_whole_number(value) and 0 <= value < 2**63, f"{name} is not a whole number from 0 on")
        for name in _STATISTICS:
            found = {measure: self._numbers(name, measure, each) for measure, each in getattr(self, name).items()}
            object.__setattr__(self, name, MappingProxyType(found))
        sketches = {name: self._sketch(name, each) for name, each in self.sketches.items()}
        object.__setattr__(self, "sketches", MappingProxyType(sketches))
        require(len(self.mean) > 0, "it has no measures")
        require(self.mean.keys() == self.spread.keys() == self.count.keys(), "mean, spread and count do not match")

    def _numbers(self, name: str, measure: str, values: Any) -> np.ndarray:
        """(layer,) statistics of a measure, checked."""
        what = f"the {name} of {measure!r:.80}"
        require(isinstance(measure, str), f"{what} belongs to something that is not a text")
        if name == "count":
            found = frozen_array(what, values, np.int64)
        else:
            try:
                found = np.array(values, dtype=np.float64)  # None becomes NaN
            except (TypeError, ValueError, OverflowError):
                raise LensError(f"{what} contains values that are not numbers") from None
            found.setflags(write=False)
        require(found.shape == (len(self.layers),), f"{what} does not have a number for each layer")
        possible = (np.abs(found) <= _MOST) & ((found >= 0) | (name == "mean"))
        require(bool((np.isnan(found) | possible).all()), f"{what} has an impossible number")
        return found

    def _sketch(self, measure: str, value: Any) -> Sketch:
        what = f"the sketch of {measure!r:.80}"
        require(measure in self.count, f"{what} belongs to an unknown measure")
        try:
            found = value if isinstance(value, Sketch) else Sketch(len(self.layers), **value)
        except (TypeError, LensError) as error:
            raise LensError(f"{what}: {error}") from None
        same = found.rows == len(self.layers) and bool((found.total == self.count[measure]).all())
        require(same, f"{what} does not count the right number of cells")
        return found

    def __repr__(self) -> str:
        return f"<Summary of {self.lenses} lenses of {self.model}: {self.called}, {len(self.layers)} layers>"

    @property
    def called(self) -> str:
        """The stream, and the decoder if it is not the logit lens."""
        return self.stream if self.decoder == LOGIT else f"{self.stream} through {self.decoder}"

    @property
    def left_out(self) -> str:
        """Which positions are left out, as a sentence; empty if none are."""
        if self.skip_first > 1:
            return f"The first {self.skip_first:,} positions of each prompt are left out."
        return "Position 0 of each prompt is left out." if self.skip_first else ""

    def marked(self, row: int) -> str:
        """A row's label, with an asterisk if the decoder has no map for it."""
        layer = self.layers[row]
        return f"{layer}*" if layer in self.unmapped else layer

    def merge(self, *others: "Summary") -> "Summary":
        """Merges this summary with others into one of all their lenses, as from one run over all of them.

        Counts and quantiles equal those of that run, means and spreads up to rounding, for any order of the parts.

        Args:
            others: summaries of other lenses, of the same model, stream, decoder, layers and ``skip_first``.

        Raises:
            LensError: one of them has another model, stream, decoder, layers or ``skip_first``.

        >>> Summary.merge(*parts)  # doctest: +SKIP
        """
        averages = Averages(len(self.layers))
        parts = (self, *others)
        for number, part in enumerate(parts, 1):
            if not isinstance(part, Summary):
                raise LensError(f"merge() takes summaries; got {part!r:.80}")
            for name in _SAME:
                if getattr(part, name) != getattr(self, name):
                    theirs, ours = getattr(part, name), getattr(self, name)
                    raise LensError(
                        f"parts must have the same {name} to be merged: part {number} has {theirs!r:.80}, "
                        f"the first one {ours!r:.80}"
                    )
            for name in part.mean:
                numbers = (part.count[name], part.mean[name], part.spread[name])
                averages.join(name, *numbers, part.sketches.get(name))
        counts = {name: sum(getattr(part, name) for part in parts) for name in ("lenses", "tokens")}
        return replace(self, **averages.statistics(), **counts)

    def quantile(self, measure: str, q: float) -> np.ndarray:
        """(layer,) float64, a quantile of a measure over all cells, within 1 % of its value; NaN without cells.

        It is the value of cell number ``floor(q * (n - 1))`` of n, from 0, in rising order. 0 and 1 are exact; values
        closer to 0 than 1.2e-38 count as 0.

        Args:
            measure: name of a measure.
            q: 0 .. 1; 0.5 is the median.

        Raises:
            LensError: the measure is unknown, q is not in that range, or the summary was read from a file by an older
                bauklens, which kept no quantiles.
        """
        self.require_measure(measure)
        if measure not in self.sketches:
            raise LensError(f"this summary has no quantiles of {measure}: older versions of bauklens did not keep them")
        return self.sketches[measure].quantile(q)

    def require_measure(self, name: str) -> None:
        """Raises a LensError if the measure is unknown."""
        if name not in self.mean:
            raise LensError(f"unknown measure {name!r:.80}: this summary has {', '.join(self.mean)}")

    def to_frame(self) -> "pandas.DataFrame":
        """A data frame with one row per measure and layer.

        Its columns are measure, layer, mean, spread, count, q05, q50, q95 (quantiles: 5 % of cells are below q05), unit
        and decoder. Quantiles are NaN if not known.
        """
        names = [name for name in self.mean for _ in self.layers]
        unknown = np.full(len(self.layers), np.nan)
        quantiles = {
            column: [self.sketches[name].quantile(q) if name in self.sketches else unknown for name in self.mean]
            for column, q in QUANTILES.items()
        }
        return data_frame(
            {
                "measure": names,
                "layer": list(self.layers) * len(self.mean),
                "mean": np.concatenate(list(self.mean.values())),
                "spread": np.concatenate(list(self.spread.values())),
                "count": np.concatenate(list(self.count.values())),
                **{column: np.concatenate(values) for column, values in quantiles.items()},
                "unit": [unit_of(name) for name in names],
                "decoder": [self.decoder] * len(names),
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        sketches = {
            name: {part: getattr(sketch, part).tolist() for part in ("row", "bin", "count")}
            for name, sketch in self.sketches.items()
        }
        return super().to_dict() | {"sketches": sketches}

    @classmethod
    def from_dict(cls, data: Any) -> "Summary":
        """Reads what :meth:`to_dict` wrote, also in version 1, which has no quantiles.

        Raises:
            LensError: the format or version is another one, or a part is missing or damaged.
        """
        if isinstance(data, Mapping) and data.get("version") == 1:
            data = {**data, "version": cls.VERSION, "sketches": {}}
        return super().from_dict(data)

    def plot(self, measures: str | Iterable[str] | None = None, *, band: str = SPREAD) -> "Figure":
        """A matplotlib figure with one panel per measure: the mean across layers, with a band.

        Args:
            measures: names; None means all.
            band: ``"spread"``: one standard deviation to each side of the mean. ``"quantiles"``: from the 5 % to the
                95 % quantile, with the median as a dashed line.

        Raises:
            LensError: matplotlib is not installed, the summary does not have one of the measures or its quantiles, or
                the band is unknown.
        """
        return mean_curves({"": self}, measures, band=band)

    def to_html(self, path: str | Path | None = None, *, title: str | None = None) -> str:
        """One self-contained page; also written to a file, atomically, if a path is given."""
        html = summaries_page([self], title=title)
        if path is not None:
            write_atomically(path, html.encode("utf-8", "replace"))
        return html

    def _repr_html_(self) -> str:
        return ranking_fragment(**self.ranking())

    def ranking(self) -> dict[str, Any]:
        """The arguments of :func:`bauklens.show.rankings.ranking_fragment`."""
        return summary_ranking(self)


def summaries_page(summaries: Sequence[Summary], *, title: str | None = None) -> str:
    """The HTML of a self-contained page with several summaries, one below the other."""
    first = summaries[0]
    return ranking_page(
        title or f"{first.lenses:,} prompts through {first.model}", [each.ranking() for each in summaries]
    )


Summary.__module__ = "bauklens"  # so that pickles load wherever the class is defined

"""Summaries: one summary for each group of prompts, or for each checkpoint of a model. Needs no torch."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.optional import joined_frames
from bauklens.result.frozen import require
from bauklens.result.json_value import JsonValue
from bauklens.show.figures import Limits
from bauklens.show.rankings import ranking_page
from bauklens.show.summary import Summary
from bauklens.show.summary_figures import layer_map, mean_curves

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

_SAME = ("stream", "layers", "skip_first")


@dataclass(frozen=True, eq=False, repr=False)
class Summaries(JsonValue, Mapping[str, Summary]):
    """Summaries by name, in order: one for each group of prompts, or for each checkpoint of a model.

    Attributes:
        each: name -> a summary; all have the same stream, layers and ``skip_first``.
        by: what the names stand for, such as ``"language"`` or ``"checkpoint"``: an axis, and a column of data frames.

    >>> Summaries({"en": english, "fr": french}, by="language")["fr"]  # doctest: +SKIP
    """

    FORMAT = "bauklens.summaries"
    CALLED = "summaries"

    each: Mapping[str, Summary]
    by: str = "group"

    def __post_init__(self) -> None:
        require(isinstance(self.each, Mapping) and len(self.each) > 0, "summaries is empty: pass at least one")
        require(isinstance(self.by, str), "by is not a text")
        found: dict[str, Summary] = {}
        for name, value in self.each.items():
            require(isinstance(name, str), f"a name of a summary must be a text; got {name!r:.80}")
            try:
                found[name] = value if isinstance(value, Summary) else Summary.from_dict(value)
            except LensError as error:
                raise LensError(f"{self.by} {name!r:.80}: {error}") from None
        object.__setattr__(self, "each", MappingProxyType(found))
        (first_name, first), *others = found.items()
        for name, summary in others:
            for part in _SAME:
                theirs, ours = getattr(summary, part), getattr(first, part)
                if theirs != ours:
                    raise LensError(
                        f"summaries must have the same {part}: {name!r:.80} has {theirs!r:.80}, "
                        f"{first_name!r:.80} {ours!r:.80}"
                    )

    def __getitem__(self, name: str) -> Summary:
        return self.each[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.each)

    def __len__(self) -> int:
        return len(self.each)

    def __repr__(self) -> str:
        names = ", ".join(self) if len(self) <= 6 else f"{', '.join(list(self)[:5])}, ... {list(self)[-1]}"
        return f"<Summaries of {len(self)}, by {self.by}: {names}>"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return super().to_dict() | {"each": {name: summary.to_dict() for name, summary in self.items()}}

    def to_frame(self) -> "pandas.DataFrame":
        """The data frame of :meth:`Summary.to_frame`, with one more column in front, named after ``by``.

        Raises:
            LensError: pandas is not installed, or another column has that name.
        """
        frames = []
        for name, summary in self.items():
            frame = summary.to_frame()
            if self.by in frame.columns:
                raise LensError(f"by is {self.by!r}, which is a column already: pass another name")
            frame.insert(0, self.by, name)
            frames.append(frame)
        return joined_frames(frames)

    def plot(self, measures: str | Iterable[str] | None = None, *, band: str | None = None) -> "Figure":
        """A matplotlib figure with one panel per measure: the mean across layers, one line per summary.

        The row "embed" is left out if there are others, as it is often far beyond them.

        Args:
            measures: names; None means all of the first summary.
            band: around each line, ``"spread"`` for one standard deviation to each side, or ``"quantiles"`` for the 5 %
                to the 95 % quantile, with the median as a dashed line; None for none.

        Raises:
            LensError: matplotlib is not installed, the band is unknown, or a summary does not have one of the measures
                or its quantiles.
        """
        return mean_curves(self.each, measures, band=band, by=self.by)

    def heatmap(
        self, measure: str, *, q: float | None = None, cmap: str = "viridis", limits: Limits | None = None
    ) -> "Figure":
        """A matplotlib figure with one column per summary and one row per layer; the colour is a measure's mean.

        For checkpoints, it shows when in training, and at which layer, something is learnt.

        Args:
            measure: name of a measure.
            q: draws this quantile, 0 .. 1, instead of the mean; 0.5 is the median.
            cmap: the name of a colormap of matplotlib.
            limits: the ends of the scale, the lower one first; None means the least and the largest value, not counting
                the row "embed".

        Raises:
            LensError: matplotlib is not installed, or has no such colormap; a summary does not have the measure or its
                quantiles; or the limits are not two rising numbers.
        """
        return layer_map(self.each, measure, q=q, by=self.by, cmap=cmap, limits=limits)

    def to_html(self, path: str | Path | None = None, *, title: str | None = None) -> str:
        """One self-contained page, one table per summary; also written to a file, atomically, if a path is given."""
        tables = [each.ranking() for each in self.values()]
        for name, table in zip(self, tables, strict=True):
            table["caption"] = f"{name}. {table['caption']}"
        html = ranking_page(title or f"{len(self)} summaries by {self.by}", tables)
        if path is not None:
            write_atomically(path, html.encode("utf-8", "replace"))
        return html


Summaries.__module__ = "bauklens"  # so that pickles load wherever the class is defined

"""summarize(): what many lenses say together, a row a layer, in memory that does not grow with them. Needs no torch."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.errors import LensError, PromptError
from bauklens.files import write_atomically
from bauklens.frame import data_frame, require_pyplot
from bauklens.frozen import plain
from bauklens.measures import MEASURES
from bauklens.page import ranking_fragment, ranking_page
from bauklens.readable import readable_magnitude
from bauklens.result import LensResult

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

_AT_ONCE = 16
"""Prompts that are run before their lenses are added up and forgotten."""

ACCURACY = "accuracy"
"""How often the most probable token is the one that follows in the text; ``agreement`` is that against the model."""


@dataclass(frozen=True, eq=False)
class Summary:
    """The mean, the spread and the count of every measure, for every layer, over all cells of many lenses.

    Attributes:
        model, stream: of the lenses.
        layers: labels of the rows.
        lenses, tokens: how many were added up, and how many tokens they hold.
        mean, spread, count: name of a measure -> (layer,) float64 or int64; the spread is the standard deviation over
            cells. ``"accuracy"``, against the text, stands beside the measures of :data:`bauklens.MEASURES`; a cell
            without a value (the last of a text has no surprisal) is left out.
    """

    model: str
    stream: str
    layers: tuple[str, ...]
    lenses: int
    tokens: int
    mean: Mapping[str, np.ndarray]
    spread: Mapping[str, np.ndarray]
    count: Mapping[str, np.ndarray]

    def __repr__(self) -> str:
        return f"<Summary of {self.lenses} lenses of {self.model}: {self.stream}, {len(self.layers)} layers>"

    def __reduce__(self) -> tuple[Any, ...]:
        plain_parts = [dict(value) if isinstance(value, Mapping) else value for value in vars(self).values()]
        return Summary, tuple(plain_parts)

    def to_frame(self) -> "pandas.DataFrame":
        """A data frame, a line for each measure and layer: measure, layer, mean, spread, count, unit."""
        names = [name for name in self.mean for _ in self.layers]
        return data_frame(
            {
                "measure": names,
                "layer": list(self.layers) * len(self.mean),
                "mean": np.concatenate(list(self.mean.values())),
                "spread": np.concatenate(list(self.spread.values())),
                "count": np.concatenate(list(self.count.values())),
                "unit": [_unit(name) for name in names],
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        parts = {name: {key: plain(value) for key, value in getattr(self, name).items()} for name in _STATISTICS}
        return {"format": "bauklens.summary", "version": 1} | {**vars(self), "layers": list(self.layers)} | parts

    def plot(self, measures: Iterable[str] | None = None) -> "Figure":
        """A figure of matplotlib, a panel a measure: the mean over the layers, within one spread.

        Args:
            measures: names; None is all.

        Raises:
            LensError: matplotlib is not installed, or there is no such measure here.
        """
        names = list(self.mean) if measures is None else [measures] if isinstance(measures, str) else list(measures)
        if not names:
            raise LensError("measures is empty: pass at least one, or None for all")
        for name in names:
            if name not in self.mean:
                raise LensError(f"unknown measure {name!r}: this summary has {', '.join(self.mean)}")
        figure, panels = require_pyplot().subplots(
            len(names), 1, figsize=(7, 1.9 * len(names)), sharex=True, squeeze=False, layout="constrained"
        )
        rows = range(len(self.layers))
        for name, (panel,) in zip(names, panels, strict=True):
            mean, spread = self.mean[name], self.spread[name]
            panel.fill_between(rows, mean - spread, mean + spread, alpha=0.2)
            panel.plot(rows, mean)
            panel.set_ylabel(f"{name}\n({_unit(name)})" if _unit(name) else name)
        every = -(-len(self.layers) // 10)  # so that the labels have room
        panels[-1, 0].set_xticks(rows[::every], self.layers[::every])
        panels[-1, 0].set_xlabel("layer")
        drawn: Figure = figure
        return drawn

    def to_html(self, path: str | Path | None = None, *, title: str | None = None) -> str:
        """One self-contained page; written to a file, atomically, where there is a path."""
        html = ranking_page(title or f"{self.lenses:,} prompts through {self.model}", [self._ranking()])
        if path is not None:
            write_atomically(path, html.encode("utf-8", "replace"))
        return html

    def _repr_html_(self) -> str:
        return ranking_fragment(**self._ranking())

    def _ranking(self) -> dict[str, Any]:
        largest = {name: float(np.nanmax(np.abs(mean), initial=0)) or 1.0 for name, mean in self.mean.items()}
        rows = [
            (
                layer,
                [
                    (
                        _said(mean[row]),
                        0.0 if np.isnan(mean[row]) else float(abs(mean[row])) / largest[name],
                        f"{name}, layer {layer}: ± {_said(self.spread[name][row])}, {self.count[name][row]:,} cells",
                    )
                    for name, mean in self.mean.items()
                ],
            )
            for row, layer in enumerate(self.layers)
        ]
        titles = {name: name.replace("_", " ") for name in self.mean}
        columns = [f"{titles[name]} ({_unit(name)})" if _unit(name) else titles[name] for name in self.mean]
        caption = f"Means over {self.lenses:,} prompts, {self.tokens:,} tokens, of {self.model}: {self.stream}"
        note = "Colour: the part of the column's largest. Hover: the spread (standard deviation) and how many cells."
        return {"caption": caption, "corner": "layer", "columns": columns, "rows": rows, "note": note}


_STATISTICS = ("mean", "spread", "count")


def summarize(items: Iterable[Any], model: Any = None, tokenizer: Any = None, **options: Any) -> Summary:
    """Adds up lenses as they come, and forgets them: the memory does not grow with their number.

    Means and spreads are Welford's (1962), joined as by Chan, Golub and LeVeque (1979).

    Args:
        items: lenses of one model, stream and set of layers; or prompts, where a model is given. An iterator will do.
        model: what the prompts are run through.
        tokenizer: the model's.
        options: as for :func:`bauklens.logit_lens`; ``on_error="skip"`` passes over prompts that cannot be.

    Raises:
        LensError: there is nothing to add up; lenses do not match; a prompt without a model; and as ``logit_lens``.
    """
    if isinstance(items, (str, LensResult)):
        items = [items]
    total: _Running | None = None
    for lens in _lenses(iter(items), model, tokenizer, options):
        total = total or _Running(lens)
        total.add(lens)
    if total is None:
        raise LensError("there is nothing to summarize: pass at least one lens or prompt")
    return total.summary()


def _lenses(items: Iterator[Any], model: Any, tokenizer: Any, options: dict[str, Any]) -> Iterator[LensResult]:
    if not isinstance(options.get("stream", ""), str):
        raise LensError("one stream is summarized: pass its name")
    done = 0
    while some := list(islice(items, _AT_ONCE)):
        if all(isinstance(each, LensResult) for each in some):
            yield from some
            continue
        if model is None:
            raise LensError("prompts need a model: summarize(prompts, model, tokenizer)")
        from bauklens.lens import logit_lens

        if not all(isinstance(each, (str, list, tuple)) or getattr(each, "ndim", 0) for each in some):
            raise LensError(f"many prompts are summarized, texts or lists of ids; got {some[0]!r:.80} among them")
        try:
            found = logit_lens(model, tokenizer, some, **options)
        except PromptError as error:
            raise PromptError(done + error.number, error.reason) from None
        assert isinstance(found, list)
        done += len(some)
        yield from (each for each in found if each is not None)


class _Running:
    """Statistics of the rows of every measure, added up one lens at a time.

    Args:
        first: a lens of those that are added up.
    """

    def __init__(self, first: LensResult) -> None:
        self._of = (first.model, first.stream, first.layers)
        self._lenses = self._tokens = 0
        self._sums: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def add(self, lens: LensResult) -> None:
        """Adds the cells of a lens; NaN and infinity are left out."""
        if (lens.model, lens.stream, lens.layers) != self._of:
            model, stream, layers = self._of
            raise LensError(
                f"lenses of one model, stream and set of layers add up; got {lens!r} after one of {model}: {stream}, "
                f"{len(layers)} layers"
            )
        self._lenses, self._tokens = self._lenses + 1, self._tokens + len(lens.tokens)
        for name, values in {**lens.measures, ACCURACY: _accuracy(lens)}.items():
            known = np.isfinite(values)
            wide = np.where(known, values, 0).astype(np.float64)
            count = known.sum(axis=1)
            mean = wide.sum(axis=1) / np.maximum(count, 1)
            squares = (np.where(known, wide - mean[:, None], 0) ** 2).sum(axis=1)
            nothing = (np.zeros_like(count), np.zeros_like(mean), np.zeros_like(mean))
            self._sums[name] = _joined(self._sums.get(name, nothing), (count, mean, squares))

    def summary(self) -> Summary:
        """What was added up; NaN where no cell has a value."""
        count, mean, spread = {}, {}, {}
        for name in [each for each in (ACCURACY, *MEASURES) if each in self._sums]:
            count[name], means, squares = self._sums[name]
            some = count[name] > 0
            mean[name] = np.where(some, means, np.nan)
            spread[name] = np.where(some, np.sqrt(squares / np.maximum(count[name], 1)), np.nan)
        statistics = (MappingProxyType(each) for each in (mean, spread, count))
        return Summary(*self._of, self._lenses, self._tokens, *statistics)


def _joined(
    one: tuple[np.ndarray, np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean and sum of squared differences of two sets of cells, taken together."""
    count = one[0] + other[0]
    share = other[0] / np.maximum(count, 1)
    apart = other[1] - one[1]
    return count, one[1] + apart * share, one[2] + other[2] + apart**2 * one[0] * share


def _accuracy(lens: LensResult) -> np.ndarray:
    """(layer, position): whether the top token is the one that follows in the text; NaN where that is not known."""
    follows = np.append(lens.positions[1:] == lens.positions[:-1] + 1, False)
    following = np.append(lens.token_ids[1:], -1)
    return np.where(follows, lens.top_ids[..., 0] == following, np.nan)


def _unit(name: str) -> str:
    return "0..1" if name == ACCURACY else MEASURES[name].unit if name in MEASURES else ""


def _said(value: float) -> str:
    if np.isnan(value):
        return "none"
    return readable_magnitude(float(value)) if abs(value) >= 1000 else f"{value:.3g}"

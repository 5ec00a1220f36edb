"""Evaluation, the result of evaluate(): how often decoders show intermediate concepts of prompts. Needs no torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.errors import LensError
from bauklens.files import path_of, write_atomically
from bauklens.optional import data_frame
from bauklens.reading_files import LARGEST_FILE, parse_json, read_bytes
from bauklens.result.frozen import frozen, plain, require
from bauklens.result.storage import as_json
from bauklens.show.evaluated_items import EvaluatedItem, EvaluatedSet, EvaluatedWord
from bauklens.show.evaluation_figures import MEAN, curves, pass_ranking, set_ranking
from bauklens.show.evaluation_scores import interval, item_shares, known_mean, resampled_means
from bauklens.show.rankings import ranking_fragment, ranking_page
from bauklens.vocabulary import FORMS, READ_RULES, SPELLED

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

FORMAT = "bauklens.evaluation"
VERSION = 1


@dataclass(frozen=True)
class Evaluation:
    """How often decoders show the intermediate concepts of prompts; see :func:`bauklens.evaluate`.

    Attributes:
        model: name of the model.
        decoders: their names.
        layers: labels of the rows over which the best rank is taken.
        ks: the ranks k of pass@k, ascending.
        words: how words of several tokens were treated, one of :data:`bauklens.vocabulary.SPELLED`.
        sets: every set with its items and their ranks.
        layers_without_map: blocks except the last that were left out, because some decoder has no map for them.
        made_for: name of a decoder -> what it was made for, if that is another model.
        provenance: versions, device, date and arguments.
    """

    model: str
    decoders: tuple[str, ...]
    layers: tuple[str, ...]
    ks: tuple[int, ...]
    words: str
    sets: tuple[EvaluatedSet, ...]
    layers_without_map: tuple[str, ...] = ()
    made_for: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "made_for", MappingProxyType(dict(self.made_for)))
        object.__setattr__(self, "provenance", frozen(self.provenance))

    def __repr__(self) -> str:
        items = sum(len(each.items) for each in self.sets)
        best = ", ".join(f"{name} {100 * self.mean[number, -1]:.1f} %" for number, name in enumerate(self.decoders))
        return f"<Evaluation on {self.model}: {items:,} items, pass@{self.ks[-1]} {best}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_dict, (self.to_dict(),)

    def pass_at(self, k: int) -> np.ndarray:
        """(set, decoder) float64, pass@k for any k from 1, 0..1; NaN for a set without a word that has a rank."""
        return self._shares([k])[..., 0]

    @cached_property
    def passed(self) -> np.ndarray:
        """(set, decoder, k) float64, pass@k, 0..1; NaN for a set without a word that has a rank."""
        return self._shares(self.ks)

    @cached_property
    def mean(self) -> np.ndarray:
        """(decoder, k) float64, the mean over the sets that have a value, each counted once; NaN if none has."""
        return known_mean(self.passed)

    @cached_property
    def intervals(self) -> np.ndarray:
        """(set + 1, decoder, k, 2) float64, bootstrap 95 % intervals of pass@k over items, the mean's last.

        Items are drawn with replacement within each set (percentiles of 2,000 resamples, with a fixed seed). All
        decoders use the same draws.
        """
        found = np.full((len(self.sets) + 1, len(self.decoders), len(self.ks), 2), np.nan)
        means = {
            row: resampled_means(shares) for row, shares in enumerate(self._item_shares(self.ks)) if shares.shape[1]
        }
        for row, each in means.items():
            found[row] = interval(each)
        if means:
            found[-1] = interval(np.mean([*means.values()], axis=0))
        return found

    @property
    def rules(self) -> tuple[str, ...]:
        """How it was measured, in sentences."""
        rows = f"Best rank over {len(self.layers)} layers: {_listed(self.layers)}."
        if self.layers_without_map:
            rows += f" Not every decoder has a map for {_listed(self.layers_without_map)}."
        reads = [f"{name}: {READ_RULES[rule]}" for name, rule in self._differing("read")]
        forms = [f"{name}: {FORMS[each]}" for name, each in self._differing("forms")]
        counts = "A word's tokens: with and without a space before it, as given and capitalized"
        made = [f"The decoder {name} was made for {other}." for name, other in self.made_for.items()]
        return (f"Read {'; '.join(reads)}.", rows, f"{counts}; {'; '.join(forms)}; {SPELLED[self.words]}.", *made)

    def _differing(self, attribute: str) -> Iterator[tuple[str, str]]:
        """Names of sets, joined if they have the same rule, and that rule; the rule of most sets last."""
        rules = [getattr(each, attribute) for each in self.sets]
        distinct = sorted(dict.fromkeys(rules), key=rules.count)
        for rule in distinct[:-1]:
            yield ", ".join(each.name for each in self.sets if getattr(each, attribute) == rule), rule
        all_or_others = "other" if distinct[1:] else "all"
        yield (f"in {all_or_others} sets" if self.sets[1:] else self.sets[0].name), distinct[-1]

    @property
    def left_out(self) -> tuple[str, ...]:
        """The words that are left out, once per item that has them."""
        return tuple(word for each in self.sets for word in each.left_out)

    def to_frame(self) -> "pandas.DataFrame":
        """A data frame with one row per set, decoder and k; with several sets, also rows for their mean.

        Columns: set, decoder, k, pass (0..1), low and high (the 95 % interval), items, scored_items, words,
        left_out_words, model.
        """
        rows = [
            (row, number, place)
            for row in range(len(self.sets) + (len(self.sets) > 1))
            for number in range(len(self.decoders))
            for place in range(len(self.ks))
        ]
        values, counts = np.concatenate([self.passed, self.mean[None]]), [*map(_counts, self.sets)]
        counts.append(tuple(map(sum, zip(*counts, strict=True))))
        names = [*(each.name for each in self.sets), MEAN]
        columns: dict[str, Any] = {
            "set": [names[row] for row, _, _ in rows],
            "decoder": [self.decoders[number] for _, number, _ in rows],
            "k": np.array([self.ks[place] for _, _, place in rows]),
            "pass": np.array([values[each] for each in rows]),
            "low": np.array([self.intervals[each][0] for each in rows]),
            "high": np.array([self.intervals[each][1] for each in rows]),
        }
        for place, name in enumerate(_COUNTS):
            columns[name] = np.array([counts[row][place] for row, _, _ in rows])
        return data_frame(columns | {"model": [self.model] * len(rows)})

    def items_frame(self) -> "pandas.DataFrame":
        """A data frame with one row per set, item, word and decoder.

        Columns: set, item (from 1), name, prompt, target, rule, position, token, word, by, tokens (a list), decoder,
        best_rank (NaN for a word that is left out), best_layer, best_token.
        """
        found: dict[str, list[Any]] = {name: [] for name in _ITEM_COLUMNS}
        for several, place, item, word in self._words():
            for number, decoder in enumerate(self.decoders):
                ranked = word.is_scored
                row = (
                    *(several.name, place, item.name, item.prompt, item.target, item.rule, item.position, item.token),
                    *(word.text, word.by, list(word.tokens), decoder),
                    word.best_rank[number] if ranked else np.nan,
                    *((word.best_layer[number], word.best_token[number]) if ranked else (None, None)),
                )
                for name, value in zip(_ITEM_COLUMNS, row, strict=True):
                    found[name].append(value)
        return data_frame(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON: format ``bauklens.evaluation``, version 1."""
        parts = {each.name: _plain(getattr(self, each.name)) for each in fields(self)}
        scores = {"pass": plain(self.passed), "mean": plain(self.mean), "intervals": plain(self.intervals)}
        return {"format": FORMAT, "version": VERSION} | parts | scores

    def to_json(self) -> str:
        """One line of JSON."""
        return as_json(self.to_dict())

    @staticmethod
    def from_dict(data: Any) -> "Evaluation":
        """Reads what :meth:`to_dict` wrote; the shares are computed again from the ranks.

        Raises:
            LensError: the format or version is another one, or a part is missing or damaged.
        """
        return _from_dict(data)

    def save(self, path: str | Path) -> None:
        """Writes a ``.json`` file; an old file is replaced only when the new one is complete."""
        path = path_of(path)
        require(path.suffix == ".json", f"an evaluation is saved as a .json file; got {path.name!r}")
        write_atomically(path, self.to_json().encode("utf-8", "backslashreplace"))

    @staticmethod
    def load(path: str | Path, *, largest: int = LARGEST_FILE) -> "Evaluation":
        """Reads a file that :meth:`save` wrote.

        Args:
            largest: the most bytes that it may have.

        Raises:
            LensError: it cannot be read, or is not an evaluation.
        """
        path = path_of(path)
        try:
            return _from_dict(parse_json(read_bytes(path, largest)))
        except LensError as error:
            raise LensError(f"cannot read {path}: {error}") from None

    def plot(self) -> "Figure":
        """A matplotlib figure: pass@k against k, one panel per set and one for their mean, one line per decoder.

        Bars at the ks are the 95 % intervals.

        Raises:
            LensError: matplotlib is not installed.
        """
        return curves(self)

    def to_html(self, path: str | Path | None = None, *, title: str | None = None) -> str:
        """One self-contained page with the shares, then every item; also written to a file if a path is given."""
        rankings = [pass_ranking(self), *(set_ranking(self, each) for each in self.sets)]
        html = ranking_page(title or f"Intermediate concepts in {self.model}", rankings)
        if path is not None:
            write_atomically(path, html.encode("utf-8", "replace"))
        return html

    def _repr_html_(self) -> str:
        return ranking_fragment(**pass_ranking(self))

    def _words(self) -> Iterator[tuple[EvaluatedSet, int, EvaluatedItem, EvaluatedWord]]:
        for several in self.sets:
            for place, item in enumerate(several.items, 1):
                for word in item.words:
                    yield several, place, item, word

    def _item_shares(self, ks: Any) -> list[np.ndarray]:
        """For each set, (decoder, item, k): the share of each scored item's words whose rank is at most k."""
        return [
            np.stack(
                [
                    item_shares([[word.best_rank[number] for word in item.scored] for item in each.scored], ks)
                    for number in range(len(self.decoders))
                ]
            )
            for each in self.sets
        ]

    def _shares(self, ks: Any) -> np.ndarray:
        """(set, decoder, k)."""
        none = np.full((len(self.decoders), len(ks)), np.nan)
        return np.stack([each.mean(axis=1) if each.shape[1] else none for each in self._item_shares(ks)])


Evaluation.__module__ = "bauklens"  # so that pickles load wherever the class is defined

_COUNTS = ("items", "scored_items", "words", "left_out_words")

_ITEM_COLUMNS = (
    *("set", "item", "name", "prompt", "target", "rule", "position", "token", "word", "by", "tokens", "decoder"),
    *("best_rank", "best_layer", "best_token"),
)


def _counts(several: EvaluatedSet) -> tuple[int, ...]:
    """The numbers of items, of items with a rank, of words, and of words that are left out."""
    words = sum(len(item.words) for item in several.items)
    return len(several.items), len(several.scored), words, len(several.left_out)


def _listed(labels: tuple[str, ...]) -> str:
    return f"{', '.join(labels)}" if len(labels) <= 12 else f"{labels[0]}, {labels[1]}, .. {labels[-1]}"


def _plain(value: Any) -> Any:
    """Data classes as mappings, nested in tuples."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, (EvaluatedSet, EvaluatedItem, EvaluatedWord)):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return plain(value)


def _from_dict(data: Any) -> Evaluation:
    from bauklens.show.evaluation_file import evaluation_of

    return evaluation_of(data)

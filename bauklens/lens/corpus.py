"""summarize(): the averages of many prompts or lenses, in memory that does not grow with their number."""

from collections.abc import Iterable, Iterator
from itertools import islice
from types import MappingProxyType
from typing import Any

import numpy as np

from bauklens.arguments import checked_count
from bauklens.decoders.chosen import chosen_decoders, is_several
from bauklens.errors import LensError, PromptError
from bauklens.model.together import together
from bauklens.result.measures import MASS, MEASURES
from bauklens.result.result import LensResult
from bauklens.show.summary import ACCURACY, Summary

_AT_ONCE = 16
"""How many prompts are run before their lenses are added up and dropped."""


@together
def summarize(
    items: Iterable[Any], model: Any = None, tokenizer: Any = None, *, skip_first: int = 1, **options: Any
) -> Summary | list[Summary]:
    """Averages lenses as they come and keeps none of them, so memory does not grow with their number.

    Means and spreads are computed as by Welford (1962), and combined as by Chan, Golub and LeVeque (1979).

    Args:
        items: lenses with the same model, stream, decoder and layers; or prompts, if a model is given. May be an
            iterator.
        model: the model to run prompts through.
        tokenizer: its tokenizer.
        skip_first: how many positions at the beginning of each prompt are left out of the averages. The first one, at
            which a model has seen nothing yet, often has a state tens of times as long as all others.
        options: as for :func:`bauklens.logit_lens`; ``on_error="skip"`` skips prompts that fail.

    Returns:
        The averages; for a list of decoders, a list of them.

    Raises:
        LensError: there are no items; lenses do not match; there is a prompt but no model; and as for ``logit_lens``.
    """
    if isinstance(items, (str, LensResult)):
        items = [items]
    checked_count("skip_first", skip_first, least=0)
    several = is_several(options.get("decoder"))
    if options.get("decoder") is not None:
        options = options | {"decoder": chosen_decoders(options["decoder"])}  # read once, not for each few prompts
    totals: list[_Running] = []
    for lenses in _lenses(iter(items), model, tokenizer, options):
        totals = totals or [_Running(lens, skip_first) for lens in lenses]
        for total, lens in zip(totals, lenses, strict=True):
            total.add(lens)
    if not totals:
        raise LensError("there is nothing to summarize: pass at least one lens or prompt")
    summaries = [total.summary() for total in totals]
    return summaries if several else summaries[0]


def _lenses(items: Iterator[Any], model: Any, tokenizer: Any, options: dict[str, Any]) -> Iterator[list[LensResult]]:
    """The lenses of each item, one through each decoder."""
    if not isinstance(options.get("stream", ""), str):
        raise LensError("summarize() takes one stream: pass its name")
    done = 0
    while some := list(islice(items, _AT_ONCE)):
        if all(isinstance(each, LensResult) for each in some):
            yield from ([each] for each in some)
            continue
        if model is None:
            raise LensError("prompts need a model: summarize(prompts, model, tokenizer)")
        from bauklens.lens.lens import logit_lens

        if not all(isinstance(each, (str, list, tuple)) or getattr(each, "ndim", 0) for each in some):
            raise LensError(
                f"summarize() takes prompts, each a text or a list of token ids; got {some[0]!r:.80} among them"
            )
        try:
            found = logit_lens(model, tokenizer, some, **{"track": 0, **options})
        except PromptError as error:
            raise PromptError(done + error.number, error.reason) from None
        assert isinstance(found, list)
        done += len(some)
        for each in found:
            if each is not None:
                yield each if isinstance(each, list) else [each]


class _Running:
    """Statistics of every measure and row, added up one lens at a time.

    Args:
        first: one of the lenses.
        skip: positions at the beginning of each prompt that are left out.
    """

    def __init__(self, first: LensResult, skip: int) -> None:
        self._skip = skip
        self._of = (first.model, first.stream, first.layers, first.decoder, first.unmapped)
        self._lenses = self._tokens = 0
        self._sums: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def add(self, lens: LensResult) -> None:
        """Adds the cells of a lens; NaN and infinity are left out."""
        if (lens.model, lens.stream, lens.layers, lens.decoder, lens.unmapped) != self._of:
            model, stream, layers, decoder, _ = self._of
            raise LensError(
                f"all lenses must have the same model, stream, decoder and layers; got {lens!r} after one of {model}: "
                f"{stream}, {decoder}, {len(layers)} layers"
            )
        counts = lens.positions >= self._skip
        self._lenses, self._tokens = self._lenses + 1, self._tokens + int(counts.sum())
        for name, values in {**lens.measures, ACCURACY: _accuracy(lens)}.items():
            known = np.isfinite(values) & counts
            wide = np.where(known, values, 0).astype(np.float64)
            count = known.sum(axis=1)
            mean = wide.sum(axis=1) / np.maximum(count, 1)
            squares = (np.where(known, wide - mean[:, None], 0) ** 2).sum(axis=1)
            nothing = (np.zeros_like(count), np.zeros_like(mean), np.zeros_like(mean))
            self._sums[name] = _joined(self._sums.get(name, nothing), (count, mean, squares))

    def summary(self) -> Summary:
        """The averages; NaN where no cell has a value.

        Raises:
            LensError: every position was left out.
        """
        if not self._tokens:
            raise LensError(f"every position is among the first {self._skip:,}, which are left out: pass skip_first=0")
        count, mean, spread = {}, {}, {}
        masses = [each for each in self._sums if each.startswith(MASS)]
        for name in [each for each in (ACCURACY, *MEASURES, *masses) if each in self._sums]:
            count[name], means, squares = self._sums[name]
            some = count[name] > 0
            mean[name] = np.where(some, means, np.nan)
            spread[name] = np.where(some, np.sqrt(squares / np.maximum(count[name], 1)), np.nan)
        statistics = (MappingProxyType(mean), MappingProxyType(spread), MappingProxyType(count))
        model, stream, layers, decoder, unmapped = self._of
        return Summary(model, stream, layers, self._lenses, self._tokens, *statistics, decoder, unmapped, self._skip)


def _joined(
    one: tuple[np.ndarray, np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean and sum of squared differences of two sets of cells, taken together."""
    count = one[0] + other[0]
    share = other[0] / np.maximum(count, 1)
    apart = other[1] - one[1]
    return count, one[1] + apart * share, one[2] + other[2] + apart**2 * one[0] * share


def _accuracy(lens: LensResult) -> np.ndarray:
    """(layer, position): whether the top token is the next one in the text; NaN where that is not known."""
    follows = np.append(lens.positions[1:] == lens.positions[:-1] + 1, False)
    following = np.append(lens.token_ids[1:], -1)
    return np.where(follows, lens.top_ids[..., 0] == following, np.nan)

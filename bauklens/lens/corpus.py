"""summarize(): the averages of many prompts or lenses, in memory that does not grow with their number."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from bauklens.arguments import checked_count
from bauklens.decoders.chosen import chosen_decoders, is_several
from bauklens.errors import LensError, PromptError
from bauklens.model.together import together
from bauklens.result.result import LensResult
from bauklens.show.running import Running
from bauklens.show.summary import Summary

_AT_ONCE = 64
"""How many prompts are read before their lenses are added up and dropped."""


@together
def summarize(
    items: Iterable[Any], model: Any = None, tokenizer: Any = None, *, skip_first: int = 1, **options: Any
) -> Summary | list[Summary]:
    """Averages lenses as they come and keeps none of them, so memory does not grow with their number.

    Means and spreads are computed as by Welford (1962), and combined as by Chan, Golub and LeVeque (1979). Quantiles
    are those of a DDSketch (Masson, Rim and Lee, 2019), within 1 % of the value. :meth:`bauklens.Summary.merge` joins
    the summaries of parts of a corpus.

    Args:
        items: lenses with the same model, stream, decoder and layers; or prompts, if a model is given. May be an
            iterator.
        model: the model to run prompts through.
        tokenizer: its tokenizer.
        skip_first: how many positions at the beginning of each prompt are left out of the averages. The first one, at
            which a model has seen nothing yet, often has a state tens of times longer than all others.
        options: as for :func:`bauklens.logit_lens`; ``on_error="skip"`` skips prompts that fail.

    Returns:
        The averages; for a list of decoders, a list of them.

    Raises:
        LensError: ``items`` is empty; lenses do not match; there is a prompt but no model; and as for ``logit_lens``.
    """
    if isinstance(items, (str, LensResult)):
        items = [items]
    checked_count("skip_first", skip_first, least=0)
    several = is_several(options.get("decoder"))
    if options.get("decoder") is not None:
        options = options | {"decoder": chosen_decoders(options["decoder"])}  # read once, not for each few prompts
    totals: list[Running] = []
    for lenses in _lenses(iter(items), model, tokenizer, options):
        totals = totals or [Running.like(lens, skip_first) for lens in lenses]
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

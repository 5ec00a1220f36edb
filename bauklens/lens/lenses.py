"""lenses(): the lenses of many prompts, one after another, in memory that does not grow with their number."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from torch import nn

from bauklens.decoders.chosen import chosen_decoders, is_several
from bauklens.errors import LensError, PromptError
from bauklens.lens.options import Options
from bauklens.lens.prompts import lenses_of_prompts
from bauklens.model.encoding import Prompt
from bauklens.model.in_hand import in_hand
from bauklens.model.together import on_all_ranks
from bauklens.result.result import LensResult

AT_ONCE = 64
"""How many prompts are read before the first results are returned; those of about the same length run together."""


@on_all_ranks
def lenses(
    prompts: Iterable[Prompt], model: nn.Module, tokenizer: Any = None, **options: Any
) -> Iterator[LensResult | list[LensResult] | None]:
    """Yields the lens of every prompt, in order, each computed only when it is needed.

    Prompts of about the same length run together and are decoded together, 64 prompts at a time, so that many short
    ones take about as long as one long one, and memory does not grow with their number.

    Args:
        prompts: texts or lists of token ids; may be an endless iterator.
        model: the model to run them through.
        tokenizer: its tokenizer; None if all prompts are ids.
        options: as for :func:`bauklens.logit_lens`; ``track`` is 0 unless it is given, because tracked tokens are
            chosen for each prompt separately, which takes longer.

    Yields:
        The lens of each prompt, or a list of lenses for a list of streams or decoders; None for a prompt that fails,
        with ``on_error="skip"``.

    Raises:
        LensError: as for ``logit_lens``; ``"prompt 3: ..."``, counted from 1, for one that fails.
    """
    asked = Options.of({"track": 0, **options}, "lenses")
    one = isinstance(asked.stream, str) and not is_several(asked.decoder)
    if isinstance(prompts, str):
        prompts = [prompts]

    def each() -> Iterator[LensResult | list[LensResult] | None]:
        for number, found in enumerate(each_of(prompts, model, tokenizer, asked), 1):
            if not isinstance(found, LensError):
                yield found[0] if one else found
            elif asked.on_error == "raise":
                raise PromptError(number, found)
            else:
                yield None

    return each()


def each_of(
    prompts: Iterable[Prompt], model: nn.Module, tokenizer: Any, options: Options, at_once: int = AT_ONCE
) -> Iterator[list[LensResult] | LensError]:
    """The results of every prompt, in order, one for each stream and decoder; or the error that it raised.

    Args:
        at_once: how many prompts are read before the first results are returned.

    Raises:
        LensError: the options do not fit the model.
    """
    model, tokenizer = in_hand(model, tokenizer)
    decoders = chosen_decoders(options.decoder)
    rest = iter(prompts)
    while some := list(islice(rest, at_once)):
        errors: dict[int, LensError] = {}
        found = lenses_of_prompts(model, tokenizer, some, options, decoders, refuse=errors.__setitem__)
        for number, each in enumerate(found):
            yield errors[number] if each is None else each

"""Prompts -> the results of each; prompts that can run and be decoded together are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from bauklens.decode.decoder import Decoder
from bauklens.errors import LensError
from bauklens.lens.how import How
from bauklens.lens.options import Options
from bauklens.lens.plan import Plan, planned
from bauklens.lens.prompted import Prompted, prompted
from bauklens.lens.whole_words import with_whole_words
from bauklens.model.encoding import Prompt
from bauklens.model.ranks import ranks_of
from bauklens.progress import bar
from bauklens.result.result import LensResult
from bauklens.stream.batches import Traced, traced_together
from bauklens.stream.run import Run


def lenses_of_prompts(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    options: Options,
    decoders: Sequence[Decoder],
    *,
    refuse: Callable[[int, LensError], None],
    processor: Any = None,
) -> list[list[LensResult] | None]:
    """The results of every prompt, in order, one for each stream and decoder.

    Args:
        refuse: called with the number of a prompt that failed, from 0, and the error; if it returns, None takes the
            place of the results.
        processor: what makes inputs of images and sounds.
    """
    ranks = ranks_of(model)
    if ranks is not None:
        ranks.require_alike("the model", {"number of prompts": str(len(prompts))})
    lenses: list[list[LensResult] | None] = [None] * len(prompts)
    inputs: dict[int, Prompted] = {}
    plans: dict[tuple[str, ...], Plan] = {}  # other modules may run for other kinds of inputs

    for number, prompt in enumerate(prompts):
        try:
            found = prompted(model, tokenizer, prompt, options, processor)
        except LensError as error:
            refuse(number, error)
            continue
        kind = found.inputs.kind
        if kind not in plans or not plans[kind].anatomy.is_proved_on(found.inputs.count):
            plans[kind] = planned(model, tokenizer, found.inputs, options, decoders)
        try:
            plans[kind].require_positions(found.inputs)
            inputs[number] = found
        except LensError as error:
            refuse(number, error)

    def results(traced: Traced, plan: Plan) -> None:
        """Puts the results of prompts that ran together in their places."""
        runs = {
            number: plan.run(model, tokenizer, prompts[number], inputs[number], stream)
            for number, stream in zip(traced.numbers, traced.streams, strict=True)
            if not isinstance(stream, LensError)
        }
        joined = _together(plan, traced, list(runs.values()))
        for place, number in enumerate(traced.numbers):
            try:
                stream = traced.streams[place]
                if isinstance(stream, LensError):
                    raise stream
                run, bound = runs[number], inputs[number].bound
                edits = None if bound is None else bound.acting
                found = plan.results(run, len(prompts), edits) if joined is None else joined[place]
                lenses[number] = [with_whole_words(result, run, plan, how) for result, how in found]
            except LensError as error:
                refuse(number, error)

    with bar("Prompts", "prompt", total=len(prompts)) as prompts_done:
        for plan, traced in _traced(model, plans, inputs):
            results(traced, plan)
            prompts_done.update(len(traced.numbers))
    return lenses


def _together(plan: Plan, traced: Traced, runs: Sequence[Run]) -> list[list[tuple[LensResult, How]]] | None:
    """The results of prompts that ran together, if they can be decoded together; None if each has to be decoded by
    itself.
    """
    if traced.batch is None or traced.batch.whole is None or not plan.decodes_together:
        return None
    together = replace(runs[0], inputs=traced.batch.inputs, stream=traced.batch.whole, together=len(runs))
    try:
        return plan.results_together(together, runs)
    except LensError:  # one of the prompts failed, and raises it when it is decoded by itself
        return None


def _traced(
    model: nn.Module, plans: Mapping[tuple[str, ...], Plan], inputs: Mapping[int, Prompted]
) -> Iterator[tuple[Plan, Traced]]:
    """The prompts, run, those of a kind together, with their numbers and plan."""
    for kind, plan in plans.items():
        numbers = [number for number, each in inputs.items() if each.inputs.kind == kind]
        groups = [[number] for number in numbers] if plan.options.edits is not None else [numbers]
        for group in filter(None, groups):
            prompts, tracing = [inputs[each].inputs for each in group], plan.tracing_of(inputs[group[0]])
            for found in traced_together(model, plan.anatomy, prompts, tracing):
                yield plan, replace(found, numbers=[group[place] for place in found.numbers])

"""compare_models(): how far apart two models are at every layer and position of a prompt."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from typing_extensions import Unpack

from bauklens.decode.decoder import Decoder
from bauklens.decode.reading import Reading, Reference
from bauklens.decode.rows import Way, unembedding
from bauklens.decode.tiles import Some, in_tiles
from bauklens.decode.unembed import Rows, Unembed
from bauklens.decoders.chosen import chosen_decoders, is_several
from bauklens.errors import LensError
from bauklens.lens.options import ComparedOptions, Options
from bauklens.lens.plan import Plan, planned
from bauklens.lens.prompted import prompted
from bauklens.lens.whole_words import with_whole_words
from bauklens.model.encoding import Prompt
from bauklens.model.guard import locked
from bauklens.model.in_hand import in_hand
from bauklens.model.together import together
from bauklens.progress import bar
from bauklens.result.comparison import Comparison, compare
from bauklens.stream.run import Run
from bauklens.stream.states import trace_stream

_LOGIT_BYTES = 64 << 20
"""Size of one tile's logits of each of the two models, in float32."""

_APART = ("kl", "js")


@together
def compare_models(
    model: nn.Module, other: nn.Module, tokenizer: Any, prompt: Prompt, **options: Unpack[ComparedOptions]
) -> Comparison:
    """Compares the lenses of one prompt in two models with the same tokenizer, such as a base and a fine-tuned model.

    Args:
        model: a causal language model.
        other: another one with the same layers and vocabulary.
        tokenizer: the tokenizer of both.
        prompt: one prompt, a string or token ids. Nothing is generated, because each model would continue in its own
            way: pass the finished text.
        **options: as for :func:`bauklens.logit_lens`, for one stream.

    Returns:
        Both lenses, and for each cell KL(model || other) and their Jensen-Shannon divergence, in nats.

    Raises:
        LensError: the models share modules, or their layers or vocabularies do not match; and as for ``logit_lens``.
    """
    asked = Options.of(options, "compare_models", prompts=False)
    if len(asked.streams) > 1:
        raise LensError("compare_models() takes one stream: pass its name")
    if is_several(asked.decoder):
        raise LensError("compare_models() takes one decoder: pass it, not a list")
    decoders = chosen_decoders(asked.decoder)
    (model, tokenizer), (other, _) = in_hand(model, tokenizer), in_hand(other, None)
    models = model, other
    if {id(module) for module in models[0].modules()} & {id(module) for module in models[1].modules()}:
        raise LensError("the two models share modules: load each one separately")
    with locked(*models):  # both at once: otherwise two threads could each hold one and wait for the other
        (one, here), (two, there) = (_run(each, tokenizer, prompt, asked, decoders) for each in models)
        pairs = ((one, here), (two, there))
        lenses = [with_whole_words(plan.results(run)[0][0], run, plan, plan.hows[0]) for run, plan in pairs]
        if one.anatomy.vocabulary != two.anatomy.vocabulary:
            sizes = [f"{run.anatomy.vocabulary:,}" for run in (one, two)]
            raise LensError(f"the vocabularies do not match: {sizes[0]} and {sizes[1]} tokens")
        found = compare(*lenses)
        rows = [plan.rows(run, asked.streams[0], plan.hows[0]) for run, plan in pairs]
        way = here.hows[0].way
        with unembedding(one, rows[0], way) as ours, unembedding(two, rows[1], there.hows[0].way) as theirs:
            measures = _apart(ours, theirs, rows[0], way)
    others = {
        name: value for name, value in found.measures.items() if name != "js_bound"
    }  # the divergence itself is known
    return replace(found, measures={**others, **measures})


def _run(
    model: nn.Module, tokenizer: Any, prompt: Prompt, options: Options, decoders: list[Decoder]
) -> tuple[Run, Plan]:
    given = prompted(model, tokenizer, prompt, options)
    plan = planned(model, tokenizer, given.inputs, options, decoders)
    plan.require_positions(given.inputs)
    tracing = replace(plan.tracing, keep_states=True)  # both tables are read again together
    stream = trace_stream(model, plan.anatomy, given.inputs, tracing)
    return plan.run(model, tokenizer, prompt, given, stream), plan


def _apart(one: Unembed, other: Unembed, rows: Rows, way: Way) -> dict[str, np.ndarray]:
    """``"kl"`` and ``"js"``, (layer, position), a tile of rows of both at a time."""
    everything = rows.everything
    constants = [each.constant_logits() if way.norm == "final" else None for each in (one, other)]  # as in each lens
    found = {name: torch.empty(everything.count, dtype=torch.float32, device="cpu") for name in _APART}
    whole = one.anatomy.whole or other.anatomy.whole
    smallest = len(rows.positions) if whole else 1
    limit = smallest if whole else way.chunk_rows or max(1, _LOGIT_BYTES // (4 * one.anatomy.vocabulary))

    def read(tile: Some) -> dict[str, torch.Tensor]:
        ours, theirs = (
            each.logits(tile) if constant is None else each.logits(tile) - constant
            for each, constant in zip((one, other), constants, strict=True)
        )
        theirs, reference = theirs.to(ours.device), Reference.elementwise(ours)
        values = Reading(1, _APART, reference=reference).of(theirs, torch.arange(len(ours), device="cpu"))
        assert reference.probabilities is not None
        left_out = (theirs.isneginf() & (reference.probabilities > 0)).any(
            dim=-1
        )  # a token that the other lens cannot give
        return values | {"kl": values["kl"].masked_fill(left_out, torch.inf)}

    with bar("Comparing", "row", total=everything.count) as rows_done:
        for tile, values in in_tiles([everything], read, limit=limit, smallest=smallest):
            for name in _APART:
                found[name][one.numbers(tile)] = values[name].cpu()
            rows_done.update(tile.count)
    return {name: value.view(len(rows.labels), -1).numpy() for name, value in found.items()}

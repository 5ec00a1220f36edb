"""compare_models(): how far apart two models are at every layer and position of a prompt."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from bauklens.decode.measure import in_cache, js_divergence, kl_divergence
from bauklens.decode.unembed import Tile, Unembed
from bauklens.errors import LensError
from bauklens.lens.options import Plan, Request, rows_of
from bauklens.lens.run import Rows, Run
from bauklens.lens.whole_words import with_whole_words
from bauklens.model.inputs import Prompt
from bauklens.model.tail import replaying
from bauklens.model.unwrap import unwrapped
from bauklens.progress import bar
from bauklens.result.comparison import Comparison, compare
from bauklens.stream.states import trace_stream

_LOGIT_BYTES = 64 << 20
"""Size of one tile's logits of each of the two models, in float32."""

_DEFAULTS: Mapping[str, Any] = {
    "stream": "hidden",
    "topk": 5,
    "layers": None,
    "positions": None,
    "norm": "own",
    "precision": "auto",
    "chunk_rows": None,
    "edit_output": None,
    "blocks": None,
    "head": None,
    "measures": None,
    "targets": None,
    "words": "whole",
}


def compare_models(model: nn.Module, other: nn.Module, tokenizer: Any, prompt: Prompt, **options: Any) -> Comparison:
    """The lenses of a prompt in two models with one tokenizer, a base model and a fine-tuned one, say.

    Args:
        model: a causal language model.
        other: another one with the same layers and vocabulary.
        tokenizer: that of both.
        prompt: one prompt, a string or token ids. Nothing is generated, as each model would go on by itself: pass the
            finished text.
        options: as for :func:`bauklens.logit_lens`, of one stream.

    Returns:
        Both lenses, and for each cell KL(model || other) and their Jensen-Shannon divergence, in nats.

    Raises:
        LensError: the models share modules, or their layers or vocabularies do not match; and as ``logit_lens``.
    """
    unknown = next((name for name in options if name not in _DEFAULTS), None)
    if unknown is not None:
        raise TypeError(f"compare_models() got an unexpected keyword argument {unknown!r}")
    request = Request(**{**_DEFAULTS, **options}, max_new_tokens=0, seed=None, generate_options={})
    if len(request.streams) > 1:
        raise LensError("two models are compared in one stream: pass its name")
    (name,) = request.streams
    models = unwrapped(model), unwrapped(other)
    if {id(module) for module in models[0].modules()} & {id(module) for module in models[1].modules()}:
        raise LensError("the two models share modules: load each by itself")
    runs, lenses, plans = [], [], []
    for each in models:
        token_ids, prompted = request.ids(each, tokenizer, prompt)
        plans.append(request.plan(each, tokenizer, token_ids))
        plans[-1].require_positions(token_ids)
        stream = trace_stream(each, plans[-1].anatomy, token_ids, **plans[-1].tracing)
        runs.append(Run(each, tokenizer, prompt, token_ids, plans[-1].anatomy, stream, prompted))
        lenses.append(with_whole_words(plans[-1].results(runs[-1])[0], runs[-1], plans[-1]))
    if runs[0].anatomy.vocabulary != runs[1].anatomy.vocabulary:
        sizes = [f"{ran.anatomy.vocabulary:,}" for ran in runs]
        raise LensError(f"the vocabularies do not match: {sizes[0]} and {sizes[1]} tokens")
    found = compare(*lenses)
    rows = [rows_of(ran, name, request.layers, request.positions) for ran in runs]
    with _unembedding(runs[0], rows[0], plans[0]) as here, _unembedding(runs[1], rows[1], plans[1]) as there:
        return replace(
            found, measures={**found.measures, **_apart(here, there, rows[0], request.norm, request.chunk_rows)}
        )


@contextmanager
def _unembedding(ran: Run, rows: Rows, plan: Plan) -> Iterator[Unembed]:
    anatomy = ran.anatomy
    to_head, norm = anatomy.post_ops is not None, plan.how.norm
    with replaying(ran.model, anatomy, norm, ran.final, through=anatomy.norm, to_head=to_head) as tail:
        yield Unembed(tail, anatomy, rows.states, ran.token_ids[0], torch.tensor(rows.positions))


def _apart(one: Unembed, other: Unembed, rows: Rows, norm: str | None, chunk_rows: int | None) -> dict[str, np.ndarray]:
    """``"kl"`` and ``"js"``, (layer, position), a tile of rows of both at a time."""
    grid = (len(rows.labels), len(rows.positions))
    constants = [each.constant_logits() if norm == "final" else None for each in (one, other)]  # as in each lens
    found = {name: torch.empty(grid[0] * grid[1]) for name in ("kl", "js")}
    whole = one.anatomy.whole or other.anatomy.whole
    limit = grid[1] if whole else chunk_rows or max(1, _LOGIT_BYTES // (4 * one.anatomy.vocabulary))
    pending = [Tile(range(grid[0]), range(grid[1]))]
    with bar("Comparing", "row", total=grid[0] * grid[1]) as rows_done:
        while pending:
            tile = pending.pop()
            if tile.count > limit:
                pending += tile.halves()
                continue
            ours, theirs = (
                (each.logits(tile) if constant is None else each.logits(tile) - constant).flatten(0, 1)
                for each, constant in zip((one, other), constants, strict=True)
            )
            numbers = one.rows(tile)
            for some in in_cache(ours):
                pair = ours[some], theirs[some].to(ours.device)
                found["kl"][numbers[some]] = kl_divergence(*pair).cpu().float()
                found["js"][numbers[some]] = js_divergence(*pair).cpu().float()
            rows_done.update(tile.count)
    return {name: value.view(grid).numpy() for name, value in found.items()}

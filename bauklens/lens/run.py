"""Rows of a run, decoded to a result, with the check."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from bauklens.decode.measure import cosine, magnitude, whole_magnitude
from bauklens.decode.reading import Reading, Values
from bauklens.decode.rows import Decoded, Way, decode
from bauklens.decode.unembed import Rows
from bauklens.model.anatomy import forget, resolve
from bauklens.model.inputs import Prompt, encode
from bauklens.model.proof import NotProvedError, prove
from bauklens.model.provenance import model_name, provenance
from bauklens.model.unwrap import unwrapped
from bauklens.result.result import LensResult
from bauklens.result.targets import Target, Wanted
from bauklens.result.tokens import token_texts
from bauklens.stream.run import Run
from bauklens.stream.states import trace_stream

_OF_TARGETS = ("probs", "logits", "ranks")


@dataclass(frozen=True)
class How:
    """How rows are decoded, and what is read off them; see :func:`bauklens.logit_lens`."""

    topk: int
    way: Way = field(default_factory=Way)
    measures: tuple[str, ...] = ()
    targets: tuple[Wanted, ...] = ()


def run(model: nn.Module, tokenizer: Any, prompt: Prompt) -> Run:
    """Runs a prompt through a model and keeps its residual stream; raises as :func:`bauklens.logit_lens` does."""
    model = unwrapped(model)
    inputs = encode(model, tokenizer, prompt)
    anatomy = resolve(model, inputs)
    stream = trace_stream(model, anatomy, inputs)
    return Run(model, tokenizer, prompt, inputs, anatomy, stream, inputs.count)


def lens_of(run: Run, rows: Rows, how: How, *, arguments: dict[str, Any]) -> LensResult:
    """Decodes rows of a run to a result; raises as :func:`bauklens.logit_lens` does.

    If the fast way fails, as the model no longer does what it did when it was looked at, it is replayed, and looked at
    anew the next time; if that fails as well, and the last row is right when it is decoded alone, so is each row (a
    dynamically quantized head rounds all rows that it is given by the largest).
    """
    by = "product" if run.anatomy.post_ops is not None and not run.anatomy.whole else "replay"
    try:
        return _lens_of(run, rows, how, by, arguments)
    except NotProvedError:
        forget(run.model)
    replayed = replace(run, anatomy=replace(run.anatomy, post_ops=None))
    try:
        return _lens_of(replayed, rows, how, "replay", arguments)
    except NotProvedError:
        check(replayed)
    alone = replace(how, way=replace(how.way, chunk_rows=1))
    return _lens_of(replayed, rows, alone, "replay, row by row", arguments)


def _lens_of(run: Run, rows: Rows, how: How, by: str, arguments: dict[str, Any]) -> LensResult:
    decoded = _decode(run, rows, how)
    last_cell = (rows.labels[-1], rows.positions[-1]) == (run.anatomy.labels[-1], run.inputs.count - 1)
    in_table = rows.stream == "hidden" and how.way.norm == "own" and last_cell
    difference = check(run, decoded.last_logits if in_table else None) if run.stream.last_logits is not None else None
    values = decoded.values | _of_states(run, rows, how)
    token_ids = run.inputs.ids[0, rows.positions].tolist()
    vocabulary = token_texts(run.tokenizer, [*values["top_ids"].flatten().tolist(), *token_ids])
    decoding = {
        "precision": decoded.precision,
        "by": by,
        "rows": values["top_ids"][..., 0].numel(),
        "decoded again": decoded.redone,
    }
    return LensResult(
        model=model_name(run.model),
        prompt=_prompt_text(run),
        stream=rows.stream,
        decoder=how.way.decoder.name,
        norm=run.anatomy.norm or how.way.norm,
        token_ids=np.array(token_ids),
        tokens=tuple(vocabulary[token_id] for token_id in token_ids),
        positions=np.array(rows.positions),
        layers=tuple(rows.labels),
        top_ids=values["top_ids"].numpy(),
        top_probs=values["top_probs"].numpy(),
        magnitude=_magnitude(run, rows).cpu().numpy(),
        vocabulary=vocabulary,
        check={"max_abs_logit_difference": difference},
        provenance=provenance(run.model, rows.states, arguments) | {"decoding": decoding},
        generated_from=run.prompted if run.prompted < run.inputs.count else None,
        measures={name: values[name].numpy() for name in how.measures if name in values},
        targets=[
            Target(*vars(each).values(), *(values[f"target_{name}"][..., place].numpy() for name in _OF_TARGETS))
            for place, each in enumerate(how.targets)
        ],
    )


def decoded_values(run: Run, rows: Rows, how: How) -> Values:
    """What is read off the logits of rows, (layer, position, ...)."""
    return _decode(run, rows, how).values


def check(run: Run, last_logits: torch.Tensor | None = None) -> float:
    """The largest difference between the last block's logits at the last position, decoded here, and the model's own.

    Args:
        run: a run to the logits.
        last_logits: (vocabulary,), the logits of a table that ends with that place; None decodes it alone.

    Raises:
        NotProvedError: the difference is more than rounding, so that no row could be trusted.
    """
    assert run.stream.last_logits is not None
    if last_logits is None:
        state = run.final if run.anatomy.whole else run.final[-1:]
        alone = Rows("hidden", state[None], [run.anatomy.labels[-1]], [run.inputs.count - 1])
        last_logits = _decode(run, alone, How(1, Way(precision="exact"))).last_logits
        assert last_logits is not None
    return prove(run.anatomy, last_logits, run.stream.last_logits, run.final.dtype)


def _decode(run: Run, rows: Rows, how: How) -> Decoded:
    following = torch.cat([run.inputs.ids[0, 1:].cpu(), torch.tensor([-1])])
    following[following >= run.anatomy.vocabulary] = -1  # an input that is never predicted: it has no logit
    targets = [each.token_ids[0] for each in how.targets]
    return decode(run, rows, Reading(how.topk, how.measures, following[rows.positions], targets), how.way)


def _of_states(run: Run, rows: Rows, how: How) -> Values:
    """The measures that are of states alone, (layer, position); of states that are not (position, hidden), none."""
    if not run.anatomy.plain:
        return {}
    states = rows.states[:, rows.positions] if run.anatomy.whole else rows.states
    values = {}  # a layer at a time, as a copy of all states is as large as all else together
    if "cosine_to_final" in how.measures:
        final = run.final[rows.positions]
        values["cosine_to_final"] = torch.stack([cosine(state, final) for state in states])
    if "cosine_to_previous" in how.measures:
        none = torch.full_like(states[0, :, 0], torch.nan, dtype=torch.float32)
        pairs = zip(states[1:], states[:-1], strict=True)
        values["cosine_to_previous"] = torch.stack([none, *(cosine(state, before) for state, before in pairs)])
    return {name: value.cpu() for name, value in values.items()}


def _magnitude(run: Run, rows: Rows) -> torch.Tensor:
    """(layer, position) float32."""
    if run.anatomy.plain:
        norms = magnitude(rows.states)
        return norms[:, rows.positions] if run.anatomy.whole else norms
    count = run.inputs.count
    return whole_magnitude(rows.states, run.anatomy.position_axis, count, run.anatomy.streams)[:, rows.positions]


def _prompt_text(run: Run) -> str:
    if isinstance(run.prompt, str):
        return run.prompt
    return run.tokenizer.decode(run.inputs.ids[0, : run.prompted].tolist()) if run.tokenizer is not None else ""

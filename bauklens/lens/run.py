"""One run of a prompt through a model, and its rows decoded to a result, with the check."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from bauklens.decode.measure import cosine, magnitude, whole_magnitude
from bauklens.decode.readout import Reading, Values
from bauklens.decode.rows import Decoded, decode
from bauklens.model.anatomy import Anatomy, forget, resolve
from bauklens.model.inputs import Prompt, encode
from bauklens.model.proof import NotProvedError, prove
from bauklens.model.provenance import model_name, provenance
from bauklens.model.unwrap import unwrapped
from bauklens.result.result import LensResult
from bauklens.result.targets import Target, Wanted
from bauklens.result.tokens import token_texts
from bauklens.stream.states import Stream, trace_stream

_OF_TARGETS = ("probs", "logits", "ranks")


@dataclass(frozen=True)
class Run:
    """One prompt, run once through one model."""

    model: nn.Module
    tokenizer: Any
    prompt: Prompt
    token_ids: torch.Tensor  # (1, position)
    anatomy: Anatomy
    stream: Stream
    prompted: int  # positions of the prompt; what follows was generated

    @property
    def final(self) -> torch.Tensor:
        """(position, hidden), or whole in its own shape: the output of the last block that ran."""
        return self.stream.states[-1]


@dataclass(frozen=True)
class Rows:
    """What is to be decoded: states (layer, position, hidden) or whole (layer, ...), and what they are called."""

    name: str
    states: torch.Tensor
    labels: list[str]
    positions: list[int]


@dataclass(frozen=True)
class How:
    """How rows are decoded, and what is read off them; see :func:`logit_lens`."""

    topk: int
    norm: str | None = "own"
    precision: str = "auto"
    chunk_rows: int | None = None
    measures: tuple[str, ...] = ()
    targets: tuple[Wanted, ...] = ()


def run(model: nn.Module, tokenizer: Any, prompt: Prompt) -> Run:
    """Runs a prompt through a model and keeps its residual stream; raises as :func:`logit_lens` does."""
    model = unwrapped(model)
    token_ids = encode(model, tokenizer, prompt)
    anatomy = resolve(model, token_ids)
    stream = trace_stream(model, anatomy, token_ids)
    return Run(model, tokenizer, prompt, token_ids, anatomy, stream, token_ids.shape[1])


def lens_of(ran: Run, rows: Rows, how: How, *, arguments: dict[str, Any]) -> LensResult:
    """Decodes rows of a run to a result; raises as :func:`logit_lens` does.

    Where the fast way fails, as the model no longer does what it did when it was looked at, it is replayed, and looked
    at anew the next time; where that fails as well, and the last row is right when it is decoded alone, so is each row
    (a dynamically quantized head rounds all rows that it is given by the largest).
    """
    try:
        return _lens_of(ran, rows, how, arguments)
    except NotProvedError:
        forget(ran.model)
    replayed = replace(ran, anatomy=replace(ran.anatomy, post_ops=None))
    try:
        return _lens_of(replayed, rows, how, arguments)
    except NotProvedError:
        check(replayed)
    return _lens_of(replayed, rows, replace(how, chunk_rows=1), arguments)


def _lens_of(ran: Run, rows: Rows, how: How, arguments: dict[str, Any]) -> LensResult:
    last, is_own = ran.anatomy.labels[-1], rows.name == "hidden" and how.norm == "own"
    own_row = rows.labels.index(last) if is_own and last in rows.labels else None
    decoded = _decode(ran, rows.states, rows.positions, how, rows.labels, own_row)
    last_cell = (rows.labels[-1], rows.positions[-1]) == (ran.anatomy.labels[-1], ran.token_ids.shape[1] - 1)
    in_table = is_own and last_cell
    difference = check(ran, decoded.last_logits if in_table else None) if ran.stream.last_logits is not None else None
    values = decoded.values | _of_states(ran, rows, how)
    token_ids = ran.token_ids[0, rows.positions].tolist()
    vocabulary = token_texts(ran.tokenizer, [*values["top_ids"].flatten().tolist(), *token_ids])
    decoding = {
        "precision": decoded.precision,
        "rows": values["top_ids"][..., 0].numel(),
        "decoded again": decoded.redone,
    }
    return LensResult(
        model=model_name(ran.model),
        prompt=_prompt_text(ran),
        stream=rows.name,
        decoder="logit",
        norm=ran.anatomy.norm or how.norm,
        token_ids=np.array(token_ids),
        tokens=tuple(vocabulary[token_id] for token_id in token_ids),
        positions=np.array(rows.positions),
        layers=tuple(rows.labels),
        top_ids=values["top_ids"].numpy(),
        top_probs=values["top_probs"].numpy(),
        magnitude=_magnitude(ran, rows).cpu().numpy(),
        vocabulary=vocabulary,
        check={"max_abs_logit_difference": difference},
        provenance=provenance(ran.model, rows.states, arguments) | {"decoding": decoding},
        generated_from=ran.prompted if ran.prompted < ran.token_ids.shape[1] else None,
        measures={name: values[name].numpy() for name in how.measures if name in values},
        targets=[
            Target(*vars(each).values(), *(values[f"target_{name}"][..., place].numpy() for name in _OF_TARGETS))
            for place, each in enumerate(how.targets)
        ],
    )


def decoded_values(ran: Run, rows: Rows, how: How) -> Values:
    """What is read off the logits of rows, (layer, position, ...)."""
    return _decode(ran, rows.states, rows.positions, how, rows.labels).values


def check(ran: Run, last_logits: torch.Tensor | None = None) -> float:
    """The largest difference between the last block's logits at the last position, decoded here, and the model's own.

    Args:
        ran: a run to the logits.
        last_logits: (vocabulary,), the logits of a table that ends with that place; None decodes it alone.

    Raises:
        NotProvedError: the difference is more than rounding, so that no row could be trusted.
    """
    assert ran.stream.last_logits is not None
    if last_logits is None:
        state = ran.final if ran.anatomy.whole else ran.final[-1:]
        last_logits = _decode(ran, state[None], [ran.token_ids.shape[1] - 1], How(topk=1)).last_logits
    return prove(ran.anatomy, last_logits, ran.stream.last_logits, ran.final.dtype)


def _decode(
    ran: Run,
    states: torch.Tensor,
    positions: list[int],
    how: How,
    labels: Sequence[str] | None = None,
    own_row: int | None = None,
) -> Decoded:
    following = torch.cat([ran.token_ids[0, 1:].cpu(), torch.tensor([-1])])
    following[following >= ran.anatomy.vocabulary] = -1  # an input that is never predicted: it has no logit
    return decode(
        ran.model,
        ran.anatomy,
        ran.token_ids,
        states,
        torch.tensor(positions),
        Reading(how.topk, how.measures, following[positions], [each.token_ids[0] for each in how.targets]),
        norm=how.norm,
        final=ran.final,
        precision=how.precision,
        chunk_rows=how.chunk_rows,
        labels=labels,
        own_row=own_row,
    )


def _of_states(ran: Run, rows: Rows, how: How) -> Values:
    """The measures that are of states alone, (layer, position); of states that are not (position, hidden), none."""
    if not ran.anatomy.plain:
        return {}
    states = rows.states[:, rows.positions] if ran.anatomy.whole else rows.states
    values = {}  # a layer at a time, as a copy of all states is as large as all else together
    if "cosine_to_final" in how.measures:
        final = ran.final[rows.positions]
        values["cosine_to_final"] = torch.stack([cosine(state, final) for state in states])
    if "cosine_to_previous" in how.measures:
        none = torch.full_like(states[0, :, 0], torch.nan, dtype=torch.float32)
        pairs = zip(states[1:], states[:-1], strict=True)
        values["cosine_to_previous"] = torch.stack([none, *(cosine(state, before) for state, before in pairs)])
    return {name: value.cpu() for name, value in values.items()}


def _magnitude(ran: Run, rows: Rows) -> torch.Tensor:
    """(layer, position) float32."""
    if ran.anatomy.plain:
        norms = magnitude(rows.states)
        return norms[:, rows.positions] if ran.anatomy.whole else norms
    count = ran.token_ids.shape[1]
    return whole_magnitude(rows.states, ran.anatomy.position_axis, count, ran.anatomy.streams)[:, rows.positions]


def _prompt_text(ran: Run) -> str:
    if isinstance(ran.prompt, str):
        return ran.prompt
    return ran.tokenizer.decode(ran.token_ids[0, : ran.prompted].tolist()) if ran.tokenizer is not None else ""

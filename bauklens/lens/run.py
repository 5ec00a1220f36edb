"""Rows of a run, decoded to a result, with the check."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from bauklens.decode.decoder import LOGIT_LENS, Basis, Decoder
from bauklens.decode.measure import cosine, magnitude, whole_magnitude
from bauklens.decode.reading import Reading, Values
from bauklens.decode.rows import Decoded, Way, decode
from bauklens.decode.tracking import NEAR, Tracking
from bauklens.decode.unembed import Rows
from bauklens.decode.ways import ways
from bauklens.errors import LensError
from bauklens.model.encoding import Prompt, encode
from bauklens.model.in_hand import in_hand
from bauklens.model.logits import DECODER_IDS
from bauklens.model.proof import NotProvedError
from bauklens.model.provenance import model_name, provenance
from bauklens.model.resolving import forget, resolve
from bauklens.result.attended import Attended
from bauklens.result.labels import LabelNames
from bauklens.result.mass import Mass
from bauklens.result.measures import MASS, MEASURES
from bauklens.result.pictures import column_labels
from bauklens.result.result import LensResult
from bauklens.result.targets import SET, Target, Wanted
from bauklens.result.tokens import token_texts
from bauklens.result.tracked import Tracked, most_tracked, tracked_of
from bauklens.row_labels import block_of
from bauklens.stream.run import Run
from bauklens.stream.states import trace_stream
from bauklens.vocabulary import LABELS, SOURCE, TOKENS

_OF_TARGETS = ("probs", "logits", "ranks")


@dataclass(frozen=True)
class How:
    """How rows are decoded, and what is read off them; see :func:`bauklens.logit_lens`.

    Attributes:
        called: what results call the decoder, if another has its name.
        left_out: labels of rows that were asked for, and that the decoder has no map for.
        track: how many tokens to track at most, if the budget of bytes allows it.
        beside: how many results share that budget.
        shared: tokens that are tracked in the results beside this one, too, the most important first.
        mass: sets of tokens whose probability is summed in every cell.
        misfit: what the decoder was made for, in words, if that is another model and the caller uses it all the same.
    """

    topk: int
    way: Way = field(default_factory=Way)
    measures: tuple[str, ...] = ()
    targets: tuple[Wanted, ...] = ()
    missing: str = "skip"
    misfit: str = ""
    called: str = ""
    left_out: tuple[str, ...] = ()
    track: int = 0
    beside: int = 1
    shared: tuple[int, ...] = ()
    mass: tuple[Mass, ...] = ()

    @property
    def decoder(self) -> str:
        """What results call the decoder."""
        return self.called or self.way.decoder.name


def run(model: nn.Module, tokenizer: Any, prompt: Prompt) -> Run:
    """Runs a prompt through a model and keeps its residual stream; raises as :func:`bauklens.logit_lens` does."""
    model, tokenizer = in_hand(model, tokenizer)
    inputs = encode(model, tokenizer, prompt)
    anatomy = resolve(model, inputs)
    stream = trace_stream(model, anatomy, inputs)
    return Run(model, tokenizer, prompt, inputs, anatomy, stream, inputs.count)


def lens_of(
    run: Run, rows: Rows, how: How, *, arguments: dict[str, Any], attended: Attended | None = None
) -> LensResult:
    """Decodes rows of a run to a result; raises as :func:`bauklens.logit_lens` does.

    If what is decoded is not what the model says, as it does otherwise than when it was looked at, the next slower way
    is taken, and the model is looked at anew the next time.
    """
    failed = None
    for by, anatomy in ways(run.anatomy).items():
        try:
            found = _lens_of(replace(run, anatomy=anatomy), rows, how, by, arguments)
            own = None if attended is None else attended.part(rows.labels, range(len(rows.positions)))
            return found if own is None else replace(found, attended=own)
        except NotProvedError as error:
            forget(run.model)
            failed = failed or error
    assert failed is not None
    raise failed


def _lens_of(run: Run, rows: Rows, how: How, by: str, arguments: dict[str, Any]) -> LensResult:
    decoded = _decode(run, rows, how)
    values = decoded.values | _of_states(run, rows, how)
    token_ids = run.inputs.ids[0, rows.positions].tolist()
    predicted = [*values["top_ids"].flatten().tolist(), *decoded.tracked]
    read = token_texts(run.tokenizer, token_ids)
    classes = run.anatomy.classes
    vocabulary = token_texts(run.tokenizer, predicted) | read if classes is None else _label_texts(classes, predicted)
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
        decoder=how.decoder,
        norm=run.anatomy.norm or how.way.norm,
        token_ids=np.array(token_ids),
        tokens=tuple(read[token_id] for token_id in token_ids),
        positions=np.array(rows.positions),
        layers=tuple(rows.labels),
        top_ids=values["top_ids"].numpy(),
        top_probs=values["top_probs"].numpy(),
        magnitude=_magnitude(run, rows).cpu().numpy(),
        vocabulary=vocabulary,
        check={
            "max_abs_logit_difference": decoded.check.logits,
            "positions": decoded.check.positions,
            "max_abs_probability_difference": decoded.check.probability,
            "cells": decoded.check.cells,
            **({} if decoded.check.only is None else {"only_position": decoded.check.only}),
        },
        provenance=provenance(run.model, rows.states, arguments)
        | {"decoding": decoding}
        | _of_decoder(how)
        | _of_source(run)
        | ({"edits": [dict(each) for each in run.edits]} if run.edits else {}),
        generated_from=run.prompted if run.prompted < run.inputs.count else None,
        measures={
            name: values[name].numpy()
            for name in how.measures
            if name in values and not (classes is not None and MEASURES[name].of_text)
        }
        | {f"{MASS}{each.name}": values["mass"][..., place].numpy() for place, each in enumerate(how.mass)},
        targets=[
            Target(*vars(each).values(), *(values[f"target_{name}"][..., place].numpy() for name in _OF_TARGETS))
            for place, each in enumerate(how.targets)
        ],
        unmapped=tuple(label for label in rows.labels if not Basis(how.way.decoder, run.anatomy).covers(label)),
        quality=_quality(how.way.decoder, rows.labels),
        notes=run.notes,
        columns=column_labels(run.pictures, rows.positions) if run.pictures else (),
        pictures=run.pictures,
        predicts=TOKENS if classes is None else LABELS,
        tracked=_tracked(decoded),
    )


def _tracked(decoded: Decoded) -> Tracked | None:
    if not decoded.tracked:
        return None
    values = decoded.values
    found = (values[f"tracked_{name}"].numpy() for name in ("logs", "ranks", "sure"))
    return tracked_of(decoded.tracked, *found)


def _label_texts(classes: Sequence[str], numbers: Iterable[int]) -> dict[int, str]:
    return token_texts(LabelNames(classes), numbers)


def _of_source(run: Run) -> dict[str, str]:
    """What the provenance says of the prompt of an encoder-decoder; nothing of other models."""
    return {"prompt is": SOURCE} if run.inputs.keyword == DECODER_IDS else {}


def _of_decoder(how: How) -> dict[str, Any]:
    """What the provenance says of a decoder; nothing of the logit lens."""
    decoder = how.way.decoder
    if decoder is LOGIT_LENS:
        return {}
    kept = getattr(decoder, "about", None) or {}
    about = {name: value for name, value in kept.items() if name not in ("fingerprint", "made for", "left out")}
    known = about | {"name": how.decoder, "kind": getattr(decoder, "kind", "function")}
    known |= {"left out": list(how.left_out)} if how.left_out else {}
    return {"decoder": known | ({"made for": how.misfit} if how.misfit else {})}


def _quality(decoder: Decoder, labels: Sequence[str]) -> dict[str, np.ndarray]:
    """What is known of how good a decoder is at each row, NaN where nothing is."""
    known = getattr(decoder, "quality", None) or {}
    names = dict.fromkeys(name for each in known.values() for name in each)
    return {name: np.array([known.get(block_of(label), {}).get(name, math.nan) for label in labels]) for name in names}


def decoded_values(run: Run, rows: Rows, how: How) -> Values:
    """What is read off the logits of rows, (layer, position, ...)."""
    return _decode(run, rows, how).values


def near_top(run: Run, rows: Rows, how: How) -> list[int]:
    """What is near the top at the last column in some row, the nearest first, so that lenses beside it track the same.

    Nothing of states that are decoded whole, nor if that does not succeed: the lens itself says why.
    """
    if not how.track or run.anatomy.whole:
        return []
    last = Rows(rows.stream, rows.states, rows.labels, rows.positions[-1:])
    few = replace(how, topk=min(NEAR, run.anatomy.vocabulary), measures=(), targets=(), track=0, mass=())
    try:
        tops = decoded_values(run, last, few)["top_ids"][:, 0]
    except LensError:
        return []
    return list(dict.fromkeys(tops.T.flatten().tolist()))


def check(run: Run) -> float:
    """The largest difference between the last block's logits, decoded here at every position, and the model's own.

    Raises:
        NotProvedError: the difference is more than rounding, so that no row could be trusted.
    """
    rows = Rows("hidden", run.final[None], [run.anatomy.labels[-1]], list(range(run.inputs.count)))
    difference = _decode(run, rows, How(1, Way(precision="exact"))).check.logits
    assert difference is not None
    return difference


def _decode(run: Run, rows: Rows, how: How) -> Decoded:
    following = torch.cat([run.inputs.ids[0, 1:].cpu(), torch.tensor([-1], device="cpu")])
    if run.anatomy.classes is not None:
        following[:] = -1  # no token of the text is predicted
    following[:-1][run.inputs.filled[1:].cpu()] = -1  # what a picture fills is not a token
    following[following >= run.anatomy.vocabulary] = -1  # an input that is never predicted: it has no logit
    targets = [each.scored for each in how.targets]
    mass = [torch.tensor(each.token_ids, dtype=torch.int64, device="cpu") for each in how.mass]
    reading = Reading(how.topk, how.measures, following[rows.positions], targets, mass=mass)
    return decode(run, rows, reading, how.way, _tracking(run, rows, how))


def _tracking(run: Run, rows: Rows, how: How) -> Tracking:
    """What to track: no more than the budget has room for, and before others the members of sets that are followed."""
    vocabulary = run.anatomy.vocabulary
    most = most_tracked(how.track, rows.everything.count, vocabulary, how.beside)
    text = [] if run.anatomy.classes is not None else run.inputs.ids[0][~run.inputs.filled].tolist()
    members = [token for target in how.targets if target.part == SET for token in target.token_ids]
    return Tracking(most, members, text, how.shared)


def _of_states(run: Run, rows: Rows, how: How) -> Values:
    """The measures that are of states alone, (layer, position); of states that are not (position, hidden), none."""
    if not run.anatomy.plain:
        return {}
    columns, each = rows.everything.positions, rows.everything.layers

    def state(row: int) -> torch.Tensor:
        return rows.at(range(row, row + 1), columns)[0]

    values = {}  # a layer at a time, as a copy of all states is as large as all else together
    if "cosine_to_final" in how.measures:
        final = run.final[rows.positions]
        values["cosine_to_final"] = torch.stack([cosine(state(row), final) for row in each])
    if "cosine_to_previous" in how.measures:
        none = torch.full_like(state(0)[:, 0], torch.nan, dtype=torch.float32)
        values["cosine_to_previous"] = torch.stack([none, *(cosine(state(row), state(row - 1)) for row in each[1:])])
    return {name: value.cpu() for name, value in values.items()}


def _magnitude(run: Run, rows: Rows) -> torch.Tensor:
    """(layer, position) float32."""
    every = rows.everything
    if run.anatomy.plain:
        return torch.cat([magnitude(rows.at(range(row, row + 1), every.positions)) for row in every.layers])
    count = run.inputs.count
    assert isinstance(rows.states, torch.Tensor)
    return whole_magnitude(rows.states, run.anatomy.position_axis, count, run.anatomy.streams)[:, rows.positions]


def _prompt_text(run: Run) -> str:
    if isinstance(run.prompt, str):
        return run.prompt
    if run.tokenizer is None:
        return ""
    return str(run.tokenizer.decode(_prompt_ids(run).tolist()))


def _prompt_ids(run: Run) -> torch.Tensor:
    """(position,), the ids of the prompt; of an encoder-decoder, of its source without padding."""
    source, mask = (run.inputs.extra.get(name) for name in ("input_ids", "attention_mask"))
    if run.inputs.keyword != DECODER_IDS or source is None:
        return run.inputs.ids[0, : run.prompted]
    ids: torch.Tensor = source[0]
    return ids if mask is None or mask.shape != source.shape else ids[mask[0].bool()]

"""Turns the decoded rows of a run into a result."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from bauklens.decode.decoder import LOGIT_LENS, Basis, Decoder
from bauklens.decode.rows import Decoded
from bauklens.decode.unembed import Rows
from bauklens.lens.how import How
from bauklens.model.logits import DECODER_IDS
from bauklens.model.provenance import model_name, provenance
from bauklens.result.labels import LabelNames
from bauklens.result.measures import MASS, MEASURES
from bauklens.result.pictures import column_labels
from bauklens.result.result import LensResult
from bauklens.result.targets import Target
from bauklens.result.tokens import token_texts
from bauklens.result.tracked import Tracked, tracked_of
from bauklens.row_labels import block_of
from bauklens.stream.run import Run
from bauklens.vocabulary import LABELS, SOURCE, TOKENS

_OF_TARGETS = ("probs", "logits", "ranks")


def result_of(run: Run, rows: Rows, how: How, by: str, arguments: dict[str, Any], decoded: Decoded) -> LensResult:
    """The result of a run's rows.

    Args:
        by: how they were decoded, in words.
        arguments: those that the caller gave, for the provenance.
    """
    values = dict(decoded.values)
    magnitude = values.pop("magnitude").numpy()
    token_ids = run.inputs.ids[0, rows.positions].tolist()
    predicted = [*np.unique(values["top_ids"].numpy()).tolist(), *decoded.tracked]
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
        magnitude=magnitude,
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
    """What the provenance records about an encoder-decoder's prompt; nothing for other models."""
    return {"prompt is": SOURCE} if run.inputs.keyword == DECODER_IDS else {}


def _of_decoder(how: How) -> dict[str, Any]:
    """What the provenance records about a decoder; nothing for the logit lens."""
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

"""LensResult <-> the JSON of LogitLensKit, version 2 (and version 1, read). Needs no torch."""

from collections.abc import Mapping
from datetime import datetime, timezone
from itertools import zip_longest
from typing import Any

import numpy as np

from bauklens.errors import LensError
from bauklens.result.frozen import require
from bauklens.result.result import LensResult

LOSSLESS = "bauklens"
"""The key that holds our own data; LogitLensKit ignores keys it does not know."""

SOURCE = "LogitLensKit"

_DECIMALS = 5


def to_logitlenskit(lens: LensResult) -> dict[str, Any]:
    """A result in LogitLensKit's version 2 format, with all of our own data added under one key.

    LogitLensKit has rows only for blocks, so "embed" is only in our own data. It identifies tokens by their text, so if
    several ids share a text, one entry stands for all of them. A token outside a cell's top k has probability 0.
    """
    rows = [row for row, label in enumerate(lens.layers) if label.isdecimal()]
    if not rows:
        raise LensError(f"LogitLensKit has rows only for numbered layers; found {', '.join(lens.layers)}")
    texts = lens.vocabulary
    topk = [[[texts[token] for token in cell] for cell in lens.top_ids[row].tolist()] for row in rows]
    tracked = [_tracked(lens, rows, column) for column in range(len(lens.positions))]
    for target in lens.targets:
        if target.part == "token":
            _follow(target.text, target.probability[rows], topk, tracked)
    data: dict[str, Any] = {
        "meta": {"version": 2, "timestamp": _time(lens), "model": lens.model},
        "layers": [int(lens.layers[row]) for row in rows],
        "input": [label or token for label, token in zip_longest(lens.columns, lens.tokens, fillvalue="")],
        "positions": lens.positions.tolist(),
        "topk": topk,
        "tracked": tracked,
    }
    if "entropy" in lens.measures and np.isfinite(lens.measures["entropy"][rows]).all():
        data["entropy"] = _rounded(lens.measures["entropy"][rows])
    return data | {LOSSLESS: lens.to_dict()}


def _tracked(lens: LensResult, rows: list[int], column: int) -> dict[str, list[float]]:
    """Text -> its probability in every row at a position, of all texts that are in a top k there."""
    tracked: dict[str, list[float]] = {}
    for place, row in enumerate(rows):
        ids, probabilities = lens.top_ids[row, column].tolist(), lens.top_probs[row, column].tolist()
        for token, probability in zip(ids, probabilities, strict=True):
            values = tracked.setdefault(lens.vocabulary[token], [0.0] * len(rows))
            values[place] = max(values[place], round(probability, _DECIMALS))
    return tracked


def _follow(text: str, probability: np.ndarray, topk: list[Any], tracked: list[Any]) -> None:
    """Adds a target everywhere; at an end if it is in no top k of a position, as the widget drops it otherwise."""
    for column, each in enumerate(tracked):
        if text not in each:
            topk[-1][column].append(text)
        each[text] = _rounded(probability[:, column])


def _rounded(values: np.ndarray) -> Any:
    return np.round(values.astype(np.float64), _DECIMALS).tolist()


def _time(lens: LensResult) -> str:
    return str(lens.provenance.get("date") or datetime.now(timezone.utc).isoformat(timespec="seconds"))


def from_logitlenskit(data: Mapping[str, Any]) -> LensResult:
    """A result from LogitLensKit's JSON; exactly the original result if the JSON contains our own data.

    LogitLensKit's own data has no token ids, magnitudes or check. Ids are then negative numbers, one for each text, and
    magnitudes are NaN. Of the tracked probabilities, those of the top k are kept.

    Raises:
        LensError: the data does not have that format.
    """
    if not isinstance(data, Mapping):
        raise LensError("this is not LogitLensKit's JSON: looked for an object")
    if LOSSLESS in data:
        return LensResult.from_dict(data[LOSSLESS])
    try:
        if "cells" in data:
            return _lens_of(data, data["tokens"], *_of_version_1(data))
        version = data["meta"]["version"]
        require(
            version == 2, f"this is version {version!r} of LogitLensKit's JSON; this bauklens reads versions 1 and 2"
        )
        return _lens_of(data, data["input"], data["topk"], data["tracked"])
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError) as error:
        if isinstance(error, LensError):
            raise
        raise LensError(f"this is not LogitLensKit's JSON, or it is damaged: {type(error).__name__} {error}") from None


def _of_version_1(data: Mapping[str, Any]) -> tuple[Any, Any]:
    """``cells[position][layer]`` -> ``topk[layer][position]`` and ``tracked[position]``."""
    cells, count = data["cells"], len(data["layers"])
    topk = [[[each["token"] for each in column[row]["topk"]] for column in cells] for row in range(count)]
    tracked: list[dict[str, list[float]]] = [{} for _ in cells]
    for column, found in zip(cells, tracked, strict=True):
        for row, cell in enumerate(column):
            for each in cell["topk"]:
                found.setdefault(each["token"], [0.0] * count)[row] = each["prob"]
    return topk, tracked


def _lens_of(data: Mapping[str, Any], tokens: Any, topk: Any, tracked: Any) -> LensResult:
    meta = data.get("meta") or {}
    layers = [str(int(layer)) for layer in data["layers"]]
    shape = len(layers), len(tokens)
    require(len(topk) == shape[0] and all(len(row) == shape[1] for row in topk), "topk does not match layers and input")
    require(len(tracked) == shape[1], "tracked does not match the input")
    count = min(len(cell) for row in topk for cell in row)
    require(count > 0, "a cell of topk is empty")
    texts = list(dict.fromkeys([*tokens, *(text for row in topk for cell in row for text in cell[:count])]))
    ids = {text: -1 - place for place, text in enumerate(texts)}
    probability = np.zeros((*shape, count))
    for row, column, rank in np.ndindex(*shape, count):
        values = tracked[column].get(topk[row][column][rank])
        probability[row, column, rank] = 0.0 if values is None else values[row]
    return LensResult(
        model=str(meta.get("model", "")),
        prompt="".join(tokens),
        stream="hidden",
        decoder="logit",
        norm="own",
        token_ids=np.array([ids[token] for token in tokens]),
        tokens=tuple(tokens),
        positions=np.array(data.get("positions") or range(shape[1])),
        layers=tuple(layers),
        top_ids=np.array([[[ids[text] for text in cell[:count]] for cell in row] for row in topk]),
        top_probs=probability,
        magnitude=np.full(shape, np.nan),
        vocabulary={number: text for text, number in ids.items()},
        check={"max_abs_logit_difference": None},
        provenance={"source": SOURCE, "date": meta.get("timestamp")},
        measures={"entropy": data["entropy"]} if data.get("entropy") else {},
    )

"""LensResult -> the data for the viewer in a page: a small head, and one block of numbers and texts."""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from markupsafe import Markup

from bauklens.result.columns import bands_of
from bauklens.result.comparison import Comparison
from bauklens.result.edited_cells import in_blocks
from bauklens.result.frozen import plain
from bauklens.result.measures import MEASURES, known_measure
from bauklens.result.result import LensResult
from bauklens.result.targets import target_names
from bauklens.result.tokens import column_heads, printable, visible
from bauklens.show.attention_payload import attention_payload
from bauklens.show.joint import joint, names_of, names_of_two
from bauklens.show.legends import largest_magnitude
from bauklens.show.nouns import spelling
from bauklens.show.pictures import payload
from bauklens.show.tracked_payload import tracked_payload

_PLAIN_BYTES = 32 << 10
"""A block up to this size is not packed, so that a browser without DecompressionStream can read it."""

LOSSLESS = 200_000
"""If a lens has more numbers than these, they are rounded to about four digits to keep the page small."""

_LEVEL = 7
"""How hard zlib searches for repetitions in small pages, and in texts and top tokens of large ones."""

_LARGE = 1 << 20
"""Beyond this many bytes, the rest of a page's numbers is packed quickly."""

_REPEATING = "top"
"""The first array, in which the same stretches repeat, as tokens stay at the top for many layers."""

MANY = 2_000_000
"""If a lens has more numbers than these, they are rounded to about three digits, except those of targets."""

_KEPT_BITS = 12
"""Bits kept of the 23 in a float32's fraction."""

_FEWER_BITS = 10
"""The same for huge results."""

_SMALLEST = -149
"""The smallest positive float32 is two to this power."""

_NORMAL = np.finfo(np.float32).tiny
"""The smallest positive float32 with all the bits of its fraction."""

_BRIEF_BITS = 15
"""The same in a notebook."""

_DIGITS = {_FEWER_BITS: "three", _KEPT_BITS: "four", _BRIEF_BITS: "five"}


def views(
    lenses: Sequence[LensResult],
    captions: Sequence[str],
    state: Mapping[str, Any],
    *,
    comparison: Comparison | None = None,
    brief: bool = False,
) -> Markup:
    """JSON for a script element: the lenses of one viewer, and the state that it starts with.

    Args:
        captions: the caption of each lens.
        comparison: the comparison that the two lenses belong to, if they are compared.
        brief: whether to write numbers to about five digits, for a notebook, where Python has the exact ones.
    """
    joined = joint(lenses, comparison)
    named = names_of(lenses) if comparison is None else names_of_two(comparison)
    several = []
    for place, (lens, caption, name) in enumerate(zip(lenses, captions, named, strict=True)):
        each = _view(lens, caption, name.short, joined.between[place], brief=brief)
        each["head"] |= {"title": name.full, "place": place, "pictures": payload(lens, lenses), **joined.head(place)}
        several.append(each)
    return inert({"format": "bauklens.view", "version": 1, "lenses": several, "state": dict(state)})


def inert(data: Any) -> Markup:
    """JSON that is safe inside a script element: nothing in it can end the element or start a comment."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


def _view(
    lens: LensResult, caption: str, name: str, between: Mapping[str, np.ndarray], *, brief: bool
) -> dict[str, Any]:
    vocabulary, top = _vocabulary(lens)
    seen = map(spelling(lens), vocabulary["texts"])
    shown = {place: text for place, text in enumerate(seen) if text != vocabulary["texts"][place]}
    known = list(MEASURES)
    order = sorted(lens.measures, key=lambda each: known.index(each) if each in known else len(known))
    left_out = {"max_probability"} | ({"magnitude"} if lens.magnitudes_are_unknown else set())  # the first of the top k
    measures = {each: lens.measures[each] for each in order if each not in left_out}
    floats = {"probability": lens.top_probs} | {f"measure {each}": value for each, value in measures.items()}
    floats |= {f"between {each}": value for each, value in between.items()}
    for place, target in enumerate(lens.targets):
        floats |= {f"target {place} {part}": getattr(target, part) for part in ("probability", "logit", "rank")}
    heads = column_heads(lens.tokens, lens.positions.tolist())
    count = sum(value.size for value in floats.values())
    rounds = count > LOSSLESS
    bits = _FEWER_BITS if count > MANY else _KEPT_BITS if rounds else _BRIEF_BITS if brief else 23
    places = {token: place for place, token in enumerate(vocabulary["ids"] or ())}
    tracked = tracked_payload(lens.tracked, places, brief=brief, beside=max(0, count - MANY))
    arrays: dict[str, Any] = {"top": top} | {key: _float32(value, bits) for key, value in floats.items()}
    if count > MANY:
        arrays["probability"] = _thousandths(lens.top_probs)
        arrays |= {key: _float32(value, _KEPT_BITS) for key, value in floats.items() if key.startswith("target ")}
    attention = attention_payload(lens, brief=brief)
    arrays |= {**tracked.arrays, **attention.arrays}
    return _block({"vocabulary": {**vocabulary, "shown": shown}}, arrays) | {
        "head": {
            "name": name,
            "caption": caption,
            "model": lens.model,
            "prompt": lens.prompt,
            "stream": lens.stream,
            "decoder": lens.decoder,
            "unmapped": list(lens.unmapped),
            "quality": plain(lens.quality),
            "layers": list(lens.layers),
            "positions": lens.positions.tolist(),
            "tokens": [visible(token) for token in lens.tokens],
            "plainTokens": list(lens.tokens),
            "characters": {
                column: {"head": visible(head), "whole": visible(whole)}
                for column, (head, whole) in enumerate(heads)
                if whole
            },
            "labels": [*map(printable, lens.columns)],
            "bands": [asdict(band) for band in bands_of(lens)],
            "predicts": lens.predicts,
            "mainPosition": lens.main_position,
            "onlyPosition": lens.check.get("only_position"),
            "generatedFrom": lens.generated_from,
            "topk": lens.topk,
            "largestMagnitude": largest_magnitude(lens),
            "measures": [_measure(each) for each in measures],
            "targets": _targets(lens),
            "tracked": tracked.head,
            "rounded": _DIGITS[bits] if rounds else "",
            **_edited(lens),
            **attention.head,
            "plain": _told(lens, bits),
        }
    }


def _edited(lens: LensResult) -> dict[str, Any]:
    """What was edited, and which cells, as blocks of rows and positions; empty without an edit."""
    blocks = in_blocks(lens.edited_cells)
    if not blocks:
        return {}
    positions = lens.positions.tolist()
    cells = [
        {"rows": rows, "positions": [[positions[column] for column in run] for run in runs]} for rows, runs in blocks
    ]
    return {"edited": {"what": printable(lens.edited), "cells": cells}}


def _told(lens: LensResult, bits: int) -> dict[str, Any]:
    """The rest of a result, which the viewer exports as JSON; it states whether numbers are rounded."""
    head = lens.head()
    digits = _DIGITS.get(bits)
    return head | {"provenance": head["provenance"] | {"rounded": f"to about {digits} digits"}} if digits else head


def _targets(lens: LensResult) -> list[dict[str, Any]]:
    names, shown = target_names(lens.targets), target_names(lens.targets, spelling(lens))
    return [
        {
            "text": each.text,
            "name": name,
            "shown": seen,
            "tokens": list(each.token_ids),
            "part": each.part,
            "note": each.note,
        }
        for each, name, seen in zip(lens.targets, names, shown, strict=True)
    ]


def _measure(name: str) -> dict[str, str]:
    about = known_measure(name)
    return {"name": name, "unit": about.unit if about else "", "about": about.about if about else ""}


def _vocabulary(lens: LensResult) -> tuple[dict[str, Any], np.ndarray]:
    """The tokens of the table, most frequent first, then all others that occur; and the table of their places."""
    ids, places, counts = np.unique(lens.top_ids, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    ids = ids[order].tolist()
    texts = {target.token_ids[0]: target.text for target in lens.targets if target.is_token}
    texts |= lens.vocabulary
    kept = [*ids, *sorted(set(texts) - set(ids))]
    top = rank[places.ravel()].astype(np.uint16 if len(ids) <= 1 << 16 else np.uint32)
    told = None if min(kept) < 0 else kept  # another tool's file may lack them
    return {"ids": told, "texts": [texts[token] for token in kept]}, top


def _float32(value: np.ndarray, bits: int) -> np.ndarray:
    """(any shape) -> flat float32; numbers are rounded to fewer bits if asked for.

    The smallest numbers, which have fewer bits than others, are kept, and so is what would become infinite.
    """
    flat = np.ascontiguousarray(value, dtype="<f4").ravel()
    lost = 23 - bits
    if not lost:
        return flat
    rounded = ((flat.view("<u4").astype(np.uint64) + (1 << (lost - 1))) >> lost << lost).astype("<u4").view("<f4")
    return np.where(np.isfinite(rounded) & (np.abs(flat) >= _NORMAL), rounded, flat).astype("<f4")


def _thousandths(probabilities: np.ndarray) -> np.ndarray:
    """(any shape), 0..1 -> flat float32, each within 0.0003, and within 1 % if it is small."""
    flat = np.ascontiguousarray(probabilities, dtype="<f4").ravel()
    _, exponents = np.frexp(flat)
    steps = np.ldexp(np.float32(1), np.clip(exponents - 7, _SMALLEST, -_FEWER_BITS - 1))
    rounded: np.ndarray = (np.round(flat / steps) * steps).astype("<f4")
    return rounded


def _block(texts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Texts as JSON and arrays, one after another, in base64.

    A packed array is written byte by byte (the first byte of all its numbers, then the second of all), which compresses
    well, and the whole is in zlib's format. In the numbers of most arrays, zlib finds only runs of the same byte.
    Searching only for these takes a seventh of the time, and pages are hardly larger.
    """
    told = {key: json.dumps(value).encode() for key, value in texts.items()}
    packed = sum(map(len, told.values())) + sum(value.nbytes for value in arrays.values()) > _PLAIN_BYTES
    parts = [{"name": key, "kind": "json", "count": len(value)} for key, value in told.items()]
    parts += [{"name": key, "kind": value.dtype.name, "count": value.size} for key, value in arrays.items()]
    numbers = [value.view(np.uint8).reshape(-1, value.itemsize) for value in arrays.values()]
    written = [each.T.tobytes() if packed else each.tobytes() for each in numbers]
    first = list(told.values()) + written[: int(_REPEATING in arrays)]
    block = b"".join([*told.values(), *written])
    text = base64.b64encode(_packed(block, sum(map(len, first))) if packed else block).decode("ascii")
    return {"arrays": parts, "packed": packed, "blob": text}


def _packed(block: bytes, repeating: int) -> bytes:
    """A block in zlib's format; the given number of bytes at its start has stretches that repeat."""
    if len(block) < _LARGE:
        return zlib.compress(block, _LEVEL)
    view = memoryview(block)
    first, rest = zlib.compressobj(_LEVEL), zlib.compressobj(wbits=-zlib.MAX_WBITS, strategy=zlib.Z_RLE)
    start = first.compress(view[:repeating]) + first.flush(zlib.Z_FULL_FLUSH)
    return start + rest.compress(view[repeating:]) + rest.flush() + zlib.adler32(block).to_bytes(4, "big")

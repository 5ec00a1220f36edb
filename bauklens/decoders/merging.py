"""Decoders of one model that were fitted on different texts -> one decoder."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from bauklens.arguments import is_whole_number, listed
from bauklens.decoders.fingerprint import differences
from bauklens.decoders.learned import LearnedDecoder, Parts
from bauklens.errors import LensError
from bauklens.result.frozen import plain

_COUNTED = {"jacobian": "prompts"}
"""What a mean is weighted by, if not by tokens."""

_HASHES = "texts hashes"
"""Under which a merged decoder keeps those of its parts, so that none is merged twice."""


def merged(
    decoders: Sequence[LearnedDecoder],
    model: nn.Module | None = None,
    tokenizer: Any = None,
    texts: Iterable[Any] | None = None,
    name: str | None = None,
) -> LearnedDecoder:
    """As :meth:`bauklens.decoders.LearnedDecoder.merge`."""
    parts = list(decoders) if isinstance(decoders, Iterable) else []
    if not parts or not all(isinstance(each, LearnedDecoder) for each in parts):
        raise LensError("merge() takes a list of learned decoders, such as load_decoder() returns")
    _require_alike(parts)
    counts = [_count(each) for each in parts]
    shares = [count / sum(counts) for count in counts]
    first = parts[0]
    weights = {label: _mean([each.weight(label) for each in parts], shares) for label in first.layers}
    biases = {label: _mean([each.bias(label) for each in parts], shares) for label in first.layers}
    temperatures = {
        label: math.prod(each.temperatures[label] ** share for each, share in zip(parts, shares, strict=True))
        for label in first.temperatures
    }
    found = type(first).from_parts(
        {label: each for label, each in weights.items() if each is not None},
        {label: each for label, each in biases.items() if each is not None},
        temperatures,
        name=first.name if name is None else name,
        stream=first.stream,
        about=_about(parts),
    )
    if model is None or texts is None:
        return found
    quality, windows = _quality(found, model, tokenizer, texts)
    about = {**found.about, "quality": f"on {windows} windows given when the parts were merged"}
    return type(first).from_parts(*Parts.of(found), name=found.name, stream=found.stream, quality=quality, about=about)


def _quality(
    decoder: LearnedDecoder, model: nn.Module, tokenizer: Any, texts: Iterable[Any]
) -> tuple[dict[str, dict[str, float]], int]:
    """That of a decoder, and on how many windows it was measured."""
    from bauklens.decoders.fits import require_fit
    from bauklens.decoders.score import quality_of
    from bauklens.decoders.texts import Windows
    from bauklens.model.in_hand import in_hand
    from bauklens.model.resolving import resolve

    model, tokenizer = in_hand(model, tokenizer)
    windows = Windows(model, tokenizer, texts)
    found = [window.inputs for window in windows]
    if not found:
        raise LensError(
            f"no text is long enough to measure the merged decoder on: a window needs {windows.shortest} tokens, of "
            f"which {windows.texts:,} text{'s have' if windows.texts != 1 else ' has'} fewer"
        )
    require_fit(decoder, model, resolve(model, found[0]), ["hidden"], "own")
    return quality_of(decoder, model, found), len(found)


def _require_alike(parts: Sequence[LearnedDecoder]) -> None:
    first = parts[0]
    known: set[str] = set()
    for place, each in enumerate(parts, 1):
        where = f"decoder {place} ({each.name!r:.80})"
        for what, one, other in (
            ("the kind", first.kind, each.kind),
            ("layers", listed(first.layers), listed(each.layers)),
            ("width", first.width, each.width),
            ("target width", first.target, each.target),
            ("stream", first.stream, each.stream),
            ("target", first.about.get("target"), each.about.get("target")),
            ("skip_first", first.about.get("skip_first"), each.about.get("skip_first")),
            ("temperatures at", listed(first.temperatures), listed(each.temperatures)),
            ("biases at", _with_bias(first), _with_bias(each)),
        ):
            if one != other:
                raise LensError(
                    f"{where} has {what} {other!r:.100}, but the first has {one!r:.100}: merge like with like"
                )
        methods = [some.about.get("method") for some in (first, each)]
        if None not in methods and methods[0] != methods[1]:
            raise LensError(
                f"{where} was fitted with method={methods[1]!r:.80}, but the first with {methods[0]!r:.80}: merge like "
                "with like"
            )
        if _is_normalized(first) != _is_normalized(each):
            which = "the first was" if _is_normalized(first) else f"{where} was"
            raise LensError(f"{which} fitted with normalize=True, but the other was not: merge like with like")
        prints = [plain(some.about.get("fingerprint")) for some in (each, first)]
        other = differences(prints[0], prints[1]) if all(isinstance(some, dict) for some in prints) else ""
        if other:
            raise LensError(f"{where} was made for {other}: merge decoders of one model")
        texts = _texts_of(each)
        if texts & known:
            raise LensError(f"{where} was fitted on the same texts as another: merge decoders of different texts")
        known |= texts


def _is_normalized(decoder: LearnedDecoder) -> bool:
    """Whether all windows counted equally, so that the scale is different."""
    options = decoder.about.get("options")
    return isinstance(options, Mapping) and bool(options.get("normalize"))


def _texts_of(decoder: LearnedDecoder) -> set[str]:
    """Hashes of the texts that it was fitted on, or its parts were."""
    hashes = decoder.about.get(_HASHES)
    several = hashes if isinstance(hashes, (list, tuple)) else [decoder.about.get("texts hash")]
    return {each for each in several if isinstance(each, str)}


def _with_bias(decoder: LearnedDecoder) -> str:
    return listed(label for label in decoder.layers if decoder.bias(label) is not None)


def _count(decoder: LearnedDecoder) -> int:
    name = _COUNTED.get(decoder.kind, "tokens")
    found = decoder.about.get(name)
    if not is_whole_number(found) or int(found) < 1:
        raise LensError(
            f"the decoder {decoder.name!r:.80} does not state how many {name} it was fitted on (about[{name!r}])"
        )
    return int(found)


def _mean(parts: Sequence[torch.Tensor | None], shares: Sequence[float]) -> torch.Tensor | None:
    """In float64, and then in the first one's dtype."""
    if parts[0] is None:
        return None
    total = torch.zeros_like(parts[0], dtype=torch.float64)
    for part, share in zip(parts, shares, strict=True):
        assert part is not None
        total.add_(part.double(), alpha=share)
    return total.to(parts[0].dtype)


def _about(parts: Sequence[LearnedDecoder]) -> dict[str, Any]:
    """What all of them have in common, and what adds up."""
    first: Mapping[str, Any] = parts[0].about
    about = {name: value for name, value in first.items() if all(each.about.get(name) == value for each in parts)}
    for name in ("prompts", "tokens", "failed"):
        counts = [each.about.get(name) for each in parts]
        if all(map(is_whole_number, counts)):
            about[name] = sum(int(count) for count in counts if count is not None)
    hashes = [each.about.get("texts hash") for each in parts]
    if all(isinstance(each, str) for each in hashes):
        about["texts hash"] = hashlib.sha256("".join(sorted(map(str, hashes))).encode()).hexdigest()
    about[_HASHES] = sorted(set().union(*map(_texts_of, parts)))
    return about | {"merged": len(parts), "quality": "not measured"}

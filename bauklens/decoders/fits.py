"""Whether a decoder can be used on a model, and on a stream of it; if not, a one-line error is raised."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from bauklens.arguments import is_whole_number, listed
from bauklens.decode.decoder import LOGIT_LENS, Decoder
from bauklens.decoders.fingerprint import differences, fingerprint
from bauklens.decoders.learned import LearnedDecoder
from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.block_output import state_of
from bauklens.model.sublayers import Sublayers
from bauklens.vocabulary import EMBED

_MOST = 10**9
"""Beyond the number of any layer."""

_FORCE = "pass force=True to load_decoder (--force-decoder) if you know that it fits"


def require_text_model(anatomy: Anatomy, what: str) -> None:
    """Rejects a model that does not continue a text.

    Args:
        what: the use of texts, with which an error begins, such as ``"fitting"``.
    """
    if anatomy.classes is not None or anatomy.single:
        predicts = "labels" if anatomy.classes is not None else "at its last position only"
        raise LensError(
            f"{what} needs a model that predicts the next token at each position; {anatomy.model_class} predicts "
            f"{predicts}"
        )


def require_fit(decoder: Decoder, model: nn.Module, anatomy: Anatomy, streams: Sequence[str], norm: str | None) -> str:
    """Rejects a decoder that cannot be used on a model, or makes no sense for what is asked.

    Args:
        streams: those that are asked for.
        norm: as for :func:`bauklens.logit_lens`.

    Returns:
        What the decoder was made for, in words, if that is another model and the caller forced it; else empty.

    Raises:
        LensError: it was made for other states or another model, or the stream or the norm makes no sense with it.
    """
    if decoder is LOGIT_LENS:
        return ""
    named = f"the decoder {decoder.name!r}"
    if norm == "final":
        raise LensError(f"norm='final' takes no decoder, because mapped rows do not add up: leave out {named}")
    _require_one_state(named, anatomy)
    for stream in streams:
        _require_meaning(decoder, named, stream)
    known = anatomy.labels if decoder.layers is None else decoder.layers
    unknown = [label for label in known if label not in (EMBED, *anatomy.labels)]
    if unknown:
        raise LensError(
            f"{named} has maps for layers {listed(known)}, but {anatomy.model_class} has the blocks "
            f"{listed(anatomy.labels)}: it was made for another model"
        )
    if not isinstance(decoder, LearnedDecoder):
        return ""
    _require_states(decoder, named, anatomy)
    other = _misfit(decoder, model, anatomy)
    if other and not decoder.forced:
        raise LensError(f"{named} was made for {other}: {_FORCE}")
    return other


def _misfit(decoder: LearnedDecoder, model: nn.Module, anatomy: Anatomy) -> str:
    """What a decoder was made for, in words, if according to its file that is another model; else empty."""
    blocks, count = decoder.about.get("blocks"), len(anatomy.blocks)
    last = anatomy.labels[-1]
    if blocks is not None and blocks != count:
        return f"a model with {blocks!s:.80} blocks, but {anatomy.model_class} has {count}"
    if last in decoder.layers and decoder.stream == "hidden" and not _is_identity(decoder, last):
        return f"a model with more blocks: it has a map for the last of {anatomy.model_class}, {last}, which needs none"
    numbers = [int(label) for label in decoder.layers if label.isdecimal()]
    whole_run = blocks is None and "target" not in decoder.about and numbers == list(range(len(numbers)))
    if (
        whole_run
        and decoder.kind == "jacobian"
        and decoder.about.get("prompts")
        and len(numbers) not in (count - 1, count)
    ):
        return f"a model with {len(numbers) + 1} blocks, judging by its layers, but {anatomy.model_class} has {count}"
    target = decoder.about.get("target")
    target = str(target) if is_whole_number(target) and 0 <= target < _MOST else target
    if isinstance(target, str) and target not in anatomy.labels:
        return f"the output of block {target:.80}, which {anatomy.model_class} does not have"
    head = decoder.about.get("fingerprint")
    return "" if head is None else differences(_thawed(head), fingerprint(model, anatomy))


def require_capture(decoder: Decoder, model: nn.Module, sublayers: Sublayers | None) -> None:
    """Rejects a file's maps of what the attention or MLP module returns, if a block changes that before adding it.

    A stream here is what is added, after any norm or scale of the block.

    Raises:
        LensError: the block has such a norm or scale, or adds up several modules.
    """
    if not isinstance(decoder, LearnedDecoder) or "capture_point" not in decoder.about or sublayers is None:
        return
    for each in sublayers.attention if decoder.stream == "attention" else sublayers.mlp:
        plain = len(each.names) == 1 and each.scales == (1.0,) and not each.adds
        if not plain or all(parameter.ndim < 2 for parameter in model.get_submodule(each.names[0]).parameters()):
            raise LensError(
                f"the decoder {decoder.name!r} maps what a module returns ({decoder.about['capture_point']}), but this "
                f"model adds {each} to the stream after a norm or a scale: use it on models that add it unchanged"
            )


def _require_one_state(named: str, anatomy: Anatomy) -> None:
    if not anatomy.plain and anatomy.streams != 1:
        raise LensError(
            f"{named} maps one state per position, but {anatomy.model_class} has {anatomy.streams}: use the logit lens"
        )


def _require_meaning(decoder: Decoder, named: str, stream: str) -> None:
    taken = getattr(decoder, "stream", "hidden")
    if taken != "hidden" and stream != taken:
        raise LensError(f"{named} maps what the {taken} of a block adds, not stream {stream!r}: pass stream={taken!r}")
    if stream not in ("hidden", taken) and not getattr(decoder, "is_linear", False):
        raise LensError(
            f"{named} has a constant part, which would be added to every contribution, or is not marked as "
            f"linear: stream {stream!r} needs a linear decoder, such as a Jacobian lens (if a function is linear, set "
            "function.is_linear = True)"
        )


def _require_states(decoder: LearnedDecoder, named: str, anatomy: Anatomy) -> None:
    size = state_size(anatomy)
    reduces = not anatomy.plain and decoder.target == anatomy.width and anatomy.tail[-2:-1] == anatomy.norms[-1:]
    if decoder.width == size and (decoder.target == size or reduces):
        return
    if decoder.width != decoder.target:
        raise LensError(
            f"{named} maps states of width {decoder.width} to {decoder.target}, but those of {anatomy.model_class} "
            f"have width {size}"
        )
    raise LensError(f"{named} maps states of width {decoder.width}, but those of {anatomy.model_class} have {size}")


def state_size(anatomy: Anatomy) -> int:
    """How many numbers a state has at one position, all its streams together."""
    if anatomy.plain:
        return anatomy.width
    state = state_of(anatomy.block_output, anatomy.parts)
    return state.numel() // state.shape[anatomy.position_axis]


def _is_identity(decoder: LearnedDecoder, label: str) -> bool:
    if decoder.bias(label) is not None or decoder.width != decoder.target:
        return False
    return torch.equal(decoder.matrix(label), torch.eye(decoder.width, dtype=torch.float32, device="cpu"))


def _thawed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _thawed(each) for name, each in value.items()}
    return [_thawed(each) for each in value] if isinstance(value, tuple) else value
